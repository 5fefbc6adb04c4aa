"""Warnings about a run's numbers, found from its outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ..cards import Component
from ..crafting import doubts
from ..scoring.outcomes import Outcomes
from .intervals import FEW_IMAGES
from .metrics import Floats
from .standing import NOT_RANKED, RANKED, standings
from .summary import FOOLED, WILSON
from .transfer import (
    gradient_attacks,
    imported_attacks,
    noise_attacks,
    scored_targets,
    transfer_grids,
)

UNEQUAL = 0.02  # clean accuracies further apart than this make raw accuracies under attack hard to compare
FLAT = 0.03  # a larger share of images without any gradient makes an attack look weak, and its targets robust
TURNED = 2.0  # percentage points that a difference must exceed both ways before its sign is said to change


def caveats(outcomes: Outcomes, summary: pd.DataFrame) -> list[str]:
    """Return sentences, the gravest first; an empty list when there is nothing to warn of."""
    return [
        *_replaced(outcomes),
        *_missing(outcomes),
        *_standing(outcomes),
        *_signs(outcomes, summary),
        *_flat(outcomes),
        *_ensembles(outcomes),
        *_seeds(summary),
        *_widths(outcomes, summary),
        *_surrogates(outcomes),
        *_clean(summary),
        *_common(summary),
        *_imported(outcomes),
        *_unsuited(outcomes),
    ]


def _replaced(outcomes: Outcomes) -> list[str]:
    if not outcomes.replaced:
        return []
    return [
        f"The data set was replaced by another of the same name: {outcomes.replaced} outcomes on the earlier data are "
        "kept in the run, and not shown. Everything here is on the data of the newest sweep."
    ]


def _missing(outcomes: Outcomes) -> list[str]:
    """Count the cells that the sweep asks for and that are not there."""
    targets, trained = scored_targets(outcomes), {key for key in outcomes.models if _is_trained(outcomes, key)}
    alone = sum(key in trained for key in outcomes.surrogates)
    together = sum(trained.issuperset(one.members) for one in outcomes.ensembles.values())
    epsilons = [epsilon for epsilon in outcomes.epsilons if epsilon > 0]
    gradient, noise = gradient_attacks(outcomes), noise_attacks(outcomes)
    crafted = sum(together if outcomes.attacks[key].together else alone for key in gradient) + len(noise)
    expected = len(targets) * len(epsilons) * crafted
    counted = {*gradient, *noise}
    hopeless = bool(outcomes.ensembles) and not together  # `_ensembles` says why
    found = sum(cell.target in targets and cell.attack in counted for cell in outcomes.cells)
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
            f"{expected - found} of {expected} cells are missing: the sweep was stopped, or several sweeps or files "
            "were put together. One sweep over all of it computes what is missing."
        )
    left_out = [outcomes.attacks[key].title for grid in transfer_grids(outcomes) for key in grid.unfinished]
    if left_out:
        sentences.append(f"Not in the worst case, because not finished on all pairs: {', '.join(left_out)}.")
    return sentences


def _is_trained(outcomes: Outcomes, key: str) -> bool:
    return outcomes.models[key].status == "trained"


def _flat(outcomes: Outcomes) -> list[str]:
    """Name the craftings in which many images gave the attack no gradient to follow."""
    worst: dict[str, tuple[float, float]] = {}
    for crafting, facts in outcomes.craftings.items():
        share = facts.get("zero_gradient_share", 0.0)
        if share > FLAT and crafting.surrogate is not None and crafting.attack in outcomes.attacks:
            one, record = outcomes.record(crafting.surrogate), outcomes.attacks[crafting.attack]
            where = f"{record.title or record.name} on {one.title or one.name}, seed {one.seed}"
            worst[where] = max(worst.get(where, (0.0, 0.0)), (share, -crafting.epsilon))
    if not worst:
        return []
    ranked = sorted(worst.items(), key=lambda item: item[1], reverse=True)
    named = "; ".join(f"{where}: {100 * share:.0f} % at ε = {-below:g}" for where, (share, below) in ranked[:3])
    more = f"; and {len(ranked) - 3} more, in zero_gradient_share of tables/results.csv" if len(ranked) > 3 else ""
    return [
        f"Some images had a gradient of exactly zero at every step, so that the attack had nothing to follow ({named}"
        f"{more}). That these images fooled nobody says nothing about robustness."
    ]


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


def _unsuited(outcomes: Outcomes) -> list[str]:
    """Name the attacks that are weak, or the same as a simpler one, on images of this size."""
    sentences = []
    for record in outcomes.attacks.values():
        listed = (*record.card.get("input", ()), *record.card.get("gradient", ()))
        parts = [Component.model_validate(part) for part in listed]
        sentences += [f"{record.title or record.name}: {doubt}." for doubt in doubts(parts, outcomes.images.shape)]
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
    rules = {outcomes.models[key].rule for grid in transfer_grids(outcomes) for key in grid.holders}
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


def _standing(outcomes: Outcomes) -> list[str]:
    """Name the cards that may not be ranked, and why."""
    titles = {outcomes.models[key].name: outcomes.models[key].title for key in outcomes.targets}
    weak = [
        f"{titles[card] or card} ({standing.reason.removeprefix(f'{NOT_RANKED}: ')})"
        for card, standing in standings(outcomes).items()
        if standing.kind == NOT_RANKED and standing.reason
    ]
    if not weak:
        return []
    return [
        f"Not ranked, and in no common set: {'; '.join(weak)}. What such a card keeps under attack says nothing about "
        "robustness: a model that always answers the same falls for no attack."
    ]


def _signs(outcomes: Outcomes, summary: pd.DataFrame) -> list[str]:
    """Name the pairs of ranked cards whose order depends on which card was attacked on."""
    sentences = []
    for grid in transfer_grids(outcomes):
        rows = summary[summary["norm"].eq(grid.norm) & summary["standing"].eq(RANKED) & summary["epsilon"].notna()]
        titles = dict(zip(rows["model"], rows["title"], strict=True))
        if len(titles) < 2:
            continue
        epsilon = float(rows["epsilon"].iloc[0])
        kept = dict(zip(grid.cards, 100 * grid.by_surrogate_card(epsilon).T, strict=True))
        gaps = {f"{titles[a]} minus {titles[b]}": kept[a] - kept[b] for a, b in combinations(titles, 2)}
        opposed = {pair: some for pair, some in gaps.items() if (some > TURNED).any() and (some < -TURNED).any()}
        if opposed:
            sentences.append(_opposed(opposed, grid.pairs.surrogate_cards, epsilon))
    return sentences


def _opposed(pairs: Mapping[str, Floats], surrogates: Sequence[str], epsilon: float) -> str:
    """Write out the three widest gaps; a card that attacked neither has none."""
    ranked = sorted(pairs.items(), key=lambda pair: float(np.nanmin(pair[1]) - np.nanmax(pair[1])))
    named = "; ".join(
        f"{pair}: "
        + ", ".join(f"{gap:+.1f} from {name}" for gap, name in zip(gaps, surrogates, strict=True) if gap == gap)
        for pair, gaps in ranked[:3]
    )
    others = len(pairs) - 3
    more = f"; and {others} more {'pair' if others == 1 else 'pairs'}" if others > 0 else ""
    return (
        "Which of two cards keeps more depends on the surrogates. In points of transfer robust accuracy at ε = "
        f"{epsilon:g}, by the surrogates' card, {named}{more}. Their mean says nothing about the learning rules."
    )


def _common(summary: pd.DataFrame) -> list[str]:
    """Say where the images that all compared models get right are none, or few."""
    compared = summary[summary["standing"].ne(NOT_RANKED) & summary["epsilon"].notna()]
    if len(compared) == 0:
        return []
    fewest = int(compared["n_common"].min())
    if fewest >= FEW_IMAGES:
        return []
    models = "all compared models (of ranked cards and controls) get right when clean"
    if fewest == 0:
        return [
            f"There are no common images, that {models}: the attack success rate over them, here and in "
            "attack_success_rate_common of tables/results.csv, is empty."
        ]
    return [f"Only {fewest} images are common, that {models}: the attack success rate over them is rough."]


def _widths(outcomes: Outcomes, summary: pd.DataFrame) -> list[str]:
    """Say where intervals are Wilson's, because the bootstrap's would be too narrow."""
    images = len(outcomes.labels)
    if images < FEW_IMAGES:
        return [
            f"Only {images} test images: a bootstrap over so few is too narrow, so that intervals are at least "
            f"Wilson's. Take {FEW_IMAGES} or more."
        ]
    few = summary[summary["interval"] == WILSON].drop_duplicates("model")
    if len(few) == 0:
        return []
    return [
        "So few images are right, or wrong, that a bootstrap over them is too narrow: the interval is at least "
        f"Wilson's for {', '.join(few['title'])}."
    ]


def _clean(summary: pd.DataFrame) -> list[str]:
    """Warn of comparing cards whose clean accuracies differ."""
    clean = summary.loc[summary["standing"] != NOT_RANKED, "clean_accuracy"].dropna()
    if len(clean) < 2 or clean.max() - clean.min() <= UNEQUAL:
        return []
    return [
        f"Clean accuracies differ by up to {100 * (clean.max() - clean.min()):.1f} points, so that neither accuracy "
        "under attack nor area compares these cards fairly, and area / clean only rescales. "
        f"“F{FOOLED[1:]}” compares them on the same images."
    ]
