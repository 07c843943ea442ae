"""The replay, against independent ones, on curves drawn here; measures by hand; the whole command on two tiny sets."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from optuna.pruners import MedianPruner

from benchmarks import benchmark_cli
from benchmarks.curves import load_all
from benchmarks.replay import calibration, thesis
from benchmarks.replay import compare_policies as replay
from benchmarks.replay.paired import at_saving, paired
from benchmarks.replay.policy_report import means_of
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.search_scores import Scores, is_best
from benchmarks.replay.search_set import SearchSet, load_searches
from benchmarks.replay.shuffled_study import Models
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.policies.stopping_rule import StoppingRule

Array = npt.NDArray[np.float64]
SHARES = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def curves_of(n: int, horizon: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    level, rate = rng.normal(0, 1, (n, 1)), rng.uniform(0.05, 1, (n, 1))
    epochs = np.arange(1, horizon + 1)
    curves: Array = level * (1 - np.exp(-rate * epochs)) + rng.normal(0, 0.1, (n, horizon))
    return curves


def save_small_set(folder: Path, n: int, length: int) -> None:
    """`one.npz`: a set of n random curves with a configuration of two columns."""
    np.savez(
        folder / "one.npz",
        curves=curves_of(n, length, seed=1),
        hparams=np.random.default_rng(0).normal(size=(n, 2)),
        hparam_names=np.array(["width", "rate"]),
        meta=json.dumps({"goal": "maximize", "metric": "m"}),
    )


def independent(curves: Array, rule: str, keep: tuple[float, float] = (0.6, 0.8)) -> Array:
    """Epochs that each trial runs, by counting everything anew: `(n,)`. Higher is better."""
    n, horizon = curves.shape
    best = np.maximum.accumulate(curves, axis=1)
    decision_points = np.unique(np.clip(np.round(SHARES * horizon).astype(int), 1, horizon - 1)) - 1
    seen: list[list[float]] = [[] for _ in range(horizon)]
    completed: list[int] = []
    ended = np.full(n, float(horizon))
    for i in range(n):
        for t in range(horizon - 1):
            stop = False
            if rule == "completed" and len(completed) >= 5:
                stop = best[i, t] < np.median(curves[completed, t])
            elif rule == "all" and len(seen[t]) >= 5:
                stop = best[i, t] < np.median(seen[t])
            elif rule == "rank" and t in decision_points and len(seen[t]) >= 5:
                stop = np.mean(np.array(seen[t]) > best[i, t]) > (keep[0] if t in decision_points[:4] else keep[1])
            seen[t].append(curves[i, t] if rule == "all" else best[i, t])
            if stop:
                ended[i] = t + 1
                break
        else:
            completed.append(i)
    return ended


def study_of(curves: Array, *, minimize: bool = False) -> CurveSet:
    values = -curves if minimize else curves
    return CurveSet("drawn", 0, values, np.zeros((len(curves), 1)), "minimize" if minimize else "maximize")


@pytest.mark.parametrize("horizon", [12, 37])
@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize(
    ("name", "rule"),
    [("rank", POLICIES["rank"]()), ("completed", POLICIES["median"]()), ("all", POLICIES["median"](over="all"))],
)
def test_agrees_with_an_independent_replay(horizon: int, minimize: bool, name: str, rule: Rule) -> None:
    curves = curves_of(80, horizon, seed=horizon)
    replayed = SearchReplay(study_of(curves, minimize=minimize), rule)
    assert replayed.ended_at.tolist() == independent(curves, name).tolist()


def test_optunas_median_pruner_is_our_median_rule() -> None:
    curves = curves_of(40, 12, seed=3)
    # Optuna compares with the median of five or more complete trials, as ours does.
    assert (
        ended_at(study_of(curves), MedianPruner()).tolist()
        == SearchReplay(study_of(curves), POLICIES["median"]()).ended_at.tolist()
    )


def test_outcome_by_hand() -> None:
    # Ten trials of four epochs; the best (final 9) is stopped after one, the second best (8) is complete.
    curves = np.repeat(np.arange(10.0)[:, None], 4, axis=1)
    ended = np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 1.0])
    outcome = Outcome.of(study_of(curves), ended)
    assert outcome.speedup == pytest.approx(40 / 37)
    assert (outcome.recovered, outcome.best_stopped, outcome.top_stopped) == (False, True, 1.0)
    assert outcome.regret == pytest.approx(1 / np.std([5, 6, 7, 8, 9]))


def test_several_workers_see_other_arrivals_first() -> None:
    curves = curves_of(60, 20, seed=1)
    study = study_of(curves)
    one = SearchReplay(study, POLICIES["rank"]())
    many = SearchReplay(study, POLICIES["rank"](), workers=8, durations=np.random.default_rng(0).uniform(0.5, 2, 60))
    assert one.outcome().speedup > 1
    assert many.outcome().time_speedup > 1
    assert not np.array_equal(one.ended_at, many.ended_at)  # arrivals come in another order


def test_trials_in_step_are_halved_together() -> None:
    curves = np.repeat(np.arange(9.0)[:, None], 10, axis=1)
    replayed = SearchReplay(study_of(curves), POLICIES["successive-halving"](first_share=0.1, eta=3, pool=9), workers=9)
    assert replayed.ended_at.tolist() == [1, 1, 1, 1, 1, 1, 10, 10, 10]


def test_models_learn_from_complete_trials_only() -> None:
    curves = curves_of(60, 20, seed=2)
    spoiled = curves.copy()
    spoiled[30:, -1] = 99.0  # final values that no model may see
    forecasts = [Models(study_of(c)).forecast(5, range(20)) for c in (curves, spoiled)]
    assert forecasts[0] is not None
    assert forecasts[1] is not None
    assert forecasts[0].mean.tolist() == forecasts[1].mean.tolist()
    assert Models(study_of(curves)).forecast(5, range(7)) is None


def test_default_saves_and_recovers() -> None:
    study = study_of(curves_of(150, 20, seed=4))
    outcome = SearchReplay(study, PredictiveRank(), models=Models(study)).outcome()
    assert outcome.recovered
    assert outcome.speedup > 2
    assert ((outcome.stated >= 0) & (outcome.stated <= 1)).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, goal in (("one", "maximize"), ("two", "minimize")):
        np.savez(
            tmp_path / f"{name}.npz",
            curves=curves_of(40, 12, seed=len(name)) * (1 if goal == "maximize" else -1),
            hparams=rng.normal(size=(40, 2)),
            hparam_names=np.array(["width", "rate"]),
            meta=json.dumps({"goal": goal, "metric": "m"}),
        )
    return tmp_path


def test_scores_by_hand() -> None:
    # Ten trials of four epochs end at 0, 1, ..., 9. The best is stopped after one epoch, the worst after two.
    search = study_of(np.repeat(np.arange(10.0)[:, None], 4, axis=1))
    scores = Scores.of(search, np.array([2, 4, 4, 4, 4, 4, 4, 4, 4, 1]))
    assert scores.saved == pytest.approx(5 / 40)
    assert (scores.top_lost, scores.best_lost) == (1.0, 1.0)  # the best tenth is the best one
    assert scores.regret == pytest.approx(1 / np.std([5, 6, 7, 8, 9]))
    assert is_best(search).tolist() == [0.0] * 9 + [1.0]


def test_what_is_within_the_seed_noise_is_not_lost() -> None:
    # The best that is left ends at 8, the best of all at 9.
    search = study_of(np.repeat(np.arange(10.0)[:, None], 4, axis=1))
    ended = np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 1])
    for noise, lost in ((0.5, 1.0), (1.0, 0.0), (4.0, 0.0)):
        scores = Scores.of(search, ended, noise=noise)
        assert (scores.best_lost, scores.best_lost_beyond_noise, scores.regret_in_noise) == (1.0, lost, 1 / noise)


def test_the_mean_in_noise_is_of_the_sets_whose_noise_is_known() -> None:
    search = study_of(np.repeat(np.arange(10.0)[:, None], 4, axis=1))
    ended = np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 1])
    scores = np.array([[Scores.of(search, ended, noise=noise)] for noise in (0.5, None, 2.0)])  # one order of three sets
    means = means_of(scores)
    assert (means["best_lost"], means["best_lost_beyond_noise"], means["regret_in_noise"]) == (1.0, 0.5, 1.25)
    unknown = means_of(scores[1:2])
    assert (unknown["best_lost"], unknown["best_lost_beyond_noise"], unknown["regret_in_noise"]) == (1.0, None, None)


def test_a_best_run_with_an_equal_one_is_not_lost() -> None:
    search = study_of(np.repeat(np.array([[1.0], [2.0], [2.0]]), 3, axis=1))
    scores = Scores.of(search, np.array([3, 1, 3]))
    assert (scores.best_lost, scores.regret, scores.top_lost) == (0.0, 0.0, 0.5)


def test_runs_without_a_value_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (curve_file,) = load_all(folder, ["one"])
    curve_file.curves[3] = np.nan
    searches = SearchSet.of(curve_file)
    assert searches.scores.shape == (39, 12)
    assert capsys.readouterr().out == "one: 1 of 40 runs have no finite value and are left out\n"


def test_orders(folder: Path) -> None:
    (searches,) = load_searches(folder, ["one"])
    ascending = searches.search(0, 20, order="best-last").finals
    assert (np.diff(ascending) >= 0).all()
    assert searches.search(0, 20, order="worst-last").finals.tolist() == ascending[::-1].tolist()
    assert sorted(searches.search(0, 20, order="tpe").finals) == ascending.tolist()
    assert searches.search(0, 20).curves.tolist() == searches.search(0, 40).curves[:20].tolist()


def test_replays_may_share_models() -> None:
    study = study_of(curves_of(60, 20, seed=2))
    shared = Models(study)
    together = [SearchReplay(study, LearnedPolicy(risk=risk), models=shared).ended_at.tolist() for risk in (0.1, 0.01, 0.1)]
    apart = [SearchReplay(study, LearnedPolicy(risk=risk), models=Models(study)).ended_at.tolist() for risk in (0.1, 0.01, 0.1)]
    assert together == apart
    assert together[0] != together[1]


def test_second_chances_stay_within_their_budget() -> None:
    study = study_of(curves_of(60, 20, seed=2))
    run = SearchReplay(study, LearnedPolicy(risk=0.3), models=Models(study))
    before = run.ended_at.copy()
    after = run.second_chances(LearnedPolicy(risk=0.3), 0.05)
    assert (after >= before).all()
    assert 0 < (after - before).sum() <= 0.05 * 60 * 20


def test_calibration_by_hand() -> None:
    stated = np.repeat([0.0005, 0.03], 400)
    happened = np.r_[np.zeros(400), np.ones(24), np.zeros(376)]
    low, high = calibration.bins(stated, happened, np.full(800, "one"))
    assert (low.factor, high.cases) == (1.0, 400)
    assert (high.happened, high.factor) == pytest.approx((0.06, 2.0))
    assert calibration.worst_factor([low, high]) == high.factor


def test_rules_beside_ours_at_equal_saving() -> None:
    def scores(*rows: tuple[float, float, float]) -> Array:
        return np.array([[(saved, top, best, 0.0, saved)] for saved, top, best in rows])  # one order of each set

    results = {
        "careful": scores((0.2, 0.0, 0.0), (0.3, 0.0, 0.0)),
        "bold": scores((0.6, 0.2, 0.4), (0.7, 0.2, 0.4)),
        "other": scores((0.4, 0.1, 0.0), (0.5, 0.1, 0.0)),
    }
    (pair,) = paired(results, ["careful", "bold"])
    assert pair.ours["best_lost"].tolist() == pytest.approx([0.2, 0.2])
    assert pair.advantage("best_lost") == pytest.approx((-0.2, 0.0))
    assert pair.is_above_ours
    assert at_saving(0.1, np.array([0.2]), np.array([0.5])) == 0.25  # between saving nothing and the only setting


def other_replay() -> Any:
    """The independent replay beside the data; skips without it."""
    data = Path(os.environ.get("CURVESTOP_DATA", benchmark_cli.DEFAULT_DATA))
    script = data / ".." / "tools" / "rules_replay.py"
    if not script.exists():
        pytest.skip(f"there is no other replay to agree with at {script}")
    spec = importlib.util.spec_from_file_location("other_replay", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("look-10-50", POLICIES["i-epoch"](share=0.1, keep=0.5)),
        ("look-25-70", POLICIES["i-epoch"](share=0.25, keep=0.7)),
        ("asha-10-2", POLICIES["asha"](first_share=0.1, eta=2)),
        ("asha-10-3", POLICIES["asha"](first_share=0.1, eta=3)),
        ("asha-25-2", POLICIES["asha"](first_share=0.25, eta=2)),
        ("median-0", POLICIES["median"]()),
        ("median-25", POLICIES["median"](warm_up=0.25)),
    ],
)
def test_agrees_with_the_other_replay(name: str, rule: Rule) -> None:
    other = other_replay()
    for horizon in (20, 37):
        curves = curves_of(60, horizon, seed=horizon)
        run = SearchReplay(study_of(curves), rule)
        assert run.ended_at.tolist() == other.replay(curves, name).tolist()
        assert Scores.of(study_of(curves), run.ended_at)[:4] == pytest.approx(other.score(curves, other.replay(curves, name)))


def run_command(folder: Path, out: Path, *more: str) -> str:
    arguments = ["--data", str(folder), "--out", str(out), "--orders", "2", "--trials", "20", "40", *more]
    replay.main(arguments)
    return (out / "replay.json").read_text()


def test_the_whole_benchmark(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    text = run_command(folder, out, "--frozen")
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(headline) == ["n20", "n40", "rules_above", "calibration_worst", "budget"]
    assert list(headline["n40"]) == [
        "saved",
        "regret",
        "top_lost",
        "best_lost",
        "best_lost_with_second_chances",
        "best_lost_beyond_noise",
        "regret_in_noise",
    ]
    assert (out / "replay_40.png").exists()
    assert json.loads(text)["headline"] == headline
    assert run_command(folder, tmp_path / "again", "--frozen", "--jobs", "2") == text


def test_several_workers_in_another_order(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(folder, tmp_path / "out", "--workers", "8", "--order", "best-last", "--only-ours", "--sets", "one")
    printed = capsys.readouterr().out
    assert "the package's coefficients never saw one: used as they are" in printed
    assert json.loads(printed.splitlines()[-1])["rules_above"] == []


def test_lce_stops_what_it_extrapolates_below_the_best() -> None:
    # The first reaches 0.9; the others rise alike to a third of it, so they stop within half their epochs.
    curves = np.array([final * (1 - 0.6 ** np.arange(1, 13)) for final in (0.9, 0.3, 0.3)])
    search = CurveSet("made", 0, curves, np.zeros((3, 1)), "maximize")
    point = thesis.Extrapolation(search, 3).point(StoppingRule(threshold=0.95))
    assert point.recovered == 1
    assert 36 / 24 < point.speedup <= 36 / (12 + 4 + 4)
    assert thesis.Extrapolation(search, 1).point(StoppingRule(threshold=0.95)).speedup == 1
