"""Read the sources of one table, map and check their rows, and write them to a staged snapshot."""

from __future__ import annotations

import base64
import threading
import time
import zlib
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor import mapping as mappings
from hven.engines import CatalogueAdopter
from hven.ingest._ledger import (
    BATCH_POSITION_COLUMN,
    UNIQUE_CHECK,
    OpenedSource,
    list_identity_columns,
    list_source_inputs,
)
from hven.ingest._read_ahead import ReadAheadIterator, WriteBehindQueue
from hven.ingest._rejects_file import format_row_as_json, format_value_for_message
from hven.ingest._remote_sizes import RemoteProductSizeReader
from hven.ingest._report import MAX_OFFENDERS, OffendingRow, TableIngestReport
from hven.ingest._row_grouping import SourceRowGrouper, UnrolledBatch
from hven.ingest._row_validation import RowValidator
from hven.ingest._rules import ERROR_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.ingest._transform import MappingTransform
from hven.model import DeviationKind, ReadDeviation, plugins
from hven.model.errors import ChangeLimitExceededError, DataError, SourceError
from hven.model.literal import find_times_outside_year_range
from hven.model.table import columns_to_json
from hven.sources import (
    ROW_NUMBER_COLUMN,
    ContextRebindableSource,
    InPlaceCatalogueSource,
    MetadataSource,
    ProgressSource,
    RejectedRow,
    SourceContext,
)
from hven.sources.kind_traits import find_source_kind_traits
from hven.sources.row_grouping import ROW_COUNT_COLUMN
from hven.sources.source_keys import open_source_additions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.engines import QueryEvaluator, Snapshot, SnapshotStaging, StorageEngine
    from hven.ingest._ledger import LedgerBatch, LedgerWriter
    from hven.ingest._published_dates import PublishedRowDates
    from hven.ingest._rejects_file import RejectsFile
    from hven.ingest._transform import MappedRows
    from hven.ingest._unique_checks import SeenRowHashes
    from hven.ingest.watermarks import WatermarkTracker
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.settings import DescriptorPythonLimits
    from hven.model.table import Table
    from hven.site.store import SnapshotRecord
    from hven.sources import Source

    Step = tuple[int, LedgerBatch | None, Iterable[tuple[pa.RecordBatch, "MappedBatch | None"]]]

FILE_PATH_COLUMN = "file.path"
DEFAULT_MAX_REJECTED_SHARE = 0.5  # share of rows that may be rejected, unless the descriptor says otherwise
MAX_REMEMBERED_REJECTS = 200_000  # unreadable rows that the loader remembers, to count each of them once
TARGET_BATCH_BYTES = 64 * 1024**2  # approximate size of a batch; several batches are in memory at once
MIN_BATCH_ROWS = 8192  # rows of a batch, however wide the rows are
FETCH_STEP = "fetch"  # the step in which a run fetches what belongs to rows
EARLY_STOP_ROWS = 1_000_000  # after this many rows, a share of rejected rows that is too large ends the reading
ESTIMATED_COLUMN_BYTES = 12  # of one value, for the size of a batch
MAX_INPUT_DOCUMENT_CHARACTERS = 1024**2  # of compressed metadata; 20,000 described columns take a third of it


UNREAD_ROWS_MESSAGE = "rows are served in place, so Hven has checked neither the rows nor the primary key"

MISSING_POSITION_MESSAGE = "longitude or latitude is missing or NaN: no search by position finds these rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """Progress of an ingest, for a progress bar.

    Attributes
    ----------
    table
        ``schema.table``.
    step
        ``read``, ``fetch``, ``finish``, ``test``, ``publish``.
    rows
        Rows of the table that are ready.
    done, total
        In the unit that the source counts: bytes or rows; documents for ``fetch``; None if unknown.
    """

    table: str
    step: str
    rows: int = 0
    done: int | None = None
    total: int | None = None


@dataclass(slots=True)
class MappedBatch:
    """Rows that the mapping made from source rows: one `MappedRows` a granule, up to the granule that failed."""

    prepared: pa.RecordBatch | None = None
    mapped_rows: list[MappedRows] = field(default_factory=list)
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class LoadedTable:
    """A table that was staged, or an unchanged table that stays as `published_record` describes it."""

    table: Table
    snapshot: Snapshot | None
    report: TableIngestReport
    pins: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    columns: list[list[dict[str, Any]]] = field(default_factory=list)
    source_units: list[str] = field(default_factory=list)
    input_document: dict[str, Any] | None = None
    published_record: SnapshotRecord | None = None


def open_table_sources(spec: TableSpec, resource: CollectionSpec, context: SourceContext) -> list[OpenedSource]:
    """Open the sources of a table, read their columns and compile their mappings.

    Parameters
    ----------
    spec
        The table and its sources.
    resource
        Its collection.
    context
        Context in which the sources are read.

    Returns
    -------
    entries
        One for each source.

    Raises
    ------
    SourceError, DescriptorError
        Before a row is read.
    """
    entries = []
    for source_spec in spec.sources:
        module = plugins.load_plugin("sources", source_spec.kind)
        options = module.Options.model_validate(dict(source_spec.options))
        source = module.open(options, context)
        columns = tuple(source.list_columns())
        additions = open_source_additions(source_spec.additions, columns, context)
        columns += tuple(column for addition in additions for column in addition.columns)
        compiled_mapping = mappings.compile_mapping(spec, columns, resource)
        mapping = mappings.with_type_doubt_warnings(compiled_mapping, source, source_spec)
        entry = OpenedSource(spec=source_spec, source=source, columns=columns, mapping=mapping, additions=additions)
        reading_context = _adapt_source_context(context, spec, entry)
        if reading_context is not None:
            if isinstance(source, ContextRebindableSource):
                source = source.with_context(reading_context)
            else:
                source = module.open(options, reading_context)
        for addition in additions:
            source = addition.wrap_source(source)
        entries.append(replace(entry, source=source))
    return entries


def _adapt_source_context(context: SourceContext, spec: TableSpec, entry: OpenedSource) -> SourceContext | None:
    """Return the context with which the rows of a source are read; None if `context` is right for it."""
    mapping = entry.mapping
    if has_byte_progress(entry.source):
        row_bytes = ESTIMATED_COLUMN_BYTES * max(len(entry.columns), 1)
        batch_rows = max(MIN_BATCH_ROWS, TARGET_BATCH_BYTES // row_bytes)
        batch_row_limit = min(context.batch_row_limit, batch_rows)
        if not mapping.read_types and batch_row_limit == context.batch_row_limit:
            return None
        # a file can be read in the types of the target at once, and a wide file in shorter batches
        return replace(context, target_types=mapping.read_types, batch_row_limit=batch_row_limit)
    if spec.sync is None and not find_source_kind_traits(entry.spec.kind).is_read_by_key:
        return None
    # the source may be read page by page, in the order of a key
    page_row_limit = None
    requests_per_second = None
    if spec.sync is not None:
        page_row_limit = spec.sync.page_row_count
        requests_per_second = spec.sync.max_requests_per_second
    return replace(
        context,
        key_columns=list_identity_columns(entry, mapping.table),
        page_row_limit=page_row_limit,
        requests_per_second=requests_per_second,
    )


def has_byte_progress(source: Source) -> bool:
    """Return whether a source reads files, so that its size and progress are counted in bytes."""
    return isinstance(source, ProgressSource)


def build_union_table(spec: TableSpec, entries: Sequence[OpenedSource]) -> Table:
    """Return the table that all source entries of a union fill.

    Raises
    ------
    DataError
        Two sources give a column different types, and the descriptor does not say which one it shall have.
    """
    first_table = entries[0].mapping.table
    columns = {column.name: column for column in first_table.columns}
    for entry in entries[1:]:
        for column in entry.mapping.table.columns:
            known_column = columns.setdefault(column.name, column)
            if known_column.type != column.type:
                raise DataError(
                    f"the column {column.name!r} of {spec.table.qualified_name} is {known_column.type} in one "
                    f"source and {column.type} in another",
                    place=entry.spec.place,
                    remedy="write its type under `columns:`",
                )
            origins = tuple(dict.fromkeys((*known_column.origins, *column.origins)))
            columns[column.name] = known_column.copy_with(origins=origins)
    for entry in entries:
        entry_names = {column.name for column in entry.mapping.table.columns}
        for name in columns.keys() - entry_names:
            # a source without the column leaves it null
            columns[name] = columns[name].copy_with(required=False)
    return first_table.copy_with(columns=tuple(columns.values()))


def read_input_document(entries: Sequence[OpenedSource], report: TableIngestReport) -> dict[str, Any] | None:
    """Read the metadata that the first source with a document of metadata has, for the provenance of the table.

    Parameters
    ----------
    entries
        The sources of a table.
    report
        The report of the table, which lists a document that is too large to be kept.

    Returns
    -------
    document
        ``text``, compressed as base64 text, and ``fields``: column of the table -> position of the source column whose
        values it has unchanged. None: no source has such a document.
    """
    for entry in entries:
        if not isinstance(entry.source, MetadataSource):
            continue
        metadata = entry.source.read_metadata()
        if not metadata.head_document:
            continue
        text = base64.b64encode(zlib.compress(metadata.head_document.encode())).decode()
        if len(text) > MAX_INPUT_DOCUMENT_CHARACTERS:
            message = "the file's metadata is larger than 1 MiB when compressed, so Hven does not keep it"
            remedy = "shorten the file's descriptions, or remove INFO elements"
            report.add_deviation(ReadDeviation(kind=DeviationKind.METADATA, message=message, remedy=remedy))
            return None
        positions = {column.name: position for position, column in enumerate(metadata.columns)}
        copies = entry.mapping.copies
        fields = {name: positions[source] for name, source in copies.items() if source in positions}
        return {"text": text, "fields": fields}
    return None


def find_adoptable_catalogue(entries: Sequence[OpenedSource], table: Table) -> str | None:
    """Return the place of a catalogue whose rows can be served unchanged; None if rows must be read."""
    entry = entries[0]
    mapping = entry.mapping
    names = {column.name for column in table.columns}
    changes_rows = (
        mapping.row_filter_query
        or mapping.checks
        or mapping.column_rules
        or mapping.unrolled_columns
        or mapping.group_plan
        or mapping.calls
    )
    if len(entries) > 1 or changes_rows or mapping.copies.keys() != names:
        return None
    if isinstance(entry.source, InPlaceCatalogueSource):
        return entry.source.catalogue
    return None


@dataclass(kw_only=True, eq=False)
class TableLoader:
    """Fill one table. Call `load_table` once."""

    evaluator: QueryEvaluator  # computes columns, and checks rows
    spec: TableSpec
    entries: Sequence[OpenedSource]
    rejects: RejectsFile
    report: TableIngestReport
    progress: Callable[[IngestProgress], None]
    spool_directory: Path  # for rows that wait to be grouped
    sample_rows: int | None = None
    max_rejected_share: float = DEFAULT_MAX_REJECTED_SHARE
    may_be_empty: bool = False  # its rows come later, so that there may be none
    ledger_writer: LedgerWriter | None = None  # records the result of each source row
    # returns the rows of a batch that the loader has to read; None: all
    select_unknown_rows: Callable[[int, pa.RecordBatch], pa.RecordBatch] | None = None
    # receives every batch of source rows, with the columns of the watermark
    watermark_tracker: WatermarkTracker | None = None
    allow_private: bool = False  # product_size may ask addresses that are not on the public internet
    published_dates: PublishedRowDates | None = None  # dates of the published rows
    python_limits: DescriptorPythonLimits | None = None  # limits of the functions beside the descriptor
    # for a published table: true if all its rows may go, false if the user must accept that first
    may_become_empty: bool | None = None
    unread_counts: dict[str, int] = field(default_factory=dict)  # file -> rows that could not be read
    contended_count: int = 0  # rows that were rejected because another row had their values

    def __post_init__(self) -> None:
        self.table = build_union_table(self.spec, self.entries)
        self._schema = self.table.arrow_schema
        self._seen_hashes: dict[str, SeenRowHashes] = {}  # of the rules 'unique', over all sources
        self._unique_rule_names: set[str] = set()
        for entry in self.entries:
            unique_rules = (rule for rule in entry.mapping.column_rules if rule.check == UNIQUE_CHECK)
            self._unique_rule_names.update(rule.name for rule in unique_rules)
        self._reported_rejects: dict[tuple[str | None, int | None], None] = {}
        self._input_document = read_input_document(self.entries, self.report)
        self._lock = threading.Lock()  # sources report unreadable rows from their own thread

    def load_table(self, snapshot_id: str, storage_engine: StorageEngine) -> LoadedTable:
        """Read, map, check and stage the rows of the table in an engine.

        Raises
        ------
        SourceError, DataError, StorageError
            The staging is abandoned.
        """
        expects_merges = self.spec.sync is not None
        staging = storage_engine.stage_snapshot(self.table, snapshot_id, expects_merges=expects_merges)
        try:
            catalogue = self._find_adoptable_catalogue()
            if catalogue is not None and isinstance(staging, CatalogueAdopter):
                snapshot = self._adopt_catalogue(staging, catalogue, storage_engine.name)
            else:
                self.map_and_write_rows(staging.write)
                snapshot = self._finish_staging(staging, storage_engine.name)
        except BaseException:
            staging.abandon()
            raise
        return self.build_loaded_table(snapshot)

    def _find_adoptable_catalogue(self) -> str | None:
        if self.sample_rows is not None:
            return None
        return find_adoptable_catalogue(self.entries, self.table)

    def _adopt_catalogue(self, staging: CatalogueAdopter, catalogue: str, engine_name: str) -> Snapshot:
        """Have the engine serve the rows of a catalogue without a copy of them."""
        start_time = time.perf_counter()
        adopted_snapshot = staging.adopt_catalogue(catalogue, self.entries[0].mapping.copies)
        snapshot = replace(adopted_snapshot, engine=engine_name)
        self.report.add_step_time("finish", start_time)
        self.report.read = self.report.published = snapshot.rows
        self.report.snapshot = snapshot.id
        self.report.add_finding("in_place", UNREAD_ROWS_MESSAGE, WARNING_SEVERITY, snapshot.rows, [])
        null_counts = [snapshot.statistics.get(name, {}).get("nulls") for name in self.table.position or ()]
        missing_count = max((count for count in null_counts if isinstance(count, int)), default=0)
        if missing_count:
            self.report.add_finding("no_position", MISSING_POSITION_MESSAGE, WARNING_SEVERITY, missing_count, [])
        return snapshot

    def map_and_write_rows(self, write_batch: Callable[[pa.RecordBatch], None]) -> None:
        """Read, map and check all sources; give the rows of the table to `write_batch`, in a thread of its own.

        Raises
        ------
        SourceError, DataError, StorageError
            As `load_table`.
        """
        with ExitStack() as stack:
            writer = WriteBehindQueue(write_batch)
            stack.callback(writer.stop_and_discard_items)
            for number, entry in enumerate(self.entries):
                self._load_source_entry(number, entry, writer)
            start_time = time.perf_counter()
            writer.wait_until_done()
            self.report.add_step_time("stage", start_time)
        if self.select_unknown_rows is None:
            self._check_rejected_share(is_final=True)

    def build_loaded_table(self, snapshot: Snapshot | None) -> LoadedTable:
        """Collect what is known of the table once all rows are read."""
        pins = [pin for entry in self.entries for pin in list_source_inputs(entry.source)]
        return LoadedTable(
            table=self.table,
            snapshot=snapshot,
            report=self.report,
            pins=pins,
            columns=[columns_to_json(entry.columns) for entry in self.entries],
            source_units=sorted(_find_fixed_unit_columns(self.table, self.entries)),
            input_document=self._input_document,
        )

    def _finish_staging(self, staging: SnapshotStaging, engine_name: str) -> Snapshot:
        self._report_progress("finish")
        start_time = time.perf_counter()
        snapshot = replace(staging.finish(), engine=engine_name)
        self.report.add_step_time("finish", start_time)
        self.report.snapshot = snapshot.id
        self.report.bytes = snapshot.bytes
        return snapshot

    def _report_progress(self, step: str, done: int | None = None, total: int | None = None) -> None:
        table_name = self.table.qualified_name
        progress = IngestProgress(table=table_name, step=step, rows=self.report.published, done=done, total=total)
        self.progress(progress)

    def _load_source_entry(self, number: int, entry: OpenedSource, writer: WriteBehindQueue[pa.RecordBatch]) -> None:
        sizes = RemoteProductSizeReader(allow_private=self.allow_private)
        group_plan = entry.mapping.group_plan
        # rows are mapped while earlier rows are checked, unless the check decides what is read or reported next
        is_sequential = (
            self.select_unknown_rows is not None or group_plan is not None or bool(entry.mapping.unrolled_columns)
        )
        stop_event = None if is_sequential else threading.Event()
        transform = MappingTransform(self.evaluator, entry.mapping, sizes, self.python_limits, stop_event)
        validation = RowValidator(self.evaluator, entry.mapping, seen_hashes=self._seen_hashes)
        batches = entry.source.read_batches(self.list_columns_to_read(entry), row_limit=self.sample_rows)
        total = entry.source.estimate_progress_total()
        read_row_count = 0
        with ExitStack() as stack:
            grouper: SourceRowGrouper | None = None
            if group_plan is not None:
                grouper = SourceRowGrouper(self.evaluator, entry.mapping, group_plan, self.spool_directory)
                stack.enter_context(grouper)
            read_ahead = stack.enter_context(closing(ReadAheadIterator(batches)))
            steps: Iterator[Step] = self._iterate_mapping_steps(number, entry, transform, read_ahead, stop_event)
            if stop_event is not None:
                steps_ahead = stack.enter_context(closing(ReadAheadIterator(steps, 1)))
                steps = iter(steps_ahead)
                stack.callback(stop_event.set)
            for row_count, ledger_batch, mapped_parts in steps:
                read_row_count += row_count
                for part, mapped_batch in mapped_parts:
                    with self._lock:
                        self.report.read += part.num_rows
                    if mapped_batch is not None:
                        self._check_and_write_batch(validation, part, mapped_batch, writer, ledger_batch)
                    elif grouper is not None:
                        start_time = time.perf_counter()
                        self.report.skipped += grouper.add_batch(part)
                        self.report.add_step_time("group", start_time)
                if ledger_batch is not None:
                    ledger_batch.write_lines()
                self._check_rejected_share()
                done = read_row_count
                if isinstance(entry.source, ProgressSource):
                    done = entry.source.count_progress_units()
                self._report_progress("read", done, total)
            if grouper is not None:
                self._load_groups(grouper, transform, validation, writer)
        self._report_missing_sizes(sizes)

    def _load_groups(
        self,
        grouper: SourceRowGrouper,
        transform: MappingTransform,
        validator: RowValidator,
        writer: WriteBehindQueue[pa.RecordBatch],
    ) -> None:
        """Map, check and write the groups of an entry, after all of its rows are read."""
        start_time = time.perf_counter()
        for groups, conflicting_values in grouper.iterate_groups():
            valid_groups = self._reject_ambiguous_groups(groups, conflicting_values)
            self.report.add_step_time("group", start_time)
            mapped_batch = self._map_batch(transform, valid_groups)
            self._check_and_write_batch(validator, valid_groups, mapped_batch, writer)
            self._check_rejected_share()
            start_time = time.perf_counter()

    def _report_missing_sizes(self, sizes: RemoteProductSizeReader) -> None:
        """Report the addresses whose size could not be read, one finding for each reason."""
        for reason, count, first_address in sizes.iterate_failures():
            message = f"the sizes of files such as {first_address} could not be read: {reason}"
            offenders = [OffendingRow(file=None, row=None, column=None, value=first_address)]
            with self._lock:
                self.report.add_finding(f"product_size: {reason}", message, WARNING_SEVERITY, count, offenders)

    def _iterate_mapping_steps(
        self,
        number: int,
        entry: OpenedSource,
        transform: MappingTransform,
        batches: Iterable[pa.RecordBatch],
        stop_event: threading.Event | None,
    ) -> Iterator[Step]:
        """Yield for each batch its row count, its lines of the ledger, and its units of mapping with their rows.

        Without `stop_event`, the units are mapped when the caller asks for them. With it, this generator runs ahead in
        another thread and maps them at once; the event says that the caller needs no more.
        """
        is_grouped = bool(entry.mapping.group_plan)
        start_time = time.perf_counter()
        for batch in batches:
            if stop_event is not None and stop_event.is_set():
                return
            start_time = self.report.add_step_time("read", start_time)
            if self.watermark_tracker is not None:
                self.watermark_tracker(number, batch)
            unknown_rows = batch
            if self.select_unknown_rows is not None:
                unknown_rows = self.select_unknown_rows(number, batch)
            has_rows = unknown_rows.num_rows > 0
            ledger_batch: LedgerBatch | None = None
            if self.ledger_writer is not None and has_rows:
                ledger_batch = self.ledger_writer.begin_batch(number, unknown_rows)
            self.report.add_step_time("sift", start_time)
            units = self._iterate_mapping_units(unknown_rows, entry, ledger_batch) if has_rows else ()
            parts = ((unit, None if is_grouped else self._map_batch(transform, unit)) for unit in units)
            if stop_event is None:
                yield batch.num_rows, ledger_batch, parts
            else:
                mapped_parts = list(parts)
                if any(mapped_batch is not None and mapped_batch.error is not None for _, mapped_batch in mapped_parts):
                    stop_event.set()
                yield batch.num_rows, ledger_batch, mapped_parts
                del mapped_parts
            start_time = time.perf_counter()
        self.report.add_step_time("read", start_time)

    def _map_batch(self, transform: MappingTransform, batch: pa.RecordBatch) -> MappedBatch:
        """Map source rows; keep an error for `_check_and_write_batch`, which raises it in the order of the rows."""
        start_time = time.perf_counter()
        mapped_batch = MappedBatch()
        try:
            mapped_batch.prepared = transform.add_numbers_and_call_results(batch)
            for mapped in transform.map_batch(mapped_batch.prepared):
                mapped_batch.mapped_rows.append(mapped)
        except Exception as error:  # noqa: BLE001  (raised by `_check_and_write_batch`)
            mapped_batch.error = error
        self.report.add_step_time("map", start_time)
        return mapped_batch

    def list_columns_to_read(self, entry: OpenedSource) -> list[str]:
        """Return the columns to read from a source."""
        names = list(entry.mapping.needed_columns)
        if self.watermark_tracker is not None:
            names += entry.mapping.watermark_columns
        names += [ROW_NUMBER_COLUMN, FILE_PATH_COLUMN]
        return list(dict.fromkeys(names))

    def _iterate_mapping_units(
        self, batch: pa.RecordBatch, entry: OpenedSource, ledger_batch: LedgerBatch | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of the units that become rows of the table: source rows, or the elements of their arrays."""
        unrolled_columns = entry.mapping.unrolled_columns
        if not unrolled_columns:
            yield batch
            return
        if ledger_batch is not None:
            batch = batch.append_column(BATCH_POSITION_COLUMN, pa.array(np.arange(batch.num_rows)))
        unrolled = UnrolledBatch(batch, unrolled_columns)
        empty_rows = np.flatnonzero(unrolled.empty_mask)
        uneven_rows = np.flatnonzero(unrolled.uneven_mask)
        if len(empty_rows):
            offenders = [_build_row_offender(batch, row_position) for row_position in empty_rows[:MAX_OFFENDERS]]
            message = f"{', '.join(unrolled_columns)}: the array is empty, so this source row creates no row"
            with self._lock:
                self.report.add_finding("for_each: empty", message, WARNING_SEVERITY, len(empty_rows), offenders)
        for row_position in uneven_rows:
            lengths = zip(unrolled_columns, unrolled.lengths[:, row_position], strict=True)
            row = batch.slice(int(row_position), 1).to_pylist()[0]
            file = row.pop(FILE_PATH_COLUMN, None)
            row_number = row.pop(ROW_NUMBER_COLUMN, None)
            _ = row.pop(BATCH_POSITION_COLUMN, None)
            rejected_row = RejectedRow(
                file=file,
                row=row_number,
                column=unrolled_columns[0],
                value=", ".join(f"{name} has {length}" for name, length in lengths),
                reason="arrays of different lengths cannot be unrolled together",
                text=format_row_as_json(row),
            )
            self.record_rejected_row(rejected_row)
        if ledger_batch is not None:
            ledger_batch.record_rejected_rows(uneven_rows)
        yield from unrolled.iterate_element_batches()

    def _reject_ambiguous_groups(
        self, groups: pa.RecordBatch, conflicting_values: Mapping[str, pa.Array]
    ) -> pa.RecordBatch:
        """Reject the groups in which a column outside of the aggregates has several values."""
        rejected_mask = np.zeros(groups.num_rows, bool)
        sizes = np.asarray(groups.column(ROW_COUNT_COLUMN))
        for name, other_values in conflicting_values.items():
            conflict_mask = np.asarray(pc.is_valid(other_values)) & ~rejected_mask
            conflicting_rows = np.flatnonzero(conflict_mask)
            if not len(conflicting_rows):
                continue
            rejected_mask[conflicting_rows] = True
            message = f"{name} has several values in one group: use it in an aggregate function, or add it to group_by"
            value_texts = []
            for position in conflicting_rows:
                other_value = other_values[int(position)].as_py()
                value_texts.append(f"{_read_cell(groups, name, position)} and {other_value}")
            pairs = zip(conflicting_rows[:MAX_OFFENDERS], value_texts, strict=False)
            offenders = [_build_row_offender(groups, position, column=name, value=text) for position, text in pairs]
            with self._lock:
                self.report.rejected += int(sizes[conflicting_rows].sum())
                self.report.add_finding(f"{name}: one value", message, ERROR_SEVERITY, len(conflicting_rows), offenders)
            rows = groups.take(pa.array(conflicting_rows)).to_pylist()
            for row, text in zip(rows, value_texts, strict=True):
                file = row.pop(FILE_PATH_COLUMN, None)
                row_number = row.pop(ROW_NUMBER_COLUMN, None)
                self.rejects.write_row(file, row_number, name, text, reason=message, text=format_row_as_json(row))
        unmarked_groups = groups.drop_columns([ROW_COUNT_COLUMN])
        if not rejected_mask.any():
            return unmarked_groups
        return unmarked_groups.filter(pa.array(~rejected_mask))

    def _check_and_write_batch(
        self,
        validator: RowValidator,
        batch: pa.RecordBatch,
        mapped_batch: MappedBatch,
        writer: WriteBehindQueue[pa.RecordBatch],
        ledger_batch: LedgerBatch | None = None,
    ) -> None:
        """Check mapped rows, write the valid ones, report the others, and complete the counts of the report."""
        reached_mask = np.zeros(batch.num_rows, bool)
        rejected_mask = np.zeros(batch.num_rows, bool)
        start_time = time.perf_counter()
        while mapped_batch.mapped_rows:
            mapped = mapped_batch.mapped_rows.pop(0)
            if mapped.source_positions is not None:
                source_positions = mapped.source_positions
            else:
                source_positions = np.arange(batch.num_rows)
            reached_mask[source_positions] = True
            violations = list(validator.find_violations_and_set_flags(mapped, mapped_batch.prepared))
            rows = mapped.rows
            valid_positions = source_positions
            if violations:
                with self._lock:
                    rejected_rows = self._reject_violating_rows(
                        violations, rows, mapped_batch.prepared, batch, source_positions
                    )
                if rejected_rows.any():
                    rejected_mask[source_positions[rejected_rows]] = True
                    rows = rows.filter(pa.array(~rejected_rows))
                    valid_positions = source_positions[~rejected_rows]
            start_time = self.report.add_step_time("check", start_time)
            if rows.num_rows:
                self.report.published += rows.num_rows
                table_rows = _fill_missing_columns(rows, self._schema)
                if self.published_dates is not None:
                    table_rows = self.published_dates.restore_dates(table_rows, validator.mapping)
                if ledger_batch is not None:
                    source_rows = _to_source_positions(batch, valid_positions)
                    ledger_batch.record_published_rows(source_rows, table_rows)
                writer.enqueue(table_rows)
                start_time = self.report.add_step_time("stage", start_time)
        if mapped_batch.error is not None:
            raise mapped_batch.error
        if ledger_batch is not None and rejected_mask.any():
            source_rows = _to_source_positions(batch, np.flatnonzero(rejected_mask))
            ledger_batch.record_rejected_rows(source_rows)
        with self._lock:
            self.report.skipped += batch.num_rows - int(reached_mask.sum())
            self.report.rejected += int(rejected_mask.sum())

    def _reject_violating_rows(
        self,
        violations: Sequence[RuleViolation],
        rows: pa.RecordBatch,
        prepared_batch: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> Any:
        """Report all violations, reject the rows with errors, and return the mask of the rejected rows."""
        rejected_mask = np.zeros(rows.num_rows, bool)
        errors = [violation for violation in violations if violation.severity == ERROR_SEVERITY]
        for error in errors:
            row_mask = np.asarray(error.row_mask)
            rejected_mask |= row_mask
            rule_name = error.rule.partition(": ")[0]
            if rule_name in self._unique_rule_names:
                self.contended_count += int(np.count_nonzero(row_mask))
        for violation in violations:
            self._report_violation(violation, rows, prepared_batch, batch, source_positions)
        if errors:
            self._write_rejects(errors, rejected_mask, rows, batch, source_positions)
        return rejected_mask

    def record_rejected_row(self, rejected_row: RejectedRow) -> None:
        """Record a row that the source could not read (for `SourceContext.on_reject`, in any thread)."""
        if rejected_row.value is None:
            value = rejected_row.text
        else:
            value = rejected_row.value
        offender = OffendingRow(file=rejected_row.file, row=rejected_row.row, column=rejected_row.column, value=value)
        rule = f"{rejected_row.column or 'row'}: {rejected_row.reason}"
        message = f"{rejected_row.column or 'a row'}: {rejected_row.reason}"
        with self._lock:
            if self._record_if_first_report(rejected_row):
                self.report.read += 1
                self.report.rejected += 1
                file = rejected_row.file or ""
                self.unread_counts[file] = self.unread_counts.get(file, 0) + 1
            self.report.add_finding(rule, message, ERROR_SEVERITY, 1, [offender])
            self.rejects.write_row(
                rejected_row.file,
                rejected_row.row,
                rejected_row.column,
                rejected_row.value,
                reason=rejected_row.reason,
                text=rejected_row.text,
            )
        self._check_rejected_share()  # a file in which no row is readable gives no batch

    def _record_if_first_report(self, rejected_row: RejectedRow) -> bool:
        """Return whether this row is reported for the first time: a row may be unreadable in several columns."""
        if rejected_row.row is None:
            return True
        row_key = (rejected_row.file, rejected_row.row)
        if row_key in self._reported_rejects:
            return False
        self._reported_rejects[row_key] = None
        if len(self._reported_rejects) > MAX_REMEMBERED_REJECTS:  # the reports of one row come close together
            oldest_key = next(iter(self._reported_rejects))
            del self._reported_rejects[oldest_key]
        return True

    def _report_violation(
        self,
        violation: RuleViolation,
        rows: pa.RecordBatch,
        prepared_batch: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> None:
        row_count = int(pc.sum(violation.row_mask).as_py() or 0)
        remaining_offenders = MAX_OFFENDERS
        known_finding = self.report.findings.get(violation.rule)
        if known_finding is not None:
            remaining_offenders -= len(known_finding.offenders)
        violating_rows = np.flatnonzero(np.asarray(violation.row_mask))
        offenders = []
        for row_position in violating_rows[:remaining_offenders]:
            offender = _build_offender(
                violation, int(row_position), rows, prepared_batch, batch=batch, source_positions=source_positions
            )
            offenders.append(offender)
        self.report.add_finding(violation.rule, violation.message, violation.severity, row_count, offenders)

    def _write_rejects(
        self,
        errors: Sequence[RuleViolation],
        rejected_mask: Any,
        rows: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> None:
        """Write rejected rows to the rejects file."""
        rejected_rows = np.flatnonzero(rejected_mask)
        source_rows = _to_row_dicts(batch.take(pa.array(source_positions[rejected_rows])))
        table_rows = _to_row_dicts(rows.take(pa.array(rejected_rows)))
        error_masks = [np.asarray(error.row_mask)[rejected_rows] for error in errors]
        for number, (source_row, table_row) in enumerate(zip(source_rows, table_rows, strict=True)):
            row_errors = [error for error, mask in zip(errors, error_masks, strict=True) if mask[number]]
            first_error = row_errors[0]
            value = None
            if first_error.column is not None:
                row = source_row if first_error.is_source_column else table_row
                value = row.get(first_error.column)
            file = source_row.pop(FILE_PATH_COLUMN, None)
            row_number = source_row.pop(ROW_NUMBER_COLUMN, None)
            _ = source_row.pop(BATCH_POSITION_COLUMN, None)
            self.rejects.write_row(
                file,
                row_number,
                first_error.column,
                None if value is None else str(value),
                reason="; ".join(error.message for error in row_errors),
                text=format_row_as_json(source_row),
            )

    def require_enough_accepted_rows(self) -> None:
        """Raise an error if too many rows of the report were rejected, or no row is left.

        Raises
        ------
        DataError
            With the most frequent reason.
        """
        self._check_rejected_share(is_final=True)

    def _check_rejected_share(self, *, is_final: bool = False) -> None:
        if self.select_unknown_rows is not None and not is_final:  # the caller knows how many rows there are
            return
        report = self.report
        rejected_share = 0.0
        if report.read:
            rejected_share = report.rejected / report.read
        if rejected_share > self.max_rejected_share and (is_final or report.read > EARLY_STOP_ROWS):
            raise DataError(
                f"{report.rejected:,} of {report.read:,} rows of {report.table} were rejected, more than the limit of "
                f"{self.max_rejected_share:.0%}{self._describe_most_frequent_error()}",
                place=self.spec.place,
                remedy=f"correct the descriptor or the data; the rejected rows are in {self.rejects.path}",
            )
        may_be_empty = self.may_be_empty or self.max_rejected_share >= 1 or self.may_become_empty is True
        if is_final and not report.published and not may_be_empty:
            self._refuse_empty_table()

    def _describe_most_frequent_error(self) -> str:
        """Return the end of a message that names the most frequent error and its first row; empty if there is none."""
        errors = (finding for finding in self.report.findings.values() if finding.severity == ERROR_SEVERITY)
        most_frequent = max(errors, key=lambda finding: finding.count, default=None)
        if most_frequent is None or not most_frequent.offenders:
            return ""
        return f"; most often: {most_frequent.message} (first: {most_frequent.offenders[0]})"

    def _refuse_empty_table(self) -> None:
        report = self.report
        reason = "the source has no rows"
        if report.read:
            reason = f"all {report.read:,} rows were left out or rejected"
        if self.may_become_empty is False:
            raise ChangeLimitExceededError(
                f"nothing was published, because {report.table} would be empty: {reason}",
                place=self.spec.place,
                remedy="check the source; if it is correct, run the command again with --accept",
            )
        raise DataError(
            f"{report.table} would be empty: {reason}",
            place=self.spec.place,
            remedy="check `where:` and the files, or write `max_rejects: 1` to publish an empty table",
        )


def _fill_missing_columns(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform rows of one entry to the columns of the whole table: the columns of other entries are null."""
    if rows.schema.names == schema.names:
        return pa.RecordBatch.from_arrays(rows.columns, schema=schema)
    available_names = set(rows.schema.names)
    arrays = []
    for column in schema:
        is_available = column.name in available_names
        if is_available:
            array = rows.column(column.name)
        else:
            array = pa.nulls(rows.num_rows, column.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_source_positions(batch: pa.RecordBatch, positions: Any) -> Any:
    """Return the positions of the source rows of `batch`, whose rows may be elements of source rows."""
    if BATCH_POSITION_COLUMN in batch.schema.names:
        return np.asarray(batch.column(BATCH_POSITION_COLUMN))[positions]
    return positions


def _to_row_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Convert rows for messages; times outside of Python's years 1 to 9999 become text."""
    columns = [_convert_distant_times_to_text(column) for column in batch.columns]
    readable_batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    rows: list[dict[str, Any]] = readable_batch.to_pylist()
    return rows


def _convert_distant_times_to_text(column: pa.Array) -> pa.Array:
    if not pa.types.is_timestamp(column.type) or find_times_outside_year_range(column) is None:
        return column
    if column.type.tz is not None:
        unit = column.type.unit
        column = column.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit))
    return column.cast(pa.string())


def _to_python_value(column: pa.Array, row_position: int) -> object:
    """Convert one value for messages."""
    one_row = column[row_position : row_position + 1]
    return _convert_distant_times_to_text(one_row)[0].as_py()


def _build_offender(
    violation: RuleViolation,
    row_position: int,
    rows: pa.RecordBatch,
    prepared_batch: pa.RecordBatch,
    *,
    batch: pa.RecordBatch,
    source_positions: Any,
) -> OffendingRow:
    position = int(source_positions[row_position])
    value = None
    if violation.column is not None:
        if violation.values is not None:
            value = _to_python_value(violation.values, row_position)
        elif violation.is_source_column and violation.column in prepared_batch.schema.names:
            value = _to_python_value(prepared_batch.column(violation.column), position)
        elif violation.column in rows.schema.names:
            value = _to_python_value(rows.column(violation.column), row_position)
    value_text = None
    if value is not None:
        value_text = str(format_value_for_message(value))
    return _build_row_offender(batch, position, column=violation.column, value=value_text)


def _build_row_offender(
    batch: pa.RecordBatch, row_position: Any, *, column: str | None = None, value: str | None = None
) -> OffendingRow:
    """Describe a row of a batch by its file and its number, for a finding."""
    file = _read_cell(batch, FILE_PATH_COLUMN, row_position)
    row_number = _read_cell(batch, ROW_NUMBER_COLUMN, row_position)
    return OffendingRow(file=file, row=row_number, column=column, value=value)


def _read_cell(batch: pa.RecordBatch, column_name: str, row_position: Any) -> Any:
    if column_name in batch.schema.names:
        return batch.column(column_name)[int(row_position)].as_py()
    return None


def _find_fixed_unit_columns(table: Table, entries: Sequence[OpenedSource]) -> Iterator[str]:
    """Yield the columns whose unit is fixed, because a source gives a unit for a column that they are made from."""
    for column in table.columns:
        if column.unit is None:
            continue
        for entry in entries:
            names_with_unit = {source_column.name for source_column in entry.columns if source_column.unit}
            if names_with_unit.intersection(column.origins):
                yield column.name
                break


def build_error_with_place(error: SourceError, spec: SourceSpec) -> SourceError:
    """Return the error of a source with its place in the descriptor, if it has no place yet."""
    if str(error.place):
        return error
    return SourceError(error.message, place=spec.place, remedy=error.remedy)
