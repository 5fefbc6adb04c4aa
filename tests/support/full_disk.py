"""A disk that is full, for this process alone."""

import resource
from contextlib import contextmanager


@contextmanager
def no_file_larger_than(size):
    """Make writes fail as on a full disk, for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
