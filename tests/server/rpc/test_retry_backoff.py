"""RetryBackoff: the more callers are rejected, the longer they wait, so that they come back at a rate the server can bear."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.server.rpc.retry_backoff import MAX_MS, MIN_MS, TARGET_REFUSALS_PER_S, RetryBackoff


def refused_per_s(n_callers: int, seconds: float) -> tuple[float, list[int]]:
    """Reject so many callers whenever they call: refusals per second in the second half, and the delay of each refusal."""
    now_s = [0.0]
    backoff = RetryBackoff(lambda: now_s[0])
    next_call_s = np.linspace(0.0, 0.1, n_callers)
    delays_ms, times_s = [], []
    while (now := float(next_call_s.min())) < seconds:
        now_s[0] = now
        delays_ms.append(backoff.next_ms())
        times_s.append(now)
        next_call_s[next_call_s.argmin()] = now + delays_ms[-1] / 1000
    return sum(time > seconds / 2 for time in times_s) / (seconds / 2), delays_ms


def test_few_callers_get_the_shortest_delay() -> None:
    per_s, delays_ms = refused_per_s(5, 20.0)
    assert per_s < TARGET_REFUSALS_PER_S
    assert all(MIN_MS / 2 <= ms <= 1.5 * MIN_MS for ms in delays_ms)


@pytest.mark.parametrize("n_callers", [50, 100, 150, 190])
def test_many_callers_come_back_at_the_target_rate(n_callers: int) -> None:
    per_s, delays_ms = refused_per_s(n_callers, 60.0)
    assert 0.7 * TARGET_REFUSALS_PER_S < per_s < 1.4 * TARGET_REFUSALS_PER_S
    latest = delays_ms[-100:]
    assert max(latest) > 1.5 * min(latest)  # spread, so that they do not come back all at once


def test_nobody_waits_for_long() -> None:
    _, delays_ms = refused_per_s(5000, 20.0)
    assert MAX_MS < max(delays_ms) <= 1.5 * MAX_MS
    assert sum(delays_ms[-5000:]) / 5000 > 0.8 * MAX_MS


def test_it_forgets_a_storm() -> None:
    now_s = [0.0]
    backoff = RetryBackoff(lambda: now_s[0])
    for _ in range(3000):
        now_s[0] += 0.001
        backoff.next_ms()
    assert backoff.next_ms() > 2 * MIN_MS
    for _ in range(20):
        now_s[0] += MAX_MS / 1000
        last = backoff.next_ms()
    assert last <= 1.5 * MIN_MS
