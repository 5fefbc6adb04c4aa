"""The files of a new workspace: an example of a learning rule, an attack, a suite and a sweep, ready to run."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError
from ..files import clear_errors, refuse_run_folder, shown_path

FILES = (
    "README.md",
    "sweep.toml",
    "models/my_rule.py",
    "models/my_rule.toml",
    "attacks/my_attack.toml",
    "attacks/suites/my_suite.toml",
)
ROOMS = ("models", "attacks", "attacks/suites", "reports")


def create_workspace(folder: Path) -> list[Path]:
    """Copy the template into a new or empty folder and return the paths written.

    If an earlier call was stopped by a full disk or was killed, its files are completed.

    Args:
        folder: the new workspace's folder; it is made if it does not exist.

    Raises:
        UsageError: when the folder holds something else already, or lies in a run folder.
        WorkFailed: when it cannot be written.

    """
    kept = "free some space and run the same command again."
    with clear_errors(folder, kept=kept, misuse="Choose another name."):
        refuse_run_folder(folder, "Choose another name.")
        if folder.exists() and not (folder.is_dir() and _is_begun(folder)):
            raise UsageError(f"{shown_path(folder)}: is not an empty folder; nothing was changed. Choose another name.")
        for name in ROOMS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes(_content(name))
    return [folder / name for name in FILES]


def _is_begun(folder: Path) -> bool:
    """Whether a folder is empty, or holds only a part of the template."""
    whole = 0
    for root, folders, names in os.walk(folder):
        for path in (Path(root) / name for name in (*folders, *names)):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (name in ROOMS if path.is_dir() else name in FILES and path.is_file()):
                return False
            if path.is_file():
                written = path.read_bytes()
                if not _content(name).startswith(written):
                    return False
                whole += written == _content(name)
    return whole < len(FILES)


def _content(name: str) -> bytes:
    return (Path(__file__).parent / name).read_bytes()
