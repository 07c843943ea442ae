"""Every kind of source is written by its own tools and read back as the same curves; errors name the line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from curvestop.clients.backtest.readers.detect import read
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.runs import Curves, Run, Runs, curves_of, run_of
from curvestop.clients.optuna.trial_curves import STOPPED_AT
from tests.clients.backtest.sources import WRITERS, Search, drawn_search, long_csv, tensorboard

SEARCH = drawn_search(12, 6, seed=1)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def curves_in(source: str, **options: str) -> Curves:
    return curves_of(read(source, ReadOptions(**options)), direction="maximize")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WRITERS)
def test_every_source_has_the_same_curves(name: str, tmp_path: Path) -> None:
    found = curves_in(WRITERS[name](SEARCH, tmp_path))
    assert found.curves.tolist() == [list(curve) for curve in SEARCH.curves]
    assert [dict(run.configuration) for run in found.recorded] == [dict(c) for c in SEARCH.configurations]
    assert found.counts == {"complete": 12, "finished early": 0, "unfinished": 0, "diverged": 0, "without values": 0}
    assert found.metric == ("value" if name == "Optuna" else "val_acc")


@pytest.mark.parametrize(
    "name", ["long CSV", "Parquet", "Optuna", "TensorBoard", "Weights & Biases", "MLflow", "MLflow database"]
)
def test_diverged_and_short_runs(name: str, tmp_path: Path) -> None:
    curves = [[0.5, 0.75], [0.5, 0.625, 0.75], [0.25, 0.5, 0.75], [0.25, math.nan, math.nan], *[[0.25, 0.5, 0.5]] * 3]
    search = Search("val_acc", "maximize", tuple({"rate": float(i)} for i in range(7)), tuple(curves))
    found = curves_in(WRITERS[name](search, tmp_path))
    says_how_it_ended = name in ("Optuna", "MLflow", "MLflow database")
    assert [run.outcome for run in found.recorded[:4]] == [
        "finished early" if says_how_it_ended else "unfinished", "complete", "complete", "diverged",
    ]  # fmt: skip
    assert found.epochs.tolist() == [2, 3, 3, 2, 3, 3, 3]  # the epoch at which it diverged was trained
    assert found.finals[1:4].tolist() == [0.75, 0.75, -math.inf]


def test_of_two_values_at_one_step_the_later_one_counts() -> None:
    assert run_of("a", {}, [(1, 0.1), (2, 0.2), (2, 0.3)]) == Run("a", {}, (1, 2), (0.1, 0.3))


def test_a_run_that_begins_again_forgets_what_came_later() -> None:
    whole = [(step, step / 10) for step in range(5)]
    # From the beginning: the second training broke off, and what the first one reached is not its final value.
    assert run_of("a", {}, [*whole, (0, 0.5), (1, 0.6)]) == Run("a", {}, (0, 1), (0.5, 0.6), restarted_at=0)
    # From a checkpoint, with steps that are not those of before.
    again = run_of("a", {}, [(100, 0.1), (200, 0.2), (300, 0.3), (250, 0.5), (350, 0.6)])
    assert again == Run("a", {}, (100, 200, 250, 350), (0.1, 0.2, 0.5, 0.6), restarted_at=250)
    # Twice.
    again = run_of("a", {}, [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.5), (3, 0.6), (1, 0.7)])
    assert again == Run("a", {}, (1,), (0.7,), restarted_at=1)


def test_steps_that_were_never_given_are_counted() -> None:
    assert run_of("a", {}, [(0, 0.1), (0, 0.2), (0, 0.3)]) == Run("a", {}, (0, 1, 2), (0.1, 0.2, 0.3))
    # A summary without a step behind values with steps is no new beginning.
    assert run_of("a", {}, [(1, 0.1), (2, 0.2), (0, 0.2)]) == Run("a", {}, (1, 2), (0.1, 0.2))


def test_runs_that_began_again_are_told() -> None:
    runs = tuple(run_of(f"r{i}", {}, [(1, 0.1), (2, 0.2), (1, 0.3), (2, 0.4)]) for i in range(5))
    (note,) = curves_of(Runs("here", runs, "acc")).notes
    assert note.startswith("5 runs began again (r0 at step 1, r1 at step 1, r2 at step 1, ...): what was recorded before")


def test_the_last_epoch_is_one_that_five_runs_reached() -> None:
    lengths = [3, 3, 3, 3, 3, 2, 9, 1]
    runs = tuple(Run(str(i), {}, tuple(range(1, n + 1)), (0.5,) * n) for i, n in enumerate(lengths))
    found = curves_of(Runs("here", runs, "acc"))
    assert found.max_epochs == 3
    assert found.epochs.tolist() == [3, 3, 3, 3, 3, 2, 3, 1]
    assert curves_of(Runs("here", runs, "acc"), max_epochs=9).counts["complete"] == 1
    assert curves_of(Runs("here", runs, "acc"), short_runs="finished").counts["finished early"] == 2


def test_the_direction_is_what_the_name_implies_for_these_values() -> None:
    def direction(metric: str, *values: float) -> str:
        return curves_of(Runs("here", (Run("a", {}, tuple(range(len(values))), values),), metric)).direction

    assert direction("val_loss", 0.5, 0.25) == "minimize"
    assert direction("val_loss", -0.5, -0.25) == "maximize"
    for metric, values in (("objective", (0.5, 0.25)), ("val_loss", (-0.25, -0.5))):
        with pytest.raises(ValueError, match="add --direction maximize or minimize"):
            direction(metric, *values)


def test_a_table_with_other_columns_than_usual(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("job;iter;seconds;top1;loss;opt;note;state\na;10;1.5;0.5;9;sgd;x;done\na;20;2.5;0.75;8;sgd;x;completed\n")
    found = read(str(path), ReadOptions("top1", trial="job", epoch="iter"))
    assert found.runs == (Run("a", {"opt": "sgd", "note": "x"}, (10, 20), (0.5, 0.75), "finished"),)


def test_a_chart_of_weights_and_biases(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(
        '"Step","swift-1 - val_acc","swift-1 - val_acc__MIN","swift-1 - val_acc__MAX","calm-2 - val_acc","calm-2 - val_acc__MIN"'
        "\n"
        '"0","0.5","0.5","0.5","0.25","0.25"\n"1","0.75","0.75","0.75","",""\n'
    )
    assert read(str(path)).runs == (Run("swift-1", {}, (0, 1), (0.5, 0.75)), Run("calm-2", {}, (0,), (0.25,)))


def test_metrics_of_mlflow_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("run_id,key,value,step,timestamp\nr1,acc,0.5,0,1\nr1,loss,2,0,1\nr1,acc,0.75,1,2\nr2,acc,0.25,0,3\n")
    found = read(str(path), ReadOptions("acc"))
    assert found.runs == (Run("r1", {}, (0, 1), (0.5, 0.75)), Run("r2", {}, (0,), (0.25,)))
    with pytest.raises(ValueError, match=r"has several metrics \(acc, loss\): choose one with --metric NAME"):
        read(str(path))
    # Sorted by the metric's name: what begins again is another metric.
    path.write_text("run_id,key,value,step\nr1,acc,0.5,0\nr1,acc,0.75,1\nr1,loss,2,0\nr1,loss,1,1\n")
    assert read(str(path), ReadOptions("acc")).runs == (Run("r1", {}, (0, 1), (0.5, 0.75)),)


def test_a_history_for_each_run_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("_step,val_acc,lr\n0,0.5,\n1,,0.1\n2,0.75,\n")
    (tmp_path / "b.json").write_text(json.dumps([{"_step": 0, "val_acc": "NaN"}]))
    found = read(str(tmp_path), ReadOptions("val_acc"))
    assert found.runs[0] == Run("a", {}, (0, 2), (0.5, 0.75))
    assert found.runs[1].trial == "b"
    assert math.isnan(found.runs[1].values[0])


def test_histories_without_steps_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text(json.dumps([{"name": "a", "history": [{"val_acc": 0.5}, {"val_acc": 0.75}]}]))
    assert read(str(path)).runs == (Run("a", {}, (0, 1), (0.5, 0.75)),)
    path.write_text(json.dumps([{"name": "a", "history": [{"epoch": 0, "val_acc": 0.5}, {"epoch": 0, "val_acc": 0.75}]}]))
    assert read(str(path)).runs == (Run("a", {}, (0, 1), (0.5, 0.75)),)


def test_the_step_of_a_history_is_one_that_counts_the_reports_of_the_metric(tmp_path: Path) -> None:
    # Four validations an epoch: epochs do not count them, global steps do.
    rows = [{"_step": s, "epoch": s // 4, "trainer/global_step": 100 * s, "val_acc": s / 8} for s in range(8)]
    (tmp_path / "w.json").write_text(json.dumps(rows))
    assert read(str(tmp_path / "w.json")).runs[0].steps == tuple(range(8))
    (tmp_path / "w.json").write_text(json.dumps([row | {"epoch": row["_step"]} for row in rows]))
    assert read(str(tmp_path / "w.json"), ReadOptions(epoch="trainer/global_step")).runs[0].steps == tuple(range(0, 800, 100))


def test_metrics_of_mlflow_whose_steps_were_never_given(tmp_path: Path) -> None:
    root = WRITERS["MLflow"](Search("acc", "maximize", ({}, {}), ((0.25, 0.5), (0.5, 0.75))), tmp_path)
    for file in Path(root).rglob("metrics/acc"):
        file.write_text("".join(f"{line.rsplit(' ', 1)[0]} 0\n" for line in file.read_text().splitlines()))
    assert [(run.steps, run.values) for run in read(root).runs] == [((0, 1), (0.25, 0.5)), ((0, 1), (0.5, 0.75))]


def test_the_url_of_a_database_of_mlflow(tmp_path: Path) -> None:
    path = WRITERS["MLflow database"](SEARCH, tmp_path)
    assert read(f"sqlite:///{path}").runs == read(path).runs


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_tables_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("trial,epoch,val_précision\na,1,0.5\na,2,0.75\n", encoding=encoding)
    found = read(str(path))
    assert (found.metric, found.runs) == ("val_précision", (Run("a", {}, (1, 2), (0.5, 0.75)),))


@pytest.mark.parametrize(
    "rows",
    [
        "trial;epoch;acc;rate\na;1;0,5;0,001\na;2;0,75;0,001\n",
        "trial;epoch;acc;rate\na;1;50%;0.1%\na;2;75 %;0.1%\n",
        "trial;epoch;acc;rate\na;1;50,0 %;0,1%\na;2;75,0%;0,1%\n",
        'trial,epoch,acc,rate\na,1,"0,5","0,001"\na,2,"0,75","0,001"\n',
        "sep=;\ntrial;epoch;acc;rate\na;1;0,5;0,001\na;2;0,75;0,001\n",
    ],
)
def test_decimal_commas_and_percent_signs(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(rows)
    assert read(str(path)).runs == (Run("a", {"rate": 0.001}, (1, 2), (0.5, 0.75)),)


def test_commas_that_group_thousands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('trial,step,acc,sizes\na,"1,000",0.5,"64,32"\na,"2,000",0.75,"64,32"\n')
    assert read(str(path)).runs == (Run("a", {"sizes": "64,32"}, (1000, 2000), (0.5, 0.75)),)


def test_a_table_that_two_trainings_were_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    first, second = "".join(f"{e},0.{e}\n" for e in range(1, 6)), "".join(f"{e},0.{e}5\n" for e in range(4, 8))
    path.write_text("epoch,acc\n" + first + second)
    (run,) = read(str(path)).runs
    assert run == Run(tmp_path.name, {}, (1, 2, 3, 4, 5, 6, 7), (0.1, 0.2, 0.3, 0.45, 0.55, 0.65, 0.75), restarted_at=4)


def test_rows_in_another_order_are_no_new_beginnings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("trial,epoch,acc\n" + "".join(f"a,{e},0.{e}\n" for e in (9, 8, 7, 6, 5, 4, 3, 2, 1)))
    assert read(str(path)).runs == (Run("a", {}, tuple(range(1, 10)), tuple(e / 10 for e in range(1, 10))),)


def test_a_chart_with_any_x_axis_and_names_twice(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(
        '"epoch_id","swift - acc","swift - acc__MIN","swift - acc","swift - acc__MIN"\n"10","0.5","0.5","0.25","0.25"\n'
    )
    assert read(str(path)).runs == (Run("swift", {}, (10,), (0.5,)), Run("swift (2)", {}, (10,), (0.25,)))


NO_CURVES = {
    "Name,State,Created,Runtime,lr,iter,loss\nb,finished,2026,7,0.1,50,0.5\nb,finished,2026,7,0.1,60,0.6\n": "scan_history",
    "number,value,datetime_start,params_l_1,params_l_2,state\n0,0.5,x,1,2,COMPLETE\n": "give the storage instead",
    "run_id,status,metrics.acc,params.lr\nr1,FINISHED,0.5,0.1\n": "give the mlruns folder instead",
    "trial_id,training_iteration,acc\na,10,0.5\nb,10,0.6\n": "a row for every epoch of every run",
    "run,lr,acc\na,0.1,0.5\nb,0.2,0.6\n": "a row for every epoch of every run",
}


@pytest.mark.parametrize("text", NO_CURVES)
def test_tables_of_final_values_say_how_to_get_the_curves(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"one value for each run: no learning curves; .*{NO_CURVES[text]}"):
        read(str(path))


def test_hyper_parameters_that_pytorch_writes_into_a_folder_inside(tmp_path: Path) -> None:
    inner = tensorboard(Search("hp/acc", "maximize", ({"rate": 0.5},), ((0.5,),)), tmp_path / "x")
    run = tmp_path / "logs" / "run7"
    tensorboard(Search("val_acc", "maximize", ({},), ((0.5, 0.75),)), tmp_path / "y")
    (tmp_path / "y" / "logs" / "run0").rename(_made(run))
    (Path(inner) / "run0").rename(run / "1700000000")
    found = read(str(tmp_path / "logs"), ReadOptions("val_acc"))
    assert found.runs == (Run("run7", {"rate": 0.5}, (0, 1), (0.5, 0.75)),)


def add_scalars(folder: Path, points: list[tuple[int, float]], *, purge_step: int | None = None, suffix: str = "") -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix) as writer:
        for step, value in points:
            writer.add_scalar("acc", value, step)


@pytest.mark.parametrize("begins_at", [0, 5, 6])
def test_a_restart_in_a_folder_of_tensorboard_is_read_as_tensorboard_reads_it(begins_at: int, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    add_scalars(tmp_path / "run", [(step, step / 16) for step in range(8)], suffix=".0")
    # After a purge at 5 the first value may come later: what was recorded in between is gone all the same.
    add_scalars(tmp_path / "run", [(step, step / 8) for step in (6, 8)], purge_step=begins_at, suffix=".1")
    reference = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0})
    reference.Reload()
    (run,) = read(str(tmp_path)).runs
    assert list(zip(run.steps, run.values, strict=True)) == [(event.step, event.value) for event in reference.Scalars("acc")]


def test_without_an_announced_restart_a_step_that_goes_back_is_one(tmp_path: Path) -> None:
    add_scalars(tmp_path / "run", [(0, 0.25), (1, 0.5), (2, 0.75)], suffix=".0")
    add_scalars(tmp_path / "run", [(0, 0.5), (1, 1.0)], suffix=".1")
    assert read(str(tmp_path)).runs == (Run("run", {}, (0, 1), (0.5, 1.0), restarted_at=0),)


def test_scalars_of_tensorboard_whose_steps_were_never_given(tmp_path: Path) -> None:
    add_scalars(tmp_path / "run", [(0, 0.25), (0, 0.5), (0, 0.75)])
    assert read(str(tmp_path)).runs == (Run("run", {}, (0, 1, 2), (0.25, 0.5, 0.75)),)


def test_of_the_two_folders_that_keras_writes_the_validation_counts(tmp_path: Path) -> None:
    for name, value in (("train", 0.75), ("validation", 0.5)):
        add_scalars(tmp_path / "run" / name, [(0, 0.25), (1, value)])
    assert read(str(tmp_path)).runs == (Run("run/validation", {}, (0, 1), (0.25, 0.5)),)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def test_an_export_of_a_study(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        "kind,trial,epoch,value,configuration,state\n"
        'study,,,,"{""metric"": ""loss"", ""direction"": ""minimize""}",\n'
        'trial,a,,,"{""lr"": 0.5}",\nvalue,a,1,0.5,,\nvalue,a,2,0.25,,\nend,a,,,,finished\n'
        "trial,b,,,{},\nvalue,b,1,0.75,,\nend,b,2,,,failed\n"
    )
    found = read(str(path))
    assert (found.metric, found.direction) == ("loss", "minimize")
    assert found.runs[0] == Run("a", {"lr": 0.5}, (1, 2), (0.5, 0.25), "finished")
    assert (found.runs[1].steps, found.runs[1].ended) == ((1, 2), "unfinished")


def test_pruned_trials_are_unfinished_and_waiting_ones_are_no_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'o.db'}"
    study = optuna.create_study(storage=url, study_name="one", direction="minimize")
    for _ in range(2):
        trial = study.ask({"x": optuna.distributions.CategoricalDistribution(["a", None])})
        trial.report(1.0, 0)
    study.tell(0, state=optuna.trial.TrialState.PRUNED)
    study.enqueue_trial({"x": "a"})
    found = read(url)
    assert found.direction == "minimize"
    assert [(run.ended, run.values) for run in found.runs] == [("unfinished", (1.0,))] * 2
    optuna.create_study(storage=url, study_name="two")
    with pytest.raises(ValueError, match=r"has several studies \(one, two\): choose one with --study NAME"):
        read(url)
    assert read(url, ReadOptions(study="one")) == found


def test_the_value_that_an_objective_returned_is_the_final_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'o.db'}"
    study = optuna.create_study(storage=url, study_name="s", direction="maximize")
    for reports, returned in (((0.5, 0.9, 0.6), 0.9), ((0.5, 0.6, 0.7), 0.7)):
        study.add_trial(
            optuna.trial.create_trial(state=TrialState.COMPLETE, value=returned, intermediate_values=dict(enumerate(reports)))
        )
    found = read(url)
    assert [run.values for run in found.runs] == [(0.5, 0.9, 0.9), (0.5, 0.6, 0.7)]
    assert found.notes == ("1 trial returned another value than the last report: the returned one is the final one",)


def test_a_trial_that_returned_a_prediction_is_unfinished(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'o.db'}"
    study = optuna.create_study(storage=url, study_name="s", direction="maximize")
    reports = {0: 0.5, 1: 0.6}
    for attributes in ({STOPPED_AT: 1}, {}):
        study.add_trial(
            optuna.trial.create_trial(state=TrialState.COMPLETE, value=0.8, intermediate_values=reports, user_attrs=attributes)
        )
    found = read(url)
    assert [(run.values, run.ended) for run in found.runs] == [((0.5, 0.6), "unfinished"), ((0.5, 0.8), "finished")]
    assert found.notes[1] == "1 trial returned a prediction (value_or_prune): unfinished"


def test_reports_at_falling_steps_are_no_new_beginnings(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'o.db'}"
    study = optuna.create_study(storage=url, study_name="s")
    trial = study.ask()
    for step in (3, 2, 1):
        trial.report(float(step), step)
    study.tell(trial, 3.0)
    assert read(url).runs[0].values == (1.0, 2.0, 3.0)


def test_trials_without_reports_are_no_curves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'o.db'}"
    optuna.create_study(storage=url, study_name="s").optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(
        ValueError, match=r"one value for each run: no learning curves; report them .*trial.report\(value, epoch\)"
    ):
        read(url)


BAD_CSV = {
    "trial,epoch,acc\na,1,0.5\na,2,high\n": "line 3: acc must be a number, but got 'high'",
    "trial,epoch,acc\na,1,0.5\na,x,0.6\n": "line 3: epoch must be a number, but got 'x'",
    "trial,epoch,acc\na,1,0.5\na,,0.6\n": "line 3: epoch must be a finite number, but got None",
    "trial,epoch,acc\na,1,0.5\n,2,0.5\n": "line 3: trial must name a run, but is empty",
    "trial,epoch,acc\na,1,0.5\na,1,0.6\n": "line 3: a run must have one acc at epoch 1, but got 0.5 and 0.6",
    "trial,epoch,acc\na,1\n": "line 2: a row must have 3 cells like the first line, but has 2",
    "trial,epoch,acc,acc\na,1,2,3\n": "line 1: every column must have its own name, but 'acc' appears twice",
    "trial,epoch,acc\n": "has no rows",
    "trial,acc\na,0.5\n": "must have a column of epochs",
    "epoch,acc,lr\n1,0.5,0.1\n2,0.6,0.1\n1,0.3,0.2\n2,0.4,0.2\n": "has no column of runs, but its steps begin again 1 time with "
    "another lr: choose a column that names the runs with --trial-column NAME from epoch, acc, lr",
    "run,epoch,acc,seed\na,1,0.5,1\na,2,0.6,1\na,1,0.3,2\na,2,0.4,2\n": "has rows of one run whose steps begin again 1 time with "
    "another seed: choose a column that names the runs with --trial-column NAME from run, epoch, acc, seed",
    "trial,epoch,acc,f1\na,1,0.5,0.5\na,2,0.6,0.7\n": "has several metrics (acc, f1): choose one with --metric NAME",
    "run,acc_1,acc_2\na,0.5,0.6\na,0.5,0.6\n": "every row must have its own run, but 2 rows have 1",
}


@pytest.mark.parametrize("text", BAD_CSV)
def test_an_error_names_the_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(BAD_CSV[text])):
        read(str(path))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.json", "{", "is not JSON"),
        ("x.json", "[1, 2]", "must be a list of runs with a history"),
        ("x.json", '[{"name": "a", "history": [{"_step": "one", "acc": 1}]}]', "row 1: _step and acc must be numbers"),
        ("x.parquet", "no", "is not a Parquet file"),
        ("x.db", "no", "cannot be read as an Optuna storage"),
        ("x.txt", "no", "is not recognized: say what it is with --from csv"),
    ],
)
def test_files_that_are_not_what_their_names_say(name: str, content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=problem):
        read(str(tmp_path / name))


def test_sources_that_do_not_exist(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none.csv"), f"sqlite:///{tmp_path / 'none.db'}"):
        with pytest.raises(ValueError, match=r"none\.(csv|db) does not exist"):
            read(source)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(ValueError, match="is not recognized"):
        read(str(tmp_path))
    with pytest.raises(ValueError, match="has no TensorBoard logs"):
        read(str(tmp_path), kind="tensorboard")
    with pytest.raises(ValueError, match="has no column 'f1', but trial, epoch, val_acc, rate, width"):
        read(long_csv(SEARCH, tmp_path), ReadOptions("f1"))


def test_nothing_to_replay() -> None:
    short, empty = Run("a", {}, (1,), (0.5,)), Run("b", {}, (), ())
    with pytest.raises(ValueError, match="here has one value for each run: no learning curves; export the history"):
        curves_of(Runs("here", (short,), "acc"))
    with pytest.raises(ValueError, match="here: none of 1 runs has a value of 'acc'"):
        curves_of(Runs("here", (empty,), "acc"))
    with pytest.raises(ValueError, match="needs runs that reached epoch 3 or finished early"):
        curves_of(Runs("here", (Run("a", {}, (1, 2), (0.5, 0.5)),), "acc"), max_epochs=3)


def test_entries_that_a_study_refuses_are_left_out_of_a_configuration() -> None:
    run = Run("a", {"ok": 1.0, "bad": math.inf, "": 2.0, "text": "x"}, (1, 2), (0.5, 1.0))
    assert dict(curves_of(Runs("here", (run,), "acc")).configuration(0)) == {"ok": 1.0, "text": "x"}


def test_huge_values_are_divergence() -> None:
    found = curves_of(Runs("here", (Run("a", {}, (1, 2), (0.5, 1.0)), Run("b", {}, (1, 2), (0.5, 1e200))), "acc"))
    assert [run.outcome for run in found.recorded] == ["complete", "diverged"]
    assert np.isnan(found.curves[1, 1])
