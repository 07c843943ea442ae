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
"""Called with each event of the scheduler, in order."""

OnStep = Callable[[], None]
"""Called after each call that changed the scheduler."""


class Scheduler(Protocol):
    """Says what to train next and whether to train on; see `BracketScheduler`."""

    @property
    def finished(self) -> bool:
        """Whether nothing is running and nothing is left to start."""
        ...

    def ask(self) -> Job | None:
        """Return the next job to start; None at the end, and while a running job must end first."""
        ...

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Add the metric of a trial's next epoch and decide whether to train another.

        Args:
            trial: Name of a trial that is training.
            value: The metric after the epoch; may be NaN or infinite.
            seconds: Training time of the epoch; 0 if unknown.

        Returns:
            Whether to train another epoch. After a stop, the job is ended and `job_over` follows.
        """
        ...

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        """Record that a trial's job has ended, with the cause if it failed.

        Args:
            trial: Name of the trial.
            failure: The cause on one line; None if the program ended or was stopped.
        """
        ...

    def take_events(self) -> tuple[Event, ...]:
        """Return what happened since the last call, in order."""
        ...


def run_until_finished(
    scheduler: Scheduler,
    executor: Executor,
    *,
    on_event: OnEvent = lambda event: None,
    on_step: OnStep = lambda: None,
) -> None:
    """Train a scheduler's jobs on an executor until the scheduler is finished.

    Args:
        scheduler: Says what to train.
        executor: Trains it; it is entered already.
        on_event: Called with each event of the scheduler, in order.
        on_step: Called after each call that changed the scheduler.
    """
    while not scheduler.finished:
        # Keep every worker busy before waiting.
        while executor.n_idle and (job := scheduler.ask()) is not None:
            executor.start(job)
        dispatch_events(scheduler, executor, on_event)
        on_step()
        if scheduler.finished:  # `ask` may have ended the last rung by stopping a promoted trial at once
            return
        for event in executor.wait():
            _handle(scheduler, executor, event)
            dispatch_events(scheduler, executor, on_event)
            on_step()


def run_in_completion_order(
    scheduler: Scheduler,
    executor: Executor,
    order: CompletionOrder,
    *,
    n_workers: int,
    on_event: OnEvent = lambda event: None,
    on_step: OnStep = lambda: None,
) -> None:
    """Do the same as `run_until_finished`, but reproducibly: events count in virtual time, however fast the workers are.

    Args:
        scheduler: Says what to train.
        executor: Trains it; it is entered already.
        order: Virtual time, which the scheduler updates.
        n_workers: Number of jobs at a time, of which the run is a function.
        on_event: Called with each event of the scheduler, in order.
        on_step: Called after each round of jobs started.
    """
    arrived: defaultdict[str, deque[Measured | JobOver]] = defaultdict(deque)  # by trial, until it is their turn
    training: set[str] = set()  # trials whose JobOver has not been handled, whatever the executor says

    def wait() -> None:
        for event in executor.wait():
            arrived[event.trial].append(event)

    while not scheduler.finished:
        # Not `executor.n_idle`, which depends on how fast a worker becomes idle again.
        while len(training) < n_workers and (job := scheduler.ask()) is not None:
            training.add(job.trial)
            while not executor.n_idle:
                wait()
            executor.start(job)
        dispatch_events(scheduler, executor, on_event)
        on_step()
        trial = order.next_trial  # whose event counts next, even if others arrived first
        if trial is None:
            return
        while not arrived[trial]:
            wait()
        event = arrived[trial].popleft()
        if isinstance(event, JobOver):
            training.remove(trial)
        _handle(scheduler, executor, event)


def dispatch_events(scheduler: Scheduler, executor: Executor, on_event: OnEvent = lambda event: None) -> None:
    """Pass the scheduler's new events on, and delete the checkpoints that nobody needs any more.

    The checkpoint of a trial that is over is deleted, unless it was trained to max_epochs.

    Args:
        scheduler: Its events since the last call are taken.
        executor: Deletes the checkpoints.
        on_event: Called with each event, in order. Default: nothing.
    """
    # A stopped or dropped trial is never promoted any more; "finished" ones keep their model for the user.
    for event in scheduler.take_events():
        if isinstance(event, TrialEnded) and event.record.state != "finished":
            executor.delete_checkpoint(event.record.trial)
        on_event(event)


def _handle(scheduler: Scheduler, executor: Executor, event: Measured | JobOver) -> None:
    if isinstance(event, Measured):
        stop = scheduler.report(event.trial, event.value, seconds=event.seconds).stop
        (executor.stop if stop else executor.train_next_epoch)(event.trial)
    else:
        scheduler.job_over(event.trial, failure=event.failure)
