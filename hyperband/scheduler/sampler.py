"""Draws configurations with one of Optuna's samplers, which learns what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from curvestop.hyperband.scheduler.search_space import Space
from curvestop.hyperband.scheduler.trials import TrialRecord
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.stopping_rule import Direction

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
}


class SpaceSampler:
    """The same seed and the same trials, told in the same order, give the same configurations: a journal needs no more.

    A trial that was stopped or dropped counts with its predicted final value; without one, as a pruned trial with its curve.
    Raises ValueError for an unknown kind or a negative seed.
    """

    def __init__(self, space: Space, *, kind: str = "random", seed: int, direction: Direction = "maximize") -> None:
        if kind not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, but got {kind!r}")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, but got {seed}")
        self._space = dict(space)
        self._study = optuna.create_study(sampler=SAMPLERS[kind](seed), direction=optuna_direction(direction))
        self._running: dict[int, optuna.Trial] = {}

    def draw(self) -> Configuration:
        """The next configuration; its trial's number counts the draws, from 0."""
        trial = self._study.ask(self._space)
        self._running[trial.number] = trial
        return dict(trial.params)

    def learn(self, record: TrialRecord) -> None:
        """A trial is over."""
        trial = self._running.pop(record.number)
        final = final_value(record)
        if final is None and record.state != "failed":
            for epoch, value in enumerate(record.values, start=1):
                trial.report(value, epoch)
        state = TrialState.FAIL if record.state == "failed" else TrialState.PRUNED if final is None else TrialState.COMPLETE
        self._study.tell(trial, final, state=state)


def final_value(record: TrialRecord) -> float | None:
    """Of a trial that is over: where it was trained to R, what it reached; else what was predicted, if anything was."""
    if record.state == "failed":
        return None
    return record.values[-1] if record.state == "finished" else record.predicted_final


def optuna_direction(direction: Direction) -> StudyDirection:
    return StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE
