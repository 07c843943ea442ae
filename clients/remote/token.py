"""Where a client finds its token: the argument, CURVESTOP_TOKEN, CURVESTOP_TOKEN_FILE, then the default file."""

from __future__ import annotations

import os
from pathlib import Path

from curvestop.proto.endpoint import TOKEN_FILE, home_folder


def find_token(given: str | None = None) -> str | None:
    """Return the client's token, from the first place that has one.

    Args:
        given: The token itself; wins over all other places. Default: look in the environment.

    Returns:
        The token; None if nobody named one and the default file does not exist (yet: a server writes it when it first starts).

    Raises:
        PermissionError: If CURVESTOP_TOKEN_FILE names a file that cannot be read or is empty.
    """
    token = given or os.environ.get("CURVESTOP_TOKEN")
    if token:
        return token.strip()  # a newline from `cat` is no part of it
    named = os.environ.get("CURVESTOP_TOKEN_FILE")
    if named:
        # A file that somebody named must be there; only the default one may be missing.
        return _read_named_file(Path(named))
    try:
        return default_token_path().read_text().strip() or None
    except OSError:  # missing, or the file of another user's server
        return None


def default_token_path() -> Path:
    """Return the path where a server on this machine writes its token."""
    return home_folder() / TOKEN_FILE


def _read_named_file(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise PermissionError(f"CURVESTOP_TOKEN_FILE names {path}, which cannot be read: {error.strerror}") from None
    if not token:
        raise PermissionError(f"CURVESTOP_TOKEN_FILE names {path}, which is empty: write the server's token into it")
    return token
