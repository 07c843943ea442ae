"""nu-SVR: the solver against scikit-learn and its own optimality conditions, the shortcuts against doing it the long way."""

import importlib.util
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.svm import NuSVR

from curvestop.srm.regression.features import Array, curve_features
from curvestop.srm.regression.kernel_expansion import KERNELS, Expansion
from curvestop.srm.regression.nu_svr import Candidate, Fold, NuSVRRegressor, draw_candidates, draw_folds, search
from curvestop.srm.regression.nu_svr_solver import Engine, definite, dual_without, engine, many_fits
from curvestop.srm.regression.standardize import Scaler

numba_installed = importlib.util.find_spec("numba") is not None
ENGINES = [
    pytest.param(False, id="numpy"),
    pytest.param(True, id="numba", marks=pytest.mark.skipif(not numba_installed, reason="the extra `fast` is not installed")),
]


def problem(seed: int, n: int = 30, p: int = 4, noise: float = 0.2) -> tuple[Array, Array]:
    """Standardised rows and a smooth target."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, p))
    target = rows[:, 0] + np.sin(2 * rows[:, 1]) + noise * rng.normal(size=n)
    return Scaler.of(rows)(rows), Scaler.of(target)(target)


def gram(rows: Array, gamma: float, kernel: str = "rbf") -> Array:
    return definite(KERNELS[kernel].value(KERNELS[kernel].base(rows, rows), gamma))


def solve(solver: Engine, matrix: Array, target: Array, candidate: Candidate) -> tuple[Array, float]:
    with many_fits():
        return solver.solve(matrix, target, C=candidate.C, nu=candidate.nu)


def wide_candidates(n: int, seed: int) -> list[Candidate]:
    """Candidates of which most have something to learn: C from 0.01 on."""
    rng = np.random.default_rng(seed)
    return [Candidate(10 ** rng.uniform(-2, 1), 1.0 - rng.uniform(), 10 ** rng.uniform(-4, 1)) for _ in range(n)]


def violation(matrix: Array, target: Array, candidate: Candidate, dual: Array, offset: float) -> float:
    """How far a dual and its offset are from optimality: the conditions written out as in the solver's module."""
    C, total = candidate.C, candidate.C * candidate.nu * len(target)
    error = target - matrix @ dual - offset
    between = (np.abs(dual) > 1e-9 * C) & (np.abs(dual) < (1 - 1e-9) * C)
    assert between.any()
    width = np.abs(error[between]).mean() if np.abs(dual).sum() > total * (1 - 1e-9) else 0.0
    apart = [abs(dual.sum()), np.abs(dual).max() - C, np.abs(dual).sum() - total]
    apart += list(np.abs(error[between] - width * np.sign(dual[between])))
    apart += list(np.abs(error[np.abs(dual) <= 1e-9 * C]) - width)
    apart += list(width - (np.sign(dual) * error)[np.abs(dual) >= (1 - 1e-9) * C])
    return float(max(apart))


@pytest.mark.parametrize("compiled", ENGINES)
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_solutions_are_optimal_to_rounding(compiled: bool, kernel: str) -> None:
    for seed, candidate in enumerate(wide_candidates(25, 0)):
        rows, target = problem(seed)
        matrix = gram(rows, candidate.gamma, kernel)
        assert violation(matrix, target, candidate, *solve(engine(compiled), matrix, target, candidate)) < 1e-8


@pytest.mark.parametrize("compiled", ENGINES)
def test_predictions_are_those_of_scikit_learn(compiled: bool) -> None:
    rows, target = problem(1, n=60)
    new, _ = problem(2, n=20)
    for candidate in wide_candidates(20, 3):
        reference = NuSVR(C=candidate.C, nu=candidate.nu, gamma=candidate.gamma, tol=1e-9).fit(rows, target)
        # libsvm keeps kernel values in single precision while it trains: with those its answer is ours.
        single = gram(rows, candidate.gamma).astype(np.float32).astype(float)
        for matrix, tolerance in ((single, 1e-7), (gram(rows, candidate.gamma), 2e-5)):
            dual, offset = solve(engine(compiled), matrix, target, candidate)
            predicted = KERNELS["rbf"].value(KERNELS["rbf"].base(new, rows), candidate.gamma) @ dual + offset
            assert predicted == pytest.approx(reference.predict(new), abs=tolerance)


@pytest.mark.skipif(not numba_installed, reason="the extra `fast` is not installed")
def test_both_engines_give_the_same_solution() -> None:
    for seed, candidate in enumerate(wide_candidates(20, 5)):
        rows, target = problem(seed)
        matrix = gram(rows, candidate.gamma)
        (dual, offset), (other, other_offset) = (solve(engine(c), matrix, target, candidate) for c in (True, False))
        assert matrix @ dual + offset == pytest.approx(matrix @ other + other_offset, abs=1e-9)


@pytest.mark.parametrize("compiled", ENGINES)
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_leave_one_out_is_what_refitting_gives(compiled: bool, kernel: str) -> None:
    solver = engine(compiled)
    for seed, candidate in enumerate([*wide_candidates(8, 7), Candidate(1.0, 1.0, 0.5), Candidate(0.02, 0.99, 0.1)]):
        rows, target = problem(seed, n=20 + seed % 2)
        matrix = gram(rows, candidate.gamma, kernel)
        with many_fits():
            residuals = solver.leave_one_out(matrix, target, C=candidate.C, nu=candidate.nu)
        for i in range(len(target)):
            keep = np.arange(len(target)) != i
            dual, offset = solve(solver, matrix[np.ix_(keep, keep)], target[keep], candidate)
            assert residuals[i] == pytest.approx(target[i] - matrix[i, keep] @ dual - offset, abs=1e-7)


def full_search(candidates: list[Candidate], folds: list[Fold], kernel: str, solver: Engine) -> Candidate:
    return max(candidates, key=lambda c: sum(fold.r2(c, KERNELS[kernel], solver) for fold in folds))  # the first of equals


def test_pruned_search_finds_what_the_full_search_finds() -> None:
    """On 50 random problems, pure noise and doubled candidates among them."""
    solver = engine()
    for seed in range(50):
        rows, target = problem(seed, n=24, noise=[0.1, 1.0, 30.0][seed % 3])
        kernel = "linear" if seed % 10 == 9 else "rbf"
        base = KERNELS[kernel].base(rows, rows)
        rng = np.random.default_rng(seed)
        folds = [Fold.of(base, target, held_out) for held_out in draw_folds(len(target), rng)]
        candidates = draw_candidates(40, rng) * 2
        with many_fits():
            found, expected = search(candidates, folds, KERNELS[kernel], solver), full_search(candidates, folds, kernel, solver)
        assert found is expected


def test_bounds_of_a_fold_hold_and_rule_something_out() -> None:
    rows, target = problem(0, n=40)
    base = KERNELS["rbf"].base(rows, rows)
    fold = Fold.of(base, target, np.arange(13))
    candidates = draw_candidates(200, np.random.default_rng(0))
    bounds = fold.r2_bounds(candidates, KERNELS["rbf"])
    with many_fits():
        scores = np.array([fold.r2(c, KERNELS["rbf"], engine()) for c in candidates])
    assert (scores <= bounds).all()
    assert (bounds < scores.max()).mean() > 0.5


def test_the_bound_is_reached_where_all_that_can_be_explained_is() -> None:
    """Two points at distance 2, half of the rows at each, targets -1 and 1: f(x) - offset = +-S (1 - exp(-4 gamma))."""
    rows = np.repeat([[-1.0], [1.0]], 12, axis=0)
    target = rows[:, 0].copy()
    fold = Fold.of(KERNELS["rbf"].base(rows, rows), target, np.r_[0:4, 12:16])  # 16 rows are left: S = 8 C nu
    candidates = [Candidate(C, nu, gamma) for C in (1e-3, 0.1) for nu in (0.3, 1.0) for gamma in (0.1, 1.0)]
    bounds = fold.r2_bounds(candidates, KERNELS["rbf"])
    for candidate, bound in zip(candidates, bounds, strict=True):
        explained = min(1.0, 8 * candidate.C * candidate.nu * (1 - np.exp(-4 * candidate.gamma)))
        assert bound == pytest.approx(1 - (1 - explained) ** 2, abs=1e-6)
        with many_fits():
            assert fold.r2(candidate, KERNELS["rbf"], engine()) == pytest.approx(bound, abs=1e-6)


def test_equal_candidates_lose_to_the_first_drawn() -> None:
    rows, _ = problem(0, n=12)
    base = KERNELS["rbf"].base(rows, rows)
    folds = [Fold.of(base, np.zeros(12), held_out) for held_out in draw_folds(12, np.random.default_rng(0))]
    candidates = [Candidate(0.1, 0.5, 0.1), Candidate(10.0, 0.5, 0.1), Candidate(0.1, 0.5, 0.1)]
    assert search(candidates, folds, KERNELS["rbf"], engine()) is candidates[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    rows, target = problem(seed, noise=2.0)
    order = np.random.default_rng(seed).permutation(len(target))
    fitted, shuffled = NuSVRRegressor().fit(rows, target), NuSVRRegressor().fit(rows[order], target[order])
    assert shuffled.best_ == fitted.best_
    assert shuffled.sigma_ == fitted.sigma_
    assert shuffled.predict(rows).tolist() == fitted.predict(rows).tolist()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
def test_the_metric_may_be_rescaled(scale: float, shift: float) -> None:
    rows, target = problem(6)
    plain = NuSVRRegressor(n_candidates=30).fit(rows, target)
    rescaled = NuSVRRegressor(n_candidates=30).fit(rows, scale * target + scale * shift)
    assert rescaled.best_ == plain.best_
    assert rescaled.predict(rows) / scale - shift == pytest.approx(plain.predict(rows), abs=1e-6)
    assert rescaled.sigma_ == pytest.approx(scale * plain.sigma_, rel=1e-6)


def test_a_constant_feature_changes_nothing() -> None:
    rows, target = problem(8)
    padded = np.hstack([rows, np.full((len(rows), 1), 0.1)])
    plain, other = NuSVRRegressor().fit(rows, target), NuSVRRegressor().fit(padded, target)
    assert other.best_ == plain.best_
    assert other.predict(padded) == pytest.approx(plain.predict(rows), abs=1e-9)


def test_refit_keeps_the_settings_and_leaves_the_old_one_as_it_was() -> None:
    rows, target = problem(9, n=40)
    old = NuSVRRegressor(seed=3).fit(rows[:30], target[:30])
    before = old.predict(rows)
    new = old.refit(rows, target)
    assert new.best_ == old.best_
    assert old.predict(rows).tolist() == before.tolist()
    reference = NuSVR(C=new.best_.C, nu=new.best_.nu, gamma=new.best_.gamma, tol=1e-8)
    scaler, unit = Scaler.of(rows), Scaler.of(target)
    expected = reference.fit(scaler(rows), unit(target)).predict(scaler(rows))
    assert unit(new.predict(rows)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("tau", [1, 2, 6])
def test_a_query_through_the_linear_map_gives_the_prediction(kernel: str, tau: int) -> None:
    rng = np.random.default_rng(tau)
    rows = np.hstack([rng.normal(size=(40, tau)).cumsum(axis=1) + 70, 10 ** rng.uniform(-4, 0, size=(40, 2))])

    def features(v: Array) -> Array:
        return np.hstack([curve_features(v[:, :tau]), v[:, tau:]])

    target = 1e3 * rows[:, tau - 1] + rng.normal(size=40)
    regressor = NuSVRRegressor(kernel=kernel, n_candidates=20).fit(features(rows), target)  # type: ignore[arg-type]
    query = regressor.as_query(features(np.eye(tau + 2)), rows.mean(axis=0))
    assert query(rows) == pytest.approx(regressor.predict(features(rows)), abs=1e-10 * target.std())
    assert query(rows[3:4]) == pytest.approx(query(rows)[3:4], rel=1e-12)


def test_an_expansion_predicts_as_scikit_learn_does() -> None:
    rows, target = problem(11, n=50)
    model = NuSVR(gamma=0.3, C=2.0).fit(rows, target)
    scaler = Scaler(np.zeros(4), np.ones(4))
    unit = Scaler(np.float64(0.0), np.float64(1.0))  # type: ignore[arg-type]
    same = Expansion("rbf", 0.3, model.support_vectors_, model.dual_coef_[0], float(model.intercept_[0]), scaler, unit)
    new, _ = problem(12)
    assert same(new) == pytest.approx(model.predict(new), abs=1e-10)
    assert same.as_query(np.eye(4), np.zeros(4))(new) == pytest.approx(model.predict(new), abs=1e-10)


def test_the_start_without_a_row_is_feasible() -> None:
    residual = np.linspace(-1, 1, 5)
    shared = dual_without(np.array([1.0, 0.5, 0.5, -1.0, -1.0]), 0, residual, 1.0)
    assert shared.tolist() == [0.0, 1.0, 1.0, -1.0, -1.0]
    in_proportion = dual_without(np.array([0.6, 0.8, 0.2, -1.0, -0.6]), 0, residual, 1.0)
    assert in_proportion == pytest.approx([0.0, 0.92, 0.68, -1.0, -0.6])  # they can take 0.2 and 0.8, 0.6 of which is needed
    entered = dual_without(np.array([-1.0, 0.0, 0.0, 0.0, 1.0]), 4, residual, 1.0)
    assert entered.tolist() == [-1.0, 0.0, 0.0, 1.0, 0.0]  # the row whose residual is nearest to that side
    shrunk = dual_without(np.array([1.0, 0.5, -0.5, -0.5, -0.5]), 0, residual, 1.0)
    assert shrunk == pytest.approx([0.0, 1.0, -1 / 3, -1 / 3, -1 / 3])  # nobody left to enter: the other side gives way


ANY = st.floats(allow_nan=False, allow_infinity=False)
FEW = st.sampled_from([0.0, 1.0, 1.0 + 1e-15, -1.0, 1e-300, 1e300, -1.7e308, 5e-324])


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@settings(max_examples=40, deadline=None)
@given(data=arrays(float, st.tuples(st.integers(6, 14), st.just(3)), elements=ANY | FEW), seed=st.integers(0, 99))
def test_finite_numbers_give_finite_answers_in_no_long_time(kernel: str, data: Array, seed: int) -> None:
    begin = time.monotonic()
    regressor = NuSVRRegressor(kernel=kernel, n_candidates=4, seed=seed).fit(data[:, :2], data[:, 2])  # type: ignore[arg-type]
    assert np.isfinite(regressor.predict(data[:, :2])).all()
    assert np.isfinite(regressor.predict(data[::-1, :2] * 0.5)).all()
    assert 0 <= regressor.sigma_ < np.inf
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("compiled", ENGINES)
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_awkward_rows_are_solved(compiled: bool, kernel: str) -> None:
    """Duplicated rows with equal and unequal targets, few levels, one outlier, nothing at all: always an optimum."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(6, 2)), 4, axis=0)
    levels, outlier = rng.integers(0, 2, 24).astype(float), np.r_[np.zeros(23), 1.0]
    extremes = [Candidate(1e-5, 1.0, 1.0), Candidate(10.0, 1e-9, 1.0), Candidate(10.0, 0.5, 1e-5)]
    for target in (np.repeat(rng.normal(size=6), 4), rng.normal(size=24), levels, outlier, np.zeros(24)):
        for candidate in (*wide_candidates(6, 1), *extremes):
            matrix = gram(Scaler.of(rows)(rows), candidate.gamma, kernel)
            dual, offset = solve(engine(compiled), matrix, target, candidate)
            assert np.isfinite(dual).all()
            assert np.isfinite(offset)
            assert abs(dual.sum()) <= 1e-9
            assert np.abs(dual).max() <= candidate.C * (1 + 1e-9)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"n_candidates must be in 1\.\.10000, but got n_candidates=0"):
        NuSVRRegressor(n_candidates=0)
    with pytest.raises(ValueError, match="kernel must be one of rbf, linear"):
        NuSVRRegressor(kernel="poly")  # type: ignore[arg-type]
