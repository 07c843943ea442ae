"""Metrics that a command sends to the `hyperband run` that started it: datagrams to a Unix socket.

Standard library only, so that a training script starts quickly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

SOCKET_VARIABLE = "CURVESTOP_METRICS"
"""Name of the environment variable that holds the socket's path."""

MAX_BYTES = 4096
"""Maximum size of a datagram."""


@dataclass(frozen=True)
class JobMetric:
    """The metric after an epoch.

    Attributes:
        value: The metric.
        epoch: The epoch, 1-based; None: the one after the last that was sent.

    Examples:
        >>> JobMetric.decode(JobMetric(0.5, epoch=3).encode())
        JobMetric(value=0.5, epoch=3)
    """

    value: float
    epoch: int | None = None

    # JSON, so that a program in any language can send one.
    def encode(self) -> bytes:
        """Return the metric as a datagram."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> JobMetric:
        """Return the metric in a datagram.

        Args:
            datagram: What `encode` returned.

        Raises:
            ValueError: If it is not JSON with a value and an epoch.
        """
        try:
            fields = json.loads(datagram)
            return cls(float(fields["value"]), None if fields["epoch"] is None else int(fields["epoch"]))
        except (TypeError, KeyError, ValueError):  # any process of the user may write to the socket
            raise ValueError(f"a metric must be JSON with a value and an epoch, but got {datagram!r}") from None
