"""The rows that the command `list` shows, one function per kind of name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .cards import ModelCard, Shelf, Workspace
from .errors import UsageError
from .registry import COMPONENTS, FACTORIES, NETWORKS, RULES, Registry

Rows = list[dict[str, Any]]


def _first_line(registry: Registry, name: str) -> str:
    try:
        return (inspect.getdoc(registry.get(name)) or "").split("\n")[0]
    except UsageError as error:  # broken code of another package: the others are listed
        return str(error)


def _described(registry: Registry) -> Rows:
    return [{"name": name, "description": _first_line(registry, name)} for name in registry]


def list_models(workspace: Workspace) -> Rows:
    """Model cards."""
    cards, _ = workspace.models.read_all()
    return [
        {
            "name": card.name,
            "role": card.role,
            "rule": card.rule if isinstance(card, ModelCard) else card.rule_name,
            "title": card.label,
            # Of models that were trained elsewhere nobody here knows how.
            "recipes": ", ".join(card.training) if isinstance(card, ModelCard) else None,
            "paper": card.paper,
        }
        for card in cards
    ]


def list_recipes(workspace: Workspace) -> Rows:
    """Recipe cards."""
    cards, _ = workspace.recipes.read_all()
    return [{"name": card.name, "title": card.label, "recipes": ", ".join(card.training)} for card in cards]


def list_attacks(workspace: Workspace) -> Rows:
    """Attack cards."""
    cards, _ = workspace.attacks.read_all()
    return [
        {"name": card.name, "norm": card.norm, "steps": card.steps, "title": card.label, "paper": card.paper}
        for card in cards
    ]


def list_components(workspace: Workspace) -> Rows:
    """Components of attack cards."""
    return [{"role": role, **row} for role, registry in COMPONENTS.items() for row in _described(registry)]


def list_suites(workspace: Workspace) -> Rows:
    """Suites of attacks."""
    cards, _ = workspace.suites.read_all()
    return [{"name": card.name, "title": card.label, "attacks": ", ".join(card.attacks)} for card in cards]


def list_datasets(workspace: Workspace) -> Rows:
    """Data sets, on this machine or not."""
    from .data import status

    return [
        {
            "name": entry.name,
            "title": entry.title,
            "where": entry.where,
            "train": entry.train,
            "test": entry.test,
            "shape": None if entry.image_shape is None else "x".join(map(str, entry.image_shape)),
            "classes": entry.classes,
        }
        for entry in status()
    ]


LISTINGS: dict[str, Callable[[Workspace], Rows]] = {
    "models": list_models,
    "recipes": list_recipes,
    "rules": lambda workspace: _described(RULES),
    "networks": lambda workspace: _described(NETWORKS),
    "factories": lambda workspace: _described(FACTORIES),
    "attacks": list_attacks,
    "components": list_components,
    "suites": list_suites,
    "datasets": list_datasets,
}


def list_unreadable(what: str, workspace: Workspace) -> list[str]:
    """Return one line about each file in the folder of these cards that cannot be read as one."""
    shelves: dict[str, Shelf[Any]] = {
        "models": workspace.models,
        "recipes": workspace.recipes,
        "attacks": workspace.attacks,
        "suites": workspace.suites,
    }
    return shelves[what].read_all()[1] if what in shelves else []
