"""The figures of `analysis`, as web pages; each drawn from rows and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from curvestop.clients.nas.analysis import Rows


def accuracy_by_iteration(rows: Rows) -> Any:
    figure = go.Figure()
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        at = [row for row in rows if row["epsilon"] == epsilon]
        first, last, mean = at[0]["iteration"], at[-1]["iteration"], sum(row["reward"] for row in at) / len(at)
        centre, width = (first + last) / 2, last - first + 1
        figure.add_bar(
            x=[centre], y=[mean], width=[width], name=f"epsilon {epsilon:g}", marker_color="lightblue", showlegend=False
        )
    x, y = [row["iteration"] for row in rows], [row["rolling_mean"] for row in rows]
    figure.add_scatter(x=x, y=y, mode="lines", name="rolling mean", line_color="navy")
    return _titled(figure, "Accuracy against iteration; bars: mean at each epsilon", "iteration", "accuracy")


def accuracy_distribution(rows: Rows) -> Any:
    figure = go.Figure()
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        at = [row for row in rows if row["epsilon"] == epsilon]
        x, y = [(row["from"] + row["to"]) / 2 for row in at], [row["share"] for row in at]
        figure.add_scatter(x=x, y=y, mode="lines", line_shape="hvh", name=f"epsilon {epsilon:g}")
    return _titled(figure, "Distribution of accuracies at each epsilon", "accuracy", "share of models")


def stability(rows: Rows) -> Any:
    x = [f"{row['epsilon']:g}" for row in rows]
    figure = go.Figure()
    figure.add_bar(
        x=x, y=[row["mean"] for row in rows], error_y={"array": [row["std"] for row in rows]}, marker_color="lightblue"
    )
    for run in range(max(row["runs"] for row in rows)):
        y = [row["means"][run] if run < len(row["means"]) else None for row in rows]
        figure.add_scatter(x=x, y=y, mode="lines", name=f"run {run + 1}")
    return _titled(figure, "Mean accuracy at each epsilon over independent runs", "epsilon", "accuracy")


def q_values_by_depth(rows: Rows) -> Any:
    figure = go.Figure()
    for kind in dict.fromkeys(row["layer"] for row in rows):
        at = [row for row in rows if row["layer"] == kind]
        figure.add_scatter(x=[row["depth"] for row in at], y=[row["q"] for row in at], mode="lines+markers", name=kind)
    return _titled(figure, "Mean Q-value by layer and depth (C1, C3, C5: convolutions by field)", "depth", "Q-value")


def embedding(rows: Rows) -> Any:
    figure = go.Figure()
    texts = [f"{row['reward']:.4f} {row['architecture']}" for row in rows]
    marker = {"color": [row["reward"] for row in rows], "colorscale": "Viridis", "showscale": True}
    figure.add_scatter(x=[row["x"] for row in rows], y=[row["y"] for row in rows], mode="markers", marker=marker, text=texts)
    return _titled(figure, "Architectures by edit distance (t-SNE), coloured by accuracy", "", "")


def table(rows: Rows) -> Any:
    names = list(rows[0])
    cells = [[f"{row[n]:.4f}" if isinstance(row[n], float) else str(row[n]) for row in rows] for n in names]
    return go.Figure(go.Table(header={"values": names}, cells={"values": cells, "align": "left"}))


FIGURES: Mapping[str, Callable[[Rows], Any]] = {
    "accuracy_by_iteration": accuracy_by_iteration,
    "accuracy_distribution": accuracy_distribution,
    "stability": stability,
    "q_values_by_depth": q_values_by_depth,
    "embedding": embedding,
    "top_models": table,
    "top_model_by_depth": table,
}


def write(folder: Path, name: str, rows: Rows) -> Path | None:
    """`NAME.json` with the rows and `NAME.html` with the figure; nothing without rows."""
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    path = folder / f"{name}.html"
    FIGURES[name](rows).write_html(path, include_plotlyjs="directory")
    return path


def _titled(figure: Any, title: str, x: str, y: str) -> Any:
    return figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white")
