"""A live display on a terminal, and plain lines: what the consoles of long commands have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from curvestop.srm.curve import Prediction
from curvestop.srm.plural import plural

MOST_RUNNING = 8
"""Most running trials that the display lists; of more, the others are counted."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial as the live display shows it.

    Attributes:
        name: Name of the trial.
        values: `(n,)` metric after epochs 1..n.
        target_epoch: The epoch that it trains to, and that the forecast is about.
        forecast: Forecast of the metric there; None without one.
    """

    name: str
    values: Sequence[float]
    target_epoch: int
    forecast: Prediction | None


@dataclass(frozen=True)
class Progress:
    """What the live display shows.

    Attributes:
        done: How much of the work is done, 0..total.
        total: The whole work; where stops make it less, the most that it can be.
        status: Counts and the best so far.
        running: The running trials.
        left: Seconds that are left, in words; empty if unknown.
    """

    done: float
    total: float
    status: str
    running: Sequence[RunningTrial] = ()
    left: str = ""


class LiveConsole(ABC):
    """Prints lines; on a terminal, a display stays below them while the object is entered: bar and times, counts, running trials.

    Args:
        console: Where to print.

    Attributes:
        console: As given.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            # transient: the display disappears at the end, the printed lines stay.
            self._live = Live(get_renderable=self._display, console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the object was made."""
        return time.monotonic() - self._began

    @abstractmethod
    def _progress(self) -> Progress:
        """Return what is shown now."""

    def _display(self) -> RenderableType:
        now = self._progress()
        share = now.done / now.total if now.total else 0.0
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        times = f"{share:.0%}  {clock(self.elapsed_s)}{f', {now.left} left' if now.left else ''}"
        bar.add_row(ProgressBar(total=now.total or 1.0, completed=now.done), times)
        lines = [Text(_running_line(trial)) for trial in now.running[:MOST_RUNNING]]
        if len(now.running) > MOST_RUNNING:
            lines.append(Text(f"  and {plural(len(now.running) - MOST_RUNNING, 'other')}"))
        return Group(bar, Text(now.status, style="bold"), *lines)

    def _print_line(self, label: str, text: str, style: str) -> None:
        print_line(self.console, Text.assemble((f"{label}  ", style), text))


def print_line(console: Console, line: str | Text) -> None:
    """Print a line that stays one line in a file, and that a terminal wraps between words.

    Args:
        console: Where to print.
        line: The line.
    """
    console.print(line, soft_wrap=not console.is_terminal)


def _running_line(trial: RunningTrial) -> str:
    n = len(trial.values)
    value = f": {trial.values[-1]:.4g}" if n else ""
    forecast = "" if trial.forecast is None else f", forecast {trial.forecast.mean:.4g} +- {trial.forecast.sigma:.2g}"
    return f"  {trial.name}  epoch {n} of {trial.target_epoch}{value}{forecast}"


def clock(seconds: float) -> str:
    """Format a duration.

    Args:
        seconds: Its length.

    Examples:
        >>> clock(7.25), clock(75), clock(7501)
        ('7.2 s', '1:15', '2:05:01')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
