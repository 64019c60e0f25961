"""Runs of a promotion: each stages one collection on the target, and one transaction publishes all of them."""

from __future__ import annotations

import getpass
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from hven import descriptor
from hven.ingest.api import publication
from hven.ingest.api.changes import create_run_id
from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.ingest.api.runs import check_disk_space
from hven.ingest.sync import change_sets
from hven.model.errors import NotFoundError
from hven.plugins.promotion import pinned_directories, three_way_merge
from hven.plugins.promotion.collection_states import PROMOTION_KEY
from hven.plugins.promotion.package_selection import select_packages_of
from hven.plugins.promotion.row_copies import StoredRows, stage_rows, verify_copy
from hven.site.server_processes import wait_until_servers_can_read
from hven.site.store import SnapshotRecord, format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.engines import StorageEngine
    from hven.model.resource import CollectionSpec
    from hven.plugins.promotion.collection_states import CollectionState, SourceCollection
    from hven.plugins.promotion.promotion_reports import PromotionReport, TablePromotion
    from hven.site import Site
    from hven.site.store import Lease


def promote_in_one_transaction(runs: Sequence[PromotionRun], target_site: Site) -> None:
    """Stage and verify collections, and publish all of them in one transaction.

    Parameters
    ----------
    runs
        One run for each collection, under the lease of the collection on the target.
    target_site
        The target.
    """
    publication_time = _choose_publication_time(runs)
    group_facts = {
        "by": _find_user_name(),
        "at": publication_time,
        "group": runs[0].run,
        "together": [run.name for run in runs],
    }
    with ExitStack() as stack:
        for run in runs:
            stack.callback(run.delete_unpublished)
            run.stage(group_facts)
        with publication.acquire_files_lease(target_site, wait_seconds=publication.SWEEP_TIMEOUT_SECONDS):
            amended_records: list[SnapshotRecord] = []
            for run in runs:
                amended_records += run.pin_own_state_of_target()
            target_site.store.publish_collections(
                [(run.name, run.list_published_records(), run.lease) for run in runs],
                run_id=runs[0].run,
                amended_records=amended_records,
                must_hold=True,
            )
            stack.pop_all()
            for run in runs:
                run.note_publication()
    target_site.refresh_published_state()
    for run in runs:
        run.report.run = run.run
        pinned_directories.link_current_directory(target_site.settings, run.name, run.directory, run.run)


def _choose_publication_time(runs: Sequence[PromotionRun]) -> str:
    """Return the present time, or a later one than that of all published snapshots, whatever the clock says."""
    newest = max((record.created for run in runs for record in run.target.records.values()), default="")
    present = format_current_time()
    if present > newest:
        return present
    later = datetime.fromisoformat(newest).astimezone(UTC) + timedelta(microseconds=1)
    return f"{later.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _find_user_name() -> str:
    """Return the name of the user who runs this process, with that of the person behind sudo.

    In a container, a user may have only a number.
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"user {os.getuid()}"
    person = os.environ.get("SUDO_USER", name)
    if person == name:
        return name
    return f"{person} as {name}"


class PromotionRun:
    """The run of one collection.

    Parameters
    ----------
    origin, target
        What the source site and the target publish.
    report
        How they differ.
    source_files
        The files of the source site, before a merge.
    lease
        The lease of the collection on the target.
    """

    def __init__(
        self,
        origin: SourceCollection,
        target: CollectionState,
        report: PromotionReport,
        source_files: Mapping[str, Path],
        lease: Lease,
    ) -> None:
        self.origin = origin
        self.name = origin.name
        self.target = target
        self.site = target.site
        self.report = report
        self.source_files = source_files
        self.lease = lease
        self.run = create_run_id()
        self.directory = f"{pinned_directories.PROMOTED_FOLDER}/{self.name}/{self.run}"
        self.new_records: list[SnapshotRecord] = []
        self.engine = self._find_engine()

    def _find_engine(self) -> StorageEngine:
        name = self.origin.required_resource.engine or self.site.engines.default_engine
        wait_until_servers_can_read(self.site.settings, self.site.store, name)
        return self.site.engines.get_engine(name)

    def stage(self, group_facts: Mapping[str, Any]) -> None:
        """Copy files and rows, and verify the rows.

        Parameters
        ----------
        group_facts
            What the records of all collections say of the promotion.
        """
        self.report.by = group_facts["by"]
        self.report.at = group_facts["at"]
        pinned_resource = self._copy_files()
        facts = {
            **group_facts,
            "site": self.origin.site_id,
            "run": self.run,
            "hashes": dict(pinned_resource.hashes),
            "merged_files": self.origin.merged_files is not None,
        }
        for table in self._select_promoted_tables():
            self.new_records.append(self._stage_table(table, facts))
        self._store_change_sets()

    def _copy_files(self) -> CollectionSpec:
        """Copy descriptor and files; return the descriptor as the target reads it."""
        pinned_path = self.site.settings.directory / self.directory
        earlier_files: dict[str, Any] = {}
        if self.target.pinned_directory is not None:
            earlier_files = pinned_directories.list_collection_files(self.target.directory)
        files = self.origin.files
        write_base = partial(three_way_merge.write_base, self.name, self.source_files, files, self.report.tables)
        self.report.copied_files = pinned_directories.copy_files(
            files,
            pinned_path,
            earlier_files,
            compares_contents=self.report.compares_contents,
            complete=write_base,
        )
        self.report.file_count = len(files)
        with select_packages_of(self.site.settings):
            return descriptor.load_descriptor(pinned_path / f"{self.name}.yaml", self.site.settings)

    def _select_promoted_tables(self) -> list[TablePromotion]:
        """Return the tables that get a new snapshot: one at least, because a snapshot pins the descriptor."""
        promoted_tables = [table for table in self.report.tables if self._is_snapshot_needed(table)]
        if promoted_tables:
            return promoted_tables
        # a table with a key shares the rows of the snapshot before; another one is copied
        return [
            min(self.report.tables, key=lambda table: (not table.origin.table.primary, table.origin.snapshot.bytes))
        ]

    def _is_snapshot_needed(self, table: TablePromotion) -> bool:
        record = self.target.records.get(table.record.table.qualified_name)
        if table.has_changes or table.is_described_differently:
            return True
        promotion = {}
        if record is not None:
            promotion = record.provenance.get(PROMOTION_KEY, {})
        return promotion.get("site") != self.origin.site_id or bool(promotion.get("merged")) != table.is_merged

    def _stage_table(self, table: TablePromotion, facts: Mapping[str, Any]) -> SnapshotRecord:
        is_copied = table.target is None or table.difference is None or table.target.engine is not self.engine
        if is_copied or not table.origin.table.primary:
            check_disk_space(self.site, self.name, table.record.snapshot.bytes)
        snapshot, table.copied_rows = stage_rows(
            table.origin, table.target, table.difference, self.engine, create_run_id(), is_merged=table.is_merged
        )
        expected_hashes = table.expected_hashes or table.source_hashes
        try:
            copy = StoredRows(table=table.record.table, snapshot=snapshot, engine=self.engine)
            table.target_hashes = verify_copy(expected_hashes, copy)
        except BaseException:
            self.site.engines.drop_snapshots_and_list_problems([snapshot])
            raise
        promotion = {
            **facts,
            "snapshot": table.record.id,
            "digest": expected_hashes.digest,
            "merged": table.is_merged,
        }
        provenance = {**table.record.provenance, PINNED_DIRECTORY_KEY: self.directory, PROMOTION_KEY: promotion}
        provenance["inputs"] = {}  # they are snapshots of the source site
        return SnapshotRecord(
            snapshot=snapshot,
            table=table.record.table,
            collection=self.name,
            run=self.run,
            created=self.report.at,
            provenance=provenance,
        )

    def _store_change_sets(self) -> None:
        """Store what changes, for clients that follow the changes of the target."""
        for record in self.new_records:
            name = record.table.qualified_name
            earlier_record = self.target.records.get(name)
            if earlier_record is None or not record.table.primary:
                continue
            with suppress(NotFoundError):  # other columns: clients read the table anew
                rows = change_sets.compare_snapshot_records(self.site, earlier_record, record)[0]
                change_sets.store_change_set(
                    self.site,
                    name,
                    rows,
                    snapshot_before=earlier_record.id,
                    snapshot_after=record.id,
                    run=self.run,
                    publication_time=self.report.at,
                )

    def list_published_records(self) -> list[SnapshotRecord]:
        """List the records that are published: the new ones, and those that stay."""
        new_names = {record.table.qualified_name for record in self.new_records}
        kept_records = [
            record
            for name, record in self.target.records.items()
            if name in self.origin.records and name not in new_names
        ]
        return [*self.new_records, *kept_records]

    def pin_own_state_of_target(self) -> list[SnapshotRecord]:
        """Pin a copy of the target's own descriptor to its published snapshots, so that --back returns to both."""
        records = list(self.target.records.values())
        if not records or self.target.resource is None or self.target.pinned_directory is not None:
            return []
        directory = f"{pinned_directories.PROMOTED_FOLDER}/{self.name}/before-{self.run}"
        files = pinned_directories.list_own_files(self.target.resource)
        pinned_directories.copy_files(files, self.site.settings.directory / directory, {}, links_large_files=True)
        return [
            replace(record, provenance={**record.provenance, PINNED_DIRECTORY_KEY: directory}) for record in records
        ]

    def note_publication(self) -> None:
        """Tell the engine that the new snapshots are published."""
        for record in self.new_records:
            self.engine.note_published_snapshot(record.snapshot)

    def delete_unpublished(self) -> None:
        """Delete the staged snapshots and files, because they are not published."""
        shutil.rmtree(self.site.settings.directory / self.directory, ignore_errors=True)
        self.site.engines.drop_snapshots_and_list_problems(record.snapshot for record in self.new_records)
