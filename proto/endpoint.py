"""What both ends of the wire agree on beyond the messages: port, token, limits, and the names of a caller's mistakes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from curvestop.srm.study import EpochOutOfRange, UnknownTrial

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7070
LOOPBACK: Mapping[str, str] = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
"""Hosts to serve and to call; gRPC's local credentials refuse the rest of 127.0.0.0/8."""

_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")

MAX_MESSAGE_BYTES = 1 << 20
MAX_VALUES = 1000
"""Most values in one report."""
MAX_BATCH = 256
"""Most reports in one batch."""

TOKEN_FILE = "token"
AUTHORIZATION = "authorization"
"""Metadata key whose value is `Bearer TOKEN`."""

MISTAKE = "curvestop-mistake"
"""Trailing metadata key: the name, in `MISTAKES`, of the exception that an in-process study would have raised."""


PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata key: milliseconds after which to come again; -1: never."""


class UnknownStudy(LookupError):
    """A study the server does not have."""


class SettingsDiffer(ValueError):
    """A study of that name exists with other settings."""


MISTAKES: Mapping[str, type[Exception]] = {
    mistake.__name__: mistake for mistake in (ValueError, EpochOutOfRange, UnknownTrial, UnknownStudy, SettingsDiffer)
}


def home_folder() -> Path:
    """Where a server keeps its data and token unless told otherwise: $CURVESTOP_HOME or ~/.local/share/curvestop."""
    named = os.environ.get("CURVESTOP_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "curvestop"


def with_port(address: str, port: int) -> str:
    """`127.0.0.1:7070`, `[::1]:7070`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_target(target: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `HOST`; a name of this machine becomes its address. Raises ValueError for anything else."""
    host, colon, port = target.rpartition(":")
    if not colon or target.endswith("]"):
        host, port = target, str(DEFAULT_PORT)
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"a server must be given as HOST:PORT, for example {DEFAULT_HOST}:{DEFAULT_PORT}, but got {target!r}")
    name = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if _HOST.fullmatch(name) is None:
        raise ValueError(f"a server must be given as HOST:PORT, for example {DEFAULT_HOST}:{DEFAULT_PORT}, but got {target!r}")
    return LOOPBACK.get(name, name), int(port)
