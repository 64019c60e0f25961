"""EPN-TAP parameters as VESPA's form has them (``target_name=Mars time=2004/2005 c1=350/10``) -> the tree of an ADQL query.

A parameter is a column, or what a pair of columns ``x_min``, ``x_max`` (``c1min``, ``c1max``) bounds: then rows are
found whose interval overlaps the one asked for. Faces and the command line use `find_tables` and
`translate_parameters`; nothing here runs a query.
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
    SetOperation,
    Star,
    TableRef,
    join_conditions,
)
from hven.model import units
from hven.model.errors import NotFoundError, ParseError, SourceError, format_message, join_messages
from hven.model.table import JD_EPOCH, Column, Table, set_column_epochs
from hven.model.types import STRING, TIMESTAMP, Type
from hven.portal._condition_values import (
    ConditionClause,
    ConditionValue,
    IntervalEnd,
    parse_clauses,
    parse_field_values,
    parse_number,
    parse_time_range,
    split_range,
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
WHOLE_LIST_PATTERN = re.compile(r"#(.+)#", re.DOTALL)  # of a column of lists: all of its items, and no others
CASE_SENSITIVE_COLUMNS = frozenset(
    {"granule_uid", "granule_gid", "obs_id", "access_url", "access_md5", "thumbnail_url", "file_name", "datalink_url"}
)  # compared as they are
_CIRCULAR_UCDS = (".lon", "pos.eq.ra", ".azi", "pos.azimuth")  # UCDs of what goes round a circle
_CIRCULAR_COLUMNS = frozenset({"subsolar_longitude", "subobserver_longitude", "solar_longitude", "azimuth"})
DATE_PATTERN = re.compile(
    r"^\s*\d{4}\s*$|\d{4}-\d|~|^\s*\d{7}(?:\.\d*)?\s*$|\d\s*m?jd\s*$|^\s*[^\s\d.+-]", re.IGNORECASE
)
# what is a date whatever day a column counts from: 2004, 2004-01-14, 2453018.5, 53018mjd (or a word, which is none)
_BOOLEAN_WORDS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
_UNKNOWN_VALUES_NOTE = "a row whose {} is not known is left out"

FIND_TABLES_QUERY = (
    "SELECT table_name FROM TAP_SCHEMA.tables WHERE utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' "
    "OR utype LIKE 'ivo://vopdc.obspm/std/epncore%' OR table_name LIKE '%.epn_core' ORDER BY table_name"
)
_COLUMNS_QUERY = (
    "SELECT table_name, column_name, datatype, xtype, unit, ucd FROM TAP_SCHEMA.columns WHERE table_name IN ({})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedQuery:
    """What the parameters became.

    Attributes
    ----------
    query
        A tree, not bound.
    tables
        Names of the tables that are asked: those that have every parameter.
    notes
        For people: which tables were left out and why, what happens to rows with unknown values.
    """

    query: Query
    tables: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find_tables(
    run_query: Callable[[str], Iterable[Mapping[str, Any]]], wanted_names: Sequence[str] = ()
) -> tuple[Table, ...]:
    """Find the EPN-TAP tables of a service, and their columns, through its own TAP_SCHEMA.

    Parameters
    ----------
    run_query
        Answers ADQL with rows; whoever it asks for, only tables that they may see are found.
    wanted_names
        These tables, whatever they declare; empty: those that declare to be EPN-TAP.

    Returns
    -------
    tables
        With their columns.

    Raises
    ------
    NotFoundError
        There is none, or not the ones that were named.
    SourceError
        What answers is no TAP_SCHEMA.
    """
    table_names = list(wanted_names) or [
        str(row["table_name"]) for row in _normalize_rows(run_query(FIND_TABLES_QUERY), "tables", "table_name")
    ]
    if not table_names:
        raise NotFoundError(
            "there is no EPN-TAP table here",
            remedy="a table with `standard: epn-tap-2.0`, or one that is called epn_core; name others with --table",
        )
    quoted_names = ", ".join("'" + name.replace("'", "''") + "'" for name in table_names)
    columns: dict[str, list[Column]] = {name: [] for name in table_names}
    for row in _normalize_rows(
        run_query(_COLUMNS_QUERY.format(quoted_names)), "columns", "table_name", "column_name", "datatype"
    ):
        columns.setdefault(str(row["table_name"]), []).append(_parse_column(row))
    missing_names = [name for name in table_names if not columns[name]]
    if missing_names:
        raise NotFoundError(
            format_message("there is no table {names} here", ", ".join(missing_names)),
            remedy="names are those of TAP_SCHEMA.tables",
        )
    return tuple(
        set_column_epochs(
            Table(schema=name.rpartition(".")[0], name=name.rpartition(".")[2], columns=tuple(columns[name]))
        )
        for name in table_names
    )


def _normalize_rows(answer: Iterable[Mapping[str, Any]], table: str, *needed_names: str) -> Iterator[dict[str, Any]]:
    """Yield rows by lower-case names, as services write them any way.

    Those that lack what is needed are an answer to something else.
    """
    for row in answer:
        row_by_name = {str(name).lower(): value for name, value in row.items()}
        missing_names = [name for name in needed_names if row_by_name.get(name) is None]
        if missing_names:
            present_names = ", ".join(row_by_name)[:100]
            raise SourceError(
                format_message(
                    "TAP_SCHEMA.{table} answers without {names}: it gives {there}",
                    table,
                    ", ".join(missing_names),
                    present_names,
                ),
                remedy="look whether the address is that of a TAP service",
            )
        yield row_by_name


def _parse_column(row: Mapping[str, Any]) -> Column:
    datatype = str(row["datatype"]).strip().lower().rpartition("adql:")[2].partition("(")[0]
    xtype = str(row.get("xtype") or "")
    if xtype.rpartition(":")[2].lower() == "timestamp" or datatype == "timestamp":
        type_ = TIMESTAMP
    else:
        type_ = {
            "unsignedbyte": Type("unsignedByte"),
            "smallint": Type("short"),
            "short": Type("short"),
            "int": Type("int"),
            "integer": Type("int"),
            "bigint": Type("long"),
            "long": Type("long"),
            "float": Type("float"),
            "real": Type("float"),
            "double": Type("double"),
            "double precision": Type("double"),
        }.get(datatype, STRING)
    unit = str(row.get("unit") or "") or None
    return Column(name=str(row["column_name"]).strip('"'), type=type_, unit=unit, ucd=str(row.get("ucd") or "") or None)


def translate_parameters(text: str, tables: Sequence[Table], *, include_unknown: bool = False) -> TranslatedQuery:
    """Translate EPN-TAP parameters into a query (EPN-TAP 2.0).

    Parameters
    ----------
    text
        ``name=value`` and more of them, with blanks between. Values: ``a,b`` one of them; ``low/high`` or
        ``low..high``, either end may be left out; numbers with a unit, dates for times, words with ``*``; in quotes if
        they hold blanks. ``!=``, ``<``, ``<=``, ``>``, ``>=``.
    tables
        The tables to ask, with their columns; several become a UNION ALL of the columns that all of them have.
    include_unknown
        True: rows with no value of a parameter are found, too.

    Returns
    -------
    asked
        The query as a tree, and what was understood.

    Raises
    ------
    ParseError
        With the place in `text`: a name that no table has, a value that is none, a unit that does not fit.
    """
    clauses = parse_clauses(text)
    parameter_names = _list_parameters(tables)
    notes: list[str] = []
    for clause in clauses:
        if clause.name.lower() not in parameter_names:
            raise ParseError(
                format_message("no parameter {name}", clause.name),
                text=text,
                offset=clause.text_offset,
                remedy=suggest_parameters(clause.name, sorted(parameter_names)),
            )
    table_conditions: list[tuple[Table, list[Expr]]] = []
    for table in tables:
        own_names = _list_parameters([table])
        missing_names = [clause.name for clause in clauses if clause.name.lower() not in own_names]
        if missing_names:
            notes.append(
                format_message("{table} has no {names}: not asked", table.qualified_name, ", ".join(missing_names))
            )
            continue
        table_conditions.append(
            (
                table,
                [
                    _ConditionBuilder(text, table, include_unknown=include_unknown).build_condition(clause)
                    for clause in clauses
                ],
            )
        )
    if not table_conditions:
        raise ParseError(
            "no table has all of these parameters",
            text=text,
            offset=clauses[0].text_offset if clauses else 0,
            remedy=join_messages("{one}; {other}", notes),
        )
    if clauses and not include_unknown:
        notes.append(_UNKNOWN_VALUES_NOTE.format(", ".join(dict.fromkeys(clause.name for clause in clauses))))
    return TranslatedQuery(
        query=_build_query(table_conditions),
        tables=tuple(table.qualified_name for table, _ in table_conditions),
        notes=tuple(notes),
    )


def build_condition(table: Table, name: str, operator: str, value: str) -> Expr:
    """Make the condition of one parameter, as a field of a form has it: blanks belong to the value.

    Parameters
    ----------
    table
        The one that is asked.
    name
        Of the parameter, in any case.
    operator
        ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``.
    value
        ``a,b`` one of them; a comma within a value stands in double quotes. ``null``: there is no value. ``#a#b#``: of
        a column of lists the whole list.

    Returns
    -------
    condition
        Not bound.

    Raises
    ------
    ParseError
        No such parameter, or a value that is none; the place is that in `value`.
    """
    if name.lower() not in (parameter_names := _list_parameters([table])):
        raise ParseError(
            format_message("no parameter {name}", name),
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
        own_column = translation.columns.get(name.lower())
        # of this module
        column = own_column if own_column is not None else translation._find_pair(name.lower())[0]  # noqa: SLF001
        conditions.append(NullPredicate(_build_column_ref(column), negated=operator == "!="))
    if len(conditions) == 1:
        return conditions[0]
    if operator == "!=":
        return Conjunction(tuple(conditions))
    return Disjunction(tuple(conditions))


def _list_parameters(tables: Sequence[Table]) -> set[str]:
    parameter_names: set[str] = set()
    for table in tables:
        names = {column.name.lower() for column in table.columns}
        parameter_names |= names
        for ending in ("_min", "min"):
            parameter_names |= {
                name.removesuffix(ending)
                for name in names
                if name.endswith(ending) and f"{name.removesuffix(ending)}{ending[:-3]}max" in names
            }
    return parameter_names - {""}


def _build_query(table_conditions: Sequence[tuple[Table, list[Expr]]]) -> Query:
    """Join the tables in one query: all columns of one, of several those that all have, as the first orders them."""
    items: tuple[SelectItem | Star, ...] = (Star(),)
    if len(table_conditions) > 1:
        shared_columns = [
            column
            for column in table_conditions[0][0].columns
            if all(_has_equal_column(column, table) for table, _ in table_conditions[1:])
        ]
        items = tuple(SelectItem(ColumnRef(Ident(column.name))) for column in shared_columns)
    body: Select | SetOperation | None = None
    for table, conditions in table_conditions:
        parts = tuple(Ident(part) for part in (*table.schema.split("."), table.name) if part)
        select = Select(items, TableRef(parts), where=join_conditions(*conditions))
        if body is None:
            body = select
        else:
            body = SetOperation("UNION", body, select, all=True)
    if body is None:
        raise AssertionError
    return Query(body)


def _has_equal_column(column: Column, table: Table) -> bool:
    other_column = next((item for item in table.columns if item.name.lower() == column.name.lower()), None)
    return (
        other_column is not None
        and (other_column.type == column.type or (other_column.type.is_numeric and column.type.is_numeric))
        and (other_column.unit or None) == (column.unit or None)
    )


class _ConditionBuilder:
    """The conditions of one table."""

    def __init__(self, text: str, table: Table, *, include_unknown: bool) -> None:
        self.text = text
        self.table = table
        self.include_unknown = include_unknown
        self.columns = {column.name.lower(): column for column in table.columns}

    def build_condition(self, clause: ConditionClause) -> Expr:
        """Return the condition of one parameter."""
        name = clause.name.lower()
        column = self.columns.get(name)
        if column is not None:
            conditions = [self._build_column_condition(column, word, clause) for word in clause.values]
            null_conditions: tuple[Expr, ...] = (NullPredicate(_build_column_ref(column)),)
        else:
            low, high = self._find_pair(name)
            conditions = [self._build_overlap_condition(name, low, high, word, clause) for word in clause.values]
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

    def _find_pair(self, name: str) -> tuple[Column, Column]:
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
            if low is not None and high is not None and low.value == high.value and high.is_closed:
                return Comparison("=", _build_column_ref(column), Literal(low.value))
            if low is not None and high is not None and low.is_closed and high.is_closed:
                return BetweenPredicate(_build_column_ref(column), Literal(low.value), Literal(high.value))
            return join_conditions(
                *_build_lower_bound(column, low), *_build_upper_bound(column, high)
            ) or NullPredicate(_build_column_ref(column), negated=True)
        if clause.op not in {"=", "!="}:
            self._raise_parse_error(
                format_message("{name} is text, and {op} compares numbers and dates", clause.name, clause.op),
                clause.text_offset,
                format_message("write {name}=...", clause.name),
            )
        name = column.name.lower()
        text = word.text
        if column.type.is_boolean:
            if text.lower() not in _BOOLEAN_WORDS:
                self._raise_parse_error(
                    format_message("{text!r} is neither true nor false", text), word.text_offset, "write true or false"
                )
            return Comparison("=", _build_column_ref(column), Literal(_BOOLEAN_WORDS[text.lower()]))
        if name in LIST_COLUMNS and (list_match := WHOLE_LIST_PATTERN.fullmatch(text)):
            return Comparison("=", FunctionCall("LOWER", (_build_column_ref(column),)), Literal(list_match[1].lower()))
        if "*" in text and not word.is_literal:
            return self._build_pattern_condition(column, text)
        if name in LIST_COLUMNS:
            return _build_function_test("IVO_HASHLIST_HAS", _build_column_ref(column), Literal(text))
        if name in CASE_SENSITIVE_COLUMNS:
            return Comparison("=", _build_column_ref(column), Literal(text))
        return Comparison("=", FunctionCall("LOWER", (_build_column_ref(column),)), Literal(text.lower()))

    def _build_pattern_condition(self, column: Column, text: str) -> Expr:
        pattern = text.replace("*", "%")
        if column.name.lower() in LIST_COLUMNS:
            wrapped_list = BinaryOperation(
                "||", BinaryOperation("||", Literal("#"), _build_column_ref(column)), Literal("#")
            )
            return _build_function_test("IVO_NOCASEMATCH", wrapped_list, Literal(f"%#{pattern}#%"))
        return _build_function_test("IVO_NOCASEMATCH", _build_column_ref(column), Literal(pattern))

    def _build_overlap_condition(
        self, name: str, first: Column, last: Column, word: ConditionValue, clause: ConditionClause
    ) -> Expr:
        if not (first.type.is_numeric or first.type.is_timestamp):
            self._raise_parse_error(
                format_message("{name} is no number and no time here", clause.name), clause.text_offset
            )
        if _is_circular(name, first) and clause.op in {"=", "!="}:
            return self._build_circular_overlap(first, last, word, clause)
        low, high = self._parse_bounds(first, word, clause)
        return join_conditions(*_build_lower_bound(last, low), *_build_upper_bound(first, high)) or NullPredicate(
            _build_column_ref(first), negated=True
        )

    def _build_circular_overlap(
        self, first: Column, last: Column, word: ConditionValue, clause: ConditionClause
    ) -> Expr:
        """Compare intervals on a circle: either may go across 0, which low > high says."""
        low, high = self._parse_bounds(first, word, clause, check_order=False)
        west = 0.0 if low is None else float(low.value)
        east = 360.0 if high is None else float(high.value)
        if east - west >= 360.0:
            return NullPredicate(_build_column_ref(first), negated=True)
        west, east = (value if 0.0 <= value <= 360.0 else value % 360.0 for value in (west, east))
        crosses_zero = Comparison(">", _build_column_ref(first), _build_column_ref(last))

        def build_overlap(a: float, b: float) -> Expr:
            after, before = (
                Comparison(">=", _build_column_ref(last), Literal(a)),
                Comparison("<=", _build_column_ref(first), Literal(b)),
            )
            return Disjunction(
                (Conjunction((after, before)), Conjunction((crosses_zero, Disjunction((after, before)))))
            )

        if west > east:
            overlap = build_overlap(west, 360.0)
            return Disjunction((overlap, build_overlap(0.0, east)))
        edge_conditions: list[Expr] = []  # 0 and 360 are one meridian
        if east == 360.0:
            edge_conditions.append(Comparison("=", _build_column_ref(first), Literal(0.0)))
        if west == 0.0:
            edge_conditions.append(Comparison("=", _build_column_ref(last), Literal(360.0)))
        if edge_conditions:
            return Disjunction((build_overlap(west, east), *edge_conditions))
        return build_overlap(west, east)

    def _build_circular_condition(self, column: Column, word: ConditionValue, clause: ConditionClause) -> Expr:
        """Find angles between two others, eastward: 350..10 goes across 0."""
        low, high = self._parse_bounds(column, word, clause, check_order=False)
        if low is None or high is None or float(low.value) <= float(high.value):
            return join_conditions(
                *_build_lower_bound(column, low), *_build_upper_bound(column, high)
            ) or NullPredicate(_build_column_ref(column), negated=True)
        lower_bound = _build_lower_bound(column, low)
        upper_bound = _build_upper_bound(column, high)
        return Disjunction((*lower_bound, *upper_bound))

    def _parse_bounds(
        self, column: Column, word: ConditionValue, clause: ConditionClause, *, check_order: bool = True
    ) -> tuple[IntervalEnd | None, IntervalEnd | None]:
        """Read a value, a date or a range in the unit of the column."""
        low, high = split_range(word, clause.op, self.text)
        if column.type.is_timestamp or column.epoch == JD_EPOCH:
            bounds = parse_time_range(low, high, self.text, as_timestamps=column.type.is_timestamp)
        elif column.epoch is not None and any(
            word is not None and word.text and DATE_PATTERN.search(word.text) for word in (low, high)
        ):
            bounds = tuple(
                None if end is None else replace(end, value=float(end.value) - column.epoch)
                for end in parse_time_range(low, high, self.text, as_timestamps=False)
            )  # type: ignore[assignment]
        else:
            bounds = self._parse_number_bounds(column, low, high)
        if check_order and bounds[0] is not None and bounds[1] is not None and _is_reversed(bounds[0], bounds[1]):
            self._raise_parse_error(
                format_message("{name}: {text} ends before it begins", clause.name, word.text),
                word.text_offset,
                "write the smaller value first",
            )
        return bounds

    def _parse_number_bounds(
        self, column: Column, low: ConditionValue | None, high: ConditionValue | None
    ) -> tuple[IntervalEnd | None, IntervalEnd | None]:
        low_number, high_number = (
            None if word is None or not word.text else parse_number(word, self.text) for word in (low, high)
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
            if word is not None:
                text_offset = word.text_offset
            else:
                text_offset = 0
            if unit:
                value, inverse = self._convert_number(column, value, unit, text_offset)
                is_inverted = is_inverted or inverse
            is_integer = column.type.is_integer and (isinstance(value, int) or value.is_integer())
            bounds.append(
                IntervalEnd(value=int(value) if is_integer else float(value), is_closed=word is None or word.is_closed)
            )
        if is_inverted:
            return (bounds[1], bounds[0])
        return (bounds[0], bounds[1])

    def _convert_number(self, column: Column, value: float, unit: str, text_offset: int) -> tuple[float, bool]:
        column_unit = column.unit or ""
        try:
            if units.is_convertible(unit, column_unit):
                factor = units.compute_factor(unit, column_unit)
                return value if factor == 1 else value * factor, False
            if units.is_convertible(column_unit, "Hz"):
                factor, inverse = units.compute_spectral_conversion(unit, column_unit)
                if inverse and value == 0:
                    self._raise_parse_error(
                        format_message("0 {unit} is no wavelength", unit), text_offset, "leave the end open: ..2um"
                    )
                return (factor / value if inverse else factor * value), inverse
            units.compute_factor(unit, column_unit)
        except ValueError as error:
            self._raise_parse_error(
                str(error),
                text_offset,
                format_message("{name} is in {want}", column.name, column_unit)
                if column_unit
                else format_message("{name} has no unit", column.name),
            )
        raise AssertionError

    def _raise_parse_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        raise ParseError(message, text=self.text, offset=text_offset, remedy=remedy)


def _is_reversed(low: IntervalEnd, high: IntervalEnd) -> bool:
    low_value = low.value
    high_value = high.value
    # of times: they stand in the order of these, from the year 1 on
    texts = isinstance(low_value, str) or isinstance(high_value, str)
    is_later = str(low_value) > str(high_value) if texts else low_value > high_value  # type: ignore[operator]
    return is_later or (low_value == high_value and not (low.is_closed and high.is_closed))


def _build_column_ref(column: Column) -> ColumnRef:
    return ColumnRef(Ident(column.name))


def _is_circular(name: str, column: Column) -> bool:
    return name in _CIRCULAR_COLUMNS or any(word in (column.ucd or "").lower() for word in _CIRCULAR_UCDS)


def _build_lower_bound(column: Column, low: IntervalEnd | None) -> list[Expr]:
    if low is None:
        return []
    return [Comparison(">=" if low.is_closed else ">", _build_column_ref(column), Literal(low.value))]


def _build_upper_bound(column: Column, high: IntervalEnd | None) -> list[Expr]:
    if high is None:
        return []
    return [Comparison("<=" if high.is_closed else "<", _build_column_ref(column), Literal(high.value))]


def _build_function_test(function: str, *args: Expr) -> Expr:
    return Comparison("=", FunctionCall(function, args), Literal(1))
