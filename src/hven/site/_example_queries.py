"""Example queries: those of the descriptors, and made ones for tables that no descriptor shows; each as its reader may run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven import adql
from hven.adql.tree import TableRef, walk
from hven.model.errors import HvenError
from hven.model.resource import Example
from hven.model.sky import Moc, healpix
from hven.site._picture import ROWS
from hven.site._tap_schema import NAME as TAP_SCHEMA
from hven.site.auth._permit import ANONYMOUS, DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.site._catalogue import Catalogue
    from hven.site._picture import Holdings
    from hven.site.auth import Policy, Reader

FEW = 6  # columns that a made example shows


def examples(
    holdings: Holdings, who: Reader = ANONYMOUS, policies: Sequence[Policy] = DEFAULT, collection: str | None = None
) -> list[Example]:
    """List the examples that a reader can run, by collection.

    Parameters
    ----------
    holdings
        What is published.
    who, policies
        An example that names what this reader may not know of is left out.
    collection
        Of this one alone.

    Returns
    -------
    list of Example
        With `tables` filled: each name as a query writes it.
    """
    catalogue = holdings.catalogue(who, policies)
    whole = ROWS not in holdings.reach(who, policies)  # who sees some rows only must not learn where the others are
    found: list[Example] = []
    for schema in catalogue.schemas:
        if collection not in {None, schema.name}:
            continue
        resource = holdings.resources.get(schema.name)
        written = [
            shown
            for item in (resource.examples if resource is not None else ())
            if (shown := _shown(item, catalogue)) is not None
        ]
        seen = {name for item in written for name in item.tables}
        found += written
        for table in schema.tables:
            if _name(table) not in seen and schema.name != TAP_SCHEMA:
                item = holdings.published.get(table.qualified)
                found += _made(table, item.coverage if item is not None and whole else None)
    if collection in {None, TAP_SCHEMA}:
        found.append(_TABLES)
    return found


_TABLES = Example(
    name="The tables of this service",
    query="SELECT schema_name, table_name, description FROM TAP_SCHEMA.tables ORDER BY schema_name, table_name",
    description="TAP_SCHEMA describes all tables and columns: names, units, UCDs.",
    tables=("TAP_SCHEMA.tables",),
)


def _name(table: Table) -> str:
    return f"{adql.quote(table.schema)}.{adql.quote(table.name)}"


def _shown(item: Example, catalogue: Catalogue) -> Example | None:
    """Fill in the tables; None if the reader cannot run it."""
    try:
        tree = adql.parse(item.query)
        adql.bind(tree, catalogue)
    except HvenError:
        return None
    tables = [table for node in walk(tree) if isinstance(node, TableRef) for table in catalogue.find(node.parts)[:1]]
    return Example(
        name=item.name,
        query=item.query,
        description=item.description,
        tables=tuple(dict.fromkeys(_name(table) for table in tables)),
        place=item.place,
    )


def _made(table: Table, coverage: str | None) -> Sequence[Example]:
    """Make examples from what is known of a table: its first rows, and those around a place where it has some."""
    visible = [column for column in table.columns if not column.hidden]
    chosen = sorted(visible, key=lambda column: column.rank)[:FEW]  # sorted is stable: the table's order within a rank
    columns = ", ".join(adql.quote(column.name) for column in chosen) or "*"
    title = table.title or table.qualified
    name = _name(table)
    made = [
        Example(
            name=f"{title}: a first look",
            query=f"SELECT TOP 10 {columns} FROM {name}",
            description=table.description,
            tables=(name,),
        )
    ]
    if table.position is not None and (place := _place(coverage)) is not None:
        lon, lat = (adql.quote(word) for word in table.position)
        x, y, radius = place
        frames = {one.id: one.system for one in table.frames}
        column = table.column(table.position[0])
        system = frames.get(column.frame or "") or ("" if (column.ucd or "").startswith("pos.bodyrc") else "ICRS")
        system = "'ICRS'" if system.upper() == "ICRS" else "''"  # readers of ADQL 2.0 know no cone without one
        test = f"1 = CONTAINS(POINT({system}, {lon}, {lat}), CIRCLE({system}, {x:.3f}, {y:.3f}, {radius:.3g}))"
        made.append(
            Example(
                name=f"{title}: around a position",
                query=f"SELECT TOP 100 {columns} FROM {name} WHERE {test}",
                description=f"The rows within {radius:.3g} degrees of a place where there are some.",
                tables=(name,),
            )
        )
    return made


def _place(coverage: str | None) -> tuple[float, float, float] | None:
    """Return centre and radius (degrees) of a circle around one cell that a MOC covers: there is a row in it."""
    if not coverage:
        return None
    moc = Moc.parse(coverage)
    if not len(moc.ranges):
        return None
    cell = int(moc.ranges[0, 0]) >> 2 * (healpix.ORDER - moc.order)
    lon, lat = healpix.center(moc.order, np.array([cell], dtype=np.int64))
    # no corner of a cell is farther from its centre than 1.1 times the side of a square of its area
    return float(lon[0]), float(lat[0]), 1.1 * 58.6323 / 2**moc.order
