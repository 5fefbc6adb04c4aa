"""What checks say of outcomes: counts made by hand, and thresholds on both of their sides."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.checks import PASS, findings
from robustbench_ekdaa.storing.keys import CraftingKey
from robustbench_ekdaa.storing.outcomes import AttackRecord

from ...support.made_outcomes import make_outcomes, random_outcomes, with_constant, without


def warnings(outcomes):
    return " ".join(one.sentence for one in findings(outcomes) if one.status != PASS)


def with_right(right, images=400, **fields):
    """Cards of one seed, each right on the given clean images; an attack that changes nothing."""
    labels = np.arange(images) % 10
    clean = {
        f"{card}0": np.where(np.isin(np.arange(images), some), labels, (labels + 1) % 10)
        for card, some in right.items()
    }
    predictions = {(s, t, "fgsm", 0.1): clean[t] for s in clean for t in clean}
    return make_outcomes([(card, 0) for card in right], labels, clean, predictions, **fields)


def test_surrogates_of_one_rule_unequal_cards_single_seeds_and_equal_starts_are_said():
    fine = random_outcomes(seeds=3, images=400)
    one_rule = replace(fine, cells=tuple(cell for cell in fine.cells if (cell.surrogate or "").startswith("ekdaa")))
    one_rule = replace(one_rule, surrogates=("ekdaa0", "ekdaa1", "ekdaa2"))
    assert "All surrogates were trained with one rule (ekdaa)" in warnings(one_rule)
    labels = [*range(10)] * 20
    clean = {"a0": labels, "b0": [(label + (place % 5 == 0)) % 10 for place, label in enumerate(labels)]}
    unequal = make_outcomes([("a", 0), ("b", 0)], labels, clean, {("a0", "b0", "fgsm", 0.1): labels})
    found = warnings(unequal)
    assert "differ by up to 20.0 points" in found
    assert "Every model card: fewer than 3 training seeds" in found
    assert "started from the same weights" in found


def test_an_empty_common_set_and_a_small_one_are_said():
    labels = [*range(10)] * 40
    for shared, sentence in ((0, "There are no common images"), (40, "Only 40 images are common")):
        half = [label if place < 200 + shared else (label + 1) % 10 for place, label in enumerate(labels)]
        other = [label if place >= 200 else (label + 1) % 10 for place, label in enumerate(labels)]
        outcomes = make_outcomes(
            [("a", 0), ("b", 1)], labels, {"a0": half, "b1": other}, {("a0", "b1", "x", 0.1): other}
        )
        assert sentence in warnings(outcomes)


def test_intervals_from_few_images_or_of_no_width_are_said():
    few = random_outcomes(cards=2, images=6, noise=False)
    assert "Only 6 test images" in warnings(few)
    many = random_outcomes(cards=2, images=400, noise=False)
    cells = [
        replace(cell, predictions=(many.labels + 1) % 10) if cell.target[0] == "e" else cell for cell in many.cells
    ]
    held = replace(many, cells=tuple(cells))
    assert "at least Wilson's for EKDAA." in warnings(held)


def test_a_difference_whose_sign_depends_on_the_surrogates_is_said_card_by_card():
    """Each card falls on half of what its own kind gives, and to nobody else."""
    labels = np.arange(200) % 10
    models = [(name, seed) for name in ("kolen-pollack", "ekdaa") for seed in (0, 1)]
    keys = [f"{name}{seed}" for name, seed in models]
    wrong = np.where(np.arange(200) % 2, labels, (labels + 1) % 10)
    predictions = {(s, t, "fgsm", 0.1): wrong if s[0] == t[0] else labels for s in keys for t in keys}
    outcomes = make_outcomes(models, labels, dict.fromkeys(keys, labels), predictions)
    found = warnings(outcomes)
    assert "KOLEN-POLLACK minus EKDAA: -50.0 from kolen-pollack, +50.0 from ekdaa." in found
    assert "Their mean says nothing about the learning rules" in found
    alike = replace(outcomes, cells=tuple(replace(cell, predictions=wrong) for cell in outcomes.cells))
    assert "depends on the surrogates" not in warnings(alike)


def test_the_craftings_with_most_zero_gradients_are_named_with_their_smallest_epsilon():
    whole = random_outcomes(cards=3, seeds=2, attacks=("fgsm",), epsilons=2)

    def told(**shares):
        craftings = {
            CraftingKey(key, "fgsm", epsilon): {"zero_gradient_share": share}
            for key, (share, *epsilons) in shares.items()
            for epsilon in epsilons
        }
        return warnings(replace(whole, craftings=craftings))

    assert "exactly zero" not in told(backprop0=(0.03, 0.1))
    assert "(FGSM on BACKPROP, seed 0: 31 % at ε = 0.1)." in told(backprop0=(0.31, 0.2, 0.1), ekdaa0=(0.03, 0.1))
    three = told(backprop0=(0.2, 0.1), ekdaa0=(0.4, 0.2), frozen1=(0.3, 0.1))
    assert (
        "(FGSM on EKDAA, seed 0: 40 % at ε = 0.2; FGSM on FROZEN, seed 1: 30 % at ε = 0.1; FGSM on BACKPROP, seed 0: "
        "20 % at ε = 0.1)" in three
    )
    five = told(backprop0=(0.2, 0.1), ekdaa0=(0.4, 0.2), frozen1=(0.3, 0.1), ekdaa1=(0.1, 0.1), frozen0=(0.05, 0.1))
    assert "20 % at ε = 0.1; and 2 more, in zero_gradient_share" in five
    for nobody in (CraftingKey(None, "fgsm", 0.1), CraftingKey("backprop0", "gone", 0.1)):
        assert "exactly zero" not in warnings(replace(whole, craftings={nobody: {"zero_gradient_share": 0.9}}))
    assert "exactly zero" not in warnings(replace(whole, craftings={CraftingKey("backprop0", "fgsm", 0.1): {}}))


def test_clean_accuracies_may_be_one_point_apart():
    assert "Clean accuracies" not in warnings(with_right({"a": range(300), "b": range(296)}))
    assert "differ by up to 1.2 points" in warnings(with_right({"a": range(300), "b": range(295)}))
    assert "Clean accuracies" not in warnings(with_right({"a": range(300)}))


@pytest.mark.parametrize(("shared", "said"), [(99, True), (100, False)])
def test_a_hundred_common_images_are_enough(shared, said):
    found = warnings(with_right({"a": range(200), "b": range(200 - shared, 400 - shared)}))
    assert (f"Only {shared} images are common" in found) is said
    assert "There are no common images" not in found


@pytest.mark.parametrize(("images", "said"), [(99, True), (100, False)])
def test_a_hundred_test_images_are_enough(images, said):
    assert (f"Only {images} test images" in warnings(random_outcomes(images=images, noise=False))) is said


def test_only_the_cards_with_fewer_than_three_seeds_are_named():
    whole = random_outcomes(cards=2, seeds=3, noise=False)
    assert "fewer than 3" not in warnings(whole)
    assert "EKDAA: fewer than 3 training seeds" in warnings(without(whole, "ekdaa2"))
    assert "Every model card: fewer than 3 training seeds" in warnings(without(without(whole, "ekdaa2"), "backprop1"))


def test_one_rule_of_surrogates_is_no_matter_where_one_model_is_scored():
    whole = random_outcomes(cards=2, seeds=1, noise=False)
    on_one = tuple(cell for cell in whole.cells if cell.surrogate == "backprop0")
    assert "one rule (backprop)" in warnings(replace(whole, surrogates=("backprop0",), cells=on_one))
    alone = tuple(cell for cell in on_one if cell.target == "ekdaa0")
    single = replace(whole, surrogates=("backprop0",), targets=("ekdaa0",), cells=alone)
    assert "one rule" not in warnings(single)


def kept_by(gaps):
    """Cards of two seeds; what each keeps of 200 images, in halves of a point, by the surrogates' card."""
    labels = np.arange(200) % 10
    models = [(name, seed) for name in gaps for seed in (0, 1)]
    keys = [f"{name}{seed}" for name, seed in models]
    predictions = {
        (s, t, "fgsm", 0.1): np.where(np.arange(200) < gaps[t[0]][s[0]], labels, (labels + 1) % 10)
        for s in keys
        for t in keys
    }
    return make_outcomes(models, labels, dict.fromkeys(keys, labels), predictions)


@pytest.mark.parametrize(("other", "said"), [(104, False), (105, True)])
def test_two_points_are_not_called_a_sign(other, said):
    found = warnings(kept_by({"a": {"a": 100, "b": 100 + 50}, "b": {"a": other, "b": 100}}))
    assert ("Which of two cards keeps more" in found) is said
    found = warnings(kept_by({"a": {"a": other, "b": 100}, "b": {"a": 100, "b": 100 + 50}}))
    assert ("Which of two cards keeps more" in found) is said


def test_the_three_widest_gaps_are_written_out_and_the_others_counted():
    apart = {"a": 10, "b": 30, "c": 60, "d": 100}  # a card gives way to its own kind by so many images
    kinds = kept_by({name: {other: 200 - far * (name == other) for other in apart} for name, far in apart.items()})
    found = warnings(kinds)
    assert "C minus D: +0.0 from a, +0.0 from b, -30.0 from c, +50.0 from d; B minus D: " in found
    assert found.index("B minus D") < found.index("A minus D")
    assert "; and 3 more pairs. Their mean" in found
    three = warnings(kept_by({n: {o: 200 - apart[n] * (n == o) for o in "bcd"} for n in "bcd"}))
    assert "more pairs" not in three


def test_four_opposed_pairs_are_three_and_one_more():
    ups, downs = {"a": 100, "b": 0, "c": 50, "d": 50}, {"a": 0, "b": 100, "c": 50, "d": 50}
    found = warnings(kept_by({"a": ups, "b": downs, "c": ups, "d": downs}))
    assert "; and 1 more pair. Their mean" in found


def test_a_card_that_is_not_ranked_is_in_no_pair():
    kept = kept_by({"a": {"a": 0, "b": 150}, "b": {"a": 0, "b": 150}})
    stuck = with_constant(kept)  # keeps its 20 images of 200 whoever attacks: between what the others keep
    assert "Not ranked, and in no common set: Stuck" in warnings(stuck)
    assert "Which of two cards" not in warnings(stuck)


def test_where_no_card_is_compared_nothing_is_said_of_common_images():
    stuck = with_right({"a": range(40), "b": range(40)})
    assert "common" not in warnings(stuck).replace("in no common set", "")


def test_an_attack_that_does_not_suit_the_images_is_named_by_its_title():
    whole = random_outcomes(cards=2, seeds=1, noise=False)
    smooth = {"gradient": [{"component": "kernel_smoothing", "size": 15}]}
    for title, called in (("Smooth", "Smooth"), ("", "fgsm")):
        attacks = {**whole.attacks, "fgsm": AttackRecord("fgsm", "fgsm", title, "linf", smooth)}
        assert f"{called}: its kernel of 15 pixels is larger than half the 8 x 8 image" in warnings(
            replace(whole, attacks=attacks)
        )
