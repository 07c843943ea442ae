"""What a run prints: a live status line on a terminal, plain lines elsewhere, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from curvestop.hyperband.run.results import best_trials, format_configuration, summary
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, fewest_epochs, total_epochs
from curvestop.hyperband.scheduler.trials import Event, RungOpened, TrialEnded, TrialPromoted, TrialStopped
from curvestop.srm.plural import plural


class RunConsole:
    """Prints a run as it happens: every rung, stop and failure as a line; on a terminal, a status line stays below them.

    Args:
        console: Where to print.
        scheduler: The run.
        metric: Name of the metric.
    """

    def __init__(self, console: Console, scheduler: BracketScheduler, *, metric: str) -> None:
        self.console, self.scheduler, self.metric = console, scheduler, metric
        self._current_rung = "starting workers"
        # transient: the status line disappears at the end, the printed lines stay.
        self._live = Live(get_renderable=self._status, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

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
            case TrialEnded(record) if record.state == "failed":
                self._print_line("fail", f"{record.trial}: {record.reason}", "red")
            case TrialEnded(record) if record is self.scheduler.best():  # a new best; other ends have no line
                value = f"{self.metric} {record.values[-1]:.6g}"
                self._print_line("best", f"{record.trial}: {value}, {format_configuration(record.configuration)}", "green")

    def _print_rung(self, event: RungOpened) -> None:
        iteration = f"iteration {event.iteration + 1}/{self.scheduler.n_iterations}"
        # People count from 1, the records from 0; s is the paper's and stays.
        self._current_rung = f"{iteration}, bracket s={event.bracket.s}, rung {event.index + 1}/{len(event.bracket.rungs)}"
        size = f"{plural(len(event.trials), 'configuration')} to {plural(event.rung.epochs, 'epoch')}"
        self._print_line("rung", f"{self._current_rung}: {size}", "cyan")

    def _status(self) -> Text:
        now = summary(self.scheduler)
        running = sum(record.state == "running" for record in self.scheduler.records)
        best = "-" if now["best_value"] is None else f"{now['best_value']:.6g}"
        return Text(
            f"{self._current_rung} | {now['n_trials']} trials, {running} running, {now['n_stops']} stops | "
            f"best {self.metric} {best} | "
            f"epochs trained {now['epochs_trained']}, saved {now['epochs_planned'] - now['epochs_trained']} ({now['saved']:.0%})",
            style="bold",
        )

    def _print_line(self, label: str, text: str, style: str) -> None:
        # soft_wrap: one event stays one line in a file.
        line = Text.assemble((f"{label}  ", style), text)
        self.console.print(line, soft_wrap=True)


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
    for heading in ("trial", metric, "epochs", "configuration"):
        table.add_column(heading, justify="right" if heading in (metric, "epochs") else "left", overflow="fold")
    for record in best_trials(scheduler, n):
        value, configuration = f"{record.values[-1]:.6g}", format_configuration(record.configuration)
        table.add_row(record.trial, value, str(record.epochs), configuration)
    console.print(table)
    result = summary(scheduler)
    share = None if utilization is None else utilization.share
    console.print(
        f"{result['n_trials']} trials, {result['n_stops']} stops, {result['n_failed']} failed. Epochs trained: "
        f"{result['epochs_trained']}; plain Hyperband plans {result['epochs_planned']} for the same configurations; "
        f"saved {result['saved']:.1%}." + ("" if share is None else f" Workers were busy {share:.1%} of the time."),
        soft_wrap=True,
    )


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
        states = Counter(r.state for r in records)
        # Only complete trials have a final value; a dropped trial's last value belongs to another epoch.
        sign = 1.0 if scheduler.direction == "maximize" else -1.0
        finals = [r.values[-1] for r in records if r.state == "finished"]
        table.add_row(
            f"{iteration + 1}, s={bracket}",
            ", ".join(f"{rung.n_configurations} @ {rung.epochs}" for rung in rungs),
            ", ".join(f"{n} {state}" for state, n in sorted(states.items())),
            str(sum(r.epochs for r in records)),
            f"{max(finals, key=lambda value: sign * value):.6g}" if finals else "-",
        )
    console.print(table)


def print_plan(console: Console, plan: Sequence[Bracket], *, n_iterations: int = 1, kappa: float = 0.5) -> None:
    """Print the brackets rung by rung, what they cost, and how much of that f-Hyperband may save.

    Args:
        console: Where to print.
        plan: The brackets of one iteration.
        n_iterations: Consecutive runs of Hyperband.
        kappa: See `BracketScheduler`.
    """
    table = Table(title="Brackets: configurations @ epochs", title_justify="left")
    table.add_column("bracket")
    for index in range(max(len(bracket.rungs) for bracket in plan)):
        table.add_column(f"rung {index + 1}", justify="right")
    table.add_column("epochs", justify="right")
    for bracket in plan:
        rungs = [f"{rung.n_configurations} @ {rung.epochs}" for rung in bracket.rungs]
        empty_cells = [""] * (len(table.columns) - len(rungs) - 2)  # 2: the first and the last column
        table.add_row(f"s = {bracket.s}", *rungs, *empty_cells, str(bracket.n_epochs))
    console.print(table)
    n, epochs = sum(bracket.n_configurations for bracket in plan), total_epochs(plan)
    console.print(
        f"{plural(n_iterations, 'iteration')} x {plural(n, 'configuration')}, {plural(epochs, 'epoch')} "
        f"= {plural(n_iterations * n, 'configuration')}, {plural(n_iterations * epochs, 'epoch')}.",
        soft_wrap=True,
    )
    # An upper bound: real predictions are not perfect, and the first rungs have no models.
    fewest = n_iterations * fewest_epochs(plan, kappa=kappa)
    console.print(
        f"f-Hyperband may save up to {1 - fewest / (n_iterations * epochs):.0%} of them: Algorithm 2 with perfect predictions, "
        f"kappa {kappa:g}, trains {fewest}. It saves nothing until min-curves configurations have reached a rung's end.",
        soft_wrap=True,
    )
