"""A unit test of attacks: a network with a planted weakness that no attack worth its name may miss.

After Zimmermann, Brendel, Tramer and Carlini, "Increasing Confidence in Adversarial Robustness Evaluations" (NeurIPS
2022, arXiv:2206.13991): a defence may look strong only because the attack is weak, so an attack first has to show that
it finds adversarial examples where they are known to exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..cards import AttackCard
from ..computing import ordinary_torch
from ..randomness import keyed_generator
from .craft import craft

CLASSES, SIDE, IMAGES = 10, 8, 12
EPSILONS = {"linf": 0.1, "l2": 1.0, "l1": 8.0}
SUFFICIENT = 0.5  # share of epsilon that is enough to fool every image, if it is all spent on the weakness
NEEDED = 0.95  # share of the images that must be fooled


class PlantedWeakness(nn.Module):
    """A network whose last input channel decides between even and odd classes.

    The other channels give scores in [-1/2, 1/2] to the K classes. To these, ``gain * t`` is added for even classes
    and taken from odd ones, where t is the mean of the last channel minus 1/2. On clean images that channel is 1/2
    everywhere, so that t = 0 and it has no say; within epsilon, t can be moved far enough that a class of the other
    kind wins whatever the scores are.

    Args:
        norm: "linf", "l2" or "l1".
        epsilon: the size of perturbations of which the share `SUFFICIENT` is to be enough.

    """

    weights: Tensor
    kinds: Tensor

    def __init__(self, norm: str, epsilon: float) -> None:
        super().__init__()
        pixels = SIDE * SIDE
        reach = {"linf": epsilon, "l2": epsilon / pixels**0.5, "l1": epsilon / pixels}[norm]
        # Scores differ by at most 1, and a move of t counts twice: for one kind of class and against the other.
        self.gain = 1 / (2 * SUFFICIENT * reach)
        weights = torch.randn(CLASSES, pixels, generator=keyed_generator(0, "planted weakness"))
        self.register_buffer("weights", weights / pixels**0.5)
        self.register_buffer("kinds", torch.tensor([1.0, -1.0]).repeat(CLASSES // 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 10) of images (N, 2, 8, 8)."""
        scores = torch.tanh((images[:, 0].flatten(1) - 0.5) @ self.weights.T) / 2
        moved = images[:, 1].flatten(1).mean(1, keepdim=True) - 0.5
        logits: Tensor = scores + self.gain * moved * self.kinds
        return logits


@dataclass(frozen=True)
class WeaknessFound:
    """What an attack made of the planted weakness.

    Attributes:
        attack: the card's name.
        verdict: "passed" if it fooled at least 95 % of the images, "failed" if not, "exempt" for noise.
        fooled: share of the images, in [0, 1]; None for noise.
        found: one line about it.

    """

    attack: str
    verdict: Literal["passed", "failed", "exempt"]
    fooled: float | None
    found: str


@ordinary_torch(gradients=False)
def find_weakness(card: AttackCard, *, count: int = IMAGES, seed: int = 0) -> WeaknessFound:
    """Let an attack find the planted weakness; a targeted attack has to reach the best class of the other kind.

    Args:
        card: the attack's card; with its own steps and step size, at epsilon 0.1 (linf), 1 (l2) or 8 (l1).
        count: how many images.
        seed: keys the attack's random draws.

    Raises:
        UsageError: for a card that cannot be built.

    """
    if not card.uses_surrogate:
        return WeaknessFound(card.name, "exempt", None, "noise follows nothing, so there is nothing that it must find")
    epsilon = EPSILONS[card.norm]
    network = PlantedWeakness(card.norm, epsilon).eval()
    images = torch.rand(count, 2, SIDE, SIDE, generator=keyed_generator(0, "images of the planted weakness"))
    images[:, 1] = 0.5
    logits = network(images)
    labels = logits.argmax(1)
    # The best class of the other kind: the weakness alone is enough to reach it.
    others = logits.masked_fill(network.kinds == network.kinds[labels].unsqueeze(1), -torch.inf)
    goals = others.argmax(1) if card.target is not None else None
    surrogates = [network, PlantedWeakness(card.norm, epsilon).eval()] if card.uses_ensemble else [network]
    (crafted,) = craft(card, surrogates, images, labels, [epsilon], seed=seed, targets=goals)
    predictions = network(crafted.images).argmax(1)
    fooled = float((predictions != labels if goals is None else predictions == goals).double().mean())
    what = "fooled" if goals is None else "led to its goal"
    return WeaknessFound(
        card.name,
        "passed" if fooled >= NEEDED else "failed",
        fooled,
        f"{100 * fooled:.0f} % of {count} images {what} at {card.norm} {epsilon:g}, where {100 * SUFFICIENT:.0f} % of "
        "that is enough for each",
    )
