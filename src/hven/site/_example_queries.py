"""Example queries: those of the descriptors, and generated ones for tables without any, as a user may run them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from hven import adql
from hven.adql.syntax_tree import TableRef, walk_tree
from hven.model.errors import HvenError, format_message
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

MAX_EXAMPLE_COLUMNS = 6  # columns that a generated example shows


def list_example_queries(
    published_state: PublishedState,
    principal: Principal = ANONYMOUS_PRINCIPAL,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    collection: str | None = None,
) -> list[ExampleQuery]:
    """List the examples that a user can run, by collection.

    Parameters
    ----------
    published_state
        What is published.
    principal, policies
        The user and the site's policies: an example with names that the user must not know is left out.
    collection
        Only examples of this collection.

    Returns
    -------
    list of Example
        With `tables` filled: each name as a query writes it.
    """
    catalogue = published_state.get_catalogue(principal, policies)
    # users who see only some rows must not learn where the others are
    sees_all_rows = ROW_FILTER_MARK not in published_state.find_access_key(principal, policies)
    example_queries: list[ExampleQuery] = []
    title_counts = Counter(
        table.title for table in catalogue.iterate_tables() if table.title and collection in {None, table.schema}
    )
    for schema in catalogue.schemas:
        if collection not in {None, schema.name}:
            continue
        resource = published_state.resources.get(schema.name)
        example_tables: set[str] = set()
        for example in () if resource is None else resource.examples:
            runnable_example = _add_tables_to_runnable_example(example, catalogue)
            if runnable_example is not None:
                example_queries.append(runnable_example)
                example_tables.update(runnable_example.tables)
        if schema.name == TAP_SCHEMA:
            continue
        for table in schema.tables:
            if adql.quote_table_name(table) not in example_tables:
                published_table = published_state.tables_by_name.get(table.qualified_name)
                coverage = None
                if published_table is not None and sees_all_rows:
                    coverage = published_table.coverage
                is_title_shared = title_counts[table.title or ""] > 1
                example_queries += _build_examples(table, coverage, is_title_shared=is_title_shared)
    if collection in {None, TAP_SCHEMA}:
        example_queries.append(_TAP_SCHEMA_EXAMPLE)
    return example_queries


_TAP_SCHEMA_EXAMPLE = ExampleQuery(
    name=format_message("The tables of this service"),
    query="SELECT schema_name, table_name, description FROM TAP_SCHEMA.tables ORDER BY schema_name, table_name",
    description=format_message("TAP_SCHEMA describes all tables and columns: names, units, UCDs."),
    tables=("TAP_SCHEMA.tables",),
)


def _add_tables_to_runnable_example(example: ExampleQuery, catalogue: Catalogue) -> ExampleQuery | None:
    """Return an example with its tables; None if the user cannot run it."""
    try:
        tree = adql.parse_query(example.query)
        adql.bind_query(tree, catalogue)
    except HvenError:
        return None
    table_names: list[str] = []
    for node in walk_tree(tree):
        if isinstance(node, TableRef):
            found_tables = catalogue.find_tables_by_identifiers(node.parts)[:1]
            table_names += map(adql.quote_table_name, found_tables)
    return ExampleQuery(
        name=example.name,
        query=example.query,
        description=example.description,
        tables=tuple(dict.fromkeys(table_names)),
        place=example.place,
    )


def _build_examples(table: Table, coverage: str | None, *, is_title_shared: bool) -> Sequence[ExampleQuery]:
    """Build examples from what is known of a table: its first rows, and those around a position where it has some."""
    visible_columns = [column for column in table.columns if not column.hidden]
    # sorted is stable: columns of one rank keep the table's order
    ranked_columns = sorted(visible_columns, key=lambda column: column.rank)
    shown_columns = ranked_columns[:MAX_EXAMPLE_COLUMNS]
    columns = ", ".join(adql.quote_adql_name(column.name) for column in shown_columns) or "*"
    title = table.title or table.qualified_name
    if is_title_shared:
        title = format_message("{title} ({table})", title, table.qualified_name)
    name = adql.quote_table_name(table)
    first_look = ExampleQuery(
        name=format_message("{title}: a first look", title),
        query=f"SELECT TOP 10 {columns} FROM {name}",
        description=table.description,
        tables=(name,),
    )
    covered_circle = _find_covered_circle(coverage)
    if table.position is None or covered_circle is None:
        return [first_look]
    center_lon, center_lat, radius = covered_circle
    lon, lat = (adql.quote_adql_name(word) for word in table.position)
    system = _write_coordinate_system_literal(table, table.position[0])
    point = f"POINT({system}, {lon}, {lat})"
    circle = f"CIRCLE({system}, {center_lon:.3f}, {center_lat:.3f}, {radius:.3g})"
    around_position = ExampleQuery(
        name=format_message("{title}: around a position", title),
        query=f"SELECT TOP 100 {columns} FROM {name} WHERE 1 = CONTAINS({point}, {circle})",
        description=format_message("The rows within {radius:.3g} degrees of a position in the covered area.", radius),
        tables=(name,),
    )
    return [first_look, around_position]


def _write_coordinate_system_literal(table: Table, longitude_column: str) -> str:
    """Return the literal of a table's coordinate system for a cone, which ADQL 2.0 requires."""
    column = table.find_column(longitude_column)
    frames = {coordinate_frame.id: coordinate_frame.system for coordinate_frame in table.frames}
    system = frames.get(column.frame or "")
    if not system and not (column.ucd or "").startswith("pos.bodyrc"):
        system = "ICRS"
    if system and system.upper() == "ICRS":
        return "'ICRS'"
    return "''"


def _find_covered_circle(coverage: str | None) -> tuple[float, float, float] | None:
    """Return centre and radius (degrees) of a circle around a cell that a MOC covers: a row is in it."""
    if not coverage:
        return None
    moc = Moc.parse(coverage)
    if not len(moc.ranges):
        return None
    cell = int(moc.ranges[0, 0]) >> 2 * (healpix.MAX_ORDER - moc.order)
    lon, lat = healpix.compute_cell_centers(moc.order, np.array([cell], dtype=np.int64))
    # no corner of a cell is farther from its centre than 1.1 times the side of a square of the same area
    square_side_degrees = 58.6323 / 2**moc.order
    return float(lon[0]), float(lat[0]), 1.1 * square_side_degrees
