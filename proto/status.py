"""The status of a study on a server: its settings, the state of its models, and how many trials are in which state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import TrialState


@dataclass(frozen=True)
class ModelStatus:
    """The state of the models for one target epoch.

    Attributes:
        target_epoch: The epoch whose value is predicted.
        n_fitted: Number of complete curves that the models in use were fitted on; 0 without models.
        n_due: The same number once every fit that is due has run.
    """

    target_epoch: int
    n_fitted: int
    n_due: int


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study.

    Attributes:
        settings: The study's settings.
        models: The state of its models, one item for each target epoch in use.
        n_trials: Number of trials by state; states without trials are left out.
    """

    settings: StudySettings
    # Several target epochs are in use when f-Hyperband asks for the ends of rungs.
    models: tuple[ModelStatus, ...]
    n_trials: Mapping[TrialState, int]

    @property
    def fitted(self) -> bool:
        """Whether no model fit is due."""
        return all(model.n_fitted == model.n_due for model in self.models)
