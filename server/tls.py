"""Who can reach the server: without TLS this machine only."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import grpc

from curvestop.proto.endpoint import LOOPBACK


@dataclass(frozen=True)
class Tls:
    """PEM files. client_ca: of the authority that every client's certificate must be from; None: clients need none."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def listening_address(host: str, tls: Tls | None) -> str:
    """The address to listen on. Raises ValueError, with what to do, for one that others can reach unless there is TLS."""
    if tls is None and host not in LOOPBACK:
        raise ValueError(
            f"the host must be 127.0.0.1, ::1 or localhost, but got {host!r}: without TLS the token and the curves would cross "
            f"the network in the clear. Run `curvestop certs --host NAME` with the name that clients use, then add "
            "--tls-cert certs/server.pem --tls-key certs/server-key.pem"
        )
    return LOOPBACK.get(host, host)


def server_credentials(tls: Tls | None) -> grpc.ServerCredentials:
    """Raises OSError when a file cannot be read."""
    if tls is None:
        return grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    client_ca = None if tls.client_ca is None else tls.client_ca.read_bytes()
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def check_port_is_free(address: str, port: int) -> None:
    """Raises OSError that says so when a port cannot be had; gRPC would only say that it failed."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"host {address!r} is not known here ({error.strerror})") from None
    family, _, _, _, place = found[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise OSError(error.errno, f"port {port} of {address} cannot be had ({error.strerror}): choose another") from None
