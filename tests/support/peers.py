"""Attacks of torchattacks, an independent implementation, where it is installed."""

from __future__ import annotations

import warnings

import pytest
from torch import Tensor


def made(name, module, **options):
    torchattacks = pytest.importorskip("torchattacks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = getattr(torchattacks, name)(module, **options)
    attack.set_device("cpu")
    return attack


def with_torchattacks(name, case, targets=None, **options) -> Tensor:
    """Run an attack on a (network, images, labels), or towards targets; its warnings are its own."""
    module, images, labels = case
    attack = made(name, module, **options)
    if targets is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(images, labels if targets is None else targets)
