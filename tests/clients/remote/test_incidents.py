"""What a person is told of a server that is away: once when it begins, once when it is over, and why in every reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.server.rpc.certs import make_certificates
from curvestop.server.rpc.quotas import Limits
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tls import Tls
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.report import Report
from tests.clients.remote.test_fails_open import PATIENT_S, Restartable
from tests.contracts import last_seen
from tests.server.studies.test_durable_study import Unfittable


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Restartable]:
    server = Restartable(tmp_path / "data")
    yield server
    server.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_outage_is_told_when_it_begins_and_when_it_is_over(server: Restartable, caplog: pytest.LogCaptureFixture) -> None:
    with connect(server.address, last_seen(max_epochs=50), token=server.start()) as study:
        study.report("a", 0.1)
        assert not warnings(caplog)
        server.stop()
        for epoch in (2, 3, 4):
            reason = study.report("a", 0.1, first_epoch=epoch).reason
            # Also while nobody asks the server: the cause, and not that it did not answer a moment ago.
            assert reason.startswith(f"server {server.address} does not answer (it cannot be reached: ")
            assert reason.endswith(f": training continues, {epoch - 1} value{'s' if epoch > 2 else ''} not sent yet")
        server.start()
        assert study.flush(PATIENT_S)
        assert "curves" in study.report("a", 0.1, first_epoch=5).reason
    begins, ends = warnings(caplog)
    assert begins.startswith(f"server {server.address} does not answer: it cannot be reached: ")
    assert begins.endswith(": training continues without stops; the values are sent later")
    assert ends.startswith(f"server {server.address} answers again after ")
    assert ends.endswith(" s: what was kept is sent, and trials are stopped again")


def test_a_quota_is_final_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Server(tmp_path / "data", host="127.0.0.1", port=0, limits=Limits(max_entries=10)) as server:
        study = connect(server.address, last_seen(max_epochs=50), token=server.token_path.read_text(), deadline_s=PATIENT_S)
        study.report("a", [0.1] * 5)
        for epoch in (6, 7, 8):
            reason = study.report("a", 0.1, first_epoch=epoch).reason
            assert reason.startswith(f"server {server.address} refuses this call (a tenant may store 10 entries (values, ")
        study.close()  # at once: to wait mends no quota
    told, unsent = warnings(caplog)
    assert told.startswith(f"server {server.address} refuses this call: a tenant may store 10 entries")
    assert told.endswith("No trial is stopped and no value is stored until this is corrected.")
    assert unsent.startswith(f"study 's': 3 values could not be sent (server {server.address} refuses this call: a tenant may")


def test_a_fit_that_fails_on_the_server_is_told_once_and_that_it_is_over(
    server: Restartable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(PREDICTORS, "unfittable", Unfittable)  # on six curves only
    settings = last_seen(predictor="unfittable", refit_growth=1.1)
    with connect(server.address, settings, token=server.start(), deadline_s=PATIENT_S) as study:
        for number in range(6):
            study.report(number, [0.1, 0.2, 0.3])
        assert server.study_is_fitted()
        failure = "the models for epoch 3 could not be fitted on 6 curves (ArithmeticError: singular)"
        for epoch in (1, 2):
            decision = study.report("a", 0.1, first_epoch=epoch)
            assert decision.fit_failure == failure
        study.report_many([Report("6", [0.1, 0.2, 0.3])])
        assert server.study_is_fitted()
        assert study.report("b", 0.1).fit_failure == ""
    begins, ends = [message for message in warnings(caplog) if server.address in message]
    assert begins == f"study 's' on server {server.address}: {failure}; trials are judged without them"
    assert ends == f"study 's' on server {server.address}: its models are fitted again"


def why(study: RemoteStudy) -> str:
    with pytest.raises(ConnectionError) as raised:
        study.check()
    study.close()
    return str(raised.value).removeprefix(f"server {study.address} ")


def test_a_server_that_cannot_be_reached_is_told_with_its_cause(tmp_path: Path) -> None:
    unreachable = "does not answer: it cannot be reached: "
    make_certificates(tmp_path / "ours", ["127.0.0.1"])
    make_certificates(tmp_path / "others", ["127.0.0.1"])
    tls = Tls(tmp_path / "ours" / "server.pem", tmp_path / "ours" / "server-key.pem")
    other = ClientTls(ca=tmp_path / "others" / "ca.pem")
    assert why(connect("127.0.0.1:1", last_seen(), token="t")) == f"{unreachable}nothing listens on that port"
    with Server(tmp_path / "data", host="127.0.0.1", port=0, tls=tls) as server:
        assert why(connect(server.address, last_seen(), token="t", tls=other)) == (
            f"{unreachable}its certificate is of no authority or host that this client trusts"
        )
    with Server(tmp_path / "data", host="127.0.0.1", port=0) as server:
        assert why(connect(server.address, last_seen(), token="t", tls=other)) == f"{unreachable}it does not speak TLS"
