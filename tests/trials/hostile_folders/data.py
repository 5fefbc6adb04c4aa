"""Hostile data sets and pictures."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from ..workplace import SWEEP
from . import hostile, sparse

DATA = {
    "fine": (f"{SWEEP} run", "list datasets", "data status"),
    "told": (("train bp --dataset x --seeds 1 --run other", "x"),),
}
DATA_FOLDER = {"fine": (f"{SWEEP} run",), "either": ("list datasets", "data status")}


def data(place):
    (place.folder / "data").mkdir()
    return place.folder / "data" / "x.npz"


@hostile(**DATA)
def a_data_set_that_is_a_fifo(place):
    os.mkfifo(data(place))


@hostile(**DATA)
def a_data_set_that_is_a_folder(place):
    data(place).mkdir()


@hostile(**DATA)
def a_data_set_that_is_huge(place):
    sparse(data(place))


@hostile(**DATA)
def a_data_set_that_is_a_link_loop(place):
    data(place).symlink_to("x.npz")


@hostile(**DATA, nobody=True)
def a_data_set_that_nobody_may_read(place):
    data(place).write_bytes(b"PK")
    (place.folder / "data" / "x.npz").chmod(0)


@hostile(**DATA_FOLDER)
def a_data_folder_that_is_a_file(place):
    (place.folder / "data").write_text("no folder")


@hostile(**DATA_FOLDER)
def a_data_folder_that_is_a_link_loop(place):
    (place.folder / "data").symlink_to("data")


@hostile(**DATA_FOLDER, nobody=True)
def a_data_folder_that_nobody_may_read(place):
    data(place)
    (place.folder / "data").chmod(0)


def pictures(place):
    """Make an image folder of two classes, and return the folder of one of them."""
    for half in ("train", "test"):
        for name in "ab":
            folder = place.folder / "pictures" / half / name
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "1.png")
    return place.folder / "pictures" / "train" / "a"


IMPORT = {"told": (("data import pictures --name x", "pictures"),)}


@hostile(**IMPORT)
def a_picture_that_is_a_fifo(place):
    os.mkfifo(pictures(place) / "2.png")


@hostile(**IMPORT)
def a_picture_that_is_huge(place):
    sparse(pictures(place) / "2.png")


@hostile(**IMPORT)
def a_picture_that_is_a_dangling_link(place):
    (pictures(place) / "2.png").symlink_to("nowhere")


@hostile(**IMPORT)
def a_picture_that_is_a_folder_loop(place):
    (pictures(place) / "2.png").symlink_to("../..")


@hostile(either=("data import pictures --name x", "data status", "list datasets"))
def a_class_folder_whose_name_is_not_utf8(place):
    folder = pictures(place).parent
    (folder / "a").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe"))
    folder = place.folder / "pictures" / "test"
    (folder / "a").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe"))
