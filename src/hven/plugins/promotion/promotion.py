"""Promote a collection: stage rows and files on the target, verify them, and publish all of it in one transaction."""

from __future__ import annotations

import getpass
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hven import descriptor
from hven.ingest.api import publication
from hven.ingest.api.changes import create_run_id
from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.ingest.api.runs import check_disk_space, find_stale_table_warnings
from hven.ingest.sync import change_sets
from hven.model.errors import ConflictError, DescriptorError, HvenError, NotFoundError, UserError
from hven.plugins.promotion import pinned_directories
from hven.plugins.promotion.collection_states import (
    PROMOTION_KEY,
    CollectionState,
    find_foreign_changes,
    read_collection_state,
    read_own_state,
)
from hven.plugins.promotion.metadata_differences import MetadataDifference, compare_metadata, find_refused_columns
from hven.plugins.promotion.row_copies import (
    RowDifference,
    RowHashes,
    StoredRows,
    compare_rows,
    hash_rows,
    open_rows,
    sample_keys,
    stage_rows,
    verify_copy,
)
from hven.plugins.schema_life.described_columns import describe_tables
from hven.site.server_processes import check_servers_can_read
from hven.site.store import SnapshotRecord, build_lease_name, format_current_time
from hven.site.store.ingest_runs import ABORTED_PHASE, COMPLETED_PHASE, ERROR_PHASE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines import StorageEngine
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.store import Lease

RUN_KIND = "promote"


@dataclass(kw_only=True)
class TablePromotion:
    """One table of a promotion.

    Attributes
    ----------
    own, target
        The rows of this site and of the target; None: the target has no such table.
    own_hashes, target_hashes
        Their hashes; None: the target has no such rows.
    difference
        How the rows differ; None: all rows are copied, because columns or keys differ.
    copied_rows
        Number of rows that were copied to the target.
    is_described_differently
        Whether the sources of the two sites gave the table other metadata.
    """

    record: SnapshotRecord
    own: StoredRows
    own_hashes: RowHashes
    target: StoredRows | None = None
    target_hashes: RowHashes | None = None
    difference: RowDifference | None = None
    copied_rows: int = 0
    is_described_differently: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether the rows of the target differ."""
        return self.difference is None or not self.difference.is_empty

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        target_hashes = self.target_hashes
        difference = self.difference
        samples: Mapping[str, Any] = {}
        equal_blocks = 0
        counts: dict[str, int | None] = {"added": self.own_hashes.row_count, "changed": None, "removed": None}
        if difference is not None:
            samples = difference.samples
            equal_blocks = difference.equal_blocks
            counts = {"added": difference.added, "changed": difference.changed, "removed": difference.removed_count}
        return {
            "table": self.record.table.qualified_name,
            "rows": {"own": self.own_hashes.row_count, "target": target_hashes and target_hashes.row_count},
            "digests": {"own": self.own_hashes.digest, "target": target_hashes and target_hashes.digest},
            **counts,
            "equal_blocks": equal_blocks,
            "samples": samples,
            "copied": self.copied_rows,
        }


@dataclass(kw_only=True)
class PromotionReport:
    """What differs between the sites, and what a promotion did.

    Attributes
    ----------
    foreign_changes
        What the target has that does not come from this site.
    run
        Id of the run; None: nothing was published.
    copied_files
        Number of files that were copied to the target.
    """

    collection: str
    tables: list[TablePromotion]
    metadata: MetadataDifference
    foreign_changes: Sequence[str] = ()
    run: str | None = None
    by: str = ""
    at: str = ""
    copied_files: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """Whether anything differs."""
        has_table_changes = any(table.has_changes or table.is_described_differently for table in self.tables)
        return has_table_changes or not self.metadata.is_empty


def compare_sites(own: CollectionState, target: CollectionState) -> PromotionReport:
    """Compare a collection of this site with that of the target.

    Parameters
    ----------
    own, target
        What the two sites publish.
    """
    tables = [
        _compare_table(own.site, record, target.site, target.records.get(name)) for name, record in own.records.items()
    ]
    target_files = pinned_directories.list_collection_files(target.directory)
    metadata = compare_metadata(
        own.tables,
        target.tables,
        (own.described_resource, target.resource),
        (pinned_directories.list_own_files(own.described_resource), target_files),
    )
    foreign_changes = find_foreign_changes(target, own.site.store.get_site_id())
    return PromotionReport(collection=own.name, tables=tables, metadata=metadata, foreign_changes=foreign_changes)


def _compare_table(
    own_site: Site, record: SnapshotRecord, target_site: Site, target_record: SnapshotRecord | None
) -> TablePromotion:
    own = open_rows(own_site, record)
    promotion = TablePromotion(record=record, own=own, own_hashes=hash_rows(own))
    if target_record is None:
        return promotion
    target = open_rows(target_site, target_record)
    promotion.target = target
    promotion.is_described_differently = record.table != target_record.table
    promotion.target_hashes = hash_rows(target)
    if _can_merge_rows(record.table, target_record.table):
        difference = compare_rows(promotion.own_hashes, promotion.target_hashes)
        samples = {
            "written": sample_keys(own, difference.written),
            "removed": sample_keys(target, difference.removed),
        }
        promotion.difference = replace(difference, samples=samples)
    return promotion


def _can_merge_rows(first: Table, second: Table) -> bool:
    """Return whether rows of one table can be compared with those of another, and merged into them."""
    is_same_schema = first.arrow_schema.remove_metadata() == second.arrow_schema.remove_metadata()
    return is_same_schema and first.primary == second.primary


def promote_collection(
    own_site: Site, target_site: Site, name: str, *, may_widen: bool = False, may_overwrite: bool = False
) -> PromotionReport:
    """Publish a collection on the target as this site publishes it.

    Parameters
    ----------
    own_site, target_site
        The sites, both open in this process.
    name
        Name of the collection.
    may_widen
        True: more people may see tables of the target than before.
    may_overwrite
        True: changes of the target that do not come from this site are replaced.

    Returns
    -------
    report
        What differed; without a run if nothing did.

    Raises
    ------
    ConflictError
        The target is ahead, more people would see a table, or another run changes the collection.
    DescriptorError
        The descriptor has faults on the target.
    StorageError
        Rows or files cannot be copied, or the copies differ. The target stays as it is.
    """
    own = read_own_state(own_site, name)
    pinned_directories.check_linkable(target_site.settings, name)
    description = f"the promotion of {name}"
    with target_site.store.leases.hold_lease(build_lease_name(name), description=description) as lease:
        target_site.store.runs.mark_dead_runs(name)
        publication.delete_ingest_leftovers(target_site)
        target = read_collection_state(target_site, name)
        report = compare_sites(own, target)
        for error in list_refusals(own, target_site, report, may_widen=may_widen, may_overwrite=may_overwrite):
            raise error
        if not report.has_changes and not report.foreign_changes:
            _finish_link(target, create_run_id())
            return report
        run = create_run_id()
        target_site.store.runs.begin_run(run, name, RUN_KIND)
        phase, message = ERROR_PHASE, None
        try:
            _PromotionRun(own, target, report, run, lease).execute()
            report.run = run
            phase = COMPLETED_PHASE
        except HvenError as error:
            message = str(error)
            raise
        except BaseException as error:
            phase = ABORTED_PHASE
            message = f"stopped: {type(error).__name__}"
            raise
        finally:
            summary = {"by": report.by, "tables": [table.to_json() | {"samples": {}} for table in report.tables]}
            target_site.store.runs.end_run(run, phase, message=message, summary=summary)
        report.warnings += _complete_publication(target_site, name)
        report.warnings += publication.prune_collection_history(target_site, name)
        pinned_directories.delete_unused_directories(target_site.settings, name, target_site.store.list_snapshots(name))
    return report


def _complete_publication(target_site: Site, name: str) -> list[str]:
    """Let the target prepare the files of the collection; return what else is to be done there."""
    published_state = target_site.get_published_state()
    warnings = []
    try:
        publication.enqueue_file_preparation(target_site, published_state.resources[name])
    except HvenError as error:
        warnings.append(f"the files of {name} are not prepared: {error}")
    stale_tables = find_stale_table_warnings(target_site.published_records)
    return [*warnings, *(text for text in stale_tables if f" {name}." in text)]


def _finish_link(target: CollectionState, run: str) -> None:
    """Complete what a promotion that was killed after its publication left undone."""
    pinned_directory = _find_pinned_directory(target.records.values())
    if pinned_directory is not None:
        pinned_directories.link_current_directory(target.site.settings, target.name, pinned_directory, run)


def _find_pinned_directory(records: Any) -> str | None:
    pinned_records = [record for record in records if PINNED_DIRECTORY_KEY in record.provenance]
    if not pinned_records:
        return None
    newest_record = max(pinned_records, key=lambda record: record.created)
    return str(newest_record.provenance[PINNED_DIRECTORY_KEY])


def list_refusals(
    own: CollectionState,
    target_site: Site,
    report: PromotionReport,
    *,
    may_widen: bool = False,
    may_overwrite: bool = False,
) -> list[HvenError]:
    """List the reasons for which a collection cannot be promoted.

    Parameters
    ----------
    own
        What this site publishes.
    target_site
        The target.
    report
        How the two sites differ.
    may_widen, may_overwrite
        As for `promote_collection`.
    """
    refusals: list[HvenError] = []
    faults = find_refused_columns(own.described_resource, own.tables)
    if faults:
        refusals.append(DescriptorError(faults))
    try:
        _check_own_descriptor(own, target_site)
    except HvenError as error:
        refusals.append(error)
    if report.foreign_changes and report.has_changes and not may_overwrite:
        message = (
            f"the target has changes to {report.collection} that this site lacks: {'; '.join(report.foreign_changes)}"
        )
        remedy = (
            "make the same changes on this site, and then add --overwrite to replace the target's state; --back "
            "restores that state"
        )
        refusals.append(ConflictError(message, remedy=remedy))
    wider_rights = [difference for difference in report.metadata.rights if difference.is_wider]
    if wider_rights and not may_widen:
        texts = [f"{difference.table} ({difference.before} -> {difference.after})" for difference in wider_rights]
        remedy = "correct the descriptor, or add --widen if you intend this"
        refusals.append(ConflictError(f"more people could see {', '.join(texts)}", remedy=remedy))
    return refusals


def _check_own_descriptor(own: CollectionState, target_site: Site) -> None:
    """Check the descriptor with the settings of the target, so that faults have their lines in this site's file.

    Raises
    ------
    DescriptorError
        It has faults.
    UserError
        It describes the columns in another way, because the sites have other defaults or standards.
    """
    own_resource = own.described_resource
    resource = descriptor.load_descriptor(own_resource.path, target_site.settings)
    own_facts = _describe_descriptor(own_resource)
    for table_name, facts in _describe_descriptor(resource).items():
        if facts != own_facts.get(table_name):
            raise UserError(
                f"with the settings of the target, {own_resource.path} describes {table_name} differently",
                remedy="give both sites the same [defaults] in hven.toml, and the same files in standards/",
            )


def _describe_descriptor(resource: CollectionSpec) -> dict[str, Any]:
    facts = {}
    for spec in resource.tables:
        # descriptions may contain the address of the site
        columns = [column._replace(description="") for column in describe_tables("", [spec.table]).columns]
        facts[spec.table.name] = (columns, spec.table.access, spec.table.project, spec.table.policy)
    return facts


def _find_user_name() -> str:
    """Return the name of the user who runs this process; in a container, a user may have only a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class _PromotionRun:
    """One run of a promotion, under the lease of the collection on the target."""

    def __init__(
        self, own: CollectionState, target: CollectionState, report: PromotionReport, run: str, lease: Lease
    ) -> None:
        self.own = own
        self.own_resource = own.described_resource
        self.target = target
        self.site = target.site
        self.report = report
        self.run = run
        self.lease = lease
        report.by = _find_user_name()
        self.engine = self._find_engine()

    def _find_engine(self) -> StorageEngine:
        name = self.own_resource.engine or self.site.engines.default_engine
        check_servers_can_read(self.site.settings, self.site.store, name)
        return self.site.engines.get_engine(name)

    def execute(self) -> None:
        """Stage, verify and publish."""
        directory = f"{pinned_directories.PROMOTED_FOLDER}/{self.own.name}/{self.run}"
        pinned_resource = self._copy_files(directory)
        new_records: list[SnapshotRecord] = []
        with ExitStack() as stack:
            stack.callback(self._drop_unpublished, new_records)
            self.report.at = self._choose_publication_time()
            facts = {
                "site": self.own.site.store.get_site_id(),
                "run": self.run,
                "by": self.report.by,
                "at": self.report.at,
                "hashes": dict(pinned_resource.hashes),
            }
            promoted_tables = self._select_promoted_tables()
            for table in promoted_tables:
                # one by one: if a later table fails, the callback drops those before
                new_records.append(self._stage_table(table, directory, facts))  # noqa: PERF401
            self._store_change_sets(new_records)
            self._publish(new_records, promoted_tables)
            stack.pop_all()
        self.site.refresh_published_state()
        pinned_directories.link_current_directory(self.site.settings, self.own.name, directory, self.run)

    def _copy_files(self, directory: str) -> CollectionSpec:
        """Copy descriptor and files; return the descriptor as the target reads it."""
        pinned_path = self.site.settings.directory / directory
        own_files = pinned_directories.list_own_files(self.own_resource)
        earlier_files: dict[str, Any] = {}
        if _find_pinned_directory(self.target.records.values()) is not None:
            earlier_files = pinned_directories.list_collection_files(self.target.directory)
        self.report.copied_files = pinned_directories.copy_files(own_files, pinned_path, earlier_files)
        return descriptor.load_descriptor(pinned_path / f"{self.own.name}.yaml", self.site.settings)

    def _choose_publication_time(self) -> str:
        """Return the present time, or a later one than that of all published snapshots, whatever the clock says."""
        newest = max((record.created for record in self.target.records.values()), default="")
        present = format_current_time()
        if present > newest:
            return present
        later = datetime.fromisoformat(newest).astimezone(UTC) + timedelta(microseconds=1)
        return f"{later.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def _select_promoted_tables(self) -> list[TablePromotion]:
        """Return the tables that get a new snapshot: one at least, because a snapshot pins the descriptor."""
        promoted_tables = [table for table in self.report.tables if self._is_snapshot_needed(table)]
        if promoted_tables:
            return promoted_tables
        # a table with a key shares the rows of the snapshot before; another one is copied
        return [min(self.report.tables, key=lambda table: (not table.own.table.primary, table.own.snapshot.bytes))]

    def _is_snapshot_needed(self, table: TablePromotion) -> bool:
        record = self.target.records.get(table.record.table.qualified_name)
        if table.has_changes or table.is_described_differently:
            return True
        return record is None or PROMOTION_KEY not in record.provenance

    def _stage_table(self, table: TablePromotion, directory: str, facts: Mapping[str, Any]) -> SnapshotRecord:
        can_merge = table.target is not None and table.target.engine is self.engine and table.own.table.primary
        difference = table.difference if can_merge else None
        if difference is None:
            check_disk_space(self.site, self.own.name, table.record.snapshot.bytes)
        snapshot, table.copied_rows = stage_rows(table.own, table.target, difference, self.engine, create_run_id())
        try:
            copy = StoredRows(table=table.record.table, snapshot=snapshot, engine=self.engine)
            table.target_hashes = verify_copy(table.own_hashes, copy)
        except BaseException:
            self.site.engines.drop_snapshots([snapshot])
            raise
        promotion = {**facts, "snapshot": table.record.id, "digest": table.own_hashes.digest}
        provenance = {**table.record.provenance, PINNED_DIRECTORY_KEY: directory, PROMOTION_KEY: promotion}
        provenance["inputs"] = {}  # they are snapshots of this site
        return SnapshotRecord(
            snapshot=snapshot,
            table=table.record.table,
            collection=self.own.name,
            run=self.run,
            created=self.report.at,
            provenance=provenance,
        )

    def _store_change_sets(self, new_records: Sequence[SnapshotRecord]) -> None:
        """Store what changes, for clients that follow the changes of the target."""
        for record in new_records:
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

    def _publish(self, new_records: list[SnapshotRecord], promoted_tables: Sequence[TablePromotion]) -> None:
        promoted_names = {table.record.table.qualified_name for table in promoted_tables}
        kept_records = [
            record
            for name, record in self.target.records.items()
            if name in self.own.records and name not in promoted_names
        ]
        with publication.acquire_files_lease(self.site, wait_seconds=publication.SWEEP_TIMEOUT_SECONDS):
            self.site.store.publish_collections(
                [(self.own.name, [*new_records, *kept_records], self.lease)],
                run_id=self.run,
                amended_records=self._pin_own_state_of_target(),
                must_hold=True,
            )
            for record in new_records:
                self.engine.note_published_snapshot(record.snapshot)

    def _pin_own_state_of_target(self) -> list[SnapshotRecord]:
        """Pin a copy of the target's own descriptor to its published snapshots, so that --back returns to both."""
        records = list(self.target.records.values())
        if not records or self.target.resource is None or _find_pinned_directory(records) is not None:
            return []
        directory = f"{pinned_directories.PROMOTED_FOLDER}/{self.own.name}/before-{self.run}"
        files = pinned_directories.list_own_files(self.target.resource)
        pinned_directories.copy_files(files, self.site.settings.directory / directory, {}, links_large_files=True)
        return [
            replace(record, provenance={**record.provenance, PINNED_DIRECTORY_KEY: directory}) for record in records
        ]

    def _drop_unpublished(self, new_records: list[SnapshotRecord]) -> None:
        self.site.engines.drop_snapshots(record.snapshot for record in new_records)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnReport:
    """What a return to an earlier publication did.

    Attributes
    ----------
    state
        Qualified table -> id of the snapshot that is published again.
    tables
        Qualified table -> number of rows, and whether their digest is that of the promotion; None: none is recorded.
    """

    state: Mapping[str, str]
    tables: Mapping[str, tuple[int, bool | None]]


def return_to_earlier_publication(target_site: Site, name: str) -> ReturnReport:
    """Publish what the target published before the last promotion: rows, metadata, rights and files.

    Parameters
    ----------
    target_site
        The target.
    name
        Name of the collection.

    Raises
    ------
    ConflictError
        The published state does not come from a promotion, or a run changes the collection.
    NotFoundError
        The earlier state is not kept.
    """
    target = read_collection_state(target_site, name)
    unpromoted = [table for table, record in target.records.items() if PROMOTION_KEY not in record.provenance]
    if not target.records or unpromoted:
        what = f"{', '.join(unpromoted)} does not come from a promotion" if unpromoted else "it publishes no rows of it"
        raise ConflictError(
            f"the target cannot return to what it published before the last promotion of {name}: {what}",
            remedy="run `hven history` and `hven rollback` on the target",
        )
    state = target_site.store.roll_back(name)
    restored = read_collection_state(target_site, name)
    _finish_link(restored, create_run_id())
    tables = {}
    for table_name, record in restored.records.items():
        promotion = record.provenance.get(PROMOTION_KEY)
        hashes = hash_rows(open_rows(target_site, record))
        is_same = None if promotion is None else hashes.digest == promotion["digest"]
        tables[table_name] = (hashes.row_count, is_same)
    return ReturnReport(state=state, tables=tables)
