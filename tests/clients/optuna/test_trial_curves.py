"""Optuna's trials as curves: worked examples on 10 epochs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from curvestop.clients.optuna.trial_curves import STOPPED_AT, StepGrid, configuration_of, end_state, final_value
from curvestop.srm.reported import Reported

GRID = StepGrid(10)
NAN = math.nan


def curve_through(values: dict[int, float]) -> list[float]:
    """Return the values of all epochs, as a study of so few epochs reads them."""
    reported = Reported.of(values.items())
    return [reported.at(epoch) for epoch in range(1, reported.last_epoch + 1)]


def trial_of(
    values: dict[int, float], state: TrialState = TrialState.PRUNED, value: float | None = None, **attributes: Any
) -> FrozenTrial:
    return create_trial(state=state, value=value, intermediate_values=values, **attributes)


@pytest.mark.parametrize(
    ("reported", "curve"),
    [
        ({}, []),
        ({0: 1.0, 1: 2.0}, [1.0, 2.0]),
        ({1: 2.0, 0: 1.0}, [1.0, 2.0]),  # whatever the order of the reports
        ({0: 1.0, 4: 3.0}, [1.0, 1.5, 2.0, 2.5, 3.0]),  # every four steps
        ({3: 3.0, 5: 5.0}, [3.0, 3.0, 3.0, 3.0, 4.0, 5.0]),  # nothing before the fourth
        ({0: 1.0, 1: NAN, 2: 3.0}, [1.0, 2.0, 3.0]),  # not a number: as if not reported
        ({0: 1.0, 1: math.inf}, [1.0]),
        ({0: 1.0, 9: 10.0, 12: 19.0}, [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0]),  # later steps are the last
    ],
)
def test_values_between_reports_are_on_a_straight_line(reported: dict[int, float], curve: list[float]) -> None:
    assert curve_through(GRID.reports(trial_of(reported)).finite()) == pytest.approx(curve)


def test_the_first_step_may_be_one() -> None:
    assert StepGrid(10, first_step=1).reports(trial_of({1: 5.0, 2: 6.0})).finite() == {1: 5.0, 2: 6.0}


@pytest.mark.parametrize(
    ("reported", "curve"),
    [
        ({step: float(step) for step in range(10)}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 100]),  # its value counts, not its last report
        ({4: 50.0}, [50.0] * 5 + [60, 70, 80, 90, 100]),  # every five: the next report would have been the last epoch's
        ({2: 70.0, 5: 70.0, 8: 70.0}, [70.0] * 9 + [100]),
        ({0: 1.0, 1: 2.0, 2: 3.0}, [1, 2, 3, 100]),  # ended early
        ({0: 1.0, 1: 2.0, 2: 100.0}, [1, 2, 100]),  # and had reported its value
        ({0: 1.0, 1: 2.0, 2: NAN}, [1, 2, 100]),
        ({}, []),
    ],
)
def test_a_complete_trial_ends_at_its_value(reported: dict[int, float], curve: list[float]) -> None:
    assert curve_through(GRID.reports(trial_of(reported)).complete(100.0)) == pytest.approx(curve)


@given(st.dictionaries(st.integers(0, 40), st.floats(-1e6, 1e6) | st.just(NAN), max_size=12), st.integers(0, 2))
def test_any_reports_make_a_curve_through_them(reported: dict[int, float], first_step: int) -> None:
    reports = StepGrid(30, first_step).reports(trial_of(reported))
    curve = curve_through(reports.finite())
    assert len(curve) <= 30
    for epoch, value in reports.values.items():
        if math.isfinite(value):
            assert curve[epoch - 1] == value
    assert not curve or min(reported.values(), key=abs, default=0.0) is not None
    finite = [v for v in reported.values() if math.isfinite(v)]
    assert all(min(finite) - 1e-6 <= v <= max(finite) + 1e-6 for v in curve)


@given(st.lists(st.floats(-10, 10) | st.just(NAN), max_size=8), st.floats(-10, 10))
def test_a_report_changes_nothing_before_it(values: list[float], later: float) -> None:
    before = curve_through(GRID.reports(trial_of(dict(enumerate(values)))).finite())
    after = curve_through(GRID.reports(trial_of({**dict(enumerate(values)), 9: later})).finite())
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("trial", "state", "final"),
    [
        (trial_of({}, TrialState.COMPLETE, 3.0), "finished", 3.0),
        (trial_of({}, TrialState.COMPLETE, 3.0, user_attrs={STOPPED_AT: 4}), "stopped", None),
        (trial_of({}, TrialState.COMPLETE, math.inf), "failed", None),
        (trial_of({}, TrialState.PRUNED, 3.0), "stopped", None),
        (trial_of({}, TrialState.FAIL), "failed", None),
    ],
)
def test_only_a_trial_that_ran_to_its_end_has_a_final_value(trial: FrozenTrial, state: str, final: float | None) -> None:
    assert (end_state(trial), final_value(trial)) == (state, final)


def test_parameters_become_a_configuration() -> None:
    trial = create_trial(
        value=0.0,
        params={"rate": 0.1, "kind": None, "wide": True},
        distributions={
            "rate": FloatDistribution(0, 1),
            "kind": CategoricalDistribution([None, "a"]),
            "wide": CategoricalDistribution([True, False]),
        },
    )
    assert configuration_of(trial) == {"rate": 0.1, "kind": "None", "wide": True}
