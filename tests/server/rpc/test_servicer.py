"""The wire, without our client: who may call, and which status each error has."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import MAX_MESSAGE_BYTES, MISTAKE
from curvestop.proto.listing import listed_studies
from curvestop.server.rpc.interceptor import SERVICE
from curvestop.server.rpc.server import Server
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from tests.contracts import last_seen

ALL_METHODS = [
    *(f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods),
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/curvestop.v1.EarlyStopping/NoSuchMethod",
]
WAIT_S = 30.0

Call = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data"), host="127.0.0.1", port=0) as serving:
        serving.registry.create(last_seen())
        serving.registry["s"].report("known", [0.1], configuration={"lr": 0.1})
        yield serving


@pytest.fixture(scope="module")
def channel(serving: Server) -> Iterator[Any]:
    with local_channel(serving.address) as channel:
        yield channel


def local_channel(address: str) -> Any:
    return grpc.secure_channel(address, grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP))


@pytest.fixture(scope="module")
def bearer(serving: Server) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {serving.token_path.read_text().strip()}"),)


@pytest.fixture(scope="module")
def call(channel: Any, bearer: Any) -> Call:
    """Call a method with a request; raises grpc.RpcError."""
    stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
    return lambda method, request: getattr(stub, method)(request, timeout=WAIT_S, metadata=bearer)


@pytest.fixture(scope="module")
def send(channel: Any, bearer: Any) -> Call:
    """Send raw bytes to a method; raises grpc.RpcError."""
    return lambda method, data: channel.unary_unary(f"/{SERVICE.full_name}/{method}")(data, timeout=WAIT_S, metadata=bearer)


def status_of(error: Any) -> grpc.StatusCode:
    status: grpc.StatusCode = error.value.code()
    return status


class TestToken:
    @pytest.mark.parametrize("method", ALL_METHODS)
    @pytest.mark.parametrize(
        "metadata",
        [
            (),
            (("authorization", ""),),
            (("authorization", "Bearer wrong"),),
            (("authorization", "Basic TOKEN"),),
            (("authorization", "bearer TOKEN"),),
            (("authorization", "TOKEN"),),
            (("authorization", "Bearer TOKENx"),),
            (("authorization", "Bearer TOKEN"), ("authorization", "Bearer wrong")),
            (("authorization-bin", b"Bearer TOKEN"),),
        ],
    )
    def test_every_method_needs_it(
        self, serving: Server, channel: Any, method: str, metadata: tuple[tuple[str, Any], ...]
    ) -> None:
        token = serving.token_path.read_text().strip()
        given = tuple((key, value if isinstance(value, bytes) else value.replace("TOKEN", token)) for key, value in metadata)
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(method)(b"", timeout=WAIT_S, metadata=given)
        assert status_of(error) == grpc.StatusCode.UNAUTHENTICATED
        assert token not in str(error.value)

    def test_every_method_is_there_with_it(self, channel: Any, bearer: Any) -> None:
        for method in SERVICE.methods:
            try:
                channel.unary_unary(f"/{SERVICE.full_name}/{method.name}")(b"", timeout=WAIT_S, metadata=bearer)
            except grpc.RpcError as error:
                assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}  # noqa: PT017

    def test_the_health_check_does_not(self, channel: Any) -> None:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE.full_name):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def report(**changes: Any) -> pb.ReportRequest:
    return pb.ReportRequest(**{"study": "s", "trial": "refused", "first_epoch": 1, "values": [0.1], **changes})


def curves(*values: list[float]) -> pb.PredictBatchRequest:
    return pb.PredictBatchRequest(study="s", curves=[pb.PartialCurve(values=some) for some in values])


def finish(trial: str, state: str) -> pb.FinishTrialRequest:
    return pb.FinishTrialRequest(study="s", trial=trial, state=state)


def resume(trial: str, key: str) -> pb.ResumeRequest:
    return pb.ResumeRequest(study="s", trial=trial, key=key)


def create(**changes: Any) -> pb.CreateStudyRequest:
    request = pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen(name="refused")))
    request.settings.MergeFrom(pb.StudySettings(**changes))
    return request


def without_a_kind() -> pb.Configuration:
    return pb.Configuration(values={"lr": pb.ConfigurationValue()})


INVALID, OUT_OF_RANGE, NOT_FOUND = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.NOT_FOUND,
)


@pytest.mark.parametrize(
    ("method", "request_", "status", "mistake", "says"),
    [
        ("Report", pb.ReportRequest(), NOT_FOUND, "UnknownStudy", "there is no study ''"),
        ("Report", report(study="t"), NOT_FOUND, "UnknownStudy", "there is no study 't'"),
        ("Report", report(trial=""), INVALID, "ValueError", "1 to 256 bytes"),
        ("Report", report(first_epoch=0), INVALID, "ValueError", "first_epoch must be >= 1"),
        ("Report", report(first_epoch=-(2**63)), INVALID, "ValueError", "first_epoch must be >= 1"),
        ("Report", report(first_epoch=4), OUT_OF_RANGE, "EpochOutOfRange", "at most max_epochs = 3"),
        ("Report", report(first_epoch=2**63 - 1), OUT_OF_RANGE, "EpochOutOfRange", "at most max_epochs = 3"),
        ("Report", report(values=[0.1] * 4), OUT_OF_RANGE, "EpochOutOfRange", "at most max_epochs = 3"),
        ("Report", report(values=[0.1] * 3, diverged=True), OUT_OF_RANGE, "EpochOutOfRange", "at most max_epochs = 3"),
        ("Report", report(values=[0.1] * 1001), INVALID, "ValueError", "at most 1000 values, but got 1001"),
        ("Report", report(values=[math.nan]), INVALID, "ValueError", "values must be finite"),
        ("Report", report(values=[0.1, -math.inf]), INVALID, "ValueError", "values must be finite"),
        ("Report", report(values=[1.1e100]), INVALID, "ValueError", "within"),
        ("Report", report(target_epoch=0), INVALID, "ValueError", "target_epoch must be >= 1"),
        ("Report", report(target_epoch=4), OUT_OF_RANGE, "EpochOutOfRange", "target_epoch must be at most"),
        ("Report", report(value_to_beat=math.inf), INVALID, "ValueError", "value_to_beat must be finite"),
        ("Report", report(configuration=without_a_kind()), INVALID, "ValueError", "lr must have"),
        ("Report", report(trial="known", configuration=pb.Configuration()), INVALID, "ValueError", "which stays"),
        ("Predict", pb.PredictRequest(study="s"), INVALID, "ValueError", "at least one value"),
        ("Predict", pb.PredictRequest(study="s", values=[math.nan]), INVALID, "ValueError", "finite"),
        ("Predict", pb.PredictRequest(study="s", values=[1.0] * 4), OUT_OF_RANGE, "EpochOutOfRange", "at most"),
        ("Predict", pb.PredictRequest(study="t", values=[1.0]), NOT_FOUND, "UnknownStudy", "there is no study"),
        ("PredictBatch", curves([0.1], []), INVALID, "ValueError", "at least one value"),
        ("PredictBatch", curves([math.nan]), INVALID, "ValueError", "finite"),
        ("PredictBatch", curves(*[[0.1]] * 257), INVALID, "ValueError", "at most 256 curves, but got 257"),
        ("PredictBatch", pb.PredictBatchRequest(study="t"), NOT_FOUND, "UnknownStudy", "there is no study"),
        ("FinishTrial", finish("known", "TRIAL_STATE_UNSPECIFIED"), INVALID, "ValueError", "state must be one of"),
        ("FinishTrial", finish("known", "TRIAL_STATE_RUNNING"), INVALID, "ValueError", "but got 'running'"),
        ("FinishTrial", finish("x", "TRIAL_STATE_FAILED"), NOT_FOUND, "UnknownTrial", "no trial 'x'"),
        ("SecondChances", pb.SecondChancesRequest(study="s"), INVALID, "ValueError", "n must be >= 1, but got 0"),
        ("SecondChances", pb.SecondChancesRequest(study="s", n=1), INVALID, "ValueError", "second chances need policy 'learned'"),
        ("Resume", resume("x", "key"), NOT_FOUND, "UnknownTrial", "no trial 'x'"),
        (
            "Resume",
            resume("known", "key"),
            INVALID,
            "ValueError",
            "only a stopped trial can be resumed, but trial 'known' is running",
        ),
        ("Resume", resume("known", ""), INVALID, "ValueError", "1 to 256 bytes"),
        ("Resume", resume("known", "a\nb"), INVALID, "ValueError", "control characters"),
        ("GetStudy", pb.GetStudyRequest(study="t"), NOT_FOUND, "UnknownStudy", "there is no study"),
        ("ListTrials", pb.ListTrialsRequest(study="s", first=-1), INVALID, "ValueError", "first must be >= 0"),
        ("ReadLog", pb.ReadLogRequest(study="s", after=-1), INVALID, "ValueError", "after must be >= 0"),
        ("CreateStudy", pb.CreateStudyRequest(), INVALID, "ValueError", "direction must be one of"),
        ("CreateStudy", create(name="a\nb"), INVALID, "ValueError", "control characters"),
        ("CreateStudy", create(max_epochs=-1), INVALID, "ValueError", "max_epochs must be >= 1"),
        ("CreateStudy", create(direction=9), INVALID, "ValueError", "direction must be one of maximize, minimize"),
        ("CreateStudy", create(predictor=pb.Predictor(name="oracle")), INVALID, "ValueError", "predictor must be one of"),
        ("CreateStudy", create(predictor=pb.Predictor(settings={"a": 1})), INVALID, "ValueError", "does not take"),
        ("CreateStudy", create(predictor=pb.Predictor(settings={"a": math.nan})), INVALID, "ValueError", "must be finite"),
        ("CreateStudy", create(refit_growth=math.nan), INVALID, "ValueError", "refit_growth must be > 1"),
        ("CreateStudy", create(name="s", max_epochs=4), grpc.StatusCode.FAILED_PRECONDITION, "SettingsDiffer", "exists with"),
    ],
)
def test_each_mistake_has_its_status_and_changes_nothing(
    serving: Server, call: Call, method: str, request_: Any, status: grpc.StatusCode, mistake: str, says: str
) -> None:
    before = serving.registry.settings(), serving.registry["s"].trials()
    with pytest.raises(grpc.RpcError) as error:
        call(method, request_)
    raised: Any = error.value
    assert status_of(error) == status
    assert says in raised.details()
    assert dict(raised.trailing_metadata())[MISTAKE] == mistake
    assert (serving.registry.settings(), serving.registry["s"].trials()) == before


def test_the_log_comes_in_pages_that_end_with_its_last_entry(
    serving: Server, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvestop.server.rpc.servicer.PAGE_BYTES", 60 << 10)
    serving.registry.create(last_seen(name="long", max_epochs=3000))
    serving.registry["long"].report("a", [0.5] * 2500, ask=False)
    serving.registry["long"].report("wide", [], configuration={"text": "x" * (62 << 10)}, ask=False)
    serving.registry["long"].finish("a", "stopped")
    first = call("ReadLog", pb.ReadLogRequest(study="long"))
    second = call("ReadLog", pb.ReadLogRequest(study="long", after=2000))
    third = call("ReadLog", pb.ReadLogRequest(study="long", after=2502))  # the wide one fills a page by itself
    assert [len(page.entries) for page in (first, second, third)] == [2000, 502, 1]
    assert {page.last for page in (first, second, third)} == {2503}
    assert [entry.observed.epoch for entry in first.entries[1:]] == list(range(1, 2000))
    assert third.entries[0].ended.state == pb.TRIAL_STATE_STOPPED
    assert not call("ReadLog", pb.ReadLogRequest(study="long", after=2503)).entries


def test_a_resume_that_is_sent_twice_resumes_once(serving: Server, call: Call) -> None:
    serving.registry.create(last_seen(name="stopped"))
    study = serving.registry["stopped"]
    study.report("a", [0.1], ask=False)
    study.finish("a", "stopped")
    for _ in range(2):
        call("Resume", pb.ResumeRequest(study="stopped", trial="a", key="first"))
    assert study.trials()[0].state == "running"
    log = call("ReadLog", pb.ReadLogRequest(study="stopped", after=3)).entries
    assert [(entry.trial, entry.resumed.key) for entry in log] == [("a", "first")]


def test_second_chances_come_in_pages(serving: Server, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvestop.server.rpc.servicer.PAGE_BYTES", 60 << 10)
    serving.registry.create(StudySettings("wide", max_epochs=20, predictor="last-seen"))
    study = serving.registry["wide"]
    wide = {"text": "x" * (62 << 10)}  # fills a page by itself
    study.report_many(
        [Report(trial, [value], wide, ask=False) for trial, value in (("worst", 0.1), ("best", 0.3), ("fair", 0.2))]
    )
    for trial in ("worst", "best", "fair"):
        study.finish(trial, "stopped")
    pages = [call("SecondChances", pb.SecondChancesRequest(study="wide", n=2, first=first)) for first in (0, 1, 2)]
    assert [[chance.trial for chance in page.chances] for page in pages] == [["best"], ["fair"], []]
    assert [page.next for page in pages] == [1, 0, 0]


def test_too_large_a_request_is_refused(send: Call) -> None:
    with pytest.raises(grpc.RpcError) as error:
        send("Report", b"\0" * (MAX_MESSAGE_BYTES + 1))
    assert status_of(error) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_long_explanation_is_shortened(call: Call) -> None:
    text = pb.Configuration(values={"text": pb.ConfigurationValue(text="é" * 30_000)})
    with pytest.raises(grpc.RpcError) as error:
        call("Report", report(trial="known", configuration=text))
    assert status_of(error) == INVALID
    raised: Any = error.value
    assert len(raised.details()) == 500


def test_studies_are_listed(serving: Server, call: Call) -> None:
    listed = call("ListStudies", pb.ListStudiesRequest())
    assert tuple(map(codec.settings_from_proto, listed.studies)) == serving.registry.settings()


def test_studies_are_listed_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvestop.server.rpc.servicer.STUDIES_PAGE_BYTES", 10)  # one study exceeds it
    with Server(tmp_path, host="127.0.0.1", port=0) as serving, local_channel(serving.address) as channel:
        for name in ("c", "a", "b"):
            serving.registry.create(last_seen(name=name))
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {serving.token_path.read_text().strip()}"),)

        def listed(request: pb.ListStudiesRequest) -> pb.ListStudiesResponse:
            answer: pb.ListStudiesResponse = stub.ListStudies(request, timeout=WAIT_S, metadata=metadata)
            return answer

        assert [study.name for study in listed(pb.ListStudiesRequest()).studies] == ["a"]
        assert [study.name for study in listed_studies(listed)] == ["a", "b", "c"]


def test_the_status_counts_trials_by_state(serving: Server, call: Call) -> None:
    serving.registry.create(last_seen(name="states"))
    study = serving.registry["states"]
    for trial in ("runs", "finishes", "stops", "fails", "diverges", "continues"):
        study.report(trial, [0.1])
    study.report("diverges", [math.nan], first_epoch=2)
    for trial, state in (("finishes", "finished"), ("stops", "stopped"), ("fails", "failed"), ("continues", "stopped")):
        call("FinishTrial", pb.FinishTrialRequest(study="states", trial=trial, state=f"TRIAL_STATE_{state.upper()}"))
    study.resume("continues")
    counts = {"running": 2, "finished": 1, "stopped": 1, "failed": 2}
    assert dict(call("GetStudy", pb.GetStudyRequest(study="states")).n_trials) == counts


@given(data=st.binary(max_size=60), method=st.sampled_from([method.name for method in SERVICE.methods]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_are_an_internal_error(send: Call, data: bytes, method: str) -> None:
    assert_answered_or_refused(send, method, data)


mutations = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), min_size=1, max_size=4)


@given(mutations=mutations)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mutated_report_is_an_internal_error(send: Call, mutations: list[tuple[int, int]]) -> None:
    configuration = codec.configuration_to_proto({"lr": 0.1, "n": 3, "name": "x", "flag": True})
    request = report(trial="mutant", target_epoch=2, value_to_beat=0.5, ask=True, configuration=configuration)
    data = bytearray(request.SerializeToString())
    for position, byte in mutations:
        data[position % len(data)] = byte
    assert_answered_or_refused(send, "Report", bytes(data))


def assert_answered_or_refused(send: Call, method: str, data: bytes) -> None:
    try:
        send(method, data)
    except grpc.RpcError as error:
        mistakes = {INVALID, OUT_OF_RANGE, NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
        assert error.code() in mistakes  # noqa: PT017


def test_our_own_mistake_is_logged_under_the_number_the_caller_gets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Server(tmp_path, host="localhost", port=0) as serving:
        bearer = (("authorization", f"Bearer {serving.token_path.read_text().strip()}"),)
        serving.registry._studies = None  # type: ignore[assignment]  # break it
        with (
            caplog.at_level(logging.ERROR),
            local_channel(serving.address) as channel,
            pytest.raises(grpc.RpcError) as error,
        ):
            EarlyStoppingStub(channel).GetStudy(  # type: ignore[no-untyped-call]
                pb.GetStudyRequest(study="s"), timeout=WAIT_S, metadata=bearer
            )
    raised: Any = error.value
    assert status_of(error) == grpc.StatusCode.INTERNAL
    incident = raised.details().rpartition(" ")[2]
    assert f"request {incident} to GetStudy failed" in caplog.text
    assert dict(raised.trailing_metadata())["x-request-id"] == incident
    assert "NoneType" not in raised.details()


def test_the_other_loopback_address_is_served_too(tmp_path: Path) -> None:
    try:
        serving = Server(tmp_path, host="::1", port=0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving, local_channel(serving.address) as channel:
        assert serving.address == f"[::1]:{serving.port}"
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
