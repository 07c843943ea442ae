"""What only the local study shows: fits that are due, the log's two halves, replay; `tests.contracts` has what all share."""

import inspect
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.remote.remote_study import RemoteStudy
from curvestop.srm.curve import Decision, LearningCurve
from curvestop.srm.model_cache import due_size
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings, how_settings_differ
from curvestop.srm.study import Study
from curvestop.srm.validation import check_name
from tests.contracts import last_seen
from tests.contracts_predictor import saturating_curves

SETTINGS = StudySettings("s", max_epochs=4, predictor="ols", rule=StoppingRule(min_curves=6), policy="threshold")


def filled(study: Study, n: int) -> Study:
    for i in range(n):
        study.report(f"t{i}", [0.1 * i, 0.2 * i, 0.3 * i, 0.35 * i], ask=False)
    return study


@pytest.mark.parametrize(("n", "size"), [(5, 0), (6, 6), (7, 6), (8, 8), (9, 8), (10, 10), (12, 12), (14, 12), (15, 15)])
def test_sizes_at_which_models_are_fitted(n: int, size: int) -> None:
    assert due_size(n, first=6, growth=1.2) == size  # 6, 8 (7.2 up), 10 (9.6 up), 12, 15 (14.4 up)


@given(n=st.integers(0, 5000), first=st.integers(6, 50), growth=st.floats(1.0001, 3))
def test_a_due_size_is_reached_already_and_the_next_is_not(n: int, first: int, growth: float) -> None:
    size = due_size(n, first=first, growth=growth)
    assert size == 0 if n < first else first <= size <= n
    assert due_size(size, first=first, growth=growth) == size


def test_deferred_fits_are_the_owners_to_run() -> None:
    study = filled(Study(SETTINGS, fit="deferred"), 7)
    decision = study.report("x", [0.1, 0.1])
    assert (decision.stop, decision.reason) == (False, "models for epoch 4 are being fitted on 7 curves")
    (job,) = study.forecasts.due()
    assert (job.target_epoch, [c.trial for c in job.curves]) == (4, [f"t{i}" for i in range(6)])
    study.forecasts.install(job.run())
    assert list(study.forecasts.due()) == []
    assert study.report("x", [0.1], first_epoch=3).n_curves == 6


def test_a_fit_without_enough_memory_ends_no_training(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Huge:
        def __init__(self, **_: object) -> None: ...

        def fit(self, curves: object) -> object:
            raise MemoryError

    monkeypatch.setitem(PREDICTORS, "huge", Huge)
    study = filled(Study(replace(SETTINGS, predictor="huge")), 7)
    for trial in ("x", "y"):
        decision = study.report(trial, [0.1, 0.1])
        reason = "the models for epoch 4 could not be fitted on 6 curves (MemoryError)"
        assert (decision.stop, decision.reason) == (False, reason)
    assert [record.getMessage() for record in caplog.records] == ["study 's': models for epoch 4 could not be fitted on 6 curves"]


def test_older_models_never_replace_newer_ones() -> None:
    study = filled(Study(SETTINGS, fit="deferred"), 6)
    (old,) = study.forecasts.due()
    filled(study, 8)
    (new,) = study.forecasts.due()
    study.forecasts.install(new.run())
    study.forecasts.install(old.run())
    assert study.forecasts.n_fitted(4) == 8


def test_a_quick_refit_takes_in_every_new_curve_at_the_settings_last_searched() -> None:
    settings = replace(SETTINGS, predictor="stacked")
    study = filled(Study(settings), 7)
    assert study.report("x", [0.1, 0.1]).n_curves == 7  # 6 searched, 1 taken in
    filled(study, 8)
    assert study.report("y", [0.1, 0.1]).n_curves == 8  # searched again
    late = filled(Study(settings, fit="deferred"), 7)
    (search,) = late.forecasts.due()
    late.forecasts.install(search.run())
    (refit,) = late.forecasts.due()
    assert (len(search.curves), len(refit.curves)) == (6, 7)
    late.forecasts.install(refit.run())
    assert late.predict([0.1, 0.2]) == filled(Study(settings), 7).predict([0.1, 0.2])


def test_inside_a_rung_a_model_that_explains_nothing_stops_only_what_its_wide_sigma_allows() -> None:
    study = Study(replace(SETTINGS, predictor="stacked", rule=StoppingRule(min_curves=20)))
    for i, (early, final) in enumerate(np.random.default_rng(0).uniform(size=(30, 2))):
        study.report(f"t{i}", [early, early, early, final], ask=False)
    hopeless, open_ = (study.report(name, [0.5], value_to_beat=value) for name, value in (("x", 9.0), ("y", 0.6)))
    assert (hopeless.stop, open_.stop) == (True, False)
    assert hopeless.probability == pytest.approx(1.0)
    assert open_.prediction is not None
    assert open_.prediction.sigma > 0.2  # finals are spread over (0, 1)


@pytest.mark.parametrize(
    ("policy", "says"), [("threshold", "the model is unreliable: "), ("predictive-rank", " (the model is unreliable: ")]
)
def test_a_policy_says_that_a_model_explains_nothing(policy: str, says: str) -> None:
    study = Study(replace(SETTINGS, predictor="stacked", rule=StoppingRule(min_curves=20), policy=policy))
    for i, (early, final) in enumerate(np.random.default_rng(0).uniform(size=(30, 2))):
        study.report(f"t{i}", [early, early, early, final], ask=False)
    decision = study.report("x", [0.5])
    assert says + "the model of this length explains " in decision.reason
    assert not decision.stop
    assert decision.probability is not None


def test_a_prediction_is_kept_until_a_model_has_another_one_to_give() -> None:
    study = Study(StudySettings("s", 40, rule=StoppingRule(min_curves=6), shadow=True))
    curves = np.random.default_rng(0).normal(size=(9, 40)).cumsum(axis=1)
    for i, curve in enumerate(curves[:8]):
        study.report(f"t{i}", curve.tolist(), ask=False)
    answers = [study.report("x", [y], first_epoch=n).prediction for n, y in enumerate(curves[8, :12].tolist(), start=1)]
    again = [study.predict(curves[8, :n].tolist()) for n in range(1, 13)]
    assert answers == again
    assert answers[8] is answers[7]  # of 40 epochs there are models after 1, 2, 4, 6, 8, 10 and 12
    assert answers[9] is not answers[8]
    study.report("t8", curves[8].tolist(), ask=False)
    newer = study.report("x", [0.0], first_epoch=13).prediction
    assert newer == study.predict([*curves[8, :12].tolist(), 0.0])
    assert newer != answers[11]  # a curve more was learnt from


def test_a_study_is_a_function_of_its_log() -> None:
    original = filled(Study(SETTINGS), 9)
    decision = original.report("x", [0.0, 0.0], configuration={"lr": 0.1})
    assert decision.stop
    copy = Study(SETTINGS)
    for trial in original.trials():
        copy.record(Report(trial.trial, trial.values, trial.configuration))
    copy.restore("x", original.question("x"), decision)
    assert copy.trials() == original.trials()
    assert copy.report("x", [9.9], first_epoch=3) == decision  # the stop is final
    assert copy.report("y", [0.1, 0.2]) == original.report("y", [0.1, 0.2])


def test_models_for_a_rung_learn_from_all_that_reached_it() -> None:
    study = Study(SETTINGS)
    for i in range(6):
        study.report(f"t{i}", [1.0 * i, 2.0 * i], ask=False)  # none is complete
    decision = study.report("x", [2.5], target_epoch=2, value_to_beat=10.0)
    assert decision.prediction is not None
    assert decision.prediction.mean == pytest.approx(5.0)
    assert decision.stop


def test_a_refused_report_leaves_nothing_behind() -> None:
    study = Study(SETTINGS)
    with pytest.raises(ValueError, match="a value must be within"):
        study.report("x", [2e100], target_epoch=2)
    assert (study.trials(), study.forecasts.targets()) == ((), (4,))


def test_values_of_stopped_trials_are_never_the_ones_to_beat() -> None:
    study = filled(Study(SETTINGS), 6)
    study.report("stopped", [9.0, 9.0, 9.0], ask=False)
    study.finish("stopped", "stopped")
    assert study.report("x", [0.5, 1.0]).reason.startswith("P(no better than 1.75 at epoch 4)")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_epochs": 0}, "max_epochs must be >= 1, but got 0"),
        ({"max_epochs": 10.0}, "max_epochs must be a whole number >= 1, but got 10.0"),
        ({"max_epochs": 10.5}, "max_epochs must be a whole number >= 1, but got 10.5"),
        ({"max_epochs": True}, "max_epochs must be a whole number >= 1, but got True"),
        ({"max_epochs": "27"}, "max_epochs must be a whole number >= 1, but got '27'"),
        ({"max_epochs": None}, "max_epochs or max_resource must be given"),
        ({"name": 7}, "a study name must be text, but got 7"),
        ({"predictor": "svm"}, "predictor must be one of .*, but got 'svm'"),
        ({"predictor": "nu-svr", "predictor_settings": {"candidates": 3}}, "predictor 'nu-svr' does not take {'candidates': 3}"),
        ({"predictor": "nu-svr", "predictor_settings": {"n_candidates": 0}}, "n_candidates must be in 1..10000"),
        ({"direction": "up"}, "direction must be 'maximize' or 'minimize', but got 'up'"),
        ({"refit_growth": 1.0}, "refit_growth must be > 1, but got 1.0"),
        ({"policy": "luck"}, "policy must be one of all, any, .*, but got 'luck'"),
        ({"policy_settings": {"margins": 2}}, "policy 'learned' does not take {'margins': 2}: it takes risk"),
        ({"policy_settings": {"risk": "2"}}, "policy 'learned' does not take {'risk': '2'}"),
        ({"policy_settings": {"margin": math.nan}}, "policy_settings must be finite, but got nan"),
        ({"policy_settings": {"margin": None}}, "policy_settings must be numbers, .*, but got None"),
        (
            {"policy": "predictive-rank", "policy_settings": {"n_leaders": 2.5}},
            "n_leaders of policy 'predictive-rank' must be int, but got 2.5",
        ),
        ({"policy": "rank", "policy_settings": {"keep": [0.5]}}, r"keep of policy 'rank' must be tuple\[float, float\]"),
        ({"policy": "any", "policy_settings": {"rules": [{"name": "luck"}]}}, "policy must be one of .*, but got 'luck'"),
        ({"policy": "any", "policy_settings": {"rules": [{"share": 0.1}]}}, "rules of policy 'any' must be"),
        ({"policy": "all", "policy_settings": {"rules": []}}, "rules must be one or more"),
        ({"policy": "risk", "policy_settings": {"risk": 1.5}}, "risk must be in"),
        ({"policy": "saving", "policy_settings": {"saving": 0}}, "saving must be in"),
        ({"policy": "threshold", "policy_settings": {"min_curves": 9}}, "min_curves belongs to the rule of StudySettings"),
        ({"goal": "speed"}, "goal must be one of trials, budget, but got 'speed'"),
        ({"goal": "budget", "policy": "rank"}, "give either a goal or a policy, .*, but got 'budget' and 'rank'"),
        ({"hold_out": 1.0}, "hold_out must be in"),
        ({"name": ""}, "a study name must be 1 to 256 bytes long, but got 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        StudySettings(**{"name": "s", "max_epochs": 4, **settings})  # type: ignore[arg-type]


def test_a_budget_has_the_bold_rungs_of_asha() -> None:
    settings = StudySettings("s", 27, goal="budget")
    assert settings == StudySettings("s", 27, policy="asha", policy_settings={"first_share": 1 / 27, "eta": 3})
    assert settings.stopping.decision_points(27) == (1, 3, 9)
    assert replace(settings, name="t").policy == "asha"  # what the goal stood for is kept
    assert StudySettings("s", 27, goal="budget", policy_settings={"eta": 2}).stopping.decision_points(27) == (1, 2, 4, 8, 16)
    assert StudySettings("s", 27, goal="trials") == StudySettings("s", 27) == StudySettings("s", 27, policy="learned")


@given(st.text(max_size=300))
def test_names_are_accepted_or_refused_with_the_rule(name: str) -> None:
    if 1 <= len(name.encode(errors="surrogatepass")) <= 256 and name.isprintable():
        check_name("trial", name)
    elif not name or len(name) > 256 or any(unicodedata.category(character) == "Cc" for character in name):
        with pytest.raises(ValueError, match="a trial name must"):
            check_name("trial", name)


def of_epoch(epoch: int, curves: Sequence[LearningCurve]) -> list[Report]:
    return [Report(f"new {c.trial}", [c.values[epoch - 1]], c.configuration, epoch) for c in curves]


def test_many_reports_epoch_by_epoch_are_answered_as_one_by_one_by_a_model_that_ranks() -> None:
    settings = StudySettings("s", 12, policy="predictive-rank", policy_settings={"margin": 0.5})
    alone, at_once = Study(settings), Study(settings)
    for study in (alone, at_once):
        study.report_many([Report(c.trial, c.values, c.configuration, ask=False) for c in saturating_curves(40)])
    n_predicted = n_stopped = 0
    for epoch in range(1, 12):
        for one, report in zip(
            at_once.report_many(reports := of_epoch(epoch, saturating_curves(20, seed=1))), reports, strict=True
        ):
            assert isinstance(one, Decision)
            other = alone.report(report.trial, report.values, configuration=report.configuration, first_epoch=epoch)
            assert replace(one, prediction=None, probability=None) == replace(other, prediction=None, probability=None)
            assert (one.prediction is None) == (other.prediction is None)
            if one.prediction is not None:
                assert one.prediction == pytest.approx(other.prediction, rel=1e-9)
                n_predicted += 1
            n_stopped += one.stop
    assert n_predicted > 50
    assert n_stopped > 10


def test_what_was_foreseen_by_an_older_model_is_forgotten() -> None:
    settings = StudySettings("s", 12, predictor="stacked", policy_settings={"risk": 0.001})
    study, other = Study(settings), Study(settings)
    seen, (new,) = saturating_curves(40), saturating_curves(1, seed=1)
    for each in (study, other):
        each.report_many([Report(c.trial, c.values, c.configuration, ask=False) for c in seen[:30]])
        each.report("a", new.values[:4], configuration=new.configuration)
        assert each.forecasts.n_fitted(12) == 30
    fifth = Report("a", new.values[4:5], first_epoch=5)
    *_, foreseen = study.report_many([*(Report(c.trial, c.values, c.configuration, ask=False) for c in seen[30:]), fifth])
    for curve in seen[30:]:
        other.report(curve.trial, curve.values, configuration=curve.configuration, ask=False)
    assert foreseen == other.answer(fifth)
    assert isinstance(foreseen, Decision)
    assert foreseen.n_curves == 40


def test_a_refit_begins_with_what_was_searched_however_many_came_between() -> None:
    """Twenty trials end after 6 epochs, 19 after 12: models of 6 to 11 epochs come with the refit on 30, searched anew on 39."""
    settings = StudySettings("s", 12, predictor="stacked", rule=StoppingRule(min_curves=20), refit_growth=2.0)
    study = Study(settings, fit="deferred")
    curves = [replace(c, values=c.values[: 6 if i < 20 else 12]) for i, c in enumerate(saturating_curves(39, noise=0.05))]
    fits = {}
    for n in (20, 25, 30, 39):
        for curve in curves[:n]:
            study.report(curve.trial, curve.values, configuration=curve.configuration, ask=False)
            study.finish(curve.trial)
        (fits[n],) = study.forecasts.due()
        study.forecasts.install(fits[n].run())
    assert [fit.known is None for fit in fits.values()] == [True, False, False, False]
    at_once = replace(fits[39], known=fits[20].run()).run()
    probes = [replace(c, values=c.values[:tau]) for c in saturating_curves(5, seed=1) for tau in (1, 3, 6, 8, 11)]
    models = study.forecasts.models(12)
    assert models is not None
    assert models.predict_many(probes) == at_once.predict_many(probes)
    assert None not in at_once.predict_many(probes)


def test_what_was_foreseen_of_a_refused_report_is_forgotten() -> None:
    settings = StudySettings("s", 12, predictor="stacked")
    study, other = Study(settings), Study(settings)
    for each in (study, other):
        each.report_many([Report(c.trial, c.values, c.configuration, ask=False) for c in saturating_curves(40)])
        each.report_many([Report("a", [0.1] * 5, {"width": 0.5, "lr": 1.0}), Report("b", [0.1] * 5, {"width": 0.5, "lr": 1.0})])
    refused, _ = study.report_many([Report("a", [0.9], {"width": 0.4}, 6), Report("b", [0.2], None, 6)])
    assert isinstance(refused, ValueError)
    other.report("b", [0.2], first_epoch=6)
    assert study.report("a", [0.3], first_epoch=6) == other.report("a", [0.3], first_epoch=6)


def test_a_value_that_is_not_finite_among_many_reports_ends_its_trial_alone() -> None:
    study, alone = (Study(StudySettings("s", 12, predictor="stacked", shadow=True)) for _ in range(2))
    for each in (study, alone):
        each.report_many([Report(c.trial, c.values, c.configuration, ask=False) for c in saturating_curves(40)])
        each.report_many([Report(trial, [0.1] * 5, {"width": 0.5, "lr": 1.0}) for trial in "ab"])
    diverged, answered = study.report_many([Report("a", [math.nan], None, 6), Report("b", [0.2], None, 6)])
    assert isinstance(diverged, Decision)
    assert (diverged.stop, study.book.state_of("a")) == (True, "failed")
    assert answered == alone.report("b", [0.2], first_epoch=6)


def test_a_study_that_fits_at_once_lists_the_epochs_it_was_asked_about() -> None:
    study = filled(Study(SETTINGS), 7)
    assert study.forecasts.targets() == (4,)
    assert study.report("x", [0.1], target_epoch=2).n_curves == 6
    assert study.forecasts.targets() == (2, 4)
    assert study.forecasts.n_fitted(2) == study.forecasts.n_due(2) == 6


def late_bloomers(n: int) -> dict[str, list[float]]:
    """Half of the trials rise early and stay at .5; the other half are at 0 for six epochs and end at .9 and more."""
    return {f"t{i}": [0.01 * i] * 6 + [0.9 + 0.001 * i] * 14 if i % 2 else [0.5 + 0.001 * i] * 20 for i in range(n)}


def test_a_second_chance_goes_to_who_would_not_be_stopped_now() -> None:
    study = Study(StudySettings("s", 20, shadow=False))
    study.report("bloomer", [0.001] * 5, ask=False)
    study.report("poor", [0.5] * 5, ask=False)
    for trial in ("bloomer", "poor"):
        study.finish(trial, "stopped")
    for trial, values in late_bloomers(30).items():
        study.report(trial, values, ask=False)
    first, second = study.second_chances()
    assert [first.trial, second.trial] == ["bloomer", "poor"]
    assert first.next_epoch == 6
    assert first.chance > second.chance > 0
    assert study.second_chances(1) == [first]


def test_five_second_chances_are_given_unless_another_number_is_asked_for() -> None:
    study = Study(StudySettings("s", 20, shadow=False))
    for number in range(8):
        study.report(f"poor-{number}", [0.1 + number / 100] * 5, ask=False)
        study.finish(f"poor-{number}", "stopped")
    for trial, values in late_bloomers(12).items():
        study.report(trial, values, ask=False)
    assert (len(study.second_chances()), len(study.second_chances(7)), len(study.second_chances(99))) == (5, 7, 8)


def test_a_resumed_trial_is_decided_anew() -> None:
    study = Study(StudySettings("s", 20))
    for trial, values in late_bloomers(12).items():
        study.report(trial, values, ask=False)
    study.report("a", [0.5], ask=False)
    study.finish("a", "stopped")
    assert study.report("a", [], first_epoch=2).stop
    study.resume("a")
    assert study.trials()[-1].state == "running"
    assert not study.report("a", [2.0], first_epoch=2).stop  # by far the best
    with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial 'a' is running"):
        study.resume("a")


def test_second_chances_need_a_policy_that_states_chances() -> None:
    with pytest.raises(ValueError, match="second chances need policy 'learned', but the study has 'asha'"):
        Study(StudySettings("s", 20, policy="asha")).second_chances()


def test_at_least_one_second_chance_is_asked_for() -> None:
    with pytest.raises(ValueError, match="n must be >= 1, but got 0"):
        Study(StudySettings("s", 20)).second_chances(0)


def test_settings_that_differ_are_told_by_the_fields_in_which_they_do() -> None:
    one = StudySettings("s", 5, policy="predictive-rank", policy_settings={"margin": 2.5, "n_leaders": 3})
    assert how_settings_differ(one, replace(one, max_epochs=7)) == "max_epochs=5, but got 7"
    margin = replace(one, policy_settings={"margin": 1.5, "n_leaders": 3})
    assert how_settings_differ(one, margin) == "policy_settings={'margin': 2.5}, but got {'margin': 1.5}"
    rule = replace(one, rule=StoppingRule(rank=2, min_curves=8), direction="minimize")
    assert how_settings_differ(one, rule) == "direction='maximize', rule.rank=1, but got direction='minimize', rule.rank=2"


def test_a_study_prints_as_what_it_is() -> None:
    study = Study(SETTINGS)
    assert repr(study) == "study 's' in this process: 0 trials, 0 stopped"
    study.report("a", 0.5)
    study.finish("a", "stopped")
    assert repr(study) == "study 's' in this process: 1 trial, 1 stopped"
    study.report("b", [0.25])
    assert repr(study) == "study 's' in this process: 2 trials, 1 stopped, best value 0.25 so far"
    with pytest.raises(TypeError, match=r"settings must be StudySettings, such as .*, but got 's'"):
        Study("s")  # type: ignore[arg-type]


def test_trials_that_all_end_early_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    study = Study(last_seen(max_epochs=100))
    for number in range(8):
        study.report(f"{number}", [0.1] * 15)
        study.finish(f"{number}")
    says = "study 's': 5 trials are finished, but none went beyond epoch 15 of max_epochs=100: set max_epochs=15"
    assert [record.getMessage() for record in caplog.records] == [says]


def test_a_direction_that_was_not_given_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert StudySettings("not given", 4, metric="val_loss").direction == "maximize"
    StudySettings("given", 4, metric="val_loss", direction="maximize")
    StudySettings("right", 4, metric="val_loss", direction="minimize")
    StudySettings("none", 4, metric="val_accuracy")
    assert caplog.messages == ["study 'not given' is to maximize 'val_loss'; if lower is better, set direction='minimize'"]


@pytest.mark.parametrize("name", ["report", "predict", "finish", "trials", "answer", "second_chances", "resume"])
def test_help_says_something(name: str) -> None:
    for kind in (Study, RemoteStudy):
        assert (inspect.getdoc(getattr(kind, name)) or "").strip()


def test_a_study_that_has_fewer_epochs_than_it_acknowledged_says_so_and_decides_nothing() -> None:
    study = Study(StudySettings("s", max_epochs=10))
    assert not study.answer(Report("a", [0.1, 0.2])).lacks_values
    assert not study.answer(Report("a", [0.3], first_epoch=3, n_known=2)).lacks_values
    decision = study.answer(Report("a", [0.6], first_epoch=6, n_known=5))  # of a store that had epochs 4 and 5, too
    assert decision.lacks_values
    assert not decision.stop
    assert decision.reason.startswith("the study lacks values of this trial that it had")
    assert study.trials()[0].epochs == (1, 2, 3, 6)
    assert study.answer(Report("b", [0.1], n_known=1)).lacks_values  # of a trial that it does not know at all
    (batched,) = study.report_many([Report("a", [0.4, 0.5], first_epoch=4, n_known=4)])
    assert isinstance(batched, Decision)
    assert not batched.lacks_values
