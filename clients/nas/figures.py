"""Draws the tables of `analysis` as web pages (extra [plots]).

A figure is drawn from its rows and nothing else. Plotly is imported inside functions, so that everything else works without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.nas.analysis import Rows


def require_plotly() -> None:
    """Check that plotly is installed.

    Raises:
        ImportError: If it is not; the message names the extra.
    """
    try:
        import plotly.graph_objects as _  # noqa: F401
    except ImportError:
        raise ImportError("figures need plotly, which is not installed; run: pip install 'curvestop[plots]'") from None


def accuracy_by_iteration(rows: Rows) -> Any:
    """Draw the rows of `analysis.accuracy_by_iteration`: a rolling mean, and a bar for each epsilon (Figure 3-4)."""
    figure = _new_figure()
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        at = [row for row in rows if row["epsilon"] == epsilon]
        first, last, mean = at[0]["iteration"], at[-1]["iteration"], sum(row["reward"] for row in at) / len(at)
        # A bar over all iterations of this epsilon.
        centre, width = (first + last) / 2, last - first + 1
        figure.add_bar(
            x=[centre], y=[mean], width=[width], name=f"epsilon {epsilon:g}", marker_color="lightblue", showlegend=False
        )
    x, y = [row["iteration"] for row in rows], [row["rolling_mean"] for row in rows]
    figure.add_scatter(x=x, y=y, mode="lines", name="rolling mean", line_color="navy")
    return _titled(figure, "Accuracy by iteration; bars: mean at each epsilon", "iteration", "accuracy")


def accuracy_distribution(rows: Rows) -> Any:
    """Draw the rows of `analysis.accuracy_distribution`: a histogram for each epsilon (Figure 3-5)."""
    figure = _new_figure()
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        at = [row for row in rows if row["epsilon"] == epsilon]
        x, y = [(row["from"] + row["to"]) / 2 for row in at], [row["share"] for row in at]
        # hvh draws steps around the middles of the bins.
        figure.add_scatter(x=x, y=y, mode="lines", line_shape="hvh", name=f"epsilon {epsilon:g}")
    return _titled(figure, "Distribution of accuracies at each epsilon", "accuracy", "share of models")


def stability(rows: Rows) -> Any:
    """Draw the rows of `analysis.stability`: mean and deviation at each epsilon, and a line for each search (Figure 3-6).

    Args:
        rows: The rows, at least one; "means" has one value for each search that reached the epsilon.
    """
    # Text, so that the axis has one place for each epsilon, in the rows' order: exploration falls from left to right.
    x = [f"{row['epsilon']:g}" for row in rows]
    figure = _new_figure()
    figure.add_bar(
        x=x, y=[row["mean"] for row in rows], error_y={"array": [row["std"] for row in rows]}, marker_color="lightblue"
    )
    for run in range(max(row["runs"] for row in rows)):
        y = [row["means"][run] if run < len(row["means"]) else None for row in rows]  # a short search lacks small epsilons
        figure.add_scatter(x=x, y=y, mode="lines", name=f"search {run + 1}")
    return _titled(figure, "Mean accuracy at each epsilon over independent searches", "epsilon", "accuracy")


def q_values_by_depth(rows: Rows) -> Any:
    """Draw the rows of `analysis.q_values_by_depth`: a line for each type of layer (Figure 3-7)."""
    figure = _new_figure()
    for layer in dict.fromkeys(row["layer"] for row in rows):
        at = [row for row in rows if row["layer"] == layer]
        figure.add_scatter(x=[row["depth"] for row in at], y=[row["q"] for row in at], mode="lines+markers", name=layer)
    title = "Mean Q-value by layer type and depth (C1, C3, C5: convolutions by receptive field)"
    return _titled(figure, title, "depth", "Q-value")


def embedding(rows: Rows) -> Any:
    """Draw the rows of `analysis.embedding`: a point for each architecture, colored by its reward (Figure 3-8)."""
    figure = _new_figure()
    texts = [f"{row['reward']:.4f} {row['architecture']}" for row in rows]
    marker = {"color": [row["reward"] for row in rows], "colorscale": "Viridis", "showscale": True}
    figure.add_scatter(x=[row["x"] for row in rows], y=[row["y"] for row in rows], mode="markers", marker=marker, text=texts)
    return _titled(figure, "Architectures by edit distance (t-SNE), colored by accuracy", "", "")


def cumulative_best(rows: Rows) -> Any:
    """Draw the rows of `analysis.cumulative_best`: the best model and the means of the best 5 and 15 (Figure 4-6)."""
    figure = _new_figure()
    for key, name in {"best_1": "best", "best_5": "mean of the best 5", "best_15": "mean of the best 15"}.items():
        figure.add_scatter(
            x=[row["iteration"] for row in rows],
            y=[row[key] for row in rows],
            text=[f"{row['epochs']} epochs" for row in rows],
            mode="lines",
            line_shape="hv",
            name=name,
        )
    return _titled(figure, "Best models so far", "iteration", "accuracy")


def table(rows: Rows) -> Any:
    """Draw rows as a table with a column for each key.

    Args:
        rows: The rows, at least one, all with the keys of the first.
    """
    import plotly.graph_objects as go

    names = list(rows[0])
    cells = [[f"{row[n]:.4f}" if isinstance(row[n], float) else str(row[n]) for row in rows] for n in names]
    return go.Figure(go.Table(header={"values": names}, cells={"values": cells, "align": "left"}))


FIGURES: Mapping[str, Callable[[Rows], Any]] = {
    "accuracy_by_iteration": accuracy_by_iteration,
    "accuracy_distribution": accuracy_distribution,
    "stability": stability,
    "q_values_by_depth": q_values_by_depth,
    "embedding": embedding,
    "cumulative_best": cumulative_best,
    "top_models": table,
    "top_model_by_depth": table,
}
"""What draws each table of `analysis`, by the table's name."""


def write(folder: Path, name: str, rows: Rows) -> Path | None:
    """Write a table as `NAME.json` and its figure as `NAME.html`.

    Args:
        folder: Folder of the files; made if it does not exist.
        name: Name of the table, a key of `FIGURES`.
        rows: The table.

    Returns:
        The path of the figure; None, and no files, without rows.
    """
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    path = folder / f"{name}.html"
    FIGURES[name](rows).write_html(path, include_plotlyjs="directory")  # one copy of plotly for all figures of the folder
    return path


def _new_figure() -> Any:
    import plotly.graph_objects as go

    return go.Figure()


def _titled(figure: Any, title: str, x: str, y: str) -> Any:
    return figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white")
