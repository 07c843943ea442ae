"""What a person sees of a run on a terminal of 60 columns."""

from __future__ import annotations

import io
import re

from rich.console import Console

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Description
from curvestop.clients.nas.search.q_learning import EpsilonSchedule, QLearning
from curvestop.clients.nas.search.search_console import SearchConsole
from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
from curvestop.hyperband.run.console import RunConsole, print_result
from curvestop.hyperband.run.live_console import LiveConsole, Progress, RunningTrial
from curvestop.hyperband.scheduler.asynchronous import Asha
from curvestop.hyperband.scheduler.brackets import single_bracket
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import TrialStopped
from curvestop.srm.curve import Decision, Prediction


def terminal(file: io.StringIO) -> Console:
    return Console(file=file, force_terminal=True, color_system=None, width=60, markup=False, highlight=False)


def shown(file: io.StringIO) -> str:
    """The text without the sequences that move the cursor, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).split())


def test_the_status_line_counts_and_says_the_best_so_far() -> None:
    file, scheduler = io.StringIO(), FHyperband(lambda: {"x": 1.0}, max_epochs=9)
    with RunConsole(terminal(file), scheduler, metric="accuracy"):
        job = scheduler.ask()
        assert job is not None
        scheduler.report(job.trial, 0.5)
        scheduler.job_over(job.trial)
        scheduler.ask()
    # Nine of 17 trials are drawn at once. One has trained one epoch; no trial is complete. The plan has 78 epochs: 1 % is done.
    assert "starting workers | 9 of 17 trials, 1 running, 0 stops | best accuracy 0.5 after 1 epoch | epochs trained 1" in shown(
        file
    )
    assert re.search(r"\b1% [\d.]+ s, at most [\d.:s ]+ left", shown(file))
    assert "i0-s2-001 epoch 0 of 1" in shown(file)


def test_running_trials_are_shown_with_their_forecasts_and_too_many_are_counted() -> None:
    class Display(LiveConsole):
        def _progress(self) -> Progress:
            known = RunningTrial("t0", (0.5, 0.75), 9, Prediction(0.8123, 0.0456))
            return Progress(1, 4, "busy", [known, *(RunningTrial(f"t{i}", (), 9, None) for i in range(1, 11))], "about 3 s")

    file = io.StringIO()
    with Display(terminal(file)):
        pass
    assert "25% 0.0 s, about 3 s left busy t0 epoch 2 of 9: 0.75, forecast 0.8123 +- 0.046 t1 epoch 0 of 9" in shown(file)
    assert shown(file).endswith("t7 epoch 0 of 9 and 3 others")


def test_a_terminal_wraps_lines_between_words() -> None:
    file, scheduler = io.StringIO(), FHyperband(lambda: {"x": 1.0}, max_epochs=9)
    scheduler.ask()
    (record, *_) = scheduler.records
    reason = "P(no better than 0.917329 at epoch 3) = 0.956, stops at 0.95: predicted 0.894307 +- 0.013"
    RunConsole(terminal(file), scheduler, metric="x").print_event(TrialStopped(record, Decision(stop=True, reason=reason), 3))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert len(lines) > 1
    assert [word for line in lines for word in line] == ["stop", "i0-s2-000", "after", "0", "epochs:", *reason.split()]


def test_asha_compares_with_the_same_trials_trained_whole() -> None:
    file, scheduler = io.StringIO(), Asha(lambda: {"x": 1.0}, max_epochs=9, plan=[single_bracket(9, budget=4)])
    for _ in range(2):
        job = scheduler.ask()
        assert job is not None
        scheduler.report(job.trial, 0.5)
        scheduler.job_over(job.trial)
    print_result(terminal(file), scheduler, metric="x")
    assert "Epochs trained: 2 of the 18 that these trials take when each is trained whole." in shown(file)


def test_the_status_line_of_an_architecture_search() -> None:
    file, space = io.StringIO(), ChoiceChain((Choice("operation", ("conv", "pool")),) * 2)
    searcher = QLearning(space, seed=0, schedule=EpsilonSchedule(((1.0, 4),)))
    search = ArchitectureSearch(searcher, lambda chosen: Description("-".join(chosen), {}), epochs=1)
    with SearchConsole(terminal(file), 4) as console:
        console.update(search)
        for accuracy in (0.5, 0.25):
            training = search.ask()
            assert training is not None
            search.report(training.trial, accuracy)
            search.training_over(training.trial)
            console.update(search)
        search.ask()
    assert "best m00000: accuracy 0.5000, " in shown(file)
    assert "accuracy 0.2500" not in shown(file)
    assert "2 of 4 models, 1 training | 0 stopped, 0 failed | best accuracy 0.5000 | 2 epochs trained" in shown(file)


def test_an_architecture_search_says_the_best_from_its_first_epoch_on() -> None:
    file, space = io.StringIO(), ChoiceChain((Choice("operation", ("conv", "pool")),) * 2)
    searcher = QLearning(space, seed=0, schedule=EpsilonSchedule(((1.0, 4),)))
    search = ArchitectureSearch(searcher, lambda chosen: Description("-".join(chosen), {}), epochs=2)
    training = search.ask()
    assert training is not None
    with SearchConsole(terminal(file), 4) as console:
        console.update(search)
        search.report(training.trial, 0.25, seconds=1.5)
    # One of two epochs of one of four models.
    assert re.search(r"\b12% ", shown(file))
    assert "best accuracy 0.2500 after 1 epoch | 1 epoch trained m00000 epoch 1 of 2: 0.25" in shown(file)
    assert search.records[0].seconds == 1.5
