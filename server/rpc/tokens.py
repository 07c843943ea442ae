"""Who calls: tokens by name, each of one tenant and one role. Only their hashes are kept, but for the owner's own token.

A token has 256 random bits, so a plain hash is enough; all hashes are compared, each in constant time.
"""

from __future__ import annotations

import fcntl
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
from curvestop.server.storage.store import DEFAULT_TENANT

Role = Literal["viewer", "trainer"]
ROLES: tuple[Role, ...] = get_args(Role)
"""A viewer asks; a trainer also makes studies, reports and ends trials."""

TOKEN_BYTES = 32
TOKENS_FILE = "tokens.json"
OWNER = "owner"
RELOAD_S = 1.0
_BEARER = b"Bearer "
_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Caller:
    """Whose token it is. name: unique in a data folder. created: date and time, UTC."""

    name: str
    tenant: str = DEFAULT_TENANT
    role: Role = "trainer"
    created: str = ""


@dataclass(frozen=True)
class _Known:
    caller: Caller
    digest: bytes


class Tokens:
    """The tokens of a data folder; the file is looked at again once a second, so an added or revoked one counts soon."""

    def __init__(self, folder: Path, *, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / TOKENS_FILE
        self._owner = _Known(Caller(OWNER), _digest(owner.encode()))
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at_s = -1.0
        self._stamp: tuple[int, int] | None = None
        self._known: tuple[_Known, ...] = (self._owner,)
        self._refresh()

    def caller(self, metadata: Sequence[tuple[str, str | bytes]]) -> Caller | None:
        """Who sends this metadata; None unless it has exactly one known token."""
        given = [value for key, value in metadata if key == AUTHORIZATION]
        if len(given) != 1:
            return None
        value = given[0].encode() if isinstance(given[0], str) else given[0]
        if not value.startswith(_BEARER):
            return None
        if self._clock() >= self._look_at_s:
            self._look_again()
        digest = _digest(value[len(_BEARER) :])
        found = [known.caller for known in self._known if hmac.compare_digest(known.digest, digest)]
        return found[0] if found else None

    def _look_again(self) -> None:
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            _log.error("the tokens stay as they were: %s", error)

    def _refresh(self) -> None:
        with self._lock:
            self._look_at_s = self._clock() + RELOAD_S
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._known = (self._owner, *_read(self._path))
                self._stamp = stamp


def read_or_make_token(folder: Path) -> tuple[str, Path]:
    """The owner's token in a folder and its path; made there, for the owner's eyes only, when there is none.

    Raises OSError when it cannot be read or written, ValueError when the file is empty.
    """
    path = folder / TOKEN_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_token(path), path
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token, path


def add_token(folder: Path, name: str, *, tenant: str = DEFAULT_TENANT, role: Role = "trainer") -> str:
    """Make a token, which is known to nobody afterwards but to who keeps what is returned.

    Raises ValueError for a name or tenant that is none, or a name in use; OSError when it cannot be written.
    """
    for what, given in (("name", name), ("tenant", tenant)):
        if _NAME.fullmatch(given) is None:
            raise ValueError(f"a {what} must be 1 to 64 letters, digits, dots, dashes and underscores, but got {given!r}")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with _changing(folder) as known:
        if name == OWNER or any(other.caller.name == name for other in known):
            raise ValueError(f"there is a token named {name!r}: revoke it first, or choose another name")
        caller = Caller(name, tenant, role, datetime.now(UTC).isoformat(timespec="seconds"))
        known.append(_Known(caller, _digest(token.encode())))
    return token


def revoke_token(folder: Path, name: str) -> None:
    """Raises ValueError when there is none of that name."""
    with _changing(folder) as known:
        left = [other for other in known if other.caller.name != name]
        if len(left) == len(known):
            raise ValueError(f"there is no token named {name!r}: `curvestop token list` has all of them")
        known[:] = left


def listed_tokens(folder: Path) -> tuple[Caller, ...]:
    """Who has a token beside the owner."""
    return tuple(known.caller for known in _read(folder / TOKENS_FILE))


def _read_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} must hold a token, but is empty: delete it to have a new one made")
    return token


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def _read(path: Path) -> list[_Known]:
    """Raises ValueError for a file that is not ours."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    try:
        rows = json.loads(text)
        return [_Known(_caller(row), bytes.fromhex(row["sha256"])) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} must hold what `curvestop token add` writes, but does not") from None


def _caller(row: dict[str, str]) -> Caller:
    (role,) = (role for role in ROLES if role == row["role"])
    return Caller(row["name"], row["tenant"], role, row["created"])


@contextmanager
def _changing(folder: Path) -> Iterator[list[_Known]]:
    """The known tokens, to be changed in place; written whole or not at all, one change at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / TOKENS_FILE
    with (folder / f"{TOKENS_FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(path)
        yield known
        rows = [asdict(item.caller) | {"sha256": item.digest.hex()} for item in known]
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps(rows, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
