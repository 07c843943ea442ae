"""The network of an architecture in whatever notation a search writes it (extra [torch])."""

from __future__ import annotations

from torch import nn

from curvestop.clients.nas.spaces import blockqnn, cells, convolutions, layers
from curvestop.clients.nas.training.graph_networks import block_network, cell_network
from curvestop.clients.nas.training.networks import network


def build(text: str, *, image_size: int, n_channels: int, n_classes: int, n_filters: int = 32) -> nn.Module:
    """n_filters: of a block's or a cell's convolutions before the first pooling. Raises ValueError for other notations."""
    if text.startswith("[("):
        return block_network(blockqnn.parse(text), n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)
    if text.startswith("cell["):
        return cell_network(cells.parse(text), n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)
    if text.startswith("conv["):
        return convolutions.ConvolutionNetwork(convolutions.parse(text), n_channels=n_channels, n_classes=n_classes)
    return network(layers.parse(text), image_size=image_size, n_channels=n_channels)


def n_weights(text: str, *, image_size: int, n_channels: int, n_classes: int, n_filters: int = 32) -> int:
    """All numbers that training changes."""
    built = build(text, image_size=image_size, n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)
    return sum(weights.numel() for weights in built.parameters())
