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

from hven import plugins
from hven.descriptor import mapping as mappings
from hven.errors import DataError, SourceError
from hven.ingest.reading import Ahead, Behind
from hven.ingest.rejects import as_text
from hven.ingest.report import OFFENDERS, Offender, TableReport
from hven.ingest.transform import Transform
from hven.ingest.validate import ERROR, Broken, Validation
from hven.model.persist import columns_to_json
from hven.sources import ROW, Context, Pin, Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.engines import Engine, Snapshot, Staging
    from hven.ingest.rejects import Rejects
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.table import Column, Table
    from hven.sources import Source

FILE = "file.path"
MOST = 0.5  # share of rows that may be rejected, unless the descriptor says otherwise
HEARD = 200_000  # unreadable rows that are remembered
BATCH = 64 * 1024**2  # bytes of a batch, about: several are on their way at once
LEAST = 8192  # rows of a batch, however wide
EARLY = 1_000_000  # rows after which a share that is too large ends the reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an ingest is: for a progress bar.

    Attributes
    ----------
    step
        ``read``, ``finish``, ``test``, ``publish``.
    done, total
        In bytes or rows of the source, whatever it counts; None if unknown.
    """

    table: str
    step: str
    rows: int = 0
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One source of a table, looked at: its columns and its mapping, not read yet."""

    spec: SourceSpec
    source: Source
    columns: tuple[Column, ...]
    mapping: mappings.Mapping


@dataclass(slots=True, kw_only=True)
class Filled:
    """A table that was staged."""

    table: Table
    snapshot: Snapshot | None
    report: TableReport
    pins: list[Pin] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    columns: list[list[dict[str, Any]]] = field(default_factory=list)
    source_units: list[str] = field(default_factory=list)


def look(spec: TableSpec, resource: Resource, context: Context) -> list[Entry]:
    """Open the sources of a table, see their columns, compile their mappings.

    Raises
    ------
    SourceError, DescriptorError
        Before a row is read.
    """
    entries = []
    for one in spec.sources:
        module = plugins.load("sources", one.kind)
        options = module.Options.model_validate(dict(one.options))
        source = module.open(options, context)
        columns = tuple(source.columns())
        mapping = mappings.compile(spec, columns, resource)
        rows = min(context.batch, max(LEAST, BATCH // (12 * max(len(columns), 1))))
        if counts_bytes(source) and (mapping.wanted or rows != context.batch):
            # a file may be read in the target's types at once; and a wide one in shorter batches
            source = module.open(options, replace(context, wanted=mapping.wanted, batch=rows))
        entries.append(Entry(spec=one, source=source, columns=columns, mapping=mapping))
    return entries


def counts_bytes(source: Source) -> bool:
    """Tell a source of files, whose size and progress are bytes."""
    return hasattr(source, "done")


def table_of(spec: TableSpec, entries: Sequence[Entry]) -> Table:
    """Give the table that all entries of a union fill.

    Raises
    ------
    DataError
        Two sources give a column different types, and the descriptor does not say which one it shall have.
    """
    first = entries[0].mapping.table
    columns = {column.name: column for column in first.columns}
    for entry in entries[1:]:
        for column in entry.mapping.table.columns:
            known = columns.setdefault(column.name, column)
            if known.type != column.type:
                raise DataError(
                    f"the column {column.name} of {spec.table.qualified} is {known.type} in one source and {column.type} in another",
                    place=entry.spec.place,
                    remedy="say its type under columns:",
                )
            origins = tuple(dict.fromkeys((*known.origins, *column.origins)))
            columns[column.name] = known.having(origins=origins)
    absent = {name for entry in entries for name in columns if name not in {column.name for column in entry.mapping.table.columns}}
    return first.having(columns=tuple(column.having(required=False) if column.name in absent else column for column in columns.values()))


class Filling:
    """Fills one table. Use `run` once."""

    def __init__(
        self,
        *,
        engine: Engine,
        spec: TableSpec,
        entries: Sequence[Entry],
        rejects: Rejects,
        report: TableReport,
        progress: Callable[[Progress], None],
        sample: int | None = None,
        most: float = MOST,
    ) -> None:
        self.engine = engine
        self.spec = spec
        self.entries = entries
        self.table = table_of(spec, entries)
        self.rejects = rejects
        self.report = report
        self.progress = progress
        self.sample = sample
        self.most = most
        self._schema = self.table.arrow
        self._heard: dict[tuple[str | None, int | None], None] = {}
        self._lock = threading.Lock()  # sources tell of unreadable rows from their own thread

    def run(self, ident: str) -> Filled:
        """Read, map, check, stage, finish.

        Raises
        ------
        SourceError, DataError, StorageError
            The staging is abandoned.
        """
        staging = self.engine.stage(self.table, ident)
        try:
            with ExitStack() as stack:
                writing = Behind(staging.write)
                stack.callback(writing.close)
                for entry in self.entries:
                    self._entry(entry, writing)
                since = time.perf_counter()
                writing.finish()
                self.report.spend("stage", since)
            self._judge(final=True)
            snapshot = self._finish(staging)
        except BaseException:
            staging.abandon()
            raise
        pins = [pin for entry in self.entries for pin in entry.source.pins()]
        return Filled(
            table=self.table,
            snapshot=snapshot,
            report=self.report,
            pins=pins,
            columns=[columns_to_json(entry.columns) for entry in self.entries],
            source_units=sorted(_with_units(self.table, self.entries)),
        )

    def _finish(self, staging: Staging) -> Snapshot:
        self.progress(Progress(table=self.table.qualified, step="finish", rows=self.report.published))
        since = time.perf_counter()
        snapshot = staging.finish()
        self.report.spend("finish", since)
        self.report.snapshot = snapshot.id
        self.report.bytes = snapshot.bytes
        return snapshot

    def _entry(self, entry: Entry, writing: Behind[pa.RecordBatch]) -> None:
        transform = Transform(self.engine, entry.mapping)
        validation = Validation(self.engine, entry.mapping)
        needed = list(dict.fromkeys([*entry.mapping.needed, ROW, FILE]))
        batches = entry.source.batches(needed, limit=self.sample)
        total = entry.source.size()
        counted = getattr(entry.source, "done", None)
        done = 0
        since = time.perf_counter()
        with closing(Ahead(batches)) as ahead:
            for batch in ahead:
                since = self.report.spend("read", since)
                with self._lock:
                    self.report.read += batch.num_rows
                done += batch.num_rows
                since = self._batch(transform, validation, batch, writing, since)
                self._judge()
                self.progress(
                    Progress(
                        table=self.table.qualified,
                        step="read",
                        rows=self.report.published,
                        done=counted() if counted is not None else done,
                        total=total,
                    )
                )
        self.report.spend("read", since)

    def _batch(
        self, transform: Transform, validation: Validation, batch: pa.RecordBatch, writing: Behind[pa.RecordBatch], since: float
    ) -> float:
        prepared = transform.prepared(batch)
        reached = np.zeros(batch.num_rows, bool)
        thrown = np.zeros(batch.num_rows, bool)
        for mapped in transform.apply(prepared):
            since = self.report.spend("map", since)
            at = mapped.at if mapped.at is not None else np.arange(batch.num_rows)
            reached[at] = True
            broken = list(validation.broken(mapped, prepared))
            rows = mapped.rows
            if broken:
                with self._lock:
                    bad = self._sort_out(broken, rows, prepared, batch, at)
                if bad.any():
                    thrown[at[bad]] = True
                    rows = rows.filter(pa.array(~bad))
            since = self.report.spend("check", since)
            if rows.num_rows:
                self.report.published += rows.num_rows
                writing.put(_shaped(rows, self._schema))
                since = self.report.spend("stage", since)
        with self._lock:
            self.report.skipped += batch.num_rows - int(reached.sum())
            self.report.rejected += int(thrown.sum())
        return since

    def _sort_out(self, broken: Sequence[Broken], rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any) -> Any:
        """Tell what is wrong, set rows with errors aside; gives their mask."""
        bad = np.zeros(rows.num_rows, bool)
        errors = [item for item in broken if item.severity == ERROR]
        for item in errors:
            bad |= np.asarray(item.rows)
        for item in broken:
            self._tell(item, rows, prepared, batch, at)
        if errors:
            self._set_aside(errors, bad, rows, batch, at)
        return bad

    def reject(self, row: Reject) -> None:
        """Take a row that the source could not read (for `Context.reject`, in any thread)."""
        offender = Offender(file=row.file, row=row.row, column=row.column, value=row.value if row.value is not None else row.text)
        with self._lock:
            if self._first_of(row):
                self.report.read += 1
                self.report.rejected += 1
            self.report.find(f"{row.column or 'row'}: {row.reason}", f"{row.column or 'a row'}: {row.reason}", ERROR, 1, [offender])
            self.rejects.add(row.file, row.row, row.column, row.value, row.reason, row.text)
        self._judge()  # a file of nothing but such rows gives no batch

    def _first_of(self, row: Reject) -> bool:
        """Tell whether this row was not heard of before: a row may be unreadable in several columns."""
        key = (row.file, row.row)
        if row.row is None:
            return True
        if key in self._heard:
            return False
        self._heard[key] = None
        if len(self._heard) > HEARD:  # reasons for one row come close together
            del self._heard[next(iter(self._heard))]
        return True

    def _tell(self, item: Broken, rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any) -> None:
        count = int(pc.sum(item.rows).as_py() or 0)
        known = self.report.findings.get(item.rule)
        room = OFFENDERS - (len(known.offenders) if known is not None else 0)
        places = np.flatnonzero(np.asarray(item.rows))[:room]
        offenders = [_offender(item, int(place), rows, prepared, batch, at) for place in places]
        self.report.find(item.rule, item.message, item.severity, count, offenders)

    def _set_aside(self, errors: Sequence[Broken], bad: Any, rows: pa.RecordBatch, batch: pa.RecordBatch, at: Any) -> None:
        """Write rejected rows to the rejects file."""
        places = np.flatnonzero(bad)
        sources = batch.take(pa.array(at[places])).to_pylist()
        targets = rows.take(pa.array(places)).to_pylist()
        masks = [np.asarray(item.rows)[places] for item in errors]
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            reasons = [item for item, mask in zip(errors, masks, strict=True) if mask[number]]
            first = reasons[0].column
            value = None if first is None else (source if reasons[0].source else target).get(first)
            file, row = source.pop(FILE, None), source.pop(ROW, None)
            self.rejects.add(
                file, row, first, None if value is None else str(value), "; ".join(item.message for item in reasons), as_text(source)
            )

    def _judge(self, *, final: bool = False) -> None:
        report = self.report
        share = report.rejected / report.read if report.read else 0.0
        if share > self.most and (final or report.read > EARLY):
            worst = max((item for item in report.findings.values() if item.severity == ERROR), key=lambda item: item.count, default=None)
            why = f"; most often: {worst.message} (first: {worst.offenders[0]})" if worst is not None and worst.offenders else ""
            raise DataError(
                f"{report.rejected:,} of {report.read:,} rows of {report.table} were rejected, more than {self.most:.0%}{why}",
                place=self.spec.place,
                remedy=f"correct the descriptor or the data; the rows are in {self.rejects.path}",
            )
        if final and not report.published and self.most < 1:
            why = "the source has no rows" if not report.read else f"all {report.read:,} rows were left out or rejected"
            raise DataError(
                f"{report.table} would be empty: {why}",
                place=self.spec.place,
                remedy="look at where: and at the files; max_rejects: 1 publishes an empty table",
            )


def _shaped(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Give rows of one entry the columns of the whole table: those of other entries are null."""
    if rows.schema.names == schema.names:
        return pa.RecordBatch.from_arrays(rows.columns, schema=schema)
    have = set(rows.schema.names)
    arrays = [rows.column(item.name) if item.name in have else pa.nulls(rows.num_rows, item.type) for item in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _offender(item: Broken, place: int, rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any) -> Offender:
    position = int(at[place])
    file = batch.column(FILE)[position].as_py() if FILE in batch.schema.names else None
    value = None
    if item.column is not None:
        if item.source and item.column in prepared.schema.names:
            value = prepared.column(item.column)[position].as_py()
        elif item.column in rows.schema.names:
            value = rows.column(item.column)[place].as_py()
    return Offender(file=file, row=batch.column(ROW)[position].as_py(), column=item.column, value=None if value is None else str(value))


def _with_units(table: Table, entries: Sequence[Entry]) -> Iterator[str]:
    """Find the columns whose values are bound to a unit, because the source said one for what they are made from."""
    for column in table.columns:
        for entry in entries:
            units = {one.name for one in entry.columns if one.unit}
            if column.unit is not None and units.intersection(column.origins):
                yield column.name
                break


def unread(error: SourceError, spec: SourceSpec) -> SourceError:
    """Add the descriptor's place to an error of a source that has none."""
    if str(error.place):
        return error
    return SourceError(error.message, place=spec.place, remedy=error.remedy)


def origins(mapping: mappings.Mapping) -> Mapping[str, Sequence[str]]:
    """Give column -> source columns: provenance."""
    return {column.name: column.origins for column in mapping.table.columns if column.origins}
