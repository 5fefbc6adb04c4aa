"""Wrappers: random networks become steady, one logit becomes two, and gradients stay true."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.external.checks import check_module


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, images):
        return self.out(functional.dropout(images.flatten(1), 0.5))


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_module_that_draws_is_steady_when_it_is_averaged_and_passes_all_checks(images):
    torch.manual_seed(0)
    module = Noisy()
    with pytest.raises(UsageError, match="check of determinism"):
        check_module(module, images, 10, "card")
    before = torch.get_rng_state()
    check_module(rb.averaged(module, draws=3), images, 10, "card")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_average_tends_to_the_expectation_with_more_draws(images):
    torch.manual_seed(0)
    module = Noisy()
    expected = module.out(images.flatten(1))  # dropout keeps the mean
    errors = [float((rb.averaged(module, draws)(images) - expected).square().mean().detach()) for draws in (4, 256)]
    assert errors[1] < errors[0] / 16  # one over the number of draws: 64, with room for chance


def test_one_logit_for_two_classes_becomes_two_with_its_sigmoid_as_softmax(images):
    torch.manual_seed(0)
    for last in ([], [nn.Flatten(0)]):
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), *last)
        logits = rb.two_classes(module)(images)
        torch.testing.assert_close(logits.softmax(1)[:, 1], module(images).reshape(-1).sigmoid())
        check_module(rb.two_classes(module), images, 2, "card")


@pytest.mark.parametrize("draws", [0, -1, 1.5, True])
def test_a_number_of_draws_that_is_none_is_refused(draws):
    with pytest.raises(UsageError, match="draws: must be"):
        rb.averaged(Noisy(), draws)
