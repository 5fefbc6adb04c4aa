"""The report of a run: a folder with a page, figures, tables and the data behind them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.caveats import caveats
from ..analysis.frame import rows_frame
from ..analysis.results import Results
from ..analysis.summary import status_of
from ..analysis.trainings import Trainings
from ..analysis.transfer import imported_attacks, noise_attacks, transfer_grids
from ..errors import UsageError
from ..files import clear_errors, refuse_run_folder, shown_path, whole_folder
from ..progress import Progress, Silent
from ..storing.outcomes import Outcomes
from ..text import visible
from .backend import ordinary_matplotlib
from .curves import plot_curves
from .examples import plot_examples
from .export import export_frame
from .findings import check_facts
from .optimality_tables import optimality_facts
from .pictures import Picture, slug_of
from .style import NORM_SIGNS, looks, save_figure
from .tables import definitions, display_frame, latex_table, markdown_table, percent
from .training_section import shown_trainings, training_facts, training_looks, training_pictures
from .transfer_matrix import plot_attack_matrices, plot_transfer_matrix
from .verdict_section import VerdictRow, verdict_facts, verdict_rows
from .who_is_fooled import plot_who_is_fooled

MARKER = ".robustbench-ekdaa-report"  # lists the files of a report; a file that it does not list is never replaced


def write_report(
    results: Results,
    out: Path | str,
    *,
    trainings: Trainings | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a report folder: ``index.html``, ``figures/`` (PNG and PDF) and ``tables/`` (CSV, Markdown, LaTeX).

    Everything is written beside the folder first and then moved, so that a failure leaves what was there. Only a
    folder that is empty, or holds nothing but an earlier report, is replaced.

    Args:
        results: what to report.
        out: the folder.
        trainings: how the run's models were trained (default: not reported). Data sets without a sweep are reported
            by their trainings alone.
        command: the command that made the run, shown to repeat it.
        progress: gets one bar.

    Returns:
        the page's path.

    Raises:
        UsageError: for a folder that holds something else, or cannot be written.
        WorkFailed: for a full disk.
    """
    folder = Path(out)
    kept = "nothing that was there is lost. Free some space and try again."
    with clear_errors(folder, kept=kept, misuse="Choose another --out."), replacing_folder(folder) as draft:
        pictures = {one.dataset: list(_pictures(results, one)) for one in results.outcomes}
        trained = _trained(trainings, results) if trainings else {}
        for name, (drawn, _) in trained.items():
            pictures.setdefault(name, []).extend(drawn)
        bar = (progress or Silent()).task("figures", sum(len(some) for some in pictures.values()))
        (draft / "figures").mkdir()
        for some in pictures.values():
            for picture in some:
                with ordinary_matplotlib():
                    save_figure(picture.draw(), draft / "figures" / picture.stem)
                bar.advance()
        _write_tables(results, trainings, draft / "tables")
        facts = {name: facts for name, (_, facts) in trained.items()}
        (draft / "index.html").write_text(_page(results, facts, pictures, command), encoding="utf-8")
    return folder / "index.html"


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of `folder` only when all went well.

    Raises:
        UsageError: for a folder that holds anything which no report wrote, or lies in a run folder.
        OSError: when it cannot be written.
    """
    refuse_run_folder(folder)
    refuse_foreign(folder)
    with whole_folder(folder) as draft:
        yield draft
        written = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
        (draft / MARKER).write_text("\n".join(written) + "\n", encoding="utf-8")
        refuse_foreign(folder)


def refuse_foreign(folder: Path) -> None:
    """Raise UsageError if a folder holds anything that no report wrote: files, folders, or links to either."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder")
    files = _listed(folder / MARKER)
    folders = {"figures", "tables", *(parent.as_posix() for name in files for parent in Path(name).parents)}
    foreign = sorted(
        path.relative_to(folder).as_posix()
        for root, inner, names in os.walk(folder)
        for path in (Path(root) / name for name in (*inner, *names))
        if path.is_symlink()
        or path.relative_to(folder).as_posix() not in (folders if path.is_dir() else {MARKER, *files})
    )
    if foreign:
        raise UsageError(
            f"{shown_path(folder)}: holds {foreign[0]}, which no report wrote; nothing was changed. "
            "Choose another --out folder."
        )


def _listed(marker: Path) -> list[str]:
    """Return the names of a report's files; none if it does not say them, or is damaged."""
    try:
        return marker.read_text(encoding="utf-8").splitlines() if marker.is_file() else []
    except ValueError:
        return []


# -- figures and tables ----------------------------------------------------------------------------------------------


def _pictures(results: Results, outcomes: Outcomes) -> Iterator[Picture]:
    """List what can be drawn of one data set."""
    name, slug = outcomes.dataset, slug_of(outcomes.dataset)
    grids = [grid for grid in transfer_grids(outcomes) if len(grid.epsilons) > 1]
    alone = noise_attacks(outcomes) or imported_attacks(outcomes)
    if any(grid.pairs.counted.any() for grid in grids) or alone:
        alt = f"Accuracy against epsilon on {outcomes.title}, one panel per attack, one line per model card."
        yield Picture(f"{slug}-curves", "curves", alt, partial(plot_curves, results, dataset=name))
    for grid in grids:
        norm, suffix = grid.norm, f"-{slug_of(grid.norm)}" if len(grids) > 1 else ""
        yield Picture(
            f"{slug}-who-is-fooled{suffix}",
            "who is fooled",
            f"Heat map of every target card's accuracy under attacks from every surrogate card, with intervals, "
            f"{outcomes.title} ({NORM_SIGNS.get(norm, norm)}).",
            partial(plot_who_is_fooled, results, norm=norm, dataset=name),
        )
        alt = f"Heat map of every target's accuracy on images crafted on every surrogate, {outcomes.title}"
        yield Picture(
            f"{slug}-transfer{suffix}",
            "matrix",
            f"{alt}, worst case over attacks ({NORM_SIGNS.get(norm, norm)}).",
            partial(plot_transfer_matrix, results, norm=norm, dataset=name),
        )
        if len(grid.attacks) > 1:
            yield Picture(
                f"{slug}-attacks{suffix}",
                "attack matrix",
                f"{alt}, one panel per attack ({NORM_SIGNS.get(norm, norm)}).",
                partial(plot_attack_matrices, results, norm=norm, dataset=name),
            )
    if len(outcomes.images) and any(len(example.images) for example in outcomes.examples):
        alt = f"Clean and adversarial images of {outcomes.title} side by side, one row per attack."
        yield Picture(f"{slug}-examples", "examples", alt, partial(plot_examples, results, dataset=name))


def _trained(trainings: Trainings, results: Results) -> dict[str, tuple[list[Picture], dict[str, Any]]]:
    """Return, per data set, the figures of its trainings and what the page says about them."""
    styles, found = training_looks(trainings, results), {}
    for name, shown in shown_trainings(trainings, results).items():
        if shown.models:
            drawn = list(training_pictures(shown, name, styles))
            found[name] = drawn, training_facts(trainings, shown, name, styles, drawn)
    return found


def _write_tables(results: Results, trainings: Trainings | None, folder: Path) -> None:
    folder.mkdir()
    if trainings:
        export_frame(trainings.epochs, folder / "training.csv")
        export_frame(trainings.layers, folder / "alignment.csv")
    if not results.outcomes:
        return
    export_frame(results.frame(), folder / "results.csv")
    export_frame(results.who_is_fooled(), folder / "who_is_fooled.csv")
    verdicts = [row for one in results.outcomes for row in verdict_rows(one)]
    export_frame(rows_frame(VerdictRow, verdicts), folder / "verdicts.csv")
    export_frame(results.optimality(), folder / "optimality.csv")
    summary = results.summary()
    export_frame(summary, folder / "summary.csv")
    shown, below = display_frame(summary, _titles(results)), definitions(summary)
    (folder / "summary.md").write_text(markdown_table(shown, below), encoding="utf-8")
    (folder / "summary.tex").write_text(latex_table(shown, below), encoding="utf-8")


def _titles(results: Results) -> dict[str, str]:
    return {one.dataset: one.title for one in results.outcomes}


# -- the page --------------------------------------------------------------------------------------------------------


def _page(
    results: Results, trained: dict[str, dict[str, Any]], pictures: dict[str, list[Picture]], command: str | None
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("robustbench_ekdaa.rendering", "templates"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # what is markup already is ours
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = results.summary()
    sections = [
        {**_section(results, one, summary, pictures[one.dataset]), "training": trained.get(one.dataset)}
        for one in results.outcomes
    ]
    unswept = [facts for name, facts in trained.items() if name not in results.datasets]
    specs = list(dict.fromkeys(json.dumps(one.spec, indent=2, ensure_ascii=False) for one in results.outcomes))
    page: str = environment.get_template("report.html").render(
        sections=sections, unswept=unswept, trained=bool(trained), command=command, specs=specs, version=_version()
    )
    return page


def _version() -> str:
    try:
        return version("robustbench-ekdaa")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return ""


def _section(results: Results, outcomes: Outcomes, summary: pd.DataFrame, pictures: list[Picture]) -> dict[str, Any]:
    """Collect what the page says about one data set, as plain data."""
    rows = summary[summary["dataset"] == outcomes.dataset]
    styles = looks(results)
    shown = display_frame(rows, _titles(results)) if len(rows) else pd.DataFrame()
    models = [
        {**model, "clean_accuracy": percent(model["clean_accuracy"]), "colour": styles[model["model"]].colour}
        for model in status_of(outcomes)
    ]
    return {
        "anchor": slug_of(outcomes.dataset),
        "title": outcomes.title,
        "images": len(outcomes.labels),
        "classes": len(outcomes.classes),
        "attacks": [record.title or record.name for record in outcomes.attacks.values()],
        "epsilons": [f"{epsilon:g}" for epsilon in outcomes.epsilons],
        "headings": [str(name).replace("ε = ", "ε\u00a0=\u00a0") for name in shown.columns if name != "note"],
        "rows": [
            {"colour": styles[model].colour, "status": status, "cells": dict(zip(shown.columns, cells, strict=True))}
            for model, status, cells in zip(
                rows["model"], rows["status"], shown.itertuples(index=False, name=None), strict=True
            )
        ],
        "models": models,
        "failed": [model for model in models if model["status"] == "failed"],
        "definitions": definitions(rows),
        "verdicts": verdict_facts(outcomes),
        "optimality": optimality_facts(outcomes),
        "caveats": caveats(outcomes),
        "checks": check_facts(outcomes),
        "strangers": not any(grid.counts_same_start for grid in transfer_grids(outcomes)),
        "pictures": [{"stem": one.stem, "kind": one.kind, "alt": one.alt} for one in pictures],
    }
