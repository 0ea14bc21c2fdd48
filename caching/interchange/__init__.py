"""Caches of other tools, read and written."""

from caching.interchange.delphi_read import read_delphi
from caching.interchange.delphi_write import write_delphi
from caching.interchange.vocabulary import Vocabulary

__all__ = ["Vocabulary", "read_delphi", "write_delphi"]
