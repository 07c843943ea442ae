"""What `metaqnn run` prints while it searches: a status line on a terminal, and a line for each stop, failure and new best."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Record
from curvestop.hyperband.run.live_console import LiveConsole, clock
from curvestop.srm.plural import plural


class SearchConsole(LiveConsole):
    """Prints a search as it goes.

    Args:
        console: Where to print.
        n_models: Number of architectures that are to be trained.
    """

    def __init__(self, console: Console, n_models: int) -> None:
        super().__init__(console)
        self._n_models = n_models
        self._search: ArchitectureSearch | None = None
        self._over: set[str] = set()  # names of the trials whose end was printed, or came before this session
        self._n_before, self._best, self._began = 0, 0.0, time.monotonic()

    def update(self, search: ArchitectureSearch) -> None:
        """Print what ended since the last call; the first call only notes what had ended before.

        Args:
            search: The search.
        """
        is_first, self._search = self._search is None, search
        for record in search.records:
            if record.state != "running" and record.trial not in self._over:
                self._over.add(record.trial)
                is_best = record.state == "finished" and record.values[-1] > self._best
                self._best = record.values[-1] if is_best else self._best
                if not is_first:
                    self._print_end(record, is_best)
        if is_first:
            self._n_before = len(self._over)

    def _print_end(self, record: Record, is_best: bool) -> None:
        after = f"{record.trial} after {plural(len(record.values), 'epoch')}"
        if record.state == "stopped":
            self._print_line("stop", f"{after}: {record.reason}", "yellow")
        elif record.state == "failed":
            self._print_line("fail", f"{record.trial}: {record.reason}", "red")
        elif is_best:
            self._print_line("best", f"{record.trial}: accuracy {record.values[-1]:.4f}, {record.text}", "green")

    def _status(self) -> Text:
        if self._search is None:
            return Text("starting workers", style="bold")
        states = [record.state for record in self._search.records]
        n_over, n_new = len(self._over), len(self._over) - self._n_before
        elapsed_s = time.monotonic() - self._began
        left = f", about {clock(elapsed_s / n_new * (self._n_models - n_over))} left" if n_new else ""
        best = f"best accuracy {self._best:.4f}" if self._best else "no accuracy yet"
        states_shown = f"{states.count('running')} training | {states.count('stopped')} stopped, {states.count('failed')} failed"
        return Text(
            f"{n_over} of {plural(self._n_models, 'model')}, {states_shown} | {best} | "
            f"{plural(self._search.epochs_trained, 'epoch')} trained | {clock(elapsed_s)}{left}",
            style="bold",
        )
