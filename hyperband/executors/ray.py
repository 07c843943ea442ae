"""The executor of workers on a Ray cluster; a worker that is lost with its node is replaced on another.

Each worker's `WorkerProcess` is a Ray actor. Every node needs curvestop and what the program imports, and must see the run's
folder and the current directory under the same paths.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvestop.hyperband.executors.base import ScriptError
from curvestop.hyperband.executors.messages import Died, Message, Request, Unusable
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_pool import WorkerPoolExecutor
from curvestop.hyperband.executors.worker_process import WorkerProcess

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
except ImportError as error:
    raise ImportError("the engine 'ray' needs Ray: pip install 'curvestop[ray]'") from error

WAIT_FOR_ALL_S = 20.0
"""How long a run waits for all its workers before it begins with those that Ray has started."""

WARN_EVERY_S = 60.0
"""How often a warning says that workers wait for resources of the cluster."""

CONNECT_TIMEOUT_S = 5.0

MAX_LOSSES = 10
"""How often in a row a worker may be lost before it is ready."""

_log = logging.getLogger(__name__)


@dataclass
class _WorkerActor:
    """One worker's actor and what is awaited of it.

    Attributes:
        actor: Handle of the `WorkerProcess` actor.
        exit_future: Future that fails when the actor is gone.
        next_message: Future of the worker's next message; None while no request is open.
        is_ready: Whether the worker has loaded the program.
    """

    actor: Any
    exit_future: Any
    next_message: Any
    is_ready: bool = False

    @property
    def awaited(self) -> Any:
        """The future to wait for."""
        return self.exit_future if self.next_message is None else self.next_message


class RayExecutor(WorkerPoolExecutor):
    """Workers on a Ray cluster, wherever it has resources for them; a context manager.

    Workers without resources wait for them while the others train. A trial whose node or actor is lost is retried elsewhere
    from its checkpoint, `retries` times in a row.

    Args:
        program: A `Script`, the path of one, or a `Command`.
        n_workers: Number of trials that train at the same time, >= 1.
        folder: Folder of checkpoints, logs and failures, on storage that all nodes share; see `WorkerPoolExecutor`.
        address: HOST:PORT of a cluster, or ray://HOST:PORT. Default: the address in RAY_ADDRESS, or a cluster on this
            machine, or a new cluster that ends with the executor. An existing connection of this process is used as it is.
        cpus_per_trial: CPUs that Ray reserves for each worker, >= 0; may be a fraction.
        gpus_per_trial: GPUs that Ray reserves for each worker, >= 0; may be a fraction. A worker sees only its GPUs.
        resources: Custom resources that Ray reserves for each worker, by name.
        hang_limit_s: Seconds an epoch may take before its worker is killed and its trial fails. Default: no limit.
        retries: How often in a row a killed or lost trial is retried from its checkpoint, >= 0.

    Raises:
        ValueError: If an argument is out of range.
        ScriptError: On entering the context, if the program cannot be used or there is no such cluster.
    """

    def __init__(
        self,
        program: Program | Path,
        n_workers: int,
        *,
        folder: Path,
        address: str | None = None,
        cpus_per_trial: float = 1.0,
        gpus_per_trial: float = 0.0,
        resources: Mapping[str, float] | None = None,
        hang_limit_s: float | None = None,
        retries: int = 1,
    ) -> None:
        super().__init__(program, n_workers, folder=folder, hang_limit_s=hang_limit_s, retries=retries)
        for name, amount in {
            "cpus_per_trial": cpus_per_trial,
            "gpus_per_trial": gpus_per_trial,
            **(resources or {}),
        }.items():
            if not amount >= 0:
                raise ValueError(f"{name} must be >= 0, but got {amount!r}")
        self.address = address
        self._needs = {"num_cpus": cpus_per_trial, "num_gpus": gpus_per_trial, "resources": dict(resources or {})}
        actor_class: Any = ray.remote(WorkerProcess)
        # max_restarts=0: this class replaces a lost actor itself, as it must retry the actor's trial.
        # Three calls run side by side: send_and_receive, block_forever, terminate.
        self._actor_class = actor_class.options(max_restarts=0, max_concurrency=3, **self._needs)
        self._actors: dict[int, _WorkerActor] = {}
        self._n_losses: dict[int, int] = {}  # by worker: in a row, before it was ready
        self._owns_connection = False
        self._warn_at = 0.0

    def _start_workers(self) -> None:
        self._connect()
        for worker in range(self.n_workers):
            self._start_worker(worker)
        begin_at = self._warn_at = time.monotonic() + WAIT_FOR_ALL_S
        # Until then all workers are waited for, afterwards one is enough to begin.
        while len(self._idle) < (self.n_workers if time.monotonic() < begin_at else 1):
            self.wait()

    def close(self) -> None:
        """End all workers; epochs in training are lost, checkpoints stay."""
        if self._is_connected():
            training = [a for a in self._actors.values() if a.is_ready and a.next_message is not None]
            ending = [a.actor.terminate.remote() for a in training]
            if ending:
                # Give jobs time to end: after ray.kill, a worker ends only when it notices that its parent is gone.
                ray.wait(ending, num_returns=len(ending), timeout=2 * self._grace_s())
            for worker_actor in self._actors.values():
                ray.kill(worker_actor.actor)
        self._actors = {}
        if self._owns_connection:
            self._owns_connection = False
            ray.shutdown()

    def _send(self, worker: int, request: Request) -> None:
        worker_actor = self._actors[worker]
        worker_actor.next_message = worker_actor.actor.send_and_receive.remote(request)

    def _receive(self) -> list[tuple[int, Message]]:
        awaited = {worker_actor.awaited: worker for worker, worker_actor in self._actors.items()}
        done, _ = ray.wait(list(awaited), num_returns=1, timeout=self._wait_timeout_s())
        if done:  # collect all others that are done by now, too
            done, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)  # timeout 0: those that are done, at once
        return [(awaited[future], self._message_of(awaited[future])) for future in done]

    def _message_of(self, worker: int) -> Message:
        worker_actor = self._actors[worker]
        try:
            message: Message = ray.get(worker_actor.awaited)
        except RayTaskError:
            raise  # a mistake in WorkerProcess, not a lost actor
        except RayError as error:
            return self._replace(worker, error)
        died = isinstance(message, Died)
        # After Died, the restarted worker will send Ready without a request.
        worker_actor.next_message = worker_actor.actor.send_and_receive.remote() if died else None
        worker_actor.is_ready = not died
        self._n_losses[worker] = 0
        return message

    # The cluster.

    def _start_worker(self, worker: int) -> None:
        actor = self._actor_class.remote(self._launch(worker))
        self._actors[worker] = _WorkerActor(
            actor, exit_future=actor.block_forever.remote(), next_message=actor.send_and_receive.remote()
        )

    def _replace(self, worker: int, error: RayError) -> Message:
        """Request another actor in place of one that is gone, unless that cannot help."""
        # WorkerProcess.__init__ failed on its node, for example because the folder does not exist there.
        if isinstance(error, RayActorError) and error.actor_init_failed:
            return Unusable(f"no worker can be started on the cluster: {_last_line(error)}")
        self._n_losses[worker] = self._n_losses.get(worker, 0) + 1
        if self._n_losses[worker] > MAX_LOSSES:
            return Unusable(f"the worker was lost {MAX_LOSSES} times before it was ready: {_cause(error)}")
        _log.warning("worker %d was lost (%s); starting another", worker, _cause(error))
        self._start_worker(worker)
        return Died(f"the worker was lost: {_cause(error)}", killed=True)

    def _connect(self) -> None:
        if self._is_connected():
            return
        check_answers(self.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here sends no usage statistics
        try:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ScriptError(f"cannot use a Ray cluster at {self.address or 'this machine'}: {error}") from None
        self._owns_connection = True

    def _is_connected(self) -> bool:
        return bool(ray.is_initialized())

    def _wait_timeout_s(self) -> float | None:
        """Return the seconds until the next warning about workers that wait for resources; None if none waits."""
        pending = [worker for worker, worker_actor in self._actors.items() if not worker_actor.is_ready]
        if not pending:
            return None
        if time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + WARN_EVERY_S
            needs = {name: amount for name, amount in self._needs.items() if amount}
            _log.warning(
                "%d of %d workers wait for resources of the cluster: each needs %s; the cluster has %s, of which %s is free",
                len(pending), self.n_workers, needs, _in_words(ray.cluster_resources()), _in_words(ray.available_resources()),
            )  # fmt: skip
        return self._warn_at - time.monotonic()

    def _grace_s(self) -> float:
        return float(self.program.as_json().get("grace_s", 0.0)) + CONNECT_TIMEOUT_S


def check_answers(address: str | None) -> None:
    """Check that something listens at HOST:PORT; Ray itself would try for ever.

    Args:
        address: HOST:PORT or ray://HOST:PORT; anything else is left to Ray.

    Raises:
        ScriptError: If nothing listens there.
    """
    found = re.fullmatch(r"(?:ray://)?(?P<host>[^/]+):(?P<port>\d+)", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ScriptError(f"there is no Ray cluster at {address}: {error}") from None


def _cause(error: RayError) -> str:
    # Ray has no attribute that tells a lost node from a lost actor, only its text.
    return "its node died" if "node has died" in str(error) or "node was terminated" in str(error) else "its actor died"


def _last_line(error: RayError) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _in_words(resources: Mapping[str, float]) -> str:
    """List the resources that a person can ask for; Ray adds one for each node."""
    amounts = {name: amount for name, amount in sorted(resources.items()) if not name.startswith("node:")}
    return ", ".join(f"{name} {amount:g}" for name, amount in amounts.items()) or "nothing"
