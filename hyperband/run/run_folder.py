"""The folder of a run: the settings it was started with, its journal, and the whole run restored from both."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from curvestop.command_line import hide_passwords
from curvestop.hyperband.executors.factory import ExecutorConfig
from curvestop.hyperband.executors.train_command import METRIC_LINE, Command, Program, Script
from curvestop.hyperband.run.journal import JournaledStudy, configurations_of, read, replay, utilization_of
from curvestop.hyperband.run.optuna_storage import RunStorage
from curvestop.hyperband.run.plan_report import PlanReport
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.asynchronous import Asha, AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, brackets, single_bracket
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space, log_scaled
from curvestop.hyperband.scheduler.second_chances import SecondChances
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.settings import DEFAULT_REFIT_GROWTH, THESIS, StudySettings
from curvestop.srm.study_like import ResumableStudy

SETTINGS, SPACE, JOURNAL = "run.json", "space.toml", "journal.jsonl"
"""Files in the folder of a run."""

SCHEDULERS: Mapping[str, type[BracketScheduler]] = {"asha": Asha, "async": AsynchronousHyperband, "sync": FHyperband}
"""The schedulers that `--mode` chooses from, by name."""
_OF_HYPERBAND: Mapping[str, float] = {"threshold": 0.9, "kappa": 0.5}
DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "asha": {"threshold": 0.95, "kappa": 1.0},
    "async": _OF_HYPERBAND,
    "sync": _OF_HYPERBAND,
}
"""Defaults of the flags whose default depends on the mode."""
STORAGE_VARIABLE = "CURVESTOP_STORAGE"
"""Environment variable with the URL of the Optuna storage: a command line shows a password to every user of the machine."""
MOST_AT_ONCE = 100_000
"""Most configurations of a bracket in mode "sync", which draws all of them before the first one trains."""
DEFAULT_BUDGET = 20.0
"""Epochs that the mode "asha" spends, in full trainings."""
DEFAULT_SECOND_CHANCES = 0.05
"""Share of the epochs for second chances, where the program resumes."""


def check_mode(mode: str) -> None:
    """Check the name of a mode.

    Raises:
        ValueError: If it is no key of `SCHEDULERS`.
    """
    if mode not in SCHEDULERS:
        raise ValueError(f"mode must be one of {', '.join(SCHEDULERS)}, but got {mode!r}")


def planned(mode: str, max_epochs: int, *, eta: int, budget: float | None, iterations: int) -> tuple[Bracket, ...]:
    """Return the brackets of one iteration.

    Args:
        mode: Key of `SCHEDULERS`.
        max_epochs: Most epochs of any configuration.
        eta: One configuration in eta is promoted.
        budget: Epochs that the mode "asha" spends, in full trainings; None for `DEFAULT_BUDGET`. Hyperband's brackets have a
            size of their own and need None.
        iterations: Consecutive runs of Hyperband; 1 in the mode "asha".

    Raises:
        ValueError: If an argument is out of range.
    """
    check_mode(mode)
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, but got {iterations}")
    if mode != "asha":
        if budget is not None:
            raise ValueError(f"a budget needs mode 'asha', as mode {mode!r} takes iterations, but got a budget of {budget!r}")
        return brackets(max_epochs, eta=eta)
    if iterations != 1:
        raise ValueError(
            f"iterations need mode 'sync' or 'async', as mode 'asha' takes a budget, but got {iterations} iterations"
        )
    return (single_bracket(max_epochs, eta=eta, budget=DEFAULT_BUDGET if budget is None else budget),)


@dataclass(frozen=True)
class RunSettings:
    """What `hyperband run` was asked for: the values of its flags, except the token, which is never stored.

    A field with a default may be missing in the folder of an earlier version.

    Attributes:
        script: Absolute path of the training script; None with a command.
        study: Name of the study, new for every run.
        max_epochs: Most epochs of any configuration.
        eta: One configuration in eta is promoted.
        workers: Number of trials that train at the same time.
        server: HOST:PORT of the server; None for a study in this process.
        seed: Seed of the sampler.
        iterations: Consecutive runs of Hyperband.
        threshold: Delta of the stopping rule.
        tolerance: delta of the stopping rule.
        kappa: See `BracketScheduler`.
        recall: `CutoffRecall.quantile`.
        no_recall: Whether each rung counts only its own configurations.
        min_curves: d of the stopping rule.
        direction: "maximize" or "minimize".
        metric: Name of the metric.
        predictor: Name of the predictor.
        no_stop: Whether this is plain Hyperband.
        script_sha256: Digest of the script when the run was started.
        command: The command line that trains; None with a script.
        pattern: `Command.pattern`.
        grace: `Command.grace_s`.
        engine: Key of `ENGINES`.
        hang_limit: Seconds an epoch may take; None for no limit.
        retries: How often in a row a killed trial is retried.
        address: Address of the Ray cluster.
        cpus_per_trial: CPUs that Ray or Slurm reserves for each worker.
        gpus_per_trial: GPUs that Ray or Slurm reserves for each worker.
        mode: Key of `SCHEDULERS`.
        budget: Epochs that the mode "asha" spends, in full trainings; None for `DEFAULT_BUDGET`.
        sampler: Key of `SAMPLERS`.
        storage: URL of the Optuna storage without its password, see `hide_passwords`; None for the run's own.
        reproducible: Whether the run must not depend on timing.
        second_chances: Share of the epochs for trials that were stopped, in [0, 1).
        reserve_chances: Whether the mode "asha" sets it aside, or gives them only what it leaves of its budget.
        policy: Name of the study's policy, which then decides in rungs of max_epochs too; None for the default, which decides for
            second chances only.
        policy_settings: Arguments of the policy; None for its defaults.
        predictor_settings: Arguments of the predictor; None for its defaults.
        thesis: Whether models are trained once, on the first `min_curves` curves.
        prefix: What comes before the names of trials in a study that other searches share; "" if the study is the run's own.
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
    # The fields below were added later: their defaults are what earlier versions did.
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
    budget: float | None = None
    sampler: str = "random"
    storage: str | None = None
    reproducible: bool = False
    second_chances: float = 0.0
    reserve_chances: bool = False
    policy: str | None = None
    policy_settings: Mapping[str, Any] | None = None
    predictor_settings: Mapping[str, Any] | None = None
    thesis: bool = False
    prefix: str = ""

    @staticmethod
    def from_options(script: Path | None, options: dict[str, Any]) -> RunSettings:
        """Make the settings from the command line.

        Args:
            script: The training script, if there is one.
            options: The other fields; None for the mode's own default (`DEFAULTS`). "second_chances" is a text like "5%" or
                "0.05"; None for `DEFAULT_SECOND_CHANCES` where there is a study and the program resumes, else 0.

        Raises:
            ValueError: If there is no such mode or no such script, not exactly one of a script and a command, or second chances
                are asked for that are no share or have no study.
        """
        check_mode(options["mode"])
        defaults = DEFAULTS[options["mode"]]
        options = {name: defaults.get(name) if value is None else value for name, value in options.items()}
        options["storage"] = None if options.get("storage") is None else hide_passwords(options["storage"])
        command = options.get("command")
        if script is None and command is None:
            raise ValueError("a run needs a SCRIPT or a --command to train, but got neither")
        if script is not None and command is not None:
            raise ValueError(f"a run trains either a SCRIPT or a --command, but got both: {script} and {command!r}")
        chances = options.pop("second_chances", None)
        if script is None:
            settings = RunSettings(script=None, **options)
        elif not script.is_file():
            raise ValueError(f"training script not found: {script}")
        else:
            settings = RunSettings(script=str(script.resolve()), script_sha256=_digest(script), **options)
        # What is asked for is set aside; the default takes nothing from the rungs.
        return replace(settings, second_chances=settings.second_chances_of(chances), reserve_chances=chances is not None)

    def second_chances_of(self, text: str | None) -> float:
        """Return the share of the epochs for second chances.

        Args:
            text: As on the command line; None for the default.

        Raises:
            ValueError: If it is no share, or there is no study to state chances.
        """
        states_chances = self.policy in (None, "learned") and not self.thesis
        if text is None:
            possible = self.program.keeps_checkpoints and not self.no_stop and states_chances
            return DEFAULT_SECOND_CHANCES if possible else 0.0
        share = parse_share(text)
        if share and self.no_stop:
            raise ValueError(f"second chances are for stopped trials, and --no-stop stops none, but got {text!r}")
        if share and self.policy not in (None, "learned"):
            raise ValueError(f"second chances need policy 'learned', the only one that states chances, but got {self.policy!r}")
        return share

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the settings of a run.

        Args:
            folder: Folder of the run, which has run.json.

        Raises:
            ValueError: If the folder is not the folder of a run of this version.
        """
        try:
            # A TypeError says that a field is missing or unknown: the folder of another version.
            settings = cls(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        except FileNotFoundError:
            problem = f"has no {SETTINGS}" if folder.is_dir() else "does not exist"
            raise ValueError(f"{folder}: must be the folder of a run, but it {problem}") from None
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{folder}: must be the folder of a run, but its {SETTINGS} cannot be read: {error}") from None
        # Earlier versions kept the password.
        return settings if settings.storage is None else replace(settings, storage=hide_passwords(settings.storage))

    def save(self, folder: Path, space: Path) -> None:
        """Write the settings and a copy of the search space into a run's folder.

        Args:
            folder: Folder of the run; it exists.
            space: File of the search space, copied as it is.
        """
        # A copy: the run must resume with the space it was started with.
        (folder / SPACE).write_text(space.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @property
    def plan(self) -> tuple[Bracket, ...]:
        """The brackets of one iteration.

        Raises:
            ValueError: If a setting breaks its rule.
        """
        return planned(self.mode, self.max_epochs, eta=self.eta, budget=self.budget, iterations=self.iterations)

    @property
    def plan_report(self) -> PlanReport:
        """What the brackets cost, and what can be stopped in them."""
        return PlanReport(self.plan, self.iterations, self.kappa, self.min_curves)

    @property
    def program(self) -> Program:
        """The program that trains."""
        if self.script is not None:
            return Script(Path(self.script))
        return Command.parse(self.command or "", pattern=self.pattern, grace_s=self.grace)

    @property
    def executor_config(self) -> ExecutorConfig:
        """The program and the workers that train it."""
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
        """Whether the script differs from the one that the run was started with."""
        return self.script is not None and _digest(Path(self.script)) != self.script_sha256

    def storage_url(self, given: str | None, *, variable: str | None = None) -> str | None:
        """Return the URL of the Optuna storage with its password; None for the run's own storage.

        Args:
            given: The URL, if it was given again; it must be the run's.
            variable: Value of the environment variable `STORAGE_VARIABLE`, read only if a password is needed.

        Raises:
            ValueError: If another URL is given, or the password is needed and not given.
        """
        needs_password = self.storage is not None and "***" in self.storage
        url = given or (variable if needs_password else self.storage)
        if url is not None and (self.storage is None or hide_passwords(url) != self.storage):
            known = "optuna.db in its folder" if self.storage is None else self.storage
            raise ValueError(f"the run's Optuna storage is {known}, but got {hide_passwords(url)}")
        if url is None and needs_password:
            raise ValueError(
                f"the password of the run's Optuna storage {self.storage} is not kept: give the URL again with --storage or the "
                f"variable {STORAGE_VARIABLE}"
            )
        return url

    def open_storage(self, url: str, space: Path) -> RunStorage:
        """Open the Optuna storage of the run.

        Args:
            url: URL of the database, as SQLAlchemy takes it.
            space: File of the search space.

        Raises:
            ValueError: If the URL is not that of a database that answers.
        """
        return RunStorage(url, self.prefix.removesuffix(".") or self.study, load_space(space), cast(Direction, self.direction))

    def check(self, space: Path) -> None:
        """Check all settings before anything is made.

        Args:
            space: File of the search space.

        Raises:
            ValueError: If a setting breaks its rule, in one line.
        """
        n = self.plan[0].n_configurations
        if self.mode == "sync" and n > MOST_AT_ONCE:
            raise ValueError(
                f"mode 'sync' draws the {n} configurations of its first bracket at once, at most {MOST_AT_ONCE}: use mode 'asha' "
                "or 'async', a larger eta or fewer max-epochs"
            )
        # Each constructor checks its own arguments.
        self.study_settings(space)
        self.scheduler(space, None)  # without a study: nothing is drawn or reported yet
        self.program.check(load_space(space))

    def study_settings(self, space: Path) -> StudySettings:
        """Return the settings of the run's study.

        Args:
            space: File of the search space: its log parameters are compared on a logarithmic scale.

        Raises:
            ValueError: If the file cannot be read or a setting breaks its rule.
        """
        return StudySettings(
            name=self.study,
            max_epochs=self.max_epochs,
            metric=self.metric,
            direction=cast(Direction, self.direction),
            rule=StoppingRule(threshold=self.threshold, tolerance=self.tolerance, min_curves=self.min_curves),
            predictor=self.predictor,
            predictor_settings=self.predictor_settings or {},
            policy=self.policy,  # type: ignore[arg-type]  # None is the default
            policy_settings=self.policy_settings or {},
            refit_growth=THESIS["refit_growth"] if self.thesis else DEFAULT_REFIT_GROWTH,
            log_scaled=log_scaled(load_space(space)),  # the predictors compare configurations on the scale they are drawn on
        )

    def scheduler(self, space: Path, study: ResumableStudy | None) -> BracketScheduler:
        """Make a new scheduler; it is a function of the settings, the space and the study's decisions.

        Args:
            space: File of the search space.
            study: Predicts and decides; None for plain Hyperband.

        Raises:
            ValueError: If a setting breaks its rule.
        """
        plan = self.plan  # first, as it checks the mode
        direction = cast(Direction, self.direction)
        # The sampler learns from the scheduler's trials, and is restored by replaying them.
        sampler = SpaceSampler(load_space(space), kind=self.sampler, seed=self.seed, direction=direction)
        return SCHEDULERS[self.mode](
            sampler.draw,
            learn=sampler.learn,
            max_epochs=self.max_epochs,
            eta=self.eta,
            plan=plan,
            study=study,
            direction=direction,
            kappa=self.kappa,
            n_iterations=self.iterations,
            recall=None if self.no_recall else CutoffRecall(quantile=self.recall),
            second_chances=SecondChances(study, self.second_chances, is_reserved=self.reserve_chances)
            if study is not None and self.second_chances
            else None,
            policy_decides=self.policy is not None,
        )


@dataclass(frozen=True)
class RunView:
    """A run, restored from its folder.

    Attributes:
        settings: Settings that it was started with.
        scheduler: Its trials and brackets.
        utilization: How busy its workers were.
    """

    settings: RunSettings
    scheduler: BracketScheduler
    utilization: UtilizationTracker


def run_view(folder: Path) -> RunView:
    """Restore a run from its journal without changing anything, whether it is over, killed or running.

    Args:
        folder: Folder of the run; nothing in it is locked, so the run may go on meanwhile.

    Raises:
        ValueError: If the folder is not the folder of a run, or its journal does not fit its settings.
    """
    settings, space, entries = RunSettings.load(folder), folder / SPACE, read(folder / JOURNAL)
    # A study that only repeats the journal's decisions: nothing is predicted.
    study = None if settings.no_stop else JournaledStudy(None, settings.study_settings(space), entries, None)
    scheduler = settings.scheduler(space, study)
    # The scheduler is a function of its calls. What another version of the sampler draws is not shown.
    replay(scheduler, entries, checks_configurations=False)
    drawn = configurations_of(entries)
    for record in scheduler.records:
        record.configuration = drawn.get(record.trial, record.configuration)
    return RunView(settings, scheduler, utilization_of(entries))


def parse_share(text: str) -> float:
    """Return a share of the epochs.

    Args:
        text: Per cent, or a number.

    Raises:
        ValueError: If it is neither, or the share is not in [0, 1).

    Examples:
        >>> parse_share("5%"), parse_share("0.05")
        (0.05, 0.05)
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise ValueError(f"second chances must be a share of the epochs, like 5% or 0.05, below 100%, but got {text!r}")
    return share


def _digest(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest() if script.is_file() else ""
