"""The benchmark of long trainings, on two tiny searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pruners import long_trainings


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long_trainings.main(["--out", str(tmp_path), "--epochs", "1000000000", "--trials", "7", "--many", "7"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < headline["most_memory_mb"] < 500
    details = json.loads((tmp_path / "long_trainings.json").read_text())["details"]
    assert [(case["asked"], case["max_epochs"]) for case in details] == [
        *((asked, 10**9) for asked in ("Study", "SRMPruner", "FHyperbandPruner")),
        *((asked, 30) for asked in ("SRMPruner", "FHyperbandPruner")),
    ]
    assert details[0]["n_reports"] <= 7 * 20
