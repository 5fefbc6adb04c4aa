"""What PyTorch is set to (autocast, default type and device, inference and gradient mode) changes no image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.crafting import kernels
from robustbench_ekdaa.crafting.components import inputs

from ..support.quick_attacks import EPSILONS, quick
from ..support.torch_settings import default_device, default_dtype, rounded_products


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


AMBIENT: dict[str, Callable[[], object]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default type": default_dtype,
    "default device": default_device,
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "rounded products": rounded_products,
    "deterministic algorithms": deterministic,
}
# Every component of the package, and an adapter of each library that differentiates and of each that asks.
ATTACKS = [
    "pgd_l2",
    "pgd_l1",
    "r_fgsm",
    "pi_fgsm",
    "vni_fgsm",
    "emi_fgsm",
    "si_ni_fgsm",
    "ssa_fgsm",
    "admix",
    "di_ti_mi_fgsm",
    "ti_mi_fgsm_15",
    "svre_mi_fgsm",
    "ens_mi_fgsm_probabilities",
    "mi_fgsm_targeted",
    "noise",
    "deepfool_linf",
    "hopskipjump_linf",
    "apgd_ce",
]


class Making(nn.Module):
    """Makes a tensor in its forward without saying of which type and where."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * torch.full((8, 8), 0.7))


@pytest.fixture(scope="module")
def prey(make_network, digits):
    return Making(make_network(1)).train(), digits[0][:3], digits[1][:3]


def crafted(name: str, prey) -> Tensor:
    network, images, labels = prey
    attack = quick(name)
    others = [deepcopy(network)] if attack.uses_ensemble else []
    networks = [network, *others] if attack.uses_surrogate else []
    return rb.craft(attack, networks, images, labels, [0, EPSILONS[attack.norm][0]])


@pytest.mark.filterwarnings("ignore")  # of kernels that are large for 8 pixels
@pytest.mark.parametrize("name", ATTACKS)
def test_images_are_the_same_whatever_pytorch_was_told_before(prey, name):
    usual = crafted(name, prey)
    for label, ambient in AMBIENT.items():
        # What is kept from call to call must not be of the kind that the first caller happened to have set.
        for kept in (kernels.kernel_weights, inputs._cosines, inputs._resize_matrix):
            kept.cache_clear()
        with ambient():
            found = crafted(name, prey)
        assert torch.equal(found, usual), label
        assert (found.dtype, found.device.type, found.requires_grad) == (torch.float32, "cpu", False), label
        assert not found.is_inference(), label
        assert torch.equal(crafted(name, prey), usual), label
    assert prey[0].training
