"""Brackets against tables written by hand, and the properties that hold for every R and eta."""

import math
from itertools import pairwise
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.hyperband.scheduler.brackets import Bracket, Rung, brackets, fewest_epochs, single_bracket, total_epochs


def rungs(bracket: Bracket) -> list[tuple[int, int]]:
    return [(rung.n_configurations, rung.epochs) for rung in bracket.rungs]


def test_brackets_of_81_by_3() -> None:
    assert [rungs(bracket) for bracket in brackets(81, eta=3)] == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def test_brackets_of_27_by_3() -> None:
    assert [rungs(bracket) for bracket in brackets(27, eta=3)] == [
        [(27, 1), (9, 3), (3, 9), (1, 27)],
        [(12, 3), (4, 9), (1, 27)],
        [(6, 9), (2, 27)],
        [(4, 27)],
    ]


def test_brackets_of_16_by_4() -> None:
    assert [rungs(bracket) for bracket in brackets(16, eta=4)] == [[(16, 1), (4, 4), (1, 16)], [(6, 4), (1, 16)], [(3, 16)]]


def test_epochs_are_rounded_down_when_r_is_not_a_power_of_eta() -> None:
    # 50/9 = 5.6, 50/3 = 16.7; s_max = 3 as 27 <= 50 < 81
    assert [[epochs for _, epochs in rungs(bracket)] for bracket in brackets(50, eta=3)] == [
        [1, 5, 16, 50],
        [5, 16, 50],
        [16, 50],
        [50],
    ]


def test_a_floating_logarithm_would_lose_a_bracket() -> None:
    assert int(log(243) / log(3)) == 4  # it is 5
    assert len(brackets(243, eta=3)) == 6


def test_one_epoch_is_one_bracket() -> None:
    assert brackets(1, eta=3) == (Bracket((Rung(1, 1),)),)


def test_cost_continues_from_checkpoints() -> None:
    # s = 3: 27 x 1 + 9 x (3 - 1) + 3 x (9 - 3) + 1 x (27 - 9) = 81; s = 2: 36 + 24 + 18; s = 1: 54 + 36; s = 0: 108
    assert [bracket.n_epochs for bracket in brackets(27, eta=3)] == [81, 78, 90, 108]
    assert total_epochs(brackets(27, eta=3)) == 357


@pytest.mark.parametrize(
    ("max_epochs", "eta", "message"),
    [(0, 3, "max_epochs must be >= 1, but got 0"), (9, 1, "eta must be >= 2, but got 1")],
)
def test_numbers_that_make_no_sense(max_epochs: int, eta: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        brackets(max_epochs, eta=eta)


@given(max_epochs=st.integers(1, 5000), eta=st.integers(2, 6))
def test_what_holds_for_all_brackets(max_epochs: int, eta: int) -> None:
    plan = brackets(max_epochs, eta=eta)
    s_max = len(plan) - 1
    assert eta**s_max <= max_epochs < eta ** (s_max + 1)
    for bracket, s in zip(plan, range(s_max, -1, -1), strict=True):
        assert bracket.s == s
        n = bracket.n_configurations
        assert (n - 1) * (s + 1) < (s_max + 1) * eta**s <= n * (s + 1)  # n is the ceiling of B/R eta^s / (s + 1)
        assert bracket.rungs[-1].epochs == max_epochs
        assert all(a.epochs < b.epochs for a, b in pairwise(bracket.rungs))
        assert all(b.n_configurations == a.n_configurations // eta for a, b in pairwise(bracket.rungs))
        assert bracket.rungs[0].epochs >= 1
        assert bracket.rungs[-1].n_configurations >= 1


def test_the_fewest_epochs_by_hand() -> None:
    # s = 2: 9 x 1, then ceil(.5 x 1) = 1 of 3 from 1 to 3, then 1 of 1 from 3 to 9. s = 1: 5 x 1, one to 3, one to 9.
    # s = 0: 3 x 1, one to 9.
    assert [fewest_epochs([bracket], kappa=0.5) for bracket in brackets(9, eta=3)] == [9 + 2 + 6, 5 + 2 + 6, 3 + 8]
    assert fewest_epochs(brackets(9, eta=3), kappa=0.5) == 17 + 13 + 11
    assert fewest_epochs(brackets(9, eta=3), kappa=100.0) == total_epochs(brackets(9, eta=3))


def test_the_fewest_epochs_of_four_iterations_by_hand() -> None:
    """What 20 curves forbid; kappa .5. Each product is the configurations that a rung trains on, times its epochs."""
    iterations = [
        # 27 x 1, 9 of 9 to 3 (20 are missing), 3 of 3 to 9, 1 to 27. Then 11 of 12 to 3 (9 + 11 = 20 have reached it), 4 of 4, 1.
        27 + 9 * 2 + 3 * 6 + 18 + 12 + 11 * 2 + 4 * 6 + 18 + 6 + 6 * 8 + 2 * 18 + 4 + 4 * 26,
        # 17 have reached 9: 3 of 3 make 20. 8 have reached 27.
        27 + 2 * 2 + 3 * 6 + 18 + 12 + 2 * 2 + 1 * 6 + 18 + 6 + 1 * 8 + 2 * 18 + 4 + 4 * 26,
        # 16 have reached 27; 20 have before the last bracket.
        27 + 2 * 2 + 1 * 6 + 18 + 12 + 2 * 2 + 1 * 6 + 18 + 6 + 1 * 8 + 2 * 18 + 4 + 1 * 26,
        27 + 2 * 2 + 1 * 6 + 18 + 12 + 2 * 2 + 1 * 6 + 18 + 6 + 1 * 8 + 1 * 18 + 4 + 1 * 26,
    ]
    assert iterations == [355, 265, 175, 157]
    plan = brackets(27, eta=3)
    fewest = [fewest_epochs(plan, kappa=0.5, min_curves=20, n_iterations=n) for n in (1, 2, 3, 4)]
    assert fewest == [355, 355 + 265, 355 + 265 + 175, 355 + 265 + 175 + 157]
    assert fewest_epochs(brackets(9, eta=3), kappa=0.5, min_curves=20) == 69  # 17 configurations: nothing can be stopped


def test_a_single_bracket_by_hand() -> None:
    # 27 configurations cost 27 x 1 + 9 x 2 + 3 x 6 + 1 x 18 = 81 epochs: three full trainings, as the bracket s = 3 of Hyperband.
    assert single_bracket(27, eta=3, budget=3) == brackets(27, eta=3)[0]
    # 20 x 27 = 540 epochs: 188 x 1 + 62 x 2 + 20 x 6 + 6 x 18 = 540; one more configuration costs 541 and more.
    assert single_bracket(27, eta=3, budget=20) == Bracket((Rung(188, 1), Rung(62, 3), Rung(20, 9), Rung(6, 27)))
    # 4 ** 3 = 64 > 27: with eta 4 the first rung has 1 / 16 of the epochs. 5 epochs: 5 / 27 and 5 / 9 are one epoch, 5 / 3 two.
    assert [rung.epochs for rung in single_bracket(100, eta=4, budget=20).rungs] == [6, 25, 100]
    assert [rung.epochs for rung in single_bracket(5, eta=3, budget=20).rungs] == [1, 2, 5]
    # 50 / 27 = 1.85 and 50 / 9 = 5.56 are rounded up, 50 / 3 = 16.67 too.
    assert [rung.epochs for rung in single_bracket(50, eta=3, budget=20).rungs] == [2, 6, 17, 50]


@pytest.mark.parametrize("budget", [2.99, 0, -1, math.nan, math.inf])
def test_a_budget_that_completes_nothing(budget: float) -> None:
    with pytest.raises(ValueError, match="budget must be at least 3 full trainings for one configuration"):
        single_bracket(27, eta=3, budget=budget)


@given(max_epochs=st.integers(1, 500), eta=st.integers(2, 6), budget=st.floats(5.0, 60.0))
def test_a_single_bracket_spends_its_budget(max_epochs: int, eta: int, budget: float) -> None:
    bracket = single_bracket(max_epochs, eta=eta, budget=budget)
    n = bracket.n_configurations
    assert bracket.n_epochs <= budget * max_epochs
    assert [rung.n_configurations for rung in bracket.rungs] == [n // eta**i for i in range(bracket.s + 1)]
    wanted = [max_epochs / eta**k for k in range(bracket.s + 1)]
    assert all(
        abs(rung.epochs - epochs) <= 0.5 or rung.epochs == 1 for rung, epochs in zip(bracket.rungs[::-1], wanted, strict=True)
    )
    assert all(a.epochs < b.epochs for a, b in pairwise(bracket.rungs))
    # One more configuration would cost more than the budget.
    larger = Bracket(tuple(Rung((n + 1) // eta**i, rung.epochs) for i, rung in enumerate(bracket.rungs)))
    assert larger.n_epochs > budget * max_epochs
