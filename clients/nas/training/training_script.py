"""The training script that the workers of `metaqnn run` load. Its contract is that of `hyperband run`'s scripts (extra [torch]).

Keys of the configuration: "architecture" in the notation of its space (see `build`), "n_filters" of blocks and cells, "data"
(see `load_images`), "n_validation", "n_training" (0: all other images), "epochs", "learning_rate", "batch_size",
"max_restarts", "seed" and "device" ("": a GPU where there is one).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from curvestop.clients.nas.training.building import build
from curvestop.clients.nas.training.datasets import load_images
from curvestop.clients.nas.training.recipes import Recipe, decayed
from curvestop.clients.nas.training.trainer import Task
from curvestop.clients.nas.training.trainer import train as train_network


@lru_cache(maxsize=1)  # a worker trains many networks on the same images
def _task(data: str, n_validation: int, n_training: int, seed: int, device: str) -> Task:
    images = load_images(data)
    return Task.from_images(images, n_validation=n_validation, n_training=n_training or None, seed=seed, device=device or None)


def train(configuration: Mapping[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Train one network and yield its validation accuracy, in [0, 1], after each epoch.

    Args:
        configuration: What to train and how; the module's docstring lists the keys.
        checkpoint_dir: Folder of the trial's checkpoint. A training that has one continues from it.

    Yields:
        The validation accuracy after the next epoch, higher is better.
    """
    text, seed = str(configuration["architecture"]), int(configuration["seed"])
    task = _task(configuration["data"], configuration["n_validation"], configuration["n_training"], seed, configuration["device"])
    n_channels, size, n_classes = task.x_train.shape[1], task.x_train.shape[2], int(task.y_train.max()) + 1
    n_filters = configuration["n_filters"]

    def new_network() -> nn.Module:
        return build(text, image_size=size, n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)

    # The search's short schedule: 0.2 times the rate every 5 epochs (section 5).
    recipe = Recipe(
        decayed(configuration["epochs"], rate=configuration["learning_rate"]),
        batch_size=configuration["batch_size"],
        max_restarts=configuration["max_restarts"],
    )
    # Networks of one search start from different seeds, and the same network always from the same one.
    network_seed = zlib.crc32(f"{seed} {text}".encode())
    return train_network(new_network, task, recipe, seed=network_seed, checkpoint=checkpoint_dir / "model.pt")
