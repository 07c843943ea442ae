"""The layers of a chain-shaped network, and the papers' notation for it: `[C(64,3,1), P(2,2), SM(10)]`.

Baker et al. 2017 (ICLR), section 4.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True)
class _Layer:
    """Base class: the notation of a layer is its symbol and its fields in their order."""

    symbol: ClassVar[str]

    def __post_init__(self) -> None:
        # All parameters of all layers are counts or sizes.
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} of a layer {self.symbol} must be >= 1, but got {getattr(self, field.name)}")

    def __str__(self) -> str:
        return f"{self.symbol}({','.join(str(getattr(self, field.name)) for field in fields(self))})"


@dataclass(frozen=True)
class Convolution(_Layer):
    """A convolution, padded so that stride 1 keeps the representation's size. Notation: `C(n_filters,field,stride)`.

    Attributes:
        n_filters: Number of filters, that is output channels.
        field: Side of the square receptive field, in pixels.
        stride: Step between receptive fields, in pixels. Default: 1.
    """

    symbol: ClassVar[str] = "C"
    n_filters: int
    field: int
    stride: int = 1


@dataclass(frozen=True)
class Pooling(_Layer):
    """A max pooling without padding. Notation: `P(field,stride)`.

    Attributes:
        field: Side of the square receptive field, in pixels.
        stride: Step between receptive fields, in pixels.
    """

    symbol: ClassVar[str] = "P"
    field: int
    stride: int


@dataclass(frozen=True)
class FullyConnected(_Layer):
    """A fully connected layer. Notation: `FC(n_neurons)`.

    Attributes:
        n_neurons: Number of outputs.
    """

    symbol: ClassVar[str] = "FC"
    n_neurons: int


@dataclass(frozen=True)
class GlobalAveragePooling(_Layer):
    """A linear map of the channels' means to one number per class. A softmax follows. Notation: `GAP(n_classes)`.

    Attributes:
        n_classes: Number of outputs.
    """

    symbol: ClassVar[str] = "GAP"
    n_classes: int


@dataclass(frozen=True)
class Softmax(_Layer):
    """A linear map to one number per class, and a softmax. Notation: `SM(n_classes)`.

    Attributes:
        n_classes: Number of outputs.
    """

    symbol: ClassVar[str] = "SM"
    n_classes: int


@dataclass(frozen=True)
class Dropout(_Layer):
    """A dropout. Notation: `D(index,total)`.

    Attributes:
        index: Which of the network's dropouts this is, 1-based.
        total: Number of dropouts in the network.
    """

    symbol: ClassVar[str] = "D"
    index: int
    total: int

    @property
    def probability(self) -> float:
        """Probability of dropping a unit: i / 2n for dropout i of n (section 5)."""
        return self.index / (2 * self.total)


Layer = Convolution | Pooling | FullyConnected | GlobalAveragePooling | Softmax | Dropout
Architecture = tuple[Layer, ...]

LAYER_TYPES: Mapping[str, Callable[..., Layer]] = {
    layer_type.symbol: layer_type for layer_type in (Convolution, Pooling, FullyConnected, GlobalAveragePooling, Softmax, Dropout)
}
"""The types of layers by their symbols in the notation."""

_LAYER_TEXT = re.compile(r"\s*([A-Z]+)\(([\d,\s]+)\)\s*")  # symbol, parameters
_COMMA_BETWEEN_LAYERS = re.compile(r",(?![^(]*\))")  # a comma with no closing parenthesis before the next opening one


def parse(text: str) -> Architecture:
    """Read an architecture from its notation.

    Args:
        text: An architecture as `[C(64,3,1), P(2,2), SM(10)]`.

    Returns:
        Its layers in order; none for `[]`.

    Raises:
        ValueError: If the text is not in brackets, or a layer has an unknown symbol, a wrong number of parameters, or a
            parameter below 1. The message shows the layer.

    Examples:
        >>> parse("[C(64,3,1), SM(10)]")
        (Convolution(n_filters=64, field=3, stride=1), Softmax(n_classes=10))
    """
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        raise ValueError(f"an architecture must be in brackets, as [C(64,3,1), P(2,2), SM(10)], but got {text!r}")
    inner = stripped[1:-1]
    return tuple(map(_parse_layer, _COMMA_BETWEEN_LAYERS.split(inner))) if inner.strip() else ()


def notation(architecture: Sequence[Layer]) -> str:
    """Write an architecture as text that `parse` reads.

    Args:
        architecture: The layers; each writes itself as its symbol and parameters.
    """
    return f"[{', '.join(map(str, architecture))}]"


def without_dropout(architecture: Sequence[Layer]) -> Architecture:
    """Return the architecture without its dropout layers."""
    return tuple(layer for layer in architecture if not isinstance(layer, Dropout))


def with_dropout(architecture: Sequence[Layer]) -> Architecture:
    """Return the architecture with a dropout after every two convolution, pooling and fully connected layers (section 5).

    Dropouts that are already there are replaced.

    Args:
        architecture: The layers, the terminating ones last. Dropout i of n has the probability i / 2n.
    """
    # 621 of the 1,000 networks of the published CIFAR-10 curve set have exactly these dropouts;
    # the others have one more, or a larger total.
    result: list[Layer] = []
    layers = without_dropout(architecture)
    # Terminating layers do not count, and no dropout follows them.
    inner = [layer for layer in layers if not isinstance(layer, GlobalAveragePooling | Softmax)]
    for depth, layer in enumerate(inner, start=1):
        result.append(layer)
        if depth % 2 == 0:
            result.append(Dropout(depth // 2, len(inner) // 2))
    return (*result, *layers[len(inner) :])


def _parse_layer(text: str) -> Layer:
    match = _LAYER_TEXT.fullmatch(text)
    layer_type = LAYER_TYPES.get(match[1]) if match else None
    if match is None or layer_type is None:
        raise ValueError(
            f"a layer must be one of {', '.join(LAYER_TYPES)} with whole numbers, as C(64,3,1), but got {text.strip()!r}"
        )
    try:
        return layer_type(*map(int, match[2].split(",")))
    except TypeError:  # the dataclass takes another number of arguments
        raise ValueError(f"{text.strip()!r}: wrong number of parameters for a layer {match[1]}") from None
