"""The work of a sweep as functions of their inputs: clean predictions, and crafting with scoring."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..crafting import craft
from ..progress import Progress
from .plan import CraftJob

SHOWN_IMAGES = 4  # adversarial images kept per crafting, for reports to show


@dataclass
class Crafting:
    """What crafting and scoring at one epsilon gave.

    Attributes:
        predictions: per target key, the class said of each image, (N,).
        shown: the first few adversarial images.
        zero_gradients: how many images had a gradient of exactly zero at every step.
        seconds: crafting and scoring time.

    """

    predictions: dict[str, NDArray[np.int64]]
    shown: NDArray[np.float32]
    zero_gradients: int = 0
    seconds: float = 0.0
    parts: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)

    def facts(self, count: int) -> dict[str, Any]:
        """Return what the store keeps beside the outcomes."""
        return {"seconds": round(self.seconds, 4), "zero_gradient_share": self.zero_gradients / count}


def predict(network: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """Return the class a network says of each image, shape (N,); NaN logits count as class K, never right."""
    with torch.inference_mode():
        logits = network(images)
        said = torch.where(torch.isfinite(logits).all(1), logits.argmax(1), logits.shape[1])
    classes: NDArray[np.int64] = said.cpu().numpy()
    return classes


def predict_all(network: nn.Module, images: Tensor, device: str, batch_size: int) -> NDArray[np.int64]:
    """Return the class a network says of each of many images, batch by batch."""
    return np.concatenate([predict(network, batch.to(device)) for batch in torch.split(images, batch_size)])


def craft_and_score(
    job: CraftJob,
    networks: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    indices: Sequence[int],
    *,
    seed: int,
    device: str,
    batch_size: int,
    progress: Progress,
) -> dict[float, Crafting]:
    """Craft batch by batch, and let every wanted target score each batch at once, so that no images pile up.

    Args:
        job: what to craft and whom to score.
        networks: the surrogate and the targets by key, on `device`, in evaluation mode.
        images: the N clean images.
        labels: their classes.
        indices: their positions in the test split, which key the random draws.
        seed: the sweep's seed.
        device: where to compute.
        batch_size: images per batch.
        progress: gets one bar.

    """
    bar = progress.task(job.label, len(images))
    surrogates = [networks[job.surrogate.key]] if job.surrogate else []
    results = {
        epsilon: Crafting(
            {}, np.empty((0, *images.shape[1:]), np.float32), parts={target.key: [] for target in targets}
        )
        for epsilon, targets in job.wanted
    }
    for start in range(0, len(images), batch_size):
        batch, truth = images[start : start + batch_size].to(device), labels[start : start + batch_size].to(device)
        clock = time.perf_counter()
        crafted = craft(
            job.attack,
            surrogates,
            batch,
            truth,
            [epsilon for epsilon, _ in job.wanted],
            seed=seed,
            indices=indices[start : start + batch_size],
        )
        for one in crafted:
            result = results[one.epsilon]
            for key, parts in result.parts.items():
                parts.append(predict(networks[key], one.images))
            result.zero_gradients += int(one.zero_gradient.sum())
            if start == 0:
                result.shown = one.images[:SHOWN_IMAGES].cpu().numpy()
            clock, before = time.perf_counter(), clock
            result.seconds += clock - before
        bar.advance(len(batch))
    for result in results.values():
        result.predictions = {key: np.concatenate(parts) for key, parts in result.parts.items()}
    return results
