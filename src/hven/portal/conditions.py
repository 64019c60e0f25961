"""EPN-TAP parameters as VESPA's form has them (``target_name=Mars time=2004/2005 c1=350/10``) -> the tree of an ADQL query.

A parameter is a column, or what a pair of columns ``x_min``, ``x_max`` (``c1min``, ``c1max``) bounds: then rows are found whose interval
overlaps the one asked for. Faces and the command line use `find_tables` and `translate`; nothing here runs a query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from hven.adql.tree import (
    And,
    Between,
    Binary,
    ColumnRef,
    Compare,
    Expr,
    Function,
    Ident,
    IsNull,
    Literal,
    Not,
    Or,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Star,
    TableRef,
    conjunction,
)
from hven.model import units
from hven.model.errors import NotFound, ParseError, SourceError, joined, say
from hven.model.table import JD, Column, Table, dated
from hven.model.types import STRING, TIMESTAMP, Type
from hven.portal._condition_words import Clause, End, Word, field, nearest, number, read, span, when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# columns whose values may be lists a#b#c (EPN-TAP 2.0)
LISTS = frozenset({
    "dataproduct_type", "measurement_type", "target_name", "target_class", "instrument_host_name", "instrument_name", "internal_reference", "alt_target_name",
    "sample_classification", "sample_desc", "species_inchikey", "setup_desc", "data_calibration_desc", "geometry_type", "spectrum_type",
})  # fmt: skip
WHOLE_LIST = re.compile(r"#(.+)#", re.DOTALL)  # of a column of lists: all of its items, and no others
NAMES = frozenset(
    {"granule_uid", "granule_gid", "obs_id", "access_url", "access_md5", "thumbnail_url", "file_name", "datalink_url"}
)  # compared as they are
_ROUND = (".lon", "pos.eq.ra", ".azi", "pos.azimuth")  # UCDs of what goes round a circle
_ROUND_NAMES = frozenset({"subsolar_longitude", "subobserver_longitude", "solar_longitude", "azimuth"})
DATED = re.compile(r"^\s*\d{4}\s*$|\d{4}-\d|~|^\s*\d{7}(?:\.\d*)?\s*$|\d\s*m?jd\s*$|^\s*[^\s\d.+-]", re.IGNORECASE)
# what is a date whatever day a column counts from: 2004, 2004-01-14, 2453018.5, 53018mjd (or a word, which is none)
_FLAGS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
_HAND = "a row whose {} is not known is left out"

FIND = (
    "SELECT table_name FROM TAP_SCHEMA.tables WHERE utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' "
    "OR utype LIKE 'ivo://vopdc.obspm/std/epncore%' OR table_name LIKE '%.epn_core' ORDER BY table_name"
)
_COLUMNS = "SELECT table_name, column_name, datatype, xtype, unit, ucd FROM TAP_SCHEMA.columns WHERE table_name IN ({})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
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


def find_tables(ask: Callable[[str], Iterable[Mapping[str, Any]]], names: Sequence[str] = ()) -> tuple[Table, ...]:
    """Find the EPN-TAP tables of a service, and their columns, through its own TAP_SCHEMA.

    Parameters
    ----------
    ask
        Answers ADQL with rows; whoever it asks for, only tables that they may see are found.
    names
        These tables, whatever they declare; empty: those that declare to be EPN-TAP.

    Returns
    -------
    tables
        With their columns.

    Raises
    ------
    NotFound
        There is none, or not the ones that were named.
    SourceError
        What answers is no TAP_SCHEMA.
    """
    found = list(names) or [str(row["table_name"]) for row in _rows(ask(FIND), "tables", "table_name")]
    if not found:
        raise NotFound(
            "there is no EPN-TAP table here",
            remedy="a table with `standard: epn-tap-2.0`, or one that is called epn_core; name others with --table",
        )
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in found)
    columns: dict[str, list[Column]] = {name: [] for name in found}
    for row in _rows(ask(_COLUMNS.format(listed)), "columns", "table_name", "column_name", "datatype"):
        columns.setdefault(str(row["table_name"]), []).append(_column(row))
    if lacking := [name for name in found if not columns[name]]:
        raise NotFound(
            say("there is no table {names} here", ", ".join(lacking)), remedy="names are those of TAP_SCHEMA.tables"
        )
    return tuple(
        dated(Table(schema=name.rpartition(".")[0], name=name.rpartition(".")[2], columns=tuple(columns[name])))
        for name in found
    )


def _rows(answer: Iterable[Mapping[str, Any]], table: str, *needed: str) -> Iterator[dict[str, Any]]:
    """Yield rows by lower-case names, as services write them any way; those that lack what is needed are an answer to something else."""
    for row in answer:
        found = {str(name).lower(): value for name, value in row.items()}
        if lacking := [name for name in needed if found.get(name) is None]:
            there = ", ".join(found)[:100]
            raise SourceError(
                say("TAP_SCHEMA.{table} answers without {names}: it gives {there}", table, ", ".join(lacking), there),
                remedy="look whether the address is that of a TAP service",
            )
        yield found


def _column(row: Mapping[str, Any]) -> Column:
    kind, xtype = (
        str(row["datatype"]).strip().lower().rpartition("adql:")[2].partition("(")[0],
        str(row.get("xtype") or ""),
    )
    if xtype.rpartition(":")[2].lower() == "timestamp" or kind == "timestamp":
        type_ = TIMESTAMP
    else:
        type_ = {"unsignedbyte": Type("unsignedByte"), "smallint": Type("short"), "short": Type("short"), "int": Type("int"), "integer": Type("int"), "bigint": Type("long"), "long": Type("long"),
                 "float": Type("float"), "real": Type("float"), "double": Type("double"), "double precision": Type("double")}.get(kind, STRING)  # fmt: skip
    unit = str(row.get("unit") or "") or None
    return Column(name=str(row["column_name"]).strip('"'), type=type_, unit=unit, ucd=str(row.get("ucd") or "") or None)


def translate(text: str, tables: Sequence[Table], *, unknown: bool = False) -> Asked:
    """Translate EPN-TAP parameters into a query (EPN-TAP 2.0).

    Parameters
    ----------
    text
        ``name=value`` and more of them, with blanks between. Values: ``a,b`` one of them; ``low/high`` or ``low..high``, either end may
        be left out; numbers with a unit, dates for times, words with ``*``; in quotes if they hold blanks. ``!=``, ``<``, ``<=``, ``>``, ``>=``.
    tables
        The tables to ask, with their columns; several become a UNION ALL of the columns that all of them have.
    unknown
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
    clauses = read(text)
    known = _offered(tables)
    notes: list[str] = []
    for clause in clauses:
        if clause.name.lower() not in known:
            raise ParseError(
                say("no parameter {name}", clause.name),
                text=text,
                offset=clause.at,
                remedy=nearest(clause.name, sorted(known)),
            )
    asked: list[tuple[Table, list[Expr]]] = []
    for table in tables:
        own = _offered([table])
        lacking = [clause.name for clause in clauses if clause.name.lower() not in own]
        if lacking:
            notes.append(say("{table} has no {names}: not asked", table.qualified, ", ".join(lacking)))
            continue
        asked.append((table, [_Translation(text, table, unknown=unknown).condition(clause) for clause in clauses]))
    if not asked:
        raise ParseError(
            "no table has all of these parameters",
            text=text,
            offset=clauses[0].at if clauses else 0,
            remedy=joined("{one}; {other}", notes),
        )
    if clauses and not unknown:
        notes.append(_HAND.format(", ".join(dict.fromkeys(clause.name for clause in clauses))))
    return Asked(query=_query(asked), tables=tuple(table.qualified for table, _ in asked), notes=tuple(notes))


def condition(table: Table, name: str, op: str, value: str) -> Expr:
    """Make the condition of one parameter, as a field of a form has it: blanks belong to the value.

    Parameters
    ----------
    table
        The one that is asked.
    name
        Of the parameter, in any case.
    op
        ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``.
    value
        ``a,b`` one of them; a comma within a value stands in double quotes. ``null``: there is no value. ``#a#b#``: of a column of lists the whole list.

    Returns
    -------
    condition
        Not bound.

    Raises
    ------
    ParseError
        No such parameter, or a value that is none; the place is that in `value`.
    """
    if name.lower() not in (known := _offered([table])):
        raise ParseError(say("no parameter {name}", name), text=name, offset=0, remedy=nearest(name, sorted(known)))
    translation = _Translation(value, table, unknown=False)
    clause = Clause(name, op, field(value), 0)
    stated = tuple(word for word in clause.values if not word.is_null)
    tests = [translation.condition(replace(clause, values=stated))] if stated else []
    if len(stated) < len(clause.values):
        own = translation.columns.get(name.lower())
        column = own if own is not None else translation._pair(name.lower())[0]  # noqa: SLF001  (of this module)
        tests.append(IsNull(_name(column), negated=op == "!="))
    if len(tests) == 1:
        return tests[0]
    return And(tuple(tests)) if op == "!=" else Or(tuple(tests))


def _offered(tables: Sequence[Table]) -> set[str]:
    found: set[str] = set()
    for table in tables:
        names = {column.name.lower() for column in table.columns}
        found |= names
        for ending in ("_min", "min"):
            found |= {
                name.removesuffix(ending)
                for name in names
                if name.endswith(ending) and f"{name.removesuffix(ending)}{ending[:-3]}max" in names
            }
    return found - {""}


def _query(asked: Sequence[tuple[Table, list[Expr]]]) -> Query:
    """Join the tables in one query: all columns of one, of several those that all have, as the first orders them."""
    items: tuple[SelectItem | Star, ...] = (Star(),)
    if len(asked) > 1:
        shared = [column for column in asked[0][0].columns if all(_alike(column, table) for table, _ in asked[1:])]
        items = tuple(SelectItem(ColumnRef(Ident(column.name))) for column in shared)
    body: Select | SetOperation | None = None
    for table, conditions in asked:
        parts = tuple(Ident(part) for part in (*table.schema.split("."), table.name) if part)
        one = Select(items, TableRef(parts), where=conjunction(*conditions))
        body = one if body is None else SetOperation("UNION", body, one, all=True)
    if body is None:
        raise AssertionError
    return Query(body)


def _alike(column: Column, table: Table) -> bool:
    other = next((item for item in table.columns if item.name.lower() == column.name.lower()), None)
    return (
        other is not None
        and (other.type == column.type or (other.type.is_numeric and column.type.is_numeric))
        and (other.unit or None) == (column.unit or None)
    )


class _Translation:
    """The conditions of one table."""

    def __init__(self, text: str, table: Table, *, unknown: bool) -> None:
        self.text, self.table, self.unknown = text, table, unknown
        self.columns = {column.name.lower(): column for column in table.columns}

    def condition(self, clause: Clause) -> Expr:
        """Return the condition of one parameter."""
        name = clause.name.lower()
        column = self.columns.get(name)
        if column is not None:
            tests = [self._of_column(column, word, clause) for word in clause.values]
            empty: tuple[Expr, ...] = (IsNull(_name(column)),)
        else:
            low, high = self._pair(name)
            tests = [self._of_pair(name, low, high, word, clause) for word in clause.values]
            empty = (IsNull(_name(low)), IsNull(_name(high)))
        found = tests[0] if len(tests) == 1 else Or(tuple(tests))
        if clause.op == "!=":
            found = Not(found)
        return Or((found, *empty)) if self.unknown else found

    def _pair(self, name: str) -> tuple[Column, Column]:
        stem = f"{name}_" if f"{name}_min" in self.columns else name
        return self.columns[f"{stem}min"], self.columns[f"{stem}max"]

    def _of_column(self, column: Column, word: Word, clause: Clause) -> Expr:
        if column.type.is_numeric or column.type.is_timestamp:
            if clause.op in {"=", "!="} and _goes_round(column.name.lower(), column):
                return self._on_circle(column, word, clause)
            low, high = self._bounds(column, word, clause)
            if low is not None and high is not None and low.value == high.value and high.closed:
                return Compare("=", _name(column), Literal(low.value))
            if low is not None and high is not None and low.closed and high.closed:
                return Between(_name(column), Literal(low.value), Literal(high.value))
            return conjunction(*_above(column, low), *_below(column, high)) or IsNull(_name(column), negated=True)
        if clause.op not in {"=", "!="}:
            self._fail(
                say("{name} is text, and {op} compares numbers and dates", clause.name, clause.op),
                clause.at,
                say("write {name}=...", clause.name),
            )
        name, text = column.name.lower(), word.text
        if column.type.is_boolean:
            if text.lower() not in _FLAGS:
                self._fail(say("{text!r} is neither true nor false", text), word.at, "write true or false")
            return Compare("=", _name(column), Literal(_FLAGS[text.lower()]))
        if name in LISTS and (whole := WHOLE_LIST.fullmatch(text)):
            return Compare("=", Function("LOWER", (_name(column),)), Literal(whole[1].lower()))
        if "*" in text and not word.literal:
            return self._of_pattern(column, text)
        if name in LISTS:
            return _true("IVO_HASHLIST_HAS", _name(column), Literal(text))
        if name in NAMES:
            return Compare("=", _name(column), Literal(text))
        return Compare("=", Function("LOWER", (_name(column),)), Literal(text.lower()))

    def _of_pattern(self, column: Column, text: str) -> Expr:
        pattern = text.replace("*", "%")
        if column.name.lower() in LISTS:
            listed = Binary("||", Binary("||", Literal("#"), _name(column)), Literal("#"))
            return _true("IVO_NOCASEMATCH", listed, Literal(f"%#{pattern}#%"))
        return _true("IVO_NOCASEMATCH", _name(column), Literal(pattern))

    def _of_pair(self, name: str, first: Column, last: Column, word: Word, clause: Clause) -> Expr:
        if not (first.type.is_numeric or first.type.is_timestamp):
            self._fail(say("{name} is no number and no time here", clause.name), clause.at)
        if _goes_round(name, first) and clause.op in {"=", "!="}:
            return self._around(first, last, word, clause)
        low, high = self._bounds(first, word, clause)
        return conjunction(*_above(last, low), *_below(first, high)) or IsNull(_name(first), negated=True)

    def _around(self, first: Column, last: Column, word: Word, clause: Clause) -> Expr:
        """Compare intervals on a circle: either may go across 0, which low > high says."""
        low, high = self._bounds(first, word, clause, ordered=False)
        west, east = (0.0 if low is None else float(low.value)), (360.0 if high is None else float(high.value))
        if east - west >= 360.0:
            return IsNull(_name(first), negated=True)
        west, east = (value if 0.0 <= value <= 360.0 else value % 360.0 for value in (west, east))
        across = Compare(">", _name(first), _name(last))

        def meets(a: float, b: float) -> Expr:
            after, before = Compare(">=", _name(last), Literal(a)), Compare("<=", _name(first), Literal(b))
            return Or((And((after, before)), And((across, Or((after, before))))))

        if west > east:
            return Or((meets(west, 360.0), meets(0.0, east)))
        seam: list[Expr] = []  # 0 and 360 are one meridian
        if east == 360.0:
            seam.append(Compare("=", _name(first), Literal(0.0)))
        if west == 0.0:
            seam.append(Compare("=", _name(last), Literal(360.0)))
        return Or((meets(west, east), *seam)) if seam else meets(west, east)

    def _on_circle(self, column: Column, word: Word, clause: Clause) -> Expr:
        """Find angles between two others, eastward: 350..10 goes across 0."""
        low, high = self._bounds(column, word, clause, ordered=False)
        if low is None or high is None or float(low.value) <= float(high.value):
            return conjunction(*_above(column, low), *_below(column, high)) or IsNull(_name(column), negated=True)
        return Or((*_above(column, low), *_below(column, high)))

    def _bounds(
        self, column: Column, word: Word, clause: Clause, *, ordered: bool = True
    ) -> tuple[End | None, End | None]:
        """Read a value, a date or a range in the unit of the column."""
        low, high = span(word, clause.op, self.text)
        if column.type.is_timestamp or column.epoch == JD:
            ends = when(low, high, self.text, stamps=column.type.is_timestamp)
        elif column.epoch is not None and any(
            word is not None and word.text and DATED.search(word.text) for word in (low, high)
        ):
            ends = tuple(
                None if end is None else replace(end, value=float(end.value) - column.epoch)
                for end in when(low, high, self.text, stamps=False)
            )  # type: ignore[assignment]
        else:
            ends = self._measured(column, low, high)
        if ordered and ends[0] is not None and ends[1] is not None and _backwards(ends[0], ends[1]):
            self._fail(
                say("{name}: {text} ends before it begins", clause.name, word.text),
                word.at,
                "write the smaller value first",
            )
        return ends

    def _measured(self, column: Column, low: Word | None, high: Word | None) -> tuple[End | None, End | None]:
        one, two = (None if word is None or not word.text else number(word, self.text) for word in (low, high))
        if one is not None and two is not None and not one[1]:  # 1..2um
            one = one[0], two[1]
        turned = False
        ends: list[End | None] = []
        for word, found in ((low, one), (high, two)):
            if found is None:
                ends.append(None)
                continue
            value, unit = found
            at = word.at if word is not None else 0
            if unit:
                value, inverse = self._converted(column, value, unit, at)
                turned = turned or inverse
            whole = column.type.is_integer and (isinstance(value, int) or value.is_integer())
            ends.append(End(value=int(value) if whole else float(value), closed=word is None or word.closed))
        return (ends[1], ends[0]) if turned else (ends[0], ends[1])

    def _converted(self, column: Column, value: float, unit: str, at: int) -> tuple[float, bool]:
        want = column.unit or ""
        try:
            if units.convertible(unit, want):
                factor = units.factor(unit, want)
                return value if factor == 1 else value * factor, False
            if units.convertible(want, "Hz"):
                factor, inverse = units.spectral(unit, want)
                if inverse and value == 0:
                    self._fail(say("0 {unit} is no wavelength", unit), at, "leave the end open: ..2um")
                return (factor / value if inverse else factor * value), inverse
            units.factor(unit, want)
        except ValueError as error:
            self._fail(
                str(error),
                at,
                say("{name} is in {want}", column.name, want) if want else say("{name} has no unit", column.name),
            )
        raise AssertionError

    def _fail(self, message: str, at: int, remedy: str = "") -> NoReturn:
        raise ParseError(message, text=self.text, offset=at, remedy=remedy)


def _backwards(low: End, high: End) -> bool:
    one, two = low.value, high.value
    # of times: they stand in the order of these, from the year 1 on
    texts = isinstance(one, str) or isinstance(two, str)
    later = str(one) > str(two) if texts else one > two  # type: ignore[operator]
    return later or (one == two and not (low.closed and high.closed))


def _name(column: Column) -> ColumnRef:
    return ColumnRef(Ident(column.name))


def _goes_round(name: str, column: Column) -> bool:
    return name in _ROUND_NAMES or any(word in (column.ucd or "").lower() for word in _ROUND)


def _above(column: Column, low: End | None) -> list[Expr]:
    return [] if low is None else [Compare(">=" if low.closed else ">", _name(column), Literal(low.value))]


def _below(column: Column, high: End | None) -> list[Expr]:
    return [] if high is None else [Compare("<=" if high.closed else "<", _name(column), Literal(high.value))]


def _true(function: str, *args: Expr) -> Expr:
    return Compare("=", Function(function, args), Literal(1))
