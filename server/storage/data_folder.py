"""The data folder: one server's database, token and lock, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

DATABASE_FILE = "curves.db"
LOCK_FILE = "lock"


class FolderInUse(RuntimeError):
    """Another server works on this folder."""


class DataFolder:
    """A data folder, made when missing and locked until `close` (or the process's end, however it comes).

    Raises OSError when it cannot be made or written, FolderInUse when another server has it.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()
        self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(f"another server works on {self.path}: stop it, or choose another folder with --data") from None

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.path / DATABASE_FILE}"

    def close(self) -> None:
        os.close(self._lock)
