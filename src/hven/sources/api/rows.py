"""Rows that a source builds from texts and Python values."""

from __future__ import annotations

from hven.sources._reading.batch_slicing import limit_rows, split_batches
from hven.sources._reading.data_files import (
    CHUNK_BYTES,
    DataFile,
    DecompressedStream,
    Texts,
    build_source_batch,
    resolve_column_names,
)

__all__ = [
    "CHUNK_BYTES",
    "DataFile",
    "DecompressedStream",
    "Texts",
    "build_source_batch",
    "limit_rows",
    "resolve_column_names",
    "split_batches",
]
