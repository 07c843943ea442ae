"""Functions of a number or an array: one formula then serves a single question, in a tenth of numpy's time, and a batch."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from curvestop.srm.regression.features import Array

Numbers = TypeVar("Numbers", float, Array)


def smaller(of: Numbers, limit: float | Numbers) -> Numbers:
    """The smaller of both, element by element."""
    return min(of, limit) if isinstance(of, float) else np.minimum(of, limit)


def larger(of: Numbers, limit: float | Numbers) -> Numbers:
    """The larger of both, element by element."""
    return max(of, limit) if isinstance(of, float) else np.maximum(of, limit)


def exponential(of: Numbers) -> Numbers:
    return math.exp(of) if isinstance(of, float) else np.exp(of)
