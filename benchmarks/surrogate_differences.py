"""Fill the README's table of what each kind of surrogate leaves of each card, from a report's table of all rows.

    python benchmarks/surrogate_differences.py reports/fashion-mnist/tables/results.csv --page README.md

Accuracy under one attack, in per cent, by the card that was attacked on: the mean over pairs of models of different
training seeds, every seed of the target weighing the same, and in brackets the lowest and the highest of these seeds.
White-box is every model attacked on itself. Several cards make a mean only with one another: none is taken here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

BEGIN, END = "<!-- surrogates: begin -->", "<!-- surrogates: end -->"
CLEAN, WHITE_BOX = "nothing (clean)", "itself (white-box)"


def kept(rows: pd.DataFrame, attack: str, epsilon: float) -> pd.DataFrame:
    """Return accuracy in per cent by (images crafted on, training seed of the target), a column per target card."""
    under = rows[(rows["attack"] == attack) & (rows["epsilon"] == epsilon)]
    pairs = under[under["relation"].isin(["same-rule", "cross-rule"])]  # neither itself nor of the same start
    own = under[under["relation"] == "white-box"].assign(surrogate=WHITE_BOX)
    both = pd.concat([pairs, own]).groupby(["surrogate", "target_seed", "target"], sort=False)["accuracy"]
    return 100 * both.mean().unstack("target")


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    """Return clean accuracy in the form of `kept`."""
    once = rows.drop_duplicates(["target", "target_seed"]).assign(surrogate=CLEAN)
    return 100 * once.set_index(["surrogate", "target_seed", "target"])["clean_accuracy"].unstack("target")


def table(rows: pd.DataFrame, first: str, second: str, attack: str, epsilons: list[float]) -> str:
    """Return the table in Markdown: a row per surrogate card and epsilon, the cards, and first minus second."""
    names = [str(name) for name in rows["target"].unique()]
    header = ["ε", "crafted on", *(f"`{name}`" for name in names), f"`{first}` − `{second}`"]
    lines = [header, ["---:", "---", *["---:"] * (len(names) + 1)]]
    for epsilon in [0.0, *epsilons]:
        part = clean(rows) if epsilon == 0 else kept(rows, attack, epsilon)
        for surrogate in part.index.unique("surrogate"):
            own = part.loc[surrogate]
            cells = [f"{own[name].mean():.1f}" for name in names]
            on = surrogate if surrogate in (CLEAN, WHITE_BOX) else f"`{surrogate}`"
            lines.append([f"{epsilon:g}", on, *cells, gap(own[first] - own[second])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gap(differences: pd.Series[float]) -> str:
    """Return the mean of some seeds' differences in points, with the lowest and the highest of them."""
    mean, low, high = (
        f"{value:+.1f}".replace("-", "−") for value in (differences.mean(), *differences.agg(["min", "max"]))
    )
    return f"{mean} ({low} to {high})"


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
    parser.add_argument("rows", type=Path, help="tables/results.csv of a report, or what `export` writes")
    parser.add_argument("--first", default="ekdaa", help="the card to compare (default: %(default)s)")
    parser.add_argument("--second", default="backprop", help="the card to compare it with (default: %(default)s)")
    parser.add_argument("--attack", default="mi_fgsm", help="the attack (default: %(default)s)")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.05, 0.1], help="default: %(default)s")
    parser.add_argument("--page", type=Path, help="a page with the two marks; without it the table is only printed")
    given = parser.parse_args()
    text = table(pd.read_csv(given.rows), given.first, given.second, given.attack, given.epsilons)
    print(text)
    if given.page:
        given.page.write_text(fill(given.page.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
