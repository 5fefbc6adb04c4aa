"""Commands that draw conclusions from a run, and say what its numbers are worth: compare and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from .app import PROGRAM, Debug, Device, Workers, WorkspaceFolder, app
from .printing import say, show, show_json
from .running import benchmark


@app.command(epilog=f"Example: `{PROGRAM} compare runs/digits ekdaa backprop --epsilon 0.1`")
def compare(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    first: Annotated[str | None, typer.Argument(help="A model card; without names, all pairs.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which data set, if the run has several.")] = None,
    norm: Annotated[str | None, typer.Option(help="linf, l2 or l1 (default: the first that was swept).")] = None,
    epsilon: Annotated[str | None, typer.Option(help="Where (default: the sweep's verdict_epsilon).")] = None,
    metric: Annotated[str, typer.Option(help="accuracy, area, asr-common or minimal-norm")] = "accuracy",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Say which of two models is harder to fool, if that can be said, and what it depends on."""
    from ..api import open_results
    from ..rendering.comparisons import matrix_table, pairs_table, regimes_table

    results = open_results(run)
    where: dict[str, Any] = {"dataset": dataset, "norm": norm, "epsilon": epsilon, "metric": metric}
    if first is None:
        verdicts = results.verdicts(**where)
        if as_json:
            show_json([one.as_json() for one in verdicts])
        elif not verdicts:
            raise UsageError(f"{run}: fewer than two models of this run may be compared. `report` says why.")
        else:
            show(matrix_table(verdicts))
            say("")
            show(pairs_table(verdicts))
        return
    if second is None:
        raise UsageError(f"name two models, or none for all pairs: `{PROGRAM} compare RUN {first} OTHER`.")
    verdict = results.compare(first, second, **where)
    if as_json:
        show_json(verdict.as_json())
        return
    say(verdict.sentence)
    for reason in verdict.decision.reasons:
        say(f"Why: {reason}.")
    say("")
    show(regimes_table(verdict))
    for note in verdict.notes:
        say(f"Note: {note}")


@app.command(epilog=f"Example: `{PROGRAM} check runs/digits ekdaa`")
def check(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    model: Annotated[str | None, typer.Argument(help="A model card, to leave out what is about others alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceFolder = Path("."),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Check whether the numbers of a run mean what they seem to; what failed comes first.

    Models that were not asked yet are probed on a sample of images, seconds per model.
    """
    from ..rendering import findings_table

    with benchmark(run, workspace=workspace, device=device, workers=workers) as work:
        found = work.check(model)
    if as_json:
        show_json([finding.plain() for finding in found])
    else:
        show(findings_table(found))
