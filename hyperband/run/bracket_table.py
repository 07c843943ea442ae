"""The brackets of a run's folder as they fill, in numbers for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curvestop.hyperband.run.run_folder import JOURNAL, run_view
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.trials import TrialRecord


class RunReader:
    """Reads a run again when its journal has grown. Raises ValueError when the folder is not one of a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = -1
        self._told: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        journal = self._folder / JOURNAL
        size = journal.stat().st_size if journal.exists() else 0
        if size != self._size:
            scheduler = run_view(self._folder).scheduler
            self._told = {
                "name": self._folder.absolute().name,
                "over": scheduler.finished,
                "trained": scheduler.epochs_trained,
                "planned": scheduler.epochs_planned,
                "brackets": bracket_rows(scheduler),
            }
            self._size = size
        return self._told


def bracket_rows(scheduler: BracketScheduler) -> list[dict[str, Any]]:
    """One row for each bracket that began, in their order, with its rungs.

    epochs: at which the rung ends. planned: configurations. reached: those that trained to it. training: on the way, not over.
    stopped: ended on the way.
    """
    began = list(dict.fromkeys((record.iteration, record.bracket) for record in scheduler.records))
    plan = {bracket.s: bracket.rungs for bracket in scheduler.plan}
    rows = []
    for iteration, s in began:
        records = [record for record in scheduler.records if (record.iteration, record.bracket) == (iteration, s)]
        rungs = [
            {"epochs": rung.epochs, "planned": rung.n_configurations, **_filled(records, index, rung.epochs)}
            for index, rung in enumerate(plan[s])
        ]
        rows.append({"iteration": iteration, "s": s, "rungs": rungs})
    return rows


def _filled(records: list[TrialRecord], index: int, epochs: int) -> dict[str, int]:
    inside = [record for record in records if record.rung == index and record.epochs < epochs]
    over = sum(record.state in ("stopped", "dropped", "failed") for record in inside)
    return {
        "reached": sum(record.epochs >= epochs for record in records),
        "training": len(inside) - over,
        "stopped": over,
    }
