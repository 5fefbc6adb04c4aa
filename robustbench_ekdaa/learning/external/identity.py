"""What decides the answers of a module that is there already: its code, its plain attributes, its tensors."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

KEPT = frozenset({*vars(nn.Module()), "training"})  # attributes of every module, which say nothing about its answers
PLAIN = (bool, int, float, str, bytes, type(None))


def structure_digest(module: nn.Module) -> str:
    """Return the SHA-256 of what a module and its parts are: their classes, code and plain attributes."""
    found = hashlib.sha256()
    for name, part in module.named_modules():
        attributes = {key: told for key, value in vars(part).items() if key not in KEPT and (told := _plain(value))}
        found.update(ascii((name, *_classes(type(part)), part.extra_repr(), sorted(attributes.items()))).encode())
    return found.hexdigest()


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all tensors of a module: parameters, buffers, also those not saved, and plain ones."""
    found = hashlib.sha256()
    for name, tensor in tensors_of(module):
        found.update(ascii((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a module by name: parameters, buffers, and those that are plain attributes."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{name}.{key}", value


def _classes(kind: type) -> Iterator[str]:
    """Yield the names of a module's classes, and the source of those that are not PyTorch's."""
    for each in kind.__mro__:
        if each in (nn.Module, object):
            continue
        yield f"{each.__module__}.{each.__qualname__}"
        if not each.__module__.startswith("torch."):
            try:
                yield inspect.getsource(each)
            except (OSError, TypeError):  # typed into an interpreter that keeps no source
                yield ""


def _plain(value: Any) -> str:
    """Return a value as text if it is a number, a text, a function, or a list of such; else ""."""
    if isinstance(value, PLAIN):
        return ascii(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    name = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '')}.{name}" if callable(value) and isinstance(name, str) else ""
