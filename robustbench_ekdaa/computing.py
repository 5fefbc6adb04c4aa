"""Computing with PyTorch's usual settings, whatever the caller has set, so that no result depends on these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # kinds of device that PyTorch may be told to autocast on


@contextmanager
def ordinary_torch(*, gradients: bool) -> Iterator[None]:
    """Compute with PyTorch's usual settings, and afterwards restore those of the caller.

    Inside, autocast and the caller's inference mode are off, tensors are float32 and on the CPU unless the code says
    otherwise, and products of float32 numbers are not rounded to fewer bits. Deterministic algorithms, the number of
    threads and the random generators stay as they are. A generator must not yield inside, because its caller would then
    run with these settings.

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
        if (
            torch.get_default_device().type != "cpu"
        ):  # checked first, because every operation is slower inside such a block
            stack.enter_context(torch.device("cpu"))
        multiply_exactly(stack)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))  # after the line above, which sets it too
        yield


def multiply_exactly(stack: ExitStack) -> None:
    """Until the stack is closed, let no backend round float32 products more than it does by default."""
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
    """Return a tensor with the same values that autograd can use: detached, and not from inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
