"""Example queries: those of the descriptors, and made ones for tables that no descriptor shows.

Each as its reader may run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven import adql
from hven.adql.syntax_tree import TableRef, walk_tree
from hven.model.errors import HvenError
from hven.model.resource import ExampleQuery
from hven.model.sky import Moc, healpix
from hven.site._published_state import ROW_FILTER_MARK
from hven.site._tap_schema import TAP_SCHEMA_NAME as TAP_SCHEMA
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.site._catalogue import Catalogue
    from hven.site._published_state import PublishedState
    from hven.site.auth import AccessPolicy, Principal

MAX_EXAMPLE_COLUMNS = 6  # columns that a made example shows


def list_example_queries(
    published_state: PublishedState,
    principal: Principal = ANONYMOUS_PRINCIPAL,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    collection: str | None = None,
) -> list[ExampleQuery]:
    """List the examples that a reader can run, by collection.

    Parameters
    ----------
    published_state
        What is published.
    principal, policies
        An example that names what this reader may not know of is left out.
    collection
        Of this one alone.

    Returns
    -------
    list of Example
        With `tables` filled: each name as a query writes it.
    """
    catalogue = published_state.get_catalogue(principal, policies)
    sees_all_rows = ROW_FILTER_MARK not in published_state.find_access_key(
        principal, policies
    )  # who sees some rows only must not learn where the others are
    example_queries: list[ExampleQuery] = []
    for schema in catalogue.schemas:
        if collection not in {None, schema.name}:
            continue
        resource = published_state.resources.get(schema.name)
        described_examples = [
            runnable_example
            for item in (resource.examples if resource is not None else ())
            if (runnable_example := _check_example(item, catalogue)) is not None
        ]
        example_tables = {name for item in described_examples for name in item.tables}
        example_queries += described_examples
        for table in schema.tables:
            if _quote_table_name(table) not in example_tables and schema.name != TAP_SCHEMA:
                item = published_state.tables_by_name.get(table.qualified_name)
                example_queries += _build_examples(table, item.coverage if item is not None and sees_all_rows else None)
    if collection in {None, TAP_SCHEMA}:
        example_queries.append(_TAP_SCHEMA_EXAMPLE)
    return example_queries


_TAP_SCHEMA_EXAMPLE = ExampleQuery(
    name="The tables of this service",
    query="SELECT schema_name, table_name, description FROM TAP_SCHEMA.tables ORDER BY schema_name, table_name",
    description="TAP_SCHEMA describes all tables and columns: names, units, UCDs.",
    tables=("TAP_SCHEMA.tables",),
)


def _quote_table_name(table: Table) -> str:
    return f"{adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"


def _check_example(example: ExampleQuery, catalogue: Catalogue) -> ExampleQuery | None:
    """Fill in the tables; None if the reader cannot run it."""
    try:
        tree = adql.parse_query(example.query)
        adql.bind_query(tree, catalogue)
    except HvenError:
        return None
    tables = [
        table for node in walk_tree(tree) if isinstance(node, TableRef) for table in catalogue.find(node.parts)[:1]
    ]
    return ExampleQuery(
        name=example.name,
        query=example.query,
        description=example.description,
        tables=tuple(dict.fromkeys(_quote_table_name(table) for table in tables)),
        place=example.place,
    )


def _build_examples(table: Table, coverage: str | None) -> Sequence[ExampleQuery]:
    """Make examples from what is known of a table: its first rows, and those around a place where it has some."""
    visible = [column for column in table.columns if not column.hidden]
    shown_columns = sorted(visible, key=lambda column: column.rank)[
        :MAX_EXAMPLE_COLUMNS
    ]  # sorted is stable: the table's order within a rank
    columns = ", ".join(adql.quote_name(column.name) for column in shown_columns) or "*"
    title = table.title or table.qualified_name
    name = _quote_table_name(table)
    generated_examples = [
        ExampleQuery(
            name=f"{title}: a first look",
            query=f"SELECT TOP 10 {columns} FROM {name}",
            description=table.description,
            tables=(name,),
        )
    ]
    if table.position is not None and (covered_circle := _find_covered_circle(coverage)) is not None:
        lon, lat = (adql.quote_name(word) for word in table.position)
        x, y, radius = covered_circle
        frames = {coordinate_frame.id: coordinate_frame.system for coordinate_frame in table.frames}
        column = table.find_column(table.position[0])
        system = frames.get(column.frame or "") or ("" if (column.ucd or "").startswith("pos.bodyrc") else "ICRS")
        # readers of ADQL 2.0 know no cone without one
        if system.upper() == "ICRS":
            system = "'ICRS'"
        else:
            system = "''"
        cone_condition = (
            f"1 = CONTAINS(POINT({system}, {lon}, {lat}), CIRCLE({system}, {x:.3f}, {y:.3f}, {radius:.3g}))"
        )
        generated_examples.append(
            ExampleQuery(
                name=f"{title}: around a position",
                query=f"SELECT TOP 100 {columns} FROM {name} WHERE {cone_condition}",
                description=f"The rows within {radius:.3g} degrees of a place where there are some.",
                tables=(name,),
            )
        )
    return generated_examples


def _find_covered_circle(coverage: str | None) -> tuple[float, float, float] | None:
    """Return centre and radius (degrees) of a circle around one cell that a MOC covers: there is a row in it."""
    if not coverage:
        return None
    moc = Moc.parse(coverage)
    if not len(moc.ranges):
        return None
    cell = int(moc.ranges[0, 0]) >> 2 * (healpix.MAX_ORDER - moc.order)
    lon, lat = healpix.compute_cell_centers(moc.order, np.array([cell], dtype=np.int64))
    # no corner of a cell is farther from its centre than 1.1 times the side of a square of its area
    return float(lon[0]), float(lat[0]), 1.1 * 58.6323 / 2**moc.order
