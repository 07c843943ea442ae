"""ContentionDetector: two callers contend with each other until one has been alone for a while."""

from __future__ import annotations

from curvestop.server.rpc.contention import RECENT_S, ContentionDetector


def test_it_takes_two_and_lasts_for_a_while() -> None:
    now_s = [100.0]
    contention = ContentionDetector(lambda: now_s[0])
    assert not contention.is_contended
    contention.record_call("a")
    contention.record_call("a")
    assert not contention.is_contended
    contention.record_call("b")
    assert contention.is_contended
    now_s[0] += 0.9 * RECENT_S
    contention.record_call("b")
    assert contention.is_contended
    now_s[0] += 0.2 * RECENT_S  # b has been alone for longer than that
    contention.record_call("b")
    assert not contention.is_contended
    contention.record_call("a")
    assert contention.is_contended
