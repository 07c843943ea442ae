"""What a run prints: a live display on a terminal, plain lines elsewhere, and the tables."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from curvestop.hyperband.run.live_console import LiveConsole, Progress, RunningTrial, clock, print_line
from curvestop.hyperband.run.results import best_trials, format_configuration, summary
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.asynchronous import Asha
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import total_epochs
from curvestop.hyperband.scheduler.trials import (
    Event,
    RungOpened,
    TrialEnded,
    TrialPromoted,
    TrialRecord,
    TrialResumed,
    TrialStopped,
)
from curvestop.srm.plural import plural
from curvestop.srm.policies.learned import percent


class RunConsole(LiveConsole):
    """Prints a run as it happens: every rung, stop and failure as a line; on a terminal, a live display stays below them.

    Args:
        console: Where to print.
        scheduler: The run.
        metric: Name of the metric.
    """

    def __init__(self, console: Console, scheduler: BracketScheduler, *, metric: str) -> None:
        super().__init__(console)
        self.scheduler, self.metric = scheduler, metric
        self._current_rung = "starting workers"
        self._trained_before = scheduler.epochs_trained  # of a resumed run, more than 0

    def print_event(self, event: Event) -> None:
        """Print the line of an event, if it has one.

        Args:
            event: From `BracketScheduler.take_events`, in its order. A trial's end has a line only if it failed or is the best.
        """
        match event:
            case RungOpened():
                self._print_rung(event)
            case TrialPromoted(record, to):
                rung = f"rung {to.index + 1}/{len(to.bracket.rungs)}"
                self._print_line("next", f"{record.trial} to {rung}, {plural(to.rung.epochs, 'epoch')}", "cyan")
            case TrialStopped(record, decision, _):  # may still be promoted by its prediction
                self._print_line("stop", f"{record.trial} after {plural(record.epochs, 'epoch')}: {decision.reason}", "yellow")
            case TrialResumed(record, chance):
                chances = f"{percent(chance)} chance to end as the best"
                self._print_line("resumed", f"{record.trial} after {plural(record.epochs, 'epoch')}: {chances}", "cyan")
            case TrialEnded(record) if record.state == "failed":
                self._print_line("fail", f"{record.trial}: {record.reason}", "red")
            case TrialEnded(record) if record is self.scheduler.best():  # a new best; other ends have no line
                value = f"{self.metric} {record.values[-1]:.6g}"
                self._print_line("best", f"{record.trial}: {value}, {format_configuration(record.configuration)}", "green")

    def _print_rung(self, event: RungOpened) -> None:
        iteration = f"iteration {event.iteration + 1}/{self.scheduler.n_iterations}"
        # People count from 1, the records from 0; s is the paper's and stays.
        self._current_rung = f"{iteration}, bracket s={event.bracket.s}, rung {event.index + 1}/{len(event.bracket.rungs)}"
        n = len(event.trials) or event.rung.n_configurations  # an asynchronous scheduler names none
        size = f"{plural(n, 'configuration')} to {plural(event.rung.epochs, 'epoch')}"
        self._print_line("rung", f"{self._current_rung}: {size}", "cyan")

    def _progress(self) -> Progress:
        scheduler, now = self.scheduler, summary(self.scheduler)
        running = [record for record in scheduler.records if record.state == "running"]
        # How many trials a budget pays for is not known before.
        planned = scheduler.n_iterations * sum(bracket.n_configurations for bracket in scheduler.plan)
        trials = (
            plural(now["n_trials"], "trial")
            if scheduler.spends_its_epochs
            else f"{now['n_trials']} of {plural(planned, 'trial')}"
        )
        status = (
            f"{self._current_rung} | {trials}, {len(running)} running, "
            f"{plural(now['n_stops'], 'stop')} | {self._best()} | "
            f"epochs trained {now['epochs_trained']}, saved {now['epochs_planned'] - now['epochs_trained']} "
            f"({now['saved']:.0%})"
        )
        # What stops save of a plan counts as done; of a budget it is spent on other trials.
        done = now["epochs_trained"] if scheduler.spends_its_epochs else now["epochs_planned"]
        total = scheduler.n_iterations * total_epochs(scheduler.plan)
        return Progress(
            min(done, total), total, status, [_shown(record, scheduler) for record in running], self._left(total - done)
        )

    def _best(self) -> str:
        """Return the best value so far; while no trial is complete, that of the trials trained longest."""
        best = best_trials(self.scheduler, 1)
        if not best:
            return f"no {self.metric} yet"
        after = "" if best[0].state == "finished" else f" after {plural(best[0].epochs, 'epoch')}"
        return f"best {self.metric} {best[0].values[-1]:.6g}{after}"

    def _left(self, epochs: float) -> str:
        """Return the time that is left at most: for the epochs that the plan still has, as fast as so far."""
        new = self.scheduler.epochs_trained - self._trained_before
        return f"at most {clock(self.elapsed_s / new * epochs)}" if new and epochs > 0 else ""


def _shown(record: TrialRecord, scheduler: BracketScheduler) -> RunningTrial:
    (bracket,) = (bracket for bracket in scheduler.plan if bracket.s == record.bracket)
    # A second chance may go on to the last epoch.
    target = bracket.rungs[record.rung].epochs if record.resumed_at is None else scheduler.max_epochs
    return RunningTrial(record.trial, record.values, target, record.forecast)


def print_result(
    console: Console, scheduler: BracketScheduler, *, metric: str, utilization: UtilizationTracker | None = None, n: int = 5
) -> None:
    """Print the best configurations, the epochs trained beside plain Hyperband's, and how busy the workers were.

    Args:
        console: Where to print.
        scheduler: The run, over or not.
        metric: Name of the metric.
        utilization: How busy the workers were. Default: left out.
        n: How many configurations to print.
    """
    table = Table(title=f"Best {metric}", title_justify="left")
    for heading in ("trial", metric, "epochs", "time", "configuration"):
        table.add_column(heading, justify="left" if heading in ("trial", "configuration") else "right", overflow="fold")
    for record in best_trials(scheduler, n):
        value, configuration = f"{record.values[-1]:.6g}", format_configuration(record.configuration)
        trial = record.trial + ("" if record.resumed_at is None else " (resumed)")
        table.add_row(trial, value, str(record.epochs), clock(record.seconds), configuration)
    console.print(table)
    result = summary(scheduler)
    resumed = f"{result['n_resumed']} resumed, " if result["n_resumed"] else ""
    print_line(
        console,
        f"{plural(result['n_trials'], 'trial')}, {plural(result['n_stops'], 'stop')}, {resumed}{result['n_failed']} failed. "
        f"Epochs trained: {cost(scheduler)}{workers_share(utilization)}",
    )


def cost(scheduler: BracketScheduler) -> str:
    """Return the epochs trained beside those without stops, as the end of a sentence.

    Args:
        scheduler: The run, over or not.
    """
    result = summary(scheduler)
    trained, planned, saved = result["epochs_trained"], result["epochs_planned"], result["saved"]
    if isinstance(scheduler, Asha):
        whole = scheduler.max_epochs * result["n_trials"]
        stops = f"; the stops inside rungs saved {planned - trained} ({saved:.1%})" if planned > trained else ""
        return f"{trained} of the {whole} that these trials take when each is trained whole{stops}."
    return f"{trained}; plain Hyperband plans {planned} for the same configurations; saved {saved:.1%}."


def workers_share(utilization: UtilizationTracker | None) -> str:
    """Return a sentence about the time that a run took; "" if that is unknown.

    Args:
        utilization: How busy the workers were; None if nobody knows.
    """
    if utilization is None or utilization.share is None:
        return ""
    return f" Workers were busy {utilization.share:.1%} of the time, {clock(utilization.elapsed_s)}."


def print_rungs(console: Console, scheduler: BracketScheduler) -> None:
    """Print every bracket so far, by iteration: its rungs, how its trials ended, and its best final value.

    Args:
        console: Where to print.
        scheduler: The run, over or not; brackets that have not begun have no row.
    """
    table = Table(title="Brackets: configurations @ epochs", title_justify="left")
    for heading in ("bracket", "rungs", "trials", "epochs", "best"):
        table.add_column(heading, justify="right" if heading in ("epochs", "best") else "left", overflow="fold")
    # Within an iteration, brackets run from s_max down to 0.
    for iteration, bracket in sorted({(r.iteration, r.bracket) for r in scheduler.records}, key=lambda key: (key[0], -key[1])):
        records = [r for r in scheduler.records if (r.iteration, r.bracket) == (iteration, bracket)]
        rungs = next(b.rungs for b in scheduler.plan if b.s == bracket)
        states, n_resumed = Counter(r.state for r in records), sum(r.resumed_at is not None for r in records)
        # Only complete trials have a final value; a dropped trial's last value belongs to another epoch.
        sign = 1.0 if scheduler.direction == "maximize" else -1.0
        finals = [r.values[-1] for r in records if r.state == "finished"]
        table.add_row(
            f"{iteration + 1}, s={bracket}",
            ", ".join(f"{rung.n_configurations} @ {rung.epochs}" for rung in rungs),
            ", ".join(f"{n} {state}" for state, n in sorted(states.items())) + (f" ({n_resumed} resumed)" if n_resumed else ""),
            str(sum(r.epochs for r in records)),
            f"{max(finals, key=lambda value: sign * value):.6g}" if finals else "-",
        )
    console.print(table)
