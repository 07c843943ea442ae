"""Makes the executor that `--engine` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from curvestop.hyperband.executors.base import OwnedExecutor
from curvestop.hyperband.executors.local import LocalExecutor
from curvestop.hyperband.executors.train_command import Program


@dataclass(frozen=True)
class ExecutorConfig:
    """What to train, and on which workers.

    Attributes:
        program: The training script or command.
        workers: Number of trials that train at the same time.
        engine: Key of `ENGINES`.
        address: Address of the Ray cluster; see `RayExecutor`.
        cpus_per_trial: CPUs that Ray or Slurm reserves for each worker.
        gpus_per_trial: GPUs that Ray or Slurm reserves for each worker.
        hang_limit_s: Seconds an epoch may take before its worker is killed; None for no limit.
        retries: How often in a row a killed trial is retried from its checkpoint.
    """

    program: Program
    workers: int = 1
    engine: str = "local"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    hang_limit_s: float | None = None
    retries: int = 1


Engine = Callable[[ExecutorConfig, Path], OwnedExecutor]
"""Makes an executor from its configuration and the run's folder; no worker starts before the executor is entered."""


def local_executor(config: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Make an executor of processes on this machine.

    Args:
        config: What to train; `address` and the resources per trial are not read.
        folder: Folder of checkpoints, logs and failures.
    """
    # config.address, cpus_per_trial and gpus_per_trial are a cluster's: local workers share the machine.
    return LocalExecutor(config.program, config.workers, folder=folder, hang_limit_s=config.hang_limit_s, retries=config.retries)


def ray_executor(config: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Make an executor of workers on a Ray cluster.

    Args:
        config: What to train, and the cluster's address and resources.
        folder: Folder of checkpoints, logs and failures; on a cluster of several nodes, one that all of them share.

    Raises:
        ValueError: If Ray is not installed.
    """
    try:
        from curvestop.hyperband.executors.ray import RayExecutor  # imported here because it loads Ray
    except ImportError as error:  # its text names the extra to install
        raise ValueError(str(error)) from None
    return RayExecutor(
        config.program,
        config.workers,
        folder=folder,
        address=config.address,
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        hang_limit_s=config.hang_limit_s,
        retries=config.retries,
    )


def slurm_executor(config: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Make an executor of workers that are jobs of a Slurm cluster.

    Args:
        config: What to train, and the resources of each job; `address` is not read.
        folder: Folder of checkpoints, logs and failures, on storage that all nodes share.

    Raises:
        ValueError: If submitit is not installed, or the resources are no whole numbers.
    """
    try:
        from curvestop.hyperband.executors.slurm import SlurmExecutor  # imported here because it loads submitit
    except ImportError as error:  # its text names the extra to install
        raise ValueError(str(error)) from None
    return SlurmExecutor(
        config.program,
        config.workers,
        folder=folder,
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        hang_limit_s=config.hang_limit_s,
        retries=config.retries,
    )


ENGINES: Mapping[str, Engine] = {"local": local_executor, "ray": ray_executor, "slurm": slurm_executor}
"""The executors that `--engine` chooses from, by name."""


def make_executor(config: ExecutorConfig, folder: Path) -> OwnedExecutor:
    """Make the executor of a run; no worker starts before it is entered.

    Args:
        config: What to train, and on which workers.
        folder: Folder of checkpoints, logs and failures.

    Raises:
        ValueError: If the engine is unknown, its extra is not installed, or the executor refuses an option.
    """
    if config.engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but got {config.engine!r}")
    return ENGINES[config.engine](config, folder)
