from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustbench_ekdaa.data import Dataset, Split, dataset_from_arrays, dataset_names, load_dataset, load_split
from robustbench_ekdaa.data.loading import shared_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.registry import DATASETS


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decorator that registers a data set, undone after the test."""
    monkeypatch.setattr(DATASETS, "_registered", dict(DATASETS._registered))
    return DATASETS.register


def test_the_digits_are_all_of_scikit_learns_scans_each_once(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = torch.cat((digits.train.images, digits.test.images))
    labels = torch.cat((digits.train.labels, digits.test.labels))
    found = sorted(
        (*image.flatten().tolist(), label) for image, label in zip(images * 16, labels.tolist(), strict=True)
    )
    expected = sorted((*image, label) for image, label in zip(scans.data.tolist(), scans.target.tolist(), strict=True))
    assert found == expected
    assert (len(digits.train), len(digits.test), digits.image_shape) == (1297, 500, (1, 8, 8))


def test_the_digits_are_the_same_in_every_process(digits: Dataset) -> None:
    assert digits.fingerprint == "ab658f1da72aeb0ab87bc158713e64d770a22b9681b90e78a6861c1a77954d67"
    assert digits.test.labels.bincount().tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "cifar10", "svhn"])
def test_images_are_float32_in_the_unit_range_with_ten_classes(name: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(name)
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == torch.float32
        assert split.images.shape[1:] == dataset.image_shape
        assert split.labels.dtype == torch.int64
        assert (float(split.images.min()), float(split.images.max())) == (0.0, 1.0)
        assert split.labels.unique().tolist() == list(range(10))
    assert len(dataset.classes) == 10


def test_channel_statistics_are_those_of_numpy(svhn: Dataset) -> None:
    pixels = svhn.train.images.numpy().astype(np.float64)
    mean, deviation = svhn.channel_statistics
    assert np.allclose(mean, pixels.mean((0, 2, 3)), atol=1e-7)
    assert np.allclose(deviation, pixels.std((0, 2, 3)), atol=1e-7)


def test_a_limit_keeps_the_first_of_one_random_order(digits: Dataset) -> None:
    small, large = load_dataset("digits", limit=50), load_dataset("digits", limit=600)
    assert (len(small.train), len(small.test)) == (50, 50)
    assert (len(large.train), len(large.test)) == (600, 500)
    assert torch.equal(large.train.images[:50], small.train.images)
    assert torch.equal(large.test.images, digits.test.images)
    kept, given = ({row.numpy().tobytes() for row in split.images} for split in (small.test, digits.test))
    assert len(kept) == 50
    assert kept <= given
    assert small.test.labels.unique().numel() == 10
    assert len({small.fingerprint, large.fingerprint, digits.fingerprint}) == 3
    assert load_dataset("digits", limit=5000).fingerprint == digits.fingerprint


def test_a_split_is_that_half_of_the_data_set(digits: Dataset) -> None:
    assert torch.equal(load_split("digits").images, digits.test.images)
    assert torch.equal(load_split("digits", "train").labels, digits.train.labels)
    assert torch.equal(load_split("digits", limit=7).images, load_dataset("digits", limit=7).test.images)
    with pytest.raises(UsageError, match=r"unknown split 'tset'. Did you mean test"):
        load_split("digits", "tset")


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="limit: must be at least 1"):
        load_dataset("digits", limit=limit)


def test_an_unknown_name_is_answered_with_the_nearest_registered_and_imported_ones(
    data_home: Path, make_archive: Any
) -> None:
    make_archive(data_home / "flowers.npz")
    assert dataset_names() == ["cifar10", "digits", "fashion_mnist", "flowers", "svhn"]
    for wrong, right in (("digit", "digits"), ("flower", "flowers"), ("fashion_mnis", "fashion_mnist")):
        with pytest.raises(UsageError, match=f"unknown data set '{wrong}'. Did you mean {right}.*shows all 5") as error:
            load_dataset(wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../outside", "..", "", "/etc/passwd", "a/b", "outside\n", "a\0b"])
def test_a_name_that_is_a_path_leads_nowhere(name: str, data_home: Path, make_archive: Any) -> None:
    make_archive(data_home.parent / "outside.npz")
    make_archive(data_home / "a" / "b.npz")
    with pytest.raises(UsageError, match="unknown data set") as error:
        load_dataset(name)
    assert "\n" not in str(error.value)


def test_a_data_set_is_read_once_until_its_archive_changes(data_home: Path, make_archive: Any) -> None:
    path = make_archive(data_home / "mine.npz")
    first = shared_dataset("mine")
    assert shared_dataset("mine") is first
    make_archive(path, train_labels=np.arange(12)[::-1] % 3)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    assert load_dataset("mine").fingerprint != first.fingerprint


def test_the_data_folder_of_the_moment_counts(
    data_home: Path, make_archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(data_home / "mine.npz")
    load_dataset("mine")
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="unknown data set 'mine'"):
        load_dataset("mine")


def test_a_registered_function_is_a_data_set(register: Any) -> None:
    images = np.linspace(0, 1, 8 * 4 * 5, dtype=np.float32).reshape(8, 4, 5)

    @register("ramp")
    def ramp() -> Dataset:
        return dataset_from_arrays("other name", (images, np.arange(8) % 2), (images, np.arange(8) % 2))

    dataset = load_dataset("ramp")
    assert (dataset.name, dataset.image_shape, dataset.classes) == ("ramp", (1, 4, 5), ("0", "1"))
    assert torch.equal(dataset.train.images[:, 0], torch.tensor(images))


def test_a_function_in_a_file_is_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "stripes.py"
    path.write_text(
        "import numpy as np\n"
        "from robustbench_ekdaa.data import dataset_from_arrays\n"
        "def stripes():\n"
        "    images = np.zeros((4, 6, 6)); images[1::2, ::2] = 1\n"
        "    return dataset_from_arrays('stripes', (images, np.arange(4) % 2), (images, np.arange(4) % 2))\n"
    )
    assert load_dataset(f"{path}:stripes").name == "stripes"


def split(**changes: Any) -> Split:
    return Split(**{"images": torch.rand(4, 1, 8, 8), "labels": torch.tensor([0, 1, 0, 1]), **changes})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ((1, 2), r"must return a Dataset \(got tuple\)"),
        (split(images=torch.rand(4, 8, 8)), r"images must be float32 .*\(got float32 \(4, 8, 8\)\)"),
        (split(images=torch.rand(4, 1, 8, 8).double()), r"\(got float64 \(4, 1, 8, 8\)\)"),
        (split(images=torch.rand(4, 1, 8, 8) * 255), r"images must be in \[0, 1\]"),
        (split(images=torch.full((4, 1, 8, 8), torch.nan)), r"images must be in \[0, 1\]"),
        (split(labels=torch.tensor([0, 1, 0])), r"labels must be int64 \(4,\) \(got int64 \(3,\)\)"),
        (split(labels=torch.tensor([0, 1, 2, 0])), "labels must be 0 to 1"),
        (split(labels=torch.tensor([0, 1, -1, 0])), "labels must be 0 to 1"),
    ],
)
def test_a_function_that_returns_something_wrong_is_told_in_one_line(register: Any, made: Any, expected: str) -> None:
    dataset = Dataset("x", "X", split(), made, ("a", "b"), "0" * 64) if isinstance(made, Split) else made
    register("wrong")(lambda: dataset)
    with pytest.raises(UsageError, match="data set 'wrong': .*" + expected) as error:
        load_dataset("wrong")
    assert "\n" not in str(error.value)
