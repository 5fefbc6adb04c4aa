"""Building a network with its first weights from a card's description."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cards import BlockSpec, NetworkSpec
from ..errors import UsageError, located, shown, told, unknown_name
from ..randomness import keyed_generator, uniform
from ..registry import NETWORKS, build
from .activations import ACTIVATIONS
from .modules import ModuleNetwork, make_body
from .network import Block, Network, Pooling


def network_blocks(spec: NetworkSpec) -> list[BlockSpec]:
    """Return the blocks of a network, with activation and bias filled in where a block does not say them.

    Args:
        spec: the network's description in a card.

    Raises:
        UsageError: for an unknown preset, or one that does not make a list of blocks.

    """
    blocks = list(spec.blocks or ()) if spec.preset is None else preset_blocks(spec.preset, spec.folder)
    filled = []
    for block in blocks:
        bias = spec.bias if block.bias is None else block.bias
        filled.append(block.model_copy(update={"activation": block.activation or spec.activation, "bias": bias}))
    return filled


def preset_blocks(name: str, beside: Path | None = None) -> list[BlockSpec]:
    """Return the blocks of a named network, or of FILE.py:FUNCTION with FILE.py beside the card."""
    blocks = build(NETWORKS.get(name, beside), {}, f"preset {name}")
    if not isinstance(blocks, (list, tuple)) or not all(isinstance(block, BlockSpec) for block in blocks):
        raise UsageError(f"preset {name}: must return a list of BlockSpec (got {shown(blocks)})")
    return list(blocks)


def _convolution(block: BlockSpec, shape: tuple[int, int, int], where: str) -> tuple[Block, tuple[int, int, int]]:
    channels, height, width = shape
    padding = block.kernel // 2 if block.padding == "same" else block.padding
    layer = nn.Conv2d(
        channels, block.width, block.kernel, block.stride, padding, bias=bool(block.bias), dtype=torch.float32
    )
    height, width = ((length + 2 * padding - block.kernel) // block.stride + 1 for length in (height, width))
    if min(height, width) < 1:
        raise UsageError(f"{where}: a {block.kernel}x{block.kernel} kernel does not fit on a {shape[1]}x{shape[2]} map")
    pooling = None
    if block.pool != "none":
        pooling = Pooling(block.pool, block.pool_size, block.pool_stride or block.pool_size)
        if min(height, width) < pooling.size:
            raise UsageError(
                f"{where}: pooling over {pooling.size}x{pooling.size} does not fit on a {height}x{width} map"
            )
        height, width = ((length - pooling.size) // pooling.stride + 1 for length in (height, width))
    return Block(layer, block.activation or "tanh", pooling), (block.width, height, width)


def _assemble(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int, where: str) -> list[Block]:
    made: list[Block] = []
    shape, features = image_shape, math.prod(image_shape)
    with located(where):
        blocks = network_blocks(spec)
    for position, block in enumerate(blocks):
        here = f"{where}: block {position + 1}"
        if block.activation not in ACTIVATIONS:
            raise UsageError(f"{here}: {unknown_name('activation', str(block.activation), ACTIVATIONS)}")
        if block.layer == "linear":
            layer = nn.Linear(features, block.width, bias=bool(block.bias), dtype=torch.float32)
            made.append(Block(layer, block.activation))
            features = block.width
        elif made and not made[-1].is_convolution:
            raise UsageError(f"{here}: a convolution cannot follow a linear layer")
        else:
            convolution, shape = _convolution(block, shape, here)
            made.append(convolution)
            features = math.prod(shape)
    made.append(Block(nn.Linear(features, classes, bias=spec.bias, dtype=torch.float32), "identity"))
    return made


def sketch(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int, where: str = "network") -> Network:
    """Return the network without weights, on torch's meta device, from which its size can be computed.

    Args:
        spec: the network's description in a card.
        image_shape: (C, H, W).
        classes: K, the number of logits.
        where: what errors call it.

    Raises:
        UsageError: if it cannot read such images, or is too large to be counted.

    """
    if spec.factory is not None:
        return _sketch_module(spec, image_shape, classes, where)
    with torch.device("meta"):
        statistics = torch.empty(image_shape[0], dtype=torch.float32)
        try:
            return Network(_assemble(spec, image_shape, classes, where), statistics, statistics, image_shape)
        except (RuntimeError, OverflowError) as error:
            raise UsageError(f"{where}: is too large ({told(error)}). Make widths or kernels smaller.") from None


def _sketch_module(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int, where: str) -> Network:
    statistics = torch.empty(image_shape[0], dtype=torch.float32, device="meta")
    draws = keyed_generator(0, "sketch")
    try:
        with torch.device("meta"):
            body = make_body(spec, image_shape, classes, draws, where)
    except UsageError:  # some modules compute with numbers when they are made, and meta has none
        body = make_body(spec, image_shape, classes, draws, where)
    return ModuleNetwork(body, statistics, statistics, image_shape)


def check_network(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int, where: str = "network") -> None:
    """Raise UsageError if the network cannot read such images; no weights are made. See `sketch`."""
    sketch(spec, image_shape, classes, where)


@torch.no_grad()
def glorot_(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a tensor in place with the uniform random numbers of Glorot and Bengio (2010), and return it.

    Args:
        weight: a weight, or a feedback tensor of its shape: (outputs, inputs, ...).
        generator: draws the numbers.

    """
    receptive = math.prod(weight.shape[2:])
    bound = math.sqrt(6.0 / ((weight.shape[0] + weight.shape[1]) * receptive))
    # Drawn on the CPU, so that a seed gives the same start on every device.
    return weight.copy_((2 * uniform(weight.shape, generator) - 1) * bound)


def build_network(
    spec: NetworkSpec,
    image_shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
    statistics: tuple[Tensor, Tensor] | None = None,
    where: str = "network",
) -> Network:
    """Make a network of blocks with Glorot-uniform weights and zero biases, or the one that a factory makes.

    Args:
        spec: the network's description in a card.
        image_shape: (C, H, W).
        classes: K, the number of logits.
        generator: draws the weights, layer by layer.
        statistics: per-channel mean and standard deviation for the input normalisation (default: 0.5 and 0.25).
        where: what errors call it.

    Raises:
        UsageError: for an unknown preset or activation, or a network that does not fit the images.

    """
    usual = torch.ones(image_shape[0], dtype=torch.float32, device="cpu")
    mean, deviation = statistics or (0.5 * usual, 0.25 * usual)
    if spec.factory is not None:
        return ModuleNetwork(make_body(spec, image_shape, classes, generator, where), mean, deviation, image_shape)
    with torch.device("meta"):
        blocks = _assemble(spec, image_shape, classes, where)
    network = Network([block.to_empty(device="cpu") for block in blocks], mean, deviation, image_shape)
    for block in network.block_list:
        glorot_(block.layer.weight, generator)
        if block.layer.bias is not None:
            nn.init.zeros_(block.layer.bias)
    return network
