"""The callback for the Hugging Face Trainer, in real trainings of a tiny model: when it reports, what it logs, how it resumes."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.srm.settings import StudySettings
from tests.contracts import last_seen
from tests.contracts_training import BAD, CHANCE, GOOD, REASON, Crash, Training, TrainingContract, of_six_curves

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from curvestop.clients.transformers import SRMCallback
from tests.transformers_runs import Linear, scripted


class TestCallback(TrainingContract):
    metric = "eval_accuracy"

    def train(self, training: Training) -> None:
        callback = SRMCallback(training.study, training.trial, configuration=training.configuration, settings=training.settings)
        with tempfile.TemporaryDirectory() as elsewhere:
            folder = training.checkpoints or Path(elsewhere)
            found = max(folder.glob("checkpoint-*"), default=None)
            saves = "epoch" if training.checkpoints else "no"
            trainer = scripted(training.curve, [callback], folder, training.begin, save_strategy=saves)
            try:
                trainer.train(resume_from_checkpoint=None if found is None else str(found))
            finally:
                training.decision = callback.decision


def test_decisions_with_their_reasons_are_in_the_history_and_a_stop_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = scripted(BAD, [SRMCallback(of_six_curves(), "bad", configuration={"a": 1})], tmp_path)
    trainer.train()
    history: list[dict[str, Any]] = trainer.state.log_history
    first, last = (entry for entry in history if "curvestop/trial" in entry)
    assert (first["curvestop/epoch"], first["curvestop/stop"], first["curvestop/predicted"]) == (1, 0.0, 0.625)
    assert last["curvestop/probability"] == pytest.approx(CHANCE, abs=1e-5)
    assert (last["epoch"], last["step"], last["curvestop/stop"]) == (2.0, 2, 1.0)
    assert last["curvestop/reason"].startswith(REASON)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.getMessage().startswith(f"trial 'bad' stops after epoch 2 of 3: {REASON}")


def test_evaluations_by_steps_are_the_epochs_of_the_study(tmp_path: Path) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    by_steps: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "per_device_train_batch_size": 32}
    scripted(GOOD, [SRMCallback(study, "a")], tmp_path, **by_steps).train()
    assert (study.trials()[0].values, study.trials()[0].state) == (GOOD, "finished")


def test_a_study_of_steps_has_evaluations_at_the_steps_of_the_trainer(tmp_path: Path) -> None:
    study = connect(None, StudySettings("s", max_resource=5, resource="step", metric="accuracy"))
    by_steps: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 5, "per_device_train_batch_size": 32}
    scripted(GOOD, [SRMCallback(study, "a")], tmp_path, **by_steps).train()
    # The Trainer evaluates once more at its end.
    assert (study.trials()[0].epochs, study.trials()[0].state) == ((2, 4, 5), "finished")


def test_an_evaluation_before_or_after_the_training_is_not_reported(tmp_path: Path) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    trainer = scripted((0.5, *GOOD), [SRMCallback(study, "a")], tmp_path, eval_on_start=True, num_train_epochs=3)
    trainer.train()
    trainer.evaluate()
    assert sum("eval_accuracy" in entry for entry in trainer.state.log_history) == 5
    assert study.trials()[0].values == GOOD


def test_a_checkpoint_keeps_the_name_of_its_trial(tmp_path: Path) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    first = SRMCallback(study, "first", configuration={"a": 1})
    with pytest.raises(Crash):
        scripted(GOOD, [first], tmp_path, Training(study, "first", GOOD, crash_after=1).begin, save_strategy="epoch").train()
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    other = SRMCallback(study, "other", configuration={"a": 2})
    resumed = scripted(GOOD, [other], tmp_path, restore_callback_states_from_checkpoint=True)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    (trial,) = study.trials()
    assert (trial.trial, trial.configuration, trial.values, trial.state) == ("first", {"a": 1}, GOOD, "finished")


def test_a_metric_that_is_not_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="f1"))
    scripted(GOOD, [SRMCallback(study, "a")], tmp_path).train()
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith(
        "no evaluation had the metric 'eval_f1' to report to curvestop; they had epoch, eval_accuracy, eval_loss, "
    )
    assert study.trials()[0].values == ()


def test_the_metric_of_one_of_two_data_sets_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="eval_b_loss", direction="minimize"))
    trainer = scripted(GOOD, [SRMCallback(study, "a")], tmp_path)
    trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
    trainer.train()
    assert len(study.trials()[0].values) == 3
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_one_callback_serves_a_whole_hyperparameter_search(tmp_path: Path) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    callback = SRMCallback(study, "fixed")
    trainer = scripted(GOOD, [callback], tmp_path)
    trainer.model_init = lambda _: Linear()  # type: ignore[assignment, return-value]
    trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)},
        backend="optuna",
        n_trials=3,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
    )
    trials = study.trials()
    assert [(trial.values, trial.state) for trial in trials] == [(GOOD, "finished")] * 3
    assert trials[0].trial == "fixed"
    assert all(re.fullmatch("fixed-[0-9a-f]{8}", trial.trial) for trial in trials[1:])
    assert len({trial.configuration["learning_rate"] for trial in trials}) == 3


def test_more_evaluations_than_epochs_of_the_study_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    by_steps: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 1, "per_device_train_batch_size": 32}
    scripted(GOOD, [SRMCallback(study, "a")], tmp_path, **by_steps).train()
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith("trial 'a': report 4 is not stored, as study 's' has max_epochs=3.")
    assert study.trials()[0].values == GOOD
