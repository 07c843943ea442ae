"""Trials as compact rows for a page: what it draws, and no more digits than can be seen."""

from __future__ import annotations

from typing import Any

from curvestop.clients.reports.study_log import Judged, StudyView, TrialView


def changed_rows(study: StudyView, *, after: int) -> list[dict[str, Any]]:
    """Of the trials that the log's entries after this number are about."""
    return [trial_row(trial, study.settings.max_epochs) for trial in study.trials.values() if trial.changed_at > after]


def trial_row(trial: TrialView, max_epochs: int) -> dict[str, Any]:
    """n: name. s: state. c: configuration. v: values. m, d, p: mean and standard deviation of what was predicted after each
    epoch, and P(no better), None where nothing was; t: for which epoch, where that is not always the last one. r: the last
    reason. stop: the stop, acted upon or only noted.
    """
    length = max([len(trial.values), *(judged.epoch for judged in trial.judged)])
    by_epoch: list[Judged | None] = [None] * length
    for judged in trial.judged:
        if judged.epoch and judged.decision.prediction is not None:
            by_epoch[judged.epoch - 1] = judged
    row = {
        "n": trial.name,
        "s": trial.state,
        "c": dict(sorted(trial.configuration.items())),
        "v": [_seen(value) for value in trial.values],
        "m": [None if j is None or j.decision.prediction is None else _seen(j.decision.prediction.mean) for j in by_epoch],
        "d": [None if j is None or j.decision.prediction is None else _seen(j.decision.prediction.sigma) for j in by_epoch],
        "p": [None if j is None or j.decision.probability is None else _seen(j.decision.probability) for j in by_epoch],
        "r": trial.judged[-1].decision.reason if trial.judged else "",
    }
    if any(judged is not None and judged.target_epoch != max_epochs for judged in by_epoch):
        row["t"] = [max_epochs if judged is None else judged.target_epoch for judged in by_epoch]
    if (stop := trial.stop or trial.noted) is not None:
        row["stop"] = {"e": stop.epoch, "r": stop.decision.reason, "acted": stop.decision.stop}
    return row


def _seen(value: float) -> float:
    return float(f"{value:.6g}")
