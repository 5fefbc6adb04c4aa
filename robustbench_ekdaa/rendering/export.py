"""Writing files so that a failure loses nothing: everything goes to a temporary name first, and is then moved."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ..cards import shown_path
from ..errors import UsageError, WorkFailed, unknown_name


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into one line: WorkFailed for a disk that is full or failing, UsageError for a wrong path."""
    try:
        yield
    except OSError as error:
        message = f"{shown_path(path)}: could not be written ({error.strerror or error})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise WorkFailed(f"{message}; nothing that was there is lost. Free some space and try again.") from None
        raise UsageError(f"{message}; nothing was changed. Choose another --out.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write; it takes the place of `path` only when all went well."""
    with clear_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o666 & ~current_umask())  # mkstemp makes private files
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def current_umask() -> int:
    """Return the process's file mode mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    # Without a float format, pandas writes the shortest digits that read back to the same number.
    frame.to_csv(path, index=False, lineterminator="\n")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _write_json(frame: pd.DataFrame, path: Path) -> None:
    rows = [
        {name: value if _has_json_form(value) else None for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    path.write_text(json.dumps(rows, indent=0, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _has_json_form(value: object) -> bool:
    return value is not pd.NA and not (isinstance(value, float) and not math.isfinite(value))


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "json": _write_json,
}


def export_frame(frame: pd.DataFrame, path: Path | str, form: str = "csv") -> int:
    """Write a frame to one file, and return how many rows it has.

    Args:
        frame: such as `Results.frame()`.
        path: the file; what was there is replaced only once the new one is whole. Folders are made.
        form: "csv", "parquet" or "json" (a list of rows); missing values are
            empty fields or null, and so are infinite ones in JSON.

    Raises:
        UsageError: for an unknown format or a path that cannot be written.
        WorkFailed: for a full disk.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    with replacing(Path(path)) as partial:
        FORMATS[form](frame, partial)
    return len(frame)
