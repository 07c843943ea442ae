"""`LogFiles`: the logs that a command line names, those that appear later among them, and the names of their trials."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curvestop.clients.backtest.readers.detect import recognize
from curvestop.clients.backtest.readers.names import HISTORIES
from curvestop.clients.backtest.readers.run_folders import histories_by_folder, is_table

TEXT_SUFFIXES = (".log", ".out", ".txt")
"""The files of a folder that are logs of text."""


@dataclass(frozen=True)
class LogFile:
    """A log, and the trial that it is of.

    Attributes:
        path: The file; of TensorBoard logs their folder.
        trial: Name of the trial: the file's name without its suffix, or its folder's where all runs' files have the same name.
        is_events: Whether it is a folder of TensorBoard's event files.
    """

    path: Path
    trial: str
    is_events: bool = False


class LogFiles:
    """The logs that files, folders and patterns such as `runs/*/train.log` stand for.

    Args:
        names: Files, which need not exist yet; folders; patterns of `glob`, `**` among them.
        of_text: Whether logs are text in which a pattern finds the metric, so that a folder's logs are its text files.
    """

    def __init__(self, names: Sequence[str], *, of_text: bool) -> None:
        self.names, self._of_text = names, of_text

    @property
    def may_grow(self) -> bool:
        """Whether further logs may appear: a folder or a pattern is among the names."""
        return any(glob.has_magic(name) or Path(name).is_dir() for name in self.names)

    def find(self) -> Iterator[LogFile]:
        """Yield the logs that exist now.

        Raises:
            ValueError: If a folder has a kind of logs that cannot be followed.
        """
        for name in self.names:
            path = Path(name)
            if path.is_dir():
                yield from self._in_folder(path)
            elif path.exists():
                yield _log_file(path, path.absolute().parent)
            elif glob.has_magic(name):
                root = _fixed_part(name)
                yield from (_log_file(Path(found), root) for found in sorted(glob.glob(name, recursive=True)))

    def _in_folder(self, root: Path) -> Iterator[LogFile]:
        if self._of_text:
            found = sorted(path for path in root.rglob("*") if path.suffix in TEXT_SUFFIXES and path.is_file())
            yield from (_log_file(path, root) for path in found)
            return
        kind = _kind_of(root)
        if kind == "tensorboard":
            folders = sorted({path.parent for path in root.rglob("*tfevents*")})
            yield from (LogFile(path, _name(path, root), is_events=True) for path in folders)
        elif kind == "folder":
            folders_of_runs = histories_by_folder(root)
            yield from (LogFile(path, _name(folder, root)) for folder, path in folders_of_runs.items())
            if not folders_of_runs:
                yield from (_log_file(path, root) for path in sorted(filter(is_table, root.iterdir())))
        elif kind is not None:
            raise ValueError(f"{root} has logs of {kind}, which cannot be followed: name files of text, CSV, JSON or TensorBoard")


def _kind_of(root: Path) -> str | None:
    """Return the kind of a folder; None if it has no logs yet."""
    try:
        return recognize(str(root))
    except ValueError:
        return None


def _log_file(path: Path, root: Path) -> LogFile:
    if "tfevents" in path.name:
        return LogFile(path.parent, _name(path.parent, root), is_events=True)
    # What follows the last point of `train-lr0.1` is no suffix.
    without_suffix = path.with_suffix("") if path.suffix[1:].isalpha() else path
    return LogFile(path, _name(path.parent if path.name in HISTORIES else without_suffix, root))


def _name(path: Path, root: Path) -> str:
    """Return the path within the root; the root's own name for the root."""
    inside = path.absolute().relative_to(root.absolute()).as_posix()
    return root.absolute().name if inside == "." else inside


def _fixed_part(pattern: str) -> Path:
    """Return the folder before the first part of a pattern that has a wildcard."""
    parts = Path(pattern).parts
    n_fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:n_fixed])
