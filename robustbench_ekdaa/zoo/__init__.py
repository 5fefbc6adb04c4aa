"""A zoo: trained models that somebody published, in a folder or at a URL, to be taken instead of trained."""

from .index import Figures, Index
from .publishing import Exhibit, PublishedModel, publish
from .taking import Zoo, ZooModel

__all__ = ["Exhibit", "Figures", "Index", "PublishedModel", "Zoo", "ZooModel", "publish"]
