"""A seeded search that never ran: curves with noise, late bloomers and failures, reported by several workers in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from curvestop.srm.curve import Configuration
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike

MAX_EPOCHS = 50


def demo_settings(name: str, *, max_epochs: int = MAX_EPOCHS, shadow: bool = False, hold_out: float = 0.1) -> StudySettings:
    return StudySettings(name, max_epochs, metric="accuracy", log_scaled=("lr",), shadow=shadow, hold_out=hold_out)


@dataclass(frozen=True)
class DemoTrial:
    """values: `(max_epochs,)` accuracies, with a NaN where it diverges."""

    name: str
    configuration: Configuration
    values: tuple[float, ...]


def demo_trials(n: int, *, seed: int, max_epochs: int = MAX_EPOCHS) -> Iterator[DemoTrial]:
    rng = np.random.default_rng(seed)
    for number in range(n):
        lr, width, dropout = 10 ** rng.uniform(-4, -0.5), int(2 ** rng.integers(4, 10)), float(rng.uniform(0, 0.6))
        fit = math.exp(-((math.log10(lr) + 2.2) ** 2) / 1.2) * (0.82 + 0.02 * math.log2(width)) - 0.12 * (dropout - 0.25) ** 2
        end = float(np.clip(0.3 + 0.68 * fit + rng.normal(0, 0.02), 0.1, 0.985))
        speed = 0.35 + 3.0 * min(1.0, lr / 0.02) * (1.0 if rng.random() > 0.15 else 0.25)
        epochs = np.arange(1, max_epochs + 1)
        rise = 1 - np.exp(-((speed * epochs * 12 / max_epochs) ** 0.8) / 2.2)
        noise = rng.normal(0, 0.012, max_epochs) * (1.2 - 0.7 * epochs / max_epochs)
        values = np.clip(0.1 + (end - 0.1) * rise + noise, 0.02, 0.995)
        if lr > 0.2 and rng.random() < 0.5:
            values[int(rng.integers(3, max(4, max_epochs // 4))) :] = math.nan
        configuration = {"lr": float(f"{lr:.3g}"), "width": width, "dropout": round(dropout, 2)}
        yield DemoTrial(f"trial-{number:03d}", configuration, tuple(values.tolist()))


def play(
    study: StudyLike,
    trials: Iterator[DemoTrial],
    *,
    workers: int = 4,
    settle: Callable[[], object] = lambda: None,
    to_the_end: bool = True,
) -> None:
    """Report the trials, `workers` at a time, an epoch each in turn, and act on what is answered.

    settle: called when a trial has ended. to_the_end: otherwise those are left running that train when the last one begins.
    """
    waiting = list(trials)[::-1]
    training: list[tuple[DemoTrial, int]] = []
    while waiting or (training and to_the_end):
        while waiting and len(training) < workers:
            training.append((waiting.pop(), 1))
        going_on = []
        for trial, epoch in training:
            if _goes_on(study, trial, epoch) and epoch < len(trial.values):
                going_on.append((trial, epoch + 1))
            else:
                settle()
        training = going_on


def _goes_on(study: StudyLike, trial: DemoTrial, epoch: int) -> bool:
    decision = study.report(trial.name, [trial.values[epoch - 1]], first_epoch=epoch, configuration=trial.configuration)
    if decision.stop:
        study.finish(trial.name, "stopped")
    elif epoch == len(trial.values):
        study.finish(trial.name)
    return not decision.stop
