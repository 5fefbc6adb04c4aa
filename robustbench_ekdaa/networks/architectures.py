"""Ready-made networks that are not made of blocks: other families, for surrogates that are kin to no target.

Each takes images of any size from 8x8 up, grey or in colour, and is made of PyTorch's and torchvision's parts.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field
from torch import nn

ImageShape: TypeAlias = tuple[int, int, int]
Width: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


def batchnorm_cnn(image_shape: ImageShape, classes: int, *, width: Width = 32) -> nn.Module:
    """C32-C32-P-C64-C64-P and a readout, each 3x3 convolution with batch normalisation and ReLU.

    Args:
        image_shape: (C, H, W).
        classes: K, the number of logits.
        width: channels of the first two convolutions; the others have twice as many.

    """
    channels, height, width_in_pixels = image_shape
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, width), (width, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        if inputs == outputs:
            layers.append(nn.MaxPool2d(2))
    features = 2 * width * (height // 4) * (width_in_pixels // 4)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))


def residual(
    image_shape: ImageShape, classes: int, *, width: Width = 16, depth: Annotated[int, Field(ge=1, le=100)] = 3
) -> nn.Module:
    """A residual network for small images (He et al., CVPR 2016, arXiv:1512.03385, section 4.2), 0.27 M parameters.

    Args:
        image_shape: (C, H, W).
        classes: K, the number of logits.
        width: channels of the first stage; the next two have twice and four times as many.
        depth: residual blocks in each of the three stages; 3 make 20 layers.

    """
    from torchvision.models.resnet import BasicBlock

    layers: list[nn.Module] = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    layers.append(nn.ReLU())
    inputs = width
    for outputs in (width, 2 * width, 4 * width):
        for number in range(depth):
            stride = 2 if number == 0 and outputs > width else 1
            shortcut = None
            if inputs != outputs:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            layers.append(BasicBlock(inputs, outputs, stride, shortcut))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def vision_transformer(
    image_shape: ImageShape,
    classes: int,
    *,
    width: Width = 96,
    depth: Annotated[int, Field(ge=1, le=100)] = 4,
    heads: Annotated[int, Field(ge=1, le=64)] = 4,
) -> nn.Module:
    """A vision transformer (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929), 0.3 M parameters.

    Patches have 2x2 pixels on images of up to 16 pixels, else 4x4; images are padded with zeros to a square of whole
    patches.

    Args:
        image_shape: (C, H, W).
        classes: K, the number of logits.
        width: of a token.
        depth: layers of attention.
        heads: of each; they divide the width.

    """
    from torchvision.models.vision_transformer import VisionTransformer

    channels, height, width_in_pixels = image_shape
    patch = 2 if max(height, width_in_pixels) <= 16 else 4
    side = -(-max(height, width_in_pixels) // patch) * patch
    network = VisionTransformer(side, patch, depth, heads, width, 2 * width, num_classes=classes)
    network.conv_proj = nn.Conv2d(channels, width, patch, patch)
    return nn.Sequential(nn.ZeroPad2d((0, side - width_in_pixels, 0, side - height)), network)
