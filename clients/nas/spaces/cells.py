"""Cells of the PPO poster: eight operations, a small space of 64 cells and a large one with branches and skips.

Arora and Krone, "Learning to Design CNNs with Reinforcement Learning".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain, Option

OPERATIONS = (
    "1x3 then 3x1 conv",
    "3x3 conv",
    "3x3 separable conv",
    "5x5 conv",
    "7x7 conv",
    "2x2 max pool",
    "2x2 average pool",
    "identity",
)
"""The operations of the poster, by the names that it gives them."""

# 8 x 8 cells: small enough to train each one and know the best.
SMALL_SPACE = ChoiceChain((Choice("operation", OPERATIONS),) * 2)
"""The small space: two operations in a row, 64 cells."""


@dataclass(frozen=True)
class Node:
    """An operation on the sum of its inputs.

    Attributes:
        operation: One of `OPERATIONS`.
        inputs: What the node reads: 0 is the cell's input, i is the i-th node.
    """

    operation: str
    inputs: tuple[int, ...]


Cell = tuple[Node, ...]


def large_space(n_nodes: int = 4) -> ChoiceChain:
    """Return the large space: each node has an operation and two inputs, any earlier nodes or the cell's input.

    Args:
        n_nodes: Number of nodes of a cell, at least 1.

    Returns:
        Three choices a node: the operation and both inputs.

    Raises:
        ValueError: If `n_nodes` is below 1.
    """
    if n_nodes < 1:
        raise ValueError(f"n_nodes must be >= 1, but got {n_nodes}")
    choices: list[Choice] = []
    for node in range(n_nodes):
        # A kind of its own for each node, as the number of options grows; both inputs share the controller's weights.
        one_input = Choice(f"input of node {node + 1}", tuple(range(node + 1)))
        choices += [Choice("operation", OPERATIONS), one_input, one_input]
    return ChoiceChain(tuple(choices))


def cell_from_choices(chosen: Sequence[Option]) -> Cell:
    """Return the cell of the options chosen in the large space. An input that is chosen twice counts once.

    Args:
        chosen: Three options a node: the operation and two inputs, 0 for the cell's input.
    """
    # Three choices a node: operation, input, input.
    triples = [chosen[i : i + 3] for i in range(0, len(chosen), 3)]
    return tuple(Node(str(operation), tuple(sorted({int(a), int(b)}))) for operation, a, b in triples)


def small_cell_from_choices(chosen: Sequence[Option]) -> Cell:
    """Return the cell of the operations chosen in the small space, each on the output of the one before.

    Args:
        chosen: Two operations.
    """
    return tuple(Node(str(operation), (i,)) for i, operation in enumerate(chosen))


def notation(cell: Cell) -> str:
    """Write a cell as `cell[3x3 conv(0), identity(0+1)]`: each node's operation and inputs."""
    nodes = [f"{node.operation}({'+'.join(map(str, node.inputs))})" for node in cell]
    return f"cell[{', '.join(nodes)}]"


def parse(text: str) -> Cell:
    """Read a cell from the text that `notation` writes.

    Args:
        text: A cell as `cell[3x3 conv(0), identity(0+1)]`.

    Returns:
        Its nodes in order.

    Raises:
        ValueError: If there is no node, an operation is unknown, or a node reads a later one. The message shows the text.
    """
    inside = re.fullmatch(r"cell\[(.*)\]", text)
    matches = [re.fullmatch(r"(.+)\((\d+(?:\+\d+)*)\)", part) for part in inside[1].split(", ")] if inside else []
    nodes = []
    for n_earlier, match in enumerate(matches):
        inputs = tuple(map(int, match[2].split("+"))) if match else ()
        # Node k (from 1) may read 0..k - 1, and n_earlier is k - 1.
        if match is None or match[1] not in OPERATIONS or max(inputs) > n_earlier:
            raise ValueError(f"node {n_earlier + 1} must be OPERATION(INPUTS), of earlier nodes, but got {text!r}")
        nodes.append(Node(match[1], inputs))
    if not nodes:
        raise ValueError(f"a cell must be cell[OPERATION(INPUTS), ...], but got {text!r}")
    return tuple(nodes)
