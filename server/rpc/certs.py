"""Certificates for a server and its clients, signed by a private authority whose key lives in the same folder."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_log = logging.getLogger(__name__)
LONGEST_HOST = 253
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](:[0-9]*)?")

# File names without their ending: ca.pem, ca-key.pem, server.pem, ...
AUTHORITY, SERVER, CLIENT = "ca", "server", "client"
AUTHORITY_DAYS = 3650
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# Certificates are valid from an hour ago, for machines whose clock is slow.
CLOCK_SKEW = timedelta(hours=1)


def make_certificates(folder: Path, hosts: Sequence[str], *, days: int = 397, now: datetime | None = None) -> list[Path]:
    """Write ca.pem, server.pem and client.pem, and for each its private key NAME-key.pem, readable by the owner only.

    An authority that is already in the folder is kept, so calling again renews the other two certificates. They end with the
    authority at the latest, with a warning if that is before their days are over.

    Args:
        folder: Where to write; made if missing.
        hosts: Names and addresses by which clients know the server. Those of the loopback interface are added.
        days: Days until the server's and the client's certificate expire, >= 1.
        now: Beginning of the validity; default: the current time.

    Returns:
        The paths of the three certificates.

    Raises:
        ValueError: If a host is neither a name nor an address, if days < 1, or if the folder's authority has expired or has
            another kind of key.
        OSError: If a file cannot be read or written.
    """
    if days < 1:
        raise ValueError(f"days must be >= 1, but got {days!r}")
    now = datetime.now(UTC) if now is None else now
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOCAL_HOSTS))]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Kept, because clients trust it by its file: a new one would cut all of them off.
    authority, authority_key = _read_authority(folder) or _make_authority(folder, now, now + timedelta(days=AUTHORITY_DAYS))
    until = _end(folder, authority, now, days)
    usages = {SERVER: ExtendedKeyUsageOID.SERVER_AUTH, CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}
    for name, usage in usages.items():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(f"curvestop {name}", authority.subject, key, now, until)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if name == SERVER:  # clients check the host they connect to against these names
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write(folder, name, builder.sign(authority_key, hashes.SHA256()), key)
    return [folder / f"{name}.pem" for name in (AUTHORITY, SERVER, CLIENT)]


def _make_authority(
    folder: Path, now: datetime, until: datetime, key: ec.EllipticCurvePrivateKey | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    builder = _builder("curvestop authority", _name("curvestop authority"), key, now, until)
    # path_length 0: it may sign servers and clients, but no further authorities.
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    # It signs certificates and nothing else, so nobody who has its key is taken for a client.
    certificate = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True).sign(key, hashes.SHA256())
    _write(folder, AUTHORITY, certificate, key)
    return certificate, key


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    # No argument has a default.
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    path = folder / f"{AUTHORITY}.pem"
    if not path.exists():
        return None
    key = serialization.load_pem_private_key(_key_path(folder, AUTHORITY).read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{_key_path(folder, AUTHORITY)} must hold an elliptic curve key, but holds another kind")
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        # Of an earlier version. With the same key and name, clients that have its old file trust what it signs all the same.
        return _make_authority(folder, certificate.not_valid_before_utc + CLOCK_SKEW, certificate.not_valid_after_utc, key)
    return certificate, key


def _end(folder: Path, authority: x509.Certificate, now: datetime, days: int) -> datetime:
    """Return when the certificates expire: after `days`, but not after their authority."""
    until, last = now + timedelta(days=days), authority.not_valid_after_utc
    if last <= now:
        raise ValueError(f"the authority in {folder} expired on {last:%Y-%m-%d}: move the folder away, and a new one is made")
    if until > last:
        _log.warning("the certificates expire on %s with their authority, not after %s days", f"{last:%Y-%m-%d}", days)
    return min(until, last)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(until)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a certificate and its key as new files, so that the key's mode is right from the first byte."""
    private_key = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path, data, mode in (
        (_key_path(folder, name), private_key, 0o600),
        (folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644),
    ):
        # Replaced, not overwritten: O_EXCL takes no link that somebody else may have put there.
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)


def _key_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-key.pem"


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        # What is no address is taken for a name; it is not looked up.
        if not _is_name(host):
            raise ValueError(f"a host must be a name or an address, but got {host!r}{_meant(host)}") from None
        return x509.DNSName(host)


def _is_name(host: str) -> bool:
    # A name whose last part is a number is an address with a mistake in it.
    return len(host) <= LONGEST_HOST and _HOST.fullmatch(host) is not None and not host.rpartition(".")[2].isdigit()


def _meant(host: str) -> str:
    """Return what to write instead, if that can be told."""
    meant = host.strip().rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    bracketed = _BRACKETED.match(meant)
    meant = bracketed[1] if bracketed else meant.partition(":")[0]
    with suppress(UnicodeError):  # a label that is empty or too long
        meant = meant.rstrip(".").encode("idna").decode()
    try:
        ipaddress.ip_address(meant)
    except ValueError:
        if not _is_name(meant):
            return ""
    return f": write {meant!r}"
