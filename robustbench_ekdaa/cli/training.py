"""Commands that compute: train, sweep and score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..cards import MOST_SEEDS, SweepSpec, check, crossed_names, read_sweep
from ..errors import UsageError
from ..text import shell_words
from .app import (
    PROGRAM,
    CpusPerJob,
    Debug,
    Device,
    ExecutorName,
    GpusPerJob,
    KeepEpochs,
    RayAddress,
    RetryFailed,
    RunFolder,
    Track,
    Workers,
    WorkspaceFolder,
    ZooPlace,
    app,
)
from .parsing import parse_epsilons, parse_indices, parse_kept, parse_list
from .plans import show_plan
from .printing import say, show_rows, with_percent_sign
from .running import benchmark, do_sweep, tell_failed, tracked, workplace


@app.command(epilog=f"Example: `{PROGRAM} train backprop ekdaa --dataset digits --seeds 3 --run runs/digits`")
def train(
    models: Annotated[list[str], typer.Argument(help="Model cards, such as backprop ekdaa.")],
    dataset: Annotated[str, typer.Option(help="The data set's name.")],
    run: RunFolder,
    recipes: Annotated[str | None, typer.Option(help="Recipe cards own,sgd,... to cross the models with.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="How many seeds, from 0.")] = 3,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Keep aside this share of the training images, to choose a recipe.")
    ] = 0.0,
    keep_epochs: KeepEpochs = None,
    retry_failed: RetryFailed = False,
    zoo: ZooPlace = None,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    cpus_per_job: CpusPerJob = None,
    gpus_per_job: GpusPerJob = None,
    track: Track = None,
    debug: Debug = False,
) -> None:
    """Train models; finished ones are kept, stopped ones are continued."""
    crew = workplace(workers, executor, ray_address, cpus_per_job, gpus_per_job)
    means: dict[str, Any] = {"workspace": workspace, "device": device, "workers": crew, "zoo": zoo}
    with benchmark(run, **means) as work, tracked(work, track):
        records = work.train(
            crossed_names(models, parse_list(recipes) or ()),
            dataset,
            range(seeds),
            held_out=held_out,
            keep_epochs=parse_kept(keep_epochs),
            keep_going=True,
            retry_failed=retry_failed,
        )
    column = "held_out_accuracy" if held_out else "test_accuracy"
    show_rows(
        [
            {
                "name": record.name,
                "seed": record.seed,
                "train": with_percent_sign(record.metrics.get("train_accuracy")),
                column: with_percent_sign(record.metrics.get(column)),
                "seconds": record.metrics.get("seconds"),
                "checkpoint": record.key if record.status == "trained" else record.error,
            }
            for record in {record.key: record for record in records}.values()  # a model may be named twice
        ]
    )
    raise typer.Exit(1 if work.failed else 0)


@app.command(
    epilog=f"Example: `{PROGRAM} sweep --dataset digits --models backprop,ekdaa --attacks fgsm,bim "
    "--epsilons 0:0.3:0.05 --run runs/digits`"
)
def sweep(
    run: RunFolder,
    spec_file: Annotated[Path | None, typer.Argument(help="A sweep file (TOML); flags override it.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="A data set; may be given several times.")] = None,
    models: Annotated[str | None, typer.Option(help="Model cards A,B,...")] = None,
    recipes: Annotated[str | None, typer.Option(help="Recipe cards own,sgd,... to cross --models with.")] = None,
    surrogates: Annotated[str | None, typer.Option(help="Models to craft on, or foreign (default: --models).")] = None,
    targets: Annotated[str | None, typer.Option(help="Models to score (default: --models).")] = None,
    attacks: Annotated[str | None, typer.Option(help="Attacks and suites A,B,...")] = None,
    epsilons: Annotated[str | None, typer.Option(help="0,0.05,0.1 or START:STOP:STEP, pixels of [0, 1].")] = None,
    verdict_epsilon: Annotated[
        str | None, typer.Option(help="The epsilon at which `compare` compares, declared before.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Test images (default: all).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds per model (default: 3).")] = None,
    surrogate_seeds: Annotated[
        int | None, typer.Option(help="Craft on the first so many seeds alone (default: on all).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Keys the choice of images and the attacks' draws.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per crafting batch.")] = None,
    precision: Annotated[str | None, typer.Option(help="Crafting in float32 (default) or bfloat16.")] = None,
    save_images: Annotated[
        bool | None, typer.Option("--save-images", help="Keep the adversarial images in RUN/adversarial.")
    ] = None,
    strict_versions: Annotated[
        bool | None,
        typer.Option("--strict-versions", help="Take nothing for the same that other versions or devices made."),
    ] = None,
    keep_epochs: KeepEpochs = None,
    retry_failed: RetryFailed = False,
    plan: Annotated[bool, typer.Option("--plan", help="Make nothing; say what would be done, and how long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --plan: print JSON.")] = False,
    zoo: ZooPlace = None,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    cpus_per_job: CpusPerJob = None,
    gpus_per_job: GpusPerJob = None,
    track: Track = None,
    debug: Debug = False,
) -> None:
    """Train, attack and score what is missing; say what is stored already."""
    flags: dict[str, Any] = {
        "datasets": dataset,
        "models": parse_list(models),
        "recipes": parse_list(recipes),
        "surrogates": parse_list(surrogates),
        "targets": parse_list(targets),
        "attacks": parse_list(attacks),
        "epsilons": None if epsilons is None else parse_epsilons(epsilons),
        "verdict_epsilon": verdict_epsilon,
        "images": images,
        "seeds": seeds,
        "surrogate_seeds": surrogate_seeds,
        "seed": seed,
        "batch_size": batch_size,
        "precision": precision,
        "save_images": save_images,
        "strict_versions": strict_versions,
        "keep_epochs": parse_kept(keep_epochs),
    }
    given = {key: value for key, value in flags.items() if value is not None}
    base = read_sweep(spec_file).model_dump(exclude_unset=True) if spec_file else {}
    spec = check(SweepSpec, {**base, **given}, "sweep")
    crew = workplace(workers, executor, ray_address, cpus_per_job, gpus_per_job)
    means: dict[str, Any] = {"workspace": workspace, "device": device, "workers": crew}
    if plan:
        with benchmark(run, **means) as work:
            show_plan(work.plan(spec, retry_failed=retry_failed), as_json=as_json)
        return
    if as_json:
        raise UsageError("--json: a sweep prints tables; `sweep --plan --json` and `export --format json` print JSON")
    failed = do_sweep(spec, run, retry_failed=retry_failed, tracker=track, **means, zoo=zoo)
    say(f"Report it: {shell_words(PROGRAM, 'report', str(run), '--out', 'report')}")
    raise typer.Exit(1 if failed else 0)


@app.command(
    epilog=f"Example: `{PROGRAM} score images.npz --dataset digits --models backprop,ekdaa --norm linf --epsilons 0.1 "
    "--run runs/digits`"
)
def score(
    file: Annotated[Path, typer.Argument(help="Adversarial images: a .safetensors or .npz archive.")],
    dataset: Annotated[str, typer.Option(help="The data set whose test images they change.")],
    models: Annotated[str, typer.Option(help="Model cards A,B,... to score; trained where they are missing.")],
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="Training seeds per model.")] = 3,
    name: Annotated[str | None, typer.Option(help="What to call the attack (default: the file's name).")] = None,
    norm: Annotated[str | None, typer.Option(help="linf, l2 or l1, if the file does not say it.")] = None,
    epsilons: Annotated[
        str | None, typer.Option(help="One per batch of images: 0.05,0.1, if the file does not say them.")
    ] = None,
    indices: Annotated[
        str | None, typer.Option(help="Which test images: 3,1,4 or FIRST:LAST, if the file does not say it.")
    ] = None,
    zoo: ZooPlace = None,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    cpus_per_job: CpusPerJob = None,
    gpus_per_job: GpusPerJob = None,
    debug: Debug = False,
) -> None:
    """Score adversarial images from a file, made elsewhere or saved by a sweep; they are checked first."""
    crew = workplace(workers, executor, ray_address, cpus_per_job, gpus_per_job)
    with benchmark(run, workspace=workspace, device=device, workers=crew, zoo=zoo) as work:
        results = work.score(
            file,
            dataset,
            parse_list(models) or [],
            seeds=seeds,
            name=name,
            norm=norm,
            epsilons=None if epsilons is None else parse_epsilons(epsilons),
            indices=None if indices is None else parse_indices(indices),
        )
    means = results.mean_accuracies(file.stem if name is None else name)
    show_rows(
        [
            {
                "data set": row["dataset"],
                "target": row["target"],
                "epsilon": f"{row['epsilon']:g}",
                "accuracy": with_percent_sign(row["accuracy"]),
                "seeds": row["seeds"],
            }
            for row in means.to_dict("records")
        ]
    )
    raise typer.Exit(1 if tell_failed(work) else 0)
