"""A backtest as one HTML file that needs neither server nor network. It follows the system's dark mode and fits phones."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from curvestop.clients.backtest import charts
from curvestop.clients.backtest.backtesting import Backtest, ContenderResult
from curvestop.clients.backtest.summary import COLUMNS, MEANING, conclusions, description, table_row
from curvestop.srm.plural import plural

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --card: #f4f6f9; --text: #1c2430; --dim: #5b6675; --line: #d9dfe7; --mark: #3b82d6; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --text: #e4e9f0; --dim: #9aa6b5; --line: #323b47; --mark: #6aa5ec; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.3; }
.note { border-left: 3px solid var(--mark); background: var(--card); padding: .6rem .9rem; margin: .7rem 0;
  overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .55rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--dim); font-weight: 500; vertical-align: bottom; white-space: normal; min-width: 4rem; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--page); min-width: 8.5rem; }
td:first-child { white-space: normal; } tr.chosen td { font-weight: 700; } tr.last td { border-bottom: 2px solid var(--dim); }
.figure { height: 26rem; margin: 0 -.4rem; } code { font-size: .92em; }
@media (max-width: 40rem) { .figure { height: 24rem; } body { padding-top: 1rem; } table { font-size: .85rem; } }
"""

SCRIPT = """
const scheme = matchMedia("(prefers-color-scheme: dark)");
function color() {
  const of = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  for (const figure of document.querySelectorAll(".js-plotly-plot")) {
    const axes = {};
    for (const axis of ["xaxis", "yaxis"]) {
      axes[axis + ".gridcolor"] = of("--line"); axes[axis + ".linecolor"] = of("--dim");
      axes[axis + ".zerolinecolor"] = of("--line");
    }
    Plotly.relayout(figure, { ...axes, "font.color": of("--text"), "hoverlabel.bgcolor": of("--card"),
      "hoverlabel.font.color": of("--text"), "hoverlabel.bordercolor": of("--line") });
  }
}
function label() {
  Plotly.restyle("figure0", { "textfont.size": innerWidth < 640 ? 1 : 11 });
}
scheme.addEventListener("change", color);
addEventListener("resize", label);
label();
color();
"""


def write_report(result: Backtest, path: Path) -> None:
    """Write a backtest as an HTML page; needs plotly (extra `[plots]`).

    Args:
        result: The backtest.
        path: The file to write; an existing one is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    path.write_text(page(result), encoding="utf-8")


def page(result: Backtest) -> str:
    """Return a backtest as an HTML page; needs plotly (extra `[plots]`).

    Args:
        result: The backtest; the figure of stops shows its recommended policy, or without one the default.

    Returns:
        The whole page, with style, scripts and plotly inside: it loads nothing.
    """
    from plotly.offline import get_plotlyjs

    # The figure of stops shows the policy that a reader would use.
    shown = result.recommended or result.default
    sections = (
        ("Epochs saved, good runs lost", "Down and to the right is better.", charts.tradeoff(result)),
        (
            f"Your runs, and where {shown.contender.label} would have stopped them",
            "In their recorded order. Point at a stop to see its reason and the run's final value.",
            charts.stops(result, shown),
        ),
        (
            "Are the probabilities right?",
            "P(no better than the best so far). On the dotted line, stated probabilities came true as often as stated.",
            charts.calibration(result),
        ),
    )
    # Sections are numbered as SCRIPT knows them: figure0 is the trade-off.
    drawn = "".join(_section(number, *section) for number, section in enumerate(sections))
    notes = "".join(f'<p class="note">{escape(line)}</p>' for line in conclusions(result))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Backtest of {escape(result.curves.metric)}</title><style>{STYLE}</style><link rel="icon" href="data:,">'
        f"<script>{get_plotlyjs()}</script></head><body><h1>Would stopping have helped?</h1>"
        f'<p class="dim">{escape(result.curves.source)}: {"<br>".join(map(escape, description(result)))}</p>'
        f"{_tiles(result)}{notes}<h2>Every policy</h2>{_table(result)}{_meanings()}{drawn}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _tiles(result: Backtest) -> str:
    default = result.default
    regret, n_best_stopped = default.mean("shortfall"), sum(outcome.best_stopped for outcome in default.outcomes)
    # The default policy: what a reader gets who sets nothing; the recommendation has its own sentence below.
    tiles = (
        (f"{default.mean('saved'):.0%}", "of the epochs saved"),
        (f"{default.mean('top_stopped'):.0%}", "of the top tenth stopped"),
        (f"{n_best_stopped} of {len(default.replays)}", "orders stopped the best run"),
        (f"{regret:.3g}" if math.isfinite(regret) else "none left", f"regret, in {result.curves.metric}"),
    )
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span class="dim">{escape(label)}</span></div>' for value, label in tiles
    )
    n_orders = plural(len(default.replays), "order")
    return f'<p>The default policy, mean over {n_orders} of the runs:</p><div class="tiles">{cells}</div>'


def _table(result: Backtest) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    # The order of the command's table, so that the two can be compared line by line.
    body = "".join(_row(contender, result) for contender in result.contenders)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(contender: ContenderResult, result: Backtest) -> str:
    is_recommended, is_last_policy = contender is result.recommended, contender is result.policies[-1]
    classes = " ".join(name for name, applies in (("chosen", is_recommended), ("last", is_last_policy)) if applies)
    # Names of runs and metrics are the user's: all text is escaped.
    cells = "".join(f"<td>{escape(text)}</td>" for text in table_row(contender, result.seed_noise, is_recommended=is_recommended))
    return f'<tr class="{classes}">{cells}</tr>'


def _meanings() -> str:
    meanings = "; ".join(f"<b>{escape(name)}</b>: {escape(meaning)}" for name, meaning in MEANING.items())
    return f'<p class="dim">{meanings}. *: recommended.</p>'


def _section(number: int, title: str, text: str, figure: go.Figure) -> str:
    # Transparent, so that the page's colors show; SCRIPT sets those of axes and text, and follows the system's mode.
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 16, "t": 16, "b": 44},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        font={"family": "system-ui, sans-serif", "size": 13},
        hovermode="closest",
        hoverlabel={"align": "left"},
        dragmode=False,
    )
    drawn = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure{number}",
        default_height="100%",
        config={"responsive": True, "displayModeBar": False},
    )
    return f'<h2>{escape(title)}</h2><p class="dim">{escape(text)}</p><div class="figure">{drawn}</div>'
