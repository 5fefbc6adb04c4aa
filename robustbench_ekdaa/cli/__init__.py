"""The command line: each command calls the Python interface and imports large libraries only when it runs."""

from . import workspace, data, training, reporting, analysing, zoo  # noqa: F401, I001 - in the order in which --help lists commands
from .entry import main

__all__ = ["main"]
