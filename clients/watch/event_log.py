"""`EventLog`: a folder of TensorBoard's event files, of which only what is new is read. Needs the extra `[tensorboard]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.read_options import choose
from curvestop.clients.backtest.readers.tensorboard import LIGHTNING_TAGS, EventFolder
from curvestop.clients.watch.growing_log import Growth, Point


class EventLog:
    """The events of one run.

    Args:
        path: The folder of its event files.
        metric: Tag of the metric. Default: the only one there is.
    """

    def __init__(self, path: Path, metric: str | None = None) -> None:
        self.path, self._metric = path, metric
        self._folder = EventFolder(path)
        self._points: list[Point] = []

    def read(self) -> Growth:
        """Return what is new since the last call; see `GrowingLog.read`."""
        n_before = sum(map(len, self._folder.scalars.values()))
        self._folder.read()
        tags = [tag for tag in self._folder.scalars if tag not in LIGHTNING_TAGS]
        if not tags:
            return Growth()
        try:
            tag = self._metric if self._metric in tags else choose(tags, self._metric, source=str(self.path))
        except ValueError as error:
            return Growth(has_grown=True, problem=str(error))
        before, self._points = self._points, list(self._folder.scalars[tag])
        has_restarted = self._points[: len(before)] != before
        points = self._points if has_restarted else self._points[len(before) :]
        has_grown = sum(map(len, self._folder.scalars.values())) != n_before
        return Growth(list(points), has_grown, has_restarted, self._folder.ended == "finished")

    def configuration(self) -> Mapping[str, Any]:
        """Return the hyper-parameters that were logged for the hparams plugin."""
        return self._folder.configuration
