"""`FHyperbandPruner`: Optuna's Hyperband, and inside each rung no trial goes on that will not be promoted at its end.

Baker 2017 (thesis), section "Fast Hyperband", Algorithm 2; rungs and brackets are those of `optuna.pruners.HyperbandPruner`.

    study = optuna.create_study(pruner=FHyperbandPruner(max_epochs=81))
"""

from __future__ import annotations

import math
from binascii import crc32
from bisect import bisect_right
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

import optuna
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial

from curvestop.clients.optuna.srm_pruner import SRMPruner
from curvestop.clients.optuna.study_sync import StudySync, Target
from curvestop.srm.curve import Decision
from curvestop.srm.policies.stopping_rule import nth_best


class FHyperbandPruner(HyperbandPruner):
    """Hyperband with predictions inside its rungs.

    A trial's bracket follows from the study's name and the trial's number, and samplers see the trials of one bracket, both as
    with Optuna's pruner. At the end of a rung the best 1/reduction_factor of the bracket's trials that came so far go on;
    before it, a trial is stopped that will not be one of them with probability `threshold`. After the last rung, and in the
    bracket without rungs, `policy` decides as in `SRMPruner`.

    max_epochs: R. min_resource: r, epochs of the first rung. reduction_factor: eta >= 2. bootstrap_count: of Optuna's pruner.
    kappa: > 0; the value to beat at a rung's end is the kappa x (number of those that go on)-th best so far.
    settings: of `SRMPruner`, by name.
    """

    def __init__(
        self,
        max_epochs: int,
        *,
        min_resource: int = 1,
        reduction_factor: int = 3,
        bootstrap_count: int = 0,
        kappa: float = 1.0,
        first_step: int = 0,
        **settings: Any,
    ) -> None:
        if not 1 <= min_resource <= max_epochs:
            raise ValueError(f"min_resource must be in 1..max_epochs = {max_epochs}, but got {min_resource!r}")
        if reduction_factor < 2:
            raise ValueError(f"reduction_factor must be >= 2, but got {reduction_factor!r}")
        if not (kappa > 0 and math.isfinite(kappa)):
            raise ValueError(f"kappa must be finite and > 0, but got {kappa!r}")
        super().__init__(min_resource, max_epochs, reduction_factor, bootstrap_count)
        self.srm = SRMPruner(max_epochs, first_step=first_step, **settings)
        self._kappa, self._eta = kappa, reduction_factor
        # both as of Optuna's pruner, the rounding of the logarithm too
        self._n_brackets = math.floor(math.log(max_epochs / min_resource, reduction_factor)) + 1
        self._rungs = [self.srm.grid.epoch(min_resource * reduction_factor**k) for k in range(self._n_brackets)]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        known = self.srm.remembered(study, trial)
        if known is not None:  # Optuna's pruner asks about a rung's end only once
            return known.stop
        if super().prune(study, trial):
            reason = f"not among the best 1/{self._eta} of bracket {self.bracket_of(study, trial.number)} at the end of its rung"
            self.srm.note(study, trial, Decision(stop=True, reason=reason))
            return True
        rung = self._rung_ahead(study, trial)
        if rung is None:
            return self.srm.prune(study, trial)
        return self.srm.decide(study, trial, partial(self._target, study, trial, rung)).stop

    def explain(self, trial: optuna.Trial) -> Decision:
        """As of `SRMPruner`."""
        return self.srm.explain(trial)

    def predicted_value(self, trial: optuna.Trial) -> float | None:
        """As of `SRMPruner`."""
        return self.srm.predicted_value(trial)

    def value_or_prune(self, trial: optuna.Trial) -> float:
        """As of `SRMPruner`."""
        return self.srm.value_or_prune(trial)

    def _rung_ahead(self, study: optuna.Study, trial: FrozenTrial) -> int | None:
        """The epoch at which the trial's rung ends; None after the last rung, and in the bracket without rungs."""
        bracket, seen = self.bracket_of(study, trial.number), self.srm.grid.reports(trial).last_epoch
        return next((rung for rung in self._rungs[bracket:] if seen < rung < self.srm.grid.max_epochs), None)

    def _target(self, study: optuna.Study, trial: FrozenTrial, epoch: int, sync: StudySync) -> Target:
        """The end of the trial's rung, and what it takes to be promoted there (Algorithm 2: max_k(L, kappa n))."""
        bracket, name = self.bracket_of(study, trial.number), study.study_name  # read once: it may be in a database
        rivals = (n for n in sync.numbers if n != trial.number and self._bracket(name, n) == bracket)
        values = sync.values_at(epoch, rivals)
        n_promoted = max(1, (len(values) + 1) // self._eta)
        k = max(1, math.ceil(self._kappa * n_promoted - 1e-9))  # 1e-9: 0.07 * 100 is 7, not 8
        return Target(epoch, nth_best(values, k, sync.study.settings.direction))

    def bracket_of(self, study: optuna.Study, number: int) -> int:
        """0 for the one that begins with the shortest rung, as Optuna's pruner has it."""
        return self._bracket(study.study_name, number)

    def _bracket(self, study_name: str, number: int) -> int:
        return _bracket(study_name, number, self._n_brackets, self._eta)


@lru_cache(maxsize=1 << 16)
def _bracket(study_name: str, number: int, n_brackets: int, eta: int) -> int:
    """Bracket b of B gets trials in proportion to n = ceil(B eta^s / (s + 1)), s = B - 1 - b (Li et al. 2017)."""
    shares = [math.ceil(n_brackets * eta**s / (s + 1)) for s in reversed(range(n_brackets))]
    place = crc32(f"{study_name}_{number}".encode()) % sum(shares)
    return bisect_right(list(accumulate(shares)), place)
