"""The callback for Keras, in real trainings of a tiny model on torch: when it reports, what it logs, and how it resumes."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import connect
from tests.contracts import last_seen
from tests.contracts_training import BAD, CHANCE, GOOD, REASON, Training, TrainingContract, of_six_curves

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when it is imported

keras: Any = pytest.importorskip("keras")

from curvestop.clients.keras import SRMCallback  # noqa: E402
from tests.keras_runs import ROWS, TARGETS, fit  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras's


class TestCallback(TrainingContract):
    def train(self, training: Training) -> None:
        callback = SRMCallback(training.study, training.trial, configuration=training.configuration, settings=training.settings)
        callbacks = [callback]
        if training.checkpoints is not None:
            callbacks.append(keras.callbacks.BackupAndRestore(str(training.checkpoints / "backup")))
        try:
            fit(training.curve, *callbacks, begin=training.begin)
        finally:
            training.decision = callback.decision


def test_decisions_are_in_the_history_and_a_stop_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(BAD, SRMCallback(of_six_curves(), "bad"), verbose=2).history
    assert f"\ntrial 'bad' stops after epoch 2 of 3: {REASON}" in capsys.readouterr().out
    assert history["curvestop/stop"] == [0.0, 1.0]
    assert history["curvestop/predicted"] == [0.625, 0.25]
    assert history["curvestop/probability"][1] == pytest.approx(CHANCE, abs=1e-5)


def test_silent_where_keras_is(capsys: pytest.CaptureFixture[str]) -> None:
    callback = SRMCallback(of_six_curves(), "bad")
    fit(BAD, callback)
    assert capsys.readouterr().out == ""
    assert callback.decision is not None
    assert callback.decision.reason.startswith(REASON)


def test_an_epoch_of_the_study_is_one_with_a_validation() -> None:
    study = connect(None, last_seen(metric="val_loss", direction="minimize"))
    callback = SRMCallback(study, "a", validation_freq=2)
    history = fit((0.0,) * 6, callback, validation_data=(ROWS, TARGETS), validation_freq=2).history
    assert study.trials()[0].values == tuple(history["val_loss"])
    assert len(history["val_loss"]) == 3
    with pytest.raises(ValueError, match="validation_freq must be >= 1, but got 0"):
        SRMCallback(study, "b", validation_freq=0)


def test_a_study_of_steps_counts_batches() -> None:
    study = connect(None, last_seen(metric="accuracy", max_epochs=None, max_resource=6, resource="step"))
    fit(GOOD, SRMCallback(study, "a"), batch_size=len(ROWS) // 2)
    assert study.trials()[0].epochs == (2, 4, 6)


def test_a_training_longer_than_the_study_continues_to_its_end_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    study = of_six_curves()
    assert len(fit((*GOOD, 0.0, 0.0), SRMCallback(study, "long")).history["loss"]) == 5
    assert (study.trials()[-1].values, study.trials()[-1].state) == (GOOD, "finished")
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith("trial 'long': report 4 is not stored, as study 's' has max_epochs=3.")
    assert warning.endswith("set it to 4 or more.")


def test_one_callback_in_two_trainings_is_two_trials() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    callback = SRMCallback(study, "a")
    for curve in (GOOD, BAD):
        fit(curve, callback)
    first, second = study.trials()
    assert (first.trial, first.values, second.values) == ("a", GOOD, BAD)
    assert re.fullmatch("a-[0-9a-f]{8}", second.trial)


def test_a_training_with_an_initial_epoch_continues_the_trial() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    callback = SRMCallback(study, "a")
    fit(GOOD, callback, epochs=2)
    fit(GOOD, callback, initial_epoch=2)
    assert [(trial.trial, trial.values) for trial in study.trials()] == [("a", GOOD)]


def test_a_metric_that_keras_does_not_log_is_an_error_that_names_those_that_it_does() -> None:
    with pytest.raises(ValueError, match="monitor must be one of 'accuracy', 'loss', but got 'val_acc'; give validation_freq"):
        fit(GOOD, SRMCallback(of_six_curves(), "a", monitor="val_acc"))
