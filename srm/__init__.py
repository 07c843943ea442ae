"""srm: the statistics. Predict the final value of a learning curve and say whether to stop it; imports no other room."""

from curvestop.srm.curve import Configuration, CurvePredictor, Decision, LastSeenValue, LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.sequential import SequentialRegression
from curvestop.srm.study import Study, StudyLike, StudySettings, Trial

__all__ = [
    "Configuration",
    "CurvePredictor",
    "Decision",
    "LastSeenValue",
    "LearningCurve",
    "Prediction",
    "SequentialRegression",
    "StoppingRule",
    "Study",
    "StudyLike",
    "StudySettings",
    "Trial",
]
