"""The loader of curve sets, on a small set written here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import load, load_all, made_finite, names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    curves = np.array([[0.9, 0.5], [1.0, np.nan], [0.8, 0.4], [2.0, 1e17]], dtype=np.float32)
    hparams = np.array([[0.001, 3.0], [0.1, 4.0], [0.01, 5.0], [1.0, 6.0]])
    np.savez(
        tmp_path / "baker_small_set.npz",
        curves=curves,
        hparams=hparams,
        hparam_names=np.array(["lr", "depth"]),
        meta=json.dumps({"goal": "minimize", "metric": "loss"}),
    )
    return tmp_path


def test_a_set_by_name(folder: Path) -> None:
    assert names(folder) == ("small-set",)
    curve_set = load(folder, "small-set")
    assert curve_set is not None
    assert (curve_set.direction, curve_set.n_epochs, curve_set.log_scaled) == ("minimize", 2, ("lr",))
    assert curve_set.names == ("lr", "depth")
    assert curve_set.learning_curves(["AP"])[0].configuration == {}


def test_broken_off_and_exploded_runs_are_bounded_by_the_others(folder: Path) -> None:
    (curve_set,) = load_all(folder)
    # As scores: finals are -0.5, broken off (worst seen), -0.4, -1e17; the median lies half way between the second and the third.
    worst = -1e17
    median = (-0.5 + worst) / 2
    assert curve_set.scored()[2].tolist() == pytest.approx([0.8, 0.4])
    assert curve_set.scored()[1, 1] == pytest.approx(max(worst, median - 20 * (-0.4 - median)) * -1)
    assert np.isfinite(curve_set.scored()).all()


def test_values_are_made_finite_by_what_was_seen() -> None:
    nan = np.nan
    scores = np.array([[1.0, 2.0, nan], [nan, 4.0, 5.0], [-np.inf, 7.0, 8.0]])
    assert made_finite(scores).tolist() == [[1.0, 2.0, 2.0], [1.0, 4.0, 5.0], [1.0, 7.0, 8.0]]


def test_a_finite_set_is_not_clipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (curve_set,) = load_all(folder)
    # A loss: the run that broke off keeps its 1.0, the one that exploded its 1e17.
    assert curve_set.finite.curves[:, -1].tolist() == pytest.approx([0.5, 1.0, 0.4, 1e17])
    curves = curve_set.finite.learning_curves(values=curve_set.finite.curves)
    assert curves[3].values == pytest.approx((2.0, 1e17))
    assert capsys.readouterr().out == ""
    curve_set.curves[2] = np.nan
    rest = replace(curve_set).finite
    assert (rest.curves.shape, rest.configurations[:, 1].tolist()) == ((3, 2), [3.0, 4.0, 6.0])
    assert capsys.readouterr().out == "small-set: 1 of 4 runs have no finite value and are left out\n"


def test_learning_curves_carry_their_configuration(folder: Path) -> None:
    (curve_set,) = load_all(folder)
    first = curve_set.learning_curves(["HP"])[0]
    assert (first.trial, dict(first.configuration)) == ("0", {"lr": 0.001, "depth": 3.0})
    assert first.values == pytest.approx((0.9, 0.5))


def test_what_is_missing_is_said(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(folder, "other") is None
    assert "has no curve set 'other'" in capsys.readouterr().out
    assert names(tmp_path_factory.mktemp("empty")) == ()
    assert "github.com/MITAutoML/accelerating_nas" in capsys.readouterr().out
