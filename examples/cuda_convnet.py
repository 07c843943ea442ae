"""A small Cuda-Convnet in torch (extra [torch]), with the six hyper-parameters that Baker's thesis searches.

The images are scikit-learn's digits, or those of an npz with x_train and y_train that the variable CONVNET_IMAGES names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

path = os.environ.get("CONVNET_IMAGES")
arrays = np.load(path) if path else {"x_train": load_digits().images * 16, "y_train": load_digits().target}
IMAGES = torch.tensor(arrays["x_train"][:3000] / 255.0, dtype=torch.float32)[:, None]
LABELS = torch.tensor(arrays["y_train"][:3000], dtype=torch.int64)
IMAGES = nn.functional.adaptive_avg_pool2d(IMAGES, min(IMAGES.shape[-1], 14)) - IMAGES.mean()
N_TRAIN = 2 * len(IMAGES) // 3


def train(configuration: dict[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch, without end: the caller stops it."""
    checkpoint = checkpoint_dir / "model.pt"
    torch.manual_seed(0)
    model = new_model(configuration["lrn_scale"], configuration["lrn_power"])
    decays = {"l2_conv": model[:-1], "l2_fc": model[-1]}
    groups = [{"params": part.parameters(), "weight_decay": configuration[name]} for name, part in decays.items()]
    optimizer = torch.optim.SGD(groups, lr=configuration["learning_rate"], momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, configuration["lr_step"], gamma=0.1)
    parts, epoch = (model, optimizer, schedule), 0
    if checkpoint.exists():
        epoch, *saved = torch.load(checkpoint, weights_only=True)
        for part, state in zip(parts, saved, strict=True):
            part.load_state_dict(state)
    while True:
        for batch in torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(epoch)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(IMAGES[batch]), LABELS[batch]).backward()
            optimizer.step()
        schedule.step()
        epoch += 1
        torch.save([epoch, *(part.state_dict() for part in parts)], checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").replace(checkpoint)  # atomic
        with torch.no_grad():
            yield float((model(IMAGES[N_TRAIN:]).argmax(dim=1) == LABELS[N_TRAIN:]).float().mean())


def new_model(lrn_scale: float, lrn_power: float) -> nn.Sequential:
    """Return three convolutions, each with a pooling and a local response normalization."""
    layers = list[nn.Module]()
    for n_in, n_out in ((1, 8), (8, 8), (8, 16)):
        layers += [nn.Conv2d(n_in, n_out, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.LocalResponseNorm(3, alpha=lrn_scale, beta=lrn_power)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 10))
