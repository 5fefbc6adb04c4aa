"""Steps that several commands share: running a sweep and printing its summary, writing a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards import SweepSpec
from ..errors import UsageError, unknown_name
from ..files import shown_path
from ..progress import shown_progress
from .app import command_line
from .printing import log, show, tell

if TYPE_CHECKING:
    from ..benchmark import Benchmark
    from ..executing.ray_cluster import RayCluster


def workplace(
    workers: int | None, executor: str, address: str | None, cpus: float | None, gpus: float | None
) -> int | RayCluster | None:
    """Return where jobs run, as `Benchmark` takes it; raises UsageError for flags that do not go together."""
    about_ray = {"--ray-address": address, "--cpus-per-job": cpus, "--gpus-per-job": gpus}
    given = [flag for flag, value in about_ray.items() if value is not None]
    if executor == "local":
        if given:
            raise UsageError(f"{given[0]} is about a Ray cluster. Add --executor ray, or leave it out.")
        return workers
    if executor != "ray":
        raise unknown_name("executor", executor, ("local", "ray"))
    if workers is not None:
        raise UsageError("--workers counts processes of this machine; on Ray --cpus-per-job says how many jobs fit.")
    from ..executing.ray_cluster import RayCluster

    return RayCluster(address=address, cpus_per_job=1 if cpus is None else cpus, gpus_per_job=gpus)


@contextmanager
def tracked(work: Benchmark, tracker: str | None) -> Iterator[None]:
    """Write what was done for an experiment tracker; one that cannot be used is told before anything is done."""
    if tracker is None:
        yield
        return
    from ..rendering.trackers import check_tracker

    check_tracker(tracker)
    yield
    work.progress.line(f"{tracker}: {shown_path(work.track(tracker))}")


@contextmanager
def benchmark(run: Path, **means: Any) -> Iterator[Benchmark]:
    """Give a run whose progress is shown on standard error; `means` are arguments of `Benchmark`."""
    from ..benchmark import Benchmark

    with shown_progress(log()) as progress:
        yield Benchmark(run, **means, progress=progress, command=command_line())


def do_sweep(
    spec: SweepSpec, run: Path, *, retry_failed: bool = False, tracker: str | None = None, **means: Any
) -> bool:
    """Run a sweep, print its summary, and return whether anything failed."""
    with benchmark(run, **means) as work, tracked(work, tracker):
        from ..rendering import fooled_tables, optimality_tables, summary_table

        results = work.sweep(spec, retry_failed=retry_failed)
    show(summary_table(results))
    show(fooled_tables(results))
    show(optimality_tables(results))
    return tell_failed(work)


def tell_failed(work: Benchmark) -> bool:
    """Print why models could not be trained and attacks not be crafted, and return whether there are any."""
    for cause in (*(record.error for record in work.failed), *work.failed_craftings):
        tell(f"failed: {cause}")
    if work.failed:
        tell("What failed is trained again by `sweep --retry-failed`.")
    if work.failed_craftings:
        tell("What failed is crafted again by the same command.")
    return bool(work.failed or work.failed_craftings)


def do_report(run: Path, folder: Path) -> Path:
    """Write the report of a run and return its page."""
    with benchmark(run) as work:
        return work.report(folder)
