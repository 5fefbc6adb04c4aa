"""Max pooling whose windows do not overlap: whatever comes back from above belongs to one unit of each window.

A rule can compute at these units alone, on maps as small as the pooled ones, and let go of all others.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..networks import Block, Network, Trace
from ..networks.network import has_channels_last


def only_maxima_count(block: Block) -> bool:
    """Whether each signal at a block's output belongs to one unit: the maximum of a window that overlaps no other."""
    pooling = block.pooling
    return pooling is not None and pooling.kind == "max" and pooling.stride >= pooling.size


def trace_maxima(network: Network, images: Tensor) -> tuple[Tensor, list[Trace]]:
    """Do what `Network.trace` does, but where only the maxima count keep h there alone, in the pooled map's shape.

    Of z only its shape is left there: nobody asks for more, and the maxima themselves are the output.
    """
    signal, traces = network.normalise(images), []
    for block in network.block_list:
        signal, trace = block.trace(signal)
        if only_maxima_count(block) and trace.pool_indices is not None:
            shape_alone = trace.activation.new_empty(1).expand(trace.activation.shape)
            maxima = at_positions(trace.preactivation, trace.pool_indices)
            trace = replace(trace, preactivation=maxima, activation=shape_alone)
        traces.append(trace)
    return signal, traces


def at_positions(maps: Tensor, positions: Tensor) -> Tensor:
    """Return the values of maps (N, C, H, W) at positions (N, C, h, w) in 0 ... HW - 1, in the positions' shape."""
    last = has_channels_last(positions)
    found = _flat(maps, last).gather(1 if last else 2, _flat(positions, last))
    return _unflat(found, positions.shape, last)


def put_at_positions(values: Tensor, positions: Tensor, shape: torch.Size) -> Tensor:
    """Return maps of `shape`, (N, C, H, W), with values (N, C, h, w) at positions that are all different, else zero."""
    last = has_channels_last(positions)
    samples, channels, height, width = shape
    flat = (samples, height * width, channels) if last else (samples, channels, height * width)
    maps = values.new_zeros(flat).scatter_(1 if last else 2, _flat(positions, last), _flat(values, last))
    return _unflat(maps, shape, last)


def _flat(maps: Tensor, last: bool) -> Tensor:
    """(N, C, H, W) as (N, C, HW), or with channels last as (N, HW, C), so that nothing is copied."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2) if last else maps.flatten(2)


def _unflat(flat: Tensor, shape: torch.Size, last: bool) -> Tensor:
    samples, channels, height, width = shape
    return flat.view(samples, height, width, channels).permute(0, 3, 1, 2) if last else flat.view(shape)
