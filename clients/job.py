"""For a training script that `hyperband run --command` starts: the job it was started for, and a place to send metrics to.

    job = current_job()
    for epoch in job.epochs:
        ...
        job.report(accuracy)     # when the checkpoint of this epoch is saved; in place of printing `metric=...`

Sent metrics reach the run whatever else the script, its launcher or its libraries print.
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
    """Train `trial` with `configuration` from first_epoch to last_epoch (both from 1, both included).

    checkpoint_dir: a folder of the trial's own; what earlier jobs of the trial left in it is there.
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
        """Send the metric after an epoch: the next one, or this one (one that the run knows already is skipped).

        Returns at once, and never fails for a run that is gone: whether the trial goes on is the run's to say, which ends this
        process when it does not. Raises TypeError or ValueError for a value that is no number.
        """
        datagram = JobMetric(float(value), epoch).encode()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, str(self.metrics))


def current_job() -> Job | None:
    """The job that this process, or one that started it, was started for; None outside of `hyperband run --command`."""
    if SOCKET_VARIABLE not in os.environ:
        return None
    return Job(
        trial=os.environ["CURVESTOP_TRIAL"],
        configuration=json.loads(os.environ["CURVESTOP_CONFIGURATION"]),
        checkpoint_dir=Path(os.environ["CURVESTOP_CHECKPOINT_DIR"]),
        first_epoch=int(os.environ["CURVESTOP_FIRST_EPOCH"]),
        last_epoch=int(os.environ["CURVESTOP_LAST_EPOCH"]),
        metrics=Path(os.environ[SOCKET_VARIABLE]),
    )
