"""What is read of a source: what may have changed, as far as the source can tell.

And which lines of the ledger are there no more.
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

from hven.ingest._ledger import compute_row_words, list_read_inputs
from hven.ingest._read_ahead import ReadAhead
from hven.ingest.sync._ledger_comparison import MIN_MAPPED_ROWS_LIMIT
from hven.ingest.sync._page_cache import SourceWrapper
from hven.ingest.sync._watermark import compute_start_watermark
from hven.ingest.watermarks import WatermarkTracker, unpack_watermark
from hven.sources import (
    BlockChecksumSource,
    ChangeFeedSource,
    FileListSource,
    IncrementalSource,
    KeyLookupSource,
    ProgressSource,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.ingest._ledger import SourceEntry, SyncState
    from hven.ingest._table_loader import TableLoader
    from hven.ingest.sync._ledger_comparison import LedgerComparison
    from hven.model.resource import SyncPolicy
    from hven.sources import Source

    Turn = Callable[[int, SourceEntry, Source, object], Source]


MIN_KEY_LOOKUP_ROWS = 1000  # rows that are always asked for by key


class FullReadNeededError(Exception):
    """The narrow way does not do: everything must be read. The text says why."""


class BufferedSource(SourceWrapper):
    """Rows that were read already, as a source."""

    def __init__(self, source: Source, rows: Sequence[pa.RecordBatch]) -> None:
        super().__init__(source)
        self._rows = rows

    def read_batches(
        self,
        column_names: Sequence[str] | None = None,  # noqa: ARG002  (read with them)
        row_limit: int | None = None,  # noqa: ARG002  (read with them)
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows."""
        yield from self._rows

    def estimate_size(self) -> int | None:
        """Count the rows."""
        return int(sum(batch.num_rows for batch in self._rows))


class FileSubsetSource(SourceWrapper):
    """Some files of a source, or none, with what was said of those that are as they were."""

    def __init__(
        self, wrapped_source: Source, read_files: Source | None, kept_pins: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(wrapped_source)
        self._read_files = read_files
        self._kept_pins = kept_pins

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of these files."""
        if self._read_files is not None:
            yield from self._read_files.read_batches(column_names, row_limit)

    def list_read_files(self) -> list[dict[str, Any]]:
        """Name all files."""
        return sorted(
            [*self._kept_pins, *(list_read_inputs(self._read_files) if self._read_files is not None else ())],
            key=itemgetter("name"),
        )

    def estimate_size(self) -> int | None:
        """Count the bytes to come."""
        if self._read_files is not None:
            return self._read_files.estimate_size()
        return 0

    def count_bytes_read(self) -> int:
        """Count the bytes read."""
        return self._read_files.count_bytes_read() if isinstance(self._read_files, ProgressSource) else 0


class IncrementalReader:
    """How the sources of a table are read in one run.

    Parameters
    ----------
    loader
        Its entries are replaced by what shall be read.
    old_state, new_state
        What the last run left; what this one will leave.
    pins
        Provenance of the published snapshot: files that were read.
    reads_everything
        Everything is read, whatever the watermark says.
    cache_pages
        Keeps the pages of a source that is asked page by page: ``turn(number, entry, source, what is asked)``.
    may_have_changed
        Tells which sources are asked: others are taken to be as they were.

    Attributes
    ----------
    description
        What was read, in words.
    is_complete
        Every row was looked at, not only those that a watermark promises.
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
        cache_pages: Turn,
        may_have_changed: Callable[[SourceEntry], bool] = lambda _: True,
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
        self.lacks_checksums = False  # checksums of blocks were wanted, and the source has none
        self._descriptions: list[str] = []
        self._watermarked_entries = set[int]()  # entries that were narrowed by the watermark
        self._untracked_entries = set[int]()  # entries that cannot say any more what changed
        self._unread_files = set[str]()  # files that are not read again
        self._sifted_entries = set[int]()  # entries whose rows are sifted already
        self.watermark_tracker = loader.watermark_tracker or WatermarkTracker(loader.engine, loader.entries)
        owner = np.array([entry for entry, _ in old_state.files], np.int64)
        files = np.asarray(ledger_comparison.ledger.column("file"))
        self._file_of_line = files
        if len(owner):
            self._entry_of_line = owner[files]
        else:
            self._entry_of_line = np.zeros(len(files), np.int64)

    @property
    def description(self) -> str:
        """What was read, in words."""
        return ", ".join(dict.fromkeys(self._descriptions)) or "everything"

    def choose_sources(self) -> None:
        """Choose for each source, and read what must be known before rows are mapped.

        Raises
        ------
        FullReadNeededError
            Read everything instead.
        """
        self.loader.select_unknown_rows = self._select_unknown_rows
        self.loader.entries = [
            replace(entry, source=self._choose_source(number, entry))
            for number, entry in enumerate(self.loader.entries)
        ]

    def record_seen_state(self) -> None:
        """Record what was seen in the state of the next run.

        Raises
        ------
        FullReadNeededError
            The watermark went backwards.
        """
        for entry in self._watermarked_entries:
            last_watermark = unpack_watermark(self.old_state.watermark.get(str(entry)))
            largest = self.watermark_tracker.largest_by_entry.get(entry)
            if largest is None or largest < last_watermark:
                raise FullReadNeededError(
                    f"the watermark went backwards, from {last_watermark} to "
                    f"{largest if largest is not None else 'nothing'}"
                )
        if not self.is_complete:
            self.new_state.full = self.old_state.full
        for file, count in self.old_state.unread.items():
            if file in self._unread_files or self._is_narrowed:
                self.loader.unread_counts[file] = self.loader.unread_counts.get(file, 0) + count

    def _select_unknown_rows(self, entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        if entry in self._sifted_entries:
            return batch
        return self.ledger_comparison.select_unknown_rows(entry, batch)

    def _choose_source(self, number: int, entry: SourceEntry) -> Source:
        source: Source = entry.source
        if not self._may_have_changed(entry):
            return self._skip_source(number, source)
        reads_everything = self.reads_everything or bool(
            self.old_state.waiting.get(str(number))
        )  # documents came to rows that are as they were
        if isinstance(source, FileListSource) and not reads_everything:
            return self._read_changed_files(number, entry, source)
        key = self.ledger_comparison.ledger_writer.identity_columns[number]
        if key and not reads_everything and isinstance(source, ChangeFeedSource):
            changed_source = self._read_reported_changes(number, source, key)
            if changed_source is not None:
                return changed_source
        if self.sync_policy is not None and key and number not in self._untracked_entries:
            if self.sync_policy.deletion_method == "blocks" and isinstance(source, BlockChecksumSource):
                block_source = self._read_changed_blocks(number, source, key)
                if block_source is not None:
                    return block_source
            if self.sync_policy.deletion_method == "blocks":
                self.lacks_checksums = True
            watermark_spec = self.sync_policy.watermark
            last_watermark = self.old_state.watermark.get(str(number))
            if (
                watermark_spec is not None
                and last_watermark is not None
                and not reads_everything
                and isinstance(source, IncrementalSource)
                and source.can_filter_by(watermark_spec[0])
            ):
                since = compute_start_watermark(unpack_watermark(last_watermark), self.sync_policy, entry)
                self.is_complete = False
                self._is_narrowed = True
                self._watermarked_entries.add(number)
                self._descriptions.append(f"since {since}")
                narrowed_source: Source = source.select_since(watermark_spec[0], since)
                part = self._cache_pages(number, entry, narrowed_source, str(since))
                compare = self.sync_policy.deletion_method in {"compare", "blocks"}
                return self._read_window(number, source, part, compare=compare)
        self._descriptions.append("everything")
        return self._cache_pages(number, entry, entry.source, "everything")

    def _skip_source(self, number: int, source: Source) -> Source:
        """Leave a source alone, and what is known of it for the next run as it was."""
        entry_key = str(number)
        line_mask = self._entry_of_line == number
        self.ledger_comparison.line_index.claimed_mask[line_mask] = True
        self._sifted_entries.add(number)
        self.is_complete = False
        for name in ("listed", "fed", "watermark", "blocks"):
            new_values = getattr(self.new_state, name)
            old_values = getattr(self.old_state, name)
            new_values.pop(entry_key, None)
            new_values |= {entry_key: old_values[entry_key]} if entry_key in old_values else {}
        if entry_key in self.old_state.watermark:
            self.watermark_tracker.largest_by_entry[number] = unpack_watermark(self.old_state.watermark[entry_key])
        old_listing = self.old_state.listed.get(entry_key)
        names = {name for owner, name in self.old_state.files if owner == number and name}
        names.update(old_listing.column("name").to_pylist() if old_listing is not None else ())
        self._unread_files |= names
        kept_pins = [pin for pin in self._pins if pin["name"] in names]
        if isinstance(source, FileListSource):
            return FileSubsetSource(source, None, kept_pins)
        return BufferedSource(source, ())

    # --- files -------------------------------------------------------------------------------------------------

    def _read_changed_files(self, number: int, entry: SourceEntry, source: FileListSource) -> Source:
        """Read files that are new or have another size, time or checksum."""
        new_listing = self.new_state.listed[str(number)]
        old_listing = self.old_state.listed.get(str(number))
        if old_listing is None:
            unchanged_mask = np.zeros(len(new_listing), bool)
        else:
            unchanged_mask = _find_unchanged_files(new_listing, old_listing)
        names = new_listing.column("name")
        unchanged_names = set(names.filter(pa.array(unchanged_mask)).to_pylist())
        self._unread_files |= unchanged_names
        self.is_complete = self.is_complete and not unchanged_names
        unchanged_files = np.array(
            [owner == number and name in unchanged_names for owner, name in self.old_state.files], bool
        )
        if len(unchanged_files):
            self.ledger_comparison.line_index.claimed_mask[unchanged_files[self._file_of_line]] = True
        self._descriptions.append(
            f"{len(new_listing) - len(unchanged_names):,} of {len(new_listing):,} "
            f"{'file' if len(new_listing) == 1 else 'files'}"
        )
        if not unchanged_names:
            return entry.source
        kept_pins = [pin for pin in self._pins if pin["name"] in unchanged_names]
        changed_names = sorted(names.filter(pa.array(~unchanged_mask)).to_pylist())
        return FileSubsetSource(entry.source, source.select_files(changed_names) if changed_names else None, kept_pins)

    # --- what the source tells itself ------------------------------------------------------------------------------

    def _read_reported_changes(self, number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows that the source says have changed.

        None: it cannot say, or names rows by another key than we do.
        """
        old_feed_state = self.old_state.fed.get(str(number))
        if old_feed_state is None:
            return None
        line_mask = self._entry_of_line == number
        line_index = self.ledger_comparison.line_index
        if str(number) in self.old_state.watermark:  # it stays what it was, but for rows that come
            self.watermark_tracker.largest_by_entry[number] = unpack_watermark(self.old_state.watermark[str(number)])
        if self.new_state.fed.get(str(number)) == old_feed_state:
            self._sifted_entries.add(number)
            self._descriptions.append("nothing: the source is as it was")
            line_index.claimed_mask[line_mask] = True
            return BufferedSource(source, ())
        source_changes = source.list_changes(old_feed_state)
        # all pages are fewer questions than all keys
        has_too_many_changes = source_changes is not None and 2 * source_changes.changed_keys.num_rows > max(
            int(line_mask.sum()), MIN_KEY_LOOKUP_ROWS
        )
        if source_changes is None or has_too_many_changes or set(source_changes.key_columns) != set(key):
            self.watermark_tracker.largest_by_entry.pop(number, None)
            if source_changes is None or has_too_many_changes:  # what changed need not have a new watermark
                self._untracked_entries.add(number)
            return None
        self.new_state.fed[str(number)] = source_changes.state
        self._sifted_entries.add(number)
        self._descriptions.append(
            f"{source_changes.changed_keys.num_rows:,} rows that came or changed, by the source's own word"
        )
        batches = [
            batch for part in (source_changes.changed_keys, source_changes.removed_keys) for batch in part.to_batches()
        ]
        touched_identities = np.concatenate(
            [np.zeros(0, np.uint64), *(compute_row_words(batch, number, key)[0] for batch in batches)]
        )
        if source_changes.changed_keys.num_rows:
            read_columns = self.loader.list_read_columns(self.loader.entries[number])
            unknown_rows = self._read_unknown_rows(number, source_changes.rows.read_batches(read_columns))[0]
        else:
            unknown_rows = []
        line_index.claimed_mask[
            line_mask & ~np.isin(np.asarray(self.ledger_comparison.ledger.column("identity")), touched_identities)
        ] = True
        return BufferedSource(source, unknown_rows)

    # --- what a watermark, or checksums, promise ------------------------------------------------------------------

    def _read_changed_blocks(self, number: int, source: Any, key: Sequence[str]) -> Source | None:
        """Read the rows of blocks of keys whose checksum is another one."""
        block_sums = source.compute_block_checksums(key, self.ledger_comparison.ledger_writer.hashed_columns[number])
        if block_sums is None:
            return None
        new_blocks = {
            str(block): [rows, str(total)]
            for block, rows, total in zip(
                *(block_sums.column(name).to_pylist() for name in ("block", "rows", "checksum")), strict=True
            )
        }
        self.new_state.blocks[str(number)] = new_blocks
        old_blocks = self.old_state.blocks.get(str(number))
        if old_blocks is None or self.reads_everything:
            self._descriptions.append("everything")
            return source  # type: ignore[no-any-return]
        changed_blocks = [block for block, facts in new_blocks.items() if old_blocks.get(block) != facts]
        self._descriptions.append(f"{len(changed_blocks):,} of {len(new_blocks):,} blocks of keys")
        if not changed_blocks and old_blocks.keys() <= new_blocks.keys():
            self._sifted_entries.add(number)
            self.ledger_comparison.line_index.claimed_mask[self._entry_of_line == number] = True
            return BufferedSource(source, ())
        if 2 * len(changed_blocks) > len(new_blocks):
            return source  # type: ignore[no-any-return]
        return self._read_window(number, source, source.select_blocks(key, changed_blocks), compare=True)

    def _read_window(self, number: int, source: Any, part: Source, *, compare: bool) -> Source:
        """Read a part of the rows, and find which lines they replace.

        With `compare`, which rows went, and which came unnoticed.
        """
        self._sifted_entries.add(number)
        lines = self.ledger_comparison
        notes = self.ledger_comparison.ledger_writer
        line_index = self.ledger_comparison.line_index
        entry = self.loader.entries[number]
        batches = part.read_batches(self.loader.list_read_columns(entry))
        unknown_rows, idents = self._read_unknown_rows(number, batches)
        line_mask = self._entry_of_line == number
        names = np.asarray(lines.ledger.column("identity"))
        if compare:
            key = notes.identity_columns[number]
            source_identities = np.concatenate(
                [
                    np.zeros(0, np.uint64),
                    *(compute_row_words(batch, number, key)[0] for batch in source.read_batches(key)),
                ]
            )
            removed_mask, ambiguous_identities = _compare_identities(
                names, line_mask, line_index.claimed_mask, source_identities, idents
            )
            repeated_identities = ambiguous_identities[np.isin(ambiguous_identities, source_identities)]
        else:
            removed_mask = line_mask & ~line_index.claimed_mask & np.isin(names, idents)
            ambiguous_identities = repeated_identities = _find_repeated_identities(
                names[line_mask], idents
            )  # one of them was edited: which lines are the others'?
        if len(ambiguous_identities):
            keys = self._find_key_values(
                number,
                repeated_identities,
                source.read_batches(notes.identity_columns[number]) if compare else iter(unknown_rows),
            )
            unknown_rows = self._read_rows_of_keys(
                number, source, ambiguous_identities, keys, unknown_rows=unknown_rows, row_identities=idents
            )
            removed_mask = (removed_mask & ~np.isin(names, ambiguous_identities)) | (
                line_mask & np.isin(names, ambiguous_identities) & ~line_index.claimed_mask
            )
        line_index.claimed_mask[line_mask & ~removed_mask] = True
        return BufferedSource(source, unknown_rows)

    def _read_unknown_rows(self, number: int, batches: Iterator[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], Any]:
        """Read rows; return those that are not known, and their identities.

        The watermark follows the first rows that are read. Those that are asked for again must not raise it: others
        that were written since the first question may lie below.
        """
        unknown_rows: list[pa.RecordBatch] = []
        idents: list[Any] = [np.zeros(0, np.uint64)]
        with closing(ReadAhead(batches)) as read_ahead:
            for batch in read_ahead:
                self.watermark_tracker(number, batch)
                unknown_batch = self.ledger_comparison.select_unknown_rows(number, batch)
                if unknown_batch.num_rows:
                    unknown_rows.append(unknown_batch)
                    identities = self.ledger_comparison.ledger_writer.compute_identities(number, unknown_batch)
                    idents.append(identities)
        self.watermark_tracker.finished_entries.add(number)
        return unknown_rows, np.concatenate(idents)

    def _find_key_values(self, number: int, identities: Any, batches: Iterator[pa.RecordBatch]) -> pa.Table | None:
        """Find the values of some identities in rows that have them; None: there are none."""
        key = list(self.ledger_comparison.ledger_writer.identity_columns[number])
        if len(identities):
            parts = [
                batch.filter(pa.array(np.isin(compute_row_words(batch, number, key)[0], identities)))
                for batch in batches
            ]
        else:
            parts = []
        key_batches = [part.select(key) for part in parts if part.num_rows]
        if key_batches:
            return pa.Table.from_batches(key_batches).group_by(key).aggregate([])
        return None

    def _read_rows_of_keys(
        self,
        number: int,
        source: Any,
        ambiguous_identities: Any,
        keys: pa.Table | None,
        *,
        unknown_rows: list[pa.RecordBatch],
        row_identities: Any,
    ) -> list[pa.RecordBatch]:
        """Read all rows of some keys, whatever their watermark.

        Those that came late, and those of which there are several.
        """
        lines = self.ledger_comparison
        key = self.ledger_comparison.ledger_writer.identity_columns[number]
        if keys is not None and (keys.num_rows > MIN_MAPPED_ROWS_LIMIT or not isinstance(source, KeyLookupSource)):
            raise FullReadNeededError(f"{keys.num_rows:,} rows came, or went, that the watermark does not tell of")
        names = np.asarray(lines.ledger.column("identity"))
        lines.line_index.release_lines(
            np.flatnonzero(
                (self._entry_of_line == number) & np.isin(names, ambiguous_identities) & lines.line_index.claimed_mask
            )
        )
        remaining_rows = []
        row_offset = 0
        for batch in unknown_rows:
            kept_mask = ~np.isin(row_identities[row_offset : row_offset + batch.num_rows], ambiguous_identities)
            row_offset += batch.num_rows
            remaining_rows.append(batch.filter(pa.array(kept_mask)))
        if keys is not None:
            picked_batches = source.select_keys(key, keys).read_batches(
                self.loader.list_read_columns(self.loader.entries[number])
            )
            remaining_rows += self._read_unknown_rows(
                number, _select_identities(picked_batches, number, key, ambiguous_identities)
            )[0]
        return [batch for batch in remaining_rows if batch.num_rows]


def _find_unchanged_files(new_listing: pa.Table, old_listing: pa.Table) -> Any:
    """Tell which files are as they were: all that is known of them is the same, and that is more than their size."""
    old_positions = pc.index_in(new_listing.column("name"), value_set=old_listing.column("name").combine_chunks())
    unchanged_mask = np.asarray(pc.is_valid(old_positions))
    has_evidence = np.zeros(len(new_listing), bool)
    old_rows = old_listing.take(old_positions)
    for name in new_listing.column_names[1:]:
        new_column = new_listing.column(name)
        old_column = old_rows.column(name)
        unchanged_mask &= np.asarray(pc.fill_null(pc.equal(new_column, old_column), False)) | np.asarray(
            pc.and_(pc.is_null(new_column), pc.is_null(old_column))
        )
        has_evidence |= np.asarray(pc.is_valid(new_column)) & (name != "bytes")
    return unchanged_mask & has_evidence


def _select_identities(
    batches: Iterator[pa.RecordBatch], number: int, key: Sequence[str], identities: Any
) -> Iterator[pa.RecordBatch]:
    """Drop rows that the source took for equal to a key."""
    for batch in batches:
        yield batch.filter(pa.array(np.isin(compute_row_words(batch, number, key)[0], identities)))


def _find_repeated_identities(names: Any, new_identities: Any) -> Any:
    """Return the identities of fresh rows that several lines or several of these rows have."""
    unique_identities, number = np.unique(np.concatenate([names, new_identities]), return_inverse=True)
    lines = np.bincount(number[: len(names)], minlength=len(unique_identities))
    new_counts = np.bincount(number[len(names) :], minlength=len(unique_identities))
    return unique_identities[(new_counts > 1) | ((new_counts > 0) & (lines > 1))]


def _compare_identities(
    names: Any, line_mask: Any, claimed_mask: Any, source_identities: Any, new_identities: Any
) -> tuple[Any, Any]:
    """Compare the identities of lines, of the source's rows, and of the rows that were read and are not known.

    Returns
    -------
    gone, odd
        Lines that are there no more, or were edited; identities of which all rows must be looked at.
    """
    line_positions = np.flatnonzero(line_mask)
    unique_identities, number = np.unique(
        np.concatenate([names[line_positions], source_identities, new_identities]), return_inverse=True
    )
    size = len(unique_identities)
    of_lines = number[: len(line_positions)]
    of_source = number[len(line_positions) : len(line_positions) + len(source_identities)]
    of_fresh = number[len(line_positions) + len(source_identities) :]
    lines, source, new_counts = (np.bincount(part, minlength=size) for part in (of_lines, of_source, of_fresh))
    claimed_counts = np.bincount(of_lines, weights=claimed_mask[line_positions], minlength=size)
    is_unambiguous = (lines <= 1) & (source <= 1) & (new_counts <= 1)
    ambiguous_mask = np.where(
        is_unambiguous,
        ((lines == 0) & (new_counts == 0) & (source == 1))
        | ((source == 0) & (new_counts == 1))
        | ((claimed_counts == 1) & (new_counts == 1)),
        (new_counts > 0) | (source != lines),
    )
    obsolete_mask = ~ambiguous_mask & ((source == 0) | (new_counts > 0))
    removed_mask = np.zeros(len(names), bool)
    removed_mask[line_positions[obsolete_mask[of_lines]]] = True
    return removed_mask, unique_identities[ambiguous_mask]


def is_full_read_due(sync_policy: SyncPolicy | None, old_state: SyncState) -> bool:
    """Return whether it is time to read everything."""
    if (
        sync_policy is None
        or sync_policy.full_interval_seconds is None
        or math.isinf(sync_policy.full_interval_seconds)
    ):
        return False
    if old_state.full is None:
        return True
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(old_state.full)
    # the clock was ahead then: nobody knows how long that is ago
    return not dt.timedelta() <= age < dt.timedelta(seconds=sync_policy.full_interval_seconds)
