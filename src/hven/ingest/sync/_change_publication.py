"""`publish_collection_change`: publish a change of rows or files that the site itself keeps.

The change uses the mapping, checks, tests, dependent tables and publication of a sync, but reads only the sources and
tables that it may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hven.ingest._ingest_pipeline import CollectionRun, CollectionRunHooks, execute_leased_run, ignore_progress
from hven.ingest.sync._table_sync import SyncRunContext, TableSync, keep_published_table
from hven.sources.kind_traits import list_source_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.ingest._ledger import OpenedSource
    from hven.ingest._report import IngestReport
    from hven.ingest._staged_site import StagedSite
    from hven.ingest._table_loader import LoadedTable
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.site import Site
    from hven.site.api.store_tables import PendingPackageWrite
    from hven.site.store import Lease


class CollectionChange(Protocol):
    """A change of rows or files that the site itself keeps."""

    def may_change_source(self, entry: OpenedSource) -> bool:
        """Return whether the change may affect a source; the others count as unchanged.

        Parameters
        ----------
        entry
            An opened source of the collection.
        """

    def may_change_table(self, spec: TableSpec) -> bool:
        """Return whether the change may affect a table; the others stay as they are published.

        Parameters
        ----------
        spec
            A table of the collection. Tables that queries make are made again anyway.
        """

    def check_report(self, report: IngestReport, staged_site: StagedSite) -> None:
        """Raise an error if the change must not be published.

        Parameters
        ----------
        report
            The report of the run, after all tables were read and checked.
        staged_site
            The site as it will be if the change is published; it answers queries.
        """


def publish_collection_change(
    site: Site,
    resource: CollectionSpec,
    report: IngestReport,
    lease: Lease,
    change: CollectionChange,
    *,
    pending_writes: Sequence[PendingPackageWrite] = (),
) -> None:
    """Publish a change, and record how the run ended.

    Parameters
    ----------
    site
        The site that publishes the collection.
    resource
        The collection.
    report
        The report of the run. Its ``kind`` names the change, and distinguishes its runs from those of an ingest; with
        ``accepted``, the guards of a sync do not stop it.
    lease
        The caller's lease of the collection.
    change
        What it may change.
    pending_writes
        Written into the system state in the transaction that publishes the change.

    Raises
    ------
    DescriptorError, SourceError, DataError
        The descriptor, a source or the rows have faults, or `CollectionChange.check_report` refused them. Nothing is
        published.
    StorageError
        The disk failed.
    """
    sync_context = SyncRunContext(reads_everything=False)

    def make_or_keep_table(run: CollectionRun, spec: TableSpec) -> LoadedTable:
        base_records = sync_context.find_base_records(run)
        published_record = base_records.get(spec.table.qualified_name)
        has_query = any(list_source_queries(source) for source in spec.sources)
        if published_record is None or has_query or change.may_change_table(spec):
            return TableSync(sync_context, run, spec).make_or_keep_table()
        return keep_published_table(run.report, published_record)

    def should_publish(run: CollectionRun, loaded_tables: Sequence[LoadedTable]) -> bool:
        change.check_report(run.report, run.staged_site)
        return sync_context.decide_publication_or_save_amendments(run, loaded_tables)

    hooks = CollectionRunHooks(
        make_table=make_or_keep_table,
        should_publish=should_publish,
        record_changes=sync_context.store_and_prune_change_sets,
        may_have_changed=change.may_change_source,
        pending_writes=pending_writes,
        keeps_recent_snapshots=True,
    )

    def create_run() -> CollectionRun:
        return CollectionRun(site, resource, report, lease, progress=ignore_progress, hooks=hooks)

    execute_leased_run(site, report, create_run)
