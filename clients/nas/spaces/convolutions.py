"""Chains of convolutions with skip connections, as an LSTM controller writes them, and their networks (extra [torch]).

Lei and Xiong, "Reinforcement Learning for Neural Network Architecture"; Zoph and Le 2017, section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from curvestop.clients.nas.spaces.chain import Decision, DecisionChain, Option

FIELDS, CHANNELS = (3, 5, 7), (16, 64, 128)
DECISIONS_PER_LAYER = 3

_LAYER = re.compile(r"(\d+)x(\d+)x(\d+)(?:\((\d+(?:\+\d+)*)\))?")


@dataclass(frozen=True)
class SkipConvolution:
    """A convolution of n_filters height x width on layers `inputs` (from 1), concatenated; on the image when it has none."""

    height: int
    width: int
    n_filters: int
    inputs: tuple[int, ...] = ()

    def __str__(self) -> str:
        inputs = f"({'+'.join(map(str, self.inputs))})" if self.inputs else ""
        return f"{self.height}x{self.width}x{self.n_filters}{inputs}"


Convolutions = tuple[SkipConvolution, ...]


def space(n_layers: int, *, divide: int = 1) -> DecisionChain:
    """Height, width and number of filters of each layer; a controller adds the skip connections. divide: the numbers of filters.

    Raises ValueError unless n_layers >= 1 and `divide` divides the smallest number of filters.
    """
    if n_layers < 1:
        raise ValueError(f"a chain must have at least one layer, but got {n_layers}")
    if divide < 1 or any(n % divide for n in CHANNELS):
        raise ValueError(f"divide must divide {CHANNELS[0]}, the smallest number of filters, but got {divide}")
    channels = tuple(n // divide for n in CHANNELS)
    layer = (Decision("filter height", FIELDS), Decision("filter width", FIELDS), Decision("channels", channels))
    return DecisionChain(layer * n_layers)


def layers_of(chosen: Sequence[Option]) -> Convolutions:
    """Of what a controller chose: three decisions a layer, then connections "1->3"."""
    sizes = [option for option in chosen if not isinstance(option, str)]
    skips = [tuple(map(int, str(option).split("->"))) for option in chosen if isinstance(option, str)]
    rows = [sizes[i : i + DECISIONS_PER_LAYER] for i in range(0, len(sizes), DECISIONS_PER_LAYER)]
    return tuple(
        SkipConvolution(height, width, n_filters, tuple(source for source, target in skips if target == place))
        for place, (height, width, n_filters) in enumerate(rows, start=1)
    )


def notation(layers: Convolutions) -> str:
    """`conv[3x5x16, 7x7x64(1)]`: the second layer is on the first, which is on the image."""
    return f"conv[{', '.join(map(str, layers))}]"


def parse(text: str) -> Convolutions:
    """The other way round. Raises ValueError for what `notation` cannot have made."""
    inside = re.fullmatch(r"conv\[(.*)\]", text)
    found = [_LAYER.fullmatch(part) for part in inside[1].split(", ")] if inside else []
    layers = []
    for place, match in enumerate(found, start=1):
        inputs = tuple(map(int, match[4].split("+"))) if match and match[4] else ()
        if match is None or any(not 1 <= i < place for i in inputs):
            raise ValueError(f"layer {place} must be HEIGHTxWIDTHxFILTERS(INPUTS), of earlier layers, but got {text!r}")
        layers.append(SkipConvolution(int(match[1]), int(match[2]), int(match[3]), inputs))
    if not layers:
        raise ValueError(f"a chain of convolutions must be conv[3x5x16, ...], but got {text!r}")
    return tuple(layers)


class ConvolutionNetwork(nn.Module):
    """Images `(n, n_channels, h, w)` -> logits `(n, n_classes)`: a linear map of the means of all that is no layer's input."""

    def __init__(self, layers: Convolutions, *, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.inputs = [layer.inputs for layer in layers]
        used = {i for inputs in self.inputs for i in inputs}
        self.ends = [i for i in range(1, len(layers) + 1) if i not in used]
        widths = [n_channels, *(layer.n_filters for layer in layers)]
        self.layers = nn.ModuleList(_module(layer, sum(widths[i] for i in layer.inputs or (0,))) for layer in layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sum(widths[i] for i in self.ends), n_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for inputs, layer in zip(self.inputs, self.layers, strict=True):
            outputs.append(layer(torch.cat([outputs[i] for i in inputs or (0,)], dim=1)))
        logits: torch.Tensor = self.head(torch.cat([outputs[i] for i in self.ends], dim=1))
        return logits


def _module(layer: SkipConvolution, width: int) -> nn.Module:
    padding = layer.height // 2, layer.width // 2
    convolution = nn.Conv2d(width, layer.n_filters, (layer.height, layer.width), padding=padding, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm2d(layer.n_filters), nn.ReLU())
