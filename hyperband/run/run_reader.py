"""A run's folder in numbers for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curvestop.hyperband.run.run_folder import JOURNAL, run_view
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.bracket_table import BracketMember, bracket_rows
from curvestop.srm.report import BracketPosition


class RunReader:
    """Reads a run again when its journal has grown.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = -1  # no journal has this size: the first `read` always restores the run
        self._summary: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return the run in numbers, as JSON can hold them.

        Raises:
            ValueError: If the folder is not the folder of a run.
        """
        journal = self._folder / JOURNAL
        size = journal.stat().st_size if journal.exists() else 0
        # A journal only grows, so an equal size means that nothing happened.
        if size != self._size:
            scheduler = run_view(self._folder).scheduler
            self._summary = {
                "name": self._folder.absolute().name,
                "over": scheduler.finished,
                "trained": scheduler.epochs_trained,
                "planned": scheduler.epochs_planned,
                "brackets": bracket_rows(members_of_run(scheduler)),
            }
            self._size = size
        return self._summary


def members_of_run(scheduler: BracketScheduler) -> list[BracketMember]:
    """Return the trials of a run in their brackets, in the order in which they were drawn.

    Args:
        scheduler: The run, over or not.
    """
    # s -> ((n_i, r_i), ...): every iteration has the same brackets, so s names a plan.
    rungs = {bracket.s: tuple((rung.n_configurations, rung.epochs) for rung in bracket.rungs) for bracket in scheduler.plan}
    return [
        BracketMember(
            BracketPosition(record.iteration, record.bracket, rungs[record.bracket]),
            record.rung,
            record.epochs_in_rungs,
            record.state in ("stopped", "dropped", "failed") or record.resumed_at is not None,
        )
        for record in scheduler.records
    ]
