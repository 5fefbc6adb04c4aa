"""Input transforms: the loss is averaged over changed copies of the images, so that it holds for more than one network.

A transform yields the copies one after the other, each computed from the images anew; `through` follows the chain rule
back through each copy by itself, so that memory is that of one copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import pi, sqrt
from typing import Annotated, TypeAlias

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ...errors import UsageError
from ..context import Context, Gradient, State, Transform, Wrapper

Copies: TypeAlias = Annotated[int, Field(ge=1, le=1_000)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


def through(transform: Transform, name: str) -> Wrapper:
    """Return a wrapper that averages a gradient over the copies a transform makes, by the chain rule.

    Args:
        transform: yields changed copies of images (N, C, H, W), each differentiable with respect to them.
        name: its name in the card; random numbers are drawn under it.
    """

    def wrap(gradient: Gradient) -> Gradient:
        def transformed(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            total, count = torch.zeros_like(images), 0
            with torch.enable_grad():
                variable = images.detach().requires_grad_()
                for copy in transform(variable, context.within(name)):
                    slope, state = gradient(copy.detach(), context.within(f"{name} {count}"), state)
                    total += torch.autograd.grad(copy, variable, slope)[0]
                    count += 1
            return total / count, state

        return transformed

    return wrap


def scale(*, copies: Annotated[int, Field(ge=2, le=1_000)] = 5) -> Transform:
    """Darkened copies x / 2^i, i = 0 to copies - 1 (SI; Lin et al., ICLR 2020, arXiv:1908.06281, equation 8).

    Args:
        copies: how many, the image itself among them.
    """

    def transform(images: Tensor, context: Context) -> Iterator[Tensor]:
        for power in range(copies):
            yield images / 2**power

    return transform


def admix(*, portion: Annotated[float, Field(gt=0)] = 0.2, images: Copies = 3) -> Transform:
    """Copies with a little of another image each: x + portion x' (Wang et al., ICCV 2021, arXiv:2102.00436, eq. 5).

    The other images come from other classes and from the attack's pool, not from the batch, so that batching changes
    nothing. The scales of the paper are a `scale` after it.

    Args:
        portion: how much of the other image.
        images: how many other images.
    """

    def transform(clean: Tensor, context: Context) -> Iterator[Tensor]:
        partners = other_classes(context, images)
        for number in range(images):
            yield clean + portion * context.task.pool[0][partners[:, number]]

    return transform


def other_classes(context: Context, count: int) -> Tensor:
    """Choose pool images of classes other than the image's own: positions (N, count). Without any, all will do."""
    classes = context.task.pool[1]
    order = classes.argsort(stable=True)
    first = torch.searchsorted(classes[order], context.task.labels)
    own = torch.searchsorted(classes[order], context.task.labels, right=True) - first
    others = len(classes) - own
    own = torch.where(others > 0, own, 0)
    rank = (context.uniform("partner", (count,)) * (len(classes) - own)[:, None]).long()
    # The images of one class lie side by side in this order: step over the own ones.
    return order[torch.where(rank < first[:, None], rank, rank + own[:, None])]


def diversity(
    *, probability: Annotated[float, Field(gt=0, le=1)] = 0.5, smallest: Annotated[float, Field(gt=0, lt=1)] = 0.9
) -> Transform:
    """Shrink and pad at random (DI; Xie et al., CVPR 2019, arXiv:1803.06978): bilinear, zeros around, same size.

    The authors enlarge 299 pixels to at most 330 for networks that take any size; here the size stays, so images
    shrink to a size from ``smallest`` times their own up to one pixel less, and lie somewhere on black, at every place
    alike where they fit.

    Args:
        probability: how often; otherwise the image stays as it is.
        smallest: smallest size, as a share of the image's.
    """

    def transform(images: Tensor, context: Context) -> Iterator[Tensor]:
        draws = context.uniform("diversity", (4,))
        apply = draws[:, 0] < probability
        rows = _shrinking(images.shape[2], smallest, draws[:, 1], draws[:, 2], apply)
        columns = _shrinking(images.shape[3], smallest, draws[:, 1], draws[:, 3], apply)
        yield rows[:, None] @ images @ columns[:, None].mT

    return transform


def smallest_side(length: int, share: float) -> int:
    """Return the smallest size, in pixels, that a side shrinks to."""
    return max(1, int(length * share))


def _shrinking(length: int, smallest: float, size: Tensor, place: Tensor, apply: Tensor) -> Tensor:
    """Return per image the matrix (length, length) that resizes one side and puts it somewhere on zeros."""
    least = smallest_side(length, smallest)
    sizes = (least + (size * (length - least)).long()).clamp_max(length)
    offsets = (place * (length - sizes + 1)).long()
    keys = torch.where(apply, sizes * (length + 1) + offsets, length * (length + 1))
    distinct, row = torch.unique(keys, return_inverse=True)
    matrices = [_resize_matrix(length, *divmod(key, length + 1)) for key in distinct.tolist()]
    return torch.stack(matrices).to(size)[row]


@lru_cache(maxsize=1024)
def _resize_matrix(length: int, small: int, offset: int) -> Tensor:
    identity = torch.eye(length, dtype=torch.float32, device="cpu")
    resized = F.interpolate(identity[None], size=small, mode="linear", align_corners=False)[0].T
    return F.pad(resized, (0, 0, offset, length - small - offset))


def spectrum(*, copies: Copies = 20, strength: Share = 0.5, noise: Annotated[float, Field(ge=0)] = 1.0) -> Transform:
    """Random changes of the discrete cosine spectrum (SSA; Long et al., ECCV 2022, arXiv:2207.05382, equation 7).

    Each copy is IDCT(DCT(x + xi) * m), xi normal noise, m uniform in [1 - strength, 1 + strength].

    Args:
        copies: how many.
        strength: rho of the paper.
        noise: standard deviation of xi, in epsilons.
    """
    if strength == 0 and noise == 0:
        raise UsageError("spectrum: strength and noise must not both be 0, or every copy is the image itself")

    def transform(images: Tensor, context: Context) -> Iterator[Tensor]:
        shape = (copies, *images.shape[1:])
        added = context.normal("noise", shape).mul_(noise * context.per_pixel(context.epsilon))
        masks = context.uniform("mask", shape).mul_(2 * strength).add_(1 - strength)
        rows, columns = _cosines(images.shape[2]).to(images), _cosines(images.shape[3]).to(images)
        for number in range(copies):
            waves = rows @ (images + added[:, number]) @ columns.T
            yield rows.T @ (waves * masks[:, number]) @ columns

    return transform


@lru_cache(maxsize=64)
def _cosines(length: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix: row k is the k-th cosine, sampled at the middle of each pixel."""
    count = torch.arange(length, dtype=torch.float64, device="cpu")
    matrix = torch.cos(count[:, None] * (count + 0.5) * (pi / length)) * sqrt(2 / length)
    matrix[0] /= sqrt(2)
    return matrix
