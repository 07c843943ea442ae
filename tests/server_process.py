"""A real server in a process of its own, for tests that kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

SERVE = (sys.executable, "-m", "curvestop.cli", "serve")
START_S = 60.0
STOP_S = 30.0


class Started(ABC):
    """What a server prints when it starts: where it listens, and where its token lies."""

    printed: dict[str, str]

    def await_start(self, lines: Iterable[str]) -> None:
        """Read until it listens. Raises AssertionError when it ends before."""
        self.printed = {}
        for line in lines:
            what, _, value = line.strip().partition("  ")
            self.printed[what] = value.strip()
            if what == "token file":
                return
        raise AssertionError(f"the server did not start: {self.errors}")

    @property
    def address(self) -> str:
        return self.printed["listening on"]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def token(self) -> str:
        return Path(self.printed["token file"]).read_text().strip()

    @property
    @abstractmethod
    def errors(self) -> str:
        """What it wrote to standard error."""

    @abstractmethod
    def send(self, signal_number: int) -> None: ...

    @abstractmethod
    def wait(self) -> int | None:
        """The exit status, negative for a signal."""

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self


class ServerProcess(Started):
    """`curvestop serve` on a folder; waits until it listens.

    prepare: Python that runs first in the process. environment: beside the one of this process.
    """

    def __init__(
        self, folder: Path, *options: str, port: int = 0, prepare: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        arguments = ["--port", str(port), "--data", str(folder), *options]
        code = f"{prepare}\nfrom curvestop.cli import main\nmain()"
        self._errors = (folder.parent / f"{folder.name}.stderr").open("a+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self._process.stdout is not None
        self.await_start(self._process.stdout)

    @property
    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def send(self, signal_number: int) -> None:
        os.kill(self._process.pid, signal_number)

    def freeze(self) -> None:
        """Stop the process until SIGCONT; returns when it does nothing any more."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def wait(self) -> int:
        """The exit status, negative for a signal."""
        return self._process.wait(STOP_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


def refused(*arguments: str) -> tuple[int, str]:
    """Exit status and message of a `curvestop serve` that is expected to end by itself."""
    ended = subprocess.run([*SERVE, *arguments], capture_output=True, text=True, timeout=START_S, check=False)
    return ended.returncode, ended.stderr
