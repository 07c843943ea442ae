"""Where a client finds its token: argument, CURVESTOP_TOKEN, CURVESTOP_TOKEN_FILE, then the default place."""

from __future__ import annotations

import os
from pathlib import Path

from curvestop.proto.endpoint import TOKEN_FILE, home_folder


def find_token(given: str | None = None) -> str | None:
    """The token; None when nobody named one and the default place has none (yet: a server makes it when it first starts).

    Raises PermissionError when CURVESTOP_TOKEN_FILE names a file that cannot be read.
    """
    token = given or os.environ.get("CURVESTOP_TOKEN")
    if token:
        return token.strip()
    named = os.environ.get("CURVESTOP_TOKEN_FILE")
    if named:
        return _named(Path(named))
    try:
        return default_token_path().read_text().strip() or None
    except OSError:
        return None


def default_token_path() -> Path:
    return home_folder() / TOKEN_FILE


def _named(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise PermissionError(f"CURVESTOP_TOKEN_FILE names {path}, which cannot be read: {error.strerror}") from None
    if not token:
        raise PermissionError(f"CURVESTOP_TOKEN_FILE names {path}, which is empty")
    return token
