"""Optuna's own pruners, run as they are on a replayed study: ask, report every epoch, prune when told, tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner

from benchmarks.replay_study import Array, ReplayStudy

PRUNERS: Mapping[str, Callable[[int], BasePruner]] = {
    "optuna median": lambda horizon: optuna.pruners.MedianPruner(),
    "optuna median, warm-up 25 %": lambda horizon: optuna.pruners.MedianPruner(n_warmup_steps=horizon // 4),
    "optuna percentile 25": lambda horizon: optuna.pruners.PercentilePruner(25.0),
    "optuna percentile 25, warm-up 25 %": lambda horizon: optuna.pruners.PercentilePruner(25.0, n_warmup_steps=horizon // 4),
    "optuna successive halving": lambda horizon: optuna.pruners.SuccessiveHalvingPruner(),
    "optuna successive halving, from 10 %, eta 3": lambda horizon: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, round(0.1 * horizon)), reduction_factor=3
    ),
    "optuna hyperband": lambda horizon: optuna.pruners.HyperbandPruner(max_resource=horizon),
    "optuna patient median": lambda horizon: optuna.pruners.PatientPruner(
        optuna.pruners.MedianPruner(), patience=max(1, horizon // 5)
    ),
}
"""Pruners by name, for a horizon. Not WilcoxonPruner: it compares scores of the same folds, not epochs of a curve."""


def ended_at(study: ReplayStudy, pruner: BasePruner) -> Array:
    """`(n,)` epochs that each trial ran, one after the other; steps are 1..T, and a trial's parameters its configuration."""
    direction = direction_of(study)
    sampler = optuna.samplers.RandomSampler(seed=0)
    search = optuna.create_study(study_name=f"{study.name}/{study.seed}", direction=direction, pruner=pruner, sampler=sampler)
    space, configurations = parameters(study)
    n, horizon = study.curves.shape
    ended = np.full(n, float(horizon))
    for row, (curve, configuration) in enumerate(zip(study.curves.tolist(), configurations, strict=True)):
        search.enqueue_trial(configuration)
        trial = search.ask(dict(space))
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
            if epoch < horizon and trial.should_prune():
                ended[row] = epoch
                search.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            search.tell(trial, curve[-1])
    return ended


def direction_of(study: ReplayStudy) -> optuna.study.StudyDirection:
    return optuna.study.StudyDirection.MAXIMIZE if study.sign > 0 else optuna.study.StudyDirection.MINIMIZE


def parameters(study: ReplayStudy) -> tuple[Mapping[str, FloatDistribution], list[dict[str, float]]]:
    """The columns of the configurations as a search space, and every trial's parameters."""
    least, most = study.configurations.min(axis=0).tolist(), study.configurations.max(axis=0).tolist()
    space = {f"x{j}": FloatDistribution(low, high) for j, (low, high) in enumerate(zip(least, most, strict=True))}
    return space, [dict(zip(space, row, strict=True)) for row in study.configurations.tolist()]
