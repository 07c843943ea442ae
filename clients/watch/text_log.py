"""`TextLog`: a text file that a program prints into, read line by line as it grows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.watch.growing_log import Growth, Point
from curvestop.hyperband.executors.metric_pattern import MetricPattern, number_of

HEAD_BYTES = 256
"""So many bytes at its beginning tell a file from another one under the same name."""


class TextLog:
    """A text file, in which a pattern finds the metric.

    A line counts when its end is written. Of a line that was overwritten by carriage returns, as progress bars are, the last
    state counts. A file that was rotated (renamed in its folder, with a new one in its place) is read to its end, and the new one
    continues it. A file that was emptied or replaced begins again.

    Args:
        path: The file.
        pattern: Finds the metric; its group `epoch`, if it has one, is the step.
        end: Finds the line that says that the run has ended. Default: no line does.
    """

    def __init__(self, path: Path, pattern: MetricPattern, end: re.Pattern[str] | None = None) -> None:
        self.path, self._pattern, self._end = path, pattern, end
        self._inode, self._offset, self._head = 0, 0, b""
        self._n_values, self._has_literal = 0, False

    def read(self) -> Growth:
        """Return what is new since the last call; see `GrowingLog.read`."""
        with self.path.open("rb") as file:
            status, head = os.fstat(file.fileno()), file.read(HEAD_BYTES)
            is_same = status.st_size >= self._offset and head.startswith(self._head) and self._inode in (0, status.st_ino)
            rotated = [] if is_same else self._rest_of_rotated()
            if not is_same:
                self._offset = 0
            self._inode, self._head = status.st_ino, head
            file.seek(self._offset)
            content = file.read()
        if rotated is None:
            self._n_values = 0
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return self._growth([*(rotated or []), *_lines_of(complete)], has_restarted=rotated is None)

    def configuration(self) -> Mapping[str, Any]:
        """Return nothing: what a program prints about its hyper-parameters has no known form."""
        return {}

    def _rest_of_rotated(self) -> list[str] | None:
        """Return the lines that were added to the file before it was renamed; None if it is gone, or was emptied."""
        with os.scandir(self.path.parent) as entries:
            renamed = [entry.path for entry in entries if entry.inode() == self._inode and entry.name != self.path.name]
        for path in renamed:
            with open(path, "rb") as file:
                if file.read(len(self._head)) == self._head:  # not another file, which was given the number of a deleted one
                    file.seek(self._offset)
                    return _lines_of(file.read())
        return None

    def _growth(self, lines: list[str], *, has_restarted: bool) -> Growth:
        points: list[Point] = []
        problem = None
        for line in lines:
            try:
                points += self._points_of(line)
            except ValueError as error:
                problem = f"{error}; the line is {line.strip()[:120]!r}"
        has_ended = self._end is not None and any(map(self._end.search, lines))
        return Growth(points, bool(lines), has_restarted, has_ended, problem)

    def _points_of(self, line: str) -> list[Point]:
        found = self._pattern.find(line)
        # Once the pattern itself has matched, other lines with the metric's name say the same value again.
        if found is None or (self._has_literal and not found.is_literal):
            return []
        self._has_literal = found.is_literal
        step = self._n_values if found.epoch is None else number_of(found.epoch)
        value = number_of(found.text)
        self._n_values += 1
        return [(float(step), value)]


def _lines_of(content: bytes) -> list[str]:
    lines = content.decode("utf-8", errors="replace").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines if line.strip()]
