"""The option `--config FILE`: a TOML file in place of flags; a flag on the command line overrides it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from curvestop.hyperband.scheduler.toml_file import read_toml

# A token does not belong in a file that is passed around; the others are no options of a run.
NOT_IN_FILES = frozenset({"config", "token", "dry_run", "help", "install_completion", "show_completion"})


def load_config(path: Path, options: Collection[str]) -> dict[str, Any]:
    """Read the options that a file sets.

    Args:
        path: The TOML file; in its keys, `-` and `_` are the same.
        options: Names of the options that it may set.

    Returns:
        Values by option.

    Raises:
        ValueError: If the file cannot be read or sets another option, in one line that names the file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "run.toml")
        ...     _ = file.write_text("max-epochs = 27")
        ...     load_config(file, ["max_epochs"])
        {'max_epochs': 27}
    """
    given = read_toml(path, "configuration")
    config = {key.replace("-", "_"): value for key, value in given.items()}
    for key in config:
        if key not in options:
            raise ValueError(f"{path}: a configuration takes {', '.join(options)}, but got {key!r}")
    return config


def _set_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the other options, before those are parsed."""
    if path is not None and not context.resilient_parsing:
        # `plan` takes the file of a `run`, so the options are always those of `run`.
        run = context.parent.command.get_command(context.parent, "run")  # type: ignore[union-attr]
        options = [option.name for option in run.params if option.name not in NOT_IN_FILES]
        try:
            # Below the command line in precedence, above the options' own defaults.
            context.default_map = load_config(path, options)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with values for any flags of `run` (max-epochs = 27); flags override it.",
        is_eager=True,
        callback=_set_defaults,
    ),
]
"""Type of the parameter `config` of a command."""
