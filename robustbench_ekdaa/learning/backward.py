"""A layer's share of a backward sweep: what a forward pass keeps for it, and how an error goes through a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..networks import Block, Network, Trace
from ..networks.memory_format import in_format_of, put_at, values_at
from ..networks.network import TraceBlock


def transmit_and_correlate(
    block: Block, trace: Trace, error: Tensor, weight: Tensor, *, transmit: bool = True
) -> Tensor | None:
    """Send `error` back through `weight` and set the layer's gradients, in one fused call for a convolution.

    Args:
        block: the block whose layer it is.
        trace: what the block saw.
        error: at the layer's output h, per image, shape of h.
        weight: what carries the error back, in the shape of the layer's weight: the weight itself, or feedback.
        transmit: whether the error at the inputs is wanted; the first block has no use for it.

    Returns:
        the error at the layer's inputs (shape of `trace.inputs`), or None. The gradients of weight and bias, averaged
        over the batch, are put in `.grad`.

    """
    layer, count = block.layer, len(error)
    biased = layer.bias is not None
    sent: Tensor | None
    bias_gradient: Tensor | None
    if isinstance(layer, nn.Conv2d):
        sent, weight_gradient, bias_gradient = _convolution_backward(
            layer, trace.inputs, error, weight, (transmit, True, biased)
        )
    else:
        sent = error @ weight if transmit else None
        weight_gradient = error.t() @ trace.inputs
        bias_gradient = error.sum(0) if biased else None
    layer.weight.grad = weight_gradient.div_(count)
    if layer.bias is not None and bias_gradient is not None:
        layer.bias.grad = bias_gradient.div_(count)
    return sent


def correlate(block: Block, trace: Trace, error: Tensor) -> None:
    """Set the gradients of a layer's weight and bias: the error times the inputs, averaged over the batch.

    Args:
        block: the block whose layer it is.
        trace: what the block saw; only its `inputs` are used.
        error: at the layer's output h, per image, shape of h.

    """
    transmit_and_correlate(block, trace, error, block.layer.weight, transmit=False)


def _convolution_backward(
    layer: nn.Conv2d, inputs: Tensor, error: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        error,
        inputs,
        weight,
        [layer.out_channels] if wanted[2] else None,
        layer.stride,
        layer.padding,
        layer.dilation,
        False,
        [0, 0],
        layer.groups,
        list(wanted),
    )
    return found


class BlockPass:
    """One block in one forward pass, and in the sweep back through it.

    Attributes:
        block: the block.
        trace: what its layer read and computed; less and less of it as the sweep goes by.
        output: what it handed to the next block, (N, ...): z, or the pooled z.
        delta: the error at h, (N, ...), once the sweep knows it.

    """

    def __init__(self, block: Block, trace: Trace, output: Tensor) -> None:
        self.block, self.trace = block, trace
        self.output = output
        self.delta: Tensor | None = None
        self._correlated = False

    @property
    def layer(self) -> nn.Conv2d | nn.Linear:
        """The block's layer."""
        return self.block.layer

    @property
    def weight(self) -> Tensor:
        """The layer's weight, W."""
        return self.block.layer.weight

    def transmit(self, delta: Tensor, weight: Tensor) -> Tensor:
        """Send an error back through a weight, and return it in the shape of the layer's inputs.

        If the error is this block's own `delta`, the layer's gradients are computed in the same call, which is faster.

        Args:
            delta: the error at h, per image, shape of h.
            weight: what carries it back, in W's shape: W itself, or feedback.

        """
        if delta is self.delta and not self._correlated:
            self._correlated = True
            sent = transmit_and_correlate(self.block, self.trace, delta, weight)
            assert sent is not None
            return sent
        if isinstance(self.layer, nn.Conv2d):
            return _convolution_backward(self.layer, self.trace.inputs, delta, weight, (True, False, False))[0]
        return delta @ weight

    def correlate(self) -> None:
        """Set the layer's gradients from delta, unless `transmit` did, and release delta."""
        assert self.delta is not None
        if not self._correlated:
            correlate(self.block, self.trace, self.delta)
        self._correlated, self.delta = True, None

    def through_activation(self, signal: Tensor) -> Tensor:
        """Send a signal back through the block's pooling, multiply it by phi'(h), and return it in h's shape.

        Args:
            signal: at the block's output, (N, ...) or flattened.

        """
        fused = _FUSED.get(self.block.activation_name)
        if fused is None:
            derivative = self.block.phi.derivative(self.trace.preactivation, self.trace.activation)
            return self.block.unpool(signal, self.trace) * derivative
        if self.block.pooling is not None and self.block.pooling.kind == "average":
            return fused(self.block.unpool(signal, self.trace), self.trace.activation)
        # Only the maxima get a signal, and their z is the output: phi' is needed there alone.
        return self.block.unpool(fused(signal.reshape(self.output.shape), self.output), self.trace)

    def unit_by_unit(self, signal: Tensor, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Return function(d, h, z) in h's shape, where d is the signal sent back through the block's pooling.

        Args:
            signal: at the block's output, (N, ...) or flattened.
            function: (d, h, z) -> tensor of their shape. It may combine units of one image, but never images, and must
                be 0 where d is 0.

        """
        trace = self.trace
        positions = trace.pool_indices
        if positions is None or not only_maxima_count(self.block):
            return function(self.block.unpool(signal, trace), trace.preactivation, trace.activation)
        # d is zero but at the maxima, and so is the result: it is computed there and put in place afterwards.
        h = trace.preactivation
        d, z = (in_format_of(h, part.reshape(h.shape)) for part in (signal, self.output))
        return put_at(function(d, h, z), positions, trace.activation.shape)

    def keep_inputs(self) -> None:
        """Release everything but the inputs: once delta is known, the layer's gradients need nothing else."""
        nothing = self.trace.inputs[:0]
        self.trace = replace(self.trace, preactivation=nothing, activation=nothing, pool_indices=None)
        self.output = nothing


def forward_pass(network: Network, images: Tensor, step: TraceBlock) -> tuple[Tensor, list[BlockPass]]:
    """Return the logits (N, K) of images (N, C, H, W) and every block's pass.

    Args:
        network: the network.
        images: float32 in [0, 1].
        step: what is kept of each block: `keep_slopes`, `keep_maxima` or `Block.trace`, which keeps everything.

    """
    logits, traces = network.trace(images, step)
    outputs = [*(trace.inputs for trace in traces[1:]), logits]
    return logits, list(map(BlockPass, network.block_list, traces, outputs))


def downwards(passes: list[BlockPass]) -> Iterator[tuple[int, BlockPass, BlockPass]]:
    """Yield (l, block l + 1, block l) from the last hidden block down, letting go of what the sweep has left behind."""
    while len(passes) > 1:
        above = passes.pop()
        yield len(passes) - 1, above, passes[-1]
        passes[-1].keep_inputs()


# phi' times an error, from z alone and in one pass over memory.
_FUSED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda error, z: error,
    "tanh": torch.ops.aten.tanh_backward,
    "sigmoid": torch.ops.aten.sigmoid_backward,
    "relu": lambda error, z: torch.ops.aten.threshold_backward(error, z, 0),
}


def keep_slopes(block: Block, signal: Tensor) -> tuple[Tensor, Trace]:
    """Trace a block, but keep h only where phi' cannot be had from z: elsewhere `preactivation` holds z too."""
    output, trace = block.trace(signal)
    return output, replace(trace, preactivation=trace.activation) if block.activation_name in _FUSED else trace


def keep_maxima(block: Block, signal: Tensor) -> tuple[Tensor, Trace]:
    """Trace a block, but where only the maxima count keep h there alone, in the pooled map's shape.

    Only z's shape is kept then; its values are not needed, as the maxima themselves are the output.
    """
    output, trace = block.trace(signal)
    if only_maxima_count(block) and trace.pool_indices is not None:
        shape_alone = trace.activation.new_empty(1).expand(trace.activation.shape)
        maxima = values_at(trace.preactivation, trace.pool_indices)
        trace = replace(trace, preactivation=maxima, activation=shape_alone)
    return output, trace


def only_maxima_count(block: Block) -> bool:
    """Whether each signal at a block's output belongs to one unit: the maximum of a window that overlaps no other."""
    pooling = block.pooling
    return pooling is not None and pooling.kind == "max" and pooling.stride >= pooling.size
