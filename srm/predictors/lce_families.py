"""The 11 parametric families of learning curves: increasing, saturating functions of the epoch.

Domhan, Springenberg and Hutter 2015, "Speeding up automatic hyperparameter optimization of deep neural networks by
extrapolation of learning curves", Table 1. Metrics are mapped to about [0, 1], higher is better (see `unit_scale.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array


@dataclass(frozen=True)
class Family:
    """One family f(x | theta), finite at every epoch for all parameters inside its box.

    Attributes:
        name: As the paper calls it.
        function: Maps epochs `(n,)` >= 1 and the parameters, each broadcastable against them (such as `(walkers, 1)`), to
            values.
        start: One number for each parameter, where a least-squares fit begins.
        low: One number for each parameter; the prior is 0 below it.
        high: One number for each parameter; the prior is 0 above it.
    """

    name: str
    function: Callable[..., Array]
    start: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return len(self.start)


def vapor_pressure(x: Array, a: Array, b: Array, c: Array) -> Array:
    """Return exp(a + b / x + c log x)."""
    return np.asarray(np.exp(a + b / x + c * np.log(x)))


def pow3(x: Array, c: Array, a: Array, alpha: Array) -> Array:
    """Return c - a x^-alpha."""
    return c - a * x**-alpha


def log_log_linear(x: Array, a: Array, b: Array) -> Array:
    """Return log(a log x + b)."""
    # b > 0 in the box: log x is 0 at the first epoch.
    return np.asarray(np.log(a * np.log(x) + b))


def hill3(x: Array, top: Array, eta: Array, kappa: Array) -> Array:
    """Return top x^eta / (kappa^eta + x^eta)."""
    return top / (1 + (kappa / x) ** eta)  # this form does not overflow at large x


def log_power(x: Array, a: Array, b: Array, c: Array) -> Array:
    """Return a / (1 + (x / e^b)^c)."""
    return a / (1 + (x / np.exp(b)) ** c)


def pow4(x: Array, c: Array, a: Array, b: Array, alpha: Array) -> Array:
    """Return c - (a x + b)^-alpha."""
    # a > 0 and b >= 0 in the box, so the base is positive.
    return c - (a * x + b) ** -alpha


def mmf(x: Array, alpha: Array, beta: Array, kappa: Array, delta: Array) -> Array:
    """Return alpha - (alpha - beta) / (1 + (kappa x)^delta)."""
    # From beta at x = 0 (for delta > 0) to alpha.
    return alpha - (alpha - beta) / (1 + (kappa * x) ** delta)


def exp4(x: Array, c: Array, a: Array, b: Array, alpha: Array) -> Array:
    """Return c - exp(-a x^alpha + b)."""
    return c - np.exp(-a * x**alpha + b)


def janoschek(x: Array, alpha: Array, beta: Array, kappa: Array, delta: Array) -> Array:
    """Return alpha - (alpha - beta) exp(-kappa x^delta)."""
    return alpha - (alpha - beta) * np.exp(-kappa * x**delta)


def weibull(x: Array, alpha: Array, beta: Array, kappa: Array, delta: Array) -> Array:
    """Return alpha - (alpha - beta) exp(-(kappa x)^delta)."""
    return alpha - (alpha - beta) * np.exp(-((kappa * x) ** delta))


def ilog2(x: Array, c: Array, a: Array) -> Array:
    """Return c - a / log(x + 1)."""
    # x + 1, as log x is 0 at the first epoch.
    return c - a / np.log(x + 1)


FAMILIES: tuple[Family, ...] = (
    Family("vapor pressure", vapor_pressure, (-0.62, -0.47, 0.04), (-10, -10, -2), (2, 10, 2)),
    Family("pow3", pow3, (0.84, 0.52, 0.5), (-1, -3, 0), (2, 3, 5)),
    Family("log log linear", log_log_linear, (0.38, 1.0), (0, 1e-3), (10, 10)),
    Family("Hill3", hill3, (0.77, 0.59, 2.5), (0, 0, 1e-3), (2, 10, 1e4)),
    Family("log power", log_power, (0.77, 1.0, -0.51), (0, -10, -10), (2, 10, 10)),
    Family("pow4", pow4, (0.8, 10.0, 1.0, 0.3), (-1, 1e-3, 0, 0), (2, 1e3, 1e3, 5)),
    Family("MMF", mmf, (0.7, 0.1, 0.1, 1.0), (-1, -1, 1e-6, 0), (2, 2, 10, 10)),
    Family("exp4", exp4, (0.7, 0.8, -0.8, 0.3), (-1, 0, -20, 0), (2, 10, 5, 2)),
    Family("Janoschek", janoschek, (0.73, 0.07, 0.36, 0.46), (-1, -1, 0, 0), (2, 2, 10, 5)),
    Family("Weibull", weibull, (0.7, 0.1, 0.1, 1.0), (-1, -1, 1e-6, 0), (2, 2, 10, 10)),
    Family("ilog2", ilog2, (0.78, 0.43), (-1, -3), (2, 3)),
)
"""The families of Table 1, with the boxes that the prior is uniform in; the numbers are close to the authors' code."""
