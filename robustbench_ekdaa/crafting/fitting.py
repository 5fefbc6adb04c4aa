"""Warnings for attack cards made for large photographs that are used on small images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..cards import Component
from .components.inputs import smallest_side


def doubts(parts: Iterable[Component], image_shape: Sequence[int]) -> list[str]:
    """Say which parts of an attack do not suit images of such a shape, and what to do; nothing of most attacks.

    Args:
        parts: what a card says is done to the images and around the gradient.
        image_shape: (..., H, W).

    """
    height, width = image_shape[-2:]
    side = min(height, width)
    found = []
    for part in parts:
        if part.component == "kernel_smoothing":
            size = part.options.get("size", 15)
            if isinstance(size, int) and size > side / 2:
                found.append(
                    f"its kernel of {size} pixels is larger than half the {height} x {width} image and smooths away "
                    'what the gradient says; size = "side / 5" fits'
                )
        if part.component == "diversity":
            share = part.options.get("smallest", 0.9)
            if all(smallest_side(length, share) == length for length in (height, width)):
                found.append(
                    f"at {height} x {width} pixels its input diversity changes nothing, as there is no whole number of "
                    f"pixels from {share:g} of the side to below it"
                )
    return found
