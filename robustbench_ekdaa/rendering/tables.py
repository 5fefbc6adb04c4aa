"""Summaries as people read them: per cent, intervals, "> eps_max", what each column is; as Markdown and LaTeX."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ..analysis.standing import NOT_RANKED
from ..analysis.summary import FOOLED
from ..text import one_line
from .style import NORM_SIGNS

EMPTY_CELL = "–"


def definitions(summary: pd.DataFrame) -> str:
    """Return what the columns of a summary's table are, to stand beside it wherever it is put."""
    common = sorted({int(count) for count in summary["n_common"] if count > 0})
    of = f"the {' or '.join(map(str, common))} images" if common else "the images (here: none)"
    return (
        "Rows stand in the sweep's order: nothing is ranked here. "
        "Clean accuracy: mean ± standard deviation over training seeds. "
        "Transfer robust accuracy: share of images right before and under all gradient attacks crafted on other "
        "models, image by image; mean over surrogates, every card weighing the same, so that it depends on which "
        "they are. "
        f"F{FOOLED[1:]}: of {of} that all compared models (of ranked cards and controls) get right when clean, the "
        "share that these attacks turn wrong, averaged likewise. "
        "White-box accuracy: share of images right before and under all gradient attacks on the target itself; a "
        "ranking by transfer has to agree with it. "
        "Area: area under the curve of transfer robust accuracy from ε = 0 to the largest ε, divided by the largest ε. "
        "Area / clean: area divided by clean accuracy; it rescales and ranks nobody, and is left out for cards that "
        "are not ranked. "
        "ε₅₀: where that curve first falls to half of clean accuracy. Brackets: 95 % intervals over images and seeds."
    )


def display_frame(summary: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Turn `Results.summary()` into text.

    Args:
        summary: the rows.
        titles: how data sets are called, by name.

    Returns:
        strings of one line each, without control characters, under the headings of a table; columns with one value in
        all rows are left out.
    """
    epsilons = sorted({float(epsilon) for epsilon in summary["epsilon"].dropna()})
    one = f" at ε = {epsilons[0]:g}" if len(epsilons) == 1 else " at ε"
    noise = bool(summary["noise_accuracy"].notna().any())
    rows = []
    for row in summary.to_dict("records"):
        norm = "" if pd.isna(row["norm"]) else NORM_SIGNS.get(row["norm"], row["norm"])
        cells = {
            "data set": titles.get(row["dataset"], row["dataset"]),
            "norm": norm,
            "model": row["title"],
            "clean accuracy (%)": _with_spread(row["clean_accuracy"], row["clean_accuracy_sd"]),
            "ε": _plain(row["epsilon"], "g"),
            f"transfer robust accuracy{one} (%)": _with_interval(row, "transfer_accuracy"),
            f"noise accuracy{one} (%)": _with_interval(row, "noise_accuracy"),
            f"{FOOLED}{one} (%)": _with_interval(row, "attack_success_rate_common"),
            f"white-box accuracy{one} (%)": _with_interval(row, "white_box_accuracy"),
            "area": _with_ends(row, "area"),
            "area / clean": EMPTY_CELL if row["standing"] == NOT_RANKED else _with_ends(row, "area_relative"),
            "ε₅₀": _half(row),
            "seeds": str(row["n_seeds"]),
            "note": "" if pd.isna(row["note"]) else row["note"],
        }
        rows.append({name: one_line(cell) for name, cell in cells.items()})
    table = pd.DataFrame(rows, dtype=object)
    constant = [name for name in ("data set", "norm") if table[name].nunique() < 2]
    hidden = constant + (["ε"] if len(epsilons) < 2 else []) + ([] if noise else [f"noise accuracy{one} (%)"])
    return table.drop(columns=hidden + ([] if table["note"].any() else ["note"]))


def percent(share: float) -> str:
    """Write a share in per cent with one digit after the point, without the sign."""
    return EMPTY_CELL if math.isnan(share) else f"{100 * share:.1f}"


def _with_spread(mean: float, deviation: float) -> str:
    return percent(mean) if math.isnan(deviation) else f"{percent(mean)} ± {percent(deviation)}"


def _with_interval(row: Mapping[Hashable, Any], name: str) -> str:
    mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return percent(mean) if math.isnan(low) else f"{percent(mean)} [{percent(low)}, {percent(high)}]"


def _with_ends(row: Mapping[Hashable, Any], name: str) -> str:
    mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return _plain(mean, ".3f") if math.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _plain(number: float, form: str) -> str:
    return EMPTY_CELL if math.isnan(number) else format(number, form)


def _half(row: Mapping[Hashable, Any]) -> str:
    last = row["eps_max"]
    if math.isnan(row["eps_50"]) or math.isnan(row["eps_50_low"]):
        return _epsilon(row["eps_50"], last)
    middle, low, high = (_epsilon(row[f"eps_50{end}"], last) for end in ("", "_low", "_high"))
    return f"{middle} [{low}, {high}]"


def _epsilon(value: float, last: float) -> str:
    return f"> {last:g}" if math.isinf(value) else _plain(value, ".3f")


def markdown_table(table: pd.DataFrame, below: str) -> str:
    """Write a table of strings in Markdown, and a text below it."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.itertuples(index=False)]
    rows = "".join("| " + " | ".join(_markdown(cell) for cell in line) + " |\n" for line in lines)
    return f"{rows}\n{_markdown(below)}\n"


def _markdown(cell: str) -> str:
    for mark in "\\|*_`<[":
        cell = cell.replace(mark, "\\" + mark)
    return " ".join(cell.split())


# pandas escapes what LaTeX reserves; these letters need a command or mathematics.
LATEX = {
    "ε₅₀": r"$\varepsilon_{50}$",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
LATEX |= {"ℓ∞": r"$\ell_\infty$", "ℓ2": r"$\ell_2$", "ℓ1": r"$\ell_1$"}


def latex_table(table: pd.DataFrame, below: str) -> str:
    """Write a table of strings in LaTeX (needs the package booktabs), and a text below it as a comment."""
    text = table.to_latex(index=False, escape=True, column_format="l" * len(table.columns))
    for letter, command in LATEX.items():
        text = text.replace(letter, command)
    text = re.sub(r"^(?=[\[*])", "{}", text, flags=re.MULTILINE)  # after a row's end they would be read as its options
    return text + "".join(f"% {line}\n" for line in textwrap.wrap(below, 100))
