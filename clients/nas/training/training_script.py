"""The training script of `metaqnn run`: what its workers load. The contract is that of `hyperband run`'s scripts (extra [torch]).

configuration: "architecture" in the notation of its space (see `build`), "n_filters" of blocks and cells, "data" (see
`load_images`), "n_validation", "n_training" (0: all others), "epochs", "learning_rate", "batch_size", "max_restarts", "seed" and
"device" ("": automatic).
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


@lru_cache(maxsize=1)
def task_of(data: str, n_validation: int, n_training: int, seed: int, device: str) -> Task:
    return Task.of(load_images(data), n_validation=n_validation, n_training=n_training or None, seed=seed, device=device or None)


def train(configuration: Mapping[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch."""
    of = configuration
    text, seed = str(of["architecture"]), int(of["seed"])
    task = task_of(of["data"], of["n_validation"], of["n_training"], of["seed"], of["device"])
    channels, size, n_classes = task.x_train.shape[1], task.x_train.shape[2], int(task.y_train.max()) + 1

    def new_network() -> nn.Module:
        return build(text, image_size=size, n_channels=channels, n_classes=n_classes, n_filters=of["n_filters"])

    recipe = Recipe(decayed(of["epochs"], rate=of["learning_rate"]), batch_size=of["batch_size"], max_restarts=of["max_restarts"])
    own_seed = zlib.crc32(f"{seed} {text}".encode())
    return train_network(new_network, task, recipe, seed=own_seed, checkpoint=checkpoint_dir / "model.pt")
