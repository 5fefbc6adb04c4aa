"""What rules with feedback of their own share: drawing it, and sending an error back through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..networks import Block, Network, Trace
from ..networks.build import glorot_
from .layers import transmit_and_correlate


def random_like(weight: Tensor, generator: torch.Generator) -> nn.Parameter:
    """Draw fixed feedback in a weight's shape and from the distribution that weight was drawn from."""
    return nn.Parameter(glorot_(weight.detach().clone(), generator), requires_grad=False)


# phi' times an error, from z alone and in one pass over memory.
_FUSED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda error, z: error,
    "tanh": torch.ops.aten.tanh_backward,
    "sigmoid": torch.ops.aten.sigmoid_backward,
    "relu": lambda error, z: torch.ops.aten.threshold_backward(error, z, 0),
}


def lean_trace(network: Network, images: Tensor) -> tuple[Tensor, list[Trace]]:
    """Do what `Network.trace` does, with every block's `lean_step`."""
    signal, traces = network.normalise(images), []
    for block in network.block_list:
        signal, trace = lean_step(block, signal)
        traces.append(trace)
    return signal, traces


def lean_step(block: Block, signal: Tensor) -> tuple[Tensor, Trace]:
    """Do what `Block.trace` does, but let h go where phi' can be had from z: there `preactivation` holds z too."""
    output, trace = block.trace(signal)
    return output, replace(trace, preactivation=trace.activation) if block.activation_name in _FUSED else trace


def inputs_alone(trace: Trace) -> Trace:
    """Let go of all that a trace holds but its inputs: the layer's gradients need no more once delta is known."""
    nothing = trace.inputs[:0]
    return replace(trace, preactivation=nothing, activation=nothing, pool_indices=None)


def through_activation(block: Block, signal: Tensor, trace: Trace, output: Tensor) -> Tensor:
    """Return delta, in the shape of h: a signal at a block's output, back through its pooling, times phi'(h).

    Args:
        block: the block.
        signal: the signal, in the shape of `output` or flattened.
        trace: what the block saw.
        output: what the next layer read: z, or the pooled z.

    """
    fused = _FUSED.get(block.activation_name)
    if fused is None:
        return block.unpool(signal, trace) * block.phi.derivative(trace.preactivation, trace.activation)
    if block.pooling is not None and block.pooling.kind == "average":
        return fused(block.unpool(signal, trace), trace.activation)
    # Only the maxima get a signal, and their z is the output: phi' is needed there alone.
    return block.unpool(fused(signal.reshape(output.shape), output), trace)


def send_back(network: Network, traces: list[Trace], error: Tensor, feedback: Sequence[Tensor]) -> None:
    """Fill all `.grad` by backprop's sweep, in which B_l carries the error down instead of W_l.

    delta_l = (B_{l+1} applied backwards to delta_{l+1}, back through pooling) phi'(h_l);
    dW_l = delta_l correlated with z_{l-1}.

    Args:
        network: whose gradients are filled.
        traces: of its forward pass; used up from the last to the first, so that memory is let go on the way.
        error: delta_L, the error of each image at the logits, (N, K).
        feedback: B_2 ... B_L in the shapes of W_2 ... W_L; the first block sends nothing further down.

    """
    blocks = network.block_list
    for index in range(len(blocks) - 1, 0, -1):
        above = traces.pop()
        sent, _ = transmit_and_correlate(blocks[index], above, error, feedback[index - 1])
        assert sent is not None
        del error
        error = through_activation(blocks[index - 1], sent, traces[-1], above.inputs)
        traces[-1] = inputs_alone(traces[-1])
        del sent
    transmit_and_correlate(blocks[0], traces[0], error, blocks[0].layer.weight, transmit=False)


def transmit(block: Block, trace: Trace, error: Tensor) -> Tensor:
    """Send an error at the layer's output h back through its own weight, to the shape the layer read."""
    layer = block.layer
    if not isinstance(layer, nn.Conv2d):
        return error @ layer.weight
    sent: Tensor = torch.ops.aten.convolution_backward(
        error,
        trace.inputs,
        layer.weight,
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        False,
        [0, 0],
        layer.groups,
        [True, False, False],
    )[0]
    return sent


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
                "errors by it: the layer would not learn. Choose another activation, or ekdaa or straight-through."
            )


def random_projections(network: Network, generator: torch.Generator) -> nn.ParameterList:
    """Draw, for every hidden block, a fixed random matrix (K, size of its output) from the classes to that output."""
    *hidden, (classes,) = output_shapes(network)
    return nn.ParameterList(
        random_like(network.mean.new_empty((classes, shape.numel())), generator) for shape in hidden
    )
