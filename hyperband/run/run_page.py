"""A run as the dashboard's page shows a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from curvestop.hyperband.run.run_reader import members_of_run
from curvestop.hyperband.scheduler.asynchronous import Asha
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.bracket_table import bracket_rows
from curvestop.hyperband.scheduler.trials import TrialRecord
from curvestop.srm.curve import Decision
from curvestop.srm.grid import Grid

_NO_SHADOW_STOPS = {"n": 0, "n_complete": 0, "n_lost": 0, "would_save_epochs": 0}
# A journal does not say what became of the forecasts: stopped trials were not trained to the end.
_NO_CALIBRATION: Mapping[str, Any] = {
    "sample": "",
    "stated_coverage": 0.95,
    "stages": [],
    "stages_held_out": None,
    "reliability": [],
    "drift": {"warn": False, "rule": "", "found": []},
    "points": [],
}


def report_of_run(scheduler: BracketScheduler, *, name: str, metric: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """Return a run as `frozen_page.page_with` shows it.

    Args:
        scheduler: The run, over or not.
        name: Name of the run.
        metric: Name of the metric.
        settings: Settings of the run, as `RunSettings` names them; those not given are shown as their defaults.

    Returns:
        An object with the keys `study`, `summary`, `calibration`, `stops`, `trials` and `caption`, as `study_report.report_of`
        and `trial_rows.trial_row` describe them. Epochs saved are those of plain Hyperband
        that were not trained; of ASHA, those of whole trainings.
    """
    records, grid = scheduler.records, Grid(scheduler.max_epochs)
    stopped = [(record, epoch, decision) for record in records for epoch, decision in record.stops]
    trained = scheduler.epochs_trained
    # As `console.cost` says it: ASHA has no plan for the configurations that it draws.
    is_asha = isinstance(scheduler, Asha)
    without = scheduler.max_epochs * len(records) if is_asha else scheduler.epochs_planned
    return {
        "caption": "run of hyperband",
        "study": {
            "name": name,
            "metric": metric,
            "direction": scheduler.direction,
            "max_epochs": scheduler.max_epochs,
            "resource": "epoch",
            "max_resource": scheduler.max_epochs,
            "n_points": len(grid),
            "policy": "none" if settings.get("no_stop") else settings.get("policy") or "threshold, in each rung",
            "policy_settings": settings.get("policy_settings") or {},
            "predictor": settings.get("predictor", "none"),
            "shadow": False,
            "hold_out": 0.0,
        },
        "summary": {
            "n_trials": dict(Counter(_state(record) for record in records)),
            "n_resumed": sum(record.resumed_at is not None for record in records),
            "n_held_out": 0,
            "epochs_trained": trained,
            "epochs_saved": without - trained,
            "saved_share": 1.0 - trained / without if without else 0.0,
            "saved_note": f"of {without:,}, {'each trial trained whole' if is_asha else 'as plain Hyperband plans'}",
            "seed_noise": None,
            "shadow_stops": _NO_SHADOW_STOPS,
            "brackets": bracket_rows(members_of_run(scheduler)),
        },
        "calibration": _NO_CALIBRATION,
        "stops": [_stop_row(scheduler, *stop) for stop in reversed(stopped)],
        "trials": [_trial_row(scheduler, record, grid) for record in records if record.values or record.state == "failed"],
    }


def _state(record: TrialRecord) -> str:
    # Trials of an interrupted run wait or are paused: they go on when it is resumed.
    return "running" if record.state in ("waiting", "paused") else record.state


def _target_of(scheduler: BracketScheduler, record: TrialRecord, epoch: int) -> int:
    """Return the last epoch of the rung in which a decision was made; of a second chance, the run's last epoch."""
    (bracket,) = (bracket for bracket in scheduler.plan if bracket.s == record.bracket)
    return next((rung.epochs for rung in bracket.rungs if rung.epochs > epoch), scheduler.max_epochs)


def _is_end(record: TrialRecord, epoch: int) -> bool:
    """Whether a trial that was stopped after an epoch trained no further; its prediction may have promoted it."""
    return record.epochs == epoch


def _trial_row(scheduler: BracketScheduler, record: TrialRecord, grid: Grid) -> dict[str, Any]:
    n_points = grid.n_points(len(record.values))
    row: dict[str, Any] = {
        "name": record.trial,
        "state": _state(record),
        "configuration": dict(record.configuration),
        "n_epochs": record.epochs,
        "values": [_rounded(record.values[grid.epoch(point) - 1]) for point in range(1, n_points + 1)],
        "means": [None] * n_points,
        "sigmas": [None] * n_points,
        "probabilities": [None] * n_points,
        "target_epochs": [scheduler.max_epochs] * n_points,
        "reason": record.reason,
    }
    for epoch, decision in record.stops:
        point = grid.n_points(epoch)
        if decision.prediction is not None and point > 0:
            row["means"][point - 1] = _rounded(decision.prediction.mean)
            row["sigmas"][point - 1] = _rounded(decision.prediction.sigma)
            row["probabilities"][point - 1] = decision.probability
            row["target_epochs"][point - 1] = _target_of(scheduler, record, epoch)
        if _is_end(record, epoch):
            row["stop"] = {"epoch": epoch, "reason": decision.reason, "acted_on": True}
    if record.resumed_at is not None:
        row["resumed"] = [record.resumed_at]
    return row


def _stop_row(scheduler: BracketScheduler, record: TrialRecord, epoch: int, decision: Decision) -> dict[str, Any]:
    target, is_end, prediction = _target_of(scheduler, record, epoch), _is_end(record, epoch), decision.prediction
    return {
        "trial": record.trial,
        "epoch": epoch,
        "target_epoch": target,
        "acted_on": True,
        "resumed": None if is_end else epoch + 1,
        "probability": decision.probability,
        "chance": decision.chance,
        "mean": None if prediction is None else prediction.mean,
        "sigma": None if prediction is None else prediction.sigma,
        "saved": target - epoch if is_end else 0,
        "reason": decision.reason,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
