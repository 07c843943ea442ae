"""Variants of the default rule, whole on a tiny set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.replay import variants
from tests.benchmarks.test_replay import save_small_set


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_small_set(tmp_path, 40, 20)
    out = tmp_path / "out"
    chosen = ["as shipped", "no model"]
    variants.main(["--data", str(tmp_path), "--out", str(out), "--orders", "2", "--variants", *chosen])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(headline) == chosen
    assert all(0 <= recovery <= 1 < speedup for recovery, speedup in headline.values())
    assert headline == json.loads((out / "variants.json").read_text())["headline"]
