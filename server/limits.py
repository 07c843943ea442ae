"""Limits: what one tenant, connection or call may take of a server at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curvestop.proto.endpoint import MAX_MESSAGE_BYTES
from curvestop.server.lanes import MAX_CALLS
from curvestop.srm.study import StudySettings


class QuotaExceeded(RuntimeError):
    """A tenant has all it may have."""


@dataclass(frozen=True)
class Limits:
    """max_calls: of a tenant, running or waiting. max_studies: of a tenant. max_connections: of all.

    handshake_s: in which a connection must be secured. metadata_bytes: of a call.
    """

    max_calls: int = MAX_CALLS
    max_studies: int = 1000
    max_connections: int = 4096
    handshake_s: float = 5.0
    metadata_bytes: int = 8 << 10

    def check_room(self, studies: Sequence[StudySettings], name: str) -> None:
        """Raises QuotaExceeded when a tenant with these studies may not make one of this name."""
        if len(studies) >= self.max_studies and all(study.name != name for study in studies):
            raise QuotaExceeded(f"a tenant has at most {self.max_studies} studies, and study {name!r} would be one more")

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        return (
            ("grpc.so_reuseport", 0),  # with it, two servers share one port without a word
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            ("grpc.max_concurrent_streams", 2 * self.max_calls),
            ("grpc.server_handshake_timeout_ms", round(1000 * self.handshake_s)),
        )


LIMITS = Limits()
