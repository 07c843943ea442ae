"""BlockQNN's blocks: their structure codes, which may follow which, the size of a block, and its reward.

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
"""Kernel sizes of each kind of layer, the kinds in the order of their codes, which begin with 1 (Table 1)."""

KINDS = tuple(KERNELS)
TWO_INPUTS = ("add", "concat")
"""The kinds of layers that have two inputs."""


@dataclass(frozen=True)
class BlockLayer:
    """One layer of a block, which is one structure code.

    A convolution is a pre-activation cell: rectifier, convolution, batch normalization.

    Attributes:
        index: Position in the block, 1-based.
        kind: Kind of the layer, a key of `KERNELS`.
        kernel: Kernel size in pixels; 0 for kinds without one.
        first: Index of the first input; 0 for none.
        second: Index of the second input; 0 for none.
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
        """Indices of the layers that this one reads."""
        return tuple(i for i in (self.first, self.second) if i)


Block = tuple[BlockLayer, ...]
START = BlockLayer(1, "identity")
"""The first layer of every block: an identity, which stands for the block's input."""


@dataclass(frozen=True)
class BlockSpace:
    """BlockQNN's search space of blocks. The state of the agent is the last layer's code.

    Attributes:
        max_layers: Maximum number of layers, including the start and excluding the terminal. The paper has 23.

    Examples:
        >>> space = BlockSpace(max_layers=3)
        >>> [str(layer) for layer in space.actions(space.start())][:3]  # convolutions 1x1, 3x3 and 5x5 of the input
        ['(2,1,1,1,0)', '(2,1,3,1,0)', '(2,1,5,1,0)']
    """

    max_layers: int = 23

    def __post_init__(self) -> None:
        if self.max_layers < 2:
            raise ValueError(f"max_layers must be >= 2, the start and one more, but got {self.max_layers}")

    def start(self) -> BlockLayer:
        """Return the state before the first choice: the identity that stands for the input."""
        return START

    def actions(self, state: BlockLayer) -> tuple[BlockLayer, ...]:
        """Return the layers that may follow, the terminal last.

        The terminal may not follow the start, because that block would be empty.

        Args:
            state: The last layer's code.
        """
        index, earlier = state.index + 1, range(1, state.index + 1)
        terminal = (BlockLayer(index, "terminal"),) if state.index > 1 else ()
        if state.index >= self.max_layers:
            return terminal
        one_input = (
            BlockLayer(index, kind, kernel, i)
            for kind, kernels in KERNELS.items()
            if kind not in (*TWO_INPUTS, "terminal")
            for kernel in kernels
            for i in earlier
        )
        # Only i < j: exchanging the inputs would give the same block again.
        two_inputs = (BlockLayer(index, kind, 0, i, j) for kind in TWO_INPUTS for i in earlier for j in earlier if i < j)
        return (*one_input, *two_inputs, *terminal)

    def step(self, state: BlockLayer, action: BlockLayer) -> BlockLayer | None:
        """Return the state after a layer, which is the layer itself; None after the terminal.

        Args:
            state: The last layer's code; not read, as a layer's own code has its index.
            action: The layer chosen.
        """
        return None if action.kind == "terminal" else action


def notation(block: Sequence[BlockLayer]) -> str:
    """Write a block as `[(1,4,0,0,0), (2,1,3,1,0), ...]`: index, code of the kind, kernel, two inputs."""
    return f"[{', '.join(map(str, block))}]"


def parse(text: str) -> Block:
    """Read a block from the text that `notation` writes.

    Args:
        text: A block as `[(1,4,0,0,0), (2,1,3,1,0)]`.

    Returns:
        Its layers in order.

    Raises:
        ValueError: If the text is not a list of codes, a code is not of Table 1, or layers are not numbered from 1 or read
            later layers. The message shows the code and the rule.
    """
    codes = re.findall(r"\(([^()]*)\)", text)
    # What is left after removing all codes, commas and spaces must be the brackets.
    if re.sub(r"\([^()]*\)|[\s,]", "", text) != "[]" or not codes:
        raise ValueError(f"a block must be a list of codes as [(1,4,0,0,0), (2,1,3,1,0)], but got {text!r}")
    block = tuple(map(_parse_code, codes))
    for position, layer in enumerate(block, start=1):
        if layer.index != position or any(i >= position for i in layer.inputs):
            raise ValueError(f"layers must be numbered from 1 and have earlier ones as inputs, but got {layer}")
    return block


def _parse_code(text: str) -> BlockLayer:
    try:
        index, code, kernel, first, second = map(int, text.split(","))
        kind = KINDS[code - 1] if code > 0 else ""
    except (ValueError, IndexError):
        kind = ""
    # `second > 0` must hold for additions and concatenations and for nothing else.
    if not kind or kernel not in KERNELS[kind] or (second > 0) != (kind in TWO_INPUTS) or min(index, first, second) < 0:
        raise ValueError(
            f"a code must be (index, 1-{len(KINDS)}, a kernel of its kind, input, input), but got ({text})"
        ) from None
    return BlockLayer(index, kind, kernel, first, second)


def block_from_choices(chosen: Sequence[BlockLayer]) -> Block:
    """Return the block of the layers that the agent chose: with the start, without the terminal.

    Args:
        chosen: Layers in the order in which they were chosen, with or without the terminal.
    """
    return (START, *(layer for layer in chosen if layer.kind != "terminal"))


def loose_ends(block: Block) -> tuple[int, ...]:
    """Return the indices of the layers that no layer reads; the block's output is their concatenation.

    Args:
        block: The block; its last layer is always one of them.
    """
    used = {i for layer in block for i in layer.inputs}  # "layers without out-connection are concatenated"
    return tuple(layer.index for layer in block if layer.index not in used)


def density(block: Block) -> float:
    """Return the number of edges divided by the number of nodes ("edge divided by dot").

    The concatenation of several loose ends counts as a node with an edge from each.

    Args:
        block: The block, with its start.
    """
    ends = loose_ends(block)
    edges = sum(len(layer.inputs) for layer in block)
    return (edges + len(ends)) / (len(block) + 1) if len(ends) > 1 else edges / len(block)


def widths(block: Block, n_channels: int, n_filters: int) -> dict[int, int]:
    """Compute the number of output channels of each layer.

    An addition has the channels of its first input; the second is mapped to them.

    Args:
        block: The block.
        n_channels: Number of channels of the block's input.
        n_filters: Number of filters of each convolution.

    Returns:
        The number of channels by the layer's index.
    """
    known: dict[int, int] = {}
    for layer in block:  # inputs come before the layers that read them
        match layer.kind:
            case "convolution":
                known[layer.index] = n_filters
            case "concat":
                known[layer.index] = known[layer.first] + known[layer.second]
            case _:
                known[layer.index] = known[layer.first] if layer.first else n_channels
    return known


def flops(block: Block, *, n_channels: int, n_filters: int, size: int) -> int:
    """Count the multiply-add operations of all convolutions, including the 1x1 ones that match an addition's inputs.

    Args:
        block: The block.
        n_channels: Number of channels of the block's input.
        n_filters: Number of filters of each convolution.
        size: Side of the input, in pixels.

    Returns:
        The count for one image.
    """
    known = widths(block, n_channels, n_filters)
    per_pixel = 0
    for layer in block:
        # Poolings, identities and concatenations multiply nothing.
        if layer.kind == "convolution":
            per_pixel += layer.kernel**2 * known[layer.first] * n_filters
        elif layer.kind == "add" and known[layer.first] != known[layer.second]:
            per_pixel += known[layer.first] * known[layer.second]
    return per_pixel * size * size  # no layer of a block changes the size


@dataclass(frozen=True)
class RewardUnits:
    """The units that Formula 1 leaves open.

    With accuracies in percent, as the paper prints them, half a natural logarithm of FLOPs is a few percent. The result is
    divided by the scale again, because Q-values start at 0.5.

    Attributes:
        accuracy_scale: Factor of an accuracy in [0, 1]. Default: 100, that is percent.
        weight: Weight of both logarithms. Default: 0.5, as in the paper.
    """

    accuracy_scale: float = 100.0
    weight: float = 0.5


def redefined_reward(accuracy: float, n_flops: float, block_density: float, units: RewardUnits = RewardUnits()) -> float:
    """Compute the reward of Formula 1: accuracy - 0.5 log(FLOPs) - 0.5 log(density), on the accuracy's scale.

    Args:
        accuracy: Validation accuracy in [0, 1], higher is better.
        n_flops: FLOPs of the block, see `flops`.
        block_density: Density of the block, > 0; see `density`.
        units: The units of accuracy and FLOPs.

    Returns:
        The reward, higher is better.

    Examples:
        >>> round(redefined_reward(0.9, math.e**4, 1.0), 9)  # half of 4 %
        0.88
    """
    # The paper found both FLOPs and density to be inversely related to the accuracy after a long training. Single FLOPs: in a
    # larger unit small blocks would have a bonus, and those without convolutions (0 FLOPs) would rank among the others.
    penalty = units.weight * (math.log(max(1, n_flops)) + math.log(block_density))
    return accuracy - penalty / units.accuracy_scale


def dot(block: Block) -> str:
    """Write a block as a graph in Graphviz's language.

    Args:
        block: The block.

    Returns:
        A directed graph from the input to the output; `dot -Tsvg` draws it.
    """
    lines = ["digraph block {", "  node [shape=box]"]
    for layer in block:
        kernel = f" {layer.kernel}x{layer.kernel}" if layer.kernel else ""
        name = "input" if layer == START else f"{layer.index}: {layer.kind}{kernel}"
        lines.append(f'  n{layer.index} [label="{name}"]')
        lines += [f"  n{i} -> n{layer.index}" for i in layer.inputs]
    ends = loose_ends(block)
    lines.append('  out [label="output (concatenated)"]' if len(ends) > 1 else '  out [label="output"]')
    lines += [f"  n{i} -> out" for i in ends]
    return "\n".join([*lines, "}"]) + "\n"
