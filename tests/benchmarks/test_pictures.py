"""The documentation's pictures: what they show is what a study and a predictor said, and what a stop saved stays unseen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import load_all
from benchmarks.pictures import predicted_curves, stopped_curves
from benchmarks.replay.shuffled_study import shuffled
from curvestop.clients.backtest.policy_replay import PolicyReplay
from curvestop.srm.curve import LearningCurve
from curvestop.srm.settings import StudySettings
from tests.benchmarks.test_replay import save_small_set

PNG = b"\x89PNG"


def test_the_search_stops_where_a_replayed_study_stops(tmp_path: Path) -> None:
    save_small_set(tmp_path, 40, 12)
    (curve_set,) = load_all(tmp_path, ["one"])
    search = stopped_curves.searched(curve_set, 3, 40)
    study = shuffled(curve_set, 3, n_trials=40)
    settings = StudySettings(study.name, study.max_epochs, direction=study.direction)
    assert search.ended_at().tolist() == PolicyReplay(study, settings).ended_at.tolist()
    assert search.stops
    assert search.epochs.tolist() == list(range(1, 13))


def test_curves_are_shown_from_worse_to_better_and_are_not_learnt_from() -> None:
    curves = [LearningCurve(str(i), {}, (0.0, float(i))) for i in range(50)]
    train, shown = predicted_curves.split(curves, 20, np.random.default_rng(0))
    ends = [curve.values[-1] for curve in shown]
    assert len(train) == 20
    assert ends == sorted(ends)
    assert not {curve.trial for curve in train} & {curve.trial for curve in shown}


@pytest.mark.parametrize("name", ["stopped_curves", "predicted_curves"])
def test_the_command_draws(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    save_small_set(tmp_path, 40, 12)
    out = tmp_path / "out"
    module, size = {"stopped_curves": (stopped_curves, "--trials"), "predicted_curves": (predicted_curves, "--train")}[name]
    module.main(["--data", str(tmp_path), "--out", str(out), "--set", "one", size, "25"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert headline["set"] == "one"
    assert json.loads((out / f"{name}.json").read_text())["headline"] == headline
    assert (out / f"{name.replace('_', '-')}.png").read_bytes().startswith(PNG)
