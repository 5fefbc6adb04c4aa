"""Whether the surrogates can say anything about the targets: strong ones, of several kinds, and strangers to them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from ...storing.bits import how_many, to_bits
from ...storing.outcomes import Outcomes
from ..transfer import TransferGrid, card_names, scored_targets, transfer_grids
from .finding import FAIL, WARN, Finding, passed, some, title
from .withstood import own_pairs

# White-box success at the largest epsilon: of a good surrogate, and of one that says next to nothing.
STRONG, HOPELESS = 0.95, 0.5


def surrogate_rules(outcomes: Outcomes) -> Iterator[Finding]:
    """Count the learning rules of the surrogates."""
    rules = {outcomes.models[key].rule for grid in transfer_grids(outcomes) for key in grid.holders}
    if not rules or len(scored_targets(outcomes)) < 2:
        return
    if len(rules) > 1:
        yield passed("surrogate_rules", len(rules), f"Surrogates of {len(rules)} learning rules.")
        return
    (rule,) = rules
    meaning = (
        f"All surrogates were trained with one rule ({rule}): models of other rules may look robust only because the "
        "attacks were not made for their kind."
    )
    yield Finding("surrogate_rules", FAIL, 1, rule, meaning, "Name surrogates of every rule that is compared.")


def foreign_surrogates(outcomes: Outcomes) -> Iterator[Finding]:
    """Count the surrogate cards of an architecture that no target has."""
    if not transfer_grids(outcomes):
        return
    cards = card_names(outcomes, [key for key in outcomes.foreign if key in outcomes.surrogates])
    if cards:
        yield passed("foreign_surrogates", len(cards), f"{len(cards)} surrogate cards have a foreign architecture.")
        return
    yield Finding(
        "foreign_surrogates",
        WARN,
        0,
        "",
        "No surrogate has an architecture that no target has: every target is attacked by its own kind, to which it "
        "falls most.",
        'Mark cards of other architectures by role = "surrogate", and take --surrogates foreign.',
    )


def same_start(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for pairs that started from the same weights and had to count."""
    grids = transfer_grids(outcomes)
    places = [grid.norm for grid in grids if grid.counts_same_start]
    if places:
        yield Finding(
            "same_start",
            WARN,
            len(places),
            ", ".join(places),
            "Some surrogates' cards have only the target's own training seed: such pairs started from the same weights "
            "and fool each other more easily than strangers would.",
            "More seeds take them out of the means.",
        )
    elif grids:
        yield passed("same_start", 0, "No pair of models that started from the same weights counts.")


def weak_surrogates(outcomes: Outcomes) -> Iterator[Finding]:
    """Measure how many images each surrogate loses to attacks on itself, at the largest epsilon."""
    for grid in transfer_grids(outcomes):
        found = {**_probed_success(grid), **white_box_success(grid)}
        if not found:
            continue
        weak = {card: rate for card, rate in found.items() if rate < STRONG}
        least, epsilon = min(found.values()), grid.epsilons[-1]
        if not weak:
            meaning = f"Attacks on itself fool every surrogate card on 95 % of its images or more ({grid.norm})."
            yield passed("weak_surrogates", 100 * least, meaning)
            continue
        named = [
            f"{title(outcomes, card)} {100 * rate:.0f} %" for card, rate in sorted(weak.items(), key=itemgetter(1))
        ]
        hopeless = max(found.values()) < HOPELESS
        yield Finding(
            "weak_surrogates",
            FAIL if hopeless else WARN,
            100 * least,
            f"{', '.join(weak)} at ε = {epsilon:g} ({grid.norm})",
            f"Attacks fool {'all' if hopeless else 'some'} surrogates themselves on fewer than 95 % of their images, "
            f"even at the largest epsilon ({some(named)}): that their images fool no other says little.",
            "Give attacks more steps, train the surrogates better, or take larger epsilons.",
        )


def white_box_success(grid: TransferGrid) -> dict[str, float]:
    """Return the share of the images that it gets right which each surrogate card loses to attacks on itself.

    At the grid's largest epsilon, the worst case over attacks, and the mean over the card's models; of surrogates that
    were not scored themselves nothing is known.
    """
    if len(grid.epsilons) < 2:
        return {}
    outcomes, right = grid.outcomes, grid.right(grid.epsilons[-1])
    rates: dict[str, list[float]] = {}
    for i, j in own_pairs(grid):
        before = outcomes.clean[grid.targets[j]] == outcomes.labels
        if before.any():
            rates.setdefault(outcomes.models[grid.targets[j]].name, []).append(float(1 - right[i, j][before].mean()))
    return {card: float(np.mean(some)) for card, some in rates.items()}


def _probed_success(grid: TransferGrid) -> dict[str, float]:
    """Return the same of surrogates that were not scored but probed: on a sample, under one attack."""
    rates: dict[str, list[float]] = {}
    for key in grid.holders:
        facts = grid.outcomes.probes.get(key)
        if facts and facts["clean"] > 0 and facts["largest"] == grid.epsilons[-1]:
            fooled = 1 - facts["at_largest"] / facts["clean"]
            rates.setdefault(grid.outcomes.models[key].name, []).append(max(fooled, 0.0))
    return {card: float(np.mean(some)) for card, some in rates.items()}


def _unfooled(outcomes: Outcomes) -> Iterator[tuple[str, str]]:
    """Yield attacks of other libraries with targets that they never fooled, attacking these at the largest epsilon."""
    adapters = [key for key, record in outcomes.attacks.items() if record.card.get("adapter")]
    own = outcomes.cells.on_itself(adapters, outcomes.epsilons[-1])
    for (crafting, targets), answers in outcomes.cells.answers(own):
        target = str(crafting.surrogate)
        before = to_bits(outcomes.clean[target] == outcomes.labels)
        if how_many(before) > 0 and not (before & ~answers.right[targets.index(target)]).any():
            yield crafting.attack, target


def adapter_failures(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for attacks of other libraries that found nothing on models they had every means to fool."""
    seen, failed = 0, list[tuple[str, str]]()
    for crafting, facts in outcomes.craftings.items():
        record = outcomes.attacks.get(crafting.attack)
        if record is None or not record.card.get("adapter") or crafting.surrogate is None:
            continue
        seen += 1
        if facts.get("median_norm") == float("inf"):
            failed.append((record.title or record.name, outcomes.record(crafting.surrogate).name))
    unfooled = [
        (outcomes.attacks[attack].title or attack, outcomes.models[target].name)
        for attack, target in _unfooled(outcomes)
    ]
    places = list(dict.fromkeys((*failed, *unfooled)))
    if places:
        yield Finding(
            "adapter_failures",
            FAIL if unfooled else WARN,
            len(places),
            some([f"{attack} on {card}" for attack, card in places]),
            "An attack of another library found no adversarial image for half of the images or more, or fooled its own "
            "surrogate on none at the largest epsilon.",
            "Give it more steps, queries or starts in its card; do not count it as robustness.",
        )
    elif seen:
        yield passed("adapter_failures", 0, "Attacks of other libraries find adversarial images.")
