"""What a reader must know before believing a run's numbers, found from the outcomes themselves."""

from __future__ import annotations

import pandas as pd

from ..analysis.transfer import card_names, gradient_attacks, noise_attacks, scored_targets, transfer_grids
from ..scoring.outcomes import Outcomes

UNEQUAL = 0.02  # clean accuracies further apart than this make raw accuracies under attack hard to compare


def caveats(outcomes: Outcomes, summary: pd.DataFrame) -> list[str]:
    """Return sentences, the gravest first; an empty list when there is nothing to warn of."""
    return [*_missing(outcomes), *_seeds(summary), *_surrogates(outcomes), *_clean(summary)]


def _missing(outcomes: Outcomes) -> list[str]:
    """Count the cells that the sweep asks for and that are not there."""
    targets = scored_targets(outcomes)
    surrogates = [key for key in outcomes.surrogates if outcomes.models[key].status == "trained"]
    sizes = [epsilon for epsilon in outcomes.epsilons if epsilon > 0]
    gradient, noise = gradient_attacks(outcomes), noise_attacks(outcomes)
    silent = [record.title or record.name for key, record in outcomes.attacks.items() if key not in gradient + noise]
    expected = len(targets) * len(sizes) * (len(surrogates) * len(gradient) + len(noise))
    found = sum(cell.target in targets for cell in outcomes.cells)
    sentences = []
    if silent:
        sentences.append(f"There are no outcomes yet of {', '.join(silent)}.")
    if found < expected:
        sentences.append(
            f"{expected - found} of {expected} cells are missing: the sweep was stopped, or several sweeps were put "
            "together. The same sweep command computes what is missing."
        )
    left_out = [outcomes.attacks[key].title for grid in transfer_grids(outcomes) for key in grid.unfinished]
    if left_out:
        sentences.append(f"Not in the worst case, because not finished on all pairs: {', '.join(left_out)}.")
    return sentences


def _seeds(summary: pd.DataFrame) -> list[str]:
    trained = summary[summary["status"] == "trained"].drop_duplicates("model")
    few = trained[trained["n_seeds"] < 3]
    if len(few) == 0:
        return []
    who = "Every model card" if len(few) == len(trained) else ", ".join(few["title"])
    return [
        f"{who}: fewer than 3 training seeds. Differences between learning rules cannot be told from differences "
        "between seeds; no claim can be made."
    ]


def _surrogates(outcomes: Outcomes) -> list[str]:
    cards = {name for grid in transfer_grids(outcomes) for name in card_names(outcomes, grid.surrogates)}
    rules = {outcomes.models[key].rule for key in outcomes.surrogates if outcomes.models[key].name in cards}
    sentences = []
    if len(rules) == 1 and len(scored_targets(outcomes)) > 1:
        sentences.append(
            f"All surrogates were trained with one rule ({rules.pop()}): models of other rules may look robust only "
            "because the attacks were not made for their kind."
        )
    if any(grid.counts_same_start for grid in transfer_grids(outcomes)):
        sentences.append(
            "Some surrogates' cards have only the target's own training seed: such pairs started from the same weights "
            "and fool each other more easily than strangers would. More seeds take them out of the means."
        )
    return sentences


def _clean(summary: pd.DataFrame) -> list[str]:
    clean = summary["clean_accuracy"].dropna()
    if len(clean) < 2 or clean.max() - clean.min() <= UNEQUAL:
        return []
    return [
        f"Clean accuracies differ by up to {100 * (clean.max() - clean.min()):.1f} points: to rank learning rules, use "
        "area / clean here and attack_success_rate_common in tables/results.csv rather than accuracy alone."
    ]
