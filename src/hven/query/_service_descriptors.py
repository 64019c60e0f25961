"""Descriptors of services that go with an answer (DataLink 1.1, section 4): once for each plan, for every table whose rows lead somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.adql.tree import ColumnRef, Derived, Join, Select, SelectItem, TableRef
from hven.formats.media import selecting
from hven.formats.votable import field_ids, resource
from hven.model.params import Param
from hven.model.table import LINKS, Input, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.adql.tree import Bound, FromItem
    from hven.model.table import Table

SITE = "{site.url}"  # in a descriptor: the site's address, which may be another one for each reader
_ID = Input(param=Param(name="ID", ucd="meta.id;meta.main"))


def descriptors(bound: Bound) -> tuple[str, ...]:
    """Describe the services that take a value of an answer's column.

    Parameters
    ----------
    bound
        A query, bound to tables as its reader knows them.

    Returns
    -------
    resources
        XML of a RESOURCE each, with `SITE` in it: for columns that are a table's identifier, as it is.
    """
    body = bound.query.body
    if not isinstance(body, Select) or body.source is None:
        return ()
    tables = dict(_tables(body.source))
    names = tuple(column.name for column in bound.columns)
    found: dict[str, str] = {}
    for item, ident in zip(body.items, field_ids(names), strict=True):
        if not isinstance(item, SelectItem) or not isinstance(item.expr, ColumnRef):
            continue
        table = tables.get(item.expr.source)
        key = None if table is None else table.identifier
        if table is None or key is None or key.name != item.expr.name.name:
            continue
        if table.offers("datalink") and table.leads:
            found.setdefault(table.qualified, _descriptor(table, ident))
        if table.offers("soda") and table.filed:
            found.setdefault(f"{table.qualified} cut", _cutting(table, ident))
    return tuple(found.values())


def _tables(item: FromItem) -> Iterator[tuple[int, Table | None]]:
    """Yield the tables and views that a query names, by their numbers."""
    if isinstance(item, Join):
        yield from _tables(item.left)
        yield from _tables(item.right)
    elif isinstance(item, TableRef | Derived):
        yield item.number, item.table if isinstance(item, TableRef) else item.view


def _descriptor(table: Table, ref: str) -> str:
    """Describe the list of links, whose ID is a value of a column."""
    links = Service(address=(f"{SITE}/datalink/{quote(table.qualified)}",), inputs=(_ID,), standard=LINKS)
    return resource(
        links, name="links", description=f"What rows of {table.qualified} lead to", refs={_ID.param.name: ref}
    )


def _cutting(table: Table, ref: str) -> str:
    """Describe the service that cuts the file of a row; pyvo looks for it here, beside the list of links."""
    of = Input(param=selecting.TABLE, value=(table.qualified,))
    inputs = (Input(param=selecting.ID), of, *(Input(param=param) for param in selecting.PARAMS))
    cuts = Service(address=(f"{SITE}/soda/sync",), inputs=inputs, standard=selecting.STANDARD)
    words = f"Parts of the files of {table.qualified}"
    return resource(cuts, name="cuts", description=words, kind="application/fits", refs={selecting.ID.name: ref})
