"""Plots and reports of a study from every source, checked by the numbers in them."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from curvestop import SRMPruner, Study, connect, plot, write_report
from curvestop.clients.backtest.backtesting import Backtest
from curvestop.clients.backtest.options import BacktestOptions
from curvestop.clients.backtest.runs import Run, Runs, curves_of
from curvestop.clients.reports.calibration import resolved_forecasts
from curvestop.clients.reports.sources import view_of
from curvestop.clients.reports.study_report import summary
from curvestop.server.rpc.server import Server
from curvestop.srm.study_memory import stage_of
from tests.contracts import COMPLETE, last_seen

pytest.importorskip("plotly")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, host="127.0.0.1", port=0) as serving:
        yield serving


def fill(study: Any, settle: Any = lambda: None) -> Any:
    """Six complete trials, one stopped after one of three epochs, and one that is predicted 0.5 +- 0.1 and ends at 0.55."""
    for number, values in enumerate(COMPLETE):
        study.report(f"complete-{number}", values, configuration={"lr": 0.1 * (number % 2 + 1), "kind": "ab"[number % 2]})
        study.finish(f"complete-{number}")
    settle()
    assert study.report("hopeless", [0.4], configuration={"lr": 0.3, "kind": "b"}).stop
    study.finish("hopeless", "stopped")
    assert not study.report("promising", [0.5]).stop
    study.report("promising", [0.5, 0.55], ask=False)
    study.report("promising", [0.5, 0.55, 0.55])
    return study


@pytest.fixture(params=["in process", "on a server"])
def study(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "in process":
        yield fill(Study(last_seen(metric="accuracy")))
        return
    serving = request.getfixturevalue("server")
    token = serving.token_path.read_text().strip()
    with connect(serving.address, last_seen(metric="accuracy"), token=token, deadline_s=60.0) as remote:
        yield fill(remote, lambda: serving.registry.wait_fitted(60.0))


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_curves_by_what_became_of_them(study: Any) -> None:
    drawn = traces(plot.curves(study))
    assert list(drawn) == ["complete", "stopped", "best: complete-0", "where it was stopped"]
    assert drawn["stopped"].y[:1] == (0.4,)
    assert drawn["best: complete-0"].y[:3] == (0.5, 0.55, 0.6)
    assert (drawn["where it was stopped"].x, drawn["where it was stopped"].y) == ((1,), (0.4,))
    assert "stops at 0.95" in drawn["where it was stopped"].hovertext[0]


def test_forecasts_beside_what_came_of_them(study: Any) -> None:
    drawn = traces(plot.forecasts(study))
    assert drawn["equal"].x == (0.55, 0.55)
    early = drawn["25% to 50% of the curve"]  # after one of three epochs
    assert (early.x, early.y) == ((0.55,), (0.5,))
    assert early.error_y.array == pytest.approx((0.196,), abs=1e-4)


def test_calibration_of_the_stated_probability(study: Any) -> None:
    came_true = traces(plot.calibration(study))["came true"]
    assert came_true.x == pytest.approx((0.8413447,))  # (0.6 - 0.5) / 0.1 = 1 sigma
    assert came_true.y == (1.0,)


def test_savings(study: Any) -> None:
    drawn = traces(plot.savings(study))
    assert drawn["trained"].y == (3, 3, 3, 3, 3, 3, 1, 3)
    assert drawn["saved"].y == (0, 0, 0, 0, 0, 0, 2, 0)


def test_parameters_and_their_importance(study: Any) -> None:
    drawn = plot.parameters(study).data
    assert [(trace.name, len(trace.x)) for trace in drawn] == [("complete", 6), ("stopped", 1)] * 2
    kind, lr, final = plot.parameters(study, kind="parallel").data[0].dimensions
    assert (lr.label, kind.label, final.label) == ("lr", "kind", "accuracy")
    assert (kind["values"], kind.ticktext) == ((0, 1, 0, 1, 0, 1), ("a", "b"))
    (bars,) = plot.importances(study).data
    assert math.isclose(sum(bars.x), 1.0)
    assert set(bars.y) == {"lr", "kind"}
    with pytest.raises(ValueError, match="kind must be 'scatter' or 'parallel', but got 'bar'"):
        plot.parameters(study, kind="bar")  # type: ignore[arg-type]


def test_a_report_needs_no_server(study: Any, tmp_path: Path) -> None:
    found = summary(view_of(study))
    assert (found["n_trials"], found["epochs_saved"]) == ({"finished": 6, "stopped": 1, "running": 1}, 2)
    write_report(study, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert '"best_trial": "complete-0"' in page


def test_a_study_without_trials_says_so() -> None:
    empty = Study(last_seen())
    assert plot.curves(empty).data == ()
    for draw in (plot.forecasts, plot.calibration, plot.parameters, plot.importances):
        assert draw(empty).layout.annotations[0].text
    with pytest.raises(TypeError, match="a study of curvestop or Optuna, or a backtest, is needed, but got 'name'"):
        plot.curves("name")  # type: ignore[arg-type]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "curvestop.clients.plot")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ImportError, match=r"curvestop\.plot needs plotly: pip install 'curvestop\[plots\]'"):
        importlib.import_module("curvestop.clients.plot")


def test_what_a_study_remembers_is_bounded_and_in_order() -> None:
    study = Study(last_seen(max_epochs=400, predictor="last-seen"))
    for number in range(8):
        study.report(f"t{number}", [0.5] * 400, ask=False)
    for epoch in range(1, 401):
        study.report("long", [0.9], first_epoch=epoch)
    study.finish("long")
    assert study.memory is not None
    told = [event.decided for event in study.memory if event.decided]
    assert [question.tau for question, _ in told] == [40, 100, 200, 300, 400]
    assert [stage_of(question.tau / 400) for question, _ in told] == [0, 1, 2, 3, 4]
    # The decision at the last epoch has no prediction.
    assert [forecast.epoch for forecast in resolved_forecasts(view_of(study))] == [40, 100, 200, 300]


def test_a_resumed_trial_is_running_again() -> None:
    study = fill(Study(last_seen()))
    study.resume("hopeless")
    trial = view_of(study).trials["hopeless"]
    assert (trial.state, trial.stop, trial.resumed_at) == ("running", None, [2])
    assert trial.undone_stop is not None


def test_a_diverged_trial_has_failed() -> None:
    study = Study(last_seen())
    study.report("a", [0.5, float("nan")])
    assert view_of(study).trials["a"].state == "failed"


@pytest.mark.parametrize("pruner", [SRMPruner(4), optuna.pruners.NopPruner()])
def test_an_optuna_study(pruner: optuna.pruners.BasePruner) -> None:
    def objective(trial: optuna.Trial) -> float:
        level = trial.suggest_float("level", 0, 1)
        for epoch in range(4):
            trial.report(level, epoch)
        return level

    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    drawn = traces(plot.curves(study))
    assert drawn[f"best: {study.best_trial.number}"].y[:4] == (study.best_value,) * 4
    assert len(drawn["complete"].y) == 2 * 5  # with a gap after each


def test_a_backtest_is_seen_as_the_default_would_have() -> None:
    runs = tuple(Run(f"run {n}", {"n": n}, (1, 2, 3), (n / 20, n / 20, n / 10)) for n in range(12))
    result = Backtest(curves_of(Runs("demo", runs, "accuracy")), BacktestOptions(), (), {})
    drawn = traces(plot.savings(result))
    assert sum(drawn["trained"].y) + sum(drawn["would have been saved"].y) == 36
    assert traces(plot.curves(result))["best: run 11"].y[:3] == (0.55, 0.55, 1.1)
