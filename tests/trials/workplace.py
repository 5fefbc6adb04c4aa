"""A folder with cards so small that a sweep takes a fraction of a second, and what is expected of commands there."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open

from .tool import NOBODY, USUAL, Ended, How, Tool

CARD = """
kind = "model"
name = "{name}"
rule = "{rule}"
[network]
blocks = [{{ layer = "conv", width = 2, pool = "max" }}]
[training.default]
epochs = {epochs}
batch_size = 64
learning_rate = 0.2
{more}
"""
PAUSING = """
import os, time
from robustbench_ekdaa import rules

class Pausing(rules.HiddenErrorRule):
    def create_feedback(self, network, generator):
        self.B = rules.random_projections(network, generator)

    def signal(self, l, error, labels, above, delta):
        return error @ self.B[l]

    def after_step(self):
        super().after_step()
        time.sleep(float(os.environ.get("PAUSE", 0)))
"""
SWEEP = (
    "sweep --dataset digits --models bp,ek --seeds 1 --images 30 "
    "--attacks fgsm,noise --epsilons 0.1,0.2 --save-images --workers 1 --run"
)


class Workplace(Tool):
    """A folder of one's own for a trial: a workspace with a run folder ``run``."""

    def __init__(self, base: Path) -> None:
        super().__init__(base / "here")
        self.folder.mkdir(parents=True)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def write_card(self, name: str, rule: str, *, epochs: int = 1, more: str = "") -> None:
        path = self.folder / "models" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(CARD.format(name=name, rule=rule, epochs=epochs, more=more))

    def write_pausing_card(self, *, epochs: int, more: str = "") -> None:
        """Write the card of a model whose training pauses after each step for $PAUSE seconds."""
        self.write_card("pausing", "pausing.py:Pausing", epochs=epochs, more=more)
        (self.folder / "models" / "pausing.py").write_text(PAUSING)

    def copy_to(self, base: Path) -> Workplace:
        """Return the same workplace elsewhere."""
        copy = Workplace(base)
        shutil.copytree(self.folder, copy.folder, symlinks=True, dirs_exist_ok=True)
        return copy

    def give_to_nobody(self) -> None:
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def clean(self, command: str | list[str], how: How = USUAL) -> Ended:
        """Run a command and hold it to what every command promises."""
        return proper(self(command, how))

    def fine(self, command: str | list[str], how: How = USUAL) -> Ended:
        """Run a command that must succeed."""
        ended = self.clean(command, how)
        assert ended.code == 0, f"{ended.command}: exit {ended.code}: {ended.complaint}"
        return ended

    def rows(self, run: str = "run") -> list[str]:
        """Export a run that must be readable, and return its rows, sorted."""
        self.fine(f"export {run} --out rows.csv")
        return read_rows(self.folder / "rows.csv")


def proper(ended: Ended) -> Ended:
    """Hold a command to what every command promises: it ends, and either works or says in one line why not."""
    assert ended.code is not None, f"{ended.command}: hangs"
    assert "Traceback" not in ended.err, f"{ended.command}: traceback: {ended.err.splitlines()[-1]}"
    assert "fault of the tool" not in ended.err, f"{ended.command}: {ended.complaint}"
    assert ended.code in (0, 1, 2), f"{ended.command}: exit code {ended.code}: {ended.err[-300:]}"
    assert ended.code == 0 or ended.complaint, (
        f"{ended.command}: exit {ended.code} without a reason: {ended.err[-300:]}"
    )
    assert len(re.findall("^error: ", ended.err, re.MULTILINE)) <= 1, (
        f"{ended.command}: says more than one thing: {ended.err}"
    )
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", ended.out + ended.err), (
        f"{ended.command}: control characters"
    )
    return ended


def read_rows(path: Path) -> list[str]:
    """Return the rows of an exported table, sorted, as text."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return sorted("\t".join(row) for row in frame.itertuples(index=False))


def read_tensors(path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a file whose names begin so."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118


def same_tensors(one: Path, other: Path, prefix: str = "") -> bool:
    """Whether two files hold the same tensors to the bit."""
    first, second = read_tensors(one, prefix), read_tensors(other, prefix)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].contiguous().numpy().tobytes() == second[name].contiguous().numpy().tobytes()
        for name in first
    )


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a training's log without what differs from run to run, its times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


def files_of(folder: Path) -> list[str]:
    """Return the paths of everything in a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@dataclass(frozen=True)
class Undisturbed:
    """What a sweep leaves that nothing disturbed."""

    run: Path
    rows: list[str]

    def held_by(self, place: Workplace, run: str = "run") -> None:
        """Hold a run to it: equal rows, networks and images to the bit, and no other files."""
        assert place.rows(run) == self.rows, "other rows than those of an undisturbed run"
        folder = place.folder / run
        assert files_of(folder) == files_of(self.run), "other files than those of an undisturbed run"
        for path in self.run.rglob("*.safetensors"):
            assert same_tensors(folder / path.relative_to(self.run), path), f"{path.name}: other tensors"
        for path in self.run.rglob("*.jsonl"):
            assert read_log(folder / path.relative_to(self.run)) == read_log(path), f"{path.name}: another log"

    def reached_by(self, place: Workplace, command: str) -> None:
        """Read what a disturbed run holds, finish it with its command, and hold it to this."""
        place.clean("export run --out early.csv")
        place.fine(command)
        self.held_by(place)
