"""What a site publishes of a collection at one moment, and who published it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.ingest import sync
from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.model.errors import ConflictError, NotFoundError, StorageError, UserError
from hven.plugins.promotion.pinned_directories import list_changed_files, list_own_files
from hven.plugins.promotion.row_copies import open_rows
from hven.plugins.schema_life.described_columns import describe_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.promotion.row_copies import SourceRows, StoredRows
    from hven.site import Site
    from hven.site.store import PublicationEvent, SnapshotRecord


class PromotableCollections(NamedTuple):
    """Names of the collections with stored tables, which can be promoted, and of those that store no rows."""

    names: list[str]
    names_without_rows: list[str]


PROMOTION_KEY = "promotion"  # in the provenance of snapshots that a promotion made


@dataclass(frozen=True, kw_only=True)
class SourceCollection:
    """What the site publishes from which a collection is promoted.

    Attributes
    ----------
    site_id
        Identifier of the site.
    resource
        The descriptor; None: the site has none.
    records
        Records of the published snapshots, by qualified table name.
    tables
        All tables as they are published, with views and live tables, by the same names.
    merged_files
        The files of the collection, if they are not those in the directory of the descriptor.
    """

    name: str
    site_id: str
    resource: CollectionSpec | None
    records: Mapping[str, SnapshotRecord] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    merged_files: Mapping[str, Path] | None = None

    def open_rows(self, record: SnapshotRecord) -> SourceRows:
        """Return the rows of a record.

        Parameters
        ----------
        record
            Record of a snapshot.
        """
        raise NotImplementedError

    def compute_description_digests(self) -> dict[str, str]:
        """Return the digest of what the descriptor says of each table, with the settings of this site."""
        return compute_description_digests(self.required_resource)

    @property
    def required_resource(self) -> CollectionSpec:
        """The descriptor of a collection that has one.

        Raises
        ------
        NotFoundError
            It has none.
        """
        if self.resource is None:
            raise NotFoundError(f"{self.name} has no valid descriptor", remedy=f"run `hven check {self.name}`")
        return self.resource

    @property
    def files(self) -> Mapping[str, Path]:
        """The files of the collection; the descriptor has the name that it gets on the target."""
        if self.merged_files is not None:
            return self.merged_files
        return list_own_files(self.required_resource)


@dataclass(frozen=True, kw_only=True)
class CollectionState(SourceCollection):
    """What a site of this machine publishes of a collection."""

    site: Site

    def open_rows(self, record: SnapshotRecord) -> StoredRows:
        """Return the rows of a record.

        Parameters
        ----------
        record
            Record of a snapshot.
        """
        return open_rows(self.site, record)

    @property
    def directory(self) -> Path:
        """The directory of the descriptor."""
        if self.resource is None:
            return self.site.settings.collections_directory / self.name
        return self.resource.path.parent

    @property
    def last_promotion(self) -> Mapping[str, Any] | None:
        """What the newest snapshot that a promotion made says of the promotion; None: there is none."""
        promotion: Mapping[str, Any] | None = self._find_newest_fact(PROMOTION_KEY)
        return promotion

    @property
    def pinned_directory(self) -> str | None:
        """The directory that the newest snapshot with one pins."""
        directory: str | None = self._find_newest_fact(PINNED_DIRECTORY_KEY)
        return directory

    def _find_newest_fact(self, key: str) -> Any:
        records = [record for record in self.records.values() if key in record.provenance]
        return max(records, key=lambda record: record.created).provenance[key] if records else None


def compute_description_digests(resource: CollectionSpec) -> dict[str, str]:
    """Return the digest of what a descriptor says of each table: it depends on the defaults and standards of a site.

    Parameters
    ----------
    resource
        The descriptor.
    """
    digests = {}
    for spec in resource.tables:
        # descriptions may contain the address of the site
        columns = [column._replace(description="") for column in describe_tables("", [spec.table]).columns]
        facts = repr((columns, spec.table.access, spec.table.project, spec.table.policy))
        digests[spec.table.name] = hashlib.sha256(facts.encode()).hexdigest()
    return digests


def read_collection_state(site: Site, name: str) -> CollectionState:
    """Read what a site publishes of a collection.

    Parameters
    ----------
    site
        The site.
    name
        Name of the collection.
    """
    published_state = site.refresh_published_state()
    tables = {}
    for table_name, published_table in published_state.tables_by_name.items():
        if published_table.table.schema == name and published_table.release is None:
            tables[table_name] = published_table.table
    records = {table_name: record for table_name, record in site.published_records.items() if record.collection == name}
    resource = published_state.resources.get(name)
    site_id = site.store.get_site_id()
    return CollectionState(site=site, site_id=site_id, name=name, resource=resource, records=records, tables=tables)


def read_own_state(site: Site, name: str) -> CollectionState:
    """Read what this site publishes of a collection, and check that it can be promoted.

    Parameters
    ----------
    site, name
        As for `read_collection_state`.

    Raises
    ------
    NotFoundError
        The collection has no stored table.
    UserError, StorageError
        The descriptor has faults, or rows are damaged.
    """
    state = read_collection_state(site, name)
    descriptor_state = site.read_descriptor(name)
    if descriptor_state is None or not state.records:
        raise NotFoundError(
            f"this site publishes no stored table of {name!r:.80}",
            remedy=f"run `hven ingest {name}` first; a promotion needs at least one table with rows of its own",
        )
    if descriptor_state.problem is not None or state.resource is None:
        raise UserError(str(descriptor_state.problem), remedy=f"correct the descriptor, and run `hven check {name}`")
    for damage in site.get_published_state().damages:
        if damage.collection == name:
            raise StorageError(damage.owner_message)
    return state


def select_earlier_rows(collection: CollectionState, state_name: str) -> CollectionState:
    """Return a collection with the rows of an earlier state of its site, and the present descriptor and files.

    Parameters
    ----------
    collection
        What the site publishes now. Tables that the state does not have stay as they are.
    state_name
        As for `hven.ingest.sync.find_collection_state`.

    Raises
    ------
    NotFoundError
        There is no such state, or its rows are not kept.
    ConflictError
        The present descriptor describes other columns.
    """
    records = dict(collection.records)
    for name, earlier_record in sync.find_collection_state(collection.site, collection.name, state_name).items():
        record = records.get(name)
        if record is None or not has_same_columns(record.table, earlier_record.table):
            raise ConflictError(
                f"since the state {state_name!r}, {name} got other columns or another key, or was removed",
                remedy="promote the present state, or put the earlier descriptor back and ingest the collection",
            )
        records[name] = replace(earlier_record, table=record.table)
    return replace(collection, records=records)


def has_same_columns(first: Table, second: Table) -> bool:
    """Return whether the rows of two tables can be compared: they have the same columns, types and key.

    Parameters
    ----------
    first, second
        The tables.
    """
    first_schema, second_schema = (table.arrow_schema.remove_metadata() for table in (first, second))
    return bool(first_schema == second_schema) and first.primary == second.primary


def list_events_newest_first(target: CollectionState) -> list[PublicationEvent]:
    """List the publications of a collection that the site remembers.

    Parameters
    ----------
    target
        The collection.
    """
    return sorted(target.site.store.list_publication_events(target.name), key=lambda event: -event.number)


def find_foreign_changes(target: CollectionState, own_site_id: str, equal_names: Collection[str]) -> list[str]:
    """Find what the target has that does not come from promotions of the source site.

    Parameters
    ----------
    target
        The state of the target.
    own_site_id
        Identifier of the source site.
    equal_names
        Tables with the same rows on both sites.

    Returns
    -------
    changes
        Sentences; empty: the target can be replaced.
    """
    changes = []
    stored_records = target.site.store.list_snapshots(target.name)
    for name, record in target.records.items():
        promotion = record.provenance.get(PROMOTION_KEY)
        if promotion is None:
            summary = _summarize_changes(target, record, stored_records)
            changes.append(f"{name} was published there by the run {record.run}{summary}")
        elif promotion["site"] != own_site_id:
            changes.append(f"{name} was promoted from another site at {promotion['at']}")
        elif promotion.get("merged") and name not in equal_names:
            changes.append(f"{name} has rows that were changed there before the promotion at {promotion['at']}")
    last_promotion = target.last_promotion
    if target.resource is None:
        return changes
    if last_promotion is None:
        if not target.records:
            changes.append(f"there is a descriptor {target.resource.path}")
    elif dict(last_promotion["hashes"]) != dict(target.resource.hashes):
        changes.append(f"{target.resource.path} was edited after the promotion")
    elif last_promotion.get("merged_files"):
        changes.append(f"{target.directory} has texts or files that were changed there")
    descriptor_state = target.site.read_descriptor(target.name)
    if descriptor_state is not None and descriptor_state.problem is not None:
        changes.append(f"{target.resource.path} has faults: {descriptor_state.problem}")
    changed_files = list_changed_files(target.directory)
    if changed_files:
        more = f" and {len(changed_files) - 1:,} more" if len(changed_files) > 1 else ""
        changes.append(f"the file {changed_files[0]}{more} was changed in {target.directory}")
    return changes


def _summarize_changes(target: CollectionState, record: SnapshotRecord, stored_records: list[SnapshotRecord]) -> str:
    """Return what changed since the last promotion of a table, if its snapshot is still kept."""
    for earlier_record in stored_records:
        is_promoted = PROMOTION_KEY in earlier_record.provenance
        if is_promoted and earlier_record.table.qualified_name == record.table.qualified_name:
            try:
                change = sync.change_sets.compare_snapshot_records(target.site, earlier_record, record)[1]
            except NotFoundError:
                return ", with other columns"
            return f": {change.added:,} rows added, {change.changed:,} changed, {change.removed:,} removed"
    return ""
