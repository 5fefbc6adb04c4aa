"""Whether attacks are as strong as they could be, by what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...cards import Component
from ...crafting import doubts
from ...storing.bits import from_bits
from ...storing.keys import CraftingKey
from ...storing.outcomes import Outcomes
from ..metrics import Bools
from ..summary import chosen_epsilon
from ..transfer import TransferGrid, gradient_attacks, imported_attacks, noise_attacks, transfer_grids
from .finding import FAIL, WARN, Finding, passed, some, title
from .withstood import own_pairs

FLAT, MOST = 0.03, 0.5  # shares of images without any gradient: an attack looks weak then, and its targets robust
POINTS = 0.02  # what a difference must exceed to be worth a word
SURE = 4.0  # standard errors by which it must exceed 0: many cells are looked at
USED = 0.5  # the share of epsilon that an attack should go at least
GRID = 1 / 255  # pixels of eight bits


def excess(more: Bools, fewer: Bools) -> float:
    """Return by how large a share of N images one set exceeds another; 0 unless that is no accident.

    Args:
        more: which images are in the one, (N,).
        fewer: and in the other, (N,).
    """
    ahead, behind = int((more & ~fewer).sum()), int((fewer & ~more).sum())
    difference = (ahead - behind) / max(len(more), 1)
    return difference if difference > POINTS and ahead - behind > SURE * np.sqrt(ahead + behind) else 0.0


def transfer_beats_white_box(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for targets that images crafted on another model fool more than those crafted on themselves."""
    looked = beaten = False
    for grid in transfer_grids(outcomes):
        worst: dict[str, tuple[float, float, str]] = {}
        iterative = any(outcomes.attacks[key].card.get("steps", 1) > 1 for key in grid.attacks)
        for epsilon in grid.epsilons[1:]:
            right = grid.right(epsilon)
            for own, j in own_pairs(grid):
                looked = True
                for other in np.flatnonzero(grid.scored[:, j] & ~grid.white_box[:, j]):
                    gap = excess(right[own, j], right[other, j])
                    card = outcomes.models[grid.targets[j]].name
                    if gap > worst.get(card, (0.0, 0.0, ""))[0]:
                        worst[card] = gap, epsilon, outcomes.record(grid.surrogates[other]).name
        for card, (gap, epsilon, surrogate) in worst.items():
            yield Finding(
                "transfer_beats_white_box",
                FAIL if iterative else WARN,
                100 * gap,
                f"{card} from {surrogate} at ε = {epsilon:g} ({grid.norm})",
                f"Images crafted on {surrogate} fool {title(outcomes, card)} {100 * gap:.1f} points more often than "
                "those crafted on itself: its own gradient misleads attacks.",
                "Attack it with more steps and a loss free of scale; look for gradients that vanish or are not true.",
                (card,),
            )
        beaten |= bool(worst)
    if looked and not beaten:
        yield passed("transfer_beats_white_box", 0, "Nobody fools a target more than attacks on itself.")


def noise_as_strong(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare attacks on a model itself with noise of the same size; where none was swept, as it was probed."""
    looked, probed, found = False, False, []
    for grid in transfer_grids(outcomes):
        noisy = _right_under_noise(outcomes, grid.norm)
        for epsilon in grid.epsilons[1:] if noisy else ():
            right = grid.right(epsilon)
            for own, j in own_pairs(grid):
                target = grid.targets[j]
                if (target, epsilon) not in noisy:
                    continue
                looked = True
                before = float((outcomes.clean[target] == outcomes.labels).mean())
                noise, kept = float(noisy[target, epsilon].mean()), float(right[own, j].mean())
                # Noise that harms nobody says nothing, nor does a difference of a few images.
                if before - noise > 2 * POINTS and kept >= noise - 0.1 * (before - noise):
                    found.append((noise - kept, outcomes.models[target].name, epsilon, grid.norm))
    for key, facts in outcomes.probes.items():
        if key in outcomes.models and not looked:
            before, noise, kept = facts["clean"], facts["noise"], facts["attacked"]
            probed = True
            if before - noise > 2 * POINTS and kept >= noise - 0.1 * (before - noise):
                found.append((noise - kept, outcomes.models[key].name, facts["epsilon"], "probed"))
    if found:
        gap, card, epsilon, norm = max(found)
        cards = tuple(dict.fromkeys(one for _, one, *_ in found))
        yield Finding(
            "noise_as_strong",
            FAIL,
            100 * gap,
            f"{some(cards, ', ')} at ε = {epsilon:g} ({norm})",
            f"Noise fools {title(outcomes, card)} about as often as attacks on itself, which follow nothing then.",
            "Look for gradients that vanish or are not true, and for steps that are too small.",
            cards,
        )
    elif looked or probed:
        yield passed("noise_as_strong", 0, "Every attack on a model itself is stronger than noise.")


def _right_under_noise(outcomes: Outcomes, norm: str) -> dict[tuple[str, float], Bools]:
    """Return which images a target gets right under all noise of a norm, by target and epsilon."""
    found: dict[tuple[str, float], Bools] = {}
    noises = [key for key in noise_attacks(outcomes) if outcomes.attacks[key].norm == norm]
    for (crafting, seen), answers in outcomes.cells.answers(outcomes.cells.under(noises)):
        for target, right in zip(seen, from_bits(answers.right, len(outcomes.labels)), strict=True):
            place = target, crafting.epsilon
            found[place] = found[place] & right if place in found else right
    return found


def zero_gradients(outcomes: Outcomes) -> Iterator[Finding]:
    """Name the craftings in which many images gave the attack no gradient to follow."""
    worst: dict[CraftingKey, float] = {}
    largest, seen = 0.0, False
    for crafting, facts in outcomes.craftings.items():
        share = facts.get("zero_gradient_share")
        if share is None or crafting.surrogate is None or crafting.attack not in outcomes.attacks:
            continue
        seen, largest = True, max(largest, share)
        place = crafting._replace(epsilon=0.0)
        if share > FLAT and (share, -crafting.epsilon) > (worst.get(place, 0.0), -np.inf):
            worst[place] = share
    if not worst:
        if seen:
            yield passed("zero_gradients", 100 * largest, "Attacks had gradients to follow.")
        return
    at = {
        place: min(
            one.epsilon
            for one, facts in outcomes.craftings.items()
            if one._replace(epsilon=0.0) == place and facts.get("zero_gradient_share") == share
        )
        for place, share in worst.items()
    }
    ranked = sorted(worst, key=lambda place: (worst[place], -at[place]), reverse=True)
    named = some([f"{_crafted(outcomes, one)}: {100 * worst[one]:.0f} % at ε = {at[one]:g}" for one in ranked])
    tail = ", in zero_gradient_share of tables/results.csv" if len(ranked) > 3 else ""
    yield Finding(
        "zero_gradients",
        FAIL if largest > MOST else WARN,
        100 * largest,
        _crafted(outcomes, ranked[0]),
        "Some images had a gradient of exactly zero at every step, so that the attack had nothing to follow "
        f"({named}{tail}). That these images fooled nobody says nothing about robustness.",
        "Attack with a loss free of scale (apgd_dlr), or look for an operation without a slope, such as sign.",
        tuple(dict.fromkeys(name for place in ranked for name in _cards(outcomes, place))),
    )


def _crafted(outcomes: Outcomes, place: CraftingKey) -> str:
    assert place.surrogate is not None
    one, record = outcomes.record(place.surrogate), outcomes.attacks[place.attack]
    return f"{record.title or record.name} on {one.title or one.name}, seed {one.seed}"


def _cards(outcomes: Outcomes, place: CraftingKey) -> list[str]:
    assert place.surrogate is not None
    return [outcomes.models[key].name for key in outcomes.members(place.surrogate)]


def one_step_attacks(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for runs whose every gradient attack takes one step."""
    cards = [outcomes.attacks[key].card for key in gradient_attacks(outcomes)]
    steps = [2 if card.get("adapter") else card.get("steps") for card in cards]
    known = [number for number in steps if number is not None]
    if not known or len(known) < len(steps):
        return
    if max(known) > 1:
        yield passed("one_step_attacks", max(known), "There are attacks of several steps.")
        return
    meaning = "All gradient attacks take one step: a model whose loss is curved looks robust to them."
    yield Finding("one_step_attacks", WARN, 1, "", meaning, "Add bim, mi_fgsm or pgd to --attacks.")


def unsuited_attacks(outcomes: Outcomes) -> Iterator[Finding]:
    """Name the attacks that are weak, or the same as a simpler one, on images of this size."""
    found = 0
    for record in outcomes.attacks.values():
        listed = (*record.card.get("input", ()), *record.card.get("gradient", ()))
        parts = [Component.model_validate(part) for part in listed]
        for doubt in doubts(parts, outcomes.images.shape):
            found += 1
            name = record.title or record.name
            remedy = "Give the attack a card that fits these images, or leave it out."
            yield Finding("unsuited_attacks", WARN, min(outcomes.images.shape[-2:]), name, f"{name}: {doubt}.", remedy)
    if outcomes.attacks and not found:
        yield passed("unsuited_attacks", 0, "Every part of the attacks suits images of this size.")


def unused_epsilon(outcomes: Outcomes) -> Iterator[Finding]:
    """Measure how far attacks go in the l-infinity ball, by the adversarial images that are kept to be shown."""
    used: dict[str, float] = {}
    for example in outcomes.examples:
        record = outcomes.attacks.get(example.attack)
        if record is None or record.norm != "linf" or record.card.get("adapter") or not len(example.images):
            continue
        moved = np.abs(example.images - outcomes.images[: len(example.images)])
        share = float(np.quantile(moved, 0.9) / example.epsilon) if example.epsilon > 0 else 1.0
        used[example.attack] = max(used.get(example.attack, 0.0), float(moved.max() / example.epsilon), share)
    short = {key: share for key, share in used.items() if share < USED}
    for key, share in short.items():
        record = outcomes.attacks[key]
        name = record.title or record.name
        yield Finding(
            "unused_epsilon",
            FAIL,
            100 * share,
            name,
            f"{name} changes no pixel by more than {100 * share:.2g} % of epsilon, in the images that are kept to be "
            "shown: its numbers are those of a smaller epsilon.",
            'Write its step_size as a multiple of epsilon, such as "epsilon / steps".',
        )
    if used and not short:
        yield passed("unused_epsilon", 100 * min(used.values()), "Attacks use the epsilon that they have.")


def quantised_images(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for imported images whose pixels were rounded to eight bits, where their epsilon is not of eight bits."""
    looked, rounded = 0, []
    for example in outcomes.examples:
        if example.attack not in imported_attacks(outcomes) or not len(example.images):
            continue
        clean = outcomes.images[: len(example.images)]
        if _on_grid(clean) and _on_grid(np.array([example.epsilon])):
            continue  # an attack that steps by whole levels stays on them by itself
        looked += 1
        if _on_grid(example.images):
            rounded.append(f"{outcomes.attacks[example.attack].name} at ε = {example.epsilon:g}")
    if rounded:
        yield Finding(
            "quantised_images",
            WARN,
            len(rounded),
            some(rounded),
            "Imported images hold nothing but multiples of 1/255: they were rounded to eight bits after crafting, "
            "which weakens an attack, and truncation turns 8/255 into 9/255.",
            "Save float32 images (.safetensors or .npz) where they are crafted.",
        )
    elif looked:
        yield passed("quantised_images", 0, "Imported images are not rounded to eight bits.")


def _on_grid(values: np.ndarray) -> bool:
    return bool(np.abs(values / GRID - np.round(values / GRID)).max() < 1e-3)


def reference(grid: TransferGrid) -> float | None:
    """Return the epsilon at which a grid's cards are compared; None if there is none."""
    epsilon = chosen_epsilon(grid)
    return epsilon if epsilon > 0 else None
