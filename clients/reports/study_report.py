"""A study in plain numbers and sentences, as JSON can hold it: the content of `curvestop report` and of the dashboard's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from curvestop.clients.reports.bracket_table import brackets_of_names
from curvestop.clients.reports.calibration import (
    DRIFT_RULE,
    STAGES,
    STATED,
    WINDOW,
    WITHIN_SIGMAS,
    Calibration,
    Drift,
    Forecast,
    by_stage,
    calibration,
    drifts,
    forecasts,
    noted,
    reliability,
    share_interval,
)
from curvestop.clients.reports.study_log import Judged, StudyView, TrialView

MOST_POINTS = 4000
MOST_STOPS = 2000


def report_of(study: StudyView) -> dict[str, Any]:
    """Everything: who stops and why, what that saved, and whether the predictions were right."""
    return {"study": about(study), "summary": summary(study), "trust": trust(study), "stops": stops(study)}


def about(study: StudyView) -> dict[str, Any]:
    settings = study.settings
    return {
        "name": settings.name,
        "metric": settings.metric,
        "direction": settings.direction,
        "max_epochs": settings.max_epochs,
        "policy": settings.policy,
        "policy_settings": dict(settings.policy_settings),
        "predictor": settings.predictor,
        "shadow": settings.shadow,
        "hold_out": settings.hold_out,
    }


def summary(study: StudyView) -> dict[str, Any]:
    """epochs_saved: epochs from each stop to the epoch it was about. saved_share: of those and the trained ones."""
    trials = study.trials.values()
    trained, saved = sum(len(trial.values) for trial in trials), sum(trial.saved for trial in trials)
    finals = [(study.sign * trial.values[-1], trial) for trial in study.complete()]
    best = max(finals, key=lambda final: final[0])[1] if finals else None
    return {
        "n_trials": dict(Counter(trial.state for trial in trials)),
        "n_held_out": sum(study.settings.is_held_out(name) for name in study.trials),
        "epochs_trained": trained,
        "epochs_saved": saved,
        "saved_share": saved / (saved + trained) if trained else 0.0,
        "best_trial": None if best is None else best.name,
        "best_value": None if best is None else best.values[-1],
        "noted_stops": asdict(noted(study)),
        "brackets": brackets_of_names(study),
    }


def trust(study: StudyView) -> dict[str, Any]:
    """calibration: by observed length, of all complete trials; calibration_held_out: of those that would never be stopped."""
    made = forecasts(study)
    found = drifts(made)
    return {
        "sample": _sample(study),
        "stated_coverage": STATED,
        "within_sigmas": WITHIN_SIGMAS,
        "calibration": _stages(made),
        "calibration_held_out": _stages([f for f in made if f.held_out]) if study.settings.hold_out else None,
        "reliability": [
            {"stated": mean, "bin_from": low, "n": n, "no_better": k, "interval": share_interval(k, n)}
            for mean, low, n, k in reliability(made)
        ],
        "drift": {"warn": bool(found), "rule": DRIFT_RULE, "found": [_told(drift) for drift in found]},
        "points": [[f.stage, f.mean, f.sigma, f.actual, f.trial, f.epoch] for f in made[-MOST_POINTS:]],
    }


def stops(study: StudyView) -> list[dict[str, Any]]:
    """Every stop, acted upon or only noted, the latest first."""
    found = [(trial.changed_at, trial, judged) for trial in study.trials.values() if (judged := trial.stop or trial.noted)]
    return [_stop(trial, judged) for _, trial, judged in sorted(found, key=lambda stop: -stop[0])[:MOST_STOPS]]


def drift_sentences(report: dict[str, Any]) -> list[str]:
    return [found["sentence"] for found in report["trust"]["drift"]["found"]]


def stage_name(stage: int) -> str:
    low, high = list(pairwise(STAGES))[stage]
    return f"{low:.0%} to {high:.0%} of the curve"


def _stop(trial: TrialView, judged: Judged) -> dict[str, Any]:
    decision = judged.decision
    return {
        "trial": trial.name,
        "epoch": judged.epoch,
        "target_epoch": judged.target_epoch,
        "acted_on": decision.stop,
        "probability": decision.probability,
        "mean": None if decision.prediction is None else decision.prediction.mean,
        "sigma": None if decision.prediction is None else decision.prediction.sigma,
        "saved": trial.saved if decision.stop else judged.target_epoch - judged.epoch,
        "reason": decision.reason,
    }


def _sample(study: StudyView) -> str:
    if study.settings.shadow:
        return "All trials, as none was stopped: an unbiased sample."
    if study.settings.hold_out:
        return (
            "All trials that ran to their end. Those stopped are missing, which makes it a sample of the better ones; "
            f"the held-out trials ({study.settings.hold_out:.0%}, never stopped) are an unbiased one."
        )
    return (
        "All trials that ran to their end. Those stopped are missing, which makes it a sample of the better ones: "
        "shadow=True, or hold_out=0.05, gives an unbiased one."
    )


def _stages(made: Sequence[Forecast]) -> list[dict[str, Any]]:
    return [_stage(index, of_stage, calibration(of_stage)) for index, of_stage in enumerate(by_stage(made))]


def _stage(index: int, of_stage: Sequence[Forecast], whole: Calibration) -> dict[str, Any]:
    recent = calibration(of_stage[-WINDOW:])
    return {
        "stage": stage_name(index),
        **asdict(whole),
        "coverage": whole.coverage,
        "coverage_interval": share_interval(whole.covered, whole.n) if whole.n else None,
        "recent_n": recent.n,
        "recent_coverage": recent.coverage,
        "recent_brier": recent.brier,
    }


def _told(drift: Drift) -> dict[str, Any]:
    what = {
        "intervals": f"final values lay outside the stated {STATED:.0%} intervals",
        "probabilities": "trials turned out better than the value to beat",
    }[drift.what]
    sentence = (
        f"From {stage_name(drift.stage)}: {drift.misses} of the last {drift.n} {what}, where {drift.expected:.1f} were to be "
        f"expected (probability {drift.p:.1g} if what is stated were true)."
    )
    return {**asdict(drift), "stage": stage_name(drift.stage), "sentence": sentence}
