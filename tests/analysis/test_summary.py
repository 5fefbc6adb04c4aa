"""The summary: which pairs count and how they weigh, on cases small enough to compute by hand and on a real run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis import summary as summary_module
from robustbench_ekdaa.analysis.intervals import wilson_interval
from robustbench_ekdaa.analysis.results import WHITE_BOX, WORST_CASE, Results
from robustbench_ekdaa.analysis.transfer import mean_of_defined, transfer_grids
from robustbench_ekdaa.errors import UsageError

from ..support.four_images import LABELS, RIGHT, wrong_on
from ..support.made_outcomes import make_outcomes, random_outcomes, without


def summary_of(outcomes, epsilon=None):
    return Results([outcomes]).summary(epsilon).set_index("model")


def two_cards(predictions, **fields):
    """Card a with seeds 0 and 1, card b with seed 2; all right on the clean images."""
    models = [("a", 0), ("a", 1), ("b", 2)]
    keys = [f"{name}{seed}" for name, seed in models]
    whole = {(s, t, "fgsm", 0.1): RIGHT for s in keys for t in keys}
    return make_outcomes(models, LABELS, dict.fromkeys(keys, RIGHT), {**whole, **predictions}, **fields)


def test_every_surrogate_card_weighs_the_same_whatever_its_seeds():
    outcomes = two_cards(
        {
            ("a0", "b2", "fgsm", 0.1): wrong_on(0, 1),  # 1/2
            ("a1", "b2", "fgsm", 0.1): wrong_on(0, 1, 2, 3),  # 0
            ("a1", "a0", "fgsm", 0.1): wrong_on(0),  # 3/4
            ("b2", "a0", "fgsm", 0.1): wrong_on(0, 1, 2),  # 1/4
            ("a0", "a1", "fgsm", 0.1): wrong_on(),  # 1
            ("b2", "a1", "fgsm", 0.1): wrong_on(1, 2),  # 1/2
        }
    )
    summary = summary_of(outcomes)
    # b: only card a attacks it: (1/2 + 0) / 2. a, seed 0: (3/4 + 1/4) / 2; seed 1: (1 + 1/2) / 2.
    assert summary.loc["b", "transfer_accuracy"] == pytest.approx(0.25)
    assert summary.loc["a", "transfer_accuracy"] == pytest.approx((0.5 + 0.75) / 2)
    assert summary.loc["a", "transfer_accuracy_sd"] == pytest.approx(np.std([0.5, 0.75], ddof=1))


def test_a_model_attacked_on_itself_is_in_no_mean():
    fooled = {(key, key, "fgsm", 0.1): wrong_on(0, 1, 2, 3) for key in ("a0", "a1", "b2")}
    assert (summary_of(two_cards(fooled))["transfer_accuracy"] == 1).all()


def test_a_pair_that_started_from_the_same_weights_counts_only_where_its_card_has_no_other_seed():
    models = [("a", 0), ("a", 1), ("b", 0)]
    keys = ["a0", "a1", "b0"]
    whole = {(s, t, "fgsm", 0.1): RIGHT for s in keys for t in keys}
    predictions = {("a0", "b0", "fgsm", 0.1): wrong_on(0, 1, 2), ("a1", "b0", "fgsm", 0.1): wrong_on(0)}
    predictions |= {("b0", "a0", "fgsm", 0.1): wrong_on(0, 1), ("b0", "a1", "fgsm", 0.1): wrong_on()}
    summary = summary_of(make_outcomes(models, LABELS, dict.fromkeys(keys, RIGHT), {**whole, **predictions}))
    assert summary.loc["b", "transfer_accuracy"] == 3 / 4  # a1 alone: a0 shares b0's start
    assert summary.loc["a", "transfer_accuracy"] == pytest.approx(((1 + 1 / 2) / 2 + 1) / 2)  # b has no other seed


def test_the_worst_case_is_taken_per_image_and_pair_before_any_mean():
    predictions = {("a0", "b2", "fgsm", 0.1): wrong_on(0, 1)}
    keys = ["a0", "a1", "b2"]
    predictions |= {(s, t, "bim", 0.1): RIGHT for s in keys for t in keys}
    predictions |= {("a0", "b2", "bim", 0.1): wrong_on(1, 2)}
    # On a0 only image 3 survives both attacks; the minimum of the means would be 1/2.
    assert summary_of(two_cards(predictions)).loc["b", "transfer_accuracy"] == pytest.approx((1 / 4 + 1) / 2)


def test_noise_is_in_no_worst_case_and_has_its_own_column():
    noise = {(None, key, "noise", 0.1): wrong_on(0, 1, 2, 3) for key in ("a0", "a1")}
    noise |= {(None, "b2", "noise", 0.1): wrong_on(0)}
    summary = summary_of(two_cards(noise))
    assert (summary["transfer_accuracy"] == 1).all()
    assert summary["noise_accuracy"].tolist() == [0, 0.75]


def test_noise_accuracy_is_that_at_the_epsilon_of_the_row():
    noise = {(None, key, "noise", size): wrong_on(*range(count)) for key in ("a0", "a1", "b2") for size, count in NOISE}
    outcomes = two_cards(noise, epsilons=(0.0, 0.1, 0.3))
    assert summary_of(outcomes).loc["b", "noise_accuracy"] == 0.75


NOISE = ((0.1, 1), (0.3, 4))


def test_several_noises_count_as_their_worst_case_and_a_missing_one_leaves_it_undefined():
    noise = {(None, key, name, 0.1): wrong_on(image) for key in ("a0", "b2") for name, image in (("n1", 0), ("n2", 1))}
    noise[None, "a1", "n1", 0.1] = wrong_on(0)
    summary = summary_of(two_cards(noise))
    assert summary.loc["b", "noise_accuracy"] == 0.5
    assert np.isnan(summary.loc["a", "noise_accuracy"])


def test_an_image_that_only_an_attack_puts_right_does_not_count_as_robust():
    outcomes = two_cards({})
    clean = {**outcomes.clean, "b2": np.array(wrong_on(0, 1))}
    assert summary_of(replace(outcomes, clean=clean)).loc["b", "transfer_accuracy"] == 0.5


def test_norms_are_never_mixed():
    keys = ["a0", "a1", "b2"]
    predictions = {(s, t, "fgsm2", 0.1): wrong_on(0, 1, 2, 3) for s in keys for t in keys}
    outcomes = two_cards(predictions, attacks={"fgsm": "linf", "fgsm2": "l2"})
    summary = Results([outcomes]).summary().set_index(["norm", "model"])
    assert summary.loc[("linf", "b"), "transfer_accuracy"] == 1
    assert summary.loc[("l2", "b"), "transfer_accuracy"] == 0


def test_area_and_eps_50_belong_to_the_same_curve():
    models, keys = [("a", 0), ("b", 0)], ["a0", "b0"]
    predictions = {
        (s, t, "fgsm", epsilon): wrong_on(*range(count))
        for s in keys
        for t in keys
        for epsilon, count in ((0.1, 1), (0.2, 3), (0.4, 4))
    }
    row = summary_of(make_outcomes(models, LABELS, dict.fromkeys(keys, RIGHT), predictions)).loc["a"]
    heights = [1, 0.75, 0.25, 0]
    assert row["area"] == pytest.approx((0.1 * 0.875 + 0.1 * 0.5 + 0.2 * 0.125) / 0.4)
    assert row["eps_50"] == pytest.approx(0.15)
    assert row["epsilon"] == 0.2  # half of the largest
    assert row["transfer_accuracy"] == heights[2]


def test_the_relative_area_is_the_area_over_clean_accuracy(real):
    summary = summary_of(real)
    assert summary["area_relative"].to_numpy() == pytest.approx(
        (summary["area"] / summary["clean_accuracy"]).to_numpy()
    )
    assert (summary["area_relative"] > summary["area"]).all()


def test_a_real_runs_summary_equals_plain_loops_over_images_and_pairs(real):
    summary = summary_of(real, 0.3)
    predictions = {(cell.surrogate, cell.target, cell.attack, cell.epsilon): cell.predictions for cell in real.cells}

    def pair(surrogate, target):
        survived = 0
        for image, label in enumerate(real.labels):
            answers = [predictions[surrogate, target, attack, 0.3][image] for attack in ("fgsm", "bim")]
            survived += all(answer == label for answer in [real.clean[target][image], *answers])
        return survived / len(real.labels)

    mlp = [(pair("mlp1", "mlp0") + pair("linear0", "mlp0")) / 2, (pair("mlp0", "mlp1") + pair("linear0", "mlp1")) / 2]
    linear = pair("mlp1", "linear0")  # mlp0 has the seed, and so the first weights' stream, of linear0
    assert summary.loc["mlp", "transfer_accuracy"] == pytest.approx(np.mean(mlp))
    assert summary.loc["linear", "transfer_accuracy"] == pytest.approx(linear)
    assert 0 < linear < summary.loc["linear", "clean_accuracy"]


def test_intervals_hold_the_estimate_and_shrink_with_more_images():
    few = Results([random_outcomes(images=50, seeds=1)]).summary()
    many = Results([random_outcomes(images=2000, seeds=1)]).summary()
    for table in (few, many):
        inside = table["transfer_accuracy"].between(table["transfer_accuracy_low"], table["transfer_accuracy_high"])
        assert inside.all()
    width = [table["transfer_accuracy_high"] - table["transfer_accuracy_low"] for table in (few, many)]
    # The width falls as the root of the number of images, here by a factor of 6.3.
    assert (width[0] / width[1]).between(4.5, 9).all()


def looped(outcomes, card, *, without=None, own=None, images=None, epsilon=0.2):
    """What a card keeps, by loops over its seeds, the surrogates' cards and their seeds, 0 to 2."""
    labels = outcomes.labels
    found = {}
    for cell in outcomes.cells:
        if cell.epsilon == epsilon and cell.surrogate is not None:
            place = cell.surrogate, cell.target
            found[place] = found.get(place, outcomes.clean[cell.target] == labels) & (cell.predictions == labels)
    images = np.arange(len(labels)) if images is None else images
    seeds = [seed for seed in range(3) if seed != without and (own is None or seed == own)]
    kept = []
    for seed in seeds:
        by_card = []
        for other in ("backprop", "ekdaa", "frozen"):
            pairs = [(f"{other}{one}", f"{card}{seed}") for one in range(3) if one not in (seed, without)]
            by_card.append(
                np.mean(
                    [
                        (outcomes.clean[f"{card}{seed}"] == labels)[images].mean()
                        if epsilon == 0
                        else found[pair][images].mean()
                        for pair in pairs
                    ]
                )
            )
        kept.append(np.mean(by_card))
    return float(np.mean(kept))


def looped_ends(middle, by_image, without, by_seed):
    """The interval as it is defined, of three seeds."""
    images = len(by_image)
    v_images = np.var(by_image, ddof=1) / images
    v_seeds = max(2 / 3 * np.sum((without - np.mean(without)) ** 2), np.var(by_seed, ddof=1) / 3)
    variance = v_images + v_seeds
    freedom = variance**2 / (v_images**2 / (images - 1) + v_seeds**2 / 2)
    half = t.ppf(0.975, freedom) * variance**0.5
    return max(0, middle - half), min(1, middle + half)


@pytest.fixture(scope="module")
def drawn():
    return random_outcomes(cards=3, seeds=3, images=120, noise=False)


def test_the_interval_of_accuracy_is_that_of_plain_loops_over_images_and_seeds(drawn):
    row = summary_of(drawn, 0.2).loc["ekdaa"]
    ends = looped_ends(
        looped(drawn, "ekdaa"),
        [looped(drawn, "ekdaa", images=[image]) for image in range(120)],
        [looped(drawn, "ekdaa", without=seed) for seed in range(3)],
        [looped(drawn, "ekdaa", own=seed) for seed in range(3)],
    )
    assert (row.transfer_accuracy_low, row.transfer_accuracy_high) == pytest.approx(ends)
    assert row.interval == "images and seeds"


def test_the_interval_of_the_area_is_that_of_plain_loops_over_images_and_seeds(drawn):
    def area(**which):
        heights = [looped(drawn, "ekdaa", epsilon=epsilon, **which) for epsilon in drawn.epsilons]
        return np.trapezoid(heights, drawn.epsilons) / drawn.epsilons[-1]

    row = summary_of(drawn).loc["ekdaa"]
    ends = looped_ends(
        area(),
        [area(images=[image]) for image in range(120)],
        [area(without=seed) for seed in range(3)],
        [area(own=seed) for seed in range(3)],
    )
    assert row.area == pytest.approx(area())
    assert (row.area_low, row.area_high) == pytest.approx(ends)


def test_the_interval_of_area_by_clean_accuracy_is_that_of_a_ratio_to_first_order(drawn):
    def both(**which):
        heights = [looped(drawn, "ekdaa", epsilon=epsilon, **which) for epsilon in drawn.epsilons]
        return np.trapezoid(heights, drawn.epsilons) / drawn.epsilons[-1], heights[0]

    def ratio(**which):
        area, clean = both(**which)
        return area / clean

    row, (whole, clean) = summary_of(drawn).loc["ekdaa"], both()
    by_image = [both(images=[image]) for image in range(120)]
    ends = looped_ends(
        ratio(),
        [(area - whole / clean * right) / clean for area, right in by_image],
        [ratio(without=seed) for seed in range(3)],
        [ratio(own=seed) for seed in range(3)],
    )
    assert row.area_relative == pytest.approx(ratio())
    assert (row.area_relative_low, row.area_relative_high) == pytest.approx(ends)


@pytest.mark.parametrize("noises", [1, 2])
def test_the_interval_of_noise_accuracy_is_that_of_plain_loops_over_images_and_seeds(noises):
    made = random_outcomes(cards=2, seeds=3, images=120)
    if noises == 2:
        other = [replace(c, attack="hum", predictions=c.predictions[::-1]) for c in made.cells if c.attack == "noise"]
        attacks = {**made.attacks, "hum": replace(made.attacks["noise"], key="hum", name="hum")}
        made = replace(made, cells=(*made.cells, *other), attacks=attacks)
    row = summary_of(made, 0.2).loc["ekdaa"]
    right = []
    for key in ("ekdaa0", "ekdaa1", "ekdaa2"):
        under = [c.predictions for c in made.cells if (c.surrogate, c.target, c.epsilon) == (None, key, 0.2)]
        assert len(under) == noises
        before = [made.clean[key] == made.labels] if noises == 2 else []
        right.append(np.all([*before, *(predicted == made.labels for predicted in under)], axis=0))
    right = np.array(right)
    ends = looped_ends(
        right.mean(), right.mean(0), [np.delete(right, seed, 0).mean() for seed in range(3)], right.mean(1)
    )
    assert row.noise_accuracy == pytest.approx(right.mean())
    assert (row.noise_accuracy_low, row.noise_accuracy_high) == pytest.approx(ends)


def test_the_interval_of_success_on_common_images_takes_those_that_are_common_without_the_seed(drawn):
    def common(without=None):
        keys = [key for key, model in drawn.models.items() if model.seed != without]
        return np.flatnonzero(np.all([drawn.clean[key] == drawn.labels for key in keys], axis=0))

    row = summary_of(drawn, 0.2).loc["ekdaa"]
    rate = 1 - looped(drawn, "ekdaa", images=common())
    ends = looped_ends(
        rate,
        [1 - looped(drawn, "ekdaa", images=[image]) for image in common()],
        [1 - looped(drawn, "ekdaa", images=common(seed), without=seed) for seed in range(3)],
        [1 - looped(drawn, "ekdaa", images=common(), own=seed) for seed in range(3)],
    )
    assert row.n_common == len(common())
    assert row.attack_success_rate_common == pytest.approx(rate)
    assert row.attack_success_rate_common_low <= ends[0] + 1e-9
    assert row.attack_success_rate_common_high >= ends[1] - 1e-9


def test_eps_50_lies_in_its_interval_whose_upper_end_may_lie_beyond_the_grid(drawn):
    summary = summary_of(drawn)
    assert (summary["eps_50_low"] < summary["eps_50"]).all()
    assert (summary["eps_50"] < summary["eps_50_high"]).all()
    assert (summary["eps_50_low"] > 0).all()
    cells = tuple(replace(cell, predictions=drawn.labels) for cell in drawn.cells)
    unhurt = summary_of(replace(drawn, cells=cells))
    assert np.isinf(unhurt[["eps_50", "eps_50_high"]]).all(axis=None)


def test_what_each_surrogate_card_leaves_has_an_interval_and_averages_to_the_summary(drawn):
    rows = Results([drawn]).who_is_fooled(0.2).query("attacks_from == 'card'")
    assert len(rows) == 9
    assert (rows["accuracy_low"] < rows["accuracy"]).all()
    assert (rows["accuracy"] < rows["accuracy_high"]).all()
    assert set(rows["n_seeds"]) == {3}
    (grid,) = transfer_grids(drawn)
    table = rows.pivot(index="surrogate", columns="target", values="accuracy")
    table = table[list(grid.cards)]
    assert table.mean().to_numpy() == pytest.approx(summary_of(drawn, 0.2)["transfer_accuracy"].to_numpy())


def test_white_box_accuracy_is_that_under_attacks_on_the_target_itself(drawn):
    summary = summary_of(drawn, 0.2)
    for card in ("backprop", "ekdaa", "frozen"):
        right = []
        for seed in range(3):
            key = f"{card}{seed}"
            own = [c.predictions for c in drawn.cells if (c.surrogate, c.target, c.epsilon) == (key, key, 0.2)]
            right.append(np.all([drawn.clean[key] == drawn.labels, *(one == drawn.labels for one in own)], axis=0))
        row = summary.loc[card]
        assert row.white_box_accuracy == pytest.approx(np.mean(right))
        assert row.white_box_accuracy_low < row.white_box_accuracy < row.white_box_accuracy_high


def test_the_same_outcomes_give_the_same_summary_bit_by_bit():
    one, other = (Results([random_outcomes()]).summary() for _ in range(2))
    assert one.equals(other)


def test_one_seed_is_flagged_and_its_interval_is_over_images_alone():
    summary = Results([random_outcomes(seeds=1)]).summary()
    assert summary["note"].tolist() == [*["one seed: no claim"] * 2, "one seed: no claim; control: not ranked"]
    assert summary["transfer_accuracy_sd"].isna().all()
    assert (summary["transfer_accuracy_high"] > summary["transfer_accuracy_low"]).all()


@pytest.mark.parametrize(("images", "seeds"), [(6, 3), (99, 1), (400, 1), (400, 3)])
def test_an_interval_is_at_least_wilsons_where_images_are_few_or_all_agree(images, seeds):
    outcomes = random_outcomes(cards=2, seeds=seeds, images=images, noise=False)
    for kept, count in ((outcomes.labels, images), ((outcomes.labels + 1) % 10, 0)):
        same = tuple(replace(cell, predictions=kept) for cell in outcomes.cells)
        clean = dict.fromkeys(outcomes.clean, outcomes.labels)
        summary = Results([replace(outcomes, cells=same, clean=clean)]).summary()
        low, high = proportion_confint(count, images, method="wilson")
        assert (summary["interval"] == "at least Wilson's").all()
        assert summary["transfer_accuracy_low"].tolist() == pytest.approx([low] * 2)
        assert summary["transfer_accuracy_high"].tolist() == pytest.approx([high] * 2)


def test_with_few_images_an_interval_is_never_narrower_than_wilsons(real):
    few = replace(
        real,
        labels=real.labels[:90],
        clean={key: predictions[:90] for key, predictions in real.clean.items()},
        cells=tuple(replace(cell, predictions=cell.predictions[:90]) for cell in real.cells),
    )
    for row in Results([few]).summary().itertuples():
        low, high = wilson_interval(90 * row.transfer_accuracy, 90)
        assert row.transfer_accuracy_low <= low
        assert row.transfer_accuracy_high >= high


@pytest.mark.parametrize("epsilon", ["1/5", "0.2", np.float32(0.2), torch.tensor(0.2), 0.2])
def test_an_epsilon_may_be_written_in_every_way(real, epsilon):
    assert set(Results([real]).summary(epsilon)["epsilon"]) == {0.2}


def test_what_each_surrogate_card_leaves_averages_to_the_summary(real):
    rows = Results([real]).who_is_fooled(0.2).query("attacks_from == 'card'")
    table = rows.pivot(index="surrogate", columns="target", values="accuracy")
    table = table.loc[["mlp", "linear"], ["mlp", "linear"]].to_numpy()
    predictions = {
        (cell.surrogate, cell.target, cell.attack): cell.predictions for cell in real.cells if cell.epsilon == 0.2
    }

    def kept(surrogate, target):
        answers = [real.clean[target], *(predictions[surrogate, target, attack] for attack in ("fgsm", "bim"))]
        return np.mean(np.all([answer == real.labels for answer in answers], axis=0))

    # From mlp: each mlp on the other; mlp1 alone on linear0, as mlp0 shares its start. From linear: on both mlps.
    assert table[0] == pytest.approx([(kept("mlp1", "mlp0") + kept("mlp0", "mlp1")) / 2, kept("mlp1", "linear0")])
    assert table[1, 0] == pytest.approx((kept("linear0", "mlp0") + kept("linear0", "mlp1")) / 2)
    assert np.isnan(table[1, 1])
    assert mean_of_defined(table, axis=0) == pytest.approx(summary_of(real)["transfer_accuracy"].to_numpy())


def test_a_failed_seed_is_told_and_enters_no_mean():
    whole = random_outcomes(cards=2, seeds=3)
    summary = summary_of(without(whole, "ekdaa2"))
    assert summary.loc["ekdaa", "n_seeds"] == 2
    assert summary.loc["ekdaa", "note"] == "1 of 3 seeds failed"
    clean = [(whole.clean[key] == whole.labels).mean() for key in ("ekdaa0", "ekdaa1")]
    assert summary.loc["ekdaa", "clean_accuracy"] == pytest.approx(np.mean(clean))


def test_a_card_whose_models_all_failed_is_listed_without_numbers():
    hurt = without(without(random_outcomes(cards=2, seeds=2), "ekdaa0"), "ekdaa1")
    row = summary_of(hurt).loc["ekdaa"]
    assert row["status"] == "failed"
    assert row[["clean_accuracy", "transfer_accuracy", "area"]].isna().all()


def test_an_attack_that_is_not_finished_on_all_pairs_is_left_out():
    whole = random_outcomes(noise=False)
    half = replace(
        whole, cells=tuple(cell for cell in whole.cells if not (cell.attack == "bim" and cell.surrogate != "backprop0"))
    )
    only = replace(whole, cells=tuple(cell for cell in whole.cells if cell.attack == "fgsm"))
    columns = ["transfer_accuracy", "area", "eps_50"]
    assert summary_of(half)[columns].equals(summary_of(only)[columns])


def test_epsilons_that_not_all_attacks_have_are_left_out_of_the_curve():
    whole = random_outcomes(noise=False)
    part = replace(
        whole, cells=tuple(cell for cell in whole.cells if cell.attack == "fgsm" or cell.epsilon in (0.2, 0.4))
    )
    worst = Results([part]).curves().query("attack == @WORST_CASE", local_dict={"WORST_CASE": WORST_CASE})
    assert sorted(worst["epsilon"].unique()) == [0, 0.2, 0.4]
    with pytest.raises(UsageError, match=r"Choose one of 0\.2, 0\.4"):
        Results([part]).summary(0.3)


def test_a_surrogate_card_that_never_attacked_a_target_is_named():
    whole = random_outcomes(noise=False)
    part = replace(
        whole,
        cells=tuple(
            cell
            for cell in whole.cells
            if not (cell.surrogate.startswith("frozen") and cell.target.startswith("ekdaa"))
        ),
    )
    notes = summary_of(part)["note"]
    assert notes.isna().tolist() == [True, False, False]
    assert notes.tolist()[1:] == ["not attacked from frozen", "control: not ranked"]


def test_a_target_attacked_on_itself_alone_has_no_transfer_accuracy():
    outcomes = make_outcomes([("a", 0)], LABELS, {"a0": RIGHT}, {("a0", "a0", "fgsm", 0.1): wrong_on(0)})
    row = summary_of(outcomes).loc["a"]
    assert np.isnan(row["transfer_accuracy"])
    assert "no other model attacked it" in row["note"]


def test_results_without_any_attack_still_tell_clean_accuracy():
    bare = replace(random_outcomes(), cells=())
    summary = Results([bare]).summary()
    assert summary["clean_accuracy"].notna().all()
    assert summary["transfer_accuracy"].isna().all()


def test_curves_hold_one_row_per_target_attack_and_epsilon(real):
    curves = Results([real]).curves()
    assert set(curves["attack"]) == {"fgsm", "bim", WORST_CASE, WHITE_BOX, "noise"}
    assert len(curves) == 5 * 3 * 5
    worst = curves[curves["attack"] == WORST_CASE].set_index(["model", "seed", "epsilon"])["accuracy"]
    for attack in ("fgsm", "bim"):
        under = curves[curves["attack"] == attack].set_index(["model", "seed", "epsilon"])["accuracy"]
        assert (worst <= under + 1e-12).all()


def test_grids_and_summaries_are_computed_once_and_handed_out_as_copies(real, monkeypatch):
    fresh, drawn = replace(real), []
    right = summary_module.card_intervals
    monkeypatch.setattr(summary_module, "card_intervals", lambda *given: drawn.append(1) or right(*given))
    results = Results([fresh])
    first = results.summary()
    first.loc[:, "transfer_accuracy"] = 7.0  # what a user does to a table stays there
    second = results.summary()
    assert len(drawn) == len(transfer_grids(fresh))
    assert transfer_grids(fresh)[0] is transfer_grids(fresh)[0]
    assert (second["transfer_accuracy"] <= 1).all()
