"""A TOML file in place of flags: `--config FILE`, where a flag on the command line has the last word."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from curvestop.hyperband.scheduler.toml_file import read_toml

UNKNOWN_TO_FILES = frozenset({"config", "token", "dry_run", "help", "install_completion", "show_completion"})
"""A token does not belong in a file that is passed around."""


def load_config(path: Path, options: Collection[str]) -> dict[str, Any]:
    """The options that a file sets, by name; `-` and `_` are the same. Every mistake is a one-line ValueError."""
    given = read_toml(path, "configuration")
    config = {key.replace("-", "_"): value for key, value in given.items()}
    for key in config:
        if key not in options:
            raise ValueError(f"{path}: a configuration takes {', '.join(options)}, but got {key!r}")
    return config


def _take(context: typer.Context, path: Path | None) -> Path | None:
    """Before the other options are looked at: the file's values are their defaults."""
    if path is not None and not context.resilient_parsing:
        run = context.parent.command.get_command(context.parent, "run")  # type: ignore[union-attr]
        options = [option.name for option in run.params if option.name not in UNKNOWN_TO_FILES]
        try:
            context.default_map = load_config(path, options)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A TOML file with a value for any flag of `run` (max-epochs = 27); flags override it.",
        is_eager=True,
        callback=_take,
    ),
]
