"""Replay curves through Optuna's own pruners: ask for a trial, report every epoch, prune when the pruner says so."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from curvestop.clients.backtest.curve_set import Array, CurveSet


def ended_at(curves: CurveSet, pruner: BasePruner) -> Array:
    """Replay curves one after another and return `(n,)` epochs that each run trained.

    Args:
        curves: The curves; a trial reports steps 1..T, and its parameters are the configuration.
        pruner: The pruner.
    """
    direction = direction_of(curves)
    sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: all parameters are enqueued
    # Optuna's Hyperband hashes the study's name into brackets: name and seed make them reproducible.
    study = optuna.create_study(study_name=f"{curves.name}/{curves.seed}", direction=direction, pruner=pruner, sampler=sampler)
    space, configurations = parameters(curves)
    ended = curves.epochs.astype(float)
    for row, (curve, configuration) in enumerate(zip(curves.curves.tolist(), configurations, strict=True)):
        study.enqueue_trial(configuration)
        trial, last = study.ask(dict(space)), int(curves.epochs[row])
        for epoch, value in enumerate(curve[:last], start=1):
            trial.report(value, epoch)
            if epoch < last and trial.should_prune():  # nothing is saved by a stop after the last epoch
                ended[row] = epoch
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            if curves.is_complete[row]:
                study.tell(trial, curve[last - 1])
            else:
                study.tell(trial, state=TrialState.FAIL)  # a run that broke off has no final value for the others
    return ended


def direction_of(curves: CurveSet) -> optuna.study.StudyDirection:
    """Return the direction as Optuna spells it."""
    return optuna.study.StudyDirection.MAXIMIZE if curves.sign > 0 else optuna.study.StudyDirection.MINIMIZE


def parameters(curves: CurveSet) -> tuple[Mapping[str, FloatDistribution], list[dict[str, float]]]:
    """Return the columns of the configurations as a search space, and each trial's parameters.

    Args:
        curves: The curves; column j of their configurations becomes the parameter "xj".

    Returns:
        One float distribution a column, over its range, and `(n,)` parameters by name.
    """
    lowest, highest = curves.configurations.min(axis=0).tolist(), curves.configurations.max(axis=0).tolist()
    space = {f"x{j}": FloatDistribution(low, high) for j, (low, high) in enumerate(zip(lowest, highest, strict=True))}
    return space, [dict(zip(space, row, strict=True)) for row in curves.configurations.tolist()]
