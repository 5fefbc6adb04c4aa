"""Data of other people: whatever lies in the data folder or comes out of a function, it is used right or refused."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import robustbench_ekdaa as rb
from robustbench_ekdaa import Benchmark
from robustbench_ekdaa.cards import ModelCard
from robustbench_ekdaa.data import (
    Dataset,
    Split,
    dataset_from_arrays,
    dataset_names,
    import_dataset,
    load_dataset,
    status,
)
from robustbench_ekdaa.data.archive import read_archive, summarise
from robustbench_ekdaa.data.folders import read_folder
from robustbench_ekdaa.data.loading import _load
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.registry import DATASETS

NUMBERS = np.random.default_rng(0)


# -- pictures and pixels of 16 bits ----------------------------------------------------------------------------------


def png_of_16_bits(path: Path, pixels: NDArray[Any], colours: int) -> None:
    """Write a PNG by hand, as Pillow cannot: ``colours`` is its colour type."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("kind", "channels", "colours"), [("grey", 1, 0), ("LA", 2, 4), ("RGB", 3, 2), ("RGBA", 4, 6)])
def test_a_png_of_16_bits_is_refused_and_not_cut_to_8(tmp_path, kind, channels, colours):
    for half in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / half / label).mkdir(parents=True)
            pixels = NUMBERS.integers(0, 65536, (6, 6, channels))
            pixels[..., 1:] = pixels[..., 1:] if channels == 3 else 65535  # opaque
            png_of_16_bits(tmp_path / half / label / "1.png", pixels, colours)
    with pytest.raises(UsageError, match="more than 8 bits a channel"):
        read_folder(tmp_path)


@pytest.mark.parametrize("most", [255, 256, 1023, 65535])
def test_a_ppm_is_read_if_its_values_have_8_bits(tmp_path, most):
    for half in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / half / label).mkdir(parents=True)
            kind = ">u2" if most > 255 else "u1"
            pixels = NUMBERS.integers(0, most + 1, (6, 6, 3)).astype(kind).tobytes()
            (tmp_path / half / label / "1.ppm").write_bytes(b"P6 6 6 %d\n" % most + pixels)
    if most == 255:
        assert read_folder(tmp_path).train_images.shape == (2, 6, 6, 3)
        return
    with pytest.raises(UsageError, match="more than 8 bits a channel"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "advice"),
    [
        (NUMBERS.integers(0, 65536, (4, 8, 8)).astype(np.uint16), r"Divide by 65535.*astype\('uint8'\) would wrap"),
        (NUMBERS.integers(0, 2**31, (4, 8, 8)), "Divide by the largest value"),
        (NUMBERS.integers(-5, 200, (4, 8, 8)), "would wrap"),
        (NUMBERS.integers(0, 256, (4, 8, 8)), r"Convert with \.astype\('uint8'\)\."),
        (NUMBERS.integers(0, 2, (4, 8, 8)).astype(bool), r"Convert with \.astype\('float32'\)\."),
    ],
)
def test_the_advice_for_pixels_of_another_type_loses_nothing(pixels, advice):
    with pytest.raises(UsageError, match=advice):
        dataset_from_arrays("mine", (pixels, np.arange(4) % 2), (pixels, np.arange(4) % 2))


# -- what may lie in the data folder ---------------------------------------------------------------------------------


@pytest.fixture
def empty_cache() -> Any:
    _load.cache_clear()
    yield
    _load.cache_clear()


def an_endless_loop(home: Path) -> None:
    home.rmdir()
    home.symlink_to(home)


def a_file(home: Path) -> None:
    home.rmdir()
    home.write_text("")


@pytest.mark.parametrize("spoil", [an_endless_loop, a_file])
def test_a_data_folder_that_cannot_be_read_breaks_no_data_set_that_needs_none(data_home, spoil, empty_cache):
    spoil(data_home)
    assert len(rb.load_dataset("digits")) == 500
    assert "digits" in dataset_names()
    told = {entry.name: entry for entry in status()}
    assert told["digits"].here
    assert "the data folder cannot be read" in told["fashion_mnist"].where
    for name in ("mine", "fashion_mnist"):
        with pytest.raises(UsageError, match=r"the data folder cannot be read \(.*Make it readable"):
            load_dataset(name)


def test_what_lies_in_the_data_folder_under_an_archives_name_is_told_and_never_waited_for(data_home, empty_cache):
    (data_home / "dangling.npz").symlink_to(data_home / "nowhere")
    (data_home / "loop.npz").symlink_to(data_home / "loop.npz")
    (data_home / "folder.npz").mkdir()
    os.mkfifo(data_home / "pipe.npz")
    os.mkfifo(data_home / "fashion_mnist.npz")
    with (data_home / "zeros.npz").open("wb") as file:
        file.truncate(2**40)  # a hole, without a block of its own
    told = {entry.name: entry for entry in status()}
    expected = {
        "dangling": "there is no such file",
        "loop": "cannot be read",
        "folder": "is no regular file",
        "pipe": "is no regular file",
        "fashion_mnist": "is no regular file",
        "zeros": "not an NPZ archive",
    }
    for name, reason in expected.items():
        assert f"{name}.npz: {reason}" in told[name].where
        assert not told[name].here
        with pytest.raises(UsageError, match=f"{name}.npz: {reason}"):
            load_dataset(name)
    assert told["digits"].here


def test_a_pipe_is_not_imported(data_home, tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UsageError, match="is no regular file"):
        import_dataset(tmp_path / "pipe.npz", "mine")


@pytest.mark.parametrize("shape", ["(1099511627776, 8, 8)", "(-4, 8, 8)", "(4, 8, 9)"])
def test_an_array_whose_head_promises_other_than_it_holds_is_refused_before_memory_is_taken(tmp_path, shape):
    path = tmp_path / "mine.npz"
    labels = {f"{half}_labels": np.arange(4) % 2 for half in ("train", "test")}
    np.savez(path, test_images=NUMBERS.random((4, 8, 8)), **labels)
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(256))
    with pytest.raises(UsageError, match="train_images: damaged"):
        read_archive(path)
    with pytest.raises(UsageError, match="train_images: damaged"):
        summarise(path)


def test_an_archive_beyond_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_ekdaa.data.archive.total_memory", lambda: 1000)
    path = tmp_path / "mine.npz"
    np.savez(path, train_images=NUMBERS.random((40, 8, 8)), train_labels=np.arange(40) % 2)
    with pytest.raises(UsageError, match=r"train_images: is 20\.0 KiB large, and this machine has 1,000 bytes"):
        read_archive(path, test_share=0.5)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"\x1b[31m"])
def test_a_class_folder_whose_name_is_no_line_of_text_is_refused_by_name(tmp_path, name):
    for half in (b"train", b"test"):
        for label in (b"cat", name):
            os.makedirs(os.path.join(os.fsencode(tmp_path), half, label))
    with pytest.raises(UsageError, match=r"is named as no class\. Give one line of UTF-8 text") as caught:
        read_folder(tmp_path)
    str(caught.value).encode()


@pytest.mark.parametrize("classes", [("a", "b\n"), ("a", "\udce9"), ("a", ""), ("a", "b" * 201)])
def test_class_names_that_are_no_line_of_text_are_refused(classes):
    pair = NUMBERS.random((4, 8, 8)), np.arange(4) % 2
    with pytest.raises(UsageError, match=r"is no name\. Give one line"):
        dataset_from_arrays("mine", pair, pair, classes=classes)


@pytest.mark.parametrize("title", ["a\x1b[31mb", "\udce9", "b" * 201])
def test_titles_that_are_no_line_of_text_are_refused(data_home, make_archive, title):
    pair = NUMBERS.random((4, 8, 8)), np.arange(4) % 2
    with pytest.raises(UsageError, match=r"title: .* is none\. Give one line"):
        dataset_from_arrays("mine", pair, pair, title=title)
    with pytest.raises(UsageError, match=r"title: .* is none\. Give one line"):
        import_dataset(make_archive(), "mine", title=title)


@pytest.mark.parametrize("name", ["b" * 101, "a b", "", "\udce9", "../a", 5, None])
def test_a_name_that_no_archive_could_have_is_refused(data_home, make_archive, name):
    with pytest.raises(UsageError, match="data set name"):
        import_dataset(make_archive(), name)
    with pytest.raises(UsageError, match=r"unknown data set|named by a text"):
        load_dataset(name)


# -- functions -------------------------------------------------------------------------------------------------------


def made(**changes: Any) -> Dataset:
    images, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
    right = Dataset("mine", "Mine", Split(images, labels), Split(images, labels), ("a", "b"), "0" * 64)
    return replace(right, **changes)


HALF = made().train
WRONG = {
    "no data set": (lambda: 5, "must return a Dataset"),
    "no title": (lambda: made(title="a\nb"), "title: 'a b' is no name|title: 'a"),
    "one class": (lambda: made(classes=("a",)), "two different names"),
    "twins": (lambda: made(classes=("a", "a")), "two different names"),
    "no fingerprint": (lambda: made(fingerprint=""), "no fingerprint"),
    "arrays": (lambda: made(test=Split(HALF.images.numpy(), HALF.labels.numpy())), "test must be a Split of tensors"),
    "a tuple": (lambda: made(train=(HALF.images, HALF.labels)), "train must be a Split of tensors"),
    "other shapes": (lambda: made(test=Split(HALF.images[:, :, :7], HALF.labels)), "differ in shape"),
    "NaN": (lambda: made(test=Split(HALF.images * torch.nan, HALF.labels)), "must be in"),
    "its own error": (lambda: 1 / 0, r"its function failed \(ZeroDivisionError"),
    "an exit": (lambda: exit(3), r"its function failed \(SystemExit: 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_makes_no_right_data_set_is_told_what_is_wrong(name, monkeypatch, empty_cache):
    function, reason = WRONG[name]
    monkeypatch.setitem(DATASETS._registered, "theirs", function)
    with pytest.raises(UsageError, match=reason):
        load_dataset("theirs")


FUNCTION = """
import numpy as np
from robustbench_ekdaa.data import dataset_from_arrays
def blobs():
    labels = np.arange(60) % 2
    images = np.random.default_rng(0).random((60, 8, 8)) * 0.5 + labels[:, None, None] * 0.5
    return dataset_from_arrays("two-blobs", (images, labels), (images, labels), title="Two blobs")
"""


def test_a_function_in_a_file_gives_its_data_set_a_name_that_tables_and_cards_can_hold(tmp_path, empty_cache):
    (tmp_path / "blobs.py").write_text(FUNCTION.replace("two-blobs", "two blobs"))
    with pytest.raises(UsageError, match="data set name 'two blobs'"):
        load_dataset(f"{tmp_path / 'blobs.py'}:blobs")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_in_a_file_may_name_its_data_set_as_it_likes(tmp_path, monkeypatch, workers):
    monkeypatch.chdir(tmp_path)
    Path("blobs.py").write_text(FUNCTION)
    recipe = {"epochs": 1, "learning_rate": 0.1}
    card = ModelCard.model_validate(
        {
            "kind": "model",
            "name": "quick",
            "rule": "backprop",
            "network": {"blocks": [{"layer": "linear", "width": 4}]},
            "training": {"two-blobs": recipe},
        }
    )
    (record,) = Benchmark("run", device="cpu", workers=workers).train([card], "blobs.py:blobs", [0])
    assert (record.status, record.dataset) == ("trained", "two-blobs")
    assert rb.load_model(card, "blobs.py:blobs", run="run")(torch.rand(1, 1, 8, 8)).shape == (1, 2)
