"""The contract of a learning rule: it fills `.grad` and never touches the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError
from ..networks import Network
from .backward import BlockPass, downwards, forward_pass, keep_maxima, keep_slopes
from .feedback import refuse_flat_activations


@dataclass(frozen=True)
class Agreement:
    """How nearly a rule's gradients agree with backprop's where theory says that they do.

    Attributes:
        deviation: the largest relative deviation of a parameter's gradient, in the l2 norm and in float64.
        up_to_scale: whether only directions agree, each parameter's gradient by itself.
        readout_alone: whether that is said of the readout alone, and the layers below get nothing at all.

    """

    deviation: float
    up_to_scale: bool = False
    readout_alone: bool = False


@dataclass(frozen=True)
class Step:
    """What a rule returns for one batch.

    Attributes:
        loss: the mean cross-entropy, a detached scalar.
        logits: (N, K), detached.

    """

    loss: Tensor
    logits: Tensor


class LearningRule:
    """Base of all learning rules; a rule overrides `compute_gradients` and what else it needs.

    Feedback tensors (error kernels, random feedback) live here, never in the network, so that a trained model is a
    plain network whose autograd is the true gradient. Whatever tensors a rule keeps in its attributes, also in lists,
    dictionaries and modules, are saved and loaded with a training; those that are parameters with `requires_grad` are
    learned. Options are keyword arguments of the constructor; a card's values are checked against their annotations.
    """

    network: Network

    # Whether the rule needs the network's blocks; other modules can then not be trained with it.
    needs_blocks: ClassVar[bool] = True

    # Options that only scale gradients of the feedback: they say nothing under an optimiser that ignores their size.
    scales: ClassVar[tuple[str, ...]] = ()

    # Contract tests that do not hold for this rule, by name, with the reason that reports print: see `contract`.
    exemptions: ClassVar[dict[str, str]] = {}

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network to train and create the feedback tensors.

        Args:
            network: the network; `compute_gradients` fills the gradients of its parameters.
            generator: draws all random numbers in the feedback; a CPU generator, seeded from the training seed.

        Raises:
            UsageError: for a network that the rule cannot train.

        """
        self.network = network
        self.create_feedback(network, generator)

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Make the feedback that the rule needs, as attributes; the default makes none.

        Args:
            network: the network to train.
            generator: draws all random numbers in the feedback.

        """

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of the network's and the feedback parameters for one batch.

        Args:
            images: float32 in [0, 1], shape (N, C, H, W).
            labels: int64, shape (N,).

        """
        raise NotImplementedError

    def feedback_parameters(self) -> list[nn.Parameter]:
        """Return learned feedback tensors; the optimiser gets them as a group of their own."""
        learned = (tensor for _, tensor in self._kept_tensors() if isinstance(tensor, nn.Parameter))
        return list({id(tensor): tensor for tensor in learned if tensor.requires_grad}.values())

    @property
    def feedback_options(self) -> dict[str, float]:
        """Optimiser options of that group which differ from the network's, such as its weight decay."""
        return {}

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return, by block index, the feedback that stands in for the block's weight, in the weight's shape."""
        return {}

    def approach_backprop(self) -> Agreement | None:
        """Move the bound rule, its options and its network to where theory says that its gradients are backprop's.

        Used by the contract tests alone. Returns how near they must be, or None if there is no such place for this rule
        on this network.
        """
        return None

    def after_step(self) -> None:
        """Run after each optimiser step."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed training needs, and the states of generators."""
        return {
            name: thing.get_state() if isinstance(thing, torch.Generator) else thing.detach()
            for name, thing in self._kept_tensors()
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load what `state_dict` returned; call it after `bind`.

        Args:
            state: tensors by name.

        Raises:
            UsageError: for the state of another rule or network.

        """
        kept = dict(self._kept_tensors())
        for name, value in state.items():
            thing = kept.get(name)
            if isinstance(thing, torch.Generator):
                thing.set_state(value.cpu())
            elif thing is not None and thing.shape == value.shape:
                thing.copy_(value)
            elif "." not in name:
                setattr(self, name, value)  # made while training, or of a size that changes on the way
            else:
                raise UsageError(f"the state of a {type(self).__name__} has no {name} of shape {tuple(value.shape)}")

    def _kept_tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and tensors (or generators) of all attributes, but what belongs to the network."""
        own = {id(tensor) for tensor in (*self.network.parameters(), *self.network.buffers())}
        for name, thing in vars(self).items():
            if name != "network":
                yield from ((place, tensor) for place, tensor in _tensors(name, thing) if id(tensor) not in own)


def _tensors(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, Tensor | torch.Generator):
        yield name, thing
    elif isinstance(thing, nn.Module):
        yield from ((f"{name}.{place}", tensor) for place, tensor in thing.state_dict(keep_vars=True).items())
    elif isinstance(thing, list | tuple | dict):
        items = thing.items() if isinstance(thing, dict) else enumerate(thing)
        for key, item in items:
            yield from _tensors(f"{name}.{key}", item)


class HiddenErrorRule(LearningRule):
    """Base of rules that send every hidden layer an error signal; a subclass computes it in `signal`.

    With e_L = softmax(h_L) - onehot(y) and a block's layer, activation phi and pooling::

        delta_L = e_L;   delta_l = (signal at block l's output, back through pooling) phi'(h_l)
        dW_l = delta_l correlated with what the layer read (batch mean)

    This base runs the forward pass, sends signals back through pooling and phi', fills the gradients, and frees memory
    as early as possible.
    """

    # Whether delta_l is multiplied by phi'; a network with a flat activation such as signum is then refused. A rule
    # that sets this to False overrides `hidden_error`, where h is then available.
    uses_derivative: ClassVar[bool] = True

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network to train and create the feedback tensors.

        Args:
            network: the network, made of blocks.
            generator: draws all random numbers in the feedback.

        Raises:
            UsageError: for an activation whose derivative is zero, if the rule multiplies by it.

        """
        if self.uses_derivative:
            refuse_flat_activations(network)
        super().bind(network, generator)

    def signal(self, l: int, error: Tensor, labels: Tensor, above: BlockPass, delta: Tensor) -> Tensor:
        """Return the signal at hidden block l's output, (N, ...) or flattened.

        Args:
            l: which block, from 0 for the first one.
            error: e_L, (N, K).
            labels: the true classes, int64 (N,).
            above: the block l + 1, with its `layer` and `weight`; `above.transmit(delta, B)` sends an error back
                through B, which has the shape of its weight.
            delta: the error at the h of block l + 1, (N, ...).

        """
        raise NotImplementedError

    def hidden_error(self, block: BlockPass, signal: Tensor) -> Tensor:
        """Return delta_l, the error at h, in h's shape; the default is the signal times phi'(h).

        Args:
            block: hidden block l in this forward pass.
            signal: what `signal` returned, at the block's output.

        """
        return block.through_activation(signal)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases for one batch.

        Args:
            images: float32 in [0, 1], shape (N, C, H, W).
            labels: int64, shape (N,).

        """
        for feedback in self.feedback_parameters():
            feedback.grad = None  # the gradients of the step before would use memory during this one
        logits, passes = forward_pass(self.network, images, keep_slopes if self.uses_derivative else keep_maxima)
        error = passes[-1].delta = softmax_error(logits, labels)
        for l, above, block in downwards(passes):
            assert above.delta is not None
            signal = self.signal(l, error, labels, above, above.delta)
            above.correlate()
            block.delta = self.hidden_error(block, signal)
            del signal
        passes[0].correlate()
        return Step(cross_entropy(logits, labels), logits)


def softmax_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return softmax(logits) - onehot(labels), shape (N, K): the gradient of each image's cross-entropy.

    Args:
        logits: (N, K).
        labels: int64 (N,), from 0 to K - 1.

    """
    error = torch.softmax(logits, dim=1)
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    return error


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy over the batch, a scalar.

    Args:
        logits: (N, K).
        labels: int64 (N,), from 0 to K - 1.

    """
    return functional.cross_entropy(logits, labels)
