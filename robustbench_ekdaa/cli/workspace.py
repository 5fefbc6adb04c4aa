"""Commands about workspaces: quickstart, init, list, check-rule and check-attack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..cards import SweepSpec, Workspace
from ..errors import unknown_name
from ..files import refuse_run_folder
from ..text import shell_words
from .app import PROGRAM, Debug, Device, Workers, WorkspaceFolder, app
from .parsing import parse_epsilons, parse_options
from .printing import say, show_json, show_rows, tell
from .running import do_report, do_sweep


@app.command(epilog=f"Example: `{PROGRAM} quickstart --out quickstart`")
def quickstart(
    out_folder: Annotated[Path, typer.Option("--out", help="Where the run and the report go.")] = Path("quickstart"),
    device: Device = "auto",
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Train, attack, score and report on the embedded digits, in about a minute."""
    from ..executing.server import CAN_FORK, server

    refuse_run_folder(out_folder)
    spec = SweepSpec(
        datasets=("digits",),
        models=("backprop", "ekdaa", "frozen"),
        attacks=("fgsm", "bim", "pgd", "mi_fgsm", "noise"),
        epsilons=tuple(parse_epsilons("0:0.4:0.05")),
        images=300,
        seeds=3,
    )
    if CAN_FORK and workers != 1:
        server()  # imports PyTorch on another core while this process does: here there is work for it for sure
    failed = do_sweep(spec, out_folder / "run", device=device, workers=workers)
    page = do_report(out_folder / "run", out_folder / "report")
    say(f"Report: {page}")
    raise typer.Exit(1 if failed else 0)


@app.command(epilog=f"Example: `{PROGRAM} init my-benchmark`")
def init(
    folder: Annotated[Path, typer.Argument(help="The new workspace's folder.")],
    debug: Debug = False,
) -> None:
    """Make a new workspace with an example learning rule, attack and sweep of one's own."""
    from ..template import create_workspace

    for path in create_workspace(folder):
        say(path)
    say(f"Next: {shell_words('cd', str(folder))} && {PROGRAM} sweep sweep.toml --run runs/first")


@app.command("list", epilog=f"Example: `{PROGRAM} list attacks`")
def list_names(
    what: Annotated[
        str, typer.Argument(help="models, recipes, rules, networks, factories, attacks, suites, components or datasets")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceFolder = Path("."),
    debug: Debug = False,
) -> None:
    """List what can be named in cards and commands."""
    from ..listing import LISTINGS, list_unreadable

    if what not in LISTINGS:
        raise unknown_name("list", what, LISTINGS)
    place = Workspace(workspace)
    rows = LISTINGS[what](place)
    if as_json:
        show_json(rows)
    else:
        show_rows(rows)
    for problem in list_unreadable(what, place):
        tell(f"not listed: {problem}")


@app.command("check-rule", epilog=f"Example: `{PROGRAM} check-rule models/my_rule.py:MyRule --option scale=0.1`")
def check_rule(
    rule: Annotated[str, typer.Argument(help="A known rule, or FILE.py:CLASS. The file's code is run.")],
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, as in a card; may be repeated.")] = None,
    debug: Debug = False,
) -> None:
    """Test whether a learning rule is what its name says, leaves the network alone, and learns."""
    from ..api import check_rule as check_contract

    findings = check_contract(rule, parse_options(option or []))
    show_rows([{"test": finding.test, "verdict": finding.verdict, "found": finding.found} for finding in findings])
    raise typer.Exit(1 if any(finding.verdict == "failed" for finding in findings) else 0)


@app.command("check-attack", epilog=f"Example: `{PROGRAM} check-attack pgd`")
def check_attack(
    attacks: Annotated[list[str], typer.Argument(help="Attacks and suites.")],
    workspace: WorkspaceFolder = Path("."),
    debug: Debug = False,
) -> None:
    """Test whether attacks find a weakness that was planted in a network and that they must not miss."""
    from ..crafting import find_weakness

    findings = [find_weakness(card) for card in Workspace(workspace).expand_attacks(attacks)]
    show_rows([{"attack": found.attack, "verdict": found.verdict, "found": found.found} for found in findings])
    raise typer.Exit(1 if any(found.verdict == "failed" for found in findings) else 0)
