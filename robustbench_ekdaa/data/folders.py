"""Image folders: ``ROOT/train/CLASS/*.png`` and ``ROOT/test/CLASS/*.png``, or ``ROOT/CLASS/*.png`` with a test share.

Every file in a class folder must be a picture, because leaving one out silently would change the data set. Only hidden
files (``.name``, ``Thumbs.db``, ``desktop.ini``) and files beside the class folders are ignored. Links that lead out of
ROOT are refused. Pixels are taken as they are stored: rotation marks and colour profiles are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError, shown
from ..progress import Bar, Progress, Silent
from .arrays import PLAIN_TEXT, Arrays, Pair, assemble, is_plain_text

if TYPE_CHECKING:
    from PIL import Image

PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class _Listing:
    """The picture files of one half of a data set with their classes' numbers."""

    files: list[Path]
    labels: list[int]


def read_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    test_share: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arrays:
    """Read and check an image folder.

    Class names are the class folders' names, sorted. The data set is grey if every picture is grey, else in colour. All
    pictures must have the same size, unless ``size`` is given.

    Args:
        root: the folder.
        size: (height, width) in pixels to resize every picture to (bilinear with smoothing; proportions may change).
        test_share: share of each class to hold out, for a folder without ``test``.
        seed: keys the choice of held-out pictures.
        progress: shows how far it is.

    Raises:
        UsageError: naming folder or file and reason.
    """
    if size is not None and min(size) < 1:
        raise UsageError(f"size: must be a height and a width in pixels (got {size[0]}x{size[1]})")
    halves = _halves(root, test_share)
    classes = [folder.name for folder in _class_folders(halves["train"], root)]
    listings = {half: _listing(folder, classes, root) for half, folder in halves.items()}
    files = [path for listing in listings.values() for path in listing.files]
    pixels = iter(_same_channels(_pictures(files, size, (progress or Silent()).task("reading images", len(files)))))
    pairs: dict[str, Pair] = {
        half: (np.stack([next(pixels) for _ in listing.files]), np.array(listing.labels))
        for half, listing in listings.items()
    }
    return assemble(
        shown_path(root), pairs["train"], pairs.get("test"), classes=classes, test_share=test_share, seed=seed
    )


def _halves(root: Path, test_share: float | None) -> dict[str, Path]:
    train, test = root / "train", root / "test"
    for half in (train, test):
        _check_link(half, root)
    if train.is_dir() and test.is_dir():
        return {"train": train, "test": test}
    if test_share is None:
        missing = "test" if train.is_dir() else "train"
        raise UsageError(
            f"{shown_path(root)}: there is no folder {missing!r} in it. "
            "Make train/CLASS and test/CLASS, or give a test share such as 0.2 to hold images out."
        )
    return {"train": train if train.is_dir() else root}


def _check_link(path: Path, root: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{shown_path(path)}: is a link that leads out of {shown_path(root)}. Copy it there instead.")


def _visible(folder: Path, root: Path) -> list[Path]:
    """Return what is in a folder, sorted, without hidden files; raises UsageError for a link out of ``root``."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UsageError(f"{shown_path(folder)}: cannot be read ({error.strerror or error})") from None
    visible = [path for path in entries if not path.name.startswith(".") and path.name not in SYSTEM_FILES]
    for path in visible:
        _check_link(path, root)
    return visible


def _class_folders(folder: Path, root: Path) -> list[Path]:
    found = [path for path in _visible(folder, root) if path.is_dir()]
    for path in found:
        if not is_plain_text(path.name):
            raise UsageError(f"{shown_path(folder)}: the folder {shown(path.name)} is named as no class. {PLAIN_TEXT}")
    if not found:
        raise UsageError(
            f"{shown_path(folder)}: holds no class folders. Put each class's images in a folder of its name."
        )
    return found


def _listing(folder: Path, classes: Sequence[str], root: Path) -> _Listing:
    listing = _Listing([], [])
    for class_folder in _class_folders(folder, root):
        if class_folder.name not in classes:
            raise UsageError(f"{shown_path(class_folder)}: train has no class of that name")
        files = _visible(class_folder, root)
        if not files:
            raise UsageError(f"{shown_path(class_folder)}: holds no images. Remove the folder, or fill it.")
        listing.files.extend(files)
        listing.labels.extend([classes.index(class_folder.name)] * len(files))
    return listing


def _pictures(files: Sequence[Path], size: tuple[int, int] | None, bar: Bar) -> list[NDArray[np.uint8]]:
    pictures: list[NDArray[np.uint8]] = []
    for path in files:
        pictures.append(_picture(path, size))
        bar.advance()
        if pictures[-1].shape[:2] != pictures[0].shape[:2]:
            here, there = ("x".join(map(str, each.shape[:2])) for each in (pictures[-1], pictures[0]))
            raise UsageError(
                f"{shown_path(path)}: is {here} pixels, but {shown_path(files[0])} is {there}. "
                f"Give a size such as {there} to resize all."
            )
    return pictures


def _same_channels(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    if len({picture.shape[2] for picture in pictures}) == 1:
        return pictures
    return [np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture for picture in pictures]


def _picture(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Read one picture as uint8 (H, W, 1) if it is stored in grey, else (H, W, 3)."""
    from PIL import Image

    where = shown_path(path)
    if not path.is_file():
        raise UsageError(f"{where}: is not a file; images must lie in the class folder itself")
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            plain = _eight_bits(picture, where)
            if size is not None and plain.size != (size[1], size[0]):
                plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels: NDArray[Any] = np.array(plain, dtype=np.uint8)
    except UsageError:
        raise
    except Exception as error:  # Pillow's readers fail in many ways on a broken file
        reason = "not an image of a known kind" if type(error).__name__ == "UnidentifiedImageError" else str(error)
        raise UsageError(f"{where}: cannot be read ({' '.join(reason.split())}). Repair, remove or hide it.") from None
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _is_deeper(picture: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a channel; Pillow's colour modes would keep only the upper 8."""
    for codec, _, _, how in getattr(picture, "tile", ()):
        parts = how if isinstance(how, tuple) else (how,)
        # "RGB;16B" and the like; "BGR;16" means 16 bits for three channels together.
        if any(re.match(r"(?!BGR)\w+;16", str(part)) for part in parts):
            return True
        if codec.startswith("ppm") and parts[-1] > 255:  # the largest value of a channel
            return True
    return False


def _eight_bits(picture: Image.Image, where: str) -> Image.Image:
    """Return a picture in mode L or RGB, pixels as stored; raises UsageError where that would lose something."""
    if getattr(picture, "n_frames", 1) > 1:
        raise UsageError(f"{where}: holds several pictures. Save each as a file of its own.")
    if picture.mode.startswith(("I", "F")) or _is_deeper(picture):
        raise UsageError(
            f"{where}: has more than 8 bits a channel, which a picture cannot keep here. Save it with 8 bits, "
            "or import an archive of float32 in [0, 1]."
        )
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        if not opaque:
            raise UsageError(f"{where}: has transparent pixels. Lay it on a plain background first.")
    return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
