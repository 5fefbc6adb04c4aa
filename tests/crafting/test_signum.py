"""Surrogates whose derivative is zero wherever it exists: no gradient is mistaken for robustness."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustbench_ekdaa.cards import BlockSpec, NetworkSpec
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.components.losses import margin
from robustbench_ekdaa.networks import build_network, signum_backward
from robustbench_ekdaa.randomness import keyed_generator

FGSM = {"steps": 1, "step_size": "epsilon"}


@pytest.fixture(scope="module")
def signum(digits):
    """A signum network fitted to digits through the straight-through estimator."""
    images, labels = digits
    blocks = (BlockSpec(layer="conv", width=8), BlockSpec(layer="linear", width=32))
    spec = NetworkSpec(blocks=blocks, activation="signum")
    network = build_network(spec, (1, 8, 8), 10, keyed_generator(0, "signum"))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    with signum_backward("straight_through"):
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


def accuracy(network, images, labels):
    return float((network(images).argmax(1) == labels).float().mean())


def test_the_exact_derivative_of_signum_leaves_every_image_as_it_is_and_says_so(card, signum, digits):
    images, labels = digits
    crafted = next(craft(card(backward=["zero"], **FGSM), [signum], images, labels, [0.2]))
    assert torch.equal(crafted.images, images)
    assert crafted.zero_gradient.all()


def test_stand_ins_for_the_derivative_fool_a_signum_network_that_seemed_robust(card, signum, digits):
    images, labels = digits
    crafted = next(craft(card(**FGSM), [signum], images, labels, [0.2]))
    assert not crafted.zero_gradient.any()
    assert accuracy(signum, images, labels) > 0.9
    assert accuracy(signum, crafted.images, labels) < 0.6


def test_each_image_is_the_one_of_all_stand_ins_that_fools_its_surrogate_most(card, signum, digits):
    images, labels = digits
    modes = ("zero", "straight_through", "tanh:1", "tanh:10")
    for options in (FGSM, {"steps": 3}):
        one_by_one = [
            next(craft(card(backward=[mode], **options), [signum], images, labels, [0.1])).images for mode in modes
        ]
        together = next(craft(card(backward=modes, **options), [signum], images, labels, [0.1])).images
        margins = torch.stack([margin()(signum(each), labels) for each in one_by_one])
        torch.testing.assert_close(margin()(signum(together), labels), margins.amax(0))
        best = margins.argmax(0)
        assert len(best.unique()) > 1
        for image, choice, made in zip(range(len(images)), best.tolist(), together, strict=True):
            assert torch.equal(made, one_by_one[choice][image])


def test_the_surrogate_keeps_no_stand_in_and_its_answers_are_exact(card, signum, digits):
    images, labels = digits
    before = signum(images)
    next(craft(card(**FGSM), [signum], images, labels, [0.2]))
    assert torch.equal(signum(images), before)
    variable = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(signum(variable).sum(), variable)
    assert not slope.any()


def test_networks_with_derivatives_are_attacked_once_with_their_own(card, case):
    module, images, labels = case
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    next(craft(card(backward=["straight_through", "tanh:1"], **FGSM), [module], images, labels, [0.1]))
    module._forward_hooks.clear()
    assert len(calls) == 1


def test_a_targeted_attack_keeps_the_stand_in_that_comes_nearest_to_the_target(card, signum, digits):
    images, labels = digits
    targets, modes = (labels + 1) % 10, ("zero", "straight_through", "tanh:2")

    def to_target(backward):
        attack = card(target="next", backward=backward, steps=3)
        return margin()(signum(next(craft(attack, [signum], images, labels, [0.2])).images), targets)

    nearest = torch.stack([to_target([mode]) for mode in modes]).amin(0)
    torch.testing.assert_close(to_target(modes), nearest)
    assert float(nearest.detach().mean()) < float(margin()(signum(images), targets).detach().mean()) - 1


def test_an_attack_that_asks_for_no_gradient_is_run_once(card, signum, digits):
    images, labels = digits[0][:4], digits[1][:4]
    options = {"max_iter": 5, "nb_restarts": 1}
    adapter = {"component": "art", "attack": "SquareAttack", "options": options}
    once, all_three = (
        next(craft(card(adapter=adapter, backward=modes), [signum], images, labels, [0.05]))
        for modes in (["zero"], ["zero", "straight_through", "tanh:1"])
    )
    assert torch.equal(once.queries, all_three.queries)
    assert torch.equal(once.images, all_three.images)
