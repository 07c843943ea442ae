"""`current_job`: the job that `hyperband run --command` started this training script for, and a socket to send metrics to.

    job = current_job()
    for epoch in job.epochs:
        ...
        job.report(accuracy)     # after saving this epoch's checkpoint; instead of printing `metric=...`

Metrics that are sent reach the run whatever the script, its launcher or its libraries print. This module imports the standard
library only, so it adds nothing to a script's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvestop.proto.job_metrics import SOCKET_VARIABLE, JobMetric


@dataclass(frozen=True)
class Job:
    """One part of a trial to train: from `first_epoch` to `last_epoch`.

    Attributes:
        trial: Name of the trial.
        configuration: Hyper-parameters of the trial by name.
        checkpoint_dir: A folder of this trial alone; it has what earlier jobs of the trial saved there.
        first_epoch: First epoch to train, from 1.
        last_epoch: Last epoch to train, included.
        metrics: The socket that the run receives metrics on.

    Examples:
        >>> job = Job("trial-7", {"learning_rate": 0.1}, Path("checkpoints"), 4, 6, Path("/nowhere/metrics.sock"))
        >>> for epoch in job.epochs:
        ...     job.report(0.8 + epoch / 100)  # no run listens here: the value is dropped without an error
        >>> list(job.epochs)
        [4, 5, 6]
    """

    trial: str
    configuration: Mapping[str, Any]
    checkpoint_dir: Path
    first_epoch: int
    last_epoch: int
    metrics: Path

    @property
    def epochs(self) -> range:
        """The epochs to train."""
        return range(self.first_epoch, self.last_epoch + 1)

    def report(self, value: float, *, epoch: int | None = None) -> None:
        """Send the metric after an epoch to the run.

        Returns at once, also if the run is gone. The run decides whether the trial continues; if not, it ends this process.

        Args:
            value: The metric; not finite means that the trial diverged.
            epoch: The epoch; one that the run knows already is skipped. Default: the one after the last sent.

        Raises:
            TypeError: If the value is not a number.
            ValueError: If the value is text that is not a number.
        """
        # One datagram a metric: values of several processes of a launcher cannot mix.
        datagram = JobMetric(float(value), epoch).encode()
        # A run that is gone must not fail the training.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, str(self.metrics))


def current_job() -> Job | None:
    """Return the job that this process, or a parent process, was started for; None outside of `hyperband run --command`."""
    if SOCKET_VARIABLE not in os.environ:
        return None
    # `hyperband run` sets these variables together; a launcher such as torchrun hands them on to its children.
    return Job(
        trial=os.environ["CURVESTOP_TRIAL"],
        configuration=json.loads(os.environ["CURVESTOP_CONFIGURATION"]),
        checkpoint_dir=Path(os.environ["CURVESTOP_CHECKPOINT_DIR"]),
        first_epoch=int(os.environ["CURVESTOP_FIRST_EPOCH"]),
        last_epoch=int(os.environ["CURVESTOP_LAST_EPOCH"]),  # inclusive
        metrics=Path(os.environ[SOCKET_VARIABLE]),
    )
