"""Threat models: how the size of a perturbation is measured, and how an image moves and stays inside its ball."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..errors import UsageError

# The smallest number float32 divides by at full precision: a zero gradient stays zero, a tiny one keeps its direction.
FLOOR = torch.finfo(torch.float32).tiny

Projection = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Threat:
    """What an attacker may do to an image x: reach any x' in [0, 1] with size(x' - x) <= epsilon.

    Attributes:
        norm: its name in cards.
        size: perturbation (N, C, H, W) -> its norm, shape (N,).
        ascend: (images, direction, length) -> images moved by a step of that norm along which the linear function
            <direction, .> grows most. Where the direction is zero, nothing moves.
        ball: (clean, epsilon) -> the projection of images on the ball around clean and on [0, 1].
        of_ones: number of pixels -> the norm of a perturbation that changes each of them by 1.
    """

    norm: str
    size: Callable[[Tensor], Tensor]
    ascend: Callable[[Tensor, Tensor, float], Tensor]
    ball: Callable[[Tensor, float], Projection]
    of_ones: Callable[[int], float]

    def project(self, images: Tensor, clean: Tensor, epsilon: float) -> Tensor:
        """Project images on the ball around the clean ones and on [0, 1].

        A loop calls `ball` once instead, and uses what that returns at every step.

        Args:
            images: (N, C, H, W).
            clean: the clean images, (N, C, H, W) in [0, 1].
            epsilon: the ball's radius in this norm, in pixels of [0, 1].
        """
        return self.ball(clean, epsilon)(images)


def column(per_image: Tensor) -> Tensor:
    """Return per-image numbers in the shape (N, 1, 1, 1), so that images can be multiplied by them.

    Args:
        per_image: (N,).
    """
    return per_image.view(-1, 1, 1, 1)


def unit(direction: Tensor) -> Tensor:
    """Scale each direction to l2 norm 1, without underflow; directions that are exactly zero stay zero.

    Args:
        direction: (N, C, H, W).
    """
    scaled = direction / column(largest(direction).clamp_min(FLOOR))
    return scaled / column(_l2_size(scaled).clamp_min(FLOOR))


def mean_size_one(gradient: Tensor) -> Tensor:
    """Scale each gradient so that the mean of its absolute values is 1; gradients that are exactly zero stay zero.

    Args:
        gradient: (N, C, H, W).
    """
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(FLOOR)


def largest(perturbation: Tensor) -> Tensor:
    """Return the largest absolute value of each image, (N,): the l-infinity norm.

    Args:
        perturbation: (N, C, H, W), in any memory layout.
    """
    return perturbation.abs().amax((1, 2, 3))


# -- l-infinity: every pixel by at most epsilon ----------------------------------------------------------------------


def _linf_ascend(images: Tensor, direction: Tensor, length: float) -> Tensor:
    return torch.add(images, direction.sign(), alpha=length)


def _linf_ball(clean: Tensor, epsilon: float) -> Projection:
    # The ball and the box are both boxes, and so is what they share.
    low, high = (clean - epsilon).clamp_min_(0), (clean + epsilon).clamp_max_(1)
    return lambda images: images.clamp(low, high)


# -- l2: Euclidean length at most epsilon ----------------------------------------------------------------------------


def _l2_size(perturbation: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(perturbation, dim=(1, 2, 3))
    return length


def _l2_ascend(images: Tensor, direction: Tensor, length: float) -> Tensor:
    return torch.add(images, unit(direction), alpha=length)


def _l2_ball(clean: Tensor, epsilon: float) -> Projection:
    def project(images: Tensor) -> Tensor:
        perturbation = images - clean
        shrink = (epsilon / _l2_size(perturbation).clamp_min(FLOOR)).clamp_max(1)
        # Clipping to [0, 1] brings every pixel nearer to the clean one, so the result stays in the ball.
        return (clean + perturbation * column(shrink)).clamp_(0, 1)

    return project


# -- l1: absolute changes sum to at most epsilon ---------------------------------------------------------------------


def _l1_size(perturbation: Tensor) -> Tensor:
    return perturbation.abs().sum((1, 2, 3))


def _l1_ascend(images: Tensor, direction: Tensor, length: float) -> Tensor:
    """Spend the length on the pixels of largest slope first, each up to black or white: the best step in the box."""
    slope = direction.flatten(1)
    pixels = images.flatten(1)
    room = torch.where(slope > 0, 1 - pixels, pixels) * (slope != 0)
    order = slope.abs().argsort(dim=1, descending=True, stable=True)
    room = room.gather(1, order)
    spent_before = room.cumsum(1) - room
    spend = (length - spent_before).clamp_min(0).minimum(room)
    move = torch.zeros_like(pixels).scatter_(1, order, spend) * slope.sign()
    return images + move.view_as(images)


def _l1_ball(clean: Tensor, epsilon: float) -> Projection:
    """Project on the l1 ball (Duchi et al., ICML 2008, figure 1), then clip to [0, 1]."""
    pixels = clean[:1].numel()
    count = torch.arange(1, pixels + 1, device=clean.device, dtype=clean.dtype)

    def project(images: Tensor) -> Tensor:
        perturbation = (images - clean).flatten(1)
        largest_first = perturbation.abs().sort(dim=1, descending=True).values
        excess = largest_first.cumsum(1) - epsilon
        kept = (largest_first * count > excess).sum(1, keepdim=True).clamp_min(1)
        threshold = (excess.gather(1, kept - 1) / kept).clamp_min(0)
        shrunk = (perturbation.abs() - threshold).clamp_min(0) * perturbation.sign()
        return (clean + shrunk.view_as(images)).clamp_(0, 1)

    return project


THREATS = {
    "linf": Threat("linf", largest, _linf_ascend, _linf_ball, lambda pixels: 1.0),
    "l2": Threat("l2", _l2_size, _l2_ascend, _l2_ball, lambda pixels: pixels**0.5),
    "l1": Threat("l1", _l1_size, _l1_ascend, _l1_ball, float),
}


def check_epsilons(norm: str, image_shape: Sequence[int], epsilons: Sequence[float], what: str) -> None:
    """Raise UsageError for an epsilon beyond any change there can be: most often its decimal point was forgotten.

    Args:
        norm: how epsilons are measured.
        image_shape: (C, H, W).
        epsilons: sizes of perturbations, in pixels of [0, 1].
        what: whose they are, for the message.

    """
    limit = THREATS[norm].of_ones(prod(image_shape))
    for epsilon in epsilons:
        if epsilon > limit * (1 + 1e-6):
            raise UsageError(
                f"{what}: epsilon {epsilon:g} is too large: from black to white is {limit:g} in {norm}. Pixels lie in "
                "[0, 1], so that 8 of 255 is 8/255; norms that need other epsilons go in runs of their own."
            )
