"""Chains of convolutions with skip connections, as an LSTM controller writes them, and their networks (extra [torch]).

Lei and Xiong, "Reinforcement Learning for Neural Network Architecture"; Zoph and Le 2017, section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain, Option

FIELDS, CHANNELS = (3, 5, 7), (16, 64, 128)
"""Heights or widths, and numbers of filters, of a convolution: the poster's options."""

CHOICES_PER_LAYER = 3
"""Number of choices that make one layer: filter height, filter width, number of filters."""

_LAYER_TEXT = re.compile(r"(\d+)x(\d+)x(\d+)(?:\((\d+(?:\+\d+)*)\))?")  # height, width, filters, inputs


@dataclass(frozen=True)
class SkipConvolution:
    """A convolution of the concatenation of earlier layers.

    Attributes:
        height: Height of the filters, in pixels.
        width: Width of the filters, in pixels.
        n_filters: Number of filters.
        inputs: The layers that it reads, 1-based; none means the image.
    """

    height: int
    width: int
    n_filters: int
    inputs: tuple[int, ...] = ()

    def __str__(self) -> str:
        inputs = f"({'+'.join(map(str, self.inputs))})" if self.inputs else ""
        return f"{self.height}x{self.width}x{self.n_filters}{inputs}"


Convolutions = tuple[SkipConvolution, ...]


def space(n_layers: int, *, divide: int = 1) -> ChoiceChain:
    """Return the space of chains of convolutions; the controller adds the skip connections.

    Args:
        n_layers: Number of convolutions, at least 1.
        divide: Divisor of the numbers of filters; it must divide 16, 64 and 128.

    Returns:
        Three choices a layer: height, width and number of filters.

    Raises:
        ValueError: If `n_layers` is below 1, or `divide` does not divide the numbers of filters.
    """
    if n_layers < 1:
        raise ValueError(f"a chain must have at least one layer, but got {n_layers}")
    if divide < 1 or any(n % divide for n in CHANNELS):
        raise ValueError(f"divide must divide {CHANNELS[0]}, the smallest number of filters, but got {divide}")
    channels = tuple(n // divide for n in CHANNELS)
    layer = (Choice("filter height", FIELDS), Choice("filter width", FIELDS), Choice("channels", channels))
    return ChoiceChain(layer * n_layers)  # the same three kinds in each layer, so that all layers share the controller's weights


def layers_from_choices(chosen: Sequence[Option]) -> Convolutions:
    """Return the layers that a controller chose: three numbers for each layer, then skip connections such as "1->3".

    Args:
        chosen: What a `Controller` samples; layers are numbered from 1 in skip connections.
    """
    # Numbers are sizes, texts are skip connections.
    numbers = [option for option in chosen if not isinstance(option, str)]
    skips = [tuple(map(int, option.split("->"))) for option in chosen if isinstance(option, str)]
    rows = [numbers[i : i + CHOICES_PER_LAYER] for i in range(0, len(numbers), CHOICES_PER_LAYER)]
    return tuple(
        SkipConvolution(height, width, n_filters, tuple(source for source, target in skips if target == index))
        for index, (height, width, n_filters) in enumerate(rows, start=1)
    )


def notation(layers: Convolutions) -> str:
    """Write layers as `conv[3x5x16, 7x7x64(1)]`: here the second layer reads the first, which reads the image."""
    return f"conv[{', '.join(map(str, layers))}]"


def parse(text: str) -> Convolutions:
    """Read layers from the text that `notation` writes.

    Args:
        text: Layers as `conv[3x5x16, 7x7x64(1)]`.

    Returns:
        The layers in order.

    Raises:
        ValueError: If there is no layer, a layer is not HEIGHTxWIDTHxFILTERS, or it reads a later one. The message shows the
            text.
    """
    inside = re.fullmatch(r"conv\[(.*)\]", text)
    matches = [_LAYER_TEXT.fullmatch(part) for part in inside[1].split(", ")] if inside else []
    layers = []
    for index, match in enumerate(matches, start=1):
        inputs = tuple(map(int, match[4].split("+"))) if match and match[4] else ()
        if match is None or any(not 1 <= i < index for i in inputs):
            raise ValueError(f"layer {index} must be HEIGHTxWIDTHxFILTERS(INPUTS), of earlier layers, but got {text!r}")
        layers.append(SkipConvolution(int(match[1]), int(match[2]), int(match[3]), inputs))
    if not layers:
        raise ValueError(f"a chain of convolutions must be conv[3x5x16, ...], but got {text!r}")
    return tuple(layers)


class ConvolutionNetwork(nn.Module):
    """The network of a chain of convolutions: images `(n, n_channels, h, w)` -> logits `(n, n_classes)`.

    A linear layer maps the channel means of all layers that no other layer reads (Zoph and Le 2017, section 3.3).

    Args:
        layers: The convolutions.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
    """

    def __init__(self, layers: Convolutions, *, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.inputs = [layer.inputs for layer in layers]
        used = {i for inputs in self.inputs for i in inputs}
        self.ends = [i for i in range(1, len(layers) + 1) if i not in used]
        widths = [n_channels, *(layer.n_filters for layer in layers)]  # index 0 is the image
        self.layers = nn.ModuleList(_module(layer, sum(widths[i] for i in layer.inputs or (0,))) for layer in layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sum(widths[i] for i in self.ends), n_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `(n, n_channels, h, w)` to logits `(n, n_classes)`."""
        outputs = [x]  # index 0 is the image, i the i-th layer's output (n, filters, h, w)
        for inputs, layer in zip(self.inputs, self.layers, strict=True):
            outputs.append(layer(torch.cat([outputs[i] for i in inputs or (0,)], dim=1)))
        logits: torch.Tensor = self.head(torch.cat([outputs[i] for i in self.ends], dim=1))
        return logits


def _module(layer: SkipConvolution, width: int) -> nn.Module:
    padding = layer.height // 2, layer.width // 2  # heights and widths are odd, so the size stays
    convolution = nn.Conv2d(width, layer.n_filters, (layer.height, layer.width), padding=padding, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm2d(layer.n_filters), nn.ReLU())
