"""Compare the rows of two sites by digests, and copy the rows that differ.

Each row belongs to one of `BLOCK_COUNT` blocks, by its key. The digest of a block is the sum of the fingerprints of its
rows, so it doesn't depend on the order of the rows, nor on the engine. Rows of equal blocks are not compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest.api.ledgers import compute_row_fingerprints
from hven.model.errors import StorageError, UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.engines import Snapshot, SnapshotStaging, StorageEngine
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.store import SnapshotRecord

    Words = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

# with 1,000 changes among a million rows, the hashes of 6 % of the rows are fetched; all sums of blocks are 256 KiB
BLOCK_COUNT = 16_384
DIGEST_BLOCK_COUNT = 256
ABSENT = np.uint64(0)  # in place of the hash of values; one of 10^19 rows has this hash
_BLOCK_SHIFT = np.uint64(64 - BLOCK_COUNT.bit_length() + 1)  # the upper bits of a key's hash are the block
MAX_SAMPLE_KEYS = 10
DIGEST_CHARACTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """Rows of a snapshot of the site from which a collection is promoted."""

    table: Table
    snapshot: Snapshot

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows, in the types of the table."""
        raise NotImplementedError

    def select_batches(self, mask: Flags, column_names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a mask; batches without such rows are empty.

        Parameters
        ----------
        mask
            One value for each row, in stored order.
        column_names
            Names of the columns.
        """
        begin = 0
        for batch in self.read_batches() if mask.any() else ():
            part = mask[begin : begin + batch.num_rows]
            begin += batch.num_rows
            yield batch.select(list(column_names)).filter(pa.array(part))

    def compute_hashes(self) -> RowHashes:
        """Read all rows, and hash them."""
        key_parts: list[Words] = [np.zeros(0, np.uint64)]
        value_parts: list[Words] = [np.zeros(0, np.uint64)]
        key_names = list(self.table.primary)
        for batch in self.read_batches():
            values = compute_row_fingerprints(batch.columns, batch.num_rows)[1]
            keys = values
            if key_names:
                keys = compute_row_fingerprints([batch.column(name) for name in key_names], batch.num_rows)[0]
            key_parts.append(keys)
            value_parts.append(values)
        return build_row_hashes(np.concatenate(key_parts), np.concatenate(value_parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows(SourceRows):
    """Rows of a snapshot that the engine of a site of this machine has."""

    engine: StorageEngine

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows, in the types of the table."""
        schema = self.table.arrow_schema
        for batch in self.engine.read_rows(self.snapshot):
            yield batch.select(schema.names).cast(schema)


def open_rows(site: Site, record: SnapshotRecord) -> StoredRows:
    """Return the rows of a record.

    Parameters
    ----------
    site
        The site that stores them.
    record
        Record of a snapshot.
    """
    engine = site.engines.find_engine(record.snapshot)
    return StoredRows(table=record.table, snapshot=record.snapshot, engine=engine)


def split_batch(batch: pa.RecordBatch, byte_limit: int, row_limit: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a batch in parts within two limits, or of one row.

    Parameters
    ----------
    batch
        The rows; without any, the batch itself is the only part.
    byte_limit, row_limit
        Bytes and rows of a part at most; None: any number of rows.
    """
    row_count = batch.num_rows
    if row_count <= 1 or (batch.nbytes <= byte_limit and row_count <= (row_limit or row_count)):
        yield batch
        return
    half = row_count // 2
    yield from split_batch(batch.slice(0, half), byte_limit, row_limit)
    yield from split_batch(batch.slice(half), byte_limit, row_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRows:
    """Rows of some blocks.

    Attributes
    ----------
    positions
        Numbers of the rows, in stored order.
    keys, values
        Hash of the key and of all values of each row. Without a key, all values are the key.
    """

    positions: npt.NDArray[np.int64]
    keys: Words
    values: Words


@dataclass(frozen=True, kw_only=True)
class RowHashes:
    """Hashes of all rows of a snapshot.

    Attributes
    ----------
    block_rows, block_sums
        Number of rows of each block, and the sum of the hashes of their values.
    select_blocks
        Returns the rows of the blocks of a mask.
    """

    block_rows: npt.NDArray[np.int64]
    block_sums: Words
    select_blocks: Callable[[Flags], BlockRows]

    @cached_property
    def row_count(self) -> int:
        """Number of rows."""
        return int(self.block_rows.sum())

    @cached_property
    def digest(self) -> str:
        """Digest of the rows, which is equal for equal rows in any order."""
        sums = (part.reshape(DIGEST_BLOCK_COUNT, -1).sum(axis=1) for part in (self.block_rows, self.block_sums))
        content = b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in sums)
        return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]

    def find_equal_blocks(self, other: RowHashes) -> Flags:
        """Return which blocks have the same rows as those of another snapshot.

        Parameters
        ----------
        other
            Hashes of the other snapshot.
        """
        equal_blocks: Flags = (self.block_rows == other.block_rows) & (self.block_sums == other.block_sums)
        return equal_blocks


def build_row_hashes(keys: Words, values: Words) -> RowHashes:
    """Build the hashes of a snapshot from those of its rows.

    Parameters
    ----------
    keys, values
        As in `BlockRows`, for all rows in stored order.
    """
    blocks = _compute_blocks(keys)
    block_sums = np.zeros(BLOCK_COUNT, np.uint64)
    np.add.at(block_sums, blocks, values)

    def select_blocks(mask: Flags) -> BlockRows:
        positions = np.flatnonzero(mask[blocks])
        return BlockRows(positions=positions, keys=keys[positions], values=values[positions])

    return RowHashes(
        block_rows=np.bincount(blocks, minlength=BLOCK_COUNT).astype(np.int64),
        block_sums=block_sums,
        select_blocks=select_blocks,
    )


def _compute_blocks(keys: Words) -> npt.NDArray[np.int64]:
    return (keys >> _BLOCK_SHIFT).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """The rows in which a table of the source site and the table of the target differ.

    Attributes
    ----------
    written, removed
        Masks over the rows of the source site and of the target, in stored order: rows that the target lacks or has
        with other values, and rows that only the target has.
    replaced
        Mask over the rows of the target that have the key of a written row.
    added, changed
        Numbers of written rows that the target lacks, and that it has with other values.
    equal_blocks
        Number of equal blocks.
    kept
        Number of rows that only the target has changed, so that a merge keeps them.
    conflicts
        Masks over the rows of the source site and of the target: what both have changed.
    result
        Hashes of the rows that the target then has.
    has_other_repeats
        Whether the tables differ, but only in how often they repeat the same rows.
    samples
        Keys of the first rows that are added or changed (``written``), and of those that are removed.
    """

    written: Flags
    removed: Flags
    replaced: Flags
    added: int
    changed: int
    equal_blocks: int
    kept: int
    conflicts: tuple[Flags, Flags]
    result: RowHashes
    has_other_repeats: bool = False
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def removed_count(self) -> int:
        """Number of rows that only the target has."""
        return int(self.removed.sum())

    @property
    def is_empty(self) -> bool:
        """Whether no row differs."""
        return not (self.written.any() or self.removed.any() or self.has_other_repeats)

    def sample_rows(self, origin: SourceRows, target: SourceRows) -> RowDifference:
        """Return this difference with samples.

        Parameters
        ----------
        origin, target
            The rows of the source site and of the target.
        """
        samples = {"written": sample_keys(origin, self.written), "removed": sample_keys(target, self.removed)}
        return replace(self, samples=samples)


def compare_rows(origin: RowHashes, target: RowHashes, base: RowHashes | None = None) -> RowDifference:
    """Find the rows that differ, and what becomes of each.

    Parameters
    ----------
    origin, target
        Hashes of the rows of the source site and of the target.
    base
        Hashes of the rows that the source site had before; only what it has changed since then is taken from it. None:
        the target shall have the rows of the source site.
    """
    unequal_blocks = ~origin.find_equal_blocks(target)
    own_rows, target_rows = origin.select_blocks(unequal_blocks), target.select_blocks(unequal_blocks)
    base_rows = target_rows if base is None else base.select_blocks(unequal_blocks)
    keys = np.unique(np.concatenate([own_rows.keys, target_rows.keys, base_rows.keys]))
    own, theirs, old = (_find_values(keys, rows) for rows in (own_rows, target_rows, base_rows))
    is_taken = (theirs == old) & (own != old)
    is_conflict = (theirs != old) & (own != old) & (own != theirs)
    result = target
    if base is not None and is_taken.any():
        new_values = np.where(is_taken, own, theirs)
        new_blocks = build_row_hashes(keys[new_values != ABSENT], new_values[new_values != ABSENT])
        result = RowHashes(
            block_rows=np.where(unequal_blocks, new_blocks.block_rows, target.block_rows),
            block_sums=np.where(unequal_blocks, new_blocks.block_sums, target.block_sums),
            select_blocks=target.select_blocks,
        )

    def build_mask(hashes: RowHashes, rows: BlockRows, is_chosen: Flags) -> Flags:
        mask = np.zeros(hashes.row_count, bool)
        mask[rows.positions] = is_chosen[np.searchsorted(keys, rows.keys)]
        return mask

    return RowDifference(
        written=build_mask(origin, own_rows, is_taken),
        removed=build_mask(target, target_rows, is_taken & (own == ABSENT)),
        replaced=build_mask(target, target_rows, is_taken & (own != ABSENT)),
        added=int((is_taken & (theirs == ABSENT)).sum()),
        changed=int((is_taken & (own != ABSENT) & (theirs != ABSENT)).sum()),
        equal_blocks=BLOCK_COUNT - int(unequal_blocks.sum()),
        kept=int(((own == old) & (theirs != old)).sum()),
        conflicts=(
            build_mask(origin, own_rows, is_conflict),
            build_mask(target, target_rows, is_conflict & (own == ABSENT)),
        ),
        result=result,
        has_other_repeats=base is None and bool(unequal_blocks.any()) and not is_taken.any(),
    )


def _find_values(keys: Words, rows: BlockRows) -> Words:
    """Return the hash of the values that rows have for each key; `ABSENT` without such a row."""
    values = np.full(len(keys), ABSENT)
    values[np.searchsorted(keys, rows.keys)] = rows.values
    return values


def sample_keys(rows: SourceRows, mask: Flags) -> list[dict[str, Any]]:
    """Return the keys of the first rows of a mask; nothing if the table has no key.

    Parameters
    ----------
    rows
        The rows.
    mask
        One value for each row, in stored order.
    """
    keys: list[dict[str, Any]] = []
    first_rows = mask & (np.cumsum(mask) <= MAX_SAMPLE_KEYS)
    if rows.table.primary:
        for batch in rows.select_batches(first_rows, rows.table.primary):
            keys += batch.to_pylist()
    return keys


def stage_rows(
    origin: SourceRows,
    target: StoredRows | None,
    difference: RowDifference | None,
    engine: StorageEngine,
    snapshot_id: str,
    *,
    is_merged: bool = False,
) -> tuple[Snapshot, int]:
    """Stage a snapshot of the target that has the rows of the source site.

    Parameters
    ----------
    origin
        The rows of the source site.
    target
        The rows that the target publishes; None: it has no such table.
    difference
        How the two differ; None if all rows are copied.
    is_merged
        Whether rows of the target stay that the source site does not have.
    engine
        The engine of the target.
    snapshot_id
        Id of the new snapshot.

    Returns
    -------
    snapshot, copied_rows
        The snapshot, which nobody sees until it is published, and the number of rows that were copied.
    """
    names = origin.table.arrow_schema.names
    if target is not None and difference is not None and target.engine is engine and origin.table.primary:
        keys = _read_removed_keys(target, difference.removed)
        try:
            staging = engine.stage_merge(origin.table, snapshot_id, target.snapshot, keys)
            return _fill_staging(staging, origin.select_batches(difference.written, names), engine)
        except UnmergeableSnapshotError:  # another order or other partitions
            pass
    batches = origin.read_batches()
    if is_merged and target is not None and difference is not None:
        kept_batches = target.select_batches(~(difference.removed | difference.replaced), names)
        batches = chain(kept_batches, origin.select_batches(difference.written, names))
    return _fill_staging(engine.stage_snapshot(origin.table, snapshot_id, expects_merges=True), batches, engine)


def _read_removed_keys(target: StoredRows, removed: Flags) -> pa.Table | None:
    if not removed.any():
        return None
    return pa.Table.from_batches(target.select_batches(removed, target.table.primary))


def _fill_staging(
    staging: SnapshotStaging, batches: Iterator[pa.RecordBatch], engine: StorageEngine
) -> tuple[Snapshot, int]:
    copied_rows = 0
    try:
        for batch in batches:
            if batch.num_rows:
                staging.write(batch)
                copied_rows += batch.num_rows
        return replace(staging.finish(), engine=engine.name), copied_rows
    except BaseException:
        staging.abandon()
        raise


def verify_copy(origin: RowHashes, copy: StoredRows) -> RowHashes:
    """Read a staged snapshot, and check that it has the expected rows.

    Parameters
    ----------
    origin
        Hashes of the expected rows.
    copy
        The staged snapshot.

    Raises
    ------
    StorageError
        It has other rows.
    """
    hashes = copy.compute_hashes()
    if hashes.digest != origin.digest:
        unequal_count = BLOCK_COUNT - int(origin.find_equal_blocks(hashes).sum())
        raise StorageError(
            f"{copy.table.qualified_name}: {unequal_count} of {BLOCK_COUNT} blocks of the copy differ from the rows of "
            f"the source site ({origin.row_count:,} rows there, {hashes.row_count:,} in the copy)",
            remedy="check the disks for faults, and report the problem; the target still publishes its previous rows",
        )
    return hashes
