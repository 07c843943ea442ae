"""The program that a trial runs: a training script with a generator, or any command line that prints its metric."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

METRIC_LINE = r"\bmetric\s*[=:]\s*(?P<value>\S+)"
"""Default pattern of a command's metric lines; it matches `metric=0.93` and `metric: 0.93`."""

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
"""Matches `{name}`; other braces, as in JSON, stay as they are."""

JOB_NAMES = ("checkpoint_dir", "trial", "first_epoch", "last_epoch")
"""Placeholders that every job can fill in; a parameter of the same name takes precedence."""


@dataclass(frozen=True)
class Script:
    """A Python file that defines `train(configuration: dict, checkpoint_dir: Path) -> Iterator[float]`.

    `train` is a generator: it yields the metric after each epoch, and resumes from what an earlier job left in
    `checkpoint_dir`. It saves its checkpoint before it yields, atomically (`os.replace`). Each worker imports the file once.

    With a third parameter, `train` receives the first epoch to yield. A worker killed between the checkpoint and the yield
    leaves a checkpoint that is one epoch too far; only a `train` that also kept the checkpoint before can then resume exactly.

    Attributes:
        path: The Python file.
    """

    path: Path

    def check(self, parameters: Collection[str]) -> None:
        """Accept any parameters: a script receives all of them.

        Args:
            parameters: Names of the search space's parameters; not read.
        """

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether it resumes where it was: True, as `train` is to do so."""
        return True

    def as_json(self) -> dict[str, Any]:
        """Return the program as a worker process receives it."""
        # Absolute: a worker may run in another directory.
        return {"kind": "script", "path": str(self.path.resolve())}

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Command:
    """A command line; every job of a trial is a process of its own, started without a shell.

    A command is not paused between epochs: it trains on while the scheduler decides. A stop ends it wherever it is; the
    metrics it printed by then are kept and used first when the trial resumes. It should end by itself after `last_epoch`,
    with its checkpoint saved in `checkpoint_dir`; `grace_s` seconds later it is ended. It prints the metric of an epoch after
    it saved that epoch's checkpoint. Exit status 0 means success.

    The environment has the job, too: CURVESTOP_PARAM_lr (characters other than letters, digits and _ become _),
    CURVESTOP_CONFIGURATION (all parameters as a JSON object), CURVESTOP_CHECKPOINT_DIR, CURVESTOP_TRIAL,
    CURVESTOP_FIRST_EPOCH and CURVESTOP_LAST_EPOCH. Booleans are `true` and `false`.

    Attributes:
        arguments: Program and arguments. `{lr}` stands for the parameter lr; `{checkpoint_dir}`, `{trial}`, `{first_epoch}`
            and `{last_epoch}` stand for the job's.
        pattern: Regular expression that is searched for in each line of the output, colours removed. Its group `value`, or
            else its only group, is the metric of the next epoch. `val_acc=([0-9.]+)` means the number after val_acc: it also
            finds `-0.3`, `1e-05`, `0,93` and, in a job without such a line, `"val_acc": 0.93` or `val_acc: tensor(0.93)`;
            standard error is searched in a job without a metric on standard output. If the pattern also has a group `epoch`,
            epochs before the expected one are skipped (a program that cannot resume repeats them) and a gap fails the trial.
            Instead of printing its metrics, a Python program may send them with
            `curvestop.clients.job.current_job().report(value)`.
        grace_s: Seconds, > 0: how long the command may take to end by itself before it receives SIGTERM, and from then until
            it receives SIGKILL.

    Examples:
        >>> command = Command.parse("python train.py --lr {lr}", pattern="val_acc=([0-9.]+)")
        >>> command.arguments
        ('python', 'train.py', '--lr', '{lr}')
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
        """Make a command from one line, split as a POSIX shell splits it.

        Args:
            line: The command line.
            pattern: See the class.
            grace_s: See the class.

        Raises:
            ValueError: If the line is empty or has an open quote, or if an argument is invalid.
        """
        return cls(tuple(shlex.split(line)), pattern, grace_s)

    def check(self, parameters: Collection[str]) -> None:
        """Check that every placeholder can be filled in.

        Args:
            parameters: Names of the search space's parameters.

        Raises:
            ValueError: If a placeholder is neither a parameter nor one of `JOB_NAMES`.
        """
        # Before the run starts, so that a typing error does not fail every trial.
        for name in placeholders(self.arguments):
            if name not in parameters and name not in JOB_NAMES:
                raise ValueError(
                    f"a placeholder must be a parameter ({', '.join(parameters)}) or one of {', '.join(JOB_NAMES)}, "
                    f"but the command has {{{name}}}"
                )

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether it resumes where it was, as far as its arguments tell: one of them is the folder of its checkpoint."""
        return "checkpoint_dir" in placeholders(self.arguments)

    def as_json(self) -> dict[str, Any]:
        """Return the program as a worker process receives it."""
        return {"kind": "command", **asdict(self)}

    def __str__(self) -> str:
        return shlex.join(self.arguments)


Program = Script | Command
"""What a trial runs."""


def as_program(program: Program | Path) -> Program:
    """Return the program; a path is the path of a training script.

    Args:
        program: A program, or the path of a Python file that defines `train`.
    """
    return Script(program) if isinstance(program, Path) else program


def placeholders(arguments: Sequence[str]) -> list[str]:
    """Return the names in braces, in order, each once.

    Args:
        arguments: Program and arguments, as in `Command.arguments`.
    """
    # dict.fromkeys drops repetitions and keeps the order.
    return list(dict.fromkeys(name for argument in arguments for name in PLACEHOLDER.findall(argument)))


def check_pattern(pattern: str) -> None:
    """Check that a pattern can find a metric.

    Args:
        pattern: Regular expression of a command's metric lines, as in `Command.pattern`.

    Raises:
        ValueError: If it is not a regular expression, or has neither a group `value` nor exactly one group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the metric's pattern must be a regular expression, but {pattern!r} is not: {error}") from None
    # Without a group named value, a second group would make it unclear which one is the metric.
    if "value" not in compiled.groupindex and compiled.groups != 1:
        raise ValueError(
            f"the metric's pattern must have a group named value, or exactly one group, but {pattern!r} has "
            f"{compiled.groups} groups: write for example 'val_acc=([0-9.]+)'"
        )


def missing_program(arguments: Sequence[str]) -> str | None:
    """Return why the program cannot be started here; None if it can, or if its name depends on a parameter.

    Args:
        arguments: Program and arguments; only the first is looked up, on this machine's PATH.
    """
    program = arguments[0]  # other arguments may be files that a job creates
    if placeholders([program]) or shutil.which(program) is not None:
        return None
    return f"program not found: {program}"
