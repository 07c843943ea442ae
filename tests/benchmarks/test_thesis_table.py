"""Table 4.1 and Figure 4-3 on a small set that is made up here, with few candidates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.predict.thesis_table import main


def test_the_tables_have_the_thesis_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The final value is .2 + .6 u, and a curve rises to it; "num_params" tells u, so the first epochs need no more than that.
    rng = np.random.default_rng(0)
    u = rng.random(60)
    curves = (0.2 + 0.6 * u)[:, None] * (1 - 0.7 ** np.arange(1, 11)) + rng.normal(0, 0.01, (60, 10))
    (tmp_path / "curves").mkdir()
    np.savez(
        tmp_path / "curves" / "baker_metaqnn_cifar10.npz",
        curves=curves.astype(np.float32),
        hparams=np.column_stack([u, rng.integers(1, 5, 60), rng.random(60), rng.integers(1, 5, 60)]),
        hparam_names=np.array(["num_params", "depth", "lr", "n_conv"]),
        meta=json.dumps({"goal": "maximise"}),
    )
    main(["--data", str(tmp_path), "--out", str(tmp_path), "--splits", "1", "--train", "25", "--candidates", "5"])
    printed = capsys.readouterr().out
    assert "0.9703" in printed  # TS + AP in the thesis
    headline = json.loads(printed.splitlines()[-1])
    assert set(headline["table_4_1_at_30"]) == {"TS", "TS + AP", "TS + AP + HP", "TS + AP + HP + BoW"}
    assert headline["figure_4_3"]["metaqnn-cifar10"]["stacked"] > 0.9
    assert (tmp_path / "thesis_4_3.png").exists()


def test_without_its_set_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(tmp_path), "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "skipped" in printed
    assert json.loads(printed.splitlines()[-1]) == {}
