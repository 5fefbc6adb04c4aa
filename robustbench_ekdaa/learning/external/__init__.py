"""Models that were trained elsewhere: where they come from, whether they can be trusted, and their way into a run."""

from .loading import LoadingJob, check_ready, load_ready, take_over
from .registering import register_model

__all__ = ["LoadingJob", "check_ready", "load_ready", "register_model", "take_over"]
