"""The brackets of Hyperband as they fill, in numbers for a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from curvestop.srm.report import BracketPosition


@dataclass(frozen=True)
class BracketMember:
    """A trial in its bracket.

    Attributes:
        position: Its bracket.
        rung: Index of its present or last rung, from 0.
        epochs: Number of epochs that it trained.
        is_over: Whether it ended.
    """

    position: BracketPosition
    rung: int
    epochs: int
    is_over: bool


def bracket_rows(members: Iterable[BracketMember]) -> list[dict[str, Any]]:
    """Return one row for each bracket that began, in their order, with its rungs.

    Of each rung: `epochs` at which it ends, `planned` configurations, and how many trials `reached` its end, are `training`
    towards it, or were `stopped` on the way.

    Args:
        members: Trials of one or more brackets; brackets come in the order of their first trials.
    """
    brackets: dict[BracketPosition, list[BracketMember]] = {}
    for member in members:
        # A dict keeps the order of first appearance, which is the order in which brackets began.
        brackets.setdefault(member.position, []).append(member)
    return [
        {
            "iteration": position.iteration,
            "s": position.s,
            "rungs": [
                {"epochs": epochs, "planned": n_configurations, **_filled(inside, index, epochs)}
                for index, (n_configurations, epochs) in enumerate(position.rungs)
            ],
        }
        for position, inside in brackets.items()
    ]


def _filled(members: list[BracketMember], index: int, epochs: int) -> dict[str, int]:
    # A member of a later rung has passed this one, and one that waits at this rung's end has reached it: neither is on the way.
    on_the_way = [member for member in members if member.rung == index and member.epochs < epochs]
    stopped = sum(member.is_over for member in on_the_way)
    return {
        "reached": sum(member.epochs >= epochs for member in members),  # those in later rungs, too
        "training": len(on_the_way) - stopped,
        "stopped": stopped,
    }
