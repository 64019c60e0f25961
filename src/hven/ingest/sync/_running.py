"""`sync`: one run, from the lease to what is published."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

import hven
from hven.ingest import _ledger as ledgers
from hven.ingest import _space as space
from hven.ingest._filling import Filled, table_of
from hven.ingest._ledger import Notes
from hven.ingest._order import Graph
from hven.ingest._report import Report, TableReport
from hven.ingest._steps import Run, carry_out, new_id, silent
from hven.ingest._transform import uses_row
from hven.ingest._trial import load
from hven.ingest.sync import changes
from hven.ingest.sync._changed_rows import Reading, Wider
from hven.ingest.sync._differing import compare, nullable, tell
from hven.ingest.sync._guards import guard
from hven.ingest.sync._keyed import Keyed, against, moved_on, narrowed, stays
from hven.ingest.sync._lines import Anew, Lines, Merging, merged
from hven.ingest.sync._pages import Paged, paged
from hven.model.errors import Conflict, DataError, DescriptorError
from hven.model.table import columns_to_json
from hven.site import inherited
from hven.site.store import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from hven.ingest import Progress
    from hven.ingest._filling import Filling
    from hven.ingest._ledger import Entry, State
    from hven.ingest._report import Change
    from hven.ingest._trial import Answer
    from hven.ingest.sync._differing import Differences
    from hven.model.resource import Resource, TableSpec
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.store import Lease, Record
    from hven.sources import Source


def sync(
    site: Site,
    name: str,
    *,
    full: bool = False,
    dry_run: bool = False,
    accept: bool = False,
    unheld: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Follow the sources of a collection: afterwards its tables are what an ingest would have made. Nothing changed: nothing is published.

    Parameters
    ----------
    name
        Of the collection.
    full
        Read everything, whatever the watermark says.
    dry_run
        Do everything but publish; the report says what would change.
    accept
        Publish even if more went or changed than the guards allow.
    unheld
        Only if nobody has said that the collection shall rest (`resting`): for runs that no person asked for.
    progress
        Called often, from this thread.

    Raises
    ------
    NotFound
        No such descriptor.
    Conflict
        The collection is being ingested or synchronised by somebody else, or held.
    DescriptorError, SourceError, DataError
        What was published before stays. The report of the run is in the store.
    StorageError
        The disk.
    """
    resource = load(site, name)
    report = Report(collection=name, run=new_id(), started=now(), dry_run=dry_run, kind="sync", accepted=accept)

    def begin(lease: Lease) -> Following:
        if unheld and (why := resting(site, name)) is not None:
            raise why
        return Following(site, resource, report, lease, progress or silent, full=full)

    carry_out(site, report, begin)
    if not report.published:  # else it was done already
        space.prune(site, name)
    return report


def resting(site: Site, name: str) -> Conflict | None:
    """Say why no run that nobody asked for may publish a collection: a rollback holds it, or it is not published; None if one may."""
    if name in site.store.held():
        return Conflict(f"{name} is held as `hven rollback` left it", remedy=f"hven schedule resume {name} ends that")
    if name not in site.store.published():
        return Conflict(
            f"{name} is not published", remedy=f"hven ingest {name} publishes it, or hven rollback {name} what hven remove took away"
        )
    return None


def structure(table: Table) -> tuple[object, ...]:
    """Give what rows of one table must have in common with those of another to be compared and merged."""
    columns = tuple((column.name, str(column.type), column.indexed) for column in table.columns)
    return columns, table.primary, table.position, table.indexes, table.partition


def plain(value: object) -> object:
    """Give a value as it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


def changed(base: Record, resource: Resource, one: Filling) -> str:
    """Say in words why a ledger is not to be used."""
    said = base.provenance
    before, after = said.get("hashes", {}), resource.hashes
    files = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if files:
        return f"{', '.join(files)} changed"
    names = [{item["name"] for item in columns} for columns in said.get("source_columns", ())]
    now_there = [{column.name for column in entry.columns} for entry in one.entries]
    for old, new in zip(names, now_there, strict=False):
        if old != new:
            words = [f"{word} {', '.join(sorted(some))}" for word, some in (("without", old - new), ("with", new - old)) if some]
            return f"the source has other columns: {', '.join(words)}"
    if said.get("software") != f"hven {hven.__version__}":
        return "another version of Hven wrote what is published"
    there = ledgers.of_site(resource, one.spec)
    was = said.get("site", there)
    if was != there:
        return f"hven.toml says another {' and '.join(sorted(word for word in {**was, **there} if was.get(word) != there.get(word)))}"
    if said.get("source_columns") != plain([columns_to_json(entry.columns) for entry in one.entries]):
        return "the source's columns have other types or units"
    return "settings that decide its rows are others than before"


def _every(_entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Leave no row out."""
    return batch


class Following(Run):
    """A run that compares what it fills with what is published."""

    def __init__(
        self,
        site: Site,
        resource: Resource,
        report: Report,
        lease: Lease,
        progress: Callable[[Progress], None],
        *,
        full: bool,
    ) -> None:
        super().__init__(site, resource, report, lease, progress)
        self.full = full
        present = site.store.current()[1]
        self._same: dict[str, State] = {}  # table -> what was kept of it, and stays
        self._keyed: dict[str, Keyed] = {}  # table made by a query -> keys that are computed anew
        self._changes: dict[str, tuple[str, Differences]] = {}  # table -> the snapshot that was published, and what differs from it
        self._sets: dict[str, pa.Table] = {}  # table -> what changed
        self._pages: dict[str, list[Paged]] = {}  # table -> its sources whose pages are kept
        self._wide: dict[str, str] = {}  # table -> why everything is read after all
        self._anew: dict[str, str] = {}  # table -> why it is computed as a whole after all
        damaged = site.store.verifications.damaged()
        # what is damaged is no base of anything: its table is read and computed as a whole
        self.published: dict[str, Record] = {
            name: record
            for name, record in present.items()
            if record.collection == resource.name and record.id not in damaged and site.engines.missing(record.snapshot) is None
        }

    def noted(self, spec: TableSpec, entries: Sequence[Entry]) -> bool:
        """Write a ledger of every table whose rows can be followed one by one, whether it says ``sync:`` or not."""
        return not self.report.dry_run and ledgers.obstacle(table_of(spec, entries), entries) is None

    def _fill(self, spec: TableSpec) -> Filled:
        name = spec.table.qualified
        base = self.published.get(name)
        if base is not None and (left := self._left(spec, base)) is not None:
            return left
        pages = self.site.settings.kept / "sync" / "pages" / name
        while True:
            try:
                done = super()._fill(spec)
            except (DataError, DescriptorError):
                shutil.rmtree(pages, ignore_errors=True)  # what is wrong may be put right: the source is asked again
                raise
            except Wider as why:
                self._wide[name] = str(why)
                self.report.warnings.append(f"{name}: {why}: everything was read")
            except Anew as why:
                self._anew[name] = str(why)
                self._keyed.pop(name, None)
            else:
                shutil.rmtree(pages, ignore_errors=True)
                self._went_on(name)
                if base is not None and done.record is base:
                    self._moved_on(spec, done, base)
                return done
            self.report.tables.pop(name, None)
            self.report.changes.pop(name, None)
            (self.rejects / f"{spec.table.name}.csv").unlink(missing_ok=True)

    def _went_on(self, name: str) -> None:
        """Tell of rows that are as an earlier run read them, which did not come to its end."""
        for source in self._pages.pop(name, ()):
            if source.again:
                when = datetime.fromtimestamp(source.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                rows = "1 row is" if source.again == 1 else f"{source.again:,} rows are"
                text = (
                    f"{name}: {rows} as a run that was stopped read them, from {when} on: what changed there since is found by the next run"
                )
                self.report.warnings.append(text)

    def _moved_on(self, spec: TableSpec, done: Filled, base: Record) -> None:
        """Remember of a table that stays from what it was made this time: else it would look stale, and be computed at each run."""
        later = moved_on(base, plain(self.made_by(spec, done)))  # type: ignore[arg-type]
        if later is not None and not self.report.dry_run:
            done.record = later
            self.amended.append(later)

    def _room(self, spec: TableSpec, entries: Sequence[Entry]) -> None:
        """Ask for the room of a new ledger: what changes take is known when they are found, and a new snapshot shares the rest."""
        name = spec.table.qualified
        base = self.published.get(name)
        old = None if base is None or name in self._anew else ledgers.state_of(self.site, base.id)
        size = None if old is None or old.ledger is None else ledgers.size(self.site, name, old.ledger)
        if size is None:
            super()._room(spec, entries)
        else:
            space.check(self.site, self.resource.name, size, factor=1)

    def _left(self, spec: TableSpec, base: Record) -> Filled | None:
        """Look at a table made by queries: leave it alone, if nothing of its inputs changed; else find the keys that are touched."""
        name = spec.table.qualified
        graph = Graph({**self.site.current().resources, self.resource.name: self.resource})
        if graph.elsewhere.get(name.lower(), {name}):
            return None
        changed = stays(spec, base, self.resource, self.trial, graph.stored(name.lower()))
        if changed is True and base.snapshot.engine == self.keeper.name:
            change = self.report.table(name)
            change.how, change.rows = "nothing", base.snapshot.rows
            report = self.report.tables.setdefault(name, TableReport(table=name, published=base.snapshot.rows, snapshot=base.id))
            return Filled(table=base.table, snapshot=None, report=report, record=base)
        if isinstance(changed, set):
            found = narrowed(spec, base, changed, self._changes, self.trial)
            if found is not None:
                self._keyed[name] = found
        return None

    def answer(self, spec: TableSpec, text: str, inputs: dict[str, str], stack: ExitStack) -> Answer:
        """Answer the query of a table that is made from others, for the keys that matter."""
        keyed = self._keyed.get(spec.table.qualified)
        if keyed is None:
            return super().answer(spec, text, inputs, stack)
        return self.trial.rows(keyed.traced.query, inputs, stack, keyed.uploads(self.published[spec.table.qualified].table))

    def staged(self, spec: TableSpec, one: Filling, state: State) -> Filled:
        """Fill a table; if it comes out as it is published, that stays."""
        name = spec.table.qualified
        base = self.published.get(name)
        if base is not None and base.snapshot.rows:
            one.emptied = self.report.accepted
        change = self.report.table(name)
        keyed = self._keyed.get(name)
        if keyed is not None:
            if base is None or structure(base.table) != structure(one.table) or base.snapshot.engine != self.keeper.name:
                raise Anew("its columns, keys or engine are others than before")
            return self._of_keys(spec, one, base, keyed)
        if not any(uses_row(entry.mapping) for entry in one.entries):  # pages that go on have row numbers of their own
            one.entries = [
                replace(entry, source=self._paged(spec, state, number, entry, entry.source, "everything"))
                for number, entry in enumerate(one.entries)
            ]
        if base is None or structure(base.table) != structure(one.table) or base.snapshot.engine != self.keeper.name:
            super()._room(spec, one.entries)
            done = one.run(new_id())
            change.new, change.why = True, None if base is None else "its columns, keys or engine are others than before"
            change.read = change.mapped = done.report.read
            change.rows = done.report.published
            return done
        found = self._known(spec, one, state, base)
        if isinstance(found, str):
            change.why = found
            return self._whole(spec, one, base)
        return self._lines(spec, one, state, base, *found)

    def _paged(self, spec: TableSpec, state: State, number: int, entry: Entry, source: Source, what: object) -> Source:
        place = self.site.settings.kept / "sync" / "pages" / spec.table.qualified / str(number)
        found = paged(source, entry, spec.sync, place, [state.signature, number, what])
        if isinstance(found, Paged):
            self._pages.setdefault(spec.table.qualified, []).append(found)
        return found

    def _known(self, spec: TableSpec, one: Filling, state: State, base: Record) -> tuple[State, pa.Table] | str:
        """Find the ledger of what is published; or say why it is of no use."""
        name = spec.table.qualified
        if name in self._anew:
            return self._anew[name]
        reason = ledgers.obstacle(one.table, one.entries)
        if reason is not None:
            return reason
        old = ledgers.state_of(self.site, base.id)
        if old is None or old.ledger is None:
            return "there is no ledger yet"
        if old.signature != state.signature:
            return changed(base, self.resource, one)
        if old.contended:
            return f"{old.contended:,} rows were rejected because others had their values"
        lines = ledgers.read(self.site, name, old.ledger)
        if lines is None or lines.schema != ledgers.schema(one.table):
            return "the ledger is lost"
        return old, lines

    def _whole(self, spec: TableSpec, one: Filling, base: Record) -> Filled:
        """Compute everything, and compare it with what is published."""
        super()._room(spec, one.entries)
        done = one.run(new_id())
        change = self.report.table(spec.table.qualified)
        change.read = change.mapped = done.report.read
        change.rows = done.report.published
        staged = done.snapshot
        if staged is None:
            raise AssertionError
        try:
            found = compare((self.keeper, base.snapshot), (self.keeper, staged), base.table.primary, done.table.arrow)
            self._judged(spec, found, change, base)
        except BaseException:
            self._drop([done])
            raise
        change.described = plain(inherited(spec, done.table)) != base.provenance.get("inherited")
        if not change.any:
            self._drop([done])
            done.snapshot, done.record = None, base
        return done

    def _lines(self, spec: TableSpec, one: Filling, state: State, base: Record, old: State, ledger: pa.Table) -> Filled:
        """Map what the ledger does not know, and merge what differs."""
        notes = one.notes or Notes(ledgers.directory(self.site, spec.table.qualified), one.table, one.entries)
        try:
            lines = Lines(ledger, old.files, notes)
            one.notes = notes
            everything = self.full or spec.table.qualified in self._wide
            one.entries = [
                replace(entry, source=entry.source.whole if isinstance(entry.source, Paged) else entry.source) for entry in one.entries
            ]
            turn = partial(self._paged, spec, state)
            reading = Reading(one, lines, spec.sync, old, state, base.provenance.get("pins", ()), full=everything, turn=turn)
            reading.prepare()
            made: list[pa.RecordBatch] = []
            one.flow(made.append)
            reading.finish()
            if late := reading.watch.future:
                what = "1 row has" if late == 1 else f"{late:,} rows have"
                self.report.warnings.append(f"{spec.table.qualified}: {what} a watermark that is still to come, which is not believed")
            if reading.unsummed:
                what = "the source gives no checksums of blocks, and keys are compared: edits that leave the watermark as it was are found when everything is read"
                self.report.warnings.append(f"{spec.table.qualified}: {what} (full: 7 d)")
            if one.contended:
                raise Anew("a row has values that only one may have")
            change = self.report.table(spec.table.qualified)
            change.how, change.read, change.mapped = reading.how, lines.read, lines.fresh
            gone = ~lines.known.claimed
            rows = pa.Table.from_batches(made, schema=one.table.arrow).cast(nullable(one.table.arrow))
            merging = Merging(self.keeper, base.table, base.snapshot, ledger, gone, rows)
            found = merging.differences()
            same = lines.same()
            if same:
                notes.abandon()
                one.notes, self._same[spec.table.qualified] = None, old
            else:
                lines.keep(~gone)
            change.rows = base.snapshot.rows + found.after.num_rows - found.before.num_rows
            unread = sum(one.unread.values())
            known = (old.lines, old.rejected) if same else (notes.lines, notes.rejected)
            one.report.read, one.report.rejected, one.report.published = known[0] + unread, known[1] + unread, change.rows
            one.judge()
            self._judged(spec, found, change, base)
            return self._merged(one, base, found)
        finally:
            if self.report.dry_run:
                notes.abandon()

    def _of_keys(self, spec: TableSpec, one: Filling, base: Record, keyed: Keyed) -> Filled:
        """Merge the rows of some keys."""
        made: list[pa.RecordBatch] = []
        one.sieve = _every
        one.flow(made.append)
        if one.contended:
            raise Anew("a row has values that only one may have")
        found = against(self.keeper, base, keyed, made)
        change = self.report.table(spec.table.qualified)
        count = keyed.keys.num_rows
        change.how, change.read = f"{count:,} {'key' if count == 1 else 'keys'}", one.report.read
        change.mapped, change.rows = one.report.read, base.snapshot.rows + found.after.num_rows - found.before.num_rows
        if not change.rows:
            raise Anew("no row would be left")
        one.report.published = change.rows
        self._judged(spec, found, change, base)
        return self._merged(one, base, found)

    def _merged(self, one: Filling, base: Record, found: Differences) -> Filled:
        """Put what differs into a snapshot; nothing differs: what is published stays."""
        if found.any and self.keeper is self.site.engine:
            touched = found.after.num_rows + found.before.num_rows - found.changed
            space.check(self.site, self.resource.name, space.of_changes(base.snapshot.bytes, touched, found.after.nbytes), factor=1)
        done = one.filled(merged(self.keeper, base.table, base.snapshot, new_id(), found) if found.any else None)
        if done.snapshot is None:
            done.record = base
        else:
            one.report.snapshot, one.report.bytes = done.snapshot.id, done.snapshot.bytes
        return done

    def _judged(self, spec: TableSpec, found: Differences, change: Change, base: Record) -> None:
        """Count what differs; stop if it is too much."""
        self._sets[change.table] = tell(found, change, base.table.primary)
        self._changes[change.table] = (base.id, found)
        try:
            guard(spec, change, base.snapshot.rows)
        except DataError as error:
            if self.report.accepted:
                return
            if not self.report.dry_run:
                raise
            self.report.warnings.append(str(error).replace("nothing was published", "without --accept nothing will be published"))

    def wanted(self, filled: Sequence[Filled]) -> bool:
        """Nothing changed: nothing is tested or published."""
        names = {one.table.qualified for one in filled}
        gone = self.published.keys() - names
        if any(one.record is None for one in filled) or gone:
            return True
        if self.amended:
            self.site.store.amend(self.amended)
        return False

    def _publish(self, filled: list[Filled], behind: Sequence[Run]) -> None:
        for one in (*filled, *(made for run in behind for made in run.filled)):
            name = one.table.qualified
            if one.snapshot is not None and name in self._sets:
                before = self._changes[name][0]
                changes.keep(self.site, name, self._sets[name], before=before, after=one.snapshot.id, run=self.report.run, at=now())
        changes.sweep(self.site, self.resource.name)
        super()._publish(filled, behind)

    def note_down(self, one: Filling, state: State, snapshot: str) -> None:
        """Keep the ledger, and tell the watermark."""
        old = self._same.get(one.table.qualified)
        if old is not None:  # the ledger stays
            state.ledger, state.files = old.ledger, old.files
            state.contended, state.lines, state.rejected, state.unread = old.contended, old.lines, old.rejected, dict(one.unread)
            state.watermark = one.watch.state() if one.watch is not None else {}
            self.site.store.syncs.put(snapshot, one.table.qualified, self.resource.name, state.to_json())
        super().note_down(one, state, snapshot)
        seen = [str(value) for value in one.watch.largest.values()] if one.watch is not None else []
        if seen:
            self.report.table(one.table.qualified).watermark = max(seen)

    def beside(self, resource: Resource, report: Report, lease: Lease) -> Run:
        """Begin the part of this run that fills tables of another collection."""
        run = Following(self.site, resource, report, lease, self.progress, full=self.full)
        run._changes, run._sets = self._changes, self._sets
        return run
