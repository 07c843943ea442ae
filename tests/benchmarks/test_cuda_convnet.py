"""The curve set that the example trains, on few small images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import load
from benchmarks.nas.cuda_convnet import EPOCHS, IMAGES, main

pytest.importorskip("torch")


def test_a_set_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, out = np.random.default_rng(0), tmp_path / "out"
    (tmp_path / "images").mkdir()
    # An image of class c is bright in column c only.
    classes = rng.integers(0, 10, 90)
    images = np.where(np.arange(14)[None, None, :] == classes[:, None, None], 200, 0).repeat(14, axis=1).astype(np.uint8)
    np.savez(tmp_path / "images" / IMAGES, x_train=images, y_train=classes)
    main(["--data", str(tmp_path), "--out", str(out), "--trials", "1"])
    first = load(out, "cuda-convnet-fashion-mnist")
    main(["--data", str(tmp_path), "--out", str(out), "--trials", "2"])
    both = load(out, "cuda-convnet-fashion-mnist")
    assert first is not None
    assert both is not None
    assert both.curves.shape == (2, EPOCHS)
    assert both.curves[0].tolist() == first.curves[0].tolist()
    assert both.names == ("learning_rate", "lr_step", "l2_conv", "l2_fc", "lrn_scale", "lrn_power")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["trials"] == 2


def test_without_images_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert "skipped: there is no" in capsys.readouterr().out
