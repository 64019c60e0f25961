"""Files in answers: byte ranges, files that the site derives from others, and unfinished ones that are left over."""

from __future__ import annotations

from hven.services._abandoned_files import list_abandoned_files
from hven.services._byte_ranges import PieceStreamResponse, answer_file, stream_file_pieces
from hven.services._derived_files import DerivedFileStore

__all__ = [
    "DerivedFileStore",
    "PieceStreamResponse",
    "answer_file",
    "list_abandoned_files",
    "stream_file_pieces",
]
