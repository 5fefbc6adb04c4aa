"""Ensembles and imported images in figures, on the page and in its warnings."""

from dataclasses import replace

import numpy as np
from matplotlib.patches import Rectangle

from robustbench_ekdaa.analysis.caveats import caveats
from robustbench_ekdaa.analysis.checks import findings
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.rendering import plot_attack_matrices, plot_curves, plot_examples, plot_transfer_matrix
from robustbench_ekdaa.storing.keys import IMPORTED, CraftingKey
from robustbench_ekdaa.storing.outcomes import AttackRecord

from ..support.figures import texts
from ..support.made_outcomes import random_outcomes, with_ensembles, without


def warnings(outcomes):
    return " ".join(caveats(outcomes))


def checked(outcomes):
    return " ".join(one.sentence for one in findings(outcomes))


def framed(axes):
    """Which cells of a matrix have a frame, (row, column)."""
    return {(round(patch.get_y()), round(patch.get_x())) for patch in axes.patches if isinstance(patch, Rectangle)}


def with_import(outcomes):
    """Add images from a file, with what the models predicted for "noise"."""
    record = AttackRecord("mine", "mine", "mine (imported)", "linf", {"kind": "imported"})
    imported = [replace(cell, surrogate=IMPORTED, attack="mine") for cell in outcomes.cells if cell.attack == "noise"]
    return replace(outcomes, cells=(*outcomes.cells, *imported), attacks={**outcomes.attacks, "mine": record})


def test_the_matrix_shows_ensembles_last_and_frames_every_member_among_the_targets():
    outcomes = with_ensembles(random_outcomes(cards=2, seeds=2, attacks=("fgsm",)))
    axes, alone = (plot_transfer_matrix(outcomes, epsilon=0.2, attack=one).axes[0] for one in (None, "ens"))
    shown = np.ma.filled(alone.collections[0].get_array(), np.nan).reshape(4 + 2, 4)
    frame = Results([outcomes]).frame().query("epsilon == 0.2 and attack == 'ens'")
    np.testing.assert_allclose(shown[4:].ravel(), 100 * frame["accuracy"])
    assert np.isnan(shown[:4]).all()
    together = {(4, 0), (4, 2), (5, 1), (5, 3)}
    assert framed(alone) == together
    assert framed(axes) == {(i, i) for i in range(4)} | together
    assert any("Ensemble of 2" in text for text in texts(axes.figure))


def test_every_figure_can_be_drawn_of_ensembles_and_imported_images():
    outcomes = with_import(with_ensembles(random_outcomes(cards=2, seeds=2, attacks=("fgsm",))))
    assert len(plot_attack_matrices(outcomes).axes) == 2 + 1  # FGSM, ENS and the colour bar
    titles = [axes.get_title(loc="left") for axes in plot_curves(outcomes).axes]
    own = "White-box: attacks on the model itself"
    assert titles == ["FGSM", "ENS", "Worst case of the 2 attacks", own, "NOISE", "mine (imported)"]
    assert "or on BACKPROP + EKDAA, seed 0" in " ".join(plot_examples(outcomes).get_supxlabel().split())


def test_ensembles_that_hold_every_target_are_said_to_count_nowhere_and_have_no_curve():
    outcomes = with_ensembles(random_outcomes(cards=2, seeds=1, attacks=("fgsm",)))
    assert "every ensemble holds the target: ENS" in warnings(outcomes)
    titles = [axes.get_title(loc="left") for axes in plot_curves(outcomes).axes]
    own = "White-box: attacks on the model itself"
    assert titles == ["FGSM", own, "NOISE"]  # of one attack that counts, no worst case is drawn
    assert "holds the target" not in warnings(with_ensembles(random_outcomes(cards=2, seeds=2, attacks=("fgsm",))))


def test_nothing_is_missing_where_ensembles_and_imports_are_complete_and_a_missing_cell_is_counted():
    outcomes = with_import(with_ensembles(random_outcomes(cards=2, seeds=3)))
    assert "missing" not in warnings(outcomes)
    assert "in no worst case" in warnings(outcomes)
    cut = next(cell for cell in outcomes.cells if cell.surrogate == "e0")
    assert "1 of " in warnings(replace(outcomes, cells=tuple(cell for cell in outcomes.cells if cell.key != cut.key)))
    alone = tuple(cell for cell in outcomes.cells if cell.attack != "ens")
    assert "no outcomes yet of ENS" in warnings(replace(outcomes, cells=alone, ensembles={}))  # nothing trained yet
    failed = without(outcomes, "ekdaa1")
    left = tuple(cell for cell in failed.cells if cell.surrogate != "e1")
    assert "No ensemble attack was crafted with seed 1, because EKDAA failed there" in warnings(
        replace(failed, cells=left)
    )
    assert "missing" not in warnings(replace(failed, cells=left))


def test_only_the_largest_shares_of_zero_gradients_are_named_and_small_ones_not_at_all():
    outcomes = random_outcomes(cards=2, seeds=3)
    shares = {"backprop0": 0.02, "backprop1": 0.2, "ekdaa0": 0.9, "ekdaa1": 0.5, "ekdaa2": 0.4}
    craftings = {CraftingKey(key, "fgsm", 0.1): {"zero_gradient_share": share} for key, share in shares.items()}
    craftings |= {CraftingKey(key, "fgsm", 0.2): {"zero_gradient_share": 0.5 * share} for key, share in shares.items()}
    sentences = checked(replace(outcomes, craftings=craftings))
    assert "FGSM on EKDAA, seed 0: 90 % at ε = 0.1; FGSM on EKDAA, seed 1: 50 % at ε = 0.1" in sentences
    assert "and 1 more" in sentences
    only = {place: facts for place, facts in craftings.items() if place.surrogate == "backprop0"}
    assert "nothing to follow" not in checked(replace(outcomes, craftings=only))
