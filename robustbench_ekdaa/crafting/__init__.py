"""Adversarial examples: threat models, gradients, and the components that attacks are composed of."""

from .archive import AdversarialImages, check_adversarial, load_adversarial, save_adversarial
from .crafted import Crafted
from .entry import build_attempt, craft
from .surrogates import Precision

__all__ = [
    "AdversarialImages",
    "Crafted",
    "Precision",
    "build_attempt",
    "check_adversarial",
    "craft",
    "load_adversarial",
    "save_adversarial",
]
