"""The OptunaHub package folder loads by OptunaHub's own loader, says what OptunaHub asks of it, and its example runs."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import ModuleType

import optuna
import pytest

from curvestop.clients import optuna as pruners
from tests.optuna_studies import EPOCHS, curve_of, drawn_curves, new_study, replay

REGISTRY = Path(__file__).resolve().parents[3] / "examples" / "optunahub" / "package"
PACKAGE = "pruners/curvestop"


@pytest.fixture(scope="module")
def package() -> ModuleType:
    module: ModuleType = pytest.importorskip("optunahub").load_local_module(PACKAGE, registry_root=str(REGISTRY))
    return module


def test_it_loads_and_prunes(package: ModuleType) -> None:
    assert set(package.__all__) == {"FHyperbandPruner", "SRMPruner"}
    assert package.SRMPruner is pruners.SRMPruner
    study = new_study(package.SRMPruner(max_epochs=EPOCHS))
    replay(study, drawn_curves(20, seed=1))
    lengths = replay(study, [curve_of(-2.0), curve_of(3.0)])
    assert lengths[0] < EPOCHS
    assert lengths[1] == EPOCHS


def test_its_readme_has_the_front_matter_that_optunahub_asks_for() -> None:
    text = (REGISTRY / PACKAGE / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    matter = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert set(matter) == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert matter["license"] == "MIT License"
    assert matter["tags"].startswith("[pruner")
    for heading in ("Abstract", "Class or Function Names", "Installation", "Example"):
        assert f"## {heading}\n" in body
    assert (REGISTRY / PACKAGE / "LICENSE").read_text().startswith("MIT License")


def test_its_example_runs(package: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    monkeypatch.setattr("optunahub.load_module", {PACKAGE: package}.__getitem__)
    runpy.run_path(str(REGISTRY / PACKAGE / "example.py"), run_name="__main__")
    best, epochs = capsys.readouterr().out.split(";")
    assert float(best.split()[1]) > 0.8
    assert int(epochs.split()[0]) < 0.8 * int(epochs.split()[3])
