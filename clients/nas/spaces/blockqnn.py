"""BlockQNN's blocks: network structure codes, which may follow which, how large a block is, and its reward.

Zhong, Yan and Liu 2017, "Practical Network Blocks Design with Q-Learning", Table 1 and Formula 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

KERNELS = {
    "convolution": (1, 3, 5),
    "max pooling": (1, 3),
    "average pooling": (1, 3),
    "identity": (0,),
    "add": (0,),
    "concat": (0,),
    "terminal": (0,),
}
"""Kinds of layers in the order of their codes, from 1, and their kernels (Table 1)."""

KINDS = tuple(KERNELS)
TWO_INPUTS = ("add", "concat")


@dataclass(frozen=True)
class BlockLayer:
    """One structure code. index: from 1. kernel: 0 where the kind has none. first, second: indices of its inputs, 0: none.

    A convolution is a pre-activation cell: rectifier, convolution, batch normalisation.
    """

    index: int
    kind: str
    kernel: int = 0
    first: int = 0
    second: int = 0

    def __str__(self) -> str:
        return f"({self.index},{KINDS.index(self.kind) + 1},{self.kernel},{self.first},{self.second})"

    @property
    def inputs(self) -> tuple[int, ...]:
        return tuple(i for i in (self.first, self.second) if i)


Block = tuple[BlockLayer, ...]
START = BlockLayer(1, "identity")
"""Every block begins with an identity, which stands for its input."""


@dataclass(frozen=True)
class BlockSpace:
    """Blocks of at most max_layers layers, the start among them and the terminal not. A state is the last layer's code."""

    max_layers: int = 23

    def __post_init__(self) -> None:
        if self.max_layers < 2:
            raise ValueError(f"max_layers must be >= 2, the start and one more, but got {self.max_layers}")

    def start(self) -> BlockLayer:
        return START

    def actions(self, state: BlockLayer) -> tuple[BlockLayer, ...]:
        """The terminal comes last; behind the start it is not offered, as that block would be empty."""
        index, earlier = state.index + 1, range(1, state.index + 1)
        terminal = (BlockLayer(index, "terminal"),) if state.index > 1 else ()
        if state.index >= self.max_layers:
            return terminal
        single = (
            BlockLayer(index, k, f, i)
            for k, fs in KERNELS.items()
            if k not in (*TWO_INPUTS, "terminal")
            for f in fs
            for i in earlier
        )
        double = (BlockLayer(index, k, 0, i, j) for k in TWO_INPUTS for i in earlier for j in earlier if i < j)
        return (*single, *double, *terminal)

    def step(self, state: BlockLayer, action: BlockLayer) -> BlockLayer | None:
        return None if action.kind == "terminal" else action


def notation(block: Sequence[BlockLayer]) -> str:
    """`[(1,4,0,0,0), (2,1,3,1,0), ...]`: index, code of the kind, kernel, inputs."""
    return f"[{', '.join(map(str, block))}]"


def parse(text: str) -> Block:
    """The inverse of `notation`. Raises ValueError for what is no block: it shows the code and the rule."""
    codes = re.findall(r"\(([^()]*)\)", text)
    if re.sub(r"\([^()]*\)|[\s,]", "", text) != "[]" or not codes:
        raise ValueError(f"a block must be a list of codes as [(1,4,0,0,0), (2,1,3,1,0)], but got {text!r}")
    block = tuple(map(_parse_code, codes))
    for place, layer in enumerate(block, start=1):
        if layer.index != place or any(i >= place for i in layer.inputs):
            raise ValueError(f"layers must be numbered from 1 and have earlier ones as inputs, but got {layer}")
    return block


def _parse_code(text: str) -> BlockLayer:
    try:
        index, code, kernel, first, second = map(int, text.split(","))
        kind = KINDS[code - 1] if code > 0 else ""
    except (ValueError, IndexError):
        kind = ""
    if not kind or kernel not in KERNELS[kind] or (second > 0) != (kind in TWO_INPUTS) or min(index, first, second) < 0:
        raise ValueError(
            f"a code must be (index, 1-{len(KINDS)}, a kernel of its kind, input, input), but got ({text})"
        ) from None
    return BlockLayer(index, kind, kernel, first, second)


def block_of(chosen: Sequence[BlockLayer]) -> Block:
    """With its start and without its terminal."""
    return (START, *(layer for layer in chosen if layer.kind != "terminal"))


def loose_ends(block: Block) -> tuple[int, ...]:
    """Indices of the layers that nothing follows: the block's output is all of them, concatenated."""
    used = {i for layer in block for i in layer.inputs}
    return tuple(layer.index for layer in block if layer.index not in used)


def density(block: Block) -> float:
    """Edges by dots; the concatenation of several loose ends is a dot with an edge from each."""
    ends = loose_ends(block)
    edges = sum(len(layer.inputs) for layer in block)
    return (edges + len(ends)) / (len(block) + 1) if len(ends) > 1 else edges / len(block)


def widths(block: Block, n_channels: int, n_filters: int) -> dict[int, int]:
    """Channels behind each layer: n_filters of a convolution; an addition has its first input's, the other is mapped to it."""
    known: dict[int, int] = {}
    for layer in block:
        match layer.kind:
            case "convolution":
                known[layer.index] = n_filters
            case "concat":
                known[layer.index] = known[layer.first] + known[layer.second]
            case _:
                known[layer.index] = known[layer.first] if layer.first else n_channels
    return known


def flops(block: Block, *, n_channels: int, n_filters: int, size: int) -> int:
    """Multiplications with additions of all convolutions, those that match an addition's second input among them."""
    known = widths(block, n_channels, n_filters)
    total = 0
    for layer in block:
        if layer.kind == "convolution":
            total += layer.kernel**2 * known[layer.first] * n_filters
        elif layer.kind == "add" and known[layer.first] != known[layer.second]:
            total += known[layer.first] * known[layer.second]
    return total * size * size


@dataclass(frozen=True)
class RewardUnits:
    """What Formula 1 leaves open. With accuracies in per cent, as the paper prints them, half a natural logarithm of millions of
    FLOPs is a few per cent; the result is divided by 100, the scale of Q-values that start at 0.5.

    accuracy_scale: of an accuracy in [0, 1]. flops_unit: FLOPs are counted in it. weight: of both logarithms.
    """

    accuracy_scale: float = 100.0
    flops_unit: float = 1e6
    weight: float = 0.5


PER_CENT = RewardUnits()


def redefined_reward(accuracy: float, n_flops: float, block_density: float, units: RewardUnits = RewardUnits()) -> float:
    """Formula 1: accuracy - 0.5 log(FLOPs) - 0.5 log(density), divided by the accuracy's scale."""
    if n_flops <= 0 or block_density <= 0:
        return accuracy  # a block without convolutions or edges has no logarithm to subtract
    penalty = units.weight * (math.log(n_flops / units.flops_unit) + math.log(block_density))
    return accuracy - penalty / units.accuracy_scale


def dot(block: Block) -> str:
    """The block as a graph in Graphviz's language."""
    lines = ["digraph block {", "  node [shape=box]"]
    for layer in block:
        kernel = f" {layer.kernel}x{layer.kernel}" if layer.kernel else ""
        name = "input" if layer == START else f"{layer.index}: {layer.kind}{kernel}"
        lines.append(f'  n{layer.index} [label="{name}"]')
        lines += [f"  n{i} -> n{layer.index}" for i in layer.inputs]
    lines.append('  out [label="output (concatenated)"]' if len(loose_ends(block)) > 1 else '  out [label="output"]')
    lines += [f"  n{i} -> out" for i in loose_ends(block)]
    return "\n".join([*lines, "}"]) + "\n"
