"""The comparison on a table of trained architectures, on a small table made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.nas.nas_table import best_so_far, difference_in_standard_errors, load_table, main, random_search


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """81 architectures whose accuracy is the share of operation 2; three equal trainings."""
    choices = np.array(list(np.ndindex(3, 3, 3, 3)), np.int8)
    accuracies = np.repeat((choices == 2).mean(axis=1, keepdims=True), 3, axis=1)
    (tmp_path / "tables").mkdir()
    np.savez(tmp_path / "tables" / "nas_bench_macro_cifar10.npz", hparams=choices, test_acc=accuracies)
    return tmp_path


def test_random_search_of_everything_finds_the_best(folder: Path) -> None:
    table = load_table(folder)
    assert table is not None
    assert table.best == 1
    best = best_so_far(table, random_search(table.chain, 0, 81), seed=0, n_models=81)
    assert best[-1] == 1
    assert (np.diff(best) >= 0).all()


def test_a_difference_is_counted_in_standard_errors() -> None:
    """Means 2 and 1, variances 1 over 2 values each: the error is 1."""
    ones = np.array([1 - np.sqrt(0.5), 1 + np.sqrt(0.5)])
    assert difference_in_standard_errors(ones + 1, ones) == pytest.approx(1)


def test_the_last_line_is_the_headline(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    main(["--data", str(folder), "--out", str(tmp_path / "out"), "--seeds", "2", "--models", "20"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"q_learning_minus_random_in_se", "reinforce_minus_random_in_se", "ppo_minus_random_in_se"} < set(headline)
    assert set(headline["best_at_20"]) == {"random", "metaqnn", "q_learning", "reinforce", "ppo"}
    assert (tmp_path / "out" / "nas_table.png").stat().st_size > 1_000
    main(["--data", str(tmp_path / "nowhere")])
    assert "skipped" in capsys.readouterr().out
