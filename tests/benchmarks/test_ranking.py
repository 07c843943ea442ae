"""The comparison of rankings: splits, blends and what is chosen on other domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.predict import ranking
from benchmarks.predict.ranking import LAST, LEFT_OUT, ORACLE, PRIORS, Forecasts, Table, main, top_spearman
from tests.contracts_predictor import saturating_curves


def some_forecasts() -> Forecasts:
    finals, values = np.array([1.0, 2.0, 3.0]), np.array([[0.0, 1.0, 0.5], [0.0, 0.5, 0.8], [0.1, 0.2, 0.3]])
    return Forecasts(
        finals, values, finals, np.ones(3), score=np.array([0.1, 0.2, 0.3]), now=np.array([1.0, 0.0, -1.0]), n_train=150
    )


def test_a_prior_mixes_head_and_present_rank() -> None:
    known = some_forecasts()
    assert known.with_prior(0) == pytest.approx(known.score)
    assert known.with_prior(50) == pytest.approx([0.325, 0.15, -0.025])  # (150 x .1 + 50 x 1) / 200, ...
    assert known.with_prior(1e12) == pytest.approx(known.now, abs=1e-9)


def test_the_last_values_are_averaged() -> None:
    assert some_forecasts().smoothed(0.67) == pytest.approx([0.75, 0.65, 0.25])


def test_the_best_fifth_is_by_final_value() -> None:
    finals = np.arange(20.0)
    scores = -finals
    scores[16:] = [1, 2, 4, 3]  # of the best four, two are swapped: 1 - 6 * 2 / (4 * 15)
    assert top_spearman(finals, scores) == pytest.approx(0.8)


def test_a_prior_is_chosen_on_the_sets_of_other_domains() -> None:
    # Two domains; the first is ranked best with prior 0, the second with the last prior.
    domains, best = ("a", "a", "b"), {0: 0, 1: 0, 2: len(PRIORS) - 1}
    values = {LAST: np.zeros((3, 2, 3))}
    for k, prior in enumerate(PRIORS):
        rows = [np.full((2, 3), 0.9 if best[s] == k else 0.1 * s) for s in range(3)]
        values[f"score, prior {prior:g}"] = np.array(rows)
    table = Table(domains, values).with_chosen_priors()
    assert table.by_set(LEFT_OUT)[:, 0] == pytest.approx([0.0, 0.1, 0.2])  # what the other domain's prior gives
    assert table.by_set(ORACLE)[:, 0] == pytest.approx([0.9, 0.9, 0.9])


def test_the_last_line_has_the_figures_of_every_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "MAX_TRAIN", 20)
    curves = saturating_curves(50, length=20)
    np.savez(
        tmp_path / "small_set.npz",
        curves=np.array([c.values for c in curves]),
        hparams=np.array([list(c.configuration.values()) for c in curves]),
        hparam_names=np.array(["width", "lr"]),
        meta=json.dumps({"goal": "maximise"}),
    )
    main(["--data", str(tmp_path), "--splits", "2", "--out", str(tmp_path)])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(headline) == ["10", "25", "50"]
    assert headline["50"]["score"] > 0.5
    assert headline["50"]["score_gain"] == pytest.approx(headline["50"]["score"] - headline["50"]["last"], abs=2e-4)
