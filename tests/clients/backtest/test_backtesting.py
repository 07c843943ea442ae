"""Backtests by hand on a few small curves, and what must hold on any."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.backtest.backtesting import Backtest, ContenderResult, ReplayResult, backtest
from curvestop.clients.backtest.contenders import DEFAULT, PRUNERS, PolicySetting
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.options import BacktestOptions
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.clients.backtest.policy_replay import PolicyReplay
from curvestop.clients.backtest.readers.detect import read
from curvestop.clients.backtest.runs import Curves, Run, Runs, curves_of
from curvestop.clients.backtest.summary import as_json, conclusions, table_row
from curvestop.srm.policies.rules import Median, Rank
from curvestop.srm.settings import StudySettings
from tests.clients.backtest.sources import WRITERS, Search, drawn_search, long_csv

OPTIONS = BacktestOptions(orders=2, processes=1)


def curves_from(values: list[list[float]], **options: Any) -> Curves:
    runs = tuple(Run(str(i), {}, tuple(range(1, len(its) + 1)), tuple(its)) for i, its in enumerate(values))
    return curves_of(Runs("here", runs, "acc"), **options)


def searched(n: int, n_epochs: int, seed: int) -> Curves:
    search = drawn_search(n, n_epochs, seed)
    return curves_from([list(curve) for curve in search.curves])


def constant(levels: list[float], n_epochs: int = 4) -> list[list[float]]:
    return [[level] * n_epochs for level in levels]


# By hand.


def test_outcome_with_a_short_and_a_diverged_run() -> None:
    # Three complete runs that end at 1, 2, 3; one broken off after two epochs, one that diverged at its second.
    curves = curves_from([*constant([1, 2, 3]), [9, 9], [5, math.nan, math.nan, math.nan]], max_epochs=4)
    assert curves.epochs.tolist() == [4, 4, 4, 2, 2]
    outcome = Outcome.of(curves, np.array([4, 4, 1, 1, 2.0]))  # the best and the broken-off one were stopped
    assert outcome.saved == pytest.approx(1 - 12 / 16)
    assert (outcome.top_stopped, outcome.best_stopped, outcome.good_stopped) == (1.0, True, (True,))
    assert outcome.shortfall == 1.0  # 2 was left of 3
    assert outcome.regret == pytest.approx(1 / np.std([2, 3]))


def test_median_by_hand_in_both_engines() -> None:
    # From the sixth run on there are five complete ones: 1..5, median 3. Runs at 2 stop after epoch 1, runs at 4 continue.
    values = constant([1, 2, 3, 4, 5, 2, 4, 2])
    study = StudySettings("s", 4, policy="median")
    ours = PolicyReplay(curves_from(values), study)
    assert ours.ended_at.tolist() == [4, 4, 4, 4, 4, 1, 4, 1]
    assert ours.outcome().saved == pytest.approx(6 / 32)
    assert ended_at(curves_from(values), optuna.pruners.MedianPruner()).tolist() == ours.ended_at.tolist()
    assert "is worse than the median 3" in ours.reasons[5]
    assert list(ours.reasons) == [5, 7]


def test_runs_that_broke_off_are_no_final_values_for_the_others() -> None:
    # The five runs before have final values only in the second case; the median rule needs five.
    broken = [[9.0, 9.0]] * 5
    study = StudySettings("s", 4, policy="median")
    replayed = PolicyReplay(curves_from([*broken, *constant([1.0] * 6)], max_epochs=4), study)
    assert replayed.ended_at.tolist() == [2] * 5 + [4] * 6
    finished = PolicyReplay(curves_from([*broken, *constant([1.0] * 6)], max_epochs=4, short_runs="finished"), study)
    assert finished.ended_at.tolist() == [2] * 5 + [1] * 5 + [1]
    for curves in (finished, replayed):
        assert curves.outcome().saved == pytest.approx(1 - curves.ended_at.sum() / 34)


def test_a_diverged_run_ends_there_for_all() -> None:
    curves = curves_from([*constant([1.0] * 6), [2.0, math.nan, 0.5, 0.5], [math.nan] * 4], max_epochs=4)
    for ended in (PolicyReplay(curves, StudySettings("s", 4)).ended_at, ended_at(curves, optuna.pruners.NopPruner())):
        assert ended.tolist() == [4] * 6 + [2, 1]


def result_of(saved: float, good: tuple[bool, ...], setting: PolicySetting = DEFAULT) -> ContenderResult:
    nothing = np.empty(0)
    outcome = Outcome(1 / (1 - saved), 1.0, True, 0.0, 0.0, 0.0, any(good[:1]), good, nothing, nothing)
    return ContenderResult(setting, (ReplayResult(outcome, nothing),))


@pytest.mark.parametrize(("risk", "chosen"), [(0.05, "cautious"), (0.25, "middle"), (0.6, "bold")])
def test_the_boldest_setting_within_the_risk_is_recommended(risk: float, chosen: str) -> None:
    results = tuple(
        result_of(saved, (True,) * stopped + (False,) * (4 - stopped), PolicySetting(label))
        for label, saved, stopped in (("cautious", 0.2, 0), ("middle", 0.5, 1), ("bold", 0.8, 2), ("as risky", 0.7, 2))
    )
    recommended = Backtest(searched(10, 4, 0), BacktestOptions(risk=risk), results, {}).recommended
    assert recommended is not None
    assert recommended.contender.label == chosen


@pytest.mark.parametrize(("saved", "stopped", "better"), [(0.6, 0, True), (0.4, 0, False), (0.6, 1, False)])
def test_a_pruner_of_optuna_that_is_better_is_named(saved: float, stopped: int, *, better: bool) -> None:
    good = (True,) * stopped + (False,) * (4 - stopped)
    pruner = replace(result_of(saved, good), contender=PRUNERS["optuna_hyperband"])
    found = Backtest(searched(10, 4, 0), BacktestOptions(), (result_of(0.5, (False,) * 4),), {"optuna_hyperband": pruner})
    assert as_json(found)["recommended"]["better_pruner"] == ("optuna_hyperband" if better else None)
    sentence = "On these curves Optuna Hyperband saved more at this risk: 60.0% of the epochs, with 0 of 4 good runs stopped."
    assert any(line.startswith(sentence) for line in conclusions(found)) == better


def test_nothing_is_recommended_if_all_lose_or_save_nothing() -> None:
    results = (result_of(0.5, (True, False)), result_of(0.0, (False, False)))
    found = Backtest(searched(10, 4, 0), BacktestOptions(risk=0.1), results, {})
    assert found.recommended is None
    recommended = as_json(found)["recommended"]
    assert recommended["policy"] is None
    assert "shadow=True" in recommended["advice"]


def test_calibration_by_hand() -> None:
    stated = np.repeat(np.arange(10) / 10, 2)
    happened = np.tile([0.0, 1.0], 10)  # half of each bin came true
    result = result_of(0.5, (False,))
    outcome = replace(result.outcomes[0], stated=stated, happened=happened)
    result = ContenderResult(DEFAULT, (ReplayResult(outcome, np.empty(0)),))
    assert result.calibration() == [(k / 10, 0.5, 2) for k in range(10)]
    assert result.calibration_error == pytest.approx(np.mean([0.5, 0.4, 0.3, 0.2, 0.1, 0, 0.1, 0.2, 0.3, 0.4]))
    assert result_of(0.5, (False,)).calibration_error is None


def test_too_few_curves_are_a_warning_that_says_what_to_do() -> None:
    few = backtest(searched(7, 4, 0), OPTIONS)
    assert few.warnings[0].startswith("only 7 runs have a final value, and predictions begin at 8")
    assert "Train 1 more run to the end" in few.warnings[0]
    assert few.warnings[1] == "2 good runs cannot tell a risk of 0.05 from 0; --orders 20 can."
    assert few.default.calibration() == []  # no model, no probabilities


def test_before_five_complete_runs_the_default_stops_nothing() -> None:
    # Each run is worse than all before it: the sixth is the first with five complete ones to compare it with.
    values = constant([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    replay = PolicyReplay(curves_from(values), DEFAULT.study_settings(4, "maximize"))
    assert replay.ended_at.tolist() == [4, 4, 4, 4, 4, 1]
    assert "(rank 6 of 6 at epoch 1 of 4;" in replay.reasons[5]


def repeated_runs() -> Curves:
    """Return runs whose seed noise is sqrt(.0018 / 4), by three configurations in the better half; see `test_seed_noise`."""
    finals = {0.1: [0.90, 0.94], 0.2: [0.84, 0.86, 0.88], 0.3: [0.79, 0.81]} | {1 + i: [0.1 + i / 100] for i in range(6)}
    levels = [(lr, final) for lr, its in finals.items() for final in its]
    runs = tuple(Run(str(i), {"lr": lr}, (1, 2), (0.0, final)) for i, (lr, final) in enumerate(levels))
    return curves_of(Runs("here", runs, "acc"))


def left_short_by(*shortfalls: float) -> ContenderResult:
    (outcome,) = result_of(0.5, (False,)).outcomes
    replays = (ReplayResult(replace(outcome, shortfall=shortfall), np.empty(0)) for shortfall in shortfalls)
    return ContenderResult(DEFAULT, tuple(replays))


@pytest.mark.parametrize(
    ("shortfalls", "says"),
    [
        ((0.0, 0.0), "The default policy kept the best run, or one as good."),
        ((0.0, 0.0212), "The best run that the default policy kept is 0.5 of it worse than the best of all (mean over 2 orders): "
         "not a loss."),
        ((0.0, 0.0424), "The best run that the default policy kept is 1 of it worse than the best of all (mean over 2 orders): "
         "a loss in 1 of 2 orders."),
    ],
)  # fmt: skip
def test_a_loss_is_more_than_the_seed_noise(shortfalls: tuple[float, ...], says: str) -> None:
    result = Backtest(repeated_runs(), BacktestOptions(), (left_short_by(*shortfalls),), {})
    assert f"Seed noise 0.021 (from 3 repeated configurations). {says}" in list(conclusions(result))


def test_figures_in_seed_noises() -> None:
    result = Backtest(repeated_runs(), BacktestOptions(), (left_short_by(0.0, 0.0424),), {})
    noise = result.seed_noise
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt(0.0018 / 4))
    found = as_json(result)
    assert found["seed_noise"] == {"deviation": noise.deviation, "source": "repeated configurations", "n": 3}
    assert found["regret_in_noise"] == pytest.approx(0.0212 / noise.deviation)
    assert found["best_lost_beyond_noise"] == 0.5
    assert table_row(result.default, noise, is_recommended=False)[3:6] == ["0 of 2", "1 of 2", "0.0212 (1)"]


def test_without_seed_noise_the_regret_is_in_the_metric_only() -> None:
    result = Backtest(searched(10, 4, 0), BacktestOptions(), (left_short_by(0.02),), {})
    found = as_json(result)
    assert (found["seed_noise"], found["regret_in_noise"], found["best_lost_beyond_noise"]) == (None, None, None)
    assert table_row(result.default, None, is_recommended=False)[3:6] == ["0 of 1", "", "0.02"]
    assert any(line.startswith("Seed noise: not known.") for line in conclusions(result))


# What must hold.


@st.composite
def any_curves(draw: st.DrawFn) -> Curves:
    n, max_epochs = draw(st.integers(2, 14)), draw(st.integers(2, 8))
    value = st.floats(-1e6, 1e6, width=32) | st.just(math.nan)
    runs = [draw(st.lists(value, min_size=1, max_size=max_epochs)) for _ in range(n)]
    return curves_from([*runs, [0.5] * max_epochs], max_epochs=max_epochs)


@given(any_curves(), st.sampled_from(["learned", "predictive-rank", "threshold", "risk", "median", "asha"]))
@settings(max_examples=60, deadline=None)
def test_a_replay_of_anything_ends_within_what_was_trained(curves: Curves, policy: str) -> None:
    replay = PolicyReplay(curves, StudySettings("s", curves.max_epochs, policy=policy))
    outcome = replay.outcome()
    assert ((replay.ended_at >= 1) & (replay.ended_at <= curves.epochs)).all()
    assert set(replay.reasons) == set(np.flatnonzero(replay.ended_at < curves.epochs).tolist())
    assert 0 <= outcome.saved < 1
    assert 0 <= outcome.top_stopped <= 1
    assert outcome.shortfall >= 0
    assert outcome.best_stopped == outcome.good_stopped[0]


@given(any_curves())
@settings(max_examples=25, deadline=None)
def test_optunas_median_pruner_is_our_median_rule_on_anything(curves: Curves) -> None:
    # But where runs diverged: Optuna prunes these at once, here they end by themselves.
    finite = curves_from([np.nan_to_num(curve[:n]).tolist() for curve, n in zip(curves.curves, curves.epochs, strict=True)],
                         max_epochs=curves.max_epochs)  # fmt: skip
    ours = PolicyReplay(finite, StudySettings("s", finite.max_epochs, policy="median"))
    assert ours.ended_at.tolist() == ended_at(finite, optuna.pruners.MedianPruner()).tolist()
    assert Median().min_trials == 5
    assert Rank().min_arrivals == 5


def test_refits_now_and_then_decide_nearly_as_refits_for_every_curve() -> None:
    curves = searched(70, 12, seed=3)
    settings_of = DEFAULT.study_settings(12, "maximize")
    every, some = (PolicyReplay(curves, settings_of, refit_growth=growth).ended_at for growth in (1.0, 1.1))
    assert np.mean(every == some) > 0.9


def test_shared_fits_change_nothing_and_neither_do_processes() -> None:
    curves = searched(26, 6, seed=5)
    one, two = (backtest(curves, BacktestOptions(orders=2, processes=processes)) for processes in (1, 2))
    assert as_json(one) == as_json(two)
    alone = PolicyReplay(curves, DEFAULT.study_settings(6, "maximize"), refit_growth=1.1)
    assert one.default.replays[0].ended_at.tolist() == alone.ended_at.tolist()
    assert (
        one.pruners["optuna_median"].replays[0].ended_at.tolist() == ended_at(curves, PRUNERS["optuna_median"].make(6)).tolist()
    )


def test_every_source_gives_the_same_table(tmp_path: Path) -> None:
    search = drawn_search(26, 6, seed=2, minimize=True)
    tables = []
    for write in WRITERS.values():
        curves = curves_of(read(write(search, tmp_path)), direction="minimize")
        found = as_json(backtest(curves, BacktestOptions(orders=1, processes=1)))
        for name in ("source", "metric", "steps"):
            found["curves"].pop(name)
        tables.append(found)
    assert tables[0]["epochs_saved"] > 0
    assert tables[1:] == [tables[0]] * (len(WRITERS) - 1)


@pytest.mark.parametrize(
    ("plan", "problem"),
    [({"orders": 0}, "orders must be >= 1, but got 0"), ({"risk": 1.5}, r"risk must be in \(0, 1\), but got 1.5"),
     ({"deltas": (2.0,)}, r"threshold must be in \(0, 1\], but got 2.0"), ({"seed": -1}, "seed must be >= 0, but got -1")],
)  # fmt: skip
def test_wrong_settings(plan: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        backtest(searched(10, 4, 0), BacktestOptions(**plan))


def test_a_curve_set_needs_neither_names_nor_lengths() -> None:
    study = CurveSet("n", 0, np.array(constant([1, 2])), np.array([[0.5], [2.0]]), "maximize")
    assert study.configuration(1) == {"x0": 2.0}
    assert (study.max_epochs, study.finals.tolist()) == (4, [1.0, 2.0])


# The command.


@pytest.fixture
def source(tmp_path: Path) -> str:
    return long_csv(drawn_search(30, 6, seed=4), tmp_path)


def test_the_command_prints_a_table_and_what_to_do(source: str, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    found = CliRunner().invoke(app, ["backtest", source, "--orders", "1", "--html", str(html)])
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "30 runs of val_acc (maximize), 6 epochs (every step from step 1): 30 complete" in text
    ours = ("learned, risk 0.03 (the default)", "learned, risk 0.1", "predictive-rank, margin 2.5", "threshold, Delta 0.95")
    for label in (*ours, "risk 0.05", "Optuna Hyperband"):
        assert label in text
    assert "only 30 runs have a final value" in text
    page = html.read_text()
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page)  # everything is in the file
    assert len(page) < 150_000
    shown = json.loads(page.split('<script type="application/json" id="report">')[1].split("</script>")[0])
    assert [row[0] for row in shown["table"]][:2] == ["", "learned, risk 0.03 (the default)"]
    assert [name for _, name in shown["tradeoff"]["kinds"]][-1] == "Optuna's pruners"
    assert len(shown["curves"]["trials"]) == 30
    assert {trial["kind"] for trial in shown["curves"]["trials"]} == {"finished", "stopped"}
    assert all(trial["stop"]["epoch"] == len(trial["values"]) for trial in shown["curves"]["trials"] if "stop" in trial)


def test_the_command_prints_one_json_object(source: str) -> None:
    command = ["backtest", source, "--orders", "2", "--json", "--risk", "0.5", "--delta", "0.9", "--margin", "2", "--seed", "7"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    report = json.loads(found.output)
    assert {"epochs_saved", "top_tenth_stopped", "best_stopped", "regret", "recommended", "optuna_median"} <= set(report)
    assert 0 < report["epochs_saved"] < 1
    assert report["recommended"]["risk"] == 0.5
    assert [(s["policy"], s["threshold"], s["policy_settings"]) for s in report["settings"]] == [
        ("learned", None, {}), ("learned", None, {"risk": 0.01}), ("learned", None, {"risk": 0.1}),
        ("predictive-rank", None, {"margin": 2}), ("threshold", 0.9, {}),
        ("i-epoch", None, {"share": 0.2, "keep": 0.4}), ("risk", None, {"risk": 0.5}),
    ]  # fmt: skip
    assert (report["orders"], report["seed"]) == (2, 7)


def test_the_command_prints_errors_in_one_line(tmp_path: Path) -> None:
    bad = long_csv(Search("value", "maximize", ({"x": 1.0},), ((0.5, 0.75),)), tmp_path)
    for arguments, problem in (
        ([bad], "curvestop: the name 'value' does not tell whether higher is better: add --direction maximize or minimize"),
        ([str(tmp_path / "no.csv")], f"curvestop: {tmp_path}/no.csv does not exist"),
        ([bad, "--direction", "maximize", "--risk", "2"], "curvestop: risk must be in (0, 1), but got 2"),
    ):
        found = CliRunner().invoke(app, ["backtest", *arguments])
        assert found.exit_code == 2
        assert found.stderr.strip() == problem


@pytest.mark.parametrize("spelling", ["maximise", "maximize"])
def test_the_british_spelling_of_a_direction_is_accepted(spelling: str, source: str) -> None:
    found = CliRunner().invoke(app, ["backtest", source, "--orders", "1", "--json", "--direction", spelling])
    assert json.loads(found.output)["curves"]["direction"] == "maximize"
    wrong = CliRunner().invoke(app, ["backtest", source, "--direction", "max"])
    assert wrong.stderr.strip() == "curvestop: --direction must be maximize or minimize, but got 'max'"
