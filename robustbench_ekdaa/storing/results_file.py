"""`results.sqlite` as a file: made, opened, brought to today's format, and held by one writer at a time.

While a command writes, the file is in WAL mode, so that others can read; once it is done, the file is one plain file
again, which can be read from anywhere and copied.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from ..errors import UsageError, WorkFailed
from ..files import shown_path, tidy, whole_file
from ..progress import Progress
from ..text import one_line
from .earlier_formats import EARLIER, lay_out_earlier, put_aside
from .layout import APPLICATION, TABLES, VERSION
from .sealed import Damaged, SealedTables

SIDECARS = ("-wal", "-shm", "-journal")  # what SQLite may put beside a file
REMEDY = "put a copy in its place, or move it away and run the same sweep again; trained models are kept."
PATIENCE = 600  # seconds to wait for a command that reads

# -- opening ---------------------------------------------------------------------------------------------------------


@contextmanager
def opened_to_read(run: Path) -> Iterator[SealedTables]:
    """Open a run folder's results as they are at this instant; nothing is written, not even by SQLite.

    Raises:
        UsageError: when there are none, or they cannot be read.
    """
    path = run / "results.sqlite"
    with clear_store_errors(path):
        if not path.is_file() or (found := _snapshot(_real(path))) is None:
            raise UsageError(
                f"{shown_path(run)}: no results here. Give the folder that `robustbench-ekdaa sweep --run` wrote."
            )
    database, temporary = found
    with closing(database):
        tables = SealedTables(database, TABLES)
        tables.temporary = temporary
        yield tables


@contextmanager
def opened_to_write(
    run: Path, progress: Progress, check: Callable[[SealedTables], object], *, patient: bool = True
) -> Iterator[SealedTables]:
    """Make a run folder's results, or open what is there; waits while another command writes to them.

    Args:
        run: the run folder.
        progress: is told of the waiting.
        check: reads all of a store of an earlier format before it is brought to today's.
        patient: whether to wait.

    Raises:
        UsageError: for a folder that cannot be used, or results that are damaged or not ours.
        WorkFailed: for a full disk.
    """
    path = run / "results.sqlite"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / ".lock", mode=0o666 & ~_umask())
        _wait_for(lock, run, progress, patient=patient)
    except (OSError, ValueError) as error:
        message = f"{shown_path(run)}: cannot be used as a run folder ({_reason(error)})."
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise WorkFailed(f"{message} Free some space and run the same command again.") from None
        raise UsageError(f"{message} Choose another --run folder.") from None
    try:
        with clear_store_errors(path, writing=True):
            database = _writable(path, check)
        with closing(database):
            try:
                yield SealedTables(database, TABLES)
            finally:
                _leave(database)
    finally:
        lock.release()


def _wait_for(lock: FileLock, run: Path, progress: Progress, *, patient: bool) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not patient:
            raise UsageError(f"{shown_path(run)}: another command works in this folder") from None
        progress.line(f"{shown_path(run)}: another command works in this folder; waiting until it has finished")
        lock.acquire(poll_interval=0.2)


def is_written_to(run: Path) -> bool:
    """Whether a command, this one or another, holds a run folder to write to it; nothing is changed."""
    if fcntl is None:  # where a lock can only be told by taking it
        lock = FileLock(run / ".lock")
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True
    try:
        handle = os.open(run / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def clear_store_errors(path: Path, *, writing: bool = False) -> Iterator[None]:
    """Turn what reading and writing can raise into one line that names the file."""
    where = shown_path(path)
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        if "decode to UTF-8" in str(error):  # flipped bits in a text
            raise _damaged(where, error) from None
        if writing:
            raise WorkFailed(
                f"{where}: could not be written ({_reason(error)}); everything stored before is kept. "
                "Run the same command again to go on."
            ) from None
        raise UsageError(
            f"{where}: cannot be read ({_reason(error)}); nothing was changed. If it stays so, {REMEDY}"
        ) from None
    except MemoryError:
        raise WorkFailed(
            f"{where}: could not be read or written for want of memory; nothing was changed. "
            f"If more does not help, it is damaged: {REMEDY}"
        ) from None
    except (sqlite3.Error, zlib.error, ValueError, RecursionError) as error:
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception) -> UsageError:
    return UsageError(f"{where}: is damaged ({_reason(error)}); nothing was changed. What helps: {REMEDY}")


def _reason(error: Exception) -> str:
    """Return what an error says, in a few words: a damaged file's bytes may be among them."""
    return one_line(getattr(error, "strerror", None) or error)[:200] or type(error).__name__


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _connect(path: Path, options: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None, timeout=PATIENCE)
    try:
        database.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        database.close()
        raise
    return database


# -- reading ---------------------------------------------------------------------------------------------------------


def _snapshot(path: Path) -> tuple[sqlite3.Connection, bool] | None:
    """Return a connection that sees one state of the file, in today's format, and whether it is to a private copy.

    None if nothing was ever stored.
    """
    database, temporary = _connect_to_read(path)
    try:
        version = _version(database, path)
        if version is None:
            database.close()
            return None
        if version != VERSION:
            database, temporary = _copied(database), True
            _upgrade(database, version, check=lambda tables: None)
        return database, temporary
    except BaseException:
        database.close()
        raise


def _connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a file to read, or a private copy of it where nothing can be written beside it."""
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[18:] == b"\x02\x02"
    beside = [suffix for suffix in SIDECARS if path.with_name(path.name + suffix).exists()]
    # SQLite wants to make files beside one that is in WAL mode, unless told that nobody writes to it.
    alone = in_wal_mode and "-wal" not in beside
    try:
        database = _connect(path, "mode=ro&immutable=1" if alone else "mode=ro")
        with _closed_on_error(database):
            database.execute("BEGIN")
            _schema(database)
        return database, False
    except sqlite3.OperationalError:
        if not beside:
            raise
    # A killed command left what SQLite would first have to put in order, and cannot here.
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", *beside):
            shutil.copyfile(path.with_name(path.name + suffix), Path(folder) / f"copy{suffix}")
        (Path(folder) / "copy-shm").unlink(missing_ok=True)
        return _copied(_connect(Path(folder) / "copy", "mode=rw")), True


def _copied(database: sqlite3.Connection) -> sqlite3.Connection:
    """Return a private copy, of which SQLite keeps in memory what fits; the other is closed."""
    copy = sqlite3.connect("", isolation_level=None)
    with _closed_on_error(copy), closing(database):
        database.backup(copy)
    return copy


@contextmanager
def _closed_on_error(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


# -- writing ---------------------------------------------------------------------------------------------------------


def _writable(path: Path, check: Callable[[SealedTables], object]) -> sqlite3.Connection:
    path = _real(path)
    tidy(path.parent)  # what is left of a creation that was killed
    if path.exists() and not path.is_file():
        raise UsageError(f"{shown_path(path)}: is not a regular file. Choose another --run folder.")
    if _is_new(path):
        _create(path)
    database = _connect(path, "mode=rw")
    with _closed_on_error(database):
        if (version := _version(database, path)) not in (None, VERSION):
            _upgrade(database, version, check)
            with suppress(sqlite3.OperationalError):  # to be half as large is not worth a failure
                database.execute("VACUUM")
        with suppress(sqlite3.OperationalError):  # another process reads it just now: go on without WAL
            database.execute("PRAGMA journal_mode = WAL")
    return database


def _is_new(path: Path) -> bool:
    """Whether nothing was ever stored in a file: it is not there, or its creation was cut short."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with closing(_connect(path, "mode=rw")) as database:
        return _version(database, path) is None


def _create(path: Path) -> None:
    """Make a file that holds no results yet: whole or not at all."""
    with whole_file(path) as draft:
        with closing(_connect(draft, "mode=rw")) as database:
            database.execute("BEGIN")
            SealedTables.lay_out(database, TABLES)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
        for leftover in SIDECARS:  # of a creation that was cut short in an early release
            path.with_name(path.name + leftover).unlink(missing_ok=True)


def keep_in_one_file(database: sqlite3.Connection) -> None:
    """Bring all that was committed into the file itself, so that a copy of it alone holds it."""
    with suppress(sqlite3.OperationalError):  # it is safe where it is, too
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _leave(database: sqlite3.Connection) -> None:
    """Make one plain file of it again; if somebody reads just now, it stays as it is."""
    with suppress(sqlite3.Error):
        database.execute("PRAGMA busy_timeout = 1000")
        database.execute("PRAGMA journal_mode = DELETE")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def verified_rows(tables: SealedTables) -> tuple[int, list[str]]:
    """Read every row of every table; return how many are as they were written, and what is wrong, by table."""
    count, faults = 0, []
    for name in tables.tables:
        try:
            count += sum(1 for _ in tables.rows(name))
        except (sqlite3.Error, OSError, ValueError, MemoryError) as error:
            faults.append(f"{name}: {_reason(error)}")
    with suppress(sqlite3.Error):
        found = [str(what) for (what,) in tables.database.execute("PRAGMA integrity_check(3)")]
        faults += [f"SQLite: {one_line(what)[:200]}" for what in found if what != "ok"]
    return count, faults


# -- formats ---------------------------------------------------------------------------------------------------------


def _version(database: sqlite3.Connection, path: Path) -> int | None:
    """Return a store's format; None for a file in which nothing was ever stored.

    Raises:
        UsageError: for a file that is no store, or of a format of another release.
        Damaged: for a store whose tables are not those of its format.
    """
    where = shown_path(path.parent)
    schema = _schema(database)
    if schema is not None:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if application == 0 and pages == 1 and not schema:
            return None
    if schema is None or application != APPLICATION:
        raise UsageError(
            f"{where}: {path.name} is not a results store of this tool (or is damaged); nothing was changed. "
            "Choose another --run folder."
        )
    if version not in (*EARLIER, VERSION):
        raise UsageError(
            f"{where}: {path.name} has format {version}, this release reads 1 to {VERSION}. "
            "Use the release that wrote it, or another --run folder."
        )
    if schema != _schema_of(version):
        raise Damaged("its tables are not those of a store")
    return int(version)


def _schema(database: sqlite3.Connection) -> list[tuple[str, ...]] | None:
    """Return the statements that made what is in a file; None for one that is no database, or beyond reading."""
    try:
        return database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return None


@lru_cache
def _schema_of(version: int) -> list[tuple[str, ...]] | None:
    with closing(sqlite3.connect(":memory:")) as database:
        if version in EARLIER:
            lay_out_earlier(database, version)
        else:
            SealedTables.lay_out(database, TABLES)
        return _schema(database)


def _upgrade(database: sqlite3.Connection, version: int, check: Callable[[SealedTables], object]) -> None:
    """Bring a store of an earlier format to today's, in one transaction."""
    ((verdict,), *_) = database.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise Damaged(verdict)
    tables = SealedTables(database, TABLES)
    tables.temporary = True
    database.execute("BEGIN IMMEDIATE")
    try:
        with put_aside(database, version) as earlier:
            SealedTables.lay_out(database, TABLES)
            with tables.filling():
                earlier.copy_to(tables)
        check(tables)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")
