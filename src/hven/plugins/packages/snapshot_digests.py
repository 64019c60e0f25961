"""Digests of the rows of a collection: they depend on columns and values, but not on order, files or engine.

Each row has a fingerprint of two words. The first byte of one word names a block; the digest is the SHA-256 of the
numbers of rows and the sums of all blocks. So it needs the same memory for ten rows and for ten billion.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from hven.ingest.api.ledgers import compute_row_fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

DIGEST_METHOD = "hven-rows-1"  # part of each digest; a change of the method changes its name
BLOCK_COUNT = 256
_BLOCK_SHIFT = np.uint64(56)  # the upper 8 bits of a word are the block


class TableDigest:
    """The digest of the rows of one table, which grows batch by batch.

    Parameters
    ----------
    schema
        Columns of the table.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [[field.name, str(field.type)] for field in schema]
        self.row_count = 0
        self._block_rows = np.zeros(BLOCK_COUNT, np.int64)
        self._first_sums = np.zeros(BLOCK_COUNT, np.uint64)
        self._second_sums = np.zeros(BLOCK_COUNT, np.uint64)

    def add_batch(self, batch: pa.RecordBatch) -> int:
        """Add rows.

        Parameters
        ----------
        batch
            Rows, with the columns of the table.

        Returns
        -------
        checksum
            Sum of the fingerprints of these rows, which identifies the batch.
        """
        first, second = compute_row_fingerprints(batch.columns, batch.num_rows)
        blocks = first >> _BLOCK_SHIFT
        self.row_count += batch.num_rows
        self._block_rows += np.bincount(blocks.astype(np.int64), minlength=BLOCK_COUNT)
        for sums, words in ((self._first_sums, first), (self._second_sums, second)):
            np.add.at(sums, blocks.astype(np.intp), words)
        return int(np.bitwise_xor(first, second).sum(dtype=np.uint64))

    def to_text(self) -> str:
        """Return the digest of all rows so far, as hexadecimal SHA-256."""
        facts = json.dumps([DIGEST_METHOD, self._columns, self.row_count])
        digest = hashlib.sha256(facts.encode())
        for values in (self._block_rows.astype("<i8"), self._first_sums, self._second_sums):
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


def compute_row_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """Read rows, and compute their digest.

    Parameters
    ----------
    schema
        Columns of the table.
    batches
        All rows.
    """
    digest = TableDigest(schema)
    for batch in batches:
        digest.add_batch(batch)
    return digest.to_text()


def combine_table_digests(digests: Mapping[str, str]) -> str:
    """Return the snapshot hash of a collection.

    Parameters
    ----------
    digests
        Name of a table -> digest of its rows.
    """
    lines = [f"{name} {digests[name]}\n" for name in sorted(digests)]
    return hashlib.sha256("".join([DIGEST_METHOD, "\n", *lines]).encode()).hexdigest()
