"""What an attacker wants to be large, per image: (logits (N, K), labels (N,)) -> (N,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UsageError

Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_entropy() -> Criterion:
    """The negative logarithm of the softmax at the label."""

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    return criterion


def margin() -> Criterion:
    """The largest other logit minus the label's; above 0 the image fools (Carlini & Wagner, S&P 2017, f_6)."""

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        own = F.one_hot(labels, logits.shape[1]).bool()
        return logits.masked_fill(own, -torch.inf).amax(1) - logits[own]

    return criterion


def logit() -> Criterion:
    """Minus the label's logit, whose gradient never fades (Zhao et al., NeurIPS 2021, arXiv:2012.11207)."""

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        return -logits.gather(1, labels[:, None]).squeeze(1)

    return criterion


def logit_ratio() -> Criterion:
    """The difference of logits ratio DLR, free of scale (Croce & Hein, ICML 2020, arXiv:2003.01690, equation 6).

    It needs at least three classes; the divisor has a floor for logits that are all equal.
    """

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.shape[1] < 3:
            raise UsageError(f"the loss logit_ratio needs at least three classes (got {logits.shape[1]})")
        largest = logits.topk(3, dim=1).values
        own = F.one_hot(labels, logits.shape[1]).bool()
        other = logits.masked_fill(own, -torch.inf).amax(1)
        return (other - logits[own]) / (largest[:, 0] - largest[:, 2]).clamp_min(1e-12)

    return criterion
