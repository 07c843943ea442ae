"""A backtest as one HTML file that needs neither server nor network: the dashboard's look, charts and colors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from curvestop.clients.backtest import charts
from curvestop.clients.backtest.backtesting import Backtest
from curvestop.clients.backtest.summary import COLUMNS, MEANING, conclusions, description, table_row
from curvestop.frozen_page import page_with
from curvestop.srm.plural import plural


def write_report(result: Backtest, path: Path) -> None:
    """Write a backtest as an HTML page.

    Args:
        result: The backtest.
        path: The file to write; an existing one is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    path.write_text(page_with(content(result), template="backtest.html"), encoding="utf-8")


def content(result: Backtest) -> dict[str, Any]:
    """Return what the page shows, as `backtest.js` reads it.

    Args:
        result: The backtest; the chart of stops shows its recommended policy, or without one the default.

    Returns:
        Lines of text (`about`, `orders`, `conclusions`, `meanings`), `figures` of the default policy, the command's `table`, and
        what the three charts show: `tradeoff`, `curves`, `calibration`.
    """
    heading, *lines = description(result)
    return {
        "metric": result.curves.metric,
        "about": [f"{result.curves.source}: {heading}", *lines],
        "orders": f"The default policy, mean over {plural(len(result.default.replays), 'order')} of the runs:",
        "figures": _figures(result),
        "conclusions": list(conclusions(result)),
        # The order of the command's table, so that the two can be compared line by line.
        "table": [
            list(COLUMNS),
            *(table_row(one, result.seed_noise, is_recommended=one is result.recommended) for one in result.contenders),
        ],
        "meanings": "; ".join(f"{name}: {meaning}" for name, meaning in MEANING.items()) + ". *: recommended.",
        "tradeoff": charts.tradeoff(result),
        # The policy that a reader would use.
        "curves": charts.stops(result, result.recommended or result.default),
        "calibration": charts.calibration(result),
    }


def _figures(result: Backtest) -> list[list[str]]:
    """Return value and name of the default policy's figures: what a reader gets who sets nothing."""
    default = result.default
    regret, n_best_stopped = default.mean("shortfall"), sum(outcome.best_stopped for outcome in default.outcomes)
    return [
        [f"{default.mean('saved'):.0%}", "of the epochs saved"],
        [f"{default.mean('top_stopped'):.0%}", "of the top tenth stopped"],
        [f"{n_best_stopped} of {len(default.replays)}", "orders stopped the best run"],
        [f"{regret:.3g}" if math.isfinite(regret) else "none left", f"regret, in {result.curves.metric}"],
    ]
