"""Reading and writing safetensors files that hold tensors, facts, and a digest of all bytes of the file.

The digest is no signature: it detects damaged and exchanged files, not forged ones.
"""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import UsageError
from .reading import shown_path
from .writing import whole_file

if TYPE_CHECKING:
    from torch import Tensor

FACTS = "robustbench_ekdaa"  # the entry of a safetensors header that holds the facts, as JSON


@dataclass(frozen=True)
class TensorFile:
    """What a safetensors file holds.

    Attributes:
        tensors: by name, on the CPU.
        facts: what this tool wrote beside them, as plain data; None for a file of another tool. "digest" is the digest
            of the whole file, which was checked; files of early releases have none.
        header: the other entries of the header's metadata.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any] | None
    header: dict[str, str]


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Write tensors and JSON-like facts to a safetensors file, sealed by a digest of all its bytes.

    Args:
        path: the file; see `whole_file`.
        tensors: by name; they may share memory, and lie on any device.
        facts: whatever JSON can hold, but no "digest".

    Returns:
        the file's digest, 64 hex digits; among the facts that are read it is the "digest".

    Raises:
        OSError: when it cannot be written.
        TypeError: for facts that JSON cannot hold, and for what is no tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    mark = secrets.token_hex(32)  # takes the digest's place in the file until the digest is known
    text = json.dumps({**facts, "digest": mark}, sort_keys=True)
    with whole_file(path) as draft:
        try:
            save_file(storable(tensors), draft, metadata={FACTS: text})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from None
        place = _place(draft, mark)
        digest = _digest(draft, place)
        with draft.open("r+b") as file:
            file.seek(place)
            file.write(digest.encode())
    return digest


def storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors needs them: dense and contiguous on the CPU, and no two in the same memory.

    Args:
        tensors: by name.

    Raises:
        TypeError: naming what is no tensor, or has no text as its name, or is of a kind that no file can hold.
    """
    import torch

    apart: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name!r}: must be a tensor with a text as name (got {type(tensor).__name__})")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype == torch.complex128 or tensor.is_meta:
            raise TypeError(f"{name}: a file cannot hold such a tensor ({tensor.dtype}, {tensor.layout})")
        whole = tensor.detach().cpu().contiguous()
        if whole.untyped_storage().data_ptr() in taken:
            whole = whole.clone()
        taken.add(whole.untyped_storage().data_ptr())
        apart[name] = whole
    return apart


def _place(path: Path, digest: str) -> int:
    """Return the position in bytes of a digest in a safetensors file; -1 unless it is there exactly once."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 100_000_000))
    return 8 + header.index(digest.encode()) if header.count(digest.encode()) == 1 else -1


def _digest(path: Path, place: int) -> str:
    """Return the SHA-256 of a file whose 64 bytes at `place` are read as zeros."""
    with path.open("rb") as file:
        found = hashlib.sha256(file.read(place) + b"0" * 64)
        file.seek(place + 64)
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def read_tensors(path: Path, advice: str = "Remove it and run again.") -> TensorFile:
    """Read a safetensors file, of this or another tool; nothing is ever unpickled.

    Args:
        path: the file.
        advice: what the message tells people to do with a damaged file.

    Raises:
        UsageError: naming the file and the reason, for one that is missing, damaged, or not what its digest says.
    """
    from safetensors import safe_open

    where = shown_path(path)
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise UsageError(f"{where}: is not a regular file")
        # Opened here, because Python's errors say more than the library's, which can open only names in UTF-8.
        with path.open("rb") as opened, safe_open(_utf_8(opened, path), framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        facts = _facts(header)
        if facts is not None and "digest" in facts:
            place = _place(path, str(facts["digest"]))
            if place < 0 or _digest(path, place) != facts["digest"]:
                if path.stat().st_ino != before.st_ino:  # it was replaced while it was read
                    return read_tensors(path, advice)
                raise ValueError("its content is not what was written")
    except FileNotFoundError:
        raise UsageError(f"{where}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror or error})") from None
    except UsageError:
        raise
    except Exception as error:  # a damaged file can be wrong in any way
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UsageError(f"{where}: is damaged ({reason}). {advice}".rstrip()) from None
    return TensorFile(tensors, facts, header)


def _utf_8(opened: IO[bytes], path: Path) -> str:
    """Return a name in UTF-8 for an open file: its own name, or that of its descriptor."""
    name = str(path)
    return name if name == name.encode("utf-8", "replace").decode("utf-8") else f"/dev/fd/{opened.fileno()}"


def _facts(header: dict[str, str]) -> dict[str, Any] | None:
    """Take this tool's facts out of a header; None if there are none."""
    if FACTS not in header:
        return None
    try:
        facts = json.loads(header.pop(FACTS))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise ValueError(f"{FACTS}: the header's entry must be a JSON object")
    return facts
