"""The loader of curve sets, on a small set written here."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import load, load_all, names


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
