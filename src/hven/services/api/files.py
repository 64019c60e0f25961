"""Files in answers: byte ranges, and files that the site derives from others and keeps within a budget."""

from __future__ import annotations

from hven.services._byte_ranges import answer_file, stream_file_pieces
from hven.services._derived_files import DerivedFileStore

__all__ = [
    "DerivedFileStore",
    "answer_file",
    "stream_file_pieces",
]
