"""Builds the network of an architecture from its notation in any of the spaces (extra [torch])."""

from __future__ import annotations

from torch import nn

from curvestop.clients.nas.spaces import blockqnn, cells, convolutions, layers
from curvestop.clients.nas.training.graph_networks import block_network, cell_network
from curvestop.clients.nas.training.networks import network


def build(text: str, *, image_size: int, n_channels: int, n_classes: int, n_filters: int = 32, repeats: int = 1) -> nn.Module:
    """Build the network of an architecture.

    Args:
        text: The architecture in the notation of its space; the first characters say which space it is.
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        n_filters: Number of filters of the convolutions of a block or a cell before the first pooling. Default: 32.
        repeats: Number of blocks in each stage of a block's network; other networks have none to repeat. Default: 1.

    Returns:
        A module from images `(n, n_channels, image_size, image_size)` to logits `(n, n_classes)`.

    Raises:
        ValueError: If the text is not in the notation of any space.
    """
    # Before the chain's notation, which also begins with a bracket.
    if text.startswith("[("):
        block = blockqnn.parse(text)
        return block_network(block, n_channels=n_channels, n_classes=n_classes, n_filters=n_filters, repeats=repeats)
    if text.startswith("cell["):
        return cell_network(cells.parse(text), n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)
    if text.startswith("conv["):
        return convolutions.ConvolutionNetwork(convolutions.parse(text), n_channels=n_channels, n_classes=n_classes)
    return network(layers.parse(text), image_size=image_size, n_channels=n_channels)


def n_parameters(text: str, *, image_size: int, n_channels: int, n_classes: int, n_filters: int = 32) -> int:
    """Count the trainable parameters of an architecture's network. The arguments are those of `build`.

    Args:
        text: The architecture in the notation of its space.
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        n_filters: Number of filters, as of `build`. Default: 32.

    Raises:
        ValueError: If the text is not in the notation of any space.
    """
    # Counted on the real module: a formula for each space would be a second definition of its networks.
    built = build(text, image_size=image_size, n_channels=n_channels, n_classes=n_classes, n_filters=n_filters)
    return sum(parameter.numel() for parameter in built.parameters())
