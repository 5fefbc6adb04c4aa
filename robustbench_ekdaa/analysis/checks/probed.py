"""What models said themselves of attacks on them, and what the images say of the data; see `scoring.probing`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ...storing.outcomes import Outcomes
from ..standing import CONTROL_RULE, chance_level
from .finding import FAIL, WARN, Finding, passed, title

ProbedFacts = Mapping[str, float]
SOME, MOST_CERTAIN = 0.1, 0.5  # shares of images with a probability of 1: of well trained models, and of masked ones
GAIN, LARGE = 0.02, 0.1  # what a stronger attack may gain, in shares of images, before it is told, and before it fails
ACCIDENT = 3.0  # standard errors by which it must exceed 0
DOUBLES, LEAK = 0.005, 0.05  # shares of test images among the training images: some data sets hold a few by nature


def worst_of(outcomes: Outcomes, measure: Callable[[ProbedFacts], float]) -> dict[str, tuple[float, ProbedFacts]]:
    """Return the largest value of each card's probed models, with the facts of that model."""
    worst: dict[str, tuple[float, ProbedFacts]] = {}
    for key, facts in outcomes.probes.items():
        if key in outcomes.models:
            card, value = outcomes.models[key].name, measure(facts)
            if value > worst.get(card, (-np.inf, facts))[0]:
                worst[card] = value, facts
    return worst


def masking(outcomes: Outcomes) -> Iterator[Finding]:
    """Measure on how many images a model's probability is 1 in float32, so that cross-entropy has no slope left."""
    found = worst_of(outcomes, lambda facts: facts["certain"])
    for card, (share, _) in found.items():
        if share > SOME:
            yield Finding(
                "masking",
                FAIL if share > MOST_CERTAIN else WARN,
                100 * share,
                card,
                f"{title(outcomes, card)} is so sure of {100 * share:.0f} % of the images that 1 - p is 0 in float32: "
                "their cross-entropy is flat, and attacks that follow it are weak.",
                'Attack it with a loss free of scale (apgd_dlr, or loss = "logit_ratio").',
                (card,),
            )
    if found and all(share <= SOME for share, _ in found.values()):
        yield passed("masking", 100 * max(share for share, _ in found.values()), "No loss underflows.")


def scale_free_loss(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the attack with the same attack on logits of one scale."""
    meaning = (
        "Scaled to one spread, the logits of {card} lead the same attack to {points:.1f} points more images: how large "
        "logits are decides how weak attacks on it and from it look."
    )
    yield from _gains(outcomes, "scale_free", "scale_free_loss", meaning, "Attack with a loss free of scale.")


def doubled_steps(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the attack with the same attack of twice the steps."""
    meaning = "With twice its steps, the attack on {card} fools {points:.1f} points more images: it had not ended."
    yield from _gains(outcomes, "doubled", "doubled_steps", meaning, "Give the attack's card more steps.")


def _gains(outcomes: Outcomes, name: str, check: str, meaning: str, remedy: str) -> Iterator[Finding]:
    """Tell what a stronger attack gains; of controls only what is large, as nobody is compared with them."""

    def gain(facts: ProbedFacts) -> float:
        if name not in facts:
            return 0.0
        more, count = facts["attacked"] - facts[name], facts["images"]
        sure = more * count > ACCIDENT * np.sqrt(facts[f"{name}_changed"] * count)
        return more if more > GAIN and sure else 0.0

    found = {card: value for card, (value, _) in worst_of(outcomes, gain).items()}
    controls = {one.name for one in outcomes.models.values() if one.rule == CONTROL_RULE}
    told = {card: value for card, value in found.items() if value > (LARGE if card in controls else 0.0)}
    for card, value in told.items():
        text = meaning.format(card=title(outcomes, card), points=100 * value)
        yield Finding(check, FAIL if value > LARGE else WARN, 100 * value, card, text, remedy, (card,))
    if found and not told:
        yield passed(check, 100 * max(found.values()), "It gains next to nothing.")


def true_gradient(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare a model's gradients with finite differences of its logits."""
    found = worst_of(outcomes, lambda facts: facts["slope_error"] / facts["slope_tolerance"])
    false = {card: facts["slope_error"] for card, (ratio, facts) in found.items() if ratio > 1}
    for card, error in false.items():
        yield Finding(
            "true_gradient",
            FAIL,
            100 * error,
            card,
            f"The gradient of {title(outcomes, card)} is not the slope of its logits (off by {100 * error:.0f} %; "
            "finite differences): attacks follow something else, such as a feedback signal, and it looks robust.",
            "Take backward functions of its own, and roundings, out of its forward.",
            (card,),
        )
    if found and not false:
        largest = max(facts["slope_error"] for _, facts in found.values())
        yield passed("true_gradient", 100 * largest, "Gradients are the slopes of the logits.")


def steady_forward(outcomes: Outcomes) -> Iterator[Finding]:
    """Ask every model twice about the same images."""
    found = {card: share for card, (share, _) in worst_of(outcomes, lambda facts: facts["unsteady"]).items()}
    for card, share in found.items():
        if share > 0:
            yield Finding(
                "steady_forward",
                FAIL,
                100 * share,
                card,
                f"{title(outcomes, card)} answers {100 * share:.0f} % of the images otherwise when it is asked again: "
                "its forward draws random numbers, or remembers, and no gradient of one draw attacks the next.",
                "Attack the mean over its draws: robustbench_ekdaa.averaged.",
                (card,),
            )
    if found and not any(found.values()):
        yield passed("steady_forward", 0, "Models answer the same images in the same way.")


def shared_images(outcomes: Outcomes) -> Iterator[Finding]:
    """Measure how many test images stand among the training images."""
    facts = outcomes.probes.get("")
    if facts is None:
        return
    share = facts["shared"]
    if share <= DOUBLES:
        yield passed("shared_images", 100 * share, "Test images are no training images.")
        return
    meaning = f"{100 * share:.1f} % of the test images stand among the training images: accuracy on them is memory."
    status = FAIL if share > LEAK else WARN
    yield Finding("shared_images", status, 100 * share, "", meaning, "Take them out of the training images.")


def shuffled_labels(outcomes: Outcomes) -> Iterator[Finding]:
    """Ask how often the nearest training image of a test image has its label: by chance, where labels were shuffled."""
    facts = outcomes.probes.get("")
    if facts is None:
        return
    chance, share = chance_level(outcomes), facts["nearest"]
    if share > chance + 4 * np.sqrt(chance * (1 - chance) / max(facts["nearest_images"], 1)):
        yield passed("shuffled_labels", 100 * share, "Near images have equal labels more often than by chance.")
        return
    yield Finding(
        "shuffled_labels",
        FAIL,
        100 * share,
        "",
        f"The training image nearest to a test image has its label in {100 * share:.0f} % of cases, which is chance: "
        "labels do not belong to their images.",
        "Import the data again, images and labels in one order.",
    )
