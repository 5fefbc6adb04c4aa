"""Attacks made for photographs, on images of 8 and 28 pixels: cards that fit, and words for those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Component, Workspace
from robustbench_ekdaa.crafting import doubts
from robustbench_ekdaa.crafting.components.gradients import kernel_side, kernel_weights

ATTACKS = Workspace().attacks
FITTED = ["ti_fgsm", "ti_mi_fgsm", "di_ti_mi_fgsm", "ens_di_ti_mi_fgsm"]


@pytest.mark.parametrize(
    ("side", "size"), [(4, 5), (8, 5), (16, 5), (28, 5), (32, 7), (48, 9), (64, 13), (96, 15), (224, 15), (299, 15)]
)
def test_a_kernel_of_a_share_of_the_side_is_odd_and_never_larger_than_the_authors(side, size):
    assert kernel_side("side / 5", side) == size
    assert kernel_weights("gaussian", size).shape == (size, size)


@pytest.mark.parametrize("name", FITTED)
def test_the_authors_kernel_has_a_card_of_its_own_that_differs_in_nothing_else(name):
    fitted, large = ATTACKS[name].identity(), ATTACKS[f"{name}_15"].identity()
    assert (fitted["gradient"][0].pop("size"), large["gradient"][0].pop("size")) == ("side / 5", 15)
    assert (fitted.pop("name"), large.pop("name")) == (name, f"{name}_15")
    assert fitted == large


def test_on_large_images_the_fitted_card_is_the_authors(make_network):
    images, labels = torch.rand(2, 1, 80, 80, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    fitted, large = (rb.craft(name, make_network(1), images, labels, [0.1]) for name in ("ti_fgsm", "ti_fgsm_15"))
    assert torch.equal(fitted, large)


def test_on_digits_the_fitted_kernel_costs_little_white_box_strength_and_the_authors_most_of_it(digits):
    images, labels = digits
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    torch.set_rng_state(torch_state)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()

    def accuracy(name: str) -> float:
        (found,) = rb.craft(name, network, images, labels, [0.1])
        return float((network(found).argmax(1) == labels).float().mean())

    with pytest.warns(UserWarning, match="ti_fgsm_15: its kernel of 15 pixels is larger than half the 8 x 8 image"):
        large = accuracy("ti_fgsm_15")
    none, fitted = accuracy("fgsm"), accuracy("ti_fgsm")
    assert fitted < none + 0.1
    assert large > none + 0.2


def doubted(component: str, shape: tuple[int, ...], **options: object) -> list[str]:
    return doubts([Component(component=component, **options)], shape)


@pytest.mark.parametrize(("size", "shape"), [(15, (1, 28, 28)), (5, (1, 8, 8)), (15, (3, 29, 200)), (17, (3, 32, 32))])
def test_a_kernel_larger_than_half_the_image_is_doubted(size, shape):
    (one,) = doubted("kernel_smoothing", shape, size=size)
    assert f"its kernel of {size} pixels is larger than half the {shape[1]} x {shape[2]} image" in one
    assert doubted("kernel_smoothing", shape, size="side / 5") == []


def test_the_kernel_of_a_card_that_gives_no_size_is_the_authors():
    assert "of 15 pixels" in doubted("kernel_smoothing", (1, 28, 28))[0]


@pytest.mark.parametrize(("size", "shape"), [(15, (3, 30, 30)), (15, (3, 299, 299)), (3, (1, 8, 8)), (7, (1, 28, 28))])
def test_a_kernel_of_at_most_half_the_image_is_not_doubted(size, shape):
    assert doubted("kernel_smoothing", shape, size=size) == []


def test_a_diversity_that_changes_nothing_is_doubted():
    assert "changes nothing" in doubted("diversity", (1, 8, 8), smallest=1.0)[0]
    assert "changes nothing" in doubted("diversity", (1, 1, 1))[0]
    assert doubted("diversity", (1, 8, 8)) == []
    assert doubted("diversity", (1, 28, 28), smallest=0.9) == []


def test_other_parts_are_not_doubted():
    assert doubted("scale", (1, 2, 2)) == doubted("look_ahead", (1, 2, 2)) == []
