"""The comparison of pruners: its curve and who is above it by hand, its settings, and whole on a tiny set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks.curves import load
from benchmarks.pruners import compare_pruners as pruners
from benchmarks.pruners import cost
from benchmarks.pruners.pruner_scores import Scored, above, saved_at
from benchmarks.pruners.pruner_settings import DEFAULT, Setting, hyperbands, ours, peers
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.optuna_pruners import ended_at, parameters

EPOCHS = 10


def replayed(n: int = 30, horizon: int = EPOCHS) -> CurveSet:
    """Curves that rise to their levels, which are their configurations."""
    levels = np.random.default_rng(0).uniform(0, 1, (n, 1))
    return CurveSet("drawn", 0, levels * (1 - np.exp(-0.3 * np.arange(1, horizon + 1))), levels, "maximize")


def test_the_most_that_is_saved_at_no_more_killed() -> None:
    points = [(0.4, 0.8), (0.1, 0.5), (0.3, 0.4), (0.1, 0.2)]  # the last two are beaten by the second
    assert [saved_at(killed, points) for killed in (0.0, 0.05, 0.1, 0.25, 0.4, 0.9)] == pytest.approx(
        [0.0, 0.25, 0.5, 0.65, 0.8, 0.8]
    )
    assert saved_at(0.0, [(0.0, 0.3), (0.5, 0.6)]) == 0.3
    assert saved_at(0.7, []) == 0.0


def scored(label: str, *points: tuple[float, float]) -> Scored:
    """(killed, saved) in each order."""
    nothing = np.empty(0)
    outcomes = [Outcome(1 / (1 - saved), 1.0, True, 0.0, 0.0, killed, False, (), nothing, nothing) for killed, saved in points]
    return Scored(Setting("f", label, lambda horizon: optuna.pruners.NopPruner()), {"s": outcomes})


def test_figures_have_standard_errors() -> None:
    one = scored("x", (0.1, 0.5), (0.3, 0.7))
    assert one.saved("s") == pytest.approx((0.6, 0.1))
    assert one.killed() == pytest.approx((0.2, 0.1))
    assert one.killed("s", 1) == pytest.approx((0.1, 0.0))


def test_who_is_above_our_curve() -> None:
    curve = [scored("cautious", (0.0, 0.4), (0.2, 0.6)), scored("bold", (0.5, 0.8), (0.7, 1 - 1e-9))]
    assert above(scored("below", (0.1, 0.49), (0.1, 0.49)), curve, "s") is None
    assert above(scored("on it", (0.1, 0.5), (0.1, 0.5)), curve, "s") is None
    found = above(scored("above", (0.3, 0.8), (0.4, 0.8)), curve, "s")
    assert found is not None
    assert found.by == pytest.approx(0.8 - (0.5 + 0.25 / 0.5 * 0.4))
    first_order = above(scored("one order", (0.0, 0.45)), curve, "s")
    assert first_order is not None
    assert first_order.by == pytest.approx(0.05)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_setting_makes_a_pruner_for_short_and_long_curves() -> None:
    settings = [*ours(), *hyperbands(), *peers()]
    assert len({(s.family, s.label) for s in settings}) == len(settings)
    assert DEFAULT in {s.label for s in ours()}
    for setting in settings:
        for horizon in (5, 100):
            study = optuna.create_study(pruner=setting.make(horizon), direction="maximize")
            trial = study.ask()
            trial.report(1.0, 1)
            assert trial.should_prune() is False


def test_trials_have_the_configurations_as_parameters() -> None:
    study = replayed(4)
    seen: list[dict[str, float]] = []

    class Watching(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            seen.append(trial.params)
            return True

    assert ended_at(study, Watching()).tolist() == [1] * 4
    assert seen == parameters(study)[1] == [{"x0": level} for level in study.configurations[:, 0].tolist()]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_rules_of_the_field_do_as_optunas_own_with_rising_curves() -> None:
    study, settings = replayed(60, 50), {(s.family, s.label): s for s in [*ours(), *peers()]}
    for rungs in ("from 2%, eta 2", "from 10%, eta 4", "from 25%, eta 2"):
        own, theirs = settings["SRMPruner", f"ASHA {rungs}"], settings["SuccessiveHalving", rungs]
        assert ended_at(study, own.make(50)).tolist() == ended_at(study, theirs.make(50)).tolist()


def test_ours_is_pruned_as_the_setting_says() -> None:
    study, by_label = replayed(), {s.label: s for s in ours()}
    late = ended_at(study, by_label["the best 50%, warm-up 25%"].make(EPOCHS))
    bold = ended_at(study, by_label["the best 30%, from the start"].make(EPOCHS))
    assert late.min() >= 2
    assert bold.sum() < late.sum() < 30 * EPOCHS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, horizon in (("tiny", EPOCHS), ("long", cost.STEPS)):
        study = replayed(horizon=horizon)
        meta = json.dumps({"goal": "max"})
        np.savez(folder / f"{name}.npz", curves=study.curves, hparams=study.configurations, hparam_names=["level"], meta=meta)
    return folder


def test_whole_on_a_tiny_set(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(data), "--sets", "tiny", "--orders", "2", "--trials", "12", "--wilcoxon-orders", "1"]
    pruners.main([*arguments, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    headline = json.loads(printed.splitlines()[-1])
    above_us = {"sets_where_a_peer_is_above", "by_more_than_two_errors", "above_predicted_places_alone"}
    assert set(headline) == {*above_us, "ours"}
    assert all(set(headline[key]) <= {"tiny"} for key in above_us)
    assert 0 < headline["ours"]["tiny"][0] < 1
    assert "does not apply here" in printed
    details = json.loads((tmp_path / "pruners.json").read_text())["details"]
    assert {(d["family"], d["orders"]) for d in details} >= {("SRMPruner", 2), ("Hyperband", 2), ("Wilcoxon", 1)}
    assert (tmp_path / "pruners.png").stat().st_size > 10_000


def test_no_more_fits_than_new_trials(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "FINISHED", 22)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    long = load(data, "long")
    assert long is not None
    costs = list(cost.costs(cost.resampled(long, 30, 0), 12, tmp_path))
    assert [(storage, name) for storage, name, _ in costs] == [(s, n) for s in ("memory", "SQLite") for n in cost.PRUNERS]
    for _, name, its in costs:
        assert len(its.later) >= 12
        assert its.n_fits == 0 if "Optuna" in name else its.n_fits <= 2 * its.n_trials or "FHyperband" in name
