"""Results do not depend on what PyTorch was told before, and what it was told is not forgotten."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from robustbench_ekdaa.computing import ordinary, ordinary_torch

from .support.torch_settings import default_device, default_dtype, rounded_products

AMBIENT: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default type": default_dtype,
    "default device": default_device,
    "device block": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "rounded products": rounded_products,
}


def settings() -> tuple[object, ...]:
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("ambient", AMBIENT)
def test_what_the_caller_has_set_neither_leaks_in_nor_is_lost(ambient, gradients):
    left, right = torch.rand(2, 300, 300).unbind()
    weight = torch.rand(4, 4, 3, 3)
    exact = (left @ right, torch.conv2d(left.view(1, 4, 150, 150), weight))
    with AMBIENT[ambient]():
        before = settings()
        with ordinary_torch(gradients=gradients):
            made = torch.zeros(1)
            product = left @ right
            convolved = torch.conv2d(left.view(1, 4, 150, 150), weight)
            leaf = torch.ones(1, requires_grad=True)
            assert (leaf * 2).requires_grad is gradients
        assert settings() == before
    assert (made.dtype, made.device.type, made.is_inference()) == (torch.float32, "cpu", False)
    assert product.equal(exact[0])
    assert convolved.equal(exact[1])


def test_the_caller_s_settings_come_back_after_an_error_and_when_nested():
    with default_dtype(), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        before = settings()
        with pytest.raises(ZeroDivisionError), ordinary_torch(gradients=True), ordinary_torch(gradients=False):
            1 / 0  # noqa: B018
        assert settings() == before


def test_rounding_set_backend_by_backend_is_put_aside_too():
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this PyTorch has no such switches")
    images, weight = torch.rand(2, 4, 20, 20), torch.rand(4, 4, 3, 3)
    exact = torch.conv2d(images, weight)
    torch.backends.fp32_precision = "bf16"
    try:
        with ordinary_torch(gradients=False):
            assert torch.conv2d(images, weight).equal(exact)
        assert torch.backends.fp32_precision == "bf16"
    finally:
        torch.backends.fp32_precision = "none"
    assert torch.backends.mkldnn.conv.fp32_precision == "none"


def test_deterministic_algorithms_stay_the_caller_s_choice():
    torch.use_deterministic_algorithms(True)
    try:
        with ordinary_torch(gradients=False):
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_gradients_flow_through_an_ordinary_tensor_wherever_it_was_made():
    with torch.inference_mode():
        made = torch.ones(2)
    grown = torch.ones(2, requires_grad=True) * 2
    for tensor in (made, grown):
        leaf = ordinary(tensor).requires_grad_()
        (leaf * leaf).sum().backward()
        assert leaf.is_leaf
        assert leaf.grad is not None
    assert grown.grad_fn is not None
