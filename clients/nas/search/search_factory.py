"""The spaces that `metaqnn` searches, each with the agent of its paper, made from a search's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Described, Record
from curvestop.clients.nas.search.q_learning import BLOCKQNN_REPLAY, BLOCKQNN_SCHEDULE, METAQNN_SCHEDULE, QLearning
from curvestop.clients.nas.search.q_values import BLOCKQNN_VALUES
from curvestop.clients.nas.spaces import blockqnn, cells
from curvestop.clients.nas.spaces.chain import DecisionChain
from curvestop.clients.nas.spaces.layers import notation, with_dropout
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace
from curvestop.clients.nas.training.counting import features
from curvestop.srm.study import StudyLike

if TYPE_CHECKING:
    from curvestop.clients.nas.search.search_folder import SearchSettings


def table_1(settings: SearchSettings) -> MetaQNNSpace:
    """MetaQNN's, its filters and neurons divided by `divide`. Raises ValueError when they cannot be."""
    whole = MetaQNNSpace()
    if settings.divide < 1 or any(n % settings.divide for n in (*whole.filters, *whole.neurons)):
        raise ValueError(f"divide must divide 64, the smallest number of filters, but got {settings.divide}")
    return MetaQNNSpace(
        image_size=settings.image_size,
        n_channels=settings.n_channels,
        n_classes=settings.n_classes,
        max_depth=settings.depth(12),
        filters=tuple(n // settings.divide for n in whole.filters),
        neurons=tuple(n // settings.divide for n in whole.neurons),
    )


def _metaqnn(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    space = table_1(settings)

    def describe(chosen: tuple[Any, ...]) -> Described:
        architecture = with_dropout(space.architecture(chosen))
        told = features(architecture, space, learning_rate=settings.learning_rate, bag_of_words=settings.bag_of_words)
        return Described(notation(architecture), told)

    searcher = QLearning(space, seed=settings.seed, schedule=METAQNN_SCHEDULE.scaled(settings.models))
    return ArchitectureSearch(searcher, describe, epochs=settings.epochs, study=study, settings=settings.for_trainer)


def _blockqnn(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Minibatches of 64 blocks, Equation 2, the redefined reward; FLOPs are those of one block at the images' full size."""

    def sized(chosen: tuple[Any, ...], size: int) -> int:
        filters = settings.n_filters
        return blockqnn.flops(blockqnn.block_of(chosen), n_channels=filters, n_filters=filters, size=size)

    def describe(chosen: tuple[Any, ...]) -> Described:
        block = blockqnn.block_of(chosen)
        told = {"ap:weights": 1 + sized(chosen, 1), "ap:layers": len(block), "ap:density": blockqnn.density(block)}
        return Described(blockqnn.notation(block), {**told, "learning_rate": settings.learning_rate})

    def redefined(record: Record, accuracy: float) -> float:
        n_flops = sized(record.chosen, settings.image_size)
        return blockqnn.redefined_reward(accuracy, n_flops, float(record.features["ap:density"]))

    searcher = QLearning(
        blockqnn.BlockSpace(max_layers=settings.depth(12, least=2)),
        seed=settings.seed,
        schedule=BLOCKQNN_SCHEDULE.scaled(settings.models),
        replay=BLOCKQNN_REPLAY,
        settings=BLOCKQNN_VALUES,
    )
    return ArchitectureSearch(
        searcher, describe, epochs=settings.epochs, study=study, settings=settings.for_trainer, redefined=redefined
    )


def _cells(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """The PPO poster's large space: branches and skips."""
    return _controlled(settings, study, cells.large(settings.depth(4)), lambda chosen: cells.notation(cells.large_cell(chosen)))


def _convolutions(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """The REINFORCE poster's, with skip connections by attention."""
    from curvestop.clients.nas.spaces import convolutions  # only here, as it loads torch

    chain = convolutions.space(settings.depth(4), divide=settings.divide)
    return _controlled(
        settings,
        study,
        chain,
        lambda chosen: convolutions.notation(convolutions.layers_of(chosen)),
        decisions_per_layer=convolutions.DECISIONS_PER_LAYER,
    )


def _controlled(
    settings: SearchSettings,
    study: StudyLike | None,
    chain: DecisionChain,
    notation_of: Callable[[tuple[Any, ...]], str],
    *,
    decisions_per_layer: int | None = None,
) -> ArchitectureSearch:
    """An LSTM controller searches."""
    from curvestop.clients.nas.search import policy_search  # only here, as they load torch
    from curvestop.clients.nas.training import building  # only here, as they load torch

    controllers = {"reinforce": policy_search.REINFORCE, "ppo": policy_search.PPO}
    name = settings.controller or CONTROLLERS[settings.space]
    if name not in controllers:
        raise ValueError(f"controller must be one of {', '.join(controllers)}, but got {name!r}")
    size = {name: getattr(settings, name) for name in ("image_size", "n_channels", "n_classes", "n_filters")}

    def describe(chosen: tuple[Any, ...]) -> Described:
        text = notation_of(chosen)
        told = {"ap:weights": building.n_weights(text, **size), "ap:layers": text.count(",") + 1}
        return Described(text, {**told, "learning_rate": settings.learning_rate})

    searcher = policy_search.PolicySearch(
        chain,
        seed=settings.seed,
        n_models=settings.models,
        settings=controllers[name],
        decisions_per_layer=decisions_per_layer,
    )
    return ArchitectureSearch(searcher, describe, epochs=settings.epochs, study=study, settings=settings.for_trainer)


CONTROLLERS: Mapping[str, str] = {"cells": "ppo", "convolutions": "reinforce"}
"""Of the spaces that a controller searches."""

SPACES: Mapping[str, Callable[[SearchSettings, StudyLike | None], ArchitectureSearch]] = {
    "metaqnn": _metaqnn,
    "blockqnn": _blockqnn,
    "cells": _cells,
    "convolutions": _convolutions,
}


def new_search(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Raises ValueError for a space that there is not, and for settings that make no sense in it."""
    if settings.space not in SPACES:
        raise ValueError(f"space must be one of {', '.join(SPACES)}, but got {settings.space!r}")
    if settings.controller and settings.space not in CONTROLLERS:
        raise ValueError(f"a controller searches {', '.join(CONTROLLERS)}, but the space is {settings.space!r}")
    return SPACES[settings.space](settings, study)
