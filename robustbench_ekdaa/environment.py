"""What results may depend on that is in no card: versions of libraries, the device, the platform."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

Environment = dict[str, str]
PACKAGES = {"foolbox": "foolbox", "art": "adversarial-robustness-toolbox"}  # by what attack cards call a library


@lru_cache
def _environment(device: str, library: str | None) -> tuple[tuple[str, str], ...]:
    import torch

    found = {"torch": str(torch.__version__), "platform": f"{platform.system()} {platform.machine()}"}
    kind = torch.device(device).type
    if kind == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
    else:
        found["device"] = f"cpu {torch.backends.cpu.get_cpu_capability()}" if kind == "cpu" else kind
    if library is not None:
        found[library] = _version(PACKAGES.get(library, library))
    return tuple(found.items())


def environment(device: str, library: str | None = None) -> Environment:
    """Return what something is made with: "torch" (its version), "platform", "device", and a library's version.

    Args:
        device: where it is computed; of a CPU, the kind of instructions that PyTorch chooses is told.
        library: "foolbox" or "art", for attacks of these.
    """
    return dict(_environment(str(device), library))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def as_text(facts: Mapping[str, str] | None) -> str:
    """Write an environment as text, the same for the same facts; "" for one that is not known."""
    return json.dumps(dict(facts), sort_keys=True) if facts else ""


def mixed(environments: list[Environment]) -> dict[str, list[str]]:
    """Return in which facts environments differ, and the values found, sorted.

    >>> mixed([{"torch": "2.13.0", "platform": "Linux"}, {"torch": "2.14.0", "platform": "Linux"}, {}])
    {'torch': ['2.13.0', '2.14.0']}
    """
    values: dict[str, set[str]] = {}
    for one in environments:
        for name, value in one.items():
            values.setdefault(name, set()).add(value)
    return {name: sorted(found) for name, found in values.items() if len(found) > 1}
