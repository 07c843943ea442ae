"""The protocol between a worker process and its parent: every message is a frozen dataclass, sent as one JSON object.

The parent sends a `Request`, the worker answers with a `Message`:

    worker starts                        -> Ready, or Unusable
    StartJob                             -> Value, Ended or Failed (before them CommandStarted, if the program is a command)
    NextEpoch                            -> Value, Ended or Failed
    StopJob                              -> Ended or Failed

`Died` is never sent by a worker: its parent creates it when the process is gone.
This file uses the standard library only, because every worker imports it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# From the parent to the worker.


@dataclass(frozen=True)
class StartJob:
    """Train a trial; the worker answers with the value of `first_epoch`.

    Attributes:
        trial: Name of the trial.
        configuration: Hyperparameters, by name.
        checkpoint_dir: Folder of the trial's checkpoints; it exists.
        first_epoch: First epoch to train, 1-based.
        last_epoch: Last epoch to train, inclusive.
        value_log: File of the trial's metrics, see `worker_main.ValueLog`.
        log: File that receives everything the job prints.
    """

    trial: str
    configuration: Mapping[str, Any]
    checkpoint_dir: str
    first_epoch: int
    last_epoch: int
    value_log: str
    log: str


@dataclass(frozen=True)
class NextEpoch:
    """Train the job's next epoch."""


@dataclass(frozen=True)
class StopJob:
    """End the job at the epoch it has reached."""


Request = StartJob | NextEpoch | StopJob
"""A message from the parent to the worker."""


# From the worker to its parent, or from the parent's handle of the worker to the executor.


@dataclass(frozen=True)
class Ready:
    """The worker has loaded the program and waits for a job."""


@dataclass(frozen=True)
class Unusable:
    """The program cannot be used by any worker; no other message follows.

    Attributes:
        reason: The cause, on one line.
    """

    reason: str


@dataclass(frozen=True)
class CommandStarted:
    """The worker has started the job's command; only the parent-side handle reads this message.

    Attributes:
        process_group: Process group to kill together with the worker.
    """

    process_group: int


@dataclass(frozen=True)
class Value:
    """The metric after the job's next epoch; the worker waits for `NextEpoch` or `StopJob`.

    Attributes:
        value: The metric; may be NaN or infinite.
        seconds: Training time of the epoch, 0 if the metric was read from the value log.
    """

    value: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Ended:
    """The job was stopped or its program ended without a failure; the worker is idle."""


@dataclass(frozen=True)
class Failed:
    """The job's program failed; the worker is idle.

    Attributes:
        reason: The cause, on one line.
        details: Traceback or last output.
        killed: The job's command was killed by somebody else, so that a retry may succeed.
    """

    reason: str
    details: str
    killed: bool = False


@dataclass(frozen=True)
class Died:
    """The worker process is gone and its job with it; `Ready` follows from its successor.

    Attributes:
        reason: The cause, on one line.
        killed: Somebody else killed the worker or its node, so that a retry may succeed.
    """

    reason: str
    killed: bool


Message = Ready | Unusable | CommandStarted | Value | Ended | Failed | Died
"""A message from the worker, or from its parent-side handle, to the executor."""

# By the `kind` that `encode` writes. A new message must be listed here, or its receiver fails with a KeyError.
_CLASSES: Mapping[str, type[Any]] = {
    cls.__name__: cls for cls in (StartJob, NextEpoch, StopJob, Ready, Unusable, CommandStarted, Value, Ended, Failed, Died)
}


def encode(message: Request | Message) -> bytes:
    """Encode a message as JSON, with the name of its class as `kind`.

    Args:
        message: What to send; its fields hold only what JSON can.

    Returns:
        One UTF-8 JSON object, without a newline.

    Examples:
        >>> encode(Value(0.5, seconds=2.0))
        b'{"kind": "Value", "value": 0.5, "seconds": 2.0}'
    """
    # vars, not asdict: asdict would copy the configuration deeply, and all fields are JSON already.
    # NaN and infinities are written as Python's json reads them; both ends are Python.
    return json.dumps({"kind": type(message).__name__, **vars(message)}).encode()


def decode(data: bytes) -> Any:
    """Decode what `encode` returned.

    Args:
        data: One whole message, from `encode`.

    Returns:
        An object of the class that was sent, `Request` or `Message`.

    Examples:
        >>> decode(encode(Failed("exited with status 1", details="")))
        Failed(reason='exited with status 1', details='', killed=False)
    """
    fields = json.loads(data)
    return _CLASSES[fields.pop("kind")](**fields)
