"""The replay, against an independent one on curves drawn here, and whole on two tiny sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from optuna.pruners import MedianPruner

from benchmarks.curves import load_all
from benchmarks.replay import compare_policies as replay
from benchmarks.replay.agreement import agreements
from benchmarks.replay.policy_scores import frontier, recovery_at
from benchmarks.replay.rule_replay import Replay
from benchmarks.replay.shuffled_study import Models
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.registry import POLICIES

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
    replayed = Replay(study_of(curves, minimize=minimize), rule)
    assert replayed.ended_at.tolist() == independent(curves, name).tolist()


def test_optunas_median_pruner_is_our_median_rule() -> None:
    curves = curves_of(40, 12, seed=3)
    # Optuna compares with the median of five or more complete trials, as ours does.
    assert ended_at(study_of(curves), MedianPruner()).tolist() == Replay(study_of(curves), POLICIES["median"]()).ended_at.tolist()


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
    one = Replay(study, POLICIES["rank"]())
    many = Replay(study, POLICIES["rank"](), workers=8, durations=np.random.default_rng(0).uniform(0.5, 2, 60))
    assert one.outcome().speedup > 1
    assert many.outcome().time_speedup > 1
    assert not np.array_equal(one.ended_at, many.ended_at)  # arrivals come in another order


def test_trials_in_step_are_halved_together() -> None:
    curves = np.repeat(np.arange(9.0)[:, None], 10, axis=1)
    replayed = Replay(study_of(curves), POLICIES["successive-halving"](first_share=0.1, eta=3, pool=9), workers=9)
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
    outcome = Replay(study, PredictiveRank(), models=Models(study)).outcome()
    assert outcome.recovered
    assert outcome.speedup > 2
    assert ((outcome.stated >= 0) & (outcome.stated <= 1)).all()


def test_recovery_between_two_settings() -> None:
    class Point:
        def __init__(self, speed: float, recovered: float) -> None:
            self._speed, self._recovered = speed, recovered

        def speedup(self, sets: object = None) -> float:
            return self._speed

        def recovery(self, sets: object = None) -> float:
            return self._recovered

    points = [Point(1.0, 1.0), Point(4.0, 0.5), Point(2.0, 0.4)]
    assert recovery_at(points, 2.0) == pytest.approx(0.5)  # type: ignore[arg-type]
    assert frontier(points) == [(1.0, 1.0), (4.0, 0.5)]  # type: ignore[arg-type]


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


OTHER_REPLAY = """
import numpy as np
from tests.benchmarks.test_replay import independent

NAMES = {"median-completed": "completed", "median-all": "all", "rank-.6-.8": "rank"}

def run(curves, order, rule):
    ended = independent(curves[order], NAMES.get(rule, "all"))
    full = curves[order, -1][ended == curves.shape[1]]
    top = curves[order, -1] >= np.quantile(curves[order, -1], 0.9)
    best = curves[order, -1].argmax()
    recovered = full.max() >= curves[order, -1].max() - 1e-3
    return recovered, (ended[top] < curves.shape[1]).mean(), ended[best] < curves.shape[1], curves.size / ended.sum()
"""


def test_agreement_with_a_script_whose_speedups_are_for_the_whole_set(folder: Path) -> None:
    script = folder / "other.py"
    script.write_text(OTHER_REPLAY)
    found = {a.rule: a for a in agreements(load_all(folder, ["one"]), script, n_trials=20, seed=0)}
    assert [found[name].is_equal for name in ("median-completed", "median-all", "rank-.6-.8")] == [True] * 3
    assert found["rank-.6-.8"].as_printed == pytest.approx(2 * found["rank-.6-.8"].here[3])  # 20 of 40 trials
    assert not found["rank-.55-.7"].is_equal  # the script takes it for another rule
    assert agreements(load_all(folder), folder / "none.py", n_trials=20, seed=0) == []


def test_the_whole_benchmark(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    replay.main(["--data", str(folder), "--out", str(out), "--orders", "2", "--optuna-orders", "1", "--drifted-orders", "1"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(headline) == [
        "speedup_at_95",
        "speedup_at_90",
        "floor_speedup_at_95",
        "floor_speedup_at_90",
        "worst_recovery_gap_to_rank",
        "risk_stated",
        "risk_measured",
    ]
    assert headline["risk_stated"] == 0.05
    assert (out / "replay_frontier.png").exists()
    assert json.loads((out / "replay.json").read_text())["headline"] == headline
