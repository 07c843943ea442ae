"""The comparison at the papers' size, on a few networks whose curves are made up here."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.nas import metaqnn_paper
from benchmarks.nas.metaqnn_digits import CurveTrainer, Outcome
from benchmarks.nas.metaqnn_paper import EPOCHS, RECIPE, best_so_far, compare, epochs_so_far, replayed
from curvestop.clients.nas.search.architecture_search import Record
from curvestop.srm.settings import StudySettings


class MadeUp(CurveTrainer):
    """Makes curves up instead of training networks."""

    def _train(self, seed: int, text: str) -> Iterator[float]:
        final = 0.2 + 0.7 * (zlib.crc32(text.encode()) % 997) / 997
        return iter([round(final * (1 - 0.5**epoch), 6) for epoch in range(1, EPOCHS + 1)])


def test_every_side_has_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: metaqnn_paper.SIDES[name] for name in (metaqnn_paper.WHOLE, "learned")}
    monkeypatch.setattr(metaqnn_paper, "SIDES", few)
    compare(MadeUp({}, RECIPE, tmp_path / "curves.npz"), 0, 1, 36, tmp_path)
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert headline["whole"] == {"speedup": 1.0, "best5": headline["whole"]["best5"], "kept_of_10": 10.0, "speedup_in_order": 1.0}
    assert headline["learned"]["speedup_in_order"] > 1
    assert (tmp_path / "metaqnn_4_6.png").exists()
    # Again from the file: nothing is trained.
    known = CurveTrainer({}, RECIPE, tmp_path / "curves.npz")
    compare(known, 0, 1, 36, tmp_path)
    assert known.epochs_trained == 0


def test_the_ten_best_of_a_search_are_counted() -> None:
    # Twelve networks, the best last. One look at half the epochs stops all that are not in the better half of those before.
    records = [
        Record(
            f"m{i}", (), "", {}, 1.0, values=[(i + 1) / 100 * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)], state="finished"
        )
        for i in range(12)
    ]
    whole = Outcome(0, "whole", records, 0.0)
    settings = StudySettings("one look", EPOCHS, policy="asha", policy_settings={"first_share": 0.5, "eta": 2})
    rising = replayed(whole, "one look", settings)
    assert (rising.n_kept, rising.epochs, rising.speedup) == (10, 12 * EPOCHS, 1.0)
    falling = replayed(Outcome(0, "whole", records[::-1], 0.0), "one look", settings)
    assert falling.n_kept < 10
    assert falling.speedup == 12 * EPOCHS / falling.epochs > 1


def test_the_best_so_far_are_those_trained_to_the_end() -> None:
    finals = [("finished", 0.5), ("stopped", 0.9), ("finished", 0.7), ("finished", 0.3)]
    records = [Record(f"m{i}", (), "", {}, 1.0, values=[0.1, final], state=state) for i, (state, final) in enumerate(finals)]  # type: ignore[arg-type]
    assert best_so_far(records, 2) == [0.5, 0.5, 0.6, 0.6]
    assert epochs_so_far(Outcome(0, "whole", records, 0.0)) == [2, 4, 6, 8]
