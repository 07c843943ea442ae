"""The replay of Hyperbands: draws and costs by hand, scores with values written out, and whole on a tiny set."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import CurveFile
from benchmarks.hyperband import compare_runs as hyperband_replay
from benchmarks.hyperband.replayed_run import Course, Setting, Table, replay
from benchmarks.hyperband.run_scores import Comparison
from curvestop.hyperband import cli
from curvestop.hyperband.run.run_folder import DEFAULTS
from curvestop.hyperband.scheduler.brackets import brackets, total_epochs
from curvestop.srm.policies.stopping_rule import Direction


def curve_set(n: int = 60, horizon: int = 12, *, minimize: bool = False) -> CurveFile:
    rng = np.random.default_rng(0)
    level, rate = rng.uniform(0, 1, (n, 1)), rng.uniform(0.1, 1, (n, 1))
    values = level * (1 - np.exp(-rate * np.arange(1, horizon + 1))) + rng.normal(0, 0.005, (n, horizon))
    goal: Direction = "minimize" if minimize else "maximize"
    configurations = np.hstack([level, rate])
    return CurveFile("tiny", -values if minimize else values, configurations, ("level", "rate"), goal, {"goal": goal})


def table(*, minimize: bool = False) -> Table:
    made = Table.of(curve_set(minimize=minimize))
    assert made is not None
    return made


def test_long_curves_are_cut_to_the_largest_resource_they_reach() -> None:
    assert table().values.shape == (60, 9)
    np.testing.assert_allclose(table().values, curve_set().curves[:, :9])
    assert Table.of(curve_set(horizon=8)) is None


def test_plain_hyperband_trains_the_plan_and_finds_the_best_it_drew() -> None:
    course = replay(table(), None, 0, n_iterations=3)
    one = total_epochs(brackets(9, eta=3))
    assert course.epochs.tolist() == [one, 2 * one, 3 * one]
    assert (np.diff(course.best) >= 0).all()
    assert course.best[-1] in table().values[:, -1]


def test_the_best_of_a_loss_is_the_least() -> None:
    higher, lower = replay(table(), None, 1, n_iterations=2), replay(table(minimize=True), None, 1, n_iterations=2)
    np.testing.assert_allclose(lower.best, -higher.best)


def test_a_setting_that_stops_nothing_is_plain_hyperband() -> None:
    never = replay(table(), Setting("never", min_curves=10_000), 2, n_iterations=2)
    plain = replay(table(), None, 2, n_iterations=2)
    assert never.epochs.tolist() == plain.epochs.tolist()
    assert never.best.tolist() == plain.best.tolist()


def test_once_draws_every_configuration_before_any_again() -> None:
    n = sum(bracket.n_configurations for bracket in brackets(9, eta=3))  # 17 an iteration, 60 in all
    course = replay(table(), None, 3, n_iterations=-(-60 // n), with_replacement=False)
    assert course.best[-1] <= table().values[:, -1].max()
    assert course.epochs[-1] == -(-60 // n) * total_epochs(brackets(9, eta=3))


def courses(*runs: tuple[list[float], float]) -> list[Course]:
    return [Course(np.cumsum(epochs), np.array([0.0] * (len(epochs) - 1) + [best])) for epochs, best in runs]


def test_speedups_and_losses_by_hand() -> None:
    plain = courses(([10, 10, 10, 10], 0.9), ([10, 10, 10, 10], 0.8))
    ours = courses(([10, 10, 5, 5], 0.9), ([10, 5, 2.5, 2.5], 0.6))
    comparison = Comparison("s", Setting("x"), "maximize", plain, ours)
    np.testing.assert_allclose(comparison.total(), ((40 / 30 + 2) / 2, (2 - 40 / 30) / 2))
    np.testing.assert_allclose(comparison.late(), (3.0, 1.0))
    assert comparison.speedup_by_iteration().tolist() == [[1, 1, 2, 2], [1, 2, 4, 4]]
    assert comparison.losses() == pytest.approx([0.0, 0.2])
    assert comparison.gap() == pytest.approx(1.0)  # the same loss in one run of n is always one standard error
    assert comparison.n_worse() == 1
    assert Comparison("s", Setting("x"), "minimize", plain, ours).losses() == pytest.approx([0.0, -0.2])


def test_no_spread_no_gap() -> None:
    plain = courses(([10], 0.9), ([10], 0.9))
    assert Comparison("s", Setting("x"), "maximize", plain, plain).gap() == 0.0
    assert Comparison("s", Setting("x"), "maximize", plain, courses(([10], 0.5), ([10], 0.5))).gap() == np.inf


def test_the_default_is_what_hyperband_run_does() -> None:
    shipped = {name: p.default for name, p in inspect.signature(cli.run).parameters.items()} | dict(DEFAULTS["sync"])
    default = hyperband_replay.DEFAULT
    assert default.recall is not None
    assert not shipped["no_recall"]
    assert (default.threshold, default.kappa, default.predictor, default.min_curves, default.recall.quantile) == tuple(
        shipped[name] for name in ("threshold", "kappa", "predictor", "min_curves", "recall")
    )


def test_whole_on_a_tiny_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = curve_set()
    meta = json.dumps({"goal": "maximize"})
    np.savez(tmp_path / "tiny.npz", curves=tiny.curves, hparams=tiny.configurations, hparam_names=np.array(tiny.names), meta=meta)
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--seeds", "2", "--iterations", "4", "--predictor", "ols"]
    hyperband_replay.main(options)
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(headline) == {"speedup_late", "speedup_total", "regret_gap_in_se"}
    assert headline["speedup_late"]["tiny"] > 1.2
    figures = {path.name for path in (tmp_path / "out").iterdir()}
    assert figures == {f"hyperband_4_{n}.png" for n in (7, 8, 9)} | {"hyperband_replay.json"}
    written = json.loads((tmp_path / "out" / "hyperband_replay.json").read_text())["details"]
    assert [len(run["epochs"]) for run in written[0]["f-hyperband"]] == [4, 4]
