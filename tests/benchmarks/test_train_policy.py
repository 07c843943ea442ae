"""Training of the learned policy: its pieces by hand, and the whole command on tiny sets, twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.replay import train_policy
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.search_scores import Scores
from benchmarks.replay.search_set import SearchSet, domain_of
from benchmarks.replay.shuffled_study import Models
from benchmarks.replay.train_policy import (
    LEFT_OUT,
    THRESHOLDS,
    Cases,
    at_threshold,
    cases_of,
    fit,
    isotonic,
    lost_by_threshold,
    tasks,
    thresholds_for,
)
from curvestop.srm.policies.boosted_trees import BoostedTrees
from curvestop.srm.policies.learned import Coefficients, shipped_coefficients
from curvestop.srm.policies.trial_features import FEATURES
from tests.benchmarks.test_replay import curves_of, save_small_set


def drawn_set(name: str, n: int = 30) -> SearchSet:
    return SearchSet(name, domain_of(name), curves_of(n, 12, seed=n), np.random.default_rng(n).normal(size=(n, 2)))


def test_domains() -> None:
    assert [domain_of(n) for n in ("fmnist-vae", "deepobs-fmnist-vae", "deepobs-fmnist-2c2d", "resnet-cifar10")] == [
        "fmnist",
        "deepobs-vae",
        "deepobs-image",
        "baker-resnet",
    ]


def test_a_fit_finds_the_coefficients_that_drew_the_labels() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=40_000), rng.uniform(0, 10, 40_000), np.ones(40_000)])
    odds = -1 + 2 * features[:, 0] - 0.3 * features[:, 1]
    label = (rng.random(40_000) < 1 / (1 + np.exp(-odds))).astype(float)
    regression = fit(features, label, np.ones(40_000))
    assert regression.weights == pytest.approx((2, -0.3, 0), rel=0.1)  # the ridge makes them a little smaller
    assert regression.intercept == pytest.approx(-1, rel=0.1)


def test_grown_trees_are_those_of_the_library() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, len(FEATURES))).round(2)  # thresholds between them have few digits, as in the file
    features[:, 3] = 0.5  # nothing to ask about
    label = (rng.random(4000) < 1 / (1 + np.exp(2 - 2 * (features[:, 0] > 0) * features[:, 1]))).astype(float)
    weights = rng.uniform(0.5, 1.5, 4000)
    ours = train_policy.grow(features, label, weights)
    library = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_depth=3,
        max_leaf_nodes=None,
        min_samples_leaf=200,
        l2_regularization=10,
        early_stopping=False,
    ).fit(features, label, sample_weight=weights / weights.mean())
    expected = library.predict_proba(features[:50])[:, 1]
    assert [ours.chance(row) for row in features[:50].tolist()] == pytest.approx(expected.tolist(), rel=1e-3)
    assert BoostedTrees.from_json(json.loads(json.dumps(ours.as_json()))) == ours


def test_domains_weigh_the_same() -> None:
    cases = Cases(
        features=np.zeros((6, 16), np.float32),
        has_model=np.zeros(6, bool),
        label=np.zeros(6),
        group=np.array([0, 0, 0, 0, 1, 2]),  # four cases of one search, one of another, one of another domain
        domain=np.array(["a"] * 5 + ["b"]),
    )
    # Four cases of a group weigh 1 / 2 each, a single one 1; the domain's sum, 3, becomes 1.
    assert cases.weights.tolist() == pytest.approx([1 / 6] * 4 + [1 / 3, 1])


def test_shares_do_not_fall() -> None:
    assert isotonic(np.array([0.0, 0.2, 0.1, 0.3])).tolist() == pytest.approx([0.0, 0.15, 0.15, 0.3])


def test_a_threshold_loses_what_was_stated() -> None:
    lost = np.array([0.0, 0.0, 0.01, 0.03, 0.02, 0.05, 0.1, 0.2, 0.4])  # .03 and .02 count as .025 both
    found = thresholds_for(lost, [0.01, 0.025, 0.0375, 0.1, 0.8])
    assert found[0.01] == pytest.approx(THRESHOLDS[2], rel=0.01)
    assert found[0.025] == pytest.approx(THRESHOLDS[4], rel=0.01)  # the boldest that loses no more
    assert found[0.0375] == pytest.approx(math.sqrt(THRESHOLDS[4] * THRESHOLDS[5]), rel=0.01)
    assert found[0.1] == pytest.approx(THRESHOLDS[6], rel=0.01)
    assert found[0.8] == pytest.approx(2 * THRESHOLDS[8], rel=0.01)  # beyond what was replayed: in proportion


def test_a_threshold_below_all_that_were_replayed() -> None:
    lost = np.linspace(0.02, 0.18, 9)
    assert thresholds_for(lost, [0.01])[0.01] == pytest.approx(THRESHOLDS[0] / 2, rel=0.01)


def test_where_nothing_is_lost_nothing_bolder_is_chosen() -> None:
    assert thresholds_for(np.zeros(9), [0.1])[0.1] == pytest.approx(THRESHOLDS[8], rel=0.01)


def test_a_threshold_is_taken_as_it_is() -> None:
    # After no epochs and beside as many others as the reference only the experience counts: 20 / (20 + 20).
    assert at_threshold(shipped_coefficients(), 0.004).threshold(0.0, 30, 20) == pytest.approx(0.002)


def test_thresholds_are_replayed_until_the_best_is_kept() -> None:
    searches, known = drawn_set("one-a"), {"one": shipped_coefficients()}
    search = searches.search(0, 30)
    policies = [at_threshold(shipped_coefficients(), threshold) for threshold in THRESHOLDS]
    every = [Scores.of(search, SearchReplay(search, policy, models=Models(search)).ended_at).best_lost for policy in policies]
    assert lost_by_threshold((searches, 30, 0), known) == every


def test_searches_of_a_round() -> None:
    found = tasks([drawn_set("one-a")], None, seed=0, repeats=2, sizes=(20, 60), workers=(1, 1, 8))
    assert [task.n_trials for task in found] == [20] * 6 + [30] * 6  # no larger than the set, twice, three workers
    assert [task.group for task in found[:6]] == [0, 0, 1] * 2
    assert len({task.seed for task in found}) == len(found)


def test_relatives_of_a_set() -> None:
    searches = SearchSet("one-a", "one", np.arange(6 * 20.0).reshape(6, 20)[[3, 0, 5, 1, 4, 2]], np.array([[3, 0, 5, 1, 4, 2]]).T)
    assert searches.shorter().scores[:, -1].tolist() == [69, 9, 109, 29, 89, 49]  # after 10 epochs of 20
    better = searches.better_half()
    assert better.configurations.ravel().tolist() == [3, 5, 4]  # in the order that they had
    assert better.scores[:, -1].tolist() == [79, 119, 99]


def test_a_set_too_small_has_no_relatives() -> None:
    short, long = drawn_set("one-a", 60), SearchSet("two-a", "two", np.zeros((30, 40)), np.zeros((30, 1)))
    assert [(s.name, s.scores.shape) for s in train_policy.relatives([short, long])] == [("one-a", (30, 12)), ("two-a", (30, 20))]


def test_cases_of_a_search() -> None:
    (task,) = tasks([drawn_set("one-a")], None, seed=0, repeats=1, sizes=(30,), workers=(1,))
    cases = cases_of(task)
    assert cases.features.shape == (len(cases.label), len(FEATURES))
    assert np.isfinite(cases.features).all()
    assert 0 < cases.label.mean() < 0.5
    assert set(cases.domain.tolist()) == {"one"}
    assert (cases.features[cases.has_model, FEATURES.index("log_complete")] >= np.float32(math.log1p(8))).all()


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    save_small_set(tmp_path, 30, 12)
    (tmp_path / "one.npz").rename(tmp_path / "one_a.npz")
    save_small_set(tmp_path, 24, 10)
    (tmp_path / "one.npz").rename(tmp_path / "two_a.npz")
    texts = []
    for attempt in ("1", "2"):
        out, left_out = tmp_path / attempt / "all.json", tmp_path / attempt / "left_out.json"
        files = ["--out", str(out), "--left-out", str(left_out)]
        train_policy.main(["--data", str(tmp_path), "--repeats", "1", "--orders", "1", "--jobs", attempt, *files])
        texts.append((out.read_bytes(), left_out.read_bytes()))
    assert texts[0] == texts[1]
    stored = json.loads(texts[0][0])
    assert Coefficients.from_json(stored).with_model.weights == tuple(stored["with_model"]["weights"].values())
    assert set(json.loads(texts[0][1])) == {"one", "two"}


def test_left_out_coefficients_are_there_for_every_domain() -> None:
    stored = json.loads(LEFT_OUT.read_text())
    assert len(stored) == 14
    assert all(Coefficients.from_json(one).thresholds == shipped_coefficients().thresholds for one in stored.values())
