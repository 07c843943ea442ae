"""A backtest's result as one JSON object, and as tables and sentences for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from curvestop.clients.backtest.backtesting import ENOUGH_RUNS, Backtest, ContenderResult
from curvestop.clients.backtest.contenders import DEFAULT, PolicySetting
from curvestop.clients.backtest.curve_set import N_GOOD
from curvestop.srm.plural import plural
from curvestop.srm.seed_noise import SeedNoise

N_NAMED = 10
"""Number of the best runs that are named where the user's own rule stopped them."""

MEANING = {
    "saved": "share of the epochs that would not have been trained",
    "top tenth stopped": "share of the best tenth of the runs that was stopped",
    "best stopped": "number of orders in which the very best run was stopped",
    "best lost": "number of orders in which the best run left is worse by more than the seed noise",
    "regret": "how much worse the best run left is, in the metric (in seed noises)",
    "good stopped": f"how many of the {N_GOOD} best runs (at most a tenth of all) were stopped, in all orders: the risk",
    "calibration": "mean distance between stated probabilities and what came true",
}
"""What each column of the table says."""

# The first column has the names of policies and needs no heading.
COLUMNS = ("", *MEANING)


def as_json(result: Backtest) -> dict[str, Any]:
    """Return a backtest as one JSON object.

    Args:
        result: The backtest.

    Returns:
        Figures of the default policy, means over the orders (`own_order`: in the recorded order), then the recommendation, the
        figures of Optuna's pruners and of all settings, the seed noise, the curves and the warnings. A figure that does not exist
        is None.
    """
    noise = result.seed_noise
    return {
        **_figures(result.default, noise),
        "recommended": _recommended(result),
        **{name: _figures(pruner, noise) for name, pruner in result.pruners.items()},
        "own_rule": None if result.own_rule is None else {**_figures(result.own_rule, noise), "best": best_of_own_rule(result)},
        "settings": [_setting(policy, noise) for policy in result.policies],
        "seed_noise": None if noise is None else asdict(noise),
        "curves": {
            "source": result.curves.source,
            "metric": result.curves.metric,
            "direction": result.curves.direction,
            "runs": len(result.curves.curves),
            "epochs": result.curves.max_epochs,
            "steps": result.curves.steps,
            **{name.replace(" ", "_"): n for name, n in result.curves.counts.items()},
            "left_out": list(result.curves.left_out),
            "notes": list(result.curves.notes),
        },
        "orders": result.options.orders,
        "seed": result.options.seed,
        "warnings": list(result.warnings),
    }


def _recommended(result: Backtest) -> dict[str, Any]:
    best = result.recommended
    common = {"risk": result.options.risk, "better_pruner": result.better_pruner}
    if best is None:
        return {**common, "policy": None, "advice": _no_recommendation(result)}
    return {**common, **_setting(best, result.seed_noise), "advice": advice(best)}


def advice(policy: ContenderResult) -> str:
    """Return the code that chooses a policy.

    Args:
        policy: The result of one of our policies.

    Returns:
        Python code, or a sentence if the policy is the default: then nothing is to be set.
    """
    setting = policy.contender
    return f"StudySettings(..., {setting.code})" if isinstance(setting, PolicySetting) and setting != DEFAULT else DEFAULT.code


def _setting(policy: ContenderResult, noise: SeedNoise | None) -> dict[str, Any]:
    setting = policy.contender
    assert isinstance(setting, PolicySetting)  # only policies are asked about; pruners have figures but no setting
    return {
        "policy": setting.policy,
        "policy_settings": dict(setting.policy_settings),
        "threshold": setting.threshold if setting.policy == "threshold" else None,
        **_figures(policy, noise),
        "calibration": [{"stated": stated, "true": true, "decisions": n} for stated, true, n in policy.calibration()],
    }


def _figures(contender: ContenderResult, noise: SeedNoise | None) -> dict[str, Any]:
    recorded_order = contender.outcomes[0]  # the search as it really went
    stopped, n = contender.good_stopped
    return {
        "epochs_saved": contender.mean("saved"),
        "epochs_saved_error": _standard_error([outcome.saved for outcome in contender.outcomes]),
        "top_tenth_stopped": contender.mean("top_stopped"),
        "best_stopped": contender.mean("best_stopped"),
        "regret": _finite(contender.mean("shortfall")),  # in the metric, as in the table
        "regret_in_deviations": _finite(contender.mean("regret")),
        "regret_in_noise": None if noise is None else _finite(contender.mean("shortfall") / noise.deviation),
        "best_lost_beyond_noise": None if noise is None else contender.n_lost_beyond(noise) / len(contender.replays),
        "good_stopped": stopped,
        "good_runs": n,
        "calibration_error": contender.calibration_error,
        "own_order": {
            "epochs_saved": recorded_order.saved,
            "top_tenth_stopped": recorded_order.top_stopped,
            "best_stopped": recorded_order.best_stopped,
            "regret": _finite(recorded_order.shortfall),
        },
    }


def _standard_error(values: list[float]) -> float | None:
    """Return the standard error of a mean over the orders; None for a single order."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    # JSON has no infinity: the regret is infinite if a policy stopped every run.
    return value if math.isfinite(value) else None


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)


def description(result: Backtest) -> list[str]:
    """Return lines about the curves: how many, of which metric, how long, what became of them; what was left out; notes."""
    curves = result.curves
    return [
        f"{len(curves.curves) + curves.n_empty:,} runs of {curves.metric} ({curves.direction}), {curves.max_epochs} epochs "
        f"({curves.steps}): {_counts(curves.counts)}",
        *(f"left out: {line}" for line in curves.left_out),
        *(f"note: {line}" for line in curves.notes),
    ]


def show(result: Backtest, console: Console) -> None:
    """Print the table, the recommendation and the warnings.

    Args:
        result: The backtest.
        console: Where to print, from `new_console`; the table needs about 120 columns.
    """
    for line in (result.curves.source, *description(result)):
        console.print(line)
    console.print(_table(result))
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in MEANING.items())
    console.print(f"{meanings}. *: recommended.", style="dim")
    for line in conclusions(result):
        console.print(f"\n{line}")


def conclusions(result: Backtest) -> Iterator[str]:
    """Yield the recommendation, the seed noise and the warnings as sentences.

    Args:
        result: The backtest.

    Yields:
        First the recommendation at the risk asked for, or why there is none; then the pruner of Optuna that is better, if one is;
        then what the user's own rule did to the ten best runs, if there is one; then what the seed noise is and whether the
        default policy lost more than that; then what to do about too few curves.
    """
    best, risk = result.recommended, result.options.risk
    if best is None:
        yield f"Recommended for a risk of {risk:g}: {_no_recommendation(result)}"
    else:
        stopped, n = best.good_stopped
        yield (
            f"Recommended for a risk of {risk:g}: {best.contender.label}. It saved {best.mean('saved'):.1%} of the epochs and "
            f"stopped {stopped} of {n} good runs: {advice(best)}"
        )
    if (pruner := result.better_pruner) is not None:
        yield _pruner_sentence(result, pruner)
    if result.own_rule is not None:
        yield _own_rule_sentence(result, result.own_rule)
    yield _noise_sentence(result)
    yield from result.warnings


def _pruner_sentence(result: Backtest, name: str) -> str:
    pruner = result.pruners[name]
    stopped, n = pruner.good_stopped
    return (
        f"On these curves {pruner.contender.label} saved more at this risk: {pruner.mean('saved'):.1%} of the epochs, with "
        f"{stopped} of {n} good runs stopped. If that holds for {ENOUGH_RUNS} runs or more, it is a reason to use it instead."
    )


def best_of_own_rule(result: Backtest) -> list[dict[str, Any]]:
    """Return the best runs, best first, and what the user's own rule did to them in the recorded order.

    Args:
        result: A backtest with a rule of the user's.

    Returns:
        For each of the `N_NAMED` best runs with a final value its `run`, `final` value, and `stopped_after`, an epoch or None.
    """
    assert result.own_rule is not None
    curves, ended_at = result.curves, result.own_rule.replays[0].ended_at
    best = np.argsort(-curves.finals, kind="stable")[: min(N_NAMED, int(curves.is_complete.sum()))]
    return [
        {
            "run": curves.recorded[row].trial,
            "final": curves.sign * float(curves.finals[row]),
            "stopped_after": int(ended_at[row]) if ended_at[row] < curves.epochs[row] else None,
        }
        for row in best.tolist()
    ]


def _own_rule_sentence(result: Backtest, rule: ContenderResult) -> str:
    best = best_of_own_rule(result)
    stopped = [
        f"no. {rank} ({run['run']}, {run['final']:.4g}) after epoch {run['stopped_after']}"
        for rank, run in enumerate(best, 1)
        if run["stopped_after"] is not None
    ]
    saved, by_default = rule.mean("saved"), result.default.mean("saved")
    return (
        f"{rule.contender.label} saved {saved:.1%} of the epochs, the default policy {by_default:.1%}. In the recorded order it "
        f"stopped {', '.join(stopped) or 'none'} of the {len(best)} best runs."
    )


def _noise_sentence(result: Backtest) -> str:
    noise, default = result.seed_noise, result.default
    if noise is None:
        return "Seed noise: not known. Three repeats of good configurations, with other seeds, would tell which losses count."
    shortfall, n_lost, n = default.mean("shortfall"), default.n_lost_beyond(noise), len(default.replays)
    if not shortfall:
        return f"Seed noise {noise}. The default policy kept the best run, or one as good."
    verdict = f"a loss in {n_lost} of {plural(n, 'order')}" if n_lost else "not a loss"
    return (
        f"Seed noise {noise}. The best run that the default policy kept is {shortfall / noise.deviation:.2g} of it worse than "
        f"the best of all (mean over {plural(n, 'order')}): {verdict}."
    )


def _no_recommendation(result: Backtest) -> str:
    # The least risk, then the most saved.
    nearest = min(result.policies, key=lambda policy: (policy.risk, -policy.mean("saved")))
    stopped, n = nearest.good_stopped
    return (
        "no policy saves epochs at this risk. Start with shadow=True, which stops nothing, or accept a higher risk: "
        f"{nearest.contender.label} stopped {stopped} of {n} good runs and saved {nearest.mean('saved'):.1%}."
    )


def _table(result: Backtest) -> Table:
    shuffled = result.options.orders - 1
    title = "Runs replayed in their recorded order" + (f" and in {shuffled} shuffled" if shuffled else "")
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(COLUMNS):
        # Two lines in the head keep the table narrow.
        head = column.replace(" stopped", "\nstopped").replace(" lost", "\nlost")
        table.add_column(head, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for contender in result.contenders:
        is_recommended, ends_section = contender is result.recommended, contender is result.policies[-1]
        cells = table_row(contender, result.seed_noise, is_recommended=is_recommended)
        table.add_row(*cells, style="bold" if is_recommended else "", end_section=ends_section)
    return table


def table_row(contender: ContenderResult, noise: SeedNoise | None, *, is_recommended: bool) -> list[str]:
    """Return the cells of a policy or pruner, one for each of `COLUMNS`.

    Args:
        contender: The policy's or pruner's results; the cells are means or sums over its orders.
        noise: Seed noise of the runs; None leaves empty what is about it.
        is_recommended: Whether the label gets the star of the recommendation.
    """
    (stopped, n), error, n_orders = contender.good_stopped, contender.calibration_error, len(contender.replays)
    return [
        contender.contender.label + (" *" if is_recommended else ""),
        f"{contender.mean('saved'):.1%}",
        f"{contender.mean('top_stopped'):.1%}",
        f"{sum(outcome.best_stopped for outcome in contender.outcomes)} of {n_orders}",
        "" if noise is None else f"{contender.n_lost_beyond(noise)} of {n_orders}",
        _regret(contender.mean("shortfall"), noise),
        f"{stopped} of {n}",
        "" if error is None else f"{error:.3f}",
    ]


def _regret(shortfall: float, noise: SeedNoise | None) -> str:
    if not math.isfinite(shortfall):
        return "none left"
    return f"{shortfall:.3g}" + (f" ({shortfall / noise.deviation:.2g})" if noise and shortfall else "")
