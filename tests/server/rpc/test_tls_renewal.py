"""A certificate that is renewed while the server runs."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import grpc

from curvestop.server.rpc.certs import make_certificates
from curvestop.server.rpc.server import Server
from tests.server.rpc.test_security import checked_health, tls_serving


def shown_certificate(serving: Server, ca: Path) -> str:
    """What a client that connects now is shown, as PEM."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", serving.port), timeout=30.0) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)


def test_a_renewed_certificate_is_in_use_without_a_restart(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=False) as (serving, certs):
        before = shown_certificate(serving, certs / "ca.pem")
        assert before.split() == (certs / "server.pem").read_text().split()
        make_certificates(certs, ["localhost"])
        after = shown_certificate(serving, certs / "ca.pem")
        assert after != before
        assert after.split() == (certs / "server.pem").read_text().split()
        assert checked_health(serving, grpc.ssl_channel_credentials((certs / "ca.pem").read_bytes()))


def test_a_certificate_without_its_key_changes_nothing(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=False) as (serving, certs):
        before = shown_certificate(serving, certs / "ca.pem")
        make_certificates(tmp_path / "other", ["localhost"])
        (certs / "server.pem").write_bytes((tmp_path / "other" / "server.pem").read_bytes())
        assert shown_certificate(serving, certs / "ca.pem") == before
        (certs / "server-key.pem").unlink()
        assert shown_certificate(serving, certs / "ca.pem") == before
        make_certificates(certs, ["localhost"])
        assert shown_certificate(serving, certs / "ca.pem") != before


def test_mutual_tls_is_still_asked_for_after_a_renewal(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=True) as (serving, certs):
        make_certificates(certs, ["localhost"])
        ca, key, certificate = ((certs / name).read_bytes() for name in ("ca.pem", "client-key.pem", "client.pem"))
        assert checked_health(serving, grpc.ssl_channel_credentials(ca, key, certificate))
        assert not checked_health(serving, grpc.ssl_channel_credentials(ca))
