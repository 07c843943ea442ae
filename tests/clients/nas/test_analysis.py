"""The tables behind the thesis's figures, on records made by hand, and the command that writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.nas import analysis, figures
from curvestop.clients.nas.search.architecture_search import Record
from curvestop.clients.nas.search.q_values import QSettings, QValues
from curvestop.clients.nas.spaces.layers import Layer, parse
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, State


def record(text: str, label: float, reward: float, state: str = "finished") -> Record:
    chosen = parse(text)
    made = Record(f"m{text}", chosen, text, {"ap:weights": len(text)}, label, [reward], "finished", reward)
    made.state = "stopped" if state == "stopped" else "finished"
    return made


RECORDS = [
    record("[C(64,3,1), SM(10)]", 1.0, 0.2),
    record("[C(64,5,1), SM(10)]", 1.0, 0.4),
    record("[C(64,3,1), C(64,3,1), SM(10)]", 0.1, 0.9, "stopped"),
    record("[C(64,3,1), P(2,2), SM(10)]", 0.1, 0.7),
]


def test_rolling_mean_and_bars() -> None:
    rows = analysis.accuracy_by_iteration(RECORDS, window=2)
    assert [row["rolling_mean"] for row in rows] == pytest.approx([0.2, 0.3, 0.65, 0.8])
    bars = analysis.accuracy_by_epsilon(RECORDS)
    assert [(bar["epsilon"], bar["models"]) for bar in bars] == [(1.0, 2), (0.1, 2)]
    assert [bar["mean"] for bar in bars] == pytest.approx([0.3, 0.8])


def test_distribution_adds_up_for_each_epsilon() -> None:
    rows = analysis.accuracy_distribution(RECORDS, n_bins=10)
    assert len(rows) == 20
    assert sum(row["share"] for row in rows if row["epsilon"] == 1.0) == pytest.approx(1)
    assert next(row for row in rows if row["epsilon"] == 0.1 and row["from"] == pytest.approx(0.9))["share"] == 0.5


def test_stability_over_runs() -> None:
    (high, _) = analysis.stability([RECORDS, [record("[C(64,3,1), SM(10)]", 1.0, 0.5), RECORDS[2]]])
    assert high == {
        "epsilon": 1.0, "runs": 2, "mean": pytest.approx(0.4), "std": pytest.approx(0.02**0.5), "means": pytest.approx([0.3, 0.5])
    }  # fmt: skip


def test_q_values_by_kind_field_and_depth() -> None:
    """One update of 0.5 with alpha 1: SM behind the first layer 0.9; of GAP 0.5; C(64,5,1) first 0.9, eleven others 0.5."""
    values = QValues(MetaQNNSpace(), QSettings(learning_rate=1.0))
    values.learn(parse("[C(64,5,1), SM(10)]"), 0.9)
    rows = {(row["layer"], row["depth"]): row["q"] for row in analysis.q_values_by_depth(values)}
    assert rows["SM", 2] == pytest.approx(0.9)
    assert rows["GAP", 2] == pytest.approx(0.5)
    assert rows["C", 1] == pytest.approx(0.5 + 0.4 / 12)
    assert rows["C5", 1] == pytest.approx(0.6)
    assert ("P", 1) not in rows


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("abc", "bc", 1)]
)
def test_edit_distance(one: str, other: str, distance: int) -> None:
    assert analysis.edit_distance(one, other) == distance


@given(st.text("ab", max_size=6), st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert analysis.edit_distance(a, b) == analysis.edit_distance(b, a)
    assert (analysis.edit_distance(a, b) == 0) == (a == b)
    assert analysis.edit_distance(a, c) <= analysis.edit_distance(a, b) + analysis.edit_distance(b, c)


def test_top_models_are_those_trained_to_the_end() -> None:
    assert [row["accuracy"] for row in analysis.top_models(RECORDS, 2)] == [0.7, 0.4]
    by_depth = analysis.top_model_by_depth(RECORDS)
    assert [(row["depth"], row["models"], row["accuracy"]) for row in by_depth] == [(1, 2, 0.4), (2, 1, 0.7)]


def test_a_cell_is_as_deep_as_it_has_nodes() -> None:
    """Three choices make a node: the operation and two inputs."""
    cell = Record("m", ("identity", 0, 0, "3x3 conv", 0, 1), "cell[...]", {"ap:layers": 2}, 1.0, [0.5], "finished", 0.5)
    assert analysis.top_model_by_depth([cell])[0]["depth"] == 2


def test_the_best_so_far() -> None:
    """The third is stopped: it takes an epoch, and its accuracy of 0.9 does not count."""
    rows = analysis.cumulative_best(RECORDS)
    assert [(row["iteration"], row["epochs"], row["best_1"]) for row in rows] == [
        (1, 1, 0.2),
        (2, 2, 0.4),
        (3, 3, 0.4),
        (4, 4, 0.7),
    ]
    assert [row["best_5"] for row in rows] == pytest.approx([0.2, 0.3, 0.3, (0.2 + 0.4 + 0.7) / 3])
    many = analysis.cumulative_best([record(f"[C({n},3,1), SM(10)]", 1.0, n / 100) for n in range(1, 21)])[-1]
    assert [many[f"best_{n}"] for n in (1, 5, 15)] == pytest.approx([0.2, 0.18, 0.13])  # 20; 16 to 20; 6 to 20


def test_every_analysis_is_drawn_and_written(tmp_path: Path) -> None:
    many = [record(f"[{', '.join(['C(64,3,1)'] * (1 + i % 5))}, SM(10)]", 1 - 0.1 * (i // 5), i / 30) for i in range(20)]
    rows = {
        "accuracy_by_iteration": analysis.accuracy_by_iteration(many),
        "accuracy_distribution": analysis.accuracy_distribution(many),
        "stability": analysis.stability([many, many[:10]]),
        "q_values_by_depth": analysis.q_values_by_depth(_learnt(many)),
        "embedding": analysis.embedding(many, seed=0),
        "cumulative_best": analysis.cumulative_best(many),
        "top_models": analysis.top_models(many),
        "top_model_by_depth": analysis.top_model_by_depth(many),
    }
    assert rows.keys() == figures.FIGURES.keys()
    for name, content in rows.items():
        path = figures.write(tmp_path, name, content)
        assert path is not None
        assert path.stat().st_size > 1_000
        assert json.loads((tmp_path / f"{name}.json").read_text()) == content
    assert figures.write(tmp_path, "embedding", analysis.embedding(many[:3], seed=0)) is None


def _learnt(records: list[Record]) -> QValues[State, Layer]:
    values = QValues(MetaQNNSpace())
    for made in records:
        values.learn(made.chosen, made.reward or 0.0)
    return values
