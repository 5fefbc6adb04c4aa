"""Showing a run in somebody's experiment tracker, through that tracker's own library."""

from .tracked import TRACKERS, check_tracker, write_tracked

__all__ = ["TRACKERS", "check_tracker", "write_tracked"]
