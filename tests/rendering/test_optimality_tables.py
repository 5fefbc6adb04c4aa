"""What the terminal and the page say of how near attacks come to the best result known."""

from dataclasses import replace
from io import StringIO

import pandas as pd
from rich.console import Console

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.rendering import optimality_tables
from robustbench_ekdaa.rendering.optimality_tables import optimality_facts
from robustbench_ekdaa.rendering.report import _page, _write_tables
from robustbench_ekdaa.storing.outcomes import AttackRecord

from ..support.made_outcomes import random_outcomes, with_constant
from ..support.pages import Page


def printed(results):
    out = StringIO()
    Console(file=out, width=100).print(optimality_tables(results))
    return out.getvalue()


def test_the_terminal_shows_each_attacks_mean_gap_and_the_card_with_the_most():
    outcomes = with_constant(random_outcomes(cards=2, seeds=2, images=40), seeds=(0,))
    rows = Results([outcomes]).optimality()
    bim = rows[(rows["attack"] == "bim") & (rows["target"] != "stuck")]
    text = printed(Results([outcomes]))
    (line,) = [line for line in text.splitlines() if line.startswith("bim")]
    expected = ["bim"]
    for source in ("mean over cards", "white-box"):
        part = bim[bim["attacks_from"] == source]
        most = part.loc[part["gap"].idxmax()]
        expected += [f"{100 * part['gap'].mean():.1f}", f"{100 * most['gap']:.1f}", most["target"]]
    assert line.split() == expected
    assert "Made: how near each attack comes to the best result known, ε = 0.2 (ℓ∞)" in text


def test_one_attack_has_nothing_to_be_compared_with_and_norms_are_never_mixed():
    outcomes = random_outcomes(cards=2, seeds=1, images=20)
    assert printed(Results([random_outcomes(cards=2, seeds=1, images=20, attacks=("fgsm",))])).strip() == ""
    apart = replace(outcomes, attacks={**outcomes.attacks, "bim": replace(outcomes.attacks["bim"], norm="l2")})
    assert optimality_facts(apart) == []


def test_the_page_shows_the_table_and_links_the_rows(tmp_path):
    evil = "<b>bim</b>"
    outcomes = random_outcomes(cards=2, seeds=2, images=20)
    outcomes = replace(outcomes, attacks={**outcomes.attacks, "bim": AttackRecord("bim", evil, evil, "linf")})
    results = Results([outcomes])
    (tmp_path / "index.html").write_text(_page(results, {}, {"made": []}, None), encoding="utf-8")
    page = Page(tmp_path / "index.html")
    assert "How near each attack comes to the best result known" in page.text
    assert evil in page.text
    assert "b" not in page.tags
    _write_tables(results, None, tmp_path / "tables")
    rows = pd.read_csv(tmp_path / "tables" / "optimality.csv")
    assert rows["gap"].tolist() == results.optimality()["gap"].tolist()
