"""`PublishedState`: one immutable state of everything that is published, and the view that each user has of it."""

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
from hven.site._metadata_overlay import select_visible_foreign_keys
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
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.store import Release

USER_SCHEMA = "tap_user"
OWN_TABLES_MARK = "~"  # in an access key: before the digest of the user's own tables
ROW_FILTER_MARK = "/"  # in an access key: between what tables the user sees, and what rows
MAX_CACHED_ACCESS_KEYS = 4096
MAX_CACHED_OWNERS = 256
ALL_TIMES = (0, math.inf)  # the period of a user for whom policies never show other rows


def return_no_tables(_: str) -> tuple[PublishedTable, ...]:
    """Return no tables: no user has any."""
    return ()


class ViewMembers(Protocol):
    """The tables that a view unites, by name, and the view over some of them."""

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the tables."""

    def build_view_table(self, table_names: Collection[str]) -> Table:
        """Return the view over these tables, with nothing from the others in it."""


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
        Id of the run that made its rows; None: they are read in place, or it is a view.
    resource
        Its collection, by the present descriptor.
    coverage
        ASCII MOC of its positions, or None.
    rows
        Number of rows; None for a view.
    byte_count
        Size of its files in bytes.
    statistics
        Statistics by column: ``minimum``, ``maximum``, ``nulls``, ``distinct`` ...
    provenance
        What is stored about its snapshot: see `hven.site.store.SnapshotRecord`.
    read_tables
        The tables and views that a view reads, directly or through other views.
    declared_access
        The access that a view's descriptor declares; the view is private if any table that it reads is.
    members
        For ivoa.obscore: the tables whose observations it contains. Each user has the union over those that they see.
    damaged_snapshot
        Id of a newer snapshot that is damaged: this one is served in its place.
    release
        The release to which this state belongs; None: it is the current one.
    """

    table: Table
    relation: Relation | None
    updated: str
    run_id: str | None = None
    resource: CollectionSpec | None = None
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
    """Everything published, as one state; a later change creates another `PublishedState`.

    Attributes
    ----------
    schemas
        Every schema with all its tables, including private ones, for the site's owner. Users get `get_catalogue`.
    tables_by_name
        Tables by qualified name.
    resources
        The present descriptors by collection.
    version
        Changes whenever anything here does: part of plan keys and ETags.
    problems
        What is wrong with descriptors and views; the last good state is in force.
    descriptor_faults
        Collection -> what is wrong with its descriptor, and what is in force instead.
    damages
        Published snapshots that are damaged, and what is served instead.
    list_own_tables
        Name of a user -> the tables that they keep here (`Table.owner`). They are not part of `tables_by_name` nor of
        `version`: one user's upload changes nothing for the others, and two users may have tables of the same name.
    """

    schemas: tuple[Schema, ...] = ()
    tables_by_name: Mapping[str, PublishedTable] = field(default_factory=dict)
    resources: Mapping[str, CollectionSpec] = field(default_factory=dict)
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
        tables = (published_table.table for published_table in self.tables_by_name.values())
        return tuple(table for table in tables if table.policy is not None)

    def create_visible_statistics_lookup(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> Callable[[Table], PublishedTable | None]:
        """Return a function that gives the statistics of a table's rows, if a user sees the table whole.

        Parameters
        ----------
        principal, policies
            The user and the site's policies: statistics would reveal rows or values that a policy hides from the user.

        Returns
        -------
        counted
            Takes a table and returns its published state; None: its statistics must not be shown.
        """
        tables = [published_table.table for published_table in self.tables_by_name.values()]
        row_filters = collect_row_filters(tables, principal, policies)
        column_masks = collect_column_masks(tables, principal)
        restricted_tables = {*row_filters, *column_masks}

        def find_fully_visible(table: Table) -> PublishedTable | None:
            if table.qualified_name in restricted_tables:
                return None
            return self.tables_by_name.get(table.qualified_name)

        return find_fully_visible

    @cached_property
    def released_tables_by_name(self) -> Mapping[str, tuple[PublishedTable, ...]]:
        """The released states of a table, by its qualified name; the newest first."""
        released_tables: dict[str, tuple[PublishedTable, ...]] = {}
        for published_table in self.tables_by_name.values():
            if published_table.release is not None:
                name = f"{published_table.release.collection}.{published_table.table.name}"
                released_tables[name] = (*released_tables.get(name, ()), published_table)
        return released_tables

    @cached_property
    def ingest_site_urls(self) -> frozenset[str]:
        """Addresses that the site had when rows with addresses of its files were written.

        A server at another port has the same addresses.
        """
        site_urls = {published_table.provenance.get("site_url") for published_table in self.tables_by_name.values()}
        return frozenset(filter(None, site_urls))

    @cached_property
    def has_members_only_tables(self) -> bool:
        """Whether there are tables that only members of a project see."""
        for published_table in self.tables_by_name.values():
            if "members" in {published_table.table.access, published_table.declared_access}:
                return True
        return False

    def find_access_key(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> str:
        """Return the key of what a user may know of, and which rows they see.

        Equal keys mean equal catalogues and equal answers. The key is computed once for each user and sequence of
        policies: policies that change their decisions come as another sequence.

        Parameters
        ----------
        principal
            The user.
        policies
            The site's policies.
        """
        if principal.name is None:
            return self._find_common_access_key(principal, policies)
        return self._find_own_tables_and_access_key(principal, policies)[0]

    def _find_own_tables_and_access_key(
        self, principal: Principal, policies: Sequence[AccessPolicy]
    ) -> tuple[str, tuple[PublishedTable, ...]]:
        """Return the access key of a user who may have own tables, and these tables."""
        common_key = self._find_common_access_key(principal, policies)
        own_tables = tuple(
            own_table
            for own_table in self.list_own_tables(principal.name or "")
            if is_table_visible(own_table.table, principal, policies)
        )
        if not own_tables:
            return common_key, ()
        table_key, row_mark, filter_key = common_key.partition(ROW_FILTER_MARK)
        own_run_ids = [published_table.run_id for published_table in own_tables]
        own_key = _compute_digest(repr((principal.name, own_run_ids)))
        return f"{table_key}{OWN_TABLES_MARK}{own_key}{row_mark}{filter_key}", own_tables

    def _find_common_access_key(self, principal: Principal, policies: Sequence[AccessPolicy]) -> str:
        # the usual case costs nothing
        has_default_policies = policies is DEFAULT_POLICIES and not self.policy_tables
        if has_default_policies and not self.has_members_only_tables and principal.has_public_view:
            return "public"
        cached_key = self._access_keys.get((principal, id(policies)))
        if cached_key is None or (
            cached_key[2:] != ALL_TIMES and not cached_key[2] <= get_current_instant() < cached_key[3]
        ):
            if len(self._access_keys) >= MAX_CACHED_ACCESS_KEYS:
                self._access_keys.clear()
            valid_from, valid_until = self._find_validity_period(principal)
            access_key = self._compute_access_key(principal, policies)
            # the entry holds the policies, so that another sequence cannot get their id
            cached_key = (policies, access_key, valid_from, valid_until)
            self._access_keys[principal, id(policies)] = cached_key
        return cached_key[1]

    def _find_validity_period(self, principal: Principal) -> tuple[int, float]:
        """Return from when until when no policy changes what a user sees."""
        valid_from, valid_until = 0, math.inf
        for table in self.policy_tables:
            if table.rights is not None:
                table_from, table_until = table.rights.find_validity_period(principal)
                valid_from, valid_until = max(valid_from, table_from), min(valid_until, table_until)
        return valid_from, valid_until

    def _compute_access_key(self, principal: Principal, policies: Sequence[AccessPolicy]) -> str:
        tables = [published_table.table for published_table in self.tables_by_name.values()]
        filters = collect_row_filters(tables, principal, policies)
        hidden_names, private_names = [], []
        for name, published_table in sorted(self.tables_by_name.items()):
            if not self._is_visible(published_table, principal, policies):
                hidden_names.append(name)
            if published_table.table.access != "public":
                private_names.append(name)
        if hidden_names == private_names:
            table_key = "public"
        else:
            table_key = _compute_digest(repr(hidden_names))
        if filters:
            column_masks = collect_column_masks(tables, principal)
            access_scope = build_access_scope(filters, [], column_masks)
            return f"{table_key}{ROW_FILTER_MARK}{access_scope.key}"
        # a user who sees all rows of which others see a part has another key than the public
        if self.policy_tables:
            return f"{table_key}{ROW_FILTER_MARK}all"
        return table_key

    def _is_visible(self, published: PublishedTable, principal: Principal, policies: Sequence[AccessPolicy]) -> bool:
        """Return whether a user may know of a table.

        A view is visible if everything that it reads is, a union if one of its members is.
        """
        if published.members:
            members = [self.tables_by_name[name] for name in published.members]
            if not any(self._is_visible(member, principal, policies) for member in members):
                return False
            return is_table_visible(published.table.copy_with(access="public"), principal, policies)
        checked_tables = [published]
        checked_tables += [self.tables_by_name[name] for name in published.read_tables if name in self.tables_by_name]
        for checked_table in checked_tables:
            table = checked_table.table
            if checked_table.declared_access is not None:
                table = table.copy_with(access=checked_table.declared_access)
            if not is_table_visible(table, principal, policies):
                return False
        return True

    def get_catalogue(
        self, principal: Principal = ANONYMOUS_PRINCIPAL, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> Catalogue:
        """Return the schemas and tables that a user may know of, with TAP_SCHEMA.

        Parameters
        ----------
        principal
            The user.
        policies
            The site's policies.
        """
        own_tables: tuple[PublishedTable, ...] = ()
        if principal.name is None:
            access_key = self._find_common_access_key(principal, policies)
        else:
            access_key, own_tables = self._find_own_tables_and_access_key(principal, policies)
        # users who see other rows of the same tables have the same catalogue
        key = access_key.partition(ROW_FILTER_MARK)[0]
        if own_tables:
            return self._get_owner_catalogue(key, own_tables, principal, policies)
        cached_catalogue = self._catalogues.get(key)
        if cached_catalogue is None:
            # two threads may both build it; the results are equal
            cached_catalogue = self._catalogues.setdefault(key, self._build_catalogue(key, principal, policies))
        return cached_catalogue

    def _build_catalogue(
        self,
        access_key: str,
        principal: Principal,
        policies: Sequence[AccessPolicy],
        own_schemas: tuple[Schema, ...] = (),
    ) -> Catalogue:
        visible_tables: dict[str, Table] = {}
        for published_table in self.tables_by_name.values():
            if self._is_visible(published_table, principal, policies):
                visible_tables[published_table.table.qualified_name] = published_table.table
        for name, published_table in self.tables_by_name.items():
            if name in visible_tables and published_table.members:
                visible_members = [member for member in published_table.members if member in visible_tables]
                visible_tables[name] = published_table.members.build_view_table(visible_members)
        schemas = []
        for schema in self.schemas:
            schema_tables = [table for table in schema.tables if table.qualified_name in visible_tables]
            if schema_tables:
                tables = tuple(_drop_invisible_foreign_keys(table, visible_tables) for table in schema_tables)
                schemas.append(replace(schema, tables=tables))
        schemas += own_schemas
        tap_schema_schema, memory_relations = tap_schema.build_tap_schema(schemas)
        return Catalogue(
            access_key=access_key, schemas=(*schemas, tap_schema_schema), memory_relations=memory_relations
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
            tables = tuple(own_table.table for own_table in own_tables)
            schema = Schema(name=USER_SCHEMA, tables=tables, title="Your own tables")
            owner_catalogue = self._build_catalogue(access_key, principal, policies, (schema,))
            relations: dict[str, Relation] = {}
            for own_table in own_tables:
                if own_table.relation is not None:
                    relations[own_table.table.qualified_name] = own_table.relation
            cached_entry = (owner_catalogue, relations)
            while len(self._owner_catalogues) >= MAX_CACHED_OWNERS:
                self._owner_catalogues.pop(next(iter(self._owner_catalogues), ""), None)
            self._owner_catalogues[access_key] = cached_entry
        return cached_entry[0]

    def find_relation(self, table: Table | str, access_key: str = "public") -> Relation:
        """Return the rows of a table; for TAP_SCHEMA, those of the catalogue of an access key.

        Parameters
        ----------
        table
            The table, or its qualified name.
        access_key
            The result of `find_access_key`.

        Returns
        -------
        relation
            A snapshot, or rows in memory.

        Raises
        ------
        KeyError
            The table is not published, or is a view.
        ConflictError
            A user's own table was changed at this moment.
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
            raise ConflictError(f"the table {name} has just been changed", remedy="run the query again")
        published_table = self.tables_by_name.get(name)
        if published_table is not None and published_table.relation is not None:
            return published_table.relation
        if OWN_TABLES_MARK in access_key:
            raise ConflictError("your tables have just been changed", remedy="run the query again")
        catalogue = self._catalogues.get(access_key)
        if catalogue is None and access_key == "public":
            catalogue = self.get_catalogue()
        if catalogue is None or name not in catalogue.memory_relations:
            raise KeyError(name)
        return catalogue.memory_relations[name]


def _compute_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _drop_invisible_foreign_keys(table: Table, visible_tables: Mapping[str, Table]) -> Table:
    table = visible_tables[table.qualified_name]
    keys = select_visible_foreign_keys(table.keys, visible_tables)
    if keys == table.keys:
        return table
    return table.copy_with(keys=keys)
