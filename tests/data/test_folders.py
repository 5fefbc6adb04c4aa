from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustbench_ekdaa.data.folders import read_folder
from robustbench_ekdaa.errors import UsageError

NUMBERS = np.random.default_rng(0)


def grey(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return NUMBERS.integers(0, 256, (height, width)).astype(np.uint8)


def colour(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return NUMBERS.integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path: Path, pixels: NDArray[Any], **options: Any) -> NDArray[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, two training pictures and one test picture each, all grey."""
    root = tmp_path / "pictures"
    for label in ("cat", "dog"):
        for name in ("train/{}/1.png", "train/{}/2.png", "test/{}/1.png"):
            save(root / name.format(label), grey())
    return root


def test_a_folder_of_grey_pictures_has_one_channel_and_its_pixels(tmp_path: Path) -> None:
    saved = {
        (half, label, name): save(tmp_path / half / label / f"{name}.{kind}", grey())
        for half in ("train", "test")
        for label in ("zebra", "ant")
        for name, kind in (("a", "png"), ("b", "bmp"), ("c", "tiff"))
    }
    arrays = read_folder(tmp_path)
    assert arrays.classes == ("ant", "zebra")
    for half, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        expected = [saved[half, label, name] for label in ("ant", "zebra") for name in "abc"]
        assert np.array_equal(images, np.stack(expected)[..., None])
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_one_picture_in_colour_makes_the_data_set_one_in_colour(pictures: Path) -> None:
    pixels = save(pictures / "test" / "dog" / "2.png", colour())
    arrays = read_folder(pictures)
    assert np.array_equal(arrays.test_images[-1], pixels)
    assert arrays.train_images.shape == (4, 6, 8, 3)
    assert np.array_equal(arrays.train_images[..., 0], arrays.train_images[..., 2])


def test_a_folder_without_halves_is_split_by_a_test_share(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for number in range(10):
            save(tmp_path / label / f"{number}.png", grey())
    arrays = read_folder(tmp_path, test_share=0.2)
    assert np.bincount(arrays.train_labels).tolist() == [8, 8]
    assert np.bincount(arrays.test_labels).tolist() == [2, 2]


def test_a_size_brings_all_pictures_to_it(pictures: Path) -> None:
    save(pictures / "train" / "cat" / "3.png", grey(20, 30))
    save(pictures / "train" / "cat" / "4.png", np.full((20, 30), 77, np.uint8))
    arrays = read_folder(pictures, size=(5, 9))
    assert arrays.train_images.shape == (6, 5, 9, 1)
    assert np.all(arrays.train_images[3] == 77)


def test_hidden_files_and_loose_files_beside_the_classes_are_passed_over(pictures: Path) -> None:
    before = read_folder(pictures).fingerprint()
    for name in ("README.txt", "train/labels.csv", "train/cat/.hidden", "train/cat/Thumbs.db", ".git/config"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_text("not a picture")
    assert read_folder(pictures).fingerprint() == before


def test_opaque_alpha_is_dropped_and_a_palette_is_resolved(pictures: Path) -> None:
    pixels = colour()
    save(pictures / "train" / "cat" / "3.png", np.dstack((pixels, np.full((6, 8), 255, np.uint8))))
    flat = np.zeros((6, 8, 3), np.uint8) + np.array([200, 30, 90], np.uint8)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(pictures / "train" / "cat" / "4.gif")
    arrays = read_folder(pictures)
    assert np.array_equal(arrays.train_images[2], pixels)
    assert np.array_equal(arrays.train_images[3], flat)


def a_broken_png(root: Path) -> None:
    path = root / "train" / "cat" / "9.png"
    save(path, grey(40, 40))
    path.write_bytes(path.read_bytes()[:200])


def a_link_out(root: Path) -> None:
    outside = root.parent / "outside.png"
    save(outside, grey())
    (root / "train" / "cat" / "9.png").symlink_to(outside)


def a_class_linked_out(root: Path) -> None:
    save(root.parent / "outside" / "1.png", grey())
    (root / "train" / "ant").symlink_to(root.parent / "outside", target_is_directory=True)


def a_half_linked_out(root: Path) -> None:
    (root / "test").rename(root.parent / "outside")
    (root / "test").symlink_to(root.parent / "outside", target_is_directory=True)


def a_transparent_picture(root: Path) -> None:
    save(root / "train" / "cat" / "9.png", np.dstack((colour(), np.full((6, 8), 100, np.uint8))))


def an_animation(root: Path) -> None:
    frames = [Image.fromarray(grey()) for _ in range(3)]
    frames[0].save(root / "train" / "cat" / "9.gif", save_all=True, append_images=frames[1:])


def an_empty_class(root: Path) -> None:
    (root / "train" / "ant").mkdir()


def a_program_for_a_printer(root: Path) -> None:
    (root / "train" / "cat" / "9.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\nshowpage\n")


WRONG = {
    "a broken picture": (a_broken_png, r"train/cat/9.png: cannot be read \("),
    "no picture": (
        lambda root: (root / "test/dog/note.txt").write_text("x"),
        "dog/note.txt: .*not an image of a known",
    ),
    "PostScript": (a_program_for_a_printer, "cat/9.eps: .*not an image of a known kind"),
    "another size": (
        lambda root: save(root / "test/dog/9.png", grey(6, 9)),
        "dog/9.png: is 6x9 .*Give a size such as 6x8",
    ),
    "16 bits": (
        lambda root: save(root / "train/cat/9.png", grey().astype(np.uint16)),
        "cat/9.png: has more than 8 bits",
    ),
    "transparency": (a_transparent_picture, "cat/9.png: has transparent pixels"),
    "an animation": (an_animation, "cat/9.gif: holds several pictures"),
    "a folder in a class": (lambda root: (root / "train/cat/more").mkdir(), "cat/more: is not a file"),
    "a pipe": (lambda root: os.mkfifo(root / "train/cat/9.png"), "cat/9.png: is not a file"),
    "an empty class": (an_empty_class, "train/ant: holds no images"),
    "a class of the test half only": (
        lambda root: save(root / "test/ant/1.png", grey()),
        "test/ant: train has no class",
    ),
    "no test half": (lambda root: (root / "test").rename(root / "val"), "there is no folder 'test' in it"),
    "a link to a picture outside": (a_link_out, "train/cat/9.png: is a link that leads out of"),
    "a link to a half outside": (a_half_linked_out, "pictures/test: is a link that leads out of"),
    "a link to a class outside": (a_class_linked_out, "train/ant: is a link that leads out of"),
}


if not hasattr(os, "mkfifo"):
    del WRONG["a pipe"]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_folder_is_told_in_one_line_with_the_file(name: str, pictures: Path) -> None:
    spoil, expected = WRONG[name]
    spoil(pictures)
    with pytest.raises(UsageError, match=expected) as error:
        read_folder(pictures)
    assert "\n" not in str(error.value)


def test_a_link_inside_the_folder_is_followed(pictures: Path) -> None:
    (pictures / "train" / "cat" / "3.png").symlink_to(pictures / "train" / "cat" / "1.png")
    arrays = read_folder(pictures)
    assert np.array_equal(arrays.train_images[0], arrays.train_images[2])


def test_a_folder_without_classes_is_told(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey())
    with pytest.raises(UsageError, match="holds no class folders"):
        read_folder(tmp_path, test_share=0.5)


def test_jpeg_pictures_are_read_as_pillow_decodes_them(pictures: Path) -> None:
    path = pictures / "train" / "cat" / "3.jpg"
    save(path, colour(), quality=60)
    assert np.array_equal(read_folder(pictures).train_images[2], np.array(Image.open(path)))


def test_a_size_without_pixels_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="size: must be a height and a width"):
        read_folder(pictures, size=(0, 8))
