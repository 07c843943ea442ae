"""A real server that starts in a moment: forked from a process that has its libraries loaded, so that it can be killed often."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from tests.server_process import Started

LIBRARIES = ["curvestop.srm", "curvestop.proto.endpoint", "grpc_health.v1.health", "sqlalchemy", "typer", "rich", "psycopg"]
START_S = 60.0

_context = get_context("forkserver")
_context.set_forkserver_preload(LIBRARIES)


class QuickServer(Started):
    """`curvestop serve` with these arguments on a folder, in a process of its own; waits until it listens.

    environment: set before the server is loaded.
    """

    def __init__(self, folder: Path, *arguments: str, port: int = 0, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.errors_path = folder, folder.parent / f"{folder.name}.stderr"
        ours, theirs = _context.Pipe(duplex=False)
        command = ["serve", "--port", str(port), "--data", str(folder), *arguments]
        self._process = _context.Process(
            target=_serve, args=(theirs, command, str(self.errors_path), dict(environment or {})), daemon=True
        )
        self._process.start()
        theirs.close()
        with os.fdopen(os.dup(ours.fileno())) as lines:
            self.await_start(lines)
        self._output = ours  # open, so that the server can go on printing

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()

    def send(self, signal_number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal_number)

    def wait(self, timeout_s: float = START_S) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        self._process.join(timeout_s)
        return self._process.exitcode

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.is_alive():
            self.kill()
        self._process.join()
        self._process.close()
        self._output.close()


def _serve(output: Connection, command: list[str], errors: str, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    os.dup2(output.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    from curvestop.cli import app  # with the environment as it is now

    app(command, prog_name="curvestop")
