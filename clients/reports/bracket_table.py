"""f-Hyperband's brackets as they fill, as a study's log tells them: by the names that `hyperband run` gives its trials."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from curvestop.clients.reports.study_log import StudyView, TrialView

_NAME = re.compile(r"i(\d+)-s(\d+)-\d+")


def brackets_of_names(study: StudyView) -> list[dict[str, Any]]:
    """One row for each bracket, in the order in which they began, with its rungs; none for other studies.

    A rung's epochs follow from the bracket's s and eta, which is not told: the least one that fits what trials were asked about.
    reached: trials that trained to it. stopped, training: those on the way to it, by state. planned: not known to the service.
    """
    of: defaultdict[tuple[int, int], list[TrialView]] = defaultdict(list)
    for trial in study.trials.values():
        if (name := _NAME.fullmatch(trial.name)) is not None:
            of[int(name[1]), int(name[2])].append(trial)
    targets: defaultdict[int, set[int]] = defaultdict(set)
    for (_, s), trials in of.items():
        targets[s] |= {recorded.target_epoch for trial in trials for recorded in trial.decisions}
    epochs = _rung_epochs(study.settings.max_epochs, targets)
    return [{"iteration": i, "s": s, "rungs": _rungs(trials, epochs[s])} for (i, s), trials in of.items()]


def _rung_epochs(max_epochs: int, targets: Mapping[int, set[int]]) -> dict[int, list[int]]:
    """By s, where rungs end: R eta^(i - s) for i = 0..s (thesis, Algorithm 1); what was asked about when no eta fits."""
    for eta in range(2, max_epochs + 1):
        epochs = {s: [max_epochs // eta ** (s - i) for i in range(s + 1)] for s in targets}
        if all(epochs[s][0] >= 1 and targets[s] <= set(epochs[s]) for s in targets):
            return epochs
    return {s: sorted({*asked, max_epochs}) for s, asked in targets.items()}


def _rungs(trials: list[TrialView], targets: list[int]) -> list[dict[str, Any]]:
    rungs, before = [], 0
    for epochs in targets:
        entered = [trial for trial in trials if len(trial.values) > before or before == 0]
        inside = [trial for trial in entered if len(trial.values) < epochs]
        rungs.append(
            {
                "epochs": epochs,
                "planned": None,
                "reached": len(entered) - len(inside),
                "stopped": sum(trial.stop is not None or trial.state != "running" for trial in inside),
                "training": sum(trial.stop is None and trial.state == "running" for trial in inside),
            }
        )
        before = epochs
    return rungs
