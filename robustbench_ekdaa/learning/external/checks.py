"""Checks of a module that was trained elsewhere: whether benchmark results about it can be trusted.

Each check takes a module in evaluation mode, float32 images (N, C, H, W) in [0, 1] on its device and the number of
classes, and returns None, or in one line what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, dropout

from ...crafting.borrowing import parts_of
from ...crafting.surrogates import differ
from ...errors import UsageError, told
from ...networks.wrappers import WRAP_ONE_LOGIT, WRAP_RANDOM
from ...randomness import keyed_generator, normal, uniform

ACTING = (batchnorm._BatchNorm, dropout._DropoutNd)  # layers with other outputs in training mode
DIRECTIONS = 6  # number of directions, per image, in which slopes are measured
# Half the distance between two measured points, per pixel, and the largest relative error of a gradient.
WIDE_STEP, WIDE_TOLERANCE = 1e-6, 1e-2
STEP, TOLERANCE = 1e-4, 0.1  # the same for modules that cannot compute in float64

Check = Callable[[nn.Module, Tensor, int], str | None]


def check_module(module: nn.Module, images: Tensor, classes: int, where: str) -> None:
    """Raise UsageError for the first check that a module fails.

    Args:
        module: in evaluation mode.
        images: float32 (N, C, H, W) in [0, 1], on the module's device.
        classes: how many there are.
        where: what the message begins with.

    """
    for name, check in CHECKS.items():
        try:
            found = check(module, images, classes)
        except (Exception, SystemExit) as error:  # somebody's forward may raise anything
            found = f"it cannot answer images of shape {tuple(images.shape)} on {images.device} ({told(error)})"
        if found is not None:
            raise UsageError(f"{where}: check of {name}: {found}")


def is_float32(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """Weights and buffers are float32: in another type clean and adversarial images are rounded."""
    for name, tensor in _tensors(module):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            return f"{name} is {_word(tensor.dtype)}. Convert the module by .float()."
    return None


def is_in_evaluation_mode(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """No dropout or batch normalisation is in training mode after `eval`."""
    for part in parts_of(module):
        if part.training and isinstance(part, ACTING):
            return (
                f"a {type(part).__name__} stays in training mode after module.eval(). Hold parts in an nn.Module or "
                "nn.ModuleList, not in a plain list, and let train and eval do their work."
            )
    return None


def answers_with_logits(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """The output is one logit per image and class."""
    answer = _ask(module, images)
    if not isinstance(answer, Tensor):
        return f"it must return a tensor of logits (got {type(answer).__name__})"
    count = len(images)
    if classes == 2 and tuple(answer.shape) in ((count,), (count, 1)):
        return f"it has one logit for two classes. {WRAP_ONE_LOGIT}"
    if tuple(answer.shape) != (count, classes):
        return f"it must answer {count} images with logits of shape ({count}, {classes}) (got {tuple(answer.shape)})"
    if answer.dtype != torch.float32:
        return f"its logits must be float32 (got {_word(answer.dtype)})"
    return None


def is_on_its_device(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """All its tensors and its logits are where the images are."""
    for name, tensor in (*_tensors(module), ("its answer", _ask(module, images))):
        if tensor.device != images.device:
            return (
                f"{name} is on {tensor.device}, but the images are on {images.device}. Hold tensors as parameters or "
                "buffers, and make others on the images' device."
            )
    return None


def is_finite(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """No logit is NaN or infinite."""
    wrong = int((~torch.isfinite(_ask(module, images))).any(1).sum())
    return f"{wrong} of {len(images)} images get logits that are NaN or infinite" if wrong else None


def is_before_the_softmax(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """The outputs are not probabilities: gradients vanish in a softmax."""
    answer = _ask(module, images)
    if bool((answer >= 0).all()) and bool(((answer.sum(1) - 1).abs() < 1e-4).all()):
        return "it answers with probabilities, through which gradients vanish. Leave the softmax out."
    return None


def is_deterministic(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """The same images get the same answer."""
    if not differ(_ask(module, images), _ask(module, images)):
        return None
    return (
        "it answers the same images differently from one time to the next: its forward draws random numbers, or "
        f"remembers. {WRAP_RANDOM}"
    )


def treats_images_one_by_one(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """The logits of an image do not depend on the other images of its batch."""
    try:
        alone = torch.cat([_ask(module, image[None]) for image in images])
    except Exception as error:
        return f"it cannot answer one image alone ({told(error)})"
    if not differ(_ask(module, images), alone):
        return None
    return "it answers an image differently beside other images, as batch normalisation in training mode does"


def has_true_gradients(module: nn.Module, images: Tensor, classes: int) -> str | None:
    """Its gradients are the slopes of its logits, not a feedback signal.

    Slopes are measured by central differences along random directions, in float64 if the module can compute in it: the
    step is then so short that it hardly ever crosses a kink of ReLU or max-pooling. Noise is added to the images first,
    so that they do not lie on a kink either. The median over images and directions decides.
    """
    error, tolerance = slope_error(module, images)
    if error is None:
        return "its logits have no gradient: take torch.no_grad, detach and rounding out of its forward"
    if error <= tolerance:
        return None
    return (
        f"its gradient is not the slope of its logits (off by {100 * error:.0f} % of that; finite differences). A "
        "backward of its own that follows a feedback signal or a straight-through estimate would make it look robust: "
        "leave that out."
    )


def slope_error(module: nn.Module, images: Tensor) -> tuple[float | None, float]:
    """Return how far a module's gradient is from the slopes of its logits, and how far it may be.

    Args:
        module: in evaluation mode.
        images: float32 (N, C, H, W) in [0, 1], on the module's device.

    Returns:
        the median relative error, None if there is no gradient, and the tolerance, which depends on whether the module
        can compute in float64.
    """
    error = _wide_gradient_error(module, images)
    return (gradient_error(module, images, STEP), TOLERANCE) if error is None else (error, WIDE_TOLERANCE)


def gradient_error(module: nn.Module, images: Tensor, step: float) -> float | None:
    """Return the median relative error of a module's gradient; None if it has none.

    Args:
        module: maps images to logits.
        images: (N, C, H, W) in [0, 1], of the type to compute in.
        step: half the distance between two measured points, per pixel.

    """
    drawn = keyed_generator(0, "finite differences")
    noise = uniform(images.shape, drawn).to(images)
    points = (0.1 + 0.6 * images + 0.2 * noise).requires_grad_()
    with torch.enable_grad():
        logits = module(points.clone())
        if not logits.requires_grad:
            return None
        weights = normal(logits.shape, drawn).to(logits)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), points, allow_unused=True)
    if gradient is None:
        return None
    slopes, told_slopes = [], []
    for _ in range(DIRECTIONS):
        direction = normal(images.shape, drawn).to(images)
        ahead, behind = (_ask(module, points.detach() + way * step * direction) for way in (1, -1))
        slopes.append(((ahead - behind) * weights).sum(1) / (2 * step))
        told_slopes.append((gradient * direction).flatten(1).sum(1))
    measured, claimed = torch.stack(slopes).double(), torch.stack(told_slopes).double()
    size = torch.maximum(measured.square(), claimed.square()).mean(0).sqrt()
    # Where an image has neither slope nor gradient, the error is zero.
    return float(((measured - claimed).abs() / size.clamp_min(1e-12)).median())


def _wide_gradient_error(module: nn.Module, images: Tensor) -> float | None:
    """Return the same in float64; None if the module cannot compute in it, for example if its forward names a type."""
    try:
        module.double()
        if _ask(module, images[:1].double()).dtype == torch.float64:
            return gradient_error(module, images.double(), WIDE_STEP)
    except Exception:  # its forward may raise anything when it gets float64
        return None
    finally:
        module.float()  # to the bit what it was: `is_float32` has passed
    return None


def _ask(module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = module(images.clone())
    return answer


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return *module.named_parameters(), *module.named_buffers()


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


CHECKS: dict[str, Check] = {
    "float32": is_float32,
    "evaluation mode": is_in_evaluation_mode,
    "output shape": answers_with_logits,
    "device": is_on_its_device,
    "finite logits": is_finite,
    "logits": is_before_the_softmax,
    "determinism": is_deterministic,
    "image independence": treats_images_one_by_one,
    "true gradients": has_true_gradients,
}
