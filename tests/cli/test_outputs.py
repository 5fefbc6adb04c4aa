"""Where commands write: never in a run folder, never in the place of what is no file."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ..support.command_line import PROGRAM

RELEASE = Path(__file__).parents[1] / "scoring" / "first_release"


@pytest.fixture
def run(cli, tmp_path):
    """A run folder of the first release, at runs/a; and links to it and into it."""
    shutil.copytree(RELEASE / "run", tmp_path / "runs" / "a")
    (tmp_path / "link").symlink_to("runs/a")
    (tmp_path / "store.csv").symlink_to("runs/a/results.sqlite")
    return cli


def content(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    return {path: os.readlink(path) if path.is_symlink() else path.read_bytes() for path in files}


CHECKPOINT = next((RELEASE / "run" / "checkpoints").iterdir()).name


@pytest.mark.parametrize(
    "command",
    [
        "export runs/a --out runs/a/results.sqlite",
        f"export runs/a --out runs/a/checkpoints/{CHECKPOINT}",
        "export runs/a --out runs/a/rows.csv",
        "export runs/a --out runs/a/new/rows.csv --format json",
        "export runs/a --out runs/a/checkpoints/../rows.csv --format parquet",
        "export runs/a --out link/rows.csv",
        "export runs/a --out store.csv",
        "report runs/a --out runs/a",
        "report runs/a --out runs/a/report",
        "report runs/a --out link/report",
        "quickstart --out runs/a",
        "quickstart --out runs/a/quickstart",
        "init runs/a/mine",
    ],
)
def test_nothing_but_trainings_and_sweeps_writes_in_a_run_folder(run, tmp_path, command):
    before = content(tmp_path)
    code, printed, error = run(command)
    assert (code, printed) == (2, "")
    assert "lies in the run folder" in error
    assert error.count("\n") == 1
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "form", ["csv", pytest.param("json", marks=pytest.mark.slow), pytest.param("parquet", marks=pytest.mark.slow)]
)
def test_a_hyphen_exports_to_standard_output_what_a_file_would_hold(run, form):
    code, _, error = run(f"export runs/a --format {form} --out rows")
    assert code == 0, error
    told = subprocess.run(
        [*PROGRAM, "export", "runs/a", "--format", form, "--out", "-"], capture_output=True, check=True
    )
    assert told.stdout == Path("rows").read_bytes()
    assert told.stderr.endswith(b" rows\n")
    assert not Path("-").exists()


@pytest.mark.parametrize("out", ["pipe", "to_pipe", "folder"])
def test_an_export_leaves_pipes_and_folders_what_they_are(run, tmp_path, out):
    """As it did not with /dev/stdout, a link to a pipe."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    code, _, error = run(f"export runs/a --out {out}")
    assert code == 2
    assert error.startswith(f"error: {out}: could not be written (is a ")
    assert "Choose another --out, or - for standard output" in error
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "to_pipe").is_symlink()


def test_an_export_through_a_link_replaces_what_it_points_to(run, tmp_path):
    (tmp_path / "rows.csv").symlink_to("there.csv")
    assert run("export runs/a --out rows.csv")[0] == 0
    assert (tmp_path / "rows.csv").is_symlink()
    assert (tmp_path / "there.csv").read_text().startswith("dataset,")


def test_a_command_that_writes_to_a_run_tidies_what_killed_ones_left(run, tmp_path):
    shutil.copytree(RELEASE / "models", tmp_path / "models")
    left = [
        tmp_path / "runs" / "a" / folder / f".robustbench-ekdaa.{'0' * 16}.tmp" for folder in ("logs", "adversarial")
    ]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "file").touch()
    code, _, error = run("train quick_bp --dataset digits --seeds 1 --run runs/a --workers 1")
    assert code == 0, error
    assert not any(folder.exists() for folder in left)
