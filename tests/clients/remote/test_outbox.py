"""The outbox: curves are joined, the first value stays, nothing is lost or put in another order within a trial."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.remote.outbox import Outbox, Pending, PendingFinish, PendingReport


def emptied(outbox: Outbox) -> list[Pending]:
    items = []
    while (item := outbox.take()) is not None:
        items.append(item)
        outbox.done(item)
    assert outbox.is_empty()
    return items


def boxed(*items: Pending) -> list[Pending]:
    outbox = Outbox()
    for item in items:
        outbox.add(item)
    return emptied(outbox)


def test_reports_of_one_curve_become_one() -> None:
    assert boxed(
        PendingReport("a", 1, (0.1,)),
        PendingReport("b", 1, (0.9,)),
        PendingReport("a", 2, (0.2,), {"lr": 0.1}),
        PendingReport("a", 1, (0.5, 0.6, 0.3), {"lr": 0.1}),
        PendingReport("a", 4, (), None, diverged=True),
    ) == [PendingReport("a", 1, (0.1, 0.2, 0.3), {"lr": 0.1}, diverged=True), PendingReport("b", 1, (0.9,))]


def test_what_does_not_fit_stays_apart_and_in_order() -> None:
    items: list[Pending] = [
        PendingReport("a", 2, (0.2,)),
        PendingReport("a", 4, (0.4,)),  # a gap
        PendingReport("a", 1, (0.1,)),  # before
        PendingReport("a", 2, (0.2,), {"lr": 1}),
        PendingReport("a", 3, (0.3,), {"lr": 2}),  # another configuration
        PendingFinish("a", "finished"),
        PendingReport("a", 4, (0.4,)),
        PendingReport("a", 5, tuple([0.5] * 1000)),  # too long for one request
    ]
    items[2:4] = [PendingReport("a", 1, (0.1, 0.2), {"lr": 1})]
    assert boxed(*items) == items


def test_what_was_not_acknowledged_comes_again_first() -> None:
    outbox = Outbox()
    outbox.add(PendingReport("a", 1, (0.1,)))
    item = outbox.take()
    assert item is not None
    assert not outbox.is_empty()
    outbox.add(PendingReport("a", 2, (0.2,)))
    assert outbox.n_values() == 2
    outbox.put_back(item)
    assert outbox.n_values() == 2
    assert emptied(outbox) == [PendingReport("a", 1, (0.1,)), PendingReport("a", 2, (0.2,))]


def test_what_a_server_lost_goes_before_what_waits() -> None:
    outbox = Outbox()
    outbox.add(PendingReport("a", 3, (0.3,)))
    outbox.add_first([PendingReport("b", 1, (0.5,)), PendingReport("a", 1, (0.1,)), PendingReport("a", 2, (0.2,))])
    assert emptied(outbox) == [
        PendingReport("a", 1, (0.1,)),
        PendingReport("a", 2, (0.2,)),
        PendingReport("a", 3, (0.3,)),
        PendingReport("b", 1, (0.5,)),
    ]


def test_what_waits_is_told_in_words() -> None:
    outbox = Outbox()
    assert str(outbox) == "0 values"
    outbox.add(PendingReport("a", 1, (0.1, 0.2)))
    assert str(outbox) == "2 values"
    outbox.add(PendingFinish("a", "finished"))
    assert str(outbox) == "2 values and the end of 1 trial"
    item = outbox.take()  # it may be on its way, and counts until it is acknowledged
    assert item is not None
    assert str(outbox) == "2 values and the end of 1 trial"
    outbox.done(item)
    assert str(outbox) == "the end of 1 trial"


def test_long_curves_go_in_parts() -> None:
    curve = tuple(epoch / 2500 for epoch in range(2500))
    parts = PendingReport("a", 11, curve, {"lr": 1}, diverged=True).chunks()
    assert [(part.first_epoch, len(part.values), part.diverged) for part in parts] == [
        (11, 1000, False),
        (1011, 1000, False),
        (2011, 500, True),
    ]
    assert sum((part.values for part in parts), ()) == curve
    assert PendingReport("a", 1, ()).chunks() == [PendingReport("a", 1, ())]


reports = st.builds(
    PendingReport,
    st.sampled_from("ab"),
    st.integers(1, 6),
    st.lists(st.floats(0, 1), max_size=4).map(tuple),
)


@given(st.lists(reports, max_size=12))
def test_joining_changes_no_curve(items: Sequence[PendingReport]) -> None:
    assert observed(boxed(*items)) == observed(items)


def observed(items: Sequence[Pending]) -> dict[tuple[str, int], float]:
    """What a store that keeps first values would have."""
    stored: dict[tuple[str, int], float] = {}
    for item in items:
        assert isinstance(item, PendingReport)
        for epoch, value in enumerate(item.values, start=item.first_epoch):
            stored.setdefault((item.trial, epoch), value)
    return stored
