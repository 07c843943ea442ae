"""The hyperband command as a person runs it: its exit status, what it prints and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import typer

from curvestop import __version__
from curvestop.hyperband.cli import app, main, plan
from curvestop.hyperband.run.run_folder import RunSettings
from curvestop.srm.policies.stopping_rule import StoppingRule
from tests.contracts_executor import COUNTING
from tests.hyperband_runs import LATE, SPACE


@dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str


Hyperband = Callable[..., Done]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a script that counts and its search space."""
    (tmp_path / "count.py").write_text(COUNTING)
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hyperband(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hyperband:
    """Runs the command in this process, as its entry point does."""

    def hyperband(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["hyperband", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return hyperband


@pytest.fixture
def run(hyperband: Hyperband) -> Hyperband:
    return lambda *more: hyperband("run", "count.py", "--space", "space.toml", "--max-epochs", "9", "--mode", "sync", *more)


def settings_of(folder: str) -> RunSettings:
    return RunSettings.load(Path(folder))


def test_the_thesis_is_one_flag_and_others_override_it(run: Hyperband, here: Path) -> None:
    """Algorithm 2 with nu-SVR, trained once on 100 curves; a flag or a --config file may say otherwise."""
    (here / "run.toml").write_text("max-epochs = 3\nkappa = 2\n")
    assert run("--thesis", "--out", "a").status == 0
    assert run("--config", "run.toml", "--max-epochs", "3", "--thesis", "--min-curves", "50", "--out", "b").status == 0
    first, other = settings_of("a"), settings_of("b")
    study = first.study_settings(here / "space.toml")
    assert (study.predictor, study.refit_growth, study.rule) == ("nu-svr", 1e9, StoppingRule(threshold=0.95, min_curves=100))
    assert (first.mode, first.kappa, first.no_recall, first.second_chances) == ("sync", 1.0, True, 0.0)
    assert (other.kappa, other.min_curves, other.predictor) == (2.0, 50, "nu-svr")


def test_policy_and_predictor_are_of_ones_choice(run: Hyperband, hyperband: Hyperband, here: Path) -> None:
    chosen = ["--policy", "asha", "--policy-settings", '{"eta": 2}', "--predictor", "nu-svr", "--predictor-settings"]
    assert run("--max-epochs", "3", *chosen, '{"n_candidates": 60}', "--out", "a").status == 0
    study = settings_of("a").study_settings(here / "space.toml")
    assert (study.policy, study.policy_settings, study.predictor_settings) == ("asha", {"eta": 2}, {"n_candidates": 60})
    for wrong, message in {
        "--policy nowhere": "policy must be one of",
        "--policy-settings risk=1": "settings must be a JSON object",
        "--policy-settings [1]": "settings must be a JSON object",
        '--predictor-settings {"n":1}': "predictor 'stacked' does not take {'n': 1}",
        "--policy asha --second-chances 5%": "second chances need policy 'learned'",
    }.items():
        done = run(*wrong.split(), "--out", "never")
        assert (done.status, message in done.stderr) == (2, True), (wrong, done.stderr)


def test_the_plan_of_27_by_3(hyperband: Hyperband) -> None:
    done = hyperband("plan", "--max-epochs", "27", "--mode", "sync", "--iterations", "4")
    assert done.status == 0
    rows = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines() if "s =" in line and "│" in line]
    assert rows == [
        "s = 3 27 @ 1 9 @ 3 3 @ 9 1 @ 27 81",
        "s = 2 12 @ 3 4 @ 9 1 @ 27 78",
        "s = 1 6 @ 9 2 @ 27 90",
        "s = 0 4 @ 27 108",
    ]
    assert "4 iterations x 49 configurations, 357 epochs = 196 configurations, 1428 epochs." in done.stdout
    # `test_the_fewest_epochs_of_four_iterations_by_hand` has the steps; min-curves is 20.
    fewest = 355 + 265 + 175 + 157
    assert f"f-Hyperband may save up to {1 - fewest / 1428:.0%} of them: Algorithm 2 with perfect predictions" in done.stdout
    assert (
        f"trains {fewest}. It saves nothing in a rung until min-curves (20) configurations have reached its end." in done.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--max-epochs 9 --mode sync", "None of the 17 configurations can be stopped inside a rung: "),
        ("--max-epochs 9 --mode sync", "lower --min-curves (at least 6) or raise --iterations."),
        ("--max-epochs 9 --budget 10", "None of the 40 configurations can be stopped inside a rung: "),
        ("--max-epochs 9 --budget 10", "only after min-curves (20) curves have reached it"),
        ("--max-epochs 9 --budget 10", "or raise --budget."),
        ("--max-epochs 9 --budget 10 --min-curves 6", "f-Hyperband may save up to "),
        (
            "--max-epochs 1 --budget 10",
            "with kappa 1, all train to the ends of their rungs; lower --kappa or raise --max-epochs.",
        ),
        # Lazy: nobody draws nine million configurations to say that there are so many.
        ("--max-epochs 27 --budget 1e6", "9000004 configurations"),
        ("--max-epochs 27 --budget 1e13", "budget must be at most 1e+12 full trainings"),
        ("--max-epochs 9 --min-curves 3", "min_curves must be >= 6"),
    ],
)
def test_the_plan_says_what_can_be_stopped(hyperband: Hyperband, arguments: str, line: str) -> None:
    done = hyperband("plan", *arguments.split())
    assert line in done.stdout + done.stderr


def test_the_examples_in_the_help_of_plan_run(hyperband: Hyperband) -> None:
    examples = [line.split("hyperband ", 1)[1] for line in (plan.__doc__ or "").splitlines() if "Example:" in line]
    assert len(examples) == 2
    for example in examples:
        assert hyperband(*example.split()).status == 0


def test_the_default_is_one_bracket_that_spends_a_budget(here: Path, hyperband: Hyperband) -> None:
    planned = hyperband("plan", "--max-epochs", "27").stdout
    assert "188 @ 1" in planned
    assert "6 @ 27" in planned
    assert "540" in planned  # 20 full trainings of 27 epochs
    done = hyperband("run", "count.py", "--space", "space.toml", "--max-epochs", "9", "--budget", "10", "--no-stop", "--out", "o")
    assert done.status == 0
    results = json.loads((here / "o" / "results.json").read_text())
    # 40 x 1 + 13 x 2 + 4 x 6 = 90 epochs: ten full trainings.
    assert "40 @ 1" in hyperband("plan", "--max-epochs", "9", "--budget", "10").stdout
    assert 90 - 9 < sum(len(trial["values"]) for trial in results["trials"]) <= 90
    best = next(trial for trial in results["trials"] if trial["trial"] == results["best_trial"])
    assert len(best["values"]) == 9
    n, trained = results["n_trials"], results["epochs_trained"]
    whole = f"Epochs trained: {trained} of the {9 * n} that these trials take when each is trained whole."
    assert f"{n} trials, 0 stops, 0 failed. {whole}" in done.stdout


def test_a_run_says_at_once_that_nothing_can_be_stopped(here: Path, run: Hyperband) -> None:
    note = "note  None of the 17 configurations can be stopped inside a rung: "
    assert note in run("--out", "a").stdout
    assert note not in run("--out", "b", "--no-stop").stdout
    assert note not in run("--out", "c", "--iterations", "4", "--min-curves", "6", "--predictor", "ols").stdout


def test_a_large_budget_begins_at_once(here: Path, hyperband: Hyperband) -> None:
    (here / "count.py").write_text("def train(c, d):\n    yield 1 / 0\n")
    arguments = ["run", "count.py", "--space", "space.toml", "--max-epochs", "27", "--budget", "1e9", "--out", "o"]
    done = hyperband(*arguments)
    assert "rung 1/4: 9000000004 configurations to 1 epoch" in done.stdout
    assert "the first 5 trials all failed alike: ZeroDivisionError: division by zero;" in done.stderr


def test_a_run_is_followed_until_it_is_over(here: Path, run: Hyperband) -> None:
    (here / "count.py").write_text(
        "def train(c, d):\n    yield c['x']\n"
        "    if d.name == 'i0-s0-000': open('gate').read()\n    yield c['x']\n    yield c['x']\n"
    )
    os.mkfifo(here / "gate")
    command = [sys.executable, "-m", "curvestop.hyperband.cli"]
    start = [*command, "run", "count.py", "--space", "space.toml", "--max-epochs", "3", "--mode", "sync", "--out", "o"]
    with subprocess.Popen(start, cwd=here, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        while "bracket s=0" not in driver.stdout.readline():
            pass
        with subprocess.Popen([*command, "show", "o", "--follow"], cwd=here, stdout=subprocess.PIPE, text=True) as follower:
            (here / "gate").write_text("")
            driver.stdout.read()
            assert driver.wait(60) == 0
            shown, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert "The run is over." in shown


def test_a_run_in_this_process(here: Path, run: Hyperband) -> None:
    arguments = ["--workers", "2", "--iterations", "4", "--predictor", "ols", "--min-curves", "6", "--metric", "height"]
    done = run(*arguments, "--out", "results")
    assert done.status == 0, done.stderr
    results = json.loads((here / "results" / "results.json").read_text())
    stops = [line for line in done.stdout.splitlines() if line.startswith("stop  ")]
    assert len(stops) == results["n_stops"] > 0
    assert " P(no better than " in stops[0]
    assert "rung  iteration 4/4, bracket s=0, rung 1/1: 3 configurations to 9 epochs" in done.stdout
    trained, planned = results["epochs_trained"], results["epochs_planned"]
    assert trained < planned == 4 * (9 + 6 + 6 + 15 + 6 + 27)
    assert f"Epochs trained: {trained}; plain Hyperband plans {planned}" in done.stdout
    assert f"saved {1 - trained / planned:.1%}" in done.stdout
    assert f"Plot of all curves: {here / 'results' / 'curves.html'}" in done.stdout
    assert "Best height" in done.stdout
    assert results["settings"]["metric"] == "height"


def test_plain_hyperband_trains_the_plan_on_the_same_configurations(here: Path, run: Hyperband) -> None:
    for folder, more in (("a", ["--no-stop"]), ("b", ["--no-stop"]), ("c", ["--predictor", "ols"])):
        assert run("--out", folder, "--seed", "3", *more).status == 0
    results = [json.loads((here / folder / "results.json").read_text()) for folder in "abc"]
    assert results[0]["trials"] == results[1]["trials"]
    assert results[0]["epochs_trained"] == 69
    assert results[0]["n_stops"] == 0
    drawn = [[trial["configuration"] for trial in result["trials"]] for result in results]
    assert drawn[0] == drawn[2]


def test_asynchronously_it_says_how_busy_it_was_and_resumes_to_itself(here: Path, run: Hyperband, hyperband: Hyperband) -> None:
    done = run("--out", "o", "--mode", "async", "--workers", "2", "--iterations", "2", "--predictor", "ols", "--min-curves", "6")
    assert done.status == 0, done.stderr
    results = json.loads((here / "o" / "results.json").read_text())
    assert 0.0 < results["busy_share"] < 1.0
    assert f"Workers were busy {results['busy_share']:.1%} of the time, " in done.stdout
    assert "next  i0-s2-00" in done.stdout
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{here / 'o' / 'optuna.db'}")
    assert (study.study_name, study.n_trials) == (results["settings"]["study"], 34)
    shown = json.loads(hyperband("show", "o", "--json").stdout)
    assert shown == results
    assert hyperband("resume", "o").status == 0
    assert json.loads((here / "o" / "results.json").read_text())["trials"] == results["trials"]


def test_the_password_of_a_storage_is_kept_nowhere(
    here: Path, run: Hyperband, hyperband: Hyperband, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite reads the URL of a file, and does not mind a password in it."""
    url = f"sqlite:///file:{here / 'runs.db'}?uri=true&password=secret"
    done = run("--out", "o", "--no-stop", "--storage", url)
    (study,) = optuna.get_all_study_summaries(url)
    assert (done.status, study.n_trials) == (0, 17)
    shown = f"sqlite:///file:{here / 'runs.db'}?uri=true&password=***"
    assert json.loads((here / "o" / "run.json").read_text())["storage"] == shown
    assert json.loads(hyperband("show", "o", "--json").stdout)["settings"]["storage"] == shown
    told = [done, hyperband("show", "o"), hyperband("resume", "o")]
    assert told[-1].status == 2
    assert told[-1].stderr == (
        f"hyperband: the password of the run's Optuna storage {shown} is not kept: give the URL again with --storage or the "
        "variable CURVESTOP_STORAGE\n"
    )
    told += [hyperband("resume", "o", "--storage", "sqlite:///other.db"), hyperband("resume", "o", "--storage", url)]
    assert [done.status for done in told[-2:]] == [2, 0]
    assert told[-2].stderr == f"hyperband: the run's Optuna storage is {shown}, but got sqlite:///other.db\n"
    monkeypatch.setenv("CURVESTOP_STORAGE", url)
    assert hyperband("resume", "o").status == 0
    assert not any("secret" in done.stdout + done.stderr for done in told)
    assert not [file for file in here.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]


def test_a_late_bloomer_is_dropped_and_then_recovered(here: Path, run: Hyperband, hyperband: Hyperband) -> None:
    (here / "count.py").write_text(LATE)
    (here / "space.toml").write_text(SPACE.replace("0.5", "0.0"))
    arguments = ["--iterations", "3", "--min-curves", "8", "--out"]
    without = run(*arguments, "without", "--second-chances", "0")
    done = run(*arguments, "with", "--second-chances", "10%")
    assert (without.status, done.status) == (0, 0), done.stderr
    results = json.loads((here / "with" / "results.json").read_text())
    best = next(trial for trial in results["trials"] if trial["trial"] == results["best_trial"])
    assert (best["state"], best["resumed_at"], best["epochs_trained"]) == ("finished", 2, 9)
    assert best["reason"] == "trained to 9 epochs in a second chance"
    before = json.loads((here / "without" / "results.json").read_text())
    assert results["best_value"] > before["best_value"]
    dropped = next(trial for trial in before["trials"] if trial["trial"] == best["trial"])
    assert (dropped["state"], dropped["epochs_trained"], before["n_resumed"]) == ("dropped", 1, 0)
    assert results["epochs_trained"] - before["epochs_trained"] <= 0.1 * results["epochs_trained"]
    assert f"resumed  {best['trial']} after 1 epoch: " in done.stdout
    assert f"best  {best['trial']}: value " in done.stdout
    for shown in (done.stdout, hyperband("show", "with").stdout):
        assert f"{best['trial']} (resumed)" in shown
        assert f" stops, {results['n_resumed']} resumed, 0 failed." in shown
    assert (here / "with" / "checkpoints" / best["trial"] / "epoch").read_text() == "9"
    assert '"resumed": [' in (here / "with" / "curves.html").read_text()


@pytest.mark.parametrize(
    ("program", "share"),
    [
        (["count.py"], "0.05"),
        (["count.py", "--no-stop"], None),
        (["count.py", "--second-chances", "0"], None),
        (["--command", "python train.py --out {checkpoint_dir}"], "0.05"),
        (["--command", "python train.py {x}"], None),
        (["--command", "python train.py {x}", "--second-chances", "2%"], "0.02"),
    ],
)
def test_second_chances_are_for_programs_that_resume(hyperband: Hyperband, program: list[str], share: str | None) -> None:
    done = hyperband("run", *program, "--space", "space.toml", "--max-epochs", "9", "--dry-run")
    assert done.status == 0
    line = f"Second chances: at most {share} of the epochs, for trials that were stopped"
    assert (line in done.stdout) if share else ("Second chances" not in done.stdout)


def test_without_a_study_there_are_no_second_chances(run: Hyperband) -> None:
    assert run("--no-stop", "--second-chances", "5%").stderr == (
        "hyperband: second chances are for stopped trials, and --no-stop stops none, but got '5%'\n"
    )


def test_minimising(here: Path, run: Hyperband) -> None:
    assert run("--out", "o", "--direction", "minimize", "--no-stop").status == 0
    results = json.loads((here / "o" / "results.json").read_text())
    finals = [trial["values"][-1] for trial in results["trials"] if trial["state"] == "finished"]
    assert results["best_value"] == min(finals)


def test_failed_trials_are_recorded_and_the_run_continues(here: Path, run: Hyperband) -> None:
    (here / "space.toml").write_text(SPACE + '[how]\ntype = "categorical"\nchoices = ["well", "raise", "die", "nan"]\n')
    (here / "count.py").write_text(
        "import os, signal\n" + COUNTING.replace("def train", "def counting") + "def train(c, d):\n"
        "    if c['how'] == 'raise': raise ValueError('how to raise')\n"
        "    if c['how'] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if c['how'] == 'nan': yield float('nan')\n"
        "    yield from counting(c, d)\n"
    )
    done = run("--out", "o", "--workers", "2")
    assert done.status == 0, done.stderr
    reasons = {
        "raise": "ValueError: how to raise",
        "die": "the worker was killed by SIGKILL",
        "nan": "the metric of epoch 1 is nan, not a finite number",
    }
    trials = json.loads((here / "o" / "results.json").read_text())["trials"]
    failed = [trial for trial in trials if trial["configuration"]["how"] != "well"]
    assert {trial["configuration"]["how"] for trial in failed} == set(reasons)
    for trial in failed:
        assert (trial["state"], trial["reason"]) == ("failed", reasons[trial["configuration"]["how"]])
        assert f"fail  {trial['trial']}: {trial['reason']}" in done.stdout
    traced = {trial["trial"] for trial in failed if trial["configuration"]["how"] != "nan"}
    assert {path.stem for path in (here / "o" / "failures").iterdir()} == traced


COMMAND = """
import json, os, sys
from pathlib import Path

state = Path(sys.argv[2]) / "epoch"
epoch = int(state.read_text()) if state.exists() else 0
assert float(os.environ["CURVESTOP_PARAM_x"]) == float(sys.argv[1]) == json.loads(os.environ["CURVESTOP_CONFIGURATION"])["x"]
for epoch in range(epoch + 1, int(sys.argv[3]) + 1):
    state.write_text(str(epoch))
    print(f"epoch {epoch}: loss=1 val_acc={float(sys.argv[1]) * epoch}", flush=True)
"""


def test_any_command_line_is_trained_as_a_script_is(here: Path, run: Hyperband, hyperband: Hyperband) -> None:
    (here / "program.py").write_text(COMMAND)
    command = f"{sys.executable} program.py {{x}} {{checkpoint_dir}} {{last_epoch}}"
    arguments = [
        "--command",
        command,
        "--pattern",
        "val_acc=([0-9.]+)",
        "--space",
        "space.toml",
        "--max-epochs",
        "9",
        "--mode",
        "sync",
    ]
    done = hyperband("run", *arguments, "--no-stop", "--out", "a")
    assert done.status == 0, done.stderr
    results = json.loads((here / "a" / "results.json").read_text())
    assert (results["n_failed"], results["epochs_trained"]) == (0, 69)
    for trial in results["trials"]:
        x = trial["configuration"]["x"]
        assert trial["values"] == [x * epoch for epoch in range(1, len(trial["values"]) + 1)]
    assert hyperband("resume", "a").status == 0
    assert "epoch 9: loss=1" in (here / "a" / "logs" / f"{results['best_trial']}.log").read_text()


def test_a_file_in_place_of_flags_which_have_the_last_word(here: Path, hyperband: Hyperband) -> None:
    (here / "run.toml").write_text(
        'script = "count.py"\nspace = "space.toml"\nmax-epochs = 9\nmode = "sync"\n'
        'no_stop = true\nseed = 3\nmetric = "height"\nout = "a"\n'
    )
    assert hyperband("run", "--config", "run.toml").status == 0
    assert hyperband("run", "--config", "run.toml", "--seed", "4", "--out", "b").status == 0
    settings = [json.loads((here / folder / "results.json").read_text())["settings"] for folder in "ab"]
    names = ("max_epochs", "no_stop", "seed", "metric")
    assert [[s[name] for name in names] for s in settings] == [[9, True, 3, "height"], [9, True, 4, "height"]]
    assert "s = 2" in hyperband("plan", "--config", "run.toml").stdout


def test_every_flag_has_its_place_in_a_file(here: Path, hyperband: Hyperband) -> None:
    (here / "run.toml").write_text("fly = 1\n")
    (complaint,) = hyperband("run", "--config", "run.toml").stderr.splitlines()
    offered = complaint.partition(" takes ")[2].partition(", but got")[0].split(", ")
    flags = {option.name for option in typer.main.get_command(app).commands["run"].params}  # type: ignore[attr-defined]
    assert set(offered) == flags - {"config", "token", "dry_run"}
    (here / "run.toml").write_text("space = 'space.toml'\nmax-epochs = 'many'\n")
    assert "Invalid value for '--max-epochs'" in hyperband("run", "--config", "run.toml").stderr


def test_a_rehearsal_makes_nothing(here: Path, run: Hyperband) -> None:
    before = sorted(here.rglob("*"))
    done = run("--dry-run", "--out", "o")
    assert done.status == 0
    assert "3 configurations" not in done.stdout
    assert "s = 2" in done.stdout
    assert f"Would train {here / 'count.py'} in {here / 'o'}" in done.stdout
    assert "First configuration: {'x': 0." in done.stdout
    assert sorted(here.rglob("*")) == before
    assert run("--dry-run", "--threshold", "2").status == 2


@pytest.mark.parametrize("command", ["plan", "run", "resume", "show"])
def test_every_command_has_an_example(hyperband: Hyperband, command: str) -> None:
    assert f"Example: hyperband {command} " in hyperband(command, "--help").stdout


def test_its_version(hyperband: Hyperband) -> None:
    assert hyperband("--version") == Done(0, f"hyperband {__version__}\n", "")


def test_the_shell_completes_it(hyperband: Hyperband, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in hyperband("--help").stdout
    monkeypatch.setenv("_HYPERBAND_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "hyperband re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert hyperband("").stdout.split() == ["resume"]


def test_trials_that_all_fail_alike_end_the_run(here: Path, run: Hyperband, hyperband: Hyperband) -> None:
    (here / "count.py").write_text("def train(c, d):\n    yield c['learning_rate']\n")
    done = run("--out", "o")
    assert done.status == 1
    failures, resume = here / "o" / "failures", f"hyperband resume {here / 'o'}"
    assert done.stderr == (
        "hyperband: the first 5 trials all failed alike: KeyError: 'learning_rate'; what they printed is in "
        f"{failures}; to try others all the same: {resume}\n"
    )
    assert len(list(failures.iterdir())) == 5
    assert "Best value" not in done.stdout  # no table of nothing
    # Five others are tried, which is what a resume of such a run is for.
    assert hyperband("resume", "o").status == 1
    assert len(list(failures.iterdir())) == 10


def test_failures_that_differ_or_come_after_a_value_do_not_end_the_run(here: Path, run: Hyperband) -> None:
    (here / "count.py").write_text(
        "from pathlib import Path\nSEEN = []\n"
        "def train(c, d):\n    SEEN.append(1)\n    raise (ValueError if len(SEEN) % 2 else TypeError)('bad')\n    yield\n"
    )
    done = run("--out", "o")
    assert done.status == 1
    assert len(list((here / "o" / "failures").iterdir())) == 9 + 5 + 3
    assert done.stderr == (
        f"hyperband: no trial succeeded; the last failure: ValueError: bad; what they printed is in {here / 'o' / 'failures'}\n"
    )
    (here / "count.py").write_text(
        COUNTING.replace("def train", "def counting")
        + "def train(c, d):\n    if d.name != 'i0-s2-000': raise ValueError('bad')\n    yield from counting(c, d)\n"
    )
    assert run("--out", "p").status == 0
    assert len(list((here / "p" / "failures").iterdir())) == 16


def test_values_that_are_all_equal_are_doubted(here: Path, run: Hyperband) -> None:
    (here / "count.py").write_text("def train(c, d):\n    while True: yield 0.0\n")
    done = run("--out", "o", "--no-stop")
    assert done.status == 0
    assert done.stderr == "hyperband: warning: all values of value are 0: is that what train yields?\n"


def test_brackets_in_a_configuration_are_printed_as_they_are(here: Path, run: Hyperband, hyperband: Hyperband) -> None:
    (here / "space.toml").write_text(SPACE + '[how]\ntype = "categorical"\nchoices = ["[sgd]"]\n')
    done = run("--out", "o", "--no-stop", "--metric", "[b]acc")
    assert done.stdout.count("how=[sgd]") > 5  # each new best, and the table
    assert "Best [b]acc" in done.stdout
    assert "how=[sgd]" in hyperband("show", "o").stdout


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--max-epochs", "x", "Invalid value for '--max-epochs'"),
        ("--max-epochs", "0", "max_epochs must be >= 1, but got 0"),
        ("--max-epochs", "1000000", "mode 'sync' draws the 531441 configurations of its first bracket at once, at most 100000: "),
        ("--eta", "1", "eta must be >= 2, but got 1"),
        ("--workers", "0", "n_workers must be >= 1, but got 0"),
        ("--seed", "-1", "seed must be >= 0, but got -1"),
        ("--budget", "4", "a budget needs mode 'asha', as mode 'sync' takes iterations, but got a budget of 4.0"),
        ("--iterations", "0", "iterations must be >= 1, but got 0"),
        ("--kappa", "0", "kappa must be finite and > 0, but got 0.0"),
        ("--threshold", "2", "threshold must be in (0, 1], but got 2.0"),
        ("--tolerance", "-1", "tolerance must be finite and >= 0, but got -1.0"),
        ("--min-curves", "2", "min_curves must be >= 6"),
        ("--direction", "up", "direction must be 'maximize' or 'minimize', but got 'up'"),
        ("--predictor", "oracle", "predictor must be one of"),
        ("--space", "none.toml", "none.toml: the search space cannot be read"),
        ("--space", "count.py", "count.py: not TOML"),
        ("--out", ".", ": the out folder must be new or empty"),
        ("--out", "count.py/x", "count.py/x: the out folder cannot be created: Not a directory"),
        ("--server", "127.0.0.1:1", "127.0.0.1:1"),
        ("--server", "nowhere", "nowhere"),
        ("--second-chances", "5", "second chances must be a share of the epochs, like 5% or 0.05, below 100%, but got '5'"),
        ("--second-chances", "some", "second chances must be a share of the epochs, like 5% or 0.05, below 100%, but got 'some'"),
        ("--mode", "eager", "mode must be one of asha, async, sync, but got 'eager'"),
        ("--sampler", "grid", "sampler must be one of random, tpe, but got 'grid'"),
        ("--storage", "postgresql://ann:secret@127.0.0.1:1/x", "but got 'postgresql://ann:***@127.0.0.1:1/x': "),
        ("--storage", "nowhere://x", "storage must be the URL of a database that answers, but got 'nowhere://x'"),
        ("--engine", "steam", "engine must be one of local"),
        ("--hang-limit", "0", "hang_limit_s must be > 0, but got 0.0"),
        ("--retries", "-1", "retries must be >= 0, but got -1"),
        ("--config", "none.toml", "none.toml: the configuration cannot be read: No such file or directory"),
        ("--config", "count.py", "count.py: not TOML"),
        ("--config", "space.toml", "space.toml: a configuration takes space, max_epochs, script, command"),
        ("--fly", "high", "No such option: --fly"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_status_2(run: Hyperband, here: Path, option: str, value: str, line: str) -> None:
    done = run(option, value)
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("hyperband: ")
    assert line in done.stderr
    assert "secret" not in done.stderr
    assert not list(here.glob("**/results.json"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run", "Missing option '--space'"),
        ("run --space space.toml --max-epochs 9", "a run needs a SCRIPT or a --command to train, but got neither"),
        ("run count.py --command x --space space.toml --max-epochs 9", "a --command, but got both: count.py and 'x'"),
        ("run --command no-such-program --space space.toml --max-epochs 9", "program not found: no-such-program"),
        ("run --command ls_{lr} --space space.toml --max-epochs 9", "must be a parameter (x) or one of checkpoint_dir, trial"),
        ("run --command ls --pattern ( --space space.toml --max-epochs 9", "must be a regular expression, but '(' is not"),
        ("run none.py --space space.toml --max-epochs 9", "training script not found: none.py"),
        ("run space.toml --space space.toml --max-epochs 9", "space.toml: cannot be used: ImportError"),
        ("run no_train.py --space space.toml --max-epochs 9", "must define train(configuration, checkpoint_dir)"),
        ("plan --max-epochs 0", "max_epochs must be >= 1, but got 0"),
        ("plan --max-epochs 9 --iterations 0", "iterations must be >= 1, but got 0"),
        (
            "plan --max-epochs 9 --iterations 4",
            "iterations need mode 'sync' or 'async', as mode 'asha' takes a budget, but got 4",
        ),
        ("plan --max-epochs 9 --budget 1", "budget must be at least 2.34 full trainings for one configuration to be complete"),
        ("show nosuch", "nosuch: must be the folder of a run, but it does not exist"),
        ("resume .", ".: must be the folder of a run, but it has no run.json"),
        ("fly", "No such command 'fly'"),
    ],
)
def test_a_bad_command_is_one_line_and_exit_status_2(hyperband: Hyperband, here: Path, arguments: str, line: str) -> None:
    (here / "no_train.py").write_text("VALUE = 3\n")
    done = hyperband(*arguments.split())
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("hyperband: ")
    assert line in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(here: Path, run: Hyperband) -> None:
    (here / "closed").mkdir(mode=0o500)
    done = run("--out", "closed")
    assert done.status == 2
    assert "the out folder must be writable" in done.stderr


ONE_EPOCH = """
import threading
from pathlib import Path

def train(configuration, checkpoint_dir):
    trained = Path(checkpoint_dir) / "trained"
    if not trained.exists():
        trained.touch()
        yield configuration["x"]
    threading.Event().wait()
"""
"""Trains one epoch of each trial; the second never ends, not even in another worker."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_was_trained(here: Path, number: signal.Signals) -> None:
    (here / "count.py").write_text(ONE_EPOCH)
    command = [sys.executable, "-m", "curvestop.hyperband.cli", "run", "count.py", "--space", "space.toml"]
    command += ["--max-epochs", "9", "--mode", "sync", "--workers", "2", "--out", "o"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "rung 2/3" not in process.stdout.readline():  # all nine trained one epoch; the second never ends
            pass
        process.send_signal(number)
        rest, complaints = process.stdout.read(), process.stderr.read()
        assert process.wait(20) == 130
    resume = f"continue with: hyperband resume {here / 'o'}"
    assert complaints == f"hyperband: interrupted; everything trained so far is kept; {resume}\n"
    assert "9 trials, 0 stops, 0 failed. Epochs trained: 9; plain Hyperband plans 9 " in rest
    trials = json.loads((here / "o" / "results.json").read_text())["trials"]
    assert [len(trial["values"]) for trial in trials] == [1] * 9
    assert (here / "o" / "curves.html").exists()
