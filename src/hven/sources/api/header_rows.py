"""Sources whose rows are made of the headers of files, which are kept from one reading to the next."""

from __future__ import annotations

from hven.sources._reading.header_cache import FileHeader
from hven.sources._reading.header_rows import FOOTPRINT_COLUMN, FileHeaderSource, HeaderSourceOptions

__all__ = ["FOOTPRINT_COLUMN", "FileHeader", "FileHeaderSource", "HeaderSourceOptions"]
