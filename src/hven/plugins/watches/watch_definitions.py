"""What a watch finds: rows that meet a condition, lie near targets, or have given keys; all of these that are set."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import adql
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.adql.functions import STANDARD_FUNCTIONS
from hven.engines import Snapshot
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.plugins.changes.change_service import has_change_feed
from hven.plugins.changes.numeric_bounds import MIRRORED_OPERATORS, read_number, read_numeric_bounds
from hven.plugins.changes.row_definitions import RowDefinition, build_key_rows, encode_positions
from hven.services.api.positions import has_icrs_position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from hven.model.table import Table
    from hven.site import Catalogue, PublishedState

MAX_RADIUS_DEGREES = 10.0  # a search may have a larger circle
MAX_CONDITION_CHARACTERS = 20_000
AGGREGATE_NAMES = frozenset(entry.name for entry in STANDARD_FUNCTIONS if entry.aggregate)
_NUMBER_SEPARATOR = re.compile(r"[\s,;]+")
_DECIMAL_COMMAS = re.compile(r"[+-]?\d+,\d+[\s;]+[+-]?\d+,\d.*")
_SEXAGESIMAL_POSITION = re.compile(r"\d+ +\d+ +[\d.]+[ ,;]+[+-]?\d+ +\d+ +[\d.]+")


def check_table_watchable(table: Table, published_state: PublishedState) -> None:
    """Check that the changes of a table are known row by row.

    Parameters
    ----------
    table
        A table that the user sees.
    published_state
        The published tables.

    Raises
    ------
    NotFoundError
        They are not: the table is a view, has no primary key, or is read in place.
    """
    published_table = published_state.tables_by_name.get(table.qualified_name)
    is_stored = published_table is not None and isinstance(published_table.relation, Snapshot)
    if not is_stored or not has_change_feed(table):
        raise NotFoundError(
            format_message("{name} cannot be watched: Hven does not record which rows change", table.qualified_name),
            remedy="watch a stored table with a primary key",
        )


def parse_watched_query(text: str, catalogue: Catalogue) -> tuple[Table, RowDefinition]:
    """Read the query of a watch: rows of one table that meet a condition.

    Parameters
    ----------
    text
        ADQL: ``SELECT .. FROM table WHERE condition``. Columns and order do not matter.
    catalogue
        The tables that the user sees.

    Returns
    -------
    table, definition
        The table, and the definition. A circle around the table's position becomes a target.

    Raises
    ------
    ParamError
        The query does not tell for each row alone whether it is found.
    """
    if len(text) > MAX_CONDITION_CHARACTERS:
        message = format_message("the query has more than {count:,} characters", MAX_CONDITION_CHARACTERS)
        raise ParamError(message, name="QUERY", remedy="send the targets as TARGETS, or the rows as ROW")
    query = adql.parse_query(text)
    reason = _find_unwatchable_part(query)
    if reason:
        raise ParamError(
            format_message("this query cannot be watched: {reason}", format_message(reason)),
            name="QUERY",
            remedy="write SELECT * FROM table WHERE condition, where the condition needs only columns of the row",
        )
    source: Any = query.body.source  # type: ignore[union-attr]
    tables = catalogue.find_tables_by_identifiers(source.parts)
    if len(tables) != 1:
        name = ".".join(part.name for part in source.parts)
        raise NotFoundError(format_message("there is no table {name!r} here", name), remedy="check the name")
    (table,) = tables
    condition = syntax_tree.transform_tree(query.body.where, _strip_qualifier)  # type: ignore[union-attr]
    circle, condition = _split_circle(condition, table)
    definition = RowDefinition()
    if circle is not None:
        lon, lat, radius = circle
        definition = RowDefinition(targets=encode_positions(np.array([[lon, lat]])), radius=radius)
    if condition is not None:
        plain_query = syntax_tree.Query(
            syntax_tree.Select((syntax_tree.SelectStar(),), syntax_tree.build_table_ref(table), where=condition)
        )
        names = {column.name.lower() for column in table.columns if column.type.is_numeric}
        bounds = read_numeric_bounds(condition, names) or {}
        definition = replace(definition, condition=write_adql(plain_query), bounds=bounds)
    return table, definition


def _find_unwatchable_part(query: syntax_tree.Query) -> str:
    """Return why a query does not tell for each row alone whether it is found; empty: it does."""
    body = query.body
    if not isinstance(body, syntax_tree.Select) or query.ctes:
        return "it joins several queries"
    nodes = list(syntax_tree.walk_tree(query))
    names = {node.name for node in nodes if isinstance(node, syntax_tree.FunctionCall)}
    is_counting = any(isinstance(node, syntax_tree.FunctionCall) and node.star for node in nodes)
    subqueries = (syntax_tree.Subquery, syntax_tree.ExistsPredicate)
    reasons = {
        "it does not read one table": not isinstance(body.source, syntax_tree.TableRef),
        "it groups rows": bool(body.group_by) or body.having is not None or body.distinct,
        "it returns only some of the rows (TOP, OFFSET)": body.top is not None or query.offset is not None,
        "it has a subquery": any(isinstance(node, subqueries) for node in nodes),
        "it has a function of several rows": any(isinstance(node, syntax_tree.WindowExpression) for node in nodes),
        "it has an aggregate, such as COUNT or MAX": is_counting or not names.isdisjoint(AGGREGATE_NAMES),
    }
    return next((reason for reason, is_found in reasons.items() if is_found), "")


def _strip_qualifier(node: Any) -> Any:
    """Leave out the name of the table before a column: the condition is evaluated on changed rows alone."""
    if isinstance(node, syntax_tree.ColumnRef) and node.qualifier:
        return syntax_tree.ColumnRef(node.name)
    return node


def _split_circle(
    condition: syntax_tree.Expr | None, table: Table
) -> tuple[tuple[float, float, float] | None, syntax_tree.Expr | None]:
    """Split a condition into its only circle around the table's ICRS position, and the rest."""
    if not has_icrs_position(table):
        return None, condition
    parts = list(syntax_tree.split_conjuncts(condition))
    circles = [_read_circle(part, table) for part in parts]
    found_circles = [circle for circle in circles if circle is not None]
    if len(found_circles) != 1:
        return None, condition
    other_parts = [part for part, circle in zip(parts, circles, strict=True) if circle is None]
    return found_circles[0], syntax_tree.join_conditions_with_and(*other_parts)


def _read_circle(condition: syntax_tree.Expr, table: Table) -> tuple[float, float, float] | None:
    """Read ``1 = CONTAINS(POINT(position), CIRCLE(..))`` or ``DISTANCE(position, ..) < radius``; None: another one."""
    if not isinstance(condition, syntax_tree.Comparison):
        return None
    operator, sides = condition.op, (condition.left, condition.right)
    if isinstance(condition.right, syntax_tree.FunctionCall):
        operator, sides = MIRRORED_OPERATORS.get(operator, ""), (condition.right, condition.left)
    call, limit = sides
    if not isinstance(call, syntax_tree.FunctionCall):
        return None
    nodes = _list_coordinates(call)
    shapes = [arg.name for arg in call.args if isinstance(arg, syntax_tree.FunctionCall)]
    is_distance = call.name == "DISTANCE" and operator in {"<", "<="}
    if is_distance:
        if nodes and not isinstance(nodes[0], syntax_tree.ColumnRef):
            nodes = nodes[2:] + nodes[:2]
        nodes.append(limit)
    is_contained = (call.name, operator, limit, shapes) == (
        "CONTAINS",
        "=",
        syntax_tree.Literal(1),
        ["POINT", "CIRCLE"],
    )
    names = [node.name.normalized_name.lower() for node in nodes[:2] if isinstance(node, syntax_tree.ColumnRef)]
    numbers = [read_number(node) for node in nodes[2:]]
    is_position = names == [name.lower() for name in table.position or ()]
    if not (is_distance or is_contained) or not is_position or len(numbers) != 3 or None in numbers:
        return None
    lon, lat, radius = (float(number or 0.0) for number in numbers)
    if abs(lat) <= 90 and 0 < radius <= MAX_RADIUS_DEGREES:
        return lon, lat, radius
    return None


def _list_coordinates(call: syntax_tree.FunctionCall) -> list[syntax_tree.Expr]:
    """List the coordinates of points and circles; the name of the frame ICRS is left out."""
    nodes: list[syntax_tree.Expr] = []
    for arg in call.args:
        if isinstance(arg, syntax_tree.FunctionCall) and arg.name in {"POINT", "CIRCLE"}:
            nodes += _list_coordinates(arg)
        elif not isinstance(arg, syntax_tree.Literal) or arg.value not in {"ICRS", ""}:
            nodes.append(arg)
    return nodes


def parse_targets(text: str, radius: float | None, table: Table, max_count: int) -> RowDefinition:
    """Read a list of targets.

    Parameters
    ----------
    text
        One target a line: right ascension and declination in degrees; what follows them is not read.
    radius
        Radius around each target, in degrees.
    table
        The table.
    max_count
        Maximum number of targets.

    Raises
    ------
    ParamError
        A line is not a position, there are too many lines, or the table has no such positions.
    """
    if not has_icrs_position(table):
        raise ParamError(
            format_message("{name} has no right ascension and declination", table.qualified_name),
            name="TARGETS",
            remedy="watch a search in this table",
        )
    if radius is None or not 0 < radius <= MAX_RADIUS_DEGREES:
        message = format_message("the radius must be more than 0 and at most {limit} degrees", MAX_RADIUS_DEGREES)
        raise ParamError(message, name="RADIUS", remedy="write RADIUS=1, or watch a search with a larger circle")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    _check_count(len(lines), max_count, "TARGETS")
    positions = np.array([_parse_target(number, line) for number, line in lines], np.float64)
    return RowDefinition(targets=encode_positions(positions), radius=radius)


def _parse_target(number: int, line: str) -> tuple[float, float]:
    words = _NUMBER_SEPARATOR.split(line)
    try:
        lon, lat = float(words[0]), float(words[1])
    except (ValueError, IndexError):
        lon = lat = math.nan
    is_other_notation = any(pattern.fullmatch(line) for pattern in (_DECIMAL_COMMAS, _SEXAGESIMAL_POSITION))
    if not (abs(lon) <= 360 and abs(lat) <= 90) or is_other_notation:
        message = format_message("line {number} is not a position: {line!r}", number, line[:60])
        remedy = "write right ascension and declination in degrees, such as 83.63 22.01"
        raise ParamError(message, name="TARGETS", remedy=remedy)
    return lon % 360, lat


def parse_watched_rows(keys: Sequence[str], table: Table, max_count: int) -> RowDefinition:
    """Read the keys of rows.

    Parameters
    ----------
    keys
        Keys as in addresses of pages: ``["M31"]``.
    table
        The table.
    max_count
        Maximum number of rows.

    Raises
    ------
    ParamError
        A text is not a key of the table, or there are too many.
    """
    _check_count(len(keys), max_count, "ROW")
    for key in keys:
        try:
            build_key_rows([key], table)
        except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            message = format_message("{key!r} is not a key of {table}", key[:60], table.qualified_name)
            names = ", ".join(table.primary)
            remedy = format_message("write the values of {names} as a JSON list", names)
            raise ParamError(message, name="ROW", remedy=remedy) from error
    return RowDefinition(keys=tuple(dict.fromkeys(keys)))


def _check_count(count: int, max_count: int, name: str) -> None:
    if not count:
        raise ParamError("the list is empty", name=name, remedy="write one entry a line")
    if count > max_count:
        message = format_message("the list has {count:,} entries; a watch may have {limit:,}", count, max_count)
        raise ParamError(message, name=name, remedy="divide the list, or watch a search")
