"""The folder of a search: the settings that it was started with, its journal, and its result as a table."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, fields
from pathlib import Path

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch
from curvestop.clients.nas.search.search_settings import SearchSettings

SETTINGS, JOURNAL, MODELS = "search.json", "journal.jsonl", "models.csv"
"""Names of the files in the folder of a search."""

COLUMNS = ("state", "epochs", "reward", "predicted", "last_accuracy", "weights", "layers", "architecture")
"""Columns of the table of models, behind the trial's name and its label."""


def save_settings(folder: Path, settings: SearchSettings) -> None:
    """Write the settings of a search into its folder, which must exist.

    Args:
        folder: Folder of the search.
        settings: The settings; no token is among them.
    """
    (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")


def load_settings(folder: Path) -> SearchSettings:
    """Read the settings of a search from its folder.

    Args:
        folder: Folder of a search. Fields that a later version added may be missing.

    Returns:
        The settings.

    Raises:
        ValueError: If the folder has no file of settings, or fields are missing from it.
    """
    try:
        stored = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return SearchSettings(**{field.name: stored[field.name] for field in fields(SearchSettings) if field.name in stored})
    except FileNotFoundError:
        problem = f"has no {SETTINGS}" if folder.is_dir() else "does not exist"
        raise ValueError(f"{folder}: must be the folder of a search, but it {problem}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:  # TypeError: a field without a default is missing
        raise ValueError(f"{folder}: must be the folder of a search, but its {SETTINGS} cannot be read: {error}") from None


def write_models(path: Path, search: ArchitectureSearch) -> None:
    """Write a CSV table of all architectures of a search; an existing file is replaced as a whole.

    Args:
        path: The file; one beside it, with the suffix .part, is written first.
        search: The search, finished or not; a row for each record, in the order of proposal.
    """
    part = path.with_suffix(".part")  # written beside it and renamed, so that a reader never sees half a table
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("trial", search.searcher.label_name, *COLUMNS))
        for r in search.records:
            weights, layers = r.features["ap:weights"], r.features["ap:layers"]
            last = r.values[-1] if r.values else None  # a training that failed in its first epoch
            writer.writerow([r.trial, r.label, r.state, len(r.values), r.reward, r.predicted, last, weights, layers, r.text])
    os.replace(part, path)
