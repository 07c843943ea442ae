"""Blocks and cells: codes both ways, sizes and rewards by hand, modules that have them, and BlockQNN's search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.nas.search.q_learning import EpsilonSchedule, QLearning, ReplaySettings
from curvestop.clients.nas.search.q_values import BLOCKQNN_SEARCH, QValues
from curvestop.clients.nas.spaces import cells
from curvestop.clients.nas.spaces.blockqnn import (
    BlockLayer,
    BlockSpace,
    block_from_choices,
    density,
    dot,
    flops,
    loose_ends,
    notation,
    parse,
    redefined_reward,
    widths,
)
from curvestop.clients.nas.training.graph_networks import OPERATIONS, BlockModule, block_network, cell_network

RESIDUAL = "[(1,4,0,0,0), (2,1,3,1,0), (3,1,3,2,0), (4,5,0,1,3)]"
INCEPTION = "[(1,4,0,0,0), (2,1,1,1,0), (3,1,5,1,0), (4,2,3,1,0)]"


def test_a_residual_block() -> None:
    """16 channels in, 8 filters: 9 x 16 x 8 + 9 x 8 x 8, and 16 x 8 to match what is added, at 4 x 4 = 16 places."""
    block = parse(RESIDUAL)
    assert notation(block) == RESIDUAL
    assert loose_ends(block) == (4,)
    assert density(block) == 4 / 4
    assert widths(block, 16, 8) == {1: 16, 2: 8, 3: 8, 4: 16}
    assert flops(block, n_channels=16, n_filters=8, size=4) == (1152 + 576 + 128) * 16


def test_loose_ends_are_concatenated() -> None:
    """Three branches of the input: 3 edges, and 3 to the concatenation, by 4 layers and the concatenation."""
    block = parse(INCEPTION)
    assert loose_ends(block) == (2, 3, 4)
    assert density(block) == 6 / 5
    assert BlockModule(block, 16, 8).n_outputs == 8 + 8 + 16
    drawn = dot(block)
    assert 'n3 [label="3: convolution 5x5"]' in drawn
    assert [line for line in drawn.splitlines() if "-> out" in line] == ["  n2 -> out", "  n3 -> out", "  n4 -> out"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(1,4,0,0,0)", "list of codes"),
        ("[(1,4,0,0,0), (2,1,7,1,0)]", r"a code must be .* but got \(2,1,7,1,0\)"),
        ("[(1,4,0,0,0), (2,1,3,2,0)]", "have earlier ones as inputs"),
        ("[(1,4,0,0,0), (2,5,0,1,0)]", "a code must be"),
        ("[(1,4,0,0,0), (2,9,0,1,0)]", "a code must be"),
    ],
)
def test_what_is_no_block_is_refused(text: str, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        parse(text)


def test_redefined_reward_in_its_units() -> None:
    """e times as many FLOPs, or e times the density, cost half a per cent; a cheaper block is never below a dearer one."""
    assert redefined_reward(0.9, math.e, 1.0) == pytest.approx(0.895)
    assert redefined_reward(0.9, 1, math.e) == pytest.approx(0.895)
    rewards = [redefined_reward(0.9, n_flops, 1.0) for n_flops in (0, 1, 400, 1e6, 1e9)]
    assert rewards[0] == rewards[1] == 0.9
    assert rewards[1:] == sorted(set(rewards), reverse=True)


def test_choices_behind_the_start() -> None:
    """Inputs: only layer 1. 3 convolutions, 2 + 2 poolings, 1 identity; two inputs or the end need another layer first."""
    space = BlockSpace(max_layers=3)
    assert len(space.actions(space.start())) == 8
    second = BlockLayer(2, "convolution", 3, 1)
    assert len(space.actions(second)) == 8 * 2 + 2 + 1
    assert space.actions(BlockLayer(3, "identity", 0, 2)) == (BlockLayer(4, "terminal"),)


@given(st.integers(0, 2**32))
def test_sampled_blocks_read_back_and_are_built(seed: int) -> None:
    space, rng = BlockSpace(max_layers=6), np.random.default_rng(seed)
    chosen: list[BlockLayer] = []
    state: BlockLayer | None = space.start()
    while state is not None:
        actions = space.actions(state)
        chosen.append(actions[rng.integers(len(actions))])
        state = space.step(state, chosen[-1])
    block = block_from_choices(chosen)
    assert parse(notation(block)) == block
    module = BlockModule(block, 3, 4)
    assert module(torch.zeros(2, 3, 5, 5)).shape == (2, module.n_outputs, 5, 5)
    kernels = sum(p.numel() for p in module.parameters() if p.ndim == 4)
    assert kernels == flops(block, n_channels=3, n_filters=4, size=1)


def test_random_blocks_are_of_all_sizes() -> None:
    """One of seven kinds is the terminal, from the second layer on: 1 / 7 of the blocks have one layer, 6 / 7 of the rest two."""
    values, rng = QValues(BlockSpace(max_layers=23), BLOCKQNN_SEARCH), np.random.default_rng(0)
    sizes = [len(block_from_choices(values.sample(1.0, rng))) - 1 for _ in range(700)]
    assert sizes.count(1) == pytest.approx(100, abs=35)  # 700 / 7; four standard deviations
    assert sizes.count(2) == pytest.approx(100 * 6 / 7, abs=35)
    assert max(sizes) > 15


def test_stacked_blocks_give_logits() -> None:
    network = block_network(parse(RESIDUAL), n_channels=1, n_classes=10, n_filters=4, repeats=2, stages=2)
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def convolutions(chosen: Sequence[BlockLayer]) -> int:
    return sum(layer.kind == "convolution" for layer in chosen)


def test_blocks_of_a_batch_are_learnt_together() -> None:
    """More convolutions are better here; after a few batches the agent samples more of them."""
    search = QLearning(
        BlockSpace(max_layers=5),
        seed=0,
        schedule=EpsilonSchedule(((1.0, 64), (0.1, 32))),
        replay=ReplaySettings(batch=16, n_updates=256),
        settings=BLOCKQNN_SEARCH,
    )
    counts = []
    while not search.finished:
        batch = []
        while (proposal := search.propose()) is not None:
            batch.append(proposal.chosen)
        assert len(batch) == 16
        for chosen in batch:
            search.learn(chosen, convolutions(chosen) / 5)
        counts.append(np.mean([*map(convolutions, batch)]))
    assert len(counts) == 6
    assert np.mean(counts[4:]) > np.mean(counts[:4]) + 0.3


def test_the_small_space_has_64_cells_and_the_large_one_branches() -> None:
    assert sum(1 for _ in cells.SMALL_SPACE.all()) == 64
    assert sum(1 for _ in cells.large_space(3).all()) == 8**3 * (1 * 1) * (2 * 2) * (3 * 3)
    assert set(OPERATIONS) == set(cells.OPERATIONS)
    cell = cells.cell_from_choices(("3x3 conv", 0, 0, "identity", 0, 0, "2x2 max pool", 2, 1))
    assert [node.inputs for node in cell] == [(0,), (0,), (1, 2)]
    assert cell_network(cell, n_channels=1, n_classes=10, n_filters=4)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("operation", cells.OPERATIONS)
def test_operations_keep_the_shape(operation: str) -> None:
    assert OPERATIONS[operation](4)(torch.randn(2, 4, 6, 6)).shape == (2, 4, 6, 6)
