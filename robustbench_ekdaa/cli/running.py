"""What several commands do: run a sweep and print its summary, write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..cards import SweepSpec, Workspace
from ..errors import UsageError
from ..progress import shown_progress
from .app import NAME, command_line
from .printing import log, show, tell

if TYPE_CHECKING:
    from ..scoring.sweep import Summary


def do_sweep(spec: SweepSpec, run: Path, workspace: Workspace, device: str, workers: int | None) -> bool:
    """Run a sweep with progress bars, print its summary, and return whether any model failed."""
    from ..api import open_results
    from ..rendering import summary_table
    from ..scoring.sweep import run_sweep

    with shown_progress(log()) as progress:
        summary = run_sweep(
            spec,
            run,
            workspace=workspace,
            device=device,
            workers=workers,
            progress=progress,
            command=command_line(),
        )
    show(summary_table(open_results(run)))
    return tell_failed(summary)


def tell_failed(summary: Summary) -> bool:
    """Print why models could not be trained, and return whether there are any."""
    for record in summary.failed:
        tell(f"failed: {record.error}")
    return bool(summary.failed)


def do_report(run: Path, folder: Path) -> Path:
    """Write the report of a run and return its page."""
    from ..analysis.results import Results
    from ..analysis.trainings import read_trainings
    from ..rendering import write_report
    from ..scoring.store import reading

    with reading(run) as store:
        results, commands = Results(store.outcomes()), store.commands()
    trainings = read_trainings(run)
    if not trainings.models:
        raise UsageError(f"{run}: nothing was trained here yet. `{NAME} train` or `{NAME} sweep` with --run fills it.")
    with shown_progress(log()) as progress:
        return write_report(results, folder, trainings=trainings, command="\n".join(commands), progress=progress)
