"""After a search: trains its best networks by a longer recipe, and tests them and an ensemble (extra [torch]).

Baker et al. 2017 (ICLR), section 5: ten networks are trained, and the best five make the ensemble.
"""

from __future__ import annotations

import hashlib
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
class TrainedNetwork:
    """A network after its long training.

    Attributes:
        architecture: Its notation.
        validation: Accuracy on the validation images, in [0, 1]; None if it was trained on them.
        test: Accuracy on the test images, in [0, 1].
    """

    architecture: str
    validation: float | None
    test: float


@dataclass(frozen=True)
class Selection:
    """The result of a selection.

    Attributes:
        networks: The trained networks, the highest validation accuracy first; as given if they were trained on all images.
        n_ensemble: Number of networks in the ensemble, the first of `networks`.
        ensemble_test: Accuracy on the test images of the mean of their probabilities, in [0, 1].
    """

    networks: tuple[TrainedNetwork, ...]
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
    repeats: int = 1,
    all_images: bool = False,
    seed: int = 0,
    device: str | None = None,
    on_trained: Callable[[TrainedNetwork], None] = lambda network: None,
) -> Selection:
    """Train architectures by a recipe, rank them on the validation images, and test them and an ensemble of the best.

    Args:
        architectures: The architectures in the notation of their space, at least one, the best of the search first.
        images: The data set.
        recipe: How each network is trained.
        n_validation: Number of training images for validation. The split of the same seed is the search's, and these images
            are not trained on unless `all_images` says so.
        folder: Folder of the checkpoints. An interrupted selection continues from them.
        n_ensemble: Number of networks in the ensemble. Default: 5.
        n_filters: Number of filters as of `build`. Default: 32.
        repeats: Number of blocks as of `build`. Default: 1.
        all_images: Whether to train on the validation images too, as the paper does in the end. Then nothing is left to rank by,
            and the networks keep their order. Default: no.
        seed: Seed of the split and of the trainings. Default: 0.
        device: Name of a torch device. Default: a GPU where there is one.
        on_trained: Called with each network when it is trained. Default: nothing.

    Returns:
        The networks and the accuracy of the ensemble.

    Raises:
        ValueError: If there is no architecture, one cannot be read, or `n_validation` does not fit the images.
    """
    if not architectures:
        raise ValueError("a selection needs at least one network trained to the end, but the search has none")
    task = Task.from_images(images, n_validation=n_validation, seed=seed, all_images=all_images, device=device)
    x_test, y_test = (torch.from_numpy(a).to(task.x_train.device) for a in (images.x_test, images.y_test))
    folder.mkdir(parents=True, exist_ok=True)
    results: list[tuple[TrainedNetwork, torch.Tensor]] = []  # with probabilities of the test images, (n, n_classes)
    for text in architectures:
        new_network = partial(
            build,
            text,
            image_size=images.size,
            n_channels=images.n_channels,
            n_classes=images.n_classes,
            n_filters=n_filters,
            repeats=repeats,
        )
        # Another selection in this folder continues what it trains alike, and nothing else.
        name = hashlib.sha256(f"{text} {recipe} {repeats} {all_images}".encode()).hexdigest()[:16]
        module = _trained(new_network, task, recipe, seed=seed, checkpoint=folder / f"{name}.pt")
        validation = None if all_images else accuracy_of(module, task.x_valid, task.y_valid)
        network = TrainedNetwork(text, validation, accuracy_of(module, x_test, y_test))
        results.append((network, logits(module, x_test).softmax(dim=1)))
        on_trained(network)
    # The test images must not choose: ranks and ensemble go by the validation accuracy only.
    results.sort(key=lambda pair: pair[0].validation or 0.0, reverse=True)
    # The ensemble predicts by the mean probability, `(n_test, n_classes)`.
    mean = torch.stack([probabilities for _, probabilities in results[:n_ensemble]]).mean(dim=0)
    ensemble = float((mean.argmax(dim=1) == y_test).float().mean())
    return Selection(tuple(network for network, _ in results), min(n_ensemble, len(results)), ensemble)


def _trained(new_network: Callable[[], nn.Module], task: Task, recipe: Recipe, *, seed: int, checkpoint: Path) -> nn.Module:
    """Train a network, or continue its checkpoint, and return the network of the last checkpoint."""
    for _ in train(new_network, task, recipe, seed=seed, checkpoint=checkpoint):
        pass
    # The generator keeps its network for itself; the last checkpoint has the same weights.
    result = new_network().to(task.x_train.device)
    result.load_state_dict(torch.load(checkpoint, map_location=task.x_train.device, weights_only=True)["network"])
    return result
