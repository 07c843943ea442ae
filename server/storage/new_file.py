"""New files of the owner: readable by nobody else, under their name only when they are complete, never written through a link."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
OWNER_ONLY = 0o600


@contextmanager
def new_file(to: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty file to write; it gets its name when the block ends without an error.

    Args:
        to: The name it gets. A link there is never followed.
        replace: Replace the file that has the name now, instead of refusing.

    Yields:
        The path to write to. It exists, with mode 0600; after an error it is gone.

    Raises:
        FileExistsError: If `to` exists, also as a link to nothing.
        OSError: If the file cannot be written.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with new_file(Path(folder.name, "rows.csv")) as partial:
        ...     _ = partial.write_text("a,b")
        >>> Path(folder.name, "rows.csv").read_text()
        'a,b'
        >>> folder.cleanup()
    """
    if not replace and os.path.lexists(to):
        raise FileExistsError(17, "the file exists and is not overwritten: choose another name or move it away", str(to))
    # In a folder of its own, mode 0700: nobody else can put a link in the way of the file, nor of a journal beside it.
    with tempfile.TemporaryDirectory(prefix=f"{to.name}.", suffix=PARTIAL_SUFFIX, dir=to.parent) as folder:
        partial = Path(folder, to.name)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
        yield partial
        _sync(partial)
        partial.rename(to)
    _sync(to.parent)  # the folder's own entry: the new name survives a power cut


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
