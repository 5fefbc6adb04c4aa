"""On a linear model every attack has a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_ekdaa.crafting import craft


@pytest.fixture(scope="module")
def linear():
    """A binary linear model in float64-like small numbers, with images far from the box so that nothing is clipped."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(1, 6 * 5, generator=generator)
    module = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.cat([-weight, weight]) / 2)
        module[1].bias.zero_()
    images = torch.rand(40, 1, 6, 5, generator=generator) * 0.2 + 0.4
    labels = torch.arange(40) % 2
    return module, weight[0], images, labels


def margins(module, images, labels):
    logits = module(images).detach()
    return (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None])).squeeze(1)


DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 10])
def test_attacks_on_a_linear_model_lower_the_margin_by_epsilon_times_the_dual_norm_of_the_weights(
    card, linear, norm, steps
):
    module, weight, images, labels = linear
    before = margins(module, images, labels)
    slope = float(weight.norm(p=DUAL[norm]))
    for crafted in craft(card(norm=norm, steps=steps), [module], images, labels, [0.05, 0.1, 0.2]):
        lowered = before - margins(module, crafted.images, labels)
        torch.testing.assert_close(lowered, torch.full((40,), crafted.epsilon * slope), rtol=1e-5, atol=1e-5)


def test_pgd_on_a_linear_model_equals_fgsm(attacks, linear):
    module, _, images, labels = linear
    one = next(craft(attacks.attacks["fgsm"], [module], images, labels, [0.1])).images
    many = next(craft(attacks.attacks["pgd"], [module], images, labels, [0.1])).images
    torch.testing.assert_close(many, one, rtol=0, atol=1e-6)


def test_the_accuracy_curve_of_a_linear_model_is_the_share_of_margins_above_epsilon_times_the_l1_norm(attacks, linear):
    module, weight, images, labels = linear
    right = margins(module, images, labels)
    epsilons = [0.0, 0.01, 0.02, 0.05, 0.1]
    for crafted in craft(attacks.attacks["fgsm"], [module], images, labels, epsilons):
        measured = (margins(module, crafted.images, labels) > 0).float().mean()
        expected = (right > crafted.epsilon * weight.abs().sum()).float().mean()
        assert measured == expected


def test_the_l1_step_on_a_linear_model_fills_the_pixels_of_largest_weight_first(card, linear):
    module, weight, images, labels = linear
    away = torch.where(labels == 1, -1.0, 1.0)
    epsilon = 1.3
    crafted = next(craft(card(norm="l1", steps=1, step_size="epsilon"), [module], images, labels, [epsilon])).images
    for image, sign, found in zip(images.flatten(1), away, crafted.flatten(1), strict=True):
        left, expected = epsilon, image.clone()
        for pixel in weight.abs().argsort(descending=True).tolist():
            goal = 1.0 if sign * weight[pixel] > 0 else 0.0
            move = min(left, abs(goal - float(image[pixel])))
            expected[pixel] += move if goal else -move
            left -= move
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
