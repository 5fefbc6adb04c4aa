"""The work of a sweep as picklable jobs: pure functions of their content, which the driver stores the results of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..crafting import craft
from ..data import Dataset, load_dataset
from ..errors import TrainingDiverged, UsageError, WorkFailed
from ..learning import TrainingJob, load_network, train
from ..progress import Progress
from .outcomes import ModelRecord
from .plan import CraftJob

SHOWN_IMAGES = 4  # adversarial images kept per crafting, for reports to show


def load_unchanged(job: TrainingJob) -> Dataset:
    """Load a job's data set and make sure that it is still the one that was planned with."""
    dataset = load_dataset(job.dataset)
    if dataset.fingerprint != job.fingerprint:
        raise WorkFailed(f"data set {job.dataset} changed while the sweep was running. Run the same command again.")
    return dataset


@dataclass(frozen=True)
class TrainModel:
    """Train one model; whatever goes wrong with it alone becomes a failed record."""

    job: TrainingJob
    run: Path
    device: str

    def __call__(self, progress: Progress) -> ModelRecord:
        """Return the model's record; its checkpoint is in the run folder."""
        job = self.job
        about = (job.key, job.card.name, job.card.label, job.card.rule_name, job.dataset, job.seed)
        try:
            facts = train(job, load_unchanged(job), self.run, device=self.device, progress=progress)
        except TrainingDiverged as error:
            progress.line(f"failed: {error}")
            return ModelRecord(*about, "failed", str(error), {"diverged": True, "epoch": error.epoch})
        except (UsageError, WorkFailed):
            raise
        except Exception as error:
            # A plugged-in rule may raise anything; the other models' results must not be lost to it.
            message = f"{job.card.name} (seed {job.seed}) failed in training: {type(error).__name__}: {error}"
            progress.line(f"failed: {message}")
            return ModelRecord(*about, "failed", message)
        metrics = {key: value for key, value in facts.items() if key not in ("identity", "layers")}
        return ModelRecord(*about, metrics=metrics)


def predict(network: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """Return the class a network says of each image, shape (N,); NaN logits count as class K, never right."""
    with torch.inference_mode():
        logits = network(images)
        said = torch.where(torch.isfinite(logits).all(1), logits.argmax(1), logits.shape[1])
    classes: NDArray[np.int64] = said.cpu().numpy()
    return classes


@dataclass(frozen=True)
class PredictClean:
    """Pass the clean images through one model."""

    job: TrainingJob
    indices: Tensor
    run: Path
    device: str
    batch_size: int

    def __call__(self, progress: Progress) -> NDArray[np.int64]:
        """Return the class said of each image, (N,)."""
        dataset = load_unchanged(self.job)
        network = load_network(self.job, dataset, self.run, self.device)
        batches = torch.split(dataset.test.images[self.indices], self.batch_size)
        return np.concatenate([predict(network, batch.to(self.device)) for batch in batches])


@dataclass
class Crafting:
    """What crafting and scoring at one epsilon gave.

    Attributes:
        predictions: per target key, the class said of each image, batch by batch; see `CraftAndScore`.
        shown: the first few adversarial images.
        zero_gradients: how many images had a gradient of exactly zero at every step.
        seconds: crafting and scoring time.
    """

    predictions: dict[str, list[NDArray[np.int64]]]
    shown: NDArray[np.float32] | None = None
    zero_gradients: int = 0
    seconds: float = 0.0

    def facts(self, images: int) -> dict[str, Any]:
        """Return what the store keeps beside the outcomes."""
        return {"seconds": round(self.seconds, 4), "zero_gradient_share": self.zero_gradients / images}


@dataclass(frozen=True)
class CraftAndScore:
    """Craft batch by batch, and let every wanted target score each batch at once, so that no images pile up.

    Attributes:
        job: what to craft and whom to score.
        indices: positions of the N images in the test split; they key the random draws.
        seed: the sweep's seed.
        run: the run folder, for the checkpoints.
        device: where to compute.
        batch_size: images per batch.
        show: whether to keep the first few images of every epsilon.
    """

    job: CraftJob
    indices: Tensor
    seed: int
    run: Path
    device: str
    batch_size: int
    show: bool

    def __call__(self, progress: Progress) -> dict[float, Crafting]:
        """Return, per epsilon, what the targets said."""
        job, bar = self.job, progress.task(self.job.label, len(self.indices))
        dataset = load_unchanged(job.wanted[0][1][0])
        networks = self._networks(dataset)
        surrogates = [networks[job.surrogate.key]] if job.surrogate else []
        results = {epsilon: Crafting({target.key: [] for target in targets}) for epsilon, targets in job.wanted}
        for chosen in torch.split(self.indices, self.batch_size):
            images = dataset.test.images[chosen].to(self.device)
            labels = dataset.test.labels[chosen].to(self.device)
            self._one_batch(surrogates, networks, images, labels, chosen.tolist(), results)
            bar.advance(len(chosen))
        return results

    def _networks(self, dataset: Dataset) -> dict[str, nn.Module]:
        jobs = {target.key: target for _, targets in self.job.wanted for target in targets}
        if self.job.surrogate:
            jobs[self.job.surrogate.key] = self.job.surrogate
        return {key: load_network(job, dataset, self.run, self.device) for key, job in jobs.items()}

    def _one_batch(
        self,
        surrogates: Sequence[nn.Module],
        networks: dict[str, nn.Module],
        images: Tensor,
        labels: Tensor,
        indices: list[int],
        results: dict[float, Crafting],
    ) -> None:
        clock = time.perf_counter()
        for one in craft(self.job.attack, surrogates, images, labels, list(results), seed=self.seed, indices=indices):
            result = results[one.epsilon]
            for key, said in result.predictions.items():
                said.append(predict(networks[key], one.images))
            result.zero_gradients += int(one.zero_gradient.sum())
            if self.show and result.shown is None:
                result.shown = one.images[:SHOWN_IMAGES].cpu().numpy()
            clock, before = time.perf_counter(), clock
            result.seconds += clock - before
