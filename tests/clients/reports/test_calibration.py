"""Calibration, drift and what stops cost, on logs small enough to count by hand."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from curvestop.clients.reports.calibration import (
    INTERVAL_SIGMAS,
    Forecast,
    ReliabilityBin,
    calibration_of,
    reliability_bins,
    resolved_forecasts,
    shadow_stops,
    share_interval,
)
from curvestop.clients.reports.drift import Drift, find_drifts, poisson_binomial_tail
from curvestop.clients.reports.noise import noise_section
from curvestop.clients.reports.study_log import StudyView
from curvestop.clients.reports.study_report import report_of
from curvestop.clients.reports.trial_rows import trial_row
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.report import BracketPosition, Question
from curvestop.srm.settings import StudySettings

EPOCHS = 10


def study(*entries: Entry, **settings: object) -> StudyView:
    view = StudyView(StudySettings("s", EPOCHS, **settings))  # type: ignore[arg-type]
    view.add(entries)
    return view


def trained(trial: str, values: Sequence[float], first: int = 1, bracket: BracketPosition | None = None) -> Iterator[Entry]:
    if first == 1:
        yield TrialAdded(trial, {}, bracket)
    yield from (Observed(trial, epoch, value) for epoch, value in enumerate(values, start=first))


def judged(
    trial: str, tau: int, mean: float, sigma: float, p: float | None = None, *, stop: bool = False, target: int = EPOCHS
) -> Decided:
    decision = Decision(stop, "because", p, Prediction(mean, sigma), 20, tau)
    return Decided(trial, Question(tau, target, None), decision)


def level(value: float) -> list[float]:
    return [value] * EPOCHS


def test_a_forecast_is_the_last_one_of_its_stage_against_the_value_to_beat_of_its_time() -> None:
    view = study(
        *trained("first", level(0.5)),
        *trained("a", [0.1, 0.2]),
        judged("a", 1, 0.9, 0.1, 0.2),
        judged("a", 2, 0.6, 0.1, 0.3),  # of 10 % to 25 %: the one of epoch 1 is of the stage before
        *trained("better", level(0.8)),
        *trained("a", [0.4, 0.5], first=3),
        judged("a", 3, 0.65, 0.1, 0.9),  # 25 % to 50 %: overtaken by the next
        judged("a", 4, 0.7, 0.02, 0.95),
        *trained("a", [0.75] * 6, first=5),
    )
    assert [
        (f.stage, f.epoch, f.mean, f.actual, f.probability, f.was_no_better, f.covered) for f in resolved_forecasts(view)
    ] == [
        (0, 1, 0.9, 0.75, 0.2, False, True),  # 0.5 was to beat: 0.75 is better
        (1, 2, 0.6, 0.75, 0.3, False, True),
        (2, 4, 0.7, 0.75, 0.95, True, False),  # 0.8 was to beat; 0.05 off, and the interval is +- 0.039
    ]


def test_a_rungs_forecast_is_put_to_the_test_at_its_target_epoch() -> None:
    view = study(*trained("a", [0.1]), judged("a", 1, 0.3, 0.1, target=3), *trained("a", [0.2, 0.25], first=2))
    (forecast,) = resolved_forecasts(view)
    assert (forecast.actual, forecast.target_epoch, forecast.stage, forecast.probability) == (0.25, 3, 2, None)


@pytest.mark.parametrize(
    ("direction", "tolerance", "actual", "no_better"),
    [
        ("maximize", 0.0, 0.49, True),
        ("maximize", 0.0, 0.5, False),  # as good as the best
        ("maximize", 0.0, 0.51, False),
        ("maximize", 0.1, 0.45, False),  # within the tolerance of the best: worth finishing
        ("minimize", 0.0, 0.51, True),
        ("minimize", 0.0, 0.49, False),
    ],
)
def test_no_better_is_as_the_rule_has_it(direction: str, tolerance: float, actual: float, no_better: bool) -> None:
    view = study(
        *trained("first", level(0.5)),
        *trained("a", [0.1]),
        judged("a", 1, 0.5, 0.1, 0.5),
        *trained("a", [actual] * 9, first=2),
        direction=direction,
        rule=StoppingRule(tolerance=tolerance),
    )
    assert [f.was_no_better for f in resolved_forecasts(view)] == [no_better]


def test_what_is_not_known_is_no_forecast() -> None:
    view = study(
        *trained("stopped", [0.1, 0.2]), judged("stopped", 2, 0.5, 0.1), Ended("stopped", "stopped"),
        *trained("failed", [0.1, 0.2]), judged("failed", 2, 0.5, 0.1), Ended("failed", "failed", 3),
        *trained("running", [0.1, 0.2]), judged("running", 2, 0.5, 0.1),
        TrialAdded("gap", {}), Observed("gap", 2, 0.3), judged("gap", 0, 0.5, 0.1),
        *trained("early", [0.1, 0.2]), judged("early", 1, 0.25, 0.1), Ended("early", "finished"),
    )  # fmt: skip
    assert [(f.trial, f.actual) for f in resolved_forecasts(view)] == [("early", 0.2)]
    assert {name: list(trial.values) for name, trial in view.trials.items()}["gap"] == [0.3, 0.3]


def made(errors: Sequence[float], probability: float | None = None, better: Sequence[int] = (), stage: int = 1) -> list[Forecast]:
    """Forecasts of mean 0 and sigma 1 whose actual values are these; those numbered in `better` beat the value to beat."""
    return [
        Forecast(f"t{i}", stage, 2, 10, 0.0, 1.0, error, i, False, probability, None if probability is None else i not in better)
        for i, error in enumerate(errors)
    ]


def test_calibration_counts() -> None:
    found = calibration_of(made([0.0, 1.0, -1.9, 2.0], 0.9, better=[0]))
    assert (found.n, found.n_covered, found.coverage) == (4, 3, 0.75)
    assert found.rmse == pytest.approx(math.sqrt((1 + 1.9**2 + 4) / 4))
    assert (found.n_with_probability, found.n_better) == (4, 1)
    assert found.expected_better == pytest.approx(0.4)
    assert found.brier == pytest.approx((0.9**2 + 3 * 0.1**2) / 4)
    assert found.expected_brier == pytest.approx(0.09)
    nothing = calibration_of([])
    assert (nothing.n, nothing.coverage, nothing.rmse, nothing.brier) == (0, None, None, None)


@given(st.lists(st.floats(0, 1), max_size=6), st.integers(0, 7))
def test_the_tail_is_that_of_all_outcomes_counted(probabilities: list[float], at_least: int) -> None:
    n = len(probabilities)
    counted = sum(
        math.prod(p if i in happened else 1 - p for i, p in enumerate(probabilities))
        for k in range(at_least, n + 1)
        for happened in combinations(range(n), k)
    )
    assert poisson_binomial_tail(probabilities, at_least) == pytest.approx(counted, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (38, 40)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(k: int, n: int) -> None:
    assert share_interval(k, n) == pytest.approx(tuple(binomtest(k, n).proportion_ci(method="exact")), abs=1e-9)


def test_drift_is_called_when_so_many_misses_are_all_but_impossible() -> None:
    far, near = INTERVAL_SIGMAS * 1.1, INTERVAL_SIGMAS * 0.9
    assert find_drifts(made([near] * 32 + [far] * 7)) == []  # P(7 or more of 39) = 0.0033
    (alarm,) = find_drifts(made([near] * 32 + [far] * 8))  # P(8 or more of 40) = 0.00068
    assert alarm == Drift(1, "intervals", 40, 8, alarm.expected_misses, alarm.p_value)
    assert alarm.expected_misses == pytest.approx(2.0)
    assert alarm.p_value == pytest.approx(binomtest(8, 40, 0.05, "greater").pvalue)
    assert find_drifts(made([far] * 8 + [near] * 40)) == []  # long ago
    assert find_drifts(made([far] * 19)) == []  # too few to tell
    (alarm,) = find_drifts(made([0.0] * 30, 0.99, better=[3, 7, 8, 20]))
    assert (alarm.tested, alarm.n, alarm.n_misses) == ("probabilities", 30, 4)
    assert alarm.expected_misses == pytest.approx(0.3)
    assert find_drifts(made([0.0] * 30, 0.99, better=[3, 7])) == []


def test_what_is_true_is_rarely_called_drift_and_half_the_sigma_always() -> None:
    rng = random.Random(1)
    honest = sum(bool(find_drifts(made([rng.gauss(0, 1) for _ in range(40)]))) for _ in range(400))
    bold = sum(bool(find_drifts(made([rng.gauss(0, 2.5) for _ in range(40)]))) for _ in range(100))
    assert honest <= 3
    assert bold >= 90


def test_reliability_bins_hold_every_stated_probability_once() -> None:
    every = [made([0.0], p, better=[0] if p < 0.5 else [])[0] for p in (0.0, 0.05, 0.5, 0.989, 0.99, 1.0)]
    assert reliability_bins(every) == [
        ReliabilityBin(0.025, 0.0, 2, 0),
        ReliabilityBin(0.5, 0.5, 1, 1),
        ReliabilityBin(0.989, 0.97, 1, 1),
        ReliabilityBin(0.995, 0.99, 2, 2),
    ]


def shadow_stop(trial: str, tau: int) -> Decided:
    return Decided(trial, Question(tau, EPOCHS, None), Decision(True, "hopeless", 0.99).as_shadow_stop("shadow mode"))


def test_shadow_stops_count_what_they_would_have_lost() -> None:
    entries: list[Entry] = []
    for i in range(20):  # t19 is the best, t18 and t19 are the top tenth
        entries += trained(f"t{i}", [i / 20] * 3)
        if i in (0, 1, 2, 19):
            entries.append(shadow_stop(f"t{i}", 3))
        entries += trained(f"t{i}", [i / 20] * 7, first=4)
    entries += [*trained("still running", [0.1] * 4), shadow_stop("still running", 3), shadow_stop("still running", 4)]
    found = shadow_stops(study(*entries, shadow=True))
    assert (found.n, found.n_complete, found.n_lost, found.lost_best, found.would_save_epochs) == (5, 4, 1, True, 5 * 7)
    assert found.lost_share_bound == pytest.approx(binomtest(1, 4).proportion_ci().high)


def configured(trial: str, final: float, lr: float, stopped: bool) -> list[Entry]:
    """Return the log of a complete trial, with or without a shadow stop after three epochs."""
    values = [Observed(trial, epoch, final if epoch == EPOCHS else 0.0) for epoch in range(1, EPOCHS + 1)]
    return [TrialAdded(trial, {"lr": lr}), *values[:3], *([shadow_stop(trial, 3)] if stopped else []), *values[3:]]


FINALS = {
    0.9: {"best": 0.93},
    0.1: {"a": 0.92, "b": 0.90, "c": 0.88},
    0.2: {"d": 0.82, "e": 0.80, "f": 0.78},
    **{1.0 + i: {f"poor {i}": 0.3 + i / 100} for i in range(4)},
}
"""Final values by learning rate. Of both repeated ones the squares are .02^2 + 0 + .02^2 for two repeats: the noise is .02."""


@pytest.mark.parametrize(
    ("stopped", "regret", "says"),
    [
        ("", 0.0, ""),
        ("e", 0.0, "; without the trials that would have been stopped, the best is 0 of it worse: not a loss"),
        ("best e", 0.5, "; without the trials that would have been stopped, the best is 0.5 of it worse: not a loss"),
        ("best a", 1.5, "; without the trials that would have been stopped, the best is 1.5 of it worse: a loss"),
    ],
)
def test_differences_at_the_top_in_seed_noises(stopped: str, regret: float, says: str) -> None:
    finals = [(trial, final, lr) for lr, its in FINALS.items() for trial, final in its.items()]
    view = study(*(entry for trial, final, lr in finals for entry in configured(trial, final, lr, trial in stopped.split())))
    section = noise_section(view)
    assert section is not None
    assert section["deviation"] == pytest.approx(0.02)
    assert section["n_ties"] == 1  # "a"
    assert section["shadow_regret"] == pytest.approx(regret)
    assert section["shadow_lost_best"] == (regret > 1)
    assert (
        section["sentence"]
        == f"seed noise 0.02 (from 2 repeated configurations): 1 other complete trial within it of the best{says}"
    )


def test_if_every_trial_would_have_been_stopped_the_best_is_lost() -> None:
    finals = [(trial, final, lr) for lr, its in FINALS.items() for trial, final in its.items()]
    section = noise_section(study(*(entry for its in finals for entry in configured(*its, True))))
    assert section is not None
    assert (section["shadow_regret"], section["shadow_lost_best"]) == (None, True)
    assert section["sentence"].endswith("; every complete trial would have been stopped")


def test_epochs_are_saved_by_stops_up_to_the_epoch_they_were_about() -> None:
    view = study(
        *trained("complete", level(0.9)),
        *trained("stopped", [0.1, 0.1]), judged("stopped", 2, 0.1, 0.1, 0.99, stop=True), Ended("stopped", "stopped"),
        *trained("rung", [0.1]), judged("rung", 1, 0.1, 0.1, 0.99, stop=True, target=3), Ended("rung", "stopped"),
        *trained("dropped", [0.1] * 3), Ended("dropped", "stopped"),
    )  # fmt: skip
    report = report_of(view)
    assert report["summary"] == report["summary"] | {
        "n_trials": {"running": 1, "stopped": 3},
        "epochs_trained": 16,
        "epochs_saved": 8 + 2,
        "saved_share": 10 / 26,
        "best_trial": "complete",
        "best_value": 0.9,
        "seed_noise": None,
        "brackets": [],
    }
    assert [(stop["trial"], stop["epoch"], stop["saved"], stop["acted_on"]) for stop in report["stops"]] == [
        ("rung", 1, 2, True),
        ("stopped", 2, 8, True),
    ]


def test_a_resumed_trial_runs_and_its_stop_is_shown_as_undone() -> None:
    stop = Decided("a", Question(2, EPOCHS, None), Decision(True, "hopeless", chance=0.004))
    entries = [*trained("a", [0.1, 0.2]), stop, Ended("a", "stopped"), Resumed("a", "key")]
    view = study(*entries)
    trial = view.trials["a"]
    assert (trial.state, trial.ended_at, trial.stop, trial.resumed_at) == ("running", None, None, [3])
    assert "stop" not in trial_row(trial, EPOCHS)
    assert trial_row(trial, EPOCHS)["resumed"] == [3]
    report = report_of(view)
    assert (report["summary"]["n_trials"], report["summary"]["n_resumed"]) == ({"running": 1}, 1)
    assert report["summary"]["epochs_saved"] == 0
    (row,) = report["stops"]
    assert (row["epoch"], row["acted_on"], row["resumed"], row["saved"], row["chance"]) == (2, True, 3, 0, 0.004)


def test_a_resumed_trial_may_be_stopped_again_or_finish() -> None:
    first, second = (Decided("a", Question(tau, EPOCHS, None), Decision(True, "hopeless")) for tau in (2, 3))
    view = study(*trained("a", [0.1, 0.2]), first, Resumed("a", "key"), *trained("a", [0.3], first=3), second)
    (row,) = report_of(view)["stops"]
    assert (row["epoch"], row["resumed"], row["saved"]) == (3, None, EPOCHS - 3)
    view.add([Ended("a", "stopped"), Resumed("a", "another key"), Ended("a", "finished")])
    report = report_of(view)
    assert (view.trials["a"].state, view.trials["a"].resumed_at) == ("finished", [3, 4])
    assert (report["summary"]["best_value"], report["summary"]["epochs_saved"], report["summary"]["n_resumed"]) == (0.3, 0, 1)
    assert [(row["epoch"], row["resumed"]) for row in report["stops"]] == [(3, 4)]


def test_brackets_are_known_by_what_their_trials_say() -> None:
    first, second = BracketPosition(0, 1, ((3, 3), (1, 10))), BracketPosition(0, 0, ((2, 10),))
    view = study(
        *trained("a", level(0.5), bracket=first),
        *trained("b", [0.1], bracket=first), judged("b", 1, 0.1, 0.1, 0.99, stop=True, target=3), Ended("b", "stopped"),
        *trained("c", [0.1] * 3, bracket=first), Ended("c", "stopped"),
        Resumed("c", "key"), *trained("c", [0.1], first=4),  # the epochs of a second chance belong to no rung
        *trained("d", [0.1] * 4, bracket=second),
        *trained("i0-s1-007", [0.1] * 4),  # a name alone makes no bracket
    )  # fmt: skip
    assert report_of(view)["summary"]["brackets"] == [
        {
            "iteration": 0,
            "s": 1,
            "rungs": [
                {"epochs": 3, "planned": 3, "reached": 2, "stopped": 1, "training": 0},
                {"epochs": 10, "planned": 1, "reached": 1, "stopped": 0, "training": 0},
            ],
        },
        {"iteration": 0, "s": 0, "rungs": [{"epochs": 10, "planned": 2, "reached": 0, "stopped": 0, "training": 1}]},
    ]


@pytest.mark.parametrize(("tau", "mean", "sigma"), [(-5, 0.5, 0.1), (2, math.inf, 0.1), (2, 0.5, -1.0), (2, math.nan, math.nan)])
def test_a_decision_that_imports_accepted_once_is_no_prediction_but_the_report_is_there(
    tau: int, mean: float, sigma: float
) -> None:
    view = study(*trained("a", [0.1, 0.2]), judged("a", tau, mean, sigma, stop=True), *trained("b", level(0.5)))
    row = trial_row(view.trials["a"], EPOCHS)
    assert (row["means"], row["stop"]["epoch"]) == ([None, None], tau)
    json.dumps([report_of(view), row], allow_nan=False)
