"""Comparing two model cards of a run: all regimes with their intervals, and the verdict that they allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations, product

from ..cards.crossing import EPOCH
from ..errors import UsageError, unknown_name
from ..names import as_spelled
from ..storing.outcomes import Outcomes
from .arena import Arena, minimal_norm_attacks
from .checks import failed_checks
from .intervals import FEW_IMAGES, holm
from .regimes import CardPair, pair_regimes, turned
from .scores import AT_ONE_EPSILON, check_metric
from .standing import NOT_RANKED, standings
from .summary import chosen_epsilon, declared_epsilon
from .transfer import TransferGrid, card_names, scored_targets, transfer_grids
from .verdict import CLEAN_MARGIN, PRIMARY, Circumstances, Regime, Verdict, decide


class Comparison:
    """All pairs of one data set's cards under one norm and metric.

    Args:
        outcomes: what the run holds on the data set.
        norm: of the attacks (default: the first there is).
        epsilon: where to compare (default: the one that the sweep file declares, else the one nearest to half of the
            largest, which no result was looked at for).
        metric: "accuracy", "area", "asr-common" or "minimal-norm".

    Raises:
        UsageError: for a norm, an epsilon or a metric that the run does not have.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        *,
        norm: str | None = None,
        epsilon: object = None,
        metric: str = "accuracy",
    ) -> None:
        self.outcomes = outcomes
        self.metric = check_metric(metric)
        grids = {grid.norm: grid for grid in transfer_grids(outcomes)}
        if not grids:
            raise UsageError(f"{outcomes.dataset}: no gradient attack was scored. Sweep with one, as --attacks fgsm.")
        if norm is not None and norm not in grids:
            raise unknown_name("norm", norm, grids)
        if epsilon is not None and self.metric not in AT_ONE_EPSILON:
            raise UsageError(f"an epsilon has no meaning for the metric {self.metric}, which is over all epsilons.")
        self.grids = {name: self._of_metric(grid) for name, grid in grids.items()}
        finished = [name for name, grid in self.grids.items() if grid.attacks and len(grid.epsilons) > 1]
        if not finished or norm not in (None, *finished):
            kind = "minimal-norm" if self.metric == "minimal-norm" else "gradient"
            raise UsageError(
                f"{outcomes.dataset}: no {kind} attack{f' in {norm}' if norm else ''} was finished on all pairs."
            )
        self.norm = norm or finished[0]
        self.epsilon, self.notes = self._chosen(epsilon)
        # Comparisons of other norms, for the same adjustment, need the same regimes: they are found once per run.
        self._found: dict[tuple[object, ...], tuple[Regime, ...]] = outcomes.derived.setdefault("regimes", {})
        self._arenas: dict[str, Arena] = {}
        self._adjustments: dict[CardPair, dict[str, float]] = {}

    # -- what is compared --------------------------------------------------------------------------------------------

    @property
    def cards(self) -> tuple[str, ...]:
        """The names of the target cards; earlier epochs of a training are none of their own."""
        names = card_names(self.outcomes, scored_targets(self.outcomes))
        return tuple(name for name in names if EPOCH not in name)

    def pairs(self) -> list[CardPair]:
        """Return all pairs of cards that may be compared: not of those that have not shown that they learned."""
        known = standings(self.outcomes)
        return list(combinations([name for name in self.cards if known[name].kind != NOT_RANKED], 2))

    def verdict(self, first: str, second: str) -> Verdict:
        """Return what may be said of two cards; a failed check on either, or on the run, forbids every claim.

        Args:
            first: a target card's name.
            second: another's.

        Raises:
            UsageError: for a name that is no target of the run, or twice the same.
        """
        known = card_names(self.outcomes, scored_targets(self.outcomes))
        first, second = (as_spelled("model", name, known) for name in (first, second))
        for name in (first, second):
            if name not in known:
                raise unknown_name("model in this run", name, known)
        if first == second:
            raise UsageError(f"{first} cannot be compared with itself. Name two models of {', '.join(self.cards)}.")
        regimes = self._adjusted(first, second)
        if not regimes:
            why = "no image is right for all models of both" if self.metric == "asr-common" else "not attacked alike"
            raise UsageError(f"{first} and {second} cannot be compared by {self.metric}: {why}.")
        standing = standings(self.outcomes)
        weak = [f"{name} is {standing[name].reason}" for name in (first, second) if standing[name].kind == NOT_RANKED]
        failed = [f"{one.check}: {one.meaning.rstrip('.')}" for one in failed_checks(self.outcomes, first, second)]
        clean = self._clean_accuracy
        gap = abs(clean[first] - clean[second])
        decision = decide(regimes, Circumstances(gap, (*weak, *failed)))
        notes = (*self.notes, *self._notes(first, second, regimes, gap))
        return Verdict(
            self.outcomes.dataset, first, second, self.norm, self.epsilon, self.metric, decision, regimes, notes
        )

    def all_verdicts(self) -> list[Verdict]:
        """Return the verdicts on all pairs that were attacked alike."""
        return [self.verdict(*pair) for pair in self.pairs() if self._regimes(self.norm, pair)]

    # -- regimes -----------------------------------------------------------------------------------------------------

    def _adjusted(self, first: str, second: str) -> tuple[Regime, ...]:
        """Return a pair's regimes, their p-values adjusted for all pairs and norms, slot by slot."""
        pairs = self.pairs()
        swapped = (second, first) in pairs
        pair = (second, first) if swapped else (first, second)
        if pair not in self._adjustments:
            family = self._family(dict.fromkeys((*pairs, pair)))
            self._adjustments |= family if pair in pairs else {pair: family[pair]}
        found = tuple(
            replace(regime, p=self._adjustments[pair][regime.name]) for regime in self._regimes(self.norm, pair)
        )
        return tuple(map(turned, found)) if swapped else found

    def _family(self, pairs: dict[CardPair, None]) -> dict[CardPair, dict[str, float]]:
        """Return the adjusted p-values of some pairs under this norm, by the regimes' names."""
        slots: dict[str, list[tuple[str, CardPair, Regime]]] = {}
        for norm, pair in product(self.grids, pairs):
            for regime in self._regimes(norm, pair):
                slots.setdefault(regime.slot, []).append((norm, pair, regime))
        adjusted: dict[CardPair, dict[str, float]] = {pair: {} for pair in pairs}
        for members in slots.values():
            values = holm([regime.p_alone for *_, regime in members])
            for (norm, pair, regime), p in zip(members, values, strict=True):
                if norm == self.norm:
                    adjusted[pair][regime.name] = float(p)
        return adjusted

    def _regimes(self, norm: str, pair: CardPair) -> tuple[Regime, ...]:
        arena = self._arena(norm)
        if arena is None:
            return ()
        place = self.metric, norm, arena.epsilons, pair
        if place not in self._found:
            self._found[place] = pair_regimes(arena, *pair)
        return self._found[place]

    def _arena(self, norm: str) -> Arena | None:
        """Return one norm's attacks reduced to the metric; None where it has none, or no epsilon has all of them."""
        grid = self.grids[norm]
        if not grid.attacks or len(grid.epsilons) < 2:
            return None
        if norm not in self._arenas:
            epsilon = self.epsilon if norm == self.norm else None
            self._arenas[norm] = Arena(grid, self.metric, chosen_epsilon(grid, epsilon))
        return self._arenas[norm]

    def _of_metric(self, grid: TransferGrid) -> TransferGrid:
        return replace(grid, attacks=minimal_norm_attacks(grid)) if self.metric == "minimal-norm" else grid

    # -- beside them -------------------------------------------------------------------------------------------------

    def _chosen(self, epsilon: object) -> tuple[float | None, tuple[str, ...]]:
        """Return the epsilon, and how it was chosen."""
        if self.metric not in AT_ONE_EPSILON:
            return None, ()
        grid = self.grids[self.norm]
        declared = declared_epsilon(grid)
        rule = "The epsilon is the one that the sweep declares."
        if declared is None:
            rule = "The sweep declares no verdict_epsilon, so the epsilon is the one nearest to half of the largest."
        before, chosen = chosen_epsilon(grid), chosen_epsilon(grid, epsilon)
        return chosen, (rule if chosen == before else "The epsilon was chosen after the sweep.",)

    @cached_property
    def _clean_accuracy(self) -> dict[str, float]:
        arena = self._arena(self.norm)
        return {} if arena is None else arena.clean_accuracy

    def _notes(self, first: str, second: str, regimes: Sequence[Regime], gap: float) -> Iterator[str]:
        arena = self._arena(self.norm)
        slots = {regime.slot for regime in regimes}
        if PRIMARY not in slots:
            yield (
                "No verdict without foreign surrogates: architectures that no target has, each trained by both cards' "
                "rules and by another one. `sweep --surrogates foreign` crafts on them."
            )
            if arena is not None and arena.foreign:
                rules = ", ".join(dict.fromkeys(model.rule for model in arena.foreign))
                yield f"The foreign surrogates there are lack one of these rules in each architecture (there: {rules})."
        if gap > CLEAN_MARGIN:
            yield f"Clean accuracies are {100 * gap:.1f} points apart: common images and equal accuracy have to agree."
        seeds = min((regime.n_seeds for regime in regimes), default=0)
        if seeds < 2:
            yield "With one seed, intervals are over images alone."
        if arena is not None:
            images = int(arena.common(first, second).whole.sum())
            if images < FEW_IMAGES:
                yield f"Only {images} images are right for all models of both cards when clean."
        missing = [slot for slot in ("white-box", "query attack", "minimal norm") if slot not in slots]
        if missing and self.metric != "minimal-norm":
            yield f"Not swept: {', '.join(missing)}."
