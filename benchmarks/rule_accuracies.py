"""Fill the table of measured accuracies in docs/learning-rules.md from the trainings in run folders.

    python benchmarks/rule_accuracies.py RUN ... --page docs/learning-rules.md

Of a card and seed that were trained twice, the last training of the last run counts; trainings with held-out images
have no test accuracy and are left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.cards import Workspace

BEGIN, END = "<!-- accuracies: begin -->", "<!-- accuracies: end -->"
Accuracies = dict[tuple[str, str], dict[int, float]]


def read_accuracies(runs: list[Path]) -> Accuracies:
    """Return test accuracies in per cent by (model, data set), then seed."""
    found: Accuracies = defaultdict(dict)
    for trainings in map(read_trainings, runs):
        for dataset in trainings.datasets:
            for record in trainings.newest(dataset).models.values():
                accuracy = record.metrics.get("test_accuracy")
                if accuracy is not None:
                    found[record.name, trainings.title(dataset)][record.seed] = 100 * float(accuracy)
    return found


def table(found: Accuracies) -> str:
    """Return a row per model and a column per data set, best first by the first data set."""
    datasets = sorted({dataset for _, dataset in found}, key=lambda name: -sum(key[1] == name for key in found))
    models = sorted({model for model, _ in found}, key=lambda model: -mean(found.get((model, datasets[0]), {})))
    shelf = Workspace().models
    lines = ["| model | card | " + " | ".join(datasets) + " |", "| --- | --- |" + " ---: |" * len(datasets)]
    for model in models:
        title = shelf[model].label if model in shelf else model
        cells = [cell(found.get((model, dataset), {})) for dataset in datasets]
        lines.append(f"| {title} | `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def mean(accuracies: dict[int, float]) -> float:
    """Return the mean, or 0 for none."""
    return statistics.fmean(accuracies.values()) if accuracies else 0.0


def cell(accuracies: dict[int, float]) -> str:
    """Return mean, range and, unless there are three, the number of seeds."""
    if not accuracies:
        return "–"
    if len(accuracies) == 1:
        return f"{mean(accuracies):.1f} (1 seed)"
    seeds = "" if len(accuracies) == 3 else f", {len(accuracies)} seeds"
    return f"{mean(accuracies):.1f} ({min(accuracies.values()):.1f}–{max(accuracies.values()):.1f}{seeds})"


def fill(page: Path, text: str) -> None:
    """Put the table between the page's two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page}: must hold the marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Print the table, and put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, help="a page with the two marks; without it the table is only printed")
    given = parser.parse_args()
    found = read_accuracies(given.runs)
    if not found:
        parser.error(f"no trained model in {', '.join(map(str, given.runs))}")
    text = table(found)
    print(text)
    if given.page:
        fill(given.page, text)


if __name__ == "__main__":
    main()
