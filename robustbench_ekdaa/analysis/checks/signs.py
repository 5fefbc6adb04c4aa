"""Whether who keeps more depends on the surrogates, on the attack, on epsilon, and contradicts white-box attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...cards.crossing import EPOCH
from ...storing.outcomes import Outcomes
from ..intervals import Interval
from ..regimes import CardPair
from ..standing import NOT_RANKED, standings
from ..transfer import TransferGrid, transfer_grids
from .finding import WARN, Finding, passed, ranked, some, title
from .strength import reference
from .withstood import differences, sign, withstood, withstood_white_box


def sign_by_surrogate(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare cards by the card that was attacked on."""
    for grid in transfer_grids(outcomes):
        if epsilon := reference(grid):
            names = grid.pairs.surrogate_cards
            gaps = [differences(withstood(grid, epsilon, surrogates=[name]), ranked(outcomes)) for name in names]
            where = f"ε = {epsilon:g}, by the surrogates' card"
            yield from _turned("sign_by_surrogate", "surrogates", outcomes, grid, names, gaps, where, "from")


def sign_by_attack(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare cards attack by attack."""
    for grid in transfer_grids(outcomes):
        if epsilon := reference(grid):
            names = [outcomes.attacks[key].title or outcomes.attacks[key].name for key in grid.counted_attacks]
            gaps = [differences(withstood(grid, epsilon, key), ranked(outcomes)) for key in grid.counted_attacks]
            where = f"ε = {epsilon:g}, by the attack"
            yield from _turned("sign_by_attack", "attack", outcomes, grid, names, gaps, where, "under")


def sign_by_epsilon(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare cards epsilon by epsilon."""
    for grid in transfer_grids(outcomes):
        names = [f"{epsilon:g}" for epsilon in grid.epsilons[1:]]
        gaps = [differences(withstood(grid, epsilon), ranked(outcomes)) for epsilon in grid.epsilons[1:]]
        yield from _turned("sign_by_epsilon", "epsilon", outcomes, grid, names, gaps, "every ε", "at")


REMEDIES = {
    "sign_by_surrogate": "Compare on foreign surrogates, balanced over the rules that trained them.",
    "sign_by_attack": "Compare under the worst case over attacks, and name the attack.",
    "sign_by_epsilon": "Declare one epsilon before the sweep, and name it.",
}
TAIL = {"sign_by_surrogate": " Their mean says nothing about the learning rules."}


def _turned(
    check: str,
    what: str,
    outcomes: Outcomes,
    grid: TransferGrid,
    names: Sequence[str],
    gaps: Sequence[Mapping[CardPair, Interval]],
    where: str,
    word: str,
) -> Iterator[Finding]:
    """Name the pairs of ranked cards whose difference has both signs, the widest first."""
    pairs = list(dict.fromkeys(pair for some_gaps in gaps for pair in some_gaps))
    if not pairs or len(names) < 2:
        return
    sides = [*zip(names, gaps, strict=True)]
    told = {pair: [(name, each[pair]) for name, each in sides if pair in each] for pair in pairs}
    opposed = [pair for pair in pairs if {1, -1} <= {sign(gap) for _, gap in told[pair]}]
    if not opposed:
        yield passed(check, 0, f"No difference changes its sign with the {what} ({grid.norm}).")
        return
    spread = {pair: np.ptp([gap.estimate for _, gap in told[pair] if gap.estimate == gap.estimate]) for pair in pairs}
    opposed.sort(key=lambda pair: -spread[pair])
    named = [
        f"{title(outcomes, a)} minus {title(outcomes, b)}: "
        + ", ".join(f"{100 * gap.estimate:+.1f} {word} {name}" for name, gap in told[a, b])
        for a, b in opposed
    ]
    more = len(named) - 3
    others = f"; and {more} more {'pair' if more == 1 else 'pairs'}" if more > 0 else ""
    yield Finding(
        check,
        WARN,
        100 * float(spread[opposed[0]]),
        some([f"{a} and {b}" for a, b in opposed]) + f" ({grid.norm})",
        f"Which of two cards keeps more depends on the {what}. In points of transfer robust accuracy at {where}, "
        f"{'; '.join(named[:3])}{others}.{TAIL.get(check, '')}",
        REMEDIES[check],
        tuple(dict.fromkeys(card for pair in opposed for card in pair)),
    )


def white_box_rank(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the order of cards under transfer with their order under attacks on themselves."""
    cards = [card for card, one in standings(outcomes).items() if one.kind != NOT_RANKED and EPOCH not in card]
    for grid in transfer_grids(outcomes):
        if not (epsilon := reference(grid)):
            continue
        transfer = differences(withstood(grid, epsilon), cards)
        own = differences(withstood_white_box(grid, epsilon), cards)
        both = [pair for pair in transfer if pair in own]
        against = [pair for pair in both if sign(transfer[pair]) * sign(own[pair]) < 0]
        if against:
            named = [
                f"{title(outcomes, a)} minus {title(outcomes, b)}: {100 * transfer[a, b].estimate:+.1f} transferred, "
                f"{100 * own[a, b].estimate:+.1f} white-box"
                for a, b in against
            ]
            yield Finding(
                "white_box_rank",
                WARN,
                len(against),
                some([f"{a} and {b}" for a, b in against]) + f" at ε = {epsilon:g} ({grid.norm})",
                f"The transfer rank contradicts the white-box rank ({some(named)}): what looks harder to fool from "
                "outside is easier to fool from inside, so that the surrogates decide, not the rule.",
                "Do not rank by transfer alone.",
                tuple(dict.fromkeys(card for pair in against for card in pair)),
            )
        elif both:
            yield passed("white_box_rank", 0, f"Transfer does not contradict white-box attacks ({grid.norm}).")
