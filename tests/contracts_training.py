"""The contract of every training whose loop asks a study: the plain loop and the callbacks of all frameworks inherit it.

The models are real and learn something. The monitored metric is a curve known in advance, so the expected decisions can be
computed by hand: the study knows six complete curves, the best of which ends at 0.6, and predicts the last value seen.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.server.rpc.server import Server
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from curvestop.srm.trial import Trial
from tests.contracts import COMPLETE, last_seen

PATIENT_S = 60.0

GOOD = (0.625, 0.625, 0.625)  # P(no better than 0.6) = 0.40; all values are the same numbers in 32 bits
BAD = (0.625, 0.25, 0.125)  # at epoch 2: errors of 0.05 and 0.15, so sigma = 0.1118; (0.6 - 0.25) / sigma = 3.1305
STOPS_AT = 2
CHANCE = 0.99913
REASON = "P(no better than 0.6 at epoch 3) = 0.999, stops at 0.95"


class Crash(Exception):
    """The training dies."""


class CurveServer:
    """A server with a study of six complete curves, once `prepared` has made it."""

    def __init__(self, folder: Path) -> None:
        self.serving = Server(folder, host="127.0.0.1", port=0)
        self.address = self.serving.address
        self.token = self.serving.token_path.read_text().strip()

    def open(self, settings: StudySettings) -> RemoteStudy:
        return connect(self.address, settings, token=self.token, deadline_s=PATIENT_S)

    def prepared(self, name: str, metric: str) -> StudySettings:
        """Make a study that knows the six curves and return its settings."""
        settings = last_seen(name=name, metric=metric)
        with self.open(settings) as study:
            for number, values in enumerate(COMPLETE):
                study.report(f"complete-{number}", values)
        assert self.serving.registry.wait_fitted(PATIENT_S)
        return settings

    def trial(self, settings: StudySettings, name: str) -> Trial:
        with self.open(settings) as study:
            return next(trial for trial in study.trials() if trial.trial == name)


def of_six_curves(**changes: Any) -> Any:
    """Return a study in this process that knows the six curves."""
    study = connect(None, last_seen(metric="accuracy", **changes))
    for number, values in enumerate(COMPLETE):
        study.report(f"complete-{number}", values)
    return study


@dataclass
class Training:
    """One run: what it should do, and what it did.

    Attributes:
        study: The study, or a server's address.
        trial: Name of the trial.
        curve: The metric after each epoch; its length is the number of epochs to train.
        settings: The study's settings, with an address.
        configuration: The trial's configuration.
        crash_after: Number of epochs after whose report the training dies; None to train to the end.
        checkpoints: A folder in which a run finds the checkpoints of an earlier one; None to keep nothing.
        began: Numbers, from 1, of the epochs that began.
        decision: The last decision.
    """

    study: str | StudyLike
    trial: str | int | None
    curve: Sequence[float]
    settings: StudySettings | None = None
    configuration: dict[str, Any] = field(default_factory=lambda: {"learning_rate": 0.1})
    crash_after: int | None = None
    checkpoints: Path | None = None
    began: list[int] = field(default_factory=list)
    decision: Decision | None = None

    def begin(self, epoch: int) -> None:
        """Note that an epoch begins, or crash."""
        if self.crash_after is not None and epoch > self.crash_after:
            raise Crash
        self.began.append(epoch)


def nobody() -> str:
    """Return an address at which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class TrainingContract:
    """A subclass gives the metric's name and `train`, which runs a `Training` and fills in what happened."""

    metric = "accuracy"

    def train(self, training: Training) -> None:
        raise NotImplementedError

    @pytest.fixture
    def server(self, curve_server: CurveServer) -> CurveServer:
        return curve_server

    @pytest.fixture
    def settings(self, server: CurveServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StudySettings:
        monkeypatch.setenv("CURVESTOP_TOKEN", server.token)
        return server.prepared(request.node.nodeid, self.metric)

    def run(self, study: str | StudyLike, trial: str | int | None, curve: Sequence[float], **more: Any) -> Training:
        training = Training(study, trial, curve, **more)
        self.train(training)
        return training

    def test_a_bad_trial_ends_early_with_a_reason(self, server: CurveServer, settings: StudySettings) -> None:
        with server.open(settings) as study:
            done = self.run(study, "bad", BAD)
        assert done.began == [1, STOPS_AT]
        assert done.decision is not None
        assert done.decision.probability == pytest.approx(CHANCE, abs=1e-5)
        assert done.decision.prediction is not None
        assert done.decision.prediction.mean == 0.25
        assert done.decision.reason.startswith(REASON)
        trial = server.trial(settings, "bad")
        assert (trial.values, trial.state) == (BAD[:STOPS_AT], "stopped")
        assert trial.configuration == {"learning_rate": 0.1}

    def test_a_good_trial_trains_to_its_end(self, server: CurveServer, settings: StudySettings) -> None:
        with server.open(settings) as study:
            done = self.run(study, "good", GOOD)
        assert done.began == [1, 2, 3]
        assert done.decision is not None
        assert not done.decision.stop
        trial = server.trial(settings, "good")
        assert (trial.values, trial.state) == (GOOD, "finished")

    def test_a_crash_is_no_end_and_the_trial_continues_from_its_checkpoint(
        self, server: CurveServer, settings: StudySettings, tmp_path: Path
    ) -> None:
        with server.open(settings) as study, pytest.raises(Crash):
            self.run(study, "once", GOOD, crash_after=2, checkpoints=tmp_path)
        trial = server.trial(settings, "once")
        assert (trial.values, trial.state) == (GOOD[:2], "running")
        with server.open(settings) as study:
            done = self.run(study, "once", (0.0, 0.0, 0.625), checkpoints=tmp_path)
        assert done.began == [3]
        trial = server.trial(settings, "once")
        assert (trial.values, trial.state) == (GOOD, "finished")

    def test_epochs_that_are_trained_again_change_nothing(self, server: CurveServer, settings: StudySettings) -> None:
        with server.open(settings) as study:
            with pytest.raises(Crash):
                self.run(study, "again", GOOD, crash_after=2)
            done = self.run(study, "again", (0.5, 0.5, 0.625))
        assert done.began == [1, 2, 3]
        trial = server.trial(settings, "again")
        assert (trial.values, trial.state) == (GOOD, "finished")

    def test_a_trial_that_was_stopped_ends_at_once(self, server: CurveServer, settings: StudySettings) -> None:
        with server.open(settings) as study:
            self.run(study, "bad", BAD)
            done = self.run(study, "bad", GOOD)
        assert done.began in ([], [1])  # some frameworks ask whether to stop only after a batch
        assert done.decision is not None
        assert done.decision.stop
        trial = server.trial(settings, "bad")
        assert (trial.values, trial.state) == (BAD[:STOPS_AT], "stopped")

    def test_an_address_is_enough(self, server: CurveServer, settings: StudySettings) -> None:
        assert self.run(server.address, "bad", BAD, settings=settings).began == [1, STOPS_AT]
        assert server.trial(settings, "bad").state == "stopped"

    def test_without_a_server_the_training_continues(self) -> None:
        done = self.run(nobody(), "alone", BAD, settings=last_seen(metric=self.metric))
        assert done.began == [1, 2, 3]
        assert done.decision is not None
        assert "training continues" in done.decision.reason

    def test_in_process(self) -> None:
        study = connect(None, last_seen(metric=self.metric))
        for number, values in enumerate(COMPLETE):
            study.report(f"complete-{number}", values)
        assert self.run(study, "bad", BAD).began == [1, STOPS_AT]
        assert self.run(study, "good", GOOD).began == [1, 2, 3]
        assert [trial.state for trial in study.trials()[-2:]] == ["stopped", "finished"]

    def test_without_a_name_every_training_is_a_trial_of_its_own(self) -> None:
        study = connect(None, last_seen(metric=self.metric))
        for _ in range(2):
            self.run(study, None, GOOD)
        first, second = study.trials()
        assert first.trial != second.trial
        for trial in (first, second):
            assert re.fullmatch(r"trial-\d{8}-\d{6}-[0-9a-f]{8}", trial.trial)
            assert (trial.values, trial.state, trial.configuration) == (GOOD, "finished", {"learning_rate": 0.1})

    def test_the_same_training_again_is_told_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        study = connect(None, last_seen(metric=self.metric))
        self.run(study, "a", GOOD)
        assert "had ended" not in caplog.text
        self.run(study, "a", (0.5, 0.5, 0.5))
        (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
        assert warning.startswith("trial 'a' of study 's' had ended as finished before it reported")
        assert study.trials()[0].values == GOOD
        with pytest.raises(
            ValueError, match=r"was reported with \{'learning_rate': 0.1\}, which stays, but got \{'learning_rate': 0.2\}"
        ):
            self.run(study, "a", GOOD, configuration={"learning_rate": 0.2})

    def test_a_training_that_is_shorter_than_the_study_is_not_stopped_at_its_end(self) -> None:
        study = connect(None, last_seen(metric=self.metric, max_epochs=4))
        for number, values in enumerate(COMPLETE):
            study.report(f"long-{number}", [*values, values[-1]])
        assert study.report("asked", BAD[:STOPS_AT]).stop
        done = self.run(study, "short", BAD[:STOPS_AT])
        assert done.began == [1, 2]
        assert done.decision is not None
        assert not done.decision.stop
        assert (study.trials()[-1].values, study.trials()[-1].state) == (BAD[:STOPS_AT], "finished")

    def test_other_settings_are_an_error_before_anything_is_trained(self, server: CurveServer, settings: StudySettings) -> None:
        other = replace(settings, max_epochs=5)
        training = Training(server.address, "a", GOOD, settings=other)
        with pytest.raises(ValueError, match="exists with max_epochs=3, but got 5: give the new study another name"):
            self.train(training)
        assert training.began in ([], [1])  # Keras tells callbacks in turn of the first epoch; no batch was trained

    def test_a_metric_that_is_no_number_is_a_trial_that_failed(self) -> None:
        study = connect(None, last_seen(metric=self.metric))
        assert self.run(study, "nan", (0.5, float("nan"), 0.5)).began == [1, 2]
        assert [(trial.values, trial.state) for trial in study.trials()] == [((0.5,), "failed")]

    def test_mistakes_are_errors_at_once(self) -> None:
        study = connect(None, last_seen(log_scaled=("learning_rate",), metric=self.metric))
        with pytest.raises(ValueError, match="learning_rate is declared log-scaled, so it must be a number > 0, but got 0"):
            self.run(study, "a", GOOD, configuration={"learning_rate": 0})
        with pytest.raises(ValueError, match="a trial name must be 1 to 256 bytes long, but got 0"):
            self.run(study, "", GOOD)
        with pytest.raises(ValueError, match="settings must be given with a server's address, here"):
            self.run("127.0.0.1:1", "a", GOOD)
        with pytest.raises(ValueError, match="settings must not be given with a study, which has its own, but got"):
            self.run(study, "a", GOOD, settings=last_seen())
        assert study.trials() == ()
