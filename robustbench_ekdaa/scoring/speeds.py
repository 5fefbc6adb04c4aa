"""How long work takes: as the run has measured it, and where it has not, as one tiny step of it takes now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any, Literal

import torch

from ..computing import ordinary_torch
from ..crafting.surrogates import Surrogate, lacks_derivative
from ..data import Dataset
from ..errors import UsageError, WorkFailed
from ..learning import ModelJob, TrainingJob
from ..learning.training import make_network, time_one_step
from ..networks import Network
from ..storing.keys import CraftingKey
from ..storing.selection import Everything
from .plan import CraftJob

Basis = Literal["measured", "timed now", "unknown"]
TIMED_IMAGES = 64


class Speeds:
    """Times of one data set's work.

    Args:
        dataset: the data set.
        device: where work is to be done.
        stored: what the run holds.
        craftings: per set of images, what is known of its craftings.

    """

    def __init__(
        self,
        dataset: Dataset,
        device: str,
        stored: Everything | None,
        craftings: Mapping[str, Mapping[CraftingKey, Mapping[str, float]]],
    ) -> None:
        self.dataset, self.device = dataset, device
        self._epochs: dict[tuple[str | None, ...], list[float]] = {}
        self._crafting: dict[tuple[str, ...], list[float]] = {}
        self._kinds: dict[str, str | None] = {}
        self._networks: dict[str, Network] = {}
        self._stand_ins: dict[str | None, bool] = {}
        self._passes: dict[str, tuple[float, float]] = {}
        self._steps: dict[tuple[str, ...], float] = {}
        if stored is not None:
            self._learn_from(stored, craftings)

    def _learn_from(
        self, stored: Everything, craftings: Mapping[str, Mapping[CraftingKey, Mapping[str, float]]]
    ) -> None:
        names = {key: record.name for key, record in stored.models.items()}
        for record in stored.models.values():
            seconds, epochs = record.metrics.get("seconds"), record.metrics.get("epochs")
            if record.dataset == self.dataset.name and seconds and epochs:
                for place in ((record.name,), (record.metrics.get("network"), record.rule)):
                    self._epochs.setdefault(place, []).append(seconds / epochs)
        for image_set, facts in craftings.items():
            images = stored.image_sets[image_set]
            if images.fingerprint == self.dataset.fingerprint:
                for key, found in facts.items():
                    if "seconds" in found:
                        each = found["seconds"] / len(images.indices)
                        for place in ((key.attack, names.get(key.surrogate or "", "")), (key.attack,)):
                            self._crafting.setdefault(place, []).append(each)

    def training(self, job: ModelJob) -> tuple[float | None, Basis]:
        """Return the seconds of a training, and how they are known; a ready model takes none."""
        if not isinstance(job, TrainingJob):
            return 0.0, "measured"
        for place in ((job.card.name,), (job.network, job.card.rule_name)):
            if place in self._epochs:
                return mean(self._epochs[place]) * job.epochs, "measured"
        place = (job.network, job.card.name)
        try:
            if place not in self._steps:
                seconds, steps = time_one_step(job, self.dataset, self.device)
                self._steps[place] = seconds * steps
        except (UsageError, WorkFailed, RuntimeError):  # the sweep itself says what is wrong with it
            return None, "unknown"
        return self._steps[place] * job.epochs, "timed now"

    def crafting(self, job: CraftJob) -> float | None:
        """Return the seconds per image and epsilon that crafting and scoring took before; None if not known."""
        name = job.surrogates.members[0].card.name if len(job.surrogates.members) == 1 else ""
        for place in ((job.attack_key, name), (job.attack_key,)):
            if place in self._crafting:
                return mean(self._crafting[place])
        return None

    def network(self, job: ModelJob) -> Network | None:
        """Return an untrained network of a model's kind; None for models from elsewhere, and what cannot be built."""
        kind = self._kind(job)
        if kind is None or not isinstance(job, TrainingJob):
            return None
        if kind not in self._networks:
            try:
                network = make_network(job, self.dataset).to(self.device).eval()
            except (UsageError, WorkFailed, RuntimeError):
                return None
            self._networks[kind] = network.requires_grad_(False)
        return self._networks[kind]

    def _kind(self, job: ModelJob) -> str | None:
        """Return the hash of a model's network, looked up once; None for models from elsewhere."""
        if job.key not in self._kinds:
            self._kinds[job.key] = job.network if isinstance(job, TrainingJob) else None
        return self._kinds[job.key]

    def modes(self, job: CraftJob) -> int:
        """Return how many stand-ins for the derivative of signum an attack tries on its surrogates."""
        kinds = {self._kind(member): member for member in job.surrogates.members}
        return len(job.attack.backward) if any(map(self._needs_stand_in, kinds.values())) else 1

    def _needs_stand_in(self, job: ModelJob) -> bool:
        kind = self._kind(job)
        if kind not in self._stand_ins:
            network = self.network(job)
            self._stand_ins[kind] = network is not None and lacks_derivative(Surrogate(network, 0, 0))
        return self._stand_ins[kind]

    def passes(self, job: ModelJob) -> tuple[float, float] | None:
        """Return the seconds per image of a forward pass and of a backward pass to the images, timed now."""
        kind = self._kind(job)
        if kind is not None and kind not in self._passes:
            network = self.network(job)
            if network is None:
                return None
            self._passes[kind] = self._timed(network)
        return None if kind is None else self._passes[kind]

    @ordinary_torch(gradients=True)
    def _timed(self, network: Network) -> tuple[float, float]:
        images = self.dataset.test.images[:TIMED_IMAGES].to(self.device)

        def forward() -> None:
            with torch.inference_mode():
                float(network(images).sum())

        def both() -> None:
            variable = images.clone().requires_grad_()
            float(torch.autograd.grad(network(variable).sum(), variable)[0].sum())

        once, gradient = _seconds(forward) / len(images), _seconds(both) / len(images)
        return once, max(gradient - once, 0.0)

    def checkpoint_bytes(self, job: ModelJob) -> int:
        """Return about how large a model's checkpoint is, by its weights; feedback parameters come on top."""
        network = self.network(job)
        tensors: Any = network.state_dict().values() if network is not None else ()
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _seconds(work: Callable[[], None]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
