"""Curves whose steps were not all reported: values between two reported ones lie on a straight line."""

from __future__ import annotations

from collections.abc import Sequence


def linear_fill(curve: Sequence[float], epoch: int, value: float) -> list[float]:
    """Return the values that lead from the end of a curve to `value` at `epoch`.

    Args:
        curve: `(tau,)` values so far; may be empty.
        epoch: Epoch of the new value, > tau for anything to be returned.
        value: The new value.

    Returns:
        `(epoch - tau,)` values on a straight line; all equal to `value` if the curve is empty.

    Examples:
        >>> linear_fill([0.0], 3, 1.0)
        [0.5, 1.0]
    """
    # Of an empty curve nothing is known, so it starts at the new value: a flat line.
    missing, before = epoch - len(curve), curve[-1] if curve else value
    return [*(before + (value - before) * step / missing for step in range(1, missing)), value][: max(missing, 0)]
