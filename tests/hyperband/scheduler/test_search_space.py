"""Search spaces: what a good file gives, and the line every mistake gets."""

import math
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space, log_scaled

GOOD = """
[learning_rate]
type = "float"
low = 1e-4
high = 1
log = true

[width]
type = "int"
low = 8
high = 64
step = 8

[depth]
type = "int"
low = 1
high = 16
log = true

[optimizer]
type = "categorical"
choices = ["sgd", "adam", 3, true]
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return tmp_path / "space.toml"


def test_a_space_as_distributions(space_file: Path) -> None:
    space_file.write_text(GOOD)
    space = load_space(space_file)
    assert space == {
        "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
        "width": IntDistribution(8, 64, step=8),
        "depth": IntDistribution(1, 16, log=True),
        "optimizer": CategoricalDistribution(["sgd", "adam", 3, True]),
    }
    assert log_scaled(space) == ("learning_rate", "depth")


def test_draws_are_within_the_space_and_repeat_with_the_seed(space_file: Path) -> None:
    space_file.write_text(GOOD)
    space = load_space(space_file)
    draw, again, other = (SpaceSampler(space, seed=seed).draw for seed in (5, 5, 6))
    drawn = [draw() for _ in range(200)]
    assert drawn == [again() for _ in range(200)]
    assert drawn != [other() for _ in range(200)]
    rates = [float(c["learning_rate"]) for c in drawn]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1.0
    # Half of a log-uniform draw lies below the geometric mean; 200 draws give 100 +- 7.
    assert 70 < sum(rate < 1e-2 for rate in rates) < 130
    assert {c["width"] for c in drawn} == set(range(8, 65, 8))
    assert {c["optimizer"] for c in drawn} == {"sgd", "adam", 3, True}
    assert all(isinstance(c["depth"], int) and math.log(int(c["depth"])) >= 0 for c in drawn)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a search space needs at least one parameter"),
        ("[a", "not TOML"),
        ("a = 3", "[a]: must be a table like [a] with a type, but is 3"),
        ("[a]\nlow = 1", "[a]: type must be one of 'float', 'int', 'categorical', but got None"),
        ('[a]\ntype = "real"', "[a]: type must be one of 'float', 'int', 'categorical', but got 'real'"),
        ('[a]\ntype = ["float"]', "[a]: type must be one of"),
        ('[a]\ntype = "float"\nlow = 1', "[a]: type 'float' needs 'high'"),
        ('[a]\ntype = "float"\nlow = 1\nhigh = 2\nstep = 1', "[a]: type 'float' takes low, high, log, but got 'step'"),
        ('[a]\ntype = "float"\nlow = 2\nhigh = 1', "[a]: low must be at most high, but got 2 and 1"),
        ('[a]\ntype = "float"\nlow = "x"\nhigh = 1', "[a]: low must be a finite number, but got 'x'"),
        ('[a]\ntype = "float"\nlow = 0\nhigh = inf', "[a]: high must be a finite number, but got inf"),
        ('[a]\ntype = "float"\nlow = 0\nhigh = 1\nlog = true', "[a]: low must be > 0 with log = true, but got 0"),
        ('[a]\ntype = "float"\nlow = 0\nhigh = 1\nlog = 1', "[a]: log must be true or false, but got 1"),
        ('[a]\ntype = "int"\nlow = 1.5\nhigh = 3', "[a]: low must be an integer, but got 1.5"),
        ('[a]\ntype = "int"\nlow = true\nhigh = 3', "[a]: low must be an integer, but got True"),
        ('[a]\ntype = "int"\nlow = 1\nhigh = 3\nstep = 0', "[a]: step must be >= 1, but got 0"),
        ('[a]\ntype = "int"\nlow = 1\nhigh = 6\nstep = 2', "[a]: high - low must be a multiple of step, but got 1 to 6 by 2"),
        ('[a]\ntype = "int"\nlow = 1\nhigh = 5\nstep = 2\nlog = true', "[a]: step cannot be combined with log = true"),
        ('[a]\ntype = "categorical"\nchoices = []', "[a]: choices must be a list with at least one entry, but got []"),
        ('[a]\ntype = "categorical"\nchoices = [[1]]', "[a]: a choice must be a string, a finite number or a boolean, but"),
        ('[a]\ntype = "categorical"\nchoices = [1, 1]', "[a]: choices must differ, but got [1, 1]"),
        ('["a\\tb"]\ntype = "float"', "a parameter name must have no control characters"),
    ],
)
def test_a_mistake_is_one_line_naming_file_parameter_and_rule(space_file: Path, text: str, message: str) -> None:
    space_file.write_text(text)
    with pytest.raises(ValueError) as caught:
        load_space(space_file)
    assert str(caught.value).startswith(f"{space_file}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(space_file: Path) -> None:
    with pytest.raises(ValueError, match="the search space cannot be read: No such file"):
        load_space(space_file)
    space_file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        load_space(space_file)
