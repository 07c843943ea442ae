"""Makes a search from its settings: each search space with the algorithm of its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Description, Record
from curvestop.clients.nas.search.q_learning import BLOCKQNN_REPLAY, BLOCKQNN_SCHEDULE, METAQNN_SCHEDULE, QLearning
from curvestop.clients.nas.search.q_values import BLOCKQNN_SEARCH
from curvestop.clients.nas.search.search_settings import SearchSettings
from curvestop.clients.nas.spaces import blockqnn, cells
from curvestop.clients.nas.spaces.chain import ChoiceChain
from curvestop.clients.nas.spaces.layers import notation, with_dropout
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace
from curvestop.clients.nas.training.counting import features
from curvestop.srm.study_like import StudyLike


def metaqnn_space(settings: SearchSettings) -> MetaQNNSpace:
    """Return MetaQNN's space (Table 1) for the images, its filters and neurons divided by `settings.divide`.

    Args:
        settings: Size, channels and classes of the images, `max_depth` (None: 12) and `divide`.

    Raises:
        ValueError: If a number of filters or neurons cannot be divided.
    """
    table_1 = MetaQNNSpace()  # the defaults are the paper's
    if settings.divide < 1 or any(n % settings.divide for n in (*table_1.filters, *table_1.neurons)):
        raise ValueError(f"divide must divide 64, the smallest number of filters, but got {settings.divide}")
    return MetaQNNSpace(
        image_size=settings.image_size,
        n_channels=settings.n_channels,
        n_classes=settings.n_classes,
        max_depth=settings.depth(12),
        filters=tuple(n // settings.divide for n in table_1.filters),
        neurons=tuple(n // settings.divide for n in table_1.neurons),
    )


def _search_chains(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Search MetaQNN's space with its Q-learning agent."""
    space = metaqnn_space(settings)

    def describe(chosen: tuple[Any, ...]) -> Description:
        architecture = with_dropout(space.architecture(chosen))
        # The paper trains with dropouts; the agent does not choose them.
        described = features(architecture, space, learning_rate=settings.learning_rate, bag_of_words=settings.bag_of_words)
        return Description(notation(architecture), described)

    # Shorter searches keep the paper's shares of exploration (Table 2).
    searcher = QLearning(space, seed=settings.seed, schedule=METAQNN_SCHEDULE.scaled(settings.models))
    return ArchitectureSearch(
        searcher, describe, epochs=settings.epochs, study=study, trainer_configuration=settings.trainer_configuration
    )


def _search_blocks(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Search BlockQNN's space: minibatches of 64 blocks, Equation 2, and the redefined reward of Formula 1."""
    from curvestop.clients.nas.training import building  # imported here because it loads torch

    size = {name: getattr(settings, name) for name in ("image_size", "n_channels", "n_classes", "n_filters")}

    def describe(chosen: tuple[Any, ...]) -> Description:
        block = blockqnn.block_from_choices(chosen)
        text = blockqnn.notation(block)
        weights = building.n_parameters(text, **size)
        described = {"ap:weights": weights, "ap:layers": len(block), "ap:density": blockqnn.density(block)}
        return Description(text, {**described, "learning_rate": settings.learning_rate})

    def reward_of(record: Record, accuracy: float) -> float:
        block, filters = blockqnn.block_from_choices(record.chosen), settings.n_filters
        # The paper does not say of what; here they are those of one block at the full size of the images.
        n_flops = blockqnn.flops(block, n_channels=filters, n_filters=filters, size=settings.image_size)
        return blockqnn.redefined_reward(accuracy, n_flops, float(record.features["ap:density"]))

    searcher = QLearning(
        blockqnn.BlockSpace(max_layers=settings.depth(12, least=2)),
        seed=settings.seed,
        schedule=BLOCKQNN_SCHEDULE.scaled(settings.models),
        replay=BLOCKQNN_REPLAY,
        settings=BLOCKQNN_SEARCH,
    )
    return ArchitectureSearch(
        searcher,
        describe,
        epochs=settings.epochs,
        study=study,
        trainer_configuration=settings.trainer_configuration,
        reward_of=reward_of,
    )


def _search_cells(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Search the PPO poster's large space of cells, with branches and skips."""

    def notation_of(chosen: tuple[Any, ...]) -> str:
        return cells.notation(cells.cell_from_choices(chosen))

    return _search_with_controller(settings, study, cells.large_space(settings.depth(4)), notation_of)


def _search_small_cells(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Search the PPO poster's small space: two operations in a row, whatever the depth."""

    def notation_of(chosen: tuple[Any, ...]) -> str:
        return cells.notation(cells.small_cell_from_choices(chosen))

    return _search_with_controller(settings, study, cells.SMALL_SPACE, notation_of)


def _search_convolutions(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Search the REINFORCE poster's chains of convolutions, with skip connections by attention."""
    from curvestop.clients.nas.spaces import convolutions  # imported here because it loads torch

    def notation_of(chosen: tuple[Any, ...]) -> str:
        return convolutions.notation(convolutions.layers_from_choices(chosen))

    # The poster lets the controller write a fixed number of layers; so does the space.
    chain = convolutions.space(settings.depth(4), divide=settings.divide)
    return _search_with_controller(settings, study, chain, notation_of, choices_per_layer=convolutions.CHOICES_PER_LAYER)


def _search_with_controller(
    settings: SearchSettings,
    study: StudyLike | None,
    chain: ChoiceChain,
    notation_of: Callable[[tuple[Any, ...]], str],
    *,
    choices_per_layer: int | None = None,
) -> ArchitectureSearch:
    """Search a chain of choices with an LSTM controller; `choices_per_layer` is as of `Controller`."""
    # Imported here because they load torch, which Q-learning does not need.
    from curvestop.clients.nas.search import policy_search
    from curvestop.clients.nas.training import building

    algorithms = {"reinforce": policy_search.REINFORCE, "ppo": policy_search.PPO}
    algorithm = settings.controller or CONTROLLERS[settings.space]
    if algorithm not in algorithms:
        raise ValueError(f"controller must be one of {', '.join(algorithms)}, but got {algorithm!r}")
    size = {name: getattr(settings, name) for name in ("image_size", "n_channels", "n_classes", "n_filters")}

    def describe(chosen: tuple[Any, ...]) -> Description:
        text = notation_of(chosen)
        # A layer or node is a part of the notation between commas.
        described = {"ap:weights": building.n_parameters(text, **size), "ap:layers": text.count(",") + 1}
        return Description(text, {**described, "learning_rate": settings.learning_rate})

    searcher = policy_search.PolicySearch(
        chain,
        seed=settings.seed,
        n_models=settings.models,
        settings=algorithms[algorithm],
        choices_per_layer=choices_per_layer,
    )
    return ArchitectureSearch(
        searcher, describe, epochs=settings.epochs, study=study, trainer_configuration=settings.trainer_configuration
    )


CONTROLLERS: Mapping[str, str] = {"cells": "ppo", "small-cells": "ppo", "convolutions": "reinforce"}
"""The spaces that a controller searches, and the algorithm of each one's poster."""

SPACES: Mapping[str, Callable[[SearchSettings, StudyLike | None], ArchitectureSearch]] = {
    "metaqnn": _search_chains,
    "blockqnn": _search_blocks,
    "cells": _search_cells,
    "small-cells": _search_small_cells,
    "convolutions": _search_convolutions,
}
"""What makes a search of each space, by the space's name."""


def new_search(settings: SearchSettings, study: StudyLike | None) -> ArchitectureSearch:
    """Make a search; the same settings and the same decisions of the study give the same search.

    Args:
        settings: The settings.
        study: The study that stops trainings; None trains every architecture to the end.

    Returns:
        A search that has proposed nothing yet.

    Raises:
        ValueError: If there is no such space or controller, the space is not searched by a controller, `max_depth` is too
            small, `divide` does not divide the numbers of filters, or there are fewer models than steps of the schedule.
    """
    if settings.space not in SPACES:
        raise ValueError(f"space must be one of {', '.join(SPACES)}, but got {settings.space!r}")
    if settings.controller and settings.space not in CONTROLLERS:
        raise ValueError(f"a controller searches {', '.join(CONTROLLERS)}, but the space is {settings.space!r}")
    return SPACES[settings.space](settings, study)
