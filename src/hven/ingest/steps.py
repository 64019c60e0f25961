"""`ingest`: the flow from a descriptor to published snapshots, safe against crashes at every step.

Nothing that readers see changes before `Store.publish`, one transaction that moves the pointers of all tables of the
collection. Whatever ends earlier (an error, Ctrl-C, a power cut) leaves stagings that the next ingest sweeps.
"""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import hven
from hven import descriptor
from hven.errors import DataError, HvenError, SourceError
from hven.holdings.overlay import inherited
from hven.ingest import space
from hven.ingest.filling import MOST, Entry, Filled, Filling, Progress, counts_bytes, look, unread
from hven.ingest.order import ordered
from hven.ingest.rejects import Rejects
from hven.ingest.report import Report, TableReport
from hven.ingest.secrets import secret
from hven.ingest.trial import Trial, load
from hven.sources import Context
from hven.store import Record
from hven.store.database import now
from hven.store.runs import ABORTED, COMPLETED, ERROR
from hven.store.state import lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hven.holdings import Site
    from hven.model.resource import Resource, TableSpec
    from hven.sources import Reject
    from hven.store import Lease

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
    name
        Of the collection.
    sample
        Read only so many rows of each source entry (and publish them: for a first look).
    dry_run
        Do everything but publish.
    progress
        Called often, from this thread.

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
    resource, path = load(site, name)
    run = new_id()
    with site.store.leases.held(lease_name(name), what=f"the ingest of {name}") as lease:
        site.store.runs.mark_dead(name)
        space.sweep(site)
        site.store.runs.begin(run, name)
        report = Report(collection=name, run=run, started=now(), sample=sample, dry_run=dry_run)
        started = time.perf_counter()
        phase = ERROR
        try:
            _Run(site, resource, path, report, lease, progress or _silent).go()
            phase = COMPLETED
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
    return report


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


def _silent(_: Progress) -> None:
    return


class _Run:
    """One run of `ingest`."""

    def __init__(
        self, site: Site, resource: Resource, path: Path, report: Report, lease: Lease, progress: Callable[[Progress], None]
    ) -> None:
        self.site = site
        self.resource = resource
        self.path = path
        self.report = report
        self.lease = lease
        self.progress = progress
        self.trial = Trial(site, resource)
        self.rejects = space.rejects_of(site, report.run)

    def go(self) -> None:
        """Fill, test, publish, tidy up."""
        filled: list[Filled] = []
        try:
            specs = self._specs()
            for spec in specs:
                done = self._fill(spec)
                filled.append(done)
                self.trial.add(self._record(spec, done))
            self._test()
            if self.report.dry_run:
                self._drop(filled)
                return
            self._publish(filled)
        except BaseException:
            if not self.report.published:
                self._drop(filled)
            raise
        space.prune(self.site, self.resource.name)

    def _drop(self, filled: list[Filled]) -> None:
        for one in filled:
            if one.snapshot is not None:
                self.site.engine.drop(one.snapshot)

    # --- one table -------------------------------------------------------------------------------------------

    def _fill(self, spec: TableSpec) -> Filled:
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
            context = Context(
                directory=self.path.parent,
                secret=partial(secret, self.site.settings.directory),
                query=lambda text: self.trial.rows(text, inputs, stack),  # type: ignore[arg-type,return-value]
                reject=reject,
            )
            rejects = stack.enter_context(Rejects(self.rejects / f"{spec.table.name}.csv"))
            try:
                entries = look(spec, self.resource, context)
                said = dict.fromkeys(str(fault) for entry in entries for fault in entry.mapping.warnings)
                self.report.warnings += [text for text in said if text not in self.report.warnings]
                self._room(spec, entries)
                one = Filling(
                    engine=self.site.engine,
                    spec=spec,
                    entries=entries,
                    rejects=rejects,
                    report=report,
                    progress=self.progress,
                    sample=self.report.sample,
                    most=MOST if spec.max_rejects is None else spec.max_rejects,
                )
                filling.append(one)
                if not any(counts_bytes(entry.source) for entry in entries):  # files are read anew
                    for row in early:
                        one.reject(row)
                done = one.run(new_id())
            except SourceError as error:
                raise unread(error, spec.sources[0]) from error
            finally:
                if rejects.count:
                    report.rejects = str(rejects.path)
        done.inputs = inputs
        return done

    def _specs(self) -> list[TableSpec]:
        specs = ordered(self.resource)
        if not specs and not any(spec.table.view is not None for spec in self.resource.tables):
            raise DataError(f"{self.resource.name} has no table with a source", remedy="say source: or view: for a table")
        return specs

    def _room(self, spec: TableSpec, entries: Sequence[Entry]) -> None:
        """Ask for room on the disk, by what the table took last time and by the size of its files."""
        if self.report.sample is not None:
            return
        before = self.site.store.current()[1].get(spec.table.qualified)
        sizes = [entry.source.size() or 0 for entry in entries if counts_bytes(entry.source)]
        space.check(self.site, self.resource.name, max(before.snapshot.bytes if before is not None else 0, sum(sizes)))

    def _record(self, spec: TableSpec, done: Filled) -> Record:
        if done.snapshot is None:
            raise DataError(f"{spec.table.qualified} was not staged")
        provenance: dict[str, Any] = {
            "hashes": dict(self.resource.hashes),
            "software": f"hven {hven.__version__}",
            "pins": [{key: getattr(pin, key) for key in ("name", "bytes", "modified", "sha256", "detail")} for pin in done.pins],
            "inputs": done.inputs,
            "origins": {column.name: list(column.origins) for column in done.table.columns if column.origins},
            "counts": {key: getattr(done.report, key) for key in ("read", "skipped", "rejected", "published")},
            "row_id": list(done.table.primary),
            "inherited": inherited(spec, done.table),
            "source_units": done.source_units,
            "source_columns": done.columns,
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
                f"{len(failed)} of {len(self.report.tests)} tests of {self.resource.name} failed: {failed[0].name}: {failed[0].message}",
                place=self.resource.tests[self.report.tests.index(failed[0])].place,
                remedy="correct the data, the descriptor or the test; what was published before stays",
            )

    def _publish(self, filled: list[Filled]) -> None:
        self.progress(Progress(table=self.resource.name, step="publish", rows=self.report.rows))
        self._changed()
        if self.report.sample is not None:
            self.report.warnings.append(
                f"only the first {self.report.sample:,} rows of each source are published; ingest again without a sample"
            )
        with space.files_lease(self.site, wait=WAIT):
            self.site.store.publish(self.resource.name, self.trial.records(), run=self.report.run, lease=self.lease)
            self.report.published = True
            for one in filled:
                if one.snapshot is not None:
                    self.site.engine.published(one.snapshot)
        self.site.refresh()

    def _changed(self) -> None:
        """Tell if the descriptor changed while its data were read; what was read at the start is what was done."""
        try:
            after = descriptor.load(self.path, self.site.settings).hashes
        except HvenError as error:
            self.report.warnings.append(f"the descriptor changed during the ingest and has faults now: {error}")
            return
        before = self.resource.hashes
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if changed:
            self.report.warnings.append(
                f"{', '.join(changed)} changed during the ingest; what it said at the beginning was done: ingest again"
            )
