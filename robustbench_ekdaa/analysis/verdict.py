"""When two cards may be said to differ, to be equivalent, or neither: the words of a comparison, from its regimes.

The primary regime are foreign surrogates: models of architectures that no target has, trained by the rule of either
card and by another one. A difference counts from 2 points on; no other regime may contradict it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..cards.sweeps import MOST_SEEDS
from .scores import TITLES

SMALL = 0.02  # a difference up to this counts as none
LEVEL = 0.05  # of the adjusted p-value
SEEDS_FOR_A_VERDICT, SEEDS_FOR_A_SUGGESTION = 5, 3
CLEAN_MARGIN = 0.01  # clean accuracies further apart need the common images and equal accuracy to agree

PRIMARY, COMMON, EQUAL = "foreign surrogates", "common images", "equal accuracy"
Kind = Literal["first", "second", "equivalent", "depends", "undecided", "no foreign surrogates"]


@dataclass(frozen=True)
class Regime:
    """The difference of two cards under one kind of attacker.

    Attributes:
        name: what tables call it.
        slot: what it is for any pair of cards: `PRIMARY`, `COMMON`, `EQUAL` or others; p-values are adjusted within.
        difference: the first card's statistic minus the second's, in [-1, 1]; above 0: the first is harder to fool.
        low: lower end of its 95 % interval.
        high: upper end.
        p: of no difference, adjusted by Holm's method for all pairs of cards and norms of the run.
        p_better: how sure it is that the first card is harder to fool, in [0, 1], for this pair alone.
        n_seeds: training seeds of the card that has fewer.
        n_images: test images.
        image_variance: the part of the difference's variance that shrinks with the number of images.
        seed_variance: the part that shrinks with the number of seeds.
        p_alone: the p-value before its adjustment.
    """

    name: str
    slot: str
    difference: float
    low: float
    high: float
    p: float
    p_better: float
    n_seeds: int
    n_images: int
    image_variance: float = field(default=0.0, repr=False)
    seed_variance: float = field(default=0.0, repr=False)
    p_alone: float = field(default=1.0, repr=False)

    @property
    def side(self) -> int:
        """1 where the whole interval says that the first card is harder to fool by 2 points and more; -1; or 0."""
        return int(self.low > SMALL) - int(self.high < -SMALL)

    @property
    def is_small(self) -> bool:
        """Whether the whole interval is inside 2 points either way."""
        return self.low >= -SMALL and self.high <= SMALL


@dataclass(frozen=True)
class Circumstances:
    """What else a verdict depends on.

    Attributes:
        clean_gap: by how much the two cards' clean accuracies differ, from 0 up.
        obstacles: sentences on why no difference can be claimed: a card that does not beat its control, a failed check.
    """

    clean_gap: float = 0.0
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What may be said.

    Attributes:
        kind: "first" or "second": that card is harder to fool.
        suggestive: whether there are too few seeds for more than a suggestion.
        named: the regimes that the answer depends on.
        more_seeds: how many seeds more would make an undecided primary interval narrow enough; None where they would
            not, or are not what is lacking.
        reasons: sentences on why it is undecided, or on what else would forbid a claim.
    """

    kind: Kind
    suggestive: bool = False
    named: tuple[str, ...] = ()
    more_seeds: int | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a run says about two model cards.

    Attributes:
        dataset: the data set's name.
        first: a card's name; differences are this card's statistic minus the other's.
        second: the other's.
        norm: of the attacks.
        epsilon: where accuracies are compared; None for metrics over all epsilons.
        metric: "accuracy", "area", "asr-common" or "minimal-norm".
        decision: what may be said.
        regimes: every kind of attacker, the primary one first.
        notes: sentences to know beside it.
    """

    dataset: str
    first: str
    second: str
    norm: str
    epsilon: float | None
    metric: str
    decision: Decision
    regimes: tuple[Regime, ...]
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The verdict in a few words."""
        found, kind = self.decision, self.decision.kind
        if kind in ("first", "second"):
            text = f"{self.first if kind == 'first' else self.second} harder to fool"
        elif kind == "depends":
            differences = {one.name: one.difference for one in self.regimes}
            text = "depends on " + ", ".join(f"{name} ({100 * differences[name]:+.1f})" for name in found.named)
        elif kind == "undecided" and found.more_seeds is not None:
            seeds = "seed" if found.more_seeds == 1 else "seeds"
            text = f"undecided, about {found.more_seeds} more {seeds} would decide"
        else:
            text = kind
        return f"suggestive: {text}" if found.suggestive else text

    @property
    def primary(self) -> Regime | None:
        """The regime that decides: foreign surrogates."""
        return next((one for one in self.regimes if one.slot == PRIMARY), None)

    @property
    def claim(self) -> str:
        """The verdict, and about what it is."""
        where = f"{self.dataset}, {self.norm}" + ("" if self.epsilon is None else f", ε = {self.epsilon:g}")
        return f"{self.first} against {self.second} ({where}, {TITLES[self.metric]}): {self.word}."

    @property
    def evidence(self) -> str:
        """The numbers that it rests on; "" without foreign surrogates."""
        if (one := self.primary) is None:
            return ""
        return (
            f"Under foreign surrogates {100 * one.difference:+.1f} points [{100 * one.low:+.1f}, "
            f"{100 * one.high:+.1f}], {one.n_seeds} seeds, {one.n_images:,} images."
        )

    @property
    def sentence(self) -> str:
        """The verdict with what it rests on."""
        return " ".join(part for part in (self.claim, self.evidence) if part)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        numbers = ("name", "difference", "low", "high", "p", "p_better", "n_seeds", "n_images")
        return {
            "verdict": self.word,
            "kind": self.decision.kind,
            "suggestive": self.decision.suggestive,
            "more_seeds": self.decision.more_seeds,
            "dataset": self.dataset,
            "first": self.first,
            "second": self.second,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "metric": self.metric,
            "regimes": [{name: getattr(one, name) for name in numbers} for one in self.regimes],
            "reasons": list(self.decision.reasons),
            "notes": list(self.notes),
        }


def decide(regimes: Sequence[Regime], given: Circumstances) -> Decision:
    """Choose the words for a comparison; the regimes' order does not matter."""
    primary = next((one for one in regimes if one.slot == PRIMARY), None)
    if primary is None:
        return Decision("no foreign surrogates", reasons=given.obstacles)
    if primary.n_seeds < SEEDS_FOR_A_SUGGESTION:
        lacking = SEEDS_FOR_A_VERDICT - primary.n_seeds
        reasons = ("fewer than 3 training seeds say nothing", *given.obstacles)
        return Decision("undecided", more_seeds=lacking, reasons=reasons)
    suggestive = primary.n_seeds < SEEDS_FOR_A_VERDICT
    beyond = [one for one in regimes if one.side]
    if {one.side for one in beyond} == {1, -1}:
        return Decision("depends", suggestive, tuple(one.name for one in beyond))
    if primary.is_small and beyond:
        return Decision("depends", suggestive, (primary.name, *(one.name for one in beyond)))
    if given.obstacles:
        return Decision("undecided", reasons=given.obstacles)
    if primary.is_small:
        return Decision("equivalent", suggestive)
    sign = 1 if primary.difference > 0 else -1
    reasons = _against(sign, regimes, given)
    clear = abs(primary.difference) > SMALL and primary.p < LEVEL
    if clear and not reasons:
        return Decision("first" if sign > 0 else "second", suggestive)
    if clear:
        return Decision("undecided", reasons=reasons)
    return _undecided(primary)


def _against(sign: int, regimes: Sequence[Regime], given: Circumstances) -> tuple[str, ...]:
    """Return what forbids to say that the card on the side of the sign is harder to fool."""
    reasons = [f"{one.name} says the contrary" for one in regimes if one.side == -sign]
    if given.clean_gap > CLEAN_MARGIN:
        apart = f"clean accuracies are {100 * given.clean_gap:.1f} points apart"
        for slot in (COMMON, EQUAL):
            found = [one for one in regimes if one.slot == slot]
            if not found:
                reasons.append(f"{apart}, and the regime of {slot} is missing")
            reasons += [f"{apart}, and {one.name} does not agree" for one in found if not _agrees(one, sign)]
    return tuple(reasons)


def _agrees(regime: Regime, sign: int) -> bool:
    return regime.low > 0 if sign > 0 else regime.high < 0


def _undecided(primary: Regime) -> Decision:
    needed = seeds_needed(primary)
    if needed is None:
        why = "the interval is too wide, and more seeds alone would not make it narrow: more test images might"
        return Decision("undecided", reasons=(why,))
    return Decision("undecided", more_seeds=needed - primary.n_seeds, reasons=("the interval is too wide",))


def seeds_needed(primary: Regime) -> int | None:
    """Return the least number of seeds, 5 or more, at which the primary interval would decide; None beyond 1,000.

    The difference and the number of images are taken to stay as they are, and the seeds' variance to fall as 1 / n. A
    difference beyond 2 points is decided once it is significant after the same adjustment as now, a smaller one once
    the whole interval is inside 2 points. An interval that is as wide as Wilson's stays as wide.
    """
    size = abs(primary.difference)
    factor = max(1.0, primary.p / primary.p_alone) if 0 < primary.p_alone < primary.p else 1.0
    level, room = (LEVEL / factor, size) if size > SMALL else (LEVEL, SMALL - size)
    now = max(primary.high - primary.difference, primary.difference - primary.low)
    if now > 1.001 * _half_width(primary, primary.n_seeds, LEVEL) and now >= room:
        return None
    numbers = range(max(primary.n_seeds + 1, SEEDS_FOR_A_VERDICT), MOST_SEEDS + 1)
    return next((number for number in numbers if _half_width(primary, number, level) < room), None)


def _half_width(regime: Regime, seeds: int, level: float) -> float:
    """Return half the width of a regime's interval, had it been found with another number of seeds."""
    from scipy.special import stdtrit

    images, part = regime.image_variance, regime.seed_variance * regime.n_seeds / seeds
    variance = images + part
    if variance == 0:
        return 0.0
    freedom = variance**2 / (images**2 / max(regime.n_images - 1, 1) + part**2 / max(seeds - 1, 1))
    return float(stdtrit(freedom, 1 - level / 2)) * float(variance**0.5)
