"""The inputs that once were read wrongly, end to end: each with the result that is right. One function for each input.

The inputs are in `findings/inputs` beside the folder of the data. `make_inputs.py` there draws the curves that
`expected_curves` gives.
"""

from __future__ import annotations

import math
import os
import runpy
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest

import curvestop
from curvestop import srm
from curvestop.clients.backtest.curve_set import Array
from curvestop.clients.backtest.readers import detect
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.runs import Curves, curves_of

DATA = Path(os.environ.get("CURVESTOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
INPUTS = DATA.parent / "findings" / "inputs"

pytestmark = [
    pytest.mark.skipif(not INPUTS.is_dir(), reason=f"there are no inputs at {INPUTS}: set CURVESTOP_DATA"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),  # of the scripts
]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def run_script(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, until: str | None = None) -> dict[str, Any]:
    """Run a script of the inputs in a folder of its own, and return its names; modules have the names that they once had.

    Args:
        name: Its file.
        folder: The folder.
        monkeypatch: Takes back what was changed.
        until: Beginning of the first line that is left out, with all that follow; None for the whole script.
    """
    once: dict[str, dict[str, Any]] = {
        "curvestop.clients.backtest.reading": {"read": detect.read},
        "curvestop.clients.backtest.tables": {"Wanted": ReadOptions},
        "curvestop.hyperband.pruner": {"SRMPruner": curvestop.SRMPruner, "FHyperbandPruner": curvestop.FHyperbandPruner},
        "curvestop.srm": {"StudySettings": curvestop.StudySettings, "__path__": srm.__path__},
    }
    for module, contents in once.items():
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        sys.modules[module].__dict__.update(contents)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(INPUTS))
    if until is None:
        return runpy.run_path(str(INPUTS / name))
    names: dict[str, Any] = {"__name__": name}
    exec((INPUTS / name).read_text().split(f"\n{until}")[0], names)  # a script of ours, cut where it begins to loop
    return names


# The tables, charts, JSON and mlruns of make_inputs.py: 30 runs of 10 epochs.


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        run_script("make_inputs.py", folder, patch)
    return folder / "inputs"


RATES = [10 ** -(1 + trial * 7 % 30 / 10) for trial in range(30)]


def expected_curves() -> Array:
    levels = [0.9 - 0.1 * (math.log10(rate) + 2.5) ** 2 for rate in RATES]
    return np.array([[level * (1 - math.exp(-0.4 * epoch)) for epoch in range(1, 11)] for level in levels])


def curves_in(source: Path, metric: str | None = None, **options: Any) -> Curves:
    return curves_of(detect.read(str(source), ReadOptions(metric, **options)))


def assert_all_is_read(found: Curves, *, rates: bool) -> None:
    assert found.counts == {"complete": 30, "finished early": 0, "unfinished": 0, "diverged": 0, "without values": 0}
    assert found.curves == pytest.approx(expected_curves())
    if rates:
        (name,) = found.configuration(0)
        assert [found.configuration(row)[name] for row in range(30)] == pytest.approx(RATES)


@pytest.mark.parametrize("name", ["german", "semicolon", "bom", "utf16", "latin1"])
def test_tables_of_other_countries_and_programs(name: str, inputs: Path) -> None:
    assert_all_is_read(curves_in(inputs / f"{name}.csv"), rates=True)


def test_percent_signs(inputs: Path) -> None:
    found = curves_in(inputs / "percent.csv")
    assert found.curves == pytest.approx(np.round(expected_curves(), 3))


def test_a_value_that_is_not_available(inputs: Path) -> None:
    with pytest.raises(ValueError, match=r"nanword.csv, line \d+: val_acc must be a number, but got 'N/A'"):
        curves_in(inputs / "nanword.csv")


def test_infinite_values_are_divergence(inputs: Path) -> None:
    lines = (inputs / "infword.csv").read_text().splitlines()
    diverged = {line.partition(",")[0] for line in lines if "Infinity" in line}
    assert diverged
    assert curves_in(inputs / "infword.csv").counts["diverged"] == len(diverged)


def test_a_comment_before_the_table(inputs: Path) -> None:
    with pytest.raises(ValueError, match=r"comment.csv, line 2: a row must have 1 cells like the first line, but has 4"):
        curves_in(inputs / "comment.csv")


DIRECTIONS = {
    "neg_mean_squared_error": "maximize",
    "neg_log_loss": "maximize",
    "brier_score": "minimize",
    "dice_loss": "minimize",
    "mean_average_precision_error": "minimize",
    "val_nDCG": "maximize",
    "test/cost": "minimize",
    "kl_div": "minimize",
    "accuracy_gap": "minimize",
}


@pytest.mark.parametrize("metric", DIRECTIONS)
def test_directions(metric: str, inputs: Path) -> None:
    found = curves_in(inputs / f"dir_{metric.replace('/', '_')}.csv")
    assert (found.metric, found.direction) == (metric, DIRECTIONS[metric])


def test_a_metric_whose_name_says_nothing_is_asked_about(inputs: Path) -> None:
    with pytest.raises(ValueError, match="the name 'power' does not tell whether higher is better: add --direction"):
        curves_in(inputs / "dir_power.csv")


@pytest.mark.parametrize("axis", ["step", "tgs", "reltime", "epoch", "dupnames"])
def test_charts_of_wandb_with_any_x_axis(axis: str, inputs: Path) -> None:
    found = curves_in(inputs / f"chart_{axis}.csv", "val/acc")
    assert_all_is_read(found, rates=False)
    names = [run.trial for run in found.recorded]
    if axis == "dupnames":
        assert names[:4] == ["baseline", "wide", "baseline (2)", "wide (2)"]
    else:
        assert names == [f"run-{trial}" for trial in range(30)]


def test_a_chart_over_global_steps() -> None:
    found = curves_in(INPUTS / "chart_global_step.csv")
    assert (found.metric, len(found.curves)) == ("val/acc", 6)
    assert found.counts["complete"] == 6
    assert found.curves[0, :4].tolist() == [0.2, 0.32, 0.392, 0.4352]  # the file's first column of the metric


def test_the_table_of_runs_of_wandb(inputs: Path) -> None:
    for metric in (None, "val/loss"):
        with pytest.raises(ValueError, match=r"wandb_table.csv has one value for each run: no learning curves; .*scan_history"):
            curves_in(inputs / "wandb_table.csv", metric)


def test_runs_of_wandb_whose_names_repeat(inputs: Path) -> None:
    found = curves_in(inputs / "wandb_dups.json")
    assert [run.trial for run in found.recorded[:4]] == ["baseline", "wide", "deep", "baseline"]
    assert found.curves == pytest.approx(expected_curves())


def test_rows_of_wandb_of_several_metrics(inputs: Path) -> None:
    found = curves_in(inputs / "wandb_rows.json", "val/acc")
    assert found.counts == {"complete": 29, "finished early": 0, "unfinished": 0, "diverged": 1, "without values": 0}
    assert found.curves[0] == pytest.approx(expected_curves()[0])
    assert found.recorded[3].outcome == "diverged"  # "NaN" from epoch 6 on


def test_mlruns_with_one_name_for_all_runs(inputs: Path) -> None:
    assert_all_is_read(curves_in(inputs / "mlruns_same"), rates=True)


def test_mlruns_with_two_values_for_each_step(inputs: Path) -> None:
    found = curves_in(inputs / "mlruns_dup")
    assert found.curves == pytest.approx(0.999 * expected_curves())  # the later one


# The scripts.


def test_tensorboard_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch.utils.tensorboard")
    script = run_script("tensorboard_restart.py", tmp_path, monkeypatch)
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    # Where TensorBoard purges, both are equal. Without purge_step, it draws both trainings, and we take the later one.
    assert lines == ["a same as TensorBoard", "b same as TensorBoard", "c same as TensorBoard", "d DIFFERENT"]
    assert script["r"].values == pytest.approx([0.09 * epoch for epoch in range(5)])
    assert script["r"].restarted_at == 0


def test_optuna_objective_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = run_script("optuna_objective_value.py", tmp_path, monkeypatch)
    study: optuna.Study = script["st"]
    assert (script["b"].trial, script["b"].values[-1]) == (str(study.best_trial.number), study.best_value)
    n_other = sum(trial.value != trial.intermediate_values[9] for trial in study.trials)
    notes = detect.read(str(tmp_path / "value.db")).notes
    assert notes == (f"{n_other} trials returned another value than the last report: the returned one is the final one",)
    with pytest.raises(ValueError, match=r"noreports.db \(n\) has one value for each run: no learning curves"):
        detect.read(str(tmp_path / "noreports.db"))


def test_value_or_prune_then_backtest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = run_script("value_or_prune_then_backtest.py", tmp_path, monkeypatch)["x"]
    counts = curves_in(tmp_path / "vop.db").counts
    n_complete = Counter(states)["COMPLETE"]
    assert 0 < n_complete < len(states)
    assert (counts["complete"], counts["unfinished"], counts["finished early"]) == (n_complete, len(states) - n_complete, 0)


# The pruners and studies.


def test_flat_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 trials that all read 0 for ten epochs none is pruned meanwhile, the four best are kept. Once the best was lost."""
    go = run_script("flat_start_fhyperband.py", tmp_path, monkeypatch, until="for seed in")["go"]
    found = go(lambda: curvestop.FHyperbandPruner(27), seed=2)
    assert found["pruned_while_all_flat"] == 0
    assert found["best4_kept"] == found["best4_drawn"]
    assert found["pruned"] > 20


def test_pruned_after_last_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = run_script("pruned_after_last_report.py", tmp_path, monkeypatch, until="for P in")["go"]
    for pruner in (curvestop.SRMPruner, curvestop.FHyperbandPruner):
        for steps in ([4, 9, 14, 19], [9, 19]):
            pruned, after_the_last = go(pruner, steps)
            assert pruned > 20
            assert after_the_last == 0
        assert go(pruner, [19]) == (0, 0)


def test_exploding_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_script("exploding_values.py", tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    # Of the runs without an explosion, "none bad", an ordinary trial may be kept: that depends on which models were ready.
    assert [line for line in lines if "exploded kept 0 " not in line and "none bad" not in line] == []
    assert all("best5 kept ['C', 'C', 'C', 'C', 'C']" in line for line in lines if line.startswith("SRMPruner"))


def test_long_horizon_pruner_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended in a MemoryError, with eight gigabytes of address space."""
    states: list[str] = run_script("long_horizon_pruner_crash.py", tmp_path, monkeypatch)["x"]
    assert set(states) == {"PRUNED", "COMPLETE"}
    assert "raised" not in capsys.readouterr().out


def test_long_horizon_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A study of 20,000 epochs, all reported, by itself: once it took memory with the square of the epochs."""
    monkeypatch.setattr(sys, "argv", ["long_horizon_memory.py", "20000"])
    study = run_script("long_horizon_memory.py", tmp_path, monkeypatch)["s"]
    assert len(study.trials()) == 23
    assert "epoch 4,000 of 20,000" in capsys.readouterr().out
