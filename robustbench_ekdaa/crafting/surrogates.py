"""Surrogates as an attack sees them: asked with copies of the images, and their answers checked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import UsageError, WorkFailed, lacks_memory
from ..networks import Block, Network
from ..networks.memory_format import with_channels_last
from ..networks.wrappers import WRAP_ONE_LOGIT, WRAP_RANDOM
from .borrowing import parts_of

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Two answers to one image may differ by so much of the largest logit: rounding depends on the batch.
ROUNDING: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 5e-2}


def is_steady(part: nn.Module) -> bool:
    """Whether a module is one of PyTorch's or ours that, in evaluation mode, draws nothing and remembers nothing."""
    ours = type(part).__module__.startswith(("torch.nn.modules.", "robustbench_ekdaa.networks."))
    return ours and not isinstance(part, nn.FractionalMaxPool2d | nn.FractionalMaxPool3d)


def differ(answer: Tensor, other: Tensor, precision: Precision = "float32") -> bool:
    """Whether two answers to the same images, logits (N, K), differ by more than rounding."""
    return bool(((answer - other).abs() > ROUNDING[precision] * answer.abs().amax(1, keepdim=True)).any())


class Surrogate:
    """A network that returns float32 logits (N, K), checked without waiting for the device.

    It gets copies of the images, as its forward may write to them.

    Args:
        module: the network.
        position: its place among the surrogates, for messages.
        largest_label: the largest label of the batch.
        precision: the type its layers compute in.

    Attributes:
        parts: all modules that its forward may use.
        differentiated: whether a gradient was computed so far.

    """

    def __init__(self, module: nn.Module, position: int, largest_label: int, precision: Precision = "float32") -> None:
        self.module = module
        self.parts = parts_of(module)
        self.name = f"surrogate {position} ({type(module).__name__})"
        self.largest_label = largest_label
        self.precision = precision
        self.differentiated = False
        self._first: tuple[Tensor, Tensor] | None = None
        self._verified = all(map(is_steady, self.parts))
        self._sum: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (N, K).

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        Raises:
            UsageError: when the network fails on such images, or returns something else than logits.
            WorkFailed: when memory runs out.

        """
        logits = self._answer(images)
        if images.requires_grad and torch.is_grad_enabled():
            self.differentiated = True
            if not logits.requires_grad:
                raise without_gradient([self])
        # One NaN or infinity makes all later sums NaN or infinite: the cheapest thing that cannot miss one.
        total = logits.detach().sum(dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        if self._first is None:
            self._first = images[:1].detach().clone(), logits.detach()
        return logits

    def _answer(self, images: Tensor) -> Tensor:
        """Ask the network, and make sure that these are logits."""
        shown = with_channels_last(images) if isinstance(self.module, Network) else images.clone()
        coarse = self.precision == "bfloat16"
        try:
            with torch.autocast(images.device.type, torch.bfloat16) if coarse else nullcontext():
                logits = self.module(shown)
        except (UsageError, WorkFailed):
            raise
        except Exception as error:
            what = f"cannot answer images of shape {tuple(images.shape)} on {images.device}"
            raise failure([self], what, error) from error
        count = len(images)
        shape = tuple(logits.shape) if isinstance(logits, Tensor) and logits.is_floating_point() else None
        if shape in ((count,), (count, 1)):
            raise UsageError(f"{self.name}: answers with one logit per image, not one per class. {WRAP_ONE_LOGIT}")
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(
                f"{self.name}: must answer {count} images with logits of shape ({count}, classes) (got {got})"
            )
        if not logits.is_floating_point():
            raise UsageError(f"{self.name}: must answer with logits, real numbers (got {logits.dtype})")
        if self.largest_label >= logits.shape[1]:
            raise UsageError(
                f"{self.name}: has {logits.shape[1]} classes, but there is a label {self.largest_label}. "
                "Labels must be smaller than the number of classes."
            )
        return logits.float()

    def check_gradient(self, images: Tensor) -> None:
        """Raise an error if no gradient flows from the logits to the images.

        Args:
            images: float32 (N, C, H, W) in [0, 1]; one is enough.

        Raises:
            UsageError: when the logits have no gradient, or it cannot be computed.
            WorkFailed: when memory runs out.

        """
        with torch.enable_grad():
            variable = images.detach().clone().requires_grad_()
            logits = self(variable)
            try:
                (slope,) = torch.autograd.grad(logits.sum(), variable, allow_unused=True)
            except RuntimeError as error:
                raise failure([self], "its gradient cannot be computed", error) from error
        if slope is None:
            raise without_gradient([self])

    def verify(self) -> None:
        """Raise WorkFailed if any logit so far was NaN or infinite; warn, once, of a network that cannot be trusted."""
        if self._sum is not None and not self._sum.isfinite():
            raise WorkFailed(
                f"{self.name}: some of its logits are NaN or infinite, so no gradient can be followed. "
                "Its training probably diverged: check its accuracy, train it again with a lower learning rate. "
                "If its answers to clean images are finite, its gradient is not."
            )
        if self._first is None or self._verified:
            return
        self._verified = True
        reason = self._unsteady(*self._first)
        if reason:
            warnings.warn(f"{self.name}: {reason}", stacklevel=2)

    def _unsteady(self, image: Tensor, logits: Tensor) -> str | None:
        """Ask about the first image again, alone: say why the answer is another than it was in its batch."""
        try:
            alone = self._answer(image)
            if not differ(logits[:1], alone, self.precision):
                return None
            changing = len(logits) == 1 or differ(alone, self._answer(image), self.precision)
        except UsageError:  # it takes batches of one size only
            return None
        if changing:
            return (
                "answers the same images differently from one time to the next: its forward is random, or remembers. "
                f"Neither gradients nor results can be trusted or repeated. {WRAP_RANDOM}"
            )
        return (
            "answers an image differently beside other images, as batch normalisation in training mode does. "
            "What is crafted depends on the batches."
        )


def named(surrogates: Sequence[Surrogate]) -> str:
    """Name surrogates in a message about one of them."""
    return " or ".join(surrogate.name for surrogate in surrogates) or "the surrogate"


def failure(surrogates: Sequence[Surrogate], what: str, error: Exception) -> UsageError | WorkFailed:
    """Say in one line what surrogates could not do and why: out of memory, or not fit for such images."""
    reason = next(iter(str(error).strip().splitlines()), "no reason given")
    kind = WorkFailed if lacks_memory(error) else UsageError
    return kind(f"{named(surrogates)}: {what}. {type(error).__name__}: {reason}")


def without_gradient(surrogates: Sequence[Surrogate]) -> UsageError:
    """Say that logits do not follow from the images by operations that can be differentiated."""
    parts = [type(part) for surrogate in surrogates for part in surrogate.parts]
    quantised = sorted({kind.__name__ for kind in parts if ".quantized." in kind.__module__})
    if quantised:
        reason = f"Quantised layers ({', '.join(quantised)}) have none: use an attack that only asks queries."
    else:
        reason = (
            "Its forward runs under torch.no_grad, detaches, or rounds: take that out of it, or use an attack that "
            "only asks queries."
        )
    return UsageError(f"{named(surrogates)}: its logits have no gradient. {reason}")


def lacks_derivative(surrogate: Surrogate) -> bool:
    """Whether a network has an activation whose derivative says nothing, such as signum."""
    return any(isinstance(part, Block) and not part.phi.differentiable for part in surrogate.parts)


def all_logits(surrogates: Sequence[Surrogate], images: Tensor) -> Tensor:
    """Return the logits of S surrogates, float32 (S, N, K).

    Args:
        surrogates: the S surrogates, at least one.
        images: float32 (N, C, H, W) in [0, 1].

    Raises:
        UsageError: if they differ in the number of classes.

    """
    answers = [surrogate(images) for surrogate in surrogates]
    for surrogate, answer in zip(surrogates, answers, strict=True):
        if answer.shape != answers[0].shape:
            raise UsageError(
                f"{surrogate.name}: has {answer.shape[1]} classes, but {surrogates[0].name} has "
                f"{answers[0].shape[1]}. Surrogates can only be attacked together if they tell the same classes apart."
            )
    return torch.stack(answers)


def mean_logits(surrogates: Sequence[Surrogate], images: Tensor) -> Tensor:
    """Return the mean of all surrogates' logits, float32 (N, K) (Dong et al., CVPR 2018, arXiv:1710.06081, eq. 10).

    Args:
        surrogates: at least one.
        images: float32 (N, C, H, W) in [0, 1].

    Raises:
        UsageError: if they differ in the number of classes.

    """
    return all_logits(surrogates, images).mean(0)
