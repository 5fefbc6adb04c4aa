"""Digests of everything that decides the outputs of a module: its code, its plain attributes and its tensors."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...crafting.borrowing import IN_EVERY_MODULE, parts_of

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PLAIN = (bool, int, float, str, bytes, type(None))


def structure_digest(module: nn.Module) -> str:
    """Return the SHA-256 of everything but the tensors: classes, code, hooks and plain attributes of all parts."""
    found = hashlib.sha256()
    for name, part in _named_parts(module):
        attributes = {
            key: told for key, value in vars(part).items() if key not in IN_EVERY_MODULE and (told := _plain(value))
        }
        hooks = [[_plain(hook) for hook in vars(part).get(kind, {}).values()] for kind in HOOKS]
        facts = (name, *_classes(type(part)), part.extra_repr(), sorted(attributes.items()), hooks)
        found.update(ascii(facts).encode())
    return found.hexdigest()


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all tensors of a module: parameters, buffers (saved or not) and plain attributes."""
    found = hashlib.sha256()
    for name, tensor in tensors_of(module):
        found.update(ascii((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a module and its parts by name: parameters, buffers, and those that are plain attributes."""
    for name, part in _named_parts(module):
        for key, value in {**part._parameters, **part._buffers, **vars(part)}.items():
            if isinstance(value, Tensor):
                yield f"{name}.{key}", value


def _named_parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a module and its parts by name, and then the modules in plain lists, closures and other objects."""
    yield from module.named_modules(remove_duplicate=False)
    known = set(map(id, module.modules()))
    hidden = (part for part in parts_of(module) if id(part) not in known)
    yield from ((f"hidden {number}", part) for number, part in enumerate(hidden))


def _classes(kind: type) -> Iterator[str]:
    """Yield the names of a module's classes, each with its source."""
    for each in kind.__mro__:
        if each not in (nn.Module, object):
            yield f"{each.__module__}.{each.__qualname__} {_source(each)}"


def _source(thing: Any) -> str:
    """Return the source of a class or function; an empty text for PyTorch's own and where there is no source."""
    if str(thing.__module__).split(".")[0] == "torch":
        return ""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # written in C, or typed into an interpreter that keeps no source
        return ""


def _plain(value: Any) -> str:
    """Return a value as text if it is a number, a text, a function, or a list of these; else an empty text."""
    if isinstance(value, PLAIN):
        return ascii(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
        return f"{value.__module__}.{value.__qualname__} {_source(value)}"
    return ""
