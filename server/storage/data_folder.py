"""The data folder: one server's database, token and lock, readable by its owner only."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from curvestop.proto.endpoint import TOKEN_FILE
from curvestop.proto.file_lock import lock_file
from curvestop.server.storage.new_file import OWNER_ONLY

DATABASE_FILE = "curves.db"
LOCK_FILE = "lock"
OWN_NAMES = (DATABASE_FILE, LOCK_FILE, TOKEN_FILE)
"""How the names of the server's files begin: a database has journals beside it, `tokens.json` begins with `token`."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO
_log = logging.getLogger(__name__)


class FolderInUse(RuntimeError):
    """Another server uses the data folder."""


class DataFolder:
    """A data folder, made if missing and locked until `close` or the end of the process, however it ends.

    Whoever made the folder and its files, they become readable by the owner only; a warning says if others could read the token.

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
        self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        try:
            lock_file(self._lock)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(f"another server uses {self.path}: stop it, or choose another folder with --data") from None
        _make_private(self.path)

    @property
    def database_url(self) -> str:
        """URL of the folder's SQLite database."""
        return f"sqlite:///{self.path / DATABASE_FILE}"

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def _make_private(folder: Path) -> None:
    """Take what is the server's from other users of the machine."""
    content = list(folder.iterdir())
    own = [path for path in content if path.name.startswith(OWN_NAMES) and path.is_file()]
    # A folder that holds other things too may be shared on purpose: then only the server's files are taken.
    for path in [folder, *own] if len(own) == len(content) else own:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & OTHERS:
            continue
        try:
            path.chmod(mode & ~OTHERS)
        except PermissionError:  # such as a folder that root made for the group of this user, as containers do
            _log.warning("other users of this machine can use %s (mode %o), which is not this user's to change", path, mode)
            continue
        if path.name == TOKEN_FILE:  # somebody may have copied it
            _log.warning(
                "other users of this machine could read %s (mode %o), now only its owner can: if there are other users, delete "
                "it, and the next start makes a new token",
                path,
                mode,
            )
