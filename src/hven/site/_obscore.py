"""ivoa.obscore and ivoa.obscore_radio: the observations of all tables that say ``obscore:``, as views that are never written down.

Each reader has the union of those tables that they see, so a private collection's rows are in nobody else's ivoa.obscore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven import adql
from hven.descriptor import load_standard
from hven.descriptor.observations import OBSCORE, RADIO, STANDARDS, Member, member
from hven.model.errors import HvenError
from hven.model.table import DATALINK, Column, Schema, Table, dated
from hven.model.types import STRING
from hven.site._catalogue import Catalogue
from hven.site._picture import Published

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.model.resource import Resource, TableSpec

SCHEMA = "ivoa"
OF_FILES = ("soda", "previews")  # what a row's own file leads to besides itself
FILE = {"hven_url": "access_url", "hven_format": "access_format"}  # hidden columns, and those that they are copies of
_FILE = tuple(Column(name=name, type=STRING, hidden=True, rank=30) for name in FILE)


@lru_cache(maxsize=2)
def _standard(kind: str) -> Table:
    """Return the table of a standard."""
    resource = load_standard(STANDARDS[kind])
    return dated(resource.tables[0].table)


def views(published: Mapping[str, Published]) -> tuple[dict[str, Published], list[str]]:
    """Make the views of what is published, and say what cannot be part of them."""
    problems: list[str] = []
    members = {kind: _members(kind, published, problems) for kind in (OBSCORE, RADIO)}
    # NATURAL JOIN joins by all names that both have: obs_publisher_did shall be the only one
    theirs = {column.name for column in _standard(RADIO).columns} - {"obs_publisher_did"} if members[RADIO] else set()
    found = {}
    for kind, some in members.items():
        if some:
            found[f"{SCHEMA}.{kind}"] = _view(kind, some, published, problems, theirs if kind == OBSCORE else set())
    return found, problems


def _members(kind: str, published: Mapping[str, Published], problems: list[str]) -> list[Member]:
    found = []
    for name, item in sorted(published.items()):
        spec = _spec(item.resource, item.table.name)
        if spec is None or item.resource is None:
            continue
        try:
            one = member(spec, item.table, item.resource, kind) if item.table.offers(OBSCORE) else None
            if one is not None:
                one = _leading(_filed(one), item.table, item.resource) if kind == OBSCORE else one
                adql.bind(
                    adql.parse(one.select(one.columns)),
                    Catalogue(key="", schemas=(Schema(name=item.table.schema, tables=(item.table,)),)),
                )
                found.append(one)
        except HvenError as error:
            problems.append(f"{SCHEMA}.{kind} is without {name}: {error}")
    return found


def _filed(one: Member) -> Member:
    """Add where the file itself is, whatever its row leads to: for services whose clients know of no links."""
    own = {name: one.items.get(of, "CAST(NULL AS VARCHAR)") for name, of in FILE.items()}
    return replace(one, items={**one.items, **own}, columns=(*one.columns, *_FILE))


def _leading(one: Member, table: Table, resource: Resource) -> Member:
    """Let rows that lead to more than their file lead to the list of that (DataLink 1.1 section 1.2.3)."""
    kinds = {link.semantics for link in table.leads}
    more = len(table.leads) > 1 or (table.filed and any(map(table.offers, OF_FILES)))
    if "#this" not in kinds or not more or not table.offers("datalink") or table.identifier is None:
        return one
    key = adql.quote(table.identifier.name)
    value = key if table.identifier.type.is_string else f"CAST({key} AS VARCHAR)"
    url = f"'{resource.site['url']}/datalink/{quote(table.qualified)}?ID=' || URL_ENCODE({value})"
    return replace(one, items={**one.items, "access_url": url, "access_format": f"'{DATALINK}'"})


def _spec(resource: Resource | None, table: str) -> TableSpec | None:
    return next((spec for spec in resource.tables if spec.table.name == table), None) if resource is not None else None


def _view(
    kind: str, members: Sequence[Member], published: Mapping[str, Published], problems: list[str], without: set[str]
) -> Published:
    standard = _standard(kind)
    columns, clashes = _columns(standard, members, without)
    problems += [
        f"{SCHEMA}.{kind}: {column} of {table} is {mine} there and {other} elsewhere; it is left out"
        for table, column, mine, other in clashes
    ]
    wrong = {(table, column) for table, column, *_ in clashes}
    kept = {
        one.table: replace(
            one, items={name: text for name, text in one.items.items() if (one.table, name) not in wrong}
        )
        for one in members
    }
    table = standard.having(
        schema=SCHEMA,
        columns=columns,
        access="public" if any(published[name].table.access == "public" for name in kept) else "private",
    )
    newest = max(published[name].updated for name in kept)
    view = UnionView(table, kept, frozenset(column.name for column in standard.columns))
    return Published(table=view.over(kept), relation=None, updated=newest, reads=tuple(kept), members=view)


class UnionView(Mapping[str, Member]):
    """The members of a view by the names of their tables, and the view as who sees some of them sees it."""

    def __init__(self, table: Table, members: Mapping[str, Member], standard: frozenset[str]) -> None:
        self._table = table
        self._members = members
        self._standard = standard

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def over(self, names: Collection[str]) -> Table:
        """Return the view over some members: with the columns that they have, as they describe them; no word of the others is in it.

        Parameters
        ----------
        names
            Of tables.
        """
        some = [one for name, one in self._members.items() if name in names]
        theirs: dict[str, Column] = {}
        for one in some:
            for column in one.columns:
                theirs.setdefault(column.name, column)
        columns = tuple(
            column if column.name in self._standard else theirs[column.name]
            for column in self._table.columns
            if column.name in theirs
        )
        return self._table.having(columns=columns, view=union([one.select(columns) for one in some]))


def union(selects: Sequence[str]) -> str:
    """Join the queries of members by UNION ALL."""
    return " UNION ALL ".join(selects)


def _columns(
    standard: Table, members: Sequence[Member], without: set[str]
) -> tuple[tuple[Column, ...], list[tuple[str, str, str, str]]]:
    """Return the standard's columns that are mandatory or that a member has, then those that members have besides; and those that clash."""
    there: dict[str, Column] = {}
    clashes = []
    for one in members:
        for column in one.columns:
            known = there.setdefault(column.name, column)
            if known.type != column.type:
                clashes.append((one.table, column.name, str(column.type), str(known.type)))
    own = {column.name: column for column in standard.columns}
    first = [column.having(std=True) for name, column in own.items() if name in there and name not in without]
    return (*first, *(column for name, column in there.items() if name not in own and name not in without)), clashes


__all__ = ["SCHEMA", "union", "views"]
