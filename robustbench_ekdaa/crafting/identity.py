"""The key of an attack: a hash of all that decides its images besides surrogate, image and epsilon."""

from __future__ import annotations

from ..cards import AttackCard, content_hash
from .surrogates import Precision

# Part of every attack's identity: raise it when a change in crafting would give other images from the same card.
CRAFTING_VERSION = 2
ADAPTER_VERSION = 3  # the same for attacks of other libraries
# The same for attacks with these components: how often a change in one has given other images from the same card.
REVISIONS = {"admix": 1, "diversity": 1}


def attack_key(card: AttackCard, seed: int, precision: Precision = "float32", strict: str = "") -> str:
    """Return the hash of all that decides an attack's images besides surrogate, image and epsilon.

    Args:
        card: the attack card.
        seed: the sweep's seed.
        precision: what the surrogates' layers compute in.
        strict: text of the environment that it is to be crafted in, and nowhere else; "" for any.
    """
    version = CRAFTING_VERSION if card.adapter is None else ADAPTER_VERSION
    facts = {"version": version, "card": card.identity(), "seed": seed}
    # Facts with their default values are left out, so that older keys stay as they are; noise uses no network.
    if precision != "float32" and card.uses_surrogate:
        facts["precision"] = precision
    revisions = {entry.component: REVISIONS[entry.component] for entry in card.input if entry.component in REVISIONS}
    if revisions:
        facts["revisions"] = revisions
    if strict:
        facts["made_with"] = strict
    return content_hash(facts)
