"""The memory format of maps: convolutions and pooling are faster on (N, H, W, C) than on (N, C, H, W) on CPUs.

benchmarks/memory_format.py measures by how much.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The format of maps in training, and of the weights of networks that are loaded.
MEMORY_FORMAT = torch.channels_last


def has_channels_last(maps: Tensor) -> bool:
    """Whether (N, C, H, W) lies in memory as (N, H, W, C)."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def as_channels_last(maps: Tensor) -> Tensor:
    """Return (N, C, H, W) so that it lies in memory as (N, H, W, C)."""
    return maps.contiguous(memory_format=torch.channels_last)


def gradient_with_channels_last(gradient: Tensor | None) -> Tensor | None:
    """Return a gradient so that it lies in memory as (N, H, W, C); None, as autograd may give, stays None."""
    return None if gradient is None else as_channels_last(gradient)


def in_format_of(maps: Tensor, signal: Tensor) -> Tensor:
    """Return a signal in the memory format of maps of its shape, because computing with mixed formats is slow."""
    return as_channels_last(signal) if maps.dim() == 4 and has_channels_last(maps) else signal


def with_channels_last(images: Tensor) -> Tensor:
    """Return a copy of images (N, C, H, W) that lies in memory as (N, H, W, C)."""
    # `contiguous` would return grey images unchanged: their two formats are equal in memory, but have other strides.
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def values_at(maps: Tensor, positions: Tensor) -> Tensor:
    """Return the values of maps (N, C, H, W) at positions (N, C, h, w) in 0 ... HW - 1, in the positions' shape."""
    last = has_channels_last(positions)
    found = _flat(maps, last).gather(1 if last else 2, _flat(positions, last))
    return _unflat(found, positions.shape, last)


def put_at(values: Tensor, positions: Tensor, shape: torch.Size) -> Tensor:
    """Return maps of `shape`, (N, C, H, W): values (N, C, h, w) at positions that all differ, and zeros elsewhere."""
    last = has_channels_last(positions)
    samples, channels, height, width = shape
    flat = (samples, height * width, channels) if last else (samples, channels, height * width)
    maps = values.new_zeros(flat).scatter_(1 if last else 2, _flat(positions, last), _flat(values, last))
    return _unflat(maps, shape, last)


def _flat(maps: Tensor, last: bool) -> Tensor:
    """Return (N, C, H, W) as (N, C, HW), or with channels last as (N, HW, C), without copying."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2) if last else maps.flatten(2)


def _unflat(flat: Tensor, shape: torch.Size, last: bool) -> Tensor:
    samples, channels, height, width = shape
    return flat.view(samples, height, width, channels).permute(0, 3, 1, 2) if last else flat.view(shape)
