"""Draws configurations with one of Optuna's samplers, which learns how each trial ended."""

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
"""The samplers that `--sampler` chooses from: makes Optuna's sampler from a seed."""


class SpaceSampler:
    """Draws configurations from a search space.

    The same seed and the same trials, learnt in the same order, give the same configurations; so a run's journal need not
    contain them.

    Args:
        space: Optuna distributions, by parameter.
        kind: Key of `SAMPLERS`.
        seed: Random seed, >= 0.
        direction: Whether higher or lower values are better.

    Raises:
        ValueError: If the kind is unknown or the seed is negative.

    Examples:
        >>> from optuna.distributions import IntDistribution
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> sampler = SpaceSampler({"width": IntDistribution(8, 64, step=8)}, seed=0)
        >>> sampler.draw()
        {'width': 40}
    """

    def __init__(self, space: Space, *, kind: str = "random", seed: int, direction: Direction = "maximize") -> None:
        if kind not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, but got {kind!r}")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, but got {seed}")
        self._space = dict(space)
        self._study = optuna.create_study(sampler=SAMPLERS[kind](seed), direction=optuna_direction(direction))
        self._running: dict[int, optuna.Trial] = {}  # by number; drawn, not yet learnt from

    def draw(self) -> Configuration:
        """Return the next configuration; the n-th draw (from 0) belongs to the trial with number n."""
        trial = self._study.ask(self._space)  # in memory: `RunStorage` writes the run's own study
        self._running[trial.number] = trial
        return dict(trial.params)

    def learn(self, record: TrialRecord) -> None:
        """Learn from a trial that is over.

        A stopped or dropped trial counts with its predicted final value, or without one as a pruned trial with its curve.

        Args:
            record: A trial whose configuration this sampler drew, over; each is learnt once.
        """
        trial = self._running.pop(record.number)
        final = final_value(record)
        # TPE reads the curve of pruned trials only.
        if final is None and record.state != "failed":
            for epoch, value in enumerate(record.values, start=1):
                trial.report(value, epoch)
        # A predicted value counts like an observed one: TPE compares all trials at max_epochs, whatever rung each ended in.
        state = TrialState.FAIL if record.state == "failed" else TrialState.PRUNED if final is None else TrialState.COMPLETE
        self._study.tell(trial, final, state=state)


def final_value(record: TrialRecord) -> float | None:
    """Return the value at max_epochs of a trial that is over: observed, else predicted; None if neither or if it failed.

    Args:
        record: A trial that is over.
    """
    if record.state == "failed":
        return None
    return record.values[-1] if record.state == "finished" else record.predicted_final


def optuna_direction(direction: Direction) -> StudyDirection:
    """Return Optuna's constant for a direction.

    Args:
        direction: "maximize" or "minimize".
    """
    return StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE
