"""Adversarial training: part of each batch is crafted on the network that is being trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..cards import AdversarialTraining, AttackCard, ModelCard, Workspace
from ..crafting import attack_key, build_attempt, check_epsilons, craft
from ..errors import UsageError, located
from ..networks import Network
from ..randomness import keyed_generator, random_integers

AttackPlace = tuple[Path, str]  # a workspace's folder, and the name that a model card has for one of its attacks

# Attack cards that were sent to this process; it looks here before it looks into their workspaces.
SENT_ATTACKS: dict[AttackPlace, AttackCard] = {}


@dataclass(frozen=True)
class AttackedBatches:
    """Replaces part of a batch by adversarial images (Madry et al., ICLR 2018, arXiv:1706.06083).

    Attributes:
        recipe: attack, epsilon and share.
        attack: the attack's card.
        seed: the training's.

    """

    recipe: AdversarialTraining
    attack: AttackCard
    seed: int

    def replaced(self, network: Network, images: Tensor, labels: Tensor, positions: list[int], epoch: int) -> Tensor:
        """Return a batch whose first images, a ``share`` of it, are crafted on the network in evaluation mode.

        Args:
            network: the network as it is now; modes and gradients are given back as they were.
            images: float32 (N, C, H, W) in [0, 1], in random order.
            labels: int64 (N,).
            positions: of the images in the data set; with seed and epoch they key the attack's random numbers.
            epoch: counts from 0.

        """
        count = round(self.recipe.share * len(images))
        (seed,) = random_integers(2**31, 1, keyed_generator(self.seed, "adversarial", epoch))
        crafted = craft(
            self.attack,
            [network],
            images[:count].contiguous(),
            labels[:count],
            [self.recipe.epsilon],
            seed=seed,
            indices=positions[:count],
        )
        batch = images.clone()
        batch[:count] = next(crafted).images
        return batch


def attack_place(card: ModelCard, dataset: str) -> AttackPlace | None:
    """Return where the attack is found that a card is trained against on a data set; None for none."""
    adversarial = card.recipe(dataset).adversarial
    folder = Path() if card.folder is None else card.folder.parent
    return None if adversarial is None else (folder, adversarial.attack)


def attack_of(card: ModelCard, dataset: str) -> AttackCard | None:
    """Return the attack that a card is trained against on a data set; None for none.

    Raises:
        UsageError: for an unknown attack, or one that takes no single surrogate.

    """
    place = attack_place(card, dataset)
    if place is None:
        return None
    with located(f"{card.at_recipe(dataset)}.adversarial.attack"):
        attack = SENT_ATTACKS.get(place) or Workspace(place[0]).attacks[place[1]]
        if not attack.uses_surrogate or attack.uses_ensemble:
            raise UsageError(f"{attack.name} is not crafted on one network; take an attack such as pgd")
    return attack


def attacked_batches(card: ModelCard, dataset: str, seed: int) -> AttackedBatches | None:
    """Return how a card's batches are changed on a data set; None for not at all."""
    attack, recipe = attack_of(card, dataset), card.recipe(dataset).adversarial
    return None if attack is None or recipe is None else AttackedBatches(recipe, attack, seed)


def adversarial_key(card: ModelCard, dataset: str) -> dict[str, str]:
    """Return what of the attack decides the weights, for the identity of a model; empty without an attack."""
    attack = attack_of(card, dataset)
    return {} if attack is None else {"adversarial": attack_key(attack, 0)}


def check_adversarial_training(card: ModelCard, dataset: str, image_shape: tuple[int, int, int]) -> None:
    """Raise UsageError for an attack that cannot be built, or an epsilon beyond all images."""
    attack, recipe = attack_of(card, dataset), card.recipe(dataset).adversarial
    if attack is None or recipe is None:
        return
    build_attempt(attack)
    check_epsilons(attack.norm, image_shape, [recipe.epsilon], f"{card.at_recipe(dataset)}.adversarial.epsilon")
