from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robustbench_ekdaa.data import dataset_status, fetch_dataset, load_dataset, published
from robustbench_ekdaa.data.arrays import KNOWN_TITLES
from robustbench_ekdaa.data.published import PUBLISHED, read_published
from robustbench_ekdaa.errors import UsageError, WorkFailed

NUMBERS = np.random.default_rng(0)


def idx(array: NDArray[np.uint8]) -> bytes:
    """The IDX format of the MNIST family: two zero bytes, type 8 (bytes), dimensions, big-endian sizes, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def pictures(count: int, *shape: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return NUMBERS.integers(0, 256, (count, *shape)).astype(np.uint8), np.arange(count, dtype=np.uint8) % 10


def reduced(monkeypatch: pytest.MonkeyPatch, name: str, train: int, test: int) -> None:
    """Expect fewer images of a published data set, so that a test can write them all."""
    monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(PUBLISHED[name], train=train, test=test))


def write_fashion_mnist(folder: Path, train: Any, test: Any, pack: Any = None) -> dict[str, str]:
    """Write the four IDX files, packed or not, and return their MD5 sums."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for half, (images, labels) in (("train", train), ("t10k", test)):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{half}-{kind}-ubyte{'.gz' if pack else ''}"
            path.write_bytes(pack(idx(array)) if pack else idx(array))
            sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    return sums


def cifar10_batches(batches: list[Any]) -> dict[str, bytes]:
    """The binary version of CIFAR-10: per image a label byte, then the red, the green and the blue plane."""
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return {
        name: b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(*batch, strict=True))
        for name, batch in zip(names, batches, strict=True)
    }


def write_svhn(folder: Path, half: str, images: Any, labels: Any) -> str:
    """Write the .mat file of SVHN: X of shape (32, 32, 3, N), y with 10 for the digit 0; return its MD5 sum."""
    from scipy.io import savemat

    path = folder / f"{half}_32x32.mat"
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which this computer serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def fashion_mnist_served(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any, Any]:
    """A small Fashion-MNIST at an address that torchvision's own download code is sent to."""
    from torchvision.datasets import FashionMNIST

    folder, address = served
    train, test = pictures(20, 28, 28), pictures(10, 28, 28)
    sums = write_fashion_mnist(folder, train, test, pack=gzip.compress)
    monkeypatch.setattr(FashionMNIST, "mirrors", [address])
    monkeypatch.setattr(FashionMNIST, "resources", list(sums.items()))
    reduced(monkeypatch, "fashion_mnist", 20, 10)
    return folder, train, test


def test_fashion_mnist_is_downloaded_verified_and_read(data_home: Path, fashion_mnist_served: Any) -> None:
    _, train, test = fashion_mnist_served
    with pytest.raises(
        UsageError, match=r"Run `robustbench-ekdaa data fetch fashion_mnist`, or put fashion_mnist\.npz"
    ):
        load_dataset("fashion_mnist")
    assert not dataset_status("fashion_mnist").here
    status = fetch_dataset("fashion_mnist")
    assert (status.here, status.train, status.test) == (True, 20, 10)
    dataset = load_dataset("fashion_mnist")
    assert torch.equal(dataset.train.images, torch.tensor(train[0]).float()[:, None] / 255)
    assert torch.equal(dataset.test.labels, torch.tensor(test[1]).long())
    assert dataset.classes[9] == "ankle boot"
    assert dataset.title == "Fashion-MNIST"


def test_fetching_again_needs_no_network_and_a_damaged_file_is_fetched_anew(
    data_home: Path, fashion_mnist_served: Any
) -> None:
    folder, _, _ = fashion_mnist_served
    fetch_dataset("fashion_mnist")
    before = load_dataset("fashion_mnist").fingerprint
    for path in folder.iterdir():
        path.rename(path.with_suffix(".away"))
    assert fetch_dataset("fashion_mnist").here
    raw = data_home / "FashionMNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 cut")
    with pytest.raises(
        UsageError, match=r"fashion_mnist in .*raw: damaged \(.*data fetch fashion_mnist` to get it again"
    ):
        read_published(PUBLISHED["fashion_mnist"], data_home)
    for path in folder.iterdir():
        path.rename(path.with_suffix(".gz"))
    fetch_dataset("fashion_mnist")
    assert load_dataset("fashion_mnist").fingerprint == before


def test_a_download_with_a_wrong_checksum_is_refused(data_home: Path, fashion_mnist_served: Any) -> None:
    folder, train, test = fashion_mnist_served
    write_fashion_mnist(folder, (train[0], train[1][::-1]), test, pack=gzip.compress)
    with pytest.raises(WorkFailed, match=r"fashion_mnist: download to .* failed .*corrupted") as error:
        fetch_dataset("fashion_mnist")
    assert "\n" not in str(error.value)
    assert not dataset_status("fashion_mnist").here


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "svhn"])
def test_a_network_that_does_not_answer_is_told_in_one_line(
    name: str, data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import SVHN, FashionMNIST

    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(published, "CIFAR10_URL", nowhere + "cifar-10-binary.tar.gz")
    monkeypatch.setattr(SVHN, "split_list", {half: [nowhere + half, half, "0" * 32] for half in ("train", "test")})
    with pytest.raises(WorkFailed, match=f"{name}: download to .*refused.*put {name}.npz there") as error:
        fetch_dataset(name)
    assert "\n" not in str(error.value)


def test_cifar10_is_downloaded_verified_and_read_without_a_pickle(
    data_home: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    batches = [pictures(10, 32, 32, 3) for _ in range(6)]
    archive = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in cifar10_batches(batches).items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(published, "CIFAR10_URL", address + archive.name)
    with pytest.raises(WorkFailed, match=r"cifar10: download to .*corrupted"):
        fetch_dataset("cifar10")  # it is not the archive whose checksum is published
    monkeypatch.setattr(published, "CIFAR10_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    reduced(monkeypatch, "cifar10", 50, 10)
    fetch_dataset("cifar10")
    dataset = load_dataset("cifar10")
    expected = np.concatenate([images for images, _ in batches[:5]])
    assert torch.equal(dataset.train.images, torch.tensor(expected).permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(dataset.test.labels, torch.tensor(batches[5][1]).long())
    assert not list(data_home.rglob("*batches-py*"))


@pytest.mark.parametrize("cut", [1, 3073])
def test_a_shortened_cifar10_file_is_refused(data_home: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    reduced(monkeypatch, "cifar10", 50, 10)
    folder = data_home / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in cifar10_batches([pictures(10, 32, 32, 3) for _ in range(6)]).items():
        (folder / name).write_bytes(content[:-cut] if name == "test_batch.bin" else content)
    with pytest.raises(UsageError, match=r"cifar10 in .*cifar-10-batches-bin: (damaged|holds 50 .* 9 test)") as error:
        load_dataset("cifar10")
    assert "\n" not in str(error.value)


def test_svhn_is_read_from_mat_files_with_its_tens_as_zeros(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    halves = {"train": pictures(20, 32, 32, 3), "test": pictures(10, 32, 32, 3)}
    for half, (images, labels) in halves.items():
        checksum = write_svhn(data_home, half, images, labels)
        monkeypatch.setitem(SVHN.split_list, half, ["", f"{half}_32x32.mat", checksum])
    reduced(monkeypatch, "svhn", 20, 10)
    dataset = load_dataset("svhn")
    assert torch.equal(dataset.train.images, torch.tensor(halves["train"][0]).permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(dataset.train.labels, torch.tensor(halves["train"][1]).long())
    assert dataset.classes == tuple("0123456789")


def test_an_svhn_file_of_another_checksum_is_refused(data_home: Path) -> None:
    for half in ("train", "test"):
        write_svhn(data_home, half, *pictures(10, 32, 32, 3))
    with pytest.raises(UsageError, match=r"svhn in .*: damaged \(RuntimeError: Dataset not found or corrupted"):
        load_dataset("svhn")


def test_pickled_files_of_an_old_torchvision_are_refused(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion_mnist(data_home / "FashionMNIST" / "raw", pictures(20, 28, 28), pictures(10, 28, 28))
    (data_home / "FashionMNIST" / "processed").mkdir()
    with pytest.raises(UsageError, match="processed: files of an old torchvision, which are pickles"):
        load_dataset("fashion_mnist")


def test_an_archive_in_the_data_folder_is_read_before_the_published_files(data_home: Path, make_archive: Any) -> None:
    make_archive(data_home / "cifar10.npz")
    dataset = load_dataset("cifar10")
    assert dataset.image_shape == (3, 5, 7)
    assert dataset.classes == PUBLISHED["cifar10"].classes
    with pytest.raises(UsageError, match=r"cifar10.npz is read first. Move it away"):
        fetch_dataset("cifar10")


@pytest.mark.parametrize(("name", "expected"), [("digits", "has nothing to download"), ("fashon", "fashion_mnist")])
def test_only_published_data_sets_are_fetched(name: str, expected: str, data_home: Path) -> None:
    with pytest.raises(UsageError, match=expected):
        fetch_dataset(name)


def test_fashion_mnist_from_idx_files_equals_the_archive(tmp_path: Path, fashion_mnist: Any) -> None:
    """All 70,000 pictures, through torchvision's own reader."""
    status = dataset_status("fashion_mnist")
    if not status.where.endswith(".npz"):
        pytest.skip("fashion_mnist is here as published, not as an archive")
    with np.load(status.where) as archive:
        halves = [[archive[f"{half}_{kind}"] for kind in ("images", "labels")] for half in ("train", "test")]
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", *halves)
    arrays = read_published(PUBLISHED["fashion_mnist"], tmp_path)
    assert arrays.fingerprint() == load_dataset("fashion_mnist").fingerprint


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_an_archive_that_only_borrows_a_published_name_is_titled_as_what_it_is(
    name: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(name)
    dataset, known = load_dataset(name), PUBLISHED[name]
    complete = (len(dataset.train), len(dataset.test)) == (known.train, known.test)
    assert dataset.title == KNOWN_TITLES.get(dataset.fingerprint, known.title)
    assert dataset_status(name).title == dataset.title
    assert complete or dataset.title != known.title
