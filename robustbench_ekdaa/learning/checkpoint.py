"""Tensors and facts in safetensors files, written so that a reader sees a whole file or none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError, WorkFailed

FACTS = "robustbench_ekdaa"


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors with JSON-like facts in the header, to a temporary name and then renamed.

    Raises:
        WorkFailed: when the disk is full or cannot be written.

    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, partial, metadata={FACTS: json.dumps(facts, sort_keys=True)})
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkFailed(f"{path}: could not be written ({reason}); everything finished before is kept") from None
    finally:
        partial.unlink(missing_ok=True) if partial.parent.is_dir() and os.access(partial.parent, os.W_OK) else None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote; raises UsageError if the file is missing, damaged or of another tool."""
    return _read(path, tensors=True)


def _read(path: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as a checkpoint ({error}). Remove it and run again.") from None
    if FACTS not in metadata:
        raise UsageError(f"{path}: not a checkpoint of this tool. Remove it and run again.")
    return found, json.loads(metadata[FACTS])


def load_facts(path: Path) -> dict[str, Any]:
    """Read the facts alone, without the tensors; raises UsageError as `load_tensors` does."""
    return _read(path, tensors=False)[1]


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with ``prefix.`` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix.``, without it."""
    return {
        name.removeprefix(prefix + "."): tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")
    }
