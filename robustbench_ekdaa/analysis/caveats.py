"""What a run lacks, and what is in no mean: found from its outcomes."""

from __future__ import annotations

from ..storing.outcomes import Outcomes
from .transfer import gradient_attacks, imported_attacks, noise_attacks, scored_targets, transfer_grids


def caveats(outcomes: Outcomes) -> list[str]:
    """Return what is not there, or not counted, as sentences; an empty list when there is nothing to tell.

    What the numbers that are there are worth is told by `analysis.checks`.
    """
    return [*_replaced(outcomes), *_missing(outcomes), *_ensembles(outcomes), *_imported(outcomes)]


def _replaced(outcomes: Outcomes) -> list[str]:
    if not outcomes.replaced:
        return []
    return [
        f"The data set was replaced by another of the same name: {outcomes.replaced} outcomes on the earlier data are "
        "kept in the run, and not shown. Everything here is on the data of the newest sweep."
    ]


def _missing(outcomes: Outcomes) -> list[str]:
    """Count the cells that the sweep asks for and that are not there."""
    scored, trained = (
        frozenset(scored_targets(outcomes)),
        {key for key in outcomes.models if _is_trained(outcomes, key)},
    )
    alone = sum(key in trained for key in outcomes.surrogates)
    together = sum(trained.issuperset(one.members) for one in outcomes.ensembles.values())
    epsilons = [epsilon for epsilon in outcomes.epsilons if epsilon > 0]
    gradient, noise = gradient_attacks(outcomes), noise_attacks(outcomes)
    crafted = sum(together if outcomes.attacks[key].together else alone for key in gradient) + len(noise)
    expected = len(scored) * len(epsilons) * crafted
    counted = {*gradient, *noise}
    hopeless = bool(outcomes.ensembles) and not together  # `_ensembles` says why
    found = sum(
        len(scored.intersection(seen)) for crafting, seen in outcomes.cells.blocks if crafting.attack in counted
    )
    silent = [
        record.title or record.name
        for key, record in outcomes.attacks.items()
        if key not in counted and not record.imported and not (record.together and hopeless)
    ]
    sentences = []
    if silent:
        sentences.append(f"There are no outcomes yet of {', '.join(silent)}.")
    if found < expected:
        sentences.append(
            f"{expected - found} of {expected} cells are missing: the sweep was stopped, attacks failed (`status` says "
            "why), or several sweeps or files were put together. One sweep over all of it computes what is missing."
        )
    left_out = [outcomes.attacks[key].title for grid in transfer_grids(outcomes) for key in grid.unfinished]
    if left_out:
        sentences.append(f"Not in the worst case, because not finished on all pairs: {', '.join(left_out)}.")
    return sentences


def _is_trained(outcomes: Outcomes, key: str) -> bool:
    return outcomes.models[key].status == "trained"


def _ensembles(outcomes: Outcomes) -> list[str]:
    """Say where ensembles could not be attacked on, or held every target."""
    sentences = []
    for ensemble in outcomes.ensembles.values():
        failed = [outcomes.models[key] for key in ensemble.members if not _is_trained(outcomes, key)]
        if failed:
            names = ", ".join(model.title or model.name for model in failed)
            sentences.append(
                f"No ensemble attack was crafted with seed {ensemble.seed}, because {names} failed there: without a "
                "member it would be another attack."
            )
    grids = transfer_grids(outcomes)
    idle = [outcomes.attacks[key] for grid in grids for key in grid.attacks if key not in grid.counted_attacks]
    together = [record.title or record.name for record in idle if record.together]
    if together:
        sentences.append(
            f"In no mean and no worst case, because every ensemble holds the target: {', '.join(together)}. More "
            "training seeds, or targets that are no surrogates, make them count."
        )
    return sentences


def _imported(outcomes: Outcomes) -> list[str]:
    names = [outcomes.attacks[key].name for key in imported_attacks(outcomes)]
    if not names:
        return []
    return [
        f"Imported from files, and in no worst case, because they were not crafted on all surrogates alike: "
        f"{', '.join(names)}."
    ]
