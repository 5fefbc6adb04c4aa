"""The command line: each command calls the Python interface and imports large libraries only when it runs."""

# In the order in which --help lists commands.
from . import workspace, data, training, runs, analysing, reporting, zoo  # noqa: F401, I001
from .entry import main

__all__ = ["main"]
