"""How well the models of a predictor predict the training curves they did not see."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.plural import plural


@dataclass(frozen=True)
class Reliability:
    """How well the model of one observed length predicts its training curves, each left out (docs/stacked.md, eq. 33).

    Attributes:
        tau: Observed length, in points of the study's grid.
        n_curves: Curves the model learnt from.
        r2: Share of the variance explained, at most 1.
        coverage: Share of left-out curves within their nominal 90 % interval.
    """

    tau: int
    n_curves: int
    r2: float
    coverage: float

    def why_unreliable(self, *, least_r2: float = 0.3, least_curves: int = 15) -> str:
        """Return why the model's predictions should not be relied upon; empty if they may be.

        Args:
            least_r2: Least share of the variance it must explain.
            least_curves: Fewest curves it must have learnt from.
        """
        # Asked first: the R2 of a few curves says little, and more curves may mend it.
        if self.n_curves < least_curves:
            missing = plural(least_curves - self.n_curves, "more complete curve")
            return f"the model needs {missing} (it learnt from {self.n_curves})"
        if self.r2 < least_r2:
            return f"the model of this length explains {self.r2:.0%} of the variance, less than {least_r2:.0%}"
        return ""
