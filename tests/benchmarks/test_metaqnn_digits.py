"""The small MetaQNN comparison, on curves that are made up here: known curves are not trained again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.nas.metaqnn_digits import (
    RECIPE,
    CurveTrainer,
    Outcome,
    describe,
    load_curves,
    main,
    run_digits_search,
    save_curves,
    threshold_study,
)
from curvestop.clients.nas.spaces.layers import parse


def made_up(text: str) -> list[float]:
    final = 0.2 + 0.7 * (zlib.crc32(text.encode()) % 997) / 997
    return [round(final * (1 - 0.5**epoch), 6) for epoch in range(1, RECIPE.epochs + 1)]


class MadeUp(CurveTrainer):
    """Makes curves up instead of training networks."""

    def _train(self, seed: int, text: str) -> Iterator[float]:
        return iter(made_up(text))


def searched(trainer: CurveTrainer, n_models: int) -> tuple[Outcome, Outcome]:
    without = run_digits_search(trainer, 0, side="without", settings=None, n_models=n_models)
    return without, run_digits_search(trainer, 0, side="with", settings=threshold_study(0), n_models=n_models)


def test_both_sides_start_alike_and_the_service_saves_epochs() -> None:
    trainer = MadeUp({})
    without, with_service = searched(trainer, 40)
    assert without.epochs == 40 * RECIPE.epochs
    assert without.n_stopped == 0
    assert with_service.epochs <= without.epochs
    assert [r.text for r in without.records[:20]] == [r.text for r in with_service.records[:20]]


def test_curves_are_kept_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = MadeUp({})
    searched(trainer, 12)
    path = tmp_path / "curves.npz"
    save_curves(path, trainer.curves)
    assert load_curves(path) == trainer.curves
    main(["--replay", "--curves", str(path), "--seeds", "1", "--models", "12", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "were trained now" not in printed
    headline = json.loads(printed.splitlines()[-1])
    assert headline["speedup"] == 1
    assert {"mean_best5_with", "mean_best5_without", "accuracy_by_epsilon"} < set(headline)
    main(["--replay", "--curves", str(tmp_path / "nowhere.npz"), "--out", str(tmp_path / "out")])
    assert "skipped" in capsys.readouterr().out


def test_the_kept_curves_are_all_that_a_search_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--replay", "--seeds", "1", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "were trained now" not in printed
    headline = json.loads(printed.splitlines()[-1])
    assert headline["speedup"] > 1
    assert headline["mean_best5_with"] == pytest.approx(headline["mean_best5_without"], abs=0.05)


def test_networks_are_described_with_their_dropouts() -> None:
    assert describe(parse("[C(8,1,1), C(16,3,1), SM(10)]")).text == "[C(8,1,1), C(16,3,1), D(1,1), SM(10)]"
