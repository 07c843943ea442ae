"""ContentionDetector: two parties are contention for each other until one has been alone for a while."""

from __future__ import annotations

from curvestop.server.rpc.contention import LATELY_S, ContentionDetector


def test_it_takes_two_and_lasts_for_a_while() -> None:
    now_s = [100.0]
    contention = ContentionDetector(lambda: now_s[0])
    assert not contention.is_contended
    contention.seen("a")
    contention.seen("a")
    assert not contention.is_contended
    contention.seen("b")
    assert contention.is_contended
    now_s[0] += 0.9 * LATELY_S
    contention.seen("b")
    assert contention.is_contended
    now_s[0] += 0.2 * LATELY_S  # b alone since more than a while
    contention.seen("b")
    assert not contention.is_contended
    contention.seen("a")
    assert contention.is_contended
