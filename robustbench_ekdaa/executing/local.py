"""The executor that is this process itself: one job after the other, where a debugger sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..progress import Progress
from .executor import Job, PartlyDone, Result, run_job


class Here:
    """An `Executor` that runs jobs in this process."""

    slots = 1

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def run(self, jobs: Iterable[Job[Result] | None]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the job, its result), in order; see `Executor`."""
        for position, job in enumerate(job for job in jobs if job is not None):
            try:
                result = run_job(job, self.progress)
            except PartlyDone as error:
                yield position, error.result
                raise
            yield position, result
