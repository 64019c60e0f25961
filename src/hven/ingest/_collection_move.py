"""`move_collection_to_engine`: move the rows of a collection from one engine to another.

The pointers of all tables change together, after all rows are copied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.ingest import _disk_space as disk_space
from hven.ingest._ingest_pipeline import SWEEP_TIMEOUT_SECONDS, create_run_id
from hven.ingest._table_loader import IngestProgress
from hven.model import plugins
from hven.model.errors import NotFoundError, StorageError, UserError
from hven.site.server_processes import wait_until_servers_can_read
from hven.site.store import build_lease_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.engines import Snapshot, StorageEngine
    from hven.site import Site
    from hven.site.store import Lease, SnapshotRecord


def move_collection_to_engine(
    site: Site, collection: str, engine_name: str, *, progress: Callable[[IngestProgress], None] | None = None
) -> list[SnapshotRecord]:
    """Move the published tables of a collection to another engine.

    The snapshots in the old engine stay for a rollback, as after an ingest.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.
    engine_name
        Name of the other engine.
    progress
        Called after each batch, from this thread.

    Returns
    -------
    list of SnapshotRecord
        The tables that were moved; empty if the engine has all of them already.

    Raises
    ------
    NotFoundError
        The collection is not published.
    UserError
        There is no such engine.
    ConflictError
        Another run ingests the collection, or a running server cannot read that engine.
    StorageError
        One of the engines fails; the published state stays.
    """
    engine_names = plugins.list_plugins("engines")
    unused_error = plugins.find_disabled_plugin_error("engines", engine_name)
    if unused_error is not None:
        raise unused_error
    if engine_name not in engine_names:
        raise UserError(f"there is no engine {engine_name!r}", remedy=f"use one of {', '.join(engine_names)}")
    target = site.engines.get_engine(engine_name)  # reports first what this process itself lacks
    wait_until_servers_can_read(site.settings, site.store, engine_name)
    run = create_run_id()
    with site.store.leases.hold_lease(build_lease_name(collection), description=f"the move of {collection}") as lease:
        published_records = site.store.read_published_records()[1].values()
        records = [record for record in published_records if record.collection == collection]
        if not records:
            raise NotFoundError(
                f"no table of {collection!r} is published", remedy="run `hven status` to list what is published"
            )
        if all(record.snapshot.engine == engine_name for record in records):
            return []
        site.store.runs.abandon_unfinished_runs(collection)
        disk_space.delete_ingest_leftovers(site)
        with site.store.runs.record_run(run, collection, "move", summarize=lambda: {"to": engine_name}):
            moved_records = _copy_and_publish_snapshots(
                site, collection, records, target, run=run, lease=lease, progress=progress
            )
    disk_space.prune_collection_history(site, collection)
    return moved_records


def _copy_and_publish_snapshots(
    site: Site,
    collection: str,
    records: list[SnapshotRecord],
    target: StorageEngine,
    *,
    run: str,
    lease: Lease,
    progress: Callable[[IngestProgress], None] | None,
) -> list[SnapshotRecord]:
    """Copy the snapshots that another engine has, and publish the copies."""
    new_records: list[SnapshotRecord] = []
    unmoved_records = [record for record in records if record.snapshot.engine == target.name]
    published = False
    try:
        for record in records:
            if record.snapshot.engine == target.name:
                continue
            engine = site.engines.find_engine(record.snapshot)
            snapshot = _copy_snapshot(engine, target, record, progress)
            move = {"from": record.id, "engine": record.snapshot.engine, "run": run}
            provenance = {**record.provenance, "moved": [*record.provenance.get("moved", ()), move]}
            new_records.append(replace(record, snapshot=snapshot, run=run, provenance=provenance))
        all_records = [*new_records, *unmoved_records]
        with disk_space.acquire_files_lease(site, wait_seconds=SWEEP_TIMEOUT_SECONDS):
            site.store.publish_collection(collection, all_records, run_id=run, lease=lease, is_hold_kept=True)
            published = True
            for record in new_records:
                target.note_published_snapshot(record.snapshot)
    except BaseException:
        if not published:
            site.engines.drop_snapshots_and_list_problems(record.snapshot for record in new_records)
        raise
    site.refresh_published_state()
    return new_records


def _copy_snapshot(
    source: StorageEngine,
    target: StorageEngine,
    record: SnapshotRecord,
    progress: Callable[[IngestProgress], None] | None,
) -> Snapshot:
    """Stage the rows of a snapshot in another engine, and check that every row arrives."""
    name = record.table.qualified_name
    total_rows = record.snapshot.rows
    schema = record.table.arrow_schema
    staging = target.stage_snapshot(record.table, create_run_id())
    try:
        copied_rows = 0
        for batch in source.read_rows(record.snapshot):
            staging.write(batch.select(schema.names).cast(schema))
            copied_rows += batch.num_rows
            if progress is not None:
                progress(IngestProgress(table=name, step="move", rows=copied_rows, done=copied_rows, total=total_rows))
        snapshot = replace(staging.finish(), engine=target.name)
    except BaseException:
        staging.abandon()
        raise
    if snapshot.rows != total_rows:
        target.remove_snapshot(snapshot)
        raise StorageError(
            f"{name} has {total_rows:,} rows, but only {snapshot.rows:,} arrived in the engine {target.name!r}",
            remedy="check the disk for faults, and report the problem; nothing was changed",
        )
    return snapshot
