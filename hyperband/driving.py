"""The loop that joins a scheduler and an executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from curvestop.hyperband.executor import Executor, Measured
from curvestop.hyperband.trials import Event, Job, TrialEnded
from curvestop.srm.curve import Decision


class Scheduler(Protocol):
    """Says what to train next, and whether to train on; see `FHyperband`."""

    @property
    def finished(self) -> bool: ...

    def ask(self) -> Job | None: ...

    def report(self, trial: str, value: float) -> Decision: ...

    def tell(self, trial: str, *, failure: str | None = None) -> None: ...

    def take_events(self) -> tuple[Event, ...]: ...


def drive(scheduler: Scheduler, executor: Executor, *, on_event: Callable[[Event], None] = lambda event: None) -> None:
    """Run a scheduler to its end. on_event is told what happens, in order. Checkpoints of trials not trained to R go."""
    while not scheduler.finished:
        while executor.n_idle and (job := scheduler.ask()) is not None:
            executor.start(job)
        pass_on(scheduler, executor, on_event)
        if scheduler.finished:
            return
        for happened in executor.wait():
            if isinstance(happened, Measured):
                stop = scheduler.report(happened.trial, happened.value).stop
                (executor.stop if stop else executor.go_on)(happened.trial)
            else:
                scheduler.tell(happened.trial, failure=happened.failure)
            pass_on(scheduler, executor, on_event)


def pass_on(scheduler: Scheduler, executor: Executor, on_event: Callable[[Event], None] = lambda event: None) -> None:
    """What happened since the last call: to on_event, and checkpoints that nobody needs any more are deleted."""
    for event in scheduler.take_events():
        if isinstance(event, TrialEnded) and event.record.state != "finished":
            executor.forget(event.record.trial)
        on_event(event)
