"""Which model cards may be ranked: those that beat chance and the frozen control of their own network.

No attack fools a model that always predicts the same class: its accuracy under attack is its clean accuracy, and every
measure that is divided by clean accuracy puts it first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..storing.outcomes import ModelRecord, Outcomes
from .intervals import lower_bound
from .metrics import Bools
from .transfer import card_names, scored_targets

CONTROL_RULE = "frozen"  # the learning rule that leaves every layer but the last at random
RANKED, CONTROL, NOT_RANKED = "ranked", "control", "not ranked"


@dataclass(frozen=True)
class Standing:
    """Whether a card may be ranked.

    Attributes:
        kind: "ranked" for cards that may be, "control" for the frozen ones, "not ranked" for cards that have not shown
            that they learned anything.
        reason: why a card is not ranked; None for those that may be.
    """

    kind: str = RANKED
    reason: str | None = None


def chance_level(outcomes: Outcomes) -> float:
    """Return the accuracy that no learning is needed for: 1 / K, or more where one class is more frequent than that."""
    counts = np.bincount(outcomes.labels, minlength=1)
    return max(1 / len(outcomes.classes), float(counts.max() / max(counts.sum(), 1)))


def standings(outcomes: Outcomes) -> dict[str, Standing]:
    """Return the standing of every scored target card, by name.

    To be ranked a card has to beat chance (`chance_level`) and every frozen control of its network that the run holds,
    each by a one-sided 95 % bound over images and training seeds (`lower_bound`). Controls have to beat chance.
    """
    if "standings" not in outcomes.derived:
        cards = card_names(outcomes, scored_targets(outcomes))
        outcomes.derived["standings"] = {card: _standing(outcomes, card) for card in cards}
    known: dict[str, Standing] = outcomes.derived["standings"]
    return known


def compared_targets(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the targets that are compared: those of ranked cards and of controls.

    Earlier epochs of a training are there beside its end, and not compared with others.
    """
    kinds = {card: standing.kind for card, standing in standings(outcomes).items()}
    whole = (key for key in scored_targets(outcomes) if outcomes.models[key].training == key)
    return tuple(key for key in whole if kinds[outcomes.models[key].name] != NOT_RANKED)


def _standing(outcomes: Outcomes, card: str) -> Standing:
    right, level = _right(outcomes, card), chance_level(outcomes)
    if not lower_bound(right, level) > 0:
        return Standing(NOT_RANKED, f"not ranked: not shown to beat chance ({100 * level:.1f} %)")
    own = _records(outcomes, card)
    if own[0].rule == CONTROL_RULE:
        return Standing(CONTROL, "control: not ranked")
    for control in _controls(outcomes, own[0]):
        if not lower_bound(right, _right(outcomes, control)) > 0:
            return Standing(NOT_RANKED, f"not ranked: not shown to beat {control}, its control")
    return Standing()


def _records(outcomes: Outcomes, card: str) -> list[ModelRecord]:
    """Return a card's trained models that have seen the clean images."""
    return [
        record
        for key, record in outcomes.models.items()
        if record.name == card and record.status == "trained" and key in outcomes.clean
    ]


def _right(outcomes: Outcomes, card: str) -> Bools:
    """Return which clean images a card's models get right, (n, N)."""
    return np.stack([outcomes.clean[record.key] == outcomes.labels for record in _records(outcomes, card)])


def _controls(outcomes: Outcomes, model: ModelRecord) -> list[str]:
    """Return the names of the frozen cards of a model's network, targets or not."""
    names = dict.fromkeys(record.name for record in outcomes.models.values() if record.rule == CONTROL_RULE)
    return [name for name in names if any(_same_network(one, model) for one in _records(outcomes, name))]


def _same_network(one: ModelRecord, other: ModelRecord) -> bool:
    """Whether two models have the same network; of models of early releases only the number of weights is known."""
    networks = [record.metrics.get("network") for record in (one, other)]
    if None in networks:
        networks = [record.metrics.get("parameters") for record in (one, other)]
    return networks[0] == networks[1]
