"""Small convolutional networks on handwritten digits in torch (extra [torch]), as a training script for `hyperband run`.

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
IMAGES, LABELS = torch.tensor(PIXELS, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0, torch.tensor(DIGITS)
TRAIN, VALID = train_test_split(range(len(LABELS)), test_size=0.35, stratify=LABELS, random_state=0)


def train(configuration: dict[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch, without end: the caller stops it."""
    checkpoint = checkpoint_dir / "model.pt"
    torch.manual_seed(0)
    model = new_model(configuration["width"], configuration["n_layers"])
    rates = {"lr": configuration["learning_rate"], "momentum": configuration["momentum"], "weight_decay": configuration["l2"]}
    optimizer = torch.optim.SGD(model.parameters(), **rates)
    epoch = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        epoch = saved["epoch"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    while True:
        order = torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(epoch))
        for batch in torch.tensor(TRAIN)[order].split(configuration["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(IMAGES[batch]), LABELS[batch]).backward()
            optimizer.step()
        epoch += 1
        part = checkpoint.with_suffix(".part")  # atomic: a worker that is killed leaves the previous checkpoint
        torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part)
        os.replace(part, checkpoint)
        with torch.no_grad():
            yield float((model(IMAGES[VALID]).argmax(dim=1) == LABELS[VALID]).float().mean())


def new_model(width: int, n_layers: int) -> nn.Module:
    """Return `n_layers` convolutions of `width` channels with a pooling after the first, then one linear layer."""
    layers = list[nn.Module]()
    for index in range(n_layers):
        layers += [nn.Conv2d(width if index else 1, width, kernel_size=3, padding=1), nn.ReLU()]
        if index == 0:
            layers.append(nn.MaxPool2d(2))  # 8 x 8 -> 4 x 4
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, 10))
