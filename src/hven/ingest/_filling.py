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
from hven.descriptor.tables import PUSH
from hven.engines import Adopts
from hven.ingest._ledger import PLACE, UNIQUE, Entry, identity, pinned
from hven.ingest._mapped_rows import Grouper, Unrolled
from hven.ingest._read_ahead import Ahead, Behind
from hven.ingest._rejects import as_text, describe_value
from hven.ingest._report import OFFENDERS, Offender, TableReport
from hven.ingest._rules import ERROR, WARNING, Broken
from hven.ingest._sizes import Sizes
from hven.ingest._transform import Transform
from hven.ingest._validate import Validation
from hven.model import plugins
from hven.model.errors import DataError, Guarded, SourceError
from hven.model.literal import find_outside_years
from hven.model.table import columns_to_json
from hven.sources import ROW, Catalogue, Context, Counts, Reject, Within
from hven.sources.enriched import Documents, Enrich
from hven.sources.groups import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.engines import Engine, Snapshot, Staging
    from hven.ingest._ledger import Note, Notes
    from hven.ingest._published_dates import PublishedDates
    from hven.ingest._rejects import Rejects
    from hven.ingest._transform import Mapped
    from hven.ingest._validate_unique import Seen
    from hven.ingest.watermarks import Watch
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import PythonLimits
    from hven.model.table import Table
    from hven.site.store import Record
    from hven.sources import Source

    Step = tuple[int, Note | None, Iterable[tuple[pa.RecordBatch, "Made | None"]]]

FILE = "file.path"
MOST = 0.5  # share of rows that may be rejected, unless the descriptor says otherwise
HEARD = 200_000  # unreadable rows that are remembered
BATCH = 64 * 1024**2  # bytes of a batch, about: several are on their way at once
LEAST = 8192  # rows of a batch, however wide
FETCH = "fetch"  # what a run does while documents of rows come
SERVICES = ("tap", "hven")  # kinds that give only so many rows at once
EARLY = 1_000_000  # rows after which a share that is too large ends the reading


UNREAD = "rows are served where they are: nobody looked at each of them, nor at whether the primary key is unique"

PLACELESS = "longitude or latitude is missing, or NaN: no search by position finds them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
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
class Made:
    """What the mapping made of source rows: one `Mapped` for each granule, up to the one at which it failed."""

    prepared: pa.RecordBatch | None = None
    mapped: list[Mapped] = field(default_factory=list)
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class Filled:
    """A table that was staged; or one that stays as `record` says, because nothing of it changed."""

    table: Table
    snapshot: Snapshot | None
    report: TableReport
    pins: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    columns: list[list[dict[str, Any]]] = field(default_factory=list)
    source_units: list[str] = field(default_factory=list)
    record: Record | None = None


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
        own = source.columns()
        documents = None if one.enrich is None else Documents(Enrich.model_validate(dict(one.enrich)), own, context)
        columns = (*own, *(documents.columns if documents is not None else ()))
        mapping = mappings.doubted(mappings.compile(spec, columns, resource), source, one)
        known: Context | None = None
        rows = min(context.batch, max(LEAST, BATCH // (12 * max(len(columns), 1))))
        entry = Entry(spec=one, source=source, columns=columns, mapping=mapping, documents=documents)
        if counts_bytes(source):
            if mapping.wanted or rows != context.batch:
                # a file may be read in the target's types at once; and a wide one in shorter batches
                known = replace(context, wanted=mapping.wanted, batch=rows)
        elif spec.sync is not None or one.kind in {
            *SERVICES,
            PUSH,
        }:  # it may be asked page by page, in the order of a key
            page, rate = (spec.sync.page, spec.sync.rate) if spec.sync is not None else (None, None)
            known = replace(context, key=identity(entry, mapping.table), page=page, rate=rate)
        if known is not None:
            source = source.within(known) if isinstance(source, Within) else module.open(options, known)
        entries.append(replace(entry, source=source if documents is None else documents.around(source)))
    return entries


def counts_bytes(source: Source) -> bool:
    """Return whether a source is one of files, whose size and progress are bytes."""
    return isinstance(source, Counts)


def table_of(spec: TableSpec, entries: Sequence[Entry]) -> Table:
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
            known = columns.setdefault(column.name, column)
            if known.type != column.type:
                raise DataError(
                    f"the column {column.name} of {spec.table.qualified} is {known.type} in one source and {column.type} in another",
                    place=entry.spec.place,
                    remedy="say its type under columns:",
                )
            origins = tuple(dict.fromkeys((*known.origins, *column.origins)))
            columns[column.name] = known.having(origins=origins)
    absent = {
        name
        for entry in entries
        for name in columns
        if name not in {column.name for column in entry.mapping.table.columns}
    }
    return first.having(
        columns=tuple(column.having(required=False) if column.name in absent else column for column in columns.values())
    )


def in_place(entries: Sequence[Entry], table: Table) -> str | None:
    """Return where the rows are, if all that is to be done with them is to take them as they are."""
    entry = entries[0]
    mapping = entry.mapping
    names = {column.name for column in table.columns}
    changed = mapping.where or mapping.checks or mapping.rules or mapping.each or mapping.groups or mapping.calls
    if len(entries) > 1 or changed or mapping.copies.keys() != names:
        return None
    return entry.source.catalogue if isinstance(entry.source, Catalogue) else None


@dataclass(kw_only=True, eq=False)
class Filling:
    """Fills one table. Use `run` once."""

    engine: Engine  # computes
    keeper: Engine  # keeps the rows
    spec: TableSpec
    entries: Sequence[Entry]
    rejects: Rejects
    report: TableReport
    progress: Callable[[Progress], None]
    spool: Path  # where rows wait that are grouped
    sample: int | None = None
    most: float = MOST
    may_be_empty: bool = False  # rows are pushed into it, and there may be none yet, or none any more
    notes: Notes | None = None  # takes down what becomes of each source row
    sieve: Callable[[int, pa.RecordBatch], pa.RecordBatch] | None = None  # leaves those out that are known
    watch: Watch | None = None  # is shown every batch of source rows, with the columns that are watched
    allow_private: bool = False  # product_size may ask addresses that are not on the public internet
    dates: PublishedDates | None = None  # of the rows that are published
    python: PythonLimits | None = None  # what functions beside the descriptor may use
    # of a table that is published: its rows may all go (true), or that must be said first (false)
    emptied: bool | None = None
    unread: dict[str, int] = field(default_factory=dict)  # file -> rows that could not be read
    contended: int = 0  # rows that were rejected because another one had their values

    def __post_init__(self) -> None:
        self.table = table_of(self.spec, self.entries)
        self._schema = self.table.arrow
        self._seen: dict[str, Seen] = {}  # of rules 'unique', over all sources
        self._unique = {rule.name for entry in self.entries for rule in entry.mapping.rules if rule.check == UNIQUE}
        self._heard: dict[tuple[str | None, int | None], None] = {}
        self._lock = threading.Lock()  # sources tell of unreadable rows from their own thread

    def run(self, ident: str) -> Filled:
        """Read, map, check, stage, finish.

        Raises
        ------
        SourceError, DataError, StorageError
            The staging is abandoned.
        """
        staging = self.keeper.stage(self.table, ident, followed=self.spec.sync is not None)
        try:
            place = self._in_place()
            if place is not None and isinstance(staging, Adopts):
                snapshot = self._adopted(staging, place)
            else:
                self.flow(staging.write)
                snapshot = self._finish(staging)
        except BaseException:
            staging.abandon()
            raise
        return self.filled(snapshot)

    def _in_place(self) -> str | None:
        return None if self.sample is not None else in_place(self.entries, self.table)

    def _adopted(self, staging: Adopts, place: str) -> Snapshot:
        """Have a catalogue served where it is."""
        since = time.perf_counter()
        snapshot = replace(staging.adopt(place, self.entries[0].mapping.copies), engine=self.keeper.name)
        self.report.spend("finish", since)
        self.report.read = self.report.published = snapshot.rows
        self.report.snapshot = snapshot.id
        self.report.find("in_place", UNREAD, WARNING, snapshot.rows, [])
        nulls = [snapshot.statistics.get(name, {}).get("nulls") for name in self.table.position or ()]
        placeless = max((count for count in nulls if isinstance(count, int)), default=0)
        if placeless:
            self.report.find("no_position", PLACELESS, WARNING, placeless, [])
        return snapshot

    def flow(self, write: Callable[[pa.RecordBatch], None]) -> None:
        """Read, map and check all sources; `write` is given the rows of the table, in a thread of its own.

        Raises
        ------
        SourceError, DataError, StorageError
            As `run`.
        """
        with ExitStack() as stack:
            writing = Behind(write)
            stack.callback(writing.close)
            for number, entry in enumerate(self.entries):
                self._entry(number, entry, writing)
            since = time.perf_counter()
            writing.finish()
            self.report.spend("stage", since)
        if self.sieve is None:
            self._judge(final=True)

    def filled(self, snapshot: Snapshot | None) -> Filled:
        """Collect what is known of the table when everything is read."""
        pins = [pin for entry in self.entries for pin in pinned(entry.source)]
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
        snapshot = replace(staging.finish(), engine=self.keeper.name)
        self.report.spend("finish", since)
        self.report.snapshot = snapshot.id
        self.report.bytes = snapshot.bytes
        return snapshot

    def _entry(self, number: int, entry: Entry, writing: Behind[pa.RecordBatch]) -> None:
        sizes = Sizes(allow_private=self.allow_private)
        # rows are mapped while those before are checked, where nothing of that decides what is read or said of them
        alone = self.sieve is not None or entry.mapping.groups is not None or bool(entry.mapping.each)
        over = None if alone else threading.Event()
        transform = Transform(self.engine, entry.mapping, sizes, self.python, over)
        validation = Validation(self.engine, entry.mapping, seen=self._seen)
        batches = entry.source.batches(self.asked(entry), limit=self.sample)
        total = entry.source.size()
        done = 0
        with ExitStack() as stack:
            grouper = None
            if entry.mapping.groups is not None:
                grouper = stack.enter_context(Grouper(self.engine, entry.mapping, entry.mapping.groups, self.spool))
            reading = stack.enter_context(closing(Ahead(batches)))
            steps = self._steps(number, entry, transform, reading, over)
            if over is not None:
                ahead = stack.enter_context(closing(Ahead(steps, 1)))
                stack.callback(over.set)
            for rows, note, parts in steps if over is None else ahead:
                done += rows
                for part, made in parts:
                    with self._lock:
                        self.report.read += part.num_rows
                    if made is not None:
                        self._batch(validation, part, made, writing, note)
                    elif grouper is not None:
                        since = time.perf_counter()
                        self.report.skipped += grouper.add(part)
                        self.report.spend("group", since)
                if note is not None:
                    note.close()
                self._judge()
                self.progress(
                    Progress(
                        table=self.table.qualified,
                        step="read",
                        rows=self.report.published,
                        done=entry.source.done() if isinstance(entry.source, Counts) else done,
                        total=total,
                    )
                )
            since = time.perf_counter()
            for groups, odd in grouper.groups() if grouper is not None else ():
                whole = self._of_one_value(groups, odd)
                self.report.spend("group", since)
                self._batch(validation, whole, self._made(transform, whole), writing)
                self._judge()
                since = time.perf_counter()
        for why, count, first in sizes.told():
            shown = [Offender(file=None, row=None, column=None, value=first)]
            with self._lock:
                self.report.find(
                    f"product_size: {why}", f"no size of {first}, and the like: {why}", WARNING, count, shown
                )

    def _steps(
        self, number: int, entry: Entry, transform: Transform, batches: Iterable[pa.RecordBatch], over: threading.Event | None
    ) -> Iterator[Step]:  # fmt: skip
        """Yield for each batch how many rows were read, its lines of the ledger, and what mapped rows are made of, with these.

        These are made as they are asked for; ahead of that in another thread, with the event that says that nobody will.
        """
        since = time.perf_counter()
        for batch in batches:
            if over is not None and over.is_set():
                return
            since = self.report.spend("read", since)
            if self.watch is not None:
                self.watch(number, batch)
            left = batch if self.sieve is None else self.sieve(number, batch)
            note = None if self.notes is None or not left.num_rows else self.notes.begin(number, left)
            self.report.spend("sift", since)
            units = self._units(left, entry, note) if left.num_rows else ()
            parts = ((unit, None if entry.mapping.groups else self._made(transform, unit)) for unit in units)
            if over is None:
                yield batch.num_rows, note, parts
            else:
                made = list(parts)
                if any(one is not None and one.error is not None for _, one in made):
                    over.set()
                yield batch.num_rows, note, made
                del made
            since = time.perf_counter()
        self.report.spend("read", since)

    def _made(self, transform: Transform, batch: pa.RecordBatch) -> Made:
        """Map source rows; what fails is raised when their turn comes to be checked."""
        since, made = time.perf_counter(), Made()
        try:
            made.prepared = transform.prepared(batch)
            for mapped in transform.apply(made.prepared):
                made.mapped.append(mapped)
        except Exception as error:  # noqa: BLE001  (raised by `_batch`)
            made.error = error
        self.report.spend("map", since)
        return made

    def asked(self, entry: Entry) -> list[str]:
        """Return the columns to ask of a source."""
        return list(
            dict.fromkeys(
                [*entry.mapping.needed, *(entry.mapping.watched if self.watch is not None else ()), ROW, FILE]
            )
        )

    def _units(self, batch: pa.RecordBatch, entry: Entry, note: Note | None) -> Iterator[pa.RecordBatch]:
        """Yield what mapped rows are made of: source rows, or the elements of their arrays."""
        if not entry.mapping.each:
            yield batch
            return
        if note is not None:
            batch = batch.append_column(PLACE, pa.array(np.arange(batch.num_rows)))
        unrolled = Unrolled(batch, entry.mapping.each)
        names = ", ".join(entry.mapping.each)
        empty, uneven = np.flatnonzero(unrolled.empty), np.flatnonzero(unrolled.uneven)
        if len(empty):
            shown = [
                Offender(file=_at(batch, FILE, at), row=_at(batch, ROW, at), column=None, value=None)
                for at in empty[:OFFENDERS]
            ]
            message = f"{names}: no element, so that nothing is made of the row"
            with self._lock:
                self.report.find("for_each: empty", message, WARNING, len(empty), shown)
        for at in uneven:
            sizes = ", ".join(
                f"{name} has {size}" for name, size in zip(entry.mapping.each, unrolled.lengths[:, at], strict=True)
            )
            row = batch.slice(int(at), 1).to_pylist()[0]
            file, number, _ = row.pop(FILE, None), row.pop(ROW, None), row.pop(PLACE, None)
            reason = "arrays of different length cannot go in step"
            self.reject(
                Reject(
                    file=file, row=number, column=entry.mapping.each[0], value=sizes, reason=reason, text=as_text(row)
                )
            )
        if note is not None:
            note.thrown(uneven)
        yield from unrolled.parts()

    def _of_one_value(self, groups: pa.RecordBatch, odd: Mapping[str, pa.Array]) -> pa.RecordBatch:
        """Set groups aside in which a column that is not in an aggregate has several values."""
        bad = np.zeros(groups.num_rows, bool)
        sizes = np.asarray(groups.column(ROWS))
        for name, flags in odd.items():
            found = np.flatnonzero(np.asarray(pc.is_valid(flags)) & ~bad)
            if not len(found):
                continue
            bad[found] = True
            message = f"{name} has several values in one group: put it into an aggregate, or add it to group_by"
            both = [f"{_at(groups, name, at)} and {flags[int(at)].as_py()}" for at in found]
            pairs = zip(found[:OFFENDERS], both, strict=False)
            shown = [
                Offender(file=_at(groups, FILE, at), row=_at(groups, ROW, at), column=name, value=text)
                for at, text in pairs
            ]
            with self._lock:
                self.report.rejected += int(sizes[found].sum())
                self.report.find(f"{name}: one value", message, ERROR, len(found), shown)
            for row, text in zip(groups.take(pa.array(found)).to_pylist(), both, strict=True):
                file, number = row.pop(FILE, None), row.pop(ROW, None)
                self.rejects.add(file, number, name, text, message, as_text(row))
        return groups.drop_columns([ROWS]) if not bad.any() else groups.drop_columns([ROWS]).filter(pa.array(~bad))

    def _batch(
        self,
        validation: Validation,
        batch: pa.RecordBatch,
        made: Made,
        writing: Behind[pa.RecordBatch],
        note: Note | None = None,
    ) -> None:
        reached = np.zeros(batch.num_rows, bool)
        thrown = np.zeros(batch.num_rows, bool)
        since = time.perf_counter()
        while made.mapped:
            mapped = made.mapped.pop(0)
            at = mapped.at if mapped.at is not None else np.arange(batch.num_rows)
            reached[at] = True
            broken = list(validation.broken(mapped, made.prepared))
            rows = mapped.rows
            good = at
            if broken:
                with self._lock:
                    bad = self._sort_out(broken, rows, made.prepared, batch, at)
                if bad.any():
                    thrown[at[bad]] = True
                    rows, good = rows.filter(pa.array(~bad)), at[~bad]
            since = self.report.spend("check", since)
            if rows.num_rows:
                self.report.published += rows.num_rows
                shaped = _shaped(rows, self._schema)
                if self.dates is not None:
                    shaped = self.dates.keep(shaped, validation.mapping)
                if note is not None:
                    note.made(_places(batch, good), shaped)
                writing.put(shaped)
                since = self.report.spend("stage", since)
        if made.error is not None:
            raise made.error
        if note is not None and thrown.any():
            note.thrown(_places(batch, np.flatnonzero(thrown)))
        with self._lock:
            self.report.skipped += batch.num_rows - int(reached.sum())
            self.report.rejected += int(thrown.sum())

    def _sort_out(
        self, broken: Sequence[Broken], rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any
    ) -> Any:
        """Report what is wrong, set rows with errors aside; return their mask."""
        bad = np.zeros(rows.num_rows, bool)
        errors = [item for item in broken if item.severity == ERROR]
        for item in errors:
            bad |= np.asarray(item.rows)
            if item.rule.partition(": ")[0] in self._unique:
                self.contended += int(np.count_nonzero(np.asarray(item.rows)))
        for item in broken:
            self._tell(item, rows, prepared, batch, at)
        if errors:
            self._set_aside(errors, bad, rows, batch, at)
        return bad

    def reject(self, row: Reject) -> None:
        """Record a row that the source could not read (for `Context.reject`, in any thread)."""
        offender = Offender(
            file=row.file, row=row.row, column=row.column, value=row.value if row.value is not None else row.text
        )
        with self._lock:
            if self._first_of(row):
                self.report.read += 1
                self.report.rejected += 1
                self.unread[row.file or ""] = self.unread.get(row.file or "", 0) + 1
            self.report.find(
                f"{row.column or 'row'}: {row.reason}", f"{row.column or 'a row'}: {row.reason}", ERROR, 1, [offender]
            )
            self.rejects.add(row.file, row.row, row.column, row.value, row.reason, row.text)
        self._judge()  # a file of nothing but such rows gives no batch

    def _first_of(self, row: Reject) -> bool:
        """Return whether this row was not heard of before: a row may be unreadable in several columns."""
        key = (row.file, row.row)
        if row.row is None:
            return True
        if key in self._heard:
            return False
        self._heard[key] = None
        if len(self._heard) > HEARD:  # reasons for one row come close together
            del self._heard[next(iter(self._heard))]
        return True

    def _tell(
        self, item: Broken, rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any
    ) -> None:
        count = int(pc.sum(item.rows).as_py() or 0)
        known = self.report.findings.get(item.rule)
        room = OFFENDERS - (len(known.offenders) if known is not None else 0)
        places = np.flatnonzero(np.asarray(item.rows))[:room]
        offenders = [_offender(item, int(place), rows, prepared, batch, at) for place in places]
        self.report.find(item.rule, item.message, item.severity, count, offenders)

    def _set_aside(
        self, errors: Sequence[Broken], bad: Any, rows: pa.RecordBatch, batch: pa.RecordBatch, at: Any
    ) -> None:
        """Write rejected rows to the rejects file."""
        places = np.flatnonzero(bad)
        sources = _to_rows(batch.take(pa.array(at[places])))
        targets = _to_rows(rows.take(pa.array(places)))
        masks = [np.asarray(item.rows)[places] for item in errors]
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            reasons = [item for item, mask in zip(errors, masks, strict=True) if mask[number]]
            first = reasons[0].column
            value = None if first is None else (source if reasons[0].source else target).get(first)
            file, row, _ = source.pop(FILE, None), source.pop(ROW, None), source.pop(PLACE, None)
            self.rejects.add(
                file,
                row,
                first,
                None if value is None else str(value),
                "; ".join(item.message for item in reasons),
                as_text(source),
            )

    def judge(self) -> None:
        """Stop if too many rows of the report were rejected, or none is left.

        Raises
        ------
        DataError
            With the most frequent reason.
        """
        self._judge(final=True)

    def _judge(self, *, final: bool = False) -> None:
        if self.sieve is not None and not final:  # who sifts knows how many rows there are
            return
        report = self.report
        share = report.rejected / report.read if report.read else 0.0
        if share > self.most and (final or report.read > EARLY):
            worst = max(
                (item for item in report.findings.values() if item.severity == ERROR),
                key=lambda item: item.count,
                default=None,
            )
            why = (
                f"; most often: {worst.message} (first: {worst.offenders[0]})"
                if worst is not None and worst.offenders
                else ""
            )
            raise DataError(
                f"{report.rejected:,} of {report.read:,} rows of {report.table} were rejected, more than {self.most:.0%}{why}",
                place=self.spec.place,
                remedy=f"correct the descriptor or the data; the rows are in {self.rejects.path}",
            )
        if final and not report.published and not self.may_be_empty and self.most < 1 and self.emptied is not True:
            why = "the source has no rows" if not report.read else f"all {report.read:,} rows were left out or rejected"
            if self.emptied is False:
                raise Guarded(
                    f"{report.table} would be empty: {why}; nothing was published",
                    place=self.spec.place,
                    remedy="look at the source; if it is right, run it again with --accept",
                )
            raise DataError(
                f"{report.table} would be empty: {why}",
                place=self.spec.place,
                remedy="look at where: and at the files; max_rejects: 1 publishes an empty table",
            )


def _shaped(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform rows of one entry to the columns of the whole table: those of other entries are null."""
    if rows.schema.names == schema.names:
        return pa.RecordBatch.from_arrays(rows.columns, schema=schema)
    have = set(rows.schema.names)
    arrays = [rows.column(item.name) if item.name in have else pa.nulls(rows.num_rows, item.type) for item in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _places(batch: pa.RecordBatch, at: Any) -> Any:
    """Return from which source rows some rows of a batch come that may be elements."""
    return np.asarray(batch.column(PLACE))[at] if PLACE in batch.schema.names else at


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Convert rows for messages; times outside of the years 1 to 9999, which Python does not have, become text."""
    columns = [_readable(column) for column in batch.columns]
    rows: list[dict[str, Any]] = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return rows


def _readable(column: pa.Array) -> pa.Array:
    if not pa.types.is_timestamp(column.type) or find_outside_years(column) is None:
        return column
    if column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC")).cast(pa.timestamp(column.type.unit))
    return column.cast(pa.string())


def _to_python(column: pa.Array, place: int) -> object:
    """Convert one value for messages."""
    return _readable(column[place : place + 1])[0].as_py()


def _offender(
    item: Broken, place: int, rows: pa.RecordBatch, prepared: pa.RecordBatch, batch: pa.RecordBatch, at: Any
) -> Offender:
    position = int(at[place])
    file = batch.column(FILE)[position].as_py() if FILE in batch.schema.names else None
    value = None
    if item.column is not None:
        if item.values is not None:
            value = _to_python(item.values, place)
        elif item.source and item.column in prepared.schema.names:
            value = _to_python(prepared.column(item.column), position)
        elif item.column in rows.schema.names:
            value = _to_python(rows.column(item.column), place)
    return Offender(
        file=file,
        row=batch.column(ROW)[position].as_py(),
        column=item.column,
        value=None if value is None else str(describe_value(value)),
    )


def _at(batch: pa.RecordBatch, name: str, at: Any) -> Any:
    return batch.column(name)[int(at)].as_py() if name in batch.schema.names else None


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
