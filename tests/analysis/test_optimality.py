"""How near each attack comes to the best result known, against plain loops over images."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.storing.outcomes import Ensemble

from ..support.made_outcomes import make_outcomes, random_outcomes, with_ensembles
from ..support.planted import planted


def looped(outcomes, target, attack, epsilon, *, own):
    """Accuracy under one attack and under all, and their difference, image by image over models and surrogates."""
    found = {cell.key: cell.predictions for cell in outcomes.cells}
    attacks = [key for key in outcomes.attacks if key != "noise"]
    alone, together = [], []
    for key, model in outcomes.models.items():
        if model.name != target:
            continue
        by_card = {}
        for other, surrogate in outcomes.models.items():
            if (other == key) != own or (not own and surrogate.seed == model.seed):
                continue
            kept = kept_by_all = 0
            for image, label in enumerate(outcomes.labels):
                right = outcomes.clean[key][image] == label
                under = [found[other, each, epsilon, key][image] == label for each in attacks]
                kept += right and under[attacks.index(attack)]
                kept_by_all += right and all(under)
            by_card.setdefault(surrogate.name, []).append((kept, kept_by_all))
        means = np.mean([np.mean(shares, axis=0) for shares in by_card.values()], axis=0) / len(outcomes.labels)
        alone.append(means[0])
        together.append(means[1])
    return np.mean(alone), np.mean(together)


@pytest.mark.parametrize(("source", "own"), [("mean over cards", False), ("white-box", True)])
def test_every_gap_is_that_of_a_plain_loop_over_images(source, own):
    outcomes = random_outcomes(cards=2, seeds=3, images=40, epsilons=2)
    rows = Results([outcomes]).optimality(0.1)
    part = rows[rows["attacks_from"] == source]
    assert list(zip(part["target"], part["attack"], strict=True)) == [
        (card, attack) for card in ("backprop", "ekdaa") for attack in ("fgsm", "bim")
    ]
    for row in part.itertuples():
        at = {epsilon: looped(outcomes, row.target, row.attack, epsilon, own=own) for epsilon in (0.1, 0.2)}
        assert (row.accuracy, row.best_known) == pytest.approx(at[0.1])
        assert row.gap == pytest.approx(at[0.1][0] - at[0.1][1])
        gaps = [0.0, *(alone - together for alone, together in at.values())]
        assert row.area_gap == pytest.approx((gaps[0] / 2 + gaps[1] + gaps[2] / 2) * 0.1 / 0.2)
        assert 0 <= row.gap <= 1
        assert row.gap > 0.01  # the two attacks fool different images
        assert (row.n_seeds, row.n_images) == (3, 40)


def test_the_best_known_result_is_the_summarys_worst_case():
    outcomes = random_outcomes(cards=3, seeds=2)
    rows, summary = Results([outcomes]).optimality(), Results([outcomes]).summary().set_index("model")
    for source, name in (("mean over cards", "transfer_accuracy"), ("white-box", "white_box_accuracy")):
        part = rows[(rows["attacks_from"] == source) & (rows["attack"] == "bim")].set_index("target")
        assert part["best_known"].to_dict() == pytest.approx(summary[name].to_dict())


def test_one_attack_alone_is_the_best_that_is_known():
    rows = Results([random_outcomes(cards=2, seeds=2, attacks=("fgsm",))]).optimality()
    assert len(rows) == 4
    assert (rows["gap"] == 0).all()
    assert (rows["area_gap"] == 0).all()


def test_an_attack_that_only_asks_counts_among_those_on_the_target_itself():
    shares = {(card, place): 0.5 for card in "ab" for place in ("a", "b", "far", "itself")}
    outcomes = planted({**shares, ("a", "asked"): 0.3, ("b", "asked"): 0.3}, images=200, seeds=2)
    rows = Results([outcomes]).optimality(0.1)
    own = rows[rows["attacks_from"] == "white-box"].set_index(["target", "attack"])
    assert own.loc[("a", "bim"), "gap"] == pytest.approx(0.2, abs=0.011)
    assert own.loc[("a", "ask"), "gap"] == 0


def test_an_ensemble_attack_is_compared_over_the_holders_that_have_it():
    outcomes = with_ensembles(random_outcomes(cards=3, seeds=2, images=40, noise=False))
    members = [
        [one for one in outcomes.models.values() if one.seed == seed and one.name != "frozen"] for seed in (0, 1)
    ]
    ensembles = {f"e{seed}": Ensemble.of(f"e{seed}", some) for seed, some in enumerate(members)}
    outcomes = replace(outcomes, ensembles=ensembles)  # frozen is in none
    rows = Results([outcomes]).optimality(0.2)
    part = rows[(rows["attack"] == "ens")]
    assert set(part["attacks_from"]) == {"mean over cards"}  # on itself an ensemble is no attack of its own
    found = {cell.key: cell.predictions == outcomes.labels for cell in outcomes.cells}
    for row in part.itertuples():
        alone, together = [], []
        for seed in (0, 1):
            target, other = f"{row.target}{seed}", 1 - seed
            right = outcomes.clean[target] == outcomes.labels
            alone.append((right & found[f"e{other}", "ens", 0.2, target]).mean())  # whichever member holds it
            for card in ("backprop", "ekdaa"):
                singles = [found[f"{card}{other}", attack, 0.2, target] for attack in ("fgsm", "bim")]
                together.append((right & singles[0] & singles[1] & found[f"e{other}", "ens", 0.2, target]).mean())
        assert row.accuracy == pytest.approx(np.mean(alone))
        assert row.best_known == pytest.approx(np.mean(together))


def test_where_nothing_was_attacked_there_are_no_rows():
    clean = {"a0": [0, 1], "b0": [0, 1]}
    outcomes = make_outcomes([("a", 0), ("b", 0)], [0, 1], clean, {}, epsilons=(0.0,))
    assert len(Results([outcomes]).optimality()) == 0
    assert len(Results([replace(random_outcomes(cards=2, seeds=1), cells=())]).optimality()) == 0
