"""The built-in data sets."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..randomness import keyed_generator
from .archive import read_archive
from .arrays import dataset_from_arrays
from .dataset import Dataset
from .hold_out import hold_out
from .location import archive_path, data_folder
from .published import PUBLISHED, read_published

DIGITS_TITLE = "Digits (8x8)"
DIGITS_IMAGES = 1797
DIGITS_TEST_IMAGES = 500


def digits() -> Dataset:
    """Return scikit-learn's 1,797 scanned digits, 8x8 grey, 500 of them held out as test images.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    table = np.loadtxt(_digits_file(), delimiter=",", dtype=np.int64)
    images, labels = (table[:, :-1].reshape(-1, 8, 8) / 16).astype(np.float32), table[:, -1]
    kept, held = hold_out(labels, DIGITS_TEST_IMAGES, keyed_generator(0, "hold out", "digits"))
    train, test = (images[kept], labels[kept]), (images[held], labels[held])
    return dataset_from_arrays("digits", train, test, title=DIGITS_TITLE)


def _digits_file() -> Path:
    """Return scikit-learn's file of digits, without importing scikit-learn (a second and 100 MB in each worker)."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UsageError("digits: scikit-learn, which holds them, is not installed. Run `pip install scikit-learn`.")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def fashion_mnist() -> Dataset:
    """Return Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28 grey (Xiao et al., arXiv:1708.07747)."""
    return _published("fashion_mnist")


def cifar10() -> Dataset:
    """Return CIFAR-10: 50,000 + 10,000 pictures of animals and vehicles, 32x32 colour (Krizhevsky, 2009)."""
    return _published("cifar10")


def svhn() -> Dataset:
    """Return SVHN: 73,257 + 26,032 house-number digits, 32x32 colour (Netzer et al., 2011)."""
    return _published("svhn")


def _published(name: str) -> Dataset:
    """Read ``NAME.npz`` if it is there, else the published files."""
    published = PUBLISHED[name]
    archive = archive_path(name)
    if os.path.lexists(archive):
        arrays = read_archive(archive, usual_classes=published.classes)
    else:
        arrays = read_published(published, data_folder())
    return arrays.dataset(name, published.title)
