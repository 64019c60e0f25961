"""Descriptors of services that go with an answer (DataLink 1.1, section 4): once for each plan, for every table whose rows lead somewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.adql.tree import ColumnRef, Derived, Join, Select, SelectItem, TableRef, walk
from hven.formats.media import selecting
from hven.formats.votable import field_ids, resource
from hven.model.params import Param
from hven.model.table import LINKS, Input, Service
from hven.model.table import SITE as HERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.adql.tree import Bound, FromItem
    from hven.model.table import Link, Table, Template

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
        XML of a RESOURCE each, with `SITE` in it: the list of links, where the identifier of a table is there as it is; services of its rows,
        where all columns are that they take.
    """
    body = bound.query.body
    if not isinstance(body, Select) or body.source is None:
        return ()
    ids = field_ids(tuple(column.name for column in bound.columns))
    there = {
        (item.expr.source, item.expr.name.name): ident
        for item, ident in zip(body.items, ids, strict=True)
        if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef)
    }
    found: dict[str, str] = {}
    for number, table, item in sorted(_tables(body.source), key=lambda one: one[0]):
        if (
            table is None
            or table.identifier is None
            or not table.offers("datalink")
            or not (table.leads or table.spanned)
        ):
            continue
        ref = there.get((number, table.identifier.name))
        if ref is not None:
            found.setdefault(table.qualified, _descriptor(table, ref))
            if any(one.offers("soda") and one.filed for one in (table, *_seen(table, item))):
                found.setdefault(f"{table.qualified} cut", _cutting(table, ref))
        refs = {f'target."{name}"': ident for (of, name), ident in there.items() if of == number}
        for at, link in enumerate(table.links):
            text = None if link.service is None else _service(link, link.service, refs)
            if text is not None:
                found.setdefault(f"{table.qualified} {at}", text)
    return tuple(found.values())


def _service(link: Link, service: Service, columns: Mapping[str, str]) -> str | None:
    """Describe a service that all rows have alike, by the columns that it takes; None: not all are there, or not as they are."""
    if link.condition is not None or link.source is not None:
        return None
    inputs, refs = [], {}
    for one in service.inputs:
        taken = [part for part in one.value if not isinstance(part, str)]
        if taken and (len(one.value) > 1 or taken[0].spec or taken[0].text not in columns):
            return None
        if taken:
            refs[one.param.name] = columns[taken[0].text]
        inputs.append(
            replace(one, value=() if taken else one.value, low=_plain(one.low), high=_plain(one.high), example=())
        )
    address = tuple(SITE if part == HERE else part for part in service.address)
    if _plain(address) != address:
        return None
    made = replace(service, address=address, inputs=tuple(inputs))
    name, kind = link.semantics.rpartition("#")[2], "".join(map(str, _plain(link.type)))
    return resource(made, name=name, description="".join(map(str, _plain(link.description))), kind=kind, refs=refs)


def _plain(template: Template) -> Template:
    """Return what is the same in all rows; nothing, where it is not."""
    return template if all(isinstance(part, str) for part in template) else ()


def _tables(item: FromItem) -> Iterator[tuple[int, Table | None, FromItem]]:
    """Yield the tables and views that a query names, by their numbers."""
    if isinstance(item, Join):
        yield from _tables(item.left)
        yield from _tables(item.right)
    elif isinstance(item, TableRef | Derived):
        yield item.number, item.table if isinstance(item, TableRef) else item.view, item


def _seen(table: Table, item: FromItem) -> Iterator[Table]:
    """Yield the tables whose rows a view of observations has, as its reader knows them."""
    if table.observations:
        yield from (one.table for one in walk(item) if isinstance(one, TableRef) and one.table is not None)


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
