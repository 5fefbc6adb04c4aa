"""Registries of everything that a card or a command can name: built in, registered, or in a Python file.

Built-in entries are written as ``"module:attribute"`` and imported when they are first used: listing names is fast.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from .errors import UsageError, WorkFailed, located, shown, told, unknown_name
from .files import read_bytes, shown_path
from .names import as_spelled, other_spelling

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MOST_SOURCE = 10_000_000  # bytes of a Python file that a card names
# Files that were sent to this process, by FILE.py and the folder it is looked for in; nothing else is looked for then.
SENT_FILES: dict[tuple[str, Path | None], Path] = {}
Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry:
    """One kind of thing that can be named in a card or on the command line."""

    def __init__(self, kind: str, builtin: Mapping[str, str], listing: str | None = None) -> None:
        self.kind = kind
        self.listing = listing
        self._builtin = dict(builtin)
        self._registered: dict[str, Callable[..., Any]] = {}
        self._group = "robustbench_ekdaa." + kind.replace(" ", "_") + "s"

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Return a decorator that makes a class or function known by a name.

        Args:
            name: what cards and commands call it; a built-in entry of that name is replaced.

        Raises:
            UsageError: for what is no name.

        """
        if not isinstance(name, str) or not name.isprintable() or not name.strip() or is_file_reference(name):
            raise UsageError(f"{shown(name)}: is no name for a {self.kind}. Write @register_...('my_name').")

        def decorate(factory: Factory) -> Factory:
            if not callable(factory):
                raise UsageError(f"{self.kind} {shown(name)}: must be a class or function (got {shown(factory)})")
            self._registered[name] = factory
            return factory

        return decorate

    def registered(self) -> Mapping[str, Callable[..., Any]]:
        """Return what was registered in this process by decorators."""
        return dict(self._registered)

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self._builtin, *self._registered, *self._entry_points()})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def builtin(self, name: str) -> Callable[..., Any] | None:
        """Return the package's own factory of that name, in either spelling, or None; nobody else's code is run."""
        name = name if name in self._builtin else other_spelling(name, self._builtin) or name
        return _import(self._builtin[name]) if name in self._builtin else None

    def spelled(self, name: str) -> str:
        """Return a name as it is known here, with a warning if that is another spelling; any other name as it is."""
        if name in self._registered or name in self._builtin or is_file_reference(name):
            return name
        return as_spelled(self.kind, name, self.names())

    def get(self, name: str, beside: Path | None = None) -> Callable[..., Any]:
        """Return the factory called ``name``, or the one in a file: ``"my_rule.py:MyRule"``.

        Args:
            name: a known name, or FILE.py:ATTRIBUTE. Hyphens and underscores are read alike, with a warning.
            beside: the folder a relative FILE.py is looked up in (default: the current one).

        Raises:
            UsageError: when there is no such name, file or attribute.

        """
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            return _import(self._builtin[name])
        if is_file_reference(name):
            return load_from_file(name, beside)
        points = self._entry_points()
        if name in points:
            return _loaded(points[name])
        right = self.spelled(name)
        if right != name:
            return self.get(right, beside)
        raise unknown_name(self.kind, name, self.names(), self.listing)


@lru_cache(maxsize=1024)
def _import(path: str) -> Callable[..., Any]:
    """Import ``"module:attribute"``; cached, because attacks are built again for every batch."""
    module, attribute = path.split(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory


def is_file_reference(name: str) -> bool:
    """Whether ``name`` has the form FILE.py:ATTRIBUTE."""
    return ".py:" in name


def referenced_file(name: str, beside: Path | None = None) -> Path:
    """Return the file that FILE.py:ATTRIBUTE names.

    Args:
        name: FILE.py:ATTRIBUTE.
        beside: the folder in which a relative FILE.py is looked for (default: the current one).

    Raises:
        UsageError: when there is no such file.

    """
    if (name.rpartition(":")[0], beside) in SENT_FILES:
        return SENT_FILES[name.rpartition(":")[0], beside]
    path = Path(name.rpartition(":")[0])
    with suppress(RuntimeError):  # "~" where there is no home folder
        path = path.expanduser()
    path = path if path.is_absolute() or beside is None else beside / path
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UsageError(
            f"{name}: there is no file {shown_path(path)}. Give the path relative to the card that names it."
        ) from None
    except OSError:
        pass  # reading the file raises an error that says more
    return path


def referenced_source(name: str, beside: Path | None = None) -> bytes:
    """Return the content of the file that FILE.py:ATTRIBUTE names; see `referenced_file`."""
    return read_bytes(referenced_file(name, beside), MOST_SOURCE)


def referenced_digest(name: str, beside: Path | None = None) -> str:
    """Return the SHA-256 of the file that FILE.py:ATTRIBUTE names; see `referenced_file`."""
    return hashlib.sha256(referenced_source(name, beside)).hexdigest()


def load_from_file(name: str, beside: Path | None = None) -> Callable[..., Any]:
    """Import FILE.py:ATTRIBUTE and return the attribute. This runs the file's code.

    The module's name holds a hash of the file's path and content, so that an edited file is imported again and two
    files never share a module.

    Args:
        name: FILE.py:ATTRIBUTE.
        beside: the folder in which a relative FILE.py is looked for (default: the current one).

    Raises:
        UsageError: when there is no such file or attribute, or an error in the file's code.

    """
    path = referenced_file(name, beside)
    attribute = name.rpartition(":")[2]
    source = referenced_source(name, beside)
    digest = hashlib.sha256(path.resolve().as_posix().encode("utf-8", "surrogateescape") + source).hexdigest()[:16]
    module = _module(f"robustbench_ekdaa_plugin_{path.stem}_{digest}", path)
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"class in {path.name}", attribute, public)
    found: Callable[..., Any] = getattr(module, attribute)
    if not callable(found):
        raise UsageError(f"{name}: must be a class or function (got {shown(found)})")
    return found


_IMPORTS = RLock()  # so that a thread waits while another one imports the same file
_HALF_DONE: set[str] = set()


def _module(name: str, path: Path) -> ModuleType:
    """Import a file under a name, once; any error in its code becomes a UsageError of one line."""
    with _IMPORTS:
        if name in _HALF_DONE:
            raise UsageError(f"{path}: could not be imported: it imports itself while it is being imported")
        if name in sys.modules:
            return sys.modules[name]
        specification = importlib.util.spec_from_file_location(name, path)
        if specification is None or specification.loader is None:
            raise UsageError(f"{path}: not a Python file")
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        _HALF_DONE.add(name)
        try:
            specification.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, (Exception, SystemExit)):  # Ctrl-C
                raise
            raise UsageError(f"{path}: could not be imported: {told(error)}") from error
        finally:
            _HALF_DONE.discard(name)
        return module


def _loaded(point: importlib.metadata.EntryPoint) -> Callable[..., Any]:
    """Import what another package registered; any error in its code becomes a UsageError of one line."""
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{point.name}: {point.value} could not be imported: {told(error)}") from error
    if not callable(found):
        raise UsageError(f"{point.name}: {point.value} must be a class or function (got {shown(found)})")
    return found  # type: ignore[no-any-return]


def build(factory: Callable[..., Any], options: Mapping[str, Any], where: str, **given: Any) -> Any:
    """Call ``factory(**options, **given)`` after checking the options against its signature.

    Types and ranges come from the annotations, ``Annotated[float, Field(gt=0)]`` included.

    Args:
        factory: a class or function with keyword arguments.
        options: what a card says.
        where: card and field, for the error message.
        given: arguments that the caller supplies and a card must not set.

    Raises:
        UsageError: for an unknown, missing or ill-typed option.

    """
    arguments = dict(given)
    for name, value in options.items():
        known = [parameter for parameter in parameters_of(factory) if parameter not in given]
        if name not in known:
            raise UsageError(f"{where}: {unknown_name('option', name, known)}")
        arguments[name] = _checked(factory, name, value, where)
    missing = [name for name in _required(factory) if name not in arguments]
    if missing:
        raise UsageError(f"{where}: the option {missing[0]} is missing")
    try:
        with located(where):
            return factory(**arguments)
    except (UsageError, WorkFailed):
        raise
    except (Exception, SystemExit) as error:  # a class or function from a card's file may raise anything
        name = getattr(factory, "__name__", type(factory).__name__)
        raise UsageError(f"{where}: {name} fails: {told(error)}") from error


def _checked(factory: Callable[..., Any], name: str, value: Any, where: str) -> Any:
    from pydantic import ValidationError

    try:
        # As JSON, so that a list is accepted as a tuple, but no other type as another: not true as 1, nor "1" as 1.
        return _option_type(factory, name).validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        places = [part for part in problem["loc"] if isinstance(part, int)]  # without pydantic's own names of types
        raise UsageError(f"{'.'.join(map(str, (where, name, *places)))}: {explain(problem)}") from None
    except (TypeError, ValueError, RecursionError):
        raise UsageError(f"{where}.{name}: must be a finite number, text, list or table (got {shown(value)})") from None


@lru_cache(maxsize=1024)
def parameters_of(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return a factory's parameters; cached, because attacks are built again for every batch."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some classes written in C
        raise UsageError(f"{shown(factory)} does not say which arguments it takes; wrap it in a function") from None


@lru_cache(maxsize=1024)
def _required(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that a factory needs."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = parameters_of(factory).values()
    return tuple(each.name for each in parameters if each.default is inspect.Parameter.empty and each.kind in named)


@lru_cache(maxsize=1024)
def _option_type(factory: Callable[..., Any], name: str) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
        return TypeAdapter(hints.get(name, Any), config=ConfigDict(arbitrary_types_allowed=True))
    except (
        NameError,
        TypeError,
        PydanticUserError,
    ):  # names that exist for type checkers only, or types that pydantic cannot check
        return TypeAdapter(Any)


# Pydantic's errors about types, and what these types are called in TOML.
WORDS = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "text",
    "tuple_type": "a list",
}


def explain(problem: Mapping[str, Any]) -> str:
    """Return a message for people about a problem that pydantic found with one value."""
    message = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "extra_forbidden":
        return "unknown field"
    if problem["type"] == "value_error":
        return message
    if problem["type"] in ("too_long", "too_short", "string_too_long", "string_too_short"):
        return f"must have {message.partition(' should have ')[2]}"
    return f"must be {WORDS.get(problem['type'], message)} (got {shown(problem['input'])})"


RULES = Registry(
    "rule",
    {
        "backprop": "robustbench_ekdaa.learning.rules.backprop:Backprop",
        "dfa": "robustbench_ekdaa.learning.rules.direct_feedback_alignment:DirectFeedbackAlignment",
        "drtp": "robustbench_ekdaa.learning.rules.drtp:DirectRandomTargetProjection",
        "ekdaa": "robustbench_ekdaa.learning.rules.ekdaa:Ekdaa",
        "ekdaa_release": "robustbench_ekdaa.learning.rules.ekdaa_release:EkdaaRelease",
        "fa": "robustbench_ekdaa.learning.rules.feedback_alignment:FeedbackAlignment",
        "frozen": "robustbench_ekdaa.learning.rules.frozen:FrozenConvolutions",
        "kolen_pollack": "robustbench_ekdaa.learning.rules.kolen_pollack:KolenPollack",
        "pepita": "robustbench_ekdaa.learning.rules.pepita:Pepita",
        "predictive_coding": "robustbench_ekdaa.learning.rules.predictive_coding:PredictiveCoding",
        "predsim": "robustbench_ekdaa.learning.rules.local_errors:LocalErrors",
        "sign_symmetry": "robustbench_ekdaa.learning.rules.sign_symmetry:SignSymmetry",
        "straight_through": "robustbench_ekdaa.learning.rules.straight_through:StraightThrough",
    },
    listing="robustbench-ekdaa list rules",
)
# The names of these rules in the first release. The keys of stored models were made with them.
RELEASED_RULES = {
    "ekdaa_release": "ekdaa-release",
    "kolen_pollack": "kolen-pollack",
    "predictive_coding": "predictive-coding",
    "sign_symmetry": "sign-symmetry",
    "straight_through": "straight-through",
}
NETWORKS = Registry(
    "network",
    {
        "small_cnn": "robustbench_ekdaa.networks.presets:small_cnn",
        "lenet": "robustbench_ekdaa.networks.presets:lenet",
        "ekdaa_cnn": "robustbench_ekdaa.networks.presets:ekdaa_cnn",
        "mlp": "robustbench_ekdaa.networks.presets:mlp",
        "wide_cnn": "robustbench_ekdaa.networks.presets:wide_cnn",
    },
    listing="robustbench-ekdaa list networks",
)
FACTORIES = Registry(
    "network factory",
    {
        "batchnorm_cnn": "robustbench_ekdaa.networks.architectures:batchnorm_cnn",
        "residual": "robustbench_ekdaa.networks.architectures:residual",
        "vision_transformer": "robustbench_ekdaa.networks.architectures:vision_transformer",
    },
    listing="robustbench-ekdaa list factories",
)
DATASETS = Registry(
    "data set",
    {
        "digits": "robustbench_ekdaa.data.builtin:digits",
        "fashion_mnist": "robustbench_ekdaa.data.builtin:fashion_mnist",
        "cifar10": "robustbench_ekdaa.data.builtin:cifar10",
        "svhn": "robustbench_ekdaa.data.builtin:svhn",
    },
    listing="robustbench-ekdaa list datasets",
)

_CRAFTING = "robustbench_ekdaa.crafting."
_PARTS = _CRAFTING + "components."
COMPONENTS = {
    "loss": Registry(
        "attack loss",
        {
            "cross_entropy": _PARTS + "losses:cross_entropy",
            "margin": _PARTS + "losses:margin",
            "logit": _PARTS + "losses:logit",
            "logit_ratio": _PARTS + "losses:logit_ratio",
        },
    ),
    "source": Registry(
        "gradient source",
        {
            "single": _PARTS + "sources:single",
            "ensemble_logits": _PARTS + "sources:ensemble_logits",
            "ensemble_probabilities": _PARTS + "sources:ensemble_probabilities",
            "ensemble_losses": _PARTS + "sources:ensemble_losses",
            "variance_reduced": _PARTS + "sources:variance_reduced",
        },
    ),
    "start": Registry(
        "attack start", {"uniform": _PARTS + "starts:uniform", "random_sign": _PARTS + "starts:random_sign"}
    ),
    "input": Registry(
        "input transform",
        {
            "admix": _PARTS + "inputs:admix",
            "diversity": _PARTS + "inputs:diversity",
            "scale": _PARTS + "inputs:scale",
            "spectrum": _PARTS + "inputs:spectrum",
        },
    ),
    "gradient": Registry(
        "gradient transform",
        {
            "kernel_smoothing": _PARTS + "gradients:kernel_smoothing",
            "look_ahead": _PARTS + "gradients:look_ahead",
            "sampling": _PARTS + "gradients:sampling",
            "variance_tuning": _PARTS + "gradients:variance_tuning",
        },
    ),
    "update": Registry("attack update", {"plain": _PARTS + "updates:plain", "momentum": _PARTS + "updates:momentum"}),
    "adapter": Registry(
        "attack adapter",
        {"foolbox": _CRAFTING + "adapters.foolbox:foolbox_attack", "art": _CRAFTING + "adapters.art:art_attack"},
    ),
    "step": Registry("attack step", {"steepest": _PARTS + "steps:steepest", "patch_wise": _PARTS + "steps:patch_wise"}),
}


def register_component(role: str, name: str) -> Callable[[Factory], Factory]:
    """Return a decorator that makes a function known to attack cards.

    Args:
        role: what it is a part of: loss, source, start, input, gradient, update, step or adapter.
        name: what cards call it.

    Raises:
        UsageError: for another role.

    """
    if not isinstance(role, str) or role not in COMPONENTS:
        raise unknown_name("role of a component", role, COMPONENTS)
    return COMPONENTS[role].register(name)


register_rule, register_network, register_factory = RULES.register, NETWORKS.register, FACTORIES.register
register_dataset = DATASETS.register
