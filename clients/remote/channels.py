"""gRPC channels to a client's servers: encrypted, or local within this machine, and opened when first used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import KEEPALIVE_S, LOOPBACK, parse_target, with_port

MAX_RESPONSE_BYTES = 64 << 20

RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],  # not RESOURCE_EXHAUSTED: a message that is too large stays too large
}
"""gRPC's retry policy for all methods: every call is idempotent, so each may be repeated."""

CONNECT_S = 5.0
"""Longest attempt to connect, in seconds: a link of 0.4 s round trip needs 1.2 s for the handshakes of TCP, TLS and HTTP/2."""

CHANNEL_OPTIONS: Mapping[str, Any] = {
    "grpc.service_config": json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRY_POLICY}]}),
    "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
    # gRPC waits up to two minutes between connection attempts; a server that restarts should be found within a second.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    # In spite of its name, the time that a connection attempt has.
    "grpc.min_reconnect_backoff_ms": round(1000 * CONNECT_S),
    # Reports may be hours apart: the connection stays open between them (gRPC's default: 30 minutes), routers are reminded of it,
    # and a dead one is found.
    "grpc.client_idle_timeout_ms": 2**31 - 1,
    "grpc.keepalive_time_ms": 1000 * KEEPALIVE_S,
    "grpc.keepalive_timeout_ms": round(1000 * CONNECT_S),
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,  # no limit
}
"""gRPC's options for every channel."""

FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
"""gRPC's environment variable for its fork support, which is on unless the variable is set to a false value."""

# Channels of the process that this one was forked from. They are kept alive, because closing them in the child would hang.
_channels_of_parents: list[Any] = []


@dataclass(frozen=True)
class ClientTls:
    """The PEM files of a client's TLS connections.

    Attributes:
        ca: Certificate of the authority that must have signed the server's certificate. Default: the authorities that this
            machine trusts.
        certificate: Certificate of this client, where servers ask for one. Default: none.
        key: Private key of `certificate`; the two go together.

    Examples:
        >>> ClientTls(ca=Path("ca.pem")).certificate is None
        True
        >>> ClientTls(certificate=Path("client.pem")).credentials()
        Traceback (most recent call last):
        ValueError: a client certificate needs its key: got certificate client.pem and key None
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @staticmethod
    def from_environment() -> ClientTls | None:
        """Return the files named by CURVESTOP_CA, CURVESTOP_CERT and CURVESTOP_KEY; None if none of them is set."""
        ca, certificate, key = (os.environ.get(f"CURVESTOP_{name}") for name in ("CA", "CERT", "KEY"))
        if not (ca or certificate or key):
            return None
        return ClientTls(*(Path(path) if path else None for path in (ca, certificate, key)))

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Returns:
            Credentials for a gRPC channel.

        Raises:
            ValueError: If a certificate is given without its key, or a key without its certificate.
            PermissionError: If a file cannot be read.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError(f"a client certificate needs its key: got certificate {self.certificate} and key {self.key}")
        return grpc.ssl_channel_credentials(*(_read(path) for path in (self.ca, self.key, self.certificate)))


class Channels:
    """Channels to one or more servers that keep the same studies, of which one is in use.

    Not for several threads at the same time. Stubs, once handed out, are.

    Args:
        targets: `HOST:PORT` or `HOST`, several separated by commas.
        tls: Files for TLS. Default: a server on this machine is called without TLS, any other with the authorities that this
            machine trusts.

    Attributes:
        addresses: `HOST:PORT` of each server.
        in_use: Index of the server in use.

    Raises:
        ValueError: If a target is not a host and a port, or `tls` has a certificate without its key.
        PermissionError: If a file of `tls` cannot be read.

    Examples:
        >>> channels = Channels("127.0.0.1:7070, 127.0.0.1:7071")
        >>> channels.try_next(failed=channels.address)
        >>> channels.address
        '127.0.0.1:7071'
    """

    def __init__(self, targets: str, *, tls: ClientTls | None = None) -> None:
        parsed = [parse_target(target.strip()) for target in targets.split(",")]
        self.addresses = tuple(with_port(host, port) for host, port in parsed)
        # Files are read here, so that a missing one is an error of `connect` and not of a report in mid-training.
        self._credentials = [_credentials(host, tls) for host, _ in parsed]
        self._open: dict[int, tuple[Any, Any]] = {}  # by the server's index: channel and stub
        self.in_use = 0

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def address(self) -> str:
        """`HOST:PORT` of the server in use."""
        return self.addresses[self.in_use]

    def stub(self) -> Any:
        """Return the stub of the server in use; opens the channel at the first call."""
        number = self.in_use
        if number not in self._open:
            options = dict(CHANNEL_OPTIONS)
            if self.addresses[number].rpartition(":")[0].strip("[]") in LOOPBACK:
                options["grpc.enable_http_proxy"] = 0  # a proxy for the network does not reach this machine's own ports
            channel = grpc.secure_channel(self.addresses[number], self._credentials[number], options=tuple(options.items()))
            self._open[number] = channel, EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        return self._open[number][1]

    def try_next(self, failed: str) -> None:
        """Switch to the next server, unless another thread has switched already.

        Args:
            failed: Address of the server that did not answer.
        """
        if failed == self.address:
            self.in_use = (self.in_use + 1) % len(self.addresses)

    def close(self) -> None:
        """Close all open channels."""
        for channel, _ in self._open.values():
            channel.close()

    def forget(self) -> None:
        """Leave the open channels to the process that opened them; for a forked child, which opens its own."""
        _channels_of_parents.append(self._open)
        self._open = {}


def would_hang() -> bool:
    """Return whether a call would hang whatever its deadline.

    That is so in a forked child if its parent made calls and gRPC's fork support is switched off.
    """
    return any(_channels_of_parents) and os.environ.get(FORK_SUPPORT, "").lower() in ("0", "f", "false", "n", "no")


def _credentials(host: str, tls: ClientTls | None) -> grpc.ChannelCredentials:
    if tls is None and host in LOOPBACK:
        return grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    return (tls or ClientTls()).credentials()


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror}") from None
