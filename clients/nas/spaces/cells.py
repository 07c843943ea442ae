"""Cells of the PPO poster: eight operations, a small space of 64 cells and a large one with branches and skips.

Arora and Krone, "Learning to Design CNNs with Reinforcement Learning".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from curvestop.clients.nas.spaces.chain import Decision, DecisionChain, Option

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

SMALL = DecisionChain((Decision("operation", OPERATIONS),) * 2)
"""Two operations one behind the other: 64 cells."""


@dataclass(frozen=True)
class Node:
    """An operation on the sum of its inputs: 0 is the cell's input, i the i-th node."""

    operation: str
    inputs: tuple[int, ...]


Cell = tuple[Node, ...]


def large(n_nodes: int = 4) -> DecisionChain:
    """Every node has an operation and two inputs, any earlier node or the cell's input: branches, and skips where they differ."""
    if n_nodes < 1:
        raise ValueError(f"n_nodes must be >= 1, but got {n_nodes}")
    decisions: list[Decision] = []
    for node in range(n_nodes):
        inputs = Decision(f"input of node {node + 1}", tuple(range(node + 1)))
        decisions += [Decision("operation", OPERATIONS), inputs, inputs]
    return DecisionChain(tuple(decisions))


def small_cell(chosen: Sequence[Option]) -> Cell:
    return tuple(Node(str(operation), (i,)) for i, operation in enumerate(chosen))


def large_cell(chosen: Sequence[Option]) -> Cell:
    """An input that is named twice counts once."""
    triples = [chosen[i : i + 3] for i in range(0, len(chosen), 3)]
    return tuple(Node(str(operation), tuple(sorted({int(a), int(b)}))) for operation, a, b in triples)


def notation(cell: Cell) -> str:
    """`cell[3x3 conv(0), identity(0+1)]`: each node's operation and inputs."""
    nodes = [f"{node.operation}({'+'.join(map(str, node.inputs))})" for node in cell]
    return f"cell[{', '.join(nodes)}]"


def parse(text: str) -> Cell:
    """The other way round. Raises ValueError for what `notation` cannot have made."""
    inside = re.fullmatch(r"cell\[(.*)\]", text)
    found = [re.fullmatch(r"(.+)\((\d+(?:\+\d+)*)\)", part) for part in inside[1].split(", ")] if inside else []
    nodes = []
    for place, match in enumerate(found):
        inputs = tuple(map(int, match[2].split("+"))) if match else ()
        if match is None or match[1] not in OPERATIONS or max(inputs) > place:
            raise ValueError(f"node {place + 1} must be OPERATION(INPUTS), of earlier nodes, but got {text!r}")
        nodes.append(Node(match[1], inputs))
    if not nodes:
        raise ValueError(f"a cell must be cell[OPERATION(INPUTS), ...], but got {text!r}")
    return tuple(nodes)
