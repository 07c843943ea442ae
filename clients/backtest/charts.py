"""What the charts of a backtest's page show: saved against lost, the curves and their stops, the calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from curvestop.clients.backtest.backtesting import Backtest, ContenderResult
from curvestop.clients.backtest.contenders import DEFAULT, PolicySetting
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.grid import Grid
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank

MAX_CURVES = 150
"""Number of curves that are drawn: a fifth of them the best runs, and an even selection of all."""

# Names of colors in style.css, which everyone tells apart.
_LEARNED, _RANKS, _THRESHOLD, _OTHERS, _PRUNERS, _OWN = "finished", "running", "shadow", "dropped", "stopped", "failed"


def tradeoff(result: Backtest) -> dict[str, Any]:
    """Return every policy and pruner: epochs saved against the share of the top tenth that was stopped.

    Args:
        result: The backtest; each point is a mean over its orders.

    Returns:
        `points`, as `Charts.Scatter` in charts.js draws them, with shares in [0, 1] on both axes, and `kinds`, the legend.
    """
    by_risk = sorted((p for p in result.policies if _policy(p) == "learned"), key=_risk)
    by_margin = sorted((p for p in result.policies if _policy(p) == "predictive-rank"), key=_margin)
    by_delta = [p for p in result.policies if _policy(p) == "threshold"]
    others = [p for p in result.policies if _policy(p) in ("risk", "i-epoch")]
    pruners = list(result.pruners.values())
    own = [] if result.own_rule is None else [result.own_rule]
    # Each by its setting, so that the line between the points means something; single points have no line.
    groups = (
        (by_risk, _LEARNED, "learned, by risk", [f"{_risk(p):g}" for p in by_risk], "learned"),
        (by_margin, _RANKS, "predictive-rank, by margin", [f"{_margin(p):g}" for p in by_margin], "margin"),
        (by_delta, _THRESHOLD, "threshold, by Delta", [f"{_threshold(p):g}" for p in by_delta], "Delta"),
        (others, _OTHERS, "risk, i-epoch", [_policy(p) for p in others], None),
        (pruners, _PRUNERS, "Optuna's pruners", [p.contender.label.removeprefix("Optuna ") for p in pruners], None),
        (own, _OWN, "your rule", [p.contender.label for p in own], None),
    )
    points = [
        {
            "x": contender.mean("saved"),
            "y": contender.mean("top_stopped"),
            "kind": kind,
            "size": 5,
            "text": text,
            "line": line,
            "ring": contender is result.recommended,
            "words": _words(contender),
        }
        for members, kind, _, texts, line in groups
        for contender, text in zip(members, texts, strict=True)
    ]
    return {"points": points, "kinds": [[kind, name] for members, kind, name, _, _ in groups if members]}


def _words(result: ContenderResult) -> list[str]:
    regret, (stopped, n) = result.mean("shortfall"), result.good_stopped
    return [
        result.contender.label,
        f"{result.mean('saved'):.1%} of the epochs saved",
        f"{result.mean('top_stopped'):.1%} of the top tenth stopped",
        f"{stopped} of {n} good runs stopped",
        f"regret {regret:.4g}" if math.isfinite(regret) else "all runs were stopped",
    ]


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


def stops(result: Backtest, policy: ContenderResult) -> dict[str, Any]:
    """Return the curves in their recorded order, and where and why the policy would have stopped them.

    Args:
        result: The backtest, whose curves are shown.
        policy: One of its policies; its replay in the recorded order is shown.

    Returns:
        `study` and `trials`, as `Charts.LearningCurves` in charts.js draws them: the best curves and an even selection of all,
        see `MAX_CURVES`; `best`, the name of the best run; and a `title`.
    """
    curves, replay, grid = result.curves, policy.replays[0], Grid(result.curves.max_epochs)
    best_first = np.argsort(-curves.finals, kind="stable")  # finals are scores: higher is better whatever the direction
    # Positions in the recorded order, not among the best: a picture of the whole search.
    evenly = np.linspace(0, len(best_first) - 1, MAX_CURVES).astype(int)
    rows = sorted({*best_first[: MAX_CURVES // 5].tolist(), *evenly.tolist()})
    trials = []
    for row in rows:
        n_epochs, final = int(replay.ended_at[row]), float(curves.finals[row]) * curves.sign  # score -> metric
        is_stopped = n_epochs < curves.epochs[row]
        stop = {"epoch": n_epochs, "reason": replay.reasons.get(row, ""), "acted_on": True}
        trials.append(
            {
                "name": curves.recorded[row].trial,
                "kind": "stopped" if is_stopped else "finished",
                "values": _at_points(curves.curves[row, :n_epochs], grid),  # a stopped run is drawn up to its stop
                "means": [],
                "final": final if math.isfinite(final) else None,
                **({"stop": stop} if is_stopped else {}),
            }
        )
    study = {
        "metric": curves.metric,
        "direction": curves.direction,
        "max_epochs": curves.max_epochs,
        "max_resource": curves.max_epochs,
        "resource": "epoch",
        "n_points": len(grid),
    }
    title = f"Your runs, and where {policy.contender.label} would have stopped them"
    return {"title": title, "study": study, "trials": trials, "best": curves.recorded[int(best_first[0])].trial}


def _at_points(curve: Array, grid: Grid) -> list[float]:
    """Return a curve at the points of the grid, up to its first value that is not finite."""
    values = [float(curve[grid.epoch(point) - 1]) for point in range(1, grid.n_points(len(curve)) + 1)]
    n_finite = next((i for i, value in enumerate(values) if not math.isfinite(value)), len(values))
    return values[:n_finite]


def calibration(result: Backtest) -> dict[str, Any]:
    """Return stated probabilities and what came true, in ten equally filled bins.

    Args:
        result: The backtest; shown are its default policy, and policy "threshold" at 0.95 if it was replayed.

    Returns:
        `points` and `kinds`, as those of `tradeoff`; two of the points are the ends of the diagonal.
    """
    stated_ones: Sequence[tuple[ContenderResult, str]] = (
        (result.default, _LEARNED),
        *((p, _THRESHOLD) for p in result.policies if _threshold(p) == 0.95 and _policy(p) == "threshold"),
    )
    names = {kind: "default" if policy.contender == DEFAULT else policy.contender.label for policy, kind in stated_ones}
    points = [
        {
            "x": stated,
            "y": true,
            "kind": kind,
            "size": 4.5,
            "line": kind,
            "words": [names[kind], f"stated {stated:.3f}", f"came true {true:.3f}", f"{n} decisions"],
        }
        for policy, kind in stated_ones
        for stated, true, n in policy.calibration()
    ]
    kinds = [[kind, name] for kind, name in names.items() if any(point["kind"] == kind for point in points)]
    ends = [{"x": p, "y": p, "kind": "dropped", "size": 0.1, "line": "diagonal", "words": ["as stated"]} for p in (0, 1)]
    return {"points": [*ends, *points], "kinds": kinds}
