"""The parent's handle of one worker process: starts it, exchanges messages, kills it when it hangs, restarts it when it dies.

This file uses the standard library only: on a Ray cluster, a `WorkerProcess` is itself the actor on the node, and on a Slurm
cluster it runs in a job.
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
from curvestop.hyperband.executors.messages import (
    CommandStarted,
    Died,
    Ended,
    Failed,
    Message,
    Ready,
    Request,
    Unusable,
    Value,
    decode,
    encode,
)

CLOSE_TIMEOUT_S = 5.0
"""How long a worker may take to end before it is killed, in addition to a command's own grace period."""

START_LIMIT_S = 60.0
"""Least time that a worker may take to start, if `hang_limit_s` is shorter: an import may take longer than an epoch."""

MAX_STARTS = 3
"""How often in a row a worker may be killed from outside while it starts, once the program has proved usable."""

State = Literal["starting", "idle", "training", "measured"]


@dataclass(frozen=True)
class Launch:
    """How to start a worker process.

    Attributes:
        program: The training program, from `Program.as_json`.
        cwd: Working directory.
        log: File for what the worker prints outside of jobs.
        hang_limit_s: Longest time from one epoch to the next; None for no limit.
        environment: Variables in addition to those of the parent.
    """

    program: Mapping[str, Any]
    cwd: str
    log: str
    hang_limit_s: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerProcess:
    """A worker process, and after its death the one that replaces it.

    Each request that is sent gets exactly one message in return. After `Died`, the restarted worker sends `Ready`.

    Args:
        launch: How to start the worker.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        # Whether the program was usable once decides if a death while starting is the program's fault; see `_on_death`.
        self._was_ready, self._n_failed_starts = False, 0
        self._exit_descriptors: tuple[int, ...] = ()
        self._spawn()

    @property
    def wait_objects(self) -> tuple[Connection | int, ...]:
        """Objects for `multiprocessing.connection.wait`; one is ready when there is a message to receive."""
        return (self._connection, *self._exit_descriptors)

    @property
    def deadline(self) -> float | None:
        """Time on `time.monotonic` when the worker counts as hanging; None while it waits for a request, or without a limit."""
        return self._deadline

    def send(self, request: Request) -> None:
        """Send a request; a worker that is dead is noticed by the next `receive`.

        Args:
            request: What the worker is to do; starts the clock of `hang_limit_s`.
        """
        self._enter("training")  # before sending: the limit includes loading the checkpoint
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send_bytes(encode(request))

    def receive(self) -> Message | None:
        """Return the next message, once a wait object is ready or the deadline has passed.

        Returns:
            The message; None if what happened is of interest to this handle only.
        """
        # What the worker sent before it died comes first.
        if self._connection.poll():
            message = self._read()
            return self._on_death() if message is None else self._on_message(message)
        if wait(self._exit_descriptors, 0):
            return self._on_death()
        return self._on_hang() if self._deadline is not None and time.monotonic() >= self._deadline else None

    def send_and_receive(self, request: Request | None = None) -> Message:
        """Send a request (None: nothing) and block until the next message.

        Args:
            request: What the worker is to do; None to wait for the message of its start or restart.

        Returns:
            The worker's message, or `Died` or `Unusable` if it died or exceeded its limit.
        """
        if request is not None:
            self.send(request)
        message = None
        while message is None:
            wait(self.wait_objects, None if self._deadline is None else max(0.0, self._deadline - time.monotonic()))
            message = self.receive()
        return message

    def block_forever(self) -> None:
        """Block a thread for ever: for a remote caller, the failure of this call is the sign that the actor is gone."""
        threading.Event().wait()

    def terminate(self) -> None:
        """End the worker for good while another thread may wait for its message; kill it if that takes too long."""
        # Its own descriptor of the process: the other thread may close `_exit_descriptors` meanwhile.
        pid = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            exited = _exit_descriptors_of(pid)
            self._kill(signal.SIGTERM)
            wait(exited, self._grace_s())
            self._kill(signal.SIGKILL)
            wait(exited, CLOSE_TIMEOUT_S)

    def request_exit(self) -> None:
        """Ask the worker to end: an idle one does so when its socket closes."""
        # The worker's blocking read ends with EOFError, which it takes as the order to end.
        self._connection.close()
        if self._state != "idle":
            self._kill(signal.SIGTERM)

    def join(self) -> None:
        """Wait until the worker has ended; kill it if that takes too long, and in any case what it has started."""
        if self._exit_descriptors:
            wait(self._exit_descriptors, self._grace_s())
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s())
        self._kill(signal.SIGKILL)
        self._process.wait()
        for descriptor in self._exit_descriptors:
            os.close(descriptor)
        self._exit_descriptors = ()

    def _spawn(self) -> None:
        # A socket, not pipes: one descriptor carries both directions and shows a hang-up to either side.
        ours, theirs = socket.socketpair()
        program = json.dumps(dict(self._launch.program))
        with theirs, Path(self._launch.log).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-uP", "-m", "curvestop.hyperband.executors.worker_main", program, str(theirs.fileno())],
                # -u: output appears in the log at once; -P: a module in cwd must not shadow one that the worker imports.
                env=_one_thread({**os.environ, **self._launch.environment}),
                cwd=self._launch.cwd,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the parent only
            )
        self._connection = Connection(ours.detach())
        # The socket alone does not show a worker's death: its children may keep the other end open.
        self._exit_descriptors = _exit_descriptors_of(self._process.pid)
        self._command_group: int | None = None  # process group of the command that the worker runs
        self._enter("starting")

    def _enter(self, state: State) -> None:
        """Change the state, and set the deadline that belongs to it."""
        self._state = state
        limit_s = self._limit_s() if state in ("starting", "training") else None
        self._deadline = None if limit_s is None else time.monotonic() + limit_s

    def _limit_s(self) -> float | None:
        limit_s = self._launch.hang_limit_s
        return max(limit_s, START_LIMIT_S) if limit_s is not None and self._state == "starting" else limit_s

    def _grace_s(self) -> float:
        # Scripts have no grace period of their own.
        return float(self._launch.program.get("grace_s", 0.0)) + CLOSE_TIMEOUT_S

    def _read(self) -> Message | None:
        """Read one message; None if the process has ended."""
        try:
            message: Message = decode(self._connection.recv_bytes())
            return message
        except (EOFError, ConnectionResetError):
            return None

    def _on_message(self, message: Message) -> Message | None:
        match message:
            case CommandStarted(process_group):
                self._command_group = process_group
                return None
            case Value():  # it waits for us now, so it cannot hang
                self._enter("measured")
            case Ready():
                self._was_ready, self._n_failed_starts = True, 0
                self._enter("idle")
            case Ended() | Failed():
                self._command_group = None
                self._enter("idle")
        return message

    def _on_hang(self) -> Message:
        missing = "it was not ready" if self._state == "starting" else "no epoch ended"
        reason = f"{missing} within {self._limit_s():g} s: the worker was killed"
        if self._state == "starting":
            return Unusable(reason)
        self._kill(signal.SIGKILL)
        self._restart()
        return Died(reason, killed=False)  # by us: another try would hang again

    def _on_death(self) -> Message | None:
        state, returncode = self._state, self._restart()
        killed = -returncode in EXTERNAL_SIGNALS
        if state == "starting":
            self._n_failed_starts += 1
            # The program was usable before: only its start was killed. The restarted worker gets another chance.
            if self._was_ready and killed and self._n_failed_starts < MAX_STARTS:
                return None
            return Unusable(f"the worker {how_it_ended(returncode)} while it imported the program")
        return Died(f"the worker {how_it_ended(returncode)}", killed)

    def _restart(self) -> int:
        """Start another process in place of a dead one; return the dead one's return code."""
        self._state = "training"  # makes request_exit kill whatever is left of its process group
        self.request_exit()
        self.join()
        returncode = self._process.returncode
        self._spawn()
        return returncode

    def _kill(self, number: signal.Signals) -> None:
        """Signal the worker, its command, and what they have started.

        Worker and command each lead a process group of their own, which exists until the leader has been waited for.
        """
        for group in (self._process.pid, self._command_group):
            if group is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, number)


def _one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    """Limit linear algebra to one thread, unless the environment says otherwise: workers share the machine's cores."""
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment}


def _exit_descriptors_of(pid: int) -> tuple[int, ...]:
    """Return a descriptor that is readable once the process has ended; none on systems without pidfd."""
    return (os.pidfd_open(pid),) if hasattr(os, "pidfd_open") else ()
