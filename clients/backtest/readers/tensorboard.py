"""Runs from a folder of TensorBoard logs: each folder with the metric is a run. Needs tensorboard (extra `[tensorboard]`).

Hyper-parameters are those logged for the hparams plugin, in the run's folder or, as PyTorch's `add_hparams` does, in one inside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.runs import Run, RunEnd, Runs, run_of

FILES = "*tfevents*"
"""Pattern of the names of event files."""
LIGHTNING_TAGS = {"hp_metric", "epoch"}
"""Tags that Lightning logs by itself; they are never the metric."""
_SUCCESS = 1
"""The hparams plugin's status of a session that ended by itself."""


@dataclass
class EventFolder:
    """The contents of one folder's event files, as far as `read` has read them.

    Attributes:
        path: The folder.
        began: Time of its first event, in seconds since 1970.
        scalars: (step, value) by tag, in the order in which they were recorded.
        configuration: Hyper-parameters by name.
        ended: How the session ended.
    """

    path: Path
    began: float = float("inf")
    scalars: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    ended: RunEnd = "unknown"
    _loaders: dict[Path, EventFileLoader] = field(default_factory=dict)
    # By file and tag: files have a tag's metadata with its first value only.
    _metadata: dict[Path, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    def read(self) -> None:
        """Read what is new in the files. An event that is half written is read when the rest of it is there.

        Raises:
            OSError: If a file cannot be read.
        """
        for file in sorted(self.path.glob(FILES)):
            if file not in self._loaders:
                self._loaders[file] = EventFileLoader(str(file))
            for event in self._loaders[file].Load():
                self._take(event, self._metadata[file])

    def _take(self, event: Any, metadata: dict[str, Any]) -> None:
        if event.session_log.status == SessionLog.START:
            self._purge(event.step)
        for value in event.summary.value:
            if value.HasField("metadata"):
                metadata.setdefault(value.tag, value.metadata)
            elif value.tag in metadata:
                value.metadata.CopyFrom(metadata[value.tag])
            self.began = min(self.began, event.wall_time)
            self._add(value, event.step)

    def _purge(self, step: int) -> None:
        """Drop what was recorded at a step or later: there the run begins again, as in TensorBoard (`purge_step`)."""
        for points in self.scalars.values():
            points[:] = [point for point in points if point[0] < step]

    def _add(self, value: Any, step: int) -> None:
        plugin = value.metadata.plugin_data
        if plugin.plugin_name == "hparams":
            self._add_hparams(HParamsPluginData.FromString(plugin.content))
        elif plugin.plugin_name == "scalars" and value.HasField("tensor"):  # the loader turns old scalar events into these
            number = float(tensor_util.make_ndarray(value.tensor).item())
            self.scalars.setdefault(value.tag, []).append((float(step), number))

    def _add_hparams(self, data: HParamsPluginData) -> None:
        for name, value in data.session_start_info.hparams.items():
            kind = value.WhichOneof("kind")
            if kind in ("number_value", "bool_value", "string_value"):
                self.configuration[name] = getattr(value, kind)  # protobuf names the field like the kind
        if data.HasField("session_end_info"):
            self.ended = "finished" if data.session_end_info.status == _SUCCESS else "unfinished"


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of a folder of logs. Without a chosen metric, it is the tag that most folders have.

    Args:
        source: The folder; logs may be at any depth.
        options: Only `metric`, the tag, is used.

    Raises:
        ValueError: If there are no logs, or the metric cannot be chosen.
        OSError: If a file cannot be read.
    """
    root = Path(source)
    # A run that was resumed has several event files in one folder, which are one curve; see `run_of` for one that began again.
    folders = [_read_folder(path) for path in sorted({file.parent for file in root.rglob(FILES)})]
    if not folders:
        raise ValueError(f"{source} has no TensorBoard logs ({FILES})")
    counts = Counter(tag for folder in folders for tag, points in folder.scalars.items() if tag not in LIGHTNING_TAGS)
    most_common = [tag for tag, n in counts.items() if n == max(counts.values())]
    metric = choose(list(counts) if options.metric else most_common, options.metric, source=source)
    with_metric = [folder for folder in folders if folder.scalars.get(metric)]  # the others have hparams or other metrics
    # Keras writes one tag into two folders, of which one is the run's training set.
    validated = {folder.path.parent for folder in with_metric if folder.path.name == "validation"}
    with_metric = [folder for folder in with_metric if folder.path.name != "train" or folder.path.parent not in validated]
    runs = [_run(root, folder, metric, folders) for folder in sorted(with_metric, key=lambda f: (f.began, f.path))]
    return Runs(source, tuple(runs), metric)


def _run(root: Path, folder: EventFolder, metric: str, folders: list[EventFolder]) -> Run:
    inside = [other for other in folders if other.path.parent == folder.path and metric not in other.scalars]
    # The run's own folder comes last, so that it has priority.
    configuration = {name: value for part in (*inside, folder) for name, value in part.configuration.items()}
    ended = next((part.ended for part in (folder, *inside) if part.ended != "unknown"), folder.ended)
    name = folder.path.relative_to(root).as_posix()
    return run_of(folder.path.name if name == "." else name, configuration, folder.scalars[metric], ended)


def _read_folder(path: Path) -> EventFolder:
    folder = EventFolder(path)
    folder.read()
    return folder
