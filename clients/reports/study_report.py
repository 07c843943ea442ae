"""The report on a study as a JSON object: the content of `curvestop report` and of the dashboard's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from curvestop.clients.reports.calibration import (
    INTERVAL_SIGMAS,
    STATED_COVERAGE,
    Forecast,
    by_stage,
    calibration_of,
    reliability_bins,
    resolved_forecasts,
    shadow_stops,
    share_interval,
)
from curvestop.clients.reports.drift import DRIFT_RULE, DRIFT_WINDOW, Drift, find_drifts
from curvestop.clients.reports.noise import noise_section
from curvestop.clients.reports.study_log import RecordedDecision, StudyView, TrialView
from curvestop.hyperband.scheduler.bracket_table import BracketMember, bracket_rows
from curvestop.srm.grid import Grid
from curvestop.srm.study_memory import STAGES

MAX_POINTS = 4000
"""Most forecasts that a report lists one by one, for the scatter plot."""

MAX_STOPS = 2000
"""Most stops that a report lists."""


def report_of(study: StudyView) -> dict[str, Any]:
    """Return the whole report: the settings, what was stopped and why, what that saved, and whether the predictions came true.

    Args:
        study: The study.

    Returns:
        An object with the keys `study`, `summary`, `calibration` and `stops`; each function below describes its part.
    """
    return {
        "study": settings_section(study),
        "summary": summary(study),
        "calibration": calibration_section(study),
        "stops": stops(study),
    }


def settings_section(study: StudyView) -> dict[str, Any]:
    """Return the settings that a reader of the report needs.

    Args:
        study: The study.

    Returns:
        Name, metric, direction, max_epochs, resource (the unit), max_resource (max_epochs in that unit, as which all epochs are
        shown), n_points (the number of evenly spaced epochs at which curves are read), policy with its settings, predictor,
        shadow and hold_out, as JSON has them.
    """
    settings = study.settings
    return {
        "name": settings.name,
        "metric": settings.metric,
        "direction": settings.direction,
        "max_epochs": settings.max_epochs,
        "resource": settings.resource,
        "max_resource": settings.axis.max_resource,
        "n_points": len(Grid(settings.max_epochs)),
        "policy": settings.policy,
        "policy_settings": dict(settings.policy_settings),
        "predictor": settings.predictor,
        "shadow": settings.shadow,
        "hold_out": settings.hold_out,
    }


def bracket_members(study: StudyView) -> list[BracketMember]:
    """Return the trials that belong to a bracket of Hyperband, in the order of their first report.

    Args:
        study: The study; without a run of Hyperband the list is empty.
    """
    members: list[BracketMember] = []
    for trial in study.trials.values():
        if trial.bracket is not None:
            # The epochs of a second chance belong to no rung.
            epochs = trial.resumed_at[0] - 1 if trial.resumed_at else trial.last_epoch
            # A promoted trial is in the next rung from its first value there on.
            rung = sum(end < epochs for _, end in trial.bracket.rungs)
            is_over = bool(trial.stop is not None or trial.state != "running" or trial.resumed_at)
            members.append(BracketMember(trial.bracket, rung, epochs, is_over))
    return members


def summary(study: StudyView) -> dict[str, Any]:
    """Return the study's counts and its best trial.

    Args:
        study: The study.

    Returns:
        An object with these keys:

        - `n_trials`: number of trials by state; `n_held_out`: how many are never stopped; `n_resumed`: how many were resumed,
          whatever became of them then.
        - `epochs_trained`; `epochs_saved`: epochs from each stop to the epoch that it was about; `saved_share`: the saved ones as
          a share of both, in [0, 1].
        - `best_trial`, `best_value`: name and final value of the best complete trial; null without one.
        - `seed_noise`: see `noise_section`; null if it is not known.
        - `shadow_stops`: see `ShadowStops`. `brackets`: the brackets of a run of f-Hyperband; empty for other studies.
    """
    trials = study.trials.values()
    trained, saved = sum(trial.last_epoch for trial in trials), sum(trial.epochs_saved for trial in trials)
    scored = [(study.sign * trial.final, trial) for trial in study.complete()]
    best = max(scored, key=lambda pair: pair[0])[1] if scored else None  # the first of equal ones
    return {
        "n_trials": dict(Counter(trial.state for trial in trials)),
        "n_resumed": sum(bool(trial.resumed_at) for trial in trials),
        "n_held_out": sum(study.settings.is_held_out(name) for name in study.trials),
        "epochs_trained": trained,
        "epochs_saved": saved,  # an estimate: a stopped trial might have ended early by itself
        "saved_share": saved / (saved + trained) if trained else 0.0,
        "best_trial": None if best is None else best.name,
        "best_value": None if best is None else best.final,
        "seed_noise": noise_section(study),
        "shadow_stops": asdict(shadow_stops(study)),
        "brackets": bracket_rows(bracket_members(study)),
    }


def calibration_section(study: StudyView) -> dict[str, Any]:
    """Return whether the study's predictions came true.

    Args:
        study: The study.

    Returns:
        An object with these keys:

        - `sample`: a sentence on which trials the figures are about.
        - `stated_coverage`, `interval_sigmas`: the interval that is checked.
        - `stages`: calibration by observed length, of all complete trials; `stages_held_out`: of those that are never stopped,
          null if the study has none.
        - `reliability`: stated probabilities and what happened, by bin.
        - `drift`: `warn`, the `rule` in words, and the tests `found` to fail.
        - `points`: stage, mean, sigma, actual value, trial and epoch of the last `MAX_POINTS` forecasts.
    """
    forecasts = resolved_forecasts(study)
    # In the order in which outcomes became known, which the drift test goes by.
    found = find_drifts(forecasts)
    return {
        "sample": _sample_sentence(study),
        "stated_coverage": STATED_COVERAGE,
        "interval_sigmas": INTERVAL_SIGMAS,
        "stages": _stage_rows(forecasts),
        "stages_held_out": (
            _stage_rows([forecast for forecast in forecasts if forecast.held_out]) if study.settings.hold_out else None
        ),
        "reliability": [
            {**asdict(bin_), "interval": share_interval(bin_.n_no_better, bin_.n)} for bin_ in reliability_bins(forecasts)
        ],
        "drift": {"warn": bool(found), "rule": DRIFT_RULE, "found": [_drift_row(drift) for drift in found]},
        # Arrays, not objects: there may be thousands.
        "points": [[f.stage, f.mean, f.sigma, f.actual, f.trial, f.epoch] for f in forecasts[-MAX_POINTS:]],
    }


def stops(study: StudyView) -> list[dict[str, Any]]:
    """Return the stop, undone stop or shadow stop of each trial that has one, the latest first, at most `MAX_STOPS`.

    Args:
        study: The study.

    Returns:
        Objects with trial, epoch, target_epoch, acted_on (false for a shadow stop), resumed (epoch that the trial's last resume
        went on with, if that undid this stop; else null), probability, chance, mean, sigma, saved (epochs) and reason.
    """
    found = [(trial.changed_at, trial, stop) for trial in study.trials.values() if (stop := _shown_stop(trial))]
    # By the trial's last log entry, which is its stop unless it trained on.
    latest_first = sorted(found, key=lambda item: -item[0])
    return [_stop_row(trial, stop) for _, trial, stop in latest_first[:MAX_STOPS]]


def drift_sentences(report: dict[str, Any]) -> list[str]:
    """Return one sentence for each drift that a report of `report_of` has found.

    Args:
        report: A whole report, also one read back from JSON.
    """
    return [found["sentence"] for found in report["calibration"]["drift"]["found"]]


def stage_name(stage: int) -> str:
    """Return a stage in words.

    Args:
        stage: Index of the stage.

    Examples:
        >>> stage_name(2)
        '25% to 50% of the curve'
    """
    low, high = list(pairwise(STAGES))[stage]
    return f"{low:.0%} to {high:.0%} of the curve"


def _shown_stop(trial: TrialView) -> RecordedDecision | None:
    return trial.stop or trial.undone_stop or trial.shadow_stop


def _stop_row(trial: TrialView, stop: RecordedDecision) -> dict[str, Any]:
    decision = stop.decision
    return {
        "trial": trial.name,
        "epoch": stop.epoch,
        "target_epoch": stop.target_epoch,
        "acted_on": decision.stop,
        "resumed": trial.resumed_at[-1] if stop is trial.undone_stop else None,
        "probability": decision.probability,
        "chance": decision.chance,
        "mean": None if decision.prediction is None else decision.prediction.mean,
        "sigma": None if decision.prediction is None else decision.prediction.sigma,
        # A trial may train on after a decision to stop; a shadow stop would have saved all the rest.
        "saved": trial.epochs_saved if decision.stop else stop.target_epoch - stop.epoch,
        "reason": decision.reason,
    }


def _sample_sentence(study: StudyView) -> str:
    # Stopping removes trials by their predicted value, so what is left is biased; the reader must know which sample this is.
    if study.settings.shadow:
        return "These figures cover all trials, as none was stopped: the sample is unbiased."
    if study.settings.hold_out:
        return (
            "These figures cover the complete trials. Stopped trials are missing, so the sample favors the better ones; "
            f"the held-out trials ({study.settings.hold_out:.0%}, never stopped) are an unbiased sample."
        )
    return (
        "These figures cover the complete trials. Stopped trials are missing, so the sample favors the better ones. "
        "For an unbiased sample, set shadow=True or hold_out=0.05 in the next study."
    )


def _stage_rows(forecasts: Sequence[Forecast]) -> list[dict[str, Any]]:
    return [_stage_row(stage, of_stage) for stage, of_stage in enumerate(by_stage(forecasts))]


def _stage_row(stage: int, forecasts: Sequence[Forecast]) -> dict[str, Any]:
    # The recent ones show what the drift test looks at.
    all_of_stage, recent = calibration_of(forecasts), calibration_of(forecasts[-DRIFT_WINDOW:])
    return {
        "stage": stage_name(stage),
        **asdict(all_of_stage),
        "coverage": all_of_stage.coverage,
        "coverage_interval": share_interval(all_of_stage.n_covered, all_of_stage.n) if all_of_stage.n else None,
        "recent_n": recent.n,
        "recent_coverage": recent.coverage,
        "recent_brier": recent.brier,
    }


def _drift_row(drift: Drift) -> dict[str, Any]:
    misses = {
        "intervals": f"final values were outside the stated {STATED_COVERAGE:.0%} intervals",
        "probabilities": "trials turned out better than the value to beat",
    }[drift.tested]
    sentence = (
        f"From {stage_name(drift.stage)}: {drift.n_misses} of the last {drift.n} {misses}, but {drift.expected_misses:.1f} were "
        f"expected (p = {drift.p_value:.1g})."
    )
    return {**asdict(drift), "stage": stage_name(drift.stage), "sentence": sentence}
