"""A new workspace: whole, or begun and then completed; never in the place of something else."""

from __future__ import annotations

import pytest

from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.template import FILES, create_workspace

from .support.full_disk import no_file_larger_than


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def whole(tmp_path):
    create_workspace(tmp_path / "whole")
    return content(tmp_path / "whole")


@pytest.mark.parametrize("size", [0, 10, 500])
def test_what_a_full_disk_left_is_completed_by_the_same_command(tmp_path, whole, size):
    assert set(whole) == set(FILES)
    with no_file_larger_than(size), pytest.raises(WorkFailed, match="run the same command again"):
        create_workspace(tmp_path / "new")
    assert content(tmp_path / "new") != whole
    create_workspace(tmp_path / "new")
    assert content(tmp_path / "new") == whole


@pytest.mark.parametrize(
    "hold",
    [
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "README.md").write_text("mine"),
        lambda folder: (folder / "mine").mkdir(),
        lambda folder: (folder / "models").symlink_to(folder),
        lambda folder: (folder / "sweep.toml").symlink_to("nowhere"),
        create_workspace,
    ],
)
def test_a_folder_that_holds_anything_else_or_a_whole_workspace_is_refused(tmp_path, hold):
    (tmp_path / "new").mkdir()
    hold(tmp_path / "new")
    before = sorted(path for path in tmp_path.rglob("*")), content(tmp_path)
    with pytest.raises(UsageError, match="is not an empty folder; nothing was changed"):
        create_workspace(tmp_path / "new")
    assert (sorted(path for path in tmp_path.rglob("*")), content(tmp_path)) == before


def test_no_workspace_is_made_in_a_run_folder_or_in_the_place_of_a_file(tmp_path):
    (tmp_path / "results.sqlite").write_text("everything")
    with pytest.raises(UsageError, match=r"run folder .* Choose another name\."):
        create_workspace(tmp_path / "new")
    (tmp_path / "results.sqlite").rename(tmp_path / "file")
    for place in ("file", "file/new"):
        with pytest.raises(UsageError) as told:
            create_workspace(tmp_path / place)
        assert "\n" not in str(told.value)
    assert (tmp_path / "file").read_text() == "everything"
