"""Which server a client uses, what it asks of it, and what a fork of its process does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.server.rpc.certs import make_certificates
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tls import Tls
from curvestop.srm.study import Study
from tests.clients.remote.test_fails_open import PATIENT_S, free_port
from tests.contracts import last_seen
from tests.server_process import ServerProcess

ROOT = Path(__file__).parents[3]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", host="127.0.0.1", port=0) as serving:
        yield serving


def token_of(serving: Server) -> str:
    return serving.token_path.read_text().strip()


class TestSeveralTargets:
    def test_the_second_answers_when_the_first_is_not_there(self, serving: Server) -> None:
        targets = f"127.0.0.1:{free_port()}, {serving.address}"
        with connect(targets, last_seen(), token=token_of(serving), deadline_s=PATIENT_S) as study:
            assert "fewer than 6 curves" in study.report("a", [0.1]).reason
            assert study.address == serving.address
            assert study.trials()[0].values == (0.1,)

    def test_the_second_answers_within_the_deadline_when_the_first_is_frozen(self, serving: Server, tmp_path: Path) -> None:
        with ServerProcess(tmp_path / "frozen") as first:
            (tmp_path / "frozen" / "token").write_text(token_of(serving))
            targets = f"{first.address},{serving.address}"
            with connect(targets, last_seen(), token=token_of(serving), deadline_s=4.0) as study:
                first.freeze()
                began = time.monotonic()
                assert "fewer than 6 curves" in study.report("a", [0.1]).reason
                assert time.monotonic() - began < 4.0
                assert study.address == serving.address


def test_the_environment_names_target_and_token(serving: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CURVESTOP_TARGET", raising=False)
    assert isinstance(connect(None, last_seen()), Study)
    monkeypatch.setenv("CURVESTOP_TARGET", serving.address)
    monkeypatch.setenv("CURVESTOP_TOKEN", token_of(serving))
    study = connect(None, last_seen())
    assert isinstance(study, RemoteStudy)
    study.check()
    study.close()


class TestStrict:
    def test_no_answer_is_an_error_and_the_value_is_kept(self) -> None:
        study = connect(f"127.0.0.1:{free_port()}", last_seen(), token="t", strict=True)
        for call in (lambda: study.report("a", [0.1]), lambda: study.predict([0.1]), lambda: study.finish("a")):
            with pytest.raises(ConnectionError, match="does not answer"):
                call()
        assert study._outbox.n_values() == 1

    def test_a_wrong_token_is_an_error(self, serving: Server) -> None:
        study = connect(serving.address, last_seen(), token="wrong", deadline_s=PATIENT_S, strict=True)
        with pytest.raises(PermissionError, match="refuses this client"):
            study.report("a", [0.1])


def test_a_wrong_token_is_logged_once_as_a_warning(serving: Server, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(serving.address, last_seen(), token="wrong", deadline_s=PATIENT_S)
    for epoch in (1, 2, 3):
        assert not study.report("a", [0.1], first_epoch=epoch).stop
        study._breaker.succeeded()  # do not wait for the next try
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage().startswith(f"server {serving.address} refuses this client: the token is missing or wrong")
    study._sender.close()


class TestTls:
    @pytest.fixture
    def certs(self, tmp_path: Path) -> Path:
        make_certificates(tmp_path / "certs", ["127.0.0.1"])
        return tmp_path / "certs"

    def test_with_a_certificate_of_the_client(self, certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tls = Tls(certs / "server.pem", certs / "server-key.pem", certs / "ca.pem")
        with Server(tmp_path / "data", host="127.0.0.1", port=0, tls=tls) as serving:
            token = token_of(serving)
            mine = ClientTls(certs / "ca.pem", certs / "client.pem", certs / "client-key.pem")
            with connect(serving.address, last_seen(), token=token, tls=mine, deadline_s=PATIENT_S) as study:
                study.check()
            for name, file in {"CA": "ca.pem", "CERT": "client.pem", "KEY": "client-key.pem"}.items():
                monkeypatch.setenv(f"CURVESTOP_{name}", str(certs / file))
            with connect(serving.address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
                study.check()
            stranger = connect(serving.address, last_seen(), token=token, tls=ClientTls(certs / "ca.pem"), deadline_s=1.0)
            assert "does not answer" in stranger.report("a", [0.1]).reason
            stranger._sender.close()

    def test_files_are_checked(self, certs: Path) -> None:
        with pytest.raises(PermissionError, match=r"none\.pem cannot be read: No such file"):
            connect("127.0.0.1", last_seen(), tls=ClientTls(certs / "none.pem"))
        with pytest.raises(ValueError, match="a client certificate needs its key"):
            connect("127.0.0.1", last_seen(), tls=ClientTls(certs / "ca.pem", certificate=certs / "client.pem"))


def test_a_fork_reports_too_and_leaves_what_waits_to_its_parent(tmp_path: Path) -> None:
    """In a process of its own, as a training is: this one has run servers and clusters, whose threads a fork leaves behind."""
    with ServerProcess(tmp_path / "data") as server:
        trained = subprocess.run(
            [sys.executable, "-m", __name__, server.address, server.token], cwd=ROOT, timeout=240, capture_output=True, text=True
        )
    assert trained.returncode == 0, trained.stderr


def report_from_a_fork(address: str, token: str) -> None:
    with connect(address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.report("a", [0.1])
        study._outbox._lock.acquire()  # as another thread of the parent might
        child = os.fork()
        if child == 0:
            answered = "fewer than 6 curves" in study.report("b", [0.2]).reason
            os._exit(0 if answered else 1)
        study._outbox._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [trial.trial for trial in study.trials()] == ["a", "b"]


if __name__ == "__main__":
    report_from_a_fork(*sys.argv[1:])
