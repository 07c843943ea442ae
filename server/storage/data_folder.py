"""The data folder: one server's database, token and lock, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

DATABASE_FILE = "curves.db"
LOCK_FILE = "lock"


class FolderInUse(RuntimeError):
    """Another server uses the data folder."""


class DataFolder:
    """A data folder, made if missing and locked until `close` or the end of the process, however it ends.

    Args:
        path: The folder.

    Attributes:
        path: The folder, absolute.

    Raises:
        OSError: If the folder cannot be made or written.
        FolderInUse: If another server uses it.

    Examples:
        >>> import tempfile
        >>> parent = tempfile.TemporaryDirectory()
        >>> data = DataFolder(Path(parent.name) / "data")
        >>> data.database_url.endswith("/data/curves.db")
        True
        >>> data.close()
        >>> parent.cleanup()
    """

    def __init__(self, path: Path) -> None:
        # Of the owner only: the folder holds a token.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()
        # The operating system drops the lock when the process dies, so a start after kill -9 is not refused.
        self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(f"another server uses {self.path}: stop it, or choose another folder with --data") from None

    @property
    def database_url(self) -> str:
        """URL of the folder's SQLite database."""
        return f"sqlite:///{self.path / DATABASE_FILE}"

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)
