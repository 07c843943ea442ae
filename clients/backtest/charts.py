"""The figures of a backtest's report: what is saved against what is lost, the curves and their stops, the calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from curvestop.clients.backtest.backtesting import Answer, Backtest
from curvestop.clients.backtest.contenders import DEFAULT, Setting
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.policies.predictive_rank import PredictiveRank

OURS, BY_DELTA, BY_RISK, OPTUNAS, BEST, GREY = "#3b82d6", "#2a9d74", "#8e6bd1", "#dd7a2f", "#2a9d74", "#8a94a3"
MOST_CURVES = 150
"""Curves that are drawn: those of the good runs, and an even selection of the others."""
_PLACES = ("bottom center", "top center", "top left", "top right")


def tradeoff(result: Backtest) -> go.Figure:
    """Every policy and pruner: epochs saved against the share of the top tenth that was stopped."""
    figure = go.Figure()
    ours = [a for a in result.ours if isinstance(a.entry, Setting)]
    by_margin = sorted((a for a in ours if _policy(a) == "predictive-rank"), key=_margin)
    by_delta = [a for a in ours if _policy(a) == "threshold"]
    _add(figure, by_margin, "predictive-rank, by margin", OURS, [f"{_margin(a):g}" for a in by_margin], "lines+markers+text")
    _add(figure, by_delta, "threshold, by Delta", BY_DELTA, [f"{_threshold(a):g}" for a in by_delta], "lines+markers+text")
    others = [a for a in ours if _policy(a) in ("risk", "i-epoch")]
    _add(figure, others, "risk, i-epoch", BY_RISK, [_policy(a) for a in others])
    pruners = list(result.pruners.values())
    _add(figure, pruners, "Optuna's pruners", OPTUNAS, [a.entry.label.removeprefix("Optuna ") for a in pruners])
    if result.recommended is not None:
        x, y = _place(result.recommended)
        ring = {"symbol": "circle-open", "size": 20, "color": OURS, "line": {"width": 2}}
        figure.add_trace(go.Scatter(x=[x], y=[y], mode="markers", name="recommended", marker=ring, hoverinfo="skip"))
    figure.update_xaxes(title="epochs saved", range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title="top tenth stopped", range=[-0.04, 1.04], tickformat=".0%")
    return figure


def _add(
    figure: go.Figure, answers: Sequence[Answer], name: str, color: str, texts: Sequence[str], mode: str = "markers+text"
) -> None:
    if not answers:
        return
    places = [_place(answer) for answer in answers]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in places],
            y=[y for _, y in places],
            name=name,
            mode=mode,
            text=list(texts),
            textposition=list(_PLACES[: len(texts)]) if mode == "markers+text" else "top center",
            textfont={"size": 11, "color": color},
            marker={"size": 10, "color": color},
            line={"color": color, "width": 1.5, "dash": "dot"},
            hovertext=[_hover(answer) for answer in answers],
            hoverinfo="text",
            cliponaxis=False,
        )
    )


def _place(answer: Answer) -> tuple[float, float]:
    return answer.mean("saved"), answer.mean("top_stopped")


def _hover(answer: Answer) -> str:
    regret, (stopped, n) = answer.mean("shortfall"), answer.good_stopped
    return (
        f"<b>{escape(answer.entry.label)}</b><br>{answer.mean('saved'):.1%} of the epochs saved<br>"
        f"{answer.mean('top_stopped'):.1%} of the top tenth stopped<br>{stopped} of {n} good runs stopped<br>"
        f"regret {f'{regret:.4g}' if math.isfinite(regret) else ': no run was left'}"
    )


def _policy(answer: Answer) -> str:
    return answer.entry.policy if isinstance(answer.entry, Setting) else ""


def _margin(answer: Answer) -> float:
    settings = answer.entry.policy_settings if isinstance(answer.entry, Setting) else {}
    return float(settings.get("margin", PredictiveRank().margin))


def _threshold(answer: Answer) -> float:
    return answer.entry.threshold if isinstance(answer.entry, Setting) else math.nan


def stops(result: Backtest, answer: Answer) -> go.Figure:
    """The curves in their own order, and where the policy would have stopped them; reasons under the pointer."""
    curves, replayed = result.curves, answer.replays[0]
    ended, stopped = replayed.ended_at.astype(int), replayed.ended_at < curves.epochs
    order = np.argsort(-curves.finals, kind="stable")
    rows = sorted({*order[: MOST_CURVES // 5].tolist(), *np.linspace(0, len(order) - 1, MOST_CURVES).astype(int).tolist()})
    figure = go.Figure()
    groups = (
        ("stopped", OPTUNAS, 0.45, [r for r in rows if stopped[r] and r != order[0]]),
        ("trained to the end", OURS, 0.45, [r for r in rows if not stopped[r] and r != order[0]]),
        ("the best run", BEST, 1.0, [int(order[0])]),
    )
    for name, color, opacity, members in groups:
        x, y = _joined([curves.curves[r, : ended[r]] for r in members])
        width = 3 if opacity == 1 else 1
        figure.add_trace(
            go.Scattergl(
                x=x, y=y, name=name, mode="lines", line={"color": color, "width": width}, opacity=opacity, hoverinfo="skip"
            )
        )
    at = [r for r in rows if stopped[r]]
    figure.add_trace(
        go.Scatter(
            x=[int(ended[r]) for r in at],
            y=[_last(curves.curves[r, : ended[r]]) for r in at],
            name="where it was stopped",
            mode="markers",
            marker={"symbol": "x", "size": 6, "color": OPTUNAS},
            hovertext=[_why(result, r, replayed.reasons.get(r, "")) for r in at],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title="epoch", range=[0, curves.horizon * 1.02])
    figure.update_yaxes(title=curves.metric, range=_bulk(curves.curves[rows]))
    return figure


def _joined(curves: Sequence[Array]) -> tuple[list[int | None], list[float | None]]:
    """Many curves as one line with gaps."""
    x: list[int | None] = []
    y: list[float | None] = []
    for curve in curves:
        x += [*range(1, len(curve) + 1), None]
        y += [*(value if math.isfinite(value) else None for value in curve.tolist()), None]
    return x, y


def _last(curve: Array) -> float | None:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else None


def _bulk(curves: Array) -> list[float]:
    """The range of nearly all values but the first: one wild run would leave a line for the others."""
    later = curves[:, curves.shape[1] // 10 :]
    low, high = np.quantile(later[np.isfinite(later)] if np.isfinite(later).any() else [0.0, 1.0], [0.01, 0.95])
    room = max(high - low, 1e-12)
    return [float(low - 0.2 * room), float(high + 0.2 * room)]


def _why(result: Backtest, row: int, reason: str) -> str:
    words, lines = f"{result.curves.recorded[row].trial}: {reason}".split(), [""]
    for word in words:
        lines = [*lines, word] if len(lines[-1]) + len(word) > 60 else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    final = result.curves.finals[row] * result.curves.sign
    return "<br>".join(
        [*map(escape, lines), f"it ended at {final:.5g}" if math.isfinite(final) else "how it would have ended is not known"]
    )


def calibration(result: Backtest) -> go.Figure:
    """Stated probabilities against what came true, in ten equally filled bins; on the dotted line they are right."""
    figure = go.Figure()
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="right", hoverinfo="skip"))
    for answer, color in (
        (result.default, OURS),
        *((a, BY_DELTA) for a in result.ours if _threshold(a) == 0.95 and _policy(a) == "threshold"),
    ):
        bins = answer.calibration()
        figure.add_trace(
            go.Scatter(
                x=[stated for stated, _, _ in bins],
                y=[true for _, true, _ in bins],
                name="default" if answer.entry == DEFAULT else answer.entry.label,
                mode="lines+markers",
                line={"color": color, "width": 1.5},
                marker={"size": 8, "color": color},
                hovertext=[f"stated {stated:.3f}, true {true:.3f}, {n} decision_points" for stated, true, n in bins],
                hoverinfo="text",
                cliponaxis=False,
            )
        )
    figure.update_xaxes(title="stated probability", range=[0, 1])
    figure.update_yaxes(title="came true", range=[-0.02, 1.04])
    return figure
