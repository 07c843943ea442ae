"""Blocks and cells as torch modules, and the networks that are stacks of them (extra [torch])."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from curvestop.clients.nas.spaces.blockqnn import Block, BlockLayer, loose_ends, widths
from curvestop.clients.nas.spaces.cells import Cell


class BlockModule(nn.Module):
    """A block as a module: `(n, n_channels, h, w)` -> `(n, self.n_outputs, h, w)`.

    Args:
        block: The block.
        n_channels: Number of channels of its input.
        n_filters: Number of filters of each convolution.
    """

    def __init__(self, block: Block, n_channels: int, n_filters: int) -> None:
        super().__init__()
        self.block, self.ends = block, loose_ends(block)
        known = widths(block, n_channels, n_filters)
        self.n_outputs = sum(known[i] for i in self.ends)
        self.layers = nn.ModuleDict({str(layer.index): _block_layer(layer, known) for layer in block})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(n, n_channels, h, w)` to the concatenation of all loose ends, `(n, self.n_outputs, h, w)`."""
        outputs: dict[int, torch.Tensor] = {}
        for layer in self.block:
            inputs = [outputs[i] for i in layer.inputs] or [x]  # only the start has no inputs
            module = self.layers[str(layer.index)]
            if layer.kind == "add":
                outputs[layer.index] = inputs[0] + module(inputs[1])
            else:
                outputs[layer.index] = module(torch.cat(inputs, dim=1))
        return torch.cat([outputs[i] for i in self.ends], dim=1)


def _block_layer(layer: BlockLayer, known: dict[int, int]) -> nn.Module:
    """Return the module of one layer; `known` has the number of output channels by index."""
    match layer.kind:
        case "convolution":
            # A pre-activation cell: the rectifier comes first ("Block Design").
            width, filters = known[layer.first], known[layer.index]
            convolution = nn.Conv2d(width, filters, layer.kernel, padding=layer.kernel // 2, bias=False)
            return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(filters))
        case "max pooling":
            return nn.MaxPool2d(layer.kernel, 1, layer.kernel // 2)
        case "average pooling":
            return nn.AvgPool2d(layer.kernel, 1, layer.kernel // 2, count_include_pad=False)
        # "if two in-layers have different channel, we use 1x1 convolutions to match dimensions"
        case "add" if known[layer.first] != known[layer.second]:
            return nn.Conv2d(known[layer.second], known[layer.first], 1, bias=False)
    return nn.Identity()


def block_network(
    block: Block, *, n_channels: int, n_classes: int, n_filters: int = 32, repeats: int = 1, stages: int = 3
) -> nn.Module:
    """Build BlockQNN's network (Figure 2): a convolution, then stages of the repeated block with poolings between.

    Args:
        block: The block.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        n_filters: Number of filters in the first stage; it doubles from stage to stage. Default: 32.
        repeats: Number of blocks in each stage, the paper's N. Default: 1.
        stages: Number of stages. A pooling of stride 2 is between two stages. Default: 3.

    Returns:
        A module from images `(n, n_channels, h, w)` to logits `(n, n_classes)`.
    """

    def stage(width: int, filters: int) -> tuple[nn.Module, int]:
        modules = []
        for _ in range(repeats):
            modules.append(BlockModule(block, width, filters))
            width = modules[-1].n_outputs
        return nn.Sequential(*modules), width

    # He's initialization, as in "Experiment Details".
    return _stacked(stage, n_channels, n_classes, n_filters, stages, he_initialization=True)


class CellModule(nn.Module):
    """A cell as a module: `(n, width, h, w)` -> the same shape.

    Each node is an operation on the sum of its inputs. The output is the sum of the nodes that no node reads.

    Args:
        cell: The cell.
        width: Number of channels of its input, and of every operation.
    """

    def __init__(self, cell: Cell, width: int) -> None:
        super().__init__()
        self.cell = cell
        self.operations = nn.ModuleList(OPERATIONS[node.operation](width) for node in cell)
        self.ends = [i for i in range(1, len(cell) + 1) if all(i not in node.inputs for node in cell)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(n, width, h, w)` to the same shape."""
        outputs = [x]  # index 0 is the cell's input
        for node, operation in zip(self.cell, self.operations, strict=True):
            # `sum` starts with the first input, since 0 plus a tensor would be one more operation.
            outputs.append(operation(sum((outputs[i] for i in node.inputs[1:]), outputs[node.inputs[0]])))
        return torch.stack([outputs[i] for i in self.ends]).sum(dim=0)


def cell_network(cell: Cell, *, n_channels: int, n_classes: int, n_filters: int = 16, stages: int = 2) -> nn.Module:
    """Build the network of a cell: a convolution, then cells with poolings of stride 2 between.

    Args:
        cell: The cell.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        n_filters: Number of filters of every convolution. Default: 16.
        stages: Number of cells. Default: 2.

    Returns:
        A module from images `(n, n_channels, h, w)` to logits `(n, n_classes)`.
    """
    return _stacked(lambda width, _: (CellModule(cell, n_filters), n_filters), n_channels, n_classes, n_filters, stages)


def _stacked(
    stage: Callable[[int, int], tuple[nn.Module, int]],
    n_channels: int,
    n_classes: int,
    n_filters: int,
    stages: int,
    *,
    he_initialization: bool = False,
) -> nn.Module:
    """Stack stages. `stage` takes its input's channels and its filters, and returns a module and its output's channels."""
    modules: list[nn.Module] = [nn.Conv2d(n_channels, n_filters, 3, padding=1), nn.BatchNorm2d(n_filters)]
    width = n_filters
    for k in range(stages):
        module, width = stage(width, n_filters * 2**k)
        modules += [module, nn.MaxPool2d(2) if k < stages - 1 else nn.AdaptiveAvgPool2d(1)]
    # After the last stage the mean over all pixels, then a linear map to the classes.
    network = nn.Sequential(*modules, nn.Flatten(), nn.Linear(width, n_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            (nn.init.kaiming_normal_ if he_initialization else nn.init.xavier_uniform_)(module.weight)
    return network


def _convolution(width: int, kernel_height: int, kernel_width: int, groups: int = 1) -> nn.Module:
    padding = kernel_height // 2, kernel_width // 2  # kernels are odd, so the size stays
    return nn.Conv2d(width, width, (kernel_height, kernel_width), padding=padding, groups=groups, bias=False)


def _normalized(*modules: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*modules, nn.BatchNorm2d(width), nn.ReLU())


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "1x3 then 3x1 conv": lambda w: _normalized(_convolution(w, 1, 3), _convolution(w, 3, 1), width=w),
    "3x3 conv": lambda w: _normalized(_convolution(w, 3, 3), width=w),
    "3x3 separable conv": lambda w: _normalized(_convolution(w, 3, 3, w), _convolution(w, 1, 1), width=w),
    "5x5 conv": lambda w: _normalized(_convolution(w, 5, 5), width=w),
    "7x7 conv": lambda w: _normalized(_convolution(w, 7, 7), width=w),
    # A 2x2 pooling keeps the size only with one more row and column.
    "2x2 max pool": lambda w: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)),
    "2x2 average pool": lambda w: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1)),
    "identity": lambda w: nn.Identity(),
}
"""Modules of the operations in `cells.OPERATIONS`, made for a number of channels; each keeps the shape of its input."""
