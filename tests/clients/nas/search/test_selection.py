"""The best networks of a search, trained longer, and their ensemble."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from curvestop.clients.nas.search.selection import TrainedNetwork, select
from curvestop.clients.nas.training.datasets import load_images
from curvestop.clients.nas.training.recipes import FINAL_REPEATS, Recipe
from curvestop.clients.nas.training.trainer import Task

NETWORKS = ["[C(4,3,1), SM(10)]", "[C(8,3,1), P(2,2), SM(10)]", "[C(4,1,1), GAP(10), SM(10)]"]
RECIPE = Recipe(((0.01, 2),), batch_size=64)


def test_the_best_are_ranked_and_put_together(tmp_path: Path) -> None:
    images = load_images("digits")
    trained: list[TrainedNetwork] = []
    selected = select(
        NETWORKS, images, RECIPE, n_validation=300, folder=tmp_path, n_ensemble=2, device="cpu", on_trained=trained.append
    )
    validation = [network.validation or 0.0 for network in selected.networks]
    assert validation == sorted(validation, reverse=True)
    assert {network.architecture for network in selected.networks} == set(NETWORKS)
    assert [network.architecture for network in trained] == NETWORKS
    assert selected.n_ensemble == 2
    assert selected.ensemble_test > 0.7
    again = select(NETWORKS, images, RECIPE, n_validation=300, folder=tmp_path, n_ensemble=2, device="cpu")
    assert again == selected
    other = select(NETWORKS[1:2], images, RECIPE, n_validation=300, folder=tmp_path, device="cpu")
    assert other.networks[0] in selected.networks  # its own checkpoint goes on, not that of the first network


def test_the_final_networks_are_trained_on_all_images(tmp_path: Path) -> None:
    """Nothing is left to rank them by, so they stay in order; a block of one convolution has it 4 x 3 times."""
    block = "[(1,4,0,0,0), (2,1,1,1,0)]"
    images, recipe = load_images("digits"), Recipe(((0.01, 1),), batch_size=256)
    selected = select(
        [block, NETWORKS[0]],
        images,
        recipe,
        n_validation=300,
        folder=tmp_path,
        n_filters=2,
        repeats=FINAL_REPEATS,
        all_images=True,
        device="cpu",
    )
    assert [(network.architecture, network.validation) for network in selected.networks] == [(block, None), (NETWORKS[0], None)]
    weights = [torch.load(file, weights_only=True)["network"].values() for file in tmp_path.glob("*.pt")]
    assert sorted(sum(tensor.ndim == 4 for tensor in of_one) for of_one in weights) == [1, 4 * 3 + 1]  # the stem, too
    task = Task.from_images(images, n_validation=300, all_images=True, device="cpu")
    assert (len(task.x_train), len(task.x_valid)) == (1500, 300)


def test_a_search_without_a_finished_network_has_none_to_select(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one network trained to the end"):
        select([], load_images("digits"), RECIPE, n_validation=300, folder=tmp_path)
