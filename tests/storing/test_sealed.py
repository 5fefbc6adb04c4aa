"""Sealed tables: rows come back as they were put, in that order, and a lost or changed one is noticed."""

import hashlib
import sqlite3
from contextlib import closing

import pytest

from robustbench_ekdaa.storing.sealed import Damaged, SealedTables, Table

TABLES = {
    "cells": Table(("part TEXT", "name TEXT", "value REAL", "note TEXT NULL"), key=2, part=1),
    "log": Table(("line TEXT",)),
}
ROWS = [("p", "a", 1.0, None), ("q", "a", 2.0, "x"), ("p", "b", 3.0, "y")]


@pytest.fixture
def sealed():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        SealedTables.lay_out(database, TABLES)
        tables = SealedTables(database, TABLES)
        with tables.transaction():
            for row in ROWS:
                tables.put("cells", *row)
            tables.put("log", "one")
            tables.put("log", "one")
        yield tables


def test_rows_come_back_as_they_were_put_whole_or_by_part_or_by_key(sealed):
    assert list(sealed.rows("cells")) == ROWS
    assert list(sealed.rows("cells", "p")) == [ROWS[0], ROWS[2]]
    assert sorted(sealed.keys("cells")) == [("p", "a"), ("p", "b"), ("q", "a")]
    assert sorted(sealed.keys("cells", "q")) == [("q", "a")]
    assert list(sealed.rows("cells", "r")) == []
    assert sealed.row("cells", "q", "a") == ROWS[1]
    assert sealed.row("cells", "q", "b") is None
    assert [sealed.count("cells", part) for part in "pqr"] == [2, 1, 0]
    assert list(sealed.rows("log")) == [("one",), ("one",)]
    assert sealed.count("log") == 2


def test_a_row_put_again_takes_the_others_place_and_is_the_newest(sealed):
    with sealed.transaction():
        sealed.put("cells", "p", "a", 9.0, None)
    assert list(sealed.rows("cells")) == [*ROWS[1:], ("p", "a", 9.0, None)]
    assert sealed.count("cells", "p") == 2


def put_a_right_one_and_a_wrong_one(sealed):
    with sealed.transaction():
        sealed.put("cells", "p", "c", 4.0, None)
        sealed.put("cells", "p", "d", "no number", None)


def test_what_fails_in_the_middle_leaves_nothing(sealed):
    with pytest.raises(Damaged):
        put_a_right_one_and_a_wrong_one(sealed)
    assert list(sealed.rows("cells")) == ROWS
    assert not sealed.database.in_transaction
    with sealed.transaction():
        sealed.put("cells", "p", "c", 4.0, None)
    assert sealed.count("cells", "p") == 3


@pytest.mark.parametrize(
    "wrong", [("p", "c", 1, None), ("p", "c", None, None), (b"p", "c", 1.0, None), ("p", "c", 1.0, 2)]
)
def test_a_value_of_another_type_is_not_written(sealed, wrong):
    with pytest.raises(Damaged, match="row 4 of cells holds"), sealed.transaction():
        sealed.put("cells", *wrong)
    assert list(sealed.rows("cells")) == ROWS


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE cells SET value = 2.5 WHERE number = 2", "row 2 of cells does not fit its digest"),
        ("UPDATE cells SET note = '' WHERE number = 1", "row 1 of cells does not fit its digest"),
        ("UPDATE cells SET number = 7 WHERE number = 3", "row 7 of cells does not fit its digest"),
        ("DELETE FROM cells WHERE number = 2", "cells has 2 rows where 3 were written"),
        ("UPDATE ledger SET tallies = '{}'", "its ledger does not fit its digest"),
        ("DELETE FROM ledger", "ledger has 0 rows where 1 was written"),
        ("INSERT INTO ledger VALUES (2, '{}', x'00')", "ledger has 2 rows where 1 was written"),
    ],
)
def test_whatever_is_changed_behind_the_seals_is_noticed(sealed, statement, message):
    sealed.database.execute(statement)
    with pytest.raises(Damaged, match=message):
        list(sealed.rows("cells"))


def test_keys_alone_tell_a_row_that_was_put_for_another(sealed):
    sealed.database.execute("UPDATE cells SET name = 'c' WHERE number = 3")
    for part in ((), ("p",)):
        with pytest.raises(Damaged, match="cells has other rows than were written"):
            list(sealed.keys("cells", *part))
    assert list(sealed.keys("cells", "q")) == [("q", "a")]  # a part is read by itself
    sealed.database.execute("DELETE FROM cells WHERE part = 'q'")
    with pytest.raises(Damaged, match="cells has 0 rows where 1 were written"):
        list(sealed.keys("cells", "q"))
    with pytest.raises(Damaged, match="row 3 of cells does not fit its digest"):
        sealed.row("cells", "p", "c")


def test_a_digest_is_the_first_sixteen_bytes_of_what_a_row_holds(sealed):
    """Stores that were written by other versions are read by this rule."""
    whole = ascii(("cells", 2, *ROWS[1])).encode()
    assert TABLES["cells"].seal("cells", 2, ROWS[1]) == hashlib.sha256(whole).digest()[:16]
