"""What intervals are computed from, against plain loops over images, pairs and seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from statsmodels.stats.multitest import multipletests

from robustbench_ekdaa.analysis.intervals import Sample, difference_interval, holm, share_interval, t_interval
from robustbench_ekdaa.analysis.kept import Masks, averaged, kept_by, surrogate_weights

SURROGATES = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 1)]
TARGETS = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]
SEEDS = (0, 1, 2)


def drawn(key=0, images=40):
    """Whether each target is right on each image, by surrogate; models differ, so that seeds matter."""
    draw = np.random.default_rng(key)
    level = draw.uniform(0.3, 0.7, (len(SURROGATES), len(TARGETS), 1))
    return (draw.random((len(SURROGATES), len(TARGETS), images)) < level).astype(float)


def reduced(values, kinds=(("a", "b", "c"),)):
    """Reduce drawn values to both target cards' arrays, as comparisons do."""
    surrogate_seeds, target_seeds = [seed for _, seed in SURROGATES], [seed for _, seed in TARGETS]
    rows = [[[i for i, (card, _) in enumerate(SURROGATES) if card == name] for name in kind] for kind in kinds]
    left_out = [None, *SEEDS]
    allowed = np.not_equal.outer(surrogate_seeds, target_seeds)
    means = averaged(values, surrogate_weights(allowed, surrogate_seeds, rows, left_out))
    return [kept_by(means[:, part], SEEDS, left_out, np.ones(3, bool)) for part in (slice(3), slice(3, 6))]


def looped_mean(values, card, *, without=None, own=None, kinds=(("a", "b", "c"),), images=None):
    """Average by loops: over a card's seeds, kinds, surrogates' cards and their seeds, each weighing the same."""
    images = range(values.shape[-1]) if images is None else images
    over_seeds = []
    for j, (name, seed) in enumerate(TARGETS):
        if name != card or seed == without or (own is not None and seed != own):
            continue
        over_kinds = []
        for kind in kinds:
            over_cards = []
            for surrogate in kind:
                chosen = [
                    values[i, j, list(images)].mean()
                    for i, (one, other) in enumerate(SURROGATES)
                    if one == surrogate and other != seed and other != without
                ]
                if not chosen:  # the only other seed is the one left out: it stays
                    chosen = [
                        values[i, j, list(images)].mean()
                        for i, (one, other) in enumerate(SURROGATES)
                        if one == surrogate and other != seed
                    ]
                over_cards.append(np.mean(chosen))
            over_kinds.append(np.mean(over_cards))
        over_seeds.append(np.mean(over_kinds))
    return np.mean(over_seeds)


def looped_interval(values, kinds=(("a", "b", "c"),)):
    """The interval of the difference a - b, written out as it is defined."""
    images = values.shape[-1]

    def gap(**which):
        return looped_mean(values, "a", kinds=kinds, **which) - looped_mean(values, "b", kinds=kinds, **which)

    estimate = gap()
    by_image = np.array([gap(images=[i]) for i in range(images)])
    v_images = by_image.var(ddof=1) / images
    without = np.array([gap(without=seed) for seed in SEEDS])
    v_jackknife = 2 / 3 * ((without - without.mean()) ** 2).sum()
    v_targets = np.array([gap(own=seed) for seed in SEEDS]).var(ddof=1) / 3
    v_seeds = max(v_jackknife, v_targets)
    variance = v_images + v_seeds
    freedom = variance**2 / (v_images**2 / (images - 1) + v_seeds**2 / 2)
    half = t.ppf(0.975, freedom) * variance**0.5
    return estimate, estimate - half, estimate + half, 2 * t.sf(abs(estimate) / variance**0.5, freedom)


@pytest.mark.parametrize("kinds", [(("a", "b", "c"),), (("a",), ("b", "c")), (("b",),)])
def test_the_interval_of_a_difference_is_that_of_plain_loops_over_images_pairs_and_seeds(kinds):
    values = drawn()
    first, second = reduced(values, kinds)
    found = t_interval(first.minus(second))
    assert (found.estimate, found.low, found.high, found.p) == pytest.approx(looped_interval(values, kinds))


def test_over_some_images_the_jackknife_takes_those_that_count_without_the_seed():
    values = drawn(1)
    draw = np.random.default_rng(2)
    whole = draw.random(40) < 0.5
    masks = Masks(whole, np.stack([whole | (draw.random(40) < 0.3) for _ in SEEDS]))
    first, second = reduced(values)
    sample = first.minus(second, masks)

    def gap(mask, **which):
        images = np.flatnonzero(mask)
        return looped_mean(values, "a", images=images, **which) - looped_mean(values, "b", images=images, **which)

    assert sample.estimate == pytest.approx(gap(whole))
    expected = [gap(masks.without[k], without=k) for k in SEEDS]
    assert sample.without == pytest.approx(np.array(expected))
    assert sample.by_seed[0] == pytest.approx(np.array([gap(whole, own=k) for k in SEEDS]))
    assert sample.n_images == whole.sum()


def test_the_ratios_variance_over_images_is_that_of_its_linearisation():
    values, mask = drawn(3, images=400), np.random.default_rng(4).random(400) < 0.6
    first, _ = reduced(values)
    sample = first.sample(Masks(mask, np.stack([mask] * 3)))
    linear = mask * (first.whole - sample.estimate) / mask.mean()  # of sum m f / sum m, image by image
    assert sample.images.var(ddof=1) / sample.n_images == pytest.approx(linear.var(ddof=1) / 400, rel=0.01)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_difference_changes_sign_with_the_order_and_nothing_with_the_order_of_images_and_seeds(key):
    values = drawn(key, images=120)
    first, second = reduced(values)
    there, back = difference_interval(first.minus(second)), difference_interval(second.minus(first))
    assert (back.estimate, back.low, back.high) == pytest.approx((-there.estimate, -there.high, -there.low))
    assert (float(back.p), float(back.p_better)) == pytest.approx((float(there.p), 1 - float(there.p_better)))
    shuffled = reduced(values[..., np.random.default_rng(key).permutation(120)])
    again = difference_interval(shuffled[0].minus(shuffled[1]))
    assert [float(one) for one in (again.low, again.p)] == pytest.approx([float(one) for one in (there.low, there.p)])


def test_cards_of_other_seeds_are_compared_without_pairing_them():
    draw = np.random.default_rng(5)
    left_out = [None, 0, 1, 2, 3, 4]
    parts = [draw.random((6, number, 50)) for number in (3, 5)]
    first = kept_by(parts[0], (0, 1, 2), left_out, np.array([True, True, True, False, False]))
    second = kept_by(parts[1], (0, 1, 2, 3, 4), left_out, np.ones(5, bool))
    sample = first.minus(second)
    assert sample.n_seeds == 3
    assert [len(seeds) for seeds in sample.by_seed] == [3, 5]
    assert sample.without.shape == (5,)


def test_seeds_that_no_compared_model_has_are_no_part_of_the_jackknife():
    draw = np.random.default_rng(6)
    left_out, active = [None, 0, 1, 2, 3, 4], np.array([True, True, True, False, False])
    first, second = (kept_by(draw.random((6, 3, 50)), (0, 1, 2), left_out, active) for _ in range(2))
    assert first.minus(second).without.shape == (3,)


def test_a_surrogate_card_of_one_seed_stays_when_that_seed_is_left_out():
    allowed = np.array([[True, True], [True, True]])
    weights = surrogate_weights(allowed, [7, 0], [[[0], [1]]], [None, 7])
    assert weights.tolist() == [[[0.5, 0.5], [0.5, 0.5]]] * 2


def test_kinds_weigh_the_same_whatever_the_number_of_their_cards():
    weights = surrogate_weights(np.ones((4, 1), bool), [0, 0, 0, 1], [[[0]], [[1], [2, 3]]], [None])
    assert weights[0, :, 0].tolist() == [0.5, 0.25, 0.125, 0.125]


def test_one_seed_gives_an_interval_over_images_alone():
    sample = Sample(np.linspace(0, 1, 201), np.zeros(1), (np.array([0.5]),))
    found = t_interval(sample)
    error = sample.images.std(ddof=1) / 201**0.5
    assert (found.low, found.high) == pytest.approx((0.5 - t.ppf(0.975, 200) * error, 0.5 + t.ppf(0.975, 200) * error))


def test_six_images_never_make_anything_sure():
    ones, zeros = np.ones(6), np.zeros(6)
    share = share_interval(Sample(ones, np.ones(3), (np.ones(3),)))
    assert (share.low, share.high) == pytest.approx((0.61, 1), abs=0.005)
    same = difference_interval(Sample(zeros, np.zeros(3), (np.zeros(3),)))
    assert (same.low, same.high) == pytest.approx((-0.39, 0.39), abs=0.005)
    assert (same.p, same.p_better) == (1, 0.5)
    other = difference_interval(Sample(np.eye(6)[0], np.full(3, 1 / 6), (np.full(3, 1 / 6),)))
    assert other.low < 0 < other.high
    assert other.p > 0.05


def test_a_widened_interval_and_its_p_value_agree_on_whether_the_difference_is_nothing():
    for wins in range(1, 60):
        images = np.zeros(60)
        images[:wins] = 1
        found = difference_interval(Sample(images, np.full(5, wins / 60), (np.full(5, wins / 60),)))
        assert (found.low > 0) == (found.p < 0.05)


def test_one_image_gives_an_interval():
    found = difference_interval(Sample(np.ones(1), np.ones(2), (np.ones(2),)))
    assert -1 <= found.low < found.high <= 1
    assert 0 < found.p <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holms_p_values_keep_their_order_and_are_never_smaller(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@settings(max_examples=15)  # the reference takes 70 ms a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holms_correction_is_that_of_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
