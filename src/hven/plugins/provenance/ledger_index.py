"""Look up the files of rows in the ledgers of synchronised tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.api.ledgers import KEYS_COLUMN, compute_row_fingerprints, load_sync_state, read_ledger
from hven.model import LruCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.site import Site

MAX_INDEXED_LINES = 3_000_000  # of a ledger; an index has 20 bytes a line
MAX_CACHE_BYTES = 100 * 1024**2  # of all indexes of a process


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyToFileIndex:
    """The files of keys: two words of the fingerprints of keys, in the order of the first, and numbers of files."""

    key_type: pa.StructType
    files: Sequence[Sequence[Any]]
    first_words: npt.NDArray[np.uint64]
    second_words: npt.NDArray[np.uint64]
    file_numbers: npt.NDArray[np.int32]

    def find_file(self, key: Mapping[str, Any]) -> str | None:
        """Return the name of the file with a key; None if there is none."""
        arrays = [pa.array([key[field.name]]).cast(field.type) for field in self.key_type]
        first, second = (np.asarray(words)[0] for words in compute_row_fingerprints(arrays, 1))
        begin, end = (np.searchsorted(self.first_words, first, side) for side in ("left", "right"))
        for position in range(begin, end):
            if self.second_words[position] == second:
                file_name: str | None = self.files[self.file_numbers[position]][1]
                return file_name
        return None


class _KeyIndexCache(LruCache[_KeyToFileIndex]):
    """Indexes by the ids of snapshots."""

    def __init__(self) -> None:
        super().__init__(MAX_CACHE_BYTES)


def find_source_file(site: Site, table_name: str, snapshot_id: str, key: Mapping[str, Any]) -> str | None:
    """Find the file from which a row was read. The first look at a ledger builds an index of its keys.

    Parameters
    ----------
    site
        The site.
    table_name
        Qualified name of the table.
    snapshot_id
        Id of the snapshot of the row.
    key
        Values of the primary key by column.

    Returns
    -------
    file_name
        Name of the file; None: the table has no ledger, or one that is too large or does not know the row.
    """
    cache = site.get_or_create(_KeyIndexCache)
    index = cache.find(snapshot_id)
    if index is None:
        state = load_sync_state(site, snapshot_id)
        if state is None or state.ledger is None:
            return None
        lines = read_ledger(site, table_name, state.ledger)
        if lines is None or lines.num_rows > MAX_INDEXED_LINES:
            return None
        index = _build_key_index(lines, state.files)
        byte_count = index.first_words.nbytes + index.second_words.nbytes + index.file_numbers.nbytes
        cache.store(snapshot_id, index, byte_count)
    return index.find_file(key)


def _build_key_index(lines: pa.Table, files: Sequence[Sequence[Any]]) -> _KeyToFileIndex:
    key_type = lines.schema.field(KEYS_COLUMN).type.value_type
    word_parts: list[tuple[Any, Any]] = []
    file_parts = [np.zeros(0, np.int32)]
    for batch in lines.to_batches():
        key_lists = batch.column(KEYS_COLUMN)
        keys = key_lists.flatten()
        word_parts.append(compute_row_fingerprints([keys.field(field.name) for field in key_type], len(keys)))
        file_parts.append(np.asarray(batch.column("file"))[np.asarray(pc.list_parent_indices(key_lists))])
    first_words, second_words = (
        np.concatenate([np.zeros(0, np.uint64), *(np.asarray(words[number]) for words in word_parts)])
        for number in (0, 1)
    )
    order = np.argsort(first_words)
    return _KeyToFileIndex(
        key_type=key_type,
        files=files,
        first_words=first_words[order],
        second_words=second_words[order],
        file_numbers=np.concatenate(file_parts)[order],
    )
