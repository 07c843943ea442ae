"""`FHyperbandPruner`: Optuna's Hyperband, which also prunes a trial inside a rung if it will not be promoted at its end.

Baker 2017 (thesis), section "Fast Hyperband", Algorithm 2; rungs and brackets are those of `optuna.pruners.HyperbandPruner`.
"""

from __future__ import annotations

import math
from binascii import crc32
from bisect import bisect_right
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, Literal

import optuna
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial

from curvestop.clients.optuna.srm_pruner import SRMPruner
from curvestop.clients.optuna.study_sync import StudySync, Target
from curvestop.srm.curve import Decision
from curvestop.srm.policies.stopping_rule import nth_best
from curvestop.srm.validation import check_keywords, is_finite, whole_number


class FHyperbandPruner(HyperbandPruner):
    """Hyperband with predictions inside its rungs.

    As with Optuna's pruner, a trial's bracket follows from the study's name and the trial's number, and samplers see the trials
    of one bracket. At the end of a rung, the best 1/reduction_factor of the bracket's trials so far are promoted. Before that, a
    trial is pruned if its prediction says that it will not be promoted, with a probability of at least `threshold`. After the
    last rung, and in the bracket without rungs, the policy decides as in `SRMPruner`.

    Args:
        max_epochs: R, the number of epochs of a trial that is not pruned. "auto": as with Optuna's pruner, brackets and rungs are
            made when the first trial is complete; see `SRMPruner` for what else it means.
        min_resource: r, the number of epochs of the first rung, in 1..max_epochs. Default: 1.
        reduction_factor: eta >= 2, the share of trials that a rung promotes is 1/eta. Default: 3.
        bootstrap_count: As of `optuna.pruners.HyperbandPruner`. Default: 0.
        kappa: Finite and > 0. The value to beat at a rung's end is the k-th best so far, k = kappa x (number of trials that are
            promoted); a larger kappa prunes less. Default: 1.
        first_step: The step that a trial reports after its first epoch. Default: 0.
        **settings: Further arguments of `SRMPruner`, by name.

    Attributes:
        srm: The `SRMPruner` that predicts.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If one of the settings is no argument of `SRMPruner`.

    Examples:
        >>> import optuna
        >>> from curvestop import FHyperbandPruner
        >>> pruner = FHyperbandPruner(max_epochs=81)
        >>> study = optuna.create_study(study_name="demo", direction="maximize", pruner=pruner)
        >>> [pruner.bracket_of(study, number) for number in range(4)]  # 0 has the shortest first rung
        [0, 3, 2, 1]
    """

    def __init__(
        self,
        max_epochs: int | Literal["auto"],
        *,
        min_resource: int = 1,
        reduction_factor: int = 3,
        bootstrap_count: int = 0,
        kappa: float = 1.0,
        first_step: int = 0,
        **settings: Any,
    ) -> None:
        check_keywords("FHyperbandPruner", settings, SRMPruner, but_not=("min_resource",))
        self.srm = SRMPruner(max_epochs, first_step=first_step, **settings)
        min_resource = whole_number("min_resource", min_resource)
        if min_resource > self.srm.grid.max_epochs:
            raise ValueError(f"min_resource must be in 1..max_epochs = {max_epochs}, but got {min_resource!r}")
        reduction_factor = whole_number("reduction_factor", reduction_factor, least=2)
        if not (kappa > 0 and is_finite(kappa)):
            raise ValueError(f"kappa must be finite and > 0, but got {kappa!r}")
        length: int | Literal["auto"] = "auto" if max_epochs == "auto" else self.srm.grid.max_epochs
        super().__init__(min_resource, length, reduction_factor, bootstrap_count)
        self._kappa, self._eta = kappa, reduction_factor
        if length != "auto":
            # As in Optuna's pruner, including its rounding of the logarithm: the brackets must be the same. It makes them itself
            # from the first complete trial if max_epochs is "auto".
            self._n_brackets = math.floor(math.log(length / min_resource, reduction_factor)) + 1

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should end now.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it, after its last report.
        """
        self.srm.check_steps(study, trial)
        if self.srm.is_at_end(study, trial):
            return self.srm.decide(study, trial).stop  # True only if it diverged
        known = self.srm.remembered(study, trial)
        if known is not None:  # Optuna's pruner answers only the first question about a rung's end
            return known.stop
        if super().prune(study, trial):
            bracket = self.bracket_of(study, trial.number)
            # Kept for `explain`: Optuna's pruner gives no reason.
            reason = f"not among the best 1/{self._eta} of bracket {bracket} at the end of its rung"
            self.srm.remember(study, trial, Decision(stop=True, reason=reason))
            return True
        rung = self._next_rung(study, trial)
        if rung is None:
            return self.srm.prune(study, trial)
        return self.srm.decide(study, trial, partial(self._target, study, trial, rung)).stop

    def explain(self, trial: optuna.Trial) -> Decision:
        """Return the last decision about a trial; see `SRMPruner.explain`."""
        return self.srm.explain(trial)

    def predicted_value(self, trial: optuna.Trial) -> float | None:
        """Return the predicted final value of a trial; see `SRMPruner.predicted_value`."""
        return self.srm.predicted_value(trial)

    def value_or_prune(self, trial: optuna.Trial) -> float:
        """Return the predicted final value for the objective to return; see `SRMPruner.value_or_prune`."""
        return self.srm.value_or_prune(trial)

    def bracket_of(self, study: optuna.Study, number: int) -> int:
        """Return the bracket of a trial number; bracket 0 begins with the shortest rung, as in Optuna's pruner.

        Before max_epochs="auto" is learnt, it is 0 for all.

        Args:
            study: The Optuna study; only its name counts.
            number: Number of the trial, from 0.
        """
        return self._bracket(study.study_name, number)

    def _next_rung(self, study: optuna.Study, trial: FrozenTrial) -> int | None:
        """Return the epoch at which the trial's rung ends; None after the last rung and in the bracket without rungs."""
        grid = self.srm.grid_of(study)
        first, reported = self.bracket_of(study, trial.number), grid.reports(trial).last_epoch
        rungs = (grid.epoch(self._min_resource * self._eta**k) for k in range(first, self._n_brackets or 0))
        return next((rung for rung in rungs if reported < rung < grid.max_epochs), None)

    def _target(self, study: optuna.Study, trial: FrozenTrial, epoch: int, sync: StudySync) -> Target:
        """Return the end of the trial's rung and the value to beat there (Algorithm 2: max_k(L, kappa n))."""
        # The study's name is read once for all rivals: Optuna may read it from a database.
        bracket, name = self.bracket_of(study, trial.number), study.study_name
        rivals = (n for n in sync.numbers if n != trial.number and self._bracket(name, n) == bracket)
        values = sync.values_at(epoch, rivals)
        n_promoted = max(1, (len(values) + 1) // self._eta)  # + 1: the trial itself is one of those that reach the rung's end
        k = max(1, math.ceil(self._kappa * n_promoted - 1e-9))  # 1e-9: 0.07 * 100 is 7, not 8
        return Target(epoch, nth_best(values, k, sync.study.settings.direction))

    def _bracket(self, study_name: str, number: int) -> int:
        return _bracket(study_name, number, self._n_brackets, self._eta) if self._n_brackets else 0


@lru_cache(maxsize=1 << 16)
def _bracket(study_name: str, number: int, n_brackets: int, eta: int) -> int:
    """Draw a bracket: bracket b of B gets trials in proportion to ceil(B eta^s / (s + 1)), s = B - 1 - b (Li et al. 2017)."""
    shares = [math.ceil(n_brackets * eta**s / (s + 1)) for s in reversed(range(n_brackets))]
    draw = crc32(f"{study_name}_{number}".encode()) % sum(shares)
    return bisect_right(list(accumulate(shares)), draw)
