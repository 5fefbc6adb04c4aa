"""Named networks: functions that return the blocks of one."""

from __future__ import annotations

from ..cards import BlockSpec


def small_cnn() -> list[BlockSpec]:
    """C16-P-C32-P-F128 with 3x3 kernels: trains in seconds a pass on a CPU."""
    return [
        BlockSpec(layer="conv", width=16, pool="max"),
        BlockSpec(layer="conv", width=32, pool="max"),
        BlockSpec(layer="linear", width=128),
    ]


def lenet() -> list[BlockSpec]:
    """C6-P-C16-P-F120-F84 with 5x5 kernels and average pooling, after LeNet-5 (LeCun et al. 1998)."""
    return [
        BlockSpec(layer="conv", width=6, kernel=5, pool="average"),
        BlockSpec(layer="conv", width=16, kernel=5, pool="average"),
        BlockSpec(layer="linear", width=120),
        BlockSpec(layer="linear", width=84),
    ]


def wide_cnn() -> list[BlockSpec]:
    """C32-P-C64-P-F256 with 5x5 kernels: about twice as wide as small_cnn."""
    return [
        BlockSpec(layer="conv", width=32, kernel=5, pool="max"),
        BlockSpec(layer="conv", width=64, kernel=5, pool="max"),
        BlockSpec(layer="linear", width=256),
    ]


def mlp() -> list[BlockSpec]:
    """F256-F256: no convolution at all."""
    return [BlockSpec(layer="linear", width=256), BlockSpec(layer="linear", width=256)]


def ekdaa_cnn() -> list[BlockSpec]:
    """C64-C64-P-C64-C128-P-C128-C128-P-F128 with 3x3 kernels: the CIFAR-10 network of the EKDAA authors' release."""
    return [
        BlockSpec(layer="conv", width=64),
        BlockSpec(layer="conv", width=64, pool="max"),
        BlockSpec(layer="conv", width=64),
        BlockSpec(layer="conv", width=128, pool="max"),
        BlockSpec(layer="conv", width=128),
        BlockSpec(layer="conv", width=128, pool="max"),
        BlockSpec(layer="linear", width=128),
    ]
