"""Runs a scheduler's jobs on a Ray cluster: each worker's seat is an actor, and one that is lost with its node is replaced.

Every node needs curvestop and what the program imports, and finds the run's folder and the current one under the same paths.
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
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_pool import WorkerPoolExecutor
from curvestop.hyperband.executors.worker_process import Message, WorkerProcess

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
except ImportError as error:
    raise ImportError("the engine 'ray' needs Ray: pip install 'curvestop[ray]'") from error

GATHER_S = 20.0
"""How long a run waits for all its workers before it begins with those that have been placed."""

REMIND_S = 60.0
"""How often it is said that workers have no place on the cluster."""

CONNECT_TIMEOUT_S = 5.0

N_LOSSES = 10
"""How often in a row a worker may be lost before it is ready."""

_log = logging.getLogger(__name__)


@dataclass
class _WorkerActor:
    """A worker's actor. absence: done when the actor is gone. word: what it says next; None while nothing was asked."""

    actor: Any
    absence: Any
    word: Any
    is_ready: bool = False

    @property
    def awaited(self) -> Any:
        return self.absence if self.word is None else self.word


class RayExecutor(WorkerPoolExecutor):
    """Workers on a Ray cluster, wherever it has room for them; a context manager.

    program, n_workers, hang_limit_s, retries: as of `WorkerPoolExecutor`. folder: on storage that all nodes share.
    address: HOST:PORT of a cluster or ray://HOST:PORT; None is that of RAY_ADDRESS, of a cluster that runs on this machine, or
    else of one that is started here and ends with the executor. A connection that this process has already is used as it is.
    cpus_per_trial, gpus_per_trial (which may be fractions), resources: what Ray sets aside for each worker; it sees its GPUs
    only. Workers that find no place wait for one, while the others train.

    A trial whose node or actor is lost is tried again elsewhere from its checkpoint, `retries` times in a row.
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
        seat: Any = ray.remote(WorkerProcess)
        self._seat = seat.options(
            max_restarts=0, max_concurrency=3, **self._needs
        )  # ask, block_forever, terminate run side by side
        self._posts: dict[int, _WorkerActor] = {}
        self._losses: dict[int, int] = {}  # in a row, before the worker was ready
        self._is_own = False  # whether the connection is ours to end
        self._remind_at = 0.0

    def _open(self) -> None:
        self._connect()
        for worker in range(self.n_workers):
            self._start_worker(worker)
        begin_at = self._remind_at = time.monotonic() + GATHER_S
        while len(self._idle) < (self.n_workers if time.monotonic() < begin_at else 1):
            self.wait()

    def close(self) -> None:
        if self._is_connected():
            leaving = [post.actor.terminate.remote() for post in self._posts.values() if post.is_ready and post.word is not None]
            if leaving:
                ray.wait(leaving, num_returns=len(leaving), timeout=2 * self._posts_grace_s())
            for post in self._posts.values():
                ray.kill(post.actor)
        self._posts = {}
        if self._is_own:
            self._is_own = False
            ray.shutdown()

    def _tell(self, worker: int, message: object) -> None:
        post = self._posts[worker]
        post.word = post.actor.ask.remote(message)

    def _messages(self) -> list[tuple[int, Message]]:
        awaited = {post.awaited: worker for worker, post in self._posts.items()}
        done, _ = ray.wait(list(awaited), num_returns=1, timeout=self._patience_s())
        if done:  # and whoever else is
            done, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        return [(awaited[reference], self._heard_from(awaited[reference])) for reference in done]

    def _heard_from(self, worker: int) -> Message:
        post = self._posts[worker]
        try:
            message: Message = ray.get(post.awaited)
        except RayTaskError:
            raise
        except RayError as error:
            return self._replaced(worker, error)
        post.word = post.actor.ask.remote() if message["kind"] == "died" else None  # its successor will be ready
        post.is_ready = message["kind"] != "died"
        self._losses[worker] = 0
        return message

    # The cluster.

    def _start_worker(self, worker: int) -> None:
        actor = self._seat.remote(self._launch(worker))
        self._posts[worker] = _WorkerActor(actor, absence=actor.block_forever.remote(), word=actor.ask.remote())

    def _replaced(self, worker: int, error: RayError) -> Message:
        """Another actor is asked for in place of one that is gone; unless that cannot help."""
        if isinstance(error, RayActorError) and error.actor_init_failed:
            return {"kind": "refused", "reason": f"no worker can be started on the cluster: {_last_line(error)}"}
        self._losses[worker] = self._losses.get(worker, 0) + 1
        if self._losses[worker] > N_LOSSES:
            return {"kind": "refused", "reason": f"the worker was lost {N_LOSSES} times before it was ready: {_cause(error)}"}
        _log.warning("worker %d was lost (%s); it is replaced", worker, _cause(error))
        self._start_worker(worker)
        return {"kind": "died", "reason": f"the worker was lost: {_cause(error)}", "from_outside": True}

    def _connect(self) -> None:
        if self._is_connected():
            return
        check_answers(self.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # for a cluster of our own
        try:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ScriptError(f"there is no Ray cluster to use at {self.address or 'this machine'}: {error}") from None
        self._is_own = True

    def _is_connected(self) -> bool:
        return bool(ray.is_initialized())

    def _patience_s(self) -> float | None:
        """Until workers without a place are worth a word; None while all have one."""
        homeless = [worker for worker, post in self._posts.items() if not post.is_ready]
        if not homeless:
            return None
        if time.monotonic() >= self._remind_at:
            self._remind_at = time.monotonic() + REMIND_S
            needs = {name: amount for name, amount in self._needs.items() if amount}
            _log.warning(
                "%d of %d workers wait for a place on the cluster: each needs %s, of %s in all there is %s free",
                len(homeless), self.n_workers, needs, _in_words(ray.cluster_resources()), _in_words(ray.available_resources()),
            )  # fmt: skip
        return self._remind_at - time.monotonic()

    def _posts_grace_s(self) -> float:
        return float(self.program.as_json().get("grace_s", 0.0)) + CONNECT_TIMEOUT_S


def check_answers(address: str | None) -> None:
    """Whether anything listens at HOST:PORT: Ray would try for ever."""
    found = re.fullmatch(r"(?:ray://)?(?P<host>[^/]+):(?P<port>\d+)", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ScriptError(f"there is no Ray cluster at {address}: {error}") from None


def _cause(error: RayError) -> str:
    return "its node died" if "node has died" in str(error) or "node was terminated" in str(error) else "its actor died"


def _last_line(error: RayError) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _in_words(resources: Mapping[str, float]) -> str:
    """Of what a person asks for; Ray adds a resource for each node."""
    asked_for = {name: amount for name, amount in sorted(resources.items()) if not name.startswith("node:")}
    return ", ".join(f"{name} {amount:g}" for name, amount in asked_for.items()) or "nothing"
