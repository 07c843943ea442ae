"""The settings of one architecture search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curvestop.srm.curve import Configuration
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import DEFAULT_REFIT_GROWTH, FIRST_MODEL_CURVES, THESIS, StudySettings

N_SELECTED = 10
"""Number of the best networks of a search that are trained longer afterwards (section 5), and so must not be stopped."""


_METAQNN = {"models": 2700, "epochs": 20, "max_depth": None, "batch_size": 128}
_OF_SPACE: Mapping[str, Mapping[str, int | None]] = {
    # Zhong et al. 2017, Table 2 (178 batches of 64) and "Experiment Details".
    "blockqnn": {"models": 178 * 64, "epochs": 12, "max_depth": 23, "batch_size": 256}
}


def search_defaults(data: str, n_images: int, *, space: str = "metaqnn", policy: str | None = None) -> dict[str, Any]:
    """Return the defaults of settings that depend on others: the paper's, or for "digits" those of a small search.

    Args:
        data: "digits", or the path of the images.
        n_images: Number of images to train and validate on.
        space: Name of the search space.
        policy: Name of the policy that was asked for, if any; all but "threshold" weigh a prediction against ranks, and have one
            sooner.

    Examples:
        >>> search_defaults("digits", 1500)["models"], search_defaults("mnist", 60000)["models"]
        (150, 2700)
        >>> search_defaults("mnist", 60000, space="blockqnn")["models"]
        11392
        >>> [search_defaults(data, n)["n_validation"] for data, n in (("digits", 1500), ("mnist", 60000), ("my.npz", 1000))]
        [300, 5000, 200]
    """
    n_validation = min(5000, n_images // 5)
    if data == "digits":  # 8 x 8 pixels: a search of some minutes on one CPU
        options: dict[str, Any] = {"models": 150, "epochs": 10, "max_depth": 4, "divide": 8, "batch_size": 32, "min_curves": 20}
    else:
        options = {**_OF_SPACE.get(space, _METAQNN), "divide": 1, "min_curves": 100}
    if policy not in (None, "threshold"):
        options["min_curves"] = FIRST_MODEL_CURVES
    return {**options, "policy": "threshold", "n_validation": n_validation}


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
        threshold: Probability of being no better than the `rank` best from which on a training is stopped, in (0, 1].
        min_curves: Number of complete curves before the study predicts.
        controller: Name of the controller's algorithm, "reinforce" or "ppo"; "" means the default of the space.
        engine: Where networks train, a key of `ENGINES`.
        address: `HOST:PORT` of a Ray cluster; None means one that is found or started.
        cpus_per_trial: Number of CPUs that Ray or Slurm reserves for each training.
        gpus_per_trial: Number of GPUs that Ray or Slurm reserves for each training.
        rank: Which of the best final accuracies is the one to beat.
        tolerance: An accuracy within this of the one to beat is worth finishing.
        policy: Name of the study's policy.
        policy_settings: Arguments of the policy; None for its defaults.
        predictor: Name of the predictor.
        predictor_settings: Arguments of the predictor; None for its defaults.
        thesis: Whether the models are trained once, on the first `min_curves` curves.
        prefix: What comes before the names of trials in a study that other searches share; "" if the study is the search's own.
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
    # What searches did before these could be chosen.
    rank: int = 1
    tolerance: float = 0.0
    policy: str = "threshold"
    policy_settings: Mapping[str, Any] | None = None
    predictor: str = "stacked"
    predictor_settings: Mapping[str, Any] | None = None
    thesis: bool = False
    prefix: str = ""

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
        """Settings of the study that stops trainings, by default with the thesis's rule (section 4.2.3)."""
        return StudySettings(
            self.study,
            self.epochs,
            metric="validation accuracy",
            rule=StoppingRule(threshold=self.threshold, tolerance=self.tolerance, rank=self.rank, min_curves=self.min_curves),
            policy=self.policy,
            policy_settings=self.policy_settings or {},
            predictor=self.predictor,
            predictor_settings=self.predictor_settings or {},
            refit_growth=THESIS["refit_growth"] if self.thesis else DEFAULT_REFIT_GROWTH,
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
