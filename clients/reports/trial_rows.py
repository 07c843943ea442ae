"""Trials as compact JSON rows for the dashboard's page: only what it draws, and no more digits than can be seen."""

from __future__ import annotations

from typing import Any

from curvestop.clients.reports.study_log import RecordedDecision, StudyView, TrialView


def changed_rows(study: StudyView, *, after: int) -> list[dict[str, Any]]:
    """Return a row for each trial that changed after a log entry.

    Args:
        study: The study.
        after: Number of that log entry; 0 gives all trials.

    Returns:
        Rows as `trial_row` makes them, in the order of the trials' first reports.
    """
    return [trial_row(trial, study.settings.max_epochs) for trial in study.trials.values() if trial.changed_at > after]


def trial_row(trial: TrialView, max_epochs: int) -> dict[str, Any]:
    """Return a trial as a JSON object.

    Args:
        trial: The trial.
        max_epochs: The study's number of epochs in a complete trial.

    Returns:
        An object with these keys:

        - `name`, `state`, `configuration`.
        - `n_epochs`: the latest epoch that was reported.
        - `values`: the metric at the points of the study's grid that the trial reached, shape `(tau,)`; of a short training,
          after each epoch.
        - `means`, `sigmas`, `probabilities`: mean and standard deviation of the prediction made after each point, and the
          probability that the trial is no better than the value to beat; null where nothing was predicted; shape `(n,)`.
        - `target_epochs`: the epoch of each prediction, shape `(n,)`; absent if all are about the last epoch.
        - `reason`: the reason of the last decision.
        - `stop`: the stop or shadow stop, as `epoch`, `reason` and `acted_on`; absent if there was none, or it was undone.
        - `resumed`: the epoch that each resume went on with; absent if there was none.
    """
    points = [trial.grid.n_points(recorded.epoch) for recorded in trial.decisions]
    # Long enough for the point of every decision, whatever the log holds.
    by_epoch: list[RecordedDecision | None] = [None] * max([len(trial.values), *points])
    for point, recorded in zip(points, trial.decisions, strict=True):
        if point > 0 and recorded.decision.prediction is not None:
            by_epoch[point - 1] = recorded  # the last decision at a point counts
    predictions = [None if recorded is None else recorded.decision.prediction for recorded in by_epoch]
    row = {
        "name": trial.name,
        "state": trial.state,
        "configuration": dict(sorted(trial.configuration.items())),
        "n_epochs": trial.last_epoch,
        "values": [_rounded(value) for value in trial.values],
        "means": [None if prediction is None else _rounded(prediction.mean) for prediction in predictions],
        "sigmas": [None if prediction is None else _rounded(prediction.sigma) for prediction in predictions],
        "probabilities": [None if recorded is None else _rounded(recorded.decision.probability) for recorded in by_epoch],
        "reason": trial.decisions[-1].decision.reason if trial.decisions else "",
    }
    # Studies without rungs ask about the last epoch only and save the array.
    if any(recorded is not None and recorded.target_epoch != max_epochs for recorded in by_epoch):
        row["target_epochs"] = [max_epochs if recorded is None else recorded.target_epoch for recorded in by_epoch]
    if (stop := trial.stop or trial.shadow_stop) is not None:
        row["stop"] = {"epoch": stop.epoch, "reason": stop.decision.reason, "acted_on": stop.decision.stop}
    if trial.resumed_at:
        row["resumed"] = list(trial.resumed_at)
    return row


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
