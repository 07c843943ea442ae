"""f-Hyperband's brackets as they fill, as a study's log tells them: by the names that `hyperband run` gives its trials."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from curvestop.clients.study_log import StudySoFar, TrialSoFar

_NAME = re.compile(r"i(\d+)-s(\d+)-\d+")


def brackets_of_names(study: StudySoFar) -> list[dict[str, Any]]:
    """One row for each bracket, in the order in which they began, with its rungs; none for other studies.

    A rung's epochs are a target that some trial of such a bracket was asked about. reached: trials that trained to it. stopped:
    on the way to it. training: on the way, running. planned: not known to the service.
    """
    of: defaultdict[tuple[int, int], list[TrialSoFar]] = defaultdict(list)
    for trial in study.trials.values():
        if (name := _NAME.fullmatch(trial.name)) is not None:
            of[int(name[1]), int(name[2])].append(trial)
    targets: defaultdict[int, set[int]] = defaultdict(set)
    for (_, s), trials in of.items():
        targets[s] |= {judged.target_epoch for trial in trials for judged in trial.judged}
    return [{"iteration": i, "s": s, "rungs": _rungs(trials, sorted(targets[s]))} for (i, s), trials in of.items()]


def _rungs(trials: list[TrialSoFar], targets: list[int]) -> list[dict[str, Any]]:
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
