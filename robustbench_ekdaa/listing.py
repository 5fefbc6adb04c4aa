"""What `list` shows: one function per kind of name, returning plain rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .cards import Workspace
from .registry import COMPONENTS, NETWORKS, RULES, Registry

Rows = list[dict[str, Any]]


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def _described(registry: Registry) -> Rows:
    return [{"name": name, "description": _first_line(registry.get(name))} for name in registry]


def list_models(workspace: Workspace) -> Rows:
    """Model cards."""
    cards = [workspace.models[name] for name in workspace.models.names()]
    return [
        {
            "name": card.name,
            "rule": card.rule,
            "title": card.label,
            "recipes": ", ".join(card.training),
            "paper": card.paper,
        }
        for card in cards
    ]


def list_attacks(workspace: Workspace) -> Rows:
    """Attack cards."""
    cards = [workspace.attacks[name] for name in workspace.attacks.names()]
    return [
        {"name": card.name, "norm": card.norm, "steps": card.steps, "title": card.label, "paper": card.paper}
        for card in cards
    ]


def list_components(workspace: Workspace) -> Rows:
    """What attack cards are composed of."""
    return [{"role": role, **row} for role, registry in COMPONENTS.items() for row in _described(registry)]


def list_suites(workspace: Workspace) -> Rows:
    """Suites of attacks."""
    cards = [workspace.suites[name] for name in workspace.suites.names()]
    return [{"name": card.name, "title": card.label, "attacks": ", ".join(card.attacks)} for card in cards]


def list_datasets(workspace: Workspace) -> Rows:
    """Data sets, here or not."""
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
    "rules": lambda workspace: _described(RULES),
    "networks": lambda workspace: _described(NETWORKS),
    "attacks": list_attacks,
    "components": list_components,
    "suites": list_suites,
    "datasets": list_datasets,
}
