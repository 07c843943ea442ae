"""Messages count as people do."""

from __future__ import annotations

from curvestop.srm.plural import plural


def test_one_is_one_and_all_others_are_many() -> None:
    assert [plural(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
