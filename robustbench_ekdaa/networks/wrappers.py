"""Modules around other modules, so that what somebody has answers images in [0, 1] with one steady logit per class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..arguments import whole

# What messages advise against modules that have to be wrapped first.
WRAP_ONE_LOGIT = "Wrap it: robustbench_ekdaa.two_classes(module)."
WRAP_RANDOM = "For the mean over its draws, wrap it: robustbench_ekdaa.averaged(module, draws=16)."


class Normalised(nn.Module):
    """Shifts and scales the images before a module sees them, so that attacks work on pixels in [0, 1].

    Args:
        module: what expects normalised images.
        mean: of each channel, or of all, subtracted from the images.
        deviation: likewise, by which they are then divided.

    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, module: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(list(deviation), dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return what the module answers, for images (N, C, H, W) in [0, 1]."""
        answer: Tensor = self.module((images - self.mean) / self.deviation)
        return answer


class TwoClasses(nn.Module):
    """Makes logits of two classes from one: those of class 0 are 0, so that the softmax is the one logit's sigmoid.

    Args:
        module: answers images (N, C, H, W) with one logit each, (N,) or (N, 1), that of class 1.

    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 2)."""
        logits = self.module(images).reshape(len(images), 1)
        return torch.cat([torch.zeros_like(logits), logits], 1)


class Averaged(nn.Module):
    """Answers with the mean over random draws, always the same ones, of a module whose forward draws.

    Every image is passed alone, with PyTorch's generators at the same seeds for each, so that an answer depends neither
    on other images nor on how often was asked. That takes `draws` passes per image.

    Args:
        module: what draws by PyTorch's own generators.
        draws: how many.

    """

    def __init__(self, module: nn.Module, draws: int) -> None:
        super().__init__()
        self.module, self.draws = module, draws

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the logits over all draws, (N, K)."""
        return torch.cat([self._one(image[None]) for image in images])

    def _one(self, image: Tensor) -> Tensor:
        answers = []
        for draw in range(self.draws):
            with torch.random.fork_rng([image.device] if image.is_cuda else []):
                torch.manual_seed(draw)
                answers.append(self.module(image))
        return torch.stack(answers).mean(0)


def two_classes(module: nn.Module) -> nn.Module:
    """Return a module with logits (N, 2) from one with a single logit per image.

    Args:
        module: maps images (N, C, H, W) to the logit of class 1, (N,) or (N, 1); that of class 0 is then 0.

    """
    return TwoClasses(module)


def averaged(module: nn.Module, draws: int = 16) -> nn.Module:
    """Return a steady module from one with a random forward: the mean of its logits over fixed draws.

    Args:
        module: maps images (N, C, H, W) to logits (N, K), with random numbers from PyTorch's own generators.
        draws: how many, 1 to 10,000; each is a pass of its own for every image.

    Raises:
        UsageError: for another number of draws.

    """
    return Averaged(module, whole("draws", draws, least=1, most=10_000))
