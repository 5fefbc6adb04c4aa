"""Networks as ordered lists of blocks, whose forward pass maps images to logits and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .activations import ACTIVATIONS, Activation
from .memory_format import gradient_with_channels_last, has_channels_last, in_format_of


@dataclass(frozen=True)
class Pooling:
    """Max or average pooling with a square window."""

    kind: str
    size: int
    stride: int

    def pool(self, z: Tensor) -> Tensor:
        """Pool maps (N, C, H, W); autograd, if it records, sends gradients back as `backward` does."""
        if self.kind == "average":
            return functional.avg_pool2d(z, self.size, self.stride)
        if self.size == self.stride == 2 and not (z.requires_grad and torch.is_grad_enabled()):
            return largest_of_four(z)
        return functional.max_pool2d(z, self.size, self.stride)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pool maps (N, C, H, W), and also return the arg-max positions, which are None in average pooling."""
        if self.kind == "average":
            return functional.avg_pool2d(z, self.size, self.stride), None
        pooled, indices = torch.ops.aten.max_pool2d_with_indices(z, [self.size] * 2, [self.stride] * 2)
        return pooled, indices

    def backward(self, signal: Tensor, z: Tensor, indices: Tensor | None) -> Tensor:
        """Send a signal back through the pooling: to the arg-max positions, or evenly to all positions.

        Args:
            signal: at the pooled map, (N, C, h, w).
            z: the map before pooling, (N, C, H, W).
            indices: the arg-max positions that `forward` returned.

        """
        size, stride = [self.size] * 2, [self.stride] * 2
        sent: Tensor
        if indices is None:
            sent = torch.ops.aten.avg_pool2d_backward(signal, z, size, stride, [0, 0], False, True, None)
        else:
            sent = torch.ops.aten.max_pool2d_with_indices_backward(
                signal, z, size, stride, [0, 0], [1, 1], False, indices
            )
        return sent


def largest_of_four(z: Tensor) -> Tensor:
    """Return what max pooling by windows of 2 x 2 does, in half its time on a CPU, without the positions."""
    height, width = (length // 2 * 2 for length in z.shape[2:])
    rows = torch.maximum(z[:, :, 0:height:2], z[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


@dataclass(frozen=True)
class Trace:
    """The inputs and outputs of one block in one forward pass.

    Attributes:
        inputs: the input of its layer, (N, C, H, W) or (N, D).
        preactivation: h, the layer's output.
        activation: z = phi(h).
        pool_indices: arg-max positions, if it pools by maximum.
        incoming: shape of the block's input before any flattening.

    """

    inputs: Tensor
    preactivation: Tensor
    activation: Tensor
    pool_indices: Tensor | None
    incoming: torch.Size


class Block(nn.Module):
    """A convolution or linear layer, an activation, and pooling if there is any.

    Args:
        layer: the layer.
        activation: the activation's name in `ACTIVATIONS`.
        pooling: the pooling after the activation.

    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, activation: str, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.activation_name = activation
        self.pooling = pooling

    @property
    def phi(self) -> Activation:
        """The activation."""
        return ACTIVATIONS[self.activation_name]

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is a convolution."""
        return isinstance(self.layer, nn.Conv2d)

    def _reads(self, inputs: Tensor) -> Tensor:
        if self.is_convolution:
            return inputs
        if inputs.requires_grad and inputs.dim() == 4 and has_channels_last(inputs):
            # Flattening forgets the format, and pooling is slow where gradient and maps have different ones.
            inputs.register_hook(gradient_with_channels_last)  # type: ignore[no-untyped-call]
        return inputs.flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the next block's input: layer, activation and pooling, one after the other.

        Args:
            inputs: float32 (N, C, H, W), or (N, D) for a linear layer, which also flattens maps.

        """
        z = self.phi.forward(self.layer(self._reads(inputs)))
        return z if self.pooling is None else self.pooling.pool(z)

    def trace(self, inputs: Tensor) -> tuple[Tensor, Trace]:
        """Do the same as `forward`, and also return the block's `Trace`.

        Args:
            inputs: as in `forward`.

        """
        read = self._reads(inputs)
        h: Tensor = self.layer(read)
        z = self.phi.forward(h)
        output, indices = (z, None) if self.pooling is None else self.pooling.forward(z)
        return output, Trace(read, h, z, indices, inputs.shape)

    def unpool(self, signal: Tensor, trace: Trace) -> Tensor:
        """Send a signal at the block's output back through the pooling to the activation z, and return it in z's shape.

        Args:
            signal: at the block's output, (N, ...) or flattened as the next layer reads it.
            trace: of the forward pass.

        """
        z = trace.activation
        if self.pooling is None:
            return in_format_of(z, signal.reshape(z.shape))
        height, width = ((length - self.pooling.size) // self.pooling.stride + 1 for length in z.shape[2:])
        signal = in_format_of(z, signal.reshape(*z.shape[:2], height, width))
        return self.pooling.backward(signal, z, trace.pool_indices)


TraceBlock = Callable[[Block, Tensor], tuple[Tensor, Trace]]


class Network(nn.Module):
    """Input normalisation, then blocks; the last block is the linear readout.

    Input: float32 in [0, 1], shape (N, C, H, W). Output: logits, shape (N, K). The forward pass never sees labels.
    Autograd gives the true gradient, by whatever rule the network was trained.

    Args:
        blocks: the blocks in order.
        mean: of each channel, (C,), subtracted from the images.
        deviation: of each channel, (C,), by which they are then divided.
        image_shape: (C, H, W).

    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, blocks: list[Block], mean: Tensor, deviation: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1).clone())
        self.register_buffer("deviation", deviation.reshape(1, -1, 1, 1).clone())
        self.blocks = nn.ModuleList(blocks)

    @property
    def block_list(self) -> list[Block]:
        """The blocks, typed."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def layer_names(self) -> list[str]:
        """A short name per block, such as conv1, conv2, linear3, readout."""
        blocks = self.block_list
        if not blocks:
            return []
        names = [f"{'conv' if block.is_convolution else 'linear'}{i + 1}" for i, block in enumerate(blocks)]
        return [*names[:-1], "readout"]

    def normalise(self, images: Tensor) -> Tensor:
        """Shift and scale pixels to zero mean and unit deviation over the training images.

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        """
        return (images - self.mean) / self.deviation

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (N, K).

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        """
        signal = self.normalise(images)
        for block in self.blocks:
            signal = block(signal)
        return signal

    def trace(self, images: Tensor, step: TraceBlock = Block.trace) -> tuple[Tensor, list[Trace]]:
        """Return the logits and each block's `Trace`.

        Args:
            images: (N, C, H, W) in [0, 1].
            step: passes one block and returns its trace; it may keep less than `Block.trace` does.

        """
        signal, traces = self.normalise(images), []
        for block in self.block_list:
            signal, trace = step(block, signal)
            traces.append(trace)
        return signal, traces
