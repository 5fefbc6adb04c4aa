"""The README's example is the file that `init` writes, and its numbers are those of the published rows."""

import csv
import re
import runpy
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest

import robustbench_ekdaa.template as template

README = Path(__file__).parent.parent / "README.md"
PUBLISHED = README.parent / "reports" / "fashion-mnist" / "tables" / "results.csv"


def test_the_readmes_rule_is_the_templates():
    (shown,) = re.findall(r"```python\n# models/my_rule.py\n(.*?)```", README.read_text(), re.DOTALL)
    written = (Path(template.__file__).parent / "models" / "my_rule.py").read_text()
    assert written.split('"""', 2)[2].strip() == shown.strip()


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text()))
def test_the_readmes_links_lead_somewhere(target):
    assert (README.parent / target).exists()


def test_the_readmes_first_table_is_what_its_command_writes():
    script = runpy.run_path(str(README.parent / "benchmarks" / "surrogate_differences.py"))
    table = script["table"](pd.read_csv(PUBLISHED), "ekdaa", "backprop", "mi_fgsm", [0.05, 0.1])
    assert script["fill"](README.read_text(), table) == README.read_text()


def test_the_readmes_differences_are_those_of_the_published_rows_counted_one_by_one():
    with PUBLISHED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["attack"] == "mi_fgsm"]
    shown = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in README.read_text().splitlines()
        if re.match(r"\| 0\.\d+ \|", line)
    ]
    assert len(shown) == 8
    for epsilon, surrogate, *accuracies, gap in shown:
        by_seed = {
            target: [
                fmean(
                    100 * float(row["accuracy"])
                    for row in rows
                    if (row["target"], row["target_seed"], float(row["epsilon"])) == (target, seed, float(epsilon))
                    and (
                        (row["surrogate"], row["surrogate_seed"]) == (target, seed)
                        if "white-box" in surrogate
                        else row["surrogate"] == surrogate and row["surrogate_seed"] != seed
                    )
                )
                for seed in "012"
            ]
            for target in ("backprop", "ekdaa", "frozen")
        }
        assert [float(cell) for cell in accuracies] == pytest.approx(
            [fmean(own) for own in by_seed.values()], abs=0.051
        )
        differences = [one - other for one, other in zip(by_seed["ekdaa"], by_seed["backprop"], strict=True)]
        told = [float(number.replace("−", "-")) for number in re.findall(r"[+−][\d.]+", gap)]
        assert told == pytest.approx([fmean(differences), min(differences), max(differences)], abs=0.051)


def test_the_mean_that_the_readme_warns_of_is_that_of_its_table():
    gaps = re.findall(r"^\| 0\.1 \| `.*\| ([+−][\d.]+) \(", README.read_text(), re.MULTILINE)
    assert f"{fmean(float(gap.replace('−', '-')) for gap in gaps):+.1f}" == "+7.2"
    assert "The mean over these three surrogates, +7.2 at ε = 0.1" in README.read_text()


PAGES = [*README.parent.glob("*.md"), *README.parent.glob("docs/**/*.md"), *README.parent.glob("reports/*/index.html")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(README.parent).as_posix())
def test_no_page_claims_that_a_rule_is_harder_to_fool_or_ranks_by_area_over_clean(page):
    text = " ".join(page.read_text(encoding="utf-8").split())
    for before in re.findall(r"(.{0,80})harder (?:still )?to fool[^?]", text):
        assert re.search(
            r"does not|What does not\.\*\* That|no verdict|say which of two|if that can be said", before
        ), before
    for claim in ("rank learning rules by", "to rank learning rules, use", "harder still"):
        assert claim not in text
