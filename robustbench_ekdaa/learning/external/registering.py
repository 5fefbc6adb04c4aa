"""Registering modules of this process as models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

from ...arguments import whole
from ...cards import REGISTERED, RegisteredCard
from ...errors import UsageError, shown


def register_model(
    name: str,
    modules: nn.Module | Mapping[int, nn.Module],
    rule: str,
    *,
    title: str = "",
    role: Literal["target", "surrogate"] = "target",
) -> None:
    """Make modules that were trained anywhere known as a model, until this process ends.

    `sweep`, `score`, `load_model` and `Benchmark` then take the name as that of any card; it comes before a card of the
    same name. Nothing is trained, and the modules themselves stay as they are. What a model is, is decided by its code,
    its parameters and its buffers as they are when a sweep begins; so a module that was trained further, or registered
    again, is another model. Works in this process alone: with ``workers=1``, the default.

    Args:
        name: what to call it.
        modules: one per training seed, or one alone, which counts as that of seed 0. Each maps float32 images
            (N, C, H, W) in [0, 1] to logits (N, K), and is used in evaluation mode.
        rule: what tables call the learning rule that trained it.
        title: what figures call it (default: its name).
        role: "surrogate" for models of an architecture that no target has; ``foreign`` among a sweep's surrogates
            stands for these.

    Raises:
        UsageError: for what is no name, no module, or no seed.

    """
    by_seed = {0: modules} if isinstance(modules, nn.Module) else modules
    if not isinstance(by_seed, Mapping) or not by_seed:
        raise UsageError(f"modules: must be a torch.nn.Module, or a table of them by seed (got {shown(modules)})")
    found = {whole("modules: a seed", seed): module for seed, module in by_seed.items()}
    for seed, module in found.items():
        if not isinstance(module, nn.Module):
            raise UsageError(f"modules: that of seed {seed} must be a torch.nn.Module (got {shown(module)})")
    REGISTERED[name] = RegisteredCard.of(name, found, rule, title, role)
