"""`backtest`: replays a user's curves, in the recorded order and in shuffled ones, under each policy and pruner.

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
from functools import cached_property

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from curvestop.clients.backtest.contenders import PRUNERS, Contender, OptunaPruner, settings_to_try
from curvestop.clients.backtest.curve_set import Array, Outcome
from curvestop.clients.backtest.options import BacktestOptions
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.clients.backtest.own_rule import OwnRule, RuleReplay
from curvestop.clients.backtest.policy_replay import Fits, PolicyReplay
from curvestop.clients.backtest.runs import Curves
from curvestop.srm.plural import plural
from curvestop.srm.seed_noise import SeedNoise, seed_noise
from curvestop.srm.settings import FIRST_MODEL_CURVES

REFIT_GROWTH = 1.1
"""Models are refitted whenever there are a tenth more curves; a refit for every new curve takes twice the time."""
WORTH_A_PROCESS = 300
"""Number of runs to replay, all orders together, from which a second process saves more time than its start takes."""
N_BINS = 10
"""Number of equally filled bins of the calibration."""
ENOUGH_RUNS = 100
"""Number of complete runs below which one good run more or less changes the figures."""
NO_PREDICTIONS = (
    "only {n} runs have a final value, and predictions begin at {least}: this backtest compares ranks of values only. Train "
    "{missing} to the end, or start the next search with shadow=True, which stops nothing, and replay its curves."
)
FEW_RUNS = (
    "only {n} runs have a final value: one good run more or less changes the figures. --orders 10 shows by how much; "
    "hold_out=0.1 in the next search keeps counting what stopping loses."
)
FEW_GOOD_RUNS = "{tried} good runs cannot tell a risk of {risk:g} from 0; --orders {needed} can."


@dataclass(frozen=True)
class ReplayResult:
    """The result of one contender in one order.

    Attributes:
        outcome: What it saved and lost.
        ended_at: `(n,)` epochs that each run trained.
        reasons: Reason of each stop, by row; empty for Optuna's pruners and the user's own rule.
    """

    outcome: Outcome
    ended_at: Array
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContenderResult:
    """The results of one policy or pruner in all orders.

    Attributes:
        contender: The policy or pruner.
        replays: Its result in every order, the recorded order first.
    """

    contender: Contender
    replays: tuple[ReplayResult, ...]

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes in every order, the recorded order first."""
        return [replay.outcome for replay in self.replays]

    def mean(self, figure: str) -> float:
        """Return the mean over the orders of a figure of `Outcome`, by its name.

        Args:
            figure: Name of a number of `Outcome`: "saved", "top_stopped", "shortfall", "regret", ...

        Returns:
            The mean; infinite for a shortfall if all runs were stopped in one of the orders.
        """
        return float(np.mean([getattr(outcome, figure) for outcome in self.outcomes]))

    def n_lost_beyond(self, noise: SeedNoise) -> int:
        """Return in how many orders the best run left is worse than the best of all by more than the seed noise."""
        return sum(outcome.shortfall > noise.deviation for outcome in self.outcomes)

    @property
    def good_stopped(self) -> tuple[int, int]:
        """(Number of the best runs that were stopped, number of best runs), all orders together."""
        stopped = [is_stopped for outcome in self.outcomes for is_stopped in outcome.good_stopped]
        return sum(stopped), len(stopped)

    @property
    def risk(self) -> float:
        """Share of the best runs that was stopped, in [0, 1]."""
        stopped, n = self.good_stopped
        return stopped / n

    def calibration(self) -> list[tuple[float, float, int]]:
        """Compare stated probabilities with what came true.

        Returns:
            (mean stated probability, share that came true, number of decisions) in ten equally filled bins; empty if the
            contender stated no probabilities.
        """
        stated = np.concatenate([outcome.stated for outcome in self.outcomes])
        happened = np.concatenate([outcome.happened for outcome in self.outcomes])
        # Equally filled: equally wide ones would be empty where policies rarely say anything.
        bins = np.array_split(np.argsort(stated, kind="stable"), N_BINS)
        return [(float(stated[b].mean()), float(happened[b].mean()), len(b)) for b in bins if len(b)]

    @property
    def calibration_error(self) -> float | None:
        """Mean distance between stated and true probability over the bins; None without stated probabilities."""
        bins = self.calibration()
        return float(np.mean([abs(stated - happened) for stated, happened, _ in bins])) if bins else None


@dataclass(frozen=True)
class Backtest:
    """The result of a backtest.

    Attributes:
        curves: The curves that were replayed, in their recorded order.
        options: How the backtest was made.
        policies: Our policies, the default one first.
        pruners: Optuna's pruners by their names in the JSON.
        own_rule: The user's own rule; None if there is none.
    """

    curves: Curves
    options: BacktestOptions
    policies: tuple[ContenderResult, ...]
    pruners: Mapping[str, ContenderResult]
    own_rule: ContenderResult | None = None

    @property
    def contenders(self) -> tuple[ContenderResult, ...]:
        """All policies, then the pruners, then the user's own rule."""
        return (*self.policies, *self.pruners.values(), *([self.own_rule] if self.own_rule else []))

    @cached_property
    def seed_noise(self) -> SeedNoise | None:
        """The seed noise of the runs with a final value; None if they do not tell it."""
        curves = self.curves
        complete = np.flatnonzero(curves.is_complete).tolist()
        return seed_noise((curves.curve(row) for row in complete), curves.direction)

    @property
    def default(self) -> ContenderResult:
        """The default policy."""
        return self.policies[0]

    @property
    def recommended(self) -> ContenderResult | None:
        """The policy that saves most among those whose risk is at most `options.risk`; None if none of them saves anything."""
        kept = [result for result in self.policies if result.risk <= self.options.risk and result.mean("saved") > 0]
        return max(kept, key=lambda result: result.mean("saved"), default=None)

    @property
    def better_pruner(self) -> str | None:
        """The name of the pruner that saves most at a risk of at most `options.risk`; None if `recommended` saves as much."""
        saved = {name: result.mean("saved") for name, result in self.pruners.items() if result.risk <= self.options.risk}
        best = max(saved, key=saved.__getitem__, default=None)
        ours = self.recommended.mean("saved") if self.recommended is not None else 0.0
        return best if best is not None and saved[best] > ours else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that say what to do if there are too few curves for a conclusion."""
        n, least = int(self.curves.is_complete.sum()), FIRST_MODEL_CURVES
        # Only runs with a final value are counted: of the others nobody knows what a stop would have lost.
        tried, risk = self.default.good_stopped[1], self.options.risk
        needed = math.ceil(self.options.orders / (risk * tried))  # orders in which one stopped run would be a share of `risk`
        checks = (
            (n < least, NO_PREDICTIONS.format(n=n, least=least, missing=plural(least - n, "more run"))),
            (least <= n < ENOUGH_RUNS, FEW_RUNS.format(n=n)),
            (risk * tried < 1, FEW_GOOD_RUNS.format(risk=risk, tried=tried, needed=needed)),
        )
        return tuple(text for applies, text in checks if applies)


def backtest(
    curves: Curves, options: BacktestOptions, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Backtest:
    """Replay curves under our policies and Optuna's pruners.

    Args:
        curves: The curves.
        options: How the backtest is made.
        progress: Called with the number of parts done and their total number.

    Returns:
        What each policy and pruner saved and lost. It does not depend on the number of processes.

    Raises:
        ValueError: If a threshold, margin or risk is out of its range, or the user's own rule fails.

    Examples:
        >>> from curvestop.clients.backtest.runs import Run, Runs, curves_of
        >>> levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.2, 0.4, 0.1]
        >>> runs = [Run(f"run {i}", {}, (1, 2, 3, 4), (level,) * 4) for i, level in enumerate(levels)]
        >>> curves = curves_of(Runs("an example", tuple(runs), "accuracy"))
        >>> result = backtest(curves, BacktestOptions(orders=1, deltas=(), margins=()))
        >>> median = result.pruners["optuna_median"]  # it stops the sixth and the eighth run after one epoch
        >>> round(median.mean("saved"), 3), median.good_stopped
        (0.188, (0, 1))
    """
    groups: list[Sequence[Contender]] = [*settings_to_try(deltas=options.deltas, margins=options.margins, risk=options.risk)]
    groups.append(list(PRUNERS.values()))
    if options.rule is not None:
        groups.append([OwnRule(options.rule)])
    orders = list(orders_of(curves, options))
    # One task is one order under one group, whose members share their fits; all orders of a group stand together.
    tasks = [(order, group) for group in groups for order in orders]
    progress(0, len(tasks))
    done: list[list[ReplayResult]] = []
    for replayed in _run_all(tasks, _n_processes(curves, options)):
        done.append(replayed)
        progress(len(done), len(tasks))
    results: list[ContenderResult] = []
    for g, group in enumerate(groups):
        by_order = done[g * len(orders) : (g + 1) * len(orders)]
        by_contender = zip(*by_order, strict=True)
        results += [ContenderResult(it, tuple(replays)) for it, replays in zip(group, by_contender, strict=True)]
    own_rule = results.pop() if options.rule is not None else None  # the last group
    n_policies = len(results) - len(PRUNERS)  # the pruners are the group before
    pruners = dict(zip(PRUNERS, results[n_policies:], strict=True))
    return Backtest(curves, options, tuple(results[:n_policies]), pruners, own_rule)


def orders_of(curves: Curves, options: BacktestOptions) -> Iterator[Curves]:
    """Yield the curves in their recorded order, then in shuffled ones.

    Args:
        curves: The curves in their recorded order.
        options: `orders` is the number of orders; shuffle i is drawn with the seed `seed` + i, i from 0.
    """
    yield curves
    # A shuffle depends on its own seed only: more orders keep the earlier ones.
    for seed in range(options.seed, options.seed + options.orders - 1):
        yield curves.in_order(np.random.default_rng(seed).permutation(len(curves.curves)), seed)


Task = tuple[Curves, Sequence[Contender]]


def _run_all(tasks: Sequence[Task], n_processes: int) -> Iterator[list[ReplayResult]]:
    """Yield the results in the order of the tasks."""
    if n_processes == 1:
        yield from map(replay_all, tasks)
        return
    # Not by fork: a process with threads (BLAS, gRPC) may hang in its child.
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(replay_all, tasks)


def _n_processes(curves: Curves, options: BacktestOptions) -> int:
    if options.processes:
        return options.processes
    return min(2, os.cpu_count() or 1) if len(curves.curves) * options.orders >= WORTH_A_PROCESS else 1


def replay_all(task: Task) -> list[ReplayResult]:
    """Replay one order under several contenders, on one processor; equal fits are made once.

    Args:
        task: The curves in one order, and the contenders, whose fits may be shared.

    Returns:
        A result for each contender, in their order.
    """
    curves, contenders = task
    fits: Fits = {}  # dropped with the order: other orders have other fits
    with threadpool_limits(1), _quiet_optuna():  # BLAS threads of two processes would fight for two processors
        return [_replay(curves, contender, fits) for contender in contenders]


def _replay(curves: Curves, contender: Contender, fits: Fits) -> ReplayResult:
    if isinstance(contender, OptunaPruner):
        ended = ended_at(curves, contender.make(curves.max_epochs))
        return ReplayResult(Outcome.of(curves, ended), ended)
    if isinstance(contender, OwnRule):
        own = RuleReplay(curves, contender)
        return ReplayResult(own.outcome(), own.ended_at)
    settings = contender.study_settings(curves.max_epochs, curves.direction)
    replay = PolicyReplay(curves, settings, refit_growth=REFIT_GROWTH, fits=fits)
    return ReplayResult(replay.outcome(), replay.ended_at, replay.reasons)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns that some pruners are experimental
            yield
    finally:
        optuna.logging.set_verbosity(before)
