"""The Python interface: what `import robustbench_ekdaa as rb` offers, a few lines each over the rooms."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import crafting
from .analysis.results import Results
from .cards import AttackCard, ModelCard, SweepSpec, Workspace, read_sweep
from .computing import ordinary_torch
from .crafting import AdversarialImages
from .crafting.surrogates import Precision
from .data import Dataset, Split, load_split, shared_dataset
from .errors import UsageError, WorkFailed, shown
from .learning import TrainingJob, load_network
from .learning.checking import check_job
from .networks import Network
from .progress import Progress, Silent
from .scoring.executor import executor
from .scoring.imported import ImportSpec, score_images
from .scoring.outcomes import ModelRecord
from .scoring.store import open_run, writing
from .scoring.sweep import check_workers, choose_device, run_sweep, train_models


def load_dataset(name: str, split: str = "test", limit: int | None = None) -> Split:
    """Return the images and labels of one half of a data set.

    Args:
        name: digits, fashion_mnist, cifar10, svhn, or a data set of one's own.
        split: "train" or "test".
        limit: at most so many images.

    Returns:
        a `Split` with `images`, float32 (N, C, H, W) in [0, 1], and `labels`, int64 (N,).

    Raises:
        UsageError: for an unknown name or split, or a data set that is not on this machine.

    """
    return load_split(name, split, limit)


def _job(model: str | ModelCard, dataset: str, seed: int, held_out: float = 0.0) -> tuple[TrainingJob, Dataset]:
    (card,) = _cards([model])
    whole = shared_dataset(dataset)
    return TrainingJob.on(whole, card, seed, held_out), whole


def _cards(models: Sequence[str | ModelCard], workspace: Workspace | None = None) -> list[ModelCard]:
    """Return model cards, looked up where they are given by name; raises UsageError for anything else."""
    if isinstance(models, (str, ModelCard)) or not isinstance(models, Iterable):
        raise UsageError(f"models: must be a list of model cards or their names (got {shown(models)})")
    found = []
    for model in models:
        if not isinstance(model, (str, ModelCard)):
            raise UsageError(f"a model must be a model card or its name (got {shown(model)})")
        found.append((workspace or Workspace()).models[model] if isinstance(model, str) else model)
    return found


def _path(what: str, place: str | os.PathLike[str]) -> Path:
    """Return a path; raises UsageError for what is none, and for "", which would be the current folder."""
    if not isinstance(place, (str, os.PathLike)) or not str(place).strip() or "\0" in str(place):
        raise UsageError(f"{what}: must be a path (got {shown(place)})")
    return Path(place)


def train(
    model: str | ModelCard,
    dataset: str,
    seed: int = 0,
    run: str | Path = "runs/default",
    *,
    held_out: float = 0.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> ModelRecord:
    """Train one model, or find it trained, and return its record.

    Args:
        model: a model card or its name.
        dataset: a data set's name.
        seed: the training seed, 0 or above.
        run: the run folder.
        held_out: share of the training images kept aside for choosing a recipe, 0 to 0.9; the test images are then not
            used.
        device: "auto", "cpu", "cuda", ...
        progress: gets the bars (default: silent).

    Raises:
        UsageError: for whatever in the request is wrong.
        WorkFailed: when training diverged or the run folder cannot be written.

    """
    return train_many([model], dataset, [seed], run, held_out=held_out, device=device, progress=progress)[0]


def train_many(
    models: Sequence[str | ModelCard],
    dataset: str,
    seeds: Sequence[int],
    run: str | Path,
    *,
    held_out: float = 0.0,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress | None = None,
    keep_going: bool = False,
) -> list[ModelRecord]:
    """Train several models with several seeds; see `train`. With `keep_going`, failed ones are records, not errors."""
    folder, device, workers = _path("run", run), choose_device(device), check_workers(workers)
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise UsageError(f"seeds: must be a list of training seeds (got {shown(seeds)})")
    jobs = [_job(card, dataset, seed, held_out) for card in _cards(models) for seed in list(seeds)]
    for job, whole in jobs:
        check_job(job, whole, device)  # before the run folder is made
    with writing(folder, progress) as store, executor(workers, progress or Silent(), device) as runner:
        records = train_models([job for job, _ in jobs], store, device=device, runner=runner)
    failed = [record for record in records if record.status == "failed"]
    if failed and not keep_going:
        raise WorkFailed(failed[0].error)
    return records


def load_model(
    model: str | ModelCard, dataset: str, seed: int = 0, run: str | Path = "runs/default", *, device: str = "cpu"
) -> Network:
    """Return a trained model as a plain `nn.Module` in evaluation mode: images in [0, 1] in, logits out.

    Args:
        model: a model card or its name.
        dataset: the name of the data set it was trained on.
        seed: its training seed.
        run: the run folder.
        device: "auto", "cpu", "cuda", ...

    Raises:
        UsageError: when the run does not hold it.

    """
    job, whole = _job(model, dataset, seed)
    return load_network(job, whole, _path("run", run), choose_device(device))


def craft(
    attack: str | AttackCard,
    surrogates: nn.Module | Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float | str],
    seed: int = 0,
    *,
    indices: Sequence[int] | None = None,
    pool: tuple[Tensor, Tensor] | None = None,
    targets: Tensor | None = None,
    precision: Precision = "float32",
) -> Tensor:
    """Craft adversarial images on any PyTorch models.

    The models are used in evaluation mode, by one thread at a time, and given back as they were; nothing that is given
    is written to. What PyTorch is set to (autocast, default type and device, inference mode) changes nothing.

    Warns of images whose every gradient was exactly zero: they could not be attacked, which is not robustness. Which
    ones, and smallest norms and queries, are in what `robustbench_ekdaa.crafting.craft` yields. Also warns of a model
    that answers the same image in two ways, and of a part of the attack that does not suit so small an image.

    Args:
        attack: an attack card or its name.
        surrogates: one model or several; each maps float32 images (N, C, H, W) in [0, 1] to logits (N, K).
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,).
        epsilons: perturbation sizes in pixels of [0, 1], as numbers of any real type or texts such as "8/255". None may
            exceed the way from black to white: 1 in l-infinity, the square root of the number of pixels in l2.
        seed: a whole number; keys the random draws, together with each image's position.
        indices: the images' positions in their data set (default: 0 to N - 1). To craft in several calls, give them, so
            that no two images share their draws.
        pool: images and labels, as the images and labels are, that attacks such as Admix mix in (default: the batch
            itself). To craft in several calls, give all of them the same pool.
        targets: int64 (N,): the classes a targeted attack aims at (default: those the card's rule chooses).
        precision: "float32", or "bfloat16" for the models' layers.

    Returns:
        float32 (E, N, C, H, W): one batch per epsilon, inside the epsilon-ball and [0, 1].

    Raises:
        UsageError: for arguments that do not fit each other or the card.
        WorkFailed: when a model answers NaN or infinity, or its gradients are NaN.

    """
    card = Workspace().attacks[attack] if isinstance(attack, str) else attack
    models: list[Any] = list(surrogates) if isinstance(surrogates, (list, tuple)) else [surrogates]
    options: Any = {"seed": seed, "indices": indices, "pool": pool, "targets": targets, "precision": precision}
    radii = crafting.radii_of(epsilons)
    if not radii:
        raise UsageError("epsilons must be a list of one or more, such as [0.1] (got none)")
    batches = crafting.craft(card, models, images, labels, radii, **options)
    crafting.check_reach(card.norm, images.shape[1:], radii, card.name)
    for doubt in crafting.doubts((*card.input, *card.gradient), images.shape):
        warnings.warn(f"{card.name}: {doubt}", stacklevel=2)
    made = list(batches)
    flat = sum(int(one.zero_gradient.sum()) for one in made)
    if flat:
        warnings.warn(
            f"{card.name}: {flat} of {len(made) * len(images)} images could not be attacked, as every gradient was "
            "exactly zero. They say nothing about robustness: look for an operation without a slope, such as sign.",
            stacklevel=2,
        )
    with ordinary_torch(gradients=False):
        return torch.stack([one.images for one in made])


def sweep(
    spec: SweepSpec | str | Path,
    run: str | Path,
    *,
    workspace: Workspace | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress | None = None,
    command: str = "",
) -> Results:
    """Train, attack and score what is missing of a sweep in a run folder, and return all its results.

    Args:
        spec: a `SweepSpec`, or the path of a sweep file.
        run: the run folder; finished work in it is never done again.
        workspace: where the cards are (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: run jobs side by side in so many processes; None: one per core on a CPU. They look for modules where
            this process does, but never in the working folder. A script that registers rules or data sets itself is run
            once more in each, so what starts work must stand under ``if __name__ == "__main__":``.
        progress: gets lines and bars (default: silent).
        command: what asked for it, kept for the report.

    """
    if not isinstance(spec, (SweepSpec, str, Path)):
        raise UsageError(f"spec: must be a SweepSpec, or the path of a sweep file (got {shown(spec)})")
    whole = spec if isinstance(spec, SweepSpec) else read_sweep(Path(spec))
    folder = _path("run", run)
    run_sweep(whole, folder, workspace=workspace, device=device, workers=workers, progress=progress, command=command)
    return open_results(run)


def load_adversarial(
    path: str | Path,
    *,
    norm: str | None = None,
    epsilons: Sequence[float] | None = None,
    indices: Sequence[int] | None = None,
) -> AdversarialImages:
    """Read adversarial images from a file: of `sweep` with `save_images`, or made elsewhere.

    Args:
        path: a .safetensors or .npz archive with ``images``, float32 (E, N, C, H, W), or (N, C, H, W) for one epsilon.
        norm: "linf", "l2" or "l1", for files that do not say it.
        epsilons: E perturbation sizes, likewise.
        indices: N positions of the clean images in the test split, likewise (default: 0 to N - 1); in the whole split,
            which `load_dataset` with a limit draws from in another order.

    Returns:
        an `AdversarialImages` with `images` (E, N, C, H, W), `epsilons`, `norm`, `indices` and `facts`.

    Raises:
        UsageError: naming file, key and reason.

    """
    return crafting.load_adversarial(_path("path", path), norm=norm, epsilons=epsilons, indices=indices)


def score(
    file: str | Path,
    dataset: str,
    models: Sequence[str | ModelCard],
    run: str | Path,
    *,
    seeds: int = 3,
    name: str | None = None,
    norm: str | None = None,
    epsilons: Sequence[float] | None = None,
    indices: Sequence[int] | None = None,
    workspace: Workspace | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress | None = None,
    command: str = "",
) -> Results:
    """Let models say what they see in adversarial images from a file, and return all results of the run.

    The images are checked against the clean ones first: inside their balls and [0, 1]. They become an attack of the
    run, in no worst case. Scoring them again makes no model call.

    Args:
        file: see `load_adversarial`.
        dataset: the data set whose test images they change.
        models: model cards or their names; trained where the run does not hold them.
        run: the run folder.
        seeds: training seeds per model.
        name: what to call the attack (default: the file's name).
        norm: for files that do not say it.
        epsilons: likewise.
        indices: likewise.
        workspace: where the cards are (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: jobs side by side; see `sweep`.
        progress: gets lines and bars (default: silent).
        command: what asked for it, kept for the report.

    Raises:
        UsageError: for whatever in the request or the file is wrong.

    """
    spec = ImportSpec(
        file=_path("file", file),
        dataset=dataset,
        models=_cards(models, workspace),
        seeds=seeds,
        name=name,
        norm=norm,
        epsilons=epsilons,
        indices=indices,
    )
    folder = _path("run", run)
    score_images(spec, folder, workspace=workspace, device=device, workers=workers, progress=progress, command=command)
    return open_results(run)


def open_results(run: str | Path) -> Results:
    """Open a run folder's results; no model is needed for that."""
    return Results(open_run(_path("run", run)))
