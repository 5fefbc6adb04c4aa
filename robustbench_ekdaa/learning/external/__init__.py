"""Ready models, which were trained elsewhere: registering, checking and loading them."""

from .loading import LoadingJob, check_ready, load_ready, take_over
from .registering import register_model

__all__ = ["LoadingJob", "check_ready", "load_ready", "register_model", "take_over"]
