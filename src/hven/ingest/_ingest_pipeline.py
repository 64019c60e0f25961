"""`ingest_collection`: publish the tables of a collection from its descriptor, safely against a crash at each step.

Clients see no change before `Store.publish_together`, one transaction that moves the pointers of all tables of the
collection. A run that ends earlier (an error, Ctrl-C, a power cut) leaves stagings that the next ingest deletes.
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
from hven.descriptor.live_queries import is_live_table_spec
from hven.descriptor.service_checks import find_unserved_service_faults
from hven.ingest import _disk_space as disk_space
from hven.ingest import _flag_counts as flag_counts
from hven.ingest import _ledger as ledgers
from hven.ingest import _published_dates as published_dates
from hven.ingest import quality
from hven.ingest._dependencies import find_dependent_tables, may_start_empty, sort_tables_by_dependency
from hven.ingest._file_preparation import enqueue_file_preparation
from hven.ingest._ingest_steps import execute_steps_before_run
from hven.ingest._ledger import LedgerWriter, SyncState
from hven.ingest._published_dates import PublishedRowDates
from hven.ingest._rejects_file import RejectsFile
from hven.ingest._report import IngestReport, TableIngestReport
from hven.ingest._staged_site import QueryAnswer, StagedSite, load_current_descriptor
from hven.ingest._table_loader import (
    DEFAULT_MAX_REJECTED_SHARE,
    FETCH_STEP,
    IngestProgress,
    LoadedTable,
    TableLoader,
    build_error_with_place,
    build_union_table,
    has_byte_progress,
    open_table_sources,
)
from hven.ingest.watermarks import WatermarkTracker
from hven.model.errors import DataError, DescriptorError, HvenError, SourceError
from hven.model.settings import resolve_secret
from hven.model.table import INPUT_DOCUMENT_KEY, list_epoch_warnings, set_column_epochs
from hven.site import find_inherited_attributes
from hven.site.descriptor_watch import is_descriptor_unchanged
from hven.site.server_processes import wait_until_servers_can_read
from hven.site.store import SnapshotRecord, build_lease_name, format_current_time
from hven.site.store.ingest_runs import ABORTED_PHASE, COMPLETED_PHASE, ERROR_PHASE
from hven.sources import ChangeFeedSource, FileListSource, SourceContext
from hven.sources.file_readers import open_with_reader
from hven.sources.kind_traits import find_source_kind_traits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.ingest._ledger import OpenedSource
    from hven.model import ReadDeviation
    from hven.model.resource import CollectionSpec, QualityFlagColumn, TableSpec
    from hven.site import Site
    from hven.site.api.store_tables import PendingPackageWrite
    from hven.site.store import Lease
    from hven.sources import RejectedRow

SWEEP_TIMEOUT_SECONDS = 300.0  # another process may take this long to delete unused files


def ingest_collection(
    site: Site,
    collection: str,
    *,
    sample_rows: int | None = None,
    dry_run: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Read a collection anew and publish it.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.
    sample_rows
        Read and publish only this number of rows of each source entry, for a first look.
    dry_run
        Do everything but publish.
    progress
        A callback for the progress; called often, from this thread.

    Returns
    -------
    report
        Counts and findings: what was read, left out, rejected and published.

    Raises
    ------
    NotFoundError
        The collection has no descriptor.
    ConflictError
        Another run ingests the collection.
    DescriptorError, SourceError, DataError
        The descriptor or the data have faults. The published state stays, and the store has the `IngestReport` of the
        run.
    StorageError
        The disk failed.
    """
    resource = load_current_descriptor(site, collection)
    report = IngestReport(
        collection=collection, run=create_run_id(), started=format_current_time(), sample=sample_rows, dry_run=dry_run
    )
    report_progress = progress or ignore_progress

    def create_run(lease: Lease) -> CollectionRun:
        return CollectionRun(site, resource, report, lease, progress=report_progress, hooks=CollectionRunHooks())

    execute_collection_run(site, report, create_run)
    return report


def execute_collection_run(site: Site, report: IngestReport, create_run: Callable[[Lease], CollectionRun]) -> None:
    """Execute a run under the lease of its collection, and record how it ended.

    Parameters
    ----------
    site
        The site that publishes the collection.
    report
        The report of the run; it names the collection.
    create_run
        Creates the run from the lease of the collection.
    """
    name = report.collection
    description = f"the {report.kind} of {name}"
    with site.store.leases.hold_lease(build_lease_name(name), description=description) as lease:
        execute_leased_run(site, report, lambda: create_run(lease))


def execute_leased_run(site: Site, report: IngestReport, create_run: Callable[[], CollectionRun]) -> None:
    """Execute a run for a caller that holds the lease of the collection, and record how it ended."""
    name = report.collection
    site.store.runs.abandon_unfinished_runs(name)
    disk_space.delete_ingest_leftovers(site)
    ledgers.delete_unused_ledgers(site, name)
    execute_steps_before_run(site, name, report.run)
    site.store.runs.begin_run(report.run, name, report.kind)
    start_time = time.perf_counter()
    phase = ERROR_PHASE
    try:
        create_run().execute()
        phase = COMPLETED_PHASE
        if not report.dry_run:  # a run ends the hold of a rollback, even if it had nothing to publish
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
        _record_run_end(site, report, phase)


def create_run_id() -> str:
    """Create the id of a run.

    Returns
    -------
    run
        An id that sorts by time: ``20261120T085345123-3f2a``.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}-{secrets.token_hex(2)}"


def _record_run_end(site: Site, report: IngestReport, phase: str) -> None:
    """Record how a run ended; a full disk must not hide an earlier error."""
    try:
        report.write_report(disk_space.get_run_directory(site, report.run))
    except OSError as error:
        report.warnings.append(f"the report cannot be written: {error.strerror}")
    summary = report.summarize_counts()
    try:
        site.store.runs.end_run(report.run, phase, message=report.error, summary=summary, report=report.path)
    except HvenError as error:
        report.warnings.append(str(error))


def ignore_progress(_: IngestProgress) -> None:
    """Discard the progress."""


def _load_whole_table(run: CollectionRun, spec: TableSpec) -> LoadedTable:
    return run.load_table(spec, partial(run.load_whole_table, spec))


@dataclass(frozen=True, slots=True)
class CollectionRunHooks:
    """The steps in which kinds of runs differ; the defaults are the steps of `ingest_collection`.

    Attributes
    ----------
    make_table
        Makes a table: keeps the published one, or has `CollectionRun.load_table` read it.
    should_publish
        Tells whether the new tables are tested and published.
    record_changes
        Records the changes of the tables before clients see them.
    may_have_changed
        Tells which sources are read; the others count as unchanged.
    pending_writes
        Writes of plug-in packages that this run commits with its tables.
    keeps_recent_snapshots
        True if such runs come often: the snapshots of the last seconds stay, however many there are.
    """

    make_table: Callable[[CollectionRun, TableSpec], LoadedTable] = _load_whole_table
    should_publish: Callable[[CollectionRun, Sequence[LoadedTable]], bool] = lambda *_: True
    record_changes: Callable[[CollectionRun, Sequence[LoadedTable]], None] = lambda *_: None
    may_have_changed: Callable[[OpenedSource], bool] = lambda _: True
    pending_writes: Sequence[PendingPackageWrite] = ()
    keeps_recent_snapshots: bool = False


class CollectionRun:
    """One run over a collection: it makes, tests and publishes the tables."""

    def __init__(
        self,
        site: Site,
        resource: CollectionSpec,
        report: IngestReport,
        lease: Lease,
        *,
        progress: Callable[[IngestProgress], None],
        hooks: CollectionRunHooks,
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
            wait_until_servers_can_read(site.settings, site.store, self.storage_engine.name)
        self.staged_site = StagedSite(site, resource)
        self.loaded_tables: list[LoadedTable] = []  # of a run that follows the run of another collection
        # tables that stay as they are published, but are recorded as made from other snapshots too
        self.amended_records: list[SnapshotRecord] = []
        self.run_directory = disk_space.get_run_directory(site, report.run)

    def execute(self) -> None:
        """Fill, test and publish the tables; then delete old snapshots."""
        loaded_tables: list[LoadedTable] = []
        with ExitStack() as stack:
            dependent_runs: list[CollectionRun] = []
            try:
                self._load_tables_and_stage_records(self._require_loadable_table_specs(), loaded_tables)
                self._refuse_unserved_services(loaded_tables)
                if not self.hooks.should_publish(self, loaded_tables):
                    self.drop_staged_snapshots(loaded_tables)
                    return
                self._run_descriptor_tests()
                if self.report.dry_run:
                    self.drop_staged_snapshots(loaded_tables)
                    return
                dependent_runs = self._load_dependent_tables(stack)
                self.hooks.record_changes(self, _list_all_loaded_tables(loaded_tables, dependent_runs))
                self._publish_tables(loaded_tables, dependent_runs)
            except BaseException:
                if not self.report.published:
                    self.drop_staged_snapshots(_list_all_loaded_tables(loaded_tables, dependent_runs))
                raise
        for run in (self, *dependent_runs):
            self.report.warnings += disk_space.prune_collection_history(
                self.site, run.resource.name, keep_recent=self.hooks.keeps_recent_snapshots
            )

    def load_whole_table(
        self, spec: TableSpec, loader: TableLoader, _sync_state: SyncState | None = None
    ) -> LoadedTable:
        """Read and stage all rows of a table."""
        self.check_disk_space(spec, loader.entries)
        return loader.load_table(create_run_id(), self.storage_engine)

    def _should_write_ledger(self, spec: TableSpec, entries: Sequence[OpenedSource]) -> bool:
        """Return whether the run writes a ledger.

        A sync writes one for each table whose rows it can follow, with ``sync:`` or without. An ingest writes one for
        tables with ``sync:`` and for tables of sources that are followed without it, such as files.
        """
        report = self.report
        if report.merges_changes:
            is_wanted = not report.dry_run
        else:
            traits = [find_source_kind_traits(source.kind) for source in spec.sources]
            is_followed = spec.sync is not None or any(trait.is_followed_without_sync for trait in traits)
            is_wanted = is_followed and report.sample is None
        return is_wanted and ledgers.find_ledger_obstacle(build_union_table(spec, entries), entries) is None

    def _collect_source_states(self, spec: TableSpec, loader: TableLoader) -> SyncState:
        """Record the state of the sources before they are read; the next run reads what changes meanwhile."""
        is_compared = loader.ledger_writer is not None
        if self.report.merges_changes and self.report.dry_run:
            is_compared = True
        file_listings: dict[str, Any] = {}
        feed_states: dict[str, str] = {}
        for number, entry in enumerate(loader.entries):
            if not is_compared or not self.hooks.may_have_changed(entry):
                continue
            source = entry.source
            if isinstance(source, FileListSource):
                file_listings[str(number)] = source.list_files()
            if isinstance(source, ChangeFeedSource):
                feed_state = source.read_state_name()
                if feed_state is not None:
                    feed_states[str(number)] = feed_state
        signature = ledgers.compute_ledger_signature(self.resource, spec, loader.entries, loader.table)
        return SyncState(
            signature=signature,
            listed=file_listings,
            fed=feed_states,
            full=format_current_time(),
        )

    def _store_sync_state(self, loader: TableLoader, state: SyncState, loaded_table: LoadedTable) -> None:
        """Store the ledger of a table's snapshot, with the other state that the next sync needs."""
        if loaded_table.snapshot is not None:
            snapshot_id = loaded_table.snapshot.id
        elif loaded_table.published_record is not None:
            snapshot_id = loaded_table.published_record.id
        else:
            return
        ledger_writer = loader.ledger_writer
        if ledger_writer is not None:
            state.ledger = ledger_writer.finish_ledger(f"{snapshot_id}.{self.report.run}")
            state.files = list(ledger_writer.files)
            state.contended = loader.contended_count
            state.lines = ledger_writer.line_count
            state.rejected = ledger_writer.rejected_count
        if state.ledger is None:
            return
        state.unread = dict(loader.unread_counts)
        state.waiting = {
            str(number): sum(addition.pending_count for addition in entry.additions)
            for number, entry in enumerate(loader.entries)
            if entry.additions
        }
        if loader.watermark_tracker is not None:
            state.watermark = loader.watermark_tracker.watermarks_to_json()
        self.site.store.syncs.save_sync_state(
            snapshot_id, loader.table.qualified_name, self.resource.name, state.to_json()
        )

    def _load_tables_and_stage_records(self, specs: Sequence[TableSpec], loaded_tables: list[LoadedTable]) -> None:
        for spec in specs:
            loaded_table = self.hooks.make_table(self, spec)
            loaded_tables.append(loaded_table)
            record = loaded_table.published_record or self._build_snapshot_record(spec, loaded_table)
            self.staged_site.add_staged_record(record)
            if loaded_table.published_record is None:
                table_with_epochs = set_column_epochs(record.table)
                for epoch_warning in list_epoch_warnings(table_with_epochs, record.snapshot.statistics):
                    column_name = epoch_warning.split(" ")[0]
                    rule = f"time origin of {column_name}"
                    report = loaded_table.report
                    report.add_finding(rule, epoch_warning, "info", report.published, [])
            if spec.flags is not None:
                self._record_quality_flags(spec.flags, record, loaded_table)

    def _refuse_unserved_services(self, loaded_tables: Sequence[LoadedTable]) -> None:
        views = [spec.table for spec in self.resource.tables if spec.table.view is not None]
        tables = [loaded_table.table for loaded_table in loaded_tables]
        faults = find_unserved_service_faults(self.resource, [*tables, *views])
        if faults:
            raise DescriptorError(faults)

    def _record_quality_flags(
        self, flags: QualityFlagColumn, record: SnapshotRecord, loaded_table: LoadedTable
    ) -> None:
        """Count all rows that break rules, unchanged rows included, and record the meaning of each bit."""
        known_quality = None
        if loaded_table.published_record is not None:
            known_quality = quality.parse_flag_statistics(record.provenance.get("quality"))
        table_quality = known_quality or flag_counts.count_flagged_rows(self.staged_site, record.table, flags)
        loaded_table.report.quality = table_quality
        if loaded_table.published_record is not None:
            return
        table_name = record.table.qualified_name
        published_records = self.site.store.read_published_records()[1]
        published_record = published_records.get(table_name)
        earlier_meanings: dict[str, str] = {}
        if published_record is not None:
            earlier_meanings = dict(published_record.provenance.get("flags", {}))
        current_meanings = {str(bit): rule for rule, bit in flags.bits.items()}
        for bit, rule in current_meanings.items():
            if earlier_meanings.get(bit, rule) != rule:
                self.report.warnings.append(
                    f"{table_name}: bit {bit} of {flags.column} meant {earlier_meanings[bit]!r}, but now means "
                    f"{str(rule)!r}, so queries with this bit find different rows; use a new bit for a new rule"
                )
        provenance = {
            **record.provenance,
            "quality": table_quality.to_json(),
            "flags": {**earlier_meanings, **current_meanings},
        }
        self.staged_site.add_staged_record(replace(record, provenance=provenance))

    # --- tables of other collections that are made from this one -------------------------------------------------

    def _load_dependent_tables(self, stack: ExitStack) -> list[CollectionRun]:
        """Make the published tables of other collections anew that are made from tables of this collection.

        A table that fails stays as it is, with a warning in the report.
        """
        if self.report.sample is not None:
            return []
        resources = dict(self.site.get_published_state().resources)
        resources.pop(self.resource.name, None)
        runs: dict[str, CollectionRun] = {}
        failed: set[str] = set()
        for resource, specs in find_dependent_tables(self.resource, resources):
            # read for each collection: the tables before may take long, and a user may have changed something
            published_names = self.site.store.read_published_snapshot_ids()[1]
            published_specs = [spec for spec in specs if spec.table.qualified_name in published_names]
            if not published_specs or resource.name in failed:
                continue
            table_name = published_specs[0].table.qualified_name
            if resource.name in self.site.store.map_hold_start_times():
                warning = (
                    f"{table_name} is made from this table, but is on hold after `hven rollback`: run `hven sync "
                    f"{resource.name}`"
                )
                self.report.warnings.append(warning)
                continue
            run: CollectionRun | None = runs.get(resource.name)
            try:
                if run is None:
                    run = runs[resource.name] = self._create_leased_dependent_run(resource, stack)
                run._load_tables_and_stage_records(published_specs, run.loaded_tables)  # noqa: SLF001
                run._run_descriptor_tests()  # noqa: SLF001
            except HvenError as error:
                failed.add(resource.name)
                warning = (
                    f"{table_name} is made from this table, but could not be made again, so it stays as it was: {error}"
                )
                self.report.warnings.append(warning)
                if run is not None:
                    self.drop_staged_snapshots(run.loaded_tables)
                    self.staged_site.remove_staged_records(self.staged_site.list_staged_records(resource.name))
                    runs.pop(resource.name, None)
        changed_runs = []
        for run in runs.values():
            self.report.warnings += run.report.warnings
            self.amended_records += run.amended_records
            if any(loaded_table.published_record is None for loaded_table in run.loaded_tables):
                changed_runs.append(run)
        for run in changed_runs:
            self.report.followers |= run.report.tables
            self.report.changes |= run.report.changes
        return changed_runs

    def _create_leased_dependent_run(self, resource: CollectionSpec, stack: ExitStack) -> CollectionRun:
        name = resource.name
        description = f"the {self.report.kind} of {self.resource.name}"
        lease = stack.enter_context(self.site.store.leases.hold_lease(build_lease_name(name), description=description))
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

    def _list_records_to_publish(self) -> list[SnapshotRecord]:
        """Return the snapshots that the collection will publish.

        These are the staged snapshots; a dependent run adds the published snapshots of its other tables.
        """
        collection = self.resource.name
        records = list(self.staged_site.list_staged_records(collection))
        if not self.loaded_tables:
            return records
        staged_names = {record.table.qualified_name for record in records}
        published_records = self.site.store.read_published_records()[1].values()
        collection_records = (record for record in published_records if record.collection == collection)
        other_records = (record for record in collection_records if record.table.qualified_name not in staged_names)
        return [*records, *other_records]

    def drop_staged_snapshots(self, loaded_tables: list[LoadedTable]) -> None:
        """Delete the staged snapshots of tables that are not published."""
        snapshots = [loaded_table.snapshot for loaded_table in loaded_tables if loaded_table.snapshot is not None]
        self.report.warnings += self.site.engines.drop_snapshots_and_list_problems(snapshots)

    # --- one table -------------------------------------------------------------------------------------------

    def load_table(
        self,
        spec: TableSpec,
        stage_table: Callable[[TableLoader, SyncState], LoadedTable],
        answer_query: Callable[..., QueryAnswer] | None = None,
    ) -> LoadedTable:
        """Open the sources of a table and let `stage_table` fill it.

        Parameters
        ----------
        spec
            The table and its sources.
        stage_table
            Fills the table; it may change the `SyncState`, which is stored for the next sync.
        answer_query
            Answers the queries of a table that is made from others, as `StagedSite.answer_query_and_record_inputs`
            does; None: the staged site answers them.
        """
        table_name = spec.table.qualified_name
        settings = self.site.settings
        report = self.report.tables.setdefault(table_name, TableIngestReport(table=table_name))
        started_loader: list[TableLoader] = []
        inputs: dict[str, str] = {}

        early_rejects: list[RejectedRow] = []  # of sources that read their first rows to know their columns

        def reject_row(row: RejectedRow) -> None:
            if started_loader:
                started_loader[0].record_rejected_row(row)
            else:
                early_rejects.append(row)

        def report_fetch(done: int, total: int | None) -> None:
            self.progress(IngestProgress(table=table_name, step=FETCH_STEP, done=done, total=total))

        with ExitStack() as stack:
            ledger_writer: LedgerWriter | None = None
            answer = answer_query or self.staged_site.answer_query_and_record_inputs
            context = SourceContext(
                directory=self.resource.path.parent,
                resolve_secret=partial(resolve_secret, settings.directory),
                run_query=lambda text, uploads=None: answer(text, inputs, stack, uploads),
                on_reject=reject_row,
                on_notice=partial(self._report_source_notice, report),
                allow_private=settings.allow_private,
                python_limits=settings.python,
                open_sample_file=partial(open_with_reader, settings),
                allowed_roots=settings.allowed_directories,
                table_name=table_name,
                open_records=self.site.store.get_or_create,
                pending_writes=self.hooks.pending_writes,
                cache_directory=settings.data_directory / "documents" / self.resource.name,
                run_name=self.report.run,
                on_progress=report_fetch,
            )
            rejects = stack.enter_context(RejectsFile(self.run_directory / f"{spec.table.name}.csv"))
            try:
                entries = open_table_sources(spec, self.resource, context)
                self._report_mapping_warnings(spec, entries)
                if self._should_write_ledger(spec, entries):
                    ledger_directory = ledgers.get_ledger_directory(self.site, table_name)
                    union_table = build_union_table(spec, entries)
                    ledger_writer = LedgerWriter(ledger_directory, union_table, entries)
                    stack.callback(ledger_writer.abandon_ledger)
                loader = self._create_loader(spec, entries, rejects, report, ledger_writer)
                started_loader.append(loader)
                if not any(has_byte_progress(entry.source) for entry in entries):  # files are read from their start
                    for row in early_rejects:
                        loader.record_rejected_row(row)
                if any(entry.mapping.watermark_query is not None for entry in entries):
                    loader.watermark_tracker = WatermarkTracker(self.site.embedded_engine, entries)
                state = self._collect_source_states(spec, loader)
                loaded_table = stage_table(loader, state)
                if not self.report.dry_run:
                    self._store_sync_state(loader, state, loaded_table)
            except SourceError as error:
                raise build_error_with_place(error, spec.sources[0]) from error
            finally:
                if rejects.row_count:
                    report.rejects = str(rejects.path)
        loaded_table.inputs = inputs
        return loaded_table

    def _report_mapping_warnings(self, spec: TableSpec, entries: Sequence[OpenedSource]) -> None:
        """Add the warnings of the frames and the mappings of a table to the report, each text once."""
        warnings = list(spec.frame_warnings)
        for entry in entries:
            warnings += entry.mapping.warnings
        for text in map(str, warnings):
            if text not in self.report.warnings:
                self.report.warnings.append(text)

    def _create_loader(
        self,
        spec: TableSpec,
        entries: Sequence[OpenedSource],
        rejects: RejectsFile,
        report: TableIngestReport,
        ledger_writer: LedgerWriter | None,
    ) -> TableLoader:
        settings = self.site.settings
        max_rejected_share = spec.max_rejected_share
        if max_rejected_share is None:
            max_rejected_share = DEFAULT_MAX_REJECTED_SHARE
        may_be_empty = may_start_empty(self.resource, spec, self.site.get_published_state().resources)
        loader = TableLoader(
            evaluator=self.site.embedded_engine,
            spec=spec,
            entries=entries,
            rejects=rejects,
            report=report,
            progress=self.progress,
            sample_rows=self.report.sample,
            max_rejected_share=max_rejected_share,
            may_be_empty=may_be_empty,
            spool_directory=settings.var_directory / "spool",
            ledger_writer=ledger_writer,
            allow_private=settings.allow_private,
            python_limits=settings.python,
        )
        loader.published_dates = self._find_published_dates(loader)
        return loader

    def _find_published_dates(self, loader: TableLoader) -> PublishedRowDates | None:
        """Find the published dates of the rows of a table; None if it has no dates, or every row is new."""
        names = published_dates.list_preserved_date_columns(loader.table, loader.entries)
        if not names:
            return None
        published_records = self.site.store.read_published_records()[1]
        record = published_records.get(loader.table.qualified_name)
        if record is None or record.collection != self.resource.name:
            return None
        engine = self.site.engines.find_engine(record.snapshot)
        return PublishedRowDates(engine, record, loader.table, names, self.report.warnings.append)

    def _report_source_notice(self, table: TableIngestReport, message: str | ReadDeviation) -> None:
        """Report a notice of a source: a deviation belongs to its table, a text to the run."""
        if isinstance(message, str):
            if message not in self.report.warnings:
                self.report.warnings.append(message)
            return
        with self._deviation_lock:  # sources read in threads of their own
            table.add_deviation(message)

    def _require_loadable_table_specs(self) -> list[TableSpec]:
        name = self.resource.name
        specs = sort_tables_by_dependency(self.resource, self.site.get_published_state().resources)
        if not specs and any(is_live_table_spec(spec) for spec in self.resource.tables):
            raise DataError(
                f"Hven reads {name} in place, so there is nothing to ingest",
                remedy="run `hven check` to see what the database lacks, or use `kind: sql` to copy the rows at each "
                "ingest",
            )
        if not specs and not any(spec.table.view is not None for spec in self.resource.tables):
            raise DataError(f"{name} has no table with a source", remedy="add `source:` or `view:` to a table")
        return specs

    def check_disk_space(self, spec: TableSpec, entries: Sequence[OpenedSource]) -> None:
        """Check that the disk has space for a table, by the size of its last snapshot and of its files."""
        if self.report.sample is not None or self.storage_engine is not self.site.embedded_engine:
            return
        published_records = self.site.store.read_published_records()[1]
        published_record = published_records.get(spec.table.qualified_name)
        published_bytes = 0
        if published_record is not None:
            published_bytes = published_record.snapshot.bytes
        file_sizes = [
            entry.source.estimate_progress_total() or 0 for entry in entries if has_byte_progress(entry.source)
        ]
        disk_space.check_disk_space(self.site, self.resource.name, max(published_bytes, sum(file_sizes)))

    def _build_snapshot_record(self, spec: TableSpec, loaded_table: LoadedTable) -> SnapshotRecord:
        if loaded_table.snapshot is None:
            raise DataError(f"{spec.table.qualified_name} was not staged")
        table = loaded_table.table
        report = loaded_table.report
        inputs = self.collect_provenance_inputs(spec, loaded_table)
        origins = {column.name: list(column.origins) for column in table.columns if column.origins}
        counts = {key: getattr(report, key) for key in ("read", "skipped", "rejected", "published")}
        provenance: dict[str, Any] = {
            **inputs,
            "pins": loaded_table.pins,
            "origins": origins,
            "counts": counts,
            "row_id": list(table.primary),
            "inherited": find_inherited_attributes(spec, table),
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

    def collect_provenance_inputs(self, spec: TableSpec, loaded_table: LoadedTable) -> dict[str, Any]:
        """Collect what decides the rows of a table, apart from its source rows."""
        site_url = None
        if spec.has_site_addresses:
            site_url = self.resource.site["url"]
        return {
            "hashes": dict(self.resource.hashes),
            "software": f"hven {hven.__version__}",
            "inputs": loaded_table.inputs,
            "source_columns": loaded_table.columns,
            INPUT_DOCUMENT_KEY: loaded_table.input_document,
            "site": ledgers.select_used_site_values(self.resource, spec),
            "site_url": site_url,
        }

    # --- tests and publication ---------------------------------------------------------------------------------

    def _run_descriptor_tests(self) -> None:
        """Run the tests of the descriptor over the staged tables; a failed test stops the run.

        Raises
        ------
        DataError
            With the first failed test.
        """
        if self.report.sample is not None:
            if self.resource.tests:
                self.report.warnings.append("the descriptor's tests were not run over a sample")
            return
        for test in self.resource.tests:
            self.progress(IngestProgress(table=self.resource.name, step="test"))
            self.report.tests.append(self.staged_site.run_descriptor_test(test))
        failed_tests = [test for test in self.report.tests if not test.passed]
        if not failed_tests:
            return
        first_failure = failed_tests[0]
        test_position = self.report.tests.index(first_failure)
        reject_summaries = [table.summarize_rejects() for table in self.report.tables.values()]
        reject_text = "".join(f"; {summary}" for summary in reject_summaries if summary)
        raise DataError(
            f"{len(failed_tests)} of {len(self.report.tests)} tests of {self.resource.name} failed; "
            f"the first is {str(first_failure.name)!r}: {first_failure.message}{reject_text}",
            place=self.resource.tests[test_position].place,
            remedy="correct the data, the descriptor or the test; the published rows stay as they are",
        )

    def _publish_tables(self, loaded_tables: list[LoadedTable], dependent_runs: Sequence[CollectionRun]) -> None:
        self.progress(IngestProgress(table=self.resource.name, step="publish", rows=self.report.row_count))
        other_resources = []
        for name, resource in self.site.get_published_state().resources.items():
            if name != self.resource.name:
                other_resources.append(resource)
        key_faults = descriptor.find_package_key_conflicts([self.resource], other_resources)
        self.report.warnings += [str(fault) for fault in key_faults]
        self._warn_of_descriptor_changes()
        if self.report.sample is not None:
            self.report.warnings.append(
                f"only the first {self.report.sample:,} rows of each source are published; ingest again "
                f"without a sample"
            )
        all_runs = (self, *dependent_runs)
        with disk_space.acquire_files_lease(self.site, wait_seconds=SWEEP_TIMEOUT_SECONDS):
            collections = []
            for run in all_runs:
                records = run._list_records_to_publish()  # noqa: SLF001  (runs of this class)
                collections.append((run.resource.name, records, run.lease))
            self.site.store.publish_collections(
                collections,
                run_id=self.report.run,
                amended_records=self.amended_records,
                pending_writes=self.hooks.pending_writes,
            )
            self.report.published = True
            _note_published_snapshots(self, loaded_tables)
            for run in dependent_runs:
                _note_published_snapshots(run, run.loaded_tables)
        self.site.refresh_published_state()
        for run in all_runs:
            try:
                enqueue_file_preparation(self.site, run.resource)
            except HvenError as error:
                self.report.warnings.append(f"the files of {run.resource.name} are not prepared: {error}")

    def _warn_of_descriptor_changes(self) -> None:
        """Warn if the descriptor changed during the run, which used it as it was at the start."""
        if is_descriptor_unchanged(self.resource):
            return
        kind = self.report.kind
        try:
            hashes_after = descriptor.load_descriptor(self.resource.path, self.site.settings).hashes
        except HvenError as error:
            self.report.warnings.append(f"the descriptor changed during the {kind} and now has faults: {error}")
            return
        hashes_before = self.resource.hashes
        all_names = {*hashes_before, *hashes_after}
        changed_files = sorted(name for name in all_names if hashes_before.get(name) != hashes_after.get(name))
        if changed_files:
            self.report.warnings.append(
                f"{', '.join(changed_files)} changed during the {kind}, but the {kind} used the earlier version: "
                "ingest again"
            )


def _list_all_loaded_tables(
    loaded_tables: Sequence[LoadedTable], dependent_runs: Sequence[CollectionRun]
) -> list[LoadedTable]:
    """Return the tables of a run, and those of the runs that follow it."""
    all_tables = list(loaded_tables)
    for run in dependent_runs:
        all_tables += run.loaded_tables
    return all_tables


def _note_published_snapshots(run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> None:
    """Tell the storage engine of a run which of its snapshots are published."""
    for loaded_table in loaded_tables:
        if loaded_table.snapshot is not None:
            run.storage_engine.note_published_snapshot(loaded_table.snapshot)
