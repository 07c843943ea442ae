"""Who can reach the server: without TLS this machine only."""

from __future__ import annotations

import logging
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from curvestop.proto.endpoint import LOOPBACK

_log = logging.getLogger(__name__)


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
    """With TLS, of the files as they are when a client connects. Raises OSError when one cannot be read, or they do not fit."""
    if tls is None:
        return grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    files = _Files(tls)
    renewed: Any = files.renewed  # the stubs do not know that it may be None
    return grpc.dynamic_ssl_server_credentials(files.configuration(), renewed, tls.client_ca is not None)


class _Files:
    """Looked at whenever a client connects, so that a renewed certificate needs no restart."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamp: tuple[tuple[int, int], ...] = ()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Raises OSError."""
        tls = self._tls
        self._stamp = self._now()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")  # they fit
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], None if tls.client_ca is None else tls.client_ca.read_bytes())

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """None: as before, also where what there is now is no certificate with its key, as in the middle of a renewal."""
        try:
            if self._now() == self._stamp:
                return None
            configuration = self.configuration()
        except OSError as error:
            _log.warning("the certificate stays as it was: %s", error)
            return None
        _log.info("the certificate of %s is in use from now on", self._tls.certificate)
        return configuration

    def _now(self) -> tuple[tuple[int, int], ...]:
        files = filter(None, (self._tls.certificate, self._tls.key, self._tls.client_ca))
        return tuple((status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files))


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
