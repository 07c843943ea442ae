"""Trains a network and yields its validation accuracy after each epoch (extra [torch]); continues from a checkpoint.

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

from curvestop.clients.nas.training.datasets import Images, Labels, Pixels, split_images
from curvestop.clients.nas.training.recipes import Recipe


@dataclass(frozen=True)
class Task:
    """Images and labels on a device, split into training and validation.

    Attributes:
        x_train: Training images, `(n, channels, size, size)`.
        y_train: Their classes from 0, `(n,)`.
        x_valid: Validation images, `(m, channels, size, size)`.
        y_valid: Their classes, `(m,)`.
    """

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_valid: torch.Tensor
    y_valid: torch.Tensor

    @classmethod
    def from_images(
        cls,
        images: Images,
        *,
        n_validation: int,
        seed: int = 0,
        n_training: int | None = None,
        all_images: bool = False,
        device: str | None = None,
    ) -> Task:
        """Split the training images of a data set; classes keep their shares in both parts.

        Args:
            images: The data set. Its test images are not used.
            n_validation: Number of images for validation.
            seed: Seed of the split.
            n_training: Number of images to train on. Default: all that are not for validation.
            all_images: Whether to train on the validation images too. Default: no.
            device: Name of a torch device. Default: a GPU where there is one.

        Returns:
            The task, with its tensors on the device.

        Raises:
            ValueError: If a part would have fewer images than there are classes.
        """
        n_own = len(images.y_train) - images.n_extra
        training, validation = split_images(images.y_train[:n_own], n_validation, n_training or 0, seed=seed)
        more = np.arange(n_own, len(images.y_train))
        training = np.concatenate([training, validation, more] if all_images else [training, more])
        return cls.from_arrays(
            images.x_train[training], images.y_train[training], images.x_train[validation], images.y_train[validation], device
        )

    @classmethod
    def from_arrays(cls, x_train: Pixels, y_train: Labels, x_valid: Pixels, y_valid: Labels, device: str | None = None) -> Task:
        """Move arrays to a device. The arguments are the attributes as arrays, and the device as in `from_images`.

        Args:
            x_train: Training images, `(n, channels, size, size)`.
            y_train: Their classes from 0, `(n,)`.
            x_valid: Validation images, `(m, channels, size, size)`.
            y_valid: Their classes, `(m,)`.
            device: Name of a torch device. Default: a GPU where there is one.
        """
        target = chosen_device(device)
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)).to(target) for a in (x_train, y_train, x_valid, y_valid)))

    @property
    def chance(self) -> float:
        """Validation accuracy of always predicting the most frequent class, in [0, 1]."""
        # Not 1 / classes: with unequal classes that would call a constant answer better than chance.
        return float(torch.bincount(self.y_valid).max()) / len(self.y_valid)


def chosen_device(device: str | None = None) -> torch.device:
    """Return the named device, or a GPU where there is one, else the CPU.

    Args:
        device: Name of a torch device, such as "cuda:1". Default: choose.
    """
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def train(
    new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, *, seed: int, checkpoint: Path | None = None
) -> Iterator[float]:
    """Train a network and yield its validation accuracy after each epoch.

    A network that is no better than chance after its first epoch starts again at a lower learning rate, before anything is
    yielded.

    Args:
        new_network: Makes the untrained network; called once more at each restart.
        task: The images.
        recipe: Learning rates, batches and restarts.
        seed: Seed of initial weights, the order of images and augmentation.
        checkpoint: File that is replaced after each epoch, before the accuracy is yielded. If it exists, the training
            continues from it as if it had not been interrupted. Default: no checkpoint.

    Yields:
        The validation accuracy after the next epoch, in [0, 1], higher is better.
    """
    run = _Run(new_network, task, recipe, seed)
    if checkpoint is not None and checkpoint.exists():
        run.restore(torch.load(checkpoint, map_location=task.x_train.device, weights_only=True))
    while run.epoch < recipe.epochs:
        accuracy = run.train_epoch()
        # Section 5: a network that has not begun to learn starts again at 0.4 times the rate, at most five times.
        if run.epoch == 1 and accuracy <= task.chance and run.n_restarts < recipe.max_restarts:
            run.restart()
            continue
        # The checkpoint comes first: the accuracy of an epoch that is reported must never have to be trained again.
        if checkpoint is not None:
            save(checkpoint, run.state())
        yield accuracy


@torch.no_grad()
def logits(network: nn.Module, x: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    """Compute the logits `(n, n_classes)` of images `(n, channels, size, size)`, and leave the network in evaluation mode.

    Args:
        network: The network, on the device of the images.
        x: The images.
        batch_size: Number of images at a time, which bounds the memory. Default: 1024.
    """
    network.eval()
    return torch.cat([network(part) for part in torch.split(x, batch_size)])


def accuracy_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of images `(n, channels, size, size)` whose class `(n,)` the network predicts, in [0, 1].

    Args:
        network: The network; it is left in evaluation mode.
        x: The images.
        y: Their classes, from 0.
    """
    return float((logits(network, x).argmax(dim=1) == y).float().mean())


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint as a whole: the file is the old one or the new one, never a part.

    Args:
        path: The file; one beside it, with the suffix .part, is written first.
        content: Tensors, numbers and text, which `torch.load` reads with `weights_only=True`.
    """
    # In the same folder, as `os.replace` is atomic only within one file system.
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


class _Run:
    """One training in progress.

    `epoch` counts the epochs that are over, `n_restarts` the restarts at lower learning rates.
    """

    def __init__(self, new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, seed: int) -> None:
        self.task, self.recipe, self.seed = task, recipe, seed
        self.new_network = new_network
        self.n_restarts = -1  # `restart` makes it 0
        self.mixed_precision = task.x_train.device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        self.n_restarts, self.epoch = self.n_restarts + 1, 0
        with self._seeded(0):
            self.network = self.new_network().to(self.task.x_train.device)
        self.optimizer = _optimizer(self.network, self.recipe)

    def train_epoch(self) -> float:
        """Train one epoch and return the validation accuracy."""
        rate = self.recipe.rate(self.epoch) * self.recipe.restart_factor**self.n_restarts
        for group in self.optimizer.param_groups:
            group["lr"] = rate  # set, not multiplied: right after a restore, too
        self.epoch += 1
        with self._seeded(self.epoch):
            self.network.train()
            # Drawn on the CPU: the same order on every device.
            order = torch.randperm(len(self.task.x_train)).to(self.task.x_train.device)
            for batch in torch.split(order, self.recipe.batch_size):
                self._step(self.task.x_train[batch], self.task.y_train[batch])
        return accuracy_of(self.network, self.task.x_valid, self.task.y_valid)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        if self.recipe.augment:
            x = augmented(x, max_shift=self.recipe.max_shift)
        self.optimizer.zero_grad()
        # On a GPU in bfloat16, whose range is that of float32, so the loss needs no scaling.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.mixed_precision):
            loss = nn.functional.cross_entropy(self.network(x), y)
        torch.autograd.backward(loss)
        self.optimizer.step()

    @contextlib.contextmanager
    def _seeded(self, epoch: int) -> Iterator[None]:
        """Seed torch by the seed, the restart and the epoch only, and restore the caller's generator afterwards."""
        # A training that continues from a checkpoint therefore draws what it would have drawn without the interruption.
        with torch.random.fork_rng(devices=[self.task.x_train.device] if self.mixed_precision else []):
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


def augmented(x: torch.Tensor, *, max_shift: int = 5) -> torch.Tensor:
    """Mirror and shift images at random (section 5, CIFAR-10); what a shift uncovers is 0, the mean image.

    Args:
        x: Images, `(n, channels, size, size)`.
        max_shift: Maximum shift in each direction, in pixels. Default: 5.

    Returns:
        Images of the same shape; each is mirrored with probability 0.5 and has a shift of its own.
    """
    mirrored = torch.rand(len(x), device=x.device) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    size = x.shape[2]
    # (n, size): the rows and the columns of the padded image that each image keeps.
    down, right = (torch.randint(2 * max_shift + 1, (len(x), 1), device=x.device) for _ in range(2))
    rows, columns = (first + torch.arange(size, device=x.device) for first in (down, right))
    padded = nn.functional.pad(x, (max_shift,) * 4)
    # The slice of channels between index arrays puts the channels last: (n, size, size, channels).
    images = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # The learning rate here does not matter, since `train_epoch` sets it at each epoch.
    if recipe.momentum is not None:
        return torch.optim.SGD(network.parameters(), lr=1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(network.parameters(), lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=recipe.weight_decay)
