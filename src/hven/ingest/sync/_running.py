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
from hven.ingest._filling import Filled
from hven.ingest._ledger import Notes
from hven.ingest._order import Graph
from hven.ingest._picking import nullable
from hven.ingest._report import Report, TableReport
from hven.ingest._steps import Run, Steps, carry_out, new_id, silent
from hven.ingest._transform import uses_row
from hven.ingest._trial import load
from hven.ingest.sync import changes
from hven.ingest.sync._changed_rows import Reading, Wider
from hven.ingest.sync._differing import compare, tell
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
    from hven.ingest.watermarks import Watch
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
    site
        Where it is published.
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

    Returns
    -------
    report
        Of what was read, changed and published.

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

    def begin(lease: Lease) -> Run:
        if unheld and (why := resting(site, name)) is not None:
            raise why
        following = Following(full=full)
        steps = Steps(
            make=lambda run, spec: Followed(following, run, spec).made(), wanted=following.wanted, keep=following.keep
        )
        return Run(site, resource, report, lease, progress or silent, steps)

    carry_out(site, report, begin)
    if not report.published:  # else it was done already
        space.prune(site, name)
    return report


def resting(site: Site, name: str) -> Conflict | None:
    """Check whether a run that nobody asked for may publish a collection.

    Parameters
    ----------
    site
        Where.
    name
        Of the collection.

    Returns
    -------
    conflict
        A rollback holds it, or it is not published; None if a run may.
    """
    if name in site.store.held():
        return Conflict(f"{name} is held as `hven rollback` left it", remedy=f"hven schedule resume {name} ends that")
    if name not in site.store.published():
        return Conflict(
            f"{name} is not published",
            remedy=f"hven ingest {name} publishes it, or hven rollback {name} what hven remove took away",
        )
    return None


def structure(table: Table) -> tuple[object, ...]:
    """Return what rows of one table must have in common with those of another to be compared and merged."""
    columns = tuple((column.name, str(column.type), column.indexed) for column in table.columns)
    return columns, table.primary, table.position, table.indexes, table.partition


def plain(value: object) -> object:
    """Return a value as it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


def changed(base: Record, resource: Resource, one: Filling) -> str:
    """Describe in words why a ledger is not to be used."""
    said = base.provenance
    before, after = said.get("hashes", {}), resource.hashes
    files = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if files:
        return f"{', '.join(files)} changed"
    names = [{item["name"] for item in columns} for columns in said.get("source_columns", ())]
    now_there = [{column.name for column in entry.columns} for entry in one.entries]
    for old, new in zip(names, now_there, strict=False):
        if old != new:
            words = [
                f"{word} {', '.join(sorted(some))}"
                for word, some in (("without", old - new), ("with", new - old))
                if some
            ]
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
    """Keep every row."""
    return batch


def unchanged(report: Report, base: Record) -> Filled:
    """Leave a table as it is published."""
    name = base.table.qualified
    change = report.table(name)
    change.how, change.rows = "nothing", base.snapshot.rows
    told = report.tables.setdefault(name, TableReport(table=name, published=base.snapshot.rows, snapshot=base.id))
    return Filled(table=base.table, snapshot=None, report=told, record=base)


class Following:
    """What a sync knows over all its tables, those of followers included."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        # table -> the snapshot that was published, and what differs from it
        self.changes: dict[str, tuple[str, Differences]] = {}
        self.sets: dict[str, pa.Table] = {}  # table -> what changed
        self._published: dict[str, dict[str, Record]] = {}

    def published(self, run: Run) -> dict[str, Record]:
        """Return what was published of a run's collection when it began; what is damaged is no base of anything: its table is made as a whole."""
        name, site = run.resource.name, run.site
        if name not in self._published:
            damaged = site.store.verifications.damaged()
            self._published[name] = {
                table: record
                for table, record in site.store.current()[1].items()
                if record.collection == name
                and record.id not in damaged
                and site.engines.missing(record.snapshot) is None
            }
        return self._published[name]

    def wanted(self, run: Run, filled: Sequence[Filled]) -> bool:
        """Check whether anything changed: else nothing is tested or published."""
        if any(one.record is None for one in filled) or self.published(run).keys() - {
            one.table.qualified for one in filled
        }:
            return True
        if run.amended:
            run.site.store.amend(run.amended)
        return False

    def keep(self, run: Run, filled: Sequence[Filled]) -> None:
        """Write what changed in each table to a file of its own."""
        for one in filled:
            name = one.table.qualified
            if one.snapshot is not None and name in self.sets:
                before = self.changes[name][0]
                changes.keep(
                    run.site, name, self.sets[name], before=before, after=one.snapshot.id, run=run.report.run, at=now()
                )
        changes.sweep(run.site, run.resource.name)


class Followed:
    """One table of a sync: what is read is compared with what is published."""

    def __init__(self, following: Following, run: Run, spec: TableSpec) -> None:
        self.following, self.run, self.spec = following, run, spec
        self.name = spec.table.qualified
        self.report = run.report
        self.base = following.published(run).get(self.name)
        self.keyed: Keyed | None = None  # keys that are computed anew, of a table made by a query
        self.paged: list[Paged] = []  # its sources whose pages are kept
        self._pages = run.site.settings.kept / "sync" / "pages" / self.name
        self.watch: Watch | None = None
        self.wide = False  # everything is read after all
        self.anew: str | None = None  # why it is computed as a whole after all

    def made(self) -> Filled:
        """Fill the table; if it comes out as it is published, that stays."""
        base = self.base
        if base is not None and (left := self._left(base)) is not None:
            return left
        while True:
            try:
                done = self.run.fill(
                    self.spec, self._staged, None if self.keyed is None else partial(self._answer, self.keyed)
                )
            except (DataError, DescriptorError):
                # what is wrong may be put right: the source is asked again
                shutil.rmtree(self._pages, ignore_errors=True)
                raise
            except Wider as why:
                self.wide = True
                self.report.warnings.append(f"{self.name}: {why}: everything was read")
            except Anew as why:
                self.anew, self.keyed = str(why), None
            else:
                shutil.rmtree(self._pages, ignore_errors=True)
                self._tell()
                if base is not None and done.record is base:
                    self._moved_on(done, base)
                return done
            self.report.tables.pop(self.name, None)
            self.report.changes.pop(self.name, None)
            (self.run.rejects / f"{self.spec.table.name}.csv").unlink(missing_ok=True)

    def _tell(self) -> None:
        """Report the watermark, and rows that are as an earlier run read them, which did not come to its end."""
        if self.watch is not None and self.watch.largest and not self.report.dry_run:
            self.report.table(self.name).watermark = max(str(value) for value in self.watch.largest.values())
        for source in self.paged:
            if source.again:
                when = datetime.fromtimestamp(source.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                rows = "1 row is" if source.again == 1 else f"{source.again:,} rows are"
                text = f"{self.name}: {rows} as a run that was stopped read them, from {when} on: what changed there since is found by the next run"
                self.report.warnings.append(text)

    def _moved_on(self, done: Filled, base: Record) -> None:
        """Remember of a table that stays from what it was made this time: else it would look stale, and be computed at each run."""
        later = moved_on(base, plain(self.run.made_by(self.spec, done)))  # type: ignore[arg-type]
        if later is not None and not self.report.dry_run:
            done.record = later
            self.run.amended.append(later)

    def _left(self, base: Record) -> Filled | None:
        """Leave a table made by queries alone, if nothing of its inputs changed; else find the keys that are touched."""
        name, run = self.name, self.run
        if any(one.enrich is not None for one in self.spec.sources):  # documents may come whatever the inputs do
            return None
        graph = Graph({**run.site.current().resources, run.resource.name: run.resource})
        if graph.elsewhere.get(name.lower(), {name}):
            return None
        changed = stays(self.spec, base, run.resource, run.trial, graph.stored(name.lower()))
        if changed is True and base.snapshot.engine == run.keeper.name:
            return unchanged(self.report, base)
        if isinstance(changed, set):
            self.keyed = narrowed(self.spec, base, changed, self.following.changes, run.trial)
        return None

    def _answer(self, keyed: Keyed, _text: str, inputs: dict[str, str], stack: ExitStack) -> Answer:
        """Answer the query of a table that is made from others, for the keys that matter."""
        return self.run.trial.rows(keyed.traced.query, inputs, stack, keyed.uploads(self.base.table))  # type: ignore[union-attr]  # who is keyed has one

    def _staged(self, one: Filling, state: State) -> Filled:
        """Fill the table: the keys or rows that may have changed, or all."""
        base, change = self.base, self.report.table(self.name)
        self.watch = one.watch
        if base is not None and base.snapshot.rows:
            one.emptied = self.report.accepted
        same = (
            base is not None
            and structure(base.table) == structure(one.table)
            and base.snapshot.engine == self.run.keeper.name
        )
        if self.keyed is not None:
            if base is None or not same:
                raise Anew("its columns, keys or engine are others than before")
            return self._of_keys(one, base, self.keyed)
        if not any(uses_row(entry.mapping) for entry in one.entries):  # pages that go on have row numbers of their own
            one.entries = [
                replace(entry, source=self._paged(state, number, entry, entry.source, "everything"))
                for number, entry in enumerate(one.entries)
            ]
        if base is None or not same:
            done = self.run.whole(self.spec, one)
            change.new, change.why = (
                True,
                None if base is None else "its columns, keys or engine are others than before",
            )
            change.read = change.mapped = done.report.read
            change.rows = done.report.published
            return done
        found = self._known(one, state, base)
        if isinstance(found, str):
            change.why = found
            return self._whole(one, base)
        return self._lines(one, state, base, *found)

    def _paged(self, state: State, number: int, entry: Entry, source: Source, what: object) -> Source:
        found = paged(source, entry, self.spec.sync, self._pages / str(number), [state.signature, number, what])
        if isinstance(found, Paged):
            self.paged.append(found)
        return found

    def _room(self, one: Filling, old: State | None) -> None:
        """Ask for the room of a new ledger: what changes take is known when they are found, and a new snapshot shares the rest."""
        size = None if old is None or old.ledger is None else ledgers.size(self.run.site, self.name, old.ledger)
        if size is None:
            self.run.room(self.spec, one.entries)
        else:
            space.check(self.run.site, self.run.resource.name, size, factor=1)

    def _known(self, one: Filling, state: State, base: Record) -> tuple[State, pa.Table] | str:
        """Find the ledger of what is published; or say why it is of no use."""
        if self.anew is not None:
            return self.anew
        reason = ledgers.obstacle(one.table, one.entries)
        if reason is not None:
            return reason
        old = ledgers.state_of(self.run.site, base.id)
        if old is None or old.ledger is None:
            return "there is no ledger yet"
        if old.signature != state.signature:
            return changed(base, self.run.resource, one)
        if old.contended:
            return f"{old.contended:,} rows were rejected because others had their values"
        lines = ledgers.read(self.run.site, self.name, old.ledger)
        if lines is None or lines.schema != ledgers.schema(one.table):
            return "the ledger is lost"
        return old, lines

    def _whole(self, one: Filling, base: Record) -> Filled:
        """Compute everything, and compare it with what is published."""
        run, done = self.run, self.run.whole(self.spec, one)
        change = self.report.table(self.name)
        change.read = change.mapped = done.report.read
        change.rows = done.report.published
        staged = done.snapshot
        if staged is None:
            raise AssertionError
        try:
            found = compare((run.keeper, base.snapshot), (run.keeper, staged), base.table.primary, done.table.arrow)
            self._judged(found, change, base)
        except BaseException:
            run.drop([done])
            raise
        change.described = plain(inherited(self.spec, done.table)) != base.provenance.get("inherited")
        if not change.any:
            run.drop([done])
            done.snapshot, done.record = None, base
        return done

    def _lines(self, one: Filling, state: State, base: Record, old: State, ledger: pa.Table) -> Filled:
        """Map what the ledger does not know, and merge what differs."""
        run = self.run
        self._room(one, old)
        notes = one.notes or Notes(ledgers.directory(run.site, self.name), one.table, one.entries)
        try:
            lines = Lines(ledger, old.files, notes)
            one.notes = notes
            everything = self.following.full or self.wide
            one.entries = [
                replace(entry, source=entry.source.whole if isinstance(entry.source, Paged) else entry.source)
                for entry in one.entries
            ]
            turn = partial(self._paged, state)
            pins = base.provenance.get("pins", ())
            looks = run.steps.looks
            reading = Reading(one, lines, self.spec.sync, old, state, pins, full=everything, turn=turn, looks=looks)
            reading.prepare()
            made: list[pa.RecordBatch] = []
            one.flow(made.append)
            reading.finish()
            if late := reading.watch.future:
                what = "1 row has" if late == 1 else f"{late:,} rows have"
                self.report.warnings.append(
                    f"{self.name}: {what} a watermark that is still to come, which is not believed"
                )
            if reading.unsummed:
                what = "the source gives no checksums of blocks, and keys are compared: edits that leave the watermark as it was are found when everything is read"
                self.report.warnings.append(f"{self.name}: {what} (full: 7 d)")
            if one.contended:
                raise Anew("a row has values that only one may have")
            change = self.report.table(self.name)
            change.how, change.read, change.mapped = reading.how, lines.read, lines.fresh
            gone = ~lines.known.claimed
            rows = pa.Table.from_batches(made, schema=one.table.arrow).cast(nullable(one.table.arrow))
            merging = Merging(run.keeper, base.table, base.snapshot, ledger, gone, rows)
            found = merging.differences()
            same = lines.same()
            if same:
                notes.abandon()  # the ledger stays
                one.notes, state.ledger, state.files = None, old.ledger, old.files
                state.contended, state.lines, state.rejected = old.contended, old.lines, old.rejected
            else:
                lines.keep(~gone)
            change.rows = base.snapshot.rows + found.after.num_rows - found.before.num_rows
            unread = sum(one.unread.values())
            known = (old.lines, old.rejected) if same else (notes.lines, notes.rejected)
            one.report.read, one.report.rejected, one.report.published = (
                known[0] + unread,
                known[1] + unread,
                change.rows,
            )
            one.judge()
            self._judged(found, change, base, old)
            return self._merged(one, base, found)
        finally:
            if self.report.dry_run:
                notes.abandon()

    def _of_keys(self, one: Filling, base: Record, keyed: Keyed) -> Filled:
        """Merge the rows of some keys."""
        self._room(one, ledgers.state_of(self.run.site, base.id))
        made: list[pa.RecordBatch] = []
        one.sieve = _every
        one.flow(made.append)
        if one.contended:
            raise Anew("a row has values that only one may have")
        found = against(self.run.keeper, base, keyed, made)
        change = self.report.table(self.name)
        count = keyed.keys.num_rows
        change.how, change.read = f"{count:,} {'key' if count == 1 else 'keys'}", one.report.read
        change.mapped, change.rows = one.report.read, base.snapshot.rows + found.after.num_rows - found.before.num_rows
        if not change.rows:
            raise Anew("no row would be left")
        one.report.published = change.rows
        self._judged(found, change, base)
        return self._merged(one, base, found)

    def _merged(self, one: Filling, base: Record, found: Differences) -> Filled:
        """Merge what differs into a snapshot; nothing differs: what is published stays."""
        run = self.run
        if found.any and run.keeper is run.site.engine:
            touched = found.after.num_rows + found.before.num_rows - found.changed
            space.check(
                run.site,
                run.resource.name,
                space.of_changes(base.snapshot.bytes, touched, found.after.nbytes),
                factor=1,
            )
        done = one.filled(merged(run.keeper, base.table, base.snapshot, new_id(), found) if found.any else None)
        if done.snapshot is None:
            done.record = base
        else:
            one.report.snapshot, one.report.bytes = done.snapshot.id, done.snapshot.bytes
        return done

    def _judged(self, found: Differences, change: Change, base: Record, old: State | None = None) -> None:
        """Count what differs; stop if it is too much. `old`: what was kept with the base, if it was read already."""
        self.following.sets[self.name] = tell(found, change, base.table.primary)
        self.following.changes[self.name] = (base.id, found)
        try:
            old = old or ledgers.state_of(self.run.site, base.id)
            guard(self.spec, change, base.snapshot.rows, sum(old.waiting.values()) if old is not None else 0)
        except DataError as error:
            if self.report.accepted:
                return
            if not self.report.dry_run:
                raise
            self.report.warnings.append(
                str(error).replace("nothing was published", "without --accept nothing will be published")
            )
