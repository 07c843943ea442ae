"""The size of a chain of layers: its weights, as they are and as the published curve sets count them, and its layers."""

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
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, output_size
from curvestop.srm.curve import Configuration


def layer_weights(layer: Layer, n_inputs: int, size: int) -> int:
    """Count the weights of a layer, without biases.

    Args:
        layer: The layer.
        n_inputs: Number of channels of its input.
        size: Side of its input, in pixels; 1 after a fully connected layer.

    Returns:
        The number of weights; 0 for layers that have none.
    """
    match layer:
        case Convolution(n_filters, field, _):
            return n_filters * n_inputs * field * field
        case FullyConnected(n) | Softmax(n):
            return n * n_inputs * size * size  # the map reads every pixel of every channel
        case GlobalAveragePooling(n):
            return n * n_inputs
    return 0


def n_outputs(layer: Layer, n_inputs: int) -> int:
    """Return the number of channels that a layer outputs for an input of `n_inputs` channels.

    Args:
        layer: The layer; poolings and dropouts keep the channels.
        n_inputs: Number of channels of its input.
    """
    match layer:
        case Convolution(n, _, _) | FullyConnected(n) | GlobalAveragePooling(n) | Softmax(n):
            return n
    return n_inputs


def n_weights(architecture: Sequence[Layer], *, image_size: int, n_channels: int) -> int:
    """Count all weights of a network, without biases.

    Args:
        architecture: The layers. Dropouts have no weights.
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.

    Returns:
        The number of weights.
    """
    total, width, size = 0, n_channels, image_size
    previous: Layer | None = None
    for layer in without_dropout(architecture):
        # A softmax is a linear map of all outputs before it, except after global average pooling, which maps to the classes.
        if not (isinstance(layer, Softmax) and isinstance(previous, GlobalAveragePooling)):
            total += layer_weights(layer, width, size)
        width, size, previous = n_outputs(layer, width), output_size(layer, size), layer
    return total


def published_n_weights(architecture: Sequence[Layer], *, image_size: int = 32, n_channels: int = 3) -> int:
    """Compute exactly the value that the published MetaQNN curve sets call `num_params`.

    Convolutions are padded, poolings are not, biases do not count, and a fully connected layer reads all channels of all
    pixels. For the softmax the sets count the weights of the layer before it once more, applied to that layer's own output.
    The result therefore differs from `n_weights`.

    Args:
        architecture: The layers. Dropouts have no weights.
        image_size: Side of the images, in pixels. Default: 32, as CIFAR-10 and SVHN.
        n_channels: Number of channels of the images. Default: 3.

    Returns:
        The published number of parameters.
    """
    total, width, size = 0, n_channels, image_size
    previous: Layer | None = None
    for layer in without_dropout(architecture):
        if isinstance(layer, Softmax):
            repeated = previous if isinstance(previous, Convolution | FullyConnected) else None  # after a pooling: no weights
            # The sets' own way, kept to be compared with: not the weights of a softmax.
            total += 0 if repeated is None else layer_weights(repeated, width, 1)
        else:
            total += layer_weights(layer, width, size)
        width, size, previous = n_outputs(layer, width), output_size(layer, size), layer
    return total


def features(
    architecture: Sequence[Layer], space: MetaQNNSpace, *, learning_rate: float, bag_of_words: bool = False
) -> Configuration:
    """Return the features of a network that a study predicts from (thesis, section 4.2).

    Args:
        architecture: The layers; dropouts do not count.
        space: The space, for the size and the channels of the images.
        learning_rate: Initial learning rate of the training.
        bag_of_words: Whether to add the number of layers of each type (Table 4.1). Default: no.

    Returns:
        "ap:weights", "ap:layers", "learning_rate", and "bow:C", "bow:P", "bow:FC" and "bow:GAP" with `bag_of_words`.
    """
    layers = without_dropout(architecture)
    configuration: dict[str, bool | int | float | str] = {
        "ap:weights": n_weights(layers, image_size=space.image_size, n_channels=space.n_channels),
        "ap:layers": len(layers),
        "learning_rate": learning_rate,
    }
    if bag_of_words:
        counts = Counter(layer.symbol for layer in layers)
        configuration |= {f"bow:{symbol}": counts[symbol] for symbol in ("C", "P", "FC", "GAP")}
    return configuration
