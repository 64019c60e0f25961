"""The state of a search as an address has it.

Conditions, place, words, order, columns -> an ADQL tree, and the address again.

A condition is ``column=value`` in the language of EPN-TAP parameters (`hven.portal.conditions`); names that begin with
``_`` are the portal's own. Whatever cannot be understood becomes a `SearchFault` of its field: the rest of the search
still runs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.model.errors import HvenError, UserError, format_message
from hven.portal import conditions as epn_conditions
from hven.portal._condition_values import suggest_parameters
from hven.portal._explore import cadence, coordinate_notation
from hven.portal._explore.column_labels import LABELS_PARAMETER
from hven.portal._explore.search_fields import choose_scale, find_range_pairs, list_display_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.table import Column, Table

PORTAL_PREFIX = "_"  # what a name begins with that is no column
(
    WORDS_PARAMETER,
    NEAR_PARAMETER,
    REGION_PARAMETER,
    SORT_PARAMETER,
    COLUMNS_PARAMETER,
    ROW_PARAMETER,
    UNIT_PREFIX,
    CADENCE_PARAMETER,
    FILES_PARAMETER,
) = (
    "_q",
    "_near",
    "_in",
    "_sort",
    "_cols",
    "_row",
    "_unit.",
    "_every",
    "_files",
)
COUNT_ITEM = syntax_tree.SelectItem(syntax_tree.FunctionCall("COUNT", star=True), syntax_tree.Ident("n"))
MAX_TEXT_COLUMNS = 8  # columns of text that free words are looked for in
MAX_WORDS = 30  # of free text
MAX_LIST_ITEMS = 500  # columns named in one parameter, conditions on one column
PORTAL_PARAMETERS = frozenset(
    {
        WORDS_PARAMETER,
        NEAR_PARAMETER,
        REGION_PARAMETER,
        SORT_PARAMETER,
        COLUMNS_PARAMETER,
        ROW_PARAMETER,
        CADENCE_PARAMETER,
        LABELS_PARAMETER,
        FILES_PARAMETER,
        "_look",
        "_view",
        "_map",
        "_plot",
        "_compare",
    }
)  # a column of such a name stands in quotes: "_row"=..
_NAME_LIST_PATTERN = re.compile(r'(?:[^,"]|"(?:[^"]|"")*"?)+')
CONDITION_OPERATORS = ("!=", "<>", "<=", ">=", "<", ">", "!", "=")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFault:
    """What of a search could not be understood: the field's name, why, and what helps."""

    field: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCircle:
    """A circle on the sphere of the table's positions: degrees.

    `name` if a resolver gave the centre, `radius_text` a radius that was written as a length.
    """

    longitude: float
    latitude: float
    radius_degrees: float
    name: str = ""
    radius_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSearch:
    """What is asked of one table.

    Attributes
    ----------
    conditions
        Name of a column, or of a pair ``x_min``/``x_max`` -> values as they were written; all must hold, of the values
        of one name any.
    tests
        The same as conditions of the query, in the same order; those with faults are left out.
    near, inside
        A circle, and a region as DALI writes it (``POLYGON 1 2 ..``).
    every
        One row for each step of time, of those that all else leaves.
    order
        Column and whether it descends.
    columns
        Which are shown, in this order; empty: the principal ones, and those that are searched.
    each
        Each file of an observation has its own line.
    rest
        Parameters of the panes: carried along, never looked at.
    wrong
        What was written into fields that have faults: a form shows it again, nothing else looks at it.
    """

    table: Table
    conditions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tests: tuple[syntax_tree.Expr, ...] = ()
    words: str = ""
    near: SearchCircle | None = None
    inside: str = ""
    every: cadence.Cadence | None = None
    order: tuple[tuple[str, bool], ...] = ()
    columns: tuple[str, ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    row: str = ""
    each: bool = False
    rest: tuple[tuple[str, str], ...] = ()
    faults: tuple[SearchFault, ...] = field(default=(), compare=False)
    wrong: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def list_shown_columns(self) -> tuple[Column, ...]:
        """Return the columns of an answer."""
        if self.columns:
            return tuple(self.table.find_column(name) for name in self.columns)
        searched_names = {name.lower() for name, _ in self.conditions}
        columns = [column for column in self.table.columns if not column.hidden]
        if searched_names - {candidate.name.lower() for candidate in columns}:
            pairs = find_range_pairs(columns)
            searched_names |= {
                candidate.name.lower() for stem, *ends in pairs if stem in searched_names for candidate in ends
            }
        principal_columns = [candidate for candidate in columns if candidate.is_principal]
        if not principal_columns:
            return self.table.columns
        return tuple(
            candidate for candidate in columns if candidate.is_principal or candidate.name.lower() in searched_names
        )

    def build_condition(self, *, without: str | None = None) -> syntax_tree.Expr | None:
        """Return the condition of the search.

        `without` leaves out those of one name, as the counts of its own choices want it.
        """
        parts = [test for (name, _), test in zip(self.conditions, self.tests, strict=True) if name != without]
        if self.words:
            parts += [_build_word_condition(self.table, word) for word in self.words.split()]
        if self.near is not None:
            parts.append(_build_circle_condition(self.table, self.near))
        if self.inside:
            parts.append(_build_region_condition(self.table, self.inside))
        test = syntax_tree.join_conditions(*parts)
        if self.every is None:
            return test
        return cadence.build_cadence_condition(self.table, self.every, test)

    def build_query(
        self, *, columns: Sequence[str] | None = None, limit: int | None = None, offset: int | None = None
    ) -> syntax_tree.Query:
        """Return the query of the rows: `columns`, or those that are shown."""
        if columns is None:
            names = [column.name for column in self.list_shown_columns()]
        else:
            names = list(columns)
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in names)
        order = tuple(
            syntax_tree.OrderItem(build_column_ref(name), descending=is_descending)
            for name, is_descending in self.order
        )
        return syntax_tree.Query(
            syntax_tree.Select(items, self.build_source(), where=self.build_condition(), top=_to_literal(limit)),
            order_by=order,
            offset=_to_literal(offset),
        )

    def build_count_query(self) -> syntax_tree.Query:
        """Return the query of the number of rows."""
        return self.build_count_query_where(self.build_condition())

    def build_count_query_where(self, condition: syntax_tree.Expr | None) -> syntax_tree.Query:
        """Return the query of the number of rows under another condition."""
        return syntax_tree.Query(syntax_tree.Select((COUNT_ITEM,), self.build_source(), where=condition))

    def build_source(self) -> syntax_tree.FromItem:
        """Return the table as FROM has it."""
        identifier = _build_identifier(self.table.schema)
        return syntax_tree.TableRef((identifier, _build_identifier(self.table.name)))

    def write_adql(self) -> str:
        """Write the query that the search stands for."""
        return write_adql(self.build_query())

    def list_parameters(self) -> list[tuple[str, str]]:
        """Return the parameters of the address, in a settled order."""
        parameters = [
            (f'"{name}"' if name in PORTAL_PARAMETERS else name, value)
            for name, values in self.conditions
            for value in values
        ]
        parameters += [(WORDS_PARAMETER, self.words)] if self.words else []
        if self.near is not None:
            centre = self.near.name or f"{self.near.longitude!r},{self.near.latitude!r}"
            parameters.append((NEAR_PARAMETER, f"{centre},{self.near.radius_text or repr(self.near.radius_degrees)}"))
        parameters += [(REGION_PARAMETER, self.inside)] if self.inside else []
        parameters += [(CADENCE_PARAMETER, str(self.every))] if self.every is not None else []
        parameters += [(FILES_PARAMETER, "each")] if self.each else []
        parameters += (
            [
                (
                    SORT_PARAMETER,
                    ",".join("-" * is_descending + quote_listed_name(name) for name, is_descending in self.order),
                )
            ]
            if self.order
            else []
        )
        parameters += [(COLUMNS_PARAMETER, ",".join(map(quote_listed_name, self.columns)))] if self.columns else []
        parameters += [(UNIT_PREFIX + name, unit) for name, unit in self.units]
        parameters += [(ROW_PARAMETER, self.row)] if self.row else []
        return [*parameters, *self.rest]

    def write_address(self) -> str:
        """Write the search as the query of an address."""
        return urlencode(self.list_parameters())

    def copy_with(self, **changes: object) -> TableSearch:
        """Return the search with other attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]


def parse_search(
    pairs: Iterable[tuple[str, str]],
    table: Table,
    *,
    locate: Callable[[str], tuple[float, float]] | None = None,
    find_radius_km: Callable[[], float | None] | None = None,
) -> TableSearch:
    """Read the parameters of an address.

    Parameters
    ----------
    pairs
        Names and values, in their order; an empty value says nothing, as fields of forms do that were left empty.
    locate
        Gives the position of a name, in degrees; it may raise a `UserError`.
    find_radius_km
        Gives the radius in km of the body that the table's places are on, for radii that are lengths.
    """
    parser = _SearchParser(table, locate, find_radius_km)
    for name, value in pairs:
        if value.strip():
            parser.read_parameter(name, value.strip())
    return parser.build_search()


def build_column_ref(name: str) -> syntax_tree.ColumnRef:
    """Name a column; capitals are meant as they stand, and what is in small letters reads better without quotes."""
    return syntax_tree.ColumnRef(_build_identifier(name))


def _build_identifier(name: str) -> syntax_tree.Ident:
    quoted = name != name.lower()
    return syntax_tree.Ident(name, quoted=quoted)


class _SearchParser:
    """Reads one address."""

    def __init__(
        self,
        table: Table,
        locate: Callable[[str], tuple[float, float]] | None,
        find_radius_km: Callable[[], float | None] | None,
    ) -> None:
        self.table = table
        self.locate = locate
        self.find_radius_km = find_radius_km
        self.column_names = {column.name.lower(): column.name for column in table.columns if not column.hidden}
        self.faults: list[SearchFault] = []
        self.invalid_values: list[tuple[str, str]] = []
        self.values: dict[str, list[str]] = {}
        self.search = TableSearch(table=table)

    def read_parameter(self, name: str, value: str) -> None:
        """Read one parameter."""
        try:
            if name not in PORTAL_PARAMETERS and (
                not name.startswith(PORTAL_PREFIX) or unquote_name(name).lower() in self.column_names
            ):
                self.values.setdefault(self.column_names.get(unquote_name(name).lower(), name), []).append(value)
            elif name == WORDS_PARAMETER:
                words = value.split()
                self.search = self.search.copy_with(words=" ".join(words[:MAX_WORDS]))
                if len(words) > MAX_WORDS:
                    message = format_message("{count:,} words", len(words))
                    remedy = format_message("the first {most} are looked for", MAX_WORDS)
                    self.faults.append(
                        SearchFault(
                            field=name,
                            message=message,
                            remedy=remedy,
                        )
                    )
            elif name == NEAR_PARAMETER:
                self.search = self.search.copy_with(near=self._parse_circle(value))
            elif name == REGION_PARAMETER:
                _build_region_condition(self.table, value)
                self.search = self.search.copy_with(inside=value)
            elif name == CADENCE_PARAMETER:
                self.search = self.search.copy_with(every=cadence.parse_cadence(value, self.table))
            elif name == SORT_PARAMETER:
                order = [
                    (
                        self._find_column(SORT_PARAMETER, column_name.removeprefix("-").removeprefix("+")),
                        column_name.startswith("-"),
                    )
                    for column_name in _split_name_list(value)
                ]
                first_orders: dict[str, bool] = {}
                for column_name, is_descending in order:  # the first mention of a column is the one that counts
                    first_orders.setdefault(column_name, is_descending)
                self.search = self.search.copy_with(
                    order=tuple(
                        (column_name, is_descending)
                        for column_name, is_descending in first_orders.items()
                        if column_name
                    )
                )
            elif name == COLUMNS_PARAMETER:
                column_names = [
                    column_name
                    for column_name in (
                        self._find_column(COLUMNS_PARAMETER, column_name) for column_name in _split_name_list(value)
                    )
                    if column_name
                ]
                self.search = self.search.copy_with(columns=tuple(dict.fromkeys([*self.search.columns, *column_names])))
            elif name.startswith(UNIT_PREFIX):
                self._read_unit(name, value)
            elif name == FILES_PARAMETER:
                self.search = self.search.copy_with(each=_parse_files_value(value))
            elif name == ROW_PARAMETER:
                self.search = self.search.copy_with(row=value)
            elif name in PORTAL_PARAMETERS:
                self.search = self.search.copy_with(rest=(*self.search.rest, (name, value)))
            else:
                self.faults.append(
                    SearchFault(
                        field=name[:80],
                        message=format_message("no parameter {name}", name[:80]),
                        remedy=suggest_parameters(name[:80], sorted(PORTAL_PARAMETERS)),
                    )
                )
        except (UserError, HvenError) as error:
            self.faults.append(_build_fault(name, error))
            self.invalid_values.append((name, value))

    def build_search(self) -> TableSearch:
        """Return what was read."""
        conditions = []
        tests = []
        visible = self.table
        # a column that is not listed is not found by guessing its name
        if any(column.hidden for column in visible.columns):
            columns = tuple(column for column in visible.columns if not column.hidden)
            visible = replace(visible, columns=columns)
        for name, values in self.values.items():
            if len(values) > MAX_LIST_ITEMS:
                remedy = format_message(
                    "{most} at most; many values stand in one condition, with commas", MAX_LIST_ITEMS
                )
                message = format_message("{count:,} conditions on one column", len(values))
                self.faults.append(
                    SearchFault(
                        field=name[:80],
                        message=message,
                        remedy=remedy,
                    )
                )
                continue
            try:
                test = _join_alternatives(
                    [epn_conditions.build_condition(visible, name, *_split_operator(value)) for value in values]
                )
            except (UserError, HvenError) as error:
                self.faults.append(_build_fault(name, error))
                self.invalid_values += [(name, value) for value in values]
                continue
            conditions.append((name, tuple(values)))
            tests.append(test)
        return self.search.copy_with(
            conditions=tuple(conditions),
            tests=tuple(tests),
            faults=tuple(self.faults),
            wrong=tuple(self.invalid_values),
        )

    def _find_column(self, parameter: str, name: str) -> str:
        column_name = self.column_names.get(unquote_name(name).lower())
        if column_name is None:
            message = format_message("there is no column {name}", name[:80])
            self.faults.append(
                SearchFault(
                    field=parameter,
                    message=message,
                    remedy=suggest_parameters(name[:80], sorted(self.column_names)),
                )
            )
            return ""
        return column_name

    def _read_unit(self, parameter: str, unit: str) -> None:
        """Read the unit that a column is shown in."""
        name = self._find_column(parameter, parameter.removeprefix(UNIT_PREFIX))
        if not name:
            return
        if (
            unit != (self.table.find_column(name).unit or "")
            and choose_scale(self.table.find_column(name), unit) is None
        ):
            raise UserError(
                format_message("{name} cannot be shown in {unit!r}", name, unit[:80]),
                remedy=", ".join(list_display_units(self.table.find_column(name))),
            )
        self.search = self.search.copy_with(units=(*self.search.units, (name, unit)))

    def _parse_circle(self, value: str) -> SearchCircle:
        name, comma, radius = (part.strip() for part in value.rpartition(","))
        if not comma:
            name, radius = value, "1"  # degree, as in the form
        radius_degrees = coordinate_notation.parse_angle(radius, self.find_radius_km)
        radius_text = radius if coordinate_notation.is_length(radius) else ""
        if find_position_columns(self.table) is None and find_footprint_column(self.table) is None:
            raise UserError("this table has no positions", remedy="leave the place out")
        place = coordinate_notation.parse_position(name)
        if place is not None:
            return SearchCircle(
                longitude=place[0], latitude=place[1], radius_degrees=radius_degrees, radius_text=radius_text
            )
        if not name or self.locate is None:
            raise UserError(
                format_message("{name!r} is no position", name), remedy="write longitude,latitude,radius in degrees"
            )
        lon, lat = self.locate(name)
        return SearchCircle(
            longitude=lon, latitude=lat, radius_degrees=radius_degrees, name=name, radius_text=radius_text
        )


def _parse_files_value(value: str) -> bool:
    """Read which lines there are: with `each`, one for each file of an observation."""
    if value != "each":
        raise UserError(
            format_message("{name}={value!r} is unknown", FILES_PARAMETER, value[:40]), remedy="_files=each"
        )
    return True


def _to_literal(value: int | None) -> syntax_tree.Literal | None:
    if value is None:
        return None
    return syntax_tree.Literal(value)


def quote_listed_name(name: str) -> str:
    """Write a column's name as one of a list: in quotes, if it would be read as another one or as several."""
    plain = not set(name) & set(',"') and not name.startswith(("-", "+")) and name == name.strip()
    if plain:
        return name
    return '"' + name.replace('"', '""') + '"'


def unquote_name(name: str) -> str:
    """Read a column's name, in quotes or not."""
    name = name.strip()
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def _split_name_list(value: str) -> list[str]:
    return [name.strip() for name in _NAME_LIST_PATTERN.findall(value) if name.strip()][:MAX_LIST_ITEMS]


def _split_operator(value: str) -> tuple[str, str]:
    """Cut the operator off a value."""
    for operator in CONDITION_OPERATORS:
        if value.startswith(operator):
            return {"!": "!=", "<>": "!="}.get(operator, operator), value.removeprefix(operator).strip()
    return "=", value


def _join_alternatives(conditions: list[syntax_tree.Expr]) -> syntax_tree.Expr:
    if len(conditions) == 1:
        return conditions[0]
    return syntax_tree.Disjunction(tuple(conditions))


def _build_fault(name: str, error: Exception) -> SearchFault:
    if isinstance(error, HvenError):
        message, remedy = (error.message, error.remedy)
    else:
        message, remedy = (str(error), "")
    return SearchFault(field=name, message=message, remedy=remedy)


def _build_word_condition(table: Table, word: str) -> syntax_tree.Expr:
    """Look for a word in the columns of text that matter most."""
    texts = sorted(
        (column for column in table.columns if column.type.is_string and not column.hidden),
        key=lambda column: column.rank,
    )[:MAX_TEXT_COLUMNS]
    pattern = syntax_tree.Literal("%" + word.replace("%", "_") + "%")
    conditions: list[syntax_tree.Expr] = [
        syntax_tree.LikePredicate(build_column_ref(column.name), pattern, ignore_case=True) for column in texts
    ]
    if conditions:
        return _join_alternatives(conditions)
    return syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))


def find_footprint_column(table: Table) -> Column | None:
    """Return the column of what rows cover."""
    return next((column for column in table.columns if column.name.lower() == "s_region" and not column.hidden), None)


def find_position_columns(table: Table) -> tuple[str, str] | None:
    """Return the columns of longitude and latitude.

    The table's position on the sky, else points on a body (UCDs ``pos.bodyrc``).
    """
    if table.position is not None:
        return table.position
    coordinate_columns = []
    for axis in ("lon", "lat"):
        ucd = re.compile(rf"pos\.bodyrc\.{axis}(?:;meta\.main)?", re.IGNORECASE)
        columns = (
            column for column in table.columns if column.type.is_numeric and not column.hidden and column.unit == "deg"
        )
        coordinate_columns.append(next((column.name for column in columns if ucd.fullmatch(column.ucd or "")), None))
    if coordinate_columns[0] is not None and coordinate_columns[1] is not None:
        return (coordinate_columns[0], coordinate_columns[1])
    return None


def _build_circle_condition(table: Table, circle: SearchCircle) -> syntax_tree.Expr:
    centre = syntax_tree.FunctionCall(
        "POINT", (syntax_tree.Literal(circle.longitude), syntax_tree.Literal(circle.latitude))
    )
    return _build_overlap_condition(
        table, syntax_tree.FunctionCall("CIRCLE", (centre, syntax_tree.Literal(circle.radius_degrees)))
    )


def _build_region_condition(table: Table, text: str) -> syntax_tree.Expr:
    """Read ``CIRCLE lon lat r``, ``POLYGON lon lat ..`` (DALI 1.1 section 3.3); ``POINT lon lat``.

    Rows whose footprint holds it.
    """
    kind, _, number_text = text.strip().partition(" ")
    try:
        numbers = [float(word) for word in number_text.split()]
    except ValueError:
        numbers = []
    if not all(map(math.isfinite, numbers)) or (
        kind.upper() == "CIRCLE" and len(numbers) == 3 and not 0 <= numbers[2] <= 180
    ):
        raise UserError(
            format_message("{text!r} is no region: its numbers are too large", text[:60]),
            remedy="degrees; the radius of a circle is 0 to 180",
        )
    literals = tuple(syntax_tree.Literal(number) for number in numbers)
    if kind.upper() == "CIRCLE" and len(numbers) == 3:
        return _build_overlap_condition(
            table, syntax_tree.FunctionCall("CIRCLE", (syntax_tree.FunctionCall("POINT", literals[:2]), literals[2]))
        )
    if kind.upper() == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
        return _build_overlap_condition(table, syntax_tree.FunctionCall("POLYGON", literals))
    if kind.upper() == "POINT" and len(numbers) == 2:
        region = find_footprint_column(table)
        if region is None:
            raise UserError("rows of this table have no footprints", remedy="CIRCLE lon lat radius, in degrees")
        return syntax_tree.Comparison(
            "=",
            syntax_tree.Literal(1),
            syntax_tree.FunctionCall(
                "CONTAINS", (syntax_tree.FunctionCall("POINT", literals), build_column_ref(region.name))
            ),
        )
    raise UserError(
        format_message("{text!r} is no region", text[:60]),
        remedy="CIRCLE lon lat radius, or POLYGON lon lat lon lat lon lat .., in degrees",
    )


def _build_overlap_condition(table: Table, shape: syntax_tree.FunctionCall) -> syntax_tree.Expr:
    region = find_footprint_column(table)
    point = find_position_columns(table)
    if point is not None and (table.position is not None or region is None):
        lon, lat = point
        return syntax_tree.Comparison(
            "=",
            syntax_tree.Literal(1),
            syntax_tree.FunctionCall(
                "CONTAINS", (syntax_tree.FunctionCall("POINT", (build_column_ref(lon), build_column_ref(lat))), shape)
            ),
        )
    if region is None:
        raise UserError("this table has no positions", remedy="leave the place out")
    return syntax_tree.Comparison(
        "=", syntax_tree.Literal(1), syntax_tree.FunctionCall("INTERSECTS", (build_column_ref(region.name), shape))
    )
