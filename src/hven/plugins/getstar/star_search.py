"""Find the rows of stars by their names: in the columns of names, or at the position of the resolved name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, radians
from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql_literal
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.plugins.getstar.getstar_keys import GETSTAR_KEY, StarTable
from hven.plugins.getstar.name_templates import NamePart, NameTemplate, is_name_of_row, write_condition
from hven.plugins.quantities.quantity_values import describe_rows
from hven.portal.api.page_rows import RowPage
from hven.portal.api.table_rows import build_table_view, format_keys
from hven.query import resolver
from hven.services import find_http_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column, Table
    from hven.plugins.quantities.quantity_values import ShownQuantity
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.query.resolver import ResolvedName

MAX_STARS = 100  # of a request
MAX_NAME_CHARACTERS = 200
MAX_ROWS_OF_NAME = 10  # such as the components of a system
ARCSEC_PER_DEGREE = 3600.0
FIRST_SERVER_STATUS = 500
MAX_LINKED_IDS = 200  # of a resolved name, which are looked up in the columns of names


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStar:
    """What was found for a name.

    Attributes
    ----------
    name
        The name in the request.
    rows
        The rows, with all columns; None: there are none.
    fault
        Why there are none.
    resolved
        The object that the resolver found; None: the name stands in the table.
    values
        The values of each row, for pages.
    has_more_rows
        Whether the table has more rows of this star than `rows`, which has at most `MAX_ROWS_OF_NAME`.
    """

    name: str
    rows: pa.Table | None = None
    fault: HvenError | None = None
    resolved: ResolvedName | None = None
    values: Sequence[Sequence[ShownQuantity]] = ()
    has_more_rows: bool = False


def read_star_names(page_context: PageContext) -> list[str]:
    """Read the names of a request: ``star=a,b``, also several times.

    Raises
    ------
    ParamError
        There are too many names, or one is too long.
    """
    texts = page_context.request.query_params.getlist("star")
    names = [" ".join(name.split()) for text in texts for name in text.split(",")]
    names = list(dict.fromkeys(filter(None, names)))
    if len(names) > MAX_STARS:
        message = format_message("the request has {count} stars, which is too many", len(names))
        raise ParamError(message, name="star", remedy=format_message("send at most {most} at a time", MAX_STARS))
    if any(len(name) > MAX_NAME_CHARACTERS for name in names):
        message = format_message("a name has more than {most} characters", MAX_NAME_CHARACTERS)
        raise ParamError(message, name="star", remedy="separate the names with commas")
    return names


def find_star_table(page_context: PageContext) -> TableView:
    """Find the table of stars: the one that the parameter ``table`` names, or the first one that the user sees.

    Raises
    ------
    NotFoundError
        There is none.
    """
    wanted_name = page_context.request.query_params.get("table", "")
    tables = [table for table in page_context.catalogue.iterate_tables() if GETSTAR_KEY in table.extensions]
    published_names = page_context.published_state.tables_by_name
    for table in tables:
        if table.qualified_name in published_names and wanted_name in {"", table.qualified_name}:
            return build_table_view(page_context, table)
    remedy = "add the key `getstar` to the descriptor of a table that you publish"
    if wanted_name:
        message = format_message("there is no table of stars {name!r} here", wanted_name[:80])
        raise NotFoundError(message, remedy=remedy)
    raise NotFoundError("there is no table of stars here", remedy=remedy)


class StarSearch:
    """Search for stars in a table, with the rights of a user.

    Parameters
    ----------
    table_view
        The table.
    page_context
        The request.
    """

    def __init__(self, table_view: TableView, page_context: PageContext) -> None:
        self.table_view = table_view
        self.page_context = page_context
        self.star_table: StarTable = table_view.table.extensions[GETSTAR_KEY]
        self.columns = tuple(column for column in table_view.table.columns if not column.hidden)
        self._columns_by_name: Mapping[str, Column] = {column.name: column for column in self.columns}

    def find_stars(self, names: Sequence[str], *, with_values: bool = True) -> list[FoundStar]:
        """Find stars by their names.

        Parameters
        ----------
        names
            Names as the user writes them.
        with_values
            Whether to describe the values of the rows for pages.

        Returns
        -------
        stars
            What was found for each name.
        """
        rows_by_name = {name: self._find_rows_by_condition(self._write_name_conditions([name])) for name in names}
        rows_by_name |= self._fetch_rows_loosely([name for name, rows in rows_by_name.items() if rows is None])
        stars = [
            self._resolve_star(name) if rows is None else _build_found_star(name, rows)
            for name, rows in rows_by_name.items()
        ]
        if not with_values:
            return stars
        return [star if star.rows is None else replace(star, values=self._describe_values(star.rows)) for star in stars]

    def _resolve_star(self, name: str) -> FoundStar:
        """Find the object that a name stands for, and its row."""
        site = self.page_context.context.site
        try:
            resolved = resolver.resolve_object_name(name, site=site, policies=self.page_context.context.policies)
        except HvenError as error:
            return FoundStar(name=name, fault=error)
        rows = self._find_rows_by_condition(
            self._write_name_conditions([resolved.name, *resolved.ids][:MAX_LINKED_IDS])
        )
        if rows is None and resolved.position is not None:
            rows = self._fetch_nearest_row(resolved)
        if rows is not None:
            return replace(_build_found_star(name, rows), resolved=resolved)
        table_name = self.table_view.table.qualified_name
        message = format_message("the object {name!r} is not in the table {table}", resolved.name, table_name)
        remedy = "check the spelling, or search the table by position"
        return FoundStar(name=name, fault=NotFoundError(message, remedy=remedy), resolved=resolved)

    def _split_name(self, name: str) -> list[list[NamePart]]:
        """Split a name by each template that it fits."""
        splits = (NameTemplate(text).split_name(name, self._columns_by_name) for text in self.star_table.names)
        return [parts for parts in splits if parts is not None]

    def _write_name_conditions(self, names: Sequence[str]) -> str:
        conditions = {f"({write_condition(parts)})": None for name in names for parts in self._split_name(name)}
        return " OR ".join(conditions)

    def _fetch_rows_loosely(self, names: Sequence[str]) -> dict[str, pa.Table]:
        """Fetch the rows of names with another case or other blanks, in one pass over the table."""
        splits_by_name = {
            name: [parts for parts in self._split_name(name) if any(part.column.type.is_string for part in parts)]
            for name in names
        }
        conditions = [
            f"({write_condition(parts, is_loose=True)})" for splits in splits_by_name.values() for parts in splits
        ]
        max_rows = (MAX_ROWS_OF_NAME + 1) * len(names)
        rows = self._find_rows_by_condition(" OR ".join(dict.fromkeys(conditions)), max_rows)
        if rows is None:
            return {}
        if len(names) > 1 and rows.num_rows == max_rows:  # a star with many rows can take the places of the others
            rows_of_names = [self._fetch_rows_loosely([name]) for name in names]
            return {name: name_rows for item in rows_of_names for name, name_rows in item.items()}
        records = rows.select([column.name for column in self._list_name_columns()]).to_pylist()
        rows_by_name = {}
        for name, splits in splits_by_name.items():
            numbers = [
                number
                for number, record in enumerate(records)
                if any(is_name_of_row(parts, record) for parts in splits)
            ]
            if numbers:
                rows_by_name[name] = rows.take(numbers[: MAX_ROWS_OF_NAME + 1])
        return rows_by_name

    def _list_name_columns(self) -> list[Column]:
        names = {name for text in self.star_table.names for name in NameTemplate(text).column_names}
        return [column for column in self.columns if column.name in names]

    def _find_rows_by_condition(
        self, condition: str, max_rows: int = MAX_ROWS_OF_NAME + 1, order: str = ""
    ) -> pa.Table | None:
        """Fetch the rows that meet a condition, in the order of their keys or another one; None: there are none."""
        if not condition:
            return None
        names = ", ".join(quote_adql_name(column.name) for column in self.columns)
        order = order or ", ".join(map(quote_adql_name, self.table_view.table.primary))
        query = f"SELECT TOP {max_rows} {names} FROM {self.table_view.quoted_name} WHERE {condition} ORDER BY {order}"
        with self.table_view.runner.run_query(query) as result:
            rows = result.read_table()
        return rows if rows.num_rows else None

    def _fetch_nearest_row(self, resolved: ResolvedName) -> pa.Table | None:
        """Fetch the row nearest to a resolved position, within the radius; None: there is none."""
        position = self.table_view.table.position
        if position is None or resolved.position is None or resolved.frame != "ICRS":
            return None
        longitude, latitude = self._move_position(resolved)
        point = f"POINT({quote_adql_name(position[0])}, {quote_adql_name(position[1])})"
        place = f"{longitude!r}, {latitude!r}"
        radius = self.star_table.radius_arcsec / ARCSEC_PER_DEGREE
        condition = f"1 = CONTAINS({point}, CIRCLE({place}, {radius!r}))"
        return self._find_rows_by_condition(condition, 1, f"DISTANCE({point}, POINT({place}))")

    def _move_position(self, resolved: ResolvedName) -> tuple[float, float]:
        """Move a resolved position to the epoch of the table, if its proper motion and its epoch are known."""
        longitude, latitude = resolved.position or (0.0, 0.0)
        if resolved.proper_motion is None or resolved.epoch is None or abs(latitude) > 89.9:
            return longitude, latitude
        degrees = (self.star_table.epoch - resolved.epoch) / (1000 * ARCSEC_PER_DEGREE)
        motion_longitude, motion_latitude = resolved.proper_motion
        moved_longitude = longitude + degrees * motion_longitude / cos(radians(latitude))
        return moved_longitude % 360, max(-90.0, min(90.0, latitude + degrees * motion_latitude))

    def _describe_values(self, rows: pa.Table) -> list[list[ShownQuantity]]:
        keys = format_keys(rows, self.table_view.table.primary)
        page = RowPage(columns=self.columns, rows=rows, keys=keys, offset=0, has_more=False)
        return describe_rows(self.table_view, page)

    def write_query(self, stars: Sequence[FoundStar]) -> str:
        """Write the ADQL query of the rows that were found; empty: there are none.

        Parameters
        ----------
        stars
            What was found.
        """
        table: Table = self.table_view.table
        conditions = []
        for star in stars:
            for row in [] if star.rows is None else star.rows.select(list(table.primary)).to_pylist():
                parts = [f"{quote_adql_name(name)} = {write_adql_literal(value)}" for name, value in row.items()]
                conditions.append(" AND ".join(parts))
        if not conditions:
            return ""
        unique_conditions = dict.fromkeys(f"({condition})" for condition in conditions)
        return f"SELECT * FROM {self.table_view.quoted_name} WHERE {' OR '.join(unique_conditions)}"


def _build_found_star(name: str, rows: pa.Table) -> FoundStar:
    """Build the result for rows of a star, of which one more than `MAX_ROWS_OF_NAME` was fetched."""
    return FoundStar(name=name, rows=rows.slice(0, MAX_ROWS_OF_NAME), has_more_rows=rows.num_rows > MAX_ROWS_OF_NAME)


def find_search_status(stars: Sequence[FoundStar]) -> int:
    """Find the HTTP status of a search: 200 if it has found at least one star.

    If a service that was needed failed, a later request may find the star, so its status has precedence over 404.

    Parameters
    ----------
    stars
        What was found.
    """
    statuses = {200 if star.fault is None else find_http_status(star.fault) for star in stars}
    if not statuses or 200 in statuses:
        return 200
    server_statuses = [status for status in statuses if status >= FIRST_SERVER_STATUS]
    if server_statuses:
        return min(server_statuses)
    if len(statuses) == 1:
        return statuses.pop()
    return 404
