"""A server that is down, frozen, killed or refuses: training continues, and what was reported arrives later."""

from __future__ import annotations

import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from curvestop.clients.remote.outbox import Outbox
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingServicer, add_EarlyStoppingServicer_to_server
from curvestop.proto.entries import Observed, Resumed
from curvestop.server.rpc.server import Server
from curvestop.server.storage.failpoints import VARIABLE
from curvestop.server.studies.durable_study import DurableStudy
from curvestop.srm.curve import Decision, LearningCurve
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from tests.contracts import last_seen
from tests.contracts_store import stored_log
from tests.server_process import ServerProcess

PATIENT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Restartable:
    """A server that can go away and come back at the same address with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._serving: Server | None = None

    def start(self) -> str:
        self._serving = Server(self.folder, host="127.0.0.1", port=self.port)
        return self._serving.token_path.read_text().strip()

    def stop(self) -> None:
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    def study(self) -> DurableStudy:
        assert self._serving is not None
        return self._serving.registry["s"]

    def study_is_fitted(self) -> bool:
        assert self._serving is not None
        return self._serving.registry.wait_fitted(PATIENT_S)

    def values(self, study: str = "s") -> dict[str, list[float]]:
        assert self._serving is not None
        return {trial.trial: list(trial.values) for trial in self._serving.registry[study].trials()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Restartable]:
    server = Restartable(tmp_path / "data")
    yield server
    server.stop()


def test_without_a_server_training_goes_on_and_nothing_is_lost(server: Restartable) -> None:
    study = connect(server.address, last_seen(), token="later", deadline_s=1.0)
    began = time.monotonic()
    first = study.report("a", [0.1], configuration={"lr": 0.1})
    assert time.monotonic() - began < PATIENT_S / 2
    assert not first.stop
    assert first.reason.startswith(f"server {server.address} does not answer (")
    assert first.reason.endswith(": training continues, 1 value not sent yet")
    study._deadline_s = PATIENT_S  # a call that waited again would take long, on whatever machine
    began = time.monotonic()
    for epoch in (2, 3):
        assert not study.report("a", [epoch / 10], first_epoch=epoch).stop
    study.report("b", [0.5, math.nan])
    assert study.finish("a") == "finished"
    assert study.predict([0.1]) is None
    assert time.monotonic() - began < PATIENT_S / 2  # the breaker is open: at once
    study._deadline_s = 1.0
    assert not study.flush(timeout_s=0.0)

    study = with_token(study, server.start())
    assert study.flush(timeout_s=PATIENT_S)
    trials = {trial.trial: trial for trial in study.trials()}
    assert (trials["a"].values, trials["a"].state) == ((0.1, 0.2, 0.3), "finished")
    assert trials["a"].configuration == {"lr": 0.1}
    assert (trials["b"].values, trials["b"].state) == ((0.5,), "failed")
    study.close()


def test_many_reports_without_a_server_are_kept(server: Restartable) -> None:
    study = connect(server.address, last_seen(), token="later", deadline_s=1.0)
    sound, mistake, other = study.report_many([Report("a", [0.1]), Report("a", [0.1], first_epoch=9), Report("b", [0.2])])
    assert isinstance(sound, Decision)
    assert sound == other
    assert sound.reason.endswith(": training continues, 2 values not sent yet")
    assert isinstance(mistake, ValueError)
    assert study.predict_many([LearningCurve("", {}, (0.1,))] * 2) == [None, None]
    study = with_token(study, server.start())
    assert study.flush(timeout_s=PATIENT_S)
    assert server.values() == {"a": [0.1], "b": [0.2]}
    study.close()


def with_token(study: RemoteStudy, token: str) -> RemoteStudy:
    study._connection._given_token = study._connection._token = token
    return study


def test_the_next_report_that_gets_through_brings_what_waited(server: Restartable) -> None:
    token = server.start()
    with connect(server.address, last_seen(max_epochs=50), token=token) as study:
        study.report("a", [0.1])
        server.stop()
        for epoch in range(2, 6):
            assert "does not answer" in study.report("a", [epoch / 10], first_epoch=epoch).reason
            study.report("b", [epoch / 20], first_epoch=epoch - 1)
        server.start()
        deadline = time.monotonic() + PATIENT_S
        epoch = 6
        while "does not answer" in study.report("a", [epoch / 10], first_epoch=epoch).reason:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # an epoch of training
            epoch += 1
        values = server.values()
        assert values["a"] == [e / 10 for e in range(1, epoch + 1)]
        assert values["b"] == [0.1, 0.15, 0.2, 0.25]


def emptied(server: Restartable, folder: Path) -> None:
    """Stop it, and start it with a new data folder, in which only the token is the same."""
    server.stop()
    token = (server.folder / "token").read_text()
    server.folder = folder
    server.folder.mkdir(mode=0o700)
    (server.folder / "token").write_text(token)
    (server.folder / "token").chmod(0o600)
    server.start()


def lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "has lost what it had" in record.getMessage()]


def test_a_server_with_new_data_gets_the_study_and_the_running_trials_again(
    server: Restartable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(server.address, last_seen(max_epochs=50), token=server.start(), deadline_s=PATIENT_S) as study:
        study.report("a", [0.1, 0.2], configuration={"lr": 0.5})
        study.report("a", 0.4, first_epoch=4)
        study.report_many([Report("b", [0.5])])
        study.report("ended", 0.9)
        study.finish("ended")
        study.report("complete", [0.1] * 50)
        study.report("diverged", [0.1, math.nan])
        emptied(server, tmp_path / "new")
        assert "fewer than 6 curves" in study.report("a", 0.5, first_epoch=5).reason
        trials = {trial.trial: trial for trial in study.trials()}
        assert list(trials) == ["a", "b"]
        assert (trials["a"].values, trials["a"].epochs) == ((0.1, 0.2, 0.4, 0.5), (1, 2, 4, 5))
        assert trials["a"].configuration == {"lr": 0.5}
        assert trials["b"].values == (0.5,)
        assert study.finish("b") == "finished"
        emptied(server, tmp_path / "newer")
        assert study.finish("a") == "finished"  # the values come first, or there would be no such trial
        assert server.values() == {"a": [0.1, 0.2, 0.4, 0.5]}
    assert [message.partition("The values")[2] for message in lost(caplog)] == [
        " of 2 running trials that this process reported are sent again; trials that had ended are lost to it.",
        " of 1 running trial that this process reported are sent again; trials that had ended are lost to it.",
    ]


def test_a_store_that_lost_values_gets_them_again_though_another_client_has_made_the_study(
    server: Restartable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = last_seen(max_epochs=50)
    token = server.start()
    with connect(server.address, settings, token=token, deadline_s=PATIENT_S) as study:
        for epoch in range(1, 6):
            study.report("a", epoch / 10, first_epoch=epoch)
        study.report_many([Report("b", [0.1, 0.2])])
        emptied(server, tmp_path / "new")
        with connect(server.address, settings, token=token, deadline_s=PATIENT_S) as other:
            other.report("c", 0.1)
        decision = study.report("a", 0.6, first_epoch=6)
        assert "fewer than 6 curves" in decision.reason
        assert not decision.lacks_values
        assert server.values() == {"c": [0.1], "a": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "b": [0.1, 0.2]}
        for epoch in (7, 8):
            study.report("a", epoch / 10, first_epoch=epoch)
    assert len(lost(caplog)) == 1


def test_a_frozen_server_costs_one_deadline(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "data") as process,
        connect(process.address, last_seen(), token=process.token, deadline_s=PATIENT_S) as study,
    ):
        study.report("a", [0.1])
        study._deadline_s = 0.5
        process.freeze()
        began = time.monotonic()
        reason = study.report("a", [0.2], first_epoch=2).reason
        assert 0.4 < time.monotonic() - began < PATIENT_S / 2
        assert "no answer within" in reason
        study._deadline_s = PATIENT_S  # a second deadline would be a long one, on whatever machine
        began = time.monotonic()
        assert not study.report("a", [0.3], first_epoch=3).stop
        assert time.monotonic() - began < PATIENT_S / 2
        process.send(signal.SIGCONT)
        assert study.flush(PATIENT_S)
        assert study.trials()[0].values == (0.1, 0.2, 0.3)


def test_a_kill_in_the_middle_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    n_epochs, n_trials = 400, 4
    settings = last_seen(max_epochs=n_epochs)
    acknowledged: set[tuple[str, int]] = set()
    under_way = threading.Semaphore(0)
    with ServerProcess(tmp_path / "data") as first:
        port, token = first.port, first.token
        study = connect(first.address, settings, token=token, deadline_s=1.0)
        study.check()

        def train(trial: str) -> None:
            for epoch in range(1, n_epochs + 1):
                if "does not answer" not in study.report(trial, [epoch / 7], first_epoch=epoch).reason:
                    acknowledged.add((trial, epoch))
                under_way.release()

        trainers = [threading.Thread(target=train, args=(f"t{number}",)) for number in range(n_trials)]
        for trainer in trainers:
            trainer.start()
        for _ in range(n_trials * 50):
            under_way.acquire()
        first.kill()
        at_the_kill = set(acknowledged)
        assert len(at_the_kill) >= 50
        assert_stored(first.folder, at_the_kill)
        with ServerProcess(tmp_path / "data", port=port) as second:
            for trainer in trainers:
                trainer.join()
            assert study.flush(PATIENT_S)
            study.close()
            second.send(signal.SIGTERM)
            assert second.wait() == 0
    assert_stored(first.folder, {(f"t{number}", epoch) for number in range(n_trials) for epoch in range(1, n_epochs + 1)})


def test_a_resume_survives_a_kill_of_the_server(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as first:
        study = connect(first.address, last_seen(), token=first.token, deadline_s=PATIENT_S)
        study.report("a", [0.1], ask=False)
        study.finish("a", "stopped")
        assert study.report("a", []).stop
        study.resume("a")
        first.kill()
        with ServerProcess(tmp_path / "data", port=first.port):
            assert study.trials()[0].state == "running"
            assert not study.report("a", [0.2], first_epoch=2).stop
            study.close()


@pytest.mark.parametrize("where", ["before-commit", "after-commit"])
def test_a_resume_that_the_server_died_of_is_asked_again_and_stored_once(tmp_path: Path, where: str) -> None:
    third = {VARIABLE: f"{where}:3"}  # after the report and the end
    with ServerProcess(tmp_path / "data", environment=third) as first:
        study = connect(first.address, last_seen(), token=first.token, deadline_s=PATIENT_S)
        study.report("a", [0.1], ask=False)
        study.finish("a", "stopped")
        with pytest.raises(ConnectionError):
            study.resume("a")
        first.wait()
        with ServerProcess(tmp_path / "data", port=first.port) as second:
            study.report("b", [0.1], ask=False)
            assert study.flush(PATIENT_S)  # the server is there again
            study.resume("a")
            assert [trial.state for trial in study.trials()] == ["running", "running"]
            study.close()
            second.kill()
    log = stored_log(f"sqlite:///{first.folder / 'curves.db'}")
    assert [entry.trial for entry in log if isinstance(entry, Resumed)] == ["a"]


def test_a_resume_without_an_answer_is_asked_again(server: Restartable) -> None:
    token = server.start()
    with connect(server.address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.report("a", [0.1], ask=False)
        server.stop()
        study.finish("a", "stopped")  # kept, as the server is away
        for _ in range(2):
            with pytest.raises(ConnectionError, match="does not answer"):
                study.resume("a")
        server.start()
        assert study.flush(PATIENT_S)
        # As if the server had got the call, and only its answer was lost.
        server.study().resume("a", study._unanswered_resumes["a"])
        study.resume("a")
        assert study.trials()[0].state == "running"
        with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial 'a' is running"):
            study.resume("a")


class EarlierServer(EarlyStoppingServicer):
    """It answers what studies are made with; all other methods are unknown to it, as to a server that came before them."""

    def CreateStudy(self, request: pb.CreateStudyRequest, context: object) -> pb.CreateStudyResponse:
        return pb.CreateStudyResponse()


def test_a_server_of_an_earlier_version_is_named_as_the_reason() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    add_EarlyStoppingServicer_to_server(EarlierServer(), server)  # type: ignore[no-untyped-call]
    credentials = grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    with connect(f"127.0.0.1:{port}", StudySettings("s", 3), token="any", deadline_s=PATIENT_S) as study:
        with pytest.raises(ConnectionError, match="it has no method SecondChances: upgrade the server to this client's"):
            study.second_chances()
        with pytest.raises(ConnectionError, match="it has no method Resume: upgrade the server"):
            study.resume("a")
    server.stop(0).wait()


def assert_stored(folder: Path, expected: set[tuple[str, int]]) -> None:
    log = stored_log(f"sqlite:///{folder / 'curves.db'}")
    stored = {(e.trial, e.epoch): e.value for e in log if isinstance(e, Observed)}
    assert expected <= stored.keys()
    assert all(value == epoch / 7 for (_, epoch), value in stored.items())


def test_a_wrong_token_fails_open_and_check_says_so(server: Restartable) -> None:
    server.start()
    with connect(server.address, last_seen(), token="wrong") as study:
        assert "the token is missing or wrong" in study.report("a", [0.1]).reason
        with pytest.raises(PermissionError, match=f"server {server.address} refuses this client: the token is missing or wrong"):
            study.check()
        with pytest.raises(PermissionError):
            study.trials()


def test_other_settings_are_an_error_at_the_first_call(server: Restartable, caplog: pytest.LogCaptureFixture) -> None:
    token = server.start()
    with connect(server.address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.report("a", 0.1)
    with connect(server.address, last_seen(max_epochs=4), token=token, deadline_s=PATIENT_S) as other:
        calls: list[Callable[[], object]] = [
            other.check,
            other.trials,
            lambda: other.report("a", [0.1]),
            lambda: other.predict([0.1]),
            lambda: other.finish("a"),
            lambda: other.report_many([Report("a", [0.1])]),
        ]
        for call in calls:
            with pytest.raises(
                ValueError, match=r"study 's' exists with max_epochs=3, but got 4: give the new study another name"
            ):
                call()
        assert other._outbox.is_empty()
    assert not caplog.records
    assert server.values() == {"a": [0.1]}


def test_other_settings_that_are_found_in_a_training_do_not_end_it(server: Restartable, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(server.address, last_seen(max_epochs=4), token="any", deadline_s=PATIENT_S)
    study.report("a", [0.1])  # the server is away
    token = server.start()
    with connect(server.address, last_seen(), token=token) as first:
        first.check()
    with_token(study, token)
    study._sender.close()
    study._breaker.succeeded()  # do not wait for the next try
    for epoch in (2, 3):
        reason = study.report("a", [0.2], first_epoch=epoch).reason
        refusal = f"server {server.address} refuses this call (study 's' exists with max_epochs=3, but got 4: give the new study"
        assert reason == f"{refusal} another name, or use its settings): training continues, {epoch} values not sent yet"
    with pytest.raises(ValueError, match="study 's' exists with max_epochs=3, but got 4"):
        study.trials()
    outage, mistake = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert outage.startswith(f"server {server.address} does not answer: ")
    assert outage.endswith(": training continues without stops; the values are sent later")
    assert mistake.startswith(f"server {server.address} refuses this call: study 's' exists with max_epochs=3, but got 4")
    assert mistake.endswith("No trial is stopped and no value is stored until this is corrected.")
    study._outbox = Outbox()  # it can never be sent, so do not wait for it
    study.close()


def test_a_closed_study_says_so(server: Restartable, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(server.address, last_seen(), token=server.start())
    study.close()
    assert study.report("a", [0.1]).reason.startswith(
        f"server {server.address} was not asked (the connection was closed): training"
    )
    assert f"server {server.address} was not asked: the connection was closed. No trial is stopped" in caplog.text


def test_what_is_no_option_is_refused() -> None:
    for mistake in ("timeout", "stric", "tsl", "deadline"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{mistake}'"):
            connect("localhost", last_seen(), **{mistake: 1})  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"settings must be StudySettings, such as StudySettings\('my-search', .*, but got 's'"):
        connect("localhost", "s")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"settings must be StudySettings, such as StudySettings\('my-search', .*, but got 's'"):
        connect(None, "s")  # type: ignore[call-overload]


def test_it_prints_as_what_it_is(server: Restartable) -> None:
    study = connect(server.address, last_seen(), token="t")
    assert repr(study) == f"study 's' at {server.address}"
    study.report("a", [0.1, 0.2])
    assert repr(study) == f"study 's' at {server.address}, 2 values not sent yet"
    study._sender.close()


def test_without_a_server_check_says_so(server: Restartable) -> None:
    study = connect(server.address, last_seen(), token="t")
    for call in (study.check, study.trials, study.status):
        with pytest.raises(ConnectionError, match=f"server {server.address} does not answer: it cannot be reached"):
            call()


def test_mistakes_raise_with_the_server_down_too(server: Restartable) -> None:
    study = connect(server.address, last_seen(), token="t")
    study.report("a", [0.1])
    with pytest.raises(ValueError, match="first_epoch must be >= 1"):
        study.report("a", [0.1], first_epoch=0)
    with pytest.raises(ValueError, match="must fit in 64 bits"):
        study.report("a", [0.1], configuration={"n": 2**63})
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        study.report("b", [0.1], configuration={"text": "x" * (1 << 20)})
    assert study._outbox.n_values() == 1


def test_a_mistake_found_when_sending_later_does_not_block_what_follows(
    server: Restartable, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.start()
    with connect(server.address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.report("a", [0.1], configuration={"lr": 0.1})
    server.stop()
    with connect(server.address, last_seen(), token=token) as study:
        study.report("a", [0.1, 0.2], configuration={"lr": 0.2})
        study.finish("nobody")
        study.report("b", [0.3])
        server.start()
        assert study.flush(PATIENT_S)
        assert server.values() == {"a": [0.1], "b": [0.3]}
    dropped = [record.getMessage() for record in caplog.records if "which is dropped" in record.getMessage()]
    assert len(dropped) == 2
    assert "which stays" in dropped[0]
    assert "no trial 'nobody'" in dropped[1]


def test_threads_share_a_client(server: Restartable) -> None:
    settings: StudySettings = last_seen(max_epochs=30)
    with connect(server.address, settings, token=server.start(), deadline_s=PATIENT_S) as study:

        def train(trial: str) -> None:
            for epoch in range(1, 31):
                study.report(trial, [epoch / 30], first_epoch=epoch)

        threads = [threading.Thread(target=train, args=(f"t{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.values() == {f"t{number}": [epoch / 30 for epoch in range(1, 31)] for number in range(8)}


class TestToken:
    @pytest.fixture(autouse=True)
    def _no_token_of_mine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("CURVESTOP_TOKEN", "CURVESTOP_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("CURVESTOP_HOME", str(tmp_path / "data"))

    def test_the_default_place_may_be_filled_after_connecting(self, server: Restartable) -> None:
        study = connect(server.address, last_seen())
        with pytest.raises(
            PermissionError, match=f"no token found: set CURVESTOP_TOKEN or CURVESTOP_TOKEN_FILE .{server.folder / 'token'} does"
        ):
            study.check()
        server.start()
        study.check()
        study.close()

    def test_the_nearest_one_is_taken(self, server: Restartable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        token = server.start()
        (tmp_path / "wrong").write_text("wrong")
        (server.folder / "token").rename(tmp_path / "right")
        (server.folder / "token").write_text("wrong")
        monkeypatch.setenv("CURVESTOP_TOKEN_FILE", str(tmp_path / "right"))
        with connect(server.address, last_seen()) as study:
            study.check()
        monkeypatch.setenv("CURVESTOP_TOKEN_FILE", str(tmp_path / "wrong"))
        monkeypatch.setenv("CURVESTOP_TOKEN", token)
        with connect(server.address, last_seen()) as study:
            study.check()
        monkeypatch.setenv("CURVESTOP_TOKEN", "wrong")
        with connect(server.address, last_seen(), token=token) as study:
            study.check()

    def test_a_named_file_that_cannot_be_read_is_an_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CURVESTOP_TOKEN_FILE", str(tmp_path / "none"))
        with pytest.raises(PermissionError, match=r"CURVESTOP_TOKEN_FILE names .*none, which cannot be read: No such file"):
            connect("127.0.0.1", last_seen())


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("127.0.0.1:port", "HOST:PORT"),
        ("127.0.0.1:0", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
        ("127.0.0.1,", "HOST:PORT"),
        ("", "HOST:PORT"),
    ],
)
def test_a_target_is_a_host_and_a_port(target: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        connect(target, last_seen())


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, math.nan, math.inf])
def test_a_deadline_is_positive(deadline_s: float) -> None:
    with pytest.raises(ValueError, match="deadline_s must be > 0"):
        connect("127.0.0.1", last_seen(), token="t", deadline_s=deadline_s)
