"""Optuna's own pruners, run as they are on a replayed study: ask, report every epoch, prune when told, tell."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from curvestop.clients.backtest.curve_set import Array, CurveSet


def ended_at(study: CurveSet, pruner: BasePruner) -> Array:
    """`(n,)` epochs that each trial ran, one after the other; steps are 1..T, and a trial's parameters its configuration."""
    direction = direction_of(study)
    sampler = optuna.samplers.RandomSampler(seed=0)
    search = optuna.create_study(study_name=f"{study.name}/{study.seed}", direction=direction, pruner=pruner, sampler=sampler)
    space, configurations = parameters(study)
    ended = study.epochs.astype(float)
    for row, (curve, configuration) in enumerate(zip(study.curves.tolist(), configurations, strict=True)):
        search.enqueue_trial(configuration)
        trial, last = search.ask(dict(space)), int(study.epochs[row])
        for epoch, value in enumerate(curve[:last], start=1):
            trial.report(value, epoch)
            if epoch < last and trial.should_prune():
                ended[row] = epoch
                search.tell(trial, state=TrialState.PRUNED)
                break
        else:
            if study.is_whole[row]:
                search.tell(trial, curve[last - 1])
            else:
                search.tell(trial, state=TrialState.FAIL)
    return ended


def direction_of(study: CurveSet) -> optuna.study.StudyDirection:
    return optuna.study.StudyDirection.MAXIMIZE if study.sign > 0 else optuna.study.StudyDirection.MINIMIZE


def parameters(study: CurveSet) -> tuple[Mapping[str, FloatDistribution], list[dict[str, float]]]:
    """The columns of the configurations as a search space, and every trial's parameters."""
    least, most = study.configurations.min(axis=0).tolist(), study.configurations.max(axis=0).tolist()
    space = {f"x{j}": FloatDistribution(low, high) for j, (low, high) in enumerate(zip(least, most, strict=True))}
    return space, [dict(zip(space, row, strict=True)) for row in study.configurations.tolist()]
