"""Images are read from every public format, and errors name what is missing or broken."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from curvestop.clients.nas.training.datasets import (
    global_contrast_normalized,
    load_images,
    local_contrast_normalized,
    split_validation,
)
from curvestop.clients.nas.training.trainer import Task

RNG = np.random.default_rng(0)
Y = np.tile(np.arange(10), 2)
GREY = RNG.integers(0, 256, (20, 6, 6)).astype(np.uint8)
RGB = RNG.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_digits_are_bundled() -> None:
    images = load_images("digits")
    assert (images.size, images.n_channels, images.n_classes) == (8, 1, 10)
    assert (len(images.y_train), len(images.y_test)) == (1500, 297)
    assert np.abs(images.x_train.mean(axis=0)).max() < 1e-5


def test_idx_files_packed_or_not(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(GREY)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(Y.astype(np.uint8)))
    images = load_images(tmp_path)
    scaled = GREY / 255.0
    np.testing.assert_allclose(images.x_train[:, 0], scaled - scaled.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(images.y_test, Y)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(Y.astype(np.uint8))[:-3])
    with pytest.raises(ValueError, match="must have 20 values after its header, but has 17"):
        load_images(tmp_path)


def test_cifar_batches(tmp_path: Path) -> None:
    content = {b"data": RGB.transpose(0, 3, 1, 2).reshape(20, -1), b"labels": Y.tolist()}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    images = load_images(tmp_path)
    assert (images.name, images.x_train.shape, images.n_classes) == ("cifar10", (100, 3, 32, 32), 10)
    np.testing.assert_allclose(
        images.x_train[3, 1] - images.x_train[4, 1], (RGB[3, :, :, 1] - RGB[4, :, :, 1].astype(float)) / 255, atol=1e-6
    )


def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    pixels = RGB.transpose(0, 3, 1, 2).reshape(20, -1)
    content = {b"data": pixels, b"fine_labels": (Y * 11).tolist(), b"coarse_labels": Y.tolist()}
    for name in ("train", "test", "meta"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    images = load_images(tmp_path)
    assert (images.name, images.x_train.shape, images.n_classes) == ("cifar100", (20, 3, 32, 32), 100)
    np.testing.assert_array_equal(images.y_test, Y * 11)


def test_global_contrast_by_hand() -> None:
    """The mean of 1, 3, 5, 7 is 4, the deviation the root of (9 + 1 + 1 + 9) / 4."""
    x = np.array([[[[1, 3], [5, 7]]], [[[2, 2], [2, 2]]]], dtype=np.float32)
    expected = np.array([[[[-3, -1], [1, 3]]], [[[0, 0], [0, 0]]]]) / np.sqrt(5)
    np.testing.assert_allclose(global_contrast_normalized(x), expected, rtol=1e-6)


def test_local_contrast_by_hand() -> None:
    """A pixel of 1 among 0, far from the border: what is around it is a Gaussian of 9 x 9."""
    x = np.zeros((1, 1, 31, 31), np.float32)
    x[0, 0, 15, 15] = 1
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 8)  # a deviation of 2
    window = np.outer(weights, weights) / weights.sum() ** 2
    centered = np.zeros((31, 31))
    centered[11:20, 11:20] = -window
    centered[15, 15] += 1
    padded = np.pad(centered**2, 4)
    around = np.array([[(padded[i : i + 9, j : j + 9] * window).sum() for j in range(31)] for i in range(31)])
    expected = centered / np.maximum(np.sqrt(around), np.sqrt(around).mean())
    np.testing.assert_allclose(local_contrast_normalized(x)[0, 0], expected, atol=1e-4)


def test_a_batch_that_would_run_something_is_refused(tmp_path: Path) -> None:
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / name).write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"must contain arrays only, but contains posix\.system"):
        load_images(tmp_path)


def test_svhn_calls_the_digit_0_ten(tmp_path: Path) -> None:
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": RGB.transpose(1, 2, 3, 0), "y": np.where(Y == 0, 10, Y)[:, None]})
    images = load_images(tmp_path)
    np.testing.assert_array_equal(images.y_train, Y)
    assert images.x_train.shape == (20, 3, 32, 32)
    savemat(tmp_path / "extra_32x32.mat", {"X": RGB[:4].transpose(1, 2, 3, 0), "y": np.full((4, 1), 7)})
    assert load_images(tmp_path).n_extra == 0  # the search trains without them
    more = load_images(tmp_path, extra=True)
    np.testing.assert_array_equal(more.y_train, [*Y, 7, 7, 7, 7])
    task = Task.from_images(more, n_validation=10, device="cpu")
    assert sorted(task.y_valid.tolist()) == list(range(10))
    assert sorted(task.y_train.tolist()) == sorted([*range(10), 7, 7, 7, 7])
    np.testing.assert_allclose(more.x_train[20:] - more.x_train[:4], 0, atol=1e-6)  # RGB[:4] again, scaled and centered alike


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x_train=RGB, y_train=Y, x_test=RGB[:5], y_test=Y[:5])
    assert load_images(tmp_path / "mine.npz").x_test.shape == (5, 3, 32, 32)
    np.savez(tmp_path / "half.npz", x_train=RGB, y_train=Y)
    with pytest.raises(ValueError, match="lacks x_test, y_test"):
        load_images(tmp_path / "half.npz")


def test_an_error_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the files of a public data set .*data_batch_1.*is a folder without them"):
        load_images(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        load_images(tmp_path / "nowhere")


def test_validation_has_the_shares_of_the_whole() -> None:
    y = np.repeat([0, 1], [80, 20])
    training, validation = split_validation(y, 20, seed=0)
    assert np.bincount(y[validation]).tolist() == [16, 4]
    assert sorted([*training, *validation]) == list(range(100))
    with pytest.raises(ValueError, match=r"n_validation must be in \[2, 98\]"):
        split_validation(y, 99, seed=0)
