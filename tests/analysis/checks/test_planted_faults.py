"""Every check catches its fault, planted in the outcomes of a healthy run, and says nothing of that run."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.checks import FAIL, PASS, RUN_CHECKS, WARN, failed_checks, findings
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.storing.cells import Cell
from robustbench_ekdaa.storing.keys import CraftingKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, Example

from ...support.healthy_runs import CARDS, cells_with, healthy
from ...support.made_outcomes import with_constant
from ...support.planted import planted


@pytest.fixture(scope="module")
def sound():
    return healthy()


def found(outcomes, check):
    """Return what one check says that is no pass, the gravest first."""
    return [one for one in findings(outcomes) if one.check == check and one.status != PASS]


def only(outcomes, check):
    (one,) = found(outcomes, check)
    return one


def with_card(outcomes, attack, **card):
    record = outcomes.attacks[attack]
    return replace(outcomes, attacks={**outcomes.attacks, attack: replace(record, card={**record.card, **card})})


def trained_as(outcomes, name, **training):
    """Return the outcomes with other facts about how one card was trained."""
    models = {
        key: replace(one, metrics={**one.metrics, "training": {**one.metrics["training"], **training}})
        if one.name == name
        else one
        for key, one in outcomes.models.items()
    }
    return replace(outcomes, models=models)


def own(cell):
    return cell.surrogate == cell.target


def test_a_healthy_run_passes_every_check_that_can_be_measured(sound):
    assert {one.status for one in findings(sound)} == {PASS}
    silent = set(RUN_CHECKS) - {one.check for one in findings(sound)}
    # It has neither adapters nor imported images, and no models that could be asked.
    probes = {"true_gradient", "steady_forward", "masking", "scale_free_loss", "doubled_steps", "shared_images"}
    assert silent == {"adapter_failures", "quantised_images", "shuffled_labels", "mixed_versions", *probes}


@pytest.mark.slow
@pytest.mark.parametrize("key", range(1, 21))
def test_twenty_more_healthy_runs_raise_no_alarm(key):
    assert [one for one in findings(healthy(key)) if one.status != PASS] == []


def test_six_images_fail():
    six = healthy(images=6)
    assert only(six, "test_images").status == FAIL
    assert only(six, "test_images").value == 6
    assert only(healthy(images=60), "test_images").status == WARN


def test_a_card_that_loses_every_image_has_an_interval_of_no_width(sound):
    lost = cells_with(sound, lambda cell: (sound.labels + 1) % 10 if cell.target.startswith("ekdaa") else None)
    assert only(lost, "sure_shares").cards == ("ekdaa",)
    assert only(lost, "sure_shares").value == 0


@pytest.mark.parametrize(("seeds", "status"), [(2, FAIL), (3, WARN), (4, WARN)])
def test_fewer_than_three_seeds_fail_and_fewer_than_five_warn(seeds, status):
    assert only(healthy(seeds=seeds), "training_seeds").status == status


def test_seeds_that_differ_more_than_images_are_told(sound):
    def broken(cell):
        return (sound.labels + 1) % 10 if cell.target == "ekdaa0" and not own(cell) else None

    one = only(cells_with(sound, broken), "seed_variance")
    assert one.value > 50
    assert "ekdaa" in one.cards


def test_a_small_common_set_is_told(sound):
    half = np.arange(len(sound.labels)) % 2
    clean = {
        key: np.where((half == 0) == key.startswith("ekdaa"), sound.labels, (sound.labels + 1) % 10)
        for key in sound.clean
    }
    assert only(replace(sound, clean=clean), "common_images").value == 0


def test_a_dead_model_fails(sound):
    dead = with_constant(sound, seeds=range(5))
    assert only(dead, "standing").cards == ("stuck",)
    assert [one.check for one in failed_checks(dead, "backprop", "stuck")] == ["standing"]
    assert failed_checks(dead, "backprop", "ekdaa") == []


def test_a_card_below_its_frozen_control_fails(sound):
    control = {
        f"frozen{seed}": replace(
            sound.models["backprop0"], key=f"frozen{seed}", name="frozen", rule="frozen", seed=seed
        )
        for seed in range(5)
    }
    models = {**sound.models, **control}
    better = replace(sound, models=models, clean={**sound.clean, **dict.fromkeys(control, sound.labels)})
    assert {one.cards for one in found(better, "standing")} == {("backprop",), ("ekdaa",)}


def test_unequal_clean_accuracies_are_told(sound):
    worse = np.where(np.arange(len(sound.labels)) % 20, sound.clean["ekdaa0"], (sound.labels + 1) % 10)
    clean = {key: worse if key.startswith("ekdaa") else own for key, own in sound.clean.items()}
    assert only(replace(sound, clean=clean), "clean_accuracies").value > 1


def test_recipes_that_differ_are_told_field_by_field(sound):
    other = {"epochs": 8, "learning_rate": 0.002, "optimizer": "AdamW", "optimizer_options": {"weight_decay": 0.3}}
    one = only(trained_as(sound, "ekdaa", recipe=other), "recipes")
    assert one.value == 3
    assert "They differ in learning_rate, optimizer, optimizer_options" in one.meaning
    assert "ekdaa: learning_rate 0.002, optimizer AdamW, optimizer_options (weight_decay 0.3)" in one.meaning


@pytest.mark.parametrize(
    ("options", "optimizer", "said"),
    [
        ({"gamma": 0.1}, "AdamW", True),
        ({}, "AdamW", True),  # 0.1 is the rule's default
        ({"gamma": 1.0}, "AdamW", False),
        ({"gamma": 0.0}, "AdamW", False),  # kernels that do not learn
        ({"gamma": 0.1}, "SGD", False),
    ],
)
def test_gamma_has_no_effect_under_an_optimiser_that_ignores_the_size_of_gradients(sound, options, optimizer, said):
    other = trained_as(sound, "ekdaa", rule_options=options, recipe={"epochs": 8, "optimizer": optimizer})
    assert bool(found(other, "idle_options")) is said


def test_classes_in_another_order_are_told(sound):
    clean = {key: (own + 1) % 10 if key.startswith("ekdaa") else own for key, own in sound.clean.items()}
    one = only(replace(sound, clean=clean), "permuted_labels")
    assert (one.status, one.cards) == (FAIL, ("ekdaa",))
    assert one.value > 90


def test_surrogates_that_attacks_hardly_fool_are_weak_and_fail_if_all_are(sound):
    weak = cells_with(sound, lambda cell: sound.clean[cell.target] if cell.surrogate else None)
    assert only(weak, "weak_surrogates").status == FAIL
    one_weak = cells_with(
        sound, lambda cell: sound.clean[cell.target] if own(cell) and cell.target.startswith("ekdaa") else None
    )
    one = only(one_weak, "weak_surrogates")
    assert (one.status, one.value) == (WARN, 0)
    assert "EKDAA 0 %" in one.meaning


def test_surrogates_of_one_rule_fail(sound):
    kept = tuple(cell for cell in sound.cells if (cell.surrogate or "").startswith(("backprop", "wide_backprop")))
    surrogates = tuple(key for key in sound.surrogates if key.startswith(("backprop", "wide_backprop")))
    assert only(replace(sound, cells=kept, surrogates=surrogates), "surrogate_rules").status == FAIL


def test_no_foreign_surrogate_is_told(sound):
    assert only(replace(sound, foreign=()), "foreign_surrogates").value == 0


def test_pairs_of_one_start_that_count_are_told():
    assert only(healthy(seeds=1), "same_start").status == WARN


@pytest.mark.parametrize(("facts", "status"), [({"median_norm": float("inf")}, WARN), ({"median_norm": 0.1}, None)])
def test_an_adapter_that_finds_nothing_is_told(sound, facts, status):
    adapted = with_card(sound, "bim", adapter={"component": "foolbox"})
    craftings = {CraftingKey("ekdaa0", "bim", 0.25): facts}
    assert [one.status for one in found(replace(adapted, craftings=craftings), "adapter_failures")] == [status] * bool(
        status
    )


def test_an_adapter_that_fools_its_own_surrogate_never_fails(sound):
    adapted = with_card(sound, "bim", adapter={"component": "foolbox"})
    idle = cells_with(adapted, lambda cell: sound.clean[cell.target] if own(cell) and cell.attack == "bim" else None)
    assert only(replace(idle, craftings={CraftingKey("ekdaa0", "bim", 0.25): {}}), "adapter_failures").status == FAIL


def test_transfer_that_beats_white_box_fails(sound):
    masked = cells_with(
        sound, lambda cell: sound.clean[cell.target] if own(cell) and cell.target.startswith("ekdaa") else None
    )
    one = only(masked, "transfer_beats_white_box")
    assert (one.status, one.cards) == (FAIL, ("ekdaa",))
    assert one in failed_checks(masked, "backprop", "ekdaa")


def test_noise_as_strong_as_an_attack_fails(sound):
    noisy = {(cell.target, cell.epsilon): cell.predictions for cell in sound.cells if cell.attack == "noise"}
    deaf = cells_with(sound, lambda cell: noisy[cell.target, cell.epsilon] if own(cell) else None)
    assert only(deaf, "noise_as_strong").status == FAIL


@pytest.mark.parametrize(("share", "status"), [(0.03, PASS), (0.2, WARN), (0.6, FAIL)])
def test_images_without_any_gradient_warn_and_most_of_them_fail(sound, share, status):
    craftings = {**sound.craftings, CraftingKey("ekdaa0", "bim", 0.1): {"zero_gradient_share": share}}
    flat = replace(sound, craftings=craftings)
    assert [one.status for one in findings(flat) if one.check == "zero_gradients"] == [status]


def test_steps_of_a_millionth_leave_epsilon_unused(sound):
    examples = tuple(replace(one, images=sound.images + 1e-5) if one.attack == "bim" else one for one in sound.examples)
    one = only(replace(sound, examples=examples), "unused_epsilon")
    assert one.status == FAIL
    assert one.value < 0.1
    assert "BIM changes no pixel by more than 0.02 % of epsilon" in one.meaning


def test_one_step_attacks_alone_are_told(sound):
    alone = replace(
        sound,
        cells=tuple(cell for cell in sound.cells if cell.attack != "bim"),
        attacks={name: one for name, one in sound.attacks.items() if name != "bim"},
        craftings={},
    )
    assert only(alone, "one_step_attacks").status == WARN


@pytest.mark.parametrize(
    "card",
    [
        {"gradient": [{"component": "kernel_smoothing", "size": 15}]},
        {"input": [{"component": "diversity", "smallest": 1.0}]},
    ],
)
def test_a_kernel_larger_than_half_the_image_and_a_part_that_cannot_vary_are_told(sound, card):
    assert only(with_card(sound, "bim", **card), "unsuited_attacks").where == "BIM"


def imported(outcomes, images, epsilon):
    record = AttackRecord("mine", "mine", "mine", "linf", {"kind": "imported"})
    cell = Cell("imported", outcomes.targets[0], "mine", epsilon, outcomes.labels)
    return replace(
        outcomes,
        attacks={**outcomes.attacks, "mine": record},
        cells=(*outcomes.cells, cell),
        examples=(*outcomes.examples, Example("imported", "mine", epsilon, images)),
    )


def test_imported_images_that_were_rounded_to_eight_bits_are_told(sound):
    moved = np.clip(sound.images + 0.1, 0, 1)
    assert found(imported(sound, moved, 0.1), "quantised_images") == []
    rounded = (np.round(moved * 255) / 255).astype(np.float32)
    assert only(imported(sound, rounded, 0.1), "quantised_images").where == "mine at ε = 0.1"
    # Clean images of eight bits that move by whole levels have such pixels by themselves.
    eight = replace(sound, images=rounded)
    level = np.float32(np.clip(rounded + 8 / 255, 0, 1))
    assert found(imported(eight, level, 8 / 255), "quantised_images") == []


def test_a_grid_of_0_and_4_tenths_alone_is_too_coarse():
    coarse = healthy(epsilons=(0.4,))
    one = only(coarse, "grid_spacing")
    assert one.value > 90
    assert "1 epsilons" in one.meaning


def test_a_grid_that_ends_far_above_chance_truncates_the_area():
    short = healthy(epsilons=(0.01, 0.02, 0.03))
    one = only(short, "grid_end")
    assert one.value > 50
    assert "where the grid ends" in one.meaning


def test_success_that_falls_with_epsilon_is_told(sound):
    oversteps = cells_with(
        sound,
        lambda cell: sound.clean[cell.target] if own(cell) and cell.attack == "fgsm" and cell.epsilon == 0.25 else None,
    )
    one = only(oversteps, "success_falls")
    assert one.where.startswith("FGSM on ")
    assert "at ε = 0.25" in one.where


def favoured(outcomes, chosen):
    """Let one card keep a fifth of the images more in some cells, the other in the others."""
    lucky = np.arange(len(outcomes.labels)) % 5 == 0

    def changed(cell):
        if cell.surrogate is None or own(cell):
            return None
        side = CARDS[bool(chosen(cell))]
        right = np.where(lucky, outcomes.clean[cell.target], cell.predictions)
        return right if cell.target.startswith(side) else np.where(lucky, (outcomes.labels + 1) % 10, cell.predictions)

    return cells_with(outcomes, changed)


@pytest.mark.parametrize(
    ("check", "chosen"),
    [
        ("sign_by_surrogate", lambda cell: "ekdaa" in cell.surrogate),
        ("sign_by_attack", lambda cell: cell.attack == "bim"),
        ("sign_by_epsilon", lambda cell: cell.epsilon > 0.1),
    ],
)
def test_a_difference_whose_sign_depends_on_surrogate_attack_or_epsilon_is_told(sound, check, chosen):
    one = only(favoured(sound, chosen), check)
    assert set(one.cards) == set(CARDS)
    assert "BACKPROP minus EKDAA: " in one.meaning


@pytest.mark.parametrize(("rule", "told"), [("dfa", True), ("frozen", False)])
def test_a_sign_that_depends_on_the_surrogate_is_told_of_ranked_cards_and_not_of_controls(rule, told):
    kept = {("plain", "plain"): 0.5, ("plain", "other"): 0.7, ("other", "plain"): 0.7, ("other", "other"): 0.5}
    outcomes = planted(kept, clean={"other": 0.9}, rules={"other": rule}, images=300, far=())
    assert [one.status for one in findings(outcomes) if one.check == "sign_by_surrogate"] == [WARN] * told


def test_a_transfer_rank_that_contradicts_the_white_box_rank_is_told(sound):
    better_outside = favoured(sound, lambda cell: True)  # EKDAA keeps more of what others craft
    lucky = np.arange(len(sound.labels)) % 5 == 1
    both = cells_with(
        better_outside,
        lambda cell: (
            np.where(lucky, sound.clean[cell.target], cell.predictions)
            if own(cell) and cell.target.startswith("backprop")
            else None
        ),
    )
    one = only(both, "white_box_rank")
    assert "BACKPROP minus EKDAA: -" in one.meaning
    assert found(better_outside, "white_box_rank") == []


# -- what they return --------------------------------------------------------------------------------------------------


def test_what_failed_comes_first_then_warnings():
    statuses = [one.status for one in findings(healthy(images=6, seeds=2))]
    assert statuses == sorted(statuses, key=[FAIL, WARN, PASS].index)
    assert statuses[0] == FAIL


def test_findings_are_plain_data_without_what_is_no_number(sound):
    plain = [one.plain() for one in findings(replace(sound, foreign=()))]
    assert {tuple(one) for one in plain} == {("check", "status", "value", "where", "meaning", "remedy")}
    assert all(one["where"].startswith("made") for one in plain)


def test_results_leave_out_what_is_about_other_cards_alone(sound):
    dead = Results([with_constant(sound, seeds=range(5))])
    assert "standing" in {one.check for one in dead.check("stuck") if one.status == FAIL}
    assert [one for one in dead.check("ekdaa") if one.status == FAIL] == []
    with pytest.raises(UsageError, match="unknown model 'nobody'"):
        dead.check("nobody")


def test_a_failed_check_forbids_a_verdict_and_the_reason_is_told(sound):
    assert not Results([sound]).compare("backprop", "ekdaa").decision.reasons
    masked = replace(sound, probes={"ekdaa0": PROBED | {"certain": 0.9}})
    reasons = Results([masked]).compare("backprop", "ekdaa").decision.reasons
    assert [one.partition(":")[0] for one in reasons] == ["masking"]


PROBED = {
    **dict.fromkeys(("certain", "flat", "unsteady", "slope_error", "attacked", "at_largest"), 0.0),
    "scale_free": 0.0,
    "scale_free_changed": 0.0,
    "doubled": 0.0,
    "doubled_changed": 0.0,
    "clean": 1.0,
    "noise": 0.95,
    "images": 200.0,
    "epsilon": 0.15,
    "largest": 0.25,
    "slope_tolerance": 0.01,
}


def test_surrogates_that_were_not_scored_are_weak_by_their_probe(sound):
    strong = replace(sound, probes={"wide_fa0": PROBED})
    assert found(strong, "weak_surrogates") == []
    weak = replace(sound, probes={"wide_fa0": PROBED | {"at_largest": 0.5}})
    assert only(weak, "weak_surrogates").value == pytest.approx(50)


def test_of_a_control_only_a_large_gain_is_told(sound):
    probes = {"ekdaa0": PROBED | {"attacked": 0.06, "scale_free_changed": 0.06}}
    assert only(replace(sound, probes=probes), "scale_free_loss").status == WARN
    control = {**sound.models, "ekdaa0": replace(sound.models["ekdaa0"], rule="frozen")}
    assert found(replace(sound, models=control, probes=probes), "scale_free_loss") == []


def test_transfer_that_beats_white_box_is_told_of_every_norm(sound):
    l2 = replace(sound.attacks["fgsm"], norm="l2")
    two = replace(sound, attacks={**sound.attacks, "fgsm": l2})
    masked = cells_with(two, lambda cell: sound.clean[cell.target] if own(cell) else None)
    told = [one.where[-6:] for one in found(masked, "transfer_beats_white_box")]
    assert sorted({place.partition("(")[2] for place in told}) == ["l2)", "linf)"]


def test_models_and_images_made_with_different_versions_are_told(sound):
    def made(*versions, crafted="2.14.0"):
        """Models whose versions of torch are these, in turn."""
        keys = {key: versions[place % len(versions)] for place, key in enumerate(sound.models)}
        models = {
            key: replace(one, metrics={**one.metrics, "made_with": {"torch": keys[key], "device": "cpu AVX2"}})
            for key, one in sound.models.items()
        }
        return replace(sound, models=models, crafted_with=({"torch": crafted, "device": "cpu AVX2"},))

    assert not found(made("2.14.0"), "mixed_versions")
    for outcomes in (made("2.13.0", "2.14.0"), made("2.14.0", crafted="2.13.0")):
        one = only(outcomes, "mixed_versions")
        assert (one.status, one.value, one.where) == (WARN, 1, "torch 2.13.0 and 2.14.0")
