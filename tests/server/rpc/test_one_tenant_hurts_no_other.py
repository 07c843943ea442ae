"""What one caller can make a server keep, fit and wait for is bounded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from curvestop.cli import status
from curvestop.clients.remote.remote_study import connect
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import MISTAKE, PUSHBACK
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tokens import Role, add_token
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.registry import Registry
from curvestop.srm.settings import StudySettings
from tests.server.rpc.test_servicer import WAIT_S, local_channel

CallAs = Callable[[Role, str, Any], Any]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[CallAs]:
    """Call as a viewer or a trainer of a tenant that has a study of 100 epochs."""
    roles: tuple[Role, ...] = ("viewer", "trainer")
    tokens = {role: add_token(tmp_path, role, tenant="they", role=role) for role in roles}
    with Server(tmp_path, host="127.0.0.1", port=0) as serving, local_channel(serving.address) as channel:
        serving.registry.create(StudySettings("s", 100, predictor="last-seen"), tenant="they")
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]

        def call(role: Role, method: str, request: Any) -> Any:
            return getattr(stub, method)(request, timeout=WAIT_S, metadata=(("authorization", f"Bearer {tokens[role]}"),))

        yield call


def mistake(act: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        act()
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert dict(error.trailing_metadata())[MISTAKE] == "ValueError"
    details: str = error.details()
    return details


def targets(call: CallAs) -> list[int]:
    return [models.target_epoch for models in call("viewer", "GetStudy", pb.GetStudyRequest(study="s")).models]


def predict(call: CallAs, role: Role, target: int) -> None:
    call(role, "Predict", pb.PredictRequest(study="s", values=[0.1], target_epoch=target))
    curve = pb.PartialCurve(values=[0.1])
    call(role, "PredictBatch", pb.PredictBatchRequest(study="s", curves=[curve], target_epoch=target))


def test_a_viewer_that_predicts_changes_nothing_that_is_fitted(call: CallAs) -> None:
    call("trainer", "Report", pb.ReportRequest(study="s", trial="a", first_epoch=1, values=[0.1]))
    predict(call, "viewer", 50)
    assert targets(call) == [100]
    predict(call, "trainer", 50)
    assert targets(call) == [50, 100]
    predict(call, "viewer", 50)


def test_a_study_predicts_for_so_many_target_epochs_and_no_more(call: CallAs) -> None:
    def report(trial: str, target: int) -> Any:
        request = pb.ReportRequest(study="s", trial=trial, first_epoch=1, values=[0.1], target_epoch=target, ask=True)
        return call("trainer", "Report", request)

    for target in range(2, 33):
        report("a", target)
    assert targets(call) == [*range(2, 33), 100]
    message = "a study predicts for at most 32 target epochs, and 40 would be one more: ask about one of 2, 3, "
    assert mistake(lambda: report("b", 40)).startswith(message)
    assert mistake(lambda: predict(call, "trainer", 40)).startswith(message)
    predict(call, "viewer", 40)
    report("a", 32)
    report("a", 100)
    trials = call("viewer", "ListTrials", pb.ListTrialsRequest(study="s")).trials
    assert [trial.trial for trial in trials] == ["a"]  # what was refused left nothing
    assert targets(call) == [*range(2, 33), 100]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            {"prompt": "x" * (64 << 10)},
            "a configuration must have at most 65536 bytes, but got 65542, most of them in 'prompt': keep ",
        ),
        (
            {str(i): i for i in range(1001)},
            "a configuration must have at most 1000 names, but got 1001: leave out what is the same",
        ),
    ],
)
def test_too_large_a_configuration_is_refused(call: CallAs, configuration: dict[str, Any], message: str) -> None:
    encoded = codec.configuration_to_proto(configuration)
    report = pb.ReportRequest(study="s", trial="a", first_epoch=1, values=[0.1], configuration=encoded)
    assert mistake(lambda: call("trainer", "Report", report)).startswith(message)
    assert mistake(
        lambda: call("viewer", "Predict", pb.PredictRequest(study="s", values=[0.1], configuration=encoded))
    ).startswith(message)


def test_the_largest_configuration_is_taken(call: CallAs) -> None:
    encoded = codec.configuration_to_proto({f"{i:03}": "é" * 31 for i in range(1000)})  # 65 bytes each
    call("trainer", "Report", pb.ReportRequest(study="s", trial="a", first_epoch=1, values=[0.1], configuration=encoded))


def test_too_large_settings_of_a_study_are_refused(call: CallAs) -> None:
    settings = codec.settings_to_proto(StudySettings("long", 10, log_scaled=tuple("x" * i for i in range(1, 200))))
    message = mistake(lambda: call("trainer", "CreateStudy", pb.CreateStudyRequest(settings=settings)))
    assert message.startswith("the settings of a study must have at most 16384 bytes, but got ")
    assert not [study for study in call("viewer", "ListStudies", pb.ListStudiesRequest()).studies if study.name == "long"]


def test_a_study_that_cannot_be_loaded_answers_for_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Registry(CurveStore(f"sqlite:///{tmp_path / DATABASE_FILE}"))) as registry:
        for name in ("broken", "whole"):
            registry.create(StudySettings(name, 10, predictor="last-seen"))
            registry[name].report("a", [0.1])
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        connection.execute("UPDATE trial SET bracket = '[1]' WHERE study = (SELECT id FROM study WHERE name = 'broken')")
        connection.commit()
    with Server(tmp_path, host="127.0.0.1", port=0) as serving, local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        token = serving.token_path.read_text().strip()

        def call(method: str, request: Any) -> Any:
            return getattr(stub, method)(request, timeout=WAIT_S, metadata=(("authorization", f"Bearer {token}"),))

        report = pb.ReportRequest(study="broken", trial="a", first_epoch=2, values=[0.2], ask=True)
        requests = {
            "Report": report,
            "ReportBatch": pb.ReportBatchRequest(study="broken", reports=[report]),
            "Predict": pb.PredictRequest(study="broken", values=[0.1]),
            "GetStudy": pb.GetStudyRequest(study="broken"),
            "ListTrials": pb.ListTrialsRequest(study="broken"),
            "FinishTrial": pb.FinishTrialRequest(study="broken", trial="a", state="TRIAL_STATE_FINISHED"),
        }
        why = "study 'broken' cannot be loaded: ValueError: stored bracket [1] is not understood"
        for method, request in requests.items():
            with pytest.raises(grpc.RpcError) as caught:
                call(method, request)
            error: Any = caught.value
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, why), method
            assert dict(error.trailing_metadata())[PUSHBACK] == "-1"
        report.study = "whole"
        assert call("Report", report).decision.reason
        assert [study.name for study in call("ListStudies", pb.ListStudiesRequest()).studies] == ["broken", "whole"]
        with connect(serving.address, StudySettings("broken", 10, predictor="last-seen"), token=token) as study:
            assert why in study.report("a", [0.2], first_epoch=2).reason
        status(serving.address, tmp_path)
        assert f"  broken: {why}\n  whole: 1 running; no models yet\n" in capsys.readouterr().out
