"""What a reader may know of the origins of published tables: their snapshots, runs, files and inputs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from hven.engines import Snapshot
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec, TableSpec
    from hven.portal.api.pages import PageContext
    from hven.site import PublishedTable
    from hven.site.store import IngestRun

PUBLIC_SCHEMES = frozenset({"http", "https", "ftp"})  # of sources whose addresses readers see


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOrigin:
    """What is stored about the origin of a snapshot.

    Attributes
    ----------
    id
        Id of the snapshot.
    table_name
        Qualified name of its table, without a release.
    run_id
        Id of the run that made it.
    created
        ISO time, UTC.
    provenance
        See `hven.site.store.SnapshotRecord`.
    is_whole
        Whether the reader sees all its rows and values, and so may know of its files and numbers.
    row_count
        Number of its rows.
    """

    table_name: str
    id: str
    run_id: str
    created: str
    provenance: Mapping[str, Any]
    is_whole: bool
    row_count: int | None

    @property
    def collection_name(self) -> str:
        """Name of the collection."""
        return self.table_name.partition(".")[0]

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The files or services that were read; none if the reader must not know of them."""
        if self.is_whole:
            return self.provenance.get("pins") or ()
        return ()


class ReaderSite:
    """The published tables of a site that a reader may know of, in one published state and one portal.

    Parameters
    ----------
    page_context
        Context of the request.
    """

    def __init__(self, page_context: PageContext) -> None:
        self.context = page_context.context
        self.site = page_context.context.site
        self.principal = page_context.principal
        self.base_url = page_context.base
        self.published_state = page_context.published_state
        self.catalogue = page_context.catalogue
        self._origins: dict[str, SnapshotOrigin | None] = {}
        self._runs: dict[str, IngestRun | None] = {}
        self._find_whole_table = self.published_state.create_visible_statistics_lookup(
            self.principal, self.context.policies
        )

    @property
    def namespace(self) -> str:
        """Namespace of the ids of records: each id is an address."""
        return f"{self.base_url}/prov?ID="

    @cached_property
    def tables(self) -> dict[str, PublishedTable]:
        """Published tables by qualified name."""
        published_tables = self.published_state.tables_by_name
        return {
            table.qualified_name: published_tables[table.qualified_name]
            for table in self.catalogue.iterate_tables()
            if table.qualified_name in published_tables and table.owner is None
        }

    @cached_property
    def collections(self) -> dict[str, CollectionSpec]:
        """Collections by name."""
        resources = self.published_state.resources
        return {
            schema.name: resources[schema.name]
            for schema in self.catalogue.schemas
            if schema.name in resources and any(table.qualified_name in self.tables for table in schema.tables)
        }

    @cached_property
    def tables_by_collection(self) -> Mapping[str, list[str]]:
        """Qualified names of the current tables of each collection."""
        names_by_collection = defaultdict(list)
        for name, published in self.tables.items():
            if published.release is None:
                names_by_collection[published.table.schema].append(name)
        return names_by_collection

    @cached_property
    def tables_by_snapshot(self) -> Mapping[str, list[PublishedTable]]:
        """Current and released tables by the ids of their snapshots."""
        tables_by_snapshot = defaultdict(list)
        for published in self.tables.values():
            if isinstance(published.relation, Snapshot):
                tables_by_snapshot[published.relation.id].append(published)
        return tables_by_snapshot

    @cached_property
    def snapshots_by_run(self) -> Mapping[str, list[str]]:
        """Ids of current and released snapshots by the ids of their runs."""
        snapshots_by_run = defaultdict(list)
        for snapshot_id, published_tables in self.tables_by_snapshot.items():
            snapshots_by_run[published_tables[0].run_id or ""].append(snapshot_id)
        return snapshots_by_run

    @cached_property
    def snapshots_by_input(self) -> Mapping[str, list[str]]:
        """Ids of current and released snapshots by the ids of the snapshots that they were made from."""
        snapshots_by_input = defaultdict(list)
        for snapshot_id, published_tables in self.tables_by_snapshot.items():
            for input_id in published_tables[0].provenance.get("inputs", {}).values():
                snapshots_by_input[input_id].append(snapshot_id)
        return snapshots_by_input

    def is_fully_visible(self, published: PublishedTable) -> bool:
        """Return whether the reader sees all rows and values of a table.

        Parameters
        ----------
        published
            A table that the reader may know of.
        """
        return self._find_whole_table(published.table) is not None

    def find_origin(self, snapshot_id: str) -> SnapshotOrigin | None:
        """Find what the reader may know of the origin of a snapshot.

        Parameters
        ----------
        snapshot_id
            Id of a current, a released or an earlier snapshot.
        """
        if snapshot_id not in self._origins:
            self._origins[snapshot_id] = self._read_origin(snapshot_id)
        return self._origins[snapshot_id]

    def _read_origin(self, snapshot_id: str) -> SnapshotOrigin | None:
        published_tables = self.tables_by_snapshot.get(snapshot_id)
        if published_tables:
            published = published_tables[0]
            table = published.table
            if published.release is None:
                collection = table.schema
            else:
                collection = published.release.collection
            return SnapshotOrigin(
                id=snapshot_id,
                table_name=f"{collection}.{table.name}",
                run_id=published.run_id or "",
                created=published.updated,
                provenance=published.provenance,
                is_whole=all(map(self.is_fully_visible, published_tables)),
                row_count=published.rows,
            )
        try:
            record = self.site.store.get_record(snapshot_id)
        except NotFoundError:
            return None
        current_table = self.tables.get(record.table.qualified_name)
        if current_table is None:
            return None
        return SnapshotOrigin(
            id=snapshot_id,
            table_name=record.table.qualified_name,
            run_id=record.run,
            created=record.created,
            provenance=record.provenance,
            is_whole=self.is_fully_visible(current_table),
            row_count=record.snapshot.rows,
        )

    def list_run_snapshots(self, run_id: str) -> list[str]:
        """List the snapshots that a run made, as far as the reader may know of them.

        Parameters
        ----------
        run_id
            Id of a run.
        """
        snapshot_ids = self.snapshots_by_run.get(run_id)
        if snapshot_ids:
            return snapshot_ids
        run = self.find_stored_run(run_id)
        if run is None or run.collection not in self.collections:
            return []
        records = self.site.store.list_snapshots(run.collection)
        return [record.id for record in records if record.run == run_id and self.find_origin(record.id) is not None]

    def find_stored_run(self, run_id: str) -> IngestRun | None:
        """Return a run; None if it is no longer kept. The caller checks that the reader may know of it.

        Parameters
        ----------
        run_id
            Id of a run.
        """
        if run_id not in self._runs:
            try:
                self._runs[run_id] = self.site.store.runs.get_run(run_id)
            except NotFoundError:
                self._runs[run_id] = None
        return self._runs[run_id]

    def find_previous_snapshot(self, origin: SnapshotOrigin) -> str | None:
        """Return the snapshot that was published before another one of its table.

        Parameters
        ----------
        origin
            Origin of a snapshot.
        """
        previous_id = None
        for event in reversed(self.site.store.list_publication_events(origin.collection_name)):
            snapshot_id = event.state.get(origin.table_name)
            if snapshot_id == origin.id:
                return previous_id
            previous_id = snapshot_id or previous_id
        return None

    def find_table_spec(self, table_name: str) -> TableSpec | None:
        """Return the description of a table in its descriptor.

        Parameters
        ----------
        table_name
            Qualified name of a current table.
        """
        collection, _, name = table_name.partition(".")
        resource = self.collections.get(collection)
        specs = () if resource is None else resource.tables
        return next((spec for spec in specs if spec.table.name == name), None)

    def can_see_account(self, account: str, collection: str) -> bool:
        """Return whether the reader may know that an account changed a collection.

        Parameters
        ----------
        account
            Name of the account.
        collection
            Name of the collection.
        """
        return self.principal.name == account or self.context.is_operator(self.principal, collection)

    def build_url(self, *path: str) -> str:
        """Build the address of a page.

        Parameters
        ----------
        path
            Parts of its path.
        """
        return "/".join([self.base_url, *(quote(part, safe="") for part in path)])


def strip_private_name_parts(name: str) -> str:
    """Write the name of a file or service without folders of this machine, passwords and queries.

    Parameters
    ----------
    name
        Name as it was recorded: relative to the descriptor, or an address.
    """
    if "://" not in name:
        if name.startswith(("/", "~")):
            return name.rpartition("/")[2]
        return name
    parts = urlsplit(name)
    if parts.scheme.lower() not in PUBLIC_SCHEMES:
        return f"a source of the kind {parts.scheme}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
