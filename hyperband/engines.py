"""Where trials train: the executors that `hyperband run --engine` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from curvestop.hyperband.executor import OwnedExecutor
from curvestop.hyperband.run_folder import RunSettings
from curvestop.hyperband.runner import LocalExecutor

Engine = Callable[[RunSettings, Path], OwnedExecutor]
"""From a run's settings and its folder; raises ValueError for bad ones. Nothing starts before it is entered."""


def local(settings: RunSettings, folder: Path) -> OwnedExecutor:
    """Processes on this machine."""
    return LocalExecutor(
        settings.program, settings.workers, folder=folder, hang_limit_s=settings.hang_limit, retries=settings.retries
    )


def ray(settings: RunSettings, folder: Path) -> OwnedExecutor:
    """Workers on a Ray cluster."""
    try:
        from curvestop.hyperband.ray_runner import RayExecutor  # only here, as it loads Ray
    except ImportError as error:  # of the extra
        raise ValueError(str(error)) from None
    return RayExecutor(
        settings.program,
        settings.workers,
        folder=folder,
        address=settings.address,
        cpus_per_trial=settings.cpus_per_trial,
        gpus_per_trial=settings.gpus_per_trial,
        hang_limit_s=settings.hang_limit,
        retries=settings.retries,
    )


ENGINES: Mapping[str, Engine] = {"local": local, "ray": ray}


def executor_of(settings: RunSettings, folder: Path) -> OwnedExecutor:
    """Raises ValueError for an engine that is not in the table."""
    if settings.engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but got {settings.engine!r}")
    return ENGINES[settings.engine](settings, folder)
