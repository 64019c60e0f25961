"""Sources that read files one after the other, and options of all kinds that read files."""

from __future__ import annotations

from hven.sources._reading.data_files import FileOptions, find_file_fact_type
from hven.sources._reading.file_rows import FileByFileSource, FilesAsRowsSource, FileSource, is_exact_widening

__all__ = [
    "FileByFileSource",
    "FileOptions",
    "FileSource",
    "FilesAsRowsSource",
    "find_file_fact_type",
    "is_exact_widening",
]
