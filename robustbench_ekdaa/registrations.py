"""Repeating in a worker process what modules and the user's script registered in the driver."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing.spawn
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .registry import COMPONENTS, DATASETS, FACTORIES, NETWORKS, RULES, Registry

SCRIPT = ("__main__", "__mp_main__")


@dataclass(frozen=True)
class Registrations:
    """What was registered by decorators.

    Attributes:
        names: (kind, name) of each.
        modules: (name, file) of the modules in which the factories are written, without the user's script.
        script: what multiprocessing needs to run the user's script again; empty if it registered nothing.

    """

    names: tuple[tuple[str, str], ...]
    modules: tuple[tuple[str, str | None], ...]
    script: dict[str, str]

    @property
    def place(self) -> str:
        """The script's name for messages."""
        return next(iter(self.script.values()), "the script")


def registries() -> dict[str, Registry]:
    """Return all registries by what they hold."""
    return {registry.kind: registry for registry in (RULES, NETWORKS, FACTORIES, DATASETS, *COMPONENTS.values())}


def registrations() -> Registrations:
    """Return what was registered in this process."""
    things = {(kind, name): made for kind, one in registries().items() for name, made in one.registered().items()}
    written_in = dict.fromkeys(str(getattr(made, "__module__", "")) for made in things.values())
    modules = [name for name in written_in if name in sys.modules and name not in SCRIPT]
    files = [getattr(sys.modules[name], "__file__", None) for name in modules]
    facts = multiprocessing.spawn.get_preparation_data("worker") if things else {}
    script = {key: str(value) for key, value in facts.items() if key.startswith("init_main_from")}
    return Registrations(tuple(things), tuple(zip(modules, files, strict=True)), script)


def register_again(wanted: Registrations) -> None:
    """Import the modules in this process, and run the script again if something is then still not registered."""
    for name, file in wanted.modules:
        _import(name, file)
    if any(True for _ in _unknown(wanted)):
        multiprocessing.spawn.prepare(dict(wanted.script))


def _unknown(wanted: Registrations) -> Iterator[tuple[str, str]]:
    known = registries()
    return ((kind, name) for kind, name in wanted.names if name not in known[kind].registered())


def _import(name: str, file: str | None) -> None:
    """Import a module by its name, or from its file if Python does not find it by name."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if file is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        specification = importlib.util.spec_from_file_location(name, file)
        assert specification is not None
        assert specification.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
