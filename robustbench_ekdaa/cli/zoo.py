"""The command about zoos: publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import PROGRAM, Debug, WorkspaceFolder, app
from .printing import say, show_rows
from .running import benchmark

STATES = {
    "added": "added",
    "there already": "there already",
    "kept": "kept as it was: the zoo holds another training of the same card",
}


@app.command(epilog=f"Example: `{PROGRAM} publish runs/digits --to zoo`")
def publish(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[str, typer.Option("--to", help="A folder, or a URL of file:, s3: or hf:.")],
    workspace: WorkspaceFolder = Path("."),
    debug: Debug = False,
) -> None:
    """Add the trained models of a run to a zoo, from which others take them instead of training them."""
    with benchmark(run, workspace=workspace, device="cpu") as work:
        shown = work.publish(to)
    show_rows([{"model": one.label, "zoo": STATES[one.state], "digest": one.digest[:16]} for one in shown])
    say(f"Use it: {PROGRAM} sweep ... --zoo {to}")
