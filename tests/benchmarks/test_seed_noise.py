"""Seed noise of a set's file, and the benchmark that compares its two sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import load
from benchmarks.predict import seed_noise as benchmark


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sets of ten configurations, each trained four times: the spread of seeds is .02, and of late epochs .02 or .01."""
    rng = np.random.default_rng(0)
    for name, jitter in (("one", 0.02), ("two", 0.01)):
        levels = np.repeat(np.arange(10) / 10, 4)[:, None] + rng.normal(0, 0.02, (40, 1))
        curves = levels + rng.normal(0, jitter, (40, 40)) * (np.arange(40) < 39)  # the last epoch is the level
        np.savez(
            tmp_path / f"{name}.npz",
            curves=curves,
            hparams=np.zeros((40, 1)),
            hparam_names=np.array(["rate"]),
            group=np.repeat([f"config {i}" for i in range(10)], 4),
            meta=json.dumps({"goal": "maximize", "metric": "m"}),
        )
    return tmp_path


def test_groups_of_a_file_are_repeated_configurations(folder: Path) -> None:
    curve_file = load(folder, "one")
    assert curve_file is not None
    noise = curve_file.seed_noise()
    assert noise is not None
    assert (noise.source, noise.n) == ("repeated configurations", 5)
    finals = curve_file.curves[20:, -1].reshape(5, 4)  # the better half
    assert noise.deviation == pytest.approx(np.sqrt(finals.var(axis=1, ddof=1).mean()))


def test_the_benchmark_compares_both_sources(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["--data", str(folder), "--out", str(tmp_path / "out")])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(headline) == ["factor", "typical_error", "worst_error"]
    # Seeds spread as much as the late epochs of one set, and twice as much as those of the other: the mean is the root of 2.
    assert headline["factor"] == pytest.approx(2**0.5, rel=0.25)
    assert headline["worst_error"] == pytest.approx(2, rel=0.4)


def test_without_repeats_there_is_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "skipped: needs sets of two domains with repeated configurations" in capsys.readouterr().out
