"""Rules that promote, by hand and against an independent ASHA; Optuna's pruners on simulated workers."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner

from benchmarks.replay import promoting
from benchmarks.replay.compared_rules import OtherEntry, peers
from benchmarks.replay.optuna_replay import OptunaReplay
from benchmarks.replay.promoting import Make, promoted, scaled_brackets
from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.optuna_pruners import ended_at

Array = npt.NDArray[np.float64]


def search_of(curves: Array) -> CurveSet:
    return CurveSet("drawn", 0, curves, np.arange(len(curves), dtype=float)[:, None], "maximize")


def level(*values: float, epochs: int = 4) -> CurveSet:
    """Trials that have one value at all epochs."""
    return search_of(np.repeat(np.array(values)[:, None], epochs, axis=1))


def crossing(n: int, epochs: int, seed: int) -> CurveSet:
    rng = np.random.default_rng(seed)
    return search_of(rng.normal(0, 1, (n, 1)) * np.linspace(0.1, 1, epochs) + rng.normal(0, 0.3, (n, epochs)))


def epochs_of(search: CurveSet, make: Make, workers: int = 1) -> list[float]:
    ended: list[float] = promoted(search, workers=workers, make=make).ended_at.tolist()
    return ended


def test_promoting_asha_by_hand() -> None:
    make = partial(promoting.asha, share=0.25, eta=2)  # rungs after 1, 2 and 4 epochs
    # Worst first: the second is promoted over the first, then the third over it, then the fourth; each new best goes up.
    assert epochs_of(level(1, 2, 3, 4), make) == [1, 2, 4, 4]
    # Best first: of four in the first rung two are promoted, of two in the second one.
    assert epochs_of(level(4, 3, 2, 1), make) == [4, 2, 1, 1]
    assert promoted(level(1, 2, 3, 4), make=make).time_saved == pytest.approx(1 - 11 / 16)


def test_promoting_asha_on_four_workers_by_hand() -> None:
    make, durations = partial(promoting.asha, share=0.25, eta=2), np.array([1.3, 1.2, 1.1, 1.0])
    # Epoch 1 ends at 1, 1.1, 1.2 and 1.3. The fourth is the best of the four at any time, the third the second best.
    run = promoted(level(1, 2, 3, 4), workers=4, durations=durations, make=make)
    # At 1.1 the fourth goes on to epoch 2, at 1.3 the third. At 2.1 the fourth is alone there: it waits until 2.4.
    assert run.ended_at.tolist() == [1, 1, 2, 4]
    assert run.time_saved == pytest.approx(1 - (1.3 + 1.1 + 2 * 1.0) / (4 * 1.3))


def independent_asha(curves: Array, rungs: list[int], eta: int) -> list[float]:
    """Li et al. 2020, Algorithm 2, with one worker; rungs: the last is the end."""
    values: list[dict[int, float]] = [{} for _ in rungs]
    gone: list[set[int]] = [set() for _ in rungs]
    ended, n_drawn = np.zeros(len(curves)), 0

    def promotable(k: int, least: int = 0) -> int | None:
        best = sorted(values[k], key=lambda trial: -values[k][trial])[: max(len(values[k]) // eta, least)]
        return next((trial for trial in best if trial not in gone[k]), None)

    def next_job() -> tuple[int, int] | None:
        nonlocal n_drawn
        for k in reversed(range(len(rungs) - 1)):
            if (trial := promotable(k)) is not None:
                gone[k].add(trial)
                return trial, k + 1
        if n_drawn < len(curves):
            n_drawn += 1
            return n_drawn - 1, 0
        for k in range(len(rungs) - 1):  # the best of a rung that is over is promoted in any case
            if not gone[k] and (trial := promotable(k, least=1)) is not None:
                gone[k].add(trial)
                return trial, k + 1
        return None

    while (job := next_job()) is not None:
        trial, k = job
        values[k][trial] = curves[trial, rungs[k] - 1]
        ended[trial] = rungs[k]
    found: list[float] = ended.tolist()
    return found


@pytest.mark.parametrize(
    ("n", "share", "eta", "rungs"), [(60, 0.1, 3, [2, 6, 18, 20]), (60, 0.25, 2, [5, 10, 20]), (7, 0.1, 4, [2, 8, 20])]
)
def test_promoting_asha_is_the_papers(n: int, share: float, eta: int, rungs: list[int]) -> None:
    for seed in range(5):
        search = crossing(n, 20, seed)
        expected = independent_asha(search.curves, rungs, eta)
        assert epochs_of(search, partial(promoting.asha, share=share, eta=eta)) == expected
        assert 20 in expected


def test_pasha_goes_no_further_than_ranks_change() -> None:
    make = partial(promoting.pasha, share=0.25, eta=2)  # rungs after 1, 2, 4 and 8 epochs
    steady = level(*range(1, 17), epochs=4)
    # Nothing crosses: the second rung, at epoch 2, stays the top one, and its best trial trains to the end.
    ended = epochs_of(steady, make)
    assert ended[-1] == 4
    assert max(ended[:-1]) == 2
    # The first two that reach the second rung change places there: the third rung opens, as in ASHA.
    curves = steady.curves.copy()
    curves[1, 1] = 99.0
    assert epochs_of(search_of(curves), make) == epochs_of(search_of(curves), partial(promoting.asha, share=0.25, eta=2))


def test_small_differences_rank_alike_once_curves_cross_twice() -> None:
    twice = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.9], [1.0, 0.0, 0.0]])
    assert promoting.crossing_difference(twice, 7.0) == pytest.approx(0.1)
    assert promoting.crossing_difference(twice[:, 1:], 7.0) == 7.0  # crossed once
    before, now = np.array([0.5, 0.6]), np.array([2.0, 1.0])
    assert [promoting.ranks_alike(now, before, epsilon) for epsilon in (0.0, 0.09, 0.11)] == [False, False, True]


def test_hyperbands_brackets_take_all_trials_and_wait_for_their_rungs() -> None:
    for n in (1, 5, 60, 100):
        assert sum(bracket.n_configurations for bracket in scaled_brackets(n, 100, eta=3)) == n
    # Hyperband for 4 epochs has 4, 3 and 3 trials from epoch 1, 2 and 4 on.
    make = partial(promoting.hyperband, eta=2)
    assert epochs_of(level(1, 2, 3, 4, 3, 2, 1, 5, 6, 7), make) == [1, 1, 2, 4, 4, 2, 2, 4, 4, 4]
    run = promoted(level(1, 2, 3, 4, 3, 2, 1, 5, 6, 7), workers=4, make=make)
    # The rungs end at 1, 2, 4; 6, 8; 12. All ten trials to the end take 12: four, four and two at once.
    assert run.time_saved == pytest.approx(1 - 12 / 12)


@pytest.mark.parametrize(
    "pruner",
    [MedianPruner, SuccessiveHalvingPruner, partial(HyperbandPruner, max_resource=12)],
    ids=["median", "halving", "hyperband"],
)
def test_one_worker_prunes_as_a_loop_does(pruner: type[BasePruner]) -> None:
    search = crossing(40, 12, seed=1)
    run = OptunaReplay(search, make=lambda max_epochs: pruner())
    assert run.ended_at.tolist() == ended_at(search, pruner()).tolist()
    assert run.time_saved == pytest.approx(1 - run.ended_at.sum() / search.curves.size)


def test_with_many_workers_a_median_has_nothing_to_compare_with() -> None:
    search = crossing(40, 12, seed=1)
    assert (OptunaReplay(search, workers=40, make=lambda max_epochs: MedianPruner()).ended_at == 12).all()


def test_all_that_is_compared_has_a_name_of_its_own_and_replays_a_search() -> None:
    labels = [entry.label for entry in peers()]
    assert len(set(labels)) == len(labels)
    search = crossing(20, 10, seed=2)
    for entry in peers():
        if isinstance(entry, OtherEntry):
            run = entry.replays(search, workers=8, durations=np.linspace(0.5, 2, 20))
            assert ((run.ended_at >= 1) & (run.ended_at <= 10)).all()
            assert (run.ended_at == 10).any()
