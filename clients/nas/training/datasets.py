"""Reads labelled images from the usual files: scikit-learn's digits, idx files, CIFAR's batches, SVHN's .mat, an npz."""

from __future__ import annotations

import gzip
import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

Pixels = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")
"""Names of the arrays that an npz must have."""


@dataclass(frozen=True)
class Images:
    """A data set of square images with one class each.

    Pixels are divided by their full range, and the mean of the training images is subtracted.

    Attributes:
        name: Name of the data set.
        x_train: Training images, `(n, channels, size, size)`.
        y_train: Their classes from 0, `(n,)`.
        x_test: Test images, `(m, channels, size, size)`.
        y_test: Their classes, `(m,)`.
        n_extra: Number of images at the end of the training images that are trained on only, and never for validation.

    Examples:
        >>> images = load_images("digits")
        >>> images.x_train.shape, images.n_classes
        ((1500, 1, 8, 8), 10)
    """

    name: str
    x_train: Pixels
    y_train: Labels
    x_test: Pixels
    y_test: Labels
    n_extra: int = 0

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.x_train.shape[1])

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""
        return int(self.x_train.shape[2])

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y_train.max()) + 1


def load_images(source: str | Path, *, normalize: Callable[[Pixels], Pixels] | None = None, extra: bool = False) -> Images:
    """Load a data set.

    Args:
        source: "digits" for scikit-learn's digits, the path of an npz with the arrays `NPZ_NAMES`, or a folder with the files
            of a public data set (see `FOLDERS`).
        normalize: Called with the scaled images before they are centered. Default: nothing.
        extra: Whether to add SVHN's extended training set, `EXTRA`, where the folder has it. Default: no.

    Returns:
        The images, scaled and centered.

    Raises:
        ValueError: If there are no such files, a file cannot be read, or images are not square or lack a label. The message
            lists the files of each format.

    Examples:
        >>> load_images("digits").n_channels
        1
    """
    images = _read(source)
    if extra and _find(Path(source), EXTRA) is not None:
        images = _with_extra(images, Path(source))
    if normalize is not None:
        images = replace(images, x_train=normalize(images.x_train), x_test=normalize(images.x_test))
    mean = images.x_train.mean(axis=0, keepdims=True)  # of the training images only: nothing may leak from the test images
    return replace(images, x_train=images.x_train - mean, x_test=images.x_test - mean)


def _read(source: str | Path) -> Images:
    """Read a data set as it is in its files, scaled and not centered."""
    if str(source) == "digits":
        return _digits()
    path = Path(source)
    if path.is_file() and path.suffix == ".npz":
        return _npz(path)
    if path.is_dir():
        for format_name, needed in FOLDERS.items():
            if all(_find(path, name) is not None for name in needed):
                return FOLDER_READERS[format_name](path)
    problem = "is a folder without them" if path.is_dir() else "is another file" if path.exists() else "does not exist"
    formats = "; ".join(f"{format_name}: {', '.join(needed)}" for format_name, needed in FOLDERS.items())
    raise ValueError(
        f"{path}: images must be 'digits', an npz with {', '.join(NPZ_NAMES)}, or a folder with the files of a public data set "
        f"({formats}; each may end in .gz), but it {problem}"
    )


def global_contrast_normalized(x: Pixels) -> Pixels:
    """Give each image the mean 0 and the standard deviation 1 (MetaQNN's final training on CIFAR-10).

    Args:
        x: Images, `(n, channels, size, size)`; one of a single value becomes 0.

    Examples:
        >>> global_contrast_normalized(np.float32([[[[1, 3], [1, 3]]]])).tolist()  # mean 2, deviation 1
        [[[[-1.0, 1.0], [-1.0, 1.0]]]]
    """
    centered = x - x.mean(axis=(1, 2, 3), keepdims=True)
    deviation = centered.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray(centered / np.where(deviation > _FLAT, deviation, 1), dtype=np.float32)


def local_contrast_normalized(x: Pixels, *, sigma: float = 2.0) -> Pixels:
    """Subtract from each pixel the mean around it, and divide by the deviation around it (final training on SVHN).

    Each channel for itself, as Zeiler and Fergus 2013, whom Lee et al. 2016 follow. The divisor is at least its mean over the
    image, so that flat regions stay flat.

    Args:
        x: Images, `(n, channels, size, size)`.
        sigma: Standard deviation of the Gaussian weights, in pixels; they end at four pixels for the default, a window of 9 x 9.

    Examples:
        >>> float(np.abs(local_contrast_normalized(np.full((1, 1, 8, 8), 0.5, np.float32))).max())
        0.0
    """
    from scipy.ndimage import gaussian_filter  # imported here because it is slow to load

    def around(values: Pixels) -> Pixels:
        return np.asarray(gaussian_filter(values, (0, 0, sigma, sigma), truncate=2.0), dtype=np.float32)

    centered = x - around(x)
    deviation = np.sqrt(around(centered**2))
    divisor = np.maximum(deviation, deviation.mean(axis=(2, 3), keepdims=True))
    return np.where(divisor > _FLAT, centered / np.where(divisor > _FLAT, divisor, 1), 0).astype(np.float32)


_FLAT = 1e-6
"""Contrast of pixels in [0, 1] below which there is only rounding."""

NORMALIZED: Mapping[str, Callable[[Pixels], Pixels]] = {"cifar10": global_contrast_normalized, "svhn": local_contrast_normalized}
"""What is done to the images in the longer training after a search, by the name of its recipe (section 5)."""


def split_validation(y: Labels, n_validation: int, *, seed: int) -> tuple[Labels, Labels]:
    """Split images at random so that both parts have the same share of each class.

    Args:
        y: Classes of the images, `(n,)`.
        n_validation: Number of images for validation.
        seed: Seed of the split.

    Returns:
        Indices of the training images, `(n - n_validation,)`, and of the validation images, `(n_validation,)`.

    Raises:
        ValueError: If a part would have fewer images than there are classes.
    """
    n_classes = len(np.unique(y))
    if not n_classes <= n_validation <= len(y) - n_classes:
        raise ValueError(
            f"n_validation must be in [{n_classes}, {len(y) - n_classes}] for {len(y)} images, but got {n_validation}"
        )
    # Stratified: "such that the resulting class distributions were unchanged" (Baker et al. 2017, section 5).
    training, validation = train_test_split(np.arange(len(y)), test_size=n_validation, stratify=y, random_state=seed)
    return training, validation


def split_images(y: Labels, n_validation: int, n_training: int = 0, *, seed: int) -> tuple[Labels, Labels]:
    """Split images into those to train on and those for validation, in the same shares of each class.

    Args:
        y: Classes of the images, `(n,)`.
        n_validation: Number of images for validation.
        n_training: Number of images to train on; 0, or more than there are: all others.
        seed: Seed of the split.

    Returns:
        Indices of the training images and of the validation images.

    Raises:
        ValueError: If a part would have fewer images than there are classes.
    """
    training, validation = split_validation(y, n_validation, seed=seed)
    if 0 < n_training < len(training):
        n_classes = len(np.unique(y))
        if not n_classes <= n_training <= len(training) - n_classes:
            most = len(training) - n_classes
            raise ValueError(f"n_training must be 0 (all {len(training)}) or in [{n_classes}, {most}], but got {n_training}")
        training = training[split_validation(y[training], len(training) - n_training, seed=seed)[0]]
    elif n_training < 0:
        raise ValueError(f"n_training must be >= 0, but got {n_training}")
    return training, validation


def _images(name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any, *, full: float = 255.0) -> Images:
    """Scale and check images `(n, h, w)` or `(n, h, w, channels)` of any numeric type, which are at most `full`."""
    # (n, h, w) or (n, h, w, channels) -> (n, channels, h, w)
    planes = [
        np.asarray(x, dtype=np.float32).reshape(*np.shape(x)[:3], -1).transpose(0, 3, 1, 2) / full for x in (x_train, x_test)
    ]
    labels = [np.asarray(y).astype(np.int64).ravel() for y in (y_train, y_test)]
    for x, y in zip(planes, labels, strict=True):
        if len(x) != len(y) or x.shape[2] != x.shape[3]:
            raise ValueError(f"{name}: images must be square with a label each, but got {x.shape} and {len(y)} labels")
    return Images(name, planes[0], labels[0], planes[1], labels[1])


def _digits() -> Images:
    from sklearn.datasets import load_digits

    # The bundled set has no test part; the seed is fixed so that everybody tests on the same images.
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x.reshape(-1, 8, 8), y, test_size=297, stratify=y, random_state=0)
    return _images("digits", x_train, y_train, x_test, y_test, full=16.0)


def _npz(path: Path) -> Images:
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in NPZ_NAMES if name not in arrays]
        if missing:
            raise ValueError(f"{path}: must have {', '.join(NPZ_NAMES)}, but lacks {', '.join(missing)}")
        full = 255.0 if arrays["x_train"].dtype == np.uint8 else 1.0  # other types are taken as scaled already
        return _images(path.stem, *(arrays[name] for name in NPZ_NAMES), full=full)


def _idx(folder: Path) -> Images:
    names = FOLDERS["idx (MNIST, Fashion-MNIST)"]
    return _images(folder.name, *(_idx_array(_required(folder, names[i])) for i in (0, 1, 2, 3)))


def _idx_array(path: Path) -> npt.NDArray[np.uint8]:
    """Read an idx file of bytes."""
    # http://yann.lecun.com/exdb/mnist: two zeros, the type (8: bytes), the number of axes, their lengths, the values.
    content = _content(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: an idx file of bytes must begin with 0 0 8, but has {content[:3]!r}")
    n_axes = content[3]
    shape = np.frombuffer(content, ">u4", n_axes, 4).astype(int)
    if len(content) != 4 + 4 * n_axes + int(np.prod(shape)):
        raise ValueError(f"{path}: must have {np.prod(shape)} values after its header, but has {len(content) - 4 - 4 * n_axes}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _cifar10(folder: Path) -> Images:
    batches = [_unpickled(_required(folder, name)) for name in FOLDERS["CIFAR-10 (python version)"]]
    # A row is the red, green and blue plane, 3 x 32 x 32; `_images` takes the channels last.
    pixels = [batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for batch in batches]
    labels = [np.asarray(batch[b"labels"]) for batch in batches]
    return _images("cifar10", np.concatenate(pixels[:5]), np.concatenate(labels[:5]), pixels[5], labels[5])


def _cifar100(folder: Path) -> Images:
    parts = [_unpickled(_required(folder, name)) for name in ("train", "test")]
    pixels = [part[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in parts]
    labels = [part[b"fine_labels"] for part in parts]  # the 100 classes, not their 20 groups
    return _images("cifar100", pixels[0], labels[0], pixels[1], labels[1])


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that accepts only the types in CIFAR's batches, because other pickles can run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        raise ValueError(f"a CIFAR batch must contain arrays only, but contains {module}.{name}")


def _unpickled(path: Path) -> Any:
    import io

    try:
        return _ArraysOnly(io.BytesIO(_content(path)), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: must be a batch of CIFAR's python version, but cannot be unpickled: {error}") from None


def _svhn(folder: Path) -> Images:
    from scipy.io import loadmat

    parts = [loadmat(str(_required(folder, name))) for name in FOLDERS["SVHN (cropped)"]]
    pixels = [part["X"].transpose(3, 0, 1, 2) for part in parts]  # from (32, 32, 3, n)
    labels = [part["y"].ravel() % 10 for part in parts]  # the files have class 10 for the digit 0
    return _images("svhn", pixels[0], labels[0], pixels[1], labels[1])


EXTRA = "extra_32x32.mat"
"""File of SVHN's extended training set, 531,131 images."""


def _with_extra(images: Images, folder: Path) -> Images:
    from scipy.io import loadmat

    part = loadmat(str(_required(folder, EXTRA)))
    x = (part["X"].transpose(3, 2, 0, 1) / np.float32(255)).astype(np.float32)
    y = part["y"].ravel().astype(np.int64) % 10
    x_train, y_train = np.concatenate([images.x_train, x]), np.concatenate([images.y_train, y])
    return replace(images, x_train=x_train, y_train=y_train, n_extra=len(x))


FOLDERS: Mapping[str, tuple[str, ...]] = {
    "idx (MNIST, Fashion-MNIST)": (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
    "CIFAR-10 (python version)": (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
    "CIFAR-100 (python version)": ("train", "test", "meta"),
    "SVHN (cropped)": ("train_32x32.mat", "test_32x32.mat"),
}
"""Files of each public data set; each file may end in .gz."""

FOLDER_READERS: Mapping[str, Callable[[Path], Images]] = dict(zip(FOLDERS, (_idx, _cifar10, _cifar100, _svhn), strict=True))
"""The reader of each data set in `FOLDERS`."""


def _find(folder: Path, name: str) -> Path | None:
    return next((folder / file for file in (name, f"{name}.gz") if (folder / file).is_file()), None)


def _required(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    assert path is not None  # `load_images` has checked that all files exist
    return path


def _content(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in .gz."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: the file cannot be decompressed: {error}") from None
