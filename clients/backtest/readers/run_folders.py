"""Runs from a folder that has a history for each run: a folder for each run as loggers make them, or one file for each run.

A folder of a run has its history in one of the files `HISTORIES` (Lightning's CSVLogger `metrics.csv`, Ray's `result.json`,
Ultralytics' `results.csv`, transformers' `checkpoint-*/trainer_state.json`, ...), or in the only table that it has. Its
configuration stands in the files `CONFIGURATIONS` beside the history, or in a folder above that no other run has. Runs are
named by their folders.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import yaml

from curvestop.clients.backtest.readers.histories import History, histories_in, runs_of_histories
from curvestop.clients.backtest.readers.names import EXPORT_OF_WANDB, HISTORIES
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.readers.text import text_of
from curvestop.clients.backtest.runs import Runs, no_curves

CONFIGURATIONS = (
    *("params.json", "config.json", "args.json", "hparams.json", "hyperparameters.json", "variant.json"),
    *("hparams.yaml", "args.yaml", "config.yaml", "config.yml", "params.yaml", "hyp.yaml", "opt.yaml", ".hydra/overrides.yaml"),
)
"""Names of files with the configuration of the run that has the folder."""
_TABLES = (".csv", ".tsv", ".jsonl", ".json")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of a folder.

    Args:
        source: The folder; folders of runs may be at any depth.
        options: `metric` and `epoch`, names of columns or entries of the histories.

    Raises:
        ValueError: If there are no histories, or the metric or step cannot be chosen.
        OSError: If a file cannot be read.
    """
    root = Path(source)
    folders = histories_by_folder(root)
    if folders:
        found = _runs_of_folders(root, folders)
    elif next(root.rglob("wandb-summary.json"), None) is not None:
        raise no_curves(source, EXPORT_OF_WANDB)  # the histories beside it are in a format of W&B's own
    else:
        files = sorted(filter(is_table, root.iterdir()), key=_natural_order)
        found = [history for file in files for history in histories_in(file)]
    if not found:
        raise ValueError(
            f"{source} has no histories of runs ({', '.join(HISTORIES[:5])}, ..., or a CSV or JSON file for each run)"
        )
    return runs_of_histories(source, found, options)


def histories_by_folder(root: Path) -> dict[Path, Path]:
    """Return the file with the history of each folder of a run; nothing if the root has a file for each run.

    Args:
        root: The folder of all runs.
    """
    found: defaultdict[Path, list[Path]] = defaultdict(list)
    tables = list(filter(is_table, root.iterdir()))
    for file in root.rglob("*"):
        if file.name in HISTORIES and file.is_file():
            found[file.parent.parent if _CHECKPOINT.fullmatch(file.parent.name) else file.parent].append(file)
    if not found and not tables:
        for file in root.rglob("*.*sv"):
            found[file.parent].append(file)
    if set(found) == {root} and len(tables) > 1 and not _configuration_files(root):
        return {}
    if len(found) > 1:
        found.pop(root, None)  # a summary of the runs
    # What lies within a run's folder is about the same run.
    outermost = [folder for folder in found if not any(above in found for above in folder.parents)]
    return {folder: min(found[folder], key=_preference) for folder in sorted(outermost, key=_natural_order)}


def _preference(file: Path) -> tuple[int, int, str]:
    # Of several checkpoints the last one has the whole history; one beside them was written at the end.
    checkpoint = _CHECKPOINT.fullmatch(file.parent.name)
    rank = HISTORIES.index(file.name) if file.name in HISTORIES else len(HISTORIES)
    return rank, -int(checkpoint[1]) if checkpoint else -(1 << 62), file.name


def is_table(file: Path) -> bool:
    """Return whether a file may be the history of a run, by its name."""
    return file.suffix.lower() in _TABLES and file.name not in CONFIGURATIONS and file.is_file()


def _runs_of_folders(root: Path, folders: Mapping[Path, Path]) -> list[History]:
    names = _short_names([folder.relative_to(root) for folder in folders], root.absolute().name)
    n_runs = Counter(above for folder in folders for above in folder.parents)
    runs = []
    for name, (folder, file) in zip(names, folders.items(), strict=True):
        histories = histories_in(file)
        for history in histories:
            configuration = {**_configuration(root, folder, n_runs), **history.configuration}
            state = "failed" if (folder / "error.txt").exists() else history.state  # Ray writes it
            runs.append(
                replace(
                    history,
                    name=name if len(histories) == 1 else f"{name}/{history.name}",
                    configuration=configuration,
                    state=state,
                )
            )
    return runs


def _short_names(folders: Sequence[PurePath], alone: str) -> list[str]:
    """Return the folders without what all begin or end with: "0" and "1" for "a/0/csv/version_0" and "a/1/csv/version_0"."""
    parts = [list(folder.parts) for folder in folders]
    if len(parts) == 1:
        return [parts[0][-1] if parts[0] else alone]
    for end in (0, -1):
        while all(len(its) > 1 for its in parts) and len({its[end] for its in parts}) == 1:
            for its in parts:
                del its[end]
    return ["/".join(its) or alone for its in parts]


def _configuration(root: Path, folder: Path, n_runs: Mapping[Path, int]) -> dict[str, Any]:
    """Return the configuration of the run that has a folder, from there or from the nearest folder above that is its own."""
    while True:
        files = _configuration_files(folder)
        if files or folder == root or n_runs[folder.parent] > 1:
            return configuration_in(folder)
        folder = folder.parent


def configuration_in(folder: Path) -> dict[str, Any]:
    """Return the configuration that the files of a run's folder have; nothing if there are none.

    Args:
        folder: The folder.

    Raises:
        ValueError: If a file cannot be read.
    """
    return {name: value for file in _configuration_files(folder) for name, value in _settings_in(file).items()}


def _configuration_files(folder: Path) -> list[Path]:
    return [folder / name for name in CONFIGURATIONS if (folder / name).is_file()]


class _AnyTag(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Reads YAML without making the Python objects that Lightning writes into `hparams.yaml`; their contents stay."""


def _content(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) or suffix if isinstance(node, yaml.ScalarNode) else None


_AnyTag.add_multi_constructor("", _content)


def _settings_in(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(text_of(file)) if file.suffix == ".json" else yaml.load(text_of(file), _AnyTag)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if isinstance(found, list):  # of Hydra: ["lr=0.1", ...]
        found = {name.lstrip("+"): yaml.safe_load(value) for name, _, value in (str(line).partition("=") for line in found)}
    return dict(found) if isinstance(found, Mapping) else {}


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort "version_10" after "version_9"."""
    return [(int(number or -1), text) for number, text in re.findall(r"(\d+)|(\D+)", str(path))]
