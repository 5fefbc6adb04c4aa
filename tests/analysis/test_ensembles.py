"""Ensembles in the analysis: whom they are near to, and how they enter the worst case, on cases made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.results import WORST_CASE, Results
from robustbench_ekdaa.analysis.transfer import transfer_grids
from robustbench_ekdaa.storing.outcomes import Ensemble

from ..support.four_images import LABELS, RIGHT, wrong_on
from ..support.made_outcomes import make_outcomes, random_outcomes, with_ensembles

MODELS = [(name, seed) for name in "abc" for seed in (0, 1)]
KEYS = [f"{name}{seed}" for name, seed in MODELS]


def ensembles_of(outcomes, names, seeds):
    """Put cards together seed by seed; the keys are the seeds with an e before them."""
    return {f"e{seed}": Ensemble.of(f"e{seed}", [outcomes.models[f"{n}{seed}"] for n in names]) for seed in seeds}


def attacked(predictions, *, alone=True, models=MODELS, names="ab", seeds=(0, 1), **fields):
    """Cards a, b and c; a and b are attacked on, alone by "fgsm" and together by "ens", without effect.

    Only `predictions` are others.
    """
    keys = [f"{name}{seed}" for name, seed in models]
    cells = {(s, t, "fgsm", 0.1): RIGHT for s in keys if s[0] in names for t in keys} if alone else {}
    cells |= {(f"e{seed}", t, "ens", 0.1): RIGHT for seed in seeds for t in keys}
    outcomes = make_outcomes(models, LABELS, dict.fromkeys(keys, RIGHT), {**cells, **predictions}, **fields)
    surrogates = tuple(key for key in keys if key[0] in names)
    return replace(outcomes, ensembles=ensembles_of(outcomes, names, seeds), surrogates=surrogates)


def accuracies(outcomes):
    summary = Results([outcomes]).summary().set_index("model")
    return summary["transfer_accuracy"]


def test_an_ensemble_is_as_near_to_a_target_as_its_nearest_member():
    outcomes = attacked({})
    assert outcomes.relation("e0", "a0") == outcomes.relation("e0", "b0") == "white-box"
    assert outcomes.relation("e0", "c0") == "same-start"
    assert outcomes.relation("e0", "a1") == "same-rule"
    assert outcomes.relation("e0", "c1") == "cross-rule"


def test_rows_name_an_ensemble_by_its_members_and_each_of_their_rules_once():
    outcomes = attacked({})
    one_rule = {key: replace(model, rule="backprop") for key, model in outcomes.models.items() if key[0] in "ab"}
    outcomes = replace(outcomes, models={**outcomes.models, **one_rule})
    outcomes = replace(outcomes, ensembles=ensembles_of(outcomes, "ba", (0, 1)))
    rows = Results([outcomes]).frame().query("attack == 'ens'")
    assert set(rows["surrogate"]) == {"a+b"}
    assert set(rows["surrogate_rule"]) == {"backprop"}
    assert set(rows["surrogate_seed"]) == {0, 1}
    assert rows["transfer_rate"].isna().all()  # what the ensemble itself predicts is not known


def test_the_worst_case_of_a_pair_is_over_attacks_on_the_surrogate_and_on_its_ensembles():
    predictions = {
        ("a0", "c1", "fgsm", 0.1): wrong_on(0),
        ("b0", "c1", "fgsm", 0.1): wrong_on(1),
        ("e0", "c1", "ens", 0.1): wrong_on(1, 2),
        ("a0", "a1", "fgsm", 0.1): wrong_on(0, 1, 2),
        ("e0", "a1", "ens", 0.1): wrong_on(3),
    }
    outcomes = attacked(predictions)
    found = accuracies(outcomes)
    # c1: of a0 image 3 is left, of b0 images 0 and 3; a1 and b1 share its start. c0 meets a1 and b1 in vain.
    assert found["c"] == pytest.approx((np.mean([1 / 4, 2 / 4]) + 1) / 2)
    # a1: of a0 nothing is left, of b0 three images (e0 alone); a0 meets a1 and b1 in vain.
    assert found["a"] == pytest.approx((np.mean([0, 3 / 4]) + 1) / 2)
    curves = Results([outcomes]).curves().set_index(["attack", "model", "seed", "epsilon"])["accuracy"]
    assert curves["ens", "c", 1, 0.1] == 1 / 2
    assert curves["ens", "a", 1, 0.1] == 3 / 4
    assert curves[WORST_CASE, "c", 1, 0.1] == pytest.approx(3 / 8)


def test_an_ensemble_that_holds_the_target_or_started_with_it_is_in_no_mean():
    fooled = wrong_on(0, 1, 2, 3)
    outcomes = attacked({(f"e{seed}", f"{name}{seed}", "ens", 0.1): fooled for name in "abc" for seed in (0, 1)})
    assert (accuracies(outcomes) == 1).all()
    curves = Results([outcomes]).curves()
    assert (curves["accuracy"] == 1).all()


def test_attacks_on_ensembles_alone_make_a_transfer_accuracy_too():
    predictions = {("e0", "c1", "ens", 0.1): wrong_on(0), ("e1", "c0", "ens", 0.1): wrong_on(0, 1)}
    found = accuracies(attacked(predictions, alone=False))
    assert found["c"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert found["a"] == found["b"] == 1


def test_with_one_seed_ensembles_hold_every_target_and_change_nothing():
    models = [("a", 0), ("b", 0)]
    fooled = {("e0", key, "ens", 0.1): wrong_on(0, 1, 2, 3) for key in ("a0", "b0")}
    outcomes = attacked({("a0", "b0", "fgsm", 0.1): wrong_on(0), **fooled}, models=models, seeds=(0,))
    assert accuracies(outcomes).to_dict() == {"a": 1, "b": 3 / 4}
    (grid,) = transfer_grids(outcomes)
    assert grid.counted_attacks == ("fgsm",)
    alone = accuracies(attacked(fooled, models=models, seeds=(0,), alone=False))
    assert alone.isna().all()


def test_another_attack_can_only_lower_the_worst_case_and_the_interval_holds_it():
    whole = random_outcomes(cards=3, seeds=3, noise=False)
    more = with_ensembles(whole)
    before, after = (
        Results([one])
        .curves()
        .query("attack == @WORST_CASE", local_dict={"WORST_CASE": WORST_CASE})
        .set_index(["model", "seed", "epsilon"])["accuracy"]
        for one in (whole, more)
    )
    assert (after <= before + 1e-12).all()
    assert (after < before - 0.05).any()
    summary = Results([more]).summary()
    inside = summary["transfer_accuracy"].between(summary["transfer_accuracy_low"], summary["transfer_accuracy_high"])
    assert inside.all()


def test_an_ensemble_attack_that_is_not_finished_on_all_ensembles_is_left_out_and_leaves_single_attacks_alone():
    outcomes = attacked({("e0", "c1", "ens", 0.1): wrong_on(0, 1, 2, 3)})
    cells = tuple(cell for cell in outcomes.cells if (cell.surrogate, cell.target) != ("e1", "c0"))
    other = [replace(cell, attack="ens2") for cell in outcomes.cells if cell.attack == "ens"]
    attacks = {**outcomes.attacks, "ens2": replace(outcomes.attacks["ens"], key="ens2", name="ens2")}
    (grid,) = transfer_grids(replace(outcomes, cells=(*cells, *other), attacks=attacks))
    assert grid.attacks == ("fgsm", "ens2")
    assert grid.unfinished == ("ens",)
