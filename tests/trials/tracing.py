"""What a command asks of the system, and the system's refusals and kills at a chosen call, by strace."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .tool import PATIENCE, Ended, How, Running
from .workplace import Workplace

# The calls that change files; x86 has older names for some that other machines lack.
CALLS = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,"
    "write,pwrite64,writev,ftruncate,fallocate,fsync,fdatasync,chmod,fchmod,fchmodat,flock"
)
READS = re.compile(r"open(at)?\((?!.*(O_CREAT|O_TRUNC))|= -1 E")


@dataclass(frozen=True)
class Call:
    """The ``number``-th call of a name that a process makes, counted from 1."""

    name: str
    number: int
    shown: str


def traced(place: Workplace, command: str, log: Path, *options: str) -> Ended:
    """Run a command under strace from its first instant on; skips the test where that cannot be."""
    running, tracer = start_traced(place, command, log, *options)
    ended = running.wait()
    tracer.communicate(timeout=PATIENCE)
    return ended


def start_traced(place: Workplace, command: str, log: Path, *options: str) -> tuple[Running, subprocess.Popen[str]]:
    """Start a command under strace, and return both."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    running = place.start(command, How(stopped=True))
    running.until("T")
    calls = "trace=" + ",".join(f"?{name}" for name in CALLS.split(","))
    arguments = ["-f", "-y", "-s", "0", "-e", calls, *options, "-o", str(log), "-p", str(running.pid)]
    tracer = subprocess.Popen(["strace", *arguments], stderr=subprocess.PIPE, text=True)
    message = tracer.stderr.readline()
    if "attached" not in message:
        running.kill()
        running.wait()
        pytest.skip(f"strace is not allowed here: {message}")
    running.go_on("t")
    return running, tracer


def changing_calls(place: Workplace, command: str, log: Path) -> list[list[Call]]:
    """Return the calls by which a command changes its workplace, in order; those that do the same to one file together.

    Paths in the command must be absolute, as strace shows some as they are given.
    """
    ended = traced(place, command, log)
    assert ended.code == 0, ended.err
    counts: dict[str, int] = {}
    groups: dict[tuple[str, str, int], list[Call]] = {}
    for line in log.read_text(errors="replace").splitlines():
        if (match := re.match(r"\d+ +(\w+)\(", line)) is None:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        if (path := re.search(re.escape(str(place.folder)) + r"[^>\"]*", line)) and not READS.search(line):
            last = next(reversed(groups), ("", "", 0))
            same = (name, path[0]) == last[:2]
            groups.setdefault(last if same else (name, path[0], len(groups)), []).append(
                Call(name, counts[name], line.replace(f"{place.folder}/", ""))
            )
    return list(groups.values())


def chosen(groups: list[list[Call]], trial: int, rounds: int) -> Call:
    """Return one call of the groups; the trials are spread over all groups."""
    draw = random.Random(trial)
    return draw.choice(groups[int(len(groups) * (trial + draw.random()) / rounds)])
