"""Curves whose steps were not all reported: the values between two reported ones lie on a straight line."""

from __future__ import annotations

from collections.abc import Sequence


def linear_fill(curve: Sequence[float], epoch: int, value: float) -> list[float]:
    """`(epoch - len(curve),)` values that lead from the end of a curve to `value` at `epoch`; all equal when it is empty."""
    missing, before = epoch - len(curve), curve[-1] if curve else value
    return [*(before + (value - before) * step / missing for step in range(1, missing)), value][: max(missing, 0)]
