"""The `metaqnn` command: searches for an architecture, and asks a study which trainings are worth going on with."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curvestop.clients.nas import analysis
from curvestop.clients.nas.search.architecture_search import ArchitectureSearch
from curvestop.clients.nas.search.q_learning import QLearning
from curvestop.clients.nas.search.search_folder import MODELS, SearchSettings
from curvestop.clients.nas.search.search_run import go, place, search_of
from curvestop.clients.nas.spaces import blockqnn
from curvestop.clients.nas.spaces.layers import parse
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace
from curvestop.clients.nas.spaces.registry import SPACES
from curvestop.clients.nas.training.counting import published_n_weights
from curvestop.clients.nas.training.datasets import load_images
from curvestop.clients.nas.training.recipes import FINAL
from curvestop.clients.remote.remote_study import connect
from curvestop.command_line import EXIT_INTERRUPTED, errors_in_one_line, print_error, run_app
from curvestop.hyperband.executors.base import ScriptError
from curvestop.hyperband.executors.factory import ENGINES
from curvestop.srm.plural import plural
from curvestop.srm.study import Study, StudyLike, StudySettings

SCRIPT = Path(__file__).parent / "training" / "training_script.py"

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="The folder of a search.", show_default=False)]
Token = Annotated[str | None, typer.Option(help="The server's token; better in the variable CURVESTOP_TOKEN.")]


@app.command()
def run(
    data: Annotated[str, typer.Argument(help="'digits', an npz, or a folder with MNIST, CIFAR-10 or SVHN files.")] = "digits",
    space: Annotated[str, typer.Option(help=f"What is searched: {', '.join(SPACES)}.")] = "metaqnn",
    controller: Annotated[str, typer.Option(help="Of cells (ppo) and convolutions (reinforce): reinforce or ppo.")] = "",
    models: Annotated[int, typer.Option(help="Different architectures to train.")] = 2700,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Trainings at the same time.")] = 1,
    engine: Annotated[str, typer.Option(help=f"Where they train: {', '.join(ENGINES)}.")] = "local",
    address: Annotated[str | None, typer.Option(help="With --engine ray: HOST:PORT; else one found or started.")] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="With --engine ray: CPUs set aside for each training.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(help="With --engine ray: GPUs set aside for each training.")] = 0.0,
    max_depth: Annotated[
        int | None,
        typer.Option(
            help="Most layers (12, or as the papers 18 for CIFAR-10, 23 for a block); a cell's nodes, a chain's layers (4).",
            show_default=False,
        ),
    ] = None,
    divide: Annotated[int, typer.Option(help="Divide numbers of filters and neurons by this (32 of a block or a cell).")] = 1,
    n_validation: Annotated[int, typer.Option(help="Training images set aside.")] = 5000,
    n_training: Annotated[int, typer.Option(help="Images to train on; 0 is all others.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Times 0.2 after every 5 epochs.")] = 0.001,
    bag_of_words: Annotated[bool, typer.Option("--bag-of-words", help="Tell the study how many layers of each kind.")] = False,
    script: Annotated[
        Path, typer.Option(help="Another trainer: train(configuration, checkpoint_dir).", show_default=False)
    ] = SCRIPT,
    device: Annotated[str, typer.Option(help="As torch names it; without, a GPU where there is one.")] = "",
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server; without, in this process.")] = None,
    token: Token = None,
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Train everything to the end.")] = False,
    threshold: Annotated[float, typer.Option(help="Delta: stop from this probability of being no better.")] = 0.99,
    min_curves: Annotated[int, typer.Option(help="d: complete curves before anything is predicted.")] = 100,
    out: Annotated[Path | None, typer.Option(help="A new or empty folder.")] = None,
) -> int:
    """Search for an architecture for DATA with MetaQNN, for a block with BlockQNN (whose paper has 12 epochs, batches of 256), or
    with an LSTM controller for a cell or a chain of convolutions with skip connections.

    Example: metaqnn run digits --divide 8 --max-depth 4 --models 150 --epochs 10 --n-validation 300 --min-curves 20
    """
    asked = {k: v for k, v in locals().items() if k not in ("token", "out")}
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = (out or Path("runs") / f"metaqnn-{started}").absolute()
    with errors_in_one_line():
        images = load_images(data)
        size = {"image_size": images.size, "n_channels": images.n_channels, "n_classes": images.n_classes}
        known = data if data == "digits" else str(Path(data).absolute())
        settings = SearchSettings(
            **{
                **asked,
                **size,
                "data": known,
                "script": str(script.absolute()),
                "study": f"metaqnn-{started}-{secrets.token_hex(4)}",
            }
        )
        settings.search(None)
        _ = settings.study_settings
        place(settings, folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"{folder}: the out folder must be new or empty")
        settings.save(folder)
    return _go(settings, folder, token)


@app.command()
def resume(folder: Folder, token: Token = None) -> int:
    """Go on with a search that was interrupted or killed, from where it was."""
    with errors_in_one_line():
        settings = SearchSettings.load(folder)
    return _go(settings, folder.absolute(), token)


@app.command()
def show(folder: Folder, top: Annotated[int, typer.Option(help="How many of the best.")] = 10) -> int:
    """What a search has done so far."""
    with errors_in_one_line():
        _, search = search_of(folder)
    _print(Console(), search, top)
    return 0


@app.command()
def analyse(
    folders: Annotated[list[Path], typer.Argument(help="Folders of searches; of one kind, if several.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="For figures and their data; without, analysis/ in the first folder.")] = None,
    window: Annotated[int, typer.Option(help="Models in the rolling mean.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the embedding.")] = 0,
) -> int:
    """Write the thesis's figures 3-4 to 3-8, the top models and the top model of each depth, each as a page and as JSON.

    The first search is analysed; stability is over all of them.
    """
    from curvestop.clients.nas import figures  # only here, as it loads plotly

    with errors_in_one_line():
        searches = [search_of(folder)[1] for folder in folders]
        target = out or folders[0] / "analysis"
        for name, rows in _analyses(searches, window, seed).items():
            path = figures.write(target, name, rows)
            typer.echo(f"{name}: {path}" if path else f"{name}: too few models")
    return 0


def _analyses(searches: list[ArchitectureSearch], window: int, seed: int) -> dict[str, analysis.Rows]:
    records, searcher = searches[0].records, searches[0].searcher
    q_values = searcher.values if isinstance(searcher, QLearning) and isinstance(searcher.space, MetaQNNSpace) else None
    return {
        "accuracy_by_iteration": analysis.accuracy_by_iteration(records, window=window),
        "accuracy_distribution": analysis.accuracy_distribution(records),
        "stability": analysis.stability([search.records for search in searches]),
        "q_values_by_depth": [] if q_values is None else analysis.q_values_by_depth(q_values),
        "embedding": analysis.embedding(records, seed=seed),
        "top_models": analysis.top_models(records),
        "top_model_by_depth": analysis.top_model_by_depth(records),
    }


@app.command()
def select(
    folder: Folder,
    top: Annotated[int, typer.Option(help="How many of the best to train.")] = 10,
    ensemble: Annotated[int, typer.Option(help="How many of these to put together.")] = 5,
    schedule: Annotated[str, typer.Option(help="Of the paper: cifar10, svhn or mnist.")] = "mnist",
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 128,
    device: Annotated[str, typer.Option(help="As torch names it; without, a GPU where there is one.")] = "",
) -> int:
    """Train the best networks of a search on the paper's longer schedule and test them and their ensemble."""
    with errors_in_one_line(ImportError):
        from curvestop.clients.nas.search import selection  # only here, as it loads torch

        settings, search = search_of(folder)
        if schedule not in FINAL:
            raise ValueError(f"schedule must be one of {', '.join(FINAL)}, but got {schedule!r}")
        best = [row["architecture"] for row in analysis.top_models(search.records, top)]
        selected = selection.select(
            best,
            load_images(settings.data),
            replace(FINAL[schedule], batch_size=batch_size),
            n_validation=settings.n_validation,
            folder=folder / "selection",
            n_ensemble=ensemble,
            n_filters=settings.n_filters,
            seed=settings.seed,
            device=device or None,
            on_trained=lambda final: typer.echo(f"validation {final.validation:.4f} test {final.test:.4f} {final.architecture}"),
        )
    (folder / "selection.json").write_text(json.dumps(asdict(selected), indent=1) + "\n", encoding="utf-8")
    winner = selected.networks[0]
    typer.echo(f"best on validation: test {winner.test:.4f} {winner.architecture}")
    typer.echo(f"ensemble of {selected.n_ensemble}: test {selected.ensemble_test:.4f}")
    return 0


@app.command()
def draw(block: Annotated[str, typer.Argument(help="A block's codes, as in the table of models.", show_default=False)]) -> int:
    """Print a block as a graph in Graphviz's language.

    Example: metaqnn draw "[(1,4,0,0,0), (2,1,3,1,0), (3,5,0,1,2)]" | dot -Tsvg > block.svg
    """
    with errors_in_one_line():
        typer.echo(blockqnn.dot(blockqnn.parse(block)), nl=False)
    return 0


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A CSV file with a column `net`, and `num_params` if it has one.")],
    max_depth: Annotated[int, typer.Option(help="Most layers.")] = 18,
    image_size: Annotated[int, typer.Option(help="Of the images the networks are for.")] = 32,
) -> int:
    """Say which architectures of a file are legal in MetaQNN's space, and whether their published sizes are right."""
    space = MetaQNNSpace(image_size=image_size, max_depth=max_depth)
    n, n_legal, n_exact, n_close, n_sizes = 0, 0, 0, 0, 0
    with errors_in_one_line(KeyError), file.open(newline="", encoding="utf-8") as opened:
        for n, row in enumerate(csv.DictReader(opened), start=1):
            architecture = parse(row["net"])
            illegal = space.check(architecture)
            n_legal += illegal is None
            if illegal is not None:
                typer.echo(f"row {n}: {row['net']}: {illegal}")
            if row.get("num_params"):
                published, counted = float(row["num_params"]), published_n_weights(architecture, image_size=image_size)
                n_sizes += 1
                n_exact += counted == published
                n_close += abs(counted / published - 1) <= 0.01
    typer.echo(f"{n} architectures parsed, {n_legal} legal; {n_close} of {n_sizes} sizes within 1 %, {n_exact} exact")
    return 0


def _go(settings: SearchSettings, folder: Path, token: str | None) -> int:
    console = Console()
    with ExitStack() as stack:
        study = None if settings.no_stop else stack.enter_context(_study(settings.study_settings, settings.server, token))
        with errors_in_one_line():
            executor = place(settings, folder)
        console.print(f"Searching in {folder}", soft_wrap=True, highlight=False)
        try:
            with errors_in_one_line(ScriptError):
                search = go(settings, study, executor)
        except KeyboardInterrupt:
            print_error(f"interrupted: what was trained so far is kept; go on with: metaqnn resume {folder}")
            return EXIT_INTERRUPTED
    _print(console, search, 10)
    console.print(f"All models: {folder / MODELS}", soft_wrap=True, highlight=False)
    return 0


def _print(console: Console, search: ArchitectureSearch, top: int) -> None:
    finished = sorted((r for r in search.records if r.state == "finished"), key=lambda r: r.values[-1], reverse=True)
    table = Table(title=f"The best of {len(search.records)} models", title_justify="left")
    for column in ("trial", search.searcher.label_name, "accuracy", "weights"):
        table.add_column(column, no_wrap=True)
    table.add_column("architecture")
    for r in finished[:top]:
        table.add_row(r.trial, f"{r.label:g}", f"{r.values[-1]:.4f}", str(r.features["ap:weights"]), r.text)
    console.print(table)
    states = {state: sum(r.state == state for r in search.records) for state in ("finished", "stopped", "failed", "running")}
    whole, ends = plural(len(search.records) * search.epochs, "epoch"), ", ".join(f"{n} {s}" for s, n in states.items() if n)
    console.print(f"{search.epochs_trained} of {whole} trained; {ends}")


@contextmanager
def _study(settings: StudySettings, server: str | None, token: str | None) -> Iterator[StudyLike]:
    """In this process, or on a server that answered once."""
    if server is None:
        yield Study(settings)
        return
    with errors_in_one_line():
        study = connect(server, settings, token=token)
        study.check()
    with study:
        yield study


def main() -> None:
    """Entry point."""
    run_app(app, "metaqnn")


if __name__ == "__main__":
    main()
