"""Who may call what: every registered method requires a token, tenants do not see each other, no secret is written down."""

from __future__ import annotations

import json
import logging
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import PUSHBACK
from curvestop.server.rpc.certs import make_certificates
from curvestop.server.rpc.interceptor import HEALTH_CHECK, LEAST_ROLE, SERVICE
from curvestop.server.rpc.quotas import Limits
from curvestop.server.rpc.server import Server, register
from curvestop.server.rpc.tls import Tls
from curvestop.server.rpc.tokens import Caller, Tokens, add_token, revoke_token
from tests.contracts import last_seen
from tests.server.rpc.test_servicer import WAIT_S, finish, local_channel, report, resume, status_of
from tests.system_programs import skip_without

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("security")
    with Server(folder, host="127.0.0.1", port=0, limits=Limits(max_studies=3)) as serving:
        serving.registry.create(last_seen())
        serving.registry["s"].report("known", [0.1])
        yield serving


@pytest.fixture(scope="module")
def as_(serving: Server) -> Iterator[Callable[[str], Call]]:
    """Call a method with a token."""
    with local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]

        def as_(token: str) -> Call:
            metadata = (("authorization", f"Bearer {token}"),)
            return lambda method, request: getattr(stub, method)(request, timeout=WAIT_S, metadata=metadata)

        yield as_


def registered_methods(serving: Server) -> set[str]:
    """What gRPC would route, asked of a server of gRPC's own to which the same is registered."""
    server = grpc.server(ThreadPoolExecutor(1))
    register(server, serving._pools.for_call("default").handlers["trainer"], serving._health)
    state: Any = server._state  # type: ignore[attr-defined]
    generic = {name for handler in state.generic_handlers for name in handler._method_handlers}
    return generic | set(state.registered_method_handlers)


def test_every_registered_method_requires_a_token_but_the_health_check(serving: Server) -> None:
    methods = registered_methods(serving)
    assert {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods} < methods
    statuses = {}
    with local_channel(serving.address) as channel:
        for method in methods:
            try:
                channel.unary_unary(method)(b"", timeout=WAIT_S)
                statuses[method] = grpc.StatusCode.OK
            except grpc.RpcError as error:
                statuses[method] = error.code()
    assert statuses.pop(HEALTH_CHECK) == grpc.StatusCode.OK
    assert set(statuses.values()) == {grpc.StatusCode.UNAUTHENTICATED}
    assert len(statuses) >= len(SERVICE.methods) + 1


def test_of_two_tokens_in_one_call_neither_counts(serving: Server) -> None:
    right, request = f"Bearer {serving.token_path.read_text().strip()}", pb.GetStudyRequest(study="s")
    with local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        for tokens in ((right, right), (right, "Bearer wrong"), ("Bearer wrong", right), (right, "")):
            metadata = tuple(("authorization", token) for token in tokens)
            with pytest.raises(grpc.RpcError) as error:
                stub.GetStudy(request, timeout=WAIT_S, metadata=metadata)
            assert status_of(error) == grpc.StatusCode.UNAUTHENTICATED
        assert stub.GetStudy(request, timeout=WAIT_S, metadata=(("authorization", right),)).settings.name == "s"


def test_every_method_has_a_least_role() -> None:
    assert set(LEAST_ROLE) == set(SERVICE.methods_by_name)


def test_reflection_is_off(serving: Server) -> None:
    assert not any("reflection" in method for method in registered_methods(serving))


REQUESTS: tuple[tuple[str, Any], ...] = (
    ("GetStudy", pb.GetStudyRequest(study="s")),
    ("ListStudies", pb.ListStudiesRequest()),
    ("ListTrials", pb.ListTrialsRequest(study="s")),
    ("ReadLog", pb.ReadLogRequest(study="s")),
    ("Predict", pb.PredictRequest(study="s", values=[0.1])),
    ("PredictBatch", pb.PredictBatchRequest(study="s", curves=[pb.PartialCurve(values=[0.1])])),
    ("Report", report(trial="known")),
    ("ReportBatch", pb.ReportBatchRequest(study="s", reports=[report(trial="known")])),
    ("FinishTrial", finish("known", "TRIAL_STATE_FINISHED")),
    ("SecondChances", pb.SecondChancesRequest(study="s", n=1)),
    ("Resume", resume("known", "key")),
    ("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen()))),
)
TAKES_A_STUDY = [(method, request) for method, request in REQUESTS if hasattr(request, "study")]


def test_the_requests_are_of_every_method() -> None:
    assert {method for method, _ in REQUESTS} == set(SERVICE.methods_by_name)


def test_a_viewer_only_asks(serving: Server, as_: Callable[[str], Call]) -> None:
    call = as_(fresh_token(serving, "viewer", role="viewer"))
    refused = set()
    for method, request in REQUESTS:
        try:
            call(method, request)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                refused.add(method)
            else:  # allowed; the study's policy states no chances
                assert (method, error.code()) == ("SecondChances", grpc.StatusCode.INVALID_ARGUMENT)  # noqa: PT017
    assert refused == {"Report", "ReportBatch", "FinishTrial", "Resume", "CreateStudy"}


@pytest.mark.parametrize(("method", "request_"), TAKES_A_STUDY, ids=[method for method, _ in TAKES_A_STUDY])
def test_a_foreign_study_is_none(serving: Server, as_: Callable[[str], Call], method: str, request_: Any) -> None:
    call = as_(fresh_token(serving, f"foreign-{method}", tenant="other"))
    with pytest.raises(grpc.RpcError) as error:
        call(method, request_)
    assert status_of(error) == grpc.StatusCode.NOT_FOUND


def test_two_tenants_may_name_a_study_alike(serving: Server, as_: Callable[[str], Call]) -> None:
    call = as_(fresh_token(serving, "alike", tenant="alike"))
    assert not call("ListStudies", pb.ListStudiesRequest()).studies
    call("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen(max_epochs=2))))
    call("Report", report(trial="mine", values=[0.7]))
    assert [trial.trial for trial in call("ListTrials", pb.ListTrialsRequest(study="s")).trials] == ["mine"]
    assert [trial.trial for trial in serving.registry["s"].trials()] == ["known"]


def test_a_tenant_has_a_quota_of_studies(serving: Server, as_: Callable[[str], Call]) -> None:
    call = as_(fresh_token(serving, "quota", tenant="quota"))
    for name in ("1", "2", "3", "3"):
        call("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen(name=name))))
    with pytest.raises(grpc.RpcError) as error:
        call("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen(name="4"))))
    assert status_of(error) == grpc.StatusCode.RESOURCE_EXHAUSTED
    raised: Any = error.value
    assert dict(raised.trailing_metadata())[PUSHBACK] == "-1"
    assert "at most 3 studies" in raised.details()


def fresh_token(serving: Server, name: str, **settings: Any) -> str:
    """A new token that the server knows at once: otherwise it reloads once a second."""
    token = add_token(serving.folder, name, **settings)
    serving._interceptor._tokens._reload_at_s = 0.0
    return token


class TestTokens:
    def test_are_known_from_the_next_look_until_they_are_revoked(self, tmp_path: Path) -> None:
        now_s = [0.0]
        tokens = Tokens(tmp_path, owner="mine", clock=lambda: now_s[0])
        given = add_token(tmp_path, "alice", tenant="vision", role="viewer")

        def caller(token: str) -> Caller | None:
            return tokens.authenticate((("user-agent", "x"), ("authorization", f"Bearer {token}")))

        assert caller(given) is None
        now_s[0] = 1.0
        alice = caller(given)
        assert alice is not None
        assert (alice.name, alice.tenant, alice.role) == ("alice", "vision", "viewer")
        owner = caller("mine")
        assert owner is not None
        assert (owner.tenant, owner.role) == ("default", "trainer")
        revoke_token(tmp_path, "alice")
        now_s[0] = 2.0
        assert caller(given) is None

    def test_stay_as_they_were_when_the_file_is_broken(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        now_s = [0.0]
        given = add_token(tmp_path, "alice")
        tokens = Tokens(tmp_path, owner="mine", clock=lambda: now_s[0])
        (tmp_path / "tokens.json").write_text("no tokens")
        now_s[0] = 1.0
        assert tokens.authenticate((("authorization", f"Bearer {given}"),)) is not None
        assert "cannot reload the tokens, so the earlier ones stay valid" in caplog.text
        with pytest.raises(ValueError, match="must hold what `curvestop token add` writes"):
            Tokens(tmp_path, owner="mine")

    def test_only_hashes_are_kept_and_for_the_owner_alone(self, tmp_path: Path) -> None:
        token = add_token(tmp_path / "data", "alice")
        path = tmp_path / "data" / "tokens.json"
        assert token not in path.read_text()
        assert len(token) == 43
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [row["name"] for row in json.loads(path.read_text())] == ["alice"]

    @pytest.mark.parametrize(("name", "tenant"), [("", "t"), ("a b", "t"), ("../x", "t"), ("a", "x" * 65), ("owner", "t")])
    def test_names_are_checked(self, tmp_path: Path, name: str, tenant: str) -> None:
        with pytest.raises(ValueError, match=r"must be 1 to 64|a token named 'owner' already exists"):
            add_token(tmp_path, name, tenant=tenant)

    def test_the_command_adds_lists_and_revokes(self, tmp_path: Path) -> None:
        def run(*arguments: str) -> Any:
            return CliRunner().invoke(app, ["token", *arguments, "--data", str(tmp_path)])

        token = run("add", "alice", "--tenant", "vision", "--role", "viewer").stdout.strip()
        assert len(token) == 43
        assert run("list").stdout.split()[:3] == ["alice", "vision", "viewer"]
        again = run("add", "alice")
        assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
        assert run("revoke", "alice").exit_code == 0
        assert run("list").stdout == ""
        assert run("revoke", "alice").exit_code == 2


def test_no_token_is_in_a_log_or_an_answer(serving: Server, as_: Callable[[str], Call], caplog: Any) -> None:
    token = fresh_token(serving, "logged")
    with caplog.at_level(logging.DEBUG):
        as_(token)("GetStudy", pb.GetStudyRequest(study="s"))
        for wrong in (token[:-1], token + "x"):
            with pytest.raises(grpc.RpcError) as error:
                as_(wrong)("GetStudy", pb.GetStudyRequest(study="s"))
            assert token[:-1] not in str(error.value)
    assert "answered" in caplog.text
    assert token[:-1] not in caplog.text


@contextmanager
def tls_serving(folder: Path, *, mutual: bool, limits: Limits = Limits()) -> Iterator[tuple[Server, Path]]:  # noqa: B008
    certs = folder / "certs"
    make_certificates(certs, ["gpu1.example.com"])
    tls = Tls(certs / "server.pem", certs / "server-key.pem", certs / "ca.pem" if mutual else None)
    with Server(folder / "data", host="0.0.0.0", port=0, tls=tls, limits=limits) as serving:
        yield serving, certs


def checked_health(serving: Server, credentials: grpc.ChannelCredentials) -> bool:
    channel: Any
    with grpc.secure_channel(f"localhost:{serving.port}", credentials) as channel:
        try:
            channel.unary_unary(HEALTH_CHECK)(b"", timeout=20.0)
        except grpc.RpcError as error:
            assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}  # noqa: PT017
            return False
    return True


def test_tls_is_spoken_with_who_knows_the_authority(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=False) as (serving, certs):
        assert checked_health(serving, grpc.ssl_channel_credentials((certs / "ca.pem").read_bytes()))
        make_certificates(tmp_path / "another", ["localhost"])
        assert not checked_health(serving, grpc.ssl_channel_credentials((tmp_path / "another" / "ca.pem").read_bytes()))
        assert not checked_health(serving, grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP))


def test_mutual_tls_requires_a_certificate_of_the_client(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=True) as (serving, certs):
        ca, key, certificate = ((certs / name).read_bytes() for name in ("ca.pem", "client-key.pem", "client.pem"))
        assert checked_health(serving, grpc.ssl_channel_credentials(ca, key, certificate))
        assert not checked_health(serving, grpc.ssl_channel_credentials(ca))
        # Who has the authority's key can make a client's certificate; its own is none.
        assert not checked_health(serving, grpc.ssl_channel_credentials(ca, (certs / "ca-key.pem").read_bytes(), ca))


def test_certificates_are_renewed_under_the_same_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["a.example.com"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make_certificates(tmp_path, ["b.example.com"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] == after[name]} == {"ca.pem", "ca-key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*-key.pem")} == {0o600}


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ("gpu1.example.com:7070", ": write 'gpu1.example.com'"),
        ("https://gpu1.example.com/", ": write 'gpu1.example.com'"),
        ("https://me@gpu1.example.com:7070/path", ": write 'gpu1.example.com'"),
        ("127.0.0.1:7070", ": write '127.0.0.1'"),
        ("[::1]:7070", ": write '::1'"),
        ("[fe80::1]", ": write 'fe80::1'"),
        (" gpu1 ", ": write 'gpu1'"),
        ("gpu1.example.com.", ": write 'gpu1.example.com'"),
        ("bücher.example", ": write 'xn--bcher-kva.example'"),
        ("gpu 1", ""),
        ("", ""),
        ("10.0.0.300", ""),
        ("1.2.3", ""),
        ("-gpu1", ""),
        ("gpu1..example.com", ""),
        ("a" * 64, ""),
        ("a.*.com", ""),
        ("gpu1,gpu2", ""),
    ],
)
def test_a_host_that_no_client_can_connect_to_is_refused_with_what_to_write(tmp_path: Path, host: str, instead: str) -> None:
    result = CliRunner().invoke(app, ["certs", "--host", host, "--out", str(tmp_path / "certs")])
    assert (result.exit_code, result.stderr) == (
        2,
        " ".join(f"curvestop: a host must be a name or an address, but got {host!r}{instead}".split()) + "\n",
    )
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("host", ["gpu1", "my_service", "*.example.com", "xn--bcher-kva.example", "10.0.0.7", "fd00::7", "4gpus"])
def test_names_and_addresses_are_hosts(tmp_path: Path, host: str) -> None:
    make_certificates(tmp_path, [host])


def loaded(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


@pytest.mark.parametrize("name", ["server", "client"])
def test_certificates_pass_a_strict_check(tmp_path: Path, name: str) -> None:
    skip_without("openssl")
    make_certificates(tmp_path, ["gpu1.example.com"])
    check = ["openssl", "verify", "-x509_strict", "-purpose", f"ssl{name}", "-CAfile", str(tmp_path / "ca.pem")]
    done = subprocess.run([*check, str(tmp_path / f"{name}.pem")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / name}.pem: OK\n"), done.stderr


def test_no_certificate_outlives_its_authority(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    make_certificates(tmp_path, ["gpu1"], days=4000, now=made)
    ends = {name: loaded(tmp_path, name).not_valid_after_utc for name in ("ca", "server", "client")}
    assert ends == dict.fromkeys(("ca", "server", "client"), datetime(2035, 12, 30, tzinfo=UTC))  # 3,650 days
    assert caplog.messages == ["the certificates expire on 2035-12-30 with their authority, not after 4000 days"]
    make_certificates(tmp_path, ["gpu1"], now=datetime(2035, 6, 1, tzinfo=UTC))
    assert loaded(tmp_path, "server").not_valid_after_utc == datetime(2035, 12, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="expired on 2035-12-30: move the folder away"):
        make_certificates(tmp_path, ["gpu1"], now=datetime(2036, 1, 1, tzinfo=UTC))


def test_an_authority_of_an_earlier_version_keeps_its_key_and_gets_what_it_lacks(tmp_path: Path) -> None:
    made = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "curvestop authority")]),
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(made).not_valid_after(made + timedelta(days=3650))
    earlier = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(earlier.public_bytes(pem))
    (tmp_path / "ca-key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    make_certificates(tmp_path, ["gpu1"])
    authority = loaded(tmp_path, "ca")
    assert authority.public_key() == earlier.public_key()
    assert (authority.not_valid_before_utc, authority.not_valid_after_utc) == (made, made + timedelta(days=3650))
    loaded(tmp_path, "server").verify_directly_issued_by(earlier)  # clients that have the old file
    loaded(tmp_path, "server").verify_directly_issued_by(authority)


def test_who_does_not_finish_the_handshake_is_hung_up_on(tmp_path: Path) -> None:
    with tls_serving(tmp_path, mutual=False, limits=Limits(handshake_s=0.5)) as (serving, _):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_S) as idle:
            assert idle.recv(1) == b""
        assert time.monotonic() - began < WAIT_S / 2


def test_connections_have_a_limit(tmp_path: Path) -> None:
    with Server(tmp_path, host="127.0.0.1", port=0, limits=Limits(max_connections=3)) as serving:
        held = [socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_S) for _ in range(3)]
        assert [connection.recv(1) != b"" for connection in held] == [True] * 3  # the server's settings
        with socket.create_connection(("127.0.0.1", serving.port), timeout=WAIT_S) as fourth:
            assert fourth.recv(1) == b""
        for connection in held:
            connection.close()


def test_a_port_is_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvestop.server.rpc.server.check_port_is_free", lambda address, port: None)  # as if just lost
    with Server(tmp_path / "one", host="127.0.0.1", port=0) as one, pytest.raises(OSError, match="cannot listen on"):
        Server(tmp_path / "two", host="127.0.0.1", port=one.port)


def test_metadata_has_a_limit(serving: Server) -> None:
    with local_channel(serving.address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(HEALTH_CHECK)(b"", timeout=WAIT_S, metadata=(("x", "y" * 20_000),))
    assert status_of(error) == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu1.example.com"])
@pytest.mark.parametrize("options", [[], ["--tls-cert", "c.pem"], ["--tls-key", "k.pem"], ["--tls-client-ca", "a.pem"]])
def test_beyond_this_machine_only_with_tls(tmp_path: Path, host: str, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["serve", "--host", host, "--port", "0", "--data", str(tmp_path / "data"), *options])
    assert result.exit_code == 2
    assert "--tls-cert" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_certificates_come_from_a_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["certs", "--host", "gpu1.example.com", "--host", "10.0.0.7", "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / name) for name in ("ca.pem", "server.pem", "client.pem")]
