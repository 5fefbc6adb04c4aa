"""Whether there are images, training seeds and common images enough to tell cards apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...environment import mixed
from ...storing.outcomes import Outcomes
from ..intervals import FEW_CASES, FEW_IMAGES, variance_parts
from ..metrics import common_images
from ..standing import compared_targets
from ..summary import chosen_epsilon
from ..transfer import card_names, scored_targets, transfer_grids
from .finding import FAIL, WARN, Finding, passed, some, title
from .withstood import withstood

HOPELESS_IMAGES = 30  # with fewer, Wilson's interval of a share is about 35 points wide at the least sure place
CLAIM, VERDICT = 3, 5  # training seeds for any statement, and for a verdict


def count_images(outcomes: Outcomes) -> Iterator[Finding]:
    """Count the test images."""
    count = len(outcomes.labels)
    if count >= FEW_IMAGES:
        yield passed("test_images", count, f"{count} test images.")
        return
    yield Finding(
        "test_images",
        FAIL if count < HOPELESS_IMAGES else WARN,
        count,
        "",
        f"Only {count} test images: intervals over so few would be too narrow, and are at least Wilson's.",
        f"Take {FEW_IMAGES} or more.",
    )


def sure_shares(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for cards that keep, or lose, all but a few images under attack: intervals of no width."""
    if len(outcomes.labels) < FEW_IMAGES:  # that is said already
        return
    fewest, narrow = float("inf"), []
    for grid in transfer_grids(outcomes):
        if not (epsilon := chosen_epsilon(grid)) > 0:
            continue
        for card, kept in withstood(grid, epsilon).items():
            right = float(kept.whole.sum())
            cases = min(right, len(kept.whole) - right)
            fewest = min(fewest, cases)
            if cases < FEW_CASES:
                narrow.append((card, f"{title(outcomes, card)} at ε = {epsilon:g} ({grid.norm})"))
    if narrow:
        yield Finding(
            "sure_shares",
            WARN,
            fewest,
            some([place for _, place in narrow]),
            "So few images are right, or wrong, that the spread over images says nothing: the interval is at least "
            f"Wilson's for {', '.join(dict.fromkeys(title(outcomes, card) for card, _ in narrow))}.",
            "Compare at an epsilon between, or on more images.",
            tuple(dict.fromkeys(card for card, _ in narrow)),
        )
    elif fewest < float("inf"):
        yield passed("sure_shares", fewest, "Every card keeps some images and loses some.")


def training_seeds(outcomes: Outcomes) -> Iterator[Finding]:
    """Count the training seeds of every target card."""
    trained = scored_targets(outcomes)
    counts = {card: sum(outcomes.models[key].name == card for key in trained) for card in card_names(outcomes, trained)}
    for below, status, claim in (
        (CLAIM, FAIL, "Differences between learning rules cannot be told from differences between seeds."),
        (VERDICT, WARN, "What they say is suggestive, and no verdict."),
    ):
        few = [card for card, count in counts.items() if count < below and (below == CLAIM or count >= CLAIM)]
        if few:
            who = "Every model card" if len(few) == len(counts) else ", ".join(title(outcomes, card) for card in few)
            cards = () if len(few) == len(counts) else tuple(few)
            meaning = f"{who}: fewer than {below} training seeds. {claim}"
            least = min(counts[card] for card in few)
            yield Finding("training_seeds", status, least, ", ".join(few), meaning, "Train with --seeds 5.", cards)
    if counts and min(counts.values()) >= VERDICT:
        yield passed("training_seeds", min(counts.values()), f"At least {VERDICT} training seeds of every card.")


def seed_variance(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare how uncertain seeds and images make what a card keeps: more images help against the latter alone."""
    shares: dict[str, float] = {}
    for grid in transfer_grids(outcomes):
        if not (epsilon := chosen_epsilon(grid)) > 0:
            continue
        for card, kept in withstood(grid, epsilon).items():
            images, seeds = map(float, variance_parts(kept.sample()))
            if images + seeds > 0 and len(kept.seeds) > 1:
                shares[card] = max(shares.get(card, 0.0), seeds / (images + seeds))
    large = {card: share for card, share in shares.items() if share > 0.5}
    if large:
        card = max(large, key=lambda one: large[one])
        yield Finding(
            "seed_variance",
            WARN,
            100 * large[card],
            some([title(outcomes, one) for one in sorted(large, key=lambda one: -large[one])]),
            f"Training seeds make up to {100 * large[card]:.0f} % of the variance of what a card keeps under attack.",
            "More seeds narrow the intervals; more images hardly do.",
            tuple(large),
        )
    elif shares:
        yield passed("seed_variance", 100 * max(shares.values()), "Images, not seeds, decide how wide intervals are.")


def common_set(outcomes: Outcomes) -> Iterator[Finding]:
    """Count the images that all compared models get right when clean."""
    compared = compared_targets(outcomes)
    if not compared or not transfer_grids(outcomes) or len(outcomes.labels) < FEW_IMAGES:
        return
    count = int(np.sum(common_images([outcomes.clean[key] for key in compared], outcomes.labels)))
    models = "all compared models (of ranked cards and controls) get right when clean"
    remedy = "Compare fewer cards, or take more images."
    if count == 0:
        meaning = f"There are no common images, that {models}: the attack success rate over them is empty."
        yield Finding("common_images", WARN, 0, "", meaning, remedy)
    elif count < FEW_IMAGES:
        meaning = f"Only {count} images are common, that {models}: the attack success rate over them is rough."
        yield Finding("common_images", WARN, count, "", meaning, remedy)
    else:
        yield passed("common_images", count, f"{count} images are common.")


def mixed_versions(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the versions, devices and platforms that models were trained with, and images crafted with."""
    trained = [one.metrics["made_with"] for one in outcomes.models.values() if "made_with" in one.metrics]
    known = [*trained, *outcomes.crafted_with]
    differing = mixed(known)
    if not known:
        return
    if not differing:
        yield passed("mixed_versions", 0, "Models and images were made with the same versions, on one kind of device.")
        return
    told = [f"{name} {' and '.join(values)}" for name, values in differing.items()]
    yield Finding(
        "mixed_versions",
        WARN,
        len(differing),
        "; ".join(told),
        f"Models were trained, or images crafted, with different versions or devices ({'; '.join(told)}): the same "
        "work done again may round otherwise, and differ in a few images.",
        "Compare what was made alike; --strict-versions keeps what was made otherwise apart.",
    )
