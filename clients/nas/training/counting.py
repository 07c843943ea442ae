"""How large a chain of layers is: its weights, as they are and as the published curve sets count them; its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from curvestop.clients.nas.spaces.layers import (
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Softmax,
    without_dropout,
)
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, size_behind
from curvestop.srm.curve import Configuration


def layer_weights(layer: Layer, n_inputs: int, size: int) -> int:
    """Weights of a layer, without biases, on `n_inputs` channels (or numbers, at size 1) of size x size."""
    match layer:
        case Convolution(n_filters, field, _):
            return n_filters * n_inputs * field * field
        case FullyConnected(n) | Softmax(n):
            return n * n_inputs * size * size
        case GlobalAveragePooling(n):
            return n * n_inputs
    return 0


def n_outputs(layer: Layer, n_inputs: int) -> int:
    """Channels (or numbers) behind a layer."""
    match layer:
        case Convolution(n, _, _) | FullyConnected(n) | GlobalAveragePooling(n) | Softmax(n):
            return n
    return n_inputs


def n_weights(architecture: Sequence[Layer], *, image_size: int, n_channels: int) -> int:
    """All weights of the network, without biases: a softmax is a linear map of all that comes before it.

    Behind global average pooling, which maps to the classes, it has none.
    """
    total, width, size = 0, n_channels, image_size
    previous: Layer | None = None
    for layer in without_dropout(architecture):
        if not (isinstance(layer, Softmax) and isinstance(previous, GlobalAveragePooling)):
            total += layer_weights(layer, width, size)
        width, size, previous = n_outputs(layer, width), size_behind(layer, size), layer
    return total


def published_n_weights(architecture: Sequence[Layer], *, image_size: int = 32, n_channels: int = 3) -> int:
    """`num_params` of the published MetaQNN curve sets, exactly.

    Convolutions padded, pooling not, no biases, a fully connected layer on all channels x size x size. Instead of its own
    weights the softmax has those of the layer before it over again, on that layer's own output; behind pooling none.
    """
    total, width, size = 0, n_channels, image_size
    previous: Layer | None = None
    for layer in without_dropout(architecture):
        if isinstance(layer, Softmax):
            repeated = previous if isinstance(previous, Convolution | FullyConnected) else None
            total += 0 if repeated is None else layer_weights(repeated, width, 1)
        else:
            total += layer_weights(layer, width, size)
        width, size, previous = n_outputs(layer, width), size_behind(layer, size), layer
    return total


def features(
    architecture: Sequence[Layer], space: MetaQNNSpace, *, learning_rate: float, bag_of_words: bool = False
) -> Configuration:
    """What a study is told of a network: number of weights, layers, learning rate.

    Thesis, section 4.2. bag_of_words: the counts of each kind of layer too (Table 4.1).
    """
    layers = without_dropout(architecture)
    told: dict[str, bool | int | float | str] = {
        "ap:weights": n_weights(layers, image_size=space.image_size, n_channels=space.n_channels),
        "ap:layers": len(layers),
        "learning_rate": learning_rate,
    }
    if bag_of_words:
        counts = Counter(layer.symbol for layer in layers)
        told |= {f"bow:{symbol}": counts[symbol] for symbol in ("C", "P", "FC", "GAP")}
    return told
