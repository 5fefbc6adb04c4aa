"""A zoo: trained models that somebody published, in a folder or at a URL, to be taken instead of trained."""

from .index import Figures, Index
from .publishing import Exhibit, Shown, publish
from .taking import Found, Zoo

__all__ = ["Exhibit", "Figures", "Found", "Index", "Shown", "Zoo", "publish"]
