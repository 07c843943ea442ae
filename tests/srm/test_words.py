"""Messages count as people do."""

from __future__ import annotations

from curvestop.srm.words import counted


def test_one_is_one_and_all_others_are_many() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
