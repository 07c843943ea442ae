"""Trains random configurations of a small Cuda-Convnet on Fashion-MNIST, and keeps their learning curves as a curve set.

The thesis (section 4.2.1) trains 8,489 configurations of Cuda-Convnet on CIFAR-10 and 16,582 on SVHN for its Figures 4-3 and 4-7
to 4-9; these curves were never published. The network and the six hyper-parameters are those of `examples/cuda_convnet.py`: 2,000
images of 14 x 14 to train on, 1,000 for validation, 12 epochs. The set of `--trials 300 --seed 0` is in
`benchmarks/nas/data/curves` (MIT, as this project), and other benchmarks read it with `--data`:

    python -m benchmarks.nas.cuda_convnet --data ../shared/data --out out  # half an hour on one core; can be interrupted
    python -m benchmarks.predict.thesis_table --data benchmarks/nas/data --sets cuda-convnet-fashion-mnist
    python -m benchmarks.hyperband --data benchmarks/nas/data
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna

from benchmarks import benchmark_cli
from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space, log_scaled

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cuda_convnet.py"
EPOCHS, KEEP_EVERY = 12, 10
IMAGES = "fashion_mnist_10k.npz"
SET = "cuda_convnet_fashion_mnist.npz"


def load_script(images: Path | None) -> ModuleType:
    """Return the training script, on the images of an npz, or on scikit-learn's digits."""
    import torch

    torch.set_num_threads(1)  # as a worker's
    if images is not None:
        os.environ["CONVNET_IMAGES"] = str(images)
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def drawn(n: int, seed: int) -> list[Mapping[str, Any]]:
    """Return the first n configurations that a random search draws."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = SpaceSampler(load_space(EXAMPLE.with_suffix(".toml")), seed=seed)
    return [sampler.draw() for _ in range(n)]


def curve_of(script: ModuleType, configuration: Mapping[str, Any]) -> list[float]:
    """Train one configuration and return its validation accuracy after each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        return list(islice(script.train(configuration, Path(folder)), EPOCHS))


def save_set(path: Path, configurations: Sequence[Mapping[str, Any]], curves: Sequence[Sequence[float]]) -> None:
    """Write a curve set, as `benchmarks.curves` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(configurations[0])
    meta = {
        "source": f"python -m benchmarks.nas.cuda_convnet --trials {len(curves)}",
        "licence": "MIT, as this project; the images are Fashion-MNIST's (MIT)",
        "metric": "validation accuracy",
        "goal": "maximize",
        "unit": "epoch",
        "log_scaled": [name for name in names if name in log_scaled(load_space(EXAMPLE.with_suffix(".toml")))],
    }
    rows = [[float(configuration[name]) for name in names] for configuration in configurations[: len(curves)]]
    np.savez_compressed(
        path, curves=np.array(curves, np.float32), hparams=np.array(rows), hparam_names=np.array(names), meta=json.dumps(meta)
    )


def known_curves(path: Path) -> list[list[float]]:
    """Return the curves of a set that was begun."""
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as arrays:
        curves: npt.NDArray[np.float32] = arrays["curves"]
        return [[float(value) for value in row] for row in curves]


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not there yet; the last line says how the final values lie."""
    parser = benchmark_cli.parser(__doc__ or "")
    parser.add_argument("--trials", type=int, default=300, help="number of configurations (default: %(default)s)")
    options = parser.parse_args(argv)
    images = options.data / "images" / IMAGES
    if not images.exists():
        print(f"skipped: there is no {images} (the full set is Debian's package dataset-fashion-mnist)")
        return
    path, configurations = options.out / "curves" / SET, drawn(options.trials, options.seed)
    script, curves = load_script(images), known_curves(path)
    for trial in range(len(curves), options.trials):
        curves.append(curve_of(script, configurations[trial]))
        if (trial + 1) % KEEP_EVERY == 0 or trial + 1 == options.trials:
            save_set(path, configurations, curves)
            print(f"{trial + 1} of {options.trials} configurations trained", flush=True)
    finals = np.array(curves)[:, -1]
    quartiles = {f"{q}%": round(float(np.percentile(finals, q)), 4) for q in (0, 25, 50, 75, 100)}
    benchmark_cli.conclude(options.out, "cuda_convnet", {"trials": len(curves), "final": quartiles})


if __name__ == "__main__":
    main()
