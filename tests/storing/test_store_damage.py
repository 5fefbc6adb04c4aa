"""Damaged and tampered stores: one clear line, or exactly what was written; never another number, never a hang."""

import random
import re
import sqlite3
import struct
import zlib
from contextlib import closing

import pytest

from robustbench_ekdaa import api
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.storing.layout import TABLES
from robustbench_ekdaa.storing.store import reading, writing

from ..support.first_release import RELEASED, RELEASED_SPEC


@pytest.fixture
def run(released):
    """A run of today's format: a sweep with ensembles, and an import."""
    with writing(released):
        pass
    return released


def everything(run):
    """All that a store says, to be compared."""
    with reading(run) as store:
        outcomes = store.outcomes()
        whole = [store.models(), store.attacks(), store.titles(), store.commands()]
        stored = [sorted(store.stored(key), key=repr) for key in image_sets(run)]
    with_bytes = [
        {name: value.tobytes() if hasattr(value, "tobytes") else value for name, value in vars(one).items()}
        for one in outcomes
    ]
    for facts in with_bytes:
        facts["clean"] = {key: predictions.tolist() for key, predictions in facts["clean"].items()}
        facts["cells"] = [
            (one.surrogate, one.target, one.attack, one.epsilon, one.predictions.tolist()) for one in facts["cells"]
        ]
        facts["examples"] = [
            (one.surrogate, one.attack, one.epsilon, one.images.tobytes()) for one in facts["examples"]
        ]
    return repr((whole, stored, with_bytes))


def image_sets(run):
    with reading(run) as store:
        return sorted(store._image_sets())


def is_clear(error):
    """Whether an error is one line that names the file and says what to do."""
    text = str(error)
    return "results.sqlite" in text and "\n" not in text and len(text) < 700


def look(run, before):
    """Read a store that was changed; return whether that was noticed, and fail if it says something else."""
    try:
        after = everything(run)
    except UsageError as error:
        noticed = error
    else:
        assert after == before
        return False
    assert is_clear(noticed), noticed
    return True


def flip(path, content, place, bit):
    damaged = bytearray(content)
    damaged[place] ^= 1 << bit
    path.write_bytes(damaged)


def check_random_flips(run, count, seed):
    path, draw = run / "results.sqlite", random.Random(seed)
    content, before = path.read_bytes(), everything(run)
    noticed = 0
    for _ in range(count):
        flip(path, content, draw.randrange(len(content)), draw.randrange(8))
        noticed += look(run, before)
    return noticed


def test_no_flipped_bit_changes_what_a_store_says_in_silence(run):
    assert check_random_flips(run, 60, seed=0) > 5  # the others hit what is not used


def test_a_flipped_bit_that_leaves_no_text_is_damage_also_to_a_sweep(run):
    path = run / "results.sqlite"
    content = path.read_bytes()
    flip(path, content, content.index(b'"name"'), 7)
    with pytest.raises(UsageError, match=r"is damaged .*decode to UTF-8.*What helps"):
        api.sweep(RELEASED_SPEC, run, workspace=Workspace(RELEASED))


@pytest.mark.slow
def test_no_flipped_bit_of_a_thousand_changes_what_a_store_says_in_silence(run):
    assert check_random_flips(run, 1000, seed=1) > 100


@pytest.mark.slow
def test_a_sweep_on_a_store_with_a_flipped_bit_says_so_or_ends_with_the_right_rows(run):
    wider = RELEASED_SPEC.model_copy(update={"epsilons": (0.0, 0.1, 0.2, 0.3)})
    path, draw, told = run / "results.sqlite", random.Random(2), 0
    content = path.read_bytes()
    right = api.sweep(wider, run, workspace=Workspace(RELEASED)).frame()
    for _ in range(150):
        flip(path, content, draw.randrange(len(content)), draw.randrange(8))
        try:
            rows = api.sweep(wider, run, workspace=Workspace(RELEASED)).frame()
        except (UsageError, WorkFailed):
            told += 1
        else:
            assert rows.equals(right)
    assert told > 20


def places(content, table, run):
    """Where in a file the values of a table's columns stand, in rows and indices: (column, place, length)."""
    with closing(sqlite3.connect(run / "results.sqlite")) as database:
        rows = database.execute(f"SELECT {', '.join(TABLES[table].names)}, digest FROM {table}").fetchall()
    for row in rows:
        for column, value in zip((*TABLES[table].names, "digest"), row, strict=True):
            if isinstance(value, float):
                value = struct.pack(">d", value)
            elif isinstance(value, str):
                value = value.encode()
            if isinstance(value, bytes) and len(value) > 4:
                yield from (
                    (column, found.start(), len(value)) for found in re.finditer(re.escape(value[:200]), content)
                )


@pytest.mark.parametrize("table", [*TABLES, "ledger"])
def test_a_flip_in_any_column_of_any_table_is_noticed(run, table):
    path, draw = run / "results.sqlite", random.Random(table)
    content, before = path.read_bytes(), everything(run)
    if table == "ledger":
        with closing(sqlite3.connect(path)) as database:
            ((text, digest),) = database.execute("SELECT tallies, digest FROM ledger").fetchall()
        found = {"tallies": [(content.index(text.encode()), len(text))], "digest": [(content.index(digest), 16)]}
    else:
        found = {}
        for column, place, length in places(content, table, run):
            found.setdefault(column, []).append((place, length))
    for column, some in found.items():
        for place, length in draw.sample(some, min(4, len(some))):
            flip(path, content, place + draw.randrange(min(length, 200)), draw.randrange(8))
            # Unused copies of a row, in pages that were freed or in the slack of others, may be hit instead.
            assert look(run, before) or len(some) > 1, column


BOMB = zlib.compress(bytes(300_000_000), 9)
DEEP = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
TAMPERED = {
    "no classes": "UPDATE datasets SET classes = '[]'",
    "classes that are a number": "UPDATE datasets SET classes = '3'",
    "classes that are no JSON": "UPDATE datasets SET classes = 'zero, one'",
    "no data sets": "DELETE FROM datasets",
    "data without a name": "UPDATE datasets SET name = NULL",
    "a title that is bytes": "UPDATE datasets SET title = x'ff00ff'",
    "no images": "DELETE FROM image_sets",
    "images of other data": "UPDATE image_sets SET fingerprint = 'other'",
    "labels that are too short": "UPDATE image_sets SET labels = substr(labels, 9)",
    "labels cut within a number": "UPDATE image_sets SET labels = substr(labels, 4)",
    "labels beyond the classes": "UPDATE image_sets SET labels = replace(labels, x'0000', x'ffff')",
    "no labels": "UPDATE image_sets SET labels = NULL",
    "indices twice": "UPDATE image_sets SET indices = zeroblob(160)",
    "indices that are text": "UPDATE image_sets SET indices = 'many'",
    "a shape of nothing": "UPDATE image_sets SET shape = '[0, 0, 0]'",
    "a shape below nothing": "UPDATE image_sets SET shape = '[-1, 8, 8]'",
    "a shape beyond memory": "UPDATE image_sets SET shape = '[1, 4000000000, 4000000000]'",
    "a shape of words": "UPDATE image_sets SET shape = '{}'",
    "pictures that are no pictures": "UPDATE image_sets SET images = x'00'",
    "pictures beyond memory": ("UPDATE image_sets SET images = ?", BOMB),
    "metrics that are a list": "UPDATE models SET metrics = '[]'",
    "no metrics": "UPDATE models SET metrics = NULL",
    "metrics without end": ("UPDATE models SET metrics = ?", DEEP),
    "a seed that is a word": "UPDATE models SET seed = 'none'",
    "a status of its own": "UPDATE models SET status = 'perfect'",
    "a model without a name": "UPDATE models SET name = NULL",
    "no models of an ensemble": "DELETE FROM models WHERE key IN (SELECT key FROM models LIMIT 1)",
    "no attacks": "DELETE FROM attacks",
    "an attack that is a word": """UPDATE attacks SET card = '"fgsm"'""",
    "an attack without end": ("UPDATE attacks SET card = ?", DEEP),
    "predictions cut short": "UPDATE outcomes SET predictions = substr(predictions, 1, 9)",
    "no predictions": "UPDATE outcomes SET predictions = NULL",
    "predictions that are text": "UPDATE outcomes SET predictions = 'five'",
    "predictions of fewer images": ("UPDATE outcomes SET predictions = ?", zlib.compress(bytes(10))),
    "predictions beyond memory": ("UPDATE outcomes SET predictions = ?", BOMB),
    "predictions beyond the classes": ("UPDATE outcomes SET predictions = ?", zlib.compress(b"\xff" * 40)),
    "answers cut short": "UPDATE outcomes SET right = substr(right, 2)",
    "no answers": "UPDATE outcomes SET right = NULL",
    "answers that were turned": "UPDATE outcomes SET right = zeroblob(length(right))",
    "counts of others": "UPDATE outcomes SET agreeing = zeroblob(length(agreeing))",
    "targets of others": "UPDATE target_sets SET targets = '[]'",
    "no mistakes": "DELETE FROM mistakes",
    "no sets of targets": "DELETE FROM target_sets",
    "no clean predictions": "DELETE FROM outcomes WHERE attack = ''",
    "facts that are a number": "UPDATE craftings SET facts = '1'",
    "facts that are words": """UPDATE craftings SET facts = '{"queries": "many"}'""",
    "examples of another shape": ("UPDATE craftings SET images = ?", zlib.compress(bytes(12))),
    "roles that are a list": "UPDATE sweeps SET roles = '[]'",
    "roles without targets": """UPDATE sweeps SET roles = '{"surrogates": []}'""",
    "roles of a number": """UPDATE sweeps SET roles = replace(roles, '"targets": [', '"targets": [7, ')""",
    "an ensemble of nobody": """UPDATE sweeps SET roles = replace(roles, '"ensembles": {', '"ensembles": {"": [], ')""",
    "a sweep that is a word": "UPDATE sweeps SET spec = 'sweep'",
    "a sweep without end": ("UPDATE sweeps SET spec = ?", DEEP),
    "a sweep of other images": "UPDATE sweeps SET image_set = 'other'",
    "a sweep of other data": "UPDATE sweeps SET fingerprint = 'other'",
    "a table less": "DROP TABLE craftings",
    "a table more": "CREATE TABLE mine (number INTEGER)",
    "a column more": "ALTER TABLE models ADD COLUMN mine TEXT",
    "a view without end": "ALTER TABLE models RENAME TO away; CREATE VIEW models AS WITH RECURSIVE endless(n) AS "
    "(SELECT 1 UNION ALL SELECT n + 1 FROM endless) SELECT n AS key FROM endless",
    "a trigger": "CREATE TRIGGER mine AFTER INSERT ON sweeps BEGIN DELETE FROM outcomes; END",
    "a format to come": "PRAGMA user_version = 99",
    "another tool's file": "PRAGMA application_id = 7",
}


def todays(what):
    """A statement for a store of today's format, in which the classes of mistakes have a table of their own."""
    script, *values = [TAMPERED[what]] if isinstance(TAMPERED[what], str) else TAMPERED[what]
    script = script.replace("outcomes SET predictions", "mistakes SET classes").replace("(predictions,", "(classes,")
    return (script, *values) if values else script


def tamper(run, statement):
    script, *values = [statement] if isinstance(statement, str) else statement
    with closing(sqlite3.connect(run / "results.sqlite", isolation_level=None)) as database:
        if values:
            database.execute(script, values)
        else:
            database.executescript(script)


def dump(run):
    """All rows but those that say what was asked for."""
    with closing(sqlite3.connect(run / "results.sqlite")) as database:
        database.text_factory = bytes
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        names = [name.decode() for (name,) in found if name not in (b"sweeps", b"ledger")]
        version = database.execute("PRAGMA user_version").fetchone()
        return version, {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}


NEW = ("right", "agreeing", "target_sets", "FROM mistakes")  # what the first release did not have


@pytest.mark.parametrize(
    ("what", "fixture"),
    [
        (what, fixture)
        for what, statement in TAMPERED.items()
        for fixture in ("released", "run")
        if fixture == "run" or not any(name in str(statement) for name in NEW)
    ],
)
def test_a_tampered_store_is_one_clear_line_when_read_and_when_swept(request, fixture, what):
    run = request.getfixturevalue(fixture)
    tamper(run, TAMPERED[what] if fixture == "released" else todays(what))
    content = dump(run)
    with pytest.raises(UsageError) as caught:
        everything(run)
    assert is_clear(caught.value)
    if fixture == "run" and "mistakes" in str(todays(what)):  # a sweep with nothing to do asks for no classes
        return
    with pytest.raises((UsageError, WorkFailed)) as caught:
        api.sweep(RELEASED_SPEC, run, workspace=Workspace(RELEASED))
    assert is_clear(caught.value)
    assert dump(run) == content
