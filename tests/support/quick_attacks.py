"""The package's attack cards with few steps: enough to see an attack work, not to see it at its best."""

from __future__ import annotations

import pytest

from robustbench_ekdaa.cards import AttackCard, Workspace

WORKSPACE = Workspace()
OPTIONS = {
    "apgd_ce": {"max_iter": 10},
    "apgd_dlr": {"max_iter": 10},
    "apgd_t": {"max_iter": 10},
    "boundary_l2": {"steps": 60},
    "cw_l2": {"steps": 60, "binary_search_steps": 3, "stepsize": 0.03, "initial_const": 1.0},
    "geoda_l2": {"max_iter": 1000},
    "hopskipjump_l2": {"steps": 3, "max_gradient_eval_steps": 50},
    "hopskipjump_linf": {"steps": 3, "max_gradient_eval_steps": 50},
    "signopt_l2": {"max_iter": 3, "query_limit": 500},
    "simba_l2": {"max_iter": 150},
    "square": {"max_iter": 40},
    "zoo_l2": {"max_iter": 60, "binary_search_steps": 1},
}
SLOW = {"boundary_l2", "cw_l2", "geoda_l2", "signopt_l2", "zoo_l2"}
EPSILONS = {"linf": [0.05, 0.15], "l2": [0.4, 1.2], "l1": [2.0, 8.0]}


def quick(name: str) -> AttackCard:
    """The card with few steps."""
    attack = WORKSPACE.attacks[name]
    if attack.adapter is None:
        return attack.model_copy(update={"steps": min(attack.steps, 3)})
    fields = attack.adapter.model_dump()
    fields["options"] = {**fields.get("options", {}), **OPTIONS.get(name, {})}
    return attack.model_copy(update={"adapter": type(attack.adapter).model_validate(fields)})


def marked(names: list[str]) -> list[object]:
    """Test cases, those that take long for all their few steps marked as slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


NAMES = WORKSPACE.attacks.names()
ADAPTERS = [name for name in NAMES if WORKSPACE.attacks[name].adapter is not None]
EACH = marked(NAMES)
EACH_ADAPTER = marked(ADAPTERS)
