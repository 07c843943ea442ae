"""The folder of a run: what it was started with, its journal, and from both everything there is to know about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, cast

from curvestop.hyperband.fhyperband import FHyperband
from curvestop.hyperband.journal import JournaledStudy, read, replay
from curvestop.hyperband.memory import Recall
from curvestop.hyperband.space import load_space, log_scaled, sampler
from curvestop.srm.stopping import Direction, StoppingRule
from curvestop.srm.study import StudyLike, StudySettings

SETTINGS, SPACE, JOURNAL = "run.json", "space.toml", "journal.jsonl"


@dataclass(frozen=True)
class RunSettings:
    """What `hyperband run` was asked for. study: the study's name, new for every run. The token is not kept."""

    script: str
    study: str
    max_epochs: int
    eta: int
    workers: int
    server: str | None
    seed: int
    iterations: int
    threshold: float
    tolerance: float
    kappa: float
    recall: float
    no_recall: bool
    min_curves: int
    direction: str
    metric: str
    predictor: str
    no_stop: bool
    script_sha256: str = ""

    @staticmethod
    def of(script: Path, options: dict[str, Any]) -> RunSettings:
        """Raises ValueError when there is no such script."""
        if not script.is_file():
            raise ValueError(f"{script}: the training script must be a Python file, but there is none")
        return RunSettings(script=str(script.resolve()), script_sha256=_fingerprint(script), **options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ValueError when the folder is not one of a run of this version."""
        try:
            stored = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            return cls(**{field.name: stored[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: must be the folder of a run, but its {SETTINGS} cannot be read: {error}") from None

    def save(self, folder: Path, space: Path) -> None:
        (folder / SPACE).write_text(space.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @property
    def script_has_changed(self) -> bool:
        return _fingerprint(Path(self.script)) != self.script_sha256

    def study_settings(self, space: Path) -> StudySettings:
        return StudySettings(
            name=self.study,
            max_epochs=self.max_epochs,
            metric=self.metric,
            direction=cast(Direction, self.direction),
            rule=StoppingRule(threshold=self.threshold, tolerance=self.tolerance, min_curves=self.min_curves),
            predictor=self.predictor,
            log_scaled=log_scaled(load_space(space)),
        )

    def scheduler(self, space: Path, study: StudyLike | None) -> FHyperband:
        """A new one; the same for the same settings, space and answers of the study."""
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, but got {self.seed}")
        return FHyperband(
            sampler(load_space(space), seed=self.seed),
            max_epochs=self.max_epochs,
            eta=self.eta,
            study=study,
            direction=cast(Direction, self.direction),
            kappa=self.kappa,
            n_iterations=self.iterations,
            recall=None if self.no_recall else Recall(quantile=self.recall),
        )


def scheduler_of(folder: Path) -> tuple[RunSettings, FHyperband]:
    """A run as its journal tells it, whether it is over, killed or going on; nothing is changed. Raises ValueError."""
    settings, space, entries = RunSettings.load(folder), folder / SPACE, read(folder / JOURNAL)
    told = None if settings.no_stop else JournaledStudy(None, settings.study_settings(space), entries, None)
    scheduler = settings.scheduler(space, told)
    replay(scheduler, entries)
    return settings, scheduler


def _fingerprint(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest() if script.is_file() else ""
