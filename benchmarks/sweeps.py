"""Wall time and memory of whole commands, by this checkout and by another, in turn.

    git worktree add ../before REVISION
    python benchmarks/sweeps.py --before ../before

Commands: the quickstart; a sweep of three cards and three seeds by the quickstart's attacks on 1,000 images of
CIFAR-10, and the same on Fashion-MNIST, whose models were trained before (one epoch: passes cost the same) and are
copied for every round. Prints, per command, seconds and peak memory of all processes together (shared pages once), and
the median of the ratios of neighbours, before by now.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

RULES = ("backprop", "ekdaa", "kolen_pollack")
CARD = """kind = "model"
name = "quick_{0}"
rule = "{0}"
[network]
preset = "small_cnn"
[training.default]
epochs = 1
learning_rate = 0.01
"""
SWEEP = ["--models", ",".join(f"quick_{rule}" for rule in RULES), "--attacks", "fgsm,bim,pgd,mi_fgsm,noise"]
SWEEP += ["--epsilons", "0:0.4:0.05", "--seeds", "3"]
HERE = Path(__file__).resolve().parent.parent
START = "import sys; from robustbench_ekdaa.cli import main; sys.argv[0] = 'robustbench-ekdaa'; main()"


def command(checkout: Path, words: Sequence[str], folder: Path) -> tuple[float, int]:
    """Run a command of a checkout in a folder; return its seconds and the peak of its processes' memory in bytes."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    started, peak = time.perf_counter(), 0
    with open(folder / "log.txt", "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START, *words], cwd=folder, env=environment, stdout=log, stderr=log
        )
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_memory, family(process.pid))))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: failed: {(folder / 'log.txt').read_text().splitlines()[-1:]}")
    return time.perf_counter() - started, peak


def family(process: int) -> list[int]:
    """Return a process and all that it, or they, have started."""
    children = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(status.read_text().rpartition(")")[2].split()[1])].append(int(status.parent.name))
        except OSError:  # it has ended
            continue
    found = [process]
    for one in found:
        found += children[one]
    return found


def proportional_memory(process: int) -> int:
    """Return the bytes of a process; of pages that several have, its share."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def prepared(dataset: str, place: Path) -> Path:
    """Return a folder with a run in which all models are trained."""
    folder = place / f"trained_{dataset}"
    (folder / "models").mkdir(parents=True)
    for rule in RULES:
        (folder / "models" / f"quick_{rule}.toml").write_text(CARD.format(rule))
    names = [f"quick_{rule}" for rule in RULES]
    command(HERE, ["train", *names, "--dataset", dataset, "--seeds", "3", "--run", "run"], folder)
    return folder


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", default="1000")
    parser.add_argument("--only", choices=("quickstart", "cifar10", "fashion_mnist"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given, Path(folder))


def measure(given: argparse.Namespace, place: Path) -> None:
    """Run the commands in turn in a folder, and print the table."""
    print("| command | before | now | before / now | memory before | memory now |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in (given.only,) if given.only else ("quickstart", "cifar10", "fashion_mnist"):
        start = place / "empty" if name == "quickstart" else prepared(name, place)
        start.mkdir(exist_ok=True)
        words = (
            ["quickstart"]
            if name == "quickstart"
            else ["sweep", "--dataset", name, *SWEEP, "--images", given.images, "--run", "run"]
        )
        told: dict[Path, list[tuple[float, int]]] = {given.before.resolve(): [], HERE: []}
        for turn in range(given.rounds):
            for number, (checkout, measured) in enumerate(told.items()):
                folder = shutil.copytree(start, place / f"{name}_{turn}_{number}")
                measured.append(command(checkout, words, folder))
                shutil.rmtree(folder)
        before, now = told.values()
        ratio = statistics.median(one[0] / other[0] for one, other in zip(before, now, strict=True))
        seconds = [f"{statistics.median(one[0] for one in some):.1f} s" for some in (before, now)]
        memory = [f"{max(one[1] for one in some) / 1024**3:.2f} GiB" for some in (before, now)]
        print(f"| {name} |", " | ".join([*seconds, f"{ratio:.2f}", *memory]), "|", flush=True)


if __name__ == "__main__":
    main()
