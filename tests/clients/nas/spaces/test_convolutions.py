"""Chains of convolutions with skip connections: notation both ways, sizes by hand, and searches of them and of cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.nas import cli
from curvestop.clients.nas.search.controller import Controller
from curvestop.clients.nas.search.search_factory import new_search
from curvestop.clients.nas.search.search_folder import MODELS, save_settings
from curvestop.clients.nas.search.search_run import load_search, new_executor, run_search
from curvestop.clients.nas.search.search_settings import SearchSettings
from curvestop.clients.nas.spaces import cells, convolutions
from curvestop.clients.nas.spaces.convolutions import ConvolutionNetwork, SkipConvolution
from curvestop.clients.nas.training import building
from tests.clients.nas.test_cli import new_script
from tests.ray_cluster import RayCluster


def settings_of(space: str, script: Path, *, controller: str = "", engine: str = "local", divide: int = 8) -> SearchSettings:
    return SearchSettings(
        data="digits",
        space=space,
        script=str(script),
        study="s",
        image_size=8,
        n_channels=1,
        n_classes=10,
        models=4,
        epochs=2,
        seed=0,
        workers=1,
        max_depth=3,
        divide=divide,
        n_validation=300,
        n_training=0,
        batch_size=10,
        learning_rate=0.001,
        bag_of_words=False,
        device="",
        server=None,
        no_stop=True,
        threshold=0.99,
        min_curves=20,
        controller=controller,
        engine=engine,
    )


def test_what_a_controller_chose_is_written_read_and_built() -> None:
    """The third layer has both others as inputs; nothing has the third."""
    chosen = (3, 5, 16, 7, 7, 64, 3, 3, 16, "1->3", "2->3")
    layers = convolutions.layers_from_choices(chosen)
    assert layers == (SkipConvolution(3, 5, 16), SkipConvolution(7, 7, 64), SkipConvolution(3, 3, 16, (1, 2)))
    text = convolutions.notation(layers)
    assert text == "conv[3x5x16, 7x7x64, 3x3x16(1+2)]"
    assert convolutions.parse(text) == layers
    network = ConvolutionNetwork(layers, n_channels=2, n_classes=10)
    assert network.ends == [3]
    convolved = 3 * 5 * 2 * 16 + 7 * 7 * 2 * 64 + 3 * 3 * (16 + 64) * 16
    normalized, mapped = 2 * (16 + 64 + 16), 16 * 10 + 10
    assert building.n_parameters(text, image_size=8, n_channels=2, n_classes=10) == convolved + normalized + mapped
    assert network(torch.zeros(3, 2, 8, 8)).shape == (3, 10)


def test_layers_that_are_no_inputs_are_all_read() -> None:
    network = ConvolutionNetwork(convolutions.parse("conv[3x3x4, 3x3x8]"), n_channels=1, n_classes=2)
    assert network.ends == [1, 2]
    assert network.head[2].in_features == 12


@given(seed=st.integers(0, 1000))
def test_all_that_a_controller_writes_reads_back(seed: int) -> None:
    controller = Controller(convolutions.space(3, divide=16), n_hidden=4, choices_per_layer=convolutions.CHOICES_PER_LAYER)
    (chosen,) = controller.sample(1, torch.Generator().manual_seed(seed))
    layers = convolutions.layers_from_choices(chosen)
    assert len(layers) == 3
    assert convolutions.parse(convolutions.notation(layers)) == layers
    (cell,) = Controller(cells.large_space(3), n_hidden=4).sample(1, torch.Generator().manual_seed(seed))
    assert cells.parse(cells.notation(cells.cell_from_choices(cell))) == cells.cell_from_choices(cell)


@pytest.mark.parametrize("text", ["conv[]", "conv[3x3]", "conv[3x3x4(1)]", "cell[]", "cell[9x9 conv(0)]", "cell[3x3 conv(1)]"])
def test_what_cannot_be_read_is_shown(text: str) -> None:
    with pytest.raises(ValueError) as error:
        building.build(text, image_size=8, n_channels=1, n_classes=10)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("space", "controller", "divide", "message"),
    [
        ("metaqnn", "ppo", 8, "a controller searches cells, small-cells, convolutions, but the space is 'metaqnn'"),
        ("cells", "random", 8, "controller must be one of reinforce, ppo, but got 'random'"),
        ("convolutions", "", 3, "divide must divide 16"),
        ("trees", "", 8, "space must be one of metaqnn, blockqnn, cells, small-cells, convolutions, but got 'trees'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(space: str, controller: str, divide: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        new_search(settings_of(space, Path("script.py"), controller=controller, divide=divide), None)


@pytest.mark.parametrize(("space", "least"), [("metaqnn", 1), ("blockqnn", 2), ("cells", 1), ("convolutions", 1)])
def test_too_small_a_depth_is_refused_by_the_name_it_was_given_by(space: str, least: int) -> None:
    message = f"max-depth of space '{space}' must be >= {least}, but got {least - 1}"
    with pytest.raises(ValueError, match=message):
        new_search(replace(settings_of(space, Path("script.py")), max_depth=least - 1), None)


@pytest.mark.parametrize(("space", "controller"), [("convolutions", "ppo"), ("cells", "reinforce")])
def test_a_controller_searches_and_its_networks_train(
    space: str, controller: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the trainer that the command uses, on the digits."""
    from curvestop.clients.nas.training import training_script

    settings = settings_of(space, Path(training_script.__file__), controller=controller)
    save_settings(tmp_path, settings)
    run_search(settings, None, new_executor(settings, tmp_path))
    _, search = load_search(tmp_path)
    assert [len(record.values) for record in search.records] == [2] * 4
    assert len({record.text for record in search.records}) == 4
    assert all(record.features["ap:weights"] == weights_of(record.text) for record in search.records)
    assert (tmp_path / MODELS).read_text().startswith("trial,batch,state,")
    cli.show(tmp_path)
    headings = capsys.readouterr().out.splitlines()[2].split("┃")
    assert [heading.strip() for heading in headings[1:4]] == ["trial", "batch", "accuracy"]


def weights_of(text: str) -> int:
    return building.n_parameters(text, image_size=8, n_channels=1, n_classes=10, n_filters=4)


def test_a_search_on_a_ray_cluster(ray_cluster: RayCluster, tmp_path: Path) -> None:
    settings = settings_of("convolutions", new_script(tmp_path / "a"), engine="ray")
    out = tmp_path / "out"
    out.mkdir()
    save_settings(out, settings)
    run_search(settings, None, new_executor(settings, out))
    assert [record.state for record in load_search(out)[1].records] == ["finished"] * 4
