"""RetryBackoff: the more callers are refused, the longer they stay away, so that they come back at a rate a server can bear."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.server.rpc.retry_backoff import LEAST_MS, MOST_MS, WANTED_PER_S, RetryBackoff


def refused_per_s(n_callers: int, seconds: float) -> tuple[float, list[int]]:
    """In the last half of a time in which so many callers are refused whenever they come; and what each was told."""
    now_s = [0.0]
    backoff = RetryBackoff(lambda: now_s[0])
    comes_s = np.linspace(0.0, 0.1, n_callers)
    told, times_s = [], []
    while (now := float(comes_s.min())) < seconds:
        now_s[0] = now
        told.append(backoff.next_ms())
        times_s.append(now)
        comes_s[comes_s.argmin()] = now + told[-1] / 1000
    return sum(time > seconds / 2 for time in times_s) / (seconds / 2), told


def test_few_callers_are_told_the_least() -> None:
    per_s, told = refused_per_s(5, 20.0)
    assert per_s < WANTED_PER_S
    assert all(LEAST_MS / 2 <= ms <= 1.5 * LEAST_MS for ms in told)


@pytest.mark.parametrize("n_callers", [50, 100, 150, 190])
def test_many_callers_come_back_at_the_wanted_rate(n_callers: int) -> None:
    per_s, told = refused_per_s(n_callers, 60.0)
    assert 0.7 * WANTED_PER_S < per_s < 1.4 * WANTED_PER_S
    late = told[-100:]
    assert max(late) > 1.5 * min(late)  # spread, so that they do not come back all at once


def test_nobody_is_told_to_stay_away_for_long() -> None:
    _, told = refused_per_s(5000, 20.0)
    assert MOST_MS < max(told) <= 1.5 * MOST_MS
    assert sum(told[-5000:]) / 5000 > 0.8 * MOST_MS


def test_it_forgets_a_storm() -> None:
    now_s = [0.0]
    backoff = RetryBackoff(lambda: now_s[0])
    for _ in range(3000):
        now_s[0] += 0.001
        backoff.next_ms()
    assert backoff.next_ms() > 2 * LEAST_MS
    for _ in range(20):
        now_s[0] += MOST_MS / 1000
        last = backoff.next_ms()
    assert last <= 1.5 * LEAST_MS
