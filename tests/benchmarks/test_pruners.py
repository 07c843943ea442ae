"""The comparison of pruners: its settings, the coefficients that it uses, and whole on a tiny set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks.curves import load
from benchmarks.pruners import compare_pruners as pruners
from benchmarks.pruners import cost
from benchmarks.pruners.pruner_settings import AS_IT_COMES, ours, peers
from benchmarks.replay.left_out import coefficients_by_domain, shipped
from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.optuna_pruners import ended_at, parameters
from curvestop.clients.optuna import SRMPruner
from curvestop.srm.policies.learned import shipped_coefficients

EPOCHS = 10


def replayed(n: int = 30, horizon: int = EPOCHS) -> CurveSet:
    """Curves that rise to their levels, which are their configurations."""
    levels = np.random.default_rng(0).uniform(0, 1, (n, 1))
    return CurveSet("drawn", 0, levels * (1 - np.exp(-0.3 * np.arange(1, horizon + 1))), levels, "maximize")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_setting_makes_a_pruner_for_short_and_long_curves() -> None:
    settings = list(pruners.settings())
    assert len({s.label for s in settings}) == len(settings)
    assert AS_IT_COMES in {s.label for s in ours()}
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
def test_our_asha_does_as_optunas_own_with_rising_curves() -> None:
    study, theirs = replayed(60, 50), {s.label: s for s in peers()}
    for share, eta in ((0.02, 2), (0.1, 4), (0.25, 2)):
        settings = {"first_share": round(share * 50) / 50, "eta": eta}
        own = SRMPruner(50, policy="asha", policy_settings=settings, n_startup_trials=0, first_step=1)
        optunas = theirs[f"SuccessiveHalvingPruner, from {share:.0%}, eta {eta}"].make(50)
        assert ended_at(study, own).tolist() == ended_at(study, optunas).tolist()


def test_ours_goes_from_the_careful_to_the_bold_and_as_it_comes() -> None:
    study = replayed()
    ended = [ended_at(study, setting.make(EPOCHS)) for setting in ours()]
    spent = [epochs.sum() for epochs in ended]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[-1]
    default = [s.label for s in ours()].index(AS_IT_COMES)
    assert ended[default].tolist() == ended_at(study, SRMPruner(EPOCHS, first_step=1)).tolist()


def test_pruners_have_the_coefficients_that_they_are_given_for_as_long_as_that_lasts() -> None:
    (known,) = coefficients_by_domain(["taskset"]).values()
    assert known is not None
    with shipped(known):
        pruner = SRMPruner(EPOCHS, first_step=1)
        inside = ended_at(replayed(), pruner)
        assert ended_at(replayed(), SRMPruner(EPOCHS, first_step=1)).tolist() == inside.tolist()
    assert shipped_coefficients() != known
    with shipped(None):
        assert shipped_coefficients() != known


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
    arguments = ["--data", str(data), "--sets", "tiny", "--orders", "2", "--trials", "12"]
    pruners.main([*arguments, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    headline = json.loads(printed.splitlines()[-1])
    assert set(headline) == {"as_it_comes", "pruners_above"}
    assert headline["as_it_comes"]["best_lost"] == 0
    assert "the package's coefficients never saw tiny: used as they are" in printed
    details = json.loads((tmp_path / "pruners.json").read_text())["details"]
    assert set(details["rules"]) == {setting.label for setting in pruners.settings()}
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
