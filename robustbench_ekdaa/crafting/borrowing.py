"""Networks while an attack computes with them: in evaluation mode, frozen, one attack at a time; then as they were."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..computing import ordinary
from ..networks import Network

# How many objects the search for hidden parts looks at: a network may hold on to a whole data set.
SEARCHED = 100_000
ENDS = (type, ModuleType, Tensor, str, bytes, int, float, type(None))  # where that search goes no further
IN_EVERY_MODULE = frozenset(vars(nn.Module()))  # attributes that say nothing about a module
TENSORS = ("_parameters", "_buffers")  # those among them that hold no modules
# Networks, and the global random generators that other libraries draw from, belong to all threads: they take turns.
TURN = threading.RLock()


def parts_of(network: nn.Module) -> list[nn.Module]:
    """Return all modules a network's forward may use, nearest first, the network included.

    Those in plain lists, dicts, closures or other objects count too, although PyTorch does not set them to evaluation
    mode with the network. One that the forward finds in a global variable is not found.
    """
    if type(network) is Network:
        return list(network.modules())
    found, seen, waiting = [], set[int](), deque[object]([network])
    while waiting and len(seen) < SEARCHED:
        thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append(thing)
        waiting.extend(each for each in _inside(thing) if not isinstance(each, ENDS))
    return found


def _inside(thing: object) -> Iterable[object]:
    if isinstance(thing, nn.Module):
        # What PyTorch itself keeps there is mostly empty, and only that may be asked whether it is.
        return [
            value
            for name, value in vars(thing).items()
            if name not in IN_EVERY_MODULE or (value and name not in TENSORS)
        ]
    if isinstance(thing, FunctionType):  # all but its globals, through which everything can be reached
        return thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__
    return gc.get_referents(thing)


@contextmanager
def borrowed(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules in evaluation mode with all parameters frozen; afterwards flags and tensors are as they were.

    While one thread has borrowed something, others wait: the first to finish would give flags back that the rest need.
    """
    with TURN, ExitStack() as stack:
        for lend in (_ordinary_tensors, _buffers, _frozen, _evaluating):
            stack.callback(lend(parts))
        yield


def _ordinary_tensors(parts: Sequence[nn.Module]) -> Callable[[], None]:
    """Put copies in the place of tensors made in inference mode, through which no gradient flows."""
    swapped: list[tuple[Any, str, Tensor]] = []
    for part in parts:
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None and tensor.is_inference():
                    swapped.append((table, name, tensor))
    for table, name, tensor in swapped:
        copied = ordinary(tensor)
        table[name] = nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied

    def undo() -> None:
        for table, name, tensor in swapped:
            table[name] = tensor

    return undo


class _Buffer(NamedTuple):
    """A buffer as it was: where it stands, under which name, how often it had been written to, and what it held."""

    table: dict[str, Tensor | None]
    name: str
    buffer: Tensor
    version: int
    value: Tensor


def _buffers(parts: Sequence[nn.Module]) -> Callable[[], None]:
    """Keep what buffers hold; a forward may write to them, or put others in their place, also in evaluation mode."""
    kept = [
        _Buffer(part._buffers, name, buffer, buffer._version, buffer.clone())
        for part in parts
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]

    def undo() -> None:
        for one in kept:
            if one.buffer._version != one.version:
                one.buffer.copy_(one.value)
            one.table[one.name] = one.buffer

    return undo


def _frozen(parts: Sequence[nn.Module]) -> Callable[[], None]:
    parameters = [parameter for part in parts for parameter in part._parameters.values() if parameter is not None]
    before = [(parameter, parameter.requires_grad) for parameter in parameters]

    def undo() -> None:
        for parameter, required in before:
            if parameter.requires_grad != required:
                parameter.requires_grad_(required)

    for parameter, required in before:
        if required:
            parameter.requires_grad_(False)
    return undo


def _evaluating(parts: Sequence[nn.Module]) -> Callable[[], None]:
    """Set evaluation mode; parts that have a `train` or `eval` of their own are asked to do so themselves first."""
    before = [(part, part.training) for part in parts]
    own = [
        part
        for part, training in before
        if training and (type(part).train is not nn.Module.train or type(part).eval is not nn.Module.eval)
    ]

    def undo() -> None:
        for part in own:
            with suppress(Exception):
                part.train()
        for part, training in before:
            if part.training != training:
                part.training = training

    for part in own:
        with suppress(Exception):  # an exported network refuses; its flag is set all the same
            part.eval()
    for part in parts:
        if part.training:  # setting an attribute of a module takes as long as a small operation
            part.training = False
    return undo
