"""Adversarial examples: threat models, gradients, and the components that attacks are composed of."""

from .crafted import Crafted
from .entry import craft
from .recipe import build_recipe

__all__ = ["Crafted", "build_recipe", "craft"]
