"""Runs from a folder of TensorBoard logs, with tensorboard (extra `[tensorboard]`): each folder with the metric is a run.

Hyper-parameters are those logged for the hparams plugin, in the run's folder or (as PyTorch's `add_hparams` does) in one inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

from curvestop.clients.backtest.readers.tables import Wanted, one_of
from curvestop.clients.backtest.runs import End, Run, Runs, run_of

FILES = "*tfevents*"
_OF_LIGHTNING = {"hp_metric", "epoch"}
"""Tags that no one means by the metric of a run."""


@dataclass
class _Folder:
    """scalars: by tag, (step, value) in the order of their recording. began: seconds since 1970."""

    path: Path
    began: float = float("inf")
    scalars: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    ended: End = "unknown"


def read(source: str, wanted: Wanted) -> Runs:
    """Raises ValueError when there are no logs, or several tags and none wanted."""
    root = Path(source)
    folders = [_read_folder(path) for path in sorted({file.parent for file in root.rglob(FILES)})]
    if not folders:
        raise ValueError(f"{source} has no TensorBoard logs ({FILES})")
    tags = Counter(tag for folder in folders for tag, points in folder.scalars.items() if tag not in _OF_LIGHTNING)
    most = [tag for tag, n in tags.items() if n == max(tags.values())]
    metric = one_of(list(tags) if wanted.metric else most, wanted.metric, source=source)
    with_metric = [folder for folder in folders if metric in folder.scalars]
    runs = [_run(root, folder, metric, folders) for folder in sorted(with_metric, key=lambda f: (f.began, f.path))]
    return Runs(source, tuple(runs), metric)


def _run(root: Path, folder: _Folder, metric: str, folders: list[_Folder]) -> Run:
    inside = [other for other in folders if other.path.parent == folder.path and metric not in other.scalars]
    configuration = {name: value for one in (*inside, folder) for name, value in one.configuration.items()}
    ended = next((one.ended for one in (folder, *inside) if one.ended != "unknown"), folder.ended)
    name = folder.path.relative_to(root).as_posix()
    return run_of(folder.path.name if name == "." else name, configuration, folder.scalars[metric], ended)


def _read_folder(path: Path) -> _Folder:
    folder = _Folder(path)
    for file in sorted(path.glob(FILES)):
        for wall_time, step, value in _summaries(file):
            folder.began = min(folder.began, wall_time)
            plugin = value.metadata.plugin_data
            if plugin.plugin_name == "hparams":
                _take(HParamsPluginData.FromString(plugin.content), folder)
            elif plugin.plugin_name == "scalars" and value.HasField("tensor"):
                number = float(tensor_util.make_ndarray(value.tensor).item())
                folder.scalars.setdefault(value.tag, []).append((float(step), number))
    return folder


def _summaries(file: Path) -> Iterator[tuple[float, int, Any]]:
    """(seconds, step, summary value); metadata, which come only with the first value of a tag, with every one."""
    metadata: dict[str, Any] = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            if value.HasField("metadata"):
                metadata.setdefault(value.tag, value.metadata)
            elif value.tag in metadata:
                value.metadata.CopyFrom(metadata[value.tag])
            yield event.wall_time, event.step, value


def _take(data: HParamsPluginData, folder: _Folder) -> None:
    for name, value in data.session_start_info.hparams.items():
        kind = value.WhichOneof("kind")
        if kind in ("number_value", "bool_value", "string_value"):
            folder.configuration[name] = getattr(value, kind)
    if data.HasField("session_end_info"):
        folder.ended = "finished" if data.session_end_info.status == 1 else "unfinished"
