"""How networks are trained: learning rates epoch by epoch, restarts, batches. Baker et al. 2017 (ICLR), section 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """steps: `(learning rate, epochs)`, in order.

    A network no better than chance after its first epoch starts again at restart_factor times the rates, max_restarts times.
    momentum: None is Adam (0.9, 0.999, 1e-8), a number stochastic gradient descent. augment: mirror and move the images.
    """

    steps: tuple[tuple[float, int], ...]
    batch_size: int = 128
    restart_factor: float = 0.4
    max_restarts: int = 5
    momentum: float | None = None
    weight_decay: float = 0.0
    augment: bool = False

    def __post_init__(self) -> None:
        if not self.steps or any(rate <= 0 or epochs < 1 for rate, epochs in self.steps):
            raise ValueError(f"steps must be (learning rate > 0, epochs >= 1) pairs, but got {self.steps!r}")
        if self.batch_size < 1 or self.max_restarts < 0:
            raise ValueError(f"batch_size must be >= 1 and max_restarts >= 0, but got {self.batch_size}, {self.max_restarts}")

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.steps)

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        for rate, epochs in self.steps:
            if epoch < epochs:
                return rate
            epoch -= epochs
        return self.steps[-1][0]


def decayed(epochs: int, *, rate: float = 0.001, factor: float = 0.2, every: int = 5) -> tuple[tuple[float, int], ...]:
    """The rate times factor after every few epochs, for this many in all."""
    return tuple((rate * factor**k, min(every, epochs - k * every)) for k in range(-(-epochs // every)))


EXPLORATION = Recipe(decayed(20))
"""Of every network during the search."""

FINAL: Mapping[str, Recipe] = {
    "cifar10": Recipe(((0.025, 40), (0.0125, 40), (0.0001, 160), (0.00001, 60)), augment=True),
    "svhn": Recipe(((0.025, 5), (0.0125, 5), (0.0001, 20), (0.00001, 10))),
    "mnist": Recipe(decayed(40)),
}
"""Of the ten best afterwards; section 5. Of other images: as of MNIST."""
