"""Regressors: closed forms against refitting, the thesis's search against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curvestop.srm.regression.regressors import REGRESSORS, KernelRidge, OrdinaryLeastSquares, Scaler


def problem(n: int = 30, p: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, p))
    return rows, rows @ np.arange(1, p + 1) + 0.1 * rng.normal(size=n)


def test_least_squares_leave_one_out_equals_refitting() -> None:
    rows, target = problem()
    errors = []
    for i in range(len(rows)):
        keep = np.arange(len(rows)) != i
        errors.append(target[i] - OrdinaryLeastSquares().fit(rows[keep], target[keep]).predict(rows[[i]])[0])
    assert OrdinaryLeastSquares().fit(rows, target).sigma_ == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)


def test_kernel_ridge_is_the_solution_of_its_equations() -> None:
    """Against K alpha + ridge alpha + offset = y, sum(alpha) = 0, solved as one linear system."""
    rows, target = problem()
    fitted = KernelRidge().fit(rows, target)
    z, y = (rows - rows.mean(axis=0)) / rows.std(axis=0), (target - target.mean()) / target.std()
    kernel = np.exp(-fitted.gamma_ * ((z[:, None] - z) ** 2).sum(axis=2))
    n = len(y)
    system = np.block([[kernel + fitted.ridge_ * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solved = np.linalg.solve(system, np.append(y, 0.0))
    expected = (kernel @ solved[:-1] + solved[-1]) * target.std() + target.mean()
    assert fitted.predict(rows) == pytest.approx(expected, rel=1e-6)


def test_kernel_ridge_leave_one_out_equals_solving_without_the_row() -> None:
    rows, target = problem(12)
    fitted = KernelRidge().fit(rows, target)
    z, y = (rows - rows.mean(axis=0)) / rows.std(axis=0), (target - target.mean()) / target.std()
    kernel = np.exp(-fitted.gamma_ * ((z[:, None] - z) ** 2).sum(axis=2))
    errors = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        left = np.block(
            [[kernel[np.ix_(rest, rest)] + fitted.ridge_ * np.eye(11), np.ones((11, 1))], [np.ones((1, 11)), np.zeros((1, 1))]]
        )
        solved = np.linalg.solve(left, np.append(y[rest], 0.0))
        errors.append(y[i] - kernel[i, rest] @ solved[:-1] - solved[-1])
    assert fitted.sigma_ == pytest.approx(np.sqrt(np.mean(np.square(errors))) * target.std(), rel=1e-6)


def test_columns_of_any_size_are_standardized_by_hand() -> None:
    rows = np.array([[0.0, 1e-20, 1e300, 0.3], [0.0, 3e-20, -1e300, 0.3]])
    scaler = Scaler.of(rows)
    assert scaler.mean == pytest.approx([0.0, 2e-20, 0.0, 0.3], rel=1e-12, abs=0.0)
    assert scaler.scale == pytest.approx([np.inf, 1e-20, 1e300, np.inf], rel=1e-12, abs=0.0)
    assert scaler(rows) == pytest.approx(np.array([[0.0, -1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("name", sorted(REGRESSORS))
def test_constant_column_changes_nothing(name: str) -> None:
    rows, target = problem()
    constant = np.full((len(rows), 1), 0.1)
    plain = REGRESSORS[name]().fit(rows, target)
    padded = REGRESSORS[name]().fit(np.hstack([rows, constant]), target)
    assert padded.predict(np.hstack([rows, constant])) == pytest.approx(plain.predict(rows), rel=1e-6)


@pytest.mark.parametrize("name", ["nu-svr", "nu-svr-linear", "kernel-ridge"])
def test_learns_a_linear_function(name: str) -> None:
    rows, target = problem(60)
    test_rows, test_target = problem(200, seed=1)
    predicted = REGRESSORS[name]().fit(rows, target).predict(test_rows)
    assert 1 - np.sum((predicted - test_target) ** 2) / np.sum((test_target - test_target.mean()) ** 2) > 0.95


@pytest.mark.parametrize("name", sorted(REGRESSORS))
def test_metric_may_be_rescaled(name: str) -> None:
    rows, target = problem()
    plain = REGRESSORS[name]().fit(rows, target)
    rescaled = REGRESSORS[name]().fit(rows, 1e-6 * target - 3e-6)
    assert rescaled.predict(rows) == pytest.approx(1e-6 * plain.predict(rows) - 3e-6, rel=1e-3, abs=1e-10)
    assert rescaled.sigma_ == pytest.approx(1e-6 * plain.sigma_, rel=1e-2)


@settings(max_examples=15, deadline=None)
@given(data=arrays(float, (9, 3), elements=st.floats(-1e100, 1e100)))
@pytest.mark.parametrize("name", sorted(REGRESSORS))
def test_any_finite_numbers_give_finite_answers(name: str, data: np.ndarray) -> None:
    regressor = REGRESSORS[name]().fit(data[:, :2], data[:, 2])
    assert np.isfinite(regressor.predict(data[:, :2])).all()
    assert 0 <= regressor.sigma_ < np.inf


def test_scaler_makes_a_column_that_differs_by_rounding_only_zero() -> None:
    rows = np.array([[0.1 + 0.2], [0.3], [0.3]])
    assert Scaler.of(rows)(rows).tolist() == [[0.0], [0.0], [0.0]]
