"""Where a ready model comes from: a card's factory and weights, or a module of this process."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...cards import ExternalCard, ReadyCard, RegisteredCard
from ...errors import UsageError, WorkFailed, located, told
from ...files import read_bytes, read_tensors, shown_path
from ...networks.wrappers import Normalised
from ...registry import build, is_file_reference, load_from_file, parameters_of, referenced_digest
from ...remote import fetched, remembered
from ...remote.reading import sha256_of
from .identity import state_digest, structure_digest, tensors_of

MOST_WEIGHTS = 10_000_000_000  # bytes of a file of weights
NAMED = 3  # most names of tensors in a message


def identity(card: ReadyCard, seed: int) -> dict[str, Any]:
    """Return everything that decides the outputs of the model of one seed, as plain data.

    Raises:
        UsageError: for a seed or a file that does not exist.

    """
    card.require(seed)
    if isinstance(card, RegisteredCard):
        return {"network": network_identity(card, seed), "state": _state_of(card, seed, card.module(seed))}
    assert isinstance(card, ExternalCard)
    preprocess = card.external.preprocess
    facts = {"network": network_identity(card, seed), "weights": _weights_digest(card, seed)}
    return facts if preprocess is None else {**facts, "preprocess": preprocess.model_dump(mode="json")}


def network_identity(card: ReadyCard, seed: int) -> Any:
    """Return the part of `identity` that is not learned; it is equal for models of the same network."""
    if isinstance(card, RegisteredCard):
        with located(f"{card.name} (seed {seed})"):
            return structure_digest(card.module(seed))
    assert isinstance(card, ExternalCard)
    factory = card.external.factory
    with located(card.at("external.factory")):
        code = _in_a_file(card) if is_file_reference(factory) else dict(_in_a_module(factory))
    return {"factory": factory.rpartition(":")[2], "options": card.external.options, **code}


def _in_a_file(card: ExternalCard) -> dict[str, str]:
    return {"file": referenced_digest(card.external.factory, card.folder)}


@lru_cache(maxsize=64)
def _in_a_module(factory: str) -> tuple[tuple[str, str], ...]:
    """Return the digest of a module's source, and the version of its package; the module itself is not imported."""
    name = factory.partition(":")[0]
    try:
        specification = importlib.util.find_spec(name)
    except (Exception, SystemExit) as error:  # it imports the packages above the module, which may raise anything
        raise UsageError(f"{name} cannot be imported ({told(error)})") from error
    if specification is None or specification.origin is None:
        raise UsageError(f"there is no module {name}. Install it, or name its folder in $PYTHONPATH.")
    source = Path(specification.origin)
    facts = [("module", name)]
    if source.is_file():
        facts.append(("source", hashlib.sha256(source.read_bytes()).hexdigest()))
    top = name.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, [])[:1]:
        facts.append(("version", importlib.metadata.version(distribution)))
    return tuple(facts)


def _state_of(card: RegisteredCard, seed: int, module: nn.Module) -> str:
    try:
        return state_digest(module)
    except Exception as error:  # of quantised or sparse tensors, or tensors without content
        raise UsageError(f"{card.name} (seed {seed}): its tensors cannot be read ({told(error)})") from error


def _weights_digest(card: ExternalCard, seed: int) -> str:
    """Return the SHA-256 of a file of weights; one at a URL whose digest the card tells is not fetched for that."""
    place, stated = card.weights(seed), card.sha256(seed)
    with located(card.at("external.weights")):
        if place.path is None:
            return stated or remembered(place)[1]
        if not place.path.is_file():
            read_bytes(place.path, 0)  # raises, as nothing can be read there
        try:
            found = sha256_of(place.path)
        except OSError as error:
            raise UsageError(f"{place}: cannot be read ({error.strerror})") from None
        if stated not in (None, found):
            raise UsageError(f"{place}: is not what the card says: its SHA-256 is {found}, not {stated}")
        return found


def _weights_file(card: ExternalCard, seed: int) -> Path:
    """Return a file of weights on this machine, fetched if it is at a URL."""
    place, stated = card.weights(seed), card.sha256(seed)
    if place.path is not None:
        return place.path
    return remembered(place)[0] if stated is None else fetched(place, stated, says="the card")


def make_module(card: ReadyCard, seed: int, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Return a new module: a copy of a registered one; else what the card's factory makes, on the CPU.

    Args:
        card: the model card.
        seed: which of the card's models.
        weights: tensors by name to put into what a factory makes (default: it is left as it is made).

    Raises:
        UsageError: when it cannot be made, or the weights do not fit it.

    """
    if isinstance(card, RegisteredCard):
        # PyTorch does not copy tensors that were computed from parameters, such as a buffer made without no_grad.
        computed = [tensor for _, tensor in tensors_of(card.module(seed)) if not tensor.is_leaf]
        try:
            copied: nn.Module = copy.deepcopy(card.module(seed), {id(one): one.detach().clone() for one in computed})
            return copied
        except Exception as error:
            raise UsageError(f"{card.name} (seed {seed}): cannot be copied ({told(error)})") from error
    assert isinstance(card, ExternalCard)
    module = _called(card, seed)
    if weights is not None:
        fill(module, weights, f"{card.at('external.weights')}: {card.weights(seed)}")
    preprocess = card.external.preprocess
    return module if preprocess is None else Normalised(module, preprocess.mean, preprocess.std)


def _called(card: ExternalCard, seed: int) -> nn.Module:
    """Call the factory; its random draws depend on the seed alone, and the caller's generators are not changed."""
    where = card.at("external.factory")
    with located(where):
        factory = _factory(card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _build(factory, card.external.options, card.at("external.options"))
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{where}: {card.external.factory} must return a torch.nn.Module (got {type(module).__name__})"
        )
    return module


def _factory(card: ExternalCard) -> Callable[..., Any]:
    name = card.external.factory
    if is_file_reference(name):
        return load_from_file(name, card.folder)
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # it may raise anything
        raise UsageError(f"{name} cannot be imported ({told(error)})") from error
    if not callable(found):
        raise UsageError(f"{name} must be a class or function (got {type(found).__name__})")
    factory: Callable[..., Any] = found
    return factory


def _build(factory: Callable[..., Any], options: Mapping[str, Any], where: str) -> Any:
    """Call a factory with its options; one with `**kwargs`, such as torchvision's, checks the options itself."""
    if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters_of(factory).values()):
        return build(factory, options, where)
    try:
        return factory(**options)
    except (UsageError, WorkFailed):
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where}: {getattr(factory, '__name__', 'the factory')} fails: {told(error)}") from error


def read_weights(card: ExternalCard, seed: int) -> dict[str, Tensor]:
    """Return the tensors of a file of weights; nothing but tensors is ever unpickled.

    Raises:
        UsageError: naming file and reason.
        WorkFailed: when it cannot be fetched, or is not what the card says.

    """
    place = card.weights(seed)
    with located(card.at("external.weights")):
        path = _weights_file(card, seed)
        with located(str(place)) if place.path is None else nullcontext():
            return _tensors(path, "safetensors" if place.url.partition("?")[0].endswith(".safetensors") else "pt")


def _tensors(path: Path, form: str) -> dict[str, Tensor]:
    if form == "safetensors":
        return read_tensors(path, "Save it again.").tensors
    content = read_bytes(path, MOST_WEIGHTS)
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file, or one that holds code, can be wrong in any way
        reason = told(error).split(". ")[0]
        raise UsageError(
            f"{shown_path(path)}: cannot be read as weights ({reason}). Save module.state_dict(), not the module."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UsageError(f"{shown_path(path)}: must hold tensors by name. Save module.state_dict() alone.")
    return dict(found)


def fill(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module; raises UsageError, which begins with `where`, if they do not fit it."""
    own = module.state_dict()
    for what, names in (("has no", own.keys() - weights.keys()), ("has also", weights.keys() - own.keys())):
        if names:
            some = ", ".join(sorted(names)[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            raise UsageError(f"{where}: does not fit the module: it {what} {some}")
    try:
        module.load_state_dict(weights)
    except Exception as error:
        raise UsageError(f"{where}: does not fit the module ({told(error)})") from None
