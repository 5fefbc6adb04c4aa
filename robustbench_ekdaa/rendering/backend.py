"""Matplotlib as reports need it: without a display, and with its own default settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def import_matplotlib() -> None:
    """Import Matplotlib, also where MPLBACKEND names a display that is not installed here.

    Notebooks set it so for every program that they start, and Matplotlib's own import would fail. It must come before
    any other import of Matplotlib or seaborn.
    """
    if "matplotlib" in sys.modules or "MPLBACKEND" not in os.environ:
        return
    backend = os.environ.pop("MPLBACKEND")
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = backend
    with suppress(ValueError):  # it is the caller's, for figures of the caller's own
        matplotlib.rcParams["backend"] = backend


@contextmanager
def ordinary_matplotlib() -> Iterator[None]:
    """Draw with Matplotlib's own settings, whatever a matplotlibrc or the caller has set, and put those back."""
    import_matplotlib()
    from matplotlib import style

    with style.context("default"):
        yield
