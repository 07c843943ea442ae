"""MetaQNN's state space: which layer may follow which, by rules that have names.

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
    """Where the agent stands: behind `layer`, the depth-th, at a representation size of at least `bin`.

    n_connected: fully connected layers in a row. size: the true one, which the agent does not see: states of equal bins are
    equal, and so a pooling layer leads from one state to several (Appendix B).
    """

    layer: Layer | None
    depth: int
    bin: int
    n_connected: int
    size: int = field(compare=False)


@dataclass(frozen=True)
class Illegal:
    """The rule that `layer`, the depth-th, breaks."""

    rule: str
    layer: str
    depth: int

    def __str__(self) -> str:
        return f"layer {self.depth}, {self.layer}: {self.rule}"


@dataclass(frozen=True)
class MetaQNNSpace:
    """Table 1, for square images.

    max_depth: most layers before the termination (12; 18 for CIFAR-10). filters, fields: of convolutions, stride 1.
    pools: `(field, stride)`. neurons: of fully connected layers, max_connected of them at most.
    bins: smallest representation size of each bin, largest first; fully connected layers are not reached from the first.
    Receptive fields must not exceed the smallest size of the bin, as only that is sure.
    pools_first: whether a network may begin with pooling; none of the published ones does.
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
    pools_first: bool = False

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.max_depth < 1:
            raise ValueError(f"image_size and max_depth must be >= 1, but got {self.image_size} and {self.max_depth}")
        if self.bins != tuple(sorted(self.bins, reverse=True)) or self.bins[-1] != 1:
            raise ValueError(f"bins must be smallest sizes, falling to 1, but got {self.bins}")

    @cached_property
    def candidates(self) -> tuple[Layer, ...]:
        """All layers there are, legal or not."""
        return (
            *(Convolution(n, f) for n in self.filters for f in self.fields),
            *(Pooling(f, s) for f, s in self.pools),
            *(FullyConnected(n) for n in self.neurons),
            GlobalAveragePooling(self.n_classes),
            Softmax(self.n_classes),
        )

    def start(self) -> State:
        return State(None, 0, self._bin(self.image_size), 0, self.image_size)

    def actions(self, state: State) -> tuple[Layer, ...]:
        """The legal next layers; the last one or two terminate. Equal for equal states."""
        return tuple(layer for layer in self.candidates if self.broken_rule(state, layer) is None)

    def step(self, state: State, layer: Layer) -> State | None:
        """The state behind a layer; None when it terminates."""
        if isinstance(layer, GlobalAveragePooling | Softmax):
            return None
        size = size_behind(layer, state.size)
        n_connected = state.n_connected + 1 if isinstance(layer, FullyConnected) else 0
        return State(layer, state.depth + 1, self._bin(size), n_connected, size)

    def broken_rule(self, state: State, layer: Layer) -> str | None:
        return next((name for name, holds in RULES.items() if not holds(self, state, layer)), None)

    def check(self, architecture: Sequence[Layer]) -> Illegal | None:
        """The first rule an architecture breaks (its dropouts are left out); None when it is legal."""
        layers = self.decisions(architecture)
        state = self.start()
        for depth, layer in enumerate(layers, start=1):
            rule = self.broken_rule(state, layer)
            if rule is not None:
                return Illegal(rule, str(layer), depth)
            following = self.step(state, layer)
            if following is None:
                return None if depth == len(layers) else Illegal("nothing follows a termination", str(layers[depth]), depth + 1)
            state = following
        return Illegal("a network ends with a termination", "the end", len(layers) + 1)

    def architecture(self, decisions: Sequence[Layer]) -> Architecture:
        """What the agent chose, with the softmax that global average pooling implies."""
        ends_pooled = bool(decisions) and isinstance(decisions[-1], GlobalAveragePooling)
        return (*decisions, Softmax(self.n_classes)) if ends_pooled else tuple(decisions)

    def decisions(self, architecture: Sequence[Layer]) -> tuple[Layer, ...]:
        """The inverse of `architecture`, without dropouts."""
        layers = without_dropout(architecture)
        implied = len(layers) > 1 and isinstance(layers[-2], GlobalAveragePooling) and isinstance(layers[-1], Softmax)
        return layers[:-1] if implied else layers

    def _bin(self, size: int) -> int:
        return next(smallest for smallest in self.bins if size >= smallest)


def size_behind(layer: Layer, size: int) -> int:
    """The representation's size behind a layer: convolutions are padded, pooling is not and drops what is left over."""
    match layer:
        case Convolution(_, _, stride):
            return -(-size // stride)
        case Pooling(field, stride):
            return max(1, (size - field) // stride + 1)
        case FullyConnected() | GlobalAveragePooling() | Softmax():
            return 1
    return size


Rule = Callable[[MetaQNNSpace, State, Layer], bool]

_ENDS = (GlobalAveragePooling, Softmax)
_PLANES = (Convolution, Pooling, GlobalAveragePooling)

RULES: Mapping[str, Rule] = {
    "a layer has parameters of Table 1": lambda space, _, layer: layer in space.candidates,
    "a network has at least one layer before its termination": lambda _, at, layer: at.depth > 0 or not isinstance(layer, _ENDS),
    "a network has at most max_depth layers": lambda space, at, layer: at.depth < space.max_depth or isinstance(layer, _ENDS),
    "a network does not begin with pooling": (
        lambda space, at, layer: at.depth > 0 or space.pools_first or not isinstance(layer, Pooling)
    ),
    "only fully connected layers and softmax follow a fully connected layer": (
        lambda _, at, layer: not (isinstance(at.layer, FullyConnected) and isinstance(layer, _PLANES))
    ),
    "no pooling follows pooling": lambda _, at, layer: not (isinstance(at.layer, Pooling) and isinstance(layer, Pooling)),
    "a receptive field is not larger than the representation": (
        lambda _, at, layer: not isinstance(layer, Convolution | Pooling) or layer.field <= at.bin
    ),
    "fully connected layers follow small representations": (
        lambda space, at, layer: not isinstance(layer, FullyConnected) or at.bin < space.bins[0]
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
"""In the order in which they are tried."""
