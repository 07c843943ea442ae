"""Many reports in one call: each is answered as if it had come alone, and an error in one affects no other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import MAX_BATCH
from curvestop.proto.entries import Decided, Observed, TrialAdded
from curvestop.server.rpc.server import Server
from curvestop.srm.study import Study
from tests.contracts import last_seen
from tests.server.rpc.test_servicer import WAIT_S, local_channel, report, status_of


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, host="127.0.0.1", port=0) as serving:
        serving.registry.create(last_seen())
        yield serving


@pytest.fixture
def batch(serving: Server) -> Iterator[Any]:
    bearer = (("authorization", f"Bearer {serving.token_path.read_text().strip()}"),)
    with local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        yield (
            lambda *reports, study="s": (
                stub.ReportBatch(pb.ReportBatchRequest(study=study, reports=reports), timeout=WAIT_S, metadata=bearer).results
            )
        )


def test_each_report_is_answered_as_if_alone(batch: Any) -> None:
    alone = Study(last_seen())
    trials = [(f"t{n}", [n / 10, n / 9, n / 8][: 1 + n % 3]) for n in range(30)]
    expected = [alone.report(trial, values) for trial, values in trials]
    results = batch(*(report(study="", trial=trial, values=values, ask=True) for trial, values in trials))
    given = [codec.decision_from_proto(result.answer) for result in results]
    assert [d.stop for d in given] == [d.stop for d in expected]
    assert sum("curves" in d.reason for d in given) == 20  # complete ones have nothing left to predict


def test_an_error_affects_no_other_report(serving: Server, batch: Any) -> None:
    results = batch(
        report(trial="a", values=[0.1]),
        report(trial="b", values=[math.nan]),
        report(trial="c", first_epoch=4),
        report(trial="d", study="t"),
        report(trial="a", values=[0.7, 0.2], ask=True),
    )
    assert [result.WhichOneof("kind") for result in results] == ["answer", "mistake", "mistake", "mistake", "answer"]
    invalid, out_of_range, elsewhere = (result.mistake for result in results[1:4])
    assert (invalid.code, invalid.name) == (3, "ValueError")
    assert "values must be finite" in invalid.details
    assert (out_of_range.code, out_of_range.name) == (11, "EpochOutOfRange")
    assert "must name no other study, but got 't'" in elsewhere.details
    assert [(c.epoch, c.stored) for c in results[4].answer.conflicts] == [(1, 0.1)]
    assert [(trial.trial, trial.values) for trial in serving.registry["s"].trials()] == [("a", (0.1, 0.2))]


def test_the_largest_batch_is_one_commit_and_there_after_a_restart(serving: Server, batch: Any, tmp_path: Path) -> None:
    reports = [(f"t{n % 200}", 1 + n // 200, n / 8) for n in range(MAX_BATCH)]  # 200 trials, 56 of them with two epochs
    commits: list[object] = []
    store = serving.registry._store
    sa.event.listen(store._engine, "commit", commits.append)
    results = batch(*(report(trial=trial, first_epoch=epoch, values=[value], ask=True) for trial, epoch, value in reports))
    assert [result.WhichOneof("kind") for result in results] == ["answer"] * 256
    assert commits.count(store._writer) == 1  # the others only read
    serving.close()
    with Server(tmp_path, host="127.0.0.1", port=0) as restarted:
        with restarted.registry["s"].log_page(0, 1000) as (last, entries):
            log = list(entries)
        trials = restarted.registry["s"].trials()
    assert last == len(log) == 200 + 256 + 256
    assert [entry.trial for entry in log if isinstance(entry, TrialAdded)] == [f"t{n}" for n in range(200)]
    assert [(e.trial, e.epoch, e.value) for e in log if isinstance(e, Observed)] == reports
    assert [(e.trial, e.question.tau) for e in log if isinstance(e, Decided)] == [report[:2] for report in reports]
    assert [trial.values for trial in trials] == [(n / 8, (n + 200) / 8) if n < 56 else (n / 8,) for n in range(200)]


def test_a_batch_is_of_one_study_and_not_too_long(batch: Any) -> None:
    with pytest.raises(grpc.RpcError) as error:
        batch(report(), study="t")
    assert status_of(error) == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as error:
        batch(*[report()] * 257)
    assert status_of(error) == grpc.StatusCode.INVALID_ARGUMENT
    assert list(batch()) == []
