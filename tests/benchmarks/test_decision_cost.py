"""The benchmark of a decision's cost, whole on a small set; what it says of time is for people to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.replay import decision_cost
from tests.benchmarks.test_replay import save_small_set


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_small_set(tmp_path, 40, 20)
    where = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    decision_cost.main([*where, "--trials", "40", "--new", "60"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < headline["decision_us"] <= headline["worst_set_us"]
    decision_cost.main([*where, "--trials", "41"])  # no set has as many
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"decision_us": None, "worst_set_us": None}
