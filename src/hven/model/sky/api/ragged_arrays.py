"""Columns of lists: arrays of all elements with the offsets of each row, and pieces of columns on several cores."""

from __future__ import annotations

from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    compute_successor_indexes,
    gather_element_indexes,
    sort_distinct,
    split_into_blocks,
)
from hven.model.sky._thread_pool import map_in_threads

__all__ = [
    "compute_element_numbers",
    "compute_offsets",
    "compute_row_indexes",
    "compute_successor_indexes",
    "gather_element_indexes",
    "map_in_threads",
    "sort_distinct",
    "split_into_blocks",
]
