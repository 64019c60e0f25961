"""`ingest_collection`: the flow from a descriptor to published snapshots, safe against crashes at every step.

Nothing that readers see changes before `Store.publish_together`, one transaction that moves the pointers of all tables
of the collection. Whatever ends earlier (an error, Ctrl-C, a power cut) leaves stagings that the next ingest sweeps.
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
from hven.descriptor.service_checks import find_unserved_services
from hven.descriptor.tables import FILES_SOURCE_KIND, GRANULES_SOURCE_KIND, PUSH_SOURCE_KIND
from hven.ingest import _disk_space as disk_space
from hven.ingest import _flag_counts as flag_counts
from hven.ingest import _ledger as ledgers
from hven.ingest import _published_dates as published_dates
from hven.ingest import quality
from hven.ingest._dependencies import find_dependent_tables, may_have_pushed_rows, sort_tables
from hven.ingest._file_preparation import enqueue_preparation
from hven.ingest._file_targets import roll_back_interrupted_pushes
from hven.ingest._ledger import LedgerWriter, SyncState
from hven.ingest._published_dates import PublishedDates
from hven.ingest._push_journal import PendingPushJournal
from hven.ingest._rejects_file import RejectsFile
from hven.ingest._report import IngestReport, TableReport
from hven.ingest._staged_site import QueryAnswer, StagedSite, load_current_descriptor
from hven.ingest._table_loader import (
    DEFAULT_MAX_REJECTED_SHARE,
    FETCH_STEP,
    IngestProgress,
    LoadedTable,
    TableLoader,
    add_source_place,
    build_union_table,
    has_byte_progress,
    open_sources,
)
from hven.ingest.watermarks import WatermarkTracker
from hven.model.errors import DataError, DescriptorError, HvenError, SourceError
from hven.model.settings import resolve_secret
from hven.model.table import list_epoch_warnings, set_column_epochs
from hven.site import find_inherited_attributes
from hven.site.descriptor_watch import is_unchanged
from hven.site.server_processes import check_servers_can_read
from hven.site.store import SnapshotRecord, build_lease_name, format_current_time
from hven.site.store.ingest_runs import ABORTED_PHASE, COMPLETED_PHASE, ERROR_PHASE
from hven.sources import ChangeFeedSource, FileListSource, SourceContext
from hven.sources.file_readers import open_with_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.ingest._ledger import SourceEntry
    from hven.model import Deviation
    from hven.model.resource import QualityFlagColumn, Resource, TableSpec
    from hven.site import Site
    from hven.site.store import ClientPush, Lease
    from hven.sources import RejectedRow

SWEEP_TIMEOUT_SECONDS = 300.0  # seconds for another process to end its sweep


def ingest_collection(
    site: Site,
    name: str,
    *,
    sample_rows: int | None = None,
    dry_run: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Read a collection anew and publish it.

    Parameters
    ----------
    site
        Where it is published.
    name
        Of the collection.
    sample_rows
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
    NotFoundError
        No such descriptor.
    ConflictError
        The collection is being ingested by somebody else.
    DescriptorError, SourceError, DataError
        The user's text or data are at fault; what was published before stays. `IngestReport` of the run is in the
        store.
    StorageError
        The disk.
    """
    resource = load_current_descriptor(site, name)
    report = IngestReport(
        collection=name, run=create_run_id(), started=format_current_time(), sample=sample_rows, dry_run=dry_run
    )
    execute_run(
        site,
        report,
        lambda lease: CollectionRun(
            site, resource, report, lease, progress=progress or ignore_progress, hooks=RunHooks()
        ),
    )
    return report


def execute_run(site: Site, report: IngestReport, create_run: Callable[[Lease], CollectionRun]) -> None:
    """Carry out a run while nobody else has one of the collection; record how it ended.

    Parameters
    ----------
    create_run
        Makes the run, once the collection's lease is held.
    """
    name = report.collection
    with site.store.leases.hold_lease(build_lease_name(name), description=f"the {report.kind} of {name}") as lease:
        execute_leased_run(site, report, lambda: create_run(lease))


def execute_leased_run(site: Site, report: IngestReport, create_run: Callable[[], CollectionRun]) -> None:
    """Carry out a run for who holds the collection's lease; record how it ended."""
    name = report.collection
    site.store.runs.mark_dead_runs(name)
    disk_space.delete_leftovers(site)
    ledgers.delete_unused_ledgers(site, name)
    roll_back_interrupted_pushes(site, name, report.run)
    site.store.runs.begin_run(report.run, name, report.kind)
    start_time = time.perf_counter()
    phase = ERROR_PHASE
    try:
        create_run().execute()
        phase = COMPLETED_PHASE
        if not report.dry_run:  # whoever ran it meant it, also where nothing had to be published
            site.store.end_hold(name)
    except HvenError as error:
        report.error = str(error)
        raise
    except BaseException as error:
        phase = ABORTED_PHASE
        report.error = f"stopped: {type(error).__name__}"
        raise
    finally:
        report.seconds = time.perf_counter() - start_time
        _record_end(site, report, phase)


def create_run_id() -> str:
    """Make an id that sorts by time: ``20261120T085345123-3f2a``."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}-{secrets.token_hex(2)}"


def _record_end(site: Site, report: IngestReport, phase: str) -> None:
    """Write down how it ended; a full disk must not hide the error that was there before."""
    try:
        report.write_report(disk_space.find_run_directory(site, report.run))
    except OSError as error:
        report.warnings.append(f"the report cannot be written: {error.strerror}")
    try:
        site.store.runs.end_run(
            report.run, phase, message=report.error, summary=report.summarize_counts(), report=report.path
        )
    except HvenError as error:
        report.warnings.append(str(error))


def ignore_progress(_: IngestProgress) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class RunHooks:
    """What a kind of run does: as they stand here, `ingest_collection`.

    Attributes
    ----------
    make_table
        Makes a table: leaves it, or lets `CollectionRun.load_table` read it.
    should_publish
        Tells whether what was made is to be tested and published.
    record_changes
        Takes down what readers will see changed, before they do.
    may_have_changed
        Tells which sources are looked at: others are taken to be as they were.
    pending_pushes
        Writes of clients that are not committed yet: they are with what this publishes.
    """

    make_table: Callable[[CollectionRun, TableSpec], LoadedTable] = lambda run, spec: run.load_table(
        spec, partial(run.load_whole_table, spec)
    )
    should_publish: Callable[[CollectionRun, Sequence[LoadedTable]], bool] = lambda *_: True
    record_changes: Callable[[CollectionRun, Sequence[LoadedTable]], None] = lambda *_: None
    may_have_changed: Callable[[SourceEntry], bool] = lambda _: True
    pending_pushes: Sequence[ClientPush] = ()


class CollectionRun:
    """One run over a collection: its tables are made, tested and published."""

    def __init__(
        self,
        site: Site,
        resource: Resource,
        report: IngestReport,
        lease: Lease,
        *,
        progress: Callable[[IngestProgress], None],
        hooks: RunHooks,
    ) -> None:
        self.site = site
        self.resource = resource
        self.report = report
        self.lease = lease
        self.progress = progress
        self.hooks = hooks
        self._deviation_lock = Lock()
        self.storage_engine = site.engines.get_engine(resource.engine or site.engines.default_engine)
        if not report.dry_run:
            check_servers_can_read(site.settings, site.store, self.storage_engine.name)
        self.staged_site = StagedSite(site, resource)
        self.loaded_tables: list[LoadedTable] = []  # of one that follows another
        # what stays as it is published, and was found to be made from other snapshots as well
        self.amended_records: list[SnapshotRecord] = []
        self.run_directory = disk_space.find_run_directory(site, report.run)

    def execute(self) -> None:
        """Fill, test, publish, tidy up."""
        loaded_tables: list[LoadedTable] = []
        with ExitStack() as stack:
            dependent_runs: list[CollectionRun] = []
            try:
                self._load_tables(self._list_table_specs(), loaded_tables)
                self._check_services(loaded_tables)
                if not self.hooks.should_publish(self, loaded_tables):
                    self.drop_snapshots(loaded_tables)
                    return
                self._run_tests()
                if self.report.dry_run:
                    self.drop_snapshots(loaded_tables)
                    return
                dependent_runs = self._load_dependent_tables(stack)
                self.hooks.record_changes(
                    self,
                    [*loaded_tables, *(loaded_table for run in dependent_runs for loaded_table in run.loaded_tables)],
                )
                self._publish_tables(loaded_tables, dependent_runs)
            except BaseException:
                if not self.report.published:
                    self.drop_snapshots(
                        [
                            *loaded_tables,
                            *(loaded_table for run in dependent_runs for loaded_table in run.loaded_tables),
                        ]
                    )
                raise
        for run in (self, *dependent_runs):
            self.report.warnings += disk_space.prune_collection(
                self.site, run.resource.name, keep_recent=self.report.kind == "push"
            )

    def load_whole_table(
        self, spec: TableSpec, loader: TableLoader, _sync_state: SyncState | None = None
    ) -> LoadedTable:
        """Read all of a table, and stage it."""
        self.check_disk_space(spec, loader.entries)
        return loader.load_table(create_run_id())

    def _is_ledger_written(self, spec: TableSpec, entries: Sequence[SourceEntry]) -> bool:
        """Return whether a ledger is written.

        By a sync of every table whose rows can be followed one by one, whether it says ``sync:`` or not; of files that
        arrive by an ingest, too.
        """
        report = self.report
        is_followed = spec.sync is not None or any(
            source.kind in {GRANULES_SOURCE_KIND, FILES_SOURCE_KIND, PUSH_SOURCE_KIND} for source in spec.sources
        )
        if report.merges_changes:
            is_wanted = not report.dry_run
        else:
            is_wanted = is_followed and report.sample is None
        return is_wanted and ledgers.find_ledger_obstacle(build_union_table(spec, entries), entries) is None

    def _record_source_states(self, spec: TableSpec, loader: TableLoader) -> SyncState:
        """Record what the sources are before they are read: what changes meanwhile is read next time."""
        is_compared = loader.ledger_writer is not None
        if self.report.merges_changes and self.report.dry_run:
            is_compared = True
        asked_sources = [
            (str(number), entry.source)
            for number, entry in enumerate(loader.entries)
            if is_compared and self.hooks.may_have_changed(entry)
        ]
        file_listings = {
            number: source.list_files() for number, source in asked_sources if isinstance(source, FileListSource)
        }
        feed_states = {
            number: state
            for number, source in asked_sources
            if isinstance(source, ChangeFeedSource) and (state := source.read_state_name()) is not None
        }
        signature = ledgers.compute_ledger_signature(self.resource, spec, loader.entries, loader.table)
        return SyncState(
            signature=signature,
            listed=file_listings,
            fed=feed_states,
            full=format_current_time(),
        )

    def _store_sync_state(self, loader: TableLoader, state: SyncState, snapshot: str) -> None:
        """Record the ledger of a snapshot, and what else the next sync must know."""
        notes = loader.ledger_writer
        if notes is not None:
            state.ledger = notes.finish_ledger(f"{snapshot}.{self.report.run}")
            state.files = list(notes.files)
            state.contended = loader.contended_count
            state.lines = notes.line_count
            state.rejected = notes.rejected_count
        if state.ledger is None:
            return
        state.unread = dict(loader.unread_counts)
        state.waiting = {
            str(number): entry.documents.pending_count
            for number, entry in enumerate(loader.entries)
            if entry.documents is not None
        }
        if loader.watermark_tracker is not None:
            state.watermark = loader.watermark_tracker.collect_state()
        self.site.store.syncs.save_state(snapshot, loader.table.qualified_name, self.resource.name, state.to_json())

    def _load_tables(self, specs: Sequence[TableSpec], loaded_tables: list[LoadedTable]) -> None:
        for spec in specs:
            loaded_table = self.hooks.make_table(self, spec)
            loaded_tables.append(loaded_table)
            record = loaded_table.published_record or self._build_record(spec, loaded_table)
            self.staged_site.add_record(record)
            for epoch_warning in (
                list_epoch_warnings(set_column_epochs(record.table), record.snapshot.statistics)
                if loaded_table.published_record is None
                else ()
            ):
                loaded_table.report.add_finding(
                    f"time origin of {epoch_warning.split(' ')[0]}",
                    epoch_warning,
                    "info",
                    loaded_table.report.published,
                    [],
                )
            if spec.flags is not None:
                self._count_flagged_rows(spec.flags, record, loaded_table)

    def _check_services(self, loaded_tables: Sequence[LoadedTable]) -> None:
        views = [spec.table for spec in self.resource.tables if spec.table.view is not None]
        faults = find_unserved_services(
            self.resource, [*(loaded_table.table for loaded_table in loaded_tables), *views]
        )
        if faults:
            raise DescriptorError(faults)

    def _count_flagged_rows(self, flags: QualityFlagColumn, record: SnapshotRecord, loaded_table: LoadedTable) -> None:
        """Count the rows that break rules, those that were not read this time included; keep what each bit means."""
        if loaded_table.published_record is not None:
            known_quality = quality.quality_from_json(record.provenance.get("quality"))
        else:
            known_quality = None
        loaded_table.report.quality = known_quality or flag_counts.count_flagged_rows(
            self.staged_site, record.table, flags
        )
        if loaded_table.published_record is not None:
            return
        published_records = self.site.store.read_published_records()
        published_record = published_records[1].get(record.table.qualified_name)
        earlier_meanings: dict[str, str] = (
            dict(published_record.provenance.get("flags", {})) if published_record is not None else {}
        )
        current_meanings = {str(bit): rule for rule, bit in flags.bits.items()}
        for bit, rule in current_meanings.items():
            if earlier_meanings.get(bit, rule) != rule:
                self.report.warnings.append(
                    f"{record.table.qualified_name}: bit {bit} of {flags.column} meant {earlier_meanings[bit]} and "
                    f"means {rule} now: queries that use it find other rows; give a new rule a bit of its own"
                )
        provenance = {
            **record.provenance,
            "quality": loaded_table.report.quality.to_json(),
            "flags": {**earlier_meanings, **current_meanings},
        }
        self.staged_site.add_record(replace(record, provenance=provenance))

    # --- those who are made from this collection --------------------------------------------------------------

    def _load_dependent_tables(self, stack: ExitStack) -> list[CollectionRun]:
        """Make tables of other collections anew that are made from this one's.

        Those that fail stay as they are, and are told.
        """
        if self.report.sample is not None:
            return []
        resources = {
            name: other_resource
            for name, other_resource in self.site.get_published_state().resources.items()
            if name != self.resource.name
        }
        runs: dict[str, CollectionRun] = {}
        failed: set[str] = set()
        for resource, specs in find_dependent_tables(self.resource, resources):
            present = self.site.store.read_pointers()[
                1
            ]  # anew each time: to fill those before may take long, and a person may have said something
            published_specs = [spec for spec in specs if spec.table.qualified_name in present]
            if not published_specs or resource.name in failed:
                continue
            if resource.name in self.site.store.list_held_collections():
                text = (
                    f"{published_specs[0].table.qualified_name} is made from this, and stays as `hven rollback` "
                    f"left it: hven sync {resource.name}"
                )
                self.report.warnings.append(text)
                continue
            run: CollectionRun | None = runs.get(resource.name)
            try:
                if run is None:
                    run = runs[resource.name] = self._create_dependent_run(resource, stack)
                run._load_tables(published_specs, run.loaded_tables)  # noqa: SLF001  (another run of this kind)
                run._run_tests()  # noqa: SLF001
            except HvenError as error:
                failed.add(resource.name)
                text = (
                    f"{published_specs[0].table.qualified_name} is made from this, and could not be made anew: "
                    f"{error}; it stays as it was"
                )
                self.report.warnings.append(text)
                if run is not None:
                    self.drop_snapshots(run.loaded_tables)
                    self.staged_site.remove_records(self.staged_site.list_staged_records(resource.name))
                    runs.pop(resource.name, None)
        changed_runs = [
            run
            for run in runs.values()
            if any(other_resource.published_record is None for other_resource in run.loaded_tables)
        ]
        for run in runs.values():
            self.report.warnings += run.report.warnings
            self.amended_records += run.amended_records
        for run in changed_runs:
            self.report.followers |= run.report.tables
            self.report.changes |= run.report.changes
        return changed_runs

    def _create_dependent_run(self, resource: Resource, stack: ExitStack) -> CollectionRun:
        name = resource.name
        lease = stack.enter_context(
            self.site.store.leases.hold_lease(
                build_lease_name(name), description=f"the {self.report.kind} of {self.resource.name}"
            )
        )
        leading_report = self.report
        report = IngestReport(
            collection=name,
            run=leading_report.run,
            started=format_current_time(),
            kind=leading_report.kind,
            accepted=leading_report.accepted,
        )
        run = CollectionRun(self.site, resource, report, lease, progress=self.progress, hooks=self.hooks)
        run.staged_site = self.staged_site
        return run

    def _list_collection_records(self) -> list[SnapshotRecord]:
        """Return what the collection is published as: what is staged, and for one that follows all else as it is."""
        staged_records = self.staged_site.list_staged_records(self.resource.name)
        names = {record.table.qualified_name for record in staged_records}
        published_records = self.site.store.read_published_records()[1].values() if self.loaded_tables else ()
        return [
            *staged_records,
            *(
                record
                for record in published_records
                if record.collection == self.resource.name and record.table.qualified_name not in names
            ),
        ]

    def drop_snapshots(self, loaded_tables: list[LoadedTable]) -> None:
        self.report.warnings += self.site.engines.drop_snapshots(
            loaded_table.snapshot for loaded_table in loaded_tables if loaded_table.snapshot is not None
        )

    # --- one table -------------------------------------------------------------------------------------------

    def load_table(
        self,
        spec: TableSpec,
        stage_table: Callable[[TableLoader, SyncState], LoadedTable],
        answer_query: Callable[[str, dict[str, str], ExitStack], QueryAnswer] | None = None,
    ) -> LoadedTable:
        """Open the sources of a table and let `stage_table` fill it.

        Parameters
        ----------
        stage_table
            Its `SyncState` is what will be kept for the next sync.
        answer_query
            Answers the queries of a table that is made from others; None: the trial does.
        """
        report = self.report.tables.setdefault(spec.table.qualified_name, TableReport(table=spec.table.qualified_name))
        started_loader: list[TableLoader] = []
        inputs: dict[str, str] = {}

        early_rejects: list[RejectedRow] = []  # of sources that read their first rows to know their columns

        def reject_row(row: RejectedRow) -> None:
            if started_loader:
                started_loader[0].reject_row(row)
            else:
                early_rejects.append(row)

        with ExitStack() as stack:
            ledger_writer: LedgerWriter | None = None
            context = SourceContext(
                directory=self.resource.path.parent,
                resolve_secret=partial(resolve_secret, self.site.settings.directory),
                run_query=lambda text: (  # type: ignore[arg-type]
                    (answer_query or self.staged_site.answer_query)(text, inputs, stack)  # type: ignore[return-value]
                ),
                on_reject=reject_row,
                on_notice=partial(self._report_deviation, report),
                allow_private=self.site.settings.allow_private,
                python_limits=self.site.settings.python,
                open_sample_file=partial(open_with_reader, self.site.settings),
                allowed_roots=self.site.settings.allowed_directories,
                journal=PendingPushJournal(
                    self.site.store.pushes, spec.table.qualified_name, self.hooks.pending_pushes
                ),
                cache_directory=self.site.settings.data_directory / "documents" / self.resource.name,
                run_name=self.report.run,
                on_progress=lambda loaded_table, total: self.progress(
                    IngestProgress(table=spec.table.qualified_name, step=FETCH_STEP, done=loaded_table, total=total)
                ),
            )
            rejects = stack.enter_context(RejectsFile(self.run_directory / f"{spec.table.name}.csv"))
            try:
                entries = open_sources(spec, self.resource, context)
                mapping_warnings = (fault for entry in entries for fault in entry.mapping.warnings)
                warning_texts = dict.fromkeys(str(fault) for fault in (*spec.frame_warnings, *mapping_warnings))
                self.report.warnings += [text for text in warning_texts if text not in self.report.warnings]
                if self._is_ledger_written(spec, entries):
                    ledger_directory = ledgers.find_ledger_directory(self.site, spec.table.qualified_name)
                    union_table = build_union_table(spec, entries)
                    ledger_writer = LedgerWriter(
                        ledger_directory,
                        union_table,
                        entries,
                    )
                    stack.callback(ledger_writer.abandon_ledger)
                max_rejected_share = (
                    DEFAULT_MAX_REJECTED_SHARE if spec.max_rejected_share is None else spec.max_rejected_share
                )
                loader = TableLoader(
                    engine=self.site.embedded_engine,
                    storage_engine=self.storage_engine,
                    spec=spec,
                    entries=entries,
                    rejects=rejects,
                    report=report,
                    progress=self.progress,
                    sample_rows=self.report.sample,
                    max_rejected_share=max_rejected_share,
                    may_be_empty=may_have_pushed_rows(self.resource, spec, self.site.get_published_state().resources),
                    spool_directory=self.site.settings.var_directory / "spool",
                    ledger_writer=ledger_writer,
                    allow_private=self.site.settings.allow_private,
                    python_limits=self.site.settings.python,
                )
                loader.published_dates = self._find_published_dates(loader)
                started_loader.append(loader)
                if not any(has_byte_progress(entry.source) for entry in entries):  # files are read anew
                    for row in early_rejects:
                        loader.reject_row(row)
                if any(entry.mapping.watermark_query is not None for entry in entries):
                    loader.watermark_tracker = WatermarkTracker(self.site.embedded_engine, entries)
                state = self._record_source_states(spec, loader)
                loaded_table = stage_table(loader, state)
                if loaded_table.snapshot is not None:
                    snapshot_id = loaded_table.snapshot.id
                elif loaded_table.published_record is not None:
                    snapshot_id = loaded_table.published_record.id
                else:
                    snapshot_id = None
                if snapshot_id is not None and not self.report.dry_run:
                    self._store_sync_state(loader, state, snapshot_id)
            except SourceError as error:
                raise add_source_place(error, spec.sources[0]) from error
            finally:
                if rejects.row_count:
                    report.rejects = str(rejects.path)
        loaded_table.inputs = inputs
        return loaded_table

    def _find_published_dates(self, loader: TableLoader) -> PublishedDates | None:
        """Find what is published of a table whose rows keep dates of it; None: they keep none, or all are new."""
        names = published_dates.list_date_columns(loader.table, loader.entries)
        if names:
            published_records = self.site.store.read_published_records()
            record = published_records[1].get(loader.table.qualified_name)
        else:
            record = None
        if record is None or record.collection != self.resource.name:
            return None
        engine = self.site.engines.find_engine(record.snapshot)
        return PublishedDates(engine, record, loader.table, names, self.report.warnings.append)

    def _report_deviation(self, table: TableReport, message: str | Deviation) -> None:
        """Report what a source says of its rows: a deviation belongs to its table, a sentence to the run."""
        if isinstance(message, str):
            if message not in self.report.warnings:
                self.report.warnings.append(message)
            return
        with self._deviation_lock:  # sources read in threads of their own
            table.add_deviation(message)

    def _list_table_specs(self) -> list[TableSpec]:
        specs = sort_tables(self.resource, self.site.get_published_state().resources)
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

    def check_disk_space(self, spec: TableSpec, entries: Sequence[SourceEntry]) -> None:
        """Ask for room on the disk, by what the table took last time and by the size of its files."""
        if self.report.sample is not None or self.storage_engine is not self.site.embedded_engine:
            return
        published_records = self.site.store.read_published_records()
        published_record = published_records[1].get(spec.table.qualified_name)
        sizes = [entry.source.estimate_size() or 0 for entry in entries if has_byte_progress(entry.source)]
        disk_space.check_disk_space(
            self.site,
            self.resource.name,
            max(published_record.snapshot.bytes if published_record is not None else 0, sum(sizes)),
        )

    def _build_record(self, spec: TableSpec, loaded_table: LoadedTable) -> SnapshotRecord:
        if loaded_table.snapshot is None:
            raise DataError(f"{spec.table.qualified_name} was not staged")
        inputs = self.collect_inputs(spec, loaded_table)
        provenance: dict[str, Any] = {
            **inputs,
            "pins": loaded_table.pins,
            "origins": {column.name: list(column.origins) for column in loaded_table.table.columns if column.origins},
            "counts": {key: getattr(loaded_table.report, key) for key in ("read", "skipped", "rejected", "published")},
            "row_id": list(loaded_table.table.primary),
            "inherited": find_inherited_attributes(spec, loaded_table.table),
            "source_units": loaded_table.source_units,
            "sample": self.report.sample,
        }
        return SnapshotRecord(
            snapshot=loaded_table.snapshot,
            table=loaded_table.table,
            collection=self.resource.name,
            run=self.report.run,
            created=format_current_time(),
            provenance=provenance,
        )

    def collect_inputs(self, spec: TableSpec, loaded_table: LoadedTable) -> dict[str, Any]:
        """Collect what decides the rows of a table beside the rows that it is made from."""
        return {
            "hashes": dict(self.resource.hashes),
            "software": f"hven {hven.__version__}",
            "inputs": loaded_table.inputs,
            "source_columns": loaded_table.columns,
            "site": ledgers.select_site_values(self.resource, spec),
            "site_url": self.resource.site["url"] if spec.has_site_addresses else None,
        }

    # --- all together ----------------------------------------------------------------------------------------

    def _run_tests(self) -> None:
        """Run the descriptor's tests over what is staged: what fails is not published."""
        if self.report.sample is not None:
            if self.resource.tests:
                self.report.warnings.append("the descriptor's tests were not run over a sample")
            return
        for test in self.resource.tests:
            self.progress(IngestProgress(table=self.resource.name, step="test"))
            self.report.tests.append(self.staged_site.run_test(test))
        failed_tests = [test for test in self.report.tests if not test.passed]
        if failed_tests:
            raise DataError(
                (
                    f"{len(failed_tests)} of {len(self.report.tests)} tests of {self.resource.name} failed: "
                    f"{failed_tests[0].name}: {failed_tests[0].message}"
                )
                + "".join(
                    f"; {reject_summary}"
                    for table in self.report.tables.values()
                    if (reject_summary := table.summarize_rejects())
                ),
                place=self.resource.tests[self.report.tests.index(failed_tests[0])].place,
                remedy="correct the data, the descriptor or the test; what was published before stays",
            )

    def _publish_tables(self, loaded_tables: list[LoadedTable], dependent_runs: Sequence[CollectionRun]) -> None:
        self.progress(IngestProgress(table=self.resource.name, step="publish", rows=self.report.row_count))
        other_resources = [
            loaded_table
            for name, loaded_table in self.site.get_published_state().resources.items()
            if name != self.resource.name
        ]
        self.report.warnings += map(str, descriptor.find_series_id_faults([self.resource], other_resources))
        self.report.warnings += map(str, descriptor.find_path_faults([self.resource], other_resources))
        self._check_descriptor_changes()
        if self.report.sample is not None:
            self.report.warnings.append(
                f"only the first {self.report.sample:,} rows of each source are published; ingest again "
                f"without a sample"
            )
        with disk_space.acquire_files_lease(self.site, wait_seconds=SWEEP_TIMEOUT_SECONDS):
            # runs of this kind
            states = [
                (run.resource.name, run._list_collection_records(), run.lease)  # noqa: SLF001
                for run in (self, *dependent_runs)
            ]
            self.site.store.publish_collections(
                states,
                run_id=self.report.run,
                amended_records=self.amended_records,
                new_pushes=self.hooks.pending_pushes,
            )
            self.report.published = True
            for run, loaded_tables_of_run in (
                (self, loaded_tables),
                *((run, run.loaded_tables) for run in dependent_runs),
            ):
                for loaded_table in loaded_tables_of_run:
                    if loaded_table.snapshot is not None:
                        run.storage_engine.note_published(loaded_table.snapshot)
        self.site.refresh_published_state()
        for run in (self, *dependent_runs):
            try:
                enqueue_preparation(self.site, run.resource)
            except HvenError as error:
                self.report.warnings.append(f"nothing is prepared of the files of {run.resource.name}: {error}")

    def _check_descriptor_changes(self) -> None:
        """Warn if the descriptor changed while its data were read; what was read at the start is what was done."""
        if is_unchanged(self.resource):
            return
        try:
            hashes_after = descriptor.load_descriptor(self.resource.path, self.site.settings).hashes
        except HvenError as error:
            self.report.warnings.append(
                f"the descriptor changed during the {self.report.kind} and has faults now: {error}"
            )
            return
        hashes_before = self.resource.hashes
        changed_files = sorted(
            name for name in {*hashes_before, *hashes_after} if hashes_before.get(name) != hashes_after.get(name)
        )
        if changed_files:
            self.report.warnings.append(
                f"{', '.join(changed_files)} changed during the {self.report.kind}; what it said at the "
                f"beginning was done: ingest again"
            )
