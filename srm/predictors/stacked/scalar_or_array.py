"""Functions of a float or an array, so that one formula serves a single question, in a tenth of numpy's time, and a batch."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TypeVar

import numpy as np

from curvestop.srm.regression.features import Array

FloatOrArray = TypeVar("FloatOrArray", float, Array)


def minimum(x: FloatOrArray, limit: float | FloatOrArray) -> FloatOrArray:
    """Return the smaller of both, element by element.

    Args:
        x: A float or an array.
        limit: A float, or an array if x is one.
    """
    # np.float64 is a float too, so a scalar out of an array also takes the quick way.
    return min(x, limit) if isinstance(x, float) else np.minimum(x, limit)


def maximum(x: FloatOrArray, limit: float | FloatOrArray) -> FloatOrArray:
    """Return the larger of both, element by element.

    Args:
        x: A float or an array.
        limit: A float, or an array if x is one.
    """
    return max(x, limit) if isinstance(x, float) else np.maximum(x, limit)


def exp(x: FloatOrArray) -> FloatOrArray:
    """Return e^x, element by element; numpy's of a float too, as that of the math module has another last bit."""
    return float(np.exp(x)) if isinstance(x, float) else np.exp(x)


def sqrt(x: FloatOrArray) -> FloatOrArray:
    """Return the square root, element by element."""
    return math.sqrt(x) if isinstance(x, float) else np.sqrt(x)


def interpolate(x: FloatOrArray, points: Array, values: Array) -> FloatOrArray:
    """Return the piecewise linear function through some points, element by element; beyond the points it is constant.

    Args:
        x: A float or an array.
        points: `(m,)` ascending, all different.
        values: `(m,)` values there.
    """
    if not isinstance(x, float):
        return np.interp(x, points, values)
    right = bisect_right(points, x)
    if right in (0, len(points)):
        return float(values[min(right, len(points) - 1)])
    x_left, x_right, y_left, y_right = points.item(right - 1), points.item(right), values.item(right - 1), values.item(right)
    return (y_right - y_left) / (x_right - x_left) * (x - x_left) + y_left
