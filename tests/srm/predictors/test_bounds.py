"""What a predictor may be asked to compute is bounded, whoever chooses its settings and however wide configurations are."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.sequential import SequentialRegression
from curvestop.srm.regression.features import MOST_COLUMNS, ConfigurationFeatures
from curvestop.srm.regression.regressors import REGRESSORS


def test_texts_that_differ_in_each_trial_are_named_when_they_are_too_many() -> None:
    configurations = [{f"path-{i}": f"{trial}/{i}" for i in range(100)} for trial in range(100)]
    assert len(ConfigurationFeatures().fit(configurations).columns_) == MOST_COLUMNS == 10_000
    message = "^configurations may have 10000 columns, but have 10001, one for each different text: leave out what differs"
    with pytest.raises(ValueError, match=message):
        ConfigurationFeatures().fit([{**configuration, "lr": 0.1} for configuration in configurations])


@pytest.mark.parametrize("regressor", ["ols", "kernel-ridge"])
def test_of_wide_rows_the_regressor_itself_is_asked_and_says_the_same(regressor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    curves = [LearningCurve(str(i), {}, tuple(rng.random(12).cumsum())) for i in range(10)]
    narrow = SequentialRegression(REGRESSORS[regressor]).fit(curves)
    monkeypatch.setattr("curvestop.srm.predictors.sequential.MOST_QUERY_COLUMNS", 6)
    wide = SequentialRegression(REGRESSORS[regressor]).fit(curves)
    assert (max(narrow._queries), max(wide._queries)) == (11, 6)
    new = LearningCurve("new", {}, tuple(rng.random(12).cumsum()))
    for tau in (6, 7, 11):
        one, other = narrow.predict(new.head(tau)), wide.predict(new.head(tau))
        assert one is not None
        assert other is not None
        assert other.sigma == one.sigma
        assert other.mean == pytest.approx(one.mean, rel=1e-6)
