"""What a report opens with: the verdict of `compare` on every card against backprop, and the matrix of all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..analysis.comparison import Comparison
from ..analysis.headlines import not_compared, opening_pairs
from ..analysis.regimes import CardPair
from ..analysis.transfer import transfer_grids
from ..analysis.verdict import Verdict
from ..errors import UsageError
from ..storing.outcomes import Outcomes
from .comparisons import REGIME_HEADS, matrix_caption, matrix_cells, regime_rows, regimes_caption
from .style import NORM_SIGNS

UNFOLDED = 12  # verdicts that a page shows at once; others have to be unfolded


@dataclass(frozen=True)
class VerdictRow:
    """The difference of two cards under one kind of attacker, as a row of a table."""

    dataset: str
    norm: str
    epsilon: float
    metric: str
    first: str
    second: str
    verdict: str
    attacks_from: str
    difference: float
    low: float
    high: float
    p: float
    p_better: float
    n_seeds: int
    n_images: int


def comparisons(outcomes: Outcomes) -> list[Comparison]:
    """Return the comparisons of one data set's cards, one per norm in which an attack was finished."""
    if "comparisons" not in outcomes.derived:
        norms = [grid.norm for grid in transfer_grids(outcomes) if grid.attacks and len(grid.epsilons) > 1]
        outcomes.derived["comparisons"] = [Comparison(outcomes, norm=norm) for norm in norms]
    known: list[Comparison] = outcomes.derived["comparisons"]
    return known


def verdict_rows(outcomes: Outcomes) -> list[VerdictRow]:
    """Return every regime of every pair of one data set's cards."""
    return [
        VerdictRow(
            one.dataset,
            one.norm,
            float("nan") if one.epsilon is None else one.epsilon,
            one.metric,
            one.first,
            one.second,
            one.word,
            regime.name,
            *(regime.difference, regime.low, regime.high, regime.p, regime.p_better),
            *(regime.n_seeds, regime.n_images),
        )
        for comparison in comparisons(outcomes)
        for one in comparison.all_verdicts()
        for regime in one.regimes
    ]


def verdict_facts(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Collect what the page says about one data set's pairs of cards, as plain data, norm by norm."""
    return [_norm_facts(comparison) for comparison in comparisons(outcomes)]


def _norm_facts(comparison: Comparison) -> dict[str, Any]:
    found = {pair: _verdict(comparison, pair) for pair in opening_pairs(comparison)}
    known = [one for one in found.values() if isinstance(one, Verdict)]
    shared = [note for note in known[0].notes if all(note in one.notes for one in known)] if known else []
    everyone = comparison.all_verdicts()
    names, cells = matrix_cells(everyone) if everyone else ([], {})
    return {
        "norm": NORM_SIGNS.get(comparison.norm, comparison.norm),
        "heads": REGIME_HEADS,
        "pairs": [_pair_facts(one, shared) for one in found.values()],
        "shown": UNFOLDED,
        "notes": shared,
        "left_out": not_compared(comparison),
        "names": names if len(names) > 2 else [],
        "matrix": [[cells.get((row, column), "") for column in names] for row in names],
        "caption": matrix_caption(everyone) if everyone else "",
    }


def _verdict(comparison: Comparison, pair: CardPair) -> Verdict | UsageError:
    try:
        return comparison.verdict(*pair)
    except UsageError as refusal:
        return refusal


def _pair_facts(found: Verdict | UsageError, shared: list[str]) -> dict[str, Any]:
    if isinstance(found, UsageError):
        return {"claim": str(found), "evidence": "", "reasons": [], "notes": [], "rows": [], "caption": ""}
    return {
        "claim": found.claim,
        "evidence": found.evidence,
        "reasons": list(found.decision.reasons),
        "notes": [note for note in found.notes if note not in shared],
        "rows": regime_rows(found),
        "caption": regimes_caption(found),
    }
