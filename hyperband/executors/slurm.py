"""The executor of workers that are jobs of a Slurm cluster, submitted by submitit.

A job runs a `WorkerProcess` and passes its messages on through a connection to the driver. Every node needs curvestop and what
the program imports, must see the run's folder and the current directory under the same paths, and must reach the driver.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge, wait
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

from curvestop.hyperband.executors.base import ScriptError
from curvestop.hyperband.executors.command import last_lines
from curvestop.hyperband.executors.messages import Died, Message, Ready, Request, Unusable, decode, encode
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_pool import WorkerPoolExecutor
from curvestop.hyperband.executors.worker_process import CLOSE_TIMEOUT_S, Launch, WorkerProcess

try:
    import submitit
except ImportError as error:
    raise ImportError("the engine 'slurm' needs submitit: pip install 'curvestop[slurm]'") from error

WAIT_FOR_ALL_S = 20.0
"""How long a run waits for all its workers before it begins with those that Slurm has started."""

LOOK_EVERY_S = 15.0
"""How often the queue of Slurm is looked at."""

WARN_EVERY_S = 60.0
"""How often a warning says that workers wait in the queue."""

MAX_STARTS = 3
"""How often in a row a job may end before its worker is ready."""

GREETING_S = 5.0
"""How long a new connection may take to say which worker it is."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads linear algebra uses."""

END = b""
"""What the driver sends instead of a request to end a worker."""

_log = logging.getLogger(__name__)


@dataclass
class _WorkerJob:
    """One worker's job in Slurm.

    Attributes:
        id: The job's id; of an array's job with the task's, as in 12_3.
        connection: To the worker; None while the job waits in the queue or starts.
        n_starts: How often it was submitted since the worker was ready last.
    """

    id: str
    connection: Connection | None = None
    n_starts: int = 1


class SlurmExecutor(WorkerPoolExecutor):
    """Workers that are Slurm jobs, each for as long as the executor lives; a context manager.

    Jobs that Slurm has not started yet wait in its queue while the others train. A job that is preempted, requeued, cancelled, or
    at its time limit takes its place in the queue again, or is submitted again, and its trial is retried from its checkpoint,
    `retries` times in a row. What else sbatch takes (partition, account, time, memory) is read from its variables,
    such as SBATCH_PARTITION.

    Args:
        program: A `Script`, the path of one, or a `Command`.
        n_workers: Number of trials that train at the same time, >= 1.
        folder: Folder of checkpoints, logs and failures, on storage that all nodes share; see `WorkerPoolExecutor`. The jobs'
            scripts and output are in `slurm/`.
        cpus_per_trial: CPUs of each job, a whole number >= 1; linear algebra uses as many threads.
        gpus_per_trial: GPUs of each job, a whole number >= 0.
        hang_limit_s: Seconds an epoch may take before its worker is killed and its trial fails. Default: no limit.
        retries: How often in a row a killed or lost trial is retried from its checkpoint, >= 0.

    Raises:
        ValueError: If an argument is out of range.
        ScriptError: On entering the context, if the program cannot be used, or there is no Slurm or it refuses the jobs.
    """

    def __init__(
        self,
        program: Program | Path,
        n_workers: int,
        *,
        folder: Path,
        cpus_per_trial: float = 1.0,
        gpus_per_trial: float = 0.0,
        hang_limit_s: float | None = None,
        retries: int = 1,
    ) -> None:
        super().__init__(program, n_workers, folder=folder, hang_limit_s=hang_limit_s, retries=retries)
        for name, amount, least in (("cpus_per_trial", cpus_per_trial, 1), ("gpus_per_trial", gpus_per_trial, 0)):
            if not (amount >= least and float(amount).is_integer()):
                raise ValueError(f"{name} must be a whole number >= {least} on Slurm, but got {amount!r}")
        self._cpus, self._gpus = int(cpus_per_trial), int(gpus_per_trial)
        self._jobs: dict[int, _WorkerJob] = {}  # by worker
        self._listener: _WorkerListener | None = None
        self._look_at = self._warn_at = 0.0

    def _start_workers(self) -> None:
        self._listener = _WorkerListener()
        for worker, job in enumerate(self._submit(range(self.n_workers))):
            self._jobs[worker] = _WorkerJob(job)
        now = time.monotonic()
        self._look_at, self._warn_at, begin_at = now + LOOK_EVERY_S, now + WARN_EVERY_S, now + WAIT_FOR_ALL_S
        # Until then all workers are waited for, afterwards one is enough to begin.
        while len(self._idle) < (self.n_workers if time.monotonic() < begin_at else 1):
            self.wait()

    def close(self) -> None:
        """End all jobs; epochs in training are lost, checkpoints stay."""
        connections = [job.connection for job in self._jobs.values() if job.connection is not None]
        for connection in connections:  # all at once, then wait: grace periods run side by side
            _send_or_ignore(connection, END)
        give_up_at = time.monotonic() + float(self.program.as_json().get("grace_s", 0.0)) + 2 * CLOSE_TIMEOUT_S
        while connections and (left_s := give_up_at - time.monotonic()) > 0:
            connections = [connection for connection in connections if not _is_at_end(connection, left_s)]
        if self._jobs:
            _output_of(["scancel", "--quiet", *(job.id for job in self._jobs.values())])
        for job in self._jobs.values():
            if job.connection is not None:
                job.connection.close()
        self._jobs = {}
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _send(self, worker: int, request: Request) -> None:
        connection = self._jobs[worker].connection
        if connection is not None:  # a loss is noticed by the next `_receive`
            _send_or_ignore(connection, encode(request))

    def _receive(self) -> list[tuple[int, Message]]:
        assert self._listener is not None
        workers = {job.connection: worker for worker, job in self._jobs.items() if job.connection is not None}
        ready = wait([self._listener.woken, *workers], max(0.0, self._look_at - time.monotonic()))
        received = [(workers[source], self._message_of(workers[source])) for source in ready if source in workers]
        if self._listener.woken in ready:
            worker, connection = self._listener.next()
            if self._jobs[worker].connection is not None:  # lost without a sign, such as a node without power
                received.append((worker, self._disconnect(worker)))
            self._jobs[worker].connection = connection
        if time.monotonic() >= self._look_at:
            received += self._look_at_queue()
            self._look_at = time.monotonic() + LOOK_EVERY_S
        return received

    def _message_of(self, worker: int) -> Message:
        job = self._jobs[worker]
        assert job.connection is not None
        try:
            message: Message = decode(job.connection.recv_bytes())
        except (EOFError, OSError):
            return self._disconnect(worker)
        if isinstance(message, Ready):
            job.n_starts = 0
        return message

    def _disconnect(self, worker: int) -> Died:
        job = self._jobs[worker]
        assert job.connection is not None
        job.connection.close()
        job.connection = None
        _log.warning("worker %d was lost: its Slurm job %s ended", worker, job.id)
        return Died(f"the worker was lost: its Slurm job {job.id} ended", killed=True)

    # The queue.

    def _submit(self, workers: range) -> list[str]:
        """Submit a job for each worker, as one array; return their ids."""
        assert self._listener is not None
        folder = self.folder / "slurm"
        folder.mkdir(mode=0o700, exist_ok=True)  # the pickled arguments have the key of the connection
        threads = {name: str(self._cpus) for name in THREADS if name not in os.environ}
        try:
            executor = submitit.SlurmExecutor(folder)
            executor.update_parameters(
                job_name=f"curvestop-{self.folder.name}", time=None, wckey=None, stderr_to_stdout=True, use_srun=False,
                cpus_per_task=self._cpus, gpus_per_node=self._gpus or None, additional_parameters={"requeue": True},
            )  # fmt: skip
            with executor.batch():
                address, key = self._listener.address, self._listener.key
                jobs = [executor.submit(serve, address, key, worker, self._launch(worker, **threads)) for worker in workers]
            return [job.job_id for job in jobs]
        except (OSError, RuntimeError, submitit.core.utils.FailedJobError) as error:
            reason = " ".join(str(error).split())
            raise ScriptError(f"cannot submit a job to Slurm: {reason}") from None

    def _look_at_queue(self) -> list[tuple[int, Message]]:
        """Submit jobs that have left the queue again, and notice workers that are lost without a sign."""
        queue = _queue()
        if queue is None:
            return []
        received: list[tuple[int, Message]] = []
        for worker, job in self._jobs.items():
            state = queue.get(job.id, "")
            if job.connection is not None and (not state or state.startswith("PENDING")):
                received.append((worker, self._disconnect(worker)))
            if not state:
                if job.n_starts >= MAX_STARTS:
                    log = self.folder / "slurm" / f"{job.id}_0_log.out"
                    said = " ".join(last_lines(log, 3).split())
                    return [
                        (worker, Unusable(f"{MAX_STARTS} jobs of Slurm ended before the worker was ready; {log} ends: {said}"))
                    ]
                _output_of(["scancel", "--quiet", job.id])  # one that is being requeued may be out of the list for a moment
                (job.id,) = self._submit(range(worker, worker + 1))
                job.n_starts += 1
        waiting = {job.id: queue[job.id] for job in self._jobs.values() if job.connection is None and job.id in queue}
        if waiting and time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + WARN_EVERY_S
            reasons = ", ".join(sorted(set(waiting.values())))
            _log.warning("%d of %d workers wait in the queue of Slurm: %s", len(waiting), self.n_workers, reasons)
        return received


class _WorkerListener:
    """Accepts the connections of workers, in a thread.

    Attributes:
        key: Secret that both sides of a connection must have.
        address: Host and port that jobs connect to.
        woken: Readable when a worker has connected.
    """

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        self._socket = socket.create_server(("", 0), backlog=128)
        self.address: tuple[str, int] = (socket.gethostname(), self._socket.getsockname()[1])
        self.woken, self._waker = Pipe(duplex=False)
        self._arrived: SimpleQueue[tuple[int, Connection]] = SimpleQueue()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def next(self) -> tuple[int, Connection]:
        """Return the number of the worker that connected, and its connection."""
        self.woken.recv_bytes()
        return self._arrived.get()

    def close(self) -> None:
        """Accept no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.woken.close()
        self._waker.close()
        while not self._arrived.empty():
            self._arrived.get()[1].close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:  # closed
                return
            # Whoever connects and says nothing keeps the others waiting for so long only.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(GREETING_S), 0))
            connection = Connection(accepted.detach())
            try:
                deliver_challenge(connection, self.key)
                answer_challenge(connection, self.key)
                worker = int(connection.recv_bytes())
            except (AuthenticationError, EOFError, OSError, ValueError):
                connection.close()
                continue
            with socket.socket(fileno=os.dup(connection.fileno())) as accepted:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
            self._arrived.put((worker, connection))
            self._waker.send_bytes(b"")


def serve(address: tuple[str, int], key: bytes, worker: int, launch: Launch) -> None:
    """Run a worker in a Slurm job until the driver ends it, or is gone, or Slurm ends the job.

    Args:
        address: Host and port of the driver.
        key: Secret of the connection.
        worker: Number of the worker.
        launch: How to start it.

    Raises:
        OSError: If the driver is gone, or the worker cannot be started on this node.
    """
    signal.signal(signal.SIGTERM, _exit)  # submitit waits for a second signal
    with Client(address, authkey=key) as driver:
        driver.send_bytes(str(worker).encode())
        process = WorkerProcess(launch)
        try:
            _pass_messages(driver, process)
        except (EOFError, ConnectionError):  # the driver was killed
            pass
        finally:
            process.terminate()


def _pass_messages(driver: Connection, process: WorkerProcess) -> None:
    while True:
        limit_s = None if process.deadline is None else max(0.0, process.deadline - time.monotonic())
        if driver in wait([driver, *process.wait_objects], limit_s):
            request = driver.recv_bytes()
            if request == END:
                return
            process.send(decode(request))
        elif (message := process.receive()) is not None:
            driver.send_bytes(encode(message))


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _queue() -> dict[str, str] | None:
    """Return the state and reason of each of the user's jobs that are in the queue, by id; None if Slurm does not answer."""
    output = _output_of(["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T %r"])
    if output is None:
        return None
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in output.splitlines() if " " in line}


def _output_of(command: list[str]) -> str | None:
    """Return what a command of Slurm prints; None, and a warning, if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60.0).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        _log.warning("%s failed: %s", command[0], said)
        return None


def _send_or_ignore(connection: Connection, message: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.send_bytes(message)


def _is_at_end(connection: Connection, timeout_s: float) -> bool:
    """Read what a worker still says; return whether it has ended."""
    try:
        if connection.poll(timeout_s):
            connection.recv_bytes()
    except (EOFError, OSError):
        return True
    return False
