"""A live status line on a terminal, and plain lines: what the consoles of long commands have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text


class LiveConsole(ABC):
    """Prints lines; on a terminal, a status line stays below them while the object is entered.

    Args:
        console: Where to print.

    Attributes:
        console: As given.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            # transient: the status line disappears at the end, the printed lines stay.
            self._live = Live(get_renderable=self._status, console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def _status(self) -> Text:
        """Return the status line as it is now."""

    def _print_line(self, label: str, text: str, style: str) -> None:
        # soft_wrap: one event stays one line in a file; a terminal wraps it between words.
        line = Text.assemble((f"{label}  ", style), text)
        self.console.print(line, soft_wrap=not self.console.is_terminal)


def clock(seconds: float) -> str:
    """Format a duration.

    Args:
        seconds: Its length.

    Examples:
        >>> clock(75), clock(7501)
        ('1:15', '2:05:01')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
