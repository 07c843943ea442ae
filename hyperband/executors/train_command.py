"""What a trial runs: a training script with a generator, or any command line that prints its metric."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

METRIC_LINE = r"\bmetric\s*[=:]\s*(?P<value>\S+)"
"""The pattern of a command's metric lines unless it is given another: `metric=0.93`, `metric: 0.93`."""

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
"""Other braces, as in JSON, stay as they are."""

JOB_NAMES = ("checkpoint_dir", "trial", "first_epoch", "last_epoch")
"""Placeholders that every job fills in; a parameter of the same name comes first."""


@dataclass(frozen=True)
class Script:
    """A Python file that defines train(configuration: dict, checkpoint_dir: Path) -> Iterator[float].

    `train` is a generator: it yields the metric after each epoch, and resumes from what it left in checkpoint_dir. It
    saves its checkpoint before it yields, all or nothing (`os.replace`). Each worker imports the file once.
    With a third parameter it is given the epoch to yield first: one that is killed between its checkpoint and its yield has
    a checkpoint that is an epoch too far, and is exact only if it kept the one before.
    """

    path: Path

    def check(self, parameters: Collection[str]) -> None:
        """Nothing to check: a script is given all parameters."""

    def as_json(self) -> dict[str, Any]:
        return {"kind": "script", "path": str(self.path.resolve())}

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Command:
    """Any command line; every job of a trial is a process of its own, run without a shell.

    arguments: `{lr}` stands for the parameter lr, `{checkpoint_dir}`, `{trial}`, `{first_epoch}` and `{last_epoch}` for the
    job's. The same is in the environment: CURVESTOP_PARAM_lr (characters other than letters, digits and _ become _),
    CURVESTOP_CONFIGURATION (all parameters as a JSON object), CURVESTOP_CHECKPOINT_DIR, CURVESTOP_TRIAL,
    CURVESTOP_FIRST_EPOCH and CURVESTOP_LAST_EPOCH. Booleans are `true` and `false`.
    pattern: a regular expression searched in each line of standard output; its group `value`, or else its only group, is the
    metric of the next epoch. With a group `epoch` too, epochs before the expected one are skipped (a program that cannot
    resume repeats them) and a gap fails the trial. In place of printing them, a Python program may send its metrics:
    `curvestop.clients.job.current_job().report(value)`.
    grace_s: > 0; how long it may take to end before it is told to (SIGTERM), and from then until it is killed (SIGKILL).

    A command is not held between epochs: while the scheduler decides, it trains on. A stop ends it wherever it is; what it
    printed by then is kept and used first when the trial resumes. At last_epoch it ought to end by itself, its checkpoint
    saved in checkpoint_dir; after grace_s it is ended. It prints the metric of an epoch when the checkpoint of that epoch
    is saved. Exit status 0 is a good end.
    """

    arguments: tuple[str, ...]
    pattern: str = METRIC_LINE
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.arguments:
            raise ValueError("a command needs at least one argument, the program, but got none")
        if not self.grace_s > 0:
            raise ValueError(f"grace_s must be > 0, but got {self.grace_s!r}")
        check_pattern(self.pattern)

    @classmethod
    def parse(cls, line: str, *, pattern: str = METRIC_LINE, grace_s: float = 10.0) -> Command:
        """From one line, split as a POSIX shell splits it. Raises ValueError for an open quote, or nothing."""
        return cls(tuple(shlex.split(line)), pattern, grace_s)

    def check(self, parameters: Collection[str]) -> None:
        """Raises ValueError when a placeholder is neither a parameter nor one that every job has."""
        for name in placeholders(self.arguments):
            if name not in parameters and name not in JOB_NAMES:
                raise ValueError(
                    f"a placeholder must be a parameter ({', '.join(parameters)}) or one of {', '.join(JOB_NAMES)}, "
                    f"but the command has {{{name}}}"
                )

    def as_json(self) -> dict[str, Any]:
        return {"kind": "command", **asdict(self)}

    def __str__(self) -> str:
        return shlex.join(self.arguments)


Program = Script | Command


def as_program(given: Program | Path) -> Program:
    """A path is that of a script."""
    return Script(given) if isinstance(given, Path) else given


def placeholders(arguments: Sequence[str]) -> list[str]:
    """Names in braces, in order, each once."""
    return list(dict.fromkeys(name for argument in arguments for name in PLACEHOLDER.findall(argument)))


def check_pattern(pattern: str) -> None:
    """Raises ValueError unless it is a regular expression with a group `value`, or with one group only."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the metric's pattern must be a regular expression, but {pattern!r} is not: {error}") from None
    if "value" not in compiled.groupindex and compiled.groups != 1:
        raise ValueError(
            f"the metric's pattern must have a group named value, or one group only, but {pattern!r} has {compiled.groups}"
        )


def missing_program(arguments: Sequence[str]) -> str | None:
    """Why the program cannot be started here; None when it can, or depends on a parameter."""
    program = arguments[0]
    if placeholders([program]) or shutil.which(program) is not None:
        return None
    return f"there is no program {program!r} to run"
