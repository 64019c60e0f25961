"""`PublishedState`: one immutable picture of everything that is published, and each reader's view of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql import get_current_instant
from hven.model.errors import ConflictError
from hven.model.table import Schema
from hven.site import _tap_schema as tap_schema
from hven.site._catalogue import Catalogue
from hven.site._metadata_overlay import select_visible_keys
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    DEFAULT_POLICIES,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    is_table_visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.engines import Relation
    from hven.model.resource import Resource
    from hven.model.table import Table
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.store import Release

USER_SCHEMA = "tap_user"
OWN_TABLES_MARK = "~"  # in a reach: behind it, the tables that are the reader's own
ROW_FILTER_MARK = "/"  # in a reach: before it, which tables are seen; behind it, which rows
MAX_CACHED_ACCESS_KEYS = 4096  # whose reach is remembered
MAX_CACHED_OWNERS = 256  # whose catalogue is remembered


def return_no_tables(_: str) -> tuple[PublishedTable, ...]:
    """Return no tables: nobody has any of their own."""
    return ()


class ViewMembers(Protocol):
    """The tables that a view unites, by name, and the view over some of them."""

    def __iter__(self) -> Iterator[str]:
        """Yield the tables' names."""

    def build_table(self, table_names: Collection[str]) -> Table:
        """Return the view over these tables, with nothing of the others in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One table or view that is published.

    Attributes
    ----------
    relation
        Where its rows are; None for a view, which the binder resolves.
    updated
        When it was ingested (ISO, UTC).
    run_id
        That made its rows; None: they are read in place, or it is a view.
    resource
        Its collection, as the descriptor says it now.
    coverage
        ASCII MOC of its positions, or None.
    rows
        Number of rows; None for a view.
    byte_count
        Of its files.
    statistics
        By column: ``minimum``, ``maximum``, ``nulls``, ``distinct`` ...
    provenance
        What is stored about its snapshot: see `hven.site.store.SnapshotRecord`.
    read_tables
        The tables and views that a view reads, directly or through other views.
    declared_access
        What a view's descriptor says of it alone; its table is private if any table is that it reads.
    members
        Of ivoa.obscore: the tables whose observations it has. Each reader has the union over those that they see.
    damaged_snapshot
        Id of a newer snapshot that is damaged: this one is served for it.
    release
        The release whose state this is; None: it is of now.
    """

    table: Table
    relation: Relation | None
    updated: str
    run_id: str | None = None
    resource: Resource | None = None
    coverage: str | None = None
    rows: int | None = None
    byte_count: int = 0
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    read_tables: tuple[str, ...] = ()
    declared_access: str | None = None
    members: ViewMembers | None = None
    damaged_snapshot: str | None = None
    release: Release | None = None


@dataclass(frozen=True, eq=False)
class PublishedState:
    """Everything published, as one state; later changes make another `PublishedState`.

    Attributes
    ----------
    schemas
        Every schema with all its tables, private ones too: for the site's owner. Readers get `get_catalogue`.
    tables_by_name
        By qualified name.
    resources
        By collection: the descriptors as they are now.
    version
        Changes whenever anything here does: part of plan keys and ETags.
    problems
        What is wrong with descriptors and views; the last good state is in force.
    descriptor_faults
        Collection -> what is wrong with its descriptor, and what is in force instead.
    damages
        Published snapshots that are damaged, and what is served instead.
    list_own_tables
        Name of a reader -> the tables that they keep here (`Table.owner`). They are no part of `tables_by_name` nor of
        `version`: one reader's upload changes nothing for the others, and two readers may have tables of one name.
    """

    schemas: tuple[Schema, ...] = ()
    tables_by_name: Mapping[str, PublishedTable] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    version: str = "0"
    problems: tuple[str, ...] = ()
    descriptor_faults: Mapping[str, str] = field(default_factory=dict)
    damages: tuple[DamagedSnapshot, ...] = ()
    list_own_tables: Callable[[str], tuple[PublishedTable, ...]] = return_no_tables
    _owner_catalogues: dict[str, tuple[Catalogue, Mapping[str, Relation]]] = field(default_factory=dict, repr=False)
    _catalogues: dict[str, Catalogue] = field(default_factory=dict, repr=False)
    _access_keys: dict[tuple[Principal, int], tuple[Sequence[AccessPolicy], str, float, float]] = field(
        default_factory=dict, repr=False
    )

    @cached_property
    def policy_tables(self) -> tuple[Table, ...]:
        """Tables whose descriptor has a policy."""
        return tuple(item.table for item in self.tables_by_name.values() if item.table.policy is not None)

    def select_fully_visible(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> Callable[[Table], PublishedTable | None]:
        """Give what was counted over all rows of a table, if a reader sees it whole.

        Parameters
        ----------
        principal, policies
            Whether a policy hides rows of it from this reader, or values: what was counted would tell of them.

        Returns
        -------
        counted
            Of a table; None: nothing may be told.
        """
        tables = [item.table for item in self.tables_by_name.values()]
        restricted_tables = {
            *collect_row_filters(tables, principal, policies),
            *collect_column_masks(tables, principal),
        }
        return lambda table: (
            None if table.qualified_name in restricted_tables else self.tables_by_name.get(table.qualified_name)
        )

    @cached_property
    def tables_by_release(self) -> Mapping[str, tuple[PublishedTable, ...]]:
        """The states of a table that are released, by its qualified name; the newest first."""
        released_tables: dict[str, tuple[PublishedTable, ...]] = {}
        for item in self.tables_by_name.values():
            if item.release is not None:
                name = f"{item.release.collection}.{item.table.name}"
                released_tables[name] = (*released_tables.get(name, ()), item)
        return released_tables

    @cached_property
    def ingest_site_urls(self) -> frozenset[str]:
        """Addresses that the site had when rows were written that name files of it.

        A server at another port has the same.
        """
        return frozenset(
            site_url for item in self.tables_by_name.values() if (site_url := item.provenance.get("site_url"))
        )

    @cached_property
    def has_member_tables(self) -> bool:
        """Whether there are tables of members."""
        return any(
            item.table.access == "members" or item.declared_access == "members" for item in self.tables_by_name.values()
        )

    def find_access_key(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> str:
        """Return the key of what a reader may know of and which rows they see.

        Equal words, equal catalogues and equal answers.

        It is worked out once for each reader and sequence of policies: policies that change their mind come as another
        sequence.

        Parameters
        ----------
        principal
            The reader.
        policies
            What readers may see.
        """
        if principal.name is None:
            return self._find_common_access_key(principal, policies)
        return self._find_own_access(principal, policies)[0]

    def _find_own_access(
        self, principal: Principal, policies: Sequence[AccessPolicy]
    ) -> tuple[str, tuple[PublishedTable, ...]]:
        """Return the reach of somebody who may have own tables, and these tables."""
        common_key = self._find_common_access_key(principal, policies)
        own_tables = tuple(
            item
            for item in self.list_own_tables(principal.name or "")
            if is_table_visible(item.table, principal, policies)
        )
        if not own_tables:
            return common_key, ()
        table_key, row_mark, filter_key = common_key.partition(ROW_FILTER_MARK)
        own_run_ids = [item.run_id for item in own_tables]
        own_key = _compute_digest(repr((principal.name, own_run_ids)))
        return f"{table_key}{OWN_TABLES_MARK}{own_key}{row_mark}{filter_key}", own_tables

    def _find_common_access_key(self, principal: Principal, policies: Sequence[AccessPolicy]) -> str:
        if (
            policies is DEFAULT_POLICIES
            and not self.policy_tables
            and not self.has_member_tables
            and principal.has_public_view
        ):  # the usual case costs nothing
            return "public"
        cached_key = self._access_keys.get((principal, id(policies)))
        if cached_key is None or (self.policy_tables and not cached_key[2] <= get_current_instant() < cached_key[3]):
            if len(self._access_keys) >= MAX_CACHED_ACCESS_KEYS:
                self._access_keys.clear()
            spans = [
                table.rights.find_validity_period(principal) for table in self.policy_tables if table.rights is not None
            ]
            valid_from = max((validity_period for validity_period, _ in spans), default=0)
            valid_until = min((validity_period for _, validity_period in spans), default=math.inf)
            # the policies are kept with it: another sequence must not get their id
            cached_key = self._access_keys[principal, id(policies)] = (
                policies,
                self._compute_access_key(principal, policies),
                valid_from,
                valid_until,
            )
        return cached_key[1]

    def _compute_access_key(self, principal: Principal, policies: Sequence[AccessPolicy]) -> str:
        tables = [item.table for item in self.tables_by_name.values()]
        filters = collect_row_filters(tables, principal, policies)
        hidden = sorted(
            name for name, item in self.tables_by_name.items() if not self._is_visible(item, principal, policies)
        )
        private = sorted(name for name, item in self.tables_by_name.items() if item.table.access != "public")
        if hidden == private:
            table_key = "public"
        else:
            table_key = _compute_digest(repr(hidden))
        if filters:
            column_masks = collect_column_masks(tables, principal)
            access_scope = build_access_scope(filters, [], column_masks)
            return f"{table_key}{ROW_FILTER_MARK}{access_scope.key}"
        # who sees all of what others see in part is not everybody
        if self.policy_tables:
            return f"{table_key}{ROW_FILTER_MARK}all"
        return table_key

    def _is_visible(self, published: PublishedTable, principal: Principal, policies: Sequence[AccessPolicy]) -> bool:
        """Return whether a reader may know of a table.

        Of a view, only if of everything that it reads, of a union if of one of its members.
        """
        if published.members:
            return any(
                self._is_visible(self.tables_by_name[name], principal, policies) for name in published.members
            ) and is_table_visible(published.table.copy_with(access="public"), principal, policies)
        items = [
            published,
            *(self.tables_by_name[name] for name in published.read_tables if name in self.tables_by_name),
        ]
        tables = [
            read_table.table
            if read_table.declared_access is None
            else read_table.table.copy_with(access=read_table.declared_access)
            for read_table in items
        ]
        return all(is_table_visible(table, principal, policies) for table in tables)

    def get_catalogue(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> Catalogue:
        """Return the schemas and tables that a reader may know of, with TAP_SCHEMA.

        Parameters
        ----------
        principal
            The reader.
        policies
            What readers may see.
        """
        if principal.name is not None:
            access_key, own_tables = self._find_own_access(principal, policies)
        else:
            common_access_key = self._find_common_access_key(principal, policies)
            access_key, own_tables = (common_access_key, ())
        key = access_key.partition(ROW_FILTER_MARK)[0]  # who sees other rows of the same tables has the same catalogue
        if own_tables:
            return self._get_owner_catalogue(key, own_tables, principal, policies)
        cached_catalogue = self._catalogues.get(key)
        if cached_catalogue is None:
            # two threads may both make it; they make the same
            cached_catalogue = self._catalogues.setdefault(key, self._build_catalogue(key, principal, policies))
        return cached_catalogue

    def _build_catalogue(
        self,
        access_key: str,
        principal: Principal,
        policies: Sequence[AccessPolicy],
        own_schemas: tuple[Schema, ...] = (),
    ) -> Catalogue:
        visible_tables = {
            item.table.qualified_name: item.table
            for item in self.tables_by_name.values()
            if self._is_visible(item, principal, policies)
        }
        for name, item in self.tables_by_name.items():
            if name in visible_tables and item.members:
                visible_tables[name] = item.members.build_table(
                    [member for member in item.members if member in visible_tables]
                )
        schemas = []
        for schema in self.schemas:
            tables = tuple(
                _drop_invisible_keys(table, visible_tables)
                for table in schema.tables
                if table.qualified_name in visible_tables
            )
            if tables:
                schemas.append(replace(schema, tables=tables))
        tap_schema_schema, memory = tap_schema.build_tap_schema([*schemas, *own_schemas])
        return Catalogue(
            access_key=access_key, schemas=(*schemas, *own_schemas, tap_schema_schema), memory_relations=memory
        )

    def _get_owner_catalogue(
        self,
        access_key: str,
        own_tables: Sequence[PublishedTable],
        principal: Principal,
        policies: Sequence[AccessPolicy],
    ) -> Catalogue:
        cached_entry = self._owner_catalogues.get(access_key)
        if cached_entry is None:
            tables = tuple(item.table for item in own_tables)
            schema = Schema(name=USER_SCHEMA, tables=tables, title="Your own tables")
            owner_catalogue = self._build_catalogue(access_key, principal, policies, (schema,))
            cached_entry = (
                owner_catalogue,
                {item.table.qualified_name: item.relation for item in own_tables if item.relation is not None},
            )
            while len(self._owner_catalogues) >= MAX_CACHED_OWNERS:
                self._owner_catalogues.pop(next(iter(self._owner_catalogues), ""), None)
            self._owner_catalogues[access_key] = cached_entry
        return cached_entry[0]

    def find_relation(self, table: Table | str, access_key: str = "public") -> Relation:
        """Return the rows of a table; TAP_SCHEMA's are those of a reader's `access_key`.

        Parameters
        ----------
        table
            Itself, or its qualified name.
        access_key
            As `access_key` returned it.

        Returns
        -------
        relation
            A snapshot, or rows in memory.

        Raises
        ------
        KeyError
            Not published, or a view.
        ConflictError
            A reader's own table was changed in this moment.
        """
        if isinstance(table, str):
            name = table
        else:
            name = table.qualified_name
        access_key = access_key.partition(ROW_FILTER_MARK)[0]
        if OWN_TABLES_MARK in access_key:
            catalogue, relations = self._owner_catalogues.get(access_key, (None, {}))
            if name in relations:
                return relations[name]
            if catalogue is not None and name in catalogue.memory_relations:
                return catalogue.memory_relations[name]
        if not isinstance(table, str) and table.owner is not None:
            raise ConflictError(f"the table {name} was changed in this moment", remedy="ask again")
        item = self.tables_by_name.get(name)
        if item is not None and item.relation is not None:
            return item.relation
        if OWN_TABLES_MARK in access_key:
            raise ConflictError("your tables were changed in this moment", remedy="ask again")
        catalogue = self._catalogues.get(access_key) or (self.get_catalogue() if access_key == "public" else None)
        if catalogue is None or name not in catalogue.memory_relations:
            raise KeyError(name)
        return catalogue.memory_relations[name]


def _compute_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _drop_invisible_keys(table: Table, visible_tables: Mapping[str, Table]) -> Table:
    table = visible_tables[table.qualified_name]
    keys = select_visible_keys(table.keys, visible_tables)
    if keys == table.keys:
        return table
    return table.copy_with(keys=keys)
