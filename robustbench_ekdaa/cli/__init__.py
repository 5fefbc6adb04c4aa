"""The command line: every command is a few lines over the Python interface, and imports what is heavy when it runs."""

from . import workspace, data, training, reporting  # noqa: F401, I001 - in the order in which --help lists commands
from .entry import main

__all__ = ["main"]
