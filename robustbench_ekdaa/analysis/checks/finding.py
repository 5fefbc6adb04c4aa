"""What a check finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...cards.crossing import EPOCH
from ...storing.outcomes import Outcomes
from ..standing import RANKED, standings

Status = Literal["pass", "warn", "fail"]
PASS: Status = "pass"
WARN: Status = "warn"
FAIL: Status = "fail"
ORDER: tuple[Status, ...] = (FAIL, WARN, PASS)
SHOWN = 3  # as many of the worst are written out; others are counted


@dataclass(frozen=True)
class Finding:
    """What one check found in one place.

    Attributes:
        check: the check's name, of `RUN_CHECKS`.
        status: "pass"; "warn" where numbers need care; "fail" where they mean something else than they seem to, so that
            no verdict may rest on them.
        value: the number that was measured, in the unit that `RUN_CHECKS` tells.
        where: the card, attack, epsilon or norm that it is about; "" for the whole data set.
        meaning: what that says, as a sentence.
        remedy: what to do, as a sentence; "" for what passed.
        cards: names of the model cards it is about; none for all of them.
        dataset: the data set's name.
    """

    check: str
    status: Status
    value: float
    where: str = ""
    meaning: str = ""
    remedy: str = ""
    cards: tuple[str, ...] = ()
    dataset: str = ""

    @property
    def sentence(self) -> str:
        """What it means and what to do."""
        return " ".join(part for part in (self.meaning, self.remedy) if part)

    def concerns(self, card: str) -> bool:
        """Whether it says anything about a card."""
        return not self.cards or card in self.cards

    def plain(self) -> dict[str, Any]:
        """Return it as plain data: a value that is no number is None."""
        known = abs(self.value) < float("inf")
        where = ", ".join(part for part in (self.dataset, self.where) if part)
        return {
            "check": self.check,
            "status": self.status,
            "value": round(self.value, 6) if known else None,
            "where": where,
            "meaning": self.meaning,
            "remedy": self.remedy,
        }


def passed(check: str, value: float, meaning: str) -> Finding:
    """Return what a check says that found nothing."""
    return Finding(check, PASS, float(value), meaning=meaning)


def some(places: Sequence[str], separator: str = "; ") -> str:
    """Write out the first places and count the others.

    >>> some(["a", "b", "c", "d"])
    'a; b; c; and 1 more'
    """
    shown = list(places[:SHOWN])
    more = [f"and {len(places) - SHOWN} more"] if len(places) > SHOWN else []
    return separator.join([*shown, *more])


def ranked(outcomes: Outcomes) -> list[str]:
    """Return the names of the cards that may be ranked; earlier epochs of a training are none of their own."""
    return [card for card, one in standings(outcomes).items() if one.kind == RANKED and EPOCH not in card]


def title(outcomes: Outcomes, card: str) -> str:
    """Return what figures call a card."""
    return next((one.title or card for one in outcomes.models.values() if one.name == card), card)
