"""ivoa.obscore and ivoa.obscore_radio.

The observations of all tables that say ``obscore:``, as views that are never written down.

Each reader has the union of those tables that they see, so a private collection's rows are in nobody else's
ivoa.obscore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven import adql
from hven.descriptor import load_standard
from hven.descriptor.observations import (
    OBSCORE_RADIO_VIEW,
    OBSCORE_VIEW,
    STANDARDS_BY_VIEW,
    ObservationViewMember,
    compile_view_member,
)
from hven.model.errors import HvenError
from hven.model.table import DATALINK_MEDIA_TYPE, Column, Schema, Table, set_column_epochs
from hven.model.types import STRING
from hven.site._catalogue import Catalogue
from hven.site._published_state import PublishedTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.model.resource import Resource, TableSpec

OBSCORE_SCHEMA = "ivoa"
FILE_SERVICES = ("soda", "previews")  # what a row's own file leads to besides itself
FILE_COLUMN_SOURCES = {
    "hven_url": "access_url",
    "hven_format": "access_format",
}  # hidden columns, and those that they are copies of
_FILE_COLUMNS = tuple(Column(name=name, type=STRING, hidden=True, rank=30) for name in FILE_COLUMN_SOURCES)


@lru_cache(maxsize=2)
def _load_standard_table(standard_name: str) -> Table:
    """Return the table of a standard."""
    resource = load_standard(STANDARDS_BY_VIEW[standard_name])
    return set_column_epochs(resource.tables[0].table)


def build_obscore_views(published: Mapping[str, PublishedTable]) -> tuple[dict[str, PublishedTable], list[str]]:
    """Make the views of what is published, and say what cannot be part of them."""
    problems: list[str] = []
    members = {kind: _collect_members(kind, published, problems) for kind in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW)}
    # NATURAL JOIN joins by all names that both have: obs_publisher_did shall be the only one
    if members[OBSCORE_RADIO_VIEW]:
        radio_columns = {column.name for column in _load_standard_table(OBSCORE_RADIO_VIEW).columns} - {
            "obs_publisher_did"
        }
    else:
        radio_columns = set()
    obscore_views = {}
    for kind, view_members in members.items():
        if view_members:
            obscore_views[f"{OBSCORE_SCHEMA}.{kind}"] = _build_union_view(
                kind, view_members, published, problems, radio_columns if kind == OBSCORE_VIEW else set()
            )
    return obscore_views, problems


def _collect_members(
    standard_name: str, published: Mapping[str, PublishedTable], problems: list[str]
) -> list[ObservationViewMember]:
    view_members = []
    for name, item in sorted(published.items()):
        spec = _find_table_spec(item.resource, item.table.name)
        if spec is None or item.resource is None:
            continue
        try:
            if item.table.is_served_by(OBSCORE_VIEW):
                view_member = compile_view_member(spec, item.table, item.resource, standard_name)
            else:
                view_member = None
            if view_member is not None:
                if standard_name == OBSCORE_VIEW:
                    view_member = _link_to_datalink(_add_file_columns(view_member), item.table, item.resource)
                query = adql.parse_query(view_member.write_query(view_member.columns))
                adql.bind_query(
                    query,
                    Catalogue(access_key="", schemas=(Schema(name=item.table.schema, tables=(item.table,)),)),
                )
                view_members.append(view_member)
        except HvenError as error:
            problems.append(f"{OBSCORE_SCHEMA}.{standard_name} is without {name}: {error}")
    return view_members


def _add_file_columns(member: ObservationViewMember) -> ObservationViewMember:
    """Add where the file itself is, whatever its row leads to: for services whose clients know of no links."""
    file_items = {
        name: member.column_expressions.get(source_column, "CAST(NULL AS VARCHAR)")
        for name, source_column in FILE_COLUMN_SOURCES.items()
    }
    column_expressions = {**member.column_expressions, **file_items}
    return replace(
        member,
        column_expressions=column_expressions,
        columns=(*member.columns, *_FILE_COLUMNS),
    )


def _link_to_datalink(member: ObservationViewMember, table: Table, resource: Resource) -> ObservationViewMember:
    """Let rows that lead to more than their file lead to the list of that (DataLink 1.1 section 1.2.3)."""
    kinds = {link.semantics for link in table.effective_links}
    has_file_services = any(map(table.is_served_by, FILE_SERVICES))
    has_more_links = len(table.effective_links) > 1
    if table.has_row_files and has_file_services:
        has_more_links = True
    if (
        "#this" not in kinds
        or not has_more_links
        or not table.is_served_by("datalink")
        or table.identifier_column is None
    ):
        return member
    key = adql.quote_name(table.identifier_column.name)
    if table.identifier_column.type.is_string:
        value = key
    else:
        value = f"CAST({key} AS VARCHAR)"
    url = f"'{resource.site['url']}/datalink/{quote(table.qualified_name)}?ID=' || URL_ENCODE({value})"
    column_expressions = {
        **member.column_expressions,
        "access_url": url,
        "access_format": f"'{DATALINK_MEDIA_TYPE}'",
    }
    return replace(
        member,
        column_expressions=column_expressions,
    )


def _find_table_spec(resource: Resource | None, table_name: str) -> TableSpec | None:
    if resource is not None:
        return next((spec for spec in resource.tables if spec.table.name == table_name), None)
    return None


def _build_union_view(
    standard_name: str,
    members: Sequence[ObservationViewMember],
    published: Mapping[str, PublishedTable],
    problems: list[str],
    excluded_columns: set[str],
) -> PublishedTable:
    standard = _load_standard_table(standard_name)
    columns, clashes = _merge_columns(standard, members, excluded_columns)
    problems += [
        (
            f"{OBSCORE_SCHEMA}.{standard_name}: {column} of {table} is {member_type} there and {expected_type} "
            f"elsewhere; it is left out"
        )
        for table, column, member_type, expected_type in clashes
    ]
    clashing_columns = {(table, column) for table, column, *_ in clashes}
    members_by_table = {
        view_member.table: replace(
            view_member,
            column_expressions={
                name: text
                for name, text in view_member.column_expressions.items()
                if (view_member.table, name) not in clashing_columns
            },
        )
        for view_member in members
    }
    access = "public" if any(published[name].table.access == "public" for name in members_by_table) else "private"
    table = standard.copy_with(
        schema=OBSCORE_SCHEMA,
        columns=columns,
        access=access,
    )
    newest = max(published[name].updated for name in members_by_table)
    view = UnionView(table, members_by_table, frozenset(column.name for column in standard.columns))
    return PublishedTable(
        table=view.build_table(members_by_table),
        relation=None,
        updated=newest,
        read_tables=tuple(members_by_table),
        members=view,
    )


class UnionView(Mapping[str, ObservationViewMember]):
    """The members of a view by the names of their tables, and the view as who sees some of them sees it."""

    def __init__(
        self, table: Table, members: Mapping[str, ObservationViewMember], standard_columns: frozenset[str]
    ) -> None:
        self._table = table
        self._members = members
        self._standard_columns = standard_columns

    def __getitem__(self, name: str) -> ObservationViewMember:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def build_table(self, table_names: Collection[str]) -> Table:
        """Return the view over some members: with the columns that they have, as they describe them.

        No word of the others is in it.

        Parameters
        ----------
        table_names
            Of tables.
        """
        chosen_members = [view_member for name, view_member in self._members.items() if name in table_names]
        member_columns: dict[str, Column] = {}
        for view_member in chosen_members:
            for column in view_member.columns:
                member_columns.setdefault(column.name, column)
        columns = tuple(
            column if column.name in self._standard_columns else member_columns[column.name]
            for column in self._table.columns
            if column.name in member_columns
        )
        view = join_selects([view_member.write_query(columns) for view_member in chosen_members])
        return self._table.copy_with(columns=columns, view=view)


def join_selects(selects: Sequence[str]) -> str:
    """Join the queries of members by UNION ALL."""
    return " UNION ALL ".join(selects)


def _merge_columns(
    standard: Table, members: Sequence[ObservationViewMember], excluded_columns: set[str]
) -> tuple[tuple[Column, ...], list[tuple[str, str, str, str]]]:
    """Return the standard's columns that are mandatory or that a member has, then those that members have besides.

    And those that clash.
    """
    member_columns: dict[str, Column] = {}
    clashes = []
    for view_member in members:
        for column in view_member.columns:
            first_column = member_columns.setdefault(column.name, column)
            if first_column.type != column.type:
                clashes.append((view_member.table, column.name, str(column.type), str(first_column.type)))
    standard_columns = {column.name: column for column in standard.columns}
    leading_columns = [
        column.copy_with(std=True)
        for name, column in standard_columns.items()
        if name in member_columns and name not in excluded_columns
    ]
    return (
        *leading_columns,
        *(
            column
            for name, column in member_columns.items()
            if name not in standard_columns and name not in excluded_columns
        ),
    ), clashes


__all__ = ["OBSCORE_SCHEMA", "build_obscore_views", "join_selects"]
