"""`sync_collection`: one run, from the lease to what is published."""

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
from hven.ingest._dependencies import DependencyGraph
from hven.ingest._ingest_pipeline import CollectionRun, RunHooks, create_run_id, execute_run, ignore_progress
from hven.ingest._key_lookup import to_nullable_schema
from hven.ingest._ledger import LedgerWriter
from hven.ingest._report import IngestReport, TableReport
from hven.ingest._staged_site import load_current_descriptor
from hven.ingest._table_loader import LoadedTable
from hven.ingest._transform import is_row_number_used
from hven.ingest.sync import change_sets
from hven.ingest.sync._guards import check_guards
from hven.ingest.sync._incremental_reading import FullReadNeededError, IncrementalReader
from hven.ingest.sync._keyed_refresh import (
    KeyedRefresh,
    compare_keyed_rows,
    find_changed_inputs,
    plan_keyed_refresh,
    update_provenance,
)
from hven.ingest.sync._ledger_comparison import LedgerComparison, RecomputeNeededError, RowMerge, merge_snapshot
from hven.ingest.sync._page_cache import PageCachingSource, cache_source_pages
from hven.ingest.sync._row_differences import build_change_set, compare_snapshots
from hven.model.errors import ConflictError, DataError, DescriptorError
from hven.model.table import columns_to_json
from hven.site import find_inherited_attributes
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from hven.ingest import IngestProgress
    from hven.ingest._ledger import SourceEntry, SyncState
    from hven.ingest._report import TableChange
    from hven.ingest._staged_site import QueryAnswer
    from hven.ingest._table_loader import TableLoader
    from hven.ingest.sync._row_differences import RowDifferences
    from hven.ingest.watermarks import WatermarkTracker
    from hven.model.resource import Resource, TableSpec
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.store import Lease, SnapshotRecord
    from hven.sources import Source


def sync_collection(
    site: Site,
    name: str,
    *,
    read_everything: bool = False,
    dry_run: bool = False,
    accept_changes: bool = False,
    only_if_unheld: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Follow the sources of a collection: afterwards its tables are what an ingest would have made. Nothing changed.

    Nothing is published.

    Parameters
    ----------
    site
        Where it is published.
    name
        Of the collection.
    read_everything
        Read everything, whatever the watermark says.
    dry_run
        Do everything but publish; the report says what would change.
    accept_changes
        Publish even if more went or changed than the guards allow.
    only_if_unheld
        Only if nobody has said that the collection shall rest (`find_sync_conflict`): for runs that no person asked
        for.
    progress
        Called often, from this thread.

    Returns
    -------
    report
        Of what was read, changed and published.

    Raises
    ------
    NotFoundError
        No such descriptor.
    ConflictError
        The collection is being ingested or synchronised by somebody else, or held.
    DescriptorError, SourceError, DataError
        What was published before stays. The report of the run is in the store.
    StorageError
        The disk.
    """
    resource = load_current_descriptor(site, name)
    report = IngestReport(
        collection=name,
        run=create_run_id(),
        started=format_current_time(),
        dry_run=dry_run,
        kind="sync",
        accepted=accept_changes,
    )

    def create_run(lease: Lease) -> CollectionRun:
        if only_if_unheld and (why := find_sync_conflict(site, name)) is not None:
            raise why
        following = SyncContext(reads_everything=read_everything)
        steps = RunHooks(
            make_table=lambda run, spec: TableSync(following, run, spec).make_table(),
            should_publish=following.should_publish,
            record_changes=following.store_change_sets,
        )
        return CollectionRun(site, resource, report, lease, progress=progress or ignore_progress, hooks=steps)

    execute_run(site, report, create_run)
    if not report.published:  # else it was done already
        disk_space.prune_collection(site, name)
    return report


def find_sync_conflict(site: Site, name: str) -> ConflictError | None:
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
    if name in site.store.list_held_collections():
        return ConflictError(
            f"{name} is held as `hven rollback` left it", remedy=f"hven schedule resume {name} ends that"
        )
    if name not in site.store.list_publication_times():
        return ConflictError(
            f"{name} is not published",
            remedy=f"hven ingest {name} publishes it, or hven rollback {name} what hven remove took away",
        )
    return None


def describe_structure(table: Table) -> tuple[object, ...]:
    """Return what rows of one table must have in common with those of another to be compared and merged."""
    columns = tuple((column.name, str(column.type), column.indexed) for column in table.columns)
    return columns, table.primary, table.position, table.indexes, table.partition


def to_json_value(value: object) -> object:
    """Return a value as it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


def explain_ledger_change(base: SnapshotRecord, resource: Resource, loader: TableLoader) -> str:
    """Describe in words why a ledger is not to be used."""
    provenance = base.provenance
    old_hashes = provenance.get("hashes", {})
    new_hashes = resource.hashes
    files = sorted(name for name in {*old_hashes, *new_hashes} if old_hashes.get(name) != new_hashes.get(name))
    if files:
        return f"{', '.join(files)} changed"
    names = [{item["name"] for item in columns} for columns in provenance.get("source_columns", ())]
    now_there = [{column.name for column in entry.columns} for entry in loader.entries]
    for old_columns, new_columns in zip(names, now_there, strict=False):
        if old_columns != new_columns:
            words = [
                f"{word} {', '.join(sorted(column_names))}"
                for word, column_names in (("without", old_columns - new_columns), ("with", new_columns - old_columns))
                if column_names
            ]
            return f"the source has other columns: {', '.join(words)}"
    if provenance.get("software") != f"hven {hven.__version__}":
        return "another version of Hven wrote what is published"
    current_site_values = ledgers.select_site_values(resource, loader.spec)
    earlier_site_values = provenance.get("site", current_site_values)
    if earlier_site_values != current_site_values:
        changed_words = [
            word
            for word in {**earlier_site_values, **current_site_values}
            if earlier_site_values.get(word) != current_site_values.get(word)
        ]
        return f"hven.toml says another {' and '.join(sorted(changed_words))}"
    if provenance.get("source_columns") != to_json_value([columns_to_json(entry.columns) for entry in loader.entries]):
        return "the source's columns have other types or units"
    return "settings that decide its rows are others than before"


def _keep_all_rows(_entry: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Keep every row."""
    return batch


def keep_published_table(report: IngestReport, base: SnapshotRecord) -> LoadedTable:
    """Leave a table as it is published."""
    name = base.table.qualified_name
    change = report.get_or_create_change(name)
    change.how = "nothing"
    change.rows = base.snapshot.rows
    table_report = report.tables.setdefault(
        name, TableReport(table=name, published=base.snapshot.rows, snapshot=base.id)
    )
    return LoadedTable(table=base.table, snapshot=None, report=table_report, published_record=base)


class SyncContext:
    """What a sync knows over all its tables, those of followers included."""

    def __init__(self, *, reads_everything: bool) -> None:
        self.reads_everything = reads_everything
        # table -> the snapshot that was published, and what differs from it
        self.changes: dict[str, tuple[str, RowDifferences]] = {}
        self.change_sets: dict[str, pa.Table] = {}  # table -> what changed
        self._published: dict[str, dict[str, SnapshotRecord]] = {}

    def find_base_records(self, run: CollectionRun) -> dict[str, SnapshotRecord]:
        """Return what was published of a run's collection when it began; what is damaged is no base of anything.

        Its table is made as a whole.
        """
        name = run.resource.name
        site = run.site
        if name not in self._published:
            damaged = site.store.verifications.list_damaged()
            self._published[name] = {
                table: record
                for table, record in site.store.read_published_records()[1].items()
                if record.collection == name
                and record.id not in damaged
                and site.engines.find_missing_file(record.snapshot) is None
            }
        return self._published[name]

    def should_publish(self, run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> bool:
        """Check whether anything changed: else nothing is tested or published."""
        if any(loaded_table.published_record is None for loaded_table in loaded_tables) or self.find_base_records(
            run
        ).keys() - {loaded_table.table.qualified_name for loaded_table in loaded_tables}:
            return True
        if run.amended_records:
            run.site.store.update_records(run.amended_records)
        return False

    def store_change_sets(self, run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> None:
        """Write what changed in each table to a file of its own."""
        for loaded_table in loaded_tables:
            name = loaded_table.table.qualified_name
            if loaded_table.snapshot is not None and name in self.change_sets:
                base_id = self.changes[name][0]
                change_sets.store_change_set(
                    run.site,
                    name,
                    self.change_sets[name],
                    before=base_id,
                    after=loaded_table.snapshot.id,
                    run=run.report.run,
                    at=format_current_time(),
                )
        change_sets.delete_old_change_sets(run.site, run.resource.name)


class TableSync:
    """One table of a sync: what is read is compared with what is published."""

    def __init__(self, sync_context: SyncContext, run: CollectionRun, spec: TableSpec) -> None:
        self.sync_context = sync_context
        self.run = run
        self.spec = spec
        self.name = spec.table.qualified_name
        self.report = run.report
        base_records = sync_context.find_base_records(run)
        self.published_record = base_records.get(self.name)
        self.keyed_refresh: KeyedRefresh | None = None  # keys that are computed anew, of a table made by a query
        self.page_cached_sources: list[PageCachingSource] = []  # its sources whose pages are kept
        self._page_directory = run.site.settings.data_directory / "sync" / "pages" / self.name
        self.watermark_tracker: WatermarkTracker | None = None
        self.must_read_everything = False  # everything is read after all
        self.recompute_reason: str | None = None  # why it is computed as a whole after all

    def make_table(self) -> LoadedTable:
        """Fill the table; if it comes out as it is published, that stays."""
        base = self.published_record
        if base is not None and (kept_table := self._keep_if_unchanged(base)) is not None:
            return kept_table
        while True:
            try:
                loaded_table = self.run.load_table(
                    self.spec,
                    self._stage_table,
                    None if self.keyed_refresh is None else partial(self._answer_keyed_query, self.keyed_refresh),
                )
            except (DataError, DescriptorError):
                # what is wrong may be put right: the source is asked again
                shutil.rmtree(self._page_directory, ignore_errors=True)
                raise
            except FullReadNeededError as reason:
                self.must_read_everything = True
                self.report.warnings.append(f"{self.name}: {reason}: everything was read")
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
            (self.run.run_directory / f"{self.spec.table.name}.csv").unlink(missing_ok=True)

    def _report_watermark_and_pages(self) -> None:
        """Report the watermark, and rows that are as an earlier run read them, which did not come to its end."""
        if self.watermark_tracker is not None and self.watermark_tracker.largest_by_entry and not self.report.dry_run:
            self.report.get_or_create_change(self.name).watermark = max(
                str(value) for value in self.watermark_tracker.largest_by_entry.values()
            )
        for source in self.page_cached_sources:
            if source.reused_row_count:
                read_time = datetime.fromtimestamp(source.first_page_time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                if source.reused_row_count == 1:
                    rows = "1 row is"
                else:
                    rows = f"{source.reused_row_count:,} rows are"
                text = (
                    f"{self.name}: {rows} as a run that was stopped read them, from {read_time} on: what changed "
                    f"there since is found by the next run"
                )
                self.report.warnings.append(text)

    def _update_provenance(self, loaded_table: LoadedTable, base: SnapshotRecord) -> None:
        """Remember of a table that stays from what it was made this time.

        Else it would look stale, and be computed at each run.
        """
        inputs = to_json_value(self.run.collect_inputs(self.spec, loaded_table))
        updated_record = update_provenance(base, inputs)  # type: ignore[arg-type]
        if updated_record is not None and not self.report.dry_run:
            loaded_table.published_record = updated_record
            self.run.amended_records.append(updated_record)

    def _keep_if_unchanged(self, base: SnapshotRecord) -> LoadedTable | None:
        """Leave a table made by queries alone, if nothing of its inputs changed.

        Else find the keys that are touched.
        """
        name = self.name
        run = self.run
        if any(source.enrich is not None for source in self.spec.sources):  # documents may come whatever the inputs do
            return None
        published_state = run.site.get_published_state()
        graph = DependencyGraph({**published_state.resources, run.resource.name: run.resource})
        if graph.outside_tables.get(name.lower(), {name}):
            return None
        stored_inputs = graph.find_stored_inputs(name.lower())
        changed_inputs = find_changed_inputs(self.spec, base, run.resource, run.staged_site, stored_inputs)
        if changed_inputs is True and base.snapshot.engine == run.storage_engine.name:
            return keep_published_table(self.report, base)
        if isinstance(changed_inputs, set):
            self.keyed_refresh = plan_keyed_refresh(
                self.spec, base, changed_inputs, self.sync_context.changes, run.staged_site
            )
        return None

    def _answer_keyed_query(
        self, keyed: KeyedRefresh, _text: str, inputs: dict[str, str], stack: ExitStack
    ) -> QueryAnswer:
        """Answer the query of a table that is made from others, for the keys that matter."""
        return self.run.staged_site.answer_query(
            keyed.traced_query.query,
            inputs,
            stack,
            keyed.build_key_upload(self.published_record.table),  # type: ignore[union-attr]
        )  # who is keyed has one

    def _stage_table(self, loader: TableLoader, state: SyncState) -> LoadedTable:
        """Fill the table: the keys or rows that may have changed, or all."""
        base = self.published_record
        change = self.report.get_or_create_change(self.name)
        self.watermark_tracker = loader.watermark_tracker
        if base is not None and base.snapshot.rows:
            loader.may_become_empty = self.report.accepted
        is_same_structure = (
            base is not None
            and describe_structure(base.table) == describe_structure(loader.table)
            and base.snapshot.engine == self.run.storage_engine.name
        )
        if self.keyed_refresh is not None:
            if base is None or not is_same_structure:
                raise RecomputeNeededError("its columns, keys or engine are others than before")
            return self._merge_keyed_rows(loader, base, self.keyed_refresh)
        if not any(
            is_row_number_used(entry.mapping) for entry in loader.entries
        ):  # pages that go on have row numbers of their own
            loader.entries = [
                replace(entry, source=self._cache_pages(state, number, entry, entry.source, "everything"))
                for number, entry in enumerate(loader.entries)
            ]
        if base is None or not is_same_structure:
            loaded_table = self.run.load_whole_table(self.spec, loader)
            change.new = True
            change.why = None if base is None else "its columns, keys or engine are others than before"
            change.read = change.mapped = loaded_table.report.read
            change.rows = loaded_table.report.published
            return loaded_table
        ledger_or_reason = self._find_ledger(loader, state, base)
        if isinstance(ledger_or_reason, str):
            change.why = ledger_or_reason
            return self._compute_whole_table(loader, base)
        return self._merge_changed_lines(loader, state, base, *ledger_or_reason)

    def _cache_pages(
        self, state: SyncState, number: int, entry: SourceEntry, source: Source, request_description: object
    ) -> Source:
        cached_source = cache_source_pages(
            source,
            entry,
            self.spec.sync,
            self._page_directory / str(number),
            [state.signature, number, request_description],
        )
        if isinstance(cached_source, PageCachingSource):
            self.page_cached_sources.append(cached_source)
        return cached_source

    def _check_disk_space(self, loader: TableLoader, old_state: SyncState | None) -> None:
        """Ask for the room of a new ledger.

        What changes take is known when they are found, and a new snapshot shares the rest.
        """
        if old_state is None or old_state.ledger is None:
            size = None
        else:
            size = ledgers.measure_ledger(self.run.site, self.name, old_state.ledger)
        if size is None:
            self.run.check_disk_space(self.spec, loader.entries)
        else:
            disk_space.check_disk_space(self.run.site, self.run.resource.name, size, write_factor=1)

    # each reason why there is none has its return
    def _find_ledger(  # noqa: PLR0911
        self, loader: TableLoader, state: SyncState, base: SnapshotRecord
    ) -> tuple[SyncState, pa.Table] | str:
        """Find the ledger of what is published; or say why it is of no use."""
        if self.recompute_reason is not None:
            return self.recompute_reason
        reason = ledgers.find_ledger_obstacle(loader.table, loader.entries)
        if reason is not None:
            return reason
        old_state = ledgers.load_sync_state(self.run.site, base.id)
        if old_state is None or old_state.ledger is None:
            return "there is no ledger yet"
        if old_state.signature != state.signature:
            return explain_ledger_change(base, self.run.resource, loader)
        if old_state.contended:
            return f"{old_state.contended:,} rows were rejected because others had their values"
        lines = ledgers.read_ledger(self.run.site, self.name, old_state.ledger)
        if lines is None or lines.schema != ledgers.build_ledger_schema(loader.table):
            return "the ledger is lost"
        return old_state, lines

    def _compute_whole_table(self, loader: TableLoader, base: SnapshotRecord) -> LoadedTable:
        """Compute everything, and compare it with what is published."""
        run = self.run
        loaded_table = self.run.load_whole_table(self.spec, loader)
        change = self.report.get_or_create_change(self.name)
        change.read = change.mapped = loaded_table.report.read
        change.rows = loaded_table.report.published
        staged_snapshot = loaded_table.snapshot
        if staged_snapshot is None:
            raise AssertionError
        try:
            differences = compare_snapshots(
                (run.storage_engine, base.snapshot),
                (run.storage_engine, staged_snapshot),
                base.table.primary,
                loaded_table.table.arrow_schema,
            )
            self._check_differences(differences, change, base)
        except BaseException:
            run.drop_snapshots([loaded_table])
            raise
        inherited_attributes = find_inherited_attributes(self.spec, loaded_table.table)
        change.described = to_json_value(inherited_attributes) != base.provenance.get("inherited")
        if not change.has_changes:
            run.drop_snapshots([loaded_table])
            loaded_table.snapshot = None
            loaded_table.published_record = base
        return loaded_table

    # the steps of a sync share what was loaded
    def _merge_changed_lines(  # noqa: PLR0915
        self, loader: TableLoader, state: SyncState, base: SnapshotRecord, old_state: SyncState, ledger: pa.Table
    ) -> LoadedTable:
        """Map what the ledger does not know, and merge what differs."""
        run = self.run
        self._check_disk_space(loader, old_state)
        ledger_writer = loader.ledger_writer or LedgerWriter(
            ledgers.find_ledger_directory(run.site, self.name), loader.table, loader.entries
        )
        try:
            lines = LedgerComparison(ledger, old_state.files, ledger_writer)
            loader.ledger_writer = ledger_writer
            must_read_all = self.sync_context.reads_everything or self.must_read_everything
            loader.entries = [
                replace(
                    entry,
                    source=entry.source.wrapped_source if isinstance(entry.source, PageCachingSource) else entry.source,
                )
                for entry in loader.entries
            ]
            cache_pages = partial(self._cache_pages, state)
            pins = base.provenance.get("pins", ())
            may_have_changed = run.hooks.may_have_changed
            reading = IncrementalReader(
                loader,
                lines,
                self.spec.sync,
                old_state,
                new_state=state,
                pins=pins,
                reads_everything=must_read_all,
                cache_pages=cache_pages,
                may_have_changed=may_have_changed,
            )
            reading.choose_sources()
            new_batches: list[pa.RecordBatch] = []
            loader.map_all_rows(new_batches.append)
            reading.record_seen_state()
            future_count = reading.watermark_tracker.future_count
            if future_count:
                if future_count == 1:
                    message = "1 row has"
                else:
                    message = f"{future_count:,} rows have"
                self.report.warnings.append(
                    f"{self.name}: {message} a watermark that is still to come, which is not believed"
                )
            if reading.lacks_checksums:
                message = (
                    "the source gives no checksums of blocks, and keys are compared: edits that leave the "
                    "watermark as it was are found when everything is read"
                )
                self.report.warnings.append(f"{self.name}: {message} (full: 7 d)")
            if loader.contended_count:
                raise RecomputeNeededError("a row has values that only one may have")
            change = self.report.get_or_create_change(self.name)
            change.how = reading.description
            change.read = lines.read_count
            change.mapped = lines.unknown_count
            removed_mask = ~lines.line_index.claimed_mask
            rows = pa.Table.from_batches(new_batches, schema=loader.table.arrow_schema).cast(
                to_nullable_schema(loader.table.arrow_schema)
            )
            merging = RowMerge(
                run.storage_engine, base.table, base.snapshot, ledger, removed_mask=removed_mask, new_rows=rows
            )
            differences = merging.find_differences()
            is_same_ledger = lines.is_unchanged()
            if is_same_ledger:
                ledger_writer.abandon_ledger()  # the ledger stays
                loader.ledger_writer = None
                state.ledger = old_state.ledger
                state.files = old_state.files
                state.contended = old_state.contended
                state.lines = old_state.lines
                state.rejected = old_state.rejected
            else:
                lines.write_kept_lines(~removed_mask)
            change.rows = base.snapshot.rows + differences.after.num_rows - differences.before.num_rows
            unread_count = sum(loader.unread_counts.values())
            if is_same_ledger:
                line_counts = (old_state.lines, old_state.rejected)
            else:
                line_counts = (ledger_writer.line_count, ledger_writer.rejected_count)
            loader.report.read, loader.report.rejected, loader.report.published = (
                line_counts[0] + unread_count,
                line_counts[1] + unread_count,
                change.rows,
            )
            loader.check_rejected_share()
            self._check_differences(differences, change, base, old_state)
            return self._merge_differences(loader, base, differences)
        finally:
            if self.report.dry_run:
                ledger_writer.abandon_ledger()

    def _merge_keyed_rows(self, loader: TableLoader, base: SnapshotRecord, keyed_refresh: KeyedRefresh) -> LoadedTable:
        """Merge the rows of some keys."""
        sync_state = ledgers.load_sync_state(self.run.site, base.id)
        self._check_disk_space(loader, sync_state)
        computed_batches: list[pa.RecordBatch] = []
        loader.select_unknown_rows = _keep_all_rows
        loader.map_all_rows(computed_batches.append)
        if loader.contended_count:
            raise RecomputeNeededError("a row has values that only one may have")
        differences = compare_keyed_rows(self.run.storage_engine, base, keyed_refresh, computed_batches)
        change = self.report.get_or_create_change(self.name)
        count = keyed_refresh.keys.num_rows
        change.how = f"{count:,} {'key' if count == 1 else 'keys'}"
        change.read = loader.report.read
        change.mapped = loader.report.read
        change.rows = base.snapshot.rows + differences.after.num_rows - differences.before.num_rows
        if not change.rows:
            raise RecomputeNeededError("no row would be left")
        loader.report.published = change.rows
        self._check_differences(differences, change, base)
        return self._merge_differences(loader, base, differences)

    def _merge_differences(self, loader: TableLoader, base: SnapshotRecord, differences: RowDifferences) -> LoadedTable:
        """Merge what differs into a snapshot; nothing differs: what is published stays."""
        run = self.run
        if differences.has_differences and run.storage_engine is run.site.embedded_engine:
            touched_rows = differences.after.num_rows + differences.before.num_rows - differences.changed_count
            merge_bytes = disk_space.estimate_merge_bytes(base.snapshot.bytes, touched_rows, differences.after.nbytes)
            disk_space.check_disk_space(
                run.site,
                run.resource.name,
                merge_bytes,
                write_factor=1,
            )
        loaded_table = loader.build_result(
            merge_snapshot(run.storage_engine, base.table, base.snapshot, create_run_id(), differences)
            if differences.has_differences
            else None
        )
        if loaded_table.snapshot is None:
            loaded_table.published_record = base
        else:
            loader.report.snapshot, loader.report.bytes = loaded_table.snapshot.id, loaded_table.snapshot.bytes
        return loaded_table

    def _check_differences(
        self, differences: RowDifferences, change: TableChange, base: SnapshotRecord, old_state: SyncState | None = None
    ) -> None:
        """Count what differs; stop if it is too much. `old_state`.

        What was kept with the base, if it was read already.
        """
        self.sync_context.change_sets[self.name] = build_change_set(differences, change, base.table.primary)
        self.sync_context.changes[self.name] = (base.id, differences)
        try:
            old_state = old_state or ledgers.load_sync_state(self.run.site, base.id)
            check_guards(
                self.spec, change, base.snapshot.rows, sum(old_state.waiting.values()) if old_state is not None else 0
            )
        except DataError as error:
            if self.report.accepted:
                return
            if not self.report.dry_run:
                raise
            self.report.warnings.append(
                str(error).replace("nothing was published", "without --accept nothing will be published")
            )
