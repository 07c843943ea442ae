"""How a command that `hyperband run` started sends its metrics: datagrams to a Unix socket. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

SOCKET_VARIABLE = "CURVESTOP_METRICS"
"""Names the environment variable with the socket's path."""

MAX_BYTES = 4096


@dataclass(frozen=True)
class JobMetric:
    """The metric after an epoch. epoch: from 1; None for the one that comes next."""

    value: float
    epoch: int | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> JobMetric:
        """Raises ValueError for what `encode` did not make."""
        try:
            fields = json.loads(datagram)
            return cls(float(fields["value"]), None if fields["epoch"] is None else int(fields["epoch"]))
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"a metric must be JSON with a value and an epoch, but got {datagram!r}") from None
