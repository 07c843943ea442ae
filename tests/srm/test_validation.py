"""What is no value, and numbers that no float can hold: a ValueError that names the value and the rule, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts import last_seen

HUGE = 10**400


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (HUGE, "a value must be within +-1e+100, but epoch 1 has a larger integer"),
        ([0.1, -HUGE, float("nan")], "a value must be within +-1e+100, but epoch 2 has a larger integer"),
        ([10**5000], "a value must be within +-1e+100, but epoch 1 has a larger integer"),
        ("12", "values must be a number or a list of numbers, but got '12'"),
        (b"12", "values must be a number or a list of numbers, but got b'12'"),
        ({1: 0.5}, "values must be a number or a list of numbers, but got {1: 0.5}"),
        ({0.5}, "values must be a number or a list of numbers, but got {0.5}"),
        (["12"], "a value must be a number, but epoch 1 has '12'"),
        (np.array(["12"]), "a value must be a number, but epoch 1 has np.str_('12')"),
    ],
)
def test_what_is_no_value_is_refused(values: Any, says: str) -> None:
    study = Study(last_seen())
    with pytest.raises(ValueError) as error:
        study.report("a", values)
    assert str(error.value) == says
    assert study.trials() == ()


@pytest.mark.parametrize("values", [0.5, np.float32(0.5), np.array(0.5), [0.5], (0.5,), np.array([0.5])])
def test_numbers_and_sequences_of_numbers_are_values(values: Any) -> None:
    study = Study(last_seen())
    study.report("a", values)
    assert study.trials()[0].values == (0.5,)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: StudySettings("s", 20, refit_growth=HUGE), "refit_growth must be > 1"),
        (lambda: StoppingRule(tolerance=HUGE), "tolerance must be finite and >= 0"),
        (lambda: StudySettings("s", 20, predictor_settings={"a": HUGE}), "predictor settings must be finite numbers"),
        (lambda: StudySettings("s", 20, predictor_settings=cast(Any, {"a": "x"})), "predictor settings must be finite numbers"),
        (lambda: StudySettings("s", 20, policy="learned", policy_settings={"risk": HUGE}), "policy_settings must be finite"),
        (lambda: connect("localhost", last_seen(), token="x", deadline_s=HUGE), "deadline_s must be > 0"),
        (lambda: Study(last_seen()).predict([HUGE]), "a value must be within +-1e+100"),
        (lambda: Study(last_seen()).report("a", [0.1], value_to_beat=HUGE), "value_to_beat must be finite"),
        (lambda: Study(last_seen()).report("a", [0.1], configuration={"lr": HUGE}), "lr must be finite"),
    ],
)
def test_an_integer_that_no_float_can_hold_is_not_finite(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says.replace('+', '[+]')}"):
        make()
