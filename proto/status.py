"""What a server says of a study beside its trials: how far its models are and how many trials are in which state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curvestop.srm.study import StudySettings, TrialState


@dataclass(frozen=True)
class ModelStatus:
    """The models for one target epoch.

    n_fitted: complete curves the models in use were fitted on; 0 without models. n_due: the same once nothing is left to fit.
    """

    target_epoch: int
    n_fitted: int
    n_due: int


@dataclass(frozen=True)
class StudyStatus:
    settings: StudySettings
    models: tuple[ModelStatus, ...]
    n_trials: Mapping[TrialState, int]

    @property
    def fitted(self) -> bool:
        """True when no fit is due."""
        return all(model.n_fitted == model.n_due for model in self.models)
