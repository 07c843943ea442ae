"""Optuna studies for tests: curves that rise to a drawn level, reported to a pruner as a training loop would."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

EPOCHS = 20


def curve_of(level: float, n_epochs: int = EPOCHS) -> list[float]:
    """Return a curve that comes close to 1 + level."""
    return [(1 + level) * (1 - math.exp(-0.2 * epoch)) for epoch in range(1, n_epochs + 1)]


def drawn_curves(n: int, seed: int, *, noise: float = 0.02, n_epochs: int = EPOCHS) -> list[list[float]]:
    """Return noisy curves to levels drawn from [0, 1]."""
    rng = np.random.default_rng(seed)
    return [[v + float(rng.normal(0, noise)) for v in curve_of(float(rng.uniform()), n_epochs)] for _ in range(n)]


def new_study(
    pruner: BasePruner, *, maximize: bool = True, name: str = "a study", storage: BaseStorage | str | None = None
) -> optuna.Study:
    return optuna.create_study(
        study_name=name,
        direction="maximize" if maximize else "minimize",
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=0),
        storage=storage,
        load_if_exists=storage is not None,
    )


def replay(
    study: optuna.Study, curves: Iterable[Sequence[float]], *, steps: Callable[[int], bool] = lambda step: True
) -> list[int]:
    """Report curves as trials until they are pruned; return the length of each. Only steps with `steps(step)` report and ask."""
    lengths = []
    for curve in curves:
        trial = study.ask()
        for step, value in enumerate(curve):
            if steps(step):
                trial.report(value, step)
                if trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    lengths.append(step + 1)
                    break
        else:
            study.tell(trial, curve[-1])
            lengths.append(len(curve))
    return lengths


def running(study: optuna.Study, values: Sequence[float] | dict[int, float]) -> tuple[optuna.Trial, FrozenTrial]:
    """Return a new trial that reported these values, and its frozen copy from the storage."""
    trial = study.ask()
    for step, value in values.items() if isinstance(values, dict) else enumerate(values):
        trial.report(value, step)
    return trial, study.get_trials()[trial.number]
