"""Trains a network and yields its validation accuracy after each epoch (extra [torch]); goes on from a checkpoint.

Baker et al. 2017 (ICLR), section 5.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from curvestop.clients.nas.training.datasets import Images, Labels, Pixels, split_validation
from curvestop.clients.nas.training.recipes import Recipe


@dataclass(frozen=True)
class Task:
    """What networks are trained on: images and labels on a device, split into training and validation."""

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_valid: torch.Tensor
    y_valid: torch.Tensor

    @classmethod
    def of(
        cls, images: Images, *, n_validation: int, seed: int = 0, n_training: int | None = None, device: str | None = None
    ) -> Task:
        """n_validation of the training images for validation, stratified; n_training of the others (default: all)."""
        training, validation = split_validation(images.y_train, n_validation, seed=seed)
        if n_training is not None and n_training < len(training):
            kept, _ = split_validation(images.y_train[training], len(training) - n_training, seed=seed)
            training = training[kept]
        return cls.from_arrays(
            images.x_train[training], images.y_train[training], images.x_train[validation], images.y_train[validation], device
        )

    @classmethod
    def from_arrays(cls, x_train: Pixels, y_train: Labels, x_valid: Pixels, y_valid: Labels, device: str | None = None) -> Task:
        where = chosen_device(device)
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)).to(where) for a in (x_train, y_train, x_valid, y_valid)))

    @property
    def chance(self) -> float:
        """Accuracy of always naming the most frequent class."""
        return float(torch.bincount(self.y_valid).max()) / len(self.y_valid)


def chosen_device(device: str | None = None) -> torch.device:
    """The device asked for, or a GPU where there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def train(
    new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, *, seed: int, checkpoint: Path | None = None
) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch of the recipe.

    A network no better than chance after its first epoch starts again at a lower rate, before anything is yielded.
    checkpoint: a file, replaced after each epoch before it is yielded; where there is one, training goes on from it, as if
    it had not been interrupted.
    """
    run = _Run(new_network, task, recipe, seed)
    if checkpoint is not None and checkpoint.exists():
        run.restore(torch.load(checkpoint, map_location=task.x_train.device, weights_only=True))
    while run.epoch < recipe.epochs:
        accuracy = run.train_epoch()
        if run.epoch == 1 and accuracy <= task.chance and run.n_restarts < recipe.max_restarts:
            run.restart()
            continue
        if checkpoint is not None:
            save(checkpoint, run.state())
        yield accuracy


@torch.no_grad()
def logits(network: nn.Module, x: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    network.eval()
    return torch.cat([network(part) for part in torch.split(x, batch_size)])


def accuracy_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((logits(network, x).argmax(dim=1) == y).float().mean())


def save(path: Path, content: dict[str, Any]) -> None:
    """All or nothing."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


class _Run:
    """One training under way. epoch: those that are over. n_restarts: at lower learning rates."""

    def __init__(self, new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, seed: int) -> None:
        self.task, self.recipe, self.seed = task, recipe, seed
        self.new_network = new_network
        self.n_restarts = -1
        self.mixed = task.x_train.device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        self.n_restarts, self.epoch = self.n_restarts + 1, 0
        with self._random(0):
            self.network = self.new_network().to(self.task.x_train.device)
        self.optimizer = _optimiser(self.network, self.recipe)

    def train_epoch(self) -> float:
        rate = self.recipe.rate(self.epoch) * self.recipe.restart_factor**self.n_restarts
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.epoch += 1
        with self._random(self.epoch):
            self.network.train()
            order = torch.randperm(len(self.task.x_train)).to(self.task.x_train.device)
            for batch in torch.split(order, self.recipe.batch_size):
                self._step(self.task.x_train[batch], self.task.y_train[batch])
        return accuracy_of(self.network, self.task.x_valid, self.task.y_valid)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        if self.recipe.augment:
            x = augmented(x)
        self.optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.mixed):
            loss = nn.functional.cross_entropy(self.network(x), y)
        torch.autograd.backward(loss)
        self.optimizer.step()

    @contextlib.contextmanager
    def _random(self, epoch: int) -> Iterator[None]:
        """Draws that depend on the seed and the epoch only; the caller's generator stays where it is."""
        with torch.random.fork_rng(devices=[self.task.x_train.device] if self.mixed else []):
            torch.manual_seed(int(np.random.SeedSequence((self.seed, self.n_restarts, epoch)).generate_state(1)[0]))
            yield

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "n_restarts": self.n_restarts,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.n_restarts = state["epoch"], state["n_restarts"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def augmented(x: torch.Tensor, *, shift: int = 5) -> torch.Tensor:
    """Mirrored at random, and the batch moved by up to `shift` pixels (section 5, CIFAR-10)."""
    mirrored = torch.rand(len(x), device=x.device) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    size = x.shape[2]
    down, right = (int(torch.randint(2 * shift + 1, ())) for _ in range(2))
    return nn.functional.pad(x, (shift,) * 4)[:, :, down : down + size, right : right + size]


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.momentum is not None:
        return torch.optim.SGD(network.parameters(), lr=1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(network.parameters(), lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=recipe.weight_decay)
