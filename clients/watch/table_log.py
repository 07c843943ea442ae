"""`TableLog`: a CSV file, JSON lines or JSON that a logger writes, read anew whenever it has grown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.histories import History, flat, histories_in, points_of
from curvestop.clients.backtest.readers.names import HISTORIES
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.readers.run_folders import configuration_in
from curvestop.clients.watch.growing_log import Growth, Point


class TableLog:
    """The history of one run in a file that a backtest reads, too.

    The whole file is read again when it has changed, as loggers write it anew: Lightning for a new column, transformers always.

    Args:
        path: The file.
        options: `metric` and `epoch`, names of columns or entries.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self._options = path, options
        self._state: tuple[int, int, int] | None = None  # of the file, when it was read last
        self._points: list[Point] = []
        self._configuration: Mapping[str, Any] = {}
        self._problem: str | None = None

    def read(self) -> Growth:
        """Return what is new since the last call; see `GrowingLog.read`."""
        status = self.path.stat()
        state = status.st_ino, status.st_size, status.st_mtime_ns
        if state == self._state:
            # Told at the second look at the same content: a file that was half written has changed by then.
            problem, self._problem = self._problem, None
            return Growth(problem=problem)
        self._state, self._problem = state, None
        try:
            history = self._history()
            points = points_of(str(self.path), history, self._options)
        except ValueError as error:
            self._problem = str(error)
            return Growth(has_grown=True)
        self._configuration = history.configuration
        before, self._points = self._points, points
        has_restarted = points[: len(before)] != before
        return Growth(points if has_restarted else points[len(before) :], True, has_restarted)

    def configuration(self) -> Mapping[str, Any]:
        """Return what the file and, in a folder of the run's own, the files beside it say."""
        beside = configuration_in(self.path.parent) if self.path.name in HISTORIES else {}
        return {**flat(beside), **flat(self._configuration)}

    def _history(self) -> History:
        histories = histories_in(self.path, is_growing=True)
        if len(histories) != 1:
            raise ValueError(f"{self.path} must have the history of one run, but has {len(histories)}")
        return histories[0]
