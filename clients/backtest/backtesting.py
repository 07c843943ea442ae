"""Would it have helped? Replays of a user's curves in their own order and in shuffled ones, under each policy and pruner.

The risk of a policy is the share of the best runs that it stopped: of the seven best, at most a tenth of all, in every order.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from curvestop.clients.backtest.contenders import PRUNERS, Entry, Pruner, settings_to_try
from curvestop.clients.backtest.curve_set import Array, Outcome
from curvestop.clients.backtest.options import Plan
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.clients.backtest.policy_replay import Fits, PolicyReplay
from curvestop.clients.backtest.runs import Curves
from curvestop.srm.policies.stopping_rule import StoppingRule

REFIT_GROWTH = 1.1
"""Models take in new curves whenever there are a tenth more of them: a refit for every single one takes twice the time."""
WORTH_A_PROCESS = 300
"""Runs to replay, all orders together, from which on a second process saves more than its start takes."""
N_BINS = 10
FEW = 100
TOO_FEW = (
    "{n} runs have a final value, and predictions begin at {least}: this is the rank of values alone. Train {missing} more runs "
    "to their end, or start the next search with shadow=True, which stops nothing, and come back with its curves."
)
FEW_RUNS = (
    "{n} runs with a final value are few: one good run more or less changes the figures. --orders 10 shows how much; "
    "hold_out=0.1 in the next search goes on counting what stopping loses."
)
FEW_GOOD = "A risk of {risk:g} cannot be told from 0 by {tried} good runs: --orders {needed} would do it."


@dataclass(frozen=True)
class Replayed:
    """ended_at: `(n,)` epochs that each run trained. reasons: why runs were stopped, by row."""

    outcome: Outcome
    ended_at: Array
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a policy or pruner did in every order, the curves' own first."""

    entry: Entry
    replays: tuple[Replayed, ...]

    @property
    def outcomes(self) -> list[Outcome]:
        return [replay.outcome for replay in self.replays]

    def mean(self, what: str) -> float:
        """Of a figure of `Outcome`, over the orders."""
        return float(np.mean([getattr(outcome, what) for outcome in self.outcomes]))

    @property
    def good_stopped(self) -> tuple[int, int]:
        """How many of the best runs were stopped, of how many, all orders together."""
        stopped = [its for outcome in self.outcomes for its in outcome.good_stopped]
        return sum(stopped), len(stopped)

    @property
    def risk(self) -> float:
        stopped, n = self.good_stopped
        return stopped / n

    def calibration(self) -> list[tuple[float, float, int]]:
        """(mean stated probability, share that came true, decision points) in ten equally filled bins; empty without statements."""
        stated = np.concatenate([outcome.stated for outcome in self.outcomes])
        happened = np.concatenate([outcome.happened for outcome in self.outcomes])
        bins = np.array_split(np.argsort(stated, kind="stable"), N_BINS)
        return [(float(stated[b].mean()), float(happened[b].mean()), len(b)) for b in bins if len(b)]

    @property
    def calibration_error(self) -> float | None:
        """Mean distance between stated and true over the bins; None without statements."""
        bins = self.calibration()
        return float(np.mean([abs(stated - happened) for stated, happened, _ in bins])) if bins else None


@dataclass(frozen=True)
class Backtest:
    """ours: the default first. pruners: by their names in the JSON."""

    curves: Curves
    plan: Plan
    ours: tuple[Answer, ...]
    pruners: Mapping[str, Answer]

    @property
    def default(self) -> Answer:
        return self.ours[0]

    @property
    def recommended(self) -> Answer | None:
        """Of our settings whose risk is at most the stated one, that which saves most; None when there is none."""
        kept = [answer for answer in self.ours if answer.risk <= self.plan.risk and answer.mean("saved") > 0]
        return max(kept, key=lambda answer: answer.mean("saved"), default=None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to do where there are too few curves to tell."""
        n, least = int(self.curves.is_whole.sum()), StoppingRule.min_curves
        tried = self.default.good_stopped[1]
        needed = math.ceil(self.plan.orders / (self.plan.risk * tried))
        checks = (
            (n < least, TOO_FEW.format(n=n, least=least, missing=least - n)),
            (least <= n < FEW, FEW_RUNS.format(n=n)),
            (self.plan.risk * tried < 1, FEW_GOOD.format(risk=self.plan.risk, tried=tried, needed=needed)),
        )
        return tuple(text for applies, text in checks if applies)


def backtest(curves: Curves, plan: Plan, *, tell: Callable[[int, int], None] = lambda done, of: None) -> Backtest:
    """Replay the curves. tell: called with the parts done, and how many there are. Raises ValueError for a wrong setting."""
    groups: list[Sequence[Entry]] = [*settings_to_try(deltas=plan.deltas, margins=plan.margins, risk=plan.risk)]
    groups.append(list(PRUNERS.values()))
    orders = list(orders_of(curves, plan))
    tasks = [(order, group) for group in groups for order in orders]
    tell(0, len(tasks))
    done: list[list[Replayed]] = []
    for found in _run_all(tasks, _processes(curves, plan)):
        done.append(found)
        tell(len(done), len(tasks))
    answers: list[Answer] = []
    for g, group in enumerate(groups):
        of_group = done[g * len(orders) : (g + 1) * len(orders)]
        answers += [Answer(entry, tuple(replays)) for entry, replays in zip(group, zip(*of_group, strict=True), strict=True)]
    n_ours = len(answers) - len(PRUNERS)
    return Backtest(curves, plan, tuple(answers[:n_ours]), dict(zip(PRUNERS, answers[n_ours:], strict=True)))


def orders_of(curves: Curves, plan: Plan) -> Iterator[Curves]:
    yield curves
    for seed in range(plan.seed, plan.seed + plan.orders - 1):
        yield curves.in_order(np.random.default_rng(seed).permutation(len(curves.curves)), seed)


Task = tuple[Curves, Sequence[Entry]]


def _run_all(tasks: Sequence[Task], processes: int) -> Iterator[list[Replayed]]:
    """In the order of the tasks. What is computed does not depend on the number of processes."""
    if processes == 1:
        yield from map(replay_all, tasks)
        return
    # Not by fork: a process with threads (BLAS, gRPC) may hang in its child.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(replay_all, tasks)


def _processes(curves: Curves, plan: Plan) -> int:
    if plan.processes:
        return plan.processes
    return min(2, os.cpu_count() or 1) if len(curves.curves) * plan.orders >= WORTH_A_PROCESS else 1


def replay_all(task: Task) -> list[Replayed]:
    """One order under some policies and pruners, on one processor; equal fits are made once."""
    curves, entries = task
    fits: Fits = {}
    with threadpool_limits(1), _quiet_optuna():
        return [_replay(curves, entry, fits) for entry in entries]


def _replay(curves: Curves, entry: Entry, fits: Fits) -> Replayed:
    if isinstance(entry, Pruner):
        ended = ended_at(curves, entry.make(curves.horizon))
        return Replayed(Outcome.of(curves, ended), ended)
    settings = entry.study(curves.horizon, curves.direction)
    replay = PolicyReplay(curves, settings, refit_growth=REFIT_GROWTH, fits=fits)
    return Replayed(replay.outcome(), replay.ended_at, replay.reasons)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental pruners say so
            yield
    finally:
        optuna.logging.set_verbosity(before)
