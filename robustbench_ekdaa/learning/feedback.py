"""Drawing random feedback, and the facts about a network that are needed for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..networks import Network
from ..networks.build import glorot_


def random_like(weight: Tensor, generator: torch.Generator) -> nn.Parameter:
    """Draw fixed feedback in a weight's shape, from the same distribution as the weight (Glorot uniform).

    Args:
        weight: a layer's weight, (outputs, inputs, ...).
        generator: draws the numbers.

    Returns:
        a parameter on the weight's device, which no optimiser learns unless `requires_grad` is set.

    """
    return nn.Parameter(glorot_(weight.detach().clone(), generator), requires_grad=False)


def random_projections(network: Network, generator: torch.Generator) -> list[nn.Parameter]:
    """Draw, for every hidden block, a fixed random matrix from the classes to the block's output (Glorot uniform).

    Args:
        network: the network, made of blocks.
        generator: draws the numbers, from the first block up.

    Returns:
        a parameter of shape (K, size of the pooled output of one image) per hidden block; none is learned.

    """
    *hidden, (classes,) = output_shapes(network)
    return [random_like(network.mean.new_empty((classes, shape.numel())), generator) for shape in hidden]


def output_shapes(network: Network) -> list[torch.Size]:
    """Return the shape of each block's pooled output, without the batch: (C, H, W) or (D,); the last one is (K,).

    Args:
        network: the network, made of blocks.

    """
    with torch.no_grad():
        logits, traces = network.trace(network.mean.new_zeros((1, *network.image_shape)))
    return [*(trace.incoming[1:] for trace in traces[1:]), logits.shape[1:]]


def refuse_flat_activations(network: Network) -> None:
    """Refuse a network in which a rule that multiplies errors by phi' would learn nothing.

    Args:
        network: the network to train.

    Raises:
        UsageError: for an activation whose derivative is zero, such as signum; names the layer.

    """
    for name, block in zip(network.layer_names, network.block_list, strict=True):
        if not block.phi.differentiable:
            raise UsageError(
                f"{name} is activated by {block.activation_name}, whose derivative is zero, and this rule multiplies "
                "errors by it: the layer would not learn. Choose another activation, or ekdaa or straight_through."
            )
