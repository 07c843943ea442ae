"""The `metaqnn` command: search for an architecture, and stop trainings that a study predicts to be no better."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curvestop.clients.nas import analysis
from curvestop.clients.nas.search.architecture_search import ArchitectureSearch
from curvestop.clients.nas.search.q_learning import QLearning
from curvestop.clients.nas.search.search_console import SearchConsole
from curvestop.clients.nas.search.search_factory import SPACES, new_search
from curvestop.clients.nas.search.search_folder import MODELS, load_settings, save_settings
from curvestop.clients.nas.search.search_run import load_search, new_executor, run_search
from curvestop.clients.nas.search.search_settings import N_SELECTED, SearchSettings, search_defaults
from curvestop.clients.nas.spaces import blockqnn
from curvestop.clients.nas.spaces.layers import parse
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace
from curvestop.clients.nas.training.counting import published_n_weights
from curvestop.clients.nas.training.datasets import NORMALIZED, load_images, split_images
from curvestop.clients.nas.training.recipes import FINAL, FINAL_REPEATS, final_schedule
from curvestop.clients.remote.remote_study import connect
from curvestop.command_line import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING_SUCCEEDED,
    common_options,
    errors_in_one_line,
    grouped_help,
    new_console,
    print_error,
    run_app,
    signals_interrupt,
)
from curvestop.hyperband.executors.base import ScriptError
from curvestop.hyperband.executors.factory import ENGINES
from curvestop.hyperband.run.early_failures import AllFailAlike
from curvestop.hyperband.run.live_console import clock, print_line
from curvestop.hyperband.run.session import make_folder
from curvestop.hyperband.run.shared_study import SharedStudy
from curvestop.hyperband.run.study_options import (
    Policy,
    PolicySettings,
    Predictor,
    PredictorSettings,
    StudyName,
    Thesis,
    Token,
    Tolerance,
    names_of,
)
from curvestop.srm.plural import plural
from curvestop.srm.study import Study
from curvestop.srm.study_like import ResumableStudy

SCRIPT = Path(__file__).parent / "training" / "training_script.py"
"""The default training script of `metaqnn run`."""

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="Folder of a search.", show_default=False)]
Device = Annotated[str, typer.Option(help="Name of a torch device (default: a GPU where there is one).", show_default=False)]


app.callback()(common_options)


RUN_GROUPS = {
    "Search": ["space", "controller", "models", "max_depth", "seed", "out"],
    "Training": ["epochs", "n_training", "n_validation", "batch_size", "learning_rate", "divide", "script", "device"],
    "Workers": ["workers", "engine", "address", "cpus_per_trial", "gpus_per_trial"],
    "Stopping": [
        *("server", "study", "token", "policy", "policy_settings", "predictor", "predictor_settings", "thesis", "no_stop"),
        *("threshold", "rank", "tolerance", "min_curves", "bag_of_words"),
    ],
}


@app.command(cls=grouped_help(RUN_GROUPS))
def run(
    data: Annotated[str, typer.Argument(help="'digits', an npz, or a folder with MNIST, CIFAR or SVHN files.")] = "digits",
    space: Annotated[str, typer.Option(help=f"Search space: {', '.join(SPACES)}.")] = "metaqnn",
    controller: Annotated[
        str,
        typer.Option(
            help="Algorithm of the controller: reinforce or ppo (default: ppo for cells, reinforce for convolutions).",
            show_default=False,
        ),
    ] = "",
    models: Annotated[
        int | None,
        typer.Option(help="Number of different architectures to train (default: 150 of digits, else 2700; of blocks 11392)."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each training (default: 10 of digits, else 20; of blocks 12).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    workers: Annotated[int, typer.Option(help="Number of trainings at the same time.")] = 1,
    engine: Annotated[str, typer.Option(help=f"Where networks train: {', '.join(ENGINES)}.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster's HOST:PORT, with --engine ray (default: one that is found or started).", show_default=False
        ),
    ] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="CPUs that Ray or Slurm reserves for each training.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(help="GPUs that Ray or Slurm reserves for each training.")] = 0.0,
    max_depth: Annotated[
        int | None,
        typer.Option(
            help="Maximum layers of a network or block (default: 4 of digits, else 12, of blocks 23; MetaQNN's paper has 18 for "
            "CIFAR-10), nodes of a cell or layers of a chain (default: 4).",
            show_default=False,
        ),
    ] = None,
    divide: Annotated[
        int | None,
        typer.Option(help="Divisor of all numbers of filters and neurons, for small networks (default: 8 of digits, else 1)."),
    ] = None,
    n_validation: Annotated[
        int | None, typer.Option(help="Number of training images for validation (default: 5000, at most a fifth of them).")
    ] = None,
    n_training: Annotated[int, typer.Option(help="Number of images to train on; 0 means all others.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Images in a training step (default: 32 of digits, else 128; of blocks 256).")
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Initial learning rate; it is multiplied by 0.2 every 5 epochs.")] = 0.001,
    bag_of_words: Annotated[
        bool, typer.Option("--bag-of-words", help="Let the study predict from the number of layers of each type too.")
    ] = False,
    script: Annotated[
        Path, typer.Option(help="Your own training script, with train(configuration, checkpoint_dir).", show_default=False)
    ] = SCRIPT,
    device: Device = "",
    server: Annotated[
        str | None, typer.Option(help="Server's HOST:PORT (default: a study in this process).", show_default=False)
    ] = None,
    study: StudyName = None,
    token: Token = None,
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Train every architecture to the end.")] = False,
    policy: Policy = None,
    policy_settings: PolicySettings = None,
    threshold: Annotated[
        float, typer.Option(help="Stop a training at this probability of not beating the RANK-th best; the paper's Delta.")
    ] = 0.99,
    rank: Annotated[
        int, typer.Option(help="Which of the best final accuracies is the one to beat; as many as `select` is to train.")
    ] = N_SELECTED,
    tolerance: Tolerance = 0.0,
    predictor: Predictor = "stacked",
    predictor_settings: PredictorSettings = None,
    thesis: Thesis = False,
    min_curves: Annotated[
        int | None,
        typer.Option(
            help="Complete curves before the study predicts (the paper's d; default: 20 of digits, else 100; 8 if the "
            "policy is another one)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New or empty folder for the search (default: runs/metaqnn-TIME).", show_default=False)
    ] = None,
) -> int:
    """Search for an architecture for DATA.

    MetaQNN searches chains of layers, BlockQNN (--space blockqnn) blocks, each with its paper's settings. An LSTM
    controller searches cells (--space cells) or chains of convolutions with skip connections (--space convolutions).

    Example: metaqnn run digits
    """
    # The options have the names of the fields of SearchSettings. `locals` must come first: later it would have more names.
    options = {name: value for name, value in locals().items() if name not in ("token", "out")}
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = (out or Path("runs") / f"metaqnn-{started}").absolute()
    with errors_in_one_line():
        images = load_images(data)
        defaults = search_defaults(data, len(images.y_train), space=space, policy=policy)
        options |= {name: default for name, default in defaults.items() if options[name] is None}
        derived = {
            "image_size": images.size,
            "n_channels": images.n_channels,
            "n_classes": images.n_classes,
            # Absolute paths, as the search may be resumed from another folder.
            "data": data if data == "digits" else str(Path(data).absolute()),
            "script": str(script.absolute()),
            **names_of(f"metaqnn-{started}-{secrets.token_hex(4)}", study, server),
        }
        settings = SearchSettings(**{**options, **derived})
        # Every mistake must be found before the folder is made.
        settings.check()
        split_images(images.y_train, settings.n_validation, settings.n_training, seed=settings.seed)
        _require_trainer(settings)
        new_search(settings, None)
        _ = settings.study_settings  # a property: its constructor checks threshold and min_curves
        new_executor(settings, folder)

    def prepare() -> None:
        make_folder(folder)
        save_settings(folder, settings)

    return _run(settings, folder, token, prepare=prepare)


@app.command()
def resume(folder: Folder, token: Token = None) -> int:
    """Resume a search that was interrupted or killed.

    Example: metaqnn resume runs/digits
    """
    with errors_in_one_line():
        settings = load_settings(folder)
        _require_trainer(settings)
    return _run(settings, folder.absolute(), token)


@app.command()
def show(folder: Folder, top: Annotated[int, typer.Option(help="Number of models to list.")] = 10) -> int:
    """List the best models of a search, finished or not.

    Example: metaqnn show runs/digits --top 20
    """
    with errors_in_one_line():
        _, search = load_search(folder)
    _print_search(new_console(), search, top)
    return 0


@app.command()
def analyse(
    folders: Annotated[list[Path], typer.Argument(help="Folders of searches of the same space.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for figures and data (default: FOLDER/analysis).", show_default=False),
    ] = None,
    window: Annotated[int, typer.Option(help="Number of models in the rolling mean.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed of the embedding.")] = 0,
) -> int:
    """Write the thesis's figures 3-4 to 3-8 and 4-6, the top models, and the top model of each depth, as web pages and JSON.

    The figure of stability compares all searches; the others are of the first.
    """
    from curvestop.clients.nas import figures

    with errors_in_one_line(ImportError):
        figures.require_plotly()  # first, because reading a large search takes a while
    with errors_in_one_line():
        searches = [load_search(folder)[1] for folder in folders]
        target = out or folders[0] / "analysis"
        for name, rows in _tables(searches, window, seed).items():
            path = figures.write(target, name, rows)  # None if a table has no rows, as Q-values of other spaces
            typer.echo(f"{name}: {path}" if path else f"{name}: too few models, nothing written")
    return 0


def _tables(searches: list[ArchitectureSearch], window: int, seed: int) -> dict[str, analysis.Rows]:
    records, searcher = searches[0].records, searches[0].searcher
    # Only MetaQNN's Q-values belong to layers at depths.
    q_values = searcher.values if isinstance(searcher, QLearning) and isinstance(searcher.space, MetaQNNSpace) else None
    return {
        "accuracy_by_iteration": analysis.accuracy_by_iteration(records, window=window),
        "accuracy_distribution": analysis.accuracy_distribution(records),
        "stability": analysis.stability([search.records for search in searches]),
        "q_values_by_depth": [] if q_values is None else analysis.q_values_by_depth(q_values),
        "embedding": analysis.embedding(records, seed=seed),
        "cumulative_best": analysis.cumulative_best(records),
        "top_models": analysis.top_models(records),
        "top_model_by_depth": analysis.top_model_by_depth(records),
    }


@app.command()
def select(
    folder: Folder,
    top: Annotated[int, typer.Option(help="Number of networks to train, the best of the search.")] = N_SELECTED,
    ensemble: Annotated[int, typer.Option(help="Number of networks in the ensemble.")] = 5,
    by_depth: Annotated[
        bool, typer.Option("--by-depth", help="Take the best of each depth (section 3.5 of the thesis).")
    ] = False,
    schedule: Annotated[
        str | None,
        typer.Option(help=f"The paper's schedule to train by: {', '.join(FINAL)} (default: that of the images or of blocks)."),
    ] = None,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Train on the validation images too, as the paper's final networks.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Images in a training step (default: the search's, at most 128).")
    ] = None,
    device: Device = "",
) -> int:
    """Train the best networks of a search by the paper's longer schedule, and test them and their ensemble.

    With the schedule of CIFAR-10 or SVHN images are normalized as in the paper; SVHN's extra images are trained on where the
    folder has them. Blocks are stacked four to a stage.

    Example: metaqnn select runs/digits --top 5
    """
    with errors_in_one_line(ImportError):
        from curvestop.clients.nas.search import selection  # imported here because it loads torch

        settings, search = load_search(folder)
        is_block = settings.space == "blockqnn"
        images = load_images(settings.data)
        schedule = schedule or ("blockqnn" if is_block else final_schedule(images.name))
        if schedule not in FINAL:
            raise ValueError(f"schedule must be one of {', '.join(FINAL)}, but got {schedule!r}")
        rows = analysis.top_models(search.records, top)
        if by_depth:
            best_of_depths = analysis.top_model_by_depth(search.records)
            rows = sorted(best_of_depths, key=lambda row: row["accuracy"], reverse=True)[:top]
        selected = selection.select(
            [row["architecture"] for row in rows],
            load_images(settings.data, normalize=NORMALIZED.get(schedule), extra=True),
            replace(FINAL[schedule], batch_size=batch_size or min(128, settings.batch_size)),
            n_validation=settings.n_validation,
            folder=folder / "selection",
            n_ensemble=ensemble,
            n_filters=settings.n_filters,
            repeats=FINAL_REPEATS if is_block else 1,
            all_images=all_images,
            seed=settings.seed,
            device=device or None,
            on_trained=lambda net: typer.echo(_trained_line(net.validation, net.test, net.architecture)),
        )
    (folder / "selection.json").write_text(json.dumps(asdict(selected), indent=1) + "\n", encoding="utf-8")
    best = selected.networks[0]  # by validation accuracy; the test images choose nothing
    typer.echo(f"best on validation{' in the search' if all_images else ''}: test {best.test:.4f} {best.architecture}")
    typer.echo(f"ensemble of {selected.n_ensemble}: test {selected.ensemble_test:.4f}")
    return 0


def _trained_line(validation: float | None, test: float, architecture: str) -> str:
    return f"{'' if validation is None else f'validation {validation:.4f} '}test {test:.4f} {architecture}"


@app.command()
def draw(block: Annotated[str, typer.Argument(help="A block's codes, as in the table of models.", show_default=False)]) -> int:
    """Print a block as a graph in Graphviz's language.

    To draw it: metaqnn draw "[(1,4,0,0,0), (2,1,3,1,0), (3,5,0,1,2)]" | dot -Tsvg > block.svg
    """
    with errors_in_one_line():
        typer.echo(blockqnn.dot(blockqnn.parse(block)), nl=False)
    return 0


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="CSV file with a column `net` and, optionally, `num_params`.")],
    max_depth: Annotated[int, typer.Option(help="Maximum number of layers.")] = 18,
    image_size: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 32,
) -> int:
    """Check which architectures of a file are in MetaQNN's space, and whether their published sizes are right."""
    space = MetaQNNSpace(image_size=image_size, max_depth=max_depth)
    n, n_legal, n_exact, n_close, n_sizes = 0, 0, 0, 0, 0
    with errors_in_one_line(KeyError), file.open(newline="", encoding="utf-8") as opened:
        for n, row in enumerate(csv.DictReader(opened), start=1):  # KeyError: the file has no column `net`
            architecture = parse(row["net"])
            violation = space.check(architecture)
            n_legal += violation is None
            if violation is not None:
                typer.echo(f"row {n}: {row['net']}: {violation}")
            if row.get("num_params"):
                published, counted = float(row["num_params"]), published_n_weights(architecture, image_size=image_size)
                n_sizes += 1
                n_exact += counted == published
                n_close += abs(counted / published - 1) <= 0.01  # relative: sizes span orders of magnitude
    typer.echo(f"{n} architectures parsed, {n_legal} legal; {n_close} of {n_sizes} sizes within 1 %, {n_exact} exact")
    return 0


def _require_trainer(settings: SearchSettings) -> None:
    """Check that torch is there for the default training script; a script of the user's needs what it needs.

    Raises:
        ModuleNotFoundError: If it is not.
    """
    if Path(settings.script) == SCRIPT and find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def _run(settings: SearchSettings, folder: Path, token: str | None, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Run or resume the search in a folder, and return the exit status; `prepare` makes the folder of a new one."""
    console = new_console()
    with ExitStack() as stack:
        # First the study, as its server may not answer: a search that cannot start leaves no folder behind.
        study = None if settings.no_stop else stack.enter_context(_study(settings, token))
        with errors_in_one_line():
            prepare()
            executor = new_executor(settings, folder)
        console.print(f"Searching in {folder}", soft_wrap=True)
        try:
            with signals_interrupt(), errors_in_one_line(ScriptError), SearchConsole(console, settings.models) as shown:
                search = run_search(settings, study, executor, on_step=shown.update)
        except AllFailAlike as error:
            print_error(f"{error}; tracebacks are in {folder / 'failures'}; to try others all the same: metaqnn resume {folder}")
            return EXIT_NOTHING_SUCCEEDED
        except KeyboardInterrupt:
            print_error(f"interrupted; what was trained so far is kept; continue with: metaqnn resume {folder}")
            return EXIT_INTERRUPTED
    _print_search(console, search, 10)
    console.print(f"All models: {folder / MODELS}", soft_wrap=True)
    if all(record.state == "failed" for record in search.records):
        print_error(f"no model was trained; the last failure: {search.records[-1].reason}")
        return EXIT_NOTHING_SUCCEEDED
    return 0


def _print_search(console: Console, search: ArchitectureSearch, top: int) -> None:
    """Print the best models, and how many trainings and epochs there were."""
    # Stopped models have no final accuracy to rank by.
    finished = sorted((r for r in search.records if r.state == "finished"), key=lambda r: r.values[-1], reverse=True)
    table = Table(title=f"The best of {len(search.records)} models", title_justify="left")
    for column in ("trial", search.searcher.label_name, "accuracy", "weights", "time"):
        table.add_column(column, no_wrap=True)
    table.add_column("architecture")
    for r in finished[:top]:
        table.add_row(r.trial, f"{r.label:g}", f"{r.values[-1]:.4f}", str(r.features["ap:weights"]), clock(r.seconds), r.text)
    console.print(table)
    states = {state: sum(r.state == state for r in search.records) for state in ("finished", "stopped", "failed", "running")}
    counts = ", ".join(f"{n} {state}" for state, n in states.items() if n)
    trained_s = sum(record.seconds for record in search.records)
    trained = f"{search.epochs_trained} of {plural(len(search.records) * search.epochs, 'epoch')} trained"
    print_line(console, f"{trained}; {counts}; {clock(trained_s)} of training")


@contextmanager
def _study(settings: SearchSettings, token: str | None) -> Iterator[ResumableStudy]:
    """Yield a study in this process, or one on a server, which must answer once."""
    if settings.server is None:
        yield Study(settings.study_settings)
        return
    with errors_in_one_line():
        study = connect(settings.server, settings.study_settings, token=token)
        study.check()  # a mistake in the address or the token is found before anything is trained
    with study:
        yield SharedStudy(study, settings.prefix) if settings.prefix else study


def main() -> None:
    """Run the command `metaqnn`."""
    run_app(app, "metaqnn")


if __name__ == "__main__":
    main()
