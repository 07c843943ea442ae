"""After a search: its best networks trained on a longer schedule, and an ensemble of the best of these (extra [torch]).

Baker et al. 2017 (ICLR), section 5: ten are trained, five make the ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from curvestop.clients.nas.training.building import build
from curvestop.clients.nas.training.datasets import Images
from curvestop.clients.nas.training.recipes import Recipe
from curvestop.clients.nas.training.trainer import Task, accuracy_of, logits, train


@dataclass(frozen=True)
class Final:
    """A network after its long training. validation, test: accuracies in [0, 1]."""

    architecture: str
    validation: float
    test: float


@dataclass(frozen=True)
class Selected:
    """networks: best validation accuracy first. ensemble_test: of the mean of the probabilities of the first n_ensemble."""

    networks: tuple[Final, ...]
    n_ensemble: int
    ensemble_test: float


def select(
    architectures: Sequence[str],
    images: Images,
    recipe: Recipe,
    *,
    n_validation: int,
    folder: Path,
    n_ensemble: int = 5,
    n_filters: int = 32,
    seed: int = 0,
    device: str | None = None,
    on_trained: Callable[[Final], None] = lambda final: None,
) -> Selected:
    """Train the architectures to the recipe's end, rank them on the validation images, and test the best and their ensemble.

    folder: of their checkpoints: interrupted, it goes on from there. The validation images are those of the search with the
    same seed, and are not trained on. n_filters: as of `build`.
    """
    if not architectures:
        raise ValueError("a selection needs at least one network trained to the end, but the search has none")
    task = Task.of(images, n_validation=n_validation, seed=seed, device=device)
    x_test, y_test = (torch.from_numpy(a).to(task.x_train.device) for a in (images.x_test, images.y_test))
    folder.mkdir(parents=True, exist_ok=True)
    found: list[tuple[Final, torch.Tensor]] = []
    for place, text in enumerate(architectures):
        new_network = partial(
            build,
            text,
            image_size=images.size,
            n_channels=images.n_channels,
            n_classes=images.n_classes,
            n_filters=n_filters,
        )
        trained = _trained(new_network, task, recipe, seed=seed, checkpoint=folder / f"{place}.pt")
        final = Final(text, accuracy_of(trained, task.x_valid, task.y_valid), accuracy_of(trained, x_test, y_test))
        found.append((final, logits(trained, x_test).softmax(dim=1)))
        on_trained(final)
    found.sort(key=lambda pair: pair[0].validation, reverse=True)
    mean = torch.stack([probabilities for _, probabilities in found[:n_ensemble]]).mean(dim=0)
    ensemble = float((mean.argmax(dim=1) == y_test).float().mean())
    return Selected(tuple(final for final, _ in found), min(n_ensemble, len(found)), ensemble)


def _trained(new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, *, seed: int, checkpoint: Path) -> nn.Module:
    for _ in train(new_network, task, recipe, seed=seed, checkpoint=checkpoint):
        pass
    result = new_network().to(task.x_train.device)
    result.load_state_dict(torch.load(checkpoint, map_location=task.x_train.device, weights_only=True)["network"])
    return result
