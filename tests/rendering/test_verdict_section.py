"""The page opens with what `compare` says of every card against backprop, and refuses in words what it cannot say."""

from dataclasses import replace

import pandas as pd
import pytest

from robustbench_ekdaa.analysis.comparison import Comparison
from robustbench_ekdaa.analysis.headlines import opening_pairs
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.rendering.report import _page, _write_tables
from robustbench_ekdaa.rendering.verdict_section import verdict_facts

from ..support.made_outcomes import make_outcomes
from ..support.pages import Page
from ..support.planted import planted

PLACES = ("a", "b", "far", "itself")
RULES = {"far_a": "backprop", "far_b": "ekdaa", "far_c": "fa"}
EVIL = "<script>alert(1)</script>"


def made(*cards, better=(), **fields):
    """Cards that keep half of the images, and some that keep more, under foreign surrogates of three rules."""
    kept = {(card, place): 0.6 if card in better else 0.5 for card in cards for place in PLACES}
    fields = {"rules": RULES, "images": 400, "seeds": 5, **fields}
    return planted(kept, **fields)


def page_of(outcomes, folder):
    path = folder / "index.html"
    path.write_text(_page(Results([outcomes]), {}, {outcomes.dataset: []}, None), encoding="utf-8")
    return Page(path)


def pairs_of(outcomes):
    return opening_pairs(Comparison(outcomes))


def test_the_page_opens_with_the_words_of_compare_for_every_card_against_backprop(tmp_path):
    outcomes = made("backprop", "ekdaa", "kolen_pollack", better=["ekdaa"], dataset=EVIL)
    page, results = page_of(outcomes, tmp_path), Results([outcomes])
    found = [results.compare(card, "backprop") for card in ("ekdaa", "kolen_pollack")]
    assert found[0].word == "ekdaa harder to fool"
    for one in found:
        assert page.text.index(one.sentence) < page.text.index("Rows stand in the sweep's order")
        assert all(regime.name in page.text for regime in one.regimes)
    assert page.text.index(found[0].sentence) < page.text.index(found[1].sentence) < page.text.index("All pairs")
    assert "script" not in page.tags
    assert page.tags.count("details") >= 2
    assert "tables/verdicts.csv" in page.links


def test_two_cards_need_no_matrix_and_three_have_one(tmp_path):
    two, three = made("backprop", "ekdaa", images=100), made("backprop", "ekdaa", "drtp", images=100)
    assert "All pairs" not in page_of(two, tmp_path).text
    (facts,) = verdict_facts(three)
    assert facts["names"] == ["backprop", "ekdaa", "drtp"]
    assert [[bool(cell) for cell in row] for row in facts["matrix"]] == [[i != j for j in range(3)] for i in range(3)]


def test_cells_of_the_matrix_that_no_foreign_surrogate_attacked_are_marked():
    (facts,) = verdict_facts(made("backprop", "ekdaa", "drtp", images=100))
    assert [["†" in cell for cell in row] for row in facts["matrix"]] == [
        [False, False, True],
        [False, False, True],
        [True, True, False],
    ]
    assert "†: without them, all surrogates alike" in facts["caption"]


@pytest.mark.parametrize("recorded", [True, False])
def test_crossed_cards_meet_the_backprop_of_their_recipe_and_others_meet_every_backprop(recorded):
    recipes = {"backprop": "sgd", "backprop@adamw": "adamw", "ekdaa@sgd": "sgd", "ekdaa": "own", "drtp@adamw": "adamw"}
    outcomes = made(*recipes, images=100, seeds=2)
    if recorded:  # a crossing that is the card's own recipe is the card itself
        models = {
            key: replace(
                one,
                metrics={**one.metrics, "training": {"recipe": {"optimizer": recipes[one.name]}, "rule_options": {}}},
            )
            if one.name in recipes
            else one
            for key, one in outcomes.models.items()
        }
        outcomes = replace(outcomes, models=models)
    expected = {
        "ekdaa@sgd": ["backprop"] if recorded else ["backprop", "backprop@adamw"],
        "ekdaa": ["backprop", "backprop@adamw"],
        "drtp@adamw": ["backprop@adamw"],
    }
    assert pairs_of(outcomes) == [(card, one) for card, some in expected.items() for one in some]


def test_a_card_of_backprops_rule_stands_for_a_missing_card_of_its_name():
    outcomes = made("plain", "ekdaa", "drtp", images=100, seeds=2, rules={**RULES, "plain": "backprop"})
    assert pairs_of(outcomes) == [("ekdaa", "plain"), ("drtp", "plain")]
    control = made("backprop", "hardened", images=100, seeds=2, rules={**RULES, "hardened": "backprop"})
    assert pairs_of(control) == [("hardened", "backprop")]


@pytest.mark.parametrize("cards", [("ekdaa", "drtp", "fa"), ("backprop@sgd", "backprop@adamw")])
def test_without_backprop_or_with_nothing_else_all_pairs_are_taken(cards):
    outcomes = made(*cards, images=100, seeds=2)
    assert pairs_of(outcomes) == Comparison(outcomes).pairs()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"far": ()}, ["no foreign surrogates.", "No verdict without foreign surrogates"]),
        ({"seeds": 2}, ["Why: fewer than 3 training seeds say nothing.", "training_seeds: Every model card"]),
        ({"far": (), "images": 20}, ["no foreign surrogates.", "Why: test_images: Only 20 test images"]),
        ({"clean": {"ekdaa": 0.1}}, ["Not compared: ekdaa, not shown to beat chance", "fewer than two model cards"]),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(tmp_path, fields, words):
    text = page_of(made("backprop", "ekdaa", better=["ekdaa"], **fields), tmp_path).text
    assert all(word in text for word in words), text[:3000]
    assert "ekdaa harder to fool" not in text


def test_a_pair_that_was_not_attacked_alike_hides_no_other_pair(tmp_path):
    outcomes = made("backprop", "ekdaa", "drtp", images=100, seeds=1, far=())
    lonely = {"drtp0"}  # attacked on by nobody but itself, and the only surrogate that it has
    cells = tuple(
        cell
        for cell in outcomes.cells
        if (cell.target in lonely) == (cell.surrogate in lonely) and cell.surrogate != cell.target
    )
    own = [cell for cell in outcomes.cells if cell.target in lonely and cell.surrogate in lonely]
    broken = replace(outcomes, cells=(*cells, *own))
    assert [(one.first, one.second) for one in Comparison(broken).all_verdicts()] == [("backprop", "ekdaa")]
    text = page_of(broken, tmp_path).text
    assert "drtp and backprop cannot be compared by accuracy: not attacked alike." in text
    assert "ekdaa against backprop" in text


def test_every_norm_has_its_own_verdicts_adjusted_for_all_of_them(tmp_path):
    one, alone = made("backprop", "ekdaa", better=["ekdaa"]), made("backprop", "ekdaa", better=["ekdaa"])
    twin = tuple(replace(cell, attack="bim2") for cell in one.cells)
    attacks = {**one.attacks, "bim2": replace(one.attacks["bim"], key="bim2", name="bim2", norm="l2")}
    both = replace(one, cells=(*one.cells, *twin), attacks=attacks)
    text = page_of(both, tmp_path).text
    assert text.index("Verdicts (ℓ∞)") < text.index("(made, linf,") < text.index("Verdicts (ℓ2)") < text.index(", l2,")
    for norm in ("linf", "l2"):
        primary = Comparison(both, norm=norm).verdict("ekdaa", "backprop").primary
        assert primary.p == pytest.approx(2 * primary.p_alone)
    assert Comparison(alone).verdict("ekdaa", "backprop").primary.p == pytest.approx(primary.p_alone)


def test_what_the_summary_notes_of_a_card_stands_under_its_name(tmp_path):
    page_of(made("backprop", "ekdaa", images=100, seeds=1), tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.count('EKDAA<span class="note">one seed: no claim</span></td>') == 1
    assert ">note</th>" not in html
    page_of(made("backprop", "ekdaa", images=100), tmp_path)
    assert 'class="note"' not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_run_without_attacks_has_no_verdicts():
    clean = {"a0": [0, 1], "b0": [0, 1]}
    assert verdict_facts(make_outcomes([("a", 0), ("b", 0)], [0, 1], clean, {}, epsilons=(0.0,))) == []


def test_a_table_holds_every_regime_of_every_pair(tmp_path):
    outcomes = made("backprop", "ekdaa", "drtp", images=100, seeds=3)
    results = Results([outcomes])
    _write_tables(results, None, tmp_path / "tables")
    rows = pd.read_csv(tmp_path / "tables" / "verdicts.csv")
    known = [(verdict, regime) for verdict in results.verdicts() for regime in verdict.regimes]
    assert len(rows) == len(known)
    for row, (verdict, regime) in zip(rows.to_dict("records"), known, strict=True):
        assert (row["first"], row["second"], row["verdict"]) == (verdict.first, verdict.second, verdict.word)
        assert (row["attacks_from"], row["difference"], row["p"]) == (regime.name, regime.difference, regime.p)
