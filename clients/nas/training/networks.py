"""Chains of layers as torch modules (extra [torch])."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from curvestop.clients.nas.spaces.layers import (
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from curvestop.clients.nas.spaces.metaqnn import output_size
from curvestop.clients.nas.training.counting import n_outputs


def network(architecture: Sequence[Layer], *, image_size: int, n_channels: int) -> nn.Sequential:
    """Build the network of a chain of layers.

    Convolutions and fully connected layers have biases and rectifiers. Weights start by Xavier's rule (section 5), biases at 0.

    Args:
        architecture: The layers, the last one a softmax.
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.

    Returns:
        A module from images `(n, n_channels, image_size, image_size)` to logits `(n, n_classes)`; the loss applies the softmax.
    """
    modules: list[nn.Module] = []
    width, size = n_channels, image_size
    previous: Layer | None = None
    for layer in architecture:
        modules += _modules(layer, previous, width, size)
        # A dropout changes no shape, and a softmax must still see that global average pooling came before it.
        if not isinstance(layer, Dropout):
            width, size, previous = n_outputs(layer, width), output_size(layer, size), layer
    result = nn.Sequential(*modules)
    for module in result.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return result


def _modules(layer: Layer, previous: Layer | None, width: int, size: int) -> list[nn.Module]:
    """Return the modules of a layer that reads `width` channels of size x size."""
    match layer:
        case Convolution(n_filters, field, stride):
            # Odd fields padded by half: stride 1 keeps the size, as `output_size` says.
            return [nn.Conv2d(width, n_filters, field, stride, padding=field // 2), nn.ReLU()]
        case Pooling(field, stride):
            return [nn.MaxPool2d(min(field, size), stride)]  # torch refuses a field larger than the image
        case FullyConnected(n_neurons):
            return [nn.Flatten(), nn.Linear(width * size * size, n_neurons), nn.ReLU()]
        case GlobalAveragePooling(n_classes):
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes)]
        case Softmax() if isinstance(previous, GlobalAveragePooling):
            return []  # the pooling has mapped to the classes already
        case Softmax(n_classes):
            return [nn.Flatten(), nn.Linear(width * size * size, n_classes)]
        case Dropout():
            return [nn.Dropout(layer.probability)]
