"""TLS and the listening address: without TLS the server can be reached from this machine only."""

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
    """The server's TLS files, all PEM.

    Attributes:
        certificate: The server's certificate.
        key: Its private key.
        client_ca: Certificate of the authority that must have signed every client's certificate (mutual TLS); None: clients
            need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


def listening_address(host: str, tls: Tls | None) -> str:
    """Return the address to listen on.

    Args:
        host: A name or an address; without TLS one of this machine (127.0.0.1, ::1 or localhost).
        tls: The TLS files, if any.

    Raises:
        ValueError: If other machines could reach the host and there is no TLS.
    """
    if tls is None and host not in LOOPBACK:
        raise ValueError(
            f"without TLS the host must be 127.0.0.1, ::1 or localhost, but got {host!r}: tokens and curves would cross the "
            "network unencrypted. Run `curvestop certs --host NAME` with the name that clients use, then add "
            "--tls-cert certs/server.pem --tls-key certs/server-key.pem"
        )
    return LOOPBACK.get(host, host)


def server_credentials(tls: Tls | None) -> grpc.ServerCredentials:
    """Make gRPC's server credentials.

    Args:
        tls: The TLS files, which are read again when they change; None: accept local connections only.

    Raises:
        OSError: If a file cannot be read, or certificate and key do not match.
    """
    if tls is None:
        # Local credentials refuse connections from other machines, whatever address the server listens on.
        return grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    files = _ReloadingFiles(tls)
    reload: Any = files.reload_if_changed  # the stubs do not know that it may return None
    return grpc.dynamic_ssl_server_credentials(files.read(), reload, tls.client_ca is not None)


class _ReloadingFiles:
    """TLS files, checked for changes whenever a client connects, so that a renewed certificate needs no restart."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamp: tuple[tuple[int, int], ...] = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        self._stamp = self._current_stamp()  # before reading: a change in between is noticed by the next check
        # OpenSSL checks that certificate and key match; gRPC would fail every handshake without saying why.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], None if tls.client_ca is None else tls.client_ca.read_bytes())

    def reload_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration; None keeps the one in use, also when the files do not match (yet)."""
        try:
            if self._current_stamp() == self._stamp:
                return None
            configuration = self.read()
        except OSError as error:  # for example in the middle of a renewal
            _log.warning("cannot load the new certificate, so the old one stays in use: %s", error)
            return None
        _log.info("the renewed certificate %s is in use", self._tls.certificate)
        return configuration

    def _current_stamp(self) -> tuple[tuple[int, int], ...]:
        files = filter(None, (self._tls.certificate, self._tls.key, self._tls.client_ca))
        return tuple((status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files))


def check_port_is_free(address: str, port: int) -> None:
    """Check that a server can listen on a port; gRPC would only say that it failed.

    Args:
        address: A name or an address of this machine.
        port: The port; 0 is always free.

    Raises:
        OSError: If the address is unknown or the port is in use; the message says which.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"host {address!r} is not known on this machine ({error.strerror})") from None
    family, _, _, _, socket_address = found[0]
    with socket.socket(family) as probe:
        # As gRPC does: a port whose last connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(socket_address)
        except OSError as error:
            message = f"cannot listen on port {port} of {address} ({error.strerror}): choose another port"
            raise OSError(error.errno, message) from None
