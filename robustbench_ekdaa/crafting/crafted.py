"""What crafting gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crafted:
    """The adversarial images of one batch at one epsilon.

    Attributes:
        epsilon: the largest size of a perturbation, in pixels of [0, 1].
        images: float32 (N, C, H, W) in [0, 1], within epsilon of the clean ones.
        zero_gradient: bool (N,): whether every gradient the attack saw of an image was exactly zero, so that it had
            nothing to follow; that the image fooled nobody then says nothing about anybody's robustness. Always false
            for attacks of other libraries, which do not tell.
        smallest: for attacks that look for the smallest perturbation: its norm, float32 (N,), infinite where none was
            found and 0 where the clean image already fools. Where it exceeds epsilon the clean image is returned.
        queries: for attacks of other libraries: how many images were shown to the surrogate, int64 (N,).

    """

    epsilon: float
    images: Tensor
    zero_gradient: Tensor
    smallest: Tensor | None = None
    queries: Tensor | None = None


def unchanged(images: Tensor, epsilon: float = 0.0) -> Crafted:
    """Return the images as they are."""
    return Crafted(epsilon, images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device))


def worst(candidates: Sequence[Crafted], strengths: Sequence[Tensor]) -> Crafted:
    """Take each image from the candidate where it is strongest; the gradient was zero if it was so for all of them."""
    choice = torch.stack(list(strengths)).argmax(0)
    images = candidates[0].images
    for number, candidate in enumerate(candidates[1:], start=1):
        images = torch.where((choice == number).view(-1, 1, 1, 1), candidate.images, images)
    flat = torch.stack([candidate.zero_gradient for candidate in candidates]).all(0)
    found = [candidate.smallest for candidate in candidates if candidate.smallest is not None]
    asked = [candidate.queries for candidate in candidates if candidate.queries is not None]
    smallest = torch.stack(found).amin(0) if found else None
    queries = torch.stack(asked).sum(0) if asked else None
    return Crafted(candidates[0].epsilon, images, flat, smallest, queries)
