"""The figures of a backtest's report: saved against lost, the curves and their stops, the calibration.

plotly is imported by the functions that draw, as only a report needs it (extra `[plots]`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from curvestop.clients.backtest.backtesting import Backtest, ContenderResult
from curvestop.clients.backtest.contenders import DEFAULT, PolicySetting
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank

if TYPE_CHECKING:
    import plotly.graph_objects as go

POLICIES, RANKS, THRESHOLD, OTHERS, PRUNERS = "#3b82d6", "#6b7480", "#2a9d74", "#8e6bd1", "#dd7a2f"
BEST_RUN, GREY = "#2a9d74", "#8a94a3"
"""Colors: the policies learned, predictive-rank and threshold, our others, Optuna's pruners; the best run, the diagonal."""
MAX_CURVES = 150
"""Number of curves that are drawn: a fifth of them the best runs, and an even selection of all."""
_TEXT_POSITIONS = ("bottom center", "top center", "top left", "top right")
"""Where the texts of single points stand, so that the pruners' do not overlap."""


def tradeoff(result: Backtest) -> go.Figure:
    """Draw every policy and pruner: epochs saved against the share of the top tenth that was stopped.

    Args:
        result: The backtest; each point is a mean over its orders.

    Returns:
        Shares in [0, 1] on both axes; down and to the right is better. The recommended policy has a ring.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    # By their setting, so that the dotted line between the points means something.
    by_risk = sorted((p for p in result.policies if _policy(p) == "learned"), key=_risk)
    _add_points(figure, by_risk, "learned, by risk", POLICIES, [f"{_risk(p):g}" for p in by_risk], mode="lines+markers+text")
    by_margin = sorted((p for p in result.policies if _policy(p) == "predictive-rank"), key=_margin)
    by_delta = [p for p in result.policies if _policy(p) == "threshold"]
    margins, deltas = [f"{_margin(p):g}" for p in by_margin], [f"{_threshold(p):g}" for p in by_delta]
    _add_points(figure, by_margin, "predictive-rank, by margin", RANKS, margins, mode="lines+markers+text")
    _add_points(figure, by_delta, "threshold, by Delta", THRESHOLD, deltas, mode="lines+markers+text")
    # No line: these two have nothing in common but that each is a single point.
    others = [p for p in result.policies if _policy(p) in ("risk", "i-epoch")]
    _add_points(figure, others, "risk, i-epoch", OTHERS, [_policy(p) for p in others])
    pruners = list(result.pruners.values())
    _add_points(figure, pruners, "Optuna's pruners", PRUNERS, [p.contender.label.removeprefix("Optuna ") for p in pruners])
    if result.recommended is not None:
        x, y = _point(result.recommended)
        # A circle around the recommended point.
        ring = {"symbol": "circle-open", "size": 20, "color": POLICIES, "line": {"width": 2}}
        figure.add_trace(go.Scatter(x=[x], y=[y], mode="markers", name="recommended", marker=ring, hoverinfo="skip"))
    figure.update_xaxes(title="epochs saved", range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title="top tenth stopped", range=[-0.04, 1.04], tickformat=".0%")
    return figure


def _add_points(
    figure: go.Figure,
    results: Sequence[ContenderResult],
    name: str,
    color: str,
    texts: Sequence[str],
    *,
    mode: str = "markers+text",
) -> None:
    import plotly.graph_objects as go

    if not results:
        return
    points = [_point(result) for result in results]  # (saved, top_stopped), both in [0, 1]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            name=name,
            mode=mode,
            text=list(texts),
            textposition=list(_TEXT_POSITIONS[: len(texts)]) if mode == "markers+text" else "top center",
            textfont={"size": 11, "color": color},
            marker={"size": 10, "color": color},
            line={"color": color, "width": 1.5, "dash": "dot"},
            hovertext=[_hover(result) for result in results],
            hoverinfo="text",
            cliponaxis=False,  # a point at 0 or 1 is drawn whole
        )
    )


def _point(result: ContenderResult) -> tuple[float, float]:
    return result.mean("saved"), result.mean("top_stopped")


def _hover(result: ContenderResult) -> str:
    regret, (stopped, n) = result.mean("shortfall"), result.good_stopped
    return (
        f"<b>{escape(result.contender.label)}</b><br>{result.mean('saved'):.1%} of the epochs saved<br>"
        f"{result.mean('top_stopped'):.1%} of the top tenth stopped<br>{stopped} of {n} good runs stopped<br>"
        f"{f'regret {regret:.4g}' if math.isfinite(regret) else 'all runs were stopped'}"
    )


def _policy(result: ContenderResult) -> str:
    return result.contender.policy if isinstance(result.contender, PolicySetting) else ""


def _margin(result: ContenderResult) -> float:
    settings = result.contender.policy_settings if isinstance(result.contender, PolicySetting) else {}
    return float(settings.get("margin", PredictiveRank().margin))


def _risk(result: ContenderResult) -> float:
    settings = result.contender.policy_settings if isinstance(result.contender, PolicySetting) else {}
    return float(settings.get("risk", LearnedPolicy().risk))


def _threshold(result: ContenderResult) -> float:
    # NaN equals no threshold, so a pruner is never drawn as one of ours.
    return result.contender.threshold if isinstance(result.contender, PolicySetting) else math.nan


def stops(result: Backtest, policy: ContenderResult) -> go.Figure:
    """Draw the curves in their recorded order, and where the policy would have stopped them; reasons under the pointer.

    Args:
        result: The backtest, whose curves are drawn.
        policy: One of its policies; its replay in the recorded order is shown.

    Returns:
        The best curves and an even selection of all, see `MAX_CURVES`; the metric over epochs.
    """
    import plotly.graph_objects as go

    curves, replay = result.curves, policy.replays[0]
    ended, stopped = replay.ended_at.astype(int), replay.ended_at < curves.epochs  # (n,) epochs, (n,) bool
    best_first = np.argsort(-curves.finals, kind="stable")  # finals are scores: higher is better whatever the direction
    # Positions in the recorded order, not among the best: a picture of the whole search.
    evenly = np.linspace(0, len(best_first) - 1, MAX_CURVES).astype(int)
    rows = sorted({*best_first[: MAX_CURVES // 5].tolist(), *evenly.tolist()})
    best = int(best_first[0])
    figure = go.Figure()
    groups = (
        ("stopped", PRUNERS, 0.45, [r for r in rows if stopped[r] and r != best]),
        ("trained to the end", POLICIES, 0.45, [r for r in rows if not stopped[r] and r != best]),
        ("the best run", BEST_RUN, 1.0, [best]),
    )
    for name, color, opacity, members in groups:
        x, y = _joined([curves.curves[r, : ended[r]] for r in members])  # a stopped run is drawn up to its stop
        width = 3 if opacity == 1 else 1
        figure.add_trace(
            go.Scattergl(  # WebGL draws many points faster than SVG
                x=x, y=y, name=name, mode="lines", line={"color": color, "width": width}, opacity=opacity, hoverinfo="skip"
            )
        )
    stopped_rows = [r for r in rows if stopped[r]]
    figure.add_trace(
        go.Scatter(
            x=[int(ended[r]) for r in stopped_rows],
            y=[_last_finite(curves.curves[r, : ended[r]]) for r in stopped_rows],
            name="where it was stopped",
            mode="markers",
            marker={"symbol": "x", "size": 6, "color": PRUNERS},
            hovertext=[_stop_hover(result, r, replay.reasons.get(r, "")) for r in stopped_rows],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title="epoch", range=[0, curves.max_epochs * 1.02])
    figure.update_yaxes(title=curves.metric, range=_axis_range(curves.curves[rows]))
    return figure


def _joined(curves: Sequence[Array]) -> tuple[list[int | None], list[float | None]]:
    """Return many curves as one line with gaps: one trace draws much faster than many."""
    x: list[int | None] = []
    y: list[float | None] = []
    for curve in curves:
        x += [*range(1, len(curve) + 1), None]  # None is a gap
        y += [*(value if math.isfinite(value) else None for value in curve.tolist()), None]
    return x, y


def _last_finite(curve: Array) -> float | None:
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if len(finite) else None


def _axis_range(curves: Array) -> list[float]:
    """Return the range of most values after the first tenth of the epochs: one wild run must not flatten all others."""
    # `(n, T - T // 10)`; 1 % below and 5 % above may be cut off.
    later = curves[:, curves.shape[1] // 10 :]
    low, high = np.quantile(later[np.isfinite(later)] if np.isfinite(later).any() else [0.0, 1.0], [0.01, 0.95])
    height = max(high - low, 1e-12)
    return [float(low - 0.2 * height), float(high + 0.2 * height)]


def _stop_hover(result: Backtest, row: int, reason: str) -> str:
    """Return a run's reason, in lines of about 60 characters, and its final value."""
    words, lines = f"{result.curves.recorded[row].trial}: {reason}".split(), [""]
    for word in words:
        lines = [*lines, word] if len(lines[-1]) + len(word) > 60 else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    final = result.curves.finals[row] * result.curves.sign  # score -> metric
    return "<br>".join([*map(escape, lines), f"final value {final:.5g}" if math.isfinite(final) else "final value not known"])


def calibration(result: Backtest) -> go.Figure:
    """Draw stated probabilities against what came true, in ten equally filled bins; on the dotted line they are right.

    Args:
        result: The backtest; drawn are its default policy, and policy "threshold" at 0.95 if it was replayed.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="right", hoverinfo="skip"))
    for policy, color in (
        (result.default, POLICIES),
        *((p, THRESHOLD) for p in result.policies if _threshold(p) == 0.95 and _policy(p) == "threshold"),
    ):
        bins = policy.calibration()
        figure.add_trace(
            go.Scatter(
                x=[stated for stated, _, _ in bins],
                y=[true for _, true, _ in bins],
                name="default" if policy.contender == DEFAULT else policy.contender.label,
                mode="lines+markers",
                line={"color": color, "width": 1.5},
                marker={"size": 8, "color": color},
                hovertext=[f"stated {stated:.3f}, true {true:.3f}, {n} decisions" for stated, true, n in bins],
                hoverinfo="text",
                cliponaxis=False,
            )
        )
    figure.update_xaxes(title="stated probability", range=[0, 1])
    figure.update_yaxes(title="came true", range=[-0.02, 1.04])
    return figure
