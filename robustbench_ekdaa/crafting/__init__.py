"""Adversarial examples: threat models, gradients, and the components that attacks are composed of."""

from .archive import AdversarialImages, check_adversarial, load_adversarial, save_adversarial
from .arguments import Pool, checked_epsilons
from .craft import build_attempt, craft
from .crafted import Crafted
from .fitting import doubts
from .identity import attack_key
from .surrogates import Precision
from .threat import check_epsilons
from .weakness import WeaknessFound, find_weakness

__all__ = [
    "AdversarialImages",
    "Crafted",
    "Pool",
    "Precision",
    "WeaknessFound",
    "attack_key",
    "build_attempt",
    "check_adversarial",
    "check_epsilons",
    "checked_epsilons",
    "craft",
    "doubts",
    "find_weakness",
    "load_adversarial",
    "save_adversarial",
]
