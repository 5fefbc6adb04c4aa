"""The Python interface: what `import robustbench_ekdaa as rb` offers, a line each over `Benchmark` and the rooms."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import crafting
from .analysis.checks import Finding
from .analysis.results import Results
from .analysis.verdict import Verdict
from .arguments import Place, a_path, whole
from .benchmark import Benchmark, as_workspace
from .cards import AnyModelCard, AttackCard, SweepSpec, Workspace
from .computing import ordinary_torch
from .crafting import AdversarialImages, WeaknessFound
from .crafting.surrogates import Precision
from .data import Split, load_split, shared_dataset
from .errors import UsageError, shown
from .executing.ray_cluster import RayCluster
from .learning import LearningRule
from .learning.contract import RuleFinding, rule_maker
from .learning.contract import check_rule as check_contract
from .progress import Progress, Silent, a_progress
from .scoring.forecast import Forecast
from .scoring.merging import Merged, merge_runs
from .scoring.status import RunStatus
from .scoring.verifying import Verified
from .storing.outcomes import ModelRecord
from .zoo import PublishedModel


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


def train(
    model: str | AnyModelCard,
    dataset: str,
    seed: int = 0,
    run: Place = "runs/default",
    *,
    held_out: float = 0.0,
    keep_epochs: int | str | None = None,
    workspace: Workspace | Place | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    zoo: Place | None = None,
    retry_failed: bool = False,
) -> ModelRecord:
    """Train one model, or find it trained, and return its record.

    Args:
        model: a model card or its name.
        dataset: a data set's name.
        seed: the training seed, 0 or above.
        run: the run folder.
        held_out: share of the training images kept aside for choosing a recipe, 0 to 0.9; the test images are then not
            used.
        keep_epochs: which epochs' weights are kept on the way, as models such as ``ekdaa#3``: "all", or K for every
            K-th; the last is always kept.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        progress: gets the bars (default: silent).
        zoo: a folder or URL that `publish` wrote to: models that the run lacks are taken from there, where key and
            digest fit, instead of being trained.
        retry_failed: whether a model that failed before is trained anew; otherwise it has failed.

    Raises:
        UsageError: for whatever in the request is wrong.
        WorkFailed: when training diverged or the run folder cannot be written.

    """
    benchmark = Benchmark(run, workspace=workspace, device=device, progress=progress, zoo=zoo)
    how: dict[str, Any] = {"held_out": held_out, "keep_epochs": keep_epochs, "retry_failed": retry_failed}
    return benchmark.train([model], dataset, [seed], **how)[0]


def load_model(
    model: str | AnyModelCard,
    dataset: str,
    seed: int = 0,
    run: Place = "runs/default",
    *,
    epoch: int | None = None,
    workspace: Workspace | Place | None = None,
    device: str = "cpu",
    zoo: Place | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Return a trained model as a plain `nn.Module` in evaluation mode: images in [0, 1] in, logits out.

    Args:
        model: a model card or its name.
        dataset: the name of the data set it was trained on.
        seed: its training seed.
        run: the run folder.
        epoch: after which epoch; None for the last. Others are there if they were kept, or trained as ``ekdaa#3``.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        zoo: a folder or URL that `publish` wrote to: a model that the run lacks is taken from there into the run, where
            key and digest fit.
        progress: gets the line that says so (default: it is a warning).

    Raises:
        UsageError: when neither the run nor the zoo holds it.
        WorkFailed: when the zoo's server fails, or the run folder cannot be written.

    """
    told = _Warnings() if progress is None else progress
    benchmark = Benchmark(run, workspace=workspace, device=device, progress=told, zoo=zoo)
    return benchmark.load_model(model, dataset, seed, epoch=epoch)


class _Warnings(Silent):
    """Shows lines as warnings, which notebooks and scripts show without being asked to."""

    def line(self, text: str) -> None:
        """Warn."""
        warnings.warn(text, stacklevel=1)


def publish(
    run: Place, to: Place, *, workspace: Workspace | Place | None = None, progress: Progress | None = None
) -> list[PublishedModel]:
    """Add the trained models of a run to a zoo, or begin one, for others to take instead of training them.

    Checkpoints, logs, cards and digests are written first, and then the index. What the zoo holds already stays.

    Args:
        run: the run folder.
        to: a folder, or a URL of ``file:``, ``s3:`` or ``hf:``.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder); the cards
            are taken from there.
        progress: gets lines and bars (default: silent).

    Returns:
        what became of each model: its `label`, `digest` and `state`.

    Raises:
        UsageError: for a run without trainings, for files that are not what the store noted, by name, and for a zoo
            that cannot be written.
        WorkFailed: for a full disk, or a server that fails.

    """
    return Benchmark(run, workspace=workspace, device="cpu", progress=progress).publish(to)


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
    batch_size: int | None = None,
    workspace: Workspace | Place | None = None,
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
        indices: the images' positions in their data set (default: 0 to N - 1). Pass them when you call `craft` several
            times; otherwise images at the same place in two calls share random numbers.
        pool: images and labels, of the same form as `images` and `labels`, that attacks such as Admix mix in (default:
            the batch itself). Pass the same pool to all calls when you call `craft` several times.
        targets: int64 (N,): the classes a targeted attack aims at (default: those the card's rule chooses).
        precision: "float32", or "bfloat16" for the models' layers.
        batch_size: how many images are attacked at a time, so that they fit in memory (default: all); the random draws
            do not depend on it.
        workspace: where attacks that are given by name are looked up (default: the current folder).

    Returns:
        float32 (E, N, C, H, W): one batch per epsilon, inside the epsilon-ball and [0, 1].

    Raises:
        UsageError: for arguments that do not fit each other or the card.
        WorkFailed: when a model answers NaN or infinity, or its gradients are NaN.

    """
    card = as_workspace(workspace).attacks[attack] if isinstance(attack, str) else attack
    models: list[Any] = list(surrogates) if isinstance(surrogates, (list, tuple)) else [surrogates]
    options: Any = {"seed": seed, "indices": indices, "pool": pool, "targets": targets, "precision": precision}
    wanted = crafting.checked_epsilons(epsilons)
    if not wanted:
        raise UsageError("epsilons must be a list of one or more, such as [0.1] (got none)")
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, least=1)
    batches = crafting.craft(card, models, images, labels, wanted, **options)
    crafting.check_epsilons(card.norm, images.shape[1:], wanted, card.name)
    for doubt in crafting.doubts((*card.input, *card.gradient), images.shape):
        warnings.warn(f"{card.name}: {doubt}", stacklevel=2)
    if batch_size is None:
        parts = [list(batches)]
    else:
        parts = list(_parts(card, models, images, labels, wanted, batch_size, options))
    flat = sum(int(one.zero_gradient.sum()) for part in parts for one in part)
    if flat:
        warnings.warn(
            f"{card.name}: {flat} of {len(wanted) * len(images)} images could not be attacked, as every gradient was "
            "exactly zero. They say nothing about robustness: look for an operation without a slope, such as sign.",
            stacklevel=2,
        )
    with ordinary_torch(gradients=False):
        return torch.cat([torch.stack([one.images for one in part]) for part in parts], dim=1)


def _parts(
    card: AttackCard,
    models: list[Any],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    batch_size: int,
    options: dict[str, Any],
) -> Iterator[list[crafting.Crafted]]:
    """Craft some images at a time, with the draws and the pool of all of them together."""
    places = range(len(images)) if options["indices"] is None else list(options["indices"])
    pool = crafting.Pool.of(options["pool"] or (images, labels)) if len(images) else None
    targets = options["targets"]
    for start in range(0, max(len(images), 1), batch_size):
        part = slice(start, start + batch_size)
        mine = {"indices": places[part], "pool": pool, "targets": None if targets is None else targets[part]}
        yield list(crafting.craft(card, models, images[part], labels[part], epsilons, **{**options, **mine}))


def sweep(
    spec: SweepSpec | Place,
    run: Place,
    *,
    workspace: Workspace | Place | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
    command: str | None = None,
    zoo: Place | None = None,
    retry_failed: bool = False,
) -> Results:
    """Train, attack and score what is missing of a sweep in a run folder, and return all its results.

    A model or an attack that fails costs its own outcomes alone; `rb.status` says why.

    Args:
        spec: a `SweepSpec`, or the path of a sweep file.
        run: the run folder; finished work in it is never done again.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: run jobs side by side in so many processes; None: one per core on a CPU. They look for modules where
            this process does, but never in the working folder. A script that registers rules or data sets itself is run
            once more in each, so what starts work must stand under ``if __name__ == "__main__":``. Or the `RayCluster`
            that jobs run on.
        progress: gets lines and bars (default: silent).
        command: what asked for it, kept for the report.
        zoo: a folder or URL that `publish` wrote to: models that the run lacks are taken from there, where key and
            digest fit, instead of being trained.
        retry_failed: whether models that failed before are trained anew; otherwise they count as failed.

    Returns:
        the results of all sweeps in the run folder, this one among them.

    Raises:
        UsageError: before anything is computed, for whatever in the request is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.

    """
    means: dict[str, Any] = {"workspace": workspace, "device": device, "workers": workers, "zoo": zoo}
    return Benchmark(run, **means, progress=progress, command=command).sweep(spec, retry_failed=retry_failed)


def plan(
    spec: SweepSpec | Place,
    run: Place,
    *,
    workspace: Workspace | Place | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    retry_failed: bool = False,
) -> Forecast:
    """Return what a sweep is about to do: jobs, what is stored, why the rest is computed again, passes, bytes, time.

    Nothing is made, not even the run folder. Where the run has measured nothing alike, a step of a training or a pass
    of a network is timed now.

    Args:
        spec: a `SweepSpec`, or the path of a sweep file.
        run: the run folder, there or not.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: jobs side by side; see `sweep`.
        retry_failed: whether models that failed before are to be trained anew.

    Returns:
        an object with `work` (per card and attack: jobs, passes, seconds and how these are known), `reasons`, bytes,
        and `seconds` on one core.

    Raises:
        UsageError: for whatever in the request is wrong, or results that are damaged.

    """
    benchmark = Benchmark(run, workspace=workspace, device=device, workers=workers)
    return benchmark.plan(spec, retry_failed=retry_failed)


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
    return crafting.load_adversarial(a_path("path", path), norm=norm, epsilons=epsilons, indices=indices)


def score(
    file: Place,
    dataset: str,
    models: Sequence[str | AnyModelCard],
    run: Place,
    *,
    seeds: int = 3,
    name: str | None = None,
    norm: str | None = None,
    epsilons: Sequence[float] | None = None,
    indices: Sequence[int] | None = None,
    workspace: Workspace | Place | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
    command: str | None = None,
    zoo: Place | None = None,
) -> Results:
    """Let models predict the classes of adversarial images from a file, and return all results of the run.

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
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: jobs side by side; see `sweep`.
        progress: gets lines and bars (default: silent).
        command: what asked for it, kept for the report.
        zoo: a folder or URL that `publish` wrote to: models that the run lacks are taken from there, where key and
            digest fit, instead of being trained.

    Raises:
        UsageError: for whatever in the request or the file is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.

    """
    means: dict[str, Any] = {"workspace": workspace, "device": device, "workers": workers, "zoo": zoo}
    about: dict[str, Any] = {"seeds": seeds, "name": name, "norm": norm, "epsilons": epsilons, "indices": indices}
    return Benchmark(run, **means, progress=progress, command=command).score(file, dataset, models, **about)


def open_results(run: Place) -> Results:
    """Open a run folder's results; no model is needed for that.

    Args:
        run: the run folder.

    Raises:
        UsageError: when there are no results, or they are damaged.

    """
    return Benchmark(run, device="cpu").results()


def status(run: Place) -> RunStatus:
    """Return how far a run is, also while a command works in it.

    Args:
        run: the run folder.

    Returns:
        an object with `models` (trained, failed with the cause, missing), `attacks` (cells asked for and stored) and
        `at_work`, the command at work there with what it has in hand, None if there is none.

    Raises:
        UsageError: when there are no results, or they are damaged.

    """
    return Benchmark(run, device="cpu").status()


def verify(
    run: Place,
    *,
    recompute: float = 0.0,
    workspace: Workspace | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Verified:
    """Compare everything that a run holds with the digests written with it, and do a share of it again.

    Args:
        run: the run folder; nothing in it is changed.
        recompute: share of the trainings and of the craftings to do again, in [0, 1]; at least one of each, unless it
            is 0. What was made with the same versions on the same kind of device must come out the same, to the bit.
        workspace: where the cards are, for what is done again.
        device: where it is done again.
        progress: gets bars.

    Returns:
        an object with counts of what is fine, `faults` (`where` and `what`), and `notes` of what could not be verified.

    Raises:
        UsageError: when there are no results.

    """
    return Benchmark(run, workspace=workspace, device=device, progress=progress).verify(recompute)


def merge(runs: Sequence[Place], out: Place, *, progress: Progress | None = None) -> Merged:
    """Make one run of several, of several machines or people, as if all had been computed there in this order.

    What they both hold must be the same: data, images, cards, weights, predictions. What does not fit is told, and
    nothing is written.

    Args:
        runs: the run folders; they are only read.
        out: the new run folder, which appears whole or not at all.
        progress: gets the conflicts, a line each (default: silent; the error's `conflicts` are the same).

    Returns:
        how many `models` and `outcomes` the new `run` holds.

    Raises:
        UsageError: for runs that do not fit together, are damaged or not there, and for a folder that is there already.
        WorkFailed: for a full disk.

    """
    if isinstance(runs, (str, Path)) or not isinstance(runs, Sequence):
        raise UsageError(f"runs: must be a list of run folders (got {shown(runs)})")
    return merge_runs([a_path("runs", run) for run in runs], a_path("out", out), a_progress(progress))


def compare(
    run: Place | Results,
    first: str,
    second: str,
    *,
    dataset: str | None = None,
    norm: str | None = None,
    epsilon: object = None,
    metric: str = "accuracy",
) -> Verdict:
    """Compare two model cards of a run under all kinds of attackers, and say what that allows to say.

    Args:
        run: the run folder, or its results.
        first: a target card's name; differences are its statistic minus the other's.
        second: the other's.
        dataset: which data set (may be left out where there is one).
        norm: of the attacks (default: the first there is).
        epsilon: where to compare (default: the one that the sweep declares as `verdict_epsilon`, else the one nearest
            to half of the largest).
        metric: "accuracy" under attack, "area" under its curve, "asr-common" (the share of the images kept that all
            models of both cards get right when clean) or "minimal-norm" (of minimal-norm attacks, the mean of the
            smallest epsilon that fools, in shares of the largest).

    Returns:
        the verdict: `word` says it, `regimes` hold the difference under every kind of attacker.

    Raises:
        UsageError: for a name, data set, norm, epsilon or metric that the run does not hold.

    """
    results = run if isinstance(run, Results) else open_results(run)
    return results.compare(first, second, dataset=dataset, norm=norm, epsilon=epsilon, metric=metric)


def check(
    run: Place,
    model: str | None = None,
    *,
    workspace: Workspace | Place | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
) -> list[Finding]:
    """Return what the checks find in a run: whether its numbers mean what they seem to; see `Results.check`.

    Models that were not asked yet are loaded, and probed on a sample of images, seconds per model; what that finds is
    kept in the run.

    Args:
        run: the run folder.
        model: a model card's name, to leave out what is about other cards alone (default: all).
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: models probed side by side; see `sweep`.
        progress: gets lines and bars (default: silent).

    Returns:
        findings with `check`, `status` ("pass", "warn" or "fail"), `value`, `where`, `meaning` and `remedy`; what
        failed first.

    Raises:
        UsageError: when there are no results, or they are damaged, and for a name that is not among them.

    """
    means: dict[str, Any] = {"workspace": workspace, "device": device, "workers": workers}
    return Benchmark(run, **means, progress=progress).check(model)


def report(run: Place, out: Place, *, progress: Progress | None = None) -> Path:
    """Write pages, figures and tables of a run to a folder, and return the page's path.

    Args:
        run: the run folder.
        out: the report's folder; a report that is there is replaced.
        progress: gets the bars (default: silent).

    Raises:
        UsageError: for a run without trainings, or a folder that holds something else or cannot be written.
        WorkFailed: for a full disk.

    """
    return Benchmark(run, device="cpu", progress=progress).report(out)


def check_rule(rule: str | type[LearningRule], options: Mapping[str, Any] | None = None) -> list[RuleFinding]:
    """Put a learning rule to the contract tests, trained on the digits.

    Args:
        rule: a known rule's name, FILE.py:CLASS, or the class itself.
        options: its options, as in a card.

    Returns:
        one finding per test, with `test`, `verdict` ("passed", "failed" or "exempt") and `found`, a line about it.

    Raises:
        UsageError: for what is no rule, options that it does not take, or exemptions without a reason.

    """
    return list(check_contract(rule_maker(rule, options or {}), shared_dataset("digits")))


def check_attack(
    attack: str | AttackCard, *, workspace: Workspace | Place | None = None, seed: int = 0
) -> list[WeaknessFound]:
    """Let an attack find a weakness that was planted in a network and that it must not miss.

    Where an attack fails here, what it fails to fool elsewhere says nothing (Zimmermann et al., NeurIPS 2022,
    arXiv:2206.13991).

    Args:
        attack: an attack card, or the name of one or of a suite.
        workspace: where names are looked up (default: the current folder).
        seed: keys the attack's random draws.

    Returns:
        one finding per attack, with `attack`, `verdict` ("passed", "failed", or "exempt" for noise), `fooled`, the
        share of the images, and `found`, a line about it.

    Raises:
        UsageError: for an unknown name, or a card that cannot be built.

    """
    cards = as_workspace(workspace).expand_attacks([attack]) if isinstance(attack, str) else [attack]
    return [crafting.find_weakness(card, seed=whole("seed", seed)) for card in cards]
