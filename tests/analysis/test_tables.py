"""The tables beside the frame and the summary, against plain counts."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.results import WHITE_BOX, Results
from robustbench_ekdaa.analysis.summary import status_of
from robustbench_ekdaa.analysis.transfer import transfer_grids
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.storing.keys import IMPORTED
from robustbench_ekdaa.storing.outcomes import AttackRecord

from ..support.four_images import LABELS, RIGHT, wrong_on
from ..support.made_outcomes import make_outcomes, random_outcomes, without

KEYS = ["b0", "b1", "a0"]  # the sweep's order is not that of the alphabet
MODELS = [("b", 0), ("b", 1), ("a", 0)]


def noisy(**fields):
    """Noise of two epsilons on three models."""
    wrong = {("b0", 0.1): 0, ("b1", 0.1): 2, ("a0", 0.1): 3, ("b0", 0.2): 3, ("b1", 0.2): 4, ("a0", 0.2): 4}
    predictions = {(None, key, "noise", epsilon): wrong_on(*range(number)) for (key, epsilon), number in wrong.items()}
    return make_outcomes(MODELS, LABELS, dict.fromkeys(KEYS, RIGHT), predictions, **fields)


def test_the_outcomes_on_a_data_set_are_those_of_its_name():
    one, other = noisy(dataset="one"), noisy(dataset="other")
    results = Results([one, other])
    assert results.on("other") is other
    assert results.on("one") is one
    with pytest.raises(UsageError, match="unknown data set in these results 'third'"):
        results.on("third")


def test_a_cards_accuracy_under_noise_is_the_mean_over_its_seeds_in_the_sweeps_order():
    means = Results([noisy()]).mean_accuracies("noise")
    assert [tuple(row) for row in means.itertuples(index=False)] == [
        ("made", "b", 0.0, 1.0, 2),
        ("made", "b", 0.1, 0.75, 2),
        ("made", "b", 0.2, 0.125, 2),
        ("made", "a", 0.0, 1.0, 1),
        ("made", "a", 0.1, 0.25, 1),
        ("made", "a", 0.2, 0.0, 1),
    ]
    assert len(Results([noisy()]).mean_accuracies("fgsm")) == 0


def test_curves_of_several_data_sets_are_numbered_on_and_of_one_type_whatever_they_hold():
    full, empty = noisy(dataset="one"), noisy(dataset="other")
    curves = Results([full, empty]).curves()
    assert list(curves.index) == list(range(2 * 9))
    assert curves.groupby("dataset", sort=False).size().to_dict() == {"one": 9, "other": 9}
    nothing = Results([replace(full, cells=())]).curves()
    assert len(nothing) == 0
    assert list(nothing.dtypes) == list(curves.dtypes)


def test_a_target_that_only_itself_attacked_has_a_white_box_curve_alone():
    # One seed of one card: white-box is all there is, and the mean over other models is of nothing.
    predictions = {("a0", "a0", "fgsm", 0.1): wrong_on(0), ("a0", "b0", "fgsm", 0.1): wrong_on(1, 2)}
    outcomes = make_outcomes([("a", 0), ("b", 0)], LABELS, {"a0": RIGHT, "b0": RIGHT}, predictions)
    curves = Results([outcomes]).curves()
    own = curves[curves.attack == WHITE_BOX]
    assert set(own.model) == {"a"}
    assert own.accuracy.tolist() == [1.0, 0.75]
    others = curves.drop(own.index)
    assert set(others.model) == {"b"}
    assert others.accuracy.tolist() == [1.0, 0.5, 1.0, 0.5]  # under the attack, and in the worst case


def test_every_model_has_its_status_failed_ones_among_them():
    outcomes = without(noisy(titles={"a": "The A"}), "b1", error="diverged in epoch 1")
    nameless = replace(outcomes.models["b0"], title="")
    outcomes = replace(outcomes, models={**outcomes.models, "b0": nameless}, surrogates=("b0",))
    shared = {"rule": "b", "title": "B", "model": "b"}
    first, second, third = status_of(outcomes)
    assert first == {
        **shared,
        "title": "b",
        "seed": 0,
        "status": "trained",
        "error": None,
        "clean_accuracy": 1.0,
        "roles": ["surrogate", "target"],
    }
    assert np.isnan(second.pop("clean_accuracy"))
    assert second == {**shared, "seed": 1, "status": "failed", "error": "diverged in epoch 1", "roles": ["target"]}
    assert (third["title"], third["seed"], third["roles"]) == ("The A", 0, ["target"])


def test_the_images_from_elsewhere_have_their_surrogate_in_the_frame():
    predictions = {(IMPORTED, "a0", "theirs", 0.1): wrong_on(0)}
    record = AttackRecord("theirs", "theirs", "Theirs", "linf", {"kind": IMPORTED})
    outcomes = make_outcomes([("a", 0)], LABELS, {"a0": RIGHT}, predictions)
    frame = Results([replace(outcomes, attacks={"theirs": record})]).frame()
    assert set(frame.surrogate) == {IMPORTED}
    assert frame.surrogate_rule.isna().all()
    assert frame.surrogate_seed.isna().all()


def test_where_no_epsilon_has_all_attacks_nothing_is_stated_under_attack():
    places = [(attack, epsilon, pair) for attack, epsilon in (("fgsm", 0.1), ("bim", 0.2)) for pair in ("ab", "ba")]
    predictions = {(f"{pair[0]}0", f"{pair[1]}0", attack, epsilon): wrong_on(0) for attack, epsilon, pair in places}
    outcomes = make_outcomes([("a", 0), ("b", 0)], LABELS, {"a0": RIGHT, "b0": RIGHT}, predictions)
    for row in Results([outcomes]).summary().itertuples():
        assert "unfinished sweep: no epsilon has all attacks" in row.note
        assert row.eps_max == 0
        assert np.isnan(row.transfer_accuracy)


def test_success_is_counted_among_the_images_that_count_and_is_undefined_among_none():
    predictions = {("a0", "b0", "fgsm", 0.1): wrong_on(0, 1, 2), ("b0", "a0", "fgsm", 0.1): wrong_on(3)}
    outcomes = make_outcomes([("a", 0), ("b", 0)], LABELS, {"a0": RIGHT, "b0": RIGHT}, predictions)
    (grid,) = transfer_grids(outcomes)
    found = grid.success_among(0.1, np.array([True, False, False, True]))
    assert dict(zip(grid.cards, found, strict=True)) == {"a": 0.5, "b": 0.5}
    assert grid.success_among(0.1, np.array([True, True, False, False])).tolist() == [0.0, 1.0]
    assert np.isnan(grid.success_among(0.1, np.zeros(4, bool))).all()


def test_attacks_whose_models_play_no_part_make_no_grid():
    outcomes = random_outcomes(cards=2, seeds=1, images=10)
    assert len(transfer_grids(outcomes)) == 1
    assert transfer_grids(replace(outcomes, targets=())) == ()
    assert transfer_grids(replace(outcomes, surrogates=())) == ()


def test_a_grid_of_attacks_that_none_finished_has_clean_images_alone():
    predictions = {("a0", "b0", "fgsm", 0.1): wrong_on(0), ("b0", "a0", "fgsm", 0.2): wrong_on(0)}
    outcomes = make_outcomes([("a", 0), ("b", 0)], LABELS, {"a0": RIGHT, "b0": RIGHT}, predictions)
    (grid,) = transfer_grids(outcomes)
    assert (grid.epsilons, grid.attacks, grid.unfinished) == ((0.0,), (), ("fgsm",))
