"""What `metaqnn run` prints while it searches: a live display on a terminal, and a line for each stop, failure and new best."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Record
from curvestop.hyperband.run.live_console import LiveConsole, Progress, RunningTrial, clock
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
        self._n_before, self._best = 0, 0.0

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

    def _progress(self) -> Progress:
        if self._search is None:
            return Progress(0, self._n_models, "starting workers")
        records = self._search.records
        states = [record.state for record in records]
        running = [record for record in records if record.state == "running"]
        n_over, n_new = len(self._over), len(self._over) - self._n_before
        # A running training counts by its epochs: the first ones may take long.
        done = n_over + sum(len(record.values) for record in running) / self._search.epochs
        status = (
            f"{n_over} of {plural(self._n_models, 'model')}, {len(running)} training | "
            f"{states.count('stopped')} stopped, {states.count('failed')} failed | {self._best_so_far(running)} | "
            f"{plural(self._search.epochs_trained, 'epoch')} trained"
        )
        left = f"about {clock(self.elapsed_s / n_new * (self._n_models - n_over))}" if n_new else ""
        shown = [RunningTrial(record.trial, record.values, self._search.epochs, record.forecast) for record in running]
        return Progress(done, self._n_models, status, shown, left)

    def _best_so_far(self, running: Sequence[Record]) -> str:
        """Return the best final accuracy; while no training is complete, the best of those that run."""
        if self._best:
            return f"best accuracy {self._best:.4f}"
        begun = [record for record in running if record.values]
        if not begun:
            return "no accuracy yet"
        best = max(begun, key=lambda record: record.values[-1])
        return f"best accuracy {best.values[-1]:.4f} after {plural(len(best.values), 'epoch')}"
