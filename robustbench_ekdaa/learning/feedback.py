"""Drawing feedback, and what it needs to know of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..networks import Network
from ..networks.build import glorot_


def random_like(weight: Tensor, generator: torch.Generator) -> nn.Parameter:
    """Draw fixed feedback in a weight's shape and from the distribution that weight was drawn from."""
    return nn.Parameter(glorot_(weight.detach().clone(), generator), requires_grad=False)


def random_projections(network: Network, generator: torch.Generator) -> list[nn.Parameter]:
    """Draw, for every hidden block, a fixed random matrix (K, size of its output) from the classes to that output."""
    *hidden, (classes,) = output_shapes(network)
    return [random_like(network.mean.new_empty((classes, shape.numel())), generator) for shape in hidden]


def output_shapes(network: Network) -> list[torch.Size]:
    """Return the shape of what each block hands to the next, pooled, without the batch; the readout's (K,) last."""
    with torch.no_grad():
        logits, traces = network.trace(network.mean.new_zeros((1, *network.image_shape)))
    return [*(trace.incoming[1:] for trace in traces[1:]), logits.shape[1:]]


def refuse_flat_activations(network: Network) -> None:
    """Raise UsageError for an activation whose derivative is zero: a rule that multiplies by it learns nothing."""
    for name, block in zip(network.layer_names, network.block_list, strict=True):
        if not block.phi.differentiable:
            raise UsageError(
                f"{name} is activated by {block.activation_name}, whose derivative is zero, and this rule multiplies "
                "errors by it: the layer would not learn. Choose another activation, or ekdaa or straight_through."
            )
