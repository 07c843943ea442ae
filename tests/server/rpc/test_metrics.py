"""What an operator sees: metrics, logs with request ids, `curvestop status`, and a server that rejects and drains."""

from __future__ import annotations

import http.client
import io
import json
import logging
import queue
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.remote.remote_study import connect
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import PUSHBACK
from curvestop.server import logging_config
from curvestop.server.logging_config import JsonFormatter
from curvestop.server.rpc.metrics import OpenPredictions
from curvestop.server.rpc.quotas import Limits
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tokens import add_token
from tests.contracts import last_seen
from tests.server.rpc.test_servicer import WAIT_S, local_channel, report, status_of

COMPLETE = [[0.1, 0.2, number / 10] for number in range(3, 10)]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, host="127.0.0.1", port=0, metrics_port=0) as serving:
        yield serving


def token_of(serving: Server) -> str:
    return serving.token_path.read_text().strip()


def metrics(serving: Server) -> dict[str, float]:
    """All samples, by name and labels as Prometheus writes them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{serving.metrics_port}/metrics", timeout=WAIT_S) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:9464", 200), ("[::1]", 200), ("evil.example:9464", 421), ("127.0.0.1.evil.example", 421)]
)
def test_metrics_are_served_under_the_names_of_this_machine_only(serving: Server, host: str, status: int) -> None:
    assert serving.metrics_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", serving.metrics_port, timeout=WAIT_S)
    with closing(connection):
        connection.request("GET", "/metrics", headers={"Host": host})
        answer = connection.getresponse()
        assert (answer.status, "curvestop_" in answer.read().decode()) == (status, status == 200)


def test_a_request_for_metrics_that_does_not_arrive_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvestop.server.rpc.metrics.REQUEST_S", 0.2)
    with (
        Server(tmp_path, host="127.0.0.1", port=0, metrics_port=0) as serving,
        socket.create_connection(("127.0.0.1", serving.metrics_port or 0), timeout=WAIT_S) as half,
    ):
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: local")
        assert half.recv(1) == b""


def test_the_name_of_a_study_does_not_turn_the_status_around(serving: Server) -> None:
    serving.registry.create(last_seen(name="safe\u202etxt.exe"))
    shown = CliRunner().invoke(app, ["status", "--server", serving.address, "--data", str(serving.folder)])
    assert shown.stdout == "serving, 1 study\n  safe\\u202etxt.exe: no trials; no models yet\n"


def test_metrics_count_calls_decisions_fits_and_predictions(serving: Server) -> None:
    with connect(serving.address, last_seen(), token=token_of(serving), deadline_s=WAIT_S) as study:
        for number, values in enumerate(COMPLETE):
            study.report(f"c{number}", values)
        assert serving.registry.wait_fitted(WAIT_S)
        hopeless = study.report("hopeless", [0.01, 0.02])
        assert hopeless.stop
        study.report("hopeful", [0.1, 0.95])
        study.report("hopeful", [0.96], first_epoch=3)
    seen = metrics(serving)
    n_reports = len(COMPLETE) + 3
    assert seen['curvestop_requests_total{method="Report",status="OK"}'] == n_reports
    assert seen['curvestop_request_seconds_count{method="Report"}'] == n_reports
    assert seen['curvestop_decisions_total{stop="true"}'] == 1
    assert seen['curvestop_decisions_total{stop="false"}'] == n_reports - 1
    assert seen["curvestop_fits_total"] == seen["curvestop_fit_seconds_count"] >= 1
    assert seen['curvestop_calls_in_progress{tenant="default"}'] == 0
    checked = sum(value for name, value in seen.items() if name.startswith("curvestop_predictions_checked_total"))
    assert checked == 1


def test_refused_calls_are_counted_under_names_that_exist(serving: Server) -> None:
    with local_channel(serving.address) as channel:
        for method in ("/curvestop.v1.EarlyStopping/Report", "/curvestop.v1.EarlyStopping/Invented", "/a/b"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(method)(b"", timeout=WAIT_S)
    seen = metrics(serving)
    assert seen['curvestop_requests_total{method="Report",status="UNAUTHENTICATED"}'] == 1
    assert seen['curvestop_requests_total{method="other",status="UNAUTHENTICATED"}'] == 2


def test_a_prediction_is_checked_once_and_the_oldest_are_forgotten() -> None:
    predictions = OpenPredictions(size=2)
    a, b, c = (("tenant", "study", name) for name in "abc")
    predictions.add(a, 0.5, 0.1)
    predictions.add(a, 0.9, 0.1)  # only the first counts
    predictions.add(b, 0.5, 0.1)
    assert predictions.check(a, 0.69) is True
    assert predictions.check(a, 0.69) is None
    assert predictions.check(b, 0.71) is False
    for trial in (a, b, c):
        predictions.add(trial, 0.5, 0.1)
    assert predictions.check(a, 0.5) is None
    assert predictions.check(c, 0.5) is True


def test_a_call_has_one_number_in_log_and_answer(serving: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "curvestop.server.rpc.metrics"), local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {token_of(serving)}"), ("x-request-id", "mine-1"))
        with pytest.raises(grpc.RpcError) as error:
            stub.GetStudy(pb.GetStudyRequest(study="none"), timeout=WAIT_S, metadata=metadata)
    raised: Any = error.value
    assert dict(raised.trailing_metadata())["x-request-id"] == "mine-1"
    (record,) = (record for record in caplog.records if record.message == "answered")
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["method"], line["status"]) == ("mine-1", "GetStudy", "NOT_FOUND")
    assert line["level"] == "DEBUG"


def test_logging_goes_to_standard_error_alone_and_from_the_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    root, alembic, elsewhere = logging.getLogger(), logging.getLogger("alembic"), io.StringIO()
    before = root.handlers[:], root.level, alembic.level
    root.handlers = [logging.StreamHandler(elsewhere)]  # as a library's that was imported before
    try:
        logging_config.set_up("json", "info")
        logging.getLogger("ours").debug("too little")
        logging.getLogger("alembic.runtime").info("of itself")
        logging.getLogger("ours").info("saved", extra={"ms": 3})
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        alembic.setLevel(before[2])
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert {name: said[name] for name in said if name != "time"} == {
        "level": "INFO", "logger": "ours", "message": "saved", "ms": 3
    }  # fmt: skip
    assert elsewhere.getvalue() == ""


class TestOverload:
    @pytest.fixture
    def held(self, tmp_path: Path) -> Iterator[tuple[Server, threading.Event]]:
        """A server that admits two calls of a tenant, and whose study answers once the event is set."""
        go = threading.Event()
        with ExitStack() as opened:
            serving = opened.enter_context(Server(tmp_path, host="127.0.0.1", port=0, limits=Limits(max_calls=2)))
            opened.callback(go.set)
            serving.registry.create(last_seen())
            study = serving.registry["s"]
            study._lock.acquire()

            def release() -> None:
                go.wait()
                study._lock.release()

            threading.Thread(target=release).start()
            yield serving, go

    def test_a_call_too_many_is_rejected_at_once_with_a_retry_delay(self, held: tuple[Server, threading.Event]) -> None:
        serving, go = held
        other = add_token(serving.folder, "other", tenant="other")
        serving._interceptor._tokens._reload_at_s = 0.0
        answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with local_channel(serving.address) as channel:
            stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
            mine = (("authorization", f"Bearer {token_of(serving)}"),)
            calls = [stub.Report.future(report(trial=str(n)), timeout=WAIT_S, metadata=mine) for n in range(3)]
            for call in calls:
                call.add_done_callback(answered.put)
            refused = answered.get(timeout=WAIT_S)  # two are in and held: the third is answered first
            assert refused.code() == grpc.StatusCode.UNAVAILABLE
            assert int(dict(refused.trailing_metadata())[PUSHBACK]) > 0
            stub.ListStudies(  # another tenant is admitted
                pb.ListStudiesRequest(), timeout=WAIT_S, metadata=(("authorization", f"Bearer {other}"),)
            )
            go.set()
            assert all(call.result().decision.reason for call in calls if call is not refused)

    def test_a_drain_refuses_new_calls_and_lets_running_ones_end(self, held: tuple[Server, threading.Event]) -> None:
        serving, go = held
        metadata = (("authorization", f"Bearer {token_of(serving)}"),)
        with local_channel(serving.address) as channel:
            stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
            running = stub.Report.future(report(trial="running"), timeout=WAIT_S, metadata=metadata)
            pool = serving._pools.for_call("default")
            while pool.n_calls == 0:
                stub.ListStudies(pb.ListStudiesRequest(), timeout=WAIT_S, metadata=metadata)
            drain = threading.Thread(target=serving.drain, kwargs={"grace_s": WAIT_S})
            drain.start()

            def list_until_refused() -> None:
                while True:
                    stub.ListStudies(pb.ListStudiesRequest(), timeout=WAIT_S, metadata=metadata)

            with pytest.raises(grpc.RpcError) as error:
                list_until_refused()
            assert status_of(error) == grpc.StatusCode.UNAVAILABLE
            go.set()
            assert running.result().decision.reason
            drain.join()


class TestStatus:
    def test_lists_the_studies(self, serving: Server) -> None:
        with connect(serving.address, last_seen(), token=token_of(serving), deadline_s=WAIT_S) as study:
            for number, values in enumerate(COMPLETE):
                study.report(f"c{number}", values)
                study.finish(f"c{number}")
            study.report("a", [0.1])
        assert serving.registry.wait_fitted(WAIT_S)
        result = CliRunner().invoke(app, ["status", "--server", serving.address, "--data", str(serving.folder)])
        assert result.exit_code == 0
        assert result.stdout == "serving, 1 study\n  s: 1 running, 7 finished; models fitted on 6 curves\n"

    def test_says_when_there_is_no_server(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("t")
        result = CliRunner().invoke(app, ["status", "--server", "127.0.0.1:1", "--data", str(tmp_path)])
        assert result.exit_code == 1
        assert (
            result.stderr == "curvestop: server 127.0.0.1:1 does not answer: it cannot be reached: nothing listens on that port\n"
        )
