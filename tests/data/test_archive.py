from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ekdaa.data.archive import read_archive, summarise, write_archive
from robustbench_ekdaa.data.arrays import assemble
from robustbench_ekdaa.errors import UsageError, WorkFailed


class CreatesAFileWhenUnpickled:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@st.composite
def image_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Random data sets in every form an archive may have, with the pixels and labels they mean."""
    height, width = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    channels, classes = draw(st.sampled_from([1, 3])), draw(st.integers(2, 6))
    layouts = ["NHWC", "NCHW"] + (["NHW"] if channels == 1 else [])
    layout = draw(st.sampled_from(layouts))
    kind = draw(st.sampled_from(["uint8", "float16", "float32", "float64", ">f4"]))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    found: dict[str, Any] = {"classes": classes}
    for half in ("train", "test"):
        count = draw(st.integers(classes, classes + 4))
        stored = numbers.integers(0, 256, (count, height, width, channels)).astype(np.uint8)
        stored[0, 0, 0, 0] = 255  # an image that is all dark is told from a wrong scale by this
        pixels = stored if kind == "uint8" else (stored / 255).astype(kind)
        means = torch.tensor(stored).float() / 255 if kind == "uint8" else torch.tensor(pixels.astype(np.float32))
        found[f"{half} means"] = means.permute(0, 3, 1, 2)
        labels = np.concatenate((np.arange(classes), numbers.integers(0, classes, count - classes)))
        found[f"{half} labels"] = torch.tensor(labels)
        ordered = {"NHWC": pixels, "NCHW": np.moveaxis(pixels, 3, 1), "NHW": pixels[..., 0]}[layout]
        found[f"{half}_images"] = ordered
        shape = draw(st.sampled_from([(count,), (count, 1)]))
        found[f"{half}_labels"] = labels.astype(draw(st.sampled_from(["uint8", "int32", "int64"]))).reshape(shape)
    return found


def keys_of(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if "_" in key}


@settings(max_examples=60)
@given(found=image_sets(), compressed=st.booleans())
def test_an_archive_of_any_layout_type_and_size_means_its_pixels(
    found: dict[str, Any], compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("archives") / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, **keys_of(found))
    dataset = read_archive(path).dataset("x")
    for half, split in (("train", dataset.train), ("test", dataset.test)):
        assert split.images.dtype == torch.float32
        assert split.images.is_contiguous()
        assert torch.equal(split.images, found[f"{half} means"])
        assert torch.equal(split.labels, found[f"{half} labels"])
    assert dataset.classes == tuple(str(label) for label in range(found["classes"]))


@settings(max_examples=30)
@given(found=image_sets())
def test_writing_and_reading_an_archive_changes_nothing(
    found: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pairs = [(found[f"{half}_images"], found[f"{half}_labels"]) for half in ("train", "test")]
    names = [f"class {label} é" for label in range(found["classes"])]
    arrays = assemble("memory", *pairs, classes=names, title="A title")
    path = tmp_path_factory.mktemp("archives") / "x.npz"
    write_archive(path, arrays)
    again = read_archive(path)
    assert again.fingerprint() == arrays.fingerprint()
    assert (again.classes, again.title) == (tuple(names), "A title")
    assert again.train_images.dtype == arrays.train_images.dtype
    summary = summarise(path)
    assert (summary.train, summary.test) == (len(pairs[0][0]), len(pairs[1][0]))
    assert (summary.image_shape, summary.classes, summary.title) == (
        arrays.dataset("x").image_shape,
        len(names),
        "A title",
    )


def test_every_byte_value_becomes_its_float32_quotient_by_255() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(2, 0)
    images = assemble("ramp", (ramp, np.arange(2)), (ramp, np.arange(2))).dataset("ramp").train.images
    assert torch.equal(images[0].flatten(), torch.tensor([value / np.float32(255) for value in range(256)]))


def test_the_fingerprint_sees_pixels_labels_and_number_of_classes_and_not_how_they_are_stored() -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(6) % 2

    def fingerprint(images: Any = images, labels: Any = labels, classes: tuple[str, ...] = ()) -> str:
        return assemble("x", (images, labels), (images, labels), classes=classes).fingerprint()

    changed = images.copy()
    changed[3, 2, 1, 0] ^= 1
    same = [
        fingerprint(images[..., 0]),
        fingerprint(images.transpose(0, 3, 1, 2)),
        fingerprint(np.asfortranarray(images)),
        fingerprint(labels=labels.astype(np.uint8)[:, None]),
        fingerprint(classes=("cat", "dog")),
    ]
    different = [fingerprint(changed), fingerprint(labels=labels[::-1]), fingerprint(classes=("cat", "dog", "cow"))]
    assert set(same) == {fingerprint()}
    assert len({fingerprint(), *different}) == 4


PIXELS = np.full((12, 5, 7, 3), 200, np.uint8)
LABELS = np.arange(12) % 3
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a missing key": ({"train_labels": None}, r"the key train_labels is missing \(found test_images"),
    "a missing test half": ({"test_images": None, "test_labels": None}, "test_images is missing .*with a test share"),
    "half a test half": ({"test_labels": None}, "the key test_labels is missing"),
    "a flat shape": (
        {"train_images": PIXELS.reshape(12, -1)},
        r"train_images: the shape must be .*\(got \(12, 105\)\)",
    ),
    "a fourth channel": ({"train_images": np.zeros((12, 8, 8, 4), np.uint8)}, r"C 1 or 3 .*\(got \(12, 8, 8, 4\)\)"),
    "sides too short": ({"test_images": np.zeros((6, 3, 7), np.uint8)}, "test_images: .*at least 4"),
    "no images": ({"train_images": PIXELS[:0], "train_labels": LABELS[:0]}, "train_images: holds no images"),
    "fewer labels": ({"train_labels": LABELS[:11]}, r"train_images and train_labels differ in number \(12 and 11\)"),
    "one-hot labels": ({"train_labels": np.eye(3)[LABELS]}, r"train_labels: must be one number .*argmax\(1\)"),
    "float labels": ({"test_labels": np.arange(6.0) % 3}, r"test_labels: must be integers \(got float64\)"),
    "boolean labels": ({"test_labels": np.arange(6) % 2 == 1}, r"test_labels: must be integers \(got bool\)"),
    "negative labels": ({"train_labels": LABELS - 1}, r"train_labels: classes are numbered from 0 \(found -1\)"),
    "labels from 1": ({"train_labels": LABELS + 1, "test_labels": LABELS[:6] + 1}, "run to 3, but 0 never occurs"),
    "a gap": ({"train_labels": LABELS * 5, "test_labels": LABELS[:6] * 5}, "run to 10, but 1 never .*the 3 classes"),
    "one class": ({"train_labels": LABELS * 0, "test_labels": LABELS[:6] * 0}, "one class only"),
    "integers": ({"train_images": PIXELS.astype(np.int64)}, r"train_images: must be uint8 .*\(got int64\)"),
    "complex numbers": ({"train_images": PIXELS.astype(complex)}, r"\(got complex128\)"),
    "floats to 255": ({"train_images": PIXELS.astype(float)}, r"\(found 200 to 200\). Divide by 255"),
    "normalised floats": ({"train_images": PIXELS / 255 - 1}, r"\(found -0.2\d* to -0.2\d*\)"),
    "NaN": ({"train_images": np.where(PIXELS > 0, np.nan, 0)}, r"must be in \[0, 1\] \(found NaN\)"),
    "bytes 0 and 1": ({"train_images": PIXELS // 200}, "no pixel is above 1. Multiply by 255"),
    "other test size": ({"test_images": PIXELS[:6, :, :6]}, r"differ in height, width or channels \(5x7x3 and 5x6x3\)"),
    "other test channels": ({"test_images": PIXELS[:6, :, :, 0]}, r"\(5x7x3 and 5x7x1\)"),
    "other test type": ({"test_images": PIXELS[:6] / 255}, "train_images are uint8 but test_images float32"),
    "too few class names": ({"classes": np.array(["a", "b"])}, "labels run to 2, but `classes` has 2 names"),
    "a class name twice": ({"classes": np.array(["a", "b", "a"])}, "classes: 'a' is there twice"),
    "class names as numbers": ({"classes": np.arange(3)}, "classes: must be a list of texts"),
    "a title as a number": ({"title": np.array(7)}, "title: must be one text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_archive_is_told_in_one_line_with_file_and_reason(name: str, make_archive: Any) -> None:
    changes, expected = WRONG[name]
    path = make_archive(**changes)
    with pytest.raises(UsageError, match=expected) as error:
        read_archive(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_without_images_is_fine_when_the_classes_are_named(make_archive: Any) -> None:
    arrays = read_archive(make_archive(classes=np.array(["a", "b", "c", "d"])))
    assert arrays.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels", "classes", "title"])
def test_pickled_arrays_are_refused_and_never_executed(key: str, make_archive: Any, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    objects = np.empty(12, dtype=object)
    objects[:] = [CreatesAFileWhenUnpickled(trace)] * 12
    path = make_archive(**{key: objects})
    for read in (read_archive, summarise):
        with pytest.raises(UsageError, match=f"{key}: holds pickled objects") as error:
            read(path)
        assert "\n" not in str(error.value)
    assert not trace.exists()
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:  # the trap is a real one
        np.lib.format.read_array(file, allow_pickle=True)
    assert trace.exists()


def test_a_pickle_called_npz_is_refused_and_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(pickle.dumps(CreatesAFileWhenUnpickled(tmp_path / "executed")))
    with pytest.raises(UsageError, match="not an NPZ archive"):
        read_archive(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "not an NPZ archive"), (b"\x93NUMPY not a zip", "not an NPZ archive"), (None, "there is no such file")],
)
def test_a_file_that_is_no_archive_is_told_in_one_line(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"x.npz: {expected}"):
        read_archive(path)


def test_a_folder_called_npz_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no regular file"):
        read_archive(tmp_path)


def test_an_archive_whose_names_cannot_be_shown_is_told_in_one_line(make_archive: Any) -> None:
    path = make_archive()
    path.write_bytes(path.read_bytes().replace(b"train_images", b"train\nimages"))
    with pytest.raises(UsageError, match=r"\.npz: the names in it are damaged") as error:
        read_archive(path)
    assert "\n" not in str(error.value)


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_archive_reads_right_or_not_at_all(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("archives") / "x.npz"
    images = np.random.default_rng(2).integers(0, 256, (6, 4, 5)).astype(np.uint8)
    pairs = {
        f"{half}_{what}": value
        for half in ("train", "test")
        for what, value in (("images", images), ("labels", np.arange(6) % 2))
    }
    np.savez_compressed(path, **pairs)
    whole = read_archive(path).fingerprint()
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        told = read_archive(path).fingerprint()
    except UsageError as error:
        told = str(error)
    assert told == whole or ("x.npz" in told and "\n" not in told)


def test_a_test_share_keeps_every_image_once_and_every_class_in_proportion(make_archive: Any) -> None:
    images = np.arange(40 * 16, dtype=np.uint16).reshape(40, 4, 4).astype(np.uint8)
    images[:, 0, 0] = np.arange(40)
    labels = np.repeat([0, 1, 2], [20, 12, 8])
    path = make_archive(train_images=images, train_labels=labels, test_images=None, test_labels=None)
    arrays = read_archive(path, test_share=0.25)
    assert np.bincount(arrays.test_labels).tolist() == [5, 3, 2]
    both = np.concatenate((arrays.train_images, arrays.test_images))[:, 0, 0, 0]
    assert sorted(both) == list(range(40))
    labels_of = dict(zip(both, np.concatenate((arrays.train_labels, arrays.test_labels)), strict=True))
    assert all(labels_of[number] == labels[number] for number in range(40))
    assert read_archive(path, test_share=0.25).fingerprint() == arrays.fingerprint()
    assert read_archive(path, test_share=0.25, seed=1).fingerprint() != arrays.fingerprint()


@pytest.mark.parametrize(("share", "expected"), [(0.0, "between 0 and 1"), (1.5, "between 0 and 1"), (0.01, "empty")])
def test_a_test_share_that_cannot_be_is_told(make_archive: Any, share: float, expected: str) -> None:
    path = make_archive(test_images=None, test_labels=None)
    with pytest.raises(UsageError, match=expected):
        read_archive(path, test_share=share)


def test_a_test_share_of_an_archive_with_test_images_is_refused(make_archive: Any) -> None:
    with pytest.raises(UsageError, match="has test images of its own"):
        read_archive(make_archive(), test_share=0.2)


FULL_DISK = """
import resource, sys
from pathlib import Path
from robustbench_ekdaa.data.archive import read_archive, write_archive
from robustbench_ekdaa.errors import WorkFailed
arrays = read_archive(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_archive(Path(sys.argv[2]), arrays)
except WorkFailed as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited there")
def test_a_write_that_fails_half_way_leaves_the_old_archive_and_nothing_else(make_archive: Any, tmp_path: Path) -> None:
    source = make_archive()
    target = tmp_path / "home" / "x.npz"
    target.parent.mkdir()
    target.write_bytes(b"what was there")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(source), str(target)], capture_output=True, text=True, check=True
    )
    assert "could not be written (File too large); nothing was changed" in done.stdout
    assert done.stdout.count("\n") == 1
    assert target.read_bytes() == b"what was there"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(make_archive: Any, tmp_path: Path) -> None:
    arrays = read_archive(make_archive())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WorkFailed, match="could not be written") as error:
        write_archive(tmp_path / "file" / "x.npz", arrays)
    assert "\n" not in str(error.value)
