"""What a person sees of a run: a live line on a terminal, plain lines elsewhere, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from curvestop.hyperband.run.report import ranked, short, summary
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, fewest_epochs, total_epochs
from curvestop.hyperband.scheduler.trials import Event, RungOpened, TrialEnded, TrialPromoted, TrialStopped
from curvestop.srm.plural import plural


class RunConsole:
    """Tells a run as it goes: every rung, stop and failure as a line; on a terminal a status line stays below them."""

    def __init__(self, console: Console, scheduler: BracketScheduler, *, metric: str) -> None:
        self.console, self.scheduler, self.metric = console, scheduler, metric
        self._rung = "starting workers"
        self._live = Live(get_renderable=self._status, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, event: Event) -> None:
        match event:
            case RungOpened():
                self._open(event)
            case TrialPromoted(record, to):
                rung = f"rung {to.index + 1}/{len(to.bracket.rungs)}"
                self._line("next", f"{record.trial} to {rung}, {plural(to.rung.epochs, 'epoch')}", "cyan")
            case TrialStopped(record, decision, _):
                self._line("stop", f"{record.trial} after {plural(record.epochs, 'epoch')}: {decision.reason}", "yellow")
            case TrialEnded(record) if record.state == "failed":
                self._line("fail", f"{record.trial}: {record.reason}", "red")
            case TrialEnded(record) if record is self.scheduler.best():
                value = f"{self.metric} {record.values[-1]:.6g}"
                self._line("best", f"{record.trial}: {value}, {short(record.configuration)}", "green")

    def _open(self, event: RungOpened) -> None:
        iteration = f"iteration {event.iteration + 1}/{self.scheduler.n_iterations}"
        self._rung = f"{iteration}, bracket s={event.bracket.s}, rung {event.index + 1}/{len(event.bracket.rungs)}"
        n = len(event.trials)
        self._line("rung", f"{self._rung}: {plural(n, 'configuration')} to {plural(event.rung.epochs, 'epoch')}", "cyan")

    def _status(self) -> Text:
        now = summary(self.scheduler)
        running = sum(record.state == "running" for record in self.scheduler.records)
        best = "-" if now["best_value"] is None else f"{now['best_value']:.6g}"
        return Text(
            f"{self._rung} | {now['n_trials']} trials, {running} running, {now['n_stops']} stops | best {self.metric} {best} | "
            f"epochs trained {now['epochs_trained']}, saved {now['epochs_planned'] - now['epochs_trained']} ({now['saved']:.0%})",
            style="bold",
        )

    def _line(self, label: str, text: str, style: str) -> None:
        line = Text.assemble((f"{label}  ", style), text)
        self.console.print(line, soft_wrap=True, highlight=False)


def print_result(
    console: Console, scheduler: BracketScheduler, *, metric: str, busy: UtilizationTracker | None = None, n: int = 5
) -> None:
    """The best configurations, the epochs trained beside plain Hyperband's, and how busy the workers were."""
    table = Table(title=f"Best {metric}", title_justify="left")
    for heading in ("trial", metric, "epochs", "configuration"):
        table.add_column(heading, justify="right" if heading in (metric, "epochs") else "left", overflow="fold")
    for record in ranked(scheduler, n):
        table.add_row(record.trial, f"{record.values[-1]:.6g}", str(record.epochs), short(record.configuration))
    console.print(table)
    result = summary(scheduler)
    share = None if busy is None else busy.share
    console.print(
        f"{result['n_trials']} trials, {result['n_stops']} stops, {result['n_failed']} failed. Epochs trained: "
        f"{result['epochs_trained']}; plain Hyperband plans {result['epochs_planned']} for the same configurations; "
        f"saved {result['saved']:.1%}." + ("" if share is None else f" Workers were busy {share:.1%} of the time."),
        soft_wrap=True,
        highlight=False,
    )


def print_rungs(console: Console, scheduler: BracketScheduler) -> None:
    """Every bracket there was so far, iteration by iteration: how its trials ended, and its best value at the last epoch."""
    table = Table(title="Brackets: configurations @ epochs", title_justify="left")
    for heading in ("bracket", "rungs", "trials", "epochs", "best"):
        table.add_column(heading, justify="right" if heading in ("epochs", "best") else "left", overflow="fold")
    for iteration, bracket in sorted({(r.iteration, r.bracket) for r in scheduler.records}, key=lambda key: (key[0], -key[1])):
        records = [r for r in scheduler.records if (r.iteration, r.bracket) == (iteration, bracket)]
        rungs = next(b.rungs for b in scheduler.plan if b.s == bracket)
        states = Counter(r.state for r in records)
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
    """The brackets, rung by rung, what they cost, and how much of that f-Hyperband may save."""
    table = Table(title="Brackets: configurations @ epochs", title_justify="left")
    table.add_column("bracket")
    for index in range(max(len(bracket.rungs) for bracket in plan)):
        table.add_column(f"rung {index + 1}", justify="right")
    table.add_column("epochs", justify="right")
    for bracket in plan:
        rungs = [f"{rung.n_configurations} @ {rung.epochs}" for rung in bracket.rungs]
        gap = [""] * (len(table.columns) - len(rungs) - 2)
        table.add_row(f"s = {bracket.s}", *rungs, *gap, str(bracket.n_epochs))
    console.print(table)
    n, epochs = sum(bracket.n_configurations for bracket in plan), total_epochs(plan)
    console.print(
        f"{plural(n_iterations, 'iteration')} x {plural(n, 'configuration')}, {plural(epochs, 'epoch')} "
        f"= {plural(n_iterations * n, 'configuration')}, {plural(n_iterations * epochs, 'epoch')}.",
        soft_wrap=True,
        highlight=False,
    )
    fewest = n_iterations * fewest_epochs(plan, kappa=kappa)
    console.print(
        f"f-Hyperband may save up to {1 - fewest / (n_iterations * epochs):.0%} of them: Algorithm 2 with perfect predictions, "
        f"kappa {kappa:g}, trains {fewest}. It saves nothing before min-curves configurations came to a rung's end.",
        soft_wrap=True,
        highlight=False,
    )
