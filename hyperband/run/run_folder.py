"""The folder of a run: what it was started with, its journal, and from both everything there is to know about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from curvestop.hyperband.executors.factory import ExecutorConfig
from curvestop.hyperband.executors.train_command import METRIC_LINE, Command, Program, Script
from curvestop.hyperband.run.journal import JournaledStudy, read, replay, utilization_of
from curvestop.hyperband.run.optuna_storage import RunStorage
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.asynchronous import AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space, log_scaled
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.study import StudyLike, StudySettings

SETTINGS, SPACE, JOURNAL = "run.json", "space.toml", "journal.jsonl"

SCHEDULERS: Mapping[str, type[BracketScheduler]] = {"sync": FHyperband, "async": AsynchronousHyperband}


@dataclass(frozen=True)
class RunSettings:
    """What `hyperband run` was asked for; fields with a default were added later.

    script, command: the program that trains, one of the two. study: the study's name, new for every run. The token is not kept.
    """

    script: str | None
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
    command: str | None = None
    pattern: str = METRIC_LINE
    grace: float = 10.0
    engine: str = "local"
    hang_limit: float | None = None
    retries: int = 1
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    mode: str = "sync"
    sampler: str = "random"
    storage: str | None = None
    reproducible: bool = False

    @staticmethod
    def from_options(script: Path | None, options: dict[str, Any]) -> RunSettings:
        """Raises ValueError when there is no such script, or not exactly one of a script and a command."""
        if (script is None) == (options.get("command") is None):
            raise ValueError(f"a run trains either a SCRIPT or a --command, but got {script} and {options.get('command')!r}")
        if script is not None and not script.is_file():
            raise ValueError(f"{script}: the training script must be a Python file, but there is none")
        if script is None:
            return RunSettings(script=None, **options)
        return RunSettings(script=str(script.resolve()), script_sha256=_fingerprint(script), **options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises ValueError when the folder is not one of a run of this version."""
        try:
            return cls(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{folder}: must be the folder of a run, but its {SETTINGS} cannot be read: {error}") from None

    def save(self, folder: Path, space: Path) -> None:
        (folder / SPACE).write_text(space.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @property
    def program(self) -> Program:
        if self.script is not None:
            return Script(Path(self.script))
        return Command.parse(self.command or "", pattern=self.pattern, grace_s=self.grace)

    @property
    def executor_config(self) -> ExecutorConfig:
        return ExecutorConfig(
            self.program,
            self.workers,
            self.engine,
            self.address,
            self.cpus_per_trial,
            self.gpus_per_trial,
            hang_limit_s=self.hang_limit,
            retries=self.retries,
        )

    @property
    def script_has_changed(self) -> bool:
        return self.script is not None and _fingerprint(Path(self.script)) != self.script_sha256

    def open_storage(self, url: str, space: Path) -> RunStorage:
        """The run as an Optuna study. Raises ValueError when there is no such storage."""
        return RunStorage(url, self.study, load_space(space), cast(Direction, self.direction))

    def check(self, space: Path) -> None:
        """Raises ValueError for whatever makes no sense, before anything is made."""
        self.study_settings(space)
        self.scheduler(space, None)
        self.program.check(load_space(space))

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

    def scheduler(self, space: Path, study: StudyLike | None) -> BracketScheduler:
        """A new one; the same for the same settings, space and answers of the study."""
        if self.mode not in SCHEDULERS:
            raise ValueError(f"mode must be one of {', '.join(SCHEDULERS)}, but got {self.mode!r}")
        direction = cast(Direction, self.direction)
        sampler = SpaceSampler(load_space(space), kind=self.sampler, seed=self.seed, direction=direction)
        return SCHEDULERS[self.mode](
            sampler.draw,
            learn=sampler.learn,
            max_epochs=self.max_epochs,
            eta=self.eta,
            study=study,
            direction=direction,
            kappa=self.kappa,
            n_iterations=self.iterations,
            recall=None if self.no_recall else CutoffRecall(quantile=self.recall),
        )


@dataclass(frozen=True)
class RunView:
    """What is known of a run."""

    settings: RunSettings
    scheduler: BracketScheduler
    utilization: UtilizationTracker


def run_view(folder: Path) -> RunView:
    """A run as its journal tells it, whether it is over, killed or going on; nothing is changed. Raises ValueError."""
    settings, space, entries = RunSettings.load(folder), folder / SPACE, read(folder / JOURNAL)
    told = None if settings.no_stop else JournaledStudy(None, settings.study_settings(space), entries, None)
    scheduler = settings.scheduler(space, told)
    replay(scheduler, entries)
    return RunView(settings, scheduler, utilization_of(entries))


def _fingerprint(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest() if script.is_file() else ""
