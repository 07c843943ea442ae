"""The servers of a client, one after the other: channels with TLS or within this machine, made when first used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import LOOPBACK, parse_target, with_port

LARGEST_ANSWER_BYTES = 64 << 20
RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],  # not RESOURCE_EXHAUSTED: too large stays too large
}
"""For all calls: each may be repeated."""

OPTIONS: Mapping[str, Any] = {
    "grpc.service_config": json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRY}]}),
    "grpc.max_receive_message_length": LARGEST_ANSWER_BYTES,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}

FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
"""gRPC's variable: on, unless it is set to something like false."""

_of_parents: list[Any] = []  # channels of the process this one is a fork of: to close them here would hang


@dataclass(frozen=True)
class ClientTls:
    """PEM files. ca: of the authority that servers must be from; None: those this machine trusts.

    certificate, key: of this client, where servers ask for one.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @staticmethod
    def from_environment() -> ClientTls | None:
        """Of CURVESTOP_CA, CURVESTOP_CERT and CURVESTOP_KEY; None when none is set."""
        ca, certificate, key = (os.environ.get(f"CURVESTOP_{name}") for name in ("CA", "CERT", "KEY"))
        if not (ca or certificate or key):
            return None
        return ClientTls(*(Path(path) if path else None for path in (ca, certificate, key)))

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises ValueError (a certificate without its key), PermissionError (a file cannot be read)."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError(f"a client's certificate and its key go together, but got {self.certificate} and {self.key}")
        return grpc.ssl_channel_credentials(*(_read(path) for path in (self.ca, self.key, self.certificate)))


class Channels:
    """One or more servers, of which one is in use. Not for several threads at once but for `stub`.

    targets: `HOST:PORT` or `HOST`, separated by commas. Without `tls` a server of this machine is spoken to as such, any
    other one with TLS.
    Raises ValueError (no such target), PermissionError (a file of `tls` cannot be read).
    """

    def __init__(self, targets: str, *, tls: ClientTls | None = None) -> None:
        parsed = [parse_target(target.strip()) for target in targets.split(",")]
        self.addresses = tuple(with_port(host, port) for host, port in parsed)
        self._credentials = [_credentials(host, tls) for host, _ in parsed]
        self._stubs: dict[int, tuple[Any, Any]] = {}
        self.in_use = 0

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def address(self) -> str:
        """Of the one in use."""
        return self.addresses[self.in_use]

    def stub(self) -> Any:
        """Of the one in use."""
        number = self.in_use
        if number not in self._stubs:
            options = dict(OPTIONS)
            if self.addresses[number].rpartition(":")[0].strip("[]") in LOOPBACK:
                options["grpc.enable_http_proxy"] = 0
            channel = grpc.secure_channel(self.addresses[number], self._credentials[number], options=tuple(options.items()))
            self._stubs[number] = channel, EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        return self._stubs[number][1]

    def try_next(self, failed: str) -> None:
        """Use another server, unless one other than `failed` is in use already."""
        if failed == self.address:
            self.in_use = (self.in_use + 1) % len(self.addresses)

    def close(self) -> None:
        for channel, _ in self._stubs.values():
            channel.close()

    def forget(self) -> None:
        """In a fork: leave the channels to the process that made them."""
        _of_parents.append(self._stubs)
        self._stubs = {}


def would_hang() -> bool:
    """Whether a call would, whatever its deadline: in a fork of a process that made calls, with gRPC told not to mind forks."""
    return any(_of_parents) and os.environ.get(FORK_SUPPORT, "").lower() in ("0", "f", "false", "n", "no")


def _credentials(host: str, tls: ClientTls | None) -> grpc.ChannelCredentials:
    if tls is None and host in LOOPBACK:
        return grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    return (tls or ClientTls()).credentials()


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror}") from None
