"""One layer's share of a backward sweep: send an error back through chosen weights and correlate it with the inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks import Block, Trace


def transmit_and_correlate(
    block: Block, trace: Trace, error: Tensor, weight: Tensor, *, transmit: bool = True
) -> tuple[Tensor | None, Tensor]:
    """Send `error` back through `weight` and set the layer's gradients, in one fused call for a convolution.

    Args:
        block: the block whose layer it is.
        trace: what the block saw.
        error: at the layer's output h, per image, shape of h.
        weight: what carries the error back, in the shape of the layer's weight: the weight itself, or feedback.
        transmit: whether the error at the inputs is wanted; the first block has no use for it.

    Returns:
        the error at the layer's inputs (shape of `trace.inputs`) or None, and the weight's gradient. The gradients of
        weight and bias, averaged over the batch, are also put in `.grad`.

    """
    layer, count = block.layer, len(error)
    biased = layer.bias is not None
    bias_gradient: Tensor | None
    if isinstance(layer, nn.Conv2d):
        sent, weight_gradient, bias_gradient = torch.ops.aten.convolution_backward(
            error,
            trace.inputs,
            weight,
            [layer.out_channels] if biased else None,
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            [0, 0],
            layer.groups,
            [transmit, True, biased],
        )
    else:
        sent = error @ weight if transmit else None
        weight_gradient = error.t() @ trace.inputs
        bias_gradient = error.sum(0) if biased else None
    weight_gradient = weight_gradient.div_(count)
    layer.weight.grad = weight_gradient
    if layer.bias is not None and bias_gradient is not None:
        layer.bias.grad = bias_gradient.div_(count)
    return sent, weight_gradient
