"""Adversarial examples: threat models, gradients, and the components that attacks are composed of."""

from .archive import AdversarialImages, check_adversarial, load_adversarial, save_adversarial
from .arguments import Pool, radii_of
from .crafted import Crafted
from .entry import build_attempt, craft
from .fitting import doubts
from .surrogates import Precision
from .threat import check_reach

__all__ = [
    "AdversarialImages",
    "Crafted",
    "Pool",
    "Precision",
    "build_attempt",
    "check_adversarial",
    "check_reach",
    "craft",
    "doubts",
    "load_adversarial",
    "radii_of",
    "save_adversarial",
]
