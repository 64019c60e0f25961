"""Read from each source what may have changed, and find the lines of the ledger whose rows are gone.

How little has to be read depends on the source: on its list of files, its feed of changes, checksums or a watermark.
"""

from __future__ import annotations

import datetime as dt
import math
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._ledger import hash_entry_rows, list_source_inputs
from hven.ingest._read_ahead import ReadAheadIterator
from hven.ingest.sync._ledger_comparison import MIN_MAPPED_ROWS_LIMIT
from hven.ingest.sync._page_cache import SourceWrapper
from hven.ingest.sync._watermark import compute_start_watermark
from hven.ingest.watermarks import WatermarkTracker, watermark_from_json
from hven.sources import (
    BlockChecksumSource,
    ChangeFeedSource,
    FileListSource,
    IncrementalSource,
    KeyLookupSource,
    ProgressSource,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.ingest._ledger import OpenedSource, SyncState
    from hven.ingest._table_loader import TableLoader
    from hven.ingest.sync._ledger_comparison import LedgerComparison
    from hven.model.resource import SyncPolicy
    from hven.sources import Source

    # entry number, entry, source to read, description of the request -> a source whose pages are cached
    PageCacher = Callable[[int, OpenedSource, Source, object], Source]


MIN_KEY_LOOKUP_ROWS = 1000  # so many rows are always read by key, however few rows the table has


class FullReadNeededError(Exception):
    """An incremental reading cannot find the changes, so that everything must be read. The text says why."""


class BufferedRowSource(SourceWrapper):
    """A source of rows that were read already."""

    def __init__(self, source: Source, rows: Sequence[pa.RecordBatch]) -> None:
        super().__init__(source)
        self._rows = rows

    def read_batches(
        self,
        column_names: Sequence[str] | None = None,  # noqa: ARG002  (the rows were read with them)
        row_limit: int | None = None,  # noqa: ARG002  (the rows were read with it)
    ) -> Iterator[pa.RecordBatch]:
        """Yield the buffered rows."""
        yield from self._rows

    def estimate_progress_total(self) -> int | None:
        """Count the buffered rows."""
        return int(sum(batch.num_rows for batch in self._rows))


class FileSubsetSource(SourceWrapper):
    """A source of some files of another source, or of none; it keeps the provenance of the unchanged files."""

    def __init__(
        self, wrapped_source: Source, subset_source: Source | None, kept_pins: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(wrapped_source)
        self._read_files = subset_source
        self._kept_pins = kept_pins

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the selected files."""
        if self._read_files is not None:
            yield from self._read_files.read_batches(column_names, row_limit)

    def list_provenance_files(self) -> list[dict[str, Any]]:
        """Describe all files: those that are read, and those that are unchanged."""
        pins = [dict(pin) for pin in self._kept_pins]
        if self._read_files is not None:
            pins += list_source_inputs(self._read_files)
        return sorted(pins, key=itemgetter("name"))

    def estimate_progress_total(self) -> int | None:
        """Return the bytes of the selected files."""
        if self._read_files is None:
            return 0
        return self._read_files.estimate_progress_total()

    def count_progress_units(self) -> int:
        """Count the bytes that are read."""
        read_files: object = self._read_files
        if isinstance(read_files, ProgressSource):
            return read_files.count_progress_units()
        return 0


class IncrementalSourceReader:
    """Choose how the sources of a table are read in one run.

    Parameters
    ----------
    loader
        The loader of the table; its entries are replaced by what has to be read.
    ledger_comparison
        The ledger of the published snapshot.
    sync_policy
        What the descriptor says under ``sync:``; None: nothing.
    old_state, new_state
        The state that the last run stored, and the one that this run will store.
    pins
        Files that the published snapshot was read from, of its provenance.
    reads_everything
        Read everything, whatever the watermark says.
    cache_pages
        Wraps a source that is read page by page, so that its pages are cached.
    may_have_changed
        Tells which sources are read; the others count as unchanged.

    Attributes
    ----------
    description
        What was read, in words.
    is_complete
        True if the run compared every row, not only the rows that a watermark selects.
    """

    def __init__(
        self,
        loader: TableLoader,
        ledger_comparison: LedgerComparison,
        sync_policy: SyncPolicy | None,
        old_state: SyncState,
        *,
        new_state: SyncState,
        pins: Sequence[Mapping[str, Any]],
        reads_everything: bool,
        cache_pages: PageCacher,
        may_have_changed: Callable[[OpenedSource], bool] = lambda _: True,
    ) -> None:
        self.loader = loader
        self.ledger_comparison = ledger_comparison
        self.sync_policy = sync_policy
        self.old_state = old_state
        self.new_state = new_state
        self._cache_pages = cache_pages
        self._may_have_changed = may_have_changed
        self.reads_everything = reads_everything or is_full_read_due(sync_policy, old_state)
        self._pins = pins
        self.is_complete = True
        self._is_narrowed = False
        self.lacks_checksums = False  # the policy wants checksums of blocks, and the source has none
        self._descriptions: list[str] = []
        self._watermarked_entries = set[int]()  # entries that are read from their watermark on
        self._untracked_entries = set[int]()  # entries whose source can no longer tell what changed
        self._unread_files = set[str]()  # files that are not read again
        self._sifted_entries = set[int]()  # entries whose unknown rows are selected already
        self.watermark_tracker = loader.watermark_tracker or WatermarkTracker(loader.evaluator, loader.entries)
        entry_of_file = np.array([entry for entry, _ in old_state.files], np.int64)
        self._file_of_line = np.asarray(ledger_comparison.ledger.column("file"))
        self._line_identities = np.asarray(ledger_comparison.ledger.column("identity"))
        if len(entry_of_file):
            self._entry_of_line = entry_of_file[self._file_of_line]
        else:
            self._entry_of_line = np.zeros(len(self._file_of_line), np.int64)

    @property
    def description(self) -> str:
        """What was read, in words."""
        return ", ".join(dict.fromkeys(self._descriptions)) or "everything"

    def replace_sources_by_changed_rows(self) -> None:
        """Replace the source of each entry by what has to be read, and read what the mapping needs beforehand.

        Raises
        ------
        FullReadNeededError
            Everything must be read instead.
        """
        self.loader.select_unknown_rows = self._select_unknown_rows
        entries = []
        for number, entry in enumerate(self.loader.entries):
            chosen_source = self._choose_and_read_source(number, entry)
            entries.append(replace(entry, source=chosen_source))
        self.loader.entries = entries

    def complete_sync_state(self) -> None:
        """Complete the state for the next run.

        Raises
        ------
        FullReadNeededError
            The watermark went backwards.
        """
        for entry in self._watermarked_entries:
            last_watermark = watermark_from_json(self.old_state.watermark.get(str(entry)))
            largest = self.watermark_tracker.largest_by_entry.get(entry)
            if largest is None:
                raise FullReadNeededError(
                    f"no row has a watermark any longer (the last watermark was {last_watermark})"
                )
            if largest < last_watermark:
                raise FullReadNeededError(f"the watermark went backwards, from {last_watermark} to {largest}")
        if not self.is_complete:
            self.new_state.full = self.old_state.full
        unread_counts = self.loader.unread_counts
        for file, count in self.old_state.unread.items():
            if file in self._unread_files or self._is_narrowed:
                unread_counts[file] = unread_counts.get(file, 0) + count

    def _select_unknown_rows(self, entry_number: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        if entry_number in self._sifted_entries:
            return batch
        return self.ledger_comparison.claim_known_and_select_unknown_rows(entry_number, batch)

    def _choose_and_read_source(self, entry_number: int, entry: OpenedSource) -> Source:
        source: Source = entry.source
        entry_key = str(entry_number)
        if not self._may_have_changed(entry):
            return self._skip_source(entry_number, source)
        # if values that keys add to unchanged rows were missing, they may have come since
        has_pending_additions = bool(self.old_state.waiting.get(entry_key))
        reads_everything = self.reads_everything or has_pending_additions
        if isinstance(source, FileListSource) and not reads_everything:
            return self._read_changed_files(entry_number, entry, source)
        key = self.ledger_comparison.ledger_writer.identity_columns[entry_number]
        if key and not reads_everything and isinstance(source, ChangeFeedSource):
            changed_source = self._read_reported_changes(entry_number, source, key)
            if changed_source is not None:
                return changed_source
        policy = self.sync_policy
        if policy is not None and key and entry_number not in self._untracked_entries:
            if policy.deletion_method == "blocks" and isinstance(source, BlockChecksumSource):
                block_source = self._read_changed_blocks(entry_number, source, key)
                if block_source is not None:
                    return block_source
            if policy.deletion_method == "blocks":
                self.lacks_checksums = True
            last_watermark = self.old_state.watermark.get(entry_key)
            if policy.watermark is not None and last_watermark is not None and not reads_everything:
                watermark_column = policy.watermark[0]
                if isinstance(source, IncrementalSource) and source.can_filter_by(watermark_column):
                    start = compute_start_watermark(watermark_from_json(last_watermark), policy, entry)
                    return self._read_since_watermark(entry_number, entry, source, watermark_column, start)
        self._descriptions.append("everything")
        return self._cache_pages(entry_number, entry, entry.source, "everything")

    def _read_since_watermark(
        self, entry_number: int, entry: OpenedSource, source: Any, watermark_column: str, start: Any
    ) -> Source:
        """Read the rows from a watermark on."""
        assert self.sync_policy is not None  # noqa: S101  (it names the watermark)
        self.is_complete = False
        self._is_narrowed = True
        self._watermarked_entries.add(entry_number)
        self._descriptions.append(f"since {start}")
        narrowed_source: Source = source.select_since(watermark_column, start)
        part = self._cache_pages(entry_number, entry, narrowed_source, str(start))
        compares_keys = self.sync_policy.deletion_method in {"compare", "blocks"}
        return self._read_partial_rows(entry_number, source, part, compares_keys=compares_keys)

    def _skip_source(self, entry_number: int, source: Source) -> Source:
        """Keep the rows of a source that is not read, and its state for the next run."""
        entry_key = str(entry_number)
        line_mask = self._entry_of_line == entry_number
        self.ledger_comparison.line_index.claimed_mask[line_mask] = True
        self._sifted_entries.add(entry_number)
        self.is_complete = False
        for name in ("listed", "fed", "watermark", "blocks"):
            new_values = getattr(self.new_state, name)
            old_values = getattr(self.old_state, name)
            new_values.pop(entry_key, None)
            if entry_key in old_values:
                new_values[entry_key] = old_values[entry_key]
        if entry_key in self.old_state.watermark:
            self._restore_last_watermark(entry_number)
        names = {name for owner, name in self.old_state.files if owner == entry_number and name}
        old_listing = self.old_state.listed.get(entry_key)
        if old_listing is not None:
            names.update(old_listing.column("name").to_pylist())
        self._unread_files |= names
        if isinstance(source, FileListSource):
            kept_pins = [pin for pin in self._pins if pin["name"] in names]
            return FileSubsetSource(source, None, kept_pins)
        return BufferedRowSource(source, ())

    def _restore_last_watermark(self, entry_number: int) -> None:
        """Begin with the watermark of the last run, which only newer rows raise."""
        old_watermark = self.old_state.watermark[str(entry_number)]
        self.watermark_tracker.largest_by_entry[entry_number] = watermark_from_json(old_watermark)

    # --- files -------------------------------------------------------------------------------------------------

    def _read_changed_files(self, entry_number: int, entry: OpenedSource, source: FileListSource) -> Source:
        """Read the files that are new, or have another size, time or checksum."""
        new_listing = self.new_state.listed[str(entry_number)]
        old_listing = self.old_state.listed.get(str(entry_number))
        if old_listing is None:
            unchanged_mask = np.zeros(len(new_listing), bool)
        else:
            unchanged_mask = _find_unchanged_files(new_listing, old_listing)
        names = new_listing.column("name")
        unchanged_names = set(names.filter(pa.array(unchanged_mask)).to_pylist())
        self._unread_files |= unchanged_names
        self.is_complete = self.is_complete and not unchanged_names
        is_kept_file = [owner == entry_number and name in unchanged_names for owner, name in self.old_state.files]
        if is_kept_file:
            line_mask = np.array(is_kept_file, bool)[self._file_of_line]
            self.ledger_comparison.line_index.claimed_mask[line_mask] = True
        file_count = len(new_listing)
        changed_count = file_count - len(unchanged_names)
        self._descriptions.append(f"{changed_count:,} of {file_count:,} {'file' if file_count == 1 else 'files'}")
        if not unchanged_names:
            return entry.source
        kept_pins = [pin for pin in self._pins if pin["name"] in unchanged_names]
        changed_names = sorted(names.filter(pa.array(~unchanged_mask)).to_pylist())
        changed_files = None
        if changed_names:
            changed_files = source.select_files(changed_names)
        return FileSubsetSource(entry.source, changed_files, kept_pins)

    # --- changes that the source reports ----------------------------------------------------------------------------

    def _read_reported_changes(self, entry_number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows that the source reports as changed.

        None: the source cannot report them, or identifies rows by another key than the ledger.
        """
        entry_key = str(entry_number)
        old_feed_state = self.old_state.fed.get(entry_key)
        if old_feed_state is None:
            return None
        line_mask = self._entry_of_line == entry_number
        line_index = self.ledger_comparison.line_index
        if entry_key in self.old_state.watermark:
            self._restore_last_watermark(entry_number)
        if self.new_state.fed.get(entry_key) == old_feed_state:
            self._sifted_entries.add(entry_number)
            self._descriptions.append("nothing: the source has not changed")
            line_index.claimed_mask[line_mask] = True
            return BufferedRowSource(source, ())
        source_changes = source.list_changes(old_feed_state)
        is_untracked = source_changes is None
        if source_changes is not None:
            # beyond half of the rows, reading all pages takes fewer requests than asking for each key
            max_changed_rows = max(int(line_mask.sum()), MIN_KEY_LOOKUP_ROWS) / 2
            is_untracked = source_changes.changed_keys.num_rows > max_changed_rows
        if is_untracked or set(source_changes.key_columns) != set(key):
            self.watermark_tracker.largest_by_entry.pop(entry_number, None)
            if is_untracked:  # a changed row need not have a new watermark
                self._untracked_entries.add(entry_number)
            return None
        changed_keys = source_changes.changed_keys
        self.new_state.fed[entry_key] = source_changes.state
        self._sifted_entries.add(entry_number)
        self._descriptions.append(f"{changed_keys.num_rows:,} rows that are new or changed, according to the source")
        key_batches = changed_keys.to_batches() + source_changes.removed_keys.to_batches()
        touched_identities = _compute_batch_identities(key_batches, entry_number, key)
        unknown_rows: list[pa.RecordBatch] = []
        if changed_keys.num_rows:
            read_columns = self.loader.list_columns_to_read(self.loader.entries[entry_number])
            changed_batches = source_changes.rows.read_batches(read_columns)
            unknown_rows, _ = self._read_unknown_rows(entry_number, changed_batches)
        is_touched = np.isin(self._line_identities, touched_identities)
        line_index.claimed_mask[line_mask & ~is_touched] = True
        return BufferedRowSource(source, unknown_rows)

    # --- changes that a watermark or checksums show -------------------------------------------------------------------

    def _read_changed_blocks(self, entry_number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows of the blocks of keys whose checksum changed."""
        hashed_columns = self.ledger_comparison.ledger_writer.hashed_columns[entry_number]
        block_sums = source.compute_block_checksums(key, hashed_columns)
        if block_sums is None:
            return None
        block_columns = (block_sums.column(name).to_pylist() for name in ("block", "rows", "checksum"))
        new_blocks = {
            str(block): [row_count, str(checksum)] for block, row_count, checksum in zip(*block_columns, strict=True)
        }
        self.new_state.blocks[str(entry_number)] = new_blocks
        old_blocks = self.old_state.blocks.get(str(entry_number))
        if old_blocks is None or self.reads_everything:
            self._descriptions.append("everything")
            return source  # type: ignore[no-any-return]
        changed_blocks = [block for block, facts in new_blocks.items() if old_blocks.get(block) != facts]
        self._descriptions.append(f"{len(changed_blocks):,} of {len(new_blocks):,} blocks of keys")
        if not changed_blocks and old_blocks.keys() <= new_blocks.keys():
            self._sifted_entries.add(entry_number)
            self.ledger_comparison.line_index.claimed_mask[self._entry_of_line == entry_number] = True
            return BufferedRowSource(source, ())
        if 2 * len(changed_blocks) > len(new_blocks):
            return source  # type: ignore[no-any-return]
        return self._read_partial_rows(
            entry_number, source, source.select_blocks(key, changed_blocks), compares_keys=True
        )

    def _read_partial_rows(
        self, entry_number: int, source: Any, partial_source: Source, *, compares_keys: bool
    ) -> Source:
        """Read a part of the rows, and find the lines that they replace.

        With `compares_keys`, also read all keys, to find rows that were removed, or added without a new watermark.
        """
        self._sifted_entries.add(entry_number)
        line_index = self.ledger_comparison.line_index
        key = self.ledger_comparison.ledger_writer.identity_columns[entry_number]
        part_batches = partial_source.read_batches(self.loader.list_columns_to_read(self.loader.entries[entry_number]))
        unknown_rows, new_identities = self._read_unknown_rows(entry_number, part_batches)
        line_mask = self._entry_of_line == entry_number
        line_identities = self._line_identities
        if compares_keys:
            source_identities = _compute_batch_identities(source.read_batches(key), entry_number, key)
            removed_mask, ambiguous_identities = _find_removed_and_ambiguous_lines(
                line_identities, line_mask, line_index.claimed_mask, source_identities, new_identities
            )
            searched_identities = ambiguous_identities[np.isin(ambiguous_identities, source_identities)]
        else:
            is_replaced = np.isin(line_identities, new_identities)
            removed_mask = line_mask & ~line_index.claimed_mask & is_replaced
            # if several rows have one identity and one of them was edited, their lines cannot be told apart
            ambiguous_identities = _find_repeated_identities(line_identities[line_mask], new_identities)
            searched_identities = ambiguous_identities
        if len(ambiguous_identities):
            if compares_keys:
                searched_batches = source.read_batches(key)
            else:
                searched_batches = iter(unknown_rows)
            keys = self._find_keys_of_identities(entry_number, searched_identities, searched_batches)
            unknown_rows = self._read_rows_of_keys(
                entry_number,
                source,
                ambiguous_identities,
                keys,
                unknown_rows=unknown_rows,
                row_identities=new_identities,
            )
            is_ambiguous = np.isin(line_identities, ambiguous_identities)
            unclaimed_mask = line_mask & ~line_index.claimed_mask
            removed_mask = (removed_mask & ~is_ambiguous) | (unclaimed_mask & is_ambiguous)
        line_index.claimed_mask[line_mask & ~removed_mask] = True
        return BufferedRowSource(source, unknown_rows)

    def _read_unknown_rows(
        self, entry_number: int, batches: Iterator[pa.RecordBatch]
    ) -> tuple[list[pa.RecordBatch], Any]:
        """Read rows; return the unknown ones and their identities.

        Only the first reading of an entry raises the watermark. A later reading of some keys must not: rows that were
        written after the first request may have lower watermarks.
        """
        ledger_writer = self.ledger_comparison.ledger_writer
        unknown_rows: list[pa.RecordBatch] = []
        identity_parts: list[Any] = [np.zeros(0, np.uint64)]
        with closing(ReadAheadIterator(batches)) as read_ahead:
            for batch in read_ahead:
                self.watermark_tracker(entry_number, batch)
                unknown_batch = self.ledger_comparison.claim_known_and_select_unknown_rows(entry_number, batch)
                if unknown_batch.num_rows:
                    unknown_rows.append(unknown_batch)
                    identity_parts.append(ledger_writer.compute_row_identities(entry_number, unknown_batch))
        self.watermark_tracker.finished_entries.add(entry_number)
        return unknown_rows, np.concatenate(identity_parts)

    def _find_keys_of_identities(
        self, entry_number: int, identities: Any, batches: Iterator[pa.RecordBatch]
    ) -> pa.Table | None:
        """Return the keys of the rows that have some identities, each once; None: no row has them."""
        if not len(identities):
            return None
        key = list(self.ledger_comparison.ledger_writer.identity_columns[entry_number])
        selected_batches = _select_rows_by_identity(batches, entry_number, key, identities)
        key_batches = [batch.select(key) for batch in selected_batches if batch.num_rows]
        if not key_batches:
            return None
        return pa.Table.from_batches(key_batches).group_by(key).aggregate([])

    def _read_rows_of_keys(
        self,
        entry_number: int,
        source: Any,
        ambiguous_identities: Any,
        keys: pa.Table | None,
        *,
        unknown_rows: list[pa.RecordBatch],
        row_identities: Any,
    ) -> list[pa.RecordBatch]:
        """Read all rows of some keys, whatever their watermark: rows that came late, and rows with the same key."""
        line_index = self.ledger_comparison.line_index
        key = self.ledger_comparison.ledger_writer.identity_columns[entry_number]
        if keys is not None and (keys.num_rows > MIN_MAPPED_ROWS_LIMIT or not isinstance(source, KeyLookupSource)):
            raise FullReadNeededError(f"{keys.num_rows:,} rows were added or removed without a new watermark")
        line_mask = self._entry_of_line == entry_number
        is_ambiguous = np.isin(self._line_identities, ambiguous_identities)
        line_index.release_lines(np.flatnonzero(line_mask & is_ambiguous & line_index.claimed_mask))
        remaining_rows = []
        row_offset = 0
        for batch in unknown_rows:
            batch_identities = row_identities[row_offset : row_offset + batch.num_rows]
            row_offset += batch.num_rows
            kept_mask = ~np.isin(batch_identities, ambiguous_identities)
            remaining_rows.append(batch.filter(pa.array(kept_mask)))
        if keys is not None:
            read_columns = self.loader.list_columns_to_read(self.loader.entries[entry_number])
            key_batches = source.select_keys(key, keys).read_batches(read_columns)
            exact_batches = _select_rows_by_identity(key_batches, entry_number, key, ambiguous_identities)
            remaining_rows += self._read_unknown_rows(entry_number, exact_batches)[0]
        return [batch for batch in remaining_rows if batch.num_rows]


def _find_unchanged_files(new_listing: pa.Table, old_listing: pa.Table) -> Any:
    """Return the mask of the files that did not change: all known facts are equal, and more than the size is known."""
    old_names = old_listing.column("name").combine_chunks()
    old_positions = pc.index_in(new_listing.column("name"), value_set=old_names)
    unchanged_mask = np.asarray(pc.is_valid(old_positions))
    has_evidence = np.zeros(len(new_listing), bool)
    old_rows = old_listing.take(old_positions)
    for name in new_listing.column_names[1:]:
        new_column = new_listing.column(name)
        old_column = old_rows.column(name)
        is_equal = pc.fill_null(pc.equal(new_column, old_column), False)
        are_both_null = pc.and_(pc.is_null(new_column), pc.is_null(old_column))
        unchanged_mask &= np.asarray(is_equal) | np.asarray(are_both_null)
        if name != "bytes":
            has_evidence |= np.asarray(pc.is_valid(new_column))
    return unchanged_mask & has_evidence


def _compute_batch_identities(batches: Iterable[pa.RecordBatch], entry_number: int, key: Sequence[str]) -> Any:
    """Return the identities of all rows of some batches, from their key columns."""
    identity_parts = [hash_entry_rows(batch, entry_number, key)[0] for batch in batches]
    return np.concatenate([np.zeros(0, np.uint64), *identity_parts])


def _select_rows_by_identity(
    batches: Iterator[pa.RecordBatch], entry_number: int, key: Sequence[str], identities: Any
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that have one of the identities; a source may compare keys less strictly."""
    for batch in batches:
        row_identities = hash_entry_rows(batch, entry_number, key)[0]
        mask = np.isin(row_identities, identities)
        yield batch.filter(pa.array(mask))


def _find_repeated_identities(line_identities: Any, new_identities: Any) -> Any:
    """Return the identities of new rows that several lines, or several of these rows, have."""
    all_identities = np.concatenate([line_identities, new_identities])
    unique_identities, number_of_row = np.unique(all_identities, return_inverse=True)
    size = len(unique_identities)
    line_counts = np.bincount(number_of_row[: len(line_identities)], minlength=size)
    new_counts = np.bincount(number_of_row[len(line_identities) :], minlength=size)
    return unique_identities[(new_counts > 1) | ((new_counts > 0) & (line_counts > 1))]


def _find_removed_and_ambiguous_lines(
    line_identities: Any, line_mask: Any, claimed_mask: Any, source_identities: Any, new_identities: Any
) -> tuple[Any, Any]:
    """Compare the identities of lines, of all rows of the source, and of the unknown rows that were read.

    Returns
    -------
    removed_mask, ambiguous_identities
        The lines whose rows were removed or edited, and the identities whose rows must all be read.
    """
    line_positions = np.flatnonzero(line_mask)
    parts = [line_identities[line_positions], source_identities, new_identities]
    unique_identities, number_of_row = np.unique(np.concatenate(parts), return_inverse=True)
    size = len(unique_identities)
    part_ends = np.cumsum([len(part) for part in parts])
    line_numbers, source_numbers, new_numbers = np.split(number_of_row, part_ends[:-1])
    line_counts = np.bincount(line_numbers, minlength=size)
    source_counts = np.bincount(source_numbers, minlength=size)
    new_counts = np.bincount(new_numbers, minlength=size)
    claimed_counts = np.bincount(line_numbers, weights=claimed_mask[line_positions], minlength=size)
    is_unique = (line_counts <= 1) & (source_counts <= 1) & (new_counts <= 1)
    # a unique identity is ambiguous if the three parts contradict each other
    is_unread = (line_counts == 0) & (new_counts == 0) & (source_counts == 1)
    is_only_new = (source_counts == 0) & (new_counts == 1)
    is_new_and_claimed = (claimed_counts == 1) & (new_counts == 1)
    is_repeated_and_changed = (new_counts > 0) | (source_counts != line_counts)
    ambiguous_mask = np.where(is_unique, is_unread | is_only_new | is_new_and_claimed, is_repeated_and_changed)
    obsolete_mask = ~ambiguous_mask & ((source_counts == 0) | (new_counts > 0))
    removed_mask = np.zeros(len(line_identities), bool)
    removed_mask[line_positions[obsolete_mask[line_numbers]]] = True
    return removed_mask, unique_identities[ambiguous_mask]


def is_full_read_due(sync_policy: SyncPolicy | None, old_state: SyncState) -> bool:
    """Return whether it is time to read everything."""
    if sync_policy is None:
        return False
    interval_seconds = sync_policy.full_interval_seconds
    if interval_seconds is None or math.isinf(interval_seconds):
        return False
    if old_state.full is None:
        return True
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(old_state.full)
    # a negative age means that the clock was ahead then, so that the true age is unknown
    return not dt.timedelta() <= age < dt.timedelta(seconds=interval_seconds)
