"""The examples in the docstrings of the installed package run, and every class that a user meets first has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import tokenize
from pathlib import Path

import pytest

import curvestop

NOT_INSTALLED = (
    "curvestop.tests",
    "curvestop.benchmarks",
    "curvestop.docs",
    "curvestop.examples",
)  # an editable install has them, a wheel not
GENERATED = ("_pb2", "_pb2_grpc")


def module_files(folder: Path, package: str) -> dict[str, Path]:
    """Return the file of every module below the package, by name, without importing any of them."""
    found: dict[str, Path] = {}
    for module in pkgutil.iter_modules([str(folder)], f"{package}."):
        if module.name.startswith(NOT_INSTALLED) or module.name.endswith(GENERATED):
            continue
        path = folder / module.name.rpartition(".")[2]
        if module.ispkg:
            found[module.name] = path / "__init__.py"
            found |= module_files(path, module.name)
        else:
            found[module.name] = path.with_suffix(".py")
    return found


def with_examples() -> list[str]:
    """Return the names of the modules whose text has a doctest."""
    files = {"curvestop": Path(curvestop.__file__)} | module_files(Path(curvestop.__file__).parent, "curvestop")
    names = []
    for name, path in files.items():
        with tokenize.open(path) as file:
            if ">>> " in file.read():
                names.append(name)
    return sorted(names)


def missing_package(error: BaseException | None) -> str | None:
    """Return the package of others that could not be found, looking through the errors that this one is raised from."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "curvestop").startswith("curvestop"):
            return error.name
        error = error.__cause__
    return None


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (missing := missing_package(error)) is None:
            raise
        pytest.skip(f"{missing} is not installed")
    monkeypatch.chdir(tmp_path)  # examples that write a file leave it there
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted, f"{name} has '>>> ' outside its docstrings"
    assert result.failed == 0


CLASSES = [name for name in curvestop.__all__ if name[0].isupper()]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_that_a_user_meets_has_an_example(name: str) -> None:
    text = getattr(curvestop, name).__doc__ or ""
    assert "Example" in text
    assert ">>> " in text
