"""One worker process, seen from outside: started, spoken to, given up when it hangs, and replaced when it has died.

Only the standard library is imported here: a cluster's node runs a `WorkerProcess` as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from curvestop.hyperband.executors.command import EXTERNAL_SIGNALS, how_it_ended

CLOSE_TIMEOUT_S = 5.0
"""How long a worker may take to end before it is killed, beyond a command's own grace."""

START_LIMIT_S = 60.0
"""A worker may take this long to start when hang_limit_s is less: imports are not epochs."""

N_STARTS = 3
"""How often in a row a worker may be killed before it is ready, once the program has proved to be usable."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Launch:
    """How a worker is started.

    program: as JSON. cwd: the folder it runs in. log: the file for what it writes outside of jobs.
    hang_limit_s: the longest it may take from one epoch to the next; None has no limit.
    environment: in addition to this process's.
    """

    program: Mapping[str, Any]
    cwd: str
    log: str
    hang_limit_s: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerProcess:
    """A worker process and its successors; one message is heard for each that is told.

    Messages (`worker.py`) and {"kind": "died", "reason": str, "from_outside": bool}, after which the successor gets "ready".
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._proven, self._starts = False, 0
        self._death: tuple[int, ...] = ()
        self._spawn()

    @property
    def sources(self) -> tuple[Connection | int, ...]:
        """What to wait for: ready when there is something to hear."""
        return (self._connection, *self._death)

    @property
    def deadline(self) -> float | None:
        """When (on `time.monotonic`) the worker counts as hanging; None while it waits for us, or without a limit."""
        return self._deadline

    def tell(self, message: object) -> None:
        """Send a job or an answer."""
        self._begin("training")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: the next hear says so
            self._connection.send_bytes(json.dumps(message).encode())

    def hear(self) -> Message | None:
        """The next message, once a source is ready or the deadline is over; None when it is for nobody but the seat."""
        if self._connection.poll():
            message = self._receive()
            return self._died() if message is None else self._heard(message)
        if wait(self._death, 0):
            return self._died()
        return self._hangs() if self._deadline is not None and time.monotonic() >= self._deadline else None

    def ask(self, message: object = None) -> Message:
        """Tell (unless None) and block until there is something to hear."""
        if message is not None:
            self.tell(message)
        heard = None
        while heard is None:
            wait(self.sources, None if self._deadline is None else max(0.0, self._deadline - time.monotonic()))
            heard = self.hear()
        return heard

    def block_forever(self) -> None:
        """Block for ever, on a thread of its own: where the seat is far away, the end of this call tells that it is gone."""
        threading.Event().wait()

    def terminate(self) -> None:
        """End a worker that trains while another thread asks it; kill it when that takes too long. The last call of a seat."""
        pid = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            death = _death_of(pid)
            self._kill(signal.SIGTERM)
            wait(death, self._grace_s())
            self._kill(signal.SIGKILL)
            wait(death, CLOSE_TIMEOUT_S)

    def request_exit(self) -> None:
        """Ask the worker to end: an idle one does when its sockets close."""
        self._connection.close()
        if self._state != "idle":
            self._kill(signal.SIGTERM)

    def join(self) -> None:
        """Wait until it has ended; kill it when that takes too long, and in any case what it has started."""
        if self._death:
            wait(self._death, self._grace_s())
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s())
        self._kill(signal.SIGKILL)
        self._process.wait()
        for descriptor in self._death:
            os.close(descriptor)
        self._death = ()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        program = json.dumps(dict(self._launch.program))
        with theirs, Path(self._launch.log).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-uP", "-m", "curvestop.hyperband.executors.worker_main", program, str(theirs.fileno())],
                env=_one_thread({**os.environ, **self._launch.environment}),
                cwd=self._launch.cwd,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the driver only
            )
        self._connection = Connection(ours.detach())
        self._death = _death_of(self._process.pid)  # ready when it has ended, even if its children keep its sockets open
        self._group: int | None = None  # of the command that the worker runs
        self._begin("starting")

    def _begin(self, state: Literal["starting", "idle", "training", "measured"]) -> None:
        """A new state, and the limit that goes with it."""
        self._state = state
        limit_s = self._limit_s() if state in ("starting", "training") else None
        self._deadline = None if limit_s is None else time.monotonic() + limit_s

    def _limit_s(self) -> float | None:
        limit_s = self._launch.hang_limit_s
        return max(limit_s, START_LIMIT_S) if limit_s is not None and self._state == "starting" else limit_s

    def _grace_s(self) -> float:
        return float(self._launch.program.get("grace_s", 0.0)) + CLOSE_TIMEOUT_S

    def _receive(self) -> Message | None:
        """The next message; None when the process has ended."""
        try:
            message: Message = json.loads(self._connection.recv_bytes())
            return message
        except (EOFError, ConnectionResetError):
            return None

    def _heard(self, message: Message) -> Message | None:
        match message["kind"]:
            case "group":
                self._group = message["group"]
                return None
            case "value":
                self._begin("measured")
            case "ready":
                self._proven, self._starts = True, 0
                self._begin("idle")
            case "ended" | "failed" | "killed":
                self._group = None
                self._begin("idle")
        return message

    def _hangs(self) -> Message:
        what = "it was not ready" if self._state == "starting" else "no epoch ended"
        reason = f"{what} within {self._limit_s():g} s: the worker was killed"
        if self._state == "starting":
            return {"kind": "refused", "reason": reason}
        self._kill(signal.SIGKILL)
        self._replace()
        return {"kind": "died", "reason": reason, "from_outside": False}

    def _died(self) -> Message | None:
        state, number = self._state, self._replace()
        killed = -number in EXTERNAL_SIGNALS
        if state == "starting":
            self._starts += 1
            if self._proven and killed and self._starts < N_STARTS:
                return None
            return {"kind": "refused", "reason": f"the worker {how_it_ended(number)} while it was imported"}
        return {"kind": "died", "reason": f"the worker {how_it_ended(number)}", "from_outside": killed}

    def _replace(self) -> int:
        """Start another; returns how this one ended."""
        self._state = "training"  # whatever is left of its group is killed
        self.request_exit()
        self.join()
        number = self._process.returncode
        self._spawn()
        return number

    def _kill(self, number: signal.Signals) -> None:
        """The worker, the command it runs, and what they have started: each leads its own group until it is waited for."""
        for group in (self._process.pid, self._group):
            if group is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, number)


def _one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment}


def _death_of(pid: int) -> tuple[int, ...]:
    return (os.pidfd_open(pid),) if hasattr(os, "pidfd_open") else ()
