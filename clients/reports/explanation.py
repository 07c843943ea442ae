"""Why a trial was stopped or continues: its last decision, with chance, forecast and rank, as JSON and in words."""

from __future__ import annotations

from typing import Any

from curvestop.clients.reports.study_log import RecordedDecision, StudyView, TrialView
from curvestop.srm.curve import Decision
from curvestop.srm.resource import Axis
from curvestop.srm.trial import UnknownTrial


def decision_row(decision: Decision) -> dict[str, Any]:
    """Return a decision as a JSON object.

    Args:
        decision: The decision.

    Returns:
        stop, would_stop, reason, chance, probability, mean and sigma of the forecast; null where there is none.

    Examples:
        >>> decision_row(Decision(True, "hopeless", chance=0.002))["chance"]
        0.002
    """
    forecast = decision.prediction
    return {
        "stop": decision.stop,
        "would_stop": decision.would_stop,
        "reason": decision.reason,
        "chance": decision.chance,
        "probability": decision.probability,
        "mean": None if forecast is None else forecast.mean,
        "sigma": None if forecast is None else forecast.sigma,
    }


def explain(study: StudyView, trial: str) -> dict[str, Any]:
    """Return why a trial was stopped or continues.

    Args:
        study: The study.
        trial: Name of the trial.

    Returns:
        An object with these keys:

        - `study`, `metric`, `direction`, `max_epochs`; `trial`, `state`, `configuration`;
          `is_complete`: whether its last value is its final one.
        - `epoch`, `value`: the latest epoch and its value; 0 and null before the first.
        - `rank`, `n_ranked`: rank of that value among those of all trials that reached the epoch; null before the first.
        - `best_trial`, `best_value`: of the complete trials; null without one.
        - `decision`: the stop, if the trial was stopped, else the last decision: as `decision_row` makes it, with its `epoch` and
          `target_epoch`; null if nothing was asked.
        - `resumed_at`: the epochs that resumes of the trial went on with.
        - `words`: all this in a few sentences.

    Raises:
        UnknownTrial: If the study has no such trial.

    Examples:
        >>> from curvestop.proto.entries import Observed, TrialAdded
        >>> from curvestop.srm.settings import StudySettings
        >>> study = StudyView(StudySettings("demo", max_epochs=3, metric="accuracy"))
        >>> study.add([TrialAdded("a", {}), Observed("a", 1, 0.5), TrialAdded("b", {}), Observed("b", 1, 0.4)])
        >>> print(explain(study, "b")["words"])
        b runs: accuracy 0.4 at epoch 1 of 3, now rank 2 of 2 there. No decision was asked for.
    """
    if trial not in study.trials:
        raise UnknownTrial(f"study {study.settings.name!r} has no trial {trial!r}")
    view, settings = study.trials[trial], study.settings
    best = max(study.complete(), key=lambda one: study.sign * one.final, default=None)
    recorded = _decisive(view)
    rank, n_ranked = _rank(study, view)
    facts = {
        "study": settings.name,
        "metric": settings.metric,
        "direction": settings.direction,
        "max_epochs": settings.max_epochs,
        "trial": view.name,
        "state": view.state,
        "is_complete": study.is_complete(view),
        "configuration": dict(view.configuration),
        "epoch": view.last_epoch,
        "value": view.final if view.last_epoch else None,
        "rank": rank,
        "n_ranked": n_ranked,
        "best_trial": None if best is None else best.name,
        "best_value": None if best is None else best.final,
        "decision": None if recorded is None else _recorded_row(recorded),
        "resumed_at": list(view.resumed_at),
    }
    return {**facts, "words": " ".join(_sentences(facts, settings.axis))}


def _decisive(trial: TrialView) -> RecordedDecision | None:
    """The trial's stop; without one, its last decision since it was resumed."""
    since = trial.decisions[trial.n_undone :]
    return trial.stop or (since[-1] if since else None)


def _recorded_row(recorded: RecordedDecision) -> dict[str, Any]:
    return {"epoch": recorded.epoch, "target_epoch": recorded.target_epoch, **decision_row(recorded.decision)}


def _rank(study: StudyView, trial: TrialView) -> tuple[int | None, int | None]:
    epoch = trial.last_epoch
    if not epoch:
        return None, None
    scores = [study.sign * other.reported.at(epoch) for other in study.trials.values() if other.last_epoch >= epoch]
    return 1 + sum(score > study.sign * trial.final for score in scores), len(scores)


def _sentences(facts: dict[str, Any], axis: Axis) -> list[str]:
    decision, is_stop = facts["decision"], facts["decision"] is not None and facts["decision"]["stop"]
    value = "" if facts["value"] is None else f"{facts['metric']} {facts['value']:.4g} at {axis.at(facts['epoch'])}"
    rank = "" if facts["rank"] is None else f", now rank {facts['rank']} of {facts['n_ranked']} there"
    state = "is complete" if facts["is_complete"] else _state(facts["state"], is_stop)
    sentences = [f"{facts['trial']} {state}" + (f": {value} of {axis.number(axis.ticks)}{rank}." if value else ".")]
    if decision is None:
        sentences.append("No decision was asked for.")
    else:
        what = "Stop" if is_stop else "Continue"
        sentences.append(f"{what}, after {axis.span(decision['epoch'])}: {decision['reason']}.")
    if facts["best_trial"] not in (None, facts["trial"]):
        sentences.append(f"The best complete trial is {facts['best_trial']} with {facts['best_value']:.4g}.")
    if facts["resumed_at"]:
        sentences.append(f"It was stopped before, and resumed at {', '.join(map(axis.at, facts['resumed_at']))}.")
    return sentences


def _state(state: str, is_stop: bool) -> str:
    match state:
        case "stopped":
            return "was stopped" if is_stop else "was ended as stopped, by its own program"
        case "running":
            return "is to stop, but has not said that it did" if is_stop else "runs"
        case _:
            return state
