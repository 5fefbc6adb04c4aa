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
    title: str | None = None,
    role: Literal["target", "surrogate"] = "target",
) -> None:
    """Register modules, trained by any means, under the name of a model, until this process ends.

    `sweep`, `score`, `load_model` and `Benchmark` then accept this name like that of a card; a card of the same name is
    hidden by it. Nothing is trained, and the modules are not changed. A model's key depends on its code, parameters and
    buffers as they are when a sweep begins; so after more training, or with other modules under the same name, it
    counts as another model. Works in this process alone: with ``workers=1``, the default.

    Args:
        name: the model's name.
        modules: one per training seed, or a single one, which gets seed 0. Each maps float32 images (N, C, H, W) in
            [0, 1] to logits (N, K), and is used in evaluation mode.
        rule: the name that tables show for the learning rule that trained it.
        title: the name that figures show (default: `name`).
        role: "surrogate" for models of an architecture that no target has; ``foreign`` among a sweep's surrogates
            stands for these.

    Raises:
        UsageError: for an invalid name, module or seed.

    """
    by_seed = {0: modules} if isinstance(modules, nn.Module) else modules
    if not isinstance(by_seed, Mapping) or not by_seed:
        raise UsageError(f"modules: must be a torch.nn.Module, or a table of them by seed (got {shown(modules)})")
    found = {whole("modules: a seed", seed): module for seed, module in by_seed.items()}
    for seed, module in found.items():
        if not isinstance(module, nn.Module):
            raise UsageError(f"modules: that of seed {seed} must be a torch.nn.Module (got {shown(module)})")
    REGISTERED[name] = RegisteredCard.of(name, found, rule, title, role)
