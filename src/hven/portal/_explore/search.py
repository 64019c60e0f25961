"""Read a search from the parameters of an address, and write it back.

A search has conditions, a place, words, an order and columns. It becomes an ADQL syntax tree, and an address again.

A condition is ``column=value`` in the language of EPN-TAP parameters (`hven.portal.conditions`). Names that begin with
``_`` are the portal's own. A parameter that cannot be read becomes a `SearchFault` of its field; the rest of the search
still runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.model import plugins
from hven.model.errors import HvenError, UserError, format_message
from hven.model.sky import Circle, Point, Polygon
from hven.portal import conditions as epn_conditions
from hven.portal._condition_values import suggest_parameters
from hven.portal._explore import cadence, coordinate_notation
from hven.portal._explore.column_labels import LABELS_PARAMETER
from hven.portal._explore.map_frames import find_footprint_column, find_map_frame
from hven.portal._explore.search_fields import build_unit_scale, find_range_pairs, list_display_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.table import Column, Table

    SearchShape = Point | Circle | Polygon
    BoxConditionBuilder = Callable[[tuple[str, str, str, str], SearchShape], syntax_tree.Expr]

PORTAL_PREFIX = "_"  # names with this prefix are no columns
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
MAX_TEXT_COLUMNS = 8  # text columns that free words are searched in
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
        "_panes",
        "_view",
        "_map",
        "_plot",
        "_compare",
    }
)  # a column with such a name is written in quotes: "_row"=..
_NAME_LIST_PATTERN = re.compile(r'(?:[^,"]|"(?:[^"]|"")*"?)+')
CONDITION_OPERATORS = ("!=", "<>", "<=", ">=", "<", ">", "!", "=")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFault:
    """A parameter of a search that cannot be read: the name of the field, the reason and the remedy.

    Attributes
    ----------
    field
        Name of the field.
    message
        Why it cannot be read.
    remedy
        What helps.
    """

    field: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCondition:
    """A condition that a package adds to the searches in tables: see `PluginPackage.search_conditions`.

    Attributes
    ----------
    label
        What pages call it, in English; the catalogues of the package translate it.
    build_condition
        Function that builds the condition of a value of the parameter: ``build(table, text)``. The table has the
        columns that the reader may see. The function raises a `UserError` for a value that it cannot read.
    build_box_condition
        Function that builds the condition that boxes of longitude and latitude touch a point, a circle or a polygon on
        the sphere: ``build(bounds, shape)``, with the columns of west, south, east and north. None: it has none.
    """

    label: str
    build_condition: Callable[[Table, str], syntax_tree.Expr]
    build_box_condition: BoxConditionBuilder | None = None


@plugins.cache_until_selection
def load_search_conditions() -> Mapping[str, SearchCondition]:
    """Load the conditions that the packages in use add, by their parameters."""
    return dict(plugins.iterate_package_objects("search_conditions"))


def _find_box_condition_builder() -> BoxConditionBuilder | None:
    for condition in load_search_conditions().values():
        if condition.build_box_condition is not None:
            return condition.build_box_condition
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCircle:
    """A circle on the sphere of the table's positions.

    `longitude`, `latitude` and `radius_degrees` are in degrees.
    `name` is the object that a resolver found the centre of; `radius_text` is a radius that was written as a length.
    """

    longitude: float
    latitude: float
    radius_degrees: float
    name: str = ""
    radius_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSearch:
    """A search in one table.

    Attributes
    ----------
    conditions
        Name of a column, or of a pair ``x_min``/``x_max`` -> values as the reader wrote them. A row must meet one value
        of each name.
    tests
        The conditions as expressions of the query, in the same order; those with faults are left out.
    words
        Words that rows must contain.
    near, inside
        A circle, and a region in DALI notation (``POLYGON 1 2 ..``).
    place_columns
        Columns with the places of rows, as in `list_place_columns`, without those that are not needed. None: unknown.
    every
        A cadence: one row for each step of time, of the rows that meet all other conditions.
    order
        Columns to sort by, each with whether it descends.
    columns
        The shown columns, in this order; empty: the principal ones and those that are searched.
    units
        Names of columns, and the units that the reader chose for them.
    each
        Whether each file of an observation has its own line.
    rest
        Parameters of the panes; they are passed through.
    wrong
        Values of fields with faults, which the form shows again.
    """

    table: Table
    conditions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tests: tuple[syntax_tree.Expr, ...] = ()
    words: str = ""
    near: SearchCircle | None = None
    inside: str = ""
    place_columns: tuple[tuple[str, ...], ...] | None = field(default=None, compare=False)
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
        """Return the columns that the answer shows."""
        if self.columns:
            return tuple(self.table.find_column(name) for name in self.columns)
        searched_names = {name.lower() for name, _ in self.conditions}
        columns = [column for column in self.table.columns if not column.hidden]
        if searched_names - {column.name.lower() for column in columns}:
            for stem, *ends in find_range_pairs(columns):
                if stem in searched_names:
                    searched_names |= {end.name.lower() for end in ends}
        principal_columns = [candidate for candidate in columns if candidate.is_principal]
        if not principal_columns:
            return self.table.columns
        return tuple(column for column in columns if column.is_principal or column.name.lower() in searched_names)

    def build_condition(self, *, excluded_name: str | None = None) -> syntax_tree.Expr | None:
        """Return the condition of the search.

        Parameters
        ----------
        excluded_name
            Name whose conditions are left out, as the counts of its own choices need it; None: all count.
        """
        parts = []
        for (name, _), name_test in zip(self.conditions, self.tests, strict=True):
            if name != excluded_name:
                parts.append(name_test)
        if self.words:
            parts += [_build_word_condition(self.table, word) for word in self.words.split()]
        if self.near is not None:
            circle = Circle(self.near.longitude, self.near.latitude, self.near.radius_degrees)
            parts.append(_build_place_condition(self.table, circle, self.place_columns))
        if self.inside:
            parts.append(_build_place_condition(self.table, parse_region(self.inside), self.place_columns))
        test = syntax_tree.join_conditions_with_and(*parts)
        if self.every is None:
            return test
        return cadence.build_nearest_to_step_condition(self.table, self.every, test)

    def build_query(
        self, *, columns: Sequence[str] | None = None, limit: int | None = None, offset: int | None = None
    ) -> syntax_tree.Query:
        """Return the query of the rows.

        Parameters
        ----------
        columns
            Names of columns; None: those that are shown.
        limit, offset
            Number of rows, and number of the first one; None: all rows, from the first one.
        """
        if columns is None:
            names = [column.name for column in self.list_shown_columns()]
        else:
            names = list(columns)
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in names)
        order_items = []
        for name, is_descending in self.order:
            order_items.append(syntax_tree.OrderItem(build_column_ref(name), descending=is_descending))
        condition = self.build_condition()
        select = syntax_tree.Select(items, self.build_from_item(), where=condition, top=_to_literal(limit))
        return syntax_tree.Query(select, order_by=tuple(order_items), offset=_to_literal(offset))

    def build_count_query(self) -> syntax_tree.Query:
        """Return the query of the number of rows."""
        return self.build_count_query_where(self.build_condition())

    def build_count_query_where(self, condition: syntax_tree.Expr | None) -> syntax_tree.Query:
        """Return the query of the number of rows under another condition.

        Parameters
        ----------
        condition
            The condition; None: all rows.
        """
        select = syntax_tree.Select((COUNT_ITEM,), self.build_from_item(), where=condition)
        return syntax_tree.Query(select)

    def build_from_item(self) -> syntax_tree.FromItem:
        """Return the table as an item of the FROM clause."""
        identifier = cadence.build_adql_identifier(self.table.schema)
        return syntax_tree.TableRef((identifier, cadence.build_adql_identifier(self.table.name)))

    def write_adql(self) -> str:
        """Write the query of the search in ADQL."""
        return write_adql(self.build_query())

    def list_parameters(self) -> list[tuple[str, str]]:
        """Return the parameters of the address, in a fixed order."""
        parameters: list[tuple[str, str]] = []
        for name, values in self.conditions:
            parameters += [(quote_parameter_name(name), value) for value in values]
        if self.words:
            parameters.append((WORDS_PARAMETER, self.words))
        if self.near is not None:
            centre = self.near.name or f"{self.near.longitude!r},{self.near.latitude!r}"
            radius = self.near.radius_text or repr(self.near.radius_degrees)
            parameters.append((NEAR_PARAMETER, f"{centre},{radius}"))
        if self.inside:
            parameters.append((REGION_PARAMETER, self.inside))
        if self.every is not None:
            parameters.append((CADENCE_PARAMETER, str(self.every)))
        if self.each:
            parameters.append((FILES_PARAMETER, "each"))
        if self.order:
            sort_names = ["-" * is_descending + quote_listed_name(name) for name, is_descending in self.order]
            parameters.append((SORT_PARAMETER, ",".join(sort_names)))
        if self.columns:
            parameters.append((COLUMNS_PARAMETER, ",".join(map(quote_listed_name, self.columns))))
        parameters += [(UNIT_PREFIX + name, unit) for name, unit in self.units]
        if self.row:
            parameters.append((ROW_PARAMETER, self.row))
        return [*parameters, *self.rest]

    def write_query_string(self) -> str:
        """Write the search as the query string of an address."""
        return urlencode(self.list_parameters())

    def copy_with(self, **changes: object) -> TableSearch:
        """Return a copy of the search with some attributes replaced.

        Parameters
        ----------
        changes
            New values of attributes.
        """
        return replace(self, **changes)  # type: ignore[arg-type]


def parse_search(
    pairs: Iterable[tuple[str, str]],
    table: Table,
    *,
    locate: Callable[[str], tuple[float, float]] | None = None,
    find_radius_km: Callable[[], float | None] | None = None,
) -> TableSearch:
    """Read the parameters of an address, also those of the conditions that packages add.

    Parameters
    ----------
    pairs
        Names and values, in their order. Empty values are ignored: a form sends its empty fields too.
    table
        The table that is searched.
    locate
        Returns the position of a name, in degrees; it may raise a `UserError`.
    find_radius_km
        Returns the radius of the body of the table's positions (unit: km), for radii that are lengths.

    Returns
    -------
    search
        The search; its faults say what cannot be read.
    """
    parser = _SearchParser(table, locate, find_radius_km)
    for name, value in pairs:
        if value.strip():
            parser.read_parameter(name, value.strip())
    return parser.build_search()


def build_column_ref(name: str) -> syntax_tree.ColumnRef:
    """Build a column reference; only a name with capital letters is quoted.

    Parameters
    ----------
    name
        Name of the column.

    Returns
    -------
    column_ref
        The reference.
    """
    return syntax_tree.ColumnRef(cadence.build_adql_identifier(name))


class _SearchParser:
    """Parser of the parameters of one address."""

    def __init__(
        self,
        table: Table,
        locate: Callable[[str], tuple[float, float]] | None,
        find_radius_km: Callable[[], float | None] | None,
    ) -> None:
        self.table = table
        self.package_conditions = load_search_conditions()
        self.locate = locate
        self.find_radius_km = find_radius_km
        visible_columns = [column for column in table.columns if not column.hidden]
        self.column_names = {column.name.lower(): column.name for column in visible_columns}
        self.faults: list[SearchFault] = []
        self.invalid_values: list[tuple[str, str]] = []
        self.values: dict[str, list[str]] = {}
        self.search = TableSearch(table=table)

    def read_parameter(self, name: str, value: str) -> None:
        """Read one parameter."""
        column_name = self.column_names.get(unquote_name(name).lower())
        is_condition = column_name is not None or name in self.package_conditions
        is_own_parameter = name.startswith(PORTAL_PREFIX) and not is_condition
        try:
            if name in PORTAL_PARAMETERS or is_own_parameter:
                self._read_portal_parameter(name, value)
            else:
                self.values.setdefault(column_name or name, []).append(value)
        except (UserError, HvenError) as error:
            self.faults.append(_build_search_fault(name, error))
            self.invalid_values.append((name, value))

    def _read_portal_parameter(self, name: str, value: str) -> None:
        """Read a parameter whose name is the portal's own, not that of a column."""
        readers: dict[str, Callable[[str], None]] = {
            WORDS_PARAMETER: self._read_words,
            NEAR_PARAMETER: self._read_circle,
            REGION_PARAMETER: self._read_region,
            CADENCE_PARAMETER: self._read_cadence,
            SORT_PARAMETER: self._read_order,
            COLUMNS_PARAMETER: self._read_columns,
            FILES_PARAMETER: self._read_file_grouping,
            ROW_PARAMETER: self._read_row,
        }
        if name in readers:
            readers[name](value)
        elif name.startswith(UNIT_PREFIX):
            self._read_unit(name, value)
        elif name in PORTAL_PARAMETERS:
            passed_parameters = (*self.search.rest, (name, value))
            self.search = self.search.copy_with(rest=passed_parameters)
        else:
            shown_name = name[:80]
            message = format_message("there is no parameter {name!r}", shown_name)
            remedy = suggest_parameters(shown_name, sorted(PORTAL_PARAMETERS))
            self.faults.append(SearchFault(field=shown_name, message=message, remedy=remedy))

    def _read_words(self, value: str) -> None:
        words = value.split()
        searched_words = " ".join(words[:MAX_WORDS])
        self.search = self.search.copy_with(words=searched_words)
        if len(words) > MAX_WORDS:
            message = format_message("the search has {count:,} words", len(words))
            remedy = format_message("Hven searches only for the first {most} words", MAX_WORDS)
            self.faults.append(SearchFault(field=WORDS_PARAMETER, message=message, remedy=remedy))

    def _read_circle(self, value: str) -> None:
        self.search = self.search.copy_with(near=self._parse_circle(value))

    def _read_region(self, value: str) -> None:
        _build_place_condition(self.table, parse_region(value))  # raises if rows have no such places
        self.search = self.search.copy_with(inside=value)

    def _read_cadence(self, value: str) -> None:
        parsed_cadence = cadence.parse_cadence(value, self.table)
        self.search = self.search.copy_with(every=parsed_cadence)

    def _read_order(self, value: str) -> None:
        first_orders: dict[str, bool] = {}
        for sort_name in _split_name_list(value):
            name = sort_name.removeprefix("-").removeprefix("+")
            column_name = self._find_column_or_record_fault(SORT_PARAMETER, name)
            if column_name:  # only the first mention of a column counts
                first_orders.setdefault(column_name, sort_name.startswith("-"))
        self.search = self.search.copy_with(order=tuple(first_orders.items()))

    def _read_columns(self, value: str) -> None:
        column_names = [self._find_column_or_record_fault(COLUMNS_PARAMETER, name) for name in _split_name_list(value)]
        known_names = [name for name in column_names if name]
        distinct_names = dict.fromkeys([*self.search.columns, *known_names])
        self.search = self.search.copy_with(columns=tuple(distinct_names))

    def _read_file_grouping(self, value: str) -> None:
        self.search = self.search.copy_with(each=_parse_file_grouping(value))

    def _read_row(self, value: str) -> None:
        self.search = self.search.copy_with(row=value)

    def build_search(self) -> TableSearch:
        """Return the search with all parameters read so far."""
        conditions = []
        tests = []
        visible = self.table
        # a guessed name must not find a hidden column
        if any(column.hidden for column in visible.columns):
            columns = tuple(column for column in visible.columns if not column.hidden)
            visible = replace(visible, columns=columns)
        for name, values in self.values.items():
            if len(values) > MAX_LIST_ITEMS:
                remedy = format_message(
                    "write at most {most} conditions; one condition can contain several values, separated by commas",
                    MAX_LIST_ITEMS,
                )
                message = format_message("there are {count:,} conditions on one column", len(values))
                self.faults.append(SearchFault(field=name[:80], message=message, remedy=remedy))
                continue
            try:
                test = _join_alternatives([self._build_condition(visible, name, value) for value in values])
            except (UserError, HvenError) as error:
                self.faults.append(_build_search_fault(name, error))
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

    def _build_condition(self, table: Table, name: str, value: str) -> syntax_tree.Expr:
        if name in self.package_conditions and name.lower() not in self.column_names:
            return self.package_conditions[name].build_condition(table, value)
        return epn_conditions.build_parameter_condition(table, name, *_split_operator(value))

    def _find_column_or_record_fault(self, parameter: str, name: str) -> str:
        column_name = self.column_names.get(unquote_name(name).lower())
        if column_name is None:
            message = format_message("there is no column {name!r}", name[:80])
            remedy = suggest_parameters(name[:80], sorted(self.column_names))
            self.faults.append(SearchFault(field=parameter, message=message, remedy=remedy))
            return ""
        return column_name

    def _read_unit(self, parameter: str, unit: str) -> None:
        """Read the unit that a column is shown in."""
        name = self._find_column_or_record_fault(parameter, parameter.removeprefix(UNIT_PREFIX))
        if not name:
            return
        column = self.table.find_column(name)
        if unit != (column.unit or "") and build_unit_scale(column, unit) is None:
            message = format_message("the column {name!r} cannot be shown in {unit!r}", name, unit[:80])
            unit_list = ", ".join(list_display_units(column))
            remedy = ""
            if unit_list:
                remedy = format_message("use one of {names}", unit_list)
            raise UserError(message, remedy=remedy)
        units = (*self.search.units, (name, unit))
        self.search = self.search.copy_with(units=units)

    def _parse_circle(self, value: str) -> SearchCircle:
        name, comma, radius = map(str.strip, value.rpartition(","))
        if not comma:
            name, radius = value, "1"  # degree, as in the form
        radius_degrees = coordinate_notation.parse_search_radius(radius, self.find_radius_km)
        radius_text = ""
        if coordinate_notation.is_length(radius):
            radius_text = radius
        if not list_place_columns(self.table):
            raise UserError("this table has no positions", remedy="leave out the place")
        place = coordinate_notation.parse_position(name)
        if place is not None:
            return SearchCircle(
                longitude=place[0], latitude=place[1], radius_degrees=radius_degrees, radius_text=radius_text
            )
        if not name or self.locate is None:
            message = format_message("{name!r} is not a position", name)
            raise UserError(message, remedy="write longitude,latitude,radius in degrees")
        lon, lat = self.locate(name)
        return SearchCircle(
            longitude=lon, latitude=lat, radius_degrees=radius_degrees, name=name, radius_text=radius_text
        )


def _parse_file_grouping(value: str) -> bool:
    """Return whether each file of an observation has its own line (`each`)."""
    if value != "each":
        message = format_message("{name}={value!r} is not valid", FILES_PARAMETER, value[:40])
        raise UserError(message, remedy="write _files=each")
    return True


def _to_literal(value: int | None) -> syntax_tree.Literal | None:
    if value is None:
        return None
    return syntax_tree.Literal(value)


def quote_parameter_name(name: str) -> str:
    """Write the name of a column as a parameter; in quotes, if it is that of another parameter.

    Parameters
    ----------
    name
        Name of a column.

    Returns
    -------
    parameter
        Name of the parameter.
    """
    if name in PORTAL_PARAMETERS:
        return f'"{name}"'
    return name


def quote_listed_name(name: str) -> str:
    """Write the name of a column as an item of a list; in quotes, if it would be read otherwise without them."""
    has_separator = bool(set(name) & set(',"'))
    has_sign = name.startswith(("-", "+"))
    if has_separator or has_sign or name != name.strip():
        return '"' + name.replace('"', '""') + '"'
    return name


def unquote_name(name: str) -> str:
    """Return the name of a column without its quotes."""
    name = name.strip()
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def _split_name_list(value: str) -> list[str]:
    stripped_names = [name.strip() for name in _NAME_LIST_PATTERN.findall(value)]
    names = [name for name in stripped_names if name]
    return names[:MAX_LIST_ITEMS]


def _split_operator(value: str) -> tuple[str, str]:
    """Split a value into its operator and the rest."""
    for operator in CONDITION_OPERATORS:
        if value.startswith(operator):
            standard_operator = {"!": "!=", "<>": "!="}.get(operator, operator)
            return standard_operator, value.removeprefix(operator).strip()
    return "=", value


def _join_alternatives(conditions: list[syntax_tree.Expr]) -> syntax_tree.Expr:
    if len(conditions) == 1:
        return conditions[0]
    return syntax_tree.Disjunction(tuple(conditions))


def _build_search_fault(name: str, error: Exception) -> SearchFault:
    if isinstance(error, HvenError):
        message, remedy = (error.message, error.remedy)
    else:
        message, remedy = (str(error), "")
    return SearchFault(field=name, message=message, remedy=remedy)


def _build_word_condition(table: Table, word: str) -> syntax_tree.Expr:
    """Build the condition that a word occurs in one of the most important text columns."""
    text_columns = [column for column in table.columns if column.type.is_string and not column.hidden]
    text_columns.sort(key=lambda column: column.rank)
    columns = [build_column_ref(column.name) for column in text_columns[:MAX_TEXT_COLUMNS]]
    conditions = [syntax_tree.build_text_condition(column, ("", word, "")) for column in columns]
    if conditions:
        return _join_alternatives(conditions)
    return syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))


def find_position_columns(table: Table) -> tuple[str, str] | None:
    """Return the columns of longitude and latitude.

    These are the table's position on the sky, or else points on a body (UCDs ``pos.bodyrc`` or ``pos.earth``).

    Parameters
    ----------
    table
        A table.
    """
    if table.position is not None:
        return table.position
    longitude_name = _find_body_coordinate_column(table, "lon")
    latitude_name = _find_body_coordinate_column(table, "lat")
    if longitude_name is not None and latitude_name is not None:
        return (longitude_name, latitude_name)
    return None


def _find_body_coordinate_column(table: Table, axis: str) -> str | None:
    """Return the first visible column in degrees with the body UCD of an axis (``lon`` or ``lat``)."""
    ucd = re.compile(rf"pos\.(?:bodyrc|earth)\.{axis}(?:;meta\.main)?", re.IGNORECASE)
    for column in table.columns:
        is_angle = column.type.is_numeric and column.unit == "deg"
        if is_angle and not column.hidden and ucd.fullmatch(column.ucd or ""):
            return column.name
    return None


def list_place_columns(table: Table) -> tuple[tuple[str, ...], ...]:
    """List the columns with the places of rows. A row is found by the first ones in which it has values.

    Parameters
    ----------
    table
        A table.

    Returns
    -------
    place_columns
        Names of one column (a footprint), two (longitude and latitude), or four (west, south, east and north of a box
        on a body); empty if rows have no places on a sphere.
    """
    places: list[tuple[str, ...]] = []
    region = find_footprint_column(table)
    if region is not None:
        places.append((region.name,))
    if table.position is not None:
        return (table.position, *places)
    map_frame = find_map_frame(table)
    if map_frame is not None and not map_frame.radius:
        if map_frame.bounds[:2] == map_frame.bounds[2:]:
            return (*places, map_frame.bounds[:2])
        if _find_box_condition_builder() is not None:
            return (*places, map_frame.bounds)
    point = find_position_columns(table)
    if point is not None:
        places.append(point)
    return tuple(places)


def parse_region(text: str) -> SearchShape:
    """Parse ``CIRCLE lon lat r``, ``POLYGON lon lat ..`` (DALI 1.1 section 3.3) or ``POINT lon lat``.

    Parameters
    ----------
    text
        The region.

    Raises
    ------
    UserError
        The text is no region.
    """
    kind, _, number_text = text.strip().partition(" ")
    kind = kind.upper()
    shape: SearchShape | None = None
    try:
        numbers = [float(word) for word in number_text.split()]
    except ValueError:
        numbers = []
    try:
        if kind == "CIRCLE" and len(numbers) == 3:
            shape = Circle(*numbers)
        elif kind == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
            shape = Polygon(tuple(numbers[0::2]), tuple(numbers[1::2]))
        elif kind == "POINT" and len(numbers) == 2:
            shape = Point(*numbers)
    except ValueError:
        raise UserError(
            format_message("{text!r} is not a region: a number is out of range", text[:60]),
            remedy="write all numbers in degrees; the radius of a circle must be from 0 to 180",
        ) from None
    if shape is None:
        raise UserError(
            format_message("{text!r} is not a region", text[:60]),
            remedy="write CIRCLE lon lat radius, or POLYGON lon lat lon lat lon lat .., in degrees",
        )
    return shape


def _build_place_condition(
    table: Table, shape: SearchShape, place_columns: tuple[tuple[str, ...], ...] | None = None
) -> syntax_tree.Expr:
    """Build the condition that the places of rows touch a shape. A point finds the rows that contain it.

    An index cannot find rows that meet one of two conditions. If `place_columns` are known, the rows of the site that
    an index can find are therefore found by their key, in a subquery.
    """
    has_own_keys = place_columns is not None and len(table.primary) == 1
    if place_columns is None:
        place_columns = list_place_columns(table)
        if table.position is not None:
            place_columns = place_columns[:1]
    if isinstance(shape, Point):
        place_columns = tuple(names for names in list_place_columns(table) if len(names) != 2)
        if not place_columns:
            raise UserError(
                "the rows of this table have no footprints", remedy="write CIRCLE lon lat radius, in degrees"
            )
    if not place_columns:
        raise UserError("this table has no positions", remedy="leave out the place")
    alternatives = []
    missing_places: list[syntax_tree.Expr] = []
    for names in place_columns:
        test = _build_touch_condition(names, shape)
        is_indexed = len(names) == 1 or names == table.position
        if has_own_keys and is_indexed and len(place_columns) > 1:
            test = _build_key_condition(table, test)
        alternative = syntax_tree.join_conditions_with_and(*missing_places, test)
        alternatives.append(alternative or test)
        missing_places.append(syntax_tree.NullPredicate(build_column_ref(names[0])))
    return _join_alternatives(alternatives)


def _build_key_condition(table: Table, condition: syntax_tree.Expr) -> syntax_tree.Expr:
    """Build the condition that the key of a row is among those of the rows that meet a condition."""
    key = build_column_ref(table.primary[0])
    from_item = TableSearch(table=table).build_from_item()
    select = syntax_tree.Select((syntax_tree.SelectItem(key),), from_item, where=condition)
    return syntax_tree.InPredicate(key, syntax_tree.Subquery(syntax_tree.Query(select)))


def _build_touch_condition(names: tuple[str, ...], shape: SearchShape) -> syntax_tree.Expr:
    """Build the condition that the places in some columns of `list_place_columns` touch a shape."""
    build_box_condition = _find_box_condition_builder()
    if len(names) == 4 and build_box_condition is not None:
        west, south, east, north = names
        return build_box_condition((west, south, east, north), shape)
    columns = tuple(build_column_ref(name) for name in names)
    shape_call = _build_shape_call(shape)
    if len(names) == 2:
        return _build_shape_predicate("CONTAINS", syntax_tree.FunctionCall("POINT", columns), shape_call)
    if isinstance(shape, Point):
        return _build_shape_predicate("CONTAINS", shape_call, *columns)
    return _build_shape_predicate("INTERSECTS", *columns, shape_call)


def _build_shape_call(shape: SearchShape) -> syntax_tree.FunctionCall:
    """Build a point, a circle or a polygon in ADQL."""
    if isinstance(shape, Polygon):
        numbers = [number for corner in zip(shape.lons, shape.lats, strict=True) for number in corner]
        return syntax_tree.FunctionCall("POLYGON", tuple(map(syntax_tree.Literal, numbers)))
    coordinates = (syntax_tree.Literal(shape.lon), syntax_tree.Literal(shape.lat))
    point = syntax_tree.FunctionCall("POINT", coordinates)
    if isinstance(shape, Circle):
        return syntax_tree.FunctionCall("CIRCLE", (point, syntax_tree.Literal(shape.radius)))
    return point


def _build_shape_predicate(function: str, *arguments: syntax_tree.Expr) -> syntax_tree.Expr:
    """Build the condition that an ADQL function of shapes is true: ``1 = FUNCTION(..)``."""
    function_call = syntax_tree.FunctionCall(function, arguments)
    return syntax_tree.Comparison("=", syntax_tree.Literal(1), function_call)
