"""Caches of other tools, read and written."""

from caching.interchange.delphi_read import read_delphi
from caching.interchange.delphi_write import write_delphi
from caching.interchange.seed import is_pooled, read_pooled
from caching.interchange.vocabulary import Vocabulary

__all__ = ["Vocabulary", "is_pooled", "read_delphi", "read_pooled", "write_delphi"]
