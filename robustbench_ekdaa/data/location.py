"""Where data sets are on this computer: the data folder, with one archive in it per data set."""

from __future__ import annotations

import os
from pathlib import Path

from ..cards import NAME
from ..errors import UsageError, shown
from ..files import shown_path

VARIABLE = "ROBUSTBENCH_EKDAA_DATA"
LONGEST_DATASET_NAME = 100


def data_folder() -> Path:
    """Return ``$ROBUSTBENCH_EKDAA_DATA``, or ``data`` in the user's cache folder; it need not exist."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("robustbench-ekdaa")) / "data"


def archive_path(name: str) -> Path:
    """Return the path of the archive of a data set, which need not exist.

    Args:
        name: the data set's name.

    Raises:
        UsageError: when ``name`` is not a plain name; a path such as ``../x`` never leads out of the folder.
    """
    check_name(name)
    return data_folder() / f"{name}.npz"


def check_name(name: object) -> None:
    """Raise UsageError for what is not a plain name that every file system accepts."""
    if not isinstance(name, str) or not is_plain(name):
        raise UsageError(
            f"data set name {shown(name)}: must be letters, digits, '_', '-', '+' or '.', starting with a letter or "
            f"digit, {LONGEST_DATASET_NAME} at most"
        )


def is_plain(name: str) -> bool:
    """Whether an archive can have this name."""
    return len(name) <= LONGEST_DATASET_NAME and NAME.fullmatch(name) is not None


def imported_names() -> list[str]:
    """Return the names of all archives in the data folder, sorted; none if there is no such folder.

    Raises:
        UsageError: when it cannot be read.
    """
    try:
        files = [entry.name for entry in os.scandir(data_folder())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{shown_path(data_folder())}: the data folder cannot be read ({reason}). "
            f"Make it readable, or name another in ${VARIABLE}."
        ) from None
    return sorted(file[:-4] for file in files if file.endswith(".npz") and is_plain(file[:-4]))
