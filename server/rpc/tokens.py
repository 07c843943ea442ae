"""Tokens: who calls. Each token has a name, a tenant and a role. Only hashes are stored, except for the owner's own token.

A token has 256 random bits, so a plain hash is safe (there is nothing to guess); every hash is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from curvestop.proto.endpoint import AUTHORIZATION, TOKEN_FILE
from curvestop.proto.file_lock import lock_file
from curvestop.server.storage.new_file import OWNER_ONLY, new_file
from curvestop.server.storage.store import DEFAULT_TENANT

Role = Literal["viewer", "trainer"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From least to most: a viewer only reads; a trainer also creates studies, reports values and ends trials."""

TOKEN_BYTES = 32
TOKENS_FILE = "tokens.json"
OWNER = "owner"
RELOAD_INTERVAL_S = 1.0
_BEARER = b"Bearer "
_log = logging.getLogger(__name__)
# No path separators, spaces or control characters: names stand in logs, metrics and tables.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Caller:
    """The owner of a token.

    Attributes:
        name: Name of the token, unique in a data folder.
        tenant: The tenant whose studies it sees.
        role: "viewer" or "trainer".
        created: Date and time in UTC, ISO 8601; empty for the data folder's owner.
    """

    name: str
    tenant: str = DEFAULT_TENANT
    role: Role = "trainer"
    created: str = ""


@dataclass(frozen=True)
class _KnownToken:
    caller: Caller
    digest: bytes


class Tokens:
    """The tokens of a data folder.

    The token file is checked for changes once a second, so an added or revoked token counts within a second. A file that
    cannot be read later changes nothing and is logged.

    Args:
        folder: The data folder.
        owner: The owner's token.
        clock: Returns the time in seconds; it must not go backwards.

    Raises:
        ValueError: If the token file is malformed.
        OSError: If the token file cannot be read.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> token = add_token(folder, "alice", tenant="vision", role="viewer")
        >>> caller = Tokens(folder, owner="mine").authenticate([("authorization", f"Bearer {token}")])
        >>> caller.name, caller.tenant, caller.role
        ('alice', 'vision', 'viewer')
        >>> [caller.name for caller in list_tokens(folder)]
        ['alice']
    """

    def __init__(self, folder: Path, *, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / TOKENS_FILE
        self._owner = _KnownToken(Caller(OWNER), _digest(owner.encode()))
        self._clock = clock
        self._lock = threading.Lock()
        self._reload_at_s = -1.0
        self._file_stamp: tuple[int, int] | None = None
        self._known: tuple[_KnownToken, ...] = (self._owner,)  # replaced as a whole, so readers need no lock
        self._reload_if_changed()

    def authenticate(self, metadata: Sequence[tuple[str, str | bytes]]) -> Caller | None:
        """Find the caller that sent a call's metadata.

        Args:
            metadata: Keys and values; exactly one must be `authorization: Bearer TOKEN`.

        Returns:
            The caller; None without exactly one known token.
        """
        given = [value for key, value in metadata if key == AUTHORIZATION]
        # Of two tokens in one call neither is chosen.
        if len(given) != 1:
            return None
        value = given[0].encode() if isinstance(given[0], str) else given[0]
        if not value.startswith(_BEARER):
            return None
        # Reloading here, not in a thread: a stat a second costs nothing, and a revoked token stops within a second.
        if self._clock() >= self._reload_at_s:
            self._reload_or_log()
        digest = _digest(value[len(_BEARER) :])
        # All are compared, so that the time taken does not tell which one matched.
        found = [known.caller for known in self._known if hmac.compare_digest(known.digest, digest)]
        return found[0] if found else None

    def _reload_or_log(self) -> None:
        try:
            self._reload_if_changed()
        except (OSError, ValueError) as error:
            _log.error("cannot reload the tokens, so the earlier ones stay valid: %s", error)

    def _reload_if_changed(self) -> None:
        with self._lock:
            self._reload_at_s = self._clock() + RELOAD_INTERVAL_S
            stamp = _file_stamp(self._path)
            if stamp != self._file_stamp:
                # The stamp is set last: a file that cannot be read is tried again a second later.
                self._known = (self._owner, *_read(self._path))
                self._file_stamp = stamp


def read_or_make_token(folder: Path) -> tuple[str, Path]:
    """Read the owner's token of a data folder; make it, readable by the owner only, if there is none.

    Args:
        folder: The data folder, which must exist.

    Returns:
        The token and the path of its file.

    Raises:
        OSError: If the file cannot be read or written.
        ValueError: If the file is empty.
    """
    path = folder / TOKEN_FILE
    # O_EXCL with the mode at once: the token is never readable by others, not even for a moment.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        return _read_token(path), path
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token, path


def add_token(folder: Path, name: str, *, tenant: str = DEFAULT_TENANT, role: Role = "trainer") -> str:
    """Create a token. Only its hash is stored, so the returned text is the only copy.

    Args:
        folder: The data folder; made if missing.
        name: Name of the token, by which it is revoked.
        tenant: The tenant whose studies it sees.
        role: "viewer" (read-only) or "trainer" (may also write).

    Returns:
        The token.

    Raises:
        ValueError: If the name or the tenant is not 1 to 64 letters, digits, dots, dashes and underscores, or the name is in
            use.
        OSError: If the file cannot be written.
    """
    for what, given in (("name", name), ("tenant", tenant)):
        if _NAME.fullmatch(given) is None:
            raise ValueError(f"a {what} must be 1 to 64 letters, digits, dots, dashes and underscores, but got {given!r}")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with _changing(folder) as known:
        # Unique over all tenants, since `revoke` is told the name only.
        if name == OWNER or any(other.caller.name == name for other in known):
            raise ValueError(f"a token named {name!r} already exists: revoke it first, or choose another name")
        caller = Caller(name, tenant, role, datetime.now(UTC).isoformat(timespec="seconds"))
        known.append(_KnownToken(caller, _digest(token.encode())))
    return token


def revoke_token(folder: Path, name: str) -> None:
    """Revoke a token.

    Args:
        folder: The data folder.
        name: Name of the token.

    Raises:
        ValueError: If no token has that name.
        OSError: If the file cannot be written.
    """
    with _changing(folder) as known:
        remaining = [other for other in known if other.caller.name != name]
        if len(remaining) == len(known):
            raise ValueError(f"no token is named {name!r}: `curvestop token list` shows all names")
        # In place: `_changing` writes the very list that it gave.
        known[:] = remaining


def list_tokens(folder: Path) -> tuple[Caller, ...]:
    """Return all callers that have a token, except the owner.

    Args:
        folder: The data folder.

    Raises:
        ValueError: If the token file is malformed.
        OSError: If the token file cannot be read.
    """
    return tuple(known.caller for known in _read(folder / TOKENS_FILE))


def _read_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} must hold a token, but is empty: delete it, and `curvestop serve` makes a new one")
    return token


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _file_stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file is replaced: its time of modification and inode; None without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def _read(path: Path) -> list[_KnownToken]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    try:
        rows = json.loads(text)
        return [_KnownToken(_caller(row), bytes.fromhex(row["sha256"])) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} must hold what `curvestop token add` writes, but does not: restore it, or delete it and add the tokens anew"
        ) from None


def _caller(row: dict[str, str]) -> Caller:
    # Not a plain lookup: a role that this version does not know must be an error.
    (role,) = (role for role in ROLES if role == row["role"])
    return Caller(row["name"], row["tenant"], role, row["created"])


@contextmanager
def _changing(folder: Path) -> Iterator[list[_KnownToken]]:
    """Give the known tokens to be changed in place, then write them all or nothing; one process at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / TOKENS_FILE
    with os.fdopen(os.open(folder / f"{TOKENS_FILE}.lock", os.O_RDWR | os.O_CREAT, OWNER_ONLY)) as lock:
        lock_file(lock, wait=True)  # of a file of its own, since the token file is replaced
        known = _read(path)
        yield known
        rows = [asdict(item.caller) | {"sha256": item.digest.hex()} for item in known]
        with new_file(path, replace=True) as partial:
            partial.write_text(json.dumps(rows, indent=1) + "\n")
