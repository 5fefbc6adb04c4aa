"""Each component against its paper's formula, written out again as plainly as possible."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.components.gradients import kernel_smoothing
from robustbench_ekdaa.crafting.components.inputs import (
    _cosines,
    admix,
    diversity,
    other_classes,
    scale,
    spectrum,
    through,
)
from robustbench_ekdaa.crafting.components.sources import gradient_of
from robustbench_ekdaa.crafting.components.starts import in_unit_ball
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.randomness import ImageDraws

from ..support.contexts import EPSILON, STEP, context_of

TEN = {"steps": 10, "step_size": "epsilon / steps"}
MOMENTUM = {"component": "momentum", "decay": 1.0}


def slope_of(module, images, labels):
    variable = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(module(variable), labels, reduction="sum"), variable)
    return slope


def mean_one(gradient):
    return gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)


def clip(images, clean):
    return images.clamp(clean - EPSILON, clean + EPSILON).clamp(0, 1)


def ours(attack, surrogates, images, labels, **options):
    return next(craft(attack, surrogates, images, labels, [EPSILON], **options)).images


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# -- gradient transforms ---------------------------------------------------------------------------------------------


def test_variance_tuning_adds_the_mean_gradient_of_the_neighbours_of_the_step_before(card, case):
    module, images, labels = case
    tuning = {"component": "variance_tuning", "neighbours": 4, "radius": 1.5}
    found = ours(card(gradient=[tuning], update=MOMENTUM, **TEN), [module], images, labels)

    x, momentum, variance = images, 0.0, 0.0
    for step in range(10):
        here = slope_of(module, x, labels)
        momentum = momentum + mean_one(here + variance)
        offsets = in_unit_ball(context_of(images, labels).at_step(step).within("neighbours"), 4) * 1.5 * EPSILON
        variance = sum(slope_of(module, x + offset, labels) for offset in offsets) / 4 - here
        x = clip(x + STEP * momentum.sign(), images)
    assert_same(found, x)


def test_emi_averages_eleven_gradients_along_the_last_average(attacks, case):
    module, images, labels = case
    x, momentum, average = images, 0.0, torch.zeros_like(images)
    for _ in range(10):
        points = [x + factor * STEP * average for factor in np.linspace(-7, 7, 11)]
        average = mean_one(sum(slope_of(module, point, labels) for point in points))
        momentum = momentum + average
        x = clip(x + STEP * momentum.sign(), images)
    found = ours(attacks.attacks["emi_fgsm"], [module], images, labels)
    # The authors add eleven equal gradients in the first step, ours asks once: their rounding differs.
    assert float(((found - x).abs() < 1e-6).float().mean()) > 0.999


def test_the_kernel_is_a_gaussian_over_three_deviations_that_sums_to_one():
    profile = scipy.stats.norm.pdf(np.linspace(-3, 3, 15))
    expected = np.outer(profile, profile) / profile.sum() ** 2
    spot = torch.zeros(1, 2, 29, 29)
    spot[0, 1, 14, 14] = 1
    smooth = kernel_smoothing(kernel="gaussian", size=15)(lambda images, context, state: (images, state))
    found = smooth(spot, None, {})[0]
    np.testing.assert_allclose(found[0, 1, 7:22, 7:22], expected, atol=1e-8)
    assert float(found[0, 0].abs().sum()) == 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 3, 11), (3, 1, 1)])
@pytest.mark.parametrize("kernel", ["gaussian", "linear", "uniform"])
def test_a_kernel_larger_than_the_image_still_answers_with_the_image_s_shape(shape, kernel):
    gradient = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    smooth = kernel_smoothing(kernel=kernel, size=31)(lambda images, context, state: (images, state))
    smoothed = smooth(gradient, None, {})[0]
    assert smoothed.shape == gradient.shape
    assert bool(smoothed.isfinite().all())


def test_look_ahead_moves_by_one_step_of_the_threat_model_s_size(card, case):
    module, images, labels = case
    ahead = {"component": "look_ahead", "decay": 1.0}
    for norm in sorted(THREATS):
        seen = []
        watched = nn.Sequential(nn.Identity(), module)
        watched[0].register_forward_hook(lambda part, inputs, output, seen=seen: seen.append(inputs[0].detach()))
        plain = card(norm=norm, steps=1, step_size="epsilon")
        first = ours(plain, [module], images, labels)
        ours(
            card(norm=norm, gradient=[ahead], update=MOMENTUM, steps=2, step_size="epsilon"), [watched], images, labels
        )
        momentum = mean_one(slope_of(module, images, labels))
        jump = seen[1] - first
        pixels = images[0].numel()
        length = {"linf": 1, "l2": pixels**-0.5, "l1": 1 / pixels}[norm] * EPSILON
        torch.testing.assert_close(jump, length * momentum, rtol=1e-3, atol=1e-6)


# -- input transforms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [scale(copies=3), admix(portion=0.2, images=2), diversity(probability=0.5), spectrum(copies=3)],
    ids=["scale", "admix", "diversity", "spectrum"],
)
def test_the_gradient_through_a_transform_is_that_of_the_mean_loss_over_its_copies(case, transform):
    module, images, labels = case
    context = context_of(images, labels)
    gradient = gradient_of(lambda copies, at: F.cross_entropy(module(copies), context.goal, reduction="none"))
    with torch.no_grad():
        found, _ = through(transform, "t")(gradient)(images, context, {})
    variable = images.clone().requires_grad_()
    losses = [
        F.cross_entropy(module(copy), labels, reduction="sum") for copy in transform(variable, context.within("t"))
    ]
    (expected,) = torch.autograd.grad(sum(losses) / len(losses), variable)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_transforms_in_a_card_compose_in_the_order_in_which_they_stand(card, case):
    module, images, labels = case
    entries = [{"component": "admix", "portion": 0.2, "images": 2}, {"component": "scale", "copies": 3}]
    found = ours(card(input=entries, steps=1, step_size="epsilon"), [module], images, labels)
    variable = images.clone().requires_grad_()
    first = admix(portion=0.2, images=2)(variable, context_of(images, labels).within("0 admix"))
    losses = [F.cross_entropy(module(mixed / 2**power), labels) for mixed in first for power in range(3)]
    (slope,) = torch.autograd.grad(sum(losses), variable)
    assert_same(found, (images + EPSILON * slope.sign()).clamp(0, 1))


def test_admix_partners_come_from_all_other_classes_alike_and_never_from_the_own():
    labels = torch.tensor([0, 1, 2, 3] * 500)
    pool_labels = torch.tensor([2, 0, 0, 1, 5, 2, 0])
    images = torch.zeros(len(labels), 1, 2, 2)
    context = context_of(images, labels, pool=(torch.zeros(7, 1, 2, 2), pool_labels))
    partners = other_classes(context, 3)
    assert bool((pool_labels[partners] != labels[:, None]).all())
    for label in range(4):
        others = (pool_labels != label).nonzero().flatten()
        counts = torch.bincount(partners[labels == label].flatten(), minlength=7)[others]
        # Chi-squared with at most 6 degrees of freedom: 22.5 is passed once in a thousand.
        expected = 1500 / len(others)
        assert float(((counts - expected) ** 2 / expected).sum()) < 22.5


def test_admix_of_a_pool_of_one_class_takes_any_image():
    labels = torch.zeros(5, dtype=torch.int64)
    context = context_of(torch.zeros(5, 1, 2, 2), labels)
    assert other_classes(context, 2).shape == (5, 2)


@pytest.mark.parametrize("length", [1, 2, 8, 28, 32])
def test_the_cosine_transform_is_scipy_s_orthonormal_one(length):
    numbers = np.random.default_rng(0).normal(size=(length, length))
    matrix = _cosines(length)
    found = matrix @ torch.from_numpy(numbers) @ matrix.T
    np.testing.assert_allclose(found, scipy.fft.dctn(numbers, norm="ortho"), atol=1e-9)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(length, dtype=torch.float64))


def test_spectrum_copies_are_the_inverse_transform_of_the_masked_transform_of_the_noisy_image(digits):
    images, labels = digits[0][:3], digits[1][:3]
    context = context_of(images, labels)
    noise = context.normal("noise", (2, 1, 8, 8)) * EPSILON
    mask = 0.5 + context.uniform("mask", (2, 1, 8, 8))
    for number, changed in enumerate(spectrum(copies=2, strength=0.5, noise=1.0)(images, context)):
        waves = scipy.fft.dctn((images + noise[:, number]).numpy(), axes=(2, 3), norm="ortho")
        expected = scipy.fft.idctn(waves * mask[:, number].numpy(), axes=(2, 3), norm="ortho")
        np.testing.assert_allclose(changed, expected, atol=1e-5)


# -- steps and starts ------------------------------------------------------------------------------------------------


def test_pi_fgsm_on_grey_images_hands_what_leaves_the_ball_to_the_neighbours(attacks, case):
    module, images, labels = case
    weights = torch.full((1, 1, 3, 3), 1 / 8)
    weights[0, 0, 1, 1] = 0
    length, wanted, x = 10 * STEP, 0.0, images
    for _ in range(10):
        move = length * slope_of(module, x, labels).sign()
        wanted = wanted + move
        cut = (wanted.abs() - EPSILON).clamp_min(0) * wanted.sign()
        flat = cut.flatten(0, 1).unsqueeze(1)
        spread = length * F.conv2d(flat, weights, padding=1).view_as(cut).sign()
        wanted = wanted + spread
        x = clip(x + move + spread, images)
    assert_same(ours(attacks.attacks["pi_fgsm"], [module], images, labels), x)


@pytest.mark.parametrize("norm", sorted(THREATS))
def test_points_in_the_unit_ball_are_spread_evenly_over_it(norm):
    count, pixels = 4000, 4
    images, labels = torch.zeros(count, 1, 2, 2), torch.zeros(count, dtype=torch.int64)
    points = in_unit_ball(context_of(images, labels, norm=norm))[0]
    size = THREATS[norm].size(points)
    assert float(size.max()) <= 1 + 1e-6
    # In d dimensions an even spread puts r^d of the points within radius r; no direction is preferred.
    assert scipy.stats.kstest(size.numpy() ** pixels, "uniform").pvalue > 1e-3
    for pixel in points.flatten(1).T:
        assert scipy.stats.ks_2samp(pixel.numpy(), -pixel.numpy()).pvalue > 1e-3
        assert scipy.stats.ks_2samp(pixel.numpy(), points[:, 0, 0, 0].numpy()).pvalue > 1e-3


# -- sources ---------------------------------------------------------------------------------------------------------

SOURCES = {
    "ensemble_logits": lambda logits, labels: F.cross_entropy(sum(logits) / 3, labels, reduction="sum"),
    "ensemble_probabilities": lambda logits, labels: F.nll_loss(
        (sum(each.softmax(1) for each in logits) / 3).log(), labels, reduction="sum"
    ),
    "ensemble_losses": lambda logits, labels: (
        sum(F.cross_entropy(each, labels, reduction="sum") for each in logits) / 3
    ),
}


@pytest.fixture(scope="module")
def three(make_network, digits):
    return [make_network(1, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_ensembles_follow_the_gradient_of_their_formula(card, digits, three, source):
    images, labels = digits[0][:30], digits[1][:30]
    found = ours(card(source={"component": source}, norm="l2", steps=1), three, images, labels)
    variable = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(SOURCES[source]([each(variable) for each in three], labels), variable)
    expected = (images + EPSILON * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)
    assert_same(found, expected)


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_an_ensemble_of_three_equal_networks_is_an_attack_on_that_network(card, digits, three, source):
    images, labels = digits[0][:30], digits[1][:30]
    attack = card(source={"component": source}, steps=1, step_size="epsilon")
    together = ours(attack, [deepcopy(three[0]) for _ in range(3)], images, labels)
    alone = ours(card(steps=1, step_size="epsilon"), [three[0]], images, labels)
    assert float(((together - alone).abs() < 1e-6).float().mean()) > 0.995


def test_svre_follows_its_algorithm(card, digits, three):
    images, labels = digits[0][:30], digits[1][:30]
    source = {"component": "variance_reduced", "rounds": 2, "decay": 1.0}
    found = ours(card(source=source, update=MOMENTUM, **TEN), three, images, labels)

    together = nn.Module()
    together.forward = lambda x: sum(each(x) for each in three) / 3
    x, momentum = images, 0.0
    for step in range(10):
        overall, inner, gathered = slope_of(together, x, labels), x, 0.0
        for k in context_of(images, labels).at_step(step).choices("surrogate", 6, 3):
            difference = slope_of(three[k], inner, labels) - (slope_of(three[k], x, labels) - overall)
            gathered = gathered + mean_one(difference)
            inner = clip(inner + STEP * gathered.sign(), images)
        momentum = momentum + mean_one(gathered)
        x = clip(x + STEP * momentum.sign(), images)
    # The first inner difference is the overall gradient exactly; written out, rounding makes it nearly so.
    assert float(((found - x).abs() < 1e-6).float().mean()) > 0.995


# -- losses and targets ----------------------------------------------------------------------------------------------

LOSSES = {
    "cross_entropy": lambda z, y: -z[y] + np.log(np.exp(z).sum()),
    "margin": lambda z, y: np.delete(z, y).max() - z[y],
    "logit": lambda z, y: -z[y],
    "logit_ratio": lambda z, y: -(z[y] - np.delete(z, y).max()) / (np.sort(z)[-1] - np.sort(z)[-3]),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_what_their_papers_say(name):
    from robustbench_ekdaa.registry import COMPONENTS

    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(50, 7, generator=generator), torch.randint(0, 7, (50,), generator=generator)
    expected = [LOSSES[name](z, y) for z, y in zip(logits.double().numpy(), labels.tolist(), strict=True)]
    found = COMPONENTS["loss"].get(name)()(logits, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_lowers_the_accuracy_of_its_surrogate(card, case, name):
    module, images, labels = case
    found = next(craft(card(loss=name, **TEN), [module], images, labels, [0.2])).images
    before, after = ((module(each).argmax(1) == labels).float().mean() for each in (images, found))
    assert float(after) < float(before) - 0.3


@pytest.mark.parametrize("rule", ["random", "least_likely", "next"])
def test_a_targeted_attack_raises_the_share_of_its_target_class(card, case, rule):
    module, images, labels = case
    attack = card(target=rule, update=MOMENTUM, **TEN)
    found = next(craft(attack, [module], images, labels, [0.3])).images
    logits = module(images).detach()
    targets = {
        "next": (labels + 1) % 10,
        "least_likely": logits.scatter(1, labels[:, None], torch.inf).argmin(1),
        "random": None,
    }[rule]
    predictions = module(found).argmax(1)
    if targets is None:
        assert float((predictions != labels).float().mean()) > 0.5
    else:
        before = float((module(images).argmax(1) == targets).float().mean())
        assert float((predictions == targets).float().mean()) > before + 0.3


def test_random_targets_are_never_the_true_class_and_hit_all_others():
    from robustbench_ekdaa.crafting.components.targets import random_other

    labels = torch.arange(4).repeat(400)
    chosen = random_other(torch.zeros(1600, 4), labels, ImageDraws(0, "t", range(1600)))
    assert bool((chosen != labels).all())
    counts = torch.bincount((chosen - labels) % 4, minlength=4)[1:]
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3
