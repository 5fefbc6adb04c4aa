"""The tables of a store, as they are laid out today."""

from __future__ import annotations

from .sealed import Table

APPLICATION = 0x52424B45  # "RBKE", in the header of every store
VERSION = 4

TABLES = {
    "datasets": Table(("fingerprint TEXT", "name TEXT", "title TEXT", "classes TEXT"), key=1),
    "image_sets": Table(
        ("key TEXT", "fingerprint TEXT", "indices BLOB", "labels BLOB", "shape TEXT", "images BLOB"), key=1
    ),
    "models": Table(
        (
            *("key TEXT", "name TEXT", "title TEXT", "rule TEXT", "dataset TEXT", "seed INTEGER", "status TEXT"),
            *("error TEXT", "metrics TEXT", "fingerprint TEXT"),
        ),
        key=1,
    ),
    "attacks": Table(("key TEXT", "name TEXT", "title TEXT", "norm TEXT", "card TEXT"), key=1),
    "target_sets": Table(("key TEXT", "targets TEXT"), key=1),
    "outcomes": Table(
        (
            *("image_set TEXT", "surrogate TEXT", "attack TEXT", "epsilon REAL", "target_set TEXT"),
            *("right BLOB", "agreeing BLOB"),
        ),
        key=5,
        part=1,
    ),
    "mistakes": Table(
        ("image_set TEXT", "surrogate TEXT", "attack TEXT", "epsilon REAL", "target_set TEXT", "classes BLOB"),
        key=5,
        part=1,
    ),
    "craftings": Table(
        (
            "image_set TEXT",
            "surrogate TEXT",
            "attack TEXT",
            "epsilon REAL",
            "facts TEXT",
            "made_with TEXT",
            "images BLOB NULL",
        ),
        key=4,
        part=1,
    ),
    "probes": Table(("image_set TEXT", "model TEXT", "what TEXT", "facts TEXT"), key=3, part=1),
    "sweeps": Table(("fingerprint TEXT", "image_set TEXT", "spec TEXT", "roles TEXT", "command TEXT")),
}
