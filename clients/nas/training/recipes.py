"""Training recipes: learning rates by epoch, restarts and batches. Baker et al. 2017 (ICLR), section 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    A network that is no better than chance after its first epoch starts again at a lower learning rate.

    Attributes:
        steps: `(learning rate, epochs)` pairs, in order.
        batch_size: Number of images in a training step. Default: 128.
        restart_factor: Factor of all learning rates at each restart. Default: 0.4.
        max_restarts: Maximum number of restarts. Default: 5.
        momentum: Momentum of stochastic gradient descent. Default: None, which means Adam (0.9, 0.999, 1e-8).
        weight_decay: Weight decay of the optimizer. Default: 0.
        augment: Whether to mirror and shift the images at random. Default: no.
        max_shift: Maximum shift in each direction, in pixels. Default: 5.

    Examples:
        >>> recipe = Recipe(decayed(12, rate=0.1, factor=0.5, every=5))
        >>> recipe.epochs, recipe.rate(0), recipe.rate(11)
        (12, 0.1, 0.025)
    """

    steps: tuple[tuple[float, int], ...]
    batch_size: int = 128
    restart_factor: float = 0.4
    max_restarts: int = 5
    momentum: float | None = None
    weight_decay: float = 0.0
    augment: bool = False
    max_shift: int = 5

    def __post_init__(self) -> None:
        if not self.steps or any(rate <= 0 or epochs < 1 for rate, epochs in self.steps):
            raise ValueError(f"steps must be (learning rate > 0, epochs >= 1) pairs, but got {self.steps!r}")
        if self.batch_size < 1 or self.max_restarts < 0:
            raise ValueError(f"batch_size must be >= 1 and max_restarts >= 0, but got {self.batch_size}, {self.max_restarts}")

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole training."""
        return sum(epochs for _, epochs in self.steps)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            epoch: The epoch, 0-based. After the last step its rate stays.

        Returns:
            The learning rate before any restart.
        """
        for rate, epochs in self.steps:
            if epoch < epochs:
                return rate
            epoch -= epochs
        return self.steps[-1][0]


def decayed(epochs: int, *, rate: float = 0.001, factor: float = 0.2, every: int = 5) -> tuple[tuple[float, int], ...]:
    """Return the steps of a learning rate that falls by a factor every few epochs.

    Args:
        epochs: Number of epochs in all.
        rate: Learning rate of the first step. Default: 0.001.
        factor: Factor from one step to the next. Default: 0.2.
        every: Epochs of a step; the last one may have fewer. Default: 5.

    Returns:
        `(learning rate, epochs)` pairs, as `Recipe.steps` takes them.
    """
    n_steps = -(-epochs // every)  # rounded up
    return tuple((rate * factor**k, min(every, epochs - k * every)) for k in range(n_steps))


# Section 5; the schedule of MNIST is that of the search over 40 epochs.
FINAL: Mapping[str, Recipe] = {
    "cifar10": Recipe(((0.025, 40), (0.0125, 40), (0.0001, 160), (0.00001, 60)), augment=True),
    "svhn": Recipe(((0.025, 5), (0.0125, 5), (0.0001, 20), (0.00001, 10))),
    "mnist": Recipe(decayed(40)),
    # Zhong et al. 2017, "Block-QNN's Results on CIFAR".
    "blockqnn": Recipe(((0.1, 150), (0.01, 75), (0.001, 75)), momentum=0.9, weight_decay=5e-4, augment=True, max_shift=4),
}
"""The recipes by which the ten best networks are trained after a search (section 5); BlockQNN's for its blocks."""

FINAL_REPEATS = 4
"""Number of blocks in each stage of the network that is trained after BlockQNN's search (N of Figure 2, CIFAR)."""


def final_schedule(data_set: str) -> str:
    """Return the key of `FINAL` for a data set.

    Args:
        data_set: Its name, as of `load_images`.

    Examples:
        >>> final_schedule("svhn"), final_schedule("cifar100"), final_schedule("digits")
        ('svhn', 'cifar10', 'mnist')
    """
    name = "cifar10" if data_set == "cifar100" else data_set
    return name if name in FINAL else "mnist"
