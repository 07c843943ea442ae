"""Studies that are copied and pickled, as workers of joblib, Ray and multiprocessing need them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.clients.training_loop import Epochs
from curvestop.server.rpc.server import Server
from curvestop.srm.study import Study
from tests.contracts import COMPLETE, last_seen

PATIENT_S = 30.0
COPIES = [copy.copy, copy.deepcopy, lambda study: pickle.loads(pickle.dumps(study))]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[RemoteStudy]:
    """A study whose token was given to `connect`."""
    with Server(tmp_path, host="127.0.0.1", port=0) as server:
        token = server.token_path.read_text().strip()
        with connect(server.address, last_seen(), token=token, deadline_s=PATIENT_S, strict=True) as study:
            yield study


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_remote_study_is_the_same_study(study: RemoteStudy, copied: Callable[[Any], RemoteStudy]) -> None:
    study.report("a", [0.1])
    with copied(study) as other:
        assert (other.settings, other.address) == (study.settings, study.address)
        other.report("b", [0.2])
    study.report("a", [0.3], first_epoch=2)  # closing the copy closed nothing of the original
    assert [(trial.trial, trial.values) for trial in study.trials()] == [("a", (0.1, 0.3)), ("b", (0.2,))]


def trained(study: RemoteStudy, number: int) -> int:
    """What a worker does."""
    with study:
        epochs = Epochs(study, range(3), trial=str(number))
        for epoch in epochs:
            epochs.report((number + epoch) / 10)
        return len(study.trials())


def test_workers_that_are_spawned_share_the_study(study: RemoteStudy) -> None:
    with get_context("spawn").Pool(2) as pool:
        assert max(pool.starmap(trained, [(study, number) for number in range(4)])) == 4
    assert sorted((trial.trial, trial.values) for trial in study.trials()) == [
        (str(number), (number / 10, (number + 1) / 10, (number + 2) / 10)) for number in range(4)
    ]


def test_what_waits_to_be_sent_stays_with_the_original(study: RemoteStudy) -> None:
    with connect("127.0.0.1:1", last_seen(), token="secret") as unreachable:
        unreachable.report("a", [0.1])
        assert "1 value not sent yet" in repr(unreachable)
        assert repr(pickle.loads(pickle.dumps(unreachable))) == "study 's' at 127.0.0.1:1"


def test_only_a_token_that_was_given_is_in_the_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVESTOP_TOKEN", "of-the-environment")
    assert b"of-the-environment" not in pickle.dumps(connect("127.0.0.1:1", last_seen()))
    assert b"given" in pickle.dumps(connect("127.0.0.1:1", last_seen(), token="given"))


def test_the_options_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with connect("a.example:1,b.example:2", last_seen(), token="t", tls=ClientTls(tmp_path / "ca.pem"), deadline_s=0.1) as study:
        assert repr(copy.deepcopy(study)) == "study 's' at a.example:1"
        assert pickle.dumps(copy.deepcopy(study)) == pickle.dumps(study)


@pytest.mark.parametrize("copied", COPIES[1:])
def test_a_copy_of_a_study_in_this_process_is_its_own(copied: Callable[[Any], Study]) -> None:
    study = Study(last_seen())
    for number, values in enumerate(COMPLETE):
        study.report(f"complete-{number}", values)
    other = copied(study)
    assert other.trials() == study.trials()
    assert other.report("a", [0.4]).stop  # two sigma below the best, as in the contract
    assert [trial.trial for trial in study.trials()] == [f"complete-{number}" for number in range(6)]
