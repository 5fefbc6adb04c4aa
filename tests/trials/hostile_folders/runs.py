"""Hostile run folders, stores and checkpoints."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from ..workplace import SWEEP
from . import EXPORT, hostile, sparse

UNUSABLE = {"told": ((f"{SWEEP} run", "run"), (EXPORT, "run"), ("report run --out page", "run"))}


@hostile(**UNUSABLE)
def a_run_that_is_a_file(place):
    place.run.write_text("mine")


@hostile(told=((f"{SWEEP} run/deeper", "run/deeper"),))
def a_run_inside_a_file(place):
    place.run.write_text("mine")


@hostile(**UNUSABLE)
def a_run_that_is_a_link_loop(place):
    place.run.symlink_to("run")


@hostile(told=((EXPORT, "run"),), either=(f"{SWEEP} run",))
def a_run_that_is_a_dangling_link(place):
    place.run.symlink_to("nowhere")


@hostile(**UNUSABLE, nobody=True)
def a_run_that_nobody_may_enter(place):
    place.run.mkdir()
    place.run.chmod(0)


@hostile(told=((f"{SWEEP} run".replace("noise", "bim"), "run"),), fine=(EXPORT,), begun=True, nobody=True)
def a_run_that_nobody_may_write(place):
    for path in (place.run, *place.run.rglob("*")):
        os.chown(path, 0, 0)


STORE = {
    "told": (
        (f"{SWEEP} run", "results.sqlite"),
        (EXPORT, "results.sqlite"),
        ("report run --out page", "results.sqlite"),
    ),
}

NO_STORE = {"told": tuple((command, "run") for command, _ in STORE["told"])}


def store(place):
    place.run.mkdir(exist_ok=True)
    return place.run / "results.sqlite"


@hostile(**NO_STORE)
def a_store_that_is_a_folder(place):
    store(place).mkdir()


@hostile(**NO_STORE)
def a_store_that_is_a_fifo(place):
    os.mkfifo(store(place))


@hostile(**NO_STORE)
def a_store_that_is_a_link_loop(place):
    store(place).symlink_to("results.sqlite")


@hostile(**STORE)
def a_store_that_is_text(place):
    store(place).write_text("not a database at all, but long enough to have a header " * 40)


@hostile(**STORE)
def a_store_that_is_huge(place):
    sparse(store(place))


@hostile(**STORE)
def a_store_of_another_program(place):
    with closing(sqlite3.connect(store(place))) as database:
        database.executescript("CREATE TABLE books (title TEXT); INSERT INTO books VALUES ('Emma');")


@hostile(fine=(f"{SWEEP} run", EXPORT))
def a_store_that_is_empty(place):
    store(place).touch()


def change_store(place, script):
    with closing(sqlite3.connect(store(place))) as database:
        database.executescript(script)


DAMAGED = {"told": ((EXPORT, "results.sqlite"),), "either": (f"{SWEEP} run", "report run --out page"), "begun": True}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@hostile(**DAMAGED)
def a_store_whose_outcomes_are_a_view_without_end(place):
    columns = "'a' AS image_set, 'b' AS surrogate, 'c' AS attack, i AS epsilon, 'd' AS target, x'00' AS predictions"
    change_store(place, f"DROP TABLE outcomes; CREATE VIEW outcomes AS {ENDLESS} {columns} FROM n;")


@hostile(**DAMAGED)
def a_store_whose_models_are_a_view_without_end(place):
    columns = "i AS key, 'b' AS name, 'c' AS title, 'd' AS rule, 'e' AS dataset, 0 AS seed, '' AS status, '' AS error"
    change_store(place, f"DROP TABLE models; CREATE VIEW models AS {ENDLESS} {columns}, '{{}}' AS metrics FROM n;")


@hostile(**DAMAGED)
def a_store_without_a_table(place):
    change_store(place, "DROP TABLE outcomes;")


@hostile(**DAMAGED)
def a_store_with_nulls_for_outcomes(place):
    change_store(place, "UPDATE outcomes SET right = NULL;")


@hostile(**DAMAGED)
def a_store_with_short_outcomes(place):
    change_store(place, "UPDATE mistakes SET classes = x'789c030000000001';")


@hostile(**DAMAGED)
def a_store_with_text_for_labels(place):
    change_store(place, "UPDATE image_sets SET labels = 'text';")


@hostile(**DAMAGED)
def a_store_with_shorter_labels(place):
    change_store(place, "UPDATE image_sets SET labels = substr(labels, 1, 16);")


@hostile(**DAMAGED)
def a_store_with_deep_json(place):
    change_store(place, f"UPDATE sweeps SET roles = '{'[' * 100_000}';")


@hostile(**DAMAGED)
def a_store_with_lists_for_tables(place):
    change_store(place, "UPDATE sweeps SET roles = '[]';")


@hostile(**DAMAGED)
def a_store_without_its_attacks(place):
    change_store(place, "DELETE FROM attacks;")


@hostile(**DAMAGED)
def a_store_without_its_images(place):
    change_store(place, "DELETE FROM image_sets;")


@hostile(**DAMAGED)
def a_store_that_lost_outcomes(place):
    change_store(place, "DELETE FROM outcomes WHERE rowid % 3 = 0;")


# -- planted in the run folder ---------------------------------------------------------------------------------------


@hostile(told=((f"{SWEEP} run", "checkpoints"),))
def checkpoints_that_are_a_file(place):
    place.run.mkdir()
    (place.run / "checkpoints").write_text("mine")


@hostile(told=((f"{SWEEP} run", "logs"),))
def logs_that_are_a_file(place):
    place.run.mkdir()
    (place.run / "logs").write_text("mine")


@hostile(told=((f"{SWEEP} run", "adversarial"),))
def adversarial_images_that_are_a_file(place):
    place.run.mkdir()
    (place.run / "adversarial").write_text("mine")


def checkpoint(place):
    return min((place.run / "checkpoints").iterdir())


def replaced(place, make):
    """Put something else where a checkpoint was, and let the sweep need it."""
    path = checkpoint(place)
    path.unlink()
    make(path)


MORE = f"{SWEEP} run".replace("noise", "bim")
CHECKPOINT = {"told": ((MORE, ".safetensors"),), "fine": (EXPORT,), "begun": True}


@hostile(**CHECKPOINT)
def a_checkpoint_that_is_a_folder(place):
    replaced(place, lambda path: path.mkdir())


@hostile(**CHECKPOINT)
def a_checkpoint_that_is_a_fifo(place):
    replaced(place, os.mkfifo)


@hostile(**CHECKPOINT)
def a_checkpoint_that_is_huge(place):
    replaced(place, sparse)


@hostile(**CHECKPOINT)
def a_checkpoint_that_is_empty(place):
    replaced(place, lambda path: path.touch())


@hostile(fine=(EXPORT,), either=(MORE,), begun=True)
def a_checkpoint_that_is_a_dangling_link(place):
    replaced(place, lambda path: path.symlink_to("nowhere"))


@hostile(fine=(EXPORT,), told=((MORE, ".safetensors"),), begun=True)
def a_checkpoint_that_is_a_link_loop(place):
    replaced(place, lambda path: path.symlink_to(path.name))


@hostile(either=(f"{SWEEP} run",))
def links_at_all_names_that_a_sweep_writes(place):
    """Each leads to the victim, which must stay as it is."""
    (place.folder / "victim").write_text("precious")
    aside = place.copy_to(place.folder.parent / "aside")
    aside.fine(f"{SWEEP} run")
    names = [path.relative_to(aside.folder) for path in aside.run.rglob("*") if path.is_file()]
    for name in names:
        for planted in (
            name.with_suffix(".tmp"),
            name.with_suffix(".partial.safetensors"),
            name.with_name(f".{name.name}.tmp"),
        ):
            (place.folder / planted).parent.mkdir(parents=True, exist_ok=True)
            if not (place.folder / planted).is_symlink():
                (place.folder / planted).symlink_to(place.folder / "victim")
    for end in ("-wal", "-shm", "-journal", ".lock"):
        (place.run / f"results.sqlite{end}").symlink_to(place.folder / "victim")
