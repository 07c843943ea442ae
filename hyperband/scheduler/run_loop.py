"""The loop that joins a scheduler and an executor."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Protocol

from curvestop.hyperband.executors.base import Executor, Job, JobOver, Measured
from curvestop.hyperband.scheduler.completion_order import CompletionOrder
from curvestop.hyperband.scheduler.trials import Event, TrialEnded
from curvestop.srm.curve import Decision

OnEvent = Callable[[Event], None]
OnStep = Callable[[], None]


class Scheduler(Protocol):
    """Says what to train next, and whether to train on; see `BracketScheduler`."""

    @property
    def finished(self) -> bool: ...

    def ask(self) -> Job | None: ...

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision: ...

    def job_over(self, trial: str, *, failure: str | None = None) -> None: ...

    def take_events(self) -> tuple[Event, ...]: ...


def run_until_finished(
    scheduler: Scheduler,
    executor: Executor,
    *,
    on_event: OnEvent = lambda event: None,
    on_step: OnStep = lambda: None,
) -> None:
    """Run a scheduler to its end. on_event is told what happens, in order; on_step is called after each call of the scheduler.

    Checkpoints of trials that are over go, unless they were trained to R.
    """
    while not scheduler.finished:
        while executor.n_idle and (job := scheduler.ask()) is not None:
            executor.start(job)
        dispatch_events(scheduler, executor, on_event)
        on_step()
        if scheduler.finished:
            return
        for happened in executor.wait():
            _take(scheduler, executor, happened)
            dispatch_events(scheduler, executor, on_event)
            on_step()


def run_in_completion_order(
    scheduler: Scheduler,
    executor: Executor,
    turns: CompletionOrder,
    *,
    n_workers: int,
    on_event: OnEvent = lambda event: None,
    on_step: OnStep = lambda: None,
) -> None:
    """As `drive`, but what happens counts in the order of `turns`, which the scheduler keeps, whatever is fast or slow."""
    heard: defaultdict[str, deque[Measured | JobOver]] = defaultdict(deque)
    training: set[str] = set()

    def hear() -> None:
        for happened in executor.wait():
            heard[happened.trial].append(happened)

    while not scheduler.finished:
        while len(training) < n_workers and (job := scheduler.ask()) is not None:
            training.add(job.trial)
            while not executor.n_idle:
                hear()
            executor.start(job)
        dispatch_events(scheduler, executor, on_event)
        on_step()
        trial = turns.next_trial
        if trial is None:
            return
        while not heard[trial]:
            hear()
        happened = heard[trial].popleft()
        if isinstance(happened, JobOver):
            training.remove(trial)
        _take(scheduler, executor, happened)


def dispatch_events(scheduler: Scheduler, executor: Executor, on_event: OnEvent = lambda event: None) -> None:
    """What happened since the last call: to on_event, and checkpoints that nobody needs any more are deleted."""
    for event in scheduler.take_events():
        if isinstance(event, TrialEnded) and event.record.state != "finished":
            executor.delete_checkpoint(event.record.trial)
        on_event(event)


def _take(scheduler: Scheduler, executor: Executor, happened: Measured | JobOver) -> None:
    if isinstance(happened, Measured):
        stop = scheduler.report(happened.trial, happened.value, seconds=happened.seconds).stop
        (executor.stop if stop else executor.train_next_epoch)(happened.trial)
    else:
        scheduler.job_over(happened.trial, failure=happened.failure)
