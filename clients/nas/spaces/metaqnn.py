"""MetaQNN's search space: which layer may follow which, by named rules.

Baker et al. 2017 (ICLR), sections 4.1 and 4.2, Table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from curvestop.clients.nas.spaces.layers import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
    without_dropout,
)


@dataclass(frozen=True)
class State:
    """The state of the agent after choosing a layer.

    States that differ only in `size` are equal, because the agent does not see the true size. A pooling layer therefore
    leads from one state to several (Appendix B).

    Attributes:
        layer: The last layer chosen; None at the start.
        depth: Number of layers chosen so far.
        size_bin: Smallest representation size of the bin that `size` is in.
        n_connected: Number of fully connected layers in a row, this one included.
        size: Side of the representation after `layer`, in pixels.
    """

    layer: Layer | None
    depth: int
    size_bin: int
    n_connected: int
    size: int = field(compare=False)


@dataclass(frozen=True)
class RuleViolation:
    """A rule that an architecture breaks.

    Attributes:
        rule: Name of the rule, a key of `RULES` or a rule about the end of the network.
        layer: Notation of the layer that breaks it.
        depth: Position of the layer, 1-based, dropouts not counted.
    """

    rule: str
    layer: str
    depth: int

    def __str__(self) -> str:
        return f"layer {self.depth}, {self.layer}: {self.rule}"


@dataclass(frozen=True)
class MetaQNNSpace:
    """MetaQNN's search space of chain-shaped networks for square images (Table 1).

    Attributes:
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        max_depth: Maximum number of layers before the terminating ones. The paper has 12, and 18 for CIFAR-10.
        filters: Numbers of filters of convolutions.
        fields: Receptive fields of convolutions, in pixels. Their stride is 1.
        pools: `(field, stride)` of pooling layers, in pixels.
        neurons: Numbers of neurons of fully connected layers.
        max_connected: Maximum number of fully connected layers.
        bins: Smallest representation size of each bin, decreasing to 1. No fully connected layer follows a representation
            of the first bin, and no receptive field exceeds the smallest size of its bin.
        allow_pooling_first: Whether a network may begin with a pooling layer. No published network does. Default: no.

    Examples:
        >>> from curvestop.clients.nas.spaces.layers import parse
        >>> space = MetaQNNSpace(image_size=32)
        >>> len(space.actions(space.start()))  # 12 convolutions: 4 numbers of filters, 3 receptive fields
        12
        >>> print(space.check(parse("[C(64,3,1), P(2,2), P(2,2), SM(10)]")))
        layer 3, P(2,2): no pooling follows pooling
    """

    image_size: int = 32
    n_channels: int = 3
    n_classes: int = 10
    max_depth: int = 12
    filters: tuple[int, ...] = (64, 128, 256, 512)
    fields: tuple[int, ...] = (1, 3, 5)
    pools: tuple[tuple[int, int], ...] = ((5, 3), (3, 2), (2, 2))
    neurons: tuple[int, ...] = (512, 256, 128)
    max_connected: int = 2
    bins: tuple[int, ...] = (8, 4, 1)
    allow_pooling_first: bool = False

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.max_depth < 1:
            raise ValueError(f"image_size and max_depth must be >= 1, but got {self.image_size} and {self.max_depth}")
        if self.bins != tuple(sorted(self.bins, reverse=True)) or self.bins[-1] != 1:
            raise ValueError(f"bins must be the smallest size of each bin, decreasing to 1, but got {self.bins}")

    @cached_property
    def candidates(self) -> tuple[Layer, ...]:
        """All layers of the space, whether or not a state allows them."""
        # The order is that of the Q-values in a state; changing it would change seeded searches.
        return (
            *(Convolution(n, f) for n in self.filters for f in self.fields),
            *(Pooling(f, s) for f, s in self.pools),
            *(FullyConnected(n) for n in self.neurons),
            GlobalAveragePooling(self.n_classes),
            Softmax(self.n_classes),
        )

    def start(self) -> State:
        """Return the state before the first layer."""
        return State(None, 0, self._bin(self.image_size), 0, self.image_size)

    def actions(self, state: State) -> tuple[Layer, ...]:
        """Return the layers that may follow; the terminating ones, if allowed, are last. Equal states give equal layers.

        Args:
            state: The agent's state; its true size is not read, so that equal states have equal actions.
        """
        return tuple(layer for layer in self.candidates if self.broken_rule(state, layer) is None)

    def step(self, state: State, layer: Layer) -> State | None:
        """Return the state after a layer; None when the layer terminates the network.

        Args:
            state: The agent's state.
            layer: One of its actions; whether it is one is not checked.
        """
        if isinstance(layer, GlobalAveragePooling | Softmax):
            return None
        size = output_size(layer, state.size)  # the true size decides the next bin
        n_connected = state.n_connected + 1 if isinstance(layer, FullyConnected) else 0
        return State(layer, state.depth + 1, self._bin(size), n_connected, size)

    def broken_rule(self, state: State, layer: Layer) -> str | None:
        """Return the name of the first rule that a layer would break in a state; None when it may follow.

        Args:
            state: The agent's state.
            layer: Any layer.

        Returns:
            A key of `RULES`, checked in their order.
        """
        return next((name for name, holds in RULES.items() if not holds(self, state, layer)), None)

    def check(self, architecture: Sequence[Layer]) -> RuleViolation | None:
        """Return the first rule that an architecture breaks; None when it is in the space. Dropouts are ignored.

        Args:
            architecture: The layers of a whole network, in the notation's form: a softmax follows global average pooling.
        """
        layers = self.chosen_layers(architecture)
        state = self.start()
        for depth, layer in enumerate(layers, start=1):
            rule = self.broken_rule(state, layer)
            if rule is not None:
                return RuleViolation(rule, str(layer), depth)
            following = self.step(state, layer)
            if following is None:
                if depth == len(layers):
                    return None
                return RuleViolation("nothing follows a termination", str(layers[depth]), depth + 1)
            state = following
        return RuleViolation("a network ends with a termination", "the end", len(layers) + 1)

    def architecture(self, chosen: Sequence[Layer]) -> Architecture:
        """Return the network of the layers that the agent chose, with the softmax that global average pooling implies.

        Args:
            chosen: The agent's layers, the terminating one last.
        """
        # Global average pooling terminates for the agent; the notation has a softmax after it.
        ends_pooled = bool(chosen) and isinstance(chosen[-1], GlobalAveragePooling)
        return (*chosen, Softmax(self.n_classes)) if ends_pooled else tuple(chosen)

    def chosen_layers(self, architecture: Sequence[Layer]) -> tuple[Layer, ...]:
        """Return the layers that the agent chose for a network: the inverse of `architecture`, without dropouts."""
        layers = without_dropout(architecture)
        implied = len(layers) > 1 and isinstance(layers[-2], GlobalAveragePooling) and isinstance(layers[-1], Softmax)
        return layers[:-1] if implied else layers

    def _bin(self, size: int) -> int:
        return next(smallest for smallest in self.bins if size >= smallest)  # bins are decreasing and end with 1


def output_size(layer: Layer, size: int) -> int:
    """Return the side of a layer's output for an input of side `size`, in pixels.

    Convolutions are padded. Poolings are not, and drop the pixels that remain at the edge.

    Args:
        layer: The layer.
        size: Side of its input, in pixels, >= 1.

    Returns:
        The side, >= 1; 1 for layers whose output has no height and width.
    """
    match layer:
        case Convolution(_, _, stride):
            return -(-size // stride)  # rounded up
        case Pooling(field, stride):
            return max(1, (size - field) // stride + 1)  # at least 1: `network` shrinks a field that is too large
        case FullyConnected() | GlobalAveragePooling() | Softmax():
            return 1
    return size


Rule = Callable[[MetaQNNSpace, State, Layer], bool]

_TERMINATING = (GlobalAveragePooling, Softmax)
_SPATIAL = (Convolution, Pooling, GlobalAveragePooling)  # layers that need an input with height and width

RULES: Mapping[str, Rule] = {
    # Table 1.
    "a layer has parameters of Table 1": lambda space, _, layer: layer in space.candidates,
    # Not in the paper, but every published network keeps this rule and the one about the beginning.
    "a network has at least one layer before its termination": (
        lambda _, at, layer: at.depth > 0 or not isinstance(layer, _TERMINATING)
    ),
    # Table 1, layer depth.
    "a network has at most max_depth layers": (
        lambda space, at, layer: at.depth < space.max_depth or isinstance(layer, _TERMINATING)
    ),
    "a network does not begin with pooling": (
        lambda space, at, layer: at.depth > 0 or space.allow_pooling_first or not isinstance(layer, Pooling)
    ),
    # Section 4.2.
    "only fully connected layers and softmax follow a fully connected layer": (
        lambda _, at, layer: not (isinstance(at.layer, FullyConnected) and isinstance(layer, _SPATIAL))
    ),
    "no pooling follows pooling": lambda _, at, layer: not (isinstance(at.layer, Pooling) and isinstance(layer, Pooling)),
    # The agent knows only the bin, and the smallest size of the bin is the only size that is certain.
    "a receptive field is not larger than the representation": (
        lambda _, at, layer: not isinstance(layer, Convolution | Pooling) or layer.field <= at.size_bin
    ),
    "fully connected layers follow small representations": (
        lambda space, at, layer: not isinstance(layer, FullyConnected) or at.size_bin < space.bins[0]
    ),
    "at most max_connected fully connected layers": (
        lambda space, at, layer: not isinstance(layer, FullyConnected) or at.n_connected < space.max_connected
    ),
    "a fully connected layer is not wider than the one before": (
        lambda _, at, layer: (
            not (isinstance(layer, FullyConnected) and isinstance(at.layer, FullyConnected))
            or layer.n_neurons <= at.layer.n_neurons
        )
    ),
}
"""The rules by name, in the order in which they are checked. A rule returns whether a layer may follow in a state."""
