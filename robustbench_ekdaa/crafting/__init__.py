"""Adversarial examples: threat models, gradients, and the components that attacks are composed of."""

from .crafted import Crafted
from .entry import build_attempt, craft

__all__ = ["Crafted", "build_attempt", "craft"]
