"""The program, its groups of commands, and the options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..text import shell_words
from .printing import say

PROGRAM = "robustbench-ekdaa"
app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Are networks trained without backprop harder to fool? Train, attack, score, plot.",
    epilog=f"First steps: `{PROGRAM} quickstart`",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets: what is here, downloading, importing your own.")
app.add_typer(data_app, name="data")

Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
RunFolder = Annotated[Path, typer.Option("--run", help="The run folder: checkpoints, logs and results.sqlite.")]
WorkspaceFolder = Annotated[Path, typer.Option("--workspace", help="The folder that holds models/ and attacks/.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes for jobs, side by side (default: one per core on a CPU, one on a GPU); 1: this one."),
]
ExecutorName = Annotated[
    str, typer.Option(help="Where jobs run: local (this machine's processes), or ray (a cluster).")
]
RayAddress = Annotated[
    str | None, typer.Option(help="HOST:PORT of a Ray cluster's head (default: the one that is here, or a new one).")
]
CpusPerJob = Annotated[float | None, typer.Option(help="Cores that a job occupies on a Ray cluster (default: 1).")]
GpusPerJob = Annotated[
    float | None, typer.Option(help="GPUs that a job occupies on a Ray cluster: 0.25 for four side by side on one.")
]
Track = Annotated[
    str | None, typer.Option(help="Write losses, angles, accuracies and the summary for tensorboard or mlflow, too.")
]
ZooPlace = Annotated[
    str | None,
    typer.Option("--zoo", help="A folder or URL with published models: those that fit are taken, not trained."),
]
KeepEpochs = Annotated[
    str | None, typer.Option(help="Keep weights on the way: all epochs, or every K-th (the last is always kept).")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Train anew what failed before.")]


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Print the version if it is asked for."""
    if version:
        from .. import __version__

        say(__version__)
        raise typer.Exit


def command_line() -> str:
    """Return the command as it was typed, for reports."""
    return shell_words(PROGRAM, *(argument for argument in sys.argv[1:] if argument != "--debug"))
