"""ivoa.obscore and ivoa.obscore_radio: views over the observations of all tables that say ``obscore:``.

The views are not stored. Each user has the union of those tables that they see, so nobody else's ivoa.obscore contains
rows of a private collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven import adql
from hven.descriptor import load_standard_descriptor
from hven.descriptor.observations import (
    OBSCORE_RADIO_VIEW,
    OBSCORE_VIEW,
    STANDARDS_BY_VIEW,
    ObscoreViewMember,
    compile_obscore_view_member,
)
from hven.model import plugins
from hven.model.errors import HvenError
from hven.model.table import DATALINK_MEDIA_TYPE, Column, Schema, Table, set_column_epochs
from hven.model.types import STRING
from hven.site._catalogue import Catalogue
from hven.site._published_state import PublishedTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.model.resource import CollectionSpec, TableSpec

OBSCORE_SCHEMA = "ivoa"
# hidden columns, and the columns that they are copies of
FILE_COLUMN_SOURCES = {"hven_url": "access_url", "hven_format": "access_format"}
_FILE_COLUMNS = tuple(Column(name=name, type=STRING, hidden=True, rank=30) for name in FILE_COLUMN_SOURCES)


@lru_cache(maxsize=2)
def _load_standard_table(standard_name: str) -> Table:
    """Return the table that a standard describes."""
    resource = load_standard_descriptor(STANDARDS_BY_VIEW[standard_name])
    return set_column_epochs(resource.tables[0].table)


class ObscoreViewBuilder:
    """Builds the views of what is published.

    A table's part of a view is compiled again only if the table or its descriptor has changed. Otherwise each
    publication of one collection would take longer, the more collections the site has.
    """

    def __init__(self) -> None:
        self._compiled_members: Mapping[tuple[str, str], _CompiledMember] = {}  # by view and qualified table name

    def build_views(self, published: Mapping[str, PublishedTable]) -> tuple[dict[str, PublishedTable], list[str]]:
        """Build the views of what is published; return them with the problems of tables that cannot be part of them."""
        problems: list[str] = []
        members = self._collect_members(published, problems)
        # NATURAL JOIN joins by all names that both views have: obs_publisher_did must be the only one
        radio_columns: set[str] = set()
        if members[OBSCORE_RADIO_VIEW]:
            radio_columns = {column.name for column in _load_standard_table(OBSCORE_RADIO_VIEW).columns}
            radio_columns.discard("obs_publisher_did")
        obscore_views = {}
        for kind, view_members in members.items():
            if view_members:
                excluded_columns = radio_columns if kind == OBSCORE_VIEW else set()
                view = _build_union_view(kind, view_members, published, problems, excluded_columns)
                obscore_views[f"{OBSCORE_SCHEMA}.{kind}"] = view
        return obscore_views, problems

    def _collect_members(
        self, published: Mapping[str, PublishedTable], problems: list[str]
    ) -> dict[str, list[ObscoreViewMember]]:
        members_by_view: dict[str, list[ObscoreViewMember]] = {OBSCORE_VIEW: [], OBSCORE_RADIO_VIEW: []}
        compiled_members: dict[tuple[str, str], _CompiledMember] = {}
        for standard_name, view_members in members_by_view.items():
            for name, published_table in sorted(published.items()):
                key = (standard_name, name)
                compiled_member = self._compiled_members.get(key)
                if compiled_member is None or not compiled_member.is_up_to_date(published_table):
                    try:
                        view_member = _compile_member(standard_name, published_table)
                    except HvenError as error:
                        problems.append(f"{OBSCORE_SCHEMA}.{standard_name} does not include {name}: {error}")
                        continue
                    compiled_member = _CompiledMember(published_table.table, published_table.resource, view_member)
                compiled_members[key] = compiled_member
                if compiled_member.view_member is not None:
                    view_members.append(compiled_member.view_member)
        self._compiled_members = compiled_members  # replaced whole, because another thread may read it
        return members_by_view


@dataclass(frozen=True)
class _CompiledMember:
    """What a table contributes to a view, with what it was compiled from; `view_member` is None: nothing."""

    table: Table
    resource: CollectionSpec | None
    view_member: ObscoreViewMember | None

    def is_up_to_date(self, published_table: PublishedTable) -> bool:
        """Return whether a table is what this was compiled from."""
        return self.resource is published_table.resource and self.table == published_table.table


def _compile_member(standard_name: str, published_table: PublishedTable) -> ObscoreViewMember | None:
    """Compile the part of a view that a table contributes, and check that it binds; None: it contributes nothing."""
    table, resource = published_table.table, published_table.resource
    spec = find_table_spec(resource, table.name)
    if spec is None or resource is None or not table.is_served_by(OBSCORE_VIEW):
        return None
    view_member = compile_obscore_view_member(spec, table, resource, standard_name)
    if view_member is None:
        return None
    if standard_name == OBSCORE_VIEW:
        view_member = _with_datalink_addresses(_with_file_columns(view_member), table, resource)
    query = adql.parse_query(view_member.write_query(view_member.columns))
    schema = Schema(name=table.schema, tables=(table,))
    adql.bind_query(query, Catalogue(access_key="", schemas=(schema,)))
    return view_member


def _with_file_columns(member: ObscoreViewMember) -> ObscoreViewMember:
    """Add the address of the file itself, whatever its row leads to, for services whose clients do not know links."""
    column_expressions = dict(member.column_expressions)
    for name, source_column in FILE_COLUMN_SOURCES.items():
        column_expressions[name] = member.column_expressions.get(source_column, "CAST(NULL AS VARCHAR)")
    return replace(member, column_expressions=column_expressions, columns=(*member.columns, *_FILE_COLUMNS))


def _with_datalink_addresses(member: ObscoreViewMember, table: Table, resource: CollectionSpec) -> ObscoreViewMember:
    """Let rows that lead to more than their file lead to the list of these links (DataLink 1.1 section 1.2.3)."""
    link_semantics = {link.semantics for link in table.effective_links}
    package_services = [name for package in plugins.list_plugin_packages() for name in package.file_services]
    has_file_services = any(map(table.is_served_by, package_services))
    has_more_links = len(table.effective_links) > 1
    if table.has_row_files and has_file_services:
        has_more_links = True
    if "#this" not in link_semantics or not has_more_links:
        return member
    if not table.is_served_by("datalink") or table.identifier_column is None:
        return member
    key = adql.quote_adql_name(table.identifier_column.name)
    if table.identifier_column.type.is_string:
        key_text = key
    else:
        key_text = f"CAST({key} AS VARCHAR)"
    address = f"{resource.site['url']}/datalink/{quote(table.qualified_name)}?ID="
    column_expressions = dict(member.column_expressions)
    column_expressions["access_url"] = f"'{address}' || URL_ENCODE({key_text})"
    column_expressions["access_format"] = f"'{DATALINK_MEDIA_TYPE}'"
    return replace(member, column_expressions=column_expressions)


def find_table_spec(resource: CollectionSpec | None, table_name: str) -> TableSpec | None:
    """Find a table in the descriptor of a collection."""
    if resource is not None:
        for spec in resource.tables:
            if spec.table.name == table_name:
                return spec
    return None


def _build_union_view(
    standard_name: str,
    members: Sequence[ObscoreViewMember],
    published: Mapping[str, PublishedTable],
    problems: list[str],
    excluded_columns: set[str],
) -> PublishedTable:
    standard = _load_standard_table(standard_name)
    columns, clashes = _merge_columns_and_find_type_clashes(standard, members, excluded_columns)
    for table_name, column_name, member_type, expected_type in clashes:
        problems.append(
            f"{OBSCORE_SCHEMA}.{standard_name}: {column_name} of {table_name} is left out, because its type is "
            f"{member_type} instead of {expected_type}"
        )
    clashing_columns = {(table_name, column_name) for table_name, column_name, *_ in clashes}
    members_by_table: dict[str, ObscoreViewMember] = {}
    for member in members:
        column_expressions = dict(member.column_expressions)
        for table_name, column_name in clashing_columns:
            if table_name == member.table:
                column_expressions.pop(column_name, None)
        members_by_table[member.table] = replace(member, column_expressions=column_expressions)
    member_tables = [published[name] for name in members_by_table]
    access = "private"
    if any(member_table.table.access == "public" for member_table in member_tables):
        access = "public"
    table = standard.copy_with(schema=OBSCORE_SCHEMA, columns=columns, access=access)
    view = UnionView(table, members_by_table, frozenset(column.name for column in standard.columns))
    return PublishedTable(
        table=view.build_view_table(members_by_table),
        relation=None,
        updated=max(member_table.updated for member_table in member_tables),
        read_tables=tuple(members_by_table),
        members=view,
    )


class UnionView(Mapping[str, ObscoreViewMember]):
    """The members of a view by the names of their tables, and the view of a user who sees some of them."""

    def __init__(
        self, table: Table, members: Mapping[str, ObscoreViewMember], standard_columns: frozenset[str]
    ) -> None:
        self._table = table
        self._members = members
        self._standard_columns = standard_columns

    def __getitem__(self, name: str) -> ObscoreViewMember:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def build_view_table(self, table_names: Collection[str]) -> Table:
        """Return the view over some members, with the columns that they have, as they describe them.

        Nothing from the other members is in it.

        Parameters
        ----------
        table_names
            Names of the members' tables.
        """
        chosen_members = [member for name, member in self._members.items() if name in table_names]
        member_columns = _collect_first_columns(chosen_members)
        columns = []
        for column in self._table.columns:
            if column.name in member_columns:
                is_standard = column.name in self._standard_columns
                columns.append(column if is_standard else member_columns[column.name])
        view = join_selects_by_union_all([member.write_query(columns) for member in chosen_members])
        return self._table.copy_with(columns=tuple(columns), view=view)


def join_selects_by_union_all(selects: Sequence[str]) -> str:
    """Join the queries of members by UNION ALL."""
    return " UNION ALL ".join(selects)


def _collect_first_columns(members: Sequence[ObscoreViewMember]) -> dict[str, Column]:
    """Return the columns of members by name; of several with one name, the first."""
    first_columns: dict[str, Column] = {}
    for member in members:
        for column in member.columns:
            first_columns.setdefault(column.name, column)
    return first_columns


def _merge_columns_and_find_type_clashes(
    standard: Table, members: Sequence[ObscoreViewMember], excluded_columns: set[str]
) -> tuple[tuple[Column, ...], list[tuple[str, str, str, str]]]:
    """Return the columns of a view, and the columns of members whose types clash.

    The standard's columns that a member has come first, then the further columns of members.
    """
    first_columns = _collect_first_columns(members)
    clashes = []
    for member in members:
        for column in member.columns:
            first_type = first_columns[column.name].type
            if first_type != column.type:
                clashes.append((member.table, column.name, str(column.type), str(first_type)))
    standard_columns = {column.name: column for column in standard.columns}
    names = [name for name in (*standard_columns, *first_columns) if name not in excluded_columns]
    columns = []
    for name in dict.fromkeys(names):
        if name not in standard_columns:
            columns.append(first_columns[name])
        elif name in first_columns:
            columns.append(standard_columns[name].copy_with(std=True))
    return tuple(columns), clashes
