"""Rows that a source builds from texts and Python values."""

from __future__ import annotations

from hven.sources._reading.batch_slicing import split_batches
from hven.sources._reading.data_files import DataFile, Texts, build_source_batch, resolve_column_names

__all__ = ["DataFile", "Texts", "build_source_batch", "resolve_column_names", "split_batches"]
