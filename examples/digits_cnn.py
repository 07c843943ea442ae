"""Small convolutional networks on handwritten digits in torch (extra [torch]); the contract is that of digits_mlp.py.

`train` yields the validation accuracy after each epoch and resumes from its checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

PIXELS, DIGITS = load_digits(return_X_y=True)
SPLIT = [
    torch.tensor(part, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0 if part.ndim == 2 else torch.tensor(part)
    for part in train_test_split(PIXELS, DIGITS, test_size=0.35, stratify=DIGITS, random_state=0)
]


def train(configuration: dict[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch; goes on for as long as it is asked."""
    train_x, valid_x, train_y, valid_y = SPLIT
    checkpoint = checkpoint_dir / "model.pt"
    torch.manual_seed(0)
    model = new_model(configuration)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=configuration["learning_rate"],
        momentum=configuration["momentum"],
        weight_decay=configuration["l2"],
    )
    epoch = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        epoch = saved["epoch"]
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
    while True:
        train_epoch(model, optimiser, train_x, train_y, batch_size=configuration["batch_size"], seed=epoch)
        epoch += 1
        save(checkpoint, {"epoch": epoch, "model": model.state_dict(), "optimiser": optimiser.state_dict()})
        yield accuracy(model, valid_x, valid_y)


def new_model(configuration: dict[str, Any]) -> nn.Module:
    """`n_layers` convolutions of `width` channels with a pooling after the first, then one linear layer."""
    width, layers = configuration["width"], list[nn.Module]()
    for index in range(configuration["n_layers"]):
        layers += [nn.Conv2d(width if index else 1, width, kernel_size=3, padding=1), nn.ReLU()]
        if index == 0:
            layers.append(nn.MaxPool2d(2))  # 8 x 8 -> 4 x 4
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, 10))


def train_epoch(
    model: nn.Module, optimiser: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, *, batch_size: int, seed: int
) -> None:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    model.train()
    for batch in order.split(batch_size):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    return float((model(x).argmax(dim=1) == y).float().mean())


def save(path: Path, content: dict[str, Any]) -> None:
    """Write all or nothing: a worker that is killed leaves the previous checkpoint."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)
