"""Networks: ordered blocks of a layer, an activation and pooling, with a pure forward pass that returns logits."""

from .activations import ACTIVATIONS, Activation, signum_backward
from .build import build_network, check_network, network_blocks
from .modules import ModuleNetwork
from .network import Block, Network, Trace

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Block",
    "ModuleNetwork",
    "Network",
    "Trace",
    "build_network",
    "check_network",
    "network_blocks",
    "signum_backward",
]
