from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_ekdaa.data import Dataset, data_folder, dataset_status, import_dataset, load_dataset, status
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.registry import DATASETS


def test_an_imported_archive_is_a_data_set_by_its_name(data_home: Path, make_archive: Any) -> None:
    source = make_archive(classes=np.array(["a", "b", "c"]))
    imported = import_dataset(source, "mine", title="My  own\nset")
    loaded = load_dataset("mine")
    assert (loaded.name, loaded.title, loaded.classes) == ("mine", "My own set", ("a", "b", "c"))
    assert loaded.fingerprint == imported.fingerprint
    assert torch.equal(loaded.test.images, imported.test.images)
    assert [path.name for path in data_home.iterdir()] == ["mine.npz"]


def test_an_imported_folder_of_real_scans_keeps_every_pixel(data_home: Path, tmp_path: Path, digits: Dataset) -> None:
    """Digits as PNG files with the grey values 0, 15, ..., 240, so that 8 bits hold them exactly."""
    for half, split in (("train", digits.train), ("test", digits.test)):
        for number, (image, label) in enumerate(zip(split.images[:60], split.labels[:60].tolist(), strict=True)):
            folder = tmp_path / "scans" / half / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 240).byte().numpy()).save(folder / f"{number:03}.png")
    dataset = import_dataset(tmp_path / "scans", "scans")
    assert dataset.classes == tuple(f"digit {label}" for label in range(10))
    order = sorted(range(60), key=lambda number: (int(digits.test.labels[number]), number))
    assert torch.equal(dataset.test.images, (digits.test.images[order] * 240) / 255)
    assert torch.equal(dataset.test.labels, digits.test.labels[order])


def test_importing_under_a_taken_name_needs_to_be_asked_for(data_home: Path, make_archive: Any) -> None:
    source = make_archive()
    first = import_dataset(source, "mine")
    with pytest.raises(UsageError, match=r"mine: .*mine.npz is there already. Choose another name, or ask to replace"):
        import_dataset(source, "mine", title="Other")
    assert load_dataset("mine").title == "mine"
    again = import_dataset(data_home / "mine.npz", "mine", title="Other", replace=True)
    assert (again.title, again.fingerprint) == ("Other", first.fingerprint)
    assert load_dataset("mine").title == "Other"


@pytest.mark.parametrize("name", ["../mine", "a/b", "..", "", ".hidden", "a b", "mine\n"])
def test_a_name_with_path_parts_or_blanks_cannot_be_imported(name: str, data_home: Path, make_archive: Any) -> None:
    source = make_archive()
    with pytest.raises(UsageError, match=r"data set name .*: must be letters, digits") as error:
        import_dataset(source, name)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in data_home.parent.rglob("*.npz")) == ["source.npz"]


def test_the_embedded_digits_cannot_be_replaced(data_home: Path, make_archive: Any) -> None:
    with pytest.raises(UsageError, match="digits: is the name of a data set that needs no import"):
        import_dataset(make_archive(), "digits")


def test_a_source_that_is_not_there_or_wrong_changes_nothing(data_home: Path, make_archive: Any) -> None:
    for source, expected in (
        (data_home / "nothing.npz", "there is no such file"),
        (make_archive(train_labels=np.arange(12) % 3 - 1), "numbered from 0"),
    ):
        with pytest.raises(UsageError, match=expected):
            import_dataset(source, "mine")
    assert list(data_home.iterdir()) == []


def test_a_size_for_an_archive_is_refused(data_home: Path, make_archive: Any) -> None:
    with pytest.raises(UsageError, match="only the pictures of a folder are resized"):
        import_dataset(make_archive(), "mine", size=(8, 8))


def test_a_data_folder_that_cannot_be_written_is_told_in_one_line(
    make_archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_archive()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "file"))
    with pytest.raises(WorkFailed, match=r"mine.npz: could not be written .*; nothing was changed") as error:
        import_dataset(source, "mine")
    assert "\n" not in str(error.value)


def test_an_imported_archive_under_a_published_name_has_its_class_names_and_title(
    data_home: Path, make_archive: Any
) -> None:
    dataset = import_dataset(make_archive(), "cifar10")
    assert (dataset.title, dataset.classes[2]) == ("CIFAR-10", "bird")
    titled = import_dataset(make_archive(), "cifar10", title="CIFAR-10 (JPEG)", replace=True)
    assert titled.title == load_dataset("cifar10").title == dataset_status("cifar10").title == "CIFAR-10 (JPEG)"
    assert titled.fingerprint == dataset.fingerprint


def test_the_status_tells_what_is_here_and_how_to_get_the_rest(data_home: Path, make_archive: Any) -> None:
    import_dataset(make_archive(), "mine", title="Mine")
    (data_home / "broken.npz").write_bytes(b"no archive")
    (data_home / "not a name.npz").write_bytes(b"no archive")
    found = {entry.name: entry for entry in status()}
    assert list(found) == ["broken", "cifar10", "digits", "fashion_mnist", "mine", "svhn"]
    mine, digits, svhn, broken = (found[name] for name in ("mine", "digits", "svhn", "broken"))
    assert (mine.title, mine.here, mine.train, mine.test) == ("Mine", True, 12, 6)
    assert (mine.image_shape, mine.classes, mine.where) == ((3, 5, 7), 3, str(data_home / "mine.npz"))
    assert (digits.where, digits.here) == ("embedded", True)
    assert (svhn.where, svhn.here) == ("not here: robustbench-ekdaa data fetch svhn", False)
    assert not broken.here
    assert "broken.npz: not an NPZ archive" in broken.where


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "cifar10", "svhn"])
def test_the_status_agrees_with_the_data_set(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(name)
    dataset, told = load_dataset(name), dataset_status(name)
    assert (told.title, told.train, told.test) == (dataset.title, len(dataset.train), len(dataset.test))
    assert (told.image_shape, told.classes) == (dataset.image_shape, len(dataset.classes))


def test_a_registered_data_set_is_told_without_being_made(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(DATASETS, "_registered", {"theirs": lambda: made.append(1)})
    told = dataset_status("theirs")
    assert (told.where, told.here, told.train, made) == ("registered", True, None, [])
    with pytest.raises(UsageError, match="theirs: is the name of a data set that needs no import"):
        import_dataset(data_home / "x.npz", "theirs")


def test_without_the_variable_the_data_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBUSTBENCH_EKDAA_DATA", raising=False)
    assert data_folder().parts[-2:] == ("robustbench-ekdaa", "data")
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", "~/pictures")
    assert data_folder() == Path.home() / "pictures"
