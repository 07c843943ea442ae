"""Training sets that the default predictor is tried on: what is cut, completed and taken along."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import CurveSet
from benchmarks.predict_training import VARIANTS, completed, cut, run
from benchmarks.scoring import Split
from tests.contracts_predictor import saturating_curves

LENGTH = 12


def curve_set(name: str = "small", seed: int = 0) -> CurveSet:
    curves = saturating_curves(58, length=LENGTH, seed=seed)
    rows = np.array([[c.configuration["lr"], c.configuration["width"]] for c in curves], dtype=float)
    return CurveSet(name, np.array([c.values for c in curves]), rows, ("lr", "width"), "maximise", {})


def split() -> Split:
    return Split.of(curve_set().learning_curves(), 28, 0)


@pytest.mark.parametrize("worse", [False, True])
def test_half_is_cut_between_the_given_shares_of_the_epochs(worse: bool) -> None:
    whole, short = cut(curve_set(), split(), worse=worse, shortest=0.5, longest=0.95)
    assert (len(whole), len(short)) == (14, 14)
    assert {c.trial for c in whole}.isdisjoint(c.trial for c in short)
    assert all(6 <= len(c.values) <= 11 for c in short)


def test_the_worse_half_is_that_of_the_lower_values() -> None:
    whole, short = cut(curve_set(), split(), worse=True, shortest=0.1, longest=0.5)
    by_trial = {c.trial: c.values[LENGTH // 2] for c in split().train}
    assert max(by_trial[c.trial] for c in short) <= min(by_trial[c.trial] for c in whole)


def test_completed_curves_keep_what_was_seen_and_end_near_the_truth() -> None:
    whole, short = cut(curve_set(), split(), worse=False, shortest=0.5, longest=0.95)
    truth = {c.trial: c.values for c in split().train}
    for before, after in zip(short, completed(curve_set(), whole, short), strict=True):
        assert after.values[: len(before.values)] == before.values
        assert len(after.values) == LENGTH
        assert after.values[-1] == pytest.approx(truth[after.trial][-1], abs=0.05)


def test_an_earlier_study_is_taken_along_under_other_names() -> None:
    sets = [curve_set(), curve_set("sibling", seed=1)]
    name = next(name for name in VARIANTS if "earlier" in name)
    train = VARIANTS[name](sets[0], split(), sets)
    assert train is not None
    assert len(train) == 20 + 58
    assert len({c.trial for c in train}) == len(train)
    assert VARIANTS[name](sets[0], split(), sets[:1]) is None


def test_all_variants_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(splits=1, seed=0, train=28, out=tmp_path)
    run([curve_set(), curve_set("sibling", seed=1)], (0.25,), options)
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: set(headline[name]) for name in VARIANTS} == {name: {"25"} for name in VARIANTS}
    assert headline["all whole"]["25"] > 0.8
    assert headline["target at 33%"]["fits"] == 2
