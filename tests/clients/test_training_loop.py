"""The plain loop asks a study after every epoch, ends when it says so, and resumes from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.clients.training_loop import Epochs
from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.settings import StudySettings
from tests.contracts import last_seen
from tests.contracts_training import GOOD, Training, TrainingContract


class TestEpochs(TrainingContract):
    def train(self, training: Training) -> None:
        checkpoint = (training.checkpoints or Path()) / "epoch"
        done = int(checkpoint.read_text()) if training.checkpoints and checkpoint.exists() else 0
        epochs = Epochs(
            training.study,
            training.trial,
            range(1, len(training.curve) + 1),
            done=done,
            configuration=training.configuration,
            settings=training.settings,
        )
        for epoch in epochs:
            training.begin(epoch)
            epochs.report(training.curve[epoch - 1])
            if training.checkpoints:
                checkpoint.write_text(str(epoch))
        training.decision = epochs.decision


def test_epochs_may_be_numbered_from_zero() -> None:
    study = connect(None, last_seen())
    epochs = Epochs(study, "a", range(3), done=1)
    study.report("a", GOOD[:1])
    for epoch in epochs:
        epochs.report(GOOD[epoch])
    assert study.trials()[0].values == GOOD


def test_a_loop_over_evaluations_says_its_steps() -> None:
    study = connect(None, StudySettings("s", max_resource=1000, resource="step"))
    epochs = Epochs(study, range(7), trial="a")
    for evaluation in epochs:  # 0, 300, 600, 900, 1000: the loop ends where the study does
        epochs.report(0.1 * evaluation, at=min(300 * evaluation, 1000))
    (trial,) = study.trials()
    assert (trial.epochs, trial.state) == ((300, 600, 900, 1000), "finished")
    with pytest.raises(ValueError, match=r"counts steps, but this training counts only .*: call report\(value, at=...\)"):
        next(iter(epochs := Epochs(study, range(7)))), epochs.report(0.5)


def test_an_epoch_without_a_report_is_a_mistake_of_the_loop() -> None:
    epochs = Epochs(connect(None, last_seen()), "a", range(3))
    passes = iter(epochs)
    assert next(passes) == 0
    epochs.report(0.5)
    assert next(passes) == 1
    with pytest.raises(RuntimeError, match=r"epoch 1 was not reported: call report\(value\) in every pass of the loop"):
        next(passes)


@pytest.mark.parametrize(
    ("n_epochs", "done", "rule"),
    [
        (4, 0, "at most the study's max_epochs = 3 elements, but got 4"),
        (3, 4, "done must be in 0..3, but got 4"),
    ],
)
def test_a_loop_must_fit_its_study(n_epochs: int, done: int, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Epochs(connect(None, last_seen()), "a", range(n_epochs), done=done)


def test_a_loop_left_by_break_leaves_the_trial_running() -> None:
    study = connect(None, last_seen())
    epochs = Epochs(study, "a", range(3))
    for _ in epochs:
        epochs.report(0.6)
        break
    assert study.trials()[0].state == "running"


def test_an_epoch_is_reported_once_and_in_its_pass() -> None:
    epochs = Epochs(connect(None, last_seen()), range(3))
    with pytest.raises(RuntimeError, match="no epoch has begun: call report"):
        epochs.report(0.5)
    passes = iter(epochs)
    next(passes)
    epochs.report(0.5)
    with pytest.raises(RuntimeError, match=r"epoch 0 was reported already: call report\(value\) once in every pass"):
        epochs.report(0.6)


@pytest.mark.parametrize("epochs", [5, "abc", iter(range(3)), enumerate(range(3)), None])
def test_epochs_are_a_sequence(epochs: Any) -> None:
    study = connect(None, last_seen())
    for arguments in (("t", epochs), (epochs,)):
        with pytest.raises(TypeError, match=r"epochs must be a sequence such as range\(50\), but got"):
            Epochs(study, *arguments)


@pytest.mark.parametrize("study", [None, 7070, last_seen()])
def test_a_study_is_a_study(study: Any) -> None:
    with pytest.raises(TypeError, match="study must be a study, as connect returns it, or HOST:PORT of a server, but got"):
        Epochs(study, range(3))


def test_a_trial_may_be_named_by_a_number_or_by_keyword() -> None:
    study = connect(None, last_seen())
    forms: list[Epochs[int]] = [
        Epochs(study, 7, range(3)),
        Epochs(study, range(3), trial=8),
        Epochs(study, trial="9", epochs=range(3)),
        Epochs(study, None, [0, 1, 2]),
    ]
    for epochs in forms:
        for epoch in epochs:
            epochs.report(GOOD[epoch])
    assert [trial.trial for trial in study.trials()] == ["7", "8", "9", forms[3].trial]
    assert list(Epochs(study, np.arange(0))) == []  # type: ignore[call-overload]  # an array is as good


def test_a_trial_that_is_resumed_has_a_name() -> None:
    study = connect(None, last_seen())
    with pytest.raises(ValueError, match="trial must be the name of the trial of which 2 epochs are done, but got None"):
        Epochs(study, range(3), done=2)
    with pytest.raises(ValueError, match=r"done must be a whole number >= 0, but got 1.0"):
        Epochs(study, "t", range(3), done=1.0)  # type: ignore[call-overload]


def test_the_script_run_twice_is_told_that_its_values_are_not_stored(caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen())
    study.report("a", [0.5])  # a training that died
    epochs = Epochs(study, "a", range(3))
    for epoch in epochs:
        epochs.report((0.6, 0.7, 0.8)[epoch])
    (warning,) = caplog.messages
    assert warning.startswith(
        "trial 'a' of study 's' has the value 0.5 at epoch 1 already, which stays: 0.6 is not stored. A new"
    )
    assert study.trials()[0].values == (0.5, 0.7, 0.8)


def test_a_loss_that_is_maximized_is_warned_of_once_by_settings_or_callback(caplog: pytest.LogCaptureFixture) -> None:
    by_settings = connect(None, StudySettings("by settings", 3, metric="val_loss"))
    by_monitor = connect(None, StudySettings("by monitor", 3, direction="maximize"))
    for _ in range(2):
        Epochs(by_settings, range(3))
        TrialReporter(by_monitor, monitor="eval_loss")
    assert caplog.messages == [
        "study 'by settings' is to maximize 'val_loss'; if lower is better, set direction='minimize'",
        "study 'by monitor' is to maximize 'eval_loss'; if lower is better, set direction='minimize'",
    ]
