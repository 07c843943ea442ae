"""A link with latency: to connect has a time of its own, and a call has what the link takes beside its deadline."""

from __future__ import annotations

import time
from pathlib import Path

from curvestop.clients.remote.channels import CHANNEL_OPTIONS
from curvestop.clients.remote.remote_study import connect
from curvestop.proto.endpoint import KEEPALIVE_S
from curvestop.server.rpc.quotas import DEFAULT_LIMITS
from curvestop.server.rpc.server import Server
from tests.contracts import last_seen
from tests.proofs.proxy import FaultProxy

ROUND_TRIP_S = 0.5
TOO_SHORT_S = 0.2


def test_a_deadline_begins_where_the_link_ends(tmp_path: Path) -> None:
    with (
        Server(tmp_path / "data", host="127.0.0.1", port=0) as server,
        FaultProxy(server.port, round_trip_s=ROUND_TRIP_S) as proxy,
        connect(proxy.address, last_seen(), token=server.token_path.read_text(), deadline_s=TOO_SHORT_S) as study,
    ):
        assert not study._connection.was_reached
        for epoch in (1, 2):  # the first one connects and makes the study: five round trips
            assert "fewer than 6 curves" in study.report("a", [0.1], first_epoch=epoch).reason
        assert ROUND_TRIP_S <= study._connection.round_trip_s < 2 * ROUND_TRIP_S
        proxy.start("swallow")
        began = time.monotonic()
        assert "no answer within" in study.report("a", [0.3], first_epoch=3).reason
        assert time.monotonic() - began >= TOO_SHORT_S + ROUND_TRIP_S
        proxy.stop()
        assert study.flush(30.0)
        assert study.trials()[0].values == (0.1, 0.1, 0.3)


def test_a_connection_without_calls_is_kept_alive_as_a_server_allows() -> None:
    allowed = dict(DEFAULT_LIMITS.grpc_options())
    assert CHANNEL_OPTIONS["grpc.keepalive_time_ms"] == 1000 * KEEPALIVE_S == 60_000
    assert allowed["grpc.http2.min_ping_interval_without_data_ms"] == 30_000
    assert allowed["grpc.keepalive_permit_without_calls"] == CHANNEL_OPTIONS["grpc.keepalive_permit_without_calls"] == 1
