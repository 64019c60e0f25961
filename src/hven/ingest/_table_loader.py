"""One table: its sources through mapping and checks into a staged snapshot."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor import mapping as mappings
from hven.descriptor.tables import PUSH_SOURCE_KIND
from hven.engines import CatalogueAdopter
from hven.ingest._ledger import (
    BATCH_POSITION_COLUMN,
    UNIQUE_CHECK,
    SourceEntry,
    list_identity_columns,
    list_read_inputs,
)
from hven.ingest._read_ahead import ReadAhead, WriteBehind
from hven.ingest._rejects_file import describe_value, format_row_as_json
from hven.ingest._remote_sizes import RemoteSizeReader
from hven.ingest._report import MAX_OFFENDERS, Offender, TableReport
from hven.ingest._row_grouping import SourceRowGrouper, UnrolledBatch
from hven.ingest._row_validation import RowValidator
from hven.ingest._rules import ERROR_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.ingest._transform import MappingTransform
from hven.model import plugins
from hven.model.errors import ChangeGuardError, DataError, SourceError
from hven.model.literal import find_times_outside_years
from hven.model.table import columns_to_json
from hven.sources import (
    ROW_NUMBER_COLUMN,
    CatalogueSource,
    ProgressSource,
    RebindableSource,
    RejectedRow,
    SourceContext,
)
from hven.sources.document_enrichment import EnrichOptions, RowDocuments
from hven.sources.row_grouping import ROW_COUNT_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.engines import Snapshot, SnapshotStaging, StorageEngine
    from hven.ingest._ledger import LedgerBatch, LedgerWriter
    from hven.ingest._published_dates import PublishedDates
    from hven.ingest._rejects_file import RejectsFile
    from hven.ingest._transform import MappedRows
    from hven.ingest._unique_checks import SeenHashes
    from hven.ingest.watermarks import WatermarkTracker
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import PythonLimits
    from hven.model.table import Table
    from hven.site.store import SnapshotRecord
    from hven.sources import Source

    Step = tuple[int, LedgerBatch | None, Iterable[tuple[pa.RecordBatch, "MappedBatch | None"]]]

FILE_PATH_COLUMN = "file.path"
DEFAULT_MAX_REJECTED_SHARE = 0.5  # share of rows that may be rejected, unless the descriptor says otherwise
MAX_REMEMBERED_REJECTS = 200_000  # unreadable rows that are remembered
TARGET_BATCH_BYTES = 64 * 1024**2  # bytes of a batch, about: several are on their way at once
MIN_BATCH_ROWS = 8192  # rows of a batch, however wide
FETCH_STEP = "fetch"  # what a run does while documents of rows come
PAGED_SERVICE_KINDS = ("tap", "hven")  # kinds that give only so many rows at once
EARLY_STOP_ROWS = 1_000_000  # rows after which a share that is too large ends the reading


UNREAD_ROWS_MESSAGE = (
    "rows are served where they are: nobody looked at each of them, nor at whether the primary key is unique"
)

MISSING_POSITION_MESSAGE = "longitude or latitude is missing, or NaN: no search by position finds them"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """How far an ingest is: for a progress bar.

    Attributes
    ----------
    table
        ``schema.table``.
    step
        ``read``, ``fetch``, ``finish``, ``test``, ``publish``.
    done, total
        In bytes or rows of the source, whatever it counts; of ``fetch`` documents; None if unknown.
    """

    table: str
    step: str
    rows: int = 0
    done: int | None = None
    total: int | None = None


@dataclass(slots=True)
class MappedBatch:
    """What the mapping made of source rows: one `MappedRows` for each granule, up to the one at which it failed."""

    prepared: pa.RecordBatch | None = None
    mapped_rows: list[MappedRows] = field(default_factory=list)
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class LoadedTable:
    """A table that was staged; or one that stays as `published_record` says, because nothing of it changed."""

    table: Table
    snapshot: Snapshot | None
    report: TableReport
    pins: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    columns: list[list[dict[str, Any]]] = field(default_factory=list)
    source_units: list[str] = field(default_factory=list)
    published_record: SnapshotRecord | None = None


def open_sources(spec: TableSpec, resource: Resource, context: SourceContext) -> list[SourceEntry]:
    """Open the sources of a table, see their columns, compile their mappings.

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
        source_columns = source.list_columns()
        if source_spec.enrich is None:
            documents = None
        else:
            documents = RowDocuments(EnrichOptions.model_validate(dict(source_spec.enrich)), source_columns, context)
        columns = (*source_columns, *(documents.columns if documents is not None else ()))
        mapping = mappings.add_doubt_warnings(mappings.compile_mapping(spec, columns, resource), source, source_spec)
        paging_context: SourceContext | None = None
        rows = min(context.batch_row_limit, max(MIN_BATCH_ROWS, TARGET_BATCH_BYTES // (12 * max(len(columns), 1))))
        entry = SourceEntry(spec=source_spec, source=source, columns=columns, mapping=mapping, documents=documents)
        if has_byte_progress(source):
            if mapping.read_types or rows != context.batch_row_limit:
                # a file may be read in the target's types at once; and a wide one in shorter batches
                paging_context = replace(context, target_types=mapping.read_types, batch_row_limit=rows)
        elif spec.sync is not None or source_spec.kind in {
            *PAGED_SERVICE_KINDS,
            PUSH_SOURCE_KIND,
        }:  # it may be asked page by page, in the order of a key
            if spec.sync is not None:
                page, rate = (spec.sync.page_row_count, spec.sync.max_requests_per_second)
            else:
                page, rate = (None, None)
            key_columns = list_identity_columns(entry, mapping.table)
            paging_context = replace(
                context,
                key_columns=key_columns,
                page_row_limit=page,
                requests_per_second=rate,
            )
        if paging_context is not None:
            if isinstance(source, RebindableSource):
                source = source.with_context(paging_context)
            else:
                source = module.open(options, paging_context)
        entries.append(replace(entry, source=source if documents is None else documents.wrap_source(source)))
    return entries


def has_byte_progress(source: Source) -> bool:
    """Return whether a source is one of files, whose size and progress are bytes."""
    return isinstance(source, ProgressSource)


def build_union_table(spec: TableSpec, entries: Sequence[SourceEntry]) -> Table:
    """Return the table that all entries of a union fill.

    Raises
    ------
    DataError
        Two sources give a column different types, and the descriptor does not say which one it shall have.
    """
    first = entries[0].mapping.table
    columns = {column.name: column for column in first.columns}
    for entry in entries[1:]:
        for column in entry.mapping.table.columns:
            known_column = columns.setdefault(column.name, column)
            if known_column.type != column.type:
                raise DataError(
                    f"the column {column.name} of {spec.table.qualified_name} is {known_column.type} in one "
                    f"source and {column.type} in another",
                    place=entry.spec.place,
                    remedy="say its type under columns:",
                )
            origins = tuple(dict.fromkeys((*known_column.origins, *column.origins)))
            columns[column.name] = known_column.copy_with(origins=origins)
    absent_columns = {
        name
        for entry in entries
        for name in columns
        if name not in {column.name for column in entry.mapping.table.columns}
    }
    return first.copy_with(
        columns=tuple(
            column.copy_with(required=False) if column.name in absent_columns else column for column in columns.values()
        )
    )


def find_adoptable_catalogue(entries: Sequence[SourceEntry], table: Table) -> str | None:
    """Return where the rows are, if all that is to be done with them is to take them as they are."""
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
    if isinstance(entry.source, CatalogueSource):
        return entry.source.catalogue
    return None


@dataclass(kw_only=True, eq=False)
class TableLoader:
    """Fills one table. Use `load_table` once."""

    engine: StorageEngine  # computes
    storage_engine: StorageEngine  # keeps the rows
    spec: TableSpec
    entries: Sequence[SourceEntry]
    rejects: RejectsFile
    report: TableReport
    progress: Callable[[IngestProgress], None]
    spool_directory: Path  # where rows wait that are grouped
    sample_rows: int | None = None
    max_rejected_share: float = DEFAULT_MAX_REJECTED_SHARE
    may_be_empty: bool = False  # rows are pushed into it, and there may be none yet, or none any more
    ledger_writer: LedgerWriter | None = None  # takes down what becomes of each source row
    select_unknown_rows: Callable[[int, pa.RecordBatch], pa.RecordBatch] | None = (
        None  # leaves those out that are known
    )
    watermark_tracker: WatermarkTracker | None = (
        None  # is shown every batch of source rows, with the columns that are watched
    )
    allow_private: bool = False  # product_size may ask addresses that are not on the public internet
    published_dates: PublishedDates | None = None  # of the rows that are published
    python_limits: PythonLimits | None = None  # what functions beside the descriptor may use
    # of a table that is published: its rows may all go (true), or that must be said first (false)
    may_become_empty: bool | None = None
    unread_counts: dict[str, int] = field(default_factory=dict)  # file -> rows that could not be read
    contended_count: int = 0  # rows that were rejected because another one had their values

    def __post_init__(self) -> None:
        self.table = build_union_table(self.spec, self.entries)
        self._schema = self.table.arrow_schema
        self._seen_hashes: dict[str, SeenHashes] = {}  # of rules 'unique', over all sources
        self._unique_rule_names = {
            rule.name for entry in self.entries for rule in entry.mapping.column_rules if rule.check == UNIQUE_CHECK
        }
        self._reported_rejects: dict[tuple[str | None, int | None], None] = {}
        self._lock = threading.Lock()  # sources tell of unreadable rows from their own thread

    def load_table(self, snapshot_id: str) -> LoadedTable:
        """Read, map, check, stage, finish.

        Raises
        ------
        SourceError, DataError, StorageError
            The staging is abandoned.
        """
        staging = self.storage_engine.stage_snapshot(self.table, snapshot_id, expects_merges=self.spec.sync is not None)
        try:
            place = self._find_adoptable_catalogue()
            if place is not None and isinstance(staging, CatalogueAdopter):
                snapshot = self._adopt_catalogue(staging, place)
            else:
                self.map_all_rows(staging.write)
                snapshot = self._finish_staging(staging)
        except BaseException:
            staging.abandon()
            raise
        return self.build_result(snapshot)

    def _find_adoptable_catalogue(self) -> str | None:
        if self.sample_rows is not None:
            return None
        return find_adoptable_catalogue(self.entries, self.table)

    def _adopt_catalogue(self, staging: CatalogueAdopter, place: str) -> Snapshot:
        """Have a catalogue served where it is."""
        start_time = time.perf_counter()
        snapshot = replace(
            staging.adopt_catalogue(place, self.entries[0].mapping.copies), engine=self.storage_engine.name
        )
        self.report.add_step_time("finish", start_time)
        self.report.read = self.report.published = snapshot.rows
        self.report.snapshot = snapshot.id
        self.report.add_finding("in_place", UNREAD_ROWS_MESSAGE, WARNING_SEVERITY, snapshot.rows, [])
        nulls = [snapshot.statistics.get(name, {}).get("nulls") for name in self.table.position or ()]
        missing_position_count = max((count for count in nulls if isinstance(count, int)), default=0)
        if missing_position_count:
            self.report.add_finding(
                "no_position", MISSING_POSITION_MESSAGE, WARNING_SEVERITY, missing_position_count, []
            )
        return snapshot

    def map_all_rows(self, write_batch: Callable[[pa.RecordBatch], None]) -> None:
        """Read, map and check all sources; `write_batch` is given the rows of the table, in a thread of its own.

        Raises
        ------
        SourceError, DataError, StorageError
            As `load_table`.
        """
        with ExitStack() as stack:
            writer = WriteBehind(write_batch)
            stack.callback(writer.close)
            for number, entry in enumerate(self.entries):
                self._load_entry(number, entry, writer)
            start_time = time.perf_counter()
            writer.wait_until_done()
            self.report.add_step_time("stage", start_time)
        if self.select_unknown_rows is None:
            self._check_rejected_share(is_final=True)

    def build_result(self, snapshot: Snapshot | None) -> LoadedTable:
        """Collect what is known of the table when everything is read."""
        pins = [pin for entry in self.entries for pin in list_read_inputs(entry.source)]
        return LoadedTable(
            table=self.table,
            snapshot=snapshot,
            report=self.report,
            pins=pins,
            columns=[columns_to_json(entry.columns) for entry in self.entries],
            source_units=sorted(_find_unit_columns(self.table, self.entries)),
        )

    def _finish_staging(self, staging: SnapshotStaging) -> Snapshot:
        self.progress(IngestProgress(table=self.table.qualified_name, step="finish", rows=self.report.published))
        start_time = time.perf_counter()
        snapshot = replace(staging.finish(), engine=self.storage_engine.name)
        self.report.add_step_time("finish", start_time)
        self.report.snapshot = snapshot.id
        self.report.bytes = snapshot.bytes
        return snapshot

    def _load_entry(self, number: int, entry: SourceEntry, writer: WriteBehind[pa.RecordBatch]) -> None:
        sizes = RemoteSizeReader(allow_private=self.allow_private)
        # rows are mapped while those before are checked, where nothing of that decides what is read or said of them
        is_sequential = (
            self.select_unknown_rows is not None
            or entry.mapping.group_plan is not None
            or bool(entry.mapping.unrolled_columns)
        )
        stop_event = None if is_sequential else threading.Event()
        transform = MappingTransform(self.engine, entry.mapping, sizes, self.python_limits, stop_event)
        validation = RowValidator(self.engine, entry.mapping, seen_hashes=self._seen_hashes)
        batches = entry.source.read_batches(self.list_read_columns(entry), row_limit=self.sample_rows)
        total = entry.source.estimate_size()
        done_count = 0
        with ExitStack() as stack:
            grouper = None
            if entry.mapping.group_plan is not None:
                grouper = stack.enter_context(
                    SourceRowGrouper(self.engine, entry.mapping, entry.mapping.group_plan, self.spool_directory)
                )
            reading = stack.enter_context(closing(ReadAhead(batches)))
            steps = self._iterate_steps(number, entry, transform, reading, stop_event)
            if stop_event is not None:
                read_ahead = stack.enter_context(closing(ReadAhead(steps, 1)))
                stack.callback(stop_event.set)
            for rows, ledger_batch, mapped_parts in steps if stop_event is None else read_ahead:
                done_count += rows
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
                self.progress(
                    IngestProgress(
                        table=self.table.qualified_name,
                        step="read",
                        rows=self.report.published,
                        done=entry.source.count_bytes_read()
                        if isinstance(entry.source, ProgressSource)
                        else done_count,
                        total=total,
                    )
                )
            start_time = time.perf_counter()
            for groups, conflicting_values in grouper.iterate_groups() if grouper is not None else ():
                valid_groups = self._reject_ambiguous_groups(groups, conflicting_values)
                self.report.add_step_time("group", start_time)
                self._check_and_write_batch(validation, valid_groups, self._map_batch(transform, valid_groups), writer)
                self._check_rejected_share()
                start_time = time.perf_counter()
        for reason, count, first_address in sizes.iterate_failures():
            offenders = [Offender(file=None, row=None, column=None, value=first_address)]
            with self._lock:
                self.report.add_finding(
                    f"product_size: {reason}",
                    f"no size of {first_address}, and the like: {reason}",
                    WARNING_SEVERITY,
                    count,
                    offenders,
                )

    def _iterate_steps(
        self,
        number: int,
        entry: SourceEntry,
        transform: MappingTransform,
        batches: Iterable[pa.RecordBatch],
        stop_event: threading.Event | None,
    ) -> Iterator[Step]:
        """Yield for each batch its row count, its lines of the ledger, what mapped rows are made of, and these rows.

        These are made as they are asked for; ahead of that in another thread, with the event that says that nobody
        will.
        """
        start_time = time.perf_counter()
        for batch in batches:
            if stop_event is not None and stop_event.is_set():
                return
            start_time = self.report.add_step_time("read", start_time)
            if self.watermark_tracker is not None:
                self.watermark_tracker(number, batch)
            if self.select_unknown_rows is None:
                unknown_rows = batch
            else:
                unknown_rows = self.select_unknown_rows(number, batch)
            if self.ledger_writer is None or not unknown_rows.num_rows:
                ledger_batch = None
            else:
                ledger_batch = self.ledger_writer.begin_batch(number, unknown_rows)
            self.report.add_step_time("sift", start_time)
            units = self._iterate_mapping_units(unknown_rows, entry, ledger_batch) if unknown_rows.num_rows else ()
            parts = ((unit, None if entry.mapping.group_plan else self._map_batch(transform, unit)) for unit in units)
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
        """Map source rows; what fails is raised when their turn comes to be checked."""
        start_time = time.perf_counter()
        mapped_batch = MappedBatch()
        try:
            mapped_batch.prepared = transform.prepare_batch(batch)
            for mapped in transform.map_batch(mapped_batch.prepared):
                mapped_batch.mapped_rows.append(mapped)
        except Exception as error:  # noqa: BLE001  (raised by `_check_and_write_batch`)
            mapped_batch.error = error
        self.report.add_step_time("map", start_time)
        return mapped_batch

    def list_read_columns(self, entry: SourceEntry) -> list[str]:
        """Return the columns to ask of a source."""
        return list(
            dict.fromkeys(
                [
                    *entry.mapping.needed_columns,
                    *(entry.mapping.watermark_columns if self.watermark_tracker is not None else ()),
                    ROW_NUMBER_COLUMN,
                    FILE_PATH_COLUMN,
                ]
            )
        )

    def _iterate_mapping_units(
        self, batch: pa.RecordBatch, entry: SourceEntry, ledger_batch: LedgerBatch | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield what mapped rows are made of: source rows, or the elements of their arrays."""
        if not entry.mapping.unrolled_columns:
            yield batch
            return
        if ledger_batch is not None:
            batch = batch.append_column(BATCH_POSITION_COLUMN, pa.array(np.arange(batch.num_rows)))
        unrolled = UnrolledBatch(batch, entry.mapping.unrolled_columns)
        names = ", ".join(entry.mapping.unrolled_columns)
        empty_rows = np.flatnonzero(unrolled.empty_mask)
        uneven_rows = np.flatnonzero(unrolled.uneven_mask)
        if len(empty_rows):
            offenders = [
                Offender(
                    file=_read_cell(batch, FILE_PATH_COLUMN, row_position),
                    row=_read_cell(batch, ROW_NUMBER_COLUMN, row_position),
                    column=None,
                    value=None,
                )
                for row_position in empty_rows[:MAX_OFFENDERS]
            ]
            message = f"{names}: no element, so that nothing is made of the row"
            with self._lock:
                self.report.add_finding("for_each: empty", message, WARNING_SEVERITY, len(empty_rows), offenders)
        for row_position in uneven_rows:
            sizes = ", ".join(
                f"{name} has {size}"
                for name, size in zip(entry.mapping.unrolled_columns, unrolled.lengths[:, row_position], strict=True)
            )
            row = batch.slice(int(row_position), 1).to_pylist()[0]
            file = row.pop(FILE_PATH_COLUMN, None)
            number = row.pop(ROW_NUMBER_COLUMN, None)
            _ = row.pop(BATCH_POSITION_COLUMN, None)
            reason = "arrays of different length cannot go in step"
            self.reject_row(
                RejectedRow(
                    file=file,
                    row=number,
                    column=entry.mapping.unrolled_columns[0],
                    value=sizes,
                    reason=reason,
                    text=format_row_as_json(row),
                )
            )
        if ledger_batch is not None:
            ledger_batch.record_rejected(uneven_rows)
        yield from unrolled.iterate_parts()

    def _reject_ambiguous_groups(
        self, groups: pa.RecordBatch, conflicting_values: Mapping[str, pa.Array]
    ) -> pa.RecordBatch:
        """Set groups aside in which a column that is not in an aggregate has several values."""
        rejected_mask = np.zeros(groups.num_rows, bool)
        sizes = np.asarray(groups.column(ROW_COUNT_COLUMN))
        for name, flags in conflicting_values.items():
            conflicting_rows = np.flatnonzero(np.asarray(pc.is_valid(flags)) & ~rejected_mask)
            if not len(conflicting_rows):
                continue
            rejected_mask[conflicting_rows] = True
            message = f"{name} has several values in one group: put it into an aggregate, or add it to group_by"
            value_texts = [f"{_read_cell(groups, name, at)} and {flags[int(at)].as_py()}" for at in conflicting_rows]
            pairs = zip(conflicting_rows[:MAX_OFFENDERS], value_texts, strict=False)
            offenders = [
                Offender(
                    file=_read_cell(groups, FILE_PATH_COLUMN, at),
                    row=_read_cell(groups, ROW_NUMBER_COLUMN, at),
                    column=name,
                    value=text,
                )
                for at, text in pairs
            ]
            with self._lock:
                self.report.rejected += int(sizes[conflicting_rows].sum())
                self.report.add_finding(f"{name}: one value", message, ERROR_SEVERITY, len(conflicting_rows), offenders)
            for row, text in zip(groups.take(pa.array(conflicting_rows)).to_pylist(), value_texts, strict=True):
                file = row.pop(FILE_PATH_COLUMN, None)
                number = row.pop(ROW_NUMBER_COLUMN, None)
                self.rejects.write_row(file, number, name, text, reason=message, text=format_row_as_json(row))
        if not rejected_mask.any():
            return groups.drop_columns([ROW_COUNT_COLUMN])
        return groups.drop_columns([ROW_COUNT_COLUMN]).filter(pa.array(~rejected_mask))

    def _check_and_write_batch(
        self,
        validation: RowValidator,
        batch: pa.RecordBatch,
        mapped_batch: MappedBatch,
        writer: WriteBehind[pa.RecordBatch],
        ledger_batch: LedgerBatch | None = None,
    ) -> None:
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
            violations = list(validation.find_violations(mapped, mapped_batch.prepared))
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
                conformed_rows = _fill_missing_columns(rows, self._schema)
                if self.published_dates is not None:
                    conformed_rows = self.published_dates.restore_dates(conformed_rows, validation.mapping)
                if ledger_batch is not None:
                    ledger_batch.record_published(_map_to_source_rows(batch, valid_positions), conformed_rows)
                writer.enqueue(conformed_rows)
                start_time = self.report.add_step_time("stage", start_time)
        if mapped_batch.error is not None:
            raise mapped_batch.error
        if ledger_batch is not None and rejected_mask.any():
            ledger_batch.record_rejected(_map_to_source_rows(batch, np.flatnonzero(rejected_mask)))
        with self._lock:
            self.report.skipped += batch.num_rows - int(reached_mask.sum())
            self.report.rejected += int(rejected_mask.sum())

    def _reject_violating_rows(
        self,
        violations: Sequence[RuleViolation],
        rows: pa.RecordBatch,
        prepared: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> Any:
        """Report what is wrong, set rows with errors aside; return their mask."""
        rejected_mask = np.zeros(rows.num_rows, bool)
        errors = [item for item in violations if item.severity == ERROR_SEVERITY]
        for item in errors:
            rejected_mask |= np.asarray(item.row_mask)
            if item.rule.partition(": ")[0] in self._unique_rule_names:
                self.contended_count += int(np.count_nonzero(np.asarray(item.row_mask)))
        for item in violations:
            self._report_violation(item, rows, prepared, batch, source_positions)
        if errors:
            self._write_rejects(errors, rejected_mask, rows, batch, source_positions)
        return rejected_mask

    def reject_row(self, row: RejectedRow) -> None:
        """Record a row that the source could not read (for `SourceContext.on_reject`, in any thread)."""
        offender = Offender(
            file=row.file, row=row.row, column=row.column, value=row.value if row.value is not None else row.text
        )
        with self._lock:
            if self._is_first_report(row):
                self.report.read += 1
                self.report.rejected += 1
                self.unread_counts[row.file or ""] = self.unread_counts.get(row.file or "", 0) + 1
            self.report.add_finding(
                f"{row.column or 'row'}: {row.reason}",
                f"{row.column or 'a row'}: {row.reason}",
                ERROR_SEVERITY,
                1,
                [offender],
            )
            self.rejects.write_row(row.file, row.row, row.column, row.value, reason=row.reason, text=row.text)
        self._check_rejected_share()  # a file of nothing but such rows gives no batch

    def _is_first_report(self, row: RejectedRow) -> bool:
        """Return whether this row was not heard of before: a row may be unreadable in several columns."""
        key = (row.file, row.row)
        if row.row is None:
            return True
        if key in self._reported_rejects:
            return False
        self._reported_rejects[key] = None
        if len(self._reported_rejects) > MAX_REMEMBERED_REJECTS:  # reasons for one row come close together
            del self._reported_rejects[next(iter(self._reported_rejects))]
        return True

    def _report_violation(
        self,
        violation: RuleViolation,
        rows: pa.RecordBatch,
        prepared: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> None:
        count = int(pc.sum(violation.row_mask).as_py() or 0)
        known_finding = self.report.findings.get(violation.rule)
        remaining_offenders = MAX_OFFENDERS - (len(known_finding.offenders) if known_finding is not None else 0)
        row_positions = np.flatnonzero(np.asarray(violation.row_mask))[:remaining_offenders]
        offenders = [
            _build_offender(violation, int(place), rows, prepared, batch=batch, source_positions=source_positions)
            for place in row_positions
        ]
        self.report.add_finding(violation.rule, violation.message, violation.severity, count, offenders)

    def _write_rejects(
        self,
        errors: Sequence[RuleViolation],
        rejected_mask: Any,
        rows: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Any,
    ) -> None:
        """Write rejected rows to the rejects file."""
        row_positions = np.flatnonzero(rejected_mask)
        sources = _to_row_dicts(batch.take(pa.array(source_positions[row_positions])))
        targets = _to_row_dicts(rows.take(pa.array(row_positions)))
        masks = [np.asarray(item.row_mask)[row_positions] for item in errors]
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            reasons = [item for item, mask in zip(errors, masks, strict=True) if mask[number]]
            first_column = reasons[0].column
            if first_column is None:
                value = None
            else:
                value = (source if reasons[0].is_source_column else target).get(first_column)
            file = source.pop(FILE_PATH_COLUMN, None)
            row = source.pop(ROW_NUMBER_COLUMN, None)
            _ = source.pop(BATCH_POSITION_COLUMN, None)
            self.rejects.write_row(
                file,
                row,
                first_column,
                None if value is None else str(value),
                reason="; ".join(item.message for item in reasons),
                text=format_row_as_json(source),
            )

    def check_rejected_share(self) -> None:
        """Stop if too many rows of the report were rejected, or none is left.

        Raises
        ------
        DataError
            With the most frequent reason.
        """
        self._check_rejected_share(is_final=True)

    def _check_rejected_share(self, *, is_final: bool = False) -> None:
        if self.select_unknown_rows is not None and not is_final:  # who sifts knows how many rows there are
            return
        report = self.report
        if report.read:
            rejected_share = report.rejected / report.read
        else:
            rejected_share = 0.0
        if rejected_share > self.max_rejected_share and (is_final or report.read > EARLY_STOP_ROWS):
            most_frequent = max(
                (item for item in report.findings.values() if item.severity == ERROR_SEVERITY),
                key=lambda item: item.count,
                default=None,
            )
            if most_frequent is not None and most_frequent.offenders:
                reason = f"; most often: {most_frequent.message} (first: {most_frequent.offenders[0]})"
            else:
                reason = ""
            raise DataError(
                f"{report.rejected:,} of {report.read:,} rows of {report.table} were rejected, more than "
                f"{self.max_rejected_share:.0%}{reason}",
                place=self.spec.place,
                remedy=f"correct the descriptor or the data; the rows are in {self.rejects.path}",
            )
        if (
            is_final
            and not report.published
            and not self.may_be_empty
            and self.max_rejected_share < 1
            and self.may_become_empty is not True
        ):
            if not report.read:
                reason = "the source has no rows"
            else:
                reason = f"all {report.read:,} rows were left out or rejected"
            if self.may_become_empty is False:
                raise ChangeGuardError(
                    f"{report.table} would be empty: {reason}; nothing was published",
                    place=self.spec.place,
                    remedy="look at the source; if it is right, run it again with --accept",
                )
            raise DataError(
                f"{report.table} would be empty: {reason}",
                place=self.spec.place,
                remedy="look at where: and at the files; max_rejects: 1 publishes an empty table",
            )


def _fill_missing_columns(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform rows of one entry to the columns of the whole table: those of other entries are null."""
    if rows.schema.names == schema.names:
        return pa.RecordBatch.from_arrays(rows.columns, schema=schema)
    available_names = set(rows.schema.names)
    arrays = [
        rows.column(item.name) if item.name in available_names else pa.nulls(rows.num_rows, item.type)
        for item in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _map_to_source_rows(batch: pa.RecordBatch, positions: Any) -> Any:
    """Return from which source rows some rows of a batch come that may be elements."""
    if BATCH_POSITION_COLUMN in batch.schema.names:
        return np.asarray(batch.column(BATCH_POSITION_COLUMN))[positions]
    return positions


def _to_row_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Convert rows for messages; times outside of the years 1 to 9999, which Python does not have, become text."""
    columns = [_to_readable_array(column) for column in batch.columns]
    rows: list[dict[str, Any]] = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return rows


def _to_readable_array(column: pa.Array) -> pa.Array:
    if not pa.types.is_timestamp(column.type) or find_times_outside_years(column) is None:
        return column
    if column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC")).cast(pa.timestamp(column.type.unit))
    return column.cast(pa.string())


def _to_python_value(column: pa.Array, row_position: int) -> object:
    """Convert one value for messages."""
    return _to_readable_array(column[row_position : row_position + 1])[0].as_py()


def _build_offender(
    violation: RuleViolation,
    row_position: int,
    rows: pa.RecordBatch,
    prepared: pa.RecordBatch,
    *,
    batch: pa.RecordBatch,
    source_positions: Any,
) -> Offender:
    position = int(source_positions[row_position])
    if FILE_PATH_COLUMN in batch.schema.names:
        file = batch.column(FILE_PATH_COLUMN)[position].as_py()
    else:
        file = None
    value = None
    if violation.column is not None:
        if violation.values is not None:
            value = _to_python_value(violation.values, row_position)
        elif violation.is_source_column and violation.column in prepared.schema.names:
            value = _to_python_value(prepared.column(violation.column), position)
        elif violation.column in rows.schema.names:
            value = _to_python_value(rows.column(violation.column), row_position)
    row = batch.column(ROW_NUMBER_COLUMN)[position].as_py()
    return Offender(
        file=file,
        row=row,
        column=violation.column,
        value=None if value is None else str(describe_value(value)),
    )


def _read_cell(batch: pa.RecordBatch, name: str, row_position: Any) -> Any:
    if name in batch.schema.names:
        return batch.column(name)[int(row_position)].as_py()
    return None


def _find_unit_columns(table: Table, entries: Sequence[SourceEntry]) -> Iterator[str]:
    """Find the columns whose values are bound to a unit, because the source said one for what they are made from."""
    for column in table.columns:
        for entry in entries:
            units = {source_column.name for source_column in entry.columns if source_column.unit}
            if column.unit is not None and units.intersection(column.origins):
                yield column.name
                break


def add_source_place(error: SourceError, spec: SourceSpec) -> SourceError:
    """Add the descriptor's place to an error of a source that has none."""
    if str(error.place):
        return error
    return SourceError(error.message, place=spec.place, remedy=error.remedy)
