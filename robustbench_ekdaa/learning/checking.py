"""Whether a training can be done at all, found out before it begins and before a run folder is made."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..cards import Recipe
from ..computing import ordinary_torch
from ..crafting.surrogates import differ
from ..data.dataset import Dataset
from ..errors import UsageError, WorkFailed, told
from ..files import storable
from ..memory import in_words, total_memory
from ..networks.build import sketch
from ..networks.wrappers import WRAP_ONE_LOGIT, WRAP_RANDOM
from ..randomness import seeded_globals
from .adversarial import check_adversarial_training
from .contract import declared_exemptions
from .job import TrainingJob
from .optimisers import Schedule, make_optimiser, make_schedule
from .rule import LearningRule
from .training import bound_rule, make_network, make_rule

MOST_STEPS = 1_000  # of a schedule that are tried
FLOAT_BYTES = 4  # bytes of a float32


@ordinary_torch(gradients=True)
def check_job(job: TrainingJob, dataset: Dataset, device: str = "cpu") -> None:
    """Raise UsageError for anything in the card that would stop the training at its start."""
    refuse_too_large(job, dataset, device)
    check_adversarial_training(job.card, job.dataset, dataset.image_shape)
    make_rule(job.card)  # what is wrong with it is told first
    network = make_network(job, dataset)
    try:
        rule = bound_rule(job, network)
        declared_exemptions(rule)
        rule.feedback_parameters()
    except UsageError as error:
        named = str(error).startswith(job.card.at("rule"))
        raise UsageError(str(error) if named else f"{job.card.at('network')}: {error}") from None
    except WorkFailed:
        raise
    except (Exception, SystemExit) as error:  # somebody's rule may raise anything
        raise UsageError(f"{job.card.at('rule')}: {job.card.rule} fails when it is bound: {told(error)}") from error
    if not network.block_list:
        check_trainable(job, rule, dataset)
    try:
        storable(rule.state_dict())
    except (Exception, SystemExit) as error:  # found out after training, it would be lost
        raise UsageError(f"{job.card.at('rule')}: its state cannot be saved ({told(error)})") from error
    where = job.card.at_recipe(job.dataset)
    recipe = job.card.recipe(job.dataset)
    schedule = make_schedule(recipe, make_optimiser(recipe, rule, where), where)
    if schedule is not None:
        step_through(schedule, recipe, where)


def check_trainable(job: TrainingJob, rule: LearningRule, dataset: Dataset) -> None:
    """Raise UsageError for somebody's module that gives no logits, cannot learn, or cannot be saved.

    It is trained on its last batch, which may be a single image, and asked in evaluation mode.
    """
    where, network = job.card.at("network.factory"), rule.network
    last = len(dataset.train) % job.card.recipe(job.dataset).batch_size or 2
    images, labels = dataset.train.images[:last], dataset.train.labels[:last]
    with seeded_globals(0):
        try:
            storable(network.state_dict())
            logits = network.eval()(images.clone())
            refuse_other_logits(logits, (last, len(dataset.classes)))
            if differ(logits, network(images.clone())):
                raise UsageError(
                    "it answers the same images differently from one time to the next, in evaluation mode: its forward "
                    f"draws random numbers, or remembers. {WRAP_RANDOM}"
                )
            network.train()
            rule.compute_gradients(images, labels)
        except (Exception, SystemExit) as error:  # somebody's module may raise anything
            name, reason = job.card.network.factory, str(error) if isinstance(error, UsageError) else told(error)
            raise UsageError(f"{where}: {name} fails on {last} images of {dataset.name}: {reason}") from error


def refuse_other_logits(logits: object, shape: tuple[int, int]) -> None:
    """Raise UsageError unless these are finite logits of a shape (N, K)."""
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        one = shape[1] == 2 and got in ((shape[0],), (shape[0], 1))
        raise UsageError(f"its logits must be of shape {shape} (got {got})" + (f". {WRAP_ONE_LOGIT}" if one else ""))
    if not bool(logits.isfinite().all()):
        raise UsageError("its logits must be finite")


def step_through(schedule: Schedule, recipe: Recipe, where: str) -> None:
    """Raise UsageError for a schedule that ends before the training, or fails in a later epoch."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, that no optimiser stepped in between
            for _ in range(min(recipe.epochs, MOST_STEPS)):
                schedule.step()
    except Exception as error:
        raise UsageError(f"{where}.schedule_options: {recipe.schedule} fails with them: {told(error)}") from None


def refuse_too_large(job: TrainingJob, dataset: Dataset, device: str) -> None:
    """Raise UsageError for a network or a batch that this machine's memory, or the GPU's, can never hold."""
    batch = min(job.card.recipe(job.dataset).batch_size, len(dataset.train))
    weights, needed = least_memory(job, dataset, batch)
    there = device_memory(device)
    if there is not None and needed > there:
        raise UsageError(
            f"{job.card.at('network')}: training takes {in_words(needed)} of memory at least ({weights:,.0f} weights, "
            f"batches of {batch:,} images), and there are {in_words(there)}. Make width, kernel or batch_size smaller."
        )


def least_memory(job: TrainingJob, dataset: Dataset, batch: int) -> tuple[float, float]:
    """Return the number of weights, and the bytes for them, their gradients and a batch's pre-activations.

    Of a module without blocks the activations are not counted.
    """
    network = sketch(job.card.network, dataset.image_shape, len(dataset.classes), job.card.at("network"))
    weights = sum(float(parameter.numel()) for parameter in network.parameters())
    if not network.block_list:
        return weights, FLOAT_BYTES * 2 * weights
    with torch.no_grad():
        _, traces = network.trace(torch.empty((1, *dataset.image_shape), dtype=torch.float32, device="meta"))
    units = sum(float(trace.preactivation.numel()) for trace in traces)
    return weights, FLOAT_BYTES * (2 * weights + batch * units)


def device_memory(device: str) -> int | None:
    """Return the bytes of memory that a device has; None where it cannot be found out."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return total_memory()
