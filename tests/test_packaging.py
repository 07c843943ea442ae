"""The wheel has every package of the product, and the files beside the modules that it needs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import curvestop

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
FOLDERS = ("srm", "proto", "server", "hyperband", "clients")


def test_every_folder_of_the_product_is_a_package_of_the_wheel() -> None:
    root = Path(curvestop.__file__).parent
    modules = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    assert {".".join(("curvestop", *path.parent.parts)) for path in modules} | {"curvestop"} == set(
        PROJECT["tool"]["setuptools"]["packages"]
    )


def test_the_files_that_are_no_modules_are_there() -> None:
    root = Path(curvestop.__file__).parent
    assert (root / "py.typed").exists()
    assert (root / "proto" / "early_stopping.proto").exists()
    assert {path.suffix for path in (root / "clients" / "dashboard" / "static").iterdir()} >= {".html", ".css", ".js", ".svg"}


def test_every_core_dependency_has_a_lower_bound_and_dev_has_every_extra() -> None:
    project = PROJECT["project"]
    assert [name for name in project["dependencies"] if ">=" not in name] == []
    extras = project["optional-dependencies"]
    included = {name for line in extras["dev"] if line.startswith("curvestop[") for name in line[10:-1].split(",")}
    assert included == set(extras) - {"dev"}
