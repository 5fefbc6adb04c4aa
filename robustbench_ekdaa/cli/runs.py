"""Commands about run folders: status, verify and merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..progress import shown_progress
from .app import PROGRAM, Debug, Device, WorkspaceFolder, app
from .parsing import parse_share
from .printing import log, say, show_json, show_rows
from .running import benchmark

if TYPE_CHECKING:
    from ..scoring.at_work import AtWork


@app.command(epilog=f"Example: `{PROGRAM} status runs/digits`")
def status(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Say how far a run is: done, in hand, failed with the cause, missing; also while a command works in it."""
    from ..api import status as status_of

    found = status_of(run)
    if as_json:
        show_json(found.plain())
        return
    say_at_work(found.at_work)
    trained = sum(model.state == "trained" for model in found.models)
    say(f"Models: {trained} trained, {len(found.failed)} failed, {len(found.missing)} missing.")
    show_rows(
        [
            {
                "data set": one.dataset,
                "attack": "(clean images)" if one.attack is None else one.attack,
                "stored": one.stored,
                "failed": one.failed,
                "missing": one.missing,
            }
            for one in found.attacks
        ]
    )
    for model in (*found.failed, *found.missing):
        say(f"{model.state}: {model.model}: {model.cause}")
    for crafting in found.craftings:
        say(f"failed: {crafting.attack} on {crafting.surrogate or crafting.dataset}: {crafting.cause}")


@app.command(epilog=f"Example: `{PROGRAM} verify runs/digits --recompute '2 %'`")
def verify(
    run: Annotated[Path, typer.Argument(help="A run folder; nothing in it is changed.")],
    recompute: Annotated[
        str | None, typer.Option(help="Do a share of the trainings and craftings again, such as '2 %'.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Compare everything that a run holds with the digests written with it; exit code 1 if something is wrong."""
    some = parse_share("recompute", recompute) if recompute is not None else 0.0
    with benchmark(run, workspace=workspace, device=device, workers=1) as work:
        found = work.verify(some)
    if as_json:
        show_json(found.plain())
    else:
        say(
            f"As written: {found.rows:,} rows with {found.outcomes:,} outcomes, {found.checkpoints} checkpoints, "
            f"{found.logs} logs, {found.images} files of images."
        )
        if some:
            say(f"Done again, and the same: {found.trainings} trainings, {found.craftings} craftings.")
        for fault in found.faults:
            say(f"wrong: {fault.where}: {fault.what}" if fault.where not in fault.what else f"wrong: {fault.what}")
        for note in found.notes:
            say(f"Note: {note}.")
        say("Something is not as it was written." if found.faults else "Nothing is wrong.")
    raise typer.Exit(1 if found.faults else 0)


@app.command(epilog=f"Example: `{PROGRAM} merge runs/a runs/b --out runs/both`")
def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; they are only read.")],
    out_folder: Annotated[Path, typer.Option("--out", help="The new run folder.")],
    debug: Debug = False,
) -> None:
    """Make one run of several, where data, images and cards fit; conflicts are listed, and then nothing is written."""
    from ..api import merge as merge_into

    with shown_progress(log()) as progress:
        made = merge_into(runs, out_folder, progress=progress)
    say(f"Merged: {made.models} models, {made.outcomes:,} outcomes in {made.run}")


def say_at_work(command: AtWork | None) -> None:
    """Say which command works in a run folder, and what it has in hand."""
    if command is None:
        say("At work: nobody.")
        return
    who = f"process {command.process} on {command.host}" if command.host else "a command that has just begun"
    say(f"At work: {who}" + (f": {command.command}" if command.command else "."))
    for job in command.jobs:
        say(f"  {job.label}: {job.done} of {job.total}" + (f"  {job.note}" if job.note else ""))
