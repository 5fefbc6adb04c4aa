"""One run with its workspace, device and workers: what can be done with a run folder, in one object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from .analysis.checks import Finding
from .analysis.results import Results
from .analysis.trainings import read_trainings
from .analysis.verdict import Verdict
from .arguments import Place, a_path, share, whole_numbers
from .cards import AnyModelCard, SweepSpec, Workspace, after_epoch, read_sweep
from .data import Dataset, shared_dataset
from .errors import UsageError, WorkFailed, shown
from .executing.executor import workers_for
from .executing.ray_cluster import RayCluster
from .files import shown_path
from .learning import ModelJob, TrainingJob, kept_jobs, load_model, model_job
from .learning.job import checkpoint_path
from .names import as_spelled
from .progress import Progress, a_progress
from .remote import location
from .scoring.forecast import Forecast, forecast
from .scoring.imported import ImportSpec, score_images
from .scoring.plan import plan_sweep
from .scoring.probes import with_probes
from .scoring.publishing import exhibits
from .scoring.recomputing import recompute as recompute_some
from .scoring.status import RunStatus, run_status
from .scoring.sweep import at_work_on, check_models, check_workers, choose_device, run_sweep
from .scoring.taking import find_models, take_models
from .scoring.trainings import train_models
from .scoring.verifying import Verified, verify_run
from .storing.outcomes import ModelRecord
from .storing.store import noted_digest, open_run, reading, writing
from .zoo import PublishedModel, Zoo, publish


class Benchmark:
    """A run folder, and with which cards, on which device and with how many workers things are done in it.

    Args:
        run: the run folder; finished work in it is never done again.
        workspace: the folder that holds models/ and attacks/, or a `Workspace` (default: the current folder).
        device: "auto", "cpu", "cuda", ...
        workers: run jobs side by side in so many processes; None: one per core on a CPU. They look for modules where
            this process does, but never in the working folder. A script that registers rules or data sets itself is run
            once more in each, so what starts work must stand under ``if __name__ == "__main__":``. Or the `RayCluster`
            that jobs run on.
        progress: gets lines and bars (default: silent).
        command: what asked for it, kept for the report.
        zoo: a folder or URL that `publish` wrote to: models that the run lacks are taken from there, where its key and
            digest fit, instead of being trained.

    Attributes:
        failed: the models that the last `train`, `sweep` or `score` could not train.
        failed_craftings: why craftings of the last `sweep` failed, a line each; the next one tries them again.

    Raises:
        UsageError: for whatever of these is wrong.

    >>> benchmark = Benchmark("runs/first")
    >>> benchmark.run.name, benchmark.failed
    ('first', ())
    """

    def __init__(
        self,
        run: Place = "runs/default",
        *,
        workspace: Workspace | Place | None = None,
        device: str = "auto",
        workers: int | RayCluster | None = 1,
        progress: Progress | None = None,
        command: str | None = None,
        zoo: Place | None = None,
    ) -> None:
        self.run = a_path("run", run)
        self.workspace = as_workspace(workspace)
        self.device, self.workers = choose_device(device, workers), check_workers(workers)
        self.progress, self.command = a_progress(progress), command
        self.zoo = None if zoo is None else Zoo(location("zoo", zoo))
        self.failed: tuple[ModelRecord, ...] = ()
        self.failed_craftings: tuple[str, ...] = ()

    def train(
        self,
        models: Sequence[str | AnyModelCard],
        dataset: str,
        seeds: Sequence[int] = (0, 1, 2),
        *,
        held_out: float = 0.0,
        keep_epochs: int | str | None = None,
        keep_going: bool = False,
        retry_failed: bool = False,
    ) -> list[ModelRecord]:
        """Train models, or find them trained, and return their records, card by card, then those of kept epochs.

        Args:
            models: model cards or their names.
            dataset: a data set's name.
            seeds: the training seeds, each 0 or above.
            held_out: share of the training images kept aside for choosing a recipe, 0 to 0.9; the test images are then
                not used.
            keep_epochs: which epochs' weights are kept on the way, as models such as ``ekdaa#3``: "all", or K for every
                K-th; the last is always kept.
            keep_going: whether models that fail are records, not errors.
            retry_failed: whether models that failed before are trained anew; otherwise they count as failed.

        Raises:
            UsageError: for whatever in the request is wrong.
            WorkFailed: when training diverged or the run folder cannot be written.

        """
        numbers = whole_numbers("seeds", seeds)
        whole = shared_dataset(dataset)
        jobs = [self._job(card, dataset, seed, held_out)[0] for card in self._cards(models) for seed in numbers]
        kept = kept_jobs(jobs, keep_epochs)
        check_models(jobs, whole, self.run, device=self.device, workers=self.workers)
        found = find_models(self.zoo, [*jobs, *kept], whole, self.run, self.progress)
        work = at_work_on(self.run, self.progress, self.workers, self.device, self.command)
        with work as (store, runner, progress):
            take_models(found, store, progress)
            tried: list[ModelRecord] = []
            how: dict[str, Any] = {"device": self.device, "runner": runner, "retry_failed": retry_failed}
            records = train_models((*jobs, *kept), store, on_trained=tried.append, **how)
        self.failed = tuple(record for record in records if record.status == "failed")
        if self.failed and not keep_going:
            before = "" if self.failed[0] in tried else " (That was before; it is tried again with retry_failed=True.)"
            raise WorkFailed(f"{self.failed[0].error}{before}")
        return records

    def sweep(self, spec: SweepSpec | Place, *, retry_failed: bool = False) -> Results:
        """Train, attack and score what is missing of a sweep, and return all results of the run.

        A model or an attack that fails costs its own outcomes alone: `failed` and `failed_craftings` say why.

        Args:
            spec: a `SweepSpec`, or the path of a sweep file.
            retry_failed: whether models that failed before are trained anew; otherwise they count as failed.

        Raises:
            UsageError: before anything is computed, for whatever in the request is wrong.
            WorkFailed: when the run folder cannot be written; all that was stored stays.

        """
        whole = self._spec(spec)
        done = run_sweep(whole, self.run, **self._means, retry_failed=retry_failed)
        self.failed = tuple(done.failed)
        failed = done.failed_craftings.items()
        self.failed_craftings = tuple(f"{label} ({dataset}): {cause}" for (dataset, label), cause in failed)
        return self.results()

    def plan(self, spec: SweepSpec | Place, *, retry_failed: bool = False) -> Forecast:
        """Return what a sweep is about to do: jobs, why something is computed again, passes, bytes, time.

        Nothing is made, not even the run folder; a zoo is not asked. Where the run has measured nothing alike, a step
        of a training or a pass of a network is timed now.

        Args:
            spec: a `SweepSpec`, or the path of a sweep file.
            retry_failed: as in `sweep`.

        Raises:
            UsageError: for whatever in the request is wrong, or a store that is damaged.

        """
        whole = self._spec(spec)
        cluster = isinstance(self.workers, RayCluster)
        slots = None if isinstance(self.workers, RayCluster) else self.workers or workers_for(self.device)
        device = choose_device("auto") if cluster else self.device
        plans = [plan_sweep(whole, self.workspace, shared_dataset(name), device) for name in whole.datasets]
        with ExitStack() as stack:
            there = os.path.lexists(self.run / "results.sqlite")
            store = stack.enter_context(reading(self.run)) if there else None
            return forecast(plans, self.run, store, device=device, slots=slots, retry_failed=retry_failed)

    def score(
        self,
        file: Place,
        dataset: str,
        models: Sequence[str | AnyModelCard],
        *,
        seeds: int = 3,
        name: str | None = None,
        norm: str | None = None,
        epsilons: Sequence[Any] | None = None,
        indices: Sequence[int] | None = None,
    ) -> Results:
        """Let models predict the classes of adversarial images from a file, and return all results of the run.

        The images are checked against the clean ones first: inside their balls and [0, 1]. They become an attack of
        the run, in no worst case. Scoring them again makes no model call.

        Args:
            file: see `load_adversarial`.
            dataset: the data set whose test images they change.
            models: model cards or their names; trained where the run does not hold them.
            seeds: training seeds per model.
            name: what to call the attack (default: the file's name).
            norm: for files that do not say it.
            epsilons: likewise.
            indices: likewise.

        Raises:
            UsageError: for whatever in the request or the file is wrong.
            WorkFailed: when the run folder cannot be written; all that was stored stays.

        """
        spec = ImportSpec(
            file=a_path("file", file),
            dataset=dataset,
            models=self._cards(models),
            seeds=seeds,
            name=name,
            norm=norm,
            epsilons=epsilons,
            indices=indices,
        )
        self.failed = tuple(score_images(spec, self.run, **self._means).failed)
        return self.results()

    def results(self) -> Results:
        """Return all results of the run; no model is needed for that.

        Raises:
            UsageError: when there are no results, or they are damaged.

        """
        return Results(open_run(self.run))

    def status(self) -> RunStatus:
        """Return how far the run is, also while a command works in it: done, in hand, failed with cause, missing.

        Raises:
            UsageError: when there are no results, or they are damaged.

        """
        return run_status(self.run)

    def compare(self, first: str, second: str, **where: Any) -> Verdict:
        """Compare two model cards of the run; see `Results.compare`.

        Args:
            first: a target card's name; differences are its statistic minus the other's.
            second: the other's.
            where: `dataset`, `norm`, `epsilon` and `metric`, as there.

        Raises:
            UsageError: for what the run does not hold.

        """
        return self.results().compare(first, second, **where)

    def check(self, model: str | None = None) -> list[Finding]:
        """Return what the checks find in the run: whether its numbers mean what they seem to; see `Results.check`.

        Models that were not asked yet are loaded, and probed on a sample of images, seconds per model; what that finds
        is kept in the run.

        Args:
            model: a model card's name, to leave out what is about other cards alone (default: all).

        Raises:
            UsageError: when there are no results, or they are damaged, and for a name that is not among them.

        """
        results = self.results()
        results.check(model)  # a wrong name is told before models are loaded
        cards = None if model is None else {as_spelled("model", model, results.cards)}
        means = {name: self._means[name] for name in ("workspace", "device", "workers", "progress")}
        probed = with_probes(self.run, results.outcomes, cards=cards, **means)
        return Results(probed).check(model)

    def verify(self, recompute: float = 0.0) -> Verified:
        """Compare everything that the run holds with the digests written with it, and do a share of it again.

        Args:
            recompute: share of the trainings and of the craftings to do again, in [0, 1]; at least one of each,
                unless it is 0.

        Returns:
            an object with counts of what is fine, `faults` (`where` and `what`), and `notes` of what could not be
            verified.

        Raises:
            UsageError: when there are no results.

        """
        some = share("recompute", recompute, most=1)
        found = verify_run(self.run, self._means["progress"])
        if some and not found.faults:
            found = recompute_some(
                found, some, workspace=self.workspace, device=self.device, progress=self._means["progress"]
            )
        return found

    def report(self, out: Place) -> Path:
        """Write pages, figures and tables of the run to a folder, and return the page's path.

        Args:
            out: the report's folder; a report that is there is replaced.

        Raises:
            UsageError: for a run without trainings, or a folder that holds something else or cannot be written.
            WorkFailed: for a full disk.

        """
        from .rendering import write_report

        with reading(self.run) as store:
            results, commands = Results(store.outcomes()), store.commands()
        trainings = read_trainings(self.run)
        if not trainings.models:
            raise UsageError(
                f"{self.run}: nothing was trained here yet. "
                "`robustbench-ekdaa train` or `robustbench-ekdaa sweep` with --run fills it."
            )
        command = "\n".join(command or "" for command in commands)
        return write_report(results, a_path("out", out), trainings=trainings, command=command, progress=self.progress)

    def track(self, tracker: str) -> Path:
        """Write the run's training logs and its summary for an experiment tracker, and return the folder.

        It lies in the run folder under the tracker's name, and is written anew each time.

        Args:
            tracker: "tensorboard" or "mlflow".

        Raises:
            UsageError: for an unknown tracker, one that is not installed, and a run without a store.
            WorkFailed: when the folder cannot be written.

        """
        from .rendering.trackers import check_tracker, write_tracked

        check_tracker(tracker)
        with reading(self.run) as store:
            outcomes = store.outcomes()
        summary = Results(outcomes).summary() if outcomes else None
        return write_tracked(tracker, self.run, read_trainings(self.run), summary)

    def load_model(
        self, model: str | AnyModelCard, dataset: str, seed: int = 0, *, epoch: int | None = None
    ) -> nn.Module:
        """Return a trained model in evaluation mode.

        Args:
            model: a model card or its name.
            dataset: the data set it was trained on.
            seed: its training seed.
            epoch: after which epoch; None for the last. ``"ekdaa#3"`` as a name says the same.

        Raises:
            UsageError: when neither the run nor its zoo holds this model, or its checkpoint is damaged or of another
                model.
            WorkFailed: when the zoo's server fails, or the run folder cannot be written.

        """
        (card,) = self._cards([model])
        card = card if epoch is None else after_epoch(card, epoch)
        job, whole = self._job(card, dataset, seed)
        self._take(job, whole)
        return load_model(job, whole, self.run, self.device, digest=noted_digest(self.run, job.key))

    def _take(self, job: ModelJob, dataset: Dataset) -> None:
        """Take a model from the zoo if the run lacks it; raises UsageError if the zoo lacks it, too."""
        if self.zoo is None or not isinstance(job, TrainingJob) or checkpoint_path(self.run, job.key).exists():
            return
        found = self.zoo.find(job, dataset)
        if found is None:
            raise UsageError(f"{self.zoo.lack(job)}, nor in the run {shown_path(self.run)}. Train it.")
        with writing(self.run, self.progress) as store:
            take_models([found], store, self.progress)

    def publish(self, to: Place) -> list[PublishedModel]:
        """Add the trained models of the run to a zoo, or begin one; what it holds already stays as it is.

        Args:
            to: a folder, or a URL of ``file:``, ``s3:`` or ``hf:``.

        Returns:
            what became of each model: its `label`, `digest` and `state`.

        Raises:
            UsageError: for a run without trainings, for files that are not what the store noted, by name, and for a
                zoo that cannot be written.
            WorkFailed: for a full disk, or a server that fails.

        """
        place = location("to", to)
        return publish(self.run, exhibits(self.run, self.workspace, self.progress), place, self.progress)

    @property
    def _means(self) -> dict[str, Any]:
        """With what a sweep or a scoring is done."""
        return {name: getattr(self, name) for name in ("workspace", "device", "workers", "progress", "command", "zoo")}

    def _spec(self, spec: SweepSpec | Place) -> SweepSpec:
        return spec if isinstance(spec, SweepSpec) else read_sweep(a_path("spec", spec))

    def _job(self, card: AnyModelCard, dataset: str, seed: int, held_out: float = 0.0) -> tuple[ModelJob, Dataset]:
        whole = shared_dataset(dataset)
        return model_job(whole, card, seed, held_out), whole

    def _cards(self, models: Sequence[str | AnyModelCard]) -> list[AnyModelCard]:
        if isinstance(models, (str, AnyModelCard)) or not isinstance(models, Iterable):
            raise UsageError(f"models: must be a list of model cards or their names (got {shown(models)})")
        found = []
        for model in models:
            if not isinstance(model, (str, AnyModelCard)):
                raise UsageError(f"a model must be a model card or its name (got {shown(model)})")
            found.append(self.workspace.model(model) if isinstance(model, str) else model)
        return found


def as_workspace(workspace: Workspace | Place | None) -> Workspace:
    """Return a workspace, given as it is or by its folder; raises UsageError for anything else."""
    if isinstance(workspace, Workspace):
        return workspace
    return Workspace() if workspace is None else Workspace(a_path("workspace", workspace))
