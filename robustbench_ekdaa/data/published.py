"""The published data sets: where they are downloaded from, with which checksums, and how their files are read.

Downloads go through torchvision, which verifies the MD5 sums. CIFAR-10 is taken in its binary version, because the
Python version that torchvision reads is made of pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError, WorkFailed
from .arrays import Arrays, Pair, assemble
from .location import imported_names

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_BATCHES = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = "test_batch.bin"


@dataclass(frozen=True)
class Published:
    """What is known of a published data set before its files are read.

    Attributes:
        name: what cards and the command line call it.
        title: what figures call it.
        classes: its class names.
        train: number of training images.
        test: number of test images.
        image_shape: (channels, height, width).
        files: its files in the data folder, as the download leaves them.
        download: downloads and verifies them into a folder.
        read: reads them from a folder: training and test images and labels.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    train: int
    test: int
    image_shape: tuple[int, int, int]
    files: tuple[str, ...]
    download: Callable[[Path], None]
    read: Callable[[Path], tuple[Pair, Pair]]

    def is_in(self, folder: Path) -> bool:
        """Whether all its files are there."""
        return all(os.path.isfile(folder / file) for file in self.files)  # also False if the folder cannot be read


def read_published(published: Published, folder: Path) -> Arrays:
    """Read a published data set from its downloaded files; nothing is downloaded.

    Args:
        published: the data set.
        folder: where its files are.

    Raises:
        UsageError: when the files are not there, damaged or incomplete.
    """
    name = published.name
    if not published.is_in(folder):
        imported_names()  # raises if the folder cannot be read at all
        raise UsageError(
            f"{name}: is not on this computer. Run `robustbench-ekdaa data fetch {name}`, "
            f"or put {name}.npz in {shown_path(folder)}."
        )
    place = f"{name} in {shown_path((folder / published.files[0]).parent)}"
    advice = f"Run `robustbench-ekdaa data fetch {name}` to get it again."
    try:
        train, test = published.read(folder)
    except UsageError:
        raise
    except Exception as error:  # readers of IDX, MAT and binary files raise many kinds of errors
        raise UsageError(f"{place}: damaged ({type(error).__name__}: {_one_line(error)}). {advice}") from None
    if (len(train[0]), len(test[0])) != (published.train, published.test):
        raise UsageError(
            f"{place}: holds {len(train[0])} training and {len(test[0])} test images "
            f"instead of {published.train} and {published.test}. {advice}"
        )
    return assemble(place, train, test, classes=published.classes)


def download_published(published: Published, folder: Path) -> None:
    """Download a published data set and verify its checksums; files that are already there are kept.

    Args:
        published: the data set.
        folder: where its files go.

    Raises:
        WorkFailed: when the network, the checksum or the disk fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        published.download(folder)
    except (UsageError, WorkFailed):
        raise
    except Exception as error:  # network, checksum, extraction and disk raise many kinds of errors
        raise WorkFailed(
            f"{published.name}: download to {shown_path(folder)} failed ({type(error).__name__}: {_one_line(error)}). "
            f"Check network and disk and run it again, or put {published.name}.npz there."
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _download_fashion_mnist(folder: Path) -> None:
    from torchvision.datasets import FashionMNIST

    _refuse_legacy(folder)
    FashionMNIST(folder, download=True)


def _read_fashion_mnist(folder: Path) -> tuple[Pair, Pair]:
    from torchvision.datasets import FashionMNIST

    _refuse_legacy(folder)
    train, test = FashionMNIST(folder, train=True), FashionMNIST(folder, train=False)
    return (train.data.numpy(), train.targets.numpy()), (test.data.numpy(), test.targets.numpy())


def _refuse_legacy(folder: Path) -> None:
    old = folder / "FashionMNIST" / "processed"
    if old.exists():
        raise UsageError(f"{shown_path(old)}: files of an old torchvision, which are pickles and not read. Delete it.")


def _download_cifar10(folder: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(CIFAR10_URL, str(folder), md5=CIFAR10_MD5)


def _read_cifar10(folder: Path) -> tuple[Pair, Pair]:
    batches = folder / CIFAR10_BATCHES
    train = [_cifar10_records(batches / batch) for batch in CIFAR10_TRAIN]
    joined = np.concatenate([images for images, _ in train]), np.concatenate([labels for _, labels in train])
    return joined, _cifar10_records(batches / CIFAR10_TEST)


def _cifar10_records(path: Path) -> Pair:
    """Read records of one label byte and 3 x 32 x 32 colour bytes, plane by plane (Krizhevsky's binary version)."""
    records: NDArray[Any] = np.fromfile(path, dtype=np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _download_svhn(folder: Path) -> None:
    from torchvision.datasets import SVHN

    for split in ("train", "test"):
        SVHN(folder, split=split, download=True)


def _read_svhn(folder: Path) -> tuple[Pair, Pair]:
    from torchvision.datasets import SVHN

    train, test = SVHN(folder, split="train"), SVHN(folder, split="test")
    return (train.data, train.labels), (test.data, test.labels)


FASHION_MNIST = Published(
    name="fashion_mnist",
    title="Fashion-MNIST",
    classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    train=60_000,
    test=10_000,
    image_shape=(1, 28, 28),
    files=tuple(
        f"FashionMNIST/raw/{half}-{kind}-ubyte" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    ),
    download=_download_fashion_mnist,
    read=_read_fashion_mnist,
)
CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train=50_000,
    test=10_000,
    image_shape=(3, 32, 32),
    files=tuple(f"{CIFAR10_BATCHES}/{batch}" for batch in (*CIFAR10_TRAIN, CIFAR10_TEST)),
    download=_download_cifar10,
    read=_read_cifar10,
)
SVHN_DIGITS = Published(
    name="svhn",
    title="SVHN",
    classes=tuple("0123456789"),
    train=73_257,
    test=26_032,
    image_shape=(3, 32, 32),
    files=("train_32x32.mat", "test_32x32.mat"),
    download=_download_svhn,
    read=_read_svhn,
)
PUBLISHED = {published.name: published for published in (FASHION_MNIST, CIFAR10, SVHN_DIGITS)}
