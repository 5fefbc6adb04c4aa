"""Fill the README's table of what `compare` says of every card against one, from a report's table of verdicts.

    python benchmarks/verdict_table.py reports/fashion-mnist/tables/verdicts.csv --page README.md

A row per card and kind of attacker: the card minus the one it is compared with, in points of accuracy, and the 95 %
interval; above the rows of each pair stands the verdict. Cards that were crossed with recipes are compared under the
same recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
# What becomes a column, by how the rows of the table of verdicts are called.
FOREIGN, STRONGEST, WHITE_BOX, COMMON, EQUAL = (
    "foreign surrogates",
    "strongest surrogate per image",
    "white-box",
    "common images",
    "equal accuracy",
)


def pairs(rows: pd.DataFrame, other: str) -> list[tuple[str, str]]:
    """Return the pairs of a card and the one it is compared with, under the same recipe, in the table's order."""
    names = dict.fromkeys([*rows["first"], *rows["second"]])
    found = []
    for name in names:
        card, at, recipe = name.partition("@")
        if card == other:
            continue
        against = [f"{other}{at}{recipe}"] if at else [one for one in names if one.partition("@")[0] == other]
        found += [(name, one) for one in against if one in names]
    return found


def regimes(rows: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return the rows of one pair, so turned that differences are the first card's minus the second's."""
    right = rows[(rows["first"] == first) & (rows["second"] == second)]
    turned = rows[(rows["first"] == second) & (rows["second"] == first)]
    turned = turned.assign(difference=-turned["difference"], low=-turned["high"], high=-turned["low"])
    return pd.concat([right, turned]).set_index("attacks_from")


def cell(pair: pd.DataFrame, *starts: str) -> str:
    """Return difference and interval in points under the kind of attacker whose name begins so; "–" without one."""
    for start in starts:
        found = pair[pair.index.str.startswith(start)]
        if len(found):
            one = 100 * found.iloc[0][["difference", "low", "high"]].astype(float)
            mean, low, high = (f"{value:+.1f}".replace("-", "−") for value in one)
            return f"{mean} ({low} to {high})"
    return "–"


def table(rows: pd.DataFrame, other: str) -> str:
    """Return the table in Markdown."""
    heads = ["against", "verdict", "foreign surrogates", f"of `{other}`'s kind", "of its own kind"]
    lines = [["card", *heads, "strongest per image", "white-box", "equal accuracy"], ["---"] * 3 + ["---:"] * 6]
    for first, second in pairs(rows, other):
        pair = regimes(rows, first, second)
        kinds = [f"surrogates of {name}'s kind" for name in (second, first)]
        told = [cell(pair, start) for start in (FOREIGN, *kinds, STRONGEST, WHITE_BOX, EQUAL)]
        lines.append([f"`{first}`", f"`{second}`", str(pair["verdict"].iloc[0]), *told])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: str, text: str) -> str:
    """Return a page with the table between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page must hold the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> None:
    """Print the table, and put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="tables/verdicts.csv of a report")
    parser.add_argument("--against", default="backprop", help="the card to compare with (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="a page with the two marks; without it the table is only printed")
    given = parser.parse_args()
    text = table(pd.read_csv(given.rows), given.against)
    print(text)
    if given.page:
        given.page.write_text(fill(given.page.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
