"""Translate EPN-TAP parameters (``target_name=Mars time=2004/2005 c1=350/10``) into the syntax tree of an ADQL query.

A parameter is a column, or the interval of a pair of columns ``x_min``, ``x_max`` (``c1min``, ``c1max``). A value of an
interval finds the rows whose interval overlaps it. Services and the command line use `fetch_epn_tap_tables` and
`translate_epn_tap_parameters`; this module runs no query itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    Negation,
    NullPredicate,
    Query,
    Select,
    SelectItem,
    SelectStar,
    SetOperation,
    TableRef,
    build_text_condition,
    join_conditions_with_and,
)
from hven.model import units
from hven.model.errors import NotFoundError, ParseError, SourceError, format_message, join_messages
from hven.model.table import JD_EPOCH, Column, Table, set_column_epochs
from hven.model.types import STRING, TIMESTAMP, ColumnType
from hven.portal._condition_values import (
    ConditionClause,
    ConditionValue,
    IntervalEnd,
    is_like_sexagesimal_angle,
    parse_condition_clauses,
    parse_field_values,
    parse_number_and_unit,
    parse_sexagesimal_angle,
    parse_time_range,
    split_condition_range,
    suggest_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# columns whose values may be lists a#b#c (EPN-TAP 2.0)
LIST_COLUMNS = frozenset(
    {
        "dataproduct_type",
        "measurement_type",
        "target_name",
        "target_class",
        "instrument_host_name",
        "instrument_name",
        "internal_reference",
        "alt_target_name",
        "sample_classification",
        "sample_desc",
        "species_inchikey",
        "setup_desc",
        "data_calibration_desc",
        "geometry_type",
        "spectrum_type",
    }
)
WHOLE_LIST_PATTERN = re.compile(r"#(.+)#", re.DOTALL)  # in a list column: exactly these items
# columns whose values are compared as they are
CASE_SENSITIVE_COLUMNS = frozenset(
    {"granule_uid", "granule_gid", "obs_id", "access_url", "access_md5", "thumbnail_url", "file_name", "datalink_url"}
)
_CIRCULAR_UCDS = (".lon", "pos.eq.ra", ".azi", "pos.azimuth")  # UCDs of angles that wrap around at 360 degrees
_CIRCULAR_COLUMNS = frozenset({"subsolar_longitude", "subobserver_longitude", "solar_longitude", "azimuth"})
# Texts that are dates whatever day a column counts from: 2004, 2004-01-14, 2453018.5, 53018mjd. A word matches too, so
# that the date parser reports it.
DATE_PATTERN = re.compile(
    r"^\s*\d{4}\s*$|\d{4}-\d|~|^\s*\d{7}(?:\.\d*)?\s*$|\d\s*m?jd\s*$|^\s*[^\s\d.+-]", re.IGNORECASE
)
_BOOLEAN_WORDS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
_UNKNOWN_VALUES_NOTE = "rows without a known {} are left out"

FIND_TABLES_QUERY = (
    "SELECT table_name FROM TAP_SCHEMA.tables WHERE utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' "
    "OR utype LIKE 'ivo://vopdc.obspm/std/epncore%' OR table_name LIKE '%.epn_core' ORDER BY table_name"
)
# data types of TAP_SCHEMA; others are read as text
_TYPES_BY_DATATYPE = {
    "unsignedbyte": ColumnType("unsignedByte"),
    "smallint": ColumnType("short"),
    "short": ColumnType("short"),
    "int": ColumnType("int"),
    "integer": ColumnType("int"),
    "bigint": ColumnType("long"),
    "long": ColumnType("long"),
    "float": ColumnType("float"),
    "real": ColumnType("float"),
    "double": ColumnType("double"),
    "double precision": ColumnType("double"),
}
_COLUMNS_QUERY = "SELECT * FROM TAP_SCHEMA.columns WHERE table_name IN ({})"  # TAP 1.0 has no arraysize


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedEpnTapQuery:
    """The query that parameters were translated to.

    Attributes
    ----------
    query
        The syntax tree; its names are not resolved.
    tables
        Names of the queried tables: those that have every parameter.
    notes
        Remarks for the user: tables that were left out and why, and what happens to rows with unknown values.
    """

    query: Query
    tables: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fetch_epn_tap_tables(
    run_query: Callable[[str], Iterable[Mapping[str, Any]]], wanted_names: Sequence[str] = ()
) -> tuple[Table, ...]:
    """Find the EPN-TAP tables of a service and their columns in its TAP_SCHEMA.

    Parameters
    ----------
    run_query
        Runs an ADQL query and returns its rows; it determines which tables are visible.
    wanted_names
        Names of tables to read, whatever they declare; empty: all tables that declare to be EPN-TAP.

    Returns
    -------
    tables
        The tables with their columns.

    Raises
    ------
    NotFoundError
        There is no such table.
    SourceError
        The service does not respond like a TAP_SCHEMA.
    """
    table_names = list(wanted_names)
    if not table_names:
        table_rows = _check_rows_and_lower_column_names(run_query(FIND_TABLES_QUERY), "tables", "table_name")
        table_names = [str(row["table_name"]) for row in table_rows]
    if not table_names:
        raise NotFoundError(
            "this site or service has no EPN-TAP table",
            remedy=(
                "choose a table with --table; to publish an EPN-TAP table, write `standard: epn-tap-2.0`, or name the "
                "table epn_core"
            ),
        )
    name_literals = ["'" + name.replace("'", "''") + "'" for name in table_names]
    quoted_names = ", ".join(name_literals)
    columns: dict[str, list[Column]] = {name: [] for name in table_names}
    column_rows = run_query(_COLUMNS_QUERY.format(quoted_names))
    for row in _check_rows_and_lower_column_names(column_rows, "columns", "table_name", "column_name", "datatype"):
        table_name = str(row["table_name"])
        columns.setdefault(table_name, []).append(_parse_tap_schema_column(row))
    missing_names = [name for name in table_names if not columns[name]]
    if missing_names:
        message = format_message("there is no table {names} here", _join_alternatives(missing_names))
        raise NotFoundError(message, remedy="use the names in TAP_SCHEMA.tables")
    tables = []
    for qualified_name in table_names:
        schema, _, name = qualified_name.rpartition(".")
        table = Table(schema=schema, name=name, columns=tuple(columns[qualified_name]))
        tables.append(set_column_epochs(table))
    return tuple(tables)


def _check_rows_and_lower_column_names(
    answer: Iterable[Mapping[str, Any]], table: str, *needed_names: str
) -> Iterator[dict[str, Any]]:
    """Yield rows with lower-case names: services differ in case.

    Raise an error if a row lacks a needed name: it answers another question.
    """
    for row in answer:
        row_by_name = {str(name).lower(): value for name, value in row.items()}
        missing_names = [name for name in needed_names if row_by_name.get(name) is None]
        if missing_names:
            present_names = ", ".join(row_by_name)[:100]
            message = format_message(
                "TAP_SCHEMA.{table} contains no values for {names}; the columns of this table are {there}",
                table,
                _join_alternatives(missing_names),
                present_names,
            )
            raise SourceError(message, remedy="check that the address belongs to a TAP service")
        yield row_by_name


def _join_alternatives(names: Iterable[str]) -> str:
    return join_messages("{one} or {other}", map(repr, names))


def _parse_tap_schema_column(row: Mapping[str, Any]) -> Column:
    prefixed_datatype = str(row["datatype"]).strip().lower()
    datatype = prefixed_datatype.rpartition("adql:")[2].partition("(")[0]
    xtype = str(row.get("xtype") or "")
    if xtype.rpartition(":")[2].lower() == "timestamp" or datatype == "timestamp":
        type_ = TIMESTAMP
    else:
        type_ = _TYPES_BY_DATATYPE.get(datatype, STRING)
    arraysize = str(row.get("arraysize") or "1")
    if type_.is_numeric and arraysize != "1":
        type_ = replace(type_, arraysize=arraysize)
    name = str(row["column_name"]).strip('"')
    unit = str(row.get("unit") or "") or None
    ucd = str(row.get("ucd") or "") or None
    return Column(name=name, type=type_, unit=unit, ucd=ucd)


def translate_epn_tap_parameters(
    text: str, tables: Sequence[Table], *, include_unknown: bool = False, is_remote: bool = False
) -> TranslatedEpnTapQuery:
    """Translate EPN-TAP parameters into a query (EPN-TAP 2.0).

    Parameters
    ----------
    text
        Clauses ``name=value``, separated by blanks. A value is ``a,b`` (one of them), ``low/high`` or ``low..high``
        (either end may be left out), a number with a unit, a date, or a word with ``*``; a value with blanks is quoted.
        The other operators are ``!=``, ``<``, ``<=``, ``>`` and ``>=``.
    tables
        The tables to query, with their columns; several become a UNION ALL of the columns that all of them have.
    include_unknown
        True: rows without a value of a parameter are found, too.
    is_remote
        True: the service may not know REGEXP_MATCH, so ``_`` and ``%`` beside a ``*`` are wildcards of LIKE.

    Returns
    -------
    translated_query
        The query as a syntax tree, its tables and notes.

    Raises
    ------
    ParseError
        A name that no table has, or a value or a unit that fits no table; with the position in `text`.
    """
    clauses = parse_condition_clauses(text)
    parameter_names = _list_parameter_names(tables)
    notes: list[str] = []
    for clause in clauses:
        if clause.name.lower() not in parameter_names:
            raise ParseError(
                format_message("there is no parameter {name!r}", clause.name),
                text=text,
                offset=clause.text_offset,
                remedy=suggest_parameters(clause.name, sorted(parameter_names)),
            )
    table_conditions: list[tuple[Table, list[Expr]]] = []
    first_error: ParseError | None = None
    for table in tables:
        own_names = _list_parameter_names([table])
        missing_names = [clause.name for clause in clauses if clause.name.lower() not in own_names]
        if missing_names:
            missing_text = _join_alternatives(missing_names)
            notes.append(
                format_message(
                    "{table} is not queried, because it has no parameter {names}", table.qualified_name, missing_text
                )
            )
            continue
        builder = _ConditionBuilder(text, table, include_unknown=include_unknown, is_remote=is_remote)
        try:
            table_conditions.append((table, [builder.build_condition(clause) for clause in clauses]))
        except ParseError as error:  # for example c1=350/10 and a table whose c1 is no longitude
            first_error = first_error or error
            notes.append(format_message("{table} is not queried: {reason}", table.qualified_name, error.message))
    if first_error is not None and not table_conditions:
        raise first_error
    if not table_conditions:
        raise ParseError(
            "no table has all of these parameters",
            text=text,
            offset=clauses[0].text_offset if clauses else 0,
            remedy=join_messages("{one}; {other}", notes),
        )
    if clauses and not include_unknown:
        clause_names = dict.fromkeys(clause.name for clause in clauses)
        notes.append(_UNKNOWN_VALUES_NOTE.format(", ".join(clause_names)))
    return TranslatedEpnTapQuery(
        query=_build_query_over_tables(table_conditions),
        tables=tuple(table.qualified_name for table, _ in table_conditions),
        notes=tuple(notes),
    )


def build_parameter_condition(table: Table, name: str, operator: str, value: str) -> Expr:
    """Build the condition of one parameter from a field of a form: blanks belong to the value.

    Parameters
    ----------
    table
        The table to query.
    name
        Name of the parameter, in any case.
    operator
        ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``.
    value
        ``a,b`` (one of them); a value with a comma is in double quotes. ``null``: there is no value. ``#a#b#``: the
        whole list, in a list column.

    Returns
    -------
    condition
        The condition as an expression; its names are not resolved.

    Raises
    ------
    ParseError
        There is no such parameter, or the value is invalid; with the position in `value`.
    """
    parameter_names = _list_parameter_names([table])
    if name.lower() not in parameter_names:
        raise ParseError(
            format_message("there is no parameter {name!r}", name),
            text=name,
            offset=0,
            remedy=suggest_parameters(name, sorted(parameter_names)),
        )
    translation = _ConditionBuilder(value, table, include_unknown=False)
    clause = ConditionClause(name, operator, parse_field_values(value), 0)
    given_values = tuple(word for word in clause.values if not word.is_null)
    if given_values:
        condition = translation.build_condition(replace(clause, values=given_values))
        conditions = [condition]
    else:
        conditions = []
    if len(given_values) < len(clause.values):
        column = translation.find_column_for_null_test(name.lower())
        conditions.append(NullPredicate(_build_column_ref(column), negated=operator == "!="))
    if len(conditions) == 1:
        return conditions[0]
    if operator == "!=":
        return Conjunction(tuple(conditions))
    return Disjunction(tuple(conditions))


def _list_parameter_names(tables: Sequence[Table]) -> set[str]:
    parameter_names: set[str] = set()
    for table in tables:
        names = {column.name.lower() for column in table.columns}
        parameter_names |= names
        for ending in ("_min", "min"):
            for name in names:
                stem = name.removesuffix(ending)
                if name.endswith(ending) and f"{stem}{ending[:-3]}max" in names:
                    parameter_names.add(stem)
    return parameter_names - {""}


def _build_query_over_tables(table_conditions: Sequence[tuple[Table, list[Expr]]]) -> Query:
    """Build one query over all tables, with all columns of a single table or the shared columns of several."""
    items: tuple[SelectItem | SelectStar, ...] = (SelectStar(),)
    if len(table_conditions) > 1:
        first_table, _ = table_conditions[0]
        other_tables = [table for table, _ in table_conditions[1:]]
        shared_columns = list(first_table.columns)
        for table in other_tables:
            shared_columns = [column for column in shared_columns if _has_equal_column(column, table)]
        items = tuple(SelectItem(ColumnRef(Ident(column.name))) for column in shared_columns)
    body: Select | SetOperation | None = None
    for table, conditions in table_conditions:
        name_parts = (*table.schema.split("."), table.name)
        identifiers = tuple(Ident(part) for part in name_parts if part)
        select = Select(items, TableRef(identifiers), where=join_conditions_with_and(*conditions))
        if body is None:
            body = select
        else:
            body = SetOperation("UNION", body, select, all=True)
    if body is None:
        raise AssertionError
    return Query(body)


def _has_equal_column(column: Column, table: Table) -> bool:
    for other_column in table.columns:
        if other_column.name.lower() == column.name.lower():
            are_numeric = other_column.type.is_numeric and column.type.is_numeric
            has_equal_type = other_column.type == column.type or are_numeric
            return has_equal_type and (other_column.unit or None) == (column.unit or None)
    return False


class _ConditionBuilder:
    """Builder of the conditions of one table."""

    def __init__(self, text: str, table: Table, *, include_unknown: bool, is_remote: bool = False) -> None:
        self.text = text
        self.table = table
        self.include_unknown = include_unknown
        self.is_remote = is_remote
        self.columns = {column.name.lower(): column for column in table.columns}

    def build_condition(self, clause: ConditionClause) -> Expr:
        """Return the condition of one parameter."""
        name = clause.name.lower()
        column = self.columns.get(name)
        if column is not None:
            conditions = [self._build_column_condition(column, word, clause) for word in clause.values]
            null_conditions: tuple[Expr, ...] = (NullPredicate(_build_column_ref(column)),)
        else:
            low, high = self._find_range_pair_columns(name)
            conditions = []
            for word in clause.values:
                conditions.append(self._build_overlap_condition(name, low, high, word, clause))
            null_conditions = (NullPredicate(_build_column_ref(low)), NullPredicate(_build_column_ref(high)))
        if len(conditions) == 1:
            combined = conditions[0]
        else:
            combined = Disjunction(tuple(conditions))
        if clause.op == "!=":
            combined = Negation(combined)
        if self.include_unknown:
            return Disjunction((combined, *null_conditions))
        return combined

    def find_column_for_null_test(self, name: str) -> Column:
        """Return the column that has no value in rows without the parameter: the column, or the begin of the pair."""
        column = self.columns.get(name)
        if column is not None:
            return column
        low, _ = self._find_range_pair_columns(name)
        return low

    def _find_range_pair_columns(self, name: str) -> tuple[Column, Column]:
        if f"{name}_min" in self.columns:
            stem = f"{name}_"
        else:
            stem = name
        return self.columns[f"{stem}min"], self.columns[f"{stem}max"]

    def _build_column_condition(self, column: Column, word: ConditionValue, clause: ConditionClause) -> Expr:
        if column.type.is_numeric or column.type.is_timestamp:
            if clause.op in {"=", "!="} and _is_circular(column.name.lower(), column):
                return self._build_circular_condition(column, word, clause)
            low, high = self._parse_bounds(column, word, clause)
            column_ref = _build_column_ref(column)
            if low is not None and high is not None:
                if low.value == high.value and high.is_closed:
                    return Comparison("=", column_ref, Literal(low.value))
                if low.is_closed and high.is_closed:
                    return BetweenPredicate(column_ref, Literal(low.value), Literal(high.value))
            return _join_bounds(column, _build_lower_bound(column, low), _build_upper_bound(column, high))
        if clause.op not in {"=", "!="}:
            message = format_message(
                "{name!r} is a string, but {op!r} compares only numbers and dates", clause.name, clause.op
            )
            remedy = format_message("write {name}=...", clause.name)
            self._raise_parse_error(message, clause.text_offset, remedy)
        if column.type.is_boolean:
            return self._build_boolean_condition(column, word)
        if not column.type.is_string or column.type.is_geometry:
            message = format_message(
                "a condition cannot compare {name!r}, whose values are arrays or regions", clause.name
            )
            self._raise_parse_error(message, clause.text_offset, "query the table with ADQL")
        return self._build_text_condition(column, word)

    def _build_boolean_condition(self, column: Column, word: ConditionValue) -> Expr:
        is_true = _BOOLEAN_WORDS.get(word.text.lower())
        if is_true is None:
            message = format_message("{text!r} is neither true nor false", word.text)
            self._raise_parse_error(message, word.text_offset, "write true or false")
        return Comparison("=", _build_column_ref(column), Literal(is_true))

    def _build_text_condition(self, column: Column, word: ConditionValue) -> Expr:
        name = column.name.lower()
        text = word.text
        column_ref = _build_column_ref(column)
        whole_list = None
        if name in LIST_COLUMNS:
            whole_list = WHOLE_LIST_PATTERN.fullmatch(text)
        lower_case_column = FunctionCall("LOWER", (column_ref,))
        if whole_list is not None:
            return Comparison("=", lower_case_column, Literal(whole_list[1].lower()))
        if "*" in text and not word.is_literal:
            return self._build_pattern_condition(column, text)
        if name in LIST_COLUMNS:
            return _build_function_condition("IVO_HASHLIST_HAS", column_ref, Literal(text))
        if name in CASE_SENSITIVE_COLUMNS:
            return Comparison("=", column_ref, Literal(text))
        return Comparison("=", lower_case_column, Literal(text.lower()))

    def _build_pattern_condition(self, column: Column, text: str) -> Expr:
        value: Expr = _build_column_ref(column)
        if column.name.lower() in LIST_COLUMNS:
            value = BinaryOperation("||", BinaryOperation("||", Literal("#"), value), Literal("#"))
            text = f"*#{text}#*"
        if self.is_remote or set("%_").isdisjoint(text):
            return _build_function_condition("IVO_NOCASEMATCH", value, Literal(text.replace("*", "%")))
        return build_text_condition(value, text.split("*"))

    def _build_overlap_condition(
        self, name: str, first: Column, last: Column, word: ConditionValue, clause: ConditionClause
    ) -> Expr:
        if not (first.type.is_numeric or first.type.is_timestamp):
            message = format_message("{name!r} is neither a number nor a time in this table", clause.name)
            self._raise_parse_error(message, clause.text_offset)
        if _is_circular(name, first) and clause.op in {"=", "!="}:
            return self._build_circular_overlap(first, last, word, clause)
        low, high = self._parse_bounds(first, word, clause)
        return _join_bounds(first, _build_lower_bound(last, low), _build_upper_bound(first, high))

    def _build_circular_overlap(
        self, first: Column, last: Column, word: ConditionValue, clause: ConditionClause
    ) -> Expr:
        """Compare intervals on a circle; an interval with low > high crosses 0."""
        low, high = self._parse_bounds(first, word, clause, check_order=False)
        west = 0.0
        if low is not None:
            west = float(low.value)
        east = 360.0
        if high is not None:
            east = float(high.value)
        if east - west >= 360.0:
            return NullPredicate(_build_column_ref(first), negated=True)
        if not 0.0 <= west <= 360.0:
            west %= 360.0
        if not 0.0 <= east <= 360.0:
            east %= 360.0
        first_ref = _build_column_ref(first)
        last_ref = _build_column_ref(last)
        crosses_zero = Comparison(">", first_ref, last_ref)

        def build_overlap(a: float, b: float) -> Expr:
            ends_after = Comparison(">=", last_ref, Literal(a))
            begins_before = Comparison("<=", first_ref, Literal(b))
            overlaps_directly = Conjunction((ends_after, begins_before))
            overlaps_across_zero = Conjunction((crosses_zero, Disjunction((ends_after, begins_before))))
            return Disjunction((overlaps_directly, overlaps_across_zero))

        if west > east:
            overlap = build_overlap(west, 360.0)
            return Disjunction((overlap, build_overlap(0.0, east)))
        edge_conditions: list[Expr] = []  # 0 and 360 are the same meridian
        if east == 360.0:
            edge_conditions.append(Comparison("=", first_ref, Literal(0.0)))
        if west == 0.0:
            edge_conditions.append(Comparison("=", last_ref, Literal(360.0)))
        if edge_conditions:
            return Disjunction((build_overlap(west, east), *edge_conditions))
        return build_overlap(west, east)

    def _build_circular_condition(self, column: Column, word: ConditionValue, clause: ConditionClause) -> Expr:
        """Find angles between two others, eastward: 350..10 crosses 0."""
        low, high = self._parse_bounds(column, word, clause, check_order=False)
        lower_bound = _build_lower_bound(column, low)
        upper_bound = _build_upper_bound(column, high)
        if low is None or high is None or float(low.value) <= float(high.value):
            return _join_bounds(column, lower_bound, upper_bound)
        return Disjunction((*lower_bound, *upper_bound))

    def _parse_bounds(
        self, column: Column, word: ConditionValue, clause: ConditionClause, *, check_order: bool = True
    ) -> tuple[IntervalEnd | None, IntervalEnd | None]:
        """Read a value, a date or a range in the unit of the column."""
        low, high = split_condition_range(word, clause.op, self.text)
        if column.type.is_timestamp or column.epoch == JD_EPOCH:
            bounds = parse_time_range(low, high, self.text, is_timestamp_column=column.type.is_timestamp)
        elif column.epoch is not None and (_is_date(low) or _is_date(high)):
            begin, end = parse_time_range(low, high, self.text, is_timestamp_column=False)
            bounds = (
                _convert_to_days_since_epoch(begin, column.epoch),
                _convert_to_days_since_epoch(end, column.epoch),
            )
        else:
            bounds = self._parse_number_bounds(column, low, high)
        if check_order and bounds[0] is not None and bounds[1] is not None and _is_empty_interval(bounds[0], bounds[1]):
            message = format_message("{name}: the range {text!r} ends before it begins", clause.name, word.text)
            self._raise_parse_error(message, word.text_offset, "write the smaller value first")
        return bounds

    def _parse_number_bounds(
        self, column: Column, low: ConditionValue | None, high: ConditionValue | None
    ) -> tuple[IntervalEnd | None, IntervalEnd | None]:
        low_number, high_number = (
            None if word is None or not word.text else self._parse_number(column, word) for word in (low, high)
        )
        if low_number is not None and high_number is not None and not low_number[1]:  # 1..2um
            low_number = low_number[0], high_number[1]
        is_inverted = False
        bounds: list[IntervalEnd | None] = []
        for word, parsed_number in ((low, low_number), (high, high_number)):
            if parsed_number is None:
                bounds.append(None)
                continue
            value, unit = parsed_number
            text_offset = 0 if word is None else word.text_offset
            if unit:
                value, inverse = self._convert_number_unit(column, value, unit, text_offset)
                is_inverted = is_inverted or inverse
            is_integer = column.type.is_integer and (isinstance(value, int) or value.is_integer())
            bound_value = int(value) if is_integer else column.type.round_number(float(value))
            is_closed = word is None or word.is_closed
            bounds.append(IntervalEnd(value=bound_value, is_closed=is_closed))
        if is_inverted:
            return (bounds[1], bounds[0])
        return (bounds[0], bounds[1])

    def _parse_number(self, column: Column, word: ConditionValue) -> tuple[int | float, str]:
        ucd = (column.ucd or "").lower()
        if column.unit == "deg" and ucd.startswith("pos."):
            angle = parse_sexagesimal_angle(word.text, is_right_ascension=ucd.startswith("pos.eq.ra"))
            if angle is not None:
                return angle, ""
            if is_like_sexagesimal_angle(word.text):
                message = format_message("{text!r} is not an angle", word.text)
                remedy = "write minutes and seconds below 60, as in 19:02:17 or 5d12'30\", or degrees, as in 285.57"
                self._raise_parse_error(message, word.text_offset, remedy)
        return parse_number_and_unit(word, self.text)

    def _convert_number_unit(self, column: Column, value: float, unit: str, text_offset: int) -> tuple[float, bool]:
        column_unit = column.unit or ""
        try:
            if units.are_units_convertible(unit, column_unit):
                factor = units.compute_unit_factor(unit, column_unit)
                return value if factor == 1 else value * factor, False
            if units.are_units_convertible(column_unit, "Hz"):
                factor, inverse = units.compute_spectral_conversion(unit, column_unit)
                if inverse and value == 0:
                    message = format_message("0 {unit} is not a wavelength", unit)
                    self._raise_parse_error(message, text_offset, "leave this end of the range open, as in ..2um")
                return (factor / value if inverse else factor * value), inverse
            units.compute_unit_factor(unit, column_unit)
        except ValueError as error:
            if column_unit:
                remedy = format_message(
                    "use a unit that can be converted to {want!r} (the unit of {name!r})", column_unit, column.name
                )
            else:
                remedy = format_message("leave out the unit, because {name!r} has no unit", column.name)
            self._raise_parse_error(str(error), text_offset, remedy)
        raise AssertionError

    def _raise_parse_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        raise ParseError(message, text=self.text, offset=text_offset, remedy=remedy)


def _is_date(word: ConditionValue | None) -> bool:
    if word is None or not word.text:
        return False
    return DATE_PATTERN.search(word.text) is not None


def _convert_to_days_since_epoch(end: IntervalEnd | None, epoch: float) -> IntervalEnd | None:
    """Convert the end of an interval from a Julian date to days since an epoch."""
    if end is None:
        return None
    return replace(end, value=float(end.value) - epoch)


def _join_bounds(column: Column, lower_bound: list[Expr], upper_bound: list[Expr]) -> Expr:
    """Join the bounds of an interval; without any, the column must have a value."""
    condition = join_conditions_with_and(*lower_bound, *upper_bound)
    if condition is None:
        return NullPredicate(_build_column_ref(column), negated=True)
    return condition


def _is_empty_interval(low: IntervalEnd, high: IntervalEnd) -> bool:
    low_value = low.value
    high_value = high.value
    # times as ISO texts sort like times, from the year 1 on
    if isinstance(low_value, str) or isinstance(high_value, str):
        is_later = str(low_value) > str(high_value)
    else:
        is_later = low_value > high_value
    is_empty = low_value == high_value and not (low.is_closed and high.is_closed)
    return is_later or is_empty


def _build_column_ref(column: Column) -> ColumnRef:
    return ColumnRef(Ident(column.name))


def _is_circular(name: str, column: Column) -> bool:
    ucd = (column.ucd or "").lower()
    return name in _CIRCULAR_COLUMNS or any(word in ucd for word in _CIRCULAR_UCDS)


def _build_lower_bound(column: Column, low: IntervalEnd | None) -> list[Expr]:
    if low is None:
        return []
    operator = ">=" if low.is_closed else ">"
    return [Comparison(operator, _build_column_ref(column), Literal(low.value))]


def _build_upper_bound(column: Column, high: IntervalEnd | None) -> list[Expr]:
    if high is None:
        return []
    operator = "<=" if high.is_closed else "<"
    return [Comparison(operator, _build_column_ref(column), Literal(high.value))]


def _build_function_condition(function: str, *args: Expr) -> Expr:
    return Comparison("=", FunctionCall(function, args), Literal(1))
