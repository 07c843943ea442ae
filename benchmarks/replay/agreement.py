"""Does this replay agree with another one, written apart from it, on the rules that both have?

The other one is a script with `load(file)`, the curves with higher being better, and `run(curves, order, rule)`, which gives
(recovered, share of the top tenth stopped, best stopped, speed-up). Its speed-up divides the epochs of the whole set by those
that the trials in `order` were trained: of n curves of which k are replayed it is n / k too high, and is corrected here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile
from benchmarks.replay.rule_replay import Replay
from benchmarks.replay.shuffled_study import shuffled
from curvestop.clients.backtest.curve_set import Outcome
from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.rules import Median, Rank

RULES: Mapping[str, Rule] = {
    "median-completed": Median(),
    "median-completed-w25": Median(warm_up=0.25),
    "median-all": Median(over="all"),
    "rank-.6-.8": Rank(keep=(0.6, 0.8)),
    "rank-.55-.7": Rank(keep=(0.55, 0.7)),
}
"""The other script's names for rules, and the same rules here."""
Other = Callable[[Any, Any, str], tuple[Any, Any, Any, Any]]


@dataclass(frozen=True)
class Agreement:
    """One rule on one order of a set: (recovered, top tenth stopped, best stopped, speed-up) here and there.

    as_printed: the speed-up there, not corrected.
    """

    set_name: str
    rule: str
    here: tuple[float, ...]
    there: tuple[float, ...]
    as_printed: float

    @property
    def is_equal(self) -> bool:
        return bool(np.allclose(self.here, self.there, rtol=1e-9))


def agreements(sets: Sequence[CurveFile], script: Path, *, n_trials: int, seed: int) -> list[Agreement]:
    """Every rule that both have, on one order of every set; none (after a line that says so) without the script."""
    other = _other(script)
    return [] if other is None else [a for s in sets for a in _of_set(s, other, n_trials=n_trials, seed=seed)]


def _of_set(curve_set: CurveFile, other: Other, *, n_trials: int, seed: int) -> list[Agreement]:
    study, n = shuffled(curve_set, seed, n_trials=n_trials), len(curve_set.curves)
    whole = shuffled(curve_set, seed, n_trials=n)  # its first rows are those of the study
    curves, order = study.sign * whole.curves, np.arange(len(study.curves))
    found = []
    for name, rule in RULES.items():
        outcome = Replay(study, rule).outcome()
        recovered, top, best, speedup = (float(value) for value in other(curves, order, name))
        there = (recovered, top, best, speedup * len(order) / n)
        found.append(Agreement(study.name, name, _measured(outcome), there, speedup))
    return found


def _measured(outcome: Outcome) -> tuple[float, ...]:
    return float(outcome.recovered), outcome.top_stopped, float(outcome.best_stopped), outcome.speedup


def _other(script: Path) -> Other | None:
    if not script.exists():
        print(f"skipped: no other replay to agree with at {script}")
        return None
    spec = importlib.util.spec_from_file_location("other_replay", script)
    if spec is None or spec.loader is None:
        raise ValueError(f"the other replay must be a Python file, but got {str(script)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Other = module.run
    return run


def show(found: Sequence[Agreement]) -> None:
    """A row for each rule: means over the sets."""
    rows: list[list[object]] = []
    for name in RULES if found else ():
        of_rule = [a for a in found if a.rule == name]
        here, there = (np.mean([getattr(a, side) for a in of_rule], axis=0).tolist() for side in ("here", "there"))
        printed = float(np.mean([a.as_printed for a in of_rule]))
        equal = f"{sum(a.is_equal for a in of_rule)} of {len(of_rule)}"
        rows.append([name, equal, here[0], there[0], here[3], there[3], printed])
    heads = ["rule", "all four equal", "recovery", "there", "speed-up", "there, corrected", "there, as printed"]
    benchmark_cli.show("Agreement with an independent replay, one order of every set, arithmetic means", heads, rows)
