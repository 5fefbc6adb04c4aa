"""Where data sets lie on this computer: the data folder, and one archive in it per data set."""

from __future__ import annotations

import os
from pathlib import Path

from ..cards import NAME
from ..errors import UsageError

VARIABLE = "ROBUSTBENCH_EKDAA_DATA"


def data_folder() -> Path:
    """Return ``$ROBUSTBENCH_EKDAA_DATA``, or ``data`` in the user's cache folder; it need not exist."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("robustbench-ekdaa")) / "data"


def archive_path(name: str) -> Path:
    """Return where the archive of the data set ``name`` lies or would lie.

    Raises:
        UsageError: when ``name`` is not a plain name; a path such as ``../x`` never leads out of the folder.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"data set name {name!r}: must be letters, digits, '_', '-', '+' or '.', starting with a letter or digit"
        )
    return data_folder() / f"{name}.npz"


def imported_names() -> list[str]:
    """Return the names of all archives in the data folder, sorted."""
    return sorted(path.stem for path in data_folder().glob("*.npz") if NAME.fullmatch(path.stem))
