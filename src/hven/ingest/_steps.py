"""`ingest`: the flow from a descriptor to published snapshots, safe against crashes at every step.

Nothing that readers see changes before `Store.publish_together`, one transaction that moves the pointers of all tables of the
collection. Whatever ends earlier (an error, Ctrl-C, a power cut) leaves stagings that the next ingest sweeps.
"""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import hven
from hven import descriptor
from hven.descriptor.live_queries import is_live
from hven.descriptor.services import unserved
from hven.descriptor.tables import GRANULES, LISTS, PUSH
from hven.ingest import _flagged as flagged
from hven.ingest import _ledger as ledger
from hven.ingest import _published_dates as published_dates
from hven.ingest import _space as space
from hven.ingest import quality
from hven.ingest._filling import FETCH, MOST, Filled, Filling, Progress, counts_bytes, look, table_of, unread
from hven.ingest._ledger import Notes, State
from hven.ingest._order import followers, ordered, takes_pushed_rows
from hven.ingest._pieces import Pieces
from hven.ingest._preparing import prepare
from hven.ingest._published_dates import PublishedDates
from hven.ingest._rejects import Rejects
from hven.ingest._report import Report, TableReport
from hven.ingest._sent_places import undone
from hven.ingest._trial import Answer, Trial, load
from hven.ingest.watermarks import Watch
from hven.model.errors import DataError, DescriptorError, HvenError, SourceError
from hven.model.settings import secret
from hven.model.table import dated, taken
from hven.site import inherited
from hven.site.serving import refuse_unread
from hven.site.store import Record, lease_name, now
from hven.site.store.runs import ABORTED, COMPLETED, ERROR
from hven.site.watch import as_read
from hven.sources import Context, Feeds, FileWise
from hven.sources.readers import open_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.ingest._ledger import Entry
    from hven.model import Deviation
    from hven.model.resource import Flags, Resource, TableSpec
    from hven.site import Site
    from hven.site.store import Lease, Push
    from hven.sources import Reject

WAIT = 300.0  # seconds for another process to end its sweep


def ingest(
    site: Site,
    name: str,
    *,
    sample: int | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Read a collection anew and publish it.

    Parameters
    ----------
    site
        Where it is published.
    name
        Of the collection.
    sample
        Read only so many rows of each source entry (and publish them: for a first look).
    dry_run
        Do everything but publish.
    progress
        Called often, from this thread.

    Returns
    -------
    report
        Of what was read, left out, found wrong and published.

    Raises
    ------
    NotFound
        No such descriptor.
    Conflict
        The collection is being ingested by somebody else.
    DescriptorError, SourceError, DataError
        The user's text or data are at fault; what was published before stays. `Report` of the run is in the store.
    StorageError
        The disk.
    """
    resource = load(site, name)
    report = Report(collection=name, run=new_id(), started=now(), sample=sample, dry_run=dry_run)
    carry_out(site, report, lambda lease: Run(site, resource, report, lease, progress or silent, Steps()))
    return report


def carry_out(site: Site, report: Report, begin: Callable[[Lease], Run]) -> None:
    """Carry out a run while nobody else has one of the collection; record how it ended.

    Parameters
    ----------
    begin
        Makes the run, once the collection's lease is held.
    """
    name = report.collection
    with site.store.leases.held(lease_name(name), what=f"the {report.kind} of {name}") as lease:
        carried(site, report, lambda: begin(lease))


def carried(site: Site, report: Report, begin: Callable[[], Run]) -> None:
    """Carry out a run for who holds the collection's lease; record how it ended."""
    name = report.collection
    site.store.runs.mark_dead(name)
    space.sweep(site)
    ledger.sweep(site, name)
    undone(site, name, report.run)
    site.store.runs.begin(report.run, name, report.kind)
    started = time.perf_counter()
    phase = ERROR
    try:
        begin().go()
        phase = COMPLETED
        if not report.dry_run:  # whoever ran it meant it, also where nothing had to be published
            site.store.resume(name)
    except HvenError as error:
        report.error = str(error)
        raise
    except BaseException as error:
        phase = ABORTED
        report.error = f"stopped: {type(error).__name__}"
        raise
    finally:
        report.seconds = time.perf_counter() - started
        _close(site, report, phase)


def new_id() -> str:
    """Make an id that sorts by time: ``20261120T085345123-3f2a``."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}-{secrets.token_hex(2)}"


def _close(site: Site, report: Report, phase: str) -> None:
    """Write down how it ended; a full disk must not hide the error that was there before."""
    try:
        report.write(space.rejects_of(site, report.run))
    except OSError as error:
        report.warnings.append(f"the report cannot be written: {error.strerror}")
    try:
        site.store.runs.end(report.run, phase, message=report.error, summary=report.summary(), report=report.path)
    except HvenError as error:
        report.warnings.append(str(error))


def silent(_: Progress) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a kind of run does: as they stand here, `ingest`.

    Attributes
    ----------
    make
        Makes a table: leaves it, or lets `Run.fill` read it.
    wanted
        Tells whether what was made is to be tested and published.
    keep
        Takes down what readers will see changed, before they do.
    looks
        Tells which sources are looked at: others are taken to be as they were.
    pushed
        Writes of clients that are not committed yet: they are with what this publishes.
    """

    make: Callable[[Run, TableSpec], Filled] = lambda run, spec: run.fill(spec, partial(run.whole, spec))
    wanted: Callable[[Run, Sequence[Filled]], bool] = lambda *_: True
    keep: Callable[[Run, Sequence[Filled]], None] = lambda *_: None
    looks: Callable[[Entry], bool] = lambda _: True
    pushed: Sequence[Push] = ()


class Run:
    """One run over a collection: its tables are made, tested and published."""

    def __init__(
        self,
        site: Site,
        resource: Resource,
        report: Report,
        lease: Lease,
        progress: Callable[[Progress], None],
        steps: Steps,
    ) -> None:
        self.site = site
        self.resource = resource
        self.report = report
        self.lease = lease
        self.progress = progress
        self.steps = steps
        self._telling = Lock()
        self.keeper = site.engines.get(resource.engine or site.engines.default)
        if not report.dry_run:
            refuse_unread(site.settings, site.store, self.keeper.name)
        self.trial = Trial(site, resource)
        self.filled: list[Filled] = []  # of one that follows another
        # what stays as it is published, and was found to be made from other snapshots as well
        self.amended: list[Record] = []
        self.rejects = space.rejects_of(site, report.run)

    def go(self) -> None:
        """Fill, test, publish, tidy up."""
        filled: list[Filled] = []
        with ExitStack() as stack:
            behind: list[Run] = []
            try:
                self._fill_all(self._specs(), filled)
                self._check_services(filled)
                if not self.steps.wanted(self, filled):
                    self.drop(filled)
                    return
                self._test()
                if self.report.dry_run:
                    self.drop(filled)
                    return
                behind = self._follow(stack)
                self.steps.keep(self, [*filled, *(done for run in behind for done in run.filled)])
                self._publish(filled, behind)
            except BaseException:
                if not self.report.published:
                    self.drop([*filled, *(done for run in behind for done in run.filled)])
                raise
        for run in (self, *behind):
            self.report.warnings += space.prune(self.site, run.resource.name, young=self.report.kind == "push")

    def whole(self, spec: TableSpec, one: Filling, _state: State | None = None) -> Filled:
        """Read all of a table, and stage it."""
        self.room(spec, one.entries)
        return one.run(new_id())

    def _noted(self, spec: TableSpec, entries: Sequence[Entry]) -> bool:
        """Return whether a ledger is written: by a sync of every table whose rows can be followed one by one, whether it says ``sync:`` or not; of files that arrive by an ingest, too."""
        report = self.report
        followed = spec.sync is not None or any(one.kind in {GRANULES, LISTS, PUSH} for one in spec.sources)
        wanted = not report.dry_run if report.merges else followed and report.sample is None
        return wanted and ledger.obstacle(table_of(spec, entries), entries) is None

    def _begun(self, spec: TableSpec, one: Filling) -> State:
        """Record what the sources are before they are read: what changes meanwhile is read next time."""
        compared = one.notes is not None or (self.report.merges and self.report.dry_run)
        asked = [
            (str(number), entry.source)
            for number, entry in enumerate(one.entries)
            if compared and self.steps.looks(entry)
        ]
        listed = {number: source.listed() for number, source in asked if isinstance(source, FileWise)}
        fed = {
            number: state
            for number, source in asked
            if isinstance(source, Feeds) and (state := source.state()) is not None
        }
        return State(
            signature=ledger.signature(self.resource, spec, one.entries, one.table), listed=listed, fed=fed, full=now()
        )

    def _note_down(self, one: Filling, state: State, snapshot: str) -> None:
        """Record the ledger of a snapshot, and what else the next sync must know."""
        if (notes := one.notes) is not None:
            state.ledger = notes.finish(f"{snapshot}.{self.report.run}")
            state.files = list(notes.files)
            state.contended, state.lines, state.rejected = one.contended, notes.lines, notes.rejected
        if state.ledger is None:
            return
        state.unread = dict(one.unread)
        state.waiting = {
            str(number): entry.documents.waiting
            for number, entry in enumerate(one.entries)
            if entry.documents is not None
        }
        if one.watch is not None:
            state.watermark = one.watch.state()
        self.site.store.syncs.put(snapshot, one.table.qualified, self.resource.name, state.to_json())

    def _fill_all(self, specs: Sequence[TableSpec], filled: list[Filled]) -> None:
        for spec in specs:
            done = self.steps.make(self, spec)
            filled.append(done)
            record = done.record or self._record(spec, done)
            self.trial.add(record)
            for told in taken(dated(record.table), record.snapshot.statistics) if done.record is None else ():
                done.report.find(f"time origin of {told.split(' ')[0]}", told, "info", done.report.published, [])
            if spec.flags is not None:
                self._count(spec.flags, record, done)

    def _check_services(self, filled: Sequence[Filled]) -> None:
        views = [spec.table for spec in self.resource.tables if spec.table.view is not None]
        if faults := unserved(self.resource, [*(done.table for done in filled), *views]):
            raise DescriptorError(faults)

    def _count(self, flags: Flags, record: Record, done: Filled) -> None:
        """Count the rows that break rules, those that were not read this time included; keep what each bit means."""
        known = quality.from_json(record.provenance.get("quality")) if done.record is not None else None
        done.report.quality = known or flagged.count(self.trial, record.table, flags)
        if done.record is not None:
            return
        before = self.site.store.current()[1].get(record.table.qualified)
        meant: dict[str, str] = dict(before.provenance.get("flags", {})) if before is not None else {}
        means = {str(bit): rule for rule, bit in flags.bits.items()}
        for bit, rule in means.items():
            if meant.get(bit, rule) != rule:
                self.report.warnings.append(
                    f"{record.table.qualified}: bit {bit} of {flags.column} was {meant[bit]} and is {rule} now: "
                    "queries that know it give other rows; a bit of its own for a new rule avoids that"
                )
        said = {**record.provenance, "quality": done.report.quality.to_json(), "flags": {**meant, **means}}
        self.trial.add(replace(record, provenance=said))

    # --- those who are made from this collection --------------------------------------------------------------

    def _follow(self, stack: ExitStack) -> list[Run]:
        """Make tables of other collections anew that are made from this one's; those that fail stay as they are, and are told."""
        if self.report.sample is not None:
            return []
        resources = {name: one for name, one in self.site.current().resources.items() if name != self.resource.name}
        runs: dict[str, Run] = {}
        failed: set[str] = set()
        for resource, specs in followers(self.resource, resources):
            present = self.site.store.pointers()[
                1
            ]  # anew each time: to fill those before may take long, and a person may have said something
            known = [spec for spec in specs if spec.table.qualified in present]
            if not known or resource.name in failed:
                continue
            if resource.name in self.site.store.held():
                text = f"{known[0].table.qualified} is made from this, and stays as `hven rollback` left it: hven sync {resource.name}"
                self.report.warnings.append(text)
                continue
            run: Run | None = runs.get(resource.name)
            try:
                if run is None:
                    run = runs[resource.name] = self._behind(resource, stack)
                run._fill_all(known, run.filled)  # noqa: SLF001  (another run of this kind)
                run._test()  # noqa: SLF001
            except HvenError as error:
                failed.add(resource.name)
                text = f"{known[0].table.qualified} is made from this, and could not be made anew: {error}; it stays as it was"
                self.report.warnings.append(text)
                if run is not None:
                    self.drop(run.filled)
                    self.trial.forget(self.trial.records(resource.name))
                    runs.pop(resource.name, None)
        made = [run for run in runs.values() if any(one.record is None for one in run.filled)]
        for run in runs.values():
            self.report.warnings += run.report.warnings
            self.amended += run.amended
        for run in made:
            self.report.followers |= run.report.tables
            self.report.changes |= run.report.changes
        return made

    def _behind(self, resource: Resource, stack: ExitStack) -> Run:
        name = resource.name
        lease = stack.enter_context(
            self.site.store.leases.held(lease_name(name), what=f"the {self.report.kind} of {self.resource.name}")
        )
        said = self.report
        report = Report(collection=name, run=said.run, started=now(), kind=said.kind, accepted=said.accepted)
        run = Run(self.site, resource, report, lease, self.progress, self.steps)
        run.trial = self.trial
        return run

    def _state(self) -> list[Record]:
        """Return what the collection is published as: what is staged, and for one that follows all else as it is."""
        made = self.trial.records(self.resource.name)
        names = {record.table.qualified for record in made}
        rest = self.site.store.current()[1].values() if self.filled else ()
        return [
            *made,
            *(
                record
                for record in rest
                if record.collection == self.resource.name and record.table.qualified not in names
            ),
        ]

    def drop(self, filled: list[Filled]) -> None:
        self.report.warnings += self.site.engines.drop(one.snapshot for one in filled if one.snapshot is not None)

    # --- one table -------------------------------------------------------------------------------------------

    def fill(
        self,
        spec: TableSpec,
        stage: Callable[[Filling, State], Filled],
        answer: Callable[[str, dict[str, str], ExitStack], Answer] | None = None,
    ) -> Filled:
        """Open the sources of a table and let `stage` fill it.

        Parameters
        ----------
        stage
            Its `State` is what will be kept for the next sync.
        answer
            Answers the queries of a table that is made from others; None: the trial does.
        """
        report = self.report.tables.setdefault(spec.table.qualified, TableReport(table=spec.table.qualified))
        filling: list[Filling] = []
        inputs: dict[str, str] = {}

        early: list[Reject] = []  # of sources that read their first rows to know their columns

        def reject(row: Reject) -> None:
            if filling:
                filling[0].reject(row)
            else:
                early.append(row)

        with ExitStack() as stack:
            notes: Notes | None = None
            context = Context(
                directory=self.resource.path.parent,
                secret=partial(secret, self.site.settings.directory),
                query=lambda text: (answer or self.trial.rows)(text, inputs, stack),  # type: ignore[arg-type,return-value]
                reject=reject,
                tell=partial(self._told, report),
                allow_private=self.site.settings.allow_private,
                python=self.site.settings.python,
                read=partial(open_read, self.site.settings),
                roots=self.site.settings.grounds,
                journal=Pieces(self.site.store.pushes, spec.table.qualified, self.steps.pushed),
                kept=self.site.settings.kept / "documents" / self.resource.name,
                run=self.report.run,
                shows=lambda done, total: self.progress(
                    Progress(table=spec.table.qualified, step=FETCH, done=done, total=total)
                ),
            )
            rejects = stack.enter_context(Rejects(self.rejects / f"{spec.table.name}.csv"))
            try:
                entries = look(spec, self.resource, context)
                of_rows = (fault for entry in entries for fault in entry.mapping.warnings)
                said = dict.fromkeys(str(fault) for fault in (*spec.doubts, *of_rows))
                self.report.warnings += [text for text in said if text not in self.report.warnings]
                if self._noted(spec, entries):
                    notes = Notes(ledger.directory(self.site, spec.table.qualified), table_of(spec, entries), entries)
                    stack.callback(notes.abandon)
                one = Filling(
                    engine=self.site.engine,
                    keeper=self.keeper,
                    spec=spec,
                    entries=entries,
                    rejects=rejects,
                    report=report,
                    progress=self.progress,
                    sample=self.report.sample,
                    most=MOST if spec.max_rejects is None else spec.max_rejects,
                    may_be_empty=takes_pushed_rows(self.resource, spec, self.site.current().resources),
                    spool=self.site.settings.var / "spool",
                    notes=notes,
                    allow_private=self.site.settings.allow_private,
                    python=self.site.settings.python,
                )
                one.dates = self._published_dates(one)
                filling.append(one)
                if not any(counts_bytes(entry.source) for entry in entries):  # files are read anew
                    for row in early:
                        one.reject(row)
                if any(entry.mapping.watermark is not None for entry in entries):
                    one.watch = Watch(self.site.engine, entries)
                state = self._begun(spec, one)
                done = stage(one, state)
                of = (
                    done.snapshot.id
                    if done.snapshot is not None
                    else done.record.id
                    if done.record is not None
                    else None
                )
                if of is not None and not self.report.dry_run:
                    self._note_down(one, state, of)
            except SourceError as error:
                raise unread(error, spec.sources[0]) from error
            finally:
                if rejects.count:
                    report.rejects = str(rejects.path)
        done.inputs = inputs
        return done

    def _published_dates(self, one: Filling) -> PublishedDates | None:
        """Find what is published of a table whose rows keep dates of it; None: they keep none, or all are new."""
        names = published_dates.of_table(one.table, one.entries)
        record = self.site.store.current()[1].get(one.table.qualified) if names else None
        if record is None or record.collection != self.resource.name:
            return None
        return PublishedDates(
            self.site.engines.of(record.snapshot), record, one.table, names, self.report.warnings.append
        )

    def _told(self, table: TableReport, told: str | Deviation) -> None:
        """Report what a source says of its rows: a deviation belongs to its table, a sentence to the run."""
        if isinstance(told, str):
            if told not in self.report.warnings:
                self.report.warnings.append(told)
            return
        with self._telling:  # sources read in threads of their own
            table.add_deviation(told)

    def _specs(self) -> list[TableSpec]:
        specs = ordered(self.resource, self.site.current().resources)
        if not specs and any(is_live(spec) for spec in self.resource.tables):
            message = f"{self.resource.name} is read in place: it is published already, and there is nothing to ingest"
            raise DataError(
                message, remedy="hven check says what its database lacks; kind: sql copies the rows at each ingest"
            )
        if not specs and not any(spec.table.view is not None for spec in self.resource.tables):
            raise DataError(
                f"{self.resource.name} has no table with a source", remedy="say source: or view: for a table"
            )
        return specs

    def room(self, spec: TableSpec, entries: Sequence[Entry]) -> None:
        """Ask for room on the disk, by what the table took last time and by the size of its files."""
        if self.report.sample is not None or self.keeper is not self.site.engine:
            return
        before = self.site.store.current()[1].get(spec.table.qualified)
        sizes = [entry.source.size() or 0 for entry in entries if counts_bytes(entry.source)]
        space.check(self.site, self.resource.name, max(before.snapshot.bytes if before is not None else 0, sum(sizes)))

    def _record(self, spec: TableSpec, done: Filled) -> Record:
        if done.snapshot is None:
            raise DataError(f"{spec.table.qualified} was not staged")
        provenance: dict[str, Any] = {
            **self.made_by(spec, done),
            "pins": done.pins,
            "origins": {column.name: list(column.origins) for column in done.table.columns if column.origins},
            "counts": {key: getattr(done.report, key) for key in ("read", "skipped", "rejected", "published")},
            "row_id": list(done.table.primary),
            "inherited": inherited(spec, done.table),
            "source_units": done.source_units,
            "sample": self.report.sample,
        }
        return Record(
            snapshot=done.snapshot,
            table=done.table,
            collection=self.resource.name,
            run=self.report.run,
            created=now(),
            provenance=provenance,
        )

    def made_by(self, spec: TableSpec, done: Filled) -> dict[str, Any]:
        """Collect what decides the rows of a table beside the rows that it is made from."""
        return {
            "hashes": dict(self.resource.hashes),
            "software": f"hven {hven.__version__}",
            "inputs": done.inputs,
            "source_columns": done.columns,
            "site": ledger.of_site(self.resource, spec),
            "site_url": self.resource.site["url"] if spec.writes_addresses else None,
        }

    # --- all together ----------------------------------------------------------------------------------------

    def _test(self) -> None:
        """Run the descriptor's tests over what is staged: what fails is not published."""
        if self.report.sample is not None:
            if self.resource.tests:
                self.report.warnings.append("the descriptor's tests were not run over a sample")
            return
        for test in self.resource.tests:
            self.progress(Progress(table=self.resource.name, step="test"))
            self.report.tests.append(self.trial.test(test))
        failed = [test for test in self.report.tests if not test.passed]
        if failed:
            raise DataError(
                f"{len(failed)} of {len(self.report.tests)} tests of {self.resource.name} failed: {failed[0].name}: {failed[0].message}"
                + "".join(f"; {told}" for table in self.report.tables.values() if (told := table.kept_aside())),
                place=self.resource.tests[self.report.tests.index(failed[0])].place,
                remedy="correct the data, the descriptor or the test; what was published before stays",
            )

    def _publish(self, filled: list[Filled], behind: Sequence[Run]) -> None:
        self.progress(Progress(table=self.resource.name, step="publish", rows=self.report.rows))
        others = [one for name, one in self.site.current().resources.items() if name != self.resource.name]
        self.report.warnings += map(str, descriptor.wrong_ids([self.resource], others))
        self.report.warnings += map(str, descriptor.wrong_paths([self.resource], others))
        self._changed()
        if self.report.sample is not None:
            self.report.warnings.append(
                f"only the first {self.report.sample:,} rows of each source are published; ingest again without a sample"
            )
        with space.files_lease(self.site, wait=WAIT):
            states = [(run.resource.name, run._state(), run.lease) for run in (self, *behind)]  # noqa: SLF001  (runs of this kind)
            self.site.store.publish_together(
                states, run=self.report.run, amended=self.amended, pushed=self.steps.pushed
            )
            self.report.published = True
            for run, made in ((self, filled), *((run, run.filled) for run in behind)):
                for one in made:
                    if one.snapshot is not None:
                        run.keeper.published(one.snapshot)
        self.site.refresh()
        for run in (self, *behind):
            try:
                prepare(self.site, run.resource)
            except HvenError as error:
                self.report.warnings.append(f"nothing is prepared of the files of {run.resource.name}: {error}")

    def _changed(self) -> None:
        """Warn if the descriptor changed while its data were read; what was read at the start is what was done."""
        if as_read(self.resource):
            return
        try:
            after = descriptor.load(self.resource.path, self.site.settings).hashes
        except HvenError as error:
            self.report.warnings.append(
                f"the descriptor changed during the {self.report.kind} and has faults now: {error}"
            )
            return
        before = self.resource.hashes
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if changed:
            self.report.warnings.append(
                f"{', '.join(changed)} changed during the {self.report.kind}; what it said at the beginning was done: ingest again"
            )
