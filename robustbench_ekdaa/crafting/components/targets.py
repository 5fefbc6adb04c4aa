"""Which class a targeted attack aims at: (logits of the clean images (N, K), labels (N,), draws) -> targets (N,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...randomness import ImageDraws

TargetRule = Callable[[Tensor, Tensor, ImageDraws], Tensor]


def random_other(logits: Tensor, labels: Tensor, draws: ImageDraws) -> Tensor:
    """Any class but the true one, with equal chances."""
    others = logits.shape[1] - 1
    shift = (draws.uniform("target", (), like=logits) * others).long().clamp_max(others - 1)
    return (labels + 1 + shift) % logits.shape[1]


def least_likely(logits: Tensor, labels: Tensor, draws: ImageDraws) -> Tensor:
    """The class the surrogates find least likely, never the true one (Kurakin et al., ICLR 2017, arXiv:1607.02533)."""
    return logits.scatter(1, labels[:, None], torch.inf).argmin(1)


def runner_up(logits: Tensor, labels: Tensor, draws: ImageDraws) -> Tensor:
    """The class the surrogates find likeliest besides the true one: the nearest to be mistaken for."""
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def next_class(logits: Tensor, labels: Tensor, draws: ImageDraws) -> Tensor:
    """The class after the true one, in the data set's order."""
    return (labels + 1) % logits.shape[1]


TARGETS: dict[str, TargetRule] = {
    "random": random_other,
    "least_likely": least_likely,
    "runner_up": runner_up,
    "next": next_class,
}
