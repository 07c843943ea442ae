"""What client and server agree on beyond the messages: port, token, limits, metadata keys, and the errors sent by name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from curvestop.srm.trial import UnknownTrial
from curvestop.srm.validation import EpochOutOfRange

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7070
LOOPBACK: Mapping[str, str] = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
"""Hosts of the loopback interface and their addresses; gRPC's local credentials refuse the rest of 127.0.0.0/8."""

# A name or IPv4 address, or an IPv6 address.
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")

KEEPALIVE_S = 60
"""A client that has nothing to say pings the server so often; a server takes pings at half of that."""

MAX_MESSAGE_BYTES = 1 << 20
MAX_VALUES = 1000
"""Maximum number of values in a report."""
MAX_BATCH = 256
"""Maximum number of reports, or of curves to predict, in a batch."""

TOKEN_FILE = "token"
"""Name of the file in a data folder that holds the owner's token."""

AUTHORIZATION = "authorization"
"""Metadata key whose value is `Bearer TOKEN`."""

MISTAKE = "curvestop-mistake"
"""Trailing metadata key whose value names, in `MISTAKES`, the exception that a study in process would have raised."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata key whose value says after how many milliseconds to retry; -1: never."""


def host_of(header: str) -> str:
    """Return the name, in lower case, in a Host header.

    Args:
        header: `HOST`, `HOST:PORT` or `[::1]:PORT`.

    Examples:
        >>> host_of("Localhost:7071"), host_of("[::1]:7071")
        ('localhost', '::1')
    """
    if header.startswith("["):
        return header[1 : header.find("]")].lower()
    return header.partition(":")[0].lower()


class UnknownStudy(LookupError):
    """The server has no study of that name."""


class SettingsDiffer(ValueError):
    """A study of that name already exists with other settings."""


# Errors of the caller: a client raises the same class as a study in process.
MISTAKES: Mapping[str, type[Exception]] = {
    mistake.__name__: mistake for mistake in (ValueError, EpochOutOfRange, UnknownTrial, UnknownStudy, SettingsDiffer)
}


def home_folder() -> Path:
    """Return the default data folder of a server: $CURVESTOP_HOME or ~/.local/share/curvestop."""
    named = os.environ.get("CURVESTOP_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "curvestop"


def with_port(address: str, port: int) -> str:
    """Return an address with its port, as gRPC writes it.

    Args:
        address: A name or an address; an IPv6 address without brackets.
        port: The port.

    Examples:
        >>> with_port("127.0.0.1", 7070), with_port("::1", 7070)
        ('127.0.0.1:7070', '[::1]:7070')
    """
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_target(target: str) -> tuple[str, int]:
    """Split a server's address into host and port.

    Args:
        target: HOST:PORT, or HOST for the default port. An IPv6 address with a port is written in brackets.

    Returns:
        The host, "localhost" as its address, and the port.

    Raises:
        ValueError: If the host has other characters than a name or an address has, or the port is not within 1 and 65535.

    Examples:
        >>> parse_target("localhost"), parse_target("[::1]:8080")
        (('127.0.0.1', 7070), ('::1', 8080))
    """
    host, colon, port = target.rpartition(":")
    if not colon or target.endswith("]"):  # the last colon of "[::1]" is part of the address
        host, port = target, str(DEFAULT_PORT)
    name = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if not (port.isdecimal() and 0 < int(port) < 65536) or _HOST.fullmatch(name) is None:
        raise ValueError(f"a server address must be HOST:PORT, for example {DEFAULT_HOST}:{DEFAULT_PORT}, but got {target!r}")
    return LOOPBACK.get(name, name), int(port)
