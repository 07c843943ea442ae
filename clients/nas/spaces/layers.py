"""The layers of a chain of layers, and the papers' notation for it: `[C(64,3,1), P(2,2), SM(10)]`.

Baker et al. 2017 (ICLR), section 4.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True)
class _Layer:
    symbol: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} of a layer {self.symbol} must be >= 1, but got {getattr(self, field.name)}")

    def __str__(self) -> str:
        return f"{self.symbol}({','.join(str(getattr(self, field.name)) for field in fields(self))})"


@dataclass(frozen=True)
class Convolution(_Layer):
    """n_filters squares of `field` x `field`, padded so that stride 1 keeps the representation's size."""

    symbol: ClassVar[str] = "C"
    n_filters: int
    field: int
    stride: int = 1


@dataclass(frozen=True)
class Pooling(_Layer):
    """The maximum of squares of `field` x `field`, without padding."""

    symbol: ClassVar[str] = "P"
    field: int
    stride: int


@dataclass(frozen=True)
class FullyConnected(_Layer):
    symbol: ClassVar[str] = "FC"
    n_neurons: int


@dataclass(frozen=True)
class GlobalAveragePooling(_Layer):
    """One number for each class: a linear map of the channels' means. A softmax follows."""

    symbol: ClassVar[str] = "GAP"
    n_classes: int


@dataclass(frozen=True)
class Softmax(_Layer):
    symbol: ClassVar[str] = "SM"
    n_classes: int


@dataclass(frozen=True)
class Dropout(_Layer):
    """The index-th dropout of `of`; it drops a unit with probability index / (2 of)."""

    symbol: ClassVar[str] = "D"
    index: int
    of: int

    @property
    def probability(self) -> float:
        return self.index / (2 * self.of)


Layer = Convolution | Pooling | FullyConnected | GlobalAveragePooling | Softmax | Dropout
Architecture = tuple[Layer, ...]

KINDS: Mapping[str, Callable[..., Layer]] = {
    kind.symbol: kind for kind in (Convolution, Pooling, FullyConnected, GlobalAveragePooling, Softmax, Dropout)
}
_LAYER = re.compile(r"\s*([A-Z]+)\(([\d,\s]+)\)\s*")


def parse(text: str) -> Architecture:
    """An architecture from its notation. Raises ValueError that shows the layer that cannot be read."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        raise ValueError(f"an architecture must be in brackets, as [C(64,3,1), P(2,2), SM(10)], but got {text!r}")
    inner = stripped[1:-1]
    return tuple(map(_parse_layer, re.split(r",(?![^(]*\))", inner))) if inner.strip() else ()


def notation(architecture: Sequence[Layer]) -> str:
    """The inverse of `parse`."""
    return f"[{', '.join(map(str, architecture))}]"


def without_dropout(architecture: Sequence[Layer]) -> Architecture:
    return tuple(layer for layer in architecture if not isinstance(layer, Dropout))


def with_dropout(architecture: Sequence[Layer]) -> Architecture:
    """A dropout after every two convolutions, poolings and fully connected layers; n is how many that makes (section 5).

    621 of the 1,000 strings of the published CIFAR-10 curve set have just these; the others one more, or a larger n.
    """
    result: list[Layer] = []
    layers = without_dropout(architecture)
    inner = [layer for layer in layers if not isinstance(layer, GlobalAveragePooling | Softmax)]
    for place, layer in enumerate(inner, start=1):
        result.append(layer)
        if place % 2 == 0:
            result.append(Dropout(place // 2, len(inner) // 2))
    return (*result, *layers[len(inner) :])


def _parse_layer(text: str) -> Layer:
    match = _LAYER.fullmatch(text)
    kind = KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        raise ValueError(f"a layer must be one of {', '.join(KINDS)} with whole numbers, as C(64,3,1), but got {text.strip()!r}")
    try:
        return kind(*map(int, match[2].split(",")))
    except TypeError:
        raise ValueError(f"{text.strip()!r}: {match[1]} has another number of parameters") from None
