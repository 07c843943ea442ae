"""The folder of a search: what it was started with, its journal, and its result as tables."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch
from curvestop.clients.nas.spaces.registry import new_search
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.study import StudyLike, StudySettings

SETTINGS, JOURNAL, MODELS = "search.json", "journal.jsonl", "models.csv"
COLUMNS = ("state", "epochs", "reward", "predicted", "last_accuracy", "weights", "layers", "architecture")


@dataclass(frozen=True)
class SearchSettings:
    """What `metaqnn run` was asked for, and the size of the images; fields with a default were added later.

    study: the study's name, new for every run. max_depth: None is the space's own. controller: "" is the space's own.
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
    max_depth: int | None
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

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ValueError when the folder is not one of a search of this version."""
        try:
            stored = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: must be the folder of a search, but its {SETTINGS} cannot be read: {error}") from None

    def save(self, folder: Path) -> None:
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def depth(self, default: int, *, least: int = 1) -> int:
        """Most layers of a network or a block, or the nodes of a cell. Raises ValueError when it is below `least`."""
        depth = default if self.max_depth is None else self.max_depth
        if depth < least:
            raise ValueError(f"max-depth of space {self.space!r} must be >= {least}, but got {depth}")
        return depth

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
        """Of a block's or a cell's convolutions before the first pooling."""
        return max(1, 32 // self.divide)

    @property
    def max_restarts(self) -> int:
        return 5 if self.space == "metaqnn" else 3

    def search(self, study: StudyLike | None) -> ArchitectureSearch:
        """A new one; the same for the same settings and decisions. Raises ValueError for a space that there is not."""
        return new_search(self, study)

    @property
    def for_trainer(self) -> Configuration:
        names = ("data", "n_validation", "n_training", "epochs", "learning_rate", "batch_size", "max_restarts", "seed", "device")
        return {name: getattr(self, name) for name in (*names, "n_filters")}


def write_models(path: Path, search: ArchitectureSearch) -> None:
    """A table of all that was trained, replaced as a whole."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("trial", search.searcher.label_name, *COLUMNS))
        for r in search.records:
            weights, layers = r.features["ap:weights"], r.features["ap:layers"]
            last = r.values[-1] if r.values else None
            writer.writerow([r.trial, r.label, r.state, len(r.values), r.reward, r.predicted, last, weights, layers, r.text])
    os.replace(part, path)
