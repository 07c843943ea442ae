"""Blocks and cells as torch modules, and the networks that are stacks of them (extra [torch])."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from curvestop.clients.nas.spaces.blockqnn import Block, BlockLayer, loose_ends, widths
from curvestop.clients.nas.spaces.cells import Cell


class BlockModule(nn.Module):
    """`(n, n_channels, h, w)` -> `(n, self.n_outputs, h, w)`."""

    def __init__(self, block: Block, n_channels: int, n_filters: int) -> None:
        super().__init__()
        self.block, self.ends = block, loose_ends(block)
        known = widths(block, n_channels, n_filters)
        self.n_outputs = sum(known[i] for i in self.ends)
        self.layers = nn.ModuleDict({str(layer.index): _block_layer(layer, known) for layer in block})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: dict[int, torch.Tensor] = {}
        for layer in self.block:
            inputs = [outputs[i] for i in layer.inputs] or [x]
            module = self.layers[str(layer.index)]
            if layer.kind == "add":
                outputs[layer.index] = inputs[0] + module(inputs[1])
            else:
                outputs[layer.index] = module(torch.cat(inputs, dim=1))
        return torch.cat([outputs[i] for i in self.ends], dim=1)


def _block_layer(layer: BlockLayer, known: dict[int, int]) -> nn.Module:
    match layer.kind:
        case "convolution":
            width, filters = known[layer.first], known[layer.index]
            convolution = nn.Conv2d(width, filters, layer.kernel, padding=layer.kernel // 2, bias=False)
            return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(filters))
        case "max pooling":
            return nn.MaxPool2d(layer.kernel, 1, layer.kernel // 2)
        case "average pooling":
            return nn.AvgPool2d(layer.kernel, 1, layer.kernel // 2, count_include_pad=False)
        case "add" if known[layer.first] != known[layer.second]:
            return nn.Conv2d(known[layer.second], known[layer.first], 1, bias=False)
    return nn.Identity()


def block_network(
    block: Block, *, n_channels: int, n_classes: int, n_filters: int = 32, repeats: int = 1, stages: int = 2
) -> nn.Module:
    """Figure 2: a convolution; `stages` times `repeats` blocks, a pooling of stride 2 and doubled filters between."""

    def stage(width: int, filters: int) -> tuple[nn.Module, int]:
        modules = []
        for _ in range(repeats):
            modules.append(BlockModule(block, width, filters))
            width = modules[-1].n_outputs
        return nn.Sequential(*modules), width

    return _stacked(stage, n_channels, n_classes, n_filters, stages, he=True)


class CellModule(nn.Module):
    """`(n, width, h, w)` -> the same shape: every node is an operation on the sum of its inputs; loose ends are added up."""

    def __init__(self, cell: Cell, width: int) -> None:
        super().__init__()
        self.cell = cell
        self.operations = nn.ModuleList(OPERATIONS[node.operation](width) for node in cell)
        self.ends = [i for i in range(1, len(cell) + 1) if all(i not in node.inputs for node in cell)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for node, operation in zip(self.cell, self.operations, strict=True):
            outputs.append(operation(sum((outputs[i] for i in node.inputs[1:]), outputs[node.inputs[0]])))
        return torch.stack([outputs[i] for i in self.ends]).sum(dim=0)


def cell_network(cell: Cell, *, n_channels: int, n_classes: int, n_filters: int = 16, stages: int = 2) -> nn.Module:
    """A convolution, then cells with a pooling of stride 2 between; filters stay."""
    return _stacked(lambda width, _: (CellModule(cell, n_filters), n_filters), n_channels, n_classes, n_filters, stages)


def _stacked(
    stage: Callable[[int, int], tuple[nn.Module, int]],
    n_channels: int,
    n_classes: int,
    n_filters: int,
    stages: int,
    *,
    he: bool = False,
) -> nn.Module:
    modules: list[nn.Module] = [nn.Conv2d(n_channels, n_filters, 3, padding=1), nn.BatchNorm2d(n_filters)]
    width = n_filters
    for k in range(stages):
        module, width = stage(width, n_filters * 2**k)
        modules += [module, nn.MaxPool2d(2) if k < stages - 1 else nn.AdaptiveAvgPool2d(1)]
    network = nn.Sequential(*modules, nn.Flatten(), nn.Linear(width, n_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            (nn.init.kaiming_normal_ if he else nn.init.xavier_uniform_)(module.weight)
    return network


def _convolution(width: int, height: int, breadth: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(width, width, (height, breadth), padding=(height // 2, breadth // 2), groups=groups, bias=False)


def _cell(*modules: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*modules, nn.BatchNorm2d(width), nn.ReLU())


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "1x3 then 3x1 conv": lambda w: _cell(_convolution(w, 1, 3), _convolution(w, 3, 1), width=w),
    "3x3 conv": lambda w: _cell(_convolution(w, 3, 3), width=w),
    "3x3 separable conv": lambda w: _cell(_convolution(w, 3, 3, w), _convolution(w, 1, 1), width=w),
    "5x5 conv": lambda w: _cell(_convolution(w, 5, 5), width=w),
    "7x7 conv": lambda w: _cell(_convolution(w, 7, 7), width=w),
    "2x2 max pool": lambda w: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)),
    "2x2 average pool": lambda w: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1)),
    "identity": lambda w: nn.Identity(),
}
"""By their names in `cells.OPERATIONS`, each keeping the shape."""
