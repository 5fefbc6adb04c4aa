"""A watch over tensor operations: that work stays on its device can be told where there is no GPU to do it on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class OneDevice(TorchDispatchMode):
    """Raise where an operation but a copy mixes devices; torch's "meta" device, which holds no numbers, is one.

    Only numbers (tensors without a dimension) may come from the CPU, as torch itself allows for a GPU.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim() > 0]
        devices = {tensor.device.type for tensor in tensors}
        if len(devices) > 1 and func not in COPIES:
            raise AssertionError(f"{func} mixes {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))
