"""Hostile places for results."""

from __future__ import annotations

import os

from . import hostile


def refused(out, command="export"):
    return {"told": ((f"{command} run --out {out}", out.partition("/")[0]),), "begun": True}


@hostile(**refused("run/results.sqlite"))
def an_export_onto_the_store(place):
    pass


@hostile(**refused("run/new.csv"))
def an_export_into_the_run(place):
    pass


@hostile(**refused("fifo"))
def an_export_onto_a_fifo(place):
    os.mkfifo(place.folder / "fifo")


@hostile(**refused("link.csv"))
def an_export_onto_a_link_into_the_run(place):
    (place.folder / "link.csv").symlink_to("run/results.sqlite")


@hostile(**refused("here/new.csv"))
def an_export_through_a_link_into_the_run(place):
    (place.folder / "here").symlink_to("run")


@hostile(**refused("run/page", "report"))
def a_report_into_the_run(place):
    pass


@hostile(**refused("run", "report"))
def a_report_onto_the_run(place):
    pass


@hostile(**refused("fifo", "report"))
def a_report_onto_a_fifo(place):
    os.mkfifo(place.folder / "fifo")


@hostile(**refused("page", "report"))
def a_report_onto_a_folder_of_somebody(place):
    (place.folder / "page").mkdir()
    (place.folder / "page" / "letter.txt").write_text("precious")


@hostile(told=(("init new", "new"),))
def a_new_workspace_on_a_fifo(place):
    os.mkfifo(place.folder / "new")


@hostile(told=(("init new", "new"),))
def a_new_workspace_on_a_link_loop(place):
    (place.folder / "new").symlink_to("new")
