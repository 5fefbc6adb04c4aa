"""What models say of attacks on them: real networks on the digits, sound ones and ones with a fault planted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustbench_ekdaa.analysis.checks import FAIL, PASS, WARN, findings
from robustbench_ekdaa.cards import AttackCard
from robustbench_ekdaa.data import Split
from robustbench_ekdaa.scoring.probing import ProbeSpec, probe_data, probe_model

from ..support.healthy_runs import healthy
from ..support.made_outcomes import quick_network

CHECKED = {"masking", "scale_free_loss", "doubled_steps", "true_gradient", "steady_forward", "noise_as_strong"}
IMAGES = 150


def attack(**card):
    return AttackCard(kind="attack", name="bim", **{"steps": 10, **card})


@pytest.fixture(scope="module")
def network(digits):
    return quick_network(lambda: [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)], digits.train)


def said(network, digits, card=None, epsilon=0.1):
    """Return the statuses of what is found of a network, by check."""
    spec = ProbeSpec(card or attack(), epsilon, 0.4, 0)
    facts = probe_model(network, digits.test.images[:IMAGES], digits.test.labels[:IMAGES], range(IMAGES), spec)
    alone = healthy()
    silent = tuple(cell for cell in alone.cells if cell.attack != "noise")  # so that noise is as it was probed
    found = findings(replace(alone, probes={"backprop0": facts}, cells=silent))
    return {one.check: one.status for one in found if one.check in CHECKED}


class Scaled(nn.Module):
    """The same decisions, by larger logits."""

    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images):
        return self.factor * self.network(images)


class Noisy(Scaled):
    def forward(self, images):
        return self.network(images) + self.factor * torch.randn(10)


class Feedback(torch.autograd.Function):
    """A layer whose backward follows a random matrix, as feedback alignment does."""

    @staticmethod
    def forward(ctx, inputs, weight, feedback):
        ctx.save_for_backward(feedback)
        return inputs @ weight.T

    @staticmethod
    def backward(ctx, gradient):
        (feedback,) = ctx.saved_tensors
        return gradient @ feedback, None, None


class ByFeedback(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.register_buffer("feedback", torch.randn(32, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        _, first, phi, last = self.network
        return last(phi(Feedback.apply(images.flatten(1), first.weight, self.feedback.to(images)) + first.bias))


def test_a_sound_network_passes(network, digits):
    assert said(network, digits) == dict.fromkeys(CHECKED, PASS)


def test_a_readout_times_ten_is_masked_and_gives_way_to_a_loss_free_of_scale(network, digits):
    found = said(Scaled(network, 10.0), digits)
    assert found["masking"] == FAIL
    assert found["scale_free_loss"] in (WARN, FAIL)
    assert found["true_gradient"] == PASS


def test_logits_times_a_million_fail_twice(network, digits):
    found = said(Scaled(network, 1e6), digits)
    assert (found["masking"], found["scale_free_loss"]) == (FAIL, FAIL)


def test_a_forward_that_draws_random_numbers_fails(network, digits):
    assert said(Noisy(network, 1.0), digits)["steady_forward"] == FAIL


def test_a_backward_that_follows_feedback_fails(network, digits):
    assert said(ByFeedback(network), digits)["true_gradient"] == FAIL


def test_steps_of_a_millionth_are_as_weak_as_noise(network, digits):
    assert said(network, digits, attack(step_size=1e-6), epsilon=0.3)["noise_as_strong"] == FAIL


def test_two_steps_of_a_fifth_of_epsilon_had_not_ended(network, digits):
    assert said(network, digits, attack(steps=2, step_size="0.2 * epsilon"))["doubled_steps"] == FAIL


# -- the data ----------------------------------------------------------------------------------------------------------


def told(data):
    facts = probe_data(data, torch.arange(100))
    return {
        one.check: (one.status, one.value)
        for one in findings(replace(healthy(), probes={"": facts}))
        if one.check in ("shared_images", "shuffled_labels")
    }


def test_test_images_among_the_training_images_fail(digits):
    assert told(digits)["shared_images"] == (PASS, 0)
    images, labels = (
        torch.cat([getattr(half, part) for half in (digits.train, digits.test)]) for part in ("images", "labels")
    )
    assert told(replace(digits, train=Split(images, labels)))["shared_images"] == (FAIL, 100)


def test_shuffled_labels_fail(digits):
    assert told(digits)["shuffled_labels"][0] == PASS
    order = torch.randperm(len(digits.train.labels), generator=torch.Generator().manual_seed(1))
    shuffled = Split(digits.train.images, digits.train.labels[order])
    assert told(replace(digits, train=shuffled))["shuffled_labels"][0] == FAIL
