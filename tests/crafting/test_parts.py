"""Attack components called by themselves, on gradients that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from robustbench_ekdaa.crafting.balls import in_unit_ball
from robustbench_ekdaa.crafting.components.gradients import kernel_smoothing, look_ahead, sampling, variance_tuning
from robustbench_ekdaa.crafting.components.inputs import admix, diversity, other_classes, scale, smallest_side, spectrum
from robustbench_ekdaa.crafting.components.losses import logit_ratio, margin
from robustbench_ekdaa.crafting.components.sources import gradient_of, single
from robustbench_ekdaa.crafting.components.starts import random_sign, uniform
from robustbench_ekdaa.crafting.components.steps import patch_wise, steepest
from robustbench_ekdaa.crafting.components.targets import TARGETS
from robustbench_ekdaa.crafting.components.updates import momentum, plain
from robustbench_ekdaa.crafting.kernels import convolve, kernel_side, kernel_weights
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.randomness import ImageDraws

from ..support.contexts import EPSILON, STEP, context_of

NORMS = sorted(THREATS)
PIXELS = 24
# How far each pixel goes when a perturbation of norm 1 is spread evenly over all 24.
EVENLY = {"linf": 1, "l2": PIXELS**-0.5, "l1": 1 / PIXELS}


def draws(seed, count=4, shape=(2, 3, 4)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def some(norm="linf", count=4, shape=(2, 3, 4)):
    images = draws(0, count, shape).sigmoid()
    return images, context_of(images, torch.arange(count) % 3, norm=norm)


def squares(images, context, state):
    """A gradient that is another at every place."""
    return images**2, state


class Asked:
    """The same, which notes where it is asked."""

    def __init__(self):
        self.at = []

    def __call__(self, images, context, state):
        self.at.append(images)
        return squares(images, context, state)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def mean_one(gradient):
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True)


# -- updates ---------------------------------------------------------------------------------------------------------


def test_momentum_adds_gradients_of_equal_size_to_what_is_left_of_the_past():
    images, context = some()
    first, second = draws(1), 100 * draws(2)
    direction, state = momentum(decay=0.5)(first, context, {"other": 7})
    close(direction, mean_one(first))
    kept = dict(state)
    direction, after = momentum(decay=0.5)(second, context, state)
    close(direction, 0.5 * mean_one(first) + mean_one(second))
    assert state == kept  # a state is never changed in place
    assert after["other"] == 7
    close(momentum()(second, context, state)[0], mean_one(first) + mean_one(second))
    assert not bool(momentum()(torch.zeros_like(images), context, {})[0].any())


def test_the_plain_update_is_the_gradient_and_remembers_nothing():
    gradient = draws(1)
    direction, state = plain()(gradient, some()[1], {"other": 7})
    assert direction is gradient
    assert state == {"other": 7}


# -- gradient transforms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_look_ahead_asks_where_the_momentum_leads(norm):
    images, context = some(norm)
    ahead = look_ahead(decay=0.7)(squares)
    close(ahead(images, context, {})[0], images**2)
    past = draws(1)
    expected = images + 0.7 * STEP * EVENLY[norm] * past
    close(ahead(images, context, {"momentum": past})[0], expected**2)
    close(look_ahead()(squares)(images, context, {"momentum": past})[0], (images + STEP * EVENLY[norm] * past) ** 2)


@pytest.mark.parametrize("norm", NORMS)
def test_variance_is_what_the_neighbours_of_the_last_images_had_more(norm):
    images, context = some(norm)
    asked = Asked()
    tuned = variance_tuning(neighbours=3, radius=2.0)(asked)
    here, state = tuned(images, context.at_step(4), {})
    close(here, images**2)
    assert len(asked.at) == 1  # no neighbour is asked before the next step needs it
    later = images + 0.01
    found, after = tuned(later, context.at_step(5), state)
    offsets = in_unit_ball(context.at_step(4).within("neighbours"), 3) * 2 * EPSILON
    nearby = sum((images + offset) ** 2 for offset in offsets) / 3
    close(found, later**2 + nearby - images**2)
    assert after["variance"][0] is later


def test_neighbours_are_twenty_in_a_ball_of_one_and_a_half_epsilons_unless_told():
    images, context = some()
    asked = Asked()
    tuned = variance_tuning()(asked)
    _, state = tuned(images, context, {})
    tuned(images, context.at_step(1), state)
    away = torch.stack(asked.at[2:]) - images
    assert len(away) == 20
    assert 1.35 * EPSILON < float(away.abs().max()) <= 1.5 * EPSILON + 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_samples_lie_at_equal_distances_on_both_sides_along_the_last_average(norm):
    images, context = some(norm)
    asked = Asked()
    sampled = sampling(samples=3, radius=5.0)(asked)
    close(sampled(images, context, {})[0], mean_one(images**2))
    assert len(asked.at) == 1
    last = draws(1)
    found, after = sampled(images, context, {"average": last})
    points = [images + factor * STEP * EVENLY[norm] * last for factor in (-5, 0, 5)]
    close(torch.stack(asked.at[1:]), torch.stack(points))
    close(found, mean_one(sum(point**2 for point in points)))
    assert after["average"] is found
    asked = Asked()
    sampling()(asked)(images, context, {"average": last})
    assert len(asked.at) == 11
    close(asked.at[0], images - 7 * STEP * EVENLY[norm] * last)


@pytest.mark.parametrize(("side", "expected"), [(8, 5), (28, 5), (32, 7), (43, 9), (60, 13), (80, 15), (224, 15)])
def test_a_share_of_the_side_is_the_nearest_odd_number_from_5_to_15(side, expected):
    assert kernel_side("side / 5", side) == expected
    assert kernel_side(21, side) == 21


def test_the_shorter_side_of_an_image_counts():
    spot = torch.zeros(1, 1, 21, 45)
    spot[0, 0, 10, 22] = 1
    for images in (spot, spot.mT):
        smoothed = kernel_smoothing(kernel="uniform", size="side / 3")(squares)(images, None, {})[0]
        assert int((smoothed > 0).sum()) == 7 * 7
        assert float(smoothed.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5, 15])
def test_kernels_fall_as_their_names_say_and_sum_to_one(size):
    place = np.arange(size) - size // 2
    profiles = {
        "gaussian": scipy.stats.norm.pdf(3 * place / max(size // 2, 1)),
        "linear": 1 - np.abs(place) / (size // 2 + 1),
        "uniform": np.ones(size),
    }
    for kernel, profile in profiles.items():
        expected = np.outer(profile, profile) / profile.sum() ** 2
        np.testing.assert_allclose(kernel_weights(kernel, size), expected, atol=1e-7)


def test_a_convolution_adds_what_is_around_each_pixel_channel_by_channel_with_zeros_outside():
    images, weights = draws(1, shape=(2, 5, 4)), torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = sum(weights[i, j].item() * padded[:, :, i : i + 5, j : j + 4] for i in range(3) for j in range(3))
    np.testing.assert_allclose(convolve(images, weights), expected, atol=1e-5)


@pytest.mark.parametrize("size", [2, 14, "side", "side / 0", "5", "side / 5 px"])
def test_a_kernel_that_has_no_middle_or_no_size_is_refused(size):
    with pytest.raises(UsageError, match="kernel_smoothing: size must be"):
        kernel_smoothing(size=size)


# -- input transforms ------------------------------------------------------------------------------------------------


def test_scaled_copies_are_halved_again_and_again():
    images, context = some()
    copies = list(scale(copies=4)(images, context))
    for copy, factor in zip(copies, (1, 1 / 2, 1 / 4, 1 / 8), strict=True):
        close(copy, images * factor)
    assert len(list(scale()(images, context))) == 5


def test_admix_adds_a_portion_of_its_partners():
    images, context = some()
    partners = other_classes(context, 2)
    copies = list(admix(portion=0.3, images=2)(images, context))
    assert len(copies) == 2
    for number, copy in enumerate(copies):
        close(copy, images + 0.3 * images[partners[:, number]])
    default = list(admix()(images, context))
    assert len(default) == 3
    close(default[0], images + 0.2 * images[other_classes(context, 3)[:, 0]])


def test_the_partners_of_one_class_alone_are_all_its_images_alike():
    images = torch.zeros(3000, 1, 2, 2)
    context = context_of(images, torch.full((3000,), 4), pool=(torch.zeros(3, 1, 2, 2), torch.full((3,), 4)))
    counts = torch.bincount(other_classes(context, 1).flatten(), minlength=3)
    assert len(counts) == 3
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_a_shrunk_image_is_the_bilinear_one_somewhere_on_black_at_all_sizes_and_places_alike():
    count, rows, columns = 3000, 8, 10
    images = 0.2 + 0.8 * torch.rand(count, 1, rows, columns, generator=torch.Generator().manual_seed(0))
    (found,) = diversity(probability=1.0, smallest=0.6)(images, context_of(images, torch.zeros(count).long()))
    places = []
    for image, shrunk in zip(images[:, 0], found[:, 0], strict=True):
        down, across = (shrunk.sum(axis).nonzero().flatten() for axis in (1, 0))
        height, width = len(down), len(across)
        box = shrunk[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
        expected = F.interpolate(image[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(box, expected, rtol=0, atol=1e-5)
        places.append((height, width, int(down[0]), int(across[0])))
    # One number decides both sizes, so that the image keeps its proportions as far as whole pixels can.
    assert {place[:2] for place in places} == {(4, 6), (5, 7), (6, 8), (7, 9)}
    heights = np.bincount([place[0] for place in places], minlength=rows)[4:rows]
    assert len(heights) == 4
    assert scipy.stats.chisquare(heights).pvalue > 1e-3
    widths = np.bincount([place[1] for place in places], minlength=columns)[6:columns]
    assert scipy.stats.chisquare(widths).pvalue > 1e-3
    for size, axis, length in ((0, 2, rows), (1, 3, columns)):
        chosen = [place for place in places if place[size] == length - 2]
        offsets = np.bincount([place[axis] for place in chosen], minlength=3)
        assert len(offsets) == 3
        assert scipy.stats.chisquare(offsets).pvalue > 1e-3
    # Where it lies downwards tells nothing of where it lies across.
    assert len({place[2:] for place in places if place[:2] == (6, 8)}) == 9


def test_an_image_is_left_as_it_is_as_often_as_the_probability_says():
    images = torch.ones(4000, 1, 5, 5)
    context = context_of(images, torch.zeros(4000).long())
    for probability in (0.0, 0.25, 1.0):
        (found,) = diversity(probability=probability)(images, context)
        changed = float((found != images).flatten(1).any(1).float().mean())
        assert changed == pytest.approx(probability, abs=4 * np.sqrt(probability * (1 - probability) / 4000))
    assert [smallest_side(10, 0.75), smallest_side(3, 0.1), smallest_side(8, 1.0)] == [7, 1, 8]


def test_spectral_changes_have_the_noise_and_the_masks_that_were_asked_for():
    images = torch.zeros(500, 1, 6, 6)
    context = context_of(images, torch.zeros(500).long())
    (noisy,) = spectrum(copies=1, strength=0.0, noise=2.0)(images, context)
    assert float(noisy.std()) == pytest.approx(2 * EPSILON, rel=0.03)  # 18,000 numbers
    with pytest.raises(UsageError, match="must not both be 0"):
        spectrum(strength=0.0, noise=0.0)
    spectrum(strength=1.0, noise=0.0)
    (masked,) = spectrum(copies=1, strength=0.4, noise=0.0)(images + 0.5, context)
    factors = masked.mean((1, 2, 3)) / 0.5  # an even image has one wave, so that one number of the mask is left
    assert 0.6 <= float(factors.min()) < 0.62
    assert 1.38 < float(factors.max()) <= 1.4
    assert len(list(spectrum()(images[:1], some(count=1, shape=(1, 6, 6))[1]))) == 20


# -- starts and steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_a_uniform_start_is_a_point_of_a_ball_of_so_many_epsilons(norm):
    images, context = some(norm)
    point = in_unit_ball(context)[0]
    close(uniform()(images, context), images + EPSILON * point)
    close(uniform(size=0.3)(images, context), images + 0.3 * EPSILON * point)


def test_copies_of_points_in_the_ball_are_independent_and_each_images_own():
    images, context = some(count=600)
    points = in_unit_ball(context, 3)
    assert points.shape == (3, *images.shape)
    flat = points.reshape(3, -1)
    assert float(torch.corrcoef(flat).fill_diagonal_(0).abs().max()) < 4 / np.sqrt(flat.shape[1])
    alone = in_unit_ball(context_of(images[:5], torch.zeros(5).long()), 3)
    close(points[:, :5], alone)


@pytest.mark.parametrize("norm", NORMS)
def test_a_start_at_a_corner_goes_half_an_epsilon_by_every_sign_alike(norm):
    images, context = torch.full((400, 2, 3, 4), 0.5), some(norm, 400)[1]
    moved = random_sign()(images, context) - images
    close(THREATS[norm].size(moved), torch.full((400,), EPSILON / 2))
    close(THREATS[norm].size(random_sign(size=0.2)(images, context) - images), torch.full((400,), 0.2 * EPSILON))
    rising = int((moved > 0).sum())
    assert scipy.stats.binomtest(rising, int((moved != 0).sum())).pvalue > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_step_is_the_threat_models(norm):
    images, context = some(norm)
    direction = draws(1)
    moved, state = steepest()(images, direction, context, {"other": 7})
    close(moved, THREATS[norm].ascend(images, direction, STEP))
    assert state == {"other": 7}


@pytest.mark.parametrize("size", [3, 5])
def test_what_is_wanted_beyond_epsilon_moves_the_pixels_around(size):
    images, context = torch.full((1, 1, 9, 9), 0.5), some(count=1, shape=(1, 9, 9))[1]
    direction = torch.zeros(1, 1, 9, 9)
    direction[0, 0, 4, 4] = -3.0
    step = patch_wise(norm="linf", path_length=1.0, amplification=8.0, size=size)
    moved, state = step(images, direction, context, {"other": 7})
    lone = -8 * STEP * (direction != 0)  # within epsilon = 10 steps: nothing is handed on
    close(moved - images, lone)
    moved, after = step(images, direction, context, state)
    around = torch.zeros_like(images)
    # Now 16 steps are wanted of the pixel: its neighbours take one, and it takes its own alone.
    near = slice(4 - size // 2, 5 + size // 2)
    around[0, 0, near, near] = -8 * STEP
    close(moved - images, around)
    close(after["wanted"], lone + around)
    assert after["other"] == 7
    default = patch_wise(norm="linf", path_length=1.0)(images, direction, context, {})[0]
    close(default - images, -10 * STEP * (direction != 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l2"}, "linf norm"),
        ({"size": 4}, "size must be odd"),
        ({"amplification": 2.0, "path_length": 0.5}, "never leads out of the ball"),
    ],
)
def test_patches_of_another_norm_without_a_middle_or_that_stay_in_the_ball_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        patch_wise(**{"norm": "linf", "path_length": 1.0, **options})
    patch_wise(norm="linf", path_length=0.51, amplification=2.0)


# -- losses, targets and sources -------------------------------------------------------------------------------------


def test_the_ratio_of_logits_needs_three_classes_and_is_finite_where_all_are_equal():
    label = torch.tensor([0])
    assert logit_ratio()(torch.ones(1, 3), label).tolist() == [0.0]
    close(logit_ratio()(torch.tensor([[1.0, 4.0, 2.0]]), label), torch.tensor([1.0]))
    with pytest.raises(UsageError, match=r"at least three classes \(got 2\)"):
        logit_ratio()(torch.ones(1, 2), label)


def test_the_margin_is_positive_where_another_class_is_ahead():
    logits = torch.tensor([[1.0, 3.0], [1.0, -3.0]])
    assert margin()(logits, torch.tensor([0, 0])).tolist() == [2.0, -4.0]


def test_targets_are_what_their_names_say():
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0], [9.0, 8.0, 7.0, 6.0]])
    labels, draw = torch.tensor([0, 0, 3]), ImageDraws(0, "t", range(3))
    chosen = {name: rule(logits, labels, draw).tolist() for name, rule in TARGETS.items() if name != "random"}
    assert chosen == {"least_likely": [1, 1, 2], "runner_up": [2, 2, 0], "next": [1, 1, 0]}
    two = torch.tensor([0, 1, 1])
    assert TARGETS["random"](logits[:, :2], two, draw).tolist() == [1, 0, 0]


def test_the_gradient_of_a_loss_is_each_images_own():
    images, context = some()
    weights = draws(1)
    gradient = gradient_of(lambda x, context: (weights * x**3).sum((1, 2, 3)))
    found, state = gradient(images, context, {"other": 7})
    close(found, 3 * weights * images**2)
    assert state == {"other": 7}
    assert not found.requires_grad


def test_several_surrogates_are_too_many_for_a_source_of_one():
    with pytest.raises(UsageError, match=r"takes one surrogate \(got 2\)"):
        single()([None, None], margin(), lambda gradient: gradient)
