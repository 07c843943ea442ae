"""The registry has every regressor, and loads what a predictor needs only when one is made or fitted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from curvestop.srm.predictors.registry import PREDICTORS, REGRESSOR_NAMES, SLOW_PREDICTORS
from curvestop.srm.regression.regressors import REGRESSORS

HEAVY = ("sklearn", "torch", "emcee", "numba", "scipy.optimize", "scipy.stats", "scipy.special")


def loaded_after(code: str) -> set[str]:
    """Names of HEAVY that a new interpreter has loaded after this code."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


def test_every_regressor_is_a_predictor() -> None:
    assert set(REGRESSOR_NAMES) == set(REGRESSORS)
    assert set(REGRESSOR_NAMES) | SLOW_PREDICTORS <= set(PREDICTORS)


@pytest.mark.parametrize("name", ["stacked", "last-seen", "ols", "nu-svr"])
def test_a_predictor_is_made_without_what_only_fits_need(name: str) -> None:
    assert loaded_after(f"from curvestop.srm.predictors.registry import PREDICTORS\nPREDICTORS[{name!r}]()") == set()


def test_a_setting_that_a_predictor_does_not_have_is_an_error_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="n_candidates"):
        PREDICTORS["stacked"](n_candidates=3)
    with pytest.raises(ValueError, match=r"n_candidates must be in 1\.\.10000"):
        PREDICTORS["nu-svr"](n_candidates=0)
