"""Stores as earlier formats held them."""

import sqlite3
import zlib
from contextlib import closing

import numpy as np

from robustbench_ekdaa.storing.earlier_formats import _LAID_OUT, lay_out_earlier
from robustbench_ekdaa.storing.layout import APPLICATION
from robustbench_ekdaa.storing.sealed import SealedTables
from robustbench_ekdaa.storing.store import open_run


def as_earlier_format(run, folder, version):
    """Write a run of one data set, as it is shown, in format 2 or 3: target by target, the classes zipped."""
    (outcomes,) = open_run(run)
    folder.mkdir()
    with (
        closing(sqlite3.connect(run / "results.sqlite")) as today,
        closing(sqlite3.connect(folder / "results.sqlite", isolation_level=None)) as database,
    ):
        lay_out_earlier(database, version)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {version}")
        tables = SealedTables(database, _LAID_OUT[version])
        with tables.transaction():
            for name, table in _LAID_OUT[version].items():
                if name != "outcomes":
                    for row in today.execute(f"SELECT {', '.join(table.names)} FROM {name} ORDER BY number"):
                        tables.put(name, *row)
            for key, classes in outcomes.clean.items():
                tables.put("outcomes", outcomes.image_set, "", "", 0.0, key, zipped(classes))
            for cell in outcomes.cells:
                place = (outcomes.image_set, cell.surrogate or "", cell.attack, cell.epsilon, cell.target)
                tables.put("outcomes", *place, zipped(cell.predictions))


def zipped(classes):
    return zlib.compress(classes.astype(np.uint8).tobytes())
