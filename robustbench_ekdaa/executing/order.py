"""The order of work: a job begins once what it needs is there, and of those that can, what gives results soon."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from typing import Any

from .executor import Executor, Job


@dataclass(frozen=True, eq=False)
class Pending:
    """A job that is made when it can begin, and what becomes of its result.

    Attributes:
        rank: of the tasks that can begin, the one of the lowest rank does.
        make: returns the job, or None if by then there is nothing left to do.
        take: stores the job's result.
        needs: what must be there before, as `gives` of other tasks names it; what no task gives is there.
        gives: what is there once the result was taken.
        long: whether others wait until a slot is free, rather than have this begin before they can.

    """

    rank: tuple[int, ...]
    make: Callable[[], Job[Any] | None]
    take: Callable[[Any], None]
    needs: Iterable[Hashable] = ()
    gives: Iterable[Hashable] = ()
    long: bool = False


def work_off(tasks: Sequence[Pending], runner: Executor) -> None:
    """Do all tasks; what an executor raises is raised once the results that it handed over were taken."""
    work = _Work(tasks, runner)
    for position, result in runner.run(work.jobs()):
        work.take(position, result)


@dataclass
class _Work:
    tasks: Sequence[Pending]
    runner: Executor
    begun: list[int] = field(default_factory=list)
    taken: int = 0

    def __post_init__(self) -> None:
        makers = {what: number for number, task in enumerate(self.tasks) for what in task.gives}
        self.graph = TopologicalSorter[int](
            {number: {makers[what] for what in task.needs if what in makers} for number, task in enumerate(self.tasks)}
        )
        self.graph.prepare()
        self.ready: list[tuple[tuple[int, ...], int]] = []

    def jobs(self) -> Iterator[Job[Any] | None]:
        """Yield jobs as the executor has slots for them; see `Executor.run`."""
        while self.graph.is_active():
            for number in self.graph.get_ready():
                heappush(self.ready, (self.tasks[number].rank, number))
            if not self._may_begin():
                yield None
                continue
            _, number = heappop(self.ready)
            job = self.tasks[number].make()
            if job is None:
                self.graph.done(number)
                continue
            self.begun.append(number)
            yield job

    def _may_begin(self) -> bool:
        if not self.ready:
            return False
        # One short job waits at hand, so that no slot is idle while a result is stored.
        spare = 0 if self.tasks[self.ready[0][1]].long else 1
        return len(self.begun) - self.taken < max(self.runner.slots, 1) + spare

    def take(self, position: int, result: Any) -> None:
        """Take a job's result."""
        number = self.begun[position]
        self.tasks[number].take(result)
        self.taken += 1
        self.graph.done(number)
