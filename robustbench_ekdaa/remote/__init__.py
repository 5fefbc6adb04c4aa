"""Files elsewhere, by URL: what a URL may be, reading and caching what it names, and writing to it."""

from .cache import cache_folder, fetched, remembered
from .location import Location, is_url, location
from .reading import read_remote
from .writing import put, size_of

__all__ = [
    "Location",
    "cache_folder",
    "fetched",
    "is_url",
    "location",
    "put",
    "read_remote",
    "remembered",
    "size_of",
]
