"""The callback for Lightning, in real trainings of a tiny module: when it reports, what it logs, and what checkpoints keep."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import connect
from tests.contracts import COMPLETE, last_seen
from tests.contracts_training import BAD, CHANCE, GOOD, REASON, Crash, Training, TrainingContract, of_six_curves

pl = pytest.importorskip("lightning.pytorch")
torch = pytest.importorskip("torch")

from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from curvestop.clients.lightning import SRMCallback  # noqa: E402
from tests.lightning_runs import Scripted, trainer  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),  # of torch, at Lightning
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


class TestCallback(TrainingContract):
    def train(self, training: Training) -> None:
        callback = SRMCallback(training.study, training.trial, configuration=training.configuration, settings=training.settings)
        checkpoint = None if training.checkpoints is None else training.checkpoints / "last.ckpt"
        callbacks = [callback]
        if training.checkpoints is not None:
            callbacks.append(pl.callbacks.ModelCheckpoint(training.checkpoints, save_last=True))
        try:
            trainer(len(training.curve), callbacks).fit(
                Scripted(training.curve, training.begin),
                ckpt_path=str(checkpoint) if checkpoint is not None and checkpoint.exists() else None,
            )
        finally:
            training.decision = callback.decision


def test_the_sanity_check_and_a_validation_of_its_own_are_not_reported() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    run = trainer(3, [SRMCallback(study, "a")], num_sanity_val_steps=2)
    module = Scripted(GOOD)
    run.fit(module)
    run.validate(module, verbose=False)
    assert module.n_validations == 5
    assert study.trials()[0].values == GOOD


def test_a_fast_dev_run_reports_nothing() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    trainer(3, [SRMCallback(study, "a")], fast_dev_run=1).fit(Scripted(GOOD))
    assert study.trials() == ()


@pytest.mark.parametrize(("settings", "n_epochs"), [({"check_val_every_n_epoch": 2}, 8), ({"val_check_interval": 0.5}, 2)])
def test_an_epoch_of_the_study_is_a_validation(settings: dict[str, Any], n_epochs: int) -> None:
    study = connect(None, last_seen(metric="accuracy", max_epochs=4))
    curve = (0.125, 0.25, 0.375, 0.5)
    trainer(n_epochs, [SRMCallback(study, "a")], **settings).fit(Scripted(curve, per="validation"))
    assert study.trials()[0].values == curve


def test_a_study_of_steps_has_validations_at_the_steps_of_the_trainer() -> None:
    study = connect(None, last_seen(metric="accuracy", max_epochs=None, max_resource=10, resource="step"))
    trainer(3, [SRMCallback(study, "a")]).fit(Scripted(GOOD))
    assert study.trials()[0].epochs == (2, 4, 6)


def test_without_validation_it_reports_after_epochs_of_training() -> None:
    study = connect(None, last_seen(metric="train_accuracy"))
    trainer(3, [SRMCallback(study, "a")], limit_val_batches=0).fit(Scripted(GOOD))
    assert study.trials()[0].values == GOOD
    trainer(3, [SRMCallback(study, "b", check_on_train_epoch_end=True)]).fit(Scripted(GOOD))
    assert study.trials()[1].values == GOOD


def test_decisions_are_in_the_loggers_and_the_reason_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = of_six_curves()
    logger = CSVLogger(tmp_path, name="", version="")
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        trainer(3, [SRMCallback(study, "bad")], logger=logger).fit(Scripted(BAD))
    assert f"trial 'bad' stops after epoch 2 of 3: {REASON}" in caplog.text
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    first, last = [row for row in rows if row["curvestop/stop"]]
    assert (first["step"], first["curvestop/stop"], first["curvestop/predicted"]) == ("2", "0.0", "0.625")
    assert (last["step"], last["curvestop/stop"], last["curvestop/predicted"]) == ("4", "1.0", "0.25")
    assert float(last["curvestop/probability"]) == pytest.approx(CHANCE, abs=1e-5)


def test_the_hyperparameters_of_the_module_are_the_configuration() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    module = Scripted(GOOD)
    module.save_hyperparameters({"learning_rate": 0.1, "widths": [8, 4], "optimizer": {"name": "sgd"}})
    trainer(3, [SRMCallback(study, "a")]).fit(module)
    assert study.trials()[0].configuration == {"learning_rate": 0.1, "widths": "[8, 4]", "optimizer/name": "sgd"}


def test_with_an_address_it_can_be_pickled_for_spawned_processes() -> None:
    settings = last_seen(metric="accuracy")
    callback = pickle.loads(pickle.dumps(SRMCallback("127.0.0.1:1", "a", configuration={"width": 8}, settings=settings)))
    assert callback.state_dict() == {"trial": "a", "epoch": 0, "configuration": {"width": 8}}


def test_shadow_mode_logs_what_it_would_have_stopped_and_stops_nothing(tmp_path: Path) -> None:
    study = of_six_curves(shadow=True)
    trainer(3, [SRMCallback(study, "bad")], logger=CSVLogger(tmp_path, name="", version="")).fit(Scripted(BAD))
    assert (study.trials()[-1].values, study.trials()[-1].state) == (BAD, "finished")
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    stops = [line.split(",")[header.split(",").index("curvestop/stop")] for line in lines]
    assert [stop for stop in stops if stop] == ["0.0", "1.0", "0.0"]


def test_a_metric_that_is_not_logged_is_an_error_that_names_those_that_are() -> None:
    study = connect(None, last_seen(metric="val_acc"))
    with pytest.raises(ValueError, match="monitor must be one of 'accuracy', but got 'val_acc'"):
        trainer(3, [SRMCallback(study, "a")]).fit(Scripted(GOOD))


def test_a_checkpoint_keeps_the_name_of_its_trial(tmp_path: Path) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    checkpoints = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    first = SRMCallback(study, "first", configuration={"a": 1})
    with pytest.raises(Crash):
        trainer(3, [first, checkpoints]).fit(Scripted(GOOD, Training(study, "first", GOOD, crash_after=1).begin))
    other = SRMCallback(study, "other", configuration={"a": 2})
    trainer(3, [other, checkpoints]).fit(Scripted(GOOD), ckpt_path=str(tmp_path / "last.ckpt"))
    (trial,) = study.trials()
    assert (trial.trial, trial.configuration, trial.state) == ("first", {"a": 1}, "finished")


def test_one_callback_in_two_trainings_is_two_trials(caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    callback = SRMCallback(study, "a")
    for rate, curve in ((0.1, GOOD), (0.2, BAD)):
        module = Scripted(curve)
        module.save_hyperparameters({"learning_rate": rate})
        trainer(3, [callback]).fit(module)
    first, second = study.trials()
    assert (first.trial, first.values, first.configuration) == ("a", GOOD, {"learning_rate": 0.1})
    assert (second.values, second.state, second.configuration) == (BAD, "finished", {"learning_rate": 0.2})
    assert re.fullmatch("a-[0-9a-f]{8}", second.trial)
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("curvestop"))
    assert warning.startswith(f"trial 'a' of study 's' has begun before: this training is another trial, {second.trial!r}.")


def test_a_callback_without_a_name_in_two_trainings_is_two_trials(caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="accuracy"))
    callback = SRMCallback(study)
    for curve in (GOOD, BAD):
        trainer(3, [callback]).fit(Scripted(curve))
    assert [trial.values for trial in study.trials()] == [GOOD, BAD]
    assert not [record for record in caplog.records if record.name.startswith("curvestop")]


def test_the_same_trainer_that_goes_on_continues_the_trial() -> None:
    study = connect(None, last_seen(metric="accuracy"))
    module, run = Scripted(GOOD), trainer(2, [SRMCallback(study, "a")])
    run.fit(module)
    run.fit_loop.max_epochs = 3
    run.fit(module)
    assert [(trial.trial, trial.values) for trial in study.trials()] == [("a", GOOD)]


def test_more_validations_than_epochs_of_the_study_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    study = connect(None, last_seen(metric="accuracy", max_epochs=3))
    module = Scripted((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), per="validation")
    trainer(3, [SRMCallback(study, "a")], val_check_interval=0.5).fit(module)
    assert module.n_validations == 6
    assert study.trials()[0].values == pytest.approx((0.1, 0.2, 0.3))
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("curvestop"))
    assert warning == (
        "trial 'a': report 4 is not stored, as study 's' has max_epochs=3. "
        "max_epochs is the number of reports in a complete training: set it to 4 or more."
    )


@pytest.mark.parametrize(
    ("settings", "n_validations"), [({"val_check_interval": 0.5}, 4), ({"max_steps": 4}, 2), ({"check_val_every_n_epoch": 2}, 1)]
)
def test_after_the_last_validation_nothing_is_stopped(settings: dict[str, Any], n_validations: int) -> None:
    study = connect(None, last_seen(metric="accuracy", max_epochs=6))
    for number, values in enumerate(COMPLETE):
        study.report(f"complete-{number}", [0.5] * 5 + [values[-1]])
    assert study.report("hopeless", [-1.0]).stop
    # The last value alone is hopeless.
    curve = [0.5] * (n_validations - 1) + [-1.0]
    trainer(2, [SRMCallback(study, "a")], **settings).fit(Scripted(curve, per="validation"))
    assert (study.trials()[-1].values, study.trials()[-1].state) == (tuple(curve), "finished")
