"""The plain loop asks a study after every epoch, ends when it says so, and resumes from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.clients.training_loop import Epochs
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
