"""The files of a new workspace: a learning rule, an attack and a sweep of one's own, ready to run."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import UsageError, WorkFailed

FILES = ("README.md", "sweep.toml", "models/my_rule.py", "models/my_rule.toml", "attacks/my_attack.toml")


def create_workspace(folder: Path) -> list[Path]:
    """Copy the template into a new or empty folder and return the paths written.

    Raises:
        UsageError: when the folder holds something already.
        WorkFailed: when it cannot be written.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder; nothing was changed. Choose another name.")
    source = Path(__file__).parent
    try:
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        (folder / "reports").mkdir()
    except OSError as error:
        raise WorkFailed(f"{folder}: could not be written ({error.strerror})") from None
    return [folder / name for name in FILES]
