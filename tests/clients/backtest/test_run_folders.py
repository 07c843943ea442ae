"""Folders that loggers make, one for each run: named by the folder, with the configuration beside the history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.backtest.readers.detect import read, recognize
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.runs import Run, Runs

CURVES = ((0.25, 0.5), (0.5, 0.75))
RATES = (0.5, 0.125)
"""Two runs, with their learning rates."""


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def rows(curve: Sequence[float], step: str, first: int = 0, **others: Any) -> list[dict[str, Any]]:
    return [{step: epoch, "val_acc": value, **others} for epoch, value in enumerate(curve, first)]


def write_csv(path: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    lines = [",".join(reports[0]), *(",".join(map(str, row.values())) for row in reports)]
    made(path).write_text("\n".join(lines) + "\n")


def lightning(root: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    for curve, rate in zip(CURVES, RATES, strict=True):
        logger = CSVLogger(root, name="lightning_logs")
        logger.log_hyperparams({"lr": rate, "net": {"sizes": (64, 32)}})
        for epoch, value in enumerate(curve):
            logger.log_metrics({"train_loss": 1 - value, "epoch": epoch}, step=10 * epoch + 5)
            logger.log_metrics({"val_acc": value, "epoch": epoch}, step=10 * epoch + 9)
        logger.finalize("success")


def ray(root: Path) -> None:
    for i, (curve, rate) in enumerate(zip(CURVES, RATES, strict=True)):
        folder = root / f"train_0123_0000{i}_{i}_lr={rate}"
        results = [
            row | {"done": row["training_iteration"] == 2, "pid": 7, "time_total_s": 1.5, "config": {"lr": rate}, "date": "today"}
            for row in rows(curve, "training_iteration", 1)
        ]
        made(folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in results) + '{"val_a')
        write_csv(folder / "progress.csv", rows(curve, "training_iteration", 1))
        (folder / "params.json").write_text(json.dumps({"lr": rate}))
    (root / "experiment_state-2026.json").write_text('{"trial_data": []}')


def ultralytics(root: Path) -> None:
    for name, curve, rate in zip(("train", "train2"), CURVES, RATES, strict=True):
        lines = [f"{epoch},{1 - value},{value}" for epoch, value in enumerate(curve, 1)]
        made(root / name / "results.csv").write_text("\n".join(["  epoch,   train/box_loss,   val_acc", *lines]) + "\n")
        (root / name / "args.yaml").write_text(f"task: detect\nlr: {rate}\nsave_dir: runs/detect/{name}\n")


def transformers(root: Path) -> None:
    from transformers.trainer_callback import TrainerState

    for i, (curve, rate) in enumerate(zip(CURVES, RATES, strict=True)):
        log: list[dict[str, float]] = []
        for epoch, value in enumerate(curve, 1):
            log.append({"loss": 1 - value, "epoch": epoch - 0.5, "step": 90 * epoch})
            log.append({"eval_runtime": 1.0, "val_acc": value, "epoch": float(epoch), "step": 100 * epoch})
            state = TrainerState(epoch=epoch, global_step=100 * epoch, log_history=list(log), trial_params={"lr": rate})
            state.save_to_json(str(made(root / f"run-{i}" / f"checkpoint-{100 * epoch}" / "trainer_state.json")))


def keras(root: Path) -> None:
    """Write what `keras.callbacks.CSVLogger("run_0/training.log")` writes; the import of keras needs a backend."""
    for i, curve in enumerate(CURVES):
        write_csv(root / f"run_{i}" / "training.log", rows(curve, "epoch", accuracy=0.5, loss=0.25))
        (root / f"run_{i}" / "config.json").write_text(json.dumps({"lr": RATES[i]}))


WRITERS = {
    "Lightning": (lightning, ["version_0", "version_1"]),
    "Ray": (ray, ["train_0123_00000_0_lr=0.5", "train_0123_00001_1_lr=0.125"]),
    "Ultralytics": (ultralytics, ["train", "train2"]),
    "transformers": (transformers, ["run-0", "run-1"]),
    "Keras": (keras, ["run_0", "run_1"]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_folders_of_runs(name: str, tmp_path: Path) -> None:
    write, names = WRITERS[name]
    write(tmp_path / "logs")
    found = read(str(tmp_path / "logs"), ReadOptions("val_acc"))
    assert [run.trial for run in found.runs] == names
    assert [run.values for run in found.runs] == list(CURVES)
    assert [run.configuration["lr"] for run in found.runs] == list(RATES)
    assert all(run.steps[1] - run.steps[0] == 1 for run in found.runs)  # epochs, not steps
    if name == "Ray":
        assert found == read(str(tmp_path / "logs"))  # of what Ray writes by itself, nothing is the metric


def test_tuples_in_the_configuration_that_lightning_writes(tmp_path: Path) -> None:
    lightning(tmp_path)
    assert read(str(tmp_path), ReadOptions("val_acc")).runs[0].configuration == {"lr": 0.5, "net.sizes": "[64, 32]"}


def test_one_folder_of_a_run(tmp_path: Path) -> None:
    lightning(tmp_path)
    folder = tmp_path / "lightning_logs" / "version_1"
    expected = Run("version_1", {"lr": 0.125, "net.sizes": "[64, 32]"}, (0, 1), (0.5, 0.75))
    assert read(str(folder), ReadOptions("val_acc")).runs == (expected,)
    # The file alone is named by its folder; it does not know the configuration.
    assert read(str(folder / "metrics.csv"), ReadOptions("val_acc")).runs == (Run("version_1", {}, (0, 1), (0.5, 0.75)),)


def test_configurations_of_hydra_above_the_folder_of_the_logger(tmp_path: Path) -> None:
    for i, (curve, rate) in enumerate(zip(CURVES, RATES, strict=True)):
        write_csv(tmp_path / "multiruns" / str(i) / "csv" / "version_0" / "metrics.csv", rows(curve, "epoch"))
        made(tmp_path / "multiruns" / str(i) / ".hydra" / "overrides.yaml").write_text(f"- lr={rate}\n- +net=mlp\n")
    assert read(str(tmp_path)).runs == tuple(
        Run(str(i), {"lr": rate, "net": "mlp"}, (0, 1), curve) for i, (rate, curve) in enumerate(zip(RATES, CURVES, strict=True))
    )


def test_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for i in (10, 9, 2):
        write_csv(tmp_path / f"version_{i}" / "metrics.csv", rows((0.25, 0.5), "epoch"))
    assert [run.trial for run in read(str(tmp_path)).runs] == ["version_2", "version_9", "version_10"]


def test_folders_with_a_table_of_any_name(tmp_path: Path) -> None:
    for i, curve in enumerate(CURVES):
        write_csv(tmp_path / f"r{i}" / "curve.csv", rows(curve, "epoch"))
        (tmp_path / f"r{i}" / "config.json").write_text(json.dumps({"lr": RATES[i]}))
    assert read(str(tmp_path)).runs == tuple(Run(f"r{i}", {"lr": RATES[i]}, (0, 1), CURVES[i]) for i in range(2))


def test_a_run_that_failed_in_ray_is_unfinished(tmp_path: Path) -> None:
    ray(tmp_path)
    (tmp_path / "train_0123_00001_1_lr=0.125" / "error.txt").write_text("Traceback")
    assert [run.ended for run in read(str(tmp_path)).runs] == ["unknown", "unfinished"]


def test_a_training_that_was_started_again_in_its_folder(tmp_path: Path) -> None:
    first, second = rows((0.1, 0.2, 0.3), "epoch"), rows((0.25, 0.35), "epoch", 1)
    write_csv(tmp_path / "run" / "log.csv", [*first, *second])
    assert read(str(tmp_path)).runs == (Run("run", {}, (0, 1, 2), (0.1, 0.25, 0.35), restarted_at=1),)


def test_the_folder_of_wandb_itself_has_no_curves(tmp_path: Path) -> None:
    made(tmp_path / "run-2026-x" / "files" / "wandb-summary.json").write_text('{"val_acc": 0.5}')
    with pytest.raises(ValueError, match=r"no learning curves; export the chart .*scan_history"):
        read(str(tmp_path))


def test_folders_without_histories(tmp_path: Path) -> None:
    made(tmp_path / "a" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no histories of runs \(result.json, progress.csv, metrics.csv"):
        read(str(tmp_path))
    write_csv(tmp_path / "b" / "metrics.csv", rows((0.25, 0.5), "epoch"))
    made(tmp_path / "b" / "hparams.yaml").write_text("lr: [")
    with pytest.raises(ValueError, match=r"hparams.yaml cannot be read"):
        read(str(tmp_path))


def test_a_log_is_of_keras_or_a_journal_of_optuna(tmp_path: Path) -> None:
    (tmp_path / "training.log").write_text("epoch,val_acc\n0,0.25\n1,0.5\n")
    found: Runs = read(str(tmp_path / "training.log"))
    assert found.runs == (Run(tmp_path.name, {}, (0, 1), (0.25, 0.5)),)
    (tmp_path / "journal.log").write_text('{"op_code": 0}\n')
    assert recognize(str(tmp_path / "journal.log")) == "optuna"
