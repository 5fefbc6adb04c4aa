"""What a reader is warned of: counts made by hand, and every threshold on both of its sides."""

from dataclasses import replace

from robustbench_ekdaa.analysis.caveats import caveats

from ..support.made_outcomes import random_outcomes, with_ensembles, without


def warnings(outcomes):
    return " ".join(caveats(outcomes))


def test_every_missing_cell_is_counted_and_earlier_data_are_told_apart():
    """Two cards of one seed, two epsilons: eight cells of the attack, and four of the noise."""
    whole = random_outcomes(cards=2, seeds=1, attacks=("fgsm",), epsilons=2)
    assert len(whole.cells) == 8 + 4
    assert "missing" not in warnings(whole)
    assert "Not in the worst case" not in warnings(whole)
    assert "replaced" not in warnings(whole)
    assert "1 of 12 cells are missing" in warnings(replace(whole, cells=whole.cells[1:]))
    noise_gone = replace(whole, cells=tuple(cell for cell in whole.cells if cell.surrogate is not None))
    assert "There are no outcomes yet of NOISE." in warnings(noise_gone)
    assert "missing" not in warnings(noise_gone)
    assert "7 outcomes on the earlier data" in warnings(replace(whole, replaced=7))


def test_cells_on_ensembles_are_counted_apart_and_those_with_a_failed_member_are_not_expected():
    both = with_ensembles(random_outcomes(cards=2, seeds=2, attacks=("fgsm",), epsilons=1))
    assert "missing" not in warnings(both)
    # 16 of FGSM, 8 of the attack on two ensembles, and 4 of the noise
    assert "1 of 28 cells are missing" in warnings(replace(both, cells=both.cells[:-1]))
    one_failed = without(both, "ekdaa1")
    alone = replace(one_failed, cells=tuple(cell for cell in one_failed.cells if cell.surrogate != "e1"))
    assert "missing" not in warnings(alone)
    assert "No ensemble attack was crafted with seed 1, because EKDAA failed there" in warnings(alone)
    none = without(alone, "ekdaa0")
    none = replace(none, cells=tuple(cell for cell in none.cells if cell.surrogate != "e0"))
    assert "no outcomes yet" not in warnings(none)  # why there are none is said of the ensembles


def test_an_attack_that_no_epsilon_has_on_all_pairs_is_named():
    whole = random_outcomes(cards=2, seeds=1, attacks=("fgsm", "bim"), epsilons=1, noise=False)
    bim = next(cell for cell in whole.cells if cell.attack == "bim")
    # Another pair of BIM is known at no epsilon, and FGSM is there to say which pairs there are.
    found = warnings(replace(whole, cells=tuple(cell for cell in whole.cells if cell.key != bim.key)))
    assert "Not in the worst case, because not finished on all pairs: BIM." in found


def test_cells_of_models_that_are_no_targets_fill_no_gap():
    whole = random_outcomes(cards=2, seeds=1, attacks=("fgsm",), epsilons=2)
    one = replace(whole, targets=("backprop0",))
    assert "missing" not in warnings(one)
    gone = next(cell for cell in whole.cells if cell.target == "backprop0")
    assert "1 of 6 cells are missing" in warnings(
        replace(one, cells=tuple(cell for cell in one.cells if cell.key != gone.key))
    )


def test_an_attack_on_ensembles_that_hold_every_target_is_named_by_its_title():
    whole = with_ensembles(random_outcomes(cards=2, seeds=1, attacks=("fgsm",)))
    assert "because every ensemble holds the target: ENS." in warnings(whole)
    untitled = replace(whole.attacks["ens"], title="")
    named = replace(whole, attacks={**whole.attacks, "ens": untitled})
    assert "because every ensemble holds the target: ens." in warnings(named)
