"""The settings of one architecture search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from curvestop.srm.curve import Configuration
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings


def search_defaults(data: str, n_images: int) -> dict[str, Any]:
    """Return the defaults of the settings that depend on the images: the paper's, or for "digits" those of a small search.

    Args:
        data: "digits", or the path of the images.
        n_images: Number of images to train and validate on.

    Examples:
        >>> search_defaults("digits", 1500)["models"], search_defaults("mnist", 60000)["models"]
        (150, 2700)
        >>> [search_defaults(data, n)["n_validation"] for data, n in (("digits", 1500), ("mnist", 60000), ("my.npz", 1000))]
        [300, 5000, 200]
    """
    n_validation = min(5000, n_images // 5)
    if data == "digits":  # 8 x 8 pixels: a search of some minutes on one CPU
        small = {"models": 150, "epochs": 10, "max_depth": 4, "divide": 8, "batch_size": 32, "min_curves": 20}
        return {**small, "n_validation": n_validation}
    paper = {"models": 2700, "epochs": 20, "max_depth": None, "divide": 1, "batch_size": 128, "min_curves": 100}
    return {**paper, "n_validation": n_validation}


@dataclass(frozen=True)
class SearchSettings:
    """The arguments of `metaqnn run`, and the size of the images.

    The fields are what `search.json` in the search's folder has. Fields with a default were added later, so that older
    folders can still be read.

    Attributes:
        data: "digits", or the absolute path of the images.
        space: Name of the search space, a key of `SPACES`.
        script: Absolute path of the training script.
        study: Name of the study, different for each search.
        image_size: Side of the images, in pixels.
        n_channels: Number of channels of the images.
        n_classes: Number of classes.
        models: Number of different architectures to train.
        epochs: Number of epochs of each training.
        seed: Random seed of the search, the trainings and the split of the images.
        workers: Number of trainings at the same time.
        max_depth: Maximum number of layers, or nodes of a cell. None means the default of the space.
        divide: Divisor of all numbers of filters and neurons.
        n_validation: Number of images for validation.
        n_training: Number of images to train on; 0 means all others.
        batch_size: Number of images in a training step.
        learning_rate: Initial learning rate.
        bag_of_words: Whether the study predicts from the number of layers of each type too.
        device: Name of a torch device; "" means a GPU where there is one.
        server: `HOST:PORT` of a server; None means a study in this process.
        no_stop: Whether to train every architecture to the end.
        threshold: Probability of being no better than the best from which on a training is stopped, in (0, 1].
        min_curves: Number of complete curves before the study predicts.
        controller: Name of the controller's algorithm, "reinforce" or "ppo"; "" means the default of the space.
        engine: Where networks train, a key of `ENGINES`.
        address: `HOST:PORT` of a Ray cluster; None means one that is found or started.
        cpus_per_trial: Number of CPUs that Ray reserves for each training.
        gpus_per_trial: Number of GPUs that Ray reserves for each training.
    """

    data: str
    space: str
    script: str
    study: str
    image_size: int
    n_channels: int
    n_classes: int
    models: int
    epochs: int
    seed: int
    workers: int
    max_depth: int | None  # each space has its own default, see `depth`
    divide: int
    n_validation: int
    n_training: int
    batch_size: int
    learning_rate: float
    bag_of_words: bool
    device: str
    server: str | None
    no_stop: bool
    threshold: float
    min_curves: int
    controller: str = ""
    engine: str = "local"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0

    def check(self) -> None:
        """Check what the trainings would otherwise find out one by one.

        Raises:
            ValueError: If the size of a batch or the learning rate is out of range.
        """
        if self.batch_size < 1:
            raise ValueError(f"batch-size must be >= 1, but got {self.batch_size}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning-rate must be finite and > 0, but got {self.learning_rate}")

    def depth(self, default: int, *, least: int = 1) -> int:
        """Return the maximum depth of the space.

        Args:
            default: The depth if `max_depth` is None.
            least: The smallest depth that the space allows.

        Returns:
            Maximum number of layers of a network or a block, or the number of nodes of a cell.

        Raises:
            ValueError: If the depth is below `least`.
        """
        depth = default if self.max_depth is None else self.max_depth
        if depth < least:
            raise ValueError(f"max-depth of space {self.space!r} must be >= {least}, but got {depth}")
        return depth

    @property
    def study_settings(self) -> StudySettings:
        """Settings of the study that stops trainings: the thesis's rule at `threshold` (section 4.2.3)."""
        return StudySettings(
            self.study,
            self.epochs,
            metric="validation accuracy",
            rule=StoppingRule(threshold=self.threshold, min_curves=self.min_curves),
            policy="threshold",
            log_scaled=("ap:weights",),  # numbers of weights span orders of magnitude
        )

    @property
    def n_filters(self) -> int:
        """Number of filters of a block's or a cell's convolutions before the first pooling."""
        return max(1, 32 // self.divide)  # 32 is our choice: the BlockQNN paper does not say

    @property
    def max_restarts(self) -> int:
        """Maximum number of restarts at a lower learning rate: 5 in MetaQNN's paper, 3 in BlockQNN's."""
        return 5 if self.space == "metaqnn" else 3

    @property
    def trainer_configuration(self) -> Configuration:
        """Values that every training gets beside its architecture; `training_script` lists the keys."""
        # Everything but the architecture: the same for all trainings of a search.
        names = ("data", "n_validation", "n_training", "epochs", "learning_rate", "batch_size", "max_restarts", "seed", "device")
        return {name: getattr(self, name) for name in (*names, "n_filters")}
