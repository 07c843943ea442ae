"""The folder of a search: what it was started with, its journal, and its result as tables."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from curvestop.clients.nas import blockqnn
from curvestop.clients.nas.counting import features
from curvestop.clients.nas.layers import notation, with_dropout
from curvestop.clients.nas.metaqnn import MetaQNNSpace
from curvestop.clients.nas.q_learning import BLOCKQNN_REPLAY, BLOCKQNN_SCHEDULE, METAQNN_SCHEDULE, QLearning
from curvestop.clients.nas.q_values import BLOCKQNN_VALUES
from curvestop.clients.nas.search import ArchitectureSearch, Described, Record
from curvestop.srm.curve import Configuration
from curvestop.srm.stopping import StoppingRule
from curvestop.srm.study import StudyLike, StudySettings

SETTINGS, JOURNAL, MODELS = "search.json", "journal.jsonl", "models.csv"
COLUMNS = ("trial", "epsilon", "state", "epochs", "reward", "predicted", "last_accuracy", "weights", "layers", "architecture")


@dataclass(frozen=True)
class SearchSettings:
    """What `metaqnn run` was asked for, and the size of the images. study: the study's name, new for every run."""

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
    max_depth: int
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

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ValueError when the folder is not one of a search of this version."""
        try:
            stored = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            return cls(**{field.name: stored[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: must be the folder of a search, but its {SETTINGS} cannot be read: {error}") from None

    def save(self, folder: Path) -> None:
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @property
    def table_1(self) -> MetaQNNSpace:
        """MetaQNN's, its filters and neurons divided by `divide`."""
        whole = MetaQNNSpace()
        if self.divide < 1 or any(n % self.divide for n in (*whole.filters, *whole.neurons)):
            raise ValueError(f"divide must divide 64, the smallest number of filters, but got {self.divide}")
        return MetaQNNSpace(
            image_size=self.image_size,
            n_channels=self.n_channels,
            n_classes=self.n_classes,
            max_depth=self.max_depth,
            filters=tuple(n // self.divide for n in whole.filters),
            neurons=tuple(n // self.divide for n in whole.neurons),
        )

    @property
    def study_settings(self) -> StudySettings:
        """The thesis's rule at this threshold (section 4.2.3)."""
        return StudySettings(
            self.study,
            self.epochs,
            metric="validation accuracy",
            rule=StoppingRule(threshold=self.threshold, min_curves=self.min_curves),
            policy="threshold",
            log_scaled=("ap:weights",),
        )

    @property
    def n_filters(self) -> int:
        """Of a block's convolutions before the first pooling."""
        return max(1, 32 // self.divide)

    @property
    def max_restarts(self) -> int:
        return 5 if self.space == "metaqnn" else 3

    def search(self, study: StudyLike | None) -> ArchitectureSearch:
        """A new one; the same for the same settings and decisions. Raises ValueError for a space that there is not."""
        if self.space not in SPACES:
            raise ValueError(f"space must be one of {', '.join(SPACES)}, but got {self.space!r}")
        return SPACES[self.space](self, study)

    @property
    def for_trainer(self) -> Configuration:
        names = ("data", "n_validation", "n_training", "epochs", "learning_rate", "batch_size", "max_restarts", "seed", "device")
        return {name: getattr(self, name) for name in (*names, "n_filters")}


def _metaqnn(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    space = settings.table_1

    def describe(chosen: tuple[Any, ...]) -> Described:
        architecture = with_dropout(space.architecture(chosen))
        told = features(architecture, space, learning_rate=settings.learning_rate, bag_of_words=settings.bag_of_words)
        return Described(notation(architecture), told)

    searcher = QLearning(space, seed=settings.seed, schedule=METAQNN_SCHEDULE.scaled(settings.models))
    return ArchitectureSearch(searcher, describe, epochs=settings.epochs, study=study, settings=settings.for_trainer)


def _blockqnn(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Minibatches of 64 blocks, Equation 2, the redefined reward; FLOPs are those of one block at the images' full size."""

    def sized(chosen: tuple[Any, ...], size: int) -> int:
        filters = settings.n_filters
        return blockqnn.flops(blockqnn.block_of(chosen), n_channels=filters, n_filters=filters, size=size)

    def describe(chosen: tuple[Any, ...]) -> Described:
        block = blockqnn.block_of(chosen)
        told = {"ap:weights": 1 + sized(chosen, 1), "ap:layers": len(block), "ap:density": blockqnn.density(block)}
        return Described(blockqnn.notation(block), {**told, "learning_rate": settings.learning_rate})

    def redefined(record: Record, accuracy: float) -> float:
        n_flops = sized(record.chosen, settings.image_size)
        return blockqnn.redefined_reward(accuracy, n_flops, float(record.features["ap:density"]))

    searcher = QLearning(
        blockqnn.BlockSpace(max_layers=settings.max_depth),
        seed=settings.seed,
        schedule=BLOCKQNN_SCHEDULE.scaled(settings.models),
        replay=BLOCKQNN_REPLAY,
        settings=BLOCKQNN_VALUES,
    )
    return ArchitectureSearch(
        searcher, describe, epochs=settings.epochs, study=study, settings=settings.for_trainer, redefined=redefined
    )


SPACES: Mapping[str, Callable[[SearchSettings, StudyLike | None], ArchitectureSearch]] = {
    "metaqnn": _metaqnn,
    "blockqnn": _blockqnn,
}


def write_models(path: Path, records: Iterable[Record]) -> None:
    """A table of all that was trained, replaced as a whole."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for r in records:
            weights, layers = r.features["ap:weights"], r.features["ap:layers"]
            last = r.values[-1] if r.values else None
            writer.writerow([r.trial, r.label, r.state, len(r.values), r.reward, r.predicted, last, weights, layers, r.text])
    os.replace(part, path)
