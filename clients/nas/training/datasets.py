"""Labelled images from where people have them: scikit-learn's digits, idx files, CIFAR-10 batches, SVHN's .mat, an npz."""

from __future__ import annotations

import gzip
import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

Pixels = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Images:
    """x_train, x_test: `(n, channels, size, size)`, the training images' mean subtracted, in units of the full range.

    y_train, y_test: `(n,)`, classes from 0.
    """

    name: str
    x_train: Pixels
    y_train: Labels
    x_test: Pixels
    y_test: Labels

    @property
    def n_channels(self) -> int:
        return int(self.x_train.shape[1])

    @property
    def size(self) -> int:
        return int(self.x_train.shape[2])

    @property
    def n_classes(self) -> int:
        return int(self.y_train.max()) + 1


def load_images(source: str | Path) -> Images:
    """The images of a source: "digits", the path of an npz, or a folder with files of one of the public formats.

    Raises ValueError, which says what to put where, when there are none.
    """
    if str(source) == "digits":
        return _digits()
    path = Path(source)
    if path.is_file() and path.suffix == ".npz":
        return _npz(path)
    if path.is_dir():
        for reader, needed in FOLDERS.items():
            if all(_found(path, name) is not None for name in needed):
                return FOLDER_READERS[reader](path)
    formats = "; ".join(f"{reader}: {', '.join(needed)}" for reader, needed in FOLDERS.items())
    raise ValueError(
        f"{path}: images must be 'digits', an npz with {', '.join(NPZ_NAMES)}, or a folder with the files of a public set "
        f"({formats}; each may end in .gz), but this is {'a folder without them' if path.is_dir() else 'not there'}"
    )


def split_validation(y: Labels, n_validation: int, *, seed: int) -> tuple[Labels, Labels]:
    """`(training, validation)` indices with the same shares of classes. Raises ValueError when there are too few images."""
    n_classes = len(np.unique(y))
    if not n_classes <= n_validation <= len(y) - n_classes:
        raise ValueError(
            f"n_validation must be in [{n_classes}, {len(y) - n_classes}] for {len(y)} images, but got {n_validation}"
        )
    training, validation = train_test_split(np.arange(len(y)), test_size=n_validation, stratify=y, random_state=seed)
    return training, validation


def _images(name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any, *, full: float = 255.0) -> Images:
    """From `(n, h, w)` or `(n, h, w, channels)` of any numbers."""
    planes = [
        np.asarray(x, dtype=np.float32).reshape(*np.shape(x)[:3], -1).transpose(0, 3, 1, 2) / full for x in (x_train, x_test)
    ]
    labels = [np.asarray(y).astype(np.int64).ravel() for y in (y_train, y_test)]
    for x, y in zip(planes, labels, strict=True):
        if len(x) != len(y) or x.shape[2] != x.shape[3]:
            raise ValueError(f"{name}: images must be square with a label each, but got {x.shape} and {len(y)} labels")
    mean = planes[0].mean(axis=0, keepdims=True)
    return Images(name, planes[0] - mean, labels[0], planes[1] - mean, labels[1])


def _digits() -> Images:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x.reshape(-1, 8, 8), y, test_size=297, stratify=y, random_state=0)
    return _images("digits", x_train, y_train, x_test, y_test, full=16.0)


def _npz(path: Path) -> Images:
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in NPZ_NAMES if name not in arrays]
        if missing:
            raise ValueError(f"{path}: must have {', '.join(NPZ_NAMES)}, but lacks {', '.join(missing)}")
        full = 255.0 if arrays["x_train"].dtype == np.uint8 else 1.0
        return _images(path.stem, *(arrays[name] for name in NPZ_NAMES), full=full)


def _idx(folder: Path) -> Images:
    names = FOLDERS["idx (MNIST, Fashion-MNIST)"]
    return _images(folder.name, *(_idx_array(_required(folder, names[i])) for i in (0, 1, 2, 3)))


def _idx_array(path: Path) -> npt.NDArray[np.uint8]:
    """http://yann.lecun.com/exdb/mnist: two zeros, the type (8: bytes), the number of axes, their lengths, the values."""
    content = _bytes(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: an idx file of bytes must begin with 0 0 8, but has {content[:3]!r}")
    n_axes = content[3]
    shape = np.frombuffer(content, ">u4", n_axes, 4).astype(int)
    if len(content) != 4 + 4 * n_axes + int(np.prod(shape)):
        raise ValueError(f"{path}: must have {np.prod(shape)} values after its header, but has {len(content) - 4 - 4 * n_axes}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _cifar10(folder: Path) -> Images:
    batches = [_unpickled(_required(folder, name)) for name in FOLDERS["CIFAR-10 (python version)"]]
    pixels = [batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for batch in batches]
    labels = [np.asarray(batch[b"labels"]) for batch in batches]
    return _images("cifar10", np.concatenate(pixels[:5]), np.concatenate(labels[:5]), pixels[5], labels[5])


class _ArraysOnly(pickle.Unpickler):
    """Unpickles what CIFAR-10's batches are made of, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        raise ValueError(f"a CIFAR-10 batch must be made of arrays, but has {module}.{name}")


def _unpickled(path: Path) -> Any:
    import io

    try:
        return _ArraysOnly(io.BytesIO(_bytes(path)), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: must be a batch of CIFAR-10's python version, but cannot be read: {error}") from None


def _svhn(folder: Path) -> Images:
    from scipy.io import loadmat

    parts = [loadmat(str(_required(folder, name))) for name in FOLDERS["SVHN (cropped)"]]
    pixels = [part["X"].transpose(3, 0, 1, 2) for part in parts]
    labels = [part["y"].ravel() % 10 for part in parts]  # 10 stands for the digit 0
    return _images("svhn", pixels[0], labels[0], pixels[1], labels[1])


FOLDERS: Mapping[str, tuple[str, ...]] = {
    "idx (MNIST, Fashion-MNIST)": (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
    "CIFAR-10 (python version)": (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
    "SVHN (cropped)": ("train_32x32.mat", "test_32x32.mat"),
}
FOLDER_READERS: Mapping[str, Callable[[Path], Images]] = dict(zip(FOLDERS, (_idx, _cifar10, _svhn), strict=True))


def _found(folder: Path, name: str) -> Path | None:
    return next((folder / file for file in (name, f"{name}.gz") if (folder / file).is_file()), None)


def _required(folder: Path, name: str) -> Path:
    path = _found(folder, name)
    assert path is not None  # `load_images` looked
    return path


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be unpacked: {error}") from None
