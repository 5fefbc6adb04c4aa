from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MakeArchive = Callable[..., Path]


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder of this test's own."""
    home = tmp_path / "data home"
    home.mkdir()
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(home))
    return home


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """Write a right NPZ archive of 12 + 6 colour images in three classes, with the given keys changed or left out."""

    def write(path: Path | None = None, **changes: Any) -> Path:
        source = np.random.default_rng(0)
        right = {
            "train_images": source.integers(0, 256, (12, 5, 7, 3)).astype(np.uint8),
            "train_labels": np.arange(12) % 3,
            "test_images": source.integers(0, 256, (6, 5, 7, 3)).astype(np.uint8),
            "test_labels": np.arange(6) % 3,
        }
        path = path or tmp_path / "source.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{key: value for key, value in {**right, **changes}.items() if value is not None})
        return path

    return write
