"""Commands of `data`: status, fetch and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..cards import Workspace
from .app import PROGRAM, Debug, data_app
from .parsing import parse_size
from .printing import say, show_rows


@data_app.command("status", epilog=f"Example: `{PROGRAM} data status`")
def data_status(debug: Debug = False) -> None:
    """Show which data sets are here, and where they are looked for."""
    from ..data import data_folder
    from ..listing import LISTINGS

    show_rows(LISTINGS["datasets"](Workspace()))
    say(f"Folder: {data_folder()}")


@data_app.command("fetch", epilog=f"Example: `{PROGRAM} data fetch fashion_mnist`")
def data_fetch(
    names: Annotated[list[str], typer.Argument(help="fashion_mnist, cifar10, svhn")], debug: Debug = False
) -> None:
    """Download data sets, checksums verified."""
    from ..data import fetch_dataset

    for name in names:
        entry = fetch_dataset(name)
        say(f"{name}: {entry.train} training and {entry.test} test images")


@data_app.command("import", epilog=f"Example: `{PROGRAM} data import my_images.npz --name my_images`")
def data_import(
    source: Annotated[Path, typer.Argument(help="an NPZ archive, or a folder train/CLASS/*.png, test/CLASS/*.png")],
    name: Annotated[str, typer.Option(help="What to call it.")],
    title: Annotated[str | None, typer.Option(help="What figures call it.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Split off this share if there is no test half.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH: resize the images of a folder.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of that name.")] = False,
    debug: Debug = False,
) -> None:
    """Import any data set: grey or colour, any size, any number of classes."""
    from ..data import import_dataset

    dataset = import_dataset(source, name, title=title, test_share=test_share, size=parse_size(size), replace=replace)
    shape = "x".join(str(length) for length in dataset.image_shape)
    say(
        f"{name}: {len(dataset.train)} training and {len(dataset.test)} test images {shape}, "
        f"{len(dataset.classes)} classes. Use it with --dataset {name}"
    )
