"""A backtest as one JSON object and as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curvestop.clients.backtest.backtesting import Answer, Backtest
from curvestop.clients.backtest.contenders import DEFAULT, Setting
from curvestop.clients.backtest.curve_set import N_GOOD

MEANING = {
    "saved": "share of the epochs that would not have been trained",
    "top tenth stopped": "share of the best tenth of the runs",
    "best stopped": "in how many orders the very best run was",
    "regret": "what the best run that was left is worse by, in the metric",
    "good stopped": f"of the {N_GOOD} best runs (at most a tenth of all) in every order: the risk",
    "calibration": "how far stated probabilities are from what came true",
}


def as_json(result: Backtest) -> dict[str, Any]:
    """Numbers are means over the orders; `own_order` has those of the curves' own. None is what there is not."""
    return {
        **_figures(result.default),
        "recommended": _recommended(result),
        **{name: _figures(answer) for name, answer in result.pruners.items()},
        "settings": [_of_setting(answer) for answer in result.ours],
        "curves": {
            "source": result.curves.source,
            "metric": result.curves.metric,
            "direction": result.curves.direction,
            "runs": len(result.curves.curves),
            "epochs": result.curves.horizon,
            "steps": result.curves.steps,
            **{name.replace(" ", "_"): n for name, n in result.curves.counts.items()},
            "left_out": list(result.curves.left_out),
        },
        "orders": result.plan.orders,
        "seed": result.plan.seed,
        "warnings": list(result.warnings),
    }


def _recommended(result: Backtest) -> dict[str, Any]:
    found = result.recommended
    if found is None:
        return {"risk": result.plan.risk, "policy": None, "advice": _nothing(result)}
    return {"risk": result.plan.risk, **_of_setting(found), "advice": advice(found)}


def advice(answer: Answer) -> str:
    """What to write into a program for this policy."""
    setting = answer.entry
    return f"StudySettings(..., {setting.code})" if isinstance(setting, Setting) and setting != DEFAULT else DEFAULT.code


def _of_setting(answer: Answer) -> dict[str, Any]:
    setting = answer.entry
    assert isinstance(setting, Setting)
    return {
        "policy": setting.policy,
        "policy_settings": dict(setting.policy_settings),
        "threshold": setting.threshold if setting.policy == "threshold" else None,
        **_figures(answer),
        "calibration": [{"stated": stated, "true": true, "decision_points": n} for stated, true, n in answer.calibration()],
    }


def _figures(answer: Answer) -> dict[str, Any]:
    own = answer.outcomes[0]
    stopped, n = answer.good_stopped
    return {
        "epochs_saved": answer.mean("saved"),
        "epochs_saved_error": _error([outcome.saved for outcome in answer.outcomes]),
        "top_tenth_stopped": answer.mean("top_stopped"),
        "best_stopped": answer.mean("best_stopped"),
        "regret": _finite(answer.mean("shortfall")),
        "regret_in_deviations": _finite(answer.mean("regret")),
        "good_stopped": stopped,
        "good_runs": n,
        "calibration_error": answer.calibration_error,
        "own_order": {
            "epochs_saved": own.saved,
            "top_tenth_stopped": own.top_stopped,
            "best_stopped": own.best_stopped,
            "regret": _finite(own.shortfall),
        },
    }


def _error(values: list[float]) -> float | None:
    """Standard error over the orders."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)


def described(result: Backtest) -> str:
    curves = result.curves
    return (
        f"{len(curves.curves) + curves.n_silent:,} runs of {curves.metric} ({curves.direction}), {curves.horizon} epochs "
        f"({curves.steps}): {counted(curves.counts)}"
    )


def show(result: Backtest, console: Console) -> None:
    """The table, what is recommended, and what to do where there are too few curves."""
    console.print(escape(f"{result.curves.source}\n{described(result)}"), highlight=False)
    for line in result.curves.left_out:
        console.print(f"left out: {escape(line)}", highlight=False)
    console.print(_table(result))
    console.print("; ".join(f"{name}: {meaning}" for name, meaning in MEANING.items()) + ".", style="dim", highlight=False)
    for line in conclusions(result):
        console.print(f"\n{escape(line)}", highlight=False)


def conclusions(result: Backtest) -> Iterator[str]:
    found, risk = result.recommended, result.plan.risk
    if found is None:
        yield f"Recommended for a risk of {risk:g}: {_nothing(result)}"
    else:
        stopped, n = found.good_stopped
        yield (
            f"Recommended for a risk of {risk:g}: {found.entry.label}. It saved {found.mean('saved'):.1%} of the epochs and "
            f"stopped {stopped} of {n} good runs: {advice(found)}"
        )
    yield from result.warnings


def _nothing(result: Backtest) -> str:
    nearest = min(result.ours, key=lambda answer: (answer.risk, -answer.mean("saved")))
    stopped, n = nearest.good_stopped
    return (
        "nothing here saves epochs at this risk. Start with shadow=True, which stops nothing; or accept more: "
        f"{nearest.entry.label} stopped {stopped} of {n} good runs and saved {nearest.mean('saved'):.1%}."
    )


COLUMNS = ("", *MEANING)


def _table(result: Backtest) -> Table:
    orders = result.plan.orders
    title = "In the order of the runs" + (f" and {orders - 1} shuffled" if orders > 1 else "")
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(COLUMNS):
        table.add_column(column.replace(" stopped", "\nstopped"), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for answer, is_last in [(a, a is result.ours[-1]) for a in result.ours] + [(a, False) for a in result.pruners.values()]:
        style = "bold" if answer is result.recommended else ""
        table.add_row(*row(answer, is_recommended=answer is result.recommended), style=style, end_section=is_last)
    return table


def row(answer: Answer, *, is_recommended: bool) -> list[str]:
    """As texts, for `COLUMNS`."""
    orders, (stopped, n), error = len(answer.replays), answer.good_stopped, answer.calibration_error
    regret = answer.mean("shortfall")
    return [
        answer.entry.label + (" *" if is_recommended else ""),
        f"{answer.mean('saved'):.1%}",
        f"{answer.mean('top_stopped'):.1%}",
        f"{sum(outcome.best_stopped for outcome in answer.outcomes)} of {orders}",
        f"{regret:.4g}" if math.isfinite(regret) else "none left",
        f"{stopped} of {n}",
        "" if error is None else f"{error:.3f}",
    ]
