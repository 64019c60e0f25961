"""`sync_collection`: one run that follows the sources of a collection, from the lease to the publication."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

import hven
from hven.ingest import _disk_space as disk_space
from hven.ingest import _ledger as ledgers
from hven.ingest._dependencies import TableDependencyGraph
from hven.ingest._ingest_pipeline import (
    CollectionRun,
    CollectionRunHooks,
    create_run_id,
    execute_collection_run,
    ignore_progress,
)
from hven.ingest._key_lookup import to_nullable_schema
from hven.ingest._ledger import LedgerWriter
from hven.ingest._report import IngestReport, TableIngestReport
from hven.ingest._staged_site import load_current_descriptor
from hven.ingest._table_loader import LoadedTable
from hven.ingest._transform import is_row_number_used
from hven.ingest.sync import change_sets
from hven.ingest.sync._guards import check_change_limits
from hven.ingest.sync._incremental_reading import FullReadNeededError, IncrementalSourceReader
from hven.ingest.sync._keyed_refresh import (
    KeyedRefreshPlan,
    build_updated_record,
    check_inputs_and_find_changed,
    compare_keyed_rows,
    plan_keyed_refresh,
)
from hven.ingest.sync._ledger_comparison import (
    LedgerComparison,
    PublishedRowComparison,
    RecomputeNeededError,
    merge_differences_into_snapshot,
)
from hven.ingest.sync._page_cache import PageCachingSource, wrap_with_page_cache
from hven.ingest.sync._row_differences import build_change_set_and_summary, compare_snapshots
from hven.model.errors import ConflictError, DataError, DescriptorError
from hven.model.table import INPUT_DOCUMENT_KEY, columns_to_json
from hven.site import find_inherited_attributes
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from hven.ingest._ledger import OpenedSource, SyncState
    from hven.ingest._report import TableChangeSummary
    from hven.ingest._staged_site import QueryAnswer
    from hven.ingest._table_loader import IngestProgress, TableLoader
    from hven.ingest.sync._row_differences import RowDifferences
    from hven.ingest.watermarks import WatermarkTracker
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.store import Lease, SnapshotRecord
    from hven.sources import Source


def sync_collection(
    site: Site,
    collection: str,
    *,
    read_everything: bool = False,
    dry_run: bool = False,
    accept_changes: bool = False,
    refuse_if_held: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Follow the sources of a collection: its tables become what an ingest would make, by reading only what changed.

    Without changes, nothing is published.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.
    read_everything
        Read all rows, whatever the watermark says.
    dry_run
        Do everything but publish; the report says what would change.
    accept_changes
        Publish even if more rows were removed or changed than the guards allow.
    refuse_if_held
        Refuse to run if the collection is held or not published (`find_sync_conflict`): for runs that no user starts.
    progress
        A callback for the progress; called often, from this thread.

    Returns
    -------
    report
        Counts and findings: what was read, changed and published.

    Raises
    ------
    NotFoundError
        The collection has no descriptor.
    ConflictError
        Another run ingests or synchronises the collection, or it is held.
    DescriptorError, SourceError, DataError
        The published state stays. The store has the report of the run.
    StorageError
        The disk failed.
    """
    resource = load_current_descriptor(site, collection)
    report = IngestReport(
        collection=collection,
        run=create_run_id(),
        started=format_current_time(),
        dry_run=dry_run,
        kind="sync",
        accepted=accept_changes,
    )
    report_progress = progress or ignore_progress

    def create_run(lease: Lease) -> CollectionRun:
        if refuse_if_held:
            conflict = find_sync_conflict(site, collection)
            if conflict is not None:
                raise conflict
        context = SyncRunContext(reads_everything=read_everything)
        hooks = CollectionRunHooks(
            make_table=lambda run, spec: TableSync(context, run, spec).make_or_keep_table(),
            should_publish=context.decide_publication_or_save_amendments,
            record_changes=context.store_and_prune_change_sets,
        )
        return CollectionRun(site, resource, report, lease, progress=report_progress, hooks=hooks)

    execute_collection_run(site, report, create_run)
    if not report.published:  # a run that publishes prunes by itself
        disk_space.prune_collection_history(site, collection)
    return report


def find_sync_conflict(site: Site, collection: str) -> ConflictError | None:
    """Check whether a run that no user started may publish a collection.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.

    Returns
    -------
    conflict
        The collection is held after a rollback, or not published; None if a run may publish it.
    """
    if collection in site.store.map_hold_start_times():
        return ConflictError(
            f"{collection} is on hold after `hven rollback`",
            remedy=f"run `hven schedule resume {collection}` to end the hold",
        )
    if collection not in site.store.list_publication_times():
        return ConflictError(
            f"{collection} is not published",
            remedy=f"run `hven ingest {collection}` to publish it, or `hven rollback {collection}` to undo "
            "`hven remove`",
        )
    return None


def describe_table_structure(table: Table) -> tuple[object, ...]:
    """Return what two tables must have in common so that their rows can be compared and merged."""
    columns = tuple((column.name, str(column.type), column.indexed) for column in table.columns)
    return columns, table.primary, table.position, table.indexes, table.partition


def convert_through_json(value: object) -> object:
    """Return a value as it is after a way through JSON."""
    text = json.dumps(value, default=str)
    return json.loads(text)


def explain_unusable_ledger(base_record: SnapshotRecord, resource: CollectionSpec, loader: TableLoader) -> str:
    """Describe in words why the ledger of the published table cannot be used."""
    provenance = base_record.provenance
    old_hashes = provenance.get("hashes", {})
    changed_files = _list_changed_keys(old_hashes, resource.hashes)
    if changed_files:
        return f"{', '.join(changed_files)} changed"
    published_columns = provenance.get("source_columns", ())
    for old_columns, entry in zip(published_columns, loader.entries, strict=False):
        old_names = {column["name"] for column in old_columns}
        new_names = {column.name for column in entry.columns}
        name_changes = []
        if old_names - new_names:
            name_changes.append(f"without {', '.join(sorted(old_names - new_names))}")
        if new_names - old_names:
            name_changes.append(f"with {', '.join(sorted(new_names - old_names))}")
        if name_changes:
            return f"the source has different columns: {', '.join(name_changes)}"
    if provenance.get("software") != f"hven {hven.__version__}":
        return "the published rows were written by a different version of Hven"
    current_site_values = ledgers.select_used_site_values(resource, loader.spec)
    earlier_site_values = provenance.get("site", current_site_values)
    if earlier_site_values != current_site_values:
        changed_keys = _list_changed_keys(earlier_site_values, current_site_values)
        return f"hven.toml has a different {' and '.join(changed_keys)}"
    current_columns = [columns_to_json(entry.columns) for entry in loader.entries]
    if provenance.get("source_columns") != convert_through_json(current_columns):
        return "the source's columns have a different order, or different types or units"
    return "settings that affect its rows have changed"


def _list_changed_keys(earlier_values: Mapping[str, object], current_values: Mapping[str, object]) -> list[str]:
    """Return the sorted keys whose value differs, or that one side lacks."""
    all_keys = {*earlier_values, *current_values}
    return sorted(key for key in all_keys if earlier_values.get(key) != current_values.get(key))


def _keep_all_rows(_entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return all rows of a batch."""
    return batch


def keep_published_table(report: IngestReport, base_record: SnapshotRecord) -> LoadedTable:
    """Return a table that stays as it is published, and report that nothing changed."""
    name = base_record.table.qualified_name
    row_count = base_record.snapshot.rows
    change = report.get_or_create_change(name)
    change.how = "nothing"
    change.rows = row_count
    unchanged_report = TableIngestReport(table=name, published=row_count, snapshot=base_record.id)
    table_report = report.tables.setdefault(name, unchanged_report)
    return LoadedTable(table=base_record.table, snapshot=None, report=table_report, published_record=base_record)


class SyncRunContext:
    """What a sync knows about all its tables, including the tables that follow them."""

    def __init__(self, *, reads_everything: bool) -> None:
        self.reads_everything = reads_everything
        # table -> the snapshot that was published, and what differs from it
        self.changes: dict[str, tuple[str, RowDifferences]] = {}
        self.change_sets: dict[str, pa.Table] = {}  # table -> what changed
        self._published: dict[str, dict[str, SnapshotRecord]] = {}

    def find_base_records(self, run: CollectionRun) -> dict[str, SnapshotRecord]:
        """Return the records that the collection of a run had when the run began, by the name of the table.

        A damaged snapshot is no base for a comparison; its table is made as a whole.
        """
        collection = run.resource.name
        if collection not in self._published:
            self._published[collection] = self._read_base_records(run)
        return self._published[collection]

    @staticmethod
    def _read_base_records(run: CollectionRun) -> dict[str, SnapshotRecord]:
        site = run.site
        damaged_ids = site.store.verifications.map_verifications_of_damaged()
        base_records = {}
        for table, record in site.store.read_published_records()[1].items():
            if record.collection != run.resource.name or record.id in damaged_ids:
                continue
            if site.engines.find_missing_or_resized_file(record.snapshot) is None:
                base_records[table] = record
        return base_records

    def decide_publication_or_save_amendments(self, run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> bool:
        """Return whether anything changed; without changes nothing is tested or published."""
        has_new_table = any(loaded_table.published_record is None for loaded_table in loaded_tables)
        loaded_names = {loaded_table.table.qualified_name for loaded_table in loaded_tables}
        if has_new_table or self.find_base_records(run).keys() - loaded_names:
            return True
        if run.amended_records:
            run.site.store.update_snapshot_records(run.amended_records)
            run.site.refresh_published_state()
        return False

    def store_and_prune_change_sets(self, run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> None:
        """Write the changes of each table to a file."""
        for loaded_table in loaded_tables:
            name = loaded_table.table.qualified_name
            if loaded_table.snapshot is not None and name in self.change_sets:
                base_id = self.changes[name][0]
                change_sets.store_change_set(
                    run.site,
                    name,
                    self.change_sets[name],
                    snapshot_before=base_id,
                    snapshot_after=loaded_table.snapshot.id,
                    run=run.report.run,
                    publication_time=format_current_time(),
                )
        change_sets.delete_old_change_sets(run.site, run.resource.name)


class TableSync:
    """Synchronise one table: read it, compare it with what is published, and merge the differences."""

    def __init__(self, sync_context: SyncRunContext, run: CollectionRun, spec: TableSpec) -> None:
        self.sync_context = sync_context
        self.run = run
        self.spec = spec
        self.name = spec.table.qualified_name
        self.report = run.report
        base_records = sync_context.find_base_records(run)
        self.published_record = base_records.get(self.name)
        self.keyed_refresh: KeyedRefreshPlan | None = None  # the keys to compute anew, for a table that a query makes
        self.page_cached_sources: list[PageCachingSource] = []  # its sources whose pages are cached
        self._page_directory = run.site.settings.data_directory / "sync" / "pages" / self.name
        self.watermark_tracker: WatermarkTracker | None = None
        self.must_read_everything = False  # an incremental reading failed
        self.recompute_reason: str | None = None  # why the table must be computed as a whole

    def make_or_keep_table(self) -> LoadedTable:
        """Fill the table, or keep the published one if nothing changed."""
        base = self.published_record
        if base is not None:
            kept_table = self._keep_if_unchanged_or_plan_refresh(base)
            if kept_table is not None:
                return kept_table
        while True:
            answer_query = None
            if self.keyed_refresh is not None:
                answer_query = partial(self._answer_keyed_query, self.keyed_refresh)
            try:
                loaded_table = self.run.load_table(self.spec, self._stage_table, answer_query)
            except (DataError, DescriptorError):
                # the user may correct the source, so the next run must ask it again
                shutil.rmtree(self._page_directory, ignore_errors=True)
                raise
            except FullReadNeededError as reason:
                self.must_read_everything = True
                self.report.warnings.append(f"{self.name}: {reason}, so everything was read")
            except RecomputeNeededError as reason:
                self.recompute_reason = str(reason)
                self.keyed_refresh = None
            else:
                shutil.rmtree(self._page_directory, ignore_errors=True)
                self._report_watermark_and_pages()
                if base is not None and loaded_table.published_record is base:
                    self._update_provenance(loaded_table, base)
                return loaded_table
            self.report.tables.pop(self.name, None)
            self.report.changes.pop(self.name, None)
            rejects_file = self.run.run_directory / f"{self.spec.table.name}.csv"
            rejects_file.unlink(missing_ok=True)

    def _report_watermark_and_pages(self) -> None:
        """Report the watermark, and the rows that come from pages of an earlier run that was stopped."""
        tracker = self.watermark_tracker
        if tracker is not None and tracker.largest_by_entry and not self.report.dry_run:
            change = self.report.get_or_create_change(self.name)
            change.watermark = max(str(value) for value in tracker.largest_by_entry.values())
        for source in self.page_cached_sources:
            if not source.reused_row_count:
                continue
            read_time = datetime.fromtimestamp(source.first_page_time, UTC)
            rows = "1 row comes" if source.reused_row_count == 1 else f"{source.reused_row_count:,} rows come"
            warning = (
                f"{self.name}: {rows} from a stopped run that began to read at {read_time:%Y-%m-%d %H:%M:%S} UTC; "
                "the next run finds any later changes"
            )
            self.report.warnings.append(warning)

    def _update_provenance(self, loaded_table: LoadedTable, base_record: SnapshotRecord) -> None:
        """Record what an unchanged table was made from this time.

        Without this, the table would look stale, and each run would compute it.
        """
        current_provenance = self.run.collect_provenance_inputs(self.spec, loaded_table)
        current_provenance["inherited"] = find_inherited_attributes(self.spec, loaded_table.table)
        current_values = convert_through_json(current_provenance)
        updated_record = build_updated_record(base_record, current_values)  # type: ignore[arg-type]
        if updated_record is None:
            return
        for key in (INPUT_DOCUMENT_KEY, "inherited"):
            if updated_record.provenance.get(key) != base_record.provenance.get(key):
                self.report.get_or_create_change(self.name).described = True
        if not self.report.dry_run:
            loaded_table.published_record = updated_record
            self.run.amended_records.append(updated_record)

    def _keep_if_unchanged_or_plan_refresh(self, base_record: SnapshotRecord) -> LoadedTable | None:
        """Return the published table if it is made by queries and their inputs did not change.

        Otherwise find the keys that the changed inputs touch.
        """
        name = self.name
        run = self.run
        if any(source.additions for source in self.spec.sources):  # their values may come without new inputs
            return None
        published_state = run.site.get_published_state()
        graph = TableDependencyGraph({**published_state.resources, run.resource.name: run.resource})
        if graph.outside_tables.get(name.lower(), {name}):
            return None
        stored_inputs = graph.find_stored_input_tables(name.lower())
        changed_inputs = check_inputs_and_find_changed(
            self.spec, base_record, run.resource, run.staged_site, stored_inputs
        )
        if changed_inputs is True and base_record.snapshot.engine == run.storage_engine.name:
            return keep_published_table(self.report, base_record)
        if isinstance(changed_inputs, set):
            changes = self.sync_context.changes
            self.keyed_refresh = plan_keyed_refresh(self.spec, base_record, changed_inputs, changes, run.staged_site)
        return None

    def _answer_keyed_query(
        self,
        refresh_plan: KeyedRefreshPlan,
        _text: str,
        inputs: dict[str, str],
        stack: ExitStack,
        _uploads: object = None,
    ) -> QueryAnswer:
        """Answer the query of a table that is made from others, for the touched keys only."""
        if self.published_record is None:
            raise AssertionError  # a keyed refresh has a base
        query = refresh_plan.traced_query.query
        key_upload = refresh_plan.build_key_upload(self.published_record.table)
        return self.run.staged_site.answer_query_and_record_inputs(query, inputs, stack, key_upload)

    def _stage_table(self, loader: TableLoader, state: SyncState) -> LoadedTable:
        """Fill the table: compute the keys or rows that may have changed, or all rows."""
        base = self.published_record
        change = self.report.get_or_create_change(self.name)
        self.watermark_tracker = loader.watermark_tracker
        if base is not None and base.snapshot.rows:
            loader.may_become_empty = self.report.accepted
        is_same_structure = (
            base is not None
            and describe_table_structure(base.table) == describe_table_structure(loader.table)
            and base.snapshot.engine == self.run.storage_engine.name
        )
        if self.keyed_refresh is not None:
            if base is None or not is_same_structure:
                raise RecomputeNeededError("the table's columns, keys or engine have changed")
            return self._merge_keyed_rows(loader, base, self.keyed_refresh)
        if not any(is_row_number_used(entry.mapping) for entry in loader.entries):
            # rows of a cached page have other row numbers
            entries = []
            for number, entry in enumerate(loader.entries):
                cached_source = self._wrap_with_page_cache(state, number, entry, entry.source, "everything")
                entries.append(replace(entry, source=cached_source))
            loader.entries = entries
        if base is None or not is_same_structure:
            loaded_table = self.run.load_whole_table(self.spec, loader)
            change.new = True
            if base is not None:
                change.why = "the table's columns, keys or engine have changed"
            else:
                change.why = None
            change.read = change.mapped = loaded_table.report.read
            change.rows = loaded_table.report.published
            return loaded_table
        ledger_or_reason = self._load_usable_ledger(loader, state, base)
        if isinstance(ledger_or_reason, str):
            change.why = ledger_or_reason
            return self._compute_and_compare_all_rows(loader, base)
        old_state, ledger = ledger_or_reason
        return self._merge_changed_lines(loader, state, base, old_state, ledger)

    def _wrap_with_page_cache(
        self, state: SyncState, entry_number: int, entry: OpenedSource, source: Source, request_description: object
    ) -> Source:
        """Wrap a source that is read page by page, so that a run that is stopped can continue it."""
        page_directory = self._page_directory / str(entry_number)
        request_key = [state.signature, entry_number, request_description]
        cached_source = wrap_with_page_cache(source, entry, self.spec.sync, page_directory, request_key)
        if isinstance(cached_source, PageCachingSource):
            self.page_cached_sources.append(cached_source)
        return cached_source

    def _check_disk_space(self, loader: TableLoader, old_state: SyncState | None) -> None:
        """Check that the disk has space for a new ledger.

        The space of the changes is checked once they are known; a new snapshot shares the other rows.
        """
        ledger_bytes: int | None = None
        if old_state is not None and old_state.ledger is not None:
            ledger_bytes = ledgers.measure_ledger_bytes(self.run.site, self.name, old_state.ledger)
        if ledger_bytes is None:
            self.run.check_disk_space(self.spec, loader.entries)
        else:
            disk_space.check_disk_space(self.run.site, self.run.resource.name, ledger_bytes, write_factor=1)

    # each reason against the use of a ledger has its own return
    def _load_usable_ledger(  # noqa: PLR0911
        self, loader: TableLoader, state: SyncState, base_record: SnapshotRecord
    ) -> tuple[SyncState, pa.Table] | str:
        """Return the last state and the ledger of the published table, or the reason why they cannot be used."""
        if self.recompute_reason is not None:
            return self.recompute_reason
        reason = ledgers.find_ledger_obstacle(loader.table, loader.entries)
        if reason is not None:
            return reason
        old_state = ledgers.load_sync_state(self.run.site, base_record.id)
        if old_state is None or old_state.ledger is None:
            return "there is no ledger yet"
        if old_state.signature != state.signature:
            return explain_unusable_ledger(base_record, self.run.resource, loader)
        if old_state.contended:
            return f"{old_state.contended:,} rows were rejected because other rows had the same unique values"
        lines = ledgers.read_ledger(self.run.site, self.name, old_state.ledger)
        if lines is None or lines.schema != ledgers.build_ledger_schema(loader.table):
            return "the ledger is lost"
        return old_state, lines

    def _compute_and_compare_all_rows(self, loader: TableLoader, base_record: SnapshotRecord) -> LoadedTable:
        """Compute all rows, and compare them with what is published."""
        run = self.run
        loaded_table = self.run.load_whole_table(self.spec, loader)
        change = self.report.get_or_create_change(self.name)
        change.read = change.mapped = loaded_table.report.read
        change.rows = loaded_table.report.published
        staged_snapshot = loaded_table.snapshot
        if staged_snapshot is None:
            raise AssertionError
        engine = run.storage_engine
        schema = loaded_table.table.arrow_schema
        try:
            differences = compare_snapshots(
                (engine, base_record.snapshot), (engine, staged_snapshot), base_record.table.primary, schema
            )
            self._record_and_check_differences(differences, change, base_record)
        except BaseException:
            run.drop_staged_snapshots([loaded_table])
            raise
        inherited_attributes = find_inherited_attributes(self.spec, loaded_table.table)
        change.described = convert_through_json(inherited_attributes) != base_record.provenance.get("inherited")
        if not change.has_changes:
            run.drop_staged_snapshots([loaded_table])
            loaded_table.snapshot = None
            loaded_table.published_record = base_record
        return loaded_table

    def _merge_changed_lines(
        self, loader: TableLoader, state: SyncState, base_record: SnapshotRecord, old_state: SyncState, ledger: pa.Table
    ) -> LoadedTable:
        """Map the rows that the ledger does not know, and merge the differences."""
        run = self.run
        self._check_disk_space(loader, old_state)
        ledger_writer = loader.ledger_writer
        if ledger_writer is None:
            ledger_directory = ledgers.get_ledger_directory(run.site, self.name)
            ledger_writer = LedgerWriter(ledger_directory, loader.table, loader.entries)
        try:
            comparison = LedgerComparison(ledger, old_state.files, ledger_writer)
            loader.ledger_writer = ledger_writer
            new_rows, description = self._read_and_map_unknown_rows(loader, comparison, state, base_record, old_state)
            change = self.report.get_or_create_change(self.name)
            change.how = description
            change.read = comparison.read_count
            change.mapped = comparison.unknown_count
            removed_mask = ~comparison.line_index.claimed_mask
            merge = PublishedRowComparison(
                run.storage_engine,
                base_record.table,
                base_record.snapshot,
                ledger,
                removed_mask=removed_mask,
                new_rows=new_rows,
            )
            differences = merge.find_differences()
            change.rows = base_record.snapshot.rows + differences.after.num_rows - differences.before.num_rows
            if comparison.is_ledger_unchanged():
                ledger_writer.abandon_ledger()  # the old ledger stays
                loader.ledger_writer = None
                state.ledger = old_state.ledger
                state.files = old_state.files
                state.contended = old_state.contended
                state.lines = old_state.lines
                state.rejected = old_state.rejected
                line_count, rejected_count = old_state.lines, old_state.rejected
            else:
                comparison.write_kept_lines(~removed_mask)
                line_count, rejected_count = ledger_writer.line_count, ledger_writer.rejected_count
            unread_count = sum(loader.unread_counts.values())
            loader.report.read = line_count + unread_count
            loader.report.rejected = rejected_count + unread_count
            loader.report.published = change.rows
            loader.require_enough_accepted_rows()
            self._record_and_check_differences(differences, change, base_record, old_state)
            return self._merge_differences(loader, base_record, differences)
        finally:
            if self.report.dry_run:
                ledger_writer.abandon_ledger()

    def _read_and_map_unknown_rows(
        self,
        loader: TableLoader,
        comparison: LedgerComparison,
        state: SyncState,
        base_record: SnapshotRecord,
        old_state: SyncState,
    ) -> tuple[pa.Table, str]:
        """Read what may have changed in the sources, and map the rows that the ledger does not know.

        Returns
        -------
        rows, description
            Rows of the table, and what was read, in words.

        Raises
        ------
        FullReadNeededError, RecomputeNeededError
            The changes cannot be found this way.
        """
        entries = []
        for entry in loader.entries:
            if isinstance(entry.source, PageCachingSource):
                entry = replace(entry, source=entry.source.wrapped_source)  # noqa: PLW2901  (without its wrapper)
            entries.append(entry)
        loader.entries = entries
        reader = IncrementalSourceReader(
            loader,
            comparison,
            self.spec.sync,
            old_state,
            new_state=state,
            pins=base_record.provenance.get("pins", ()),
            reads_everything=self.sync_context.reads_everything or self.must_read_everything,
            cache_pages=partial(self._wrap_with_page_cache, state),
            may_have_changed=self.run.hooks.may_have_changed,
        )
        reader.replace_sources_by_changed_rows()
        new_batches: list[pa.RecordBatch] = []
        loader.map_and_write_rows(new_batches.append)
        reader.complete_sync_state()
        future_count = reader.watermark_tracker.future_count
        if future_count:
            rows_text = "1 row has" if future_count == 1 else f"{future_count:,} rows have"
            self.report.warnings.append(
                f"{self.name}: {rows_text} a watermark in the future; Hven ignores such watermarks"
            )
        if reader.lacks_checksums:
            self.report.warnings.append(
                f"{self.name}: the source has no block checksums, so Hven compares keys; only a full read finds "
                "edits that leave the watermark unchanged (full: 7 d)"
            )
        if loader.contended_count:
            raise RecomputeNeededError("two rows have the same value in a unique column")
        schema = loader.table.arrow_schema
        rows = pa.Table.from_batches(new_batches, schema=schema)
        return rows.cast(to_nullable_schema(schema)), reader.description

    def _merge_keyed_rows(
        self, loader: TableLoader, base_record: SnapshotRecord, refresh_plan: KeyedRefreshPlan
    ) -> LoadedTable:
        """Compute the rows of the touched keys, and merge the differences."""
        sync_state = ledgers.load_sync_state(self.run.site, base_record.id)
        self._check_disk_space(loader, sync_state)
        computed_batches: list[pa.RecordBatch] = []
        loader.select_unknown_rows = _keep_all_rows
        loader.map_and_write_rows(computed_batches.append)
        if loader.contended_count:
            raise RecomputeNeededError("two rows have the same value in a unique column")
        differences = compare_keyed_rows(self.run.storage_engine, base_record, refresh_plan, computed_batches)
        change = self.report.get_or_create_change(self.name)
        key_count = refresh_plan.keys.num_rows
        change.how = "1 key" if key_count == 1 else f"{key_count:,} keys"
        change.read = loader.report.read
        change.mapped = loader.report.read
        change.rows = base_record.snapshot.rows + differences.after.num_rows - differences.before.num_rows
        if not change.rows:
            raise RecomputeNeededError("no rows would remain")
        loader.report.published = change.rows
        self._record_and_check_differences(differences, change, base_record)
        return self._merge_differences(loader, base_record, differences)

    def _merge_differences(
        self, loader: TableLoader, base_record: SnapshotRecord, differences: RowDifferences
    ) -> LoadedTable:
        """Merge the differences into a new snapshot; without differences, keep the published snapshot."""
        run = self.run
        if not differences.has_differences:
            loaded_table = loader.build_loaded_table(None)
            loaded_table.published_record = base_record
            return loaded_table
        if run.storage_engine is run.site.embedded_engine:
            touched_rows = differences.after.num_rows + differences.before.num_rows - differences.changed_count
            merge_bytes = disk_space.estimate_merge_bytes(
                base_record.snapshot.bytes, touched_rows, differences.after.nbytes
            )
            disk_space.check_disk_space(run.site, run.resource.name, merge_bytes, write_factor=1)
        snapshot = merge_differences_into_snapshot(
            run.storage_engine, base_record.table, base_record.snapshot, create_run_id(), differences
        )
        loaded_table = loader.build_loaded_table(snapshot)
        loader.report.snapshot = snapshot.id
        loader.report.bytes = snapshot.bytes
        return loaded_table

    def _record_and_check_differences(
        self,
        differences: RowDifferences,
        change: TableChangeSummary,
        base_record: SnapshotRecord,
        old_state: SyncState | None = None,
    ) -> None:
        """Record the differences, and raise an error if the guards do not allow them.

        `old_state` is the state that belongs to the base, if the caller has read it already.
        """
        self.sync_context.change_sets[self.name] = build_change_set_and_summary(
            differences, change, base_record.table.primary
        )
        self.sync_context.changes[self.name] = (base_record.id, differences)
        try:
            old_state = old_state or ledgers.load_sync_state(self.run.site, base_record.id)
            if old_state is not None:
                waiting_count = sum(old_state.waiting.values())
            else:
                waiting_count = 0
            check_change_limits(self.spec, change, base_record.snapshot.rows, waiting_count)
        except DataError as error:
            if self.report.accepted:
                return
            if not self.report.dry_run:
                raise
            warning = str(error).replace("nothing was published", "without --accept nothing will be published")
            self.report.warnings.append(warning)
