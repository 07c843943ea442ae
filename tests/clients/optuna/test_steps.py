"""Steps that are no epochs: sparse, far apart, beyond the last one, falling, few; worked examples for both pruners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from curvestop.clients.optuna.fhyperband_pruner import FHyperbandPruner
from curvestop.clients.optuna.srm_pruner import SRMPruner
from tests.optuna_studies import drawn_curves, new_study

PRUNERS = [SRMPruner, FHyperbandPruner]
CURVES = drawn_curves(40, seed=1)  # of 20 epochs


def trained(pruner: BasePruner, steps: Sequence[int], *, values: Sequence[int] | None = None) -> optuna.Study:
    """Return a study of trials that reported, at the steps, the values at these indices (default: the first ones)."""
    study = new_study(pruner)
    for curve in CURVES:
        trial = study.ask()
        for step, index in zip(steps, values or range(20), strict=False):
            trial.report(curve[index], step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
    return study


def pruned_after(study: optuna.Study) -> list[int | None]:
    return [trial.last_step for trial in study.trials if trial.state == TrialState.PRUNED]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("make", PRUNERS)
@pytest.mark.parametrize("thousands", [1, 1_000_000 // 20, 10**9 // 20])
def test_twenty_reports_of_many_steps_are_judged_as_twenty_epochs(make: Callable[..., BasePruner], thousands: int) -> None:
    """The k-th report is at step 1000 k, or farther apart: nearly the same trials are pruned as with 20 epochs."""
    steps = [thousands * k for k in range(1, 21)]
    by_epoch = trained(make(20, first_step=1), range(1, 21))
    by_step = trained(make(steps[-1], first_step=1), steps)
    n_pruned = len(pruned_after(by_step))
    assert n_pruned > 10
    if make is SRMPruner:  # the rungs of f-Hyperband are powers of eta, in steps
        assert abs(n_pruned - len(pruned_after(by_epoch))) <= 4
    assert max(filter(None, pruned_after(by_step))) < steps[-1]


@pytest.mark.parametrize("make", PRUNERS)
@pytest.mark.parametrize("values", [[19], [9, 19], [4, 9, 14, 19]])
def test_nothing_is_pruned_after_its_last_report(make: Callable[..., BasePruner], values: Sequence[int]) -> None:
    assert values[-1] not in pruned_after(trained(make(20), values, values=values))


@pytest.mark.parametrize("make", PRUNERS)
@pytest.mark.parametrize(
    ("steps", "settings", "says"),
    [
        (range(1000, 21000, 1000), {}, "step 1000 is beyond step 19, the last one of max_epochs=20, and counts as that one"),
        (range(1, 21), {}, "step 20 is beyond step 19, the last one of max_epochs=20 with first_step=0: set first_step=1"),
        (range(20), {"first_step": 1}, "step 0 is before first_step=1: set first_step to the first step"),
        (range(19, -1, -1), {}, "a step before step 19 was reported after it; steps must rise"),
        (range(0, 2000, 100), {}, "step 100 is beyond step 19"),
    ],
)
def test_steps_that_do_not_fit_are_warned_of_once(
    make: Callable[..., BasePruner], steps: Sequence[int], settings: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        trained(make(20, **settings), steps)
    (warning,) = warnings_of(caplog)
    assert says in warning


@pytest.mark.parametrize("steps", [range(1000, 21000, 1000), range(19, -1, -1)])
def test_where_every_step_is_the_last_nothing_is_pruned(steps: Sequence[int]) -> None:
    assert pruned_after(trained(SRMPruner(20), steps)) == []


def test_trials_that_end_long_before_the_last_epoch_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        study = trained(SRMPruner(100), range(20))
    says = "study 'a study': 5 trials are finished, but none went beyond epoch 20 of max_epochs=100: set max_epochs=20"
    assert warnings_of(caplog) == [says]
    assert 19 not in pruned_after(study)  # nothing was left to save


@pytest.mark.parametrize(
    ("pruner", "steps"),
    [
        (SRMPruner(20), range(20)),
        (SRMPruner(20, first_step=1), range(1, 21)),
        (SRMPruner(20), range(1, 20, 2)),  # every second epoch
        (SRMPruner(20), [4, 9, 14]),
        (SRMPruner(20_000, first_step=1), range(1000, 21_000, 1000)),
        (SRMPruner(20_000), range(1000, 21_000, 1000)),
    ],
)
def test_steps_that_fit_are_no_reason_to_warn(pruner: BasePruner, steps: Sequence[int], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trained(pruner, steps)
    assert warnings_of(caplog) == []


def test_reasons_count_the_reports_that_were_made() -> None:
    study = new_study(pruner := SRMPruner(20, policy="predictive-rank"))
    for curve in CURVES[:10]:
        trial = study.ask()
        for step in (4, 9, 14):
            trial.report(curve[step], step)
        study.tell(trial, curve[-1])
    trial = study.ask()
    trial.report(-9.0, 9)
    assert trial.should_prune()
    assert "rank 11 of 11 at epoch 10" in pruner.explain(trial).reason
    assert pruner.explain(trial).reason.endswith("; the trial made 1 report so far")
