"""Local error signals, predsim (Nokland and Eidnes, ICML 2019, arXiv:1901.06656)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ...networks import Network
from ...networks.build import glorot_
from ..backward import correlate
from ..feedback import output_shapes, refuse_flat_activations
from ..rule import LearningRule, Step, cross_entropy, softmax_error


class LocalErrors(LearningRule):
    """Every hidden block learns from losses of its own; no error crosses from one block to another.

    With z_l block l's output, A_l a local linear classifier, G_l a local linear map (3x3 convolution of a map) and S(X)
    the matrix of cosine similarities between the images of the batch, each centred (for maps: between the standard
    deviations of their channels over space)::

        L_l = (1 - beta) cross_entropy(A_l z_l, y) + beta mean (S(G_l z_l) - S(onehot(y)))^2
        dW_l, dA_l, dG_l = gradient of L_l, with z_{l-1} detached;   dW_L = gradient of the readout's cross-entropy

    A_l starts at zero and G_l at random; both are learned by the network's optimiser. They belong to the rule, not to
    the network, and are not used after training. Before A_l, maps are average-pooled to at most `classifier_inputs`
    numbers.

    Args:
        beta: share of the similarity loss.
        classifier_inputs: the largest number of inputs of a local classifier.

    Limits: within a block it is backprop through one layer; each block minimises its own loss alone; the similarities
    need a whole batch.
    """

    exemptions: ClassVar[dict[str, str]] = {
        "zero error": "every block has an error of its own, which the error at the network's output says nothing about",
    }

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(ge=0, le=1)] = 0.99,
        classifier_inputs: Annotated[int, Field(gt=0, le=1_000_000)] = 4096,
    ) -> None:
        self.beta, self.classifier_inputs = beta, classifier_inputs

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Create A_l and G_l of every hidden block."""
        refuse_flat_activations(network)
        super().bind(network, generator)
        *hidden, (classes,) = output_shapes(network)
        heads = [_Head(shape, classes, self.classifier_inputs, generator) for shape in hidden]
        self.heads = [head.to(network.mean) for head in heads]

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights, biases and the local parameters."""
        *hidden, readout = self.network.block_list
        wanted = similarities(functional.one_hot(labels, readout.layer.weight.shape[0]).to(images.dtype))  # (N, N)
        z = self.network.normalise(images)
        for block, head in zip(hidden, self.heads, strict=True):
            z = block(z.detach())  # z_l
            parameters = [*block.parameters(), *head.parameters()]
            loss = (1 - self.beta) * cross_entropy(head.classify(z), labels)
            loss = loss + self.beta * functional.mse_loss(similarities(head.map(z)), wanted)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
        with torch.no_grad():
            logits, trace = readout.trace(z)
            correlate(readout, trace, softmax_error(logits, labels))
            return Step(cross_entropy(logits, labels), logits)


class _Head(nn.Module):
    """A_l (classifier and offset) and G_l (mapping) of one block with outputs of one shape."""

    def __init__(self, shape: torch.Size, classes: int, most: int, generator: torch.Generator) -> None:
        super().__init__()
        self.side: tuple[int, int] | None = None
        features = shape.numel()
        if len(shape) == 3 and features > most:
            largest = max(1, math.isqrt(most // shape[0]))
            self.side = (min(shape[1], largest), min(shape[2], largest))
            features = shape[0] * self.side[0] * self.side[1]
        here: Any = {"dtype": torch.float32, "device": "cpu"}
        mapping = torch.empty((shape[0], shape[0], 3, 3) if len(shape) == 3 else (shape[0], shape[0]), **here)
        self.mapping = nn.Parameter(glorot_(mapping, generator))
        self.classifier = nn.Parameter(torch.zeros(classes, features, **here))
        self.offset = nn.Parameter(torch.zeros(classes, **here))

    def classify(self, z: Tensor) -> Tensor:
        """A_l z_l, (N, K)."""
        pooled = z if self.side is None else functional.adaptive_avg_pool2d(z, self.side)
        return functional.linear(pooled.flatten(1), self.classifier, self.offset)

    def map(self, z: Tensor) -> Tensor:
        """G_l z_l, in the shape of z_l."""
        return functional.conv2d(z, self.mapping, padding=1) if z.dim() == 4 else functional.linear(z, self.mapping)


def similarities(features: Tensor) -> Tensor:
    """Return S (N, N): cosines between the centred features of the images, in [-1, 1].

    Of maps (N, C, H, W) with more than three channels and more than one pixel, the features are each channel's standard
    deviation over space.
    """
    if features.dim() == 4 and features.shape[1] > 3 and features.shape[2] * features.shape[3] > 1:
        features = features.flatten(2).std(dim=2)
    features = features.flatten(1)
    centred = features - features.mean(dim=1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    unit = centred / (norms + 1e-8)
    return (unit @ unit.t()).clamp(-1, 1)
