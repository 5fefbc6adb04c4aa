"""The command line: every command is a few lines over the Python interface, and imports what is heavy when it runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .cards import SweepSpec, Workspace, check, read_sweep
from .errors import UsageError, WorkFailed, unknown_name
from .progress import shown_progress

if TYPE_CHECKING:
    from .scoring.sweep import Summary

NAME = "robustbench-ekdaa"
app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Are networks trained without backprop harder to fool? Train, attack, score, plot.",
    epilog=f"First steps: `{NAME} quickstart`",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets: what is here, downloading, importing your own.")
app.add_typer(data_app, name="data")

out, log = Console(), Console(stderr=True)

Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
RunFolder = Annotated[Path, typer.Option("--run", help="The run folder: checkpoints, logs and results.sqlite.")]
WorkspaceFolder = Annotated[Path, typer.Option("--workspace", help="The folder that holds models/ and attacks/.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Workers = Annotated[int | None, typer.Option(help="Jobs side by side (default: one per core on a CPU, one on a GPU).")]


def parse_list(text: str | None) -> list[str] | None:
    """Split ``A,B,C``; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def parse_epsilons(text: str) -> list[float]:
    """Read ``0,0.05,0.1`` or ``START:STOP:STEP`` with STOP included; raises UsageError."""
    try:
        if ":" not in text:
            return [float(Decimal(part)) for part in text.split(",")]
        start, stop, step = (Decimal(part) for part in text.split(":"))
        if step > 0 and stop >= start and (stop - start) / step <= 10_000:
            return [float(start + step * number) for number in range(int((stop - start) / step) + 1)]
    except (InvalidOperation, ValueError):
        raise UsageError(
            f"--epsilons: cannot read {text!r}. Write 0,0.05,0.1 or START:STOP:STEP such as 0:0.3:0.03"
        ) from None
    raise UsageError(f"--epsilons: {text!r} makes no list. START must not exceed STOP, and STEP must be above 0")


def command_line() -> str:
    """Return the command as it was typed, for reports."""
    return shlex.join([NAME, *(argument for argument in sys.argv[1:] if argument != "--debug")])


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Set up nothing; only the version."""
    if version:
        from . import __version__

        out.print(__version__, highlight=False)
        raise typer.Exit


@app.command(epilog=f"Example: `{NAME} quickstart --out quickstart`")
def quickstart(
    out_folder: Annotated[Path, typer.Option("--out", help="Where the run and the report go.")] = Path("quickstart"),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Train, attack, score and report on the embedded digits, in about a minute."""
    spec = SweepSpec(
        datasets=("digits",),
        models=("backprop", "ekdaa", "frozen"),
        attacks=("fgsm", "bim", "pgd", "mi_fgsm", "noise"),
        epsilons=tuple(parse_epsilons("0:0.4:0.05")),
        images=300,
        seeds=3,
    )
    failed = do_sweep(spec, out_folder / "run", Workspace(), device, workers)
    page = do_report(out_folder / "run", out_folder / "report")
    out.print(f"Report: {page}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


@app.command("list", epilog=f"Example: `{NAME} list attacks`")
def list_names(
    what: Annotated[str, typer.Argument(help="models, rules, networks, attacks, suites, components or datasets")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceFolder = Path("."),
    debug: Debug = False,
) -> None:
    """List what can be named in cards and commands."""
    from .listing import LISTINGS

    if what not in LISTINGS:
        raise unknown_name("list", what, LISTINGS)
    rows = LISTINGS[what](Workspace(workspace))
    if as_json:
        out.print_json(json.dumps(rows))
        return
    show_rows(rows)


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    out.print(table)


@data_app.command("status", epilog=f"Example: `{NAME} data status`")
def data_status(debug: Debug = False) -> None:
    """Show which data sets are here, and where they are looked for."""
    from .data import data_folder
    from .listing import LISTINGS

    show_rows(LISTINGS["datasets"](Workspace()))
    out.print(f"Folder: {data_folder()}", highlight=False, soft_wrap=True)


@data_app.command("fetch", epilog=f"Example: `{NAME} data fetch fashion_mnist`")
def data_fetch(
    names: Annotated[list[str], typer.Argument(help="fashion_mnist, cifar10, svhn")], debug: Debug = False
) -> None:
    """Download data sets, checksums verified."""
    from .data import fetch_dataset

    for name in names:
        entry = fetch_dataset(name)
        out.print(f"{name}: {entry.train} training and {entry.test} test images", highlight=False)


@data_app.command("import", epilog=f"Example: `{NAME} data import my_images.npz --name my_images`")
def data_import(
    source: Annotated[Path, typer.Argument(help="an NPZ archive, or a folder train/CLASS/*.png, test/CLASS/*.png")],
    name: Annotated[str, typer.Option(help="What to call it.")],
    title: Annotated[str | None, typer.Option(help="What figures call it.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Split off this share if there is no test half.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH: resize the images of a folder.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of that name.")] = False,
    debug: Debug = False,
) -> None:
    """Import any data set: grey or colour, any size, any number of classes."""
    from .data import import_dataset

    dataset = import_dataset(source, name, title=title, test_share=test_share, size=parse_size(size), replace=replace)
    shape = "x".join(str(length) for length in dataset.image_shape)
    out.print(
        f"{name}: {len(dataset.train)} training and {len(dataset.test)} test images {shape}, "
        f"{len(dataset.classes)} classes. Use it with --dataset {name}",
        highlight=False,
    )


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read ``HEIGHTxWIDTH``; raises UsageError."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size: cannot read {text!r}. Write HEIGHTxWIDTH, such as 32x48")
    return int(parts[0]), int(parts[1])


@app.command(epilog=f"Example: `{NAME} train backprop ekdaa --dataset digits --seeds 3 --run runs/digits`")
def train(
    models: Annotated[list[str], typer.Argument(help="Model cards, such as backprop ekdaa.")],
    dataset: Annotated[str, typer.Option(help="The data set's name.")],
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Keep aside this share of the training images, to choose a recipe.")
    ] = 0.0,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Train models; finished ones are kept, stopped ones go on."""
    from .api import train_many

    cards = [Workspace(workspace).models[name] for name in dict.fromkeys(models)]
    with shown_progress(log) as progress:
        records = train_many(
            cards,
            dataset,
            range(seeds),
            run,
            held_out=held_out,
            device=device,
            workers=workers,
            progress=progress,
            keep_going=True,
        )
    column = "held_out_accuracy" if held_out else "test_accuracy"
    show_rows(
        [
            {
                "name": record.name,
                "seed": record.seed,
                "train": percent(record.metrics.get("train_accuracy")),
                column: percent(record.metrics.get(column)),
                "seconds": record.metrics.get("seconds", ""),
                "checkpoint": record.key if record.status == "trained" else record.error,
            }
            for record in records
        ]
    )
    raise typer.Exit(1 if any(record.status == "failed" for record in records) else 0)


def percent(share: float | None) -> str:
    """Show a share in per cent."""
    return "-" if share is None else f"{100 * share:.2f} %"


@app.command(
    epilog=f"Example: `{NAME} sweep --dataset digits --models backprop,ekdaa --attacks fgsm,bim "
    "--epsilons 0:0.3:0.05 --run runs/digits`"
)
def sweep(
    run: RunFolder,
    spec_file: Annotated[Path | None, typer.Argument(help="A sweep file (TOML); flags override it.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="A data set; may be given several times.")] = None,
    models: Annotated[str | None, typer.Option(help="Model cards A,B,...")] = None,
    surrogates: Annotated[str | None, typer.Option(help="Models to craft on (default: --models).")] = None,
    targets: Annotated[str | None, typer.Option(help="Models to score (default: --models).")] = None,
    attacks: Annotated[str | None, typer.Option(help="Attacks and suites A,B,...")] = None,
    epsilons: Annotated[str | None, typer.Option(help="0,0.05,0.1 or START:STOP:STEP, pixels of [0, 1].")] = None,
    images: Annotated[int | None, typer.Option(help="Test images (default: all).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds per model (default: 3).")] = None,
    seed: Annotated[int | None, typer.Option(help="Keys the choice of images and the attacks' draws.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per crafting batch.")] = None,
    precision: Annotated[str | None, typer.Option(help="Crafting in float32 (default) or bfloat16.")] = None,
    save_images: Annotated[
        bool | None, typer.Option("--save-images", help="Keep the adversarial images in RUN/adversarial.")
    ] = None,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Train, attack and score what is missing; say what is stored already."""
    flags: dict[str, Any] = {
        "datasets": dataset,
        "models": parse_list(models),
        "surrogates": parse_list(surrogates),
        "targets": parse_list(targets),
        "attacks": parse_list(attacks),
        "epsilons": None if epsilons is None else parse_epsilons(epsilons),
        "images": images,
        "seeds": seeds,
        "seed": seed,
        "batch_size": batch_size,
        "precision": precision,
        "save_images": save_images,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    base = read_sweep(spec_file).model_dump(exclude_unset=True) if spec_file else {}
    spec = check(SweepSpec, {**base, **given}, "sweep")
    failed = do_sweep(spec, run, Workspace(workspace), device, workers)
    out.print(f"Report it: {NAME} report {shlex.quote(str(run))} --out report", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def do_sweep(spec: SweepSpec, run: Path, workspace: Workspace, device: str, workers: int | None) -> bool:
    """Run a sweep with progress bars, print its summary, and return whether any model failed."""
    from .api import open_results
    from .rendering import summary_table
    from .scoring.sweep import run_sweep

    with shown_progress(log) as progress:
        summary = run_sweep(
            spec,
            run,
            workspace=workspace,
            device=device,
            workers=workers,
            progress=progress,
            command=command_line(),
        )
    out.print(summary_table(open_results(run)))
    return tell_failed(summary)


def tell_failed(summary: Summary) -> bool:
    """Print why models could not be trained, and return whether there are any."""
    for record in summary.failed:
        log.print(f"failed: {record.error}", highlight=False, markup=False, soft_wrap=True)
    return bool(summary.failed)


@app.command(
    epilog=f"Example: `{NAME} score images.npz --dataset digits --models backprop,ekdaa --norm linf --epsilons 0.1 "
    "--run runs/digits`"
)
def score(
    file: Annotated[Path, typer.Argument(help="Adversarial images: a .safetensors or .npz archive.")],
    dataset: Annotated[str, typer.Option(help="The data set whose test images they change.")],
    models: Annotated[str, typer.Option(help="Model cards A,B,... to score; trained where they are missing.")],
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds per model.")] = 3,
    name: Annotated[str | None, typer.Option(help="What to call the attack (default: the file's name).")] = None,
    norm: Annotated[str | None, typer.Option(help="linf, l2 or l1, if the file does not say it.")] = None,
    epsilons: Annotated[
        str | None, typer.Option(help="One per batch of images: 0.05,0.1, if the file does not say them.")
    ] = None,
    indices: Annotated[
        str | None, typer.Option(help="Which test images: 3,1,4 or FIRST:LAST, if the file does not say it.")
    ] = None,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Score adversarial images from a file, made elsewhere or saved by a sweep; they are checked first."""
    from .api import open_results
    from .scoring.imported import ImportSpec, score_images

    spec = ImportSpec(
        file=file,
        dataset=dataset,
        models=parse_list(models) or [],
        seeds=seeds,
        name=name,
        norm=norm,
        epsilons=None if epsilons is None else parse_epsilons(epsilons),
        indices=None if indices is None else parse_indices(indices),
    )
    options: dict[str, Any] = {"workspace": Workspace(workspace), "device": device, "workers": workers}
    with shown_progress(log) as progress:
        summary = score_images(spec, run, **options, progress=progress, command=command_line())
    rows = open_results(run).frame().query("attack == @name", local_dict={"name": spec.attack})
    means = rows.groupby(["dataset", "target", "epsilon"], sort=False)["accuracy"].agg(["mean", "count"]).reset_index()
    show_rows(
        [
            {
                "data set": row["dataset"],
                "target": row["target"],
                "epsilon": f"{row['epsilon']:g}",
                "accuracy": percent(row["mean"]),
                "seeds": row["count"],
            }
            for row in means.to_dict("records")
        ]
    )
    raise typer.Exit(1 if tell_failed(summary) else 0)


def parse_indices(text: str) -> list[int]:
    """Read ``3,1,4`` or ``FIRST:LAST`` with LAST included; raises UsageError."""
    try:
        if ":" not in text:
            return [int(part) for part in text.split(",")]
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--indices: cannot read {text!r}. Write 3,1,4 or FIRST:LAST such as 0:499") from None
    if not 0 <= first <= last < first + 1_000_000:
        raise UsageError(f"--indices: {text!r} makes no list. Write 0 <= FIRST <= LAST, a million at most")
    return list(range(first, last + 1))


@app.command(epilog=f"Example: `{NAME} report runs/digits --out reports/digits`")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the report goes.")],
    debug: Debug = False,
) -> None:
    """Write a report folder: page, figures, tables and the data behind them."""
    out.print(f"Report: {do_report(run, out_folder)}", highlight=False, soft_wrap=True)


def do_report(run: Path, folder: Path) -> Path:
    """Write the report of a run and return its page."""
    from .analysis.results import Results
    from .analysis.trainings import read_trainings
    from .rendering import write_report
    from .scoring.store import reading

    with reading(run) as store:
        results, commands = Results(store.outcomes()), store.commands()
    trainings = read_trainings(run)
    if not trainings.models:
        raise UsageError(f"{run}: nothing was trained here yet. `{NAME} train` or `{NAME} sweep` with --run fills it.")
    with shown_progress(log) as progress:
        return write_report(results, folder, trainings=trainings, command="\n".join(commands), progress=progress)


@app.command(epilog=f"Example: `{NAME} export runs/digits --format parquet --out digits.parquet`")
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out_file: Annotated[Path, typer.Option("--out", help="The file to write.")],
    form: Annotated[str, typer.Option("--format", help="csv, parquet or json")] = "csv",
    debug: Debug = False,
) -> None:
    """Write all tidy rows of a run to one file."""
    from .analysis.export import export_frame
    from .api import open_results

    rows = export_frame(open_results(run).frame(), out_file, form)
    out.print(f"{out_file}: {rows} rows", highlight=False, soft_wrap=True)


@app.command("check-rule", epilog=f"Example: `{NAME} check-rule models/my_rule.py:MyRule --option scale=0.1`")
def check_rule(
    rule: Annotated[str, typer.Argument(help="A known rule, or FILE.py:CLASS. The file's code is run.")],
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, as in a card; may be repeated.")] = None,
    debug: Debug = False,
) -> None:
    """Test whether a learning rule is what its name says, leaves the network alone, and learns."""
    from .data import load_dataset
    from .learning.contract import check_rule as check_contract
    from .learning.contract import rule_maker

    findings = list(check_contract(rule_maker(rule, parse_options(option or [])), load_dataset("digits")))
    show_rows([{"test": finding.test, "verdict": finding.verdict, "found": finding.found} for finding in findings])
    raise typer.Exit(1 if any(finding.verdict == "failed" for finding in findings) else 0)


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` with JSON values, or plain words; raises UsageError."""
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UsageError(f"--option: cannot read {text!r}. Write KEY=VALUE, such as beta=0.5")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


@app.command(epilog=f"Example: `{NAME} init my-benchmark`")
def init(
    folder: Annotated[Path, typer.Argument(help="The new workspace's folder.")],
    debug: Debug = False,
) -> None:
    """Make a new workspace with an example learning rule, attack and sweep of one's own."""
    from .template import create_workspace

    for path in create_workspace(folder):
        out.print(str(path), highlight=False, soft_wrap=True)
    out.print(
        f"Next: cd {shlex.quote(str(folder))} && {NAME} sweep sweep.toml --run runs/first",
        highlight=False,
        soft_wrap=True,
    )


def main() -> None:
    """Run the command line; errors become one line and an exit code: 2 wrong usage, 1 the work failed."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == 130:  # how some versions of typer say that Ctrl-C was pressed
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        fail("stopped; everything finished before is kept. Run the same command again to go on.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, (UsageError, WorkFailed)):
            fail(str(error), 2 if isinstance(error, UsageError) else 1)
        # What the command line's parser says; its classes live in click or in typer, depending on typer's version.
        if hasattr(error, "format_message"):
            fail(f"{error.format_message()} `{NAME} --help` shows what there is.", 2)
        fail(f"{type(error).__name__}: {error}. This is a fault of the tool; run again with --debug to see where.", 1)


def fail(message: str, code: int) -> None:
    """Print one line to standard error and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
