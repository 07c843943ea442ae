"""The options of `hyperband run` and `metaqnn run` that say how their study predicts and decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from curvestop.srm.policies.registry import JSON, POLICIES
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.settings import THESIS

OF_THESIS: Mapping[str, Mapping[str, Any]] = {
    # Section 4.1.3, Algorithms 1 and 2; Figures 4-8 and 4-9 have a Delta of 0.95.
    "hyperband": {"mode": "sync", "threshold": 0.95, "kappa": 1.0, "no_recall": True},
    # Section 4.2.3.
    "metaqnn": {"policy": THESIS["policy"], "threshold": THESIS["rule"].threshold},
}
"""What `--thesis` sets in `hyperband run` and `metaqnn run`, beside what both have in common."""

_OF_BOTH = {"predictor": THESIS["predictor"], "min_curves": THESIS["rule"].min_curves}


def parse_settings(given: str | Mapping[str, JSON]) -> dict[str, JSON]:
    """Return settings by name.

    Args:
        given: A JSON object, or a table of a TOML file.

    Raises:
        typer.BadParameter: If it is neither.

    Examples:
        >>> parse_settings('{"risk": 0.1}')
        {'risk': 0.1}
    """
    try:
        settings = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        settings = None
    if not isinstance(settings, Mapping):
        raise typer.BadParameter(f'settings must be a JSON object like {{"risk": 0.1}}, but got {given!r}')
    return dict(settings)


def names_of(own: str, shared: str | None, server: str | None) -> dict[str, str]:
    """Return the settings "study" and "prefix" of a search.

    Args:
        own: A name that no other search has.
        shared: Name of the study that was asked for, if any.
        server: Address of the server, if there is one.

    Raises:
        typer.BadParameter: If a study in this process is to be shared.

    Examples:
        >>> names_of("a-1", None, None), names_of("a-1", "nets", "localhost:50051")
        ({'study': 'a-1', 'prefix': ''}, {'study': 'nets', 'prefix': 'a-1.'})
    """
    if shared is None:
        return {"study": own, "prefix": ""}
    if server is None:
        raise typer.BadParameter(f"searches share a study on a server: give --server beside --study {shared}")
    return {"study": shared, "prefix": f"{own}."}


def _set_defaults(context: typer.Context, wanted: bool) -> bool:
    """Make the thesis's values the defaults of the other options, before those are parsed."""
    if wanted and not context.resilient_parsing:
        command = "hyperband" if "mode" in {option.name for option in context.command.params} else "metaqnn"
        # A --config file says what the user wants, so it comes first.
        context.default_map = {**_OF_BOTH, **OF_THESIS[command], **(context.default_map or {})}
    return wanted


Thesis = Annotated[
    bool,
    typer.Option(
        "--thesis",
        help="The thesis's settings for all that no flag sets: nu-SVR trained once on the first 100 curves, its rule, asked "
        "after every epoch (hyperband: mode sync, kappa 1, no recall).",
        is_eager=True,
        callback=_set_defaults,
    ),
]
"""Type of the parameter `thesis` of a command."""

Policy = Annotated[
    str | None, typer.Option(help=f"Policy that decides when to stop: {', '.join(sorted(POLICIES))}.", show_default=False)
]
"""Type of the parameter `policy`; the command's help says what None is."""

PolicySettings = Annotated[
    dict[str, Any] | None,
    typer.Option(help='Arguments of the policy as JSON: {"risk": 0.1}.', parser=parse_settings, metavar="JSON"),
]
"""Type of the parameter `policy_settings`."""

Predictor = Annotated[str, typer.Option(help=f"Predictor of learning curves: {', '.join(sorted(PREDICTORS))}.")]
"""Type of the parameter `predictor`."""

PredictorSettings = Annotated[
    dict[str, Any] | None,
    typer.Option(help='Arguments of the predictor as JSON: {"n_candidates": 60}.', parser=parse_settings, metavar="JSON"),
]
"""Type of the parameter `predictor_settings`."""

Tolerance = Annotated[
    float, typer.Option(help="Trials that end within this of the value to beat also continue; the paper's delta.")
]
"""Type of the parameter `tolerance`."""

StudyName = Annotated[
    str | None,
    typer.Option(
        help="Name of a study on the server that searches with the same settings share: each learns from the curves of all "
        "(default: one of its own).",
        show_default=False,
    ),
]
"""Type of the parameter `study`."""

Token = Annotated[str | None, typer.Option(help="Token of the server; the variable CURVESTOP_TOKEN is safer.")]
"""Type of the parameter `token`."""
