"""The words of a comparison: each is said where the planted truth allows it, and nowhere else."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ekdaa.analysis.comparison import Comparison
from robustbench_ekdaa.analysis.verdict import Circumstances, Regime, decide, seeds_needed

from ..support.planted import EPSILON, planted

EVEN = {(card, place): 0.5 for card in "ab" for place in ("a", "b", "far", "itself")}


def verdict_on(shares, first="a", second="b", **fields):
    return Comparison(planted({**EVEN, **shares}, **fields)).verdict(first, second)


BETTER = {("a", place): 0.6 for place in ("a", "b", "far", "itself")}
WORSE = {("a", place): 0.4 for place in ("a", "b", "far", "itself")}


@pytest.mark.parametrize(
    ("shares", "fields", "word"),
    [
        (BETTER, {}, "a harder to fool"),
        (WORSE, {}, "b harder to fool"),
        ({("a", "far"): 0.6}, {}, "a harder to fool"),  # others say nothing against it
        (BETTER, {"seeds": 4}, "suggestive: a harder to fool"),
        (BETTER, {"seeds": 3}, "suggestive: a harder to fool"),
        (BETTER, {"seeds": 2}, "undecided, about 3 more seeds would decide"),
        (BETTER, {"seeds": 1}, "undecided, about 4 more seeds would decide"),
        ({}, {}, "equivalent"),
        ({("a", "far"): 0.505}, {}, "equivalent"),
        ({}, {"seeds": 3}, "suggestive: equivalent"),
        ({("a", "far"): 0.6, ("a", "a"): 0.4}, {}, "depends on"),
        ({("a", "itself"): 0.6}, {}, "depends on"),
        ({("a", "itself"): 0.4}, {"seeds": 3}, "suggestive: depends on"),
        (BETTER, {"jitter": 0.1, "key": 1}, "undecided, about"),
        ({}, {"images": 100}, "undecided"),
        (BETTER, {"far": ()}, "no foreign surrogates"),
        (BETTER, {"far": ("far_a", "far_b")}, "no foreign surrogates"),  # none of a rule that is neither
        (BETTER, {"far": ("far_a", "far_c")}, "no foreign surrogates"),  # none of b's rule
        (BETTER, {"rules": {"b": "a"}, "far": ("far_a", "far_c")}, "a harder to fool"),  # one rule, two recipes
    ],
)
def test_the_words_are_those_that_the_planted_truth_allows(shares, fields, word):
    found = verdict_on(shares, **fields)
    assert found.word.startswith(word), found.sentence
    if word in ("undecided", "equivalent", "no foreign surrogates"):
        assert found.word == word


def test_the_regimes_that_it_depends_on_are_named_with_their_signs():
    found = verdict_on({("a", "far"): 0.6, ("a", "a"): 0.4})
    assert found.word.startswith("depends on foreign surrogates (+10.0)")
    assert "surrogates of a's kind (-10.0)" in found.word
    found = verdict_on({("a", "itself"): 0.6})
    assert found.word == "depends on foreign surrogates (+0.0), white-box (+10.0)"


def test_each_regime_finds_its_own_planted_difference():
    shares = {
        ("a", "far"): 0.55,
        ("a", "a"): 0.45,
        ("a", "b"): 0.58,
        ("a", "itself"): 0.3,
        ("a", "asked"): 0.7,
        ("b", "asked"): 0.6,
    }
    found = {one.name: one for one in verdict_on(shares).regimes}
    expected = {
        "foreign surrogates": 5,
        "foreign surrogates trained by a": 5,
        "foreign surrogates trained by b": 5,
        "foreign surrogates trained by c": 5,
        "all surrogates alike": (3 * 5 - 5 + 8) / 5,  # three foreign cards, a and b
        "surrogates of a's kind": -5,
        "surrogates of b's kind": 8,
        "strongest surrogate per image": -5,  # the first images in one order are kept of every attack
        "white-box": -20,
        "query attack": 10,
        "common images": 5,
    }
    assert {name: 100 * one.difference for name, one in found.items()} == pytest.approx(expected, abs=0.11)
    for name, one in found.items():
        assert 100 * one.low < expected[name] + 0.11, name
        assert 100 * one.high > expected[name] - 0.11, name
    assert found["foreign surrogates"].n_seeds == 5
    assert found["foreign surrogates"].n_images == 1000


def test_rules_weigh_the_same_however_many_foreign_cards_each_has():
    far = ("far_a", "far_b", "far_c", "far_d")
    names = {"rules": {"far_d": "c"}, "far": far}
    outcomes = planted({**EVEN, ("a", "far"): 0.6}, **names)
    spoilt = tuple(  # of the two cards of rule c, one finds nothing to fool in a
        replace(cell, predictions=outcomes.labels)
        if outcomes.models[cell.surrogate].name == "far_d" and outcomes.models[cell.target].name == "a"
        else cell
        for cell in outcomes.cells
    )
    primary = Comparison(replace(outcomes, cells=spoilt)).verdict("a", "b").primary
    # Rules a and b: +10 points; rule c: the mean of +10 and +50.
    assert 100 * primary.difference == pytest.approx((10 + 10 + 30) / 3, abs=0.11)


def test_a_card_that_does_not_beat_its_frozen_control_gets_no_verdict():
    shares = {**BETTER, **{("cold", place): 0.5 for place in ("a", "b", "far", "itself")}}
    found = verdict_on(shares, clean={"b": 0.8, "cold": 0.8, "a": 0.805}, rules={"cold": "frozen"})
    assert found.decision.kind == "undecided"
    assert any("not shown to beat cold, its control" in reason for reason in found.decision.reasons)


def test_a_failed_check_forbids_every_claim():
    for shares in (BETTER, {}):
        outcomes = planted({**EVEN, **shares}, images=1000)
        assert Comparison(outcomes).verdict("a", "b").decision.kind in ("first", "equivalent")
        wrong = {key: (outcomes.labels + 1) % 10 for key in outcomes.clean if key.startswith("a")}
        broken = replace(outcomes, clean={**outcomes.clean, **wrong})
        found = Comparison(broken).verdict("a", "b")
        assert found.decision.kind == "undecided"
        assert any(reason.startswith("standing: ") for reason in found.decision.reasons)


def test_with_unequal_clean_accuracies_equal_accuracy_has_to_agree():
    clean = {"a": 0.97, "b": 0.9, "a#2": 0.902, "a#1": 0.5}
    epochs = {("a#2", place): 0.58 for place in ("a", "b", "far", "itself")}
    epochs |= {("a#1", place): 0.1 for place in ("a", "b", "far", "itself")}
    assert verdict_on({**BETTER, **epochs}, clean=clean).word == "a harder to fool"
    alone = verdict_on(BETTER, clean={"a": 0.97, "b": 0.9})
    assert alone.decision.kind == "undecided"
    assert any("7.0 points apart, and the regime of equal accuracy is missing" in one for one in alone.decision.reasons)
    against = verdict_on({**BETTER, **epochs, ("a#2", "far"): 0.5}, clean=clean)
    assert against.decision.kind == "undecided"
    assert any("equal accuracy: a#2 and b does not agree" in reason for reason in against.decision.reasons)


def test_the_same_recipe_is_a_regime_where_both_rules_were_trained_by_it():
    shares = {(f"{card}@sgd", place): 0.5 for card in "ab" for place in ("a", "b", "far", "itself")}
    found = verdict_on({**BETTER, **shares, ("b@sgd", "far"): 0.6})
    assert {one.name: round(100 * one.difference) for one in found.regimes}["same recipe: sgd"] == -10
    assert found.decision.kind == "depends"


def test_a_card_whose_own_recipe_is_one_of_those_crossed_stands_for_its_crossing():
    shares = {("b@sgd", place): 0.5 for place in ("a", "b", "far", "itself")}  # a's own recipe is sgd
    outcomes = planted({**EVEN, **BETTER, **shares, ("b@sgd", "far"): 0.65})
    spec = {**outcomes.spec, "models": ["a", "b"], "recipes": ["own", "sgd"]}
    found = Comparison(replace(outcomes, spec=spec)).verdict("a", "b")
    assert {one.name: round(100 * one.difference) for one in found.regimes}["same recipe: sgd"] == -5
    assert not any(one.slot == "same recipe" for one in Comparison(outcomes).verdict("a", "b").regimes)


# -- properties ------------------------------------------------------------------------------------------------------


def regime(name, middle, half=0.01, slot=None, p=0.001, seeds=5, **fields):
    return Regime(name, slot or name, middle, middle - half, middle + half, p, 0.99, seeds, 1000, p_alone=p, **fields)


def turned(one):
    return replace(one, difference=-one.difference, low=-one.high, high=-one.low, p_better=1 - one.p_better)


numbers = st.tuples(st.floats(-0.2, 0.2), st.floats(0.001, 0.1), st.sampled_from([0.001, 0.04, 0.06, 1.0]))


@settings(max_examples=200)
@given(numbers, st.lists(numbers, max_size=3), st.sampled_from([1, 3, 5]), st.floats(0, 0.03))
def test_turning_the_pair_around_turns_the_verdict_around(primary, others, seeds, gap):
    regimes = [
        regime("foreign surrogates", *primary[:2], p=primary[2], seeds=seeds, image_variance=1e-5, seed_variance=1e-4),
        *(regime(f"r{place}", *one[:2], p=one[2]) for place, one in enumerate(others)),
    ]
    there, back = (decide(some, Circumstances(gap)) for some in (regimes, [turned(one) for one in regimes]))
    swap = {"first": "second", "second": "first"}
    assert back.kind == swap.get(there.kind, there.kind)
    assert (back.suggestive, back.named, back.more_seeds) == (there.suggestive, there.named, there.more_seeds)
    for order in permutations(regimes):
        assert decide(order, Circumstances(gap)).kind == there.kind


def test_a_real_comparison_turned_around_has_all_signs_turned():
    outcomes = planted({**EVEN, **BETTER, ("a", "a"): 0.4}, jitter=0.02)
    there, back = (Comparison(outcomes).verdict(*pair) for pair in (("a", "b"), ("b", "a")))
    one, other = ({regime.name: regime for regime in found.regimes} for found in (there, back))
    assert set(one) == set(other)
    for name, found in one.items():
        again = other[name]
        assert (again.difference, again.low, again.high) == pytest.approx((-found.difference, -found.high, -found.low))
        assert (again.p, again.p_better) == pytest.approx((found.p, 1 - found.p_better))


def test_the_order_of_images_and_the_names_of_seeds_change_nothing():
    outcomes = planted({**EVEN, **BETTER}, jitter=0.03)
    order = np.random.default_rng(0).permutation(1000)
    models = {key: replace(model, seed=(7, 3, 9, 1, 5)[model.seed]) for key, model in outcomes.models.items()}
    shuffled = replace(
        outcomes,
        models=models,
        labels=outcomes.labels[order],
        clean={key: classes[order] for key, classes in outcomes.clean.items()},
        cells=tuple(replace(cell, predictions=cell.predictions[order]) for cell in outcomes.cells),
    )
    one, other = (Comparison(some).verdict("a", "b") for some in (outcomes, shuffled))
    for found, again in zip(one.regimes, other.regimes, strict=True):
        assert (again.low, again.high, again.p) == pytest.approx((found.low, found.high, found.p))


def test_a_third_card_that_is_the_same_as_one_of_two_changes_nothing_but_the_adjustment():
    outcomes = planted({**EVEN, **BETTER}, jitter=0.03)
    twins = {
        f"t{key[1:]}": replace(model, key=f"t{key[1:]}", name="t")
        for key, model in outcomes.models.items()
        if model.name == "b"
    }
    added = tuple(replace(cell, target=f"t{cell.target[1:]}") for cell in outcomes.cells if cell.target[0] == "b")
    with_twin = replace(
        outcomes,
        models={**outcomes.models, **twins},
        targets=(*outcomes.targets, *twins),
        clean={**outcomes.clean, **{key: outcomes.clean[f"b{key[1:]}"] for key in twins}},
        cells=(*outcomes.cells, *added),
    )
    before, after = (Comparison(some).verdict("a", "b") for some in (outcomes, with_twin))
    for one, other in zip(before.regimes, after.regimes, strict=True):
        assert replace(other, p=one.p) == one
        assert other.p >= one.p
    assert before.primary.p < after.primary.p
    third = Comparison(with_twin).verdict("b", "t")
    assert third.primary.difference == 0
    assert third.primary.p == 1


def test_so_many_more_seeds_would_decide_as_make_the_interval_narrow_enough():
    from scipy.stats import t

    images, seeds, middle = 1e-5, 4e-3, 0.08
    wide = {"half": 0.1755, "image_variance": images, "seed_variance": seeds}
    found = seeds_needed(regime("foreign surrogates", middle, p=0.3, **wide))

    def half(number):
        part = seeds * 5 / number
        freedom = (images + part) ** 2 / (images**2 / 999 + part**2 / (number - 1))
        return t.ppf(0.975, freedom) * (images + part) ** 0.5

    assert half(5) == pytest.approx(0.1755, abs=0.0005)
    assert half(found) < middle <= half(found - 1)
    hopeless = regime("foreign surrogates", 0.0, p=1.0, image_variance=4e-4)
    assert seeds_needed(hopeless) is None


def test_the_epsilon_is_the_declared_one_or_the_default_and_which_is_said():
    kept = {**EVEN, **BETTER}
    plain = planted(kept, epsilons=(0.05, EPSILON, 0.2), images=100)
    found = Comparison(plain).verdict("a", "b")
    assert found.epsilon == EPSILON
    assert "nearest to half of the largest" in found.notes[0]
    declared = replace(plain, spec={**plain.spec, "verdict_epsilon": {"linf": 0.05}})
    found = Comparison(declared).verdict("a", "b")
    assert (found.epsilon, found.notes[0]) == (0.05, "The epsilon is the one that the sweep declares.")
    chosen = Comparison(declared, epsilon="0.2").verdict("a", "b")
    assert (chosen.epsilon, chosen.notes[0]) == (0.2, "The epsilon was chosen after the sweep.")


def test_asking_for_a_card_that_is_not_ranked_changes_no_other_pairs_adjustment():
    shares = {**BETTER, **{("d", place): 0.5 for place in ("a", "b", "far", "itself")}}
    outcomes = planted({**EVEN, **shares}, clean={"d": 0.1}, rules={"d": "b"}, images=200)
    first, second = Comparison(outcomes), Comparison(outcomes)
    assert first.verdict("a", "d").decision.kind == "undecided"
    assert first.verdict("a", "b").regimes == second.verdict("a", "b").regimes
