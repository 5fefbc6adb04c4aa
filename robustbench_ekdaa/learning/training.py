"""Training: a model card, a data set and a seed go in; a checkpoint and a log, named by their content, come out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cards import ModelCard
from ..computing import ordinary_torch
from ..data.dataset import Dataset, Split
from ..environment import environment
from ..errors import TrainingDiverged, UsageError, WorkFailed, located
from ..files import clear_errors, shown_path, whole_file
from ..networks import Network, build_network
from ..networks.memory_format import MEMORY_FORMAT
from ..progress import Bar, Progress, Silent
from ..randomness import keyed_generator, permutation, random_integers, seeded_globals
from ..registry import RULES, build
from .adversarial import attacked_batches
from .alignment import measure_alignment
from .checkpoint import load_checkpoint, save_checkpoint, under_prefix, whose, with_prefix
from .contract import declared_exemptions
from .job import TrainingJob, checkpoint_path, log_path, partial_path
from .optimisers import Schedule, make_optimiser, make_schedule
from .rule import LearningRule

PROBE_IMAGES = 256
# Least time between two saved states: for tiny networks writing after every epoch would take longer than training.
SAVE_SECONDS = 3


def make_rule(card: ModelCard) -> LearningRule:
    """Make the card's learning rule; raises UsageError for an unknown rule or option."""
    with located(card.at("rule")):
        factory = RULES.get(card.rule, card.folder)
    rule = build(factory, card.rule_options, card.at("rule_options"))
    if not isinstance(rule, LearningRule):
        raise UsageError(
            f"{card.at('rule')}: {card.rule} is not a LearningRule: derive it from robustbench_ekdaa.LearningRule"
        )
    return rule


def bound_rule(job: TrainingJob, network: Network) -> LearningRule:
    """Make the card's learning rule and give it a network; raises UsageError if it cannot train that."""
    rule = make_rule(job.card)
    if rule.needs_blocks and not network.block_list:
        raise UsageError(
            f"{job.card.at('rule')}: {job.card.rule} tells errors block by block, and {job.card.network.factory} makes "
            "a network without blocks. backprop and straight_through train any network; or describe it by its blocks."
        )
    rule.bind(network, keyed_generator(job.seed, "feedback"))
    return rule


def make_network(job: TrainingJob, dataset: Dataset) -> Network:
    """Make the card's network with its starting weights."""
    return build_network(
        job.card.network,
        dataset.image_shape,
        len(dataset.classes),
        keyed_generator(job.seed, "weights"),
        dataset.channel_statistics,
        job.card.at("network"),
    )


def split_held_out(job: TrainingJob, split: Split) -> tuple[Split, Split]:
    """Split the training images into those to learn from and those held out, which are the same for every model."""
    count = round(job.held_out * len(split))
    order = permutation(len(split), keyed_generator(0, "held-out"))
    kept, held = order[count:].sort().values, order[:count]
    if count == 0:
        return split, Split(split.images[:0], split.labels[:0])
    return Split(split.images[kept], split.labels[kept]), Split(split.images[held], split.labels[held])


class _Training:
    """The state of one training between epochs."""

    def __init__(self, job: TrainingJob, dataset: Dataset, device: torch.device) -> None:
        self.job, self.device = job, device
        self.recipe = job.card.recipe(job.dataset)
        where = job.card.at_recipe(job.dataset)
        self.network = self._fresh_network(dataset)
        self.rule = bound_rule(job, self.network)
        self.exemptions = declared_exemptions(self.rule)
        self.optimiser = make_optimiser(self.recipe, self.rule, where)
        self.schedule: Schedule | None = make_schedule(self.recipe, self.optimiser, where)
        split, self.held = split_held_out(job, dataset.train)
        self.split = Split(split.images.to(self.device), split.labels.to(self.device))
        self.attacked = attacked_batches(job.card, job.dataset, job.seed)
        # The log's angles are measured on images that do not depend on the seed, so that models can be compared.
        chosen = permutation(len(self.split), keyed_generator(0, "probe"))[:PROBE_IMAGES]
        self.probe = self._batch(chosen)
        self.epoch = 0
        self.log: list[dict[str, Any]] = []

    def _fresh_network(self, dataset: Dataset) -> Network:
        network = make_network(self.job, dataset)
        return network.to(self.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload,no-any-return]

    def measure_start(self, dataset: Dataset) -> None:
        """Begin the log with the angles before any step.

        They are measured on a second network and rule, made from the same seed, so that measuring changes neither the
        random numbers nor the state of the training.
        """
        rule = bound_rule(self.job, self._fresh_network(dataset))
        self.log.append({"epoch": 0, "layers": measure_alignment(rule, *self.probe)})

    def copy(self, dataset: Dataset) -> Network:
        """Return the network as it is now in evaluation mode, made anew so that measuring it moves nothing here."""
        network = self._fresh_network(dataset)
        network.load_state_dict(self.network.state_dict())
        return network.eval()

    @property
    def steps(self) -> int:
        return -(-len(self.split) // self.recipe.batch_size)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = permutation(len(self.split), keyed_generator(self.job.seed, "order", self.epoch))
        for chosen in torch.split(order, self.recipe.batch_size):
            images, labels = self._batch(chosen)
            if self.attacked is not None:
                images = self._crafted(images, labels, chosen)
            yield images, labels

    def _crafted(self, images: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        assert self.attacked is not None
        try:
            return self.attacked.replaced(self.network, images, labels, chosen.tolist(), self.epoch)
        except WorkFailed:  # a logit or a gradient was NaN
            raise TrainingDiverged(self.job.card.name, self.job.seed, self.epoch + 1) from None

    def _batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        chosen = chosen.to(self.device)
        return self.split.images[chosen].to(self.device, memory_format=MEMORY_FORMAT), self.split.labels[chosen]

    def run_epoch(self, bar: Bar) -> None:
        """Train for one epoch and add its line to the log."""
        if self.network.block_list:
            self._run_epoch(bar)
            return
        # A module that is not made of our blocks may use random numbers, as dropout does: from the global generators.
        (seed,) = random_integers(2**31, 1, keyed_generator(self.job.seed, "forward", self.epoch))
        with seeded_globals(seed):
            self._run_epoch(bar)

    def _run_epoch(self, bar: Bar) -> None:
        started = time.perf_counter()
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        seen = shown = 0
        learning_rate = self.optimiser.param_groups[0]["lr"]
        for number, (images, labels) in enumerate(self._batches(), 1):
            step = self.rule.compute_gradients(images, labels)
            self.optimiser.step()
            self.rule.after_step()
            loss += step.loss.double() * len(labels)
            right += (step.logits.argmax(1) == labels).sum()
            seen += len(labels)
            if number % 20 == 0 or number == self.steps:
                self._refuse_nan(loss)
                speed = seen / (time.perf_counter() - started)
                bar.advance(
                    number - shown,
                    f"epoch {self.epoch + 1}/{self.job.epochs}  loss {float(loss) / seen:.3f}  "
                    f"accuracy {100 * int(right) / seen:.1f} %  {speed:,.0f} images/s",
                )
                shown = number
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters()):
            self._refuse_nan(loss * torch.nan)
        seconds = time.perf_counter() - started
        if self.schedule is not None:
            self.schedule.step()
        self.epoch += 1
        self.log.append(
            {
                "epoch": self.epoch,
                "loss": float(loss) / seen,
                "accuracy": int(right) / seen,
                "learning_rate": learning_rate,
                "seconds": round(seconds, 3),
                "images_per_second": round(seen / seconds, 1),
                "layers": measure_alignment(self.rule, *self.probe),
            }
        )

    def _refuse_nan(self, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise TrainingDiverged(self.job.card.name, self.job.seed, self.epoch + 1)

    def save(self, path: Path) -> None:
        """Write everything that a later process needs to continue from here."""
        optimiser = self.optimiser.state_dict()
        tensors = {**with_prefix("network", self.network.state_dict()), **with_prefix("rule", self.rule.state_dict())}
        plain: dict[str, dict[str, Any]] = {}
        for parameter, state in optimiser["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{parameter}.{name}"] = value
                else:
                    plain.setdefault(str(parameter), {})[name] = value
        facts = {
            "epoch": self.epoch,
            "log": self.log,
            "optimiser": plain,
            "groups": [
                {key: value for key, value in group.items() if key != "params"} for group in optimiser["param_groups"]
            ],
            "schedule": self.schedule and _plain(self.schedule.state_dict()),
        }
        save_checkpoint(path, tensors, facts)

    def resume(self, path: Path) -> None:
        """Load the state that `save` wrote; for a damaged or foreign file, raises an exception of any type."""
        tensors, facts = load_checkpoint(path, self.job, advice="It is not used.")
        self.network.load_state_dict(under_prefix("network", tensors))
        self.rule.load_state_dict(
            {name: value.to(self.device) for name, value in under_prefix("rule", tensors).items()}
        )
        whole = self.optimiser.state_dict()
        state: dict[int, dict[str, Any]] = {int(key): dict(value) for key, value in facts["optimiser"].items()}
        for name, tensor in under_prefix("optimiser", tensors).items():
            parameter, field = name.split(".", 1)
            state.setdefault(int(parameter), {})[field] = tensor
        for group, saved in zip(whole["param_groups"], facts["groups"], strict=True):
            group.update({key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()})
        self.optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
        for parameter in (parameter for group in self.optimiser.param_groups for parameter in group["params"]):
            held = self.optimiser.state[parameter]
            for field, value in held.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # In the parameter's memory format, as before the stop: mixed formats are slow and round otherwise.
                    held[field] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if self.schedule is not None and facts["schedule"] is not None:
            self.schedule.load_state_dict({**self.schedule.state_dict(), **facts["schedule"]})
        self.epoch, self.log = facts["epoch"], facts["log"]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold; the rest of a schedule's state is made from the card again."""
    kept = {}
    for key, value in state.items():
        try:
            kept[key] = json.loads(json.dumps(value))
        except TypeError:
            continue
        if kept[key] != value:
            del kept[key]
    return kept


@ordinary_torch(gradients=False)
def measured_accuracy(
    network: torch.nn.Module, split: Split, device: torch.device, batch_size: int = 500
) -> float | None:
    """Return the share of images a network gets right, or None for no images."""
    if len(split) == 0:
        return None
    right = 0
    with torch.inference_mode():
        parts = torch.split(split.images, batch_size), torch.split(split.labels, batch_size)
        for images, labels in zip(*parts, strict=True):
            right += int((network(images.to(device)).argmax(1).cpu() == labels).sum())
    return right / len(split)


@ordinary_torch(gradients=True)
def train(
    job: TrainingJob,
    dataset: Dataset,
    run: Path,
    kept: Sequence[TrainingJob] = (),
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train one model, or continue a training of it that was stopped; return the facts of its checkpoint.

    The checkpoint holds the network (``network.*``), the rule's feedback (``rule.*``) and these facts, among them the
    file's "digest" (not in files of early releases). On the way the checkpoints of ``kept``, earlier epochs of the same
    training, are written too, as their own trainings would write them, to the bit. Those of epochs that a stopped
    training had behind it are not.

    Raises:
        TrainingDiverged: when loss or weights stop being finite.
        UsageError: when the card cannot be trained as it is, or its checkpoint is damaged or not its own.
        WorkFailed: when the run folder cannot be written.

    """
    progress = progress or Silent()
    path, partial = checkpoint_path(run, job.key), partial_path(run, job.key)
    if path.exists():
        return load_checkpoint(path, job)[1]
    training = _resumed(job, dataset, torch.device(device), partial, progress)
    try:
        if training is not None:
            return _complete(training, dataset, run, kept, progress)
    except TrainingDiverged as error:  # perhaps because of the saved state: train from the start to be sure
        progress.line(f"{error} It had been stopped before, and begins anew to make sure.")
    training = _Training(job, dataset, torch.device(device))
    training.measure_start(dataset)
    return _complete(training, dataset, run, kept, progress)


def _resumed(
    job: TrainingJob, dataset: Dataset, device: torch.device, partial: Path, progress: Progress
) -> _Training | None:
    """Return the training as it was when it was stopped; None if there is no saved state, or it cannot be used."""
    if not partial.exists():
        return None
    training = _Training(job, dataset, device)
    try:
        training.resume(partial)
    except Exception as error:  # nothing finished is lost by training anew
        reason = (
            str(error) if isinstance(error, UsageError) else f"{shown_path(partial)}: {type(error).__name__}: {error}"
        )
        progress.line(f"{' '.join(reason.split())} The training of {job.label} begins anew.")
        partial.unlink()  # it may be a link, and the file that a link points to must not be overwritten
        return None
    return training


def _complete(
    training: _Training, dataset: Dataset, run: Path, kept: Sequence[TrainingJob], progress: Progress
) -> dict[str, Any]:
    """Train to the end, write the checkpoints and return the last one's facts."""
    job, epochs = training.job, training.job.epochs
    partial = partial_path(run, job.key)
    on_the_way = {one.epochs: one for one in kept if not checkpoint_path(run, one.key).exists()}
    bar = progress.task(f"train {job.label}", epochs * training.steps)
    bar.advance(training.epoch * training.steps)
    saved = time.perf_counter()
    try:
        while training.epoch < epochs:
            training.run_epoch(bar)
            write_log(log_path(run, job.key), training.log)
            if training.epoch in on_the_way:
                _keep(training, on_the_way[training.epoch], dataset, run)
            if training.epoch < epochs and time.perf_counter() - saved > SAVE_SECONDS:
                training.save(partial)
                saved = time.perf_counter()
        facts = _keep(training, job, dataset, run)
    except TrainingDiverged:
        partial.unlink(missing_ok=True)
        raise
    partial.unlink(missing_ok=True)
    return facts


def _keep(training: _Training, job: TrainingJob, dataset: Dataset, run: Path) -> dict[str, Any]:
    """Write the checkpoint and the log of a model that the training is now, and return its facts."""
    digest = write_log(log_path(run, job.key), training.log)
    tensors = {
        **with_prefix("network", training.network.state_dict()),
        **with_prefix("rule", training.rule.state_dict()),
    }
    facts = {**_facts(training, job, dataset), "log_digest": digest}
    return save_checkpoint(checkpoint_path(run, job.key), tensors, facts)


def _facts(training: _Training, job: TrainingJob, dataset: Dataset) -> dict[str, Any]:
    log, network = training.log, training.copy(dataset)
    return {
        **whose(job, dataset),
        "epochs": training.epoch,
        "train_loss": log[-1]["loss"],
        "train_accuracy": log[-1]["accuracy"],
        "held_out_accuracy": measured_accuracy(network, training.held, training.device),
        # Images are held out to choose a recipe; the test images must have no influence on that choice.
        "test_accuracy": None if job.held_out else measured_accuracy(network, dataset.test, training.device),
        "parameters": sum(parameter.numel() for parameter in training.network.parameters()),
        "seconds": round(sum(line.get("seconds", 0.0) for line in log), 2),
        "exemptions": training.exemptions,
        "made_with": environment(str(training.device)),
        "layers": log[-1]["layers"],
    }


def write_log(path: Path, log: list[dict[str, Any]]) -> str:
    """Write the per-epoch log as JSON lines, and return its SHA-256; raises WorkFailed when the disk refuses."""
    content = "".join(json.dumps(line) + "\n" for line in log).encode()
    with clear_errors(path), whole_file(path) as draft:
        draft.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@ordinary_torch(gradients=True)
def time_one_step(job: TrainingJob, dataset: Dataset, device: str = "cpu") -> tuple[float, int]:
    """Return how many seconds one step of a training takes now, the second of two, and how many steps an epoch has.

    Raises:
        UsageError: when the card cannot be trained as it is.
        TrainingDiverged: when its own attack finds no finite gradient.

    """
    training = _Training(job, dataset, torch.device(device))
    batches, seconds = training._batches(), 0.0
    for _ in range(min(2, training.steps)):
        started = time.perf_counter()
        step = training.rule.compute_gradients(*next(batches))
        training.optimiser.step()
        float(step.loss)  # waits for the device
        seconds = time.perf_counter() - started
    return seconds, training.steps


@ordinary_torch(gradients=True)
def load_network(
    job: TrainingJob, dataset: Dataset, run: Path, device: str = "cpu", *, digest: str | None = None
) -> Network:
    """Return a trained model as a plain network in evaluation mode.

    Args:
        job: the card, data set and seed of the training.
        dataset: the data set.
        run: the run folder.
        device: where to put the model.
        digest: the checkpoint's digest as noted in the store; None if it was not noted.

    Raises:
        UsageError: when it is not in the run, damaged, or another model's.

    """
    path = checkpoint_path(run, job.key)
    tensors, _ = load_checkpoint(path, job, digest=digest)
    network = make_network(job, dataset)
    try:
        network.load_state_dict(under_prefix("network", tensors))
    except RuntimeError:  # happens only for checkpoints without a digest
        raise UsageError(
            f"{shown_path(path)}: does not fit the network of {job.label}. Remove it and run again."
        ) from None
    return network.to(device, memory_format=MEMORY_FORMAT).eval()  # type: ignore[call-overload,no-any-return]
