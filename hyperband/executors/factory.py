"""Where trials train: the executors that `--engine` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from curvestop.hyperband.executors.base import OwnedExecutor
from curvestop.hyperband.executors.local import LocalExecutor
from curvestop.hyperband.executors.train_command import Program


@dataclass(frozen=True)
class ExecutorConfig:
    """What trains, and where. workers, hang_limit_s, retries: as of `WorkerPoolExecutor`; the rest is Ray's, see `RayExecutor`."""

    program: Program
    workers: int = 1
    engine: str = "local"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    hang_limit_s: float | None = None
    retries: int = 1


Engine = Callable[[ExecutorConfig, Path], OwnedExecutor]
"""From a placement and a run's folder; raises ValueError for what makes no sense. Nothing starts before it is entered."""


def local(where: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Processes on this machine."""
    return LocalExecutor(where.program, where.workers, folder=folder, hang_limit_s=where.hang_limit_s, retries=where.retries)


def ray(where: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Workers on a Ray cluster."""
    try:
        from curvestop.hyperband.executors.ray import RayExecutor  # only here, as it loads Ray
    except ImportError as error:  # of the extra
        raise ValueError(str(error)) from None
    return RayExecutor(
        where.program,
        where.workers,
        folder=folder,
        address=where.address,
        cpus_per_trial=where.cpus_per_trial,
        gpus_per_trial=where.gpus_per_trial,
        hang_limit_s=where.hang_limit_s,
        retries=where.retries,
    )


ENGINES: Mapping[str, Engine] = {"local": local, "ray": ray}


def make_executor(where: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Raises ValueError for an engine that is not in the table."""
    if where.engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but got {where.engine!r}")
    return ENGINES[where.engine](where, folder)
