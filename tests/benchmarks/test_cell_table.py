"""The committed rewards of the small cell space are complete, and the comparison on them runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.nas.cell_table import load_rewards, main
from curvestop.clients.nas.spaces.cells import SMALL_SPACE


def test_all_64_cells_have_three_rewards() -> None:
    table = load_rewards()
    assert set(table.accuracies) == set(SMALL_SPACE.all())
    assert all(len(values) == 3 and 0 < values.mean() < 1 for values in table.accuracies.values())


def test_the_last_line_is_the_headline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--seeds", "2", "--models", "10"])
    headline = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(headline) == {"reinforce_minus_random_in_se", "ppo_minus_random_in_se", "best_at_10"}
