"""Company: two parties are company for each other until one has been alone for a while."""

from __future__ import annotations

from curvestop.server.company import LATELY_S, Company


def test_it_takes_two_and_lasts_for_a_while() -> None:
    now_s = [100.0]
    company = Company(lambda: now_s[0])
    assert not company.is_there
    company.seen("a")
    company.seen("a")
    assert not company.is_there
    company.seen("b")
    assert company.is_there
    now_s[0] += 0.9 * LATELY_S
    company.seen("b")
    assert company.is_there
    now_s[0] += 0.2 * LATELY_S  # b alone since more than a while
    company.seen("b")
    assert not company.is_there
    company.seen("a")
    assert company.is_there
