"""`StopCommand`: the user's command that ends a run, with the run's names put in as arguments."""

from __future__ import annotations

import re
import shlex
import subprocess

from curvestop.clients.watch.log_files import LogFile

TIMEOUT_S = 60.0
"""Longest time that the command may take."""
PLACEHOLDERS = ("job", "trial", "file")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_JOB = re.compile(r"(?:^|[-/])(\d+(?:_\d+)?)$")
"""The number at the end of a trial's name, as in `slurm-123`; of a job array also the task's, as in `slurm-123_4`."""


class StopCommand:
    """A command with placeholders: `{job}`, `{trial}` and `{file}`.

    It is run without a shell, so whatever a placeholder stands for is (a part of) one argument.

    Args:
        line: The command, split as a shell splits it.

    Raises:
        ValueError: If the line is empty or cannot be split, or a placeholder is unknown or within a script.

    Examples:
        >>> from pathlib import Path
        >>> command = StopCommand("scancel {job}")
        >>> command.arguments(LogFile(Path("logs/slurm-123.out"), "slurm-123"))
        ['scancel', '123']
    """

    def __init__(self, line: str) -> None:
        try:
            self._arguments = shlex.split(line)
        except ValueError as error:
            raise ValueError(f"--on-stop must be a command, but {line!r} cannot be split: {error}") from None
        if not self._arguments:
            raise ValueError("--on-stop must be a command such as 'scancel {job}', but is empty")
        for argument in self._arguments:
            names = _PLACEHOLDER.findall(argument)
            if unknown := [name for name in names if name not in PLACEHOLDERS]:
                raise ValueError(f"--on-stop may have {{job}}, {{trial}} and {{file}}, but {line!r} has {{{unknown[0]}}}")
            # A shell in between would read what a file's name says as a part of its script.
            if names and any(map(str.isspace, argument)):
                raise ValueError(
                    f"a placeholder of --on-stop must stand in an argument of its own, but {argument!r} is a text with spaces: "
                    "write a script, and give it {job}, {trial} or {file} as its argument"
                )

    def arguments(self, log: LogFile) -> list[str]:
        """Return the program and its arguments for a run.

        Args:
            log: The log of the run.

        Raises:
            ValueError: If the log's name has no job number, or an argument would be read as an option.
        """
        job = _JOB.search(log.trial)
        values = {"trial": log.trial, "file": str(log.path.absolute()), "job": job[1] if job else ""}
        if not job and any("{job}" in argument for argument in self._arguments):
            raise ValueError(f"{{job}} is the number at the end of a log's name, as in slurm-123.out, but got {log.path.name!r}")
        filled = [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in self._arguments]
        for before, after in zip(self._arguments, filled, strict=True):
            if after.startswith("-") and not before.startswith("-"):
                raise ValueError(f"a name that begins with '-' would be an option of the command: {after!r}")
        return filled

    def run(self, log: LogFile) -> str | None:
        """Run the command for a run that is to be stopped.

        Args:
            log: The log of the run.

        Returns:
            None if it succeeded, else why not, on one line.
        """
        try:
            arguments = self.arguments(log)
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
                text=True,
                errors="replace",
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0:
            return None
        said = " ".join((done.stderr or done.stdout).split())[-200:]
        return f"{shlex.join(arguments)} exited with status {done.returncode}" + (f": {said}" if said else "")
