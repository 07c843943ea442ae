"""Training a network: sizes, restarts, schedules, and continuing from a checkpoint as if nothing had happened."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from curvestop.clients.nas.spaces.layers import parse, with_dropout
from curvestop.clients.nas.training.counting import n_weights
from curvestop.clients.nas.training.datasets import load_images
from curvestop.clients.nas.training.networks import network
from curvestop.clients.nas.training.recipes import FINAL, Recipe, decayed
from curvestop.clients.nas.training.trainer import Task, augmented, chosen_device, train

SMALL = with_dropout(parse("[C(8,3,1), P(2,2), C(8,3,1), SM(10)]"))


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.from_images(load_images("digits"), n_validation=200, n_training=300, device="cpu")


def new_network() -> torch.nn.Module:
    return network(SMALL, image_size=8, n_channels=1)


@pytest.mark.parametrize(
    "text",
    [
        "[C(8,5,1), P(3,2), FC(16), FC(16), SM(10)]",
        "[C(8,1,1), P(2,2), C(16,3,1), GAP(10), SM(10)]",
        "[C(8,3,1), D(1,1), P(5,3), SM(10)]",
    ],
)
def test_networks_have_the_weights_that_are_counted(text: str) -> None:
    architecture = parse(text)
    built = network(architecture, image_size=8, n_channels=1)
    assert built(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    weights = sum(p.numel() for name, p in built.named_parameters() if name.endswith("weight"))
    assert weights == n_weights(architecture, image_size=8, n_channels=1)
    assert all(not p.any() for name, p in built.named_parameters() if name.endswith("bias"))


def test_schedules_of_section_5() -> None:
    exploration = Recipe(decayed(20))
    assert exploration.epochs == 20
    assert [exploration.rate(e) for e in (0, 4, 5, 19)] == pytest.approx([0.001, 0.001, 0.0002, 0.000008])
    assert FINAL["cifar10"].epochs == 300
    assert [epochs for _, epochs in decayed(12)] == [5, 5, 2]
    with pytest.raises(ValueError, match="learning rate > 0"):
        Recipe(())


def test_it_learns(task: Task) -> None:
    values = list(train(new_network, task, Recipe(((0.01, 4),), batch_size=32), seed=0))
    assert len(values) == 4
    assert values[-1] > 0.6


def test_a_training_continues_from_its_checkpoint_as_if_nothing_had_happened(task: Task, tmp_path: Path) -> None:
    recipe, checkpoint = Recipe(decayed(4, rate=0.01, every=2), batch_size=32), tmp_path / "model.pt"
    straight = list(train(new_network, task, recipe, seed=1))
    first = list(islice(train(new_network, task, recipe, seed=1, checkpoint=checkpoint), 2))
    rest = list(train(new_network, task, recipe, seed=1, checkpoint=checkpoint))
    assert first + rest == straight
    assert list(train(new_network, task, recipe, seed=1, checkpoint=checkpoint)) == []


def test_one_that_does_not_learn_starts_again_at_lower_rates(task: Task) -> None:
    """Empty images: every prediction is the same class, no better than chance. It restarts five times and then continues."""
    built = []

    def counted() -> torch.nn.Module:
        built.append(new_network())
        return built[-1]

    empty = Task(torch.zeros_like(task.x_train), task.y_train, torch.zeros_like(task.x_valid), task.y_valid)
    values = list(train(counted, empty, Recipe(((0.001, 2),)), seed=0))
    assert len(built) == 6
    assert len(values) == 2


def test_the_callers_random_numbers_are_left_alone(task: Task) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    next(train(new_network, task, Recipe(((0.01, 1),)), seed=0))
    assert torch.rand(1) == expected


def test_images_are_mirrored_and_moved() -> None:
    """Each image has a shift of its own, and what is not moved out of it stays as it is."""
    one = torch.zeros(200, 1, 11, 11)
    one[:, :, 5, 5] = 1  # the middle, which mirroring leaves there
    places = augmented(one).flatten(1).argmax(dim=1)
    assert augmented(one).flatten(1).sum(dim=1).tolist() == [1.0] * 200
    assert len(set(places.tolist())) > 80  # of 121 places, 98 are expected
    assert {place // 11 for place in places.tolist()} == {place % 11 for place in places.tolist()} == set(range(11))
    x = torch.arange(2 * 2 * 64.0).reshape(2, 2, 8, 8)
    assert augmented(x).shape == x.shape
    assert torch.equal(augmented(x, max_shift=0).sum(dim=3), x.sum(dim=3))


def test_a_device_can_be_asked_for() -> None:
    assert chosen_device("cpu").type == "cpu"
    assert chosen_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_validation_and_training_are_different_images(task: Task) -> None:
    assert (len(task.x_train), len(task.x_valid)) == (300, 200)
    assert np.bincount(task.y_train).min() >= 28
    assert 0.1 <= task.chance < 0.12
