"""PyTorch's ambient settings, put aside while something of ours is computed, so that no result depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # kinds of device that PyTorch may be told to autocast on


@contextmanager
def ordinary_torch(*, gradients: bool) -> Iterator[None]:
    """Compute with PyTorch as it is by itself, whatever the caller has set, and put the caller's settings back.

    Inside, autocast is off, tensors whose type or device nobody names are float32 and on the CPU, products of float32
    numbers are not rounded to fewer bits, and no inference mode is left from outside. Deterministic algorithms, the
    number of threads and the random generators stay as they are. A generator must not yield inside: it would leave
    its caller there.

    Args:
        gradients: whether operations are recorded for autograd.

    """
    with ExitStack() as stack:
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":  # asked first: inside such a block every operation is slower
            stack.enter_context(torch.device("cpu"))
        multiply_exactly(stack)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))  # after the line above, which sets it too
        yield


def multiply_exactly(stack: ExitStack) -> None:
    """Let no backend round the factors of float32 products until the stack is left, except as it does by itself."""
    backends = torch.backends
    mkldnn = [getattr(backends.mkldnn, name, None) for name in ("matmul", "conv")]
    for switch in (backends, backends.cuda.matmul, *mkldnn):
        before = getattr(switch, "fp32_precision", None)
        if before not in ("none", "ieee", None):
            stack.callback(setattr, switch, "fp32_precision", before)
            setattr(switch, "fp32_precision", "none" if switch is backends else "ieee")  # noqa: B010 - of any type
    # PyTorch before 2.9 has this one switch only.
    if not hasattr(backends, "fp32_precision") and torch.get_float32_matmul_precision() != "highest":
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("highest")


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor that gradients can flow through: apart from any graph, and not one of inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
