"""PostgreSQL's dialect: how it writes types, functions and geometry. What it needs beside SQL are the functions of `install`."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.sql import LONG
from hven.adql.tree import Cast, Function, LiteralList, conjuncts
from hven.engines._dialect import FUNCTIONS
from hven.engines.postgres.shapes import Shapes
from hven.model.errors import EvaluationError
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.sql import Writer
    from hven.adql.tree import Compare, Expr, In, Like, TableRef
    from hven.engines.postgres.places import Places
    from hven.model.types import Type

_MICROSECONDS = "CAST(extract(epoch FROM {0}) * 1000000 AS bigint)"
_JD = f"(CAST(2440587.5 AS double precision) + {_MICROSECONDS} / CAST(86400000000 AS double precision))"
_MJD = f"(CAST(40587 AS double precision) + {_MICROSECONDS} / CAST(86400000000 AS double precision))"
_WORDS = "regexp_split_to_array({}, '[^[:alnum:]]+')"
# letter by letter, and of a letter that no address may have each byte
_URL = (
    "(SELECT string_agg(CASE WHEN c ~ '^[A-Za-z0-9._~-]$' THEN c ELSE regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', chr(37) || '\\1', 'g') END, '' ORDER BY n)"
    " FROM regexp_split_to_table({0}, '') WITH ORDINALITY AS letters(c, n))"
)
_D = "CAST({0} AS double precision)"
_CONSTANT = re.compile(r"""'(?:[^']|'')*'|COLLATE "[^"]*\"""")  # and the order of texts, which has quotes like a column
# characters of a text, constants aside, that is written twice; longer ones, which may hold others, are values first
TWICE = 200
MOST = 128 << 20  # bytes of a text that is joined of rows: PostgreSQL counts none of them before it has 1 GB


def _turned(x: str) -> str:
    """Write a longitude as one from 0 up to 360."""
    return f"({x} - 360 * floor(({x}) / 360))"


_KEPT = {
    "boolean": "boolean", "bit": "boolean", "unsignedByte": "smallint", "short": "smallint", "int": "integer", "long": "bigint", "float": "real",
    "double": "double precision", "floatComplex": "real[]", "doubleComplex": "double precision[]", "char": "text", "unicodeChar": "text",
}  # fmt: skip


def storage(type_: Type) -> str:
    """Name the type in which a column is kept: shapes are their numbers, MOCs and regions their text."""
    if type_.is_timestamp:
        return "timestamp"
    base = _KEPT[
        type_.datatype
        if type_.special is None or type_.is_string or type_.datatype in {"float", "int", "short", "long"}
        else "double"
    ]
    return f"{base}[]" if type_.is_array or (type_.special is not None and not type_.is_string) else base


class Postgres(Shapes):
    """PostgreSQL 14 to 17.

    Parameters
    ----------
    places
        Where rows are and how positions are found: writes table references and adds conditions that an index serves.
    letters
        Name of a collation that knows upper and lower case of all letters; ``C`` knows those of ASCII.
    settings
        True: parameters are settings of the transaction (``hven.p1`` ..), for COPY takes no others. False: ``$1`` ..
    partly
        True if rows may be too many: of WHERE is written what PostgreSQL computes.
    """

    name = "postgres"
    text = "text"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTIONS,
        "EXP": "hven_exp({0})", "POWER": "hven_power({0}, {1})", "AVG": ".mean", "MIN": ".extreme", "MAX": ".extreme", "MEDIAN": ".middle",
        "LOWER": ".lettered", "UPPER": ".lettered",
        "IVO_HASHLIST_HAS": ".hash_list", "IVO_NOCASEMATCH": ".no_case_match", "IVO_HASWORD": ".has_word",
        "IVO_HEALPIX_CENTER": "hven_healpix_center(CAST({0} AS integer), CAST({1} AS bigint))",
        "IVO_TO_JD": _JD, "IVO_TO_MJD": _MJD, "GAVO_TO_JD": _JD, "GAVO_TO_MJD": _MJD, "JD": _JD, "MJD": _MJD,
        "GAVO_GETAUTHORITY": "substring({0} from '(?i)^ivo://([^/?#]+)')", "GAVO_MATCH": "CAST({1} ~ {0} AS INTEGER)", "REGEXP_MATCH": "CAST({0} ~ {1} AS INTEGER)",
        "ISO": f"hven_iso({_D})", "REPLACE": ".built", "REGEXP_REPLACE": ".built",
        "SPLIT_PART": "split_part({0}, {1}, CAST({2} AS integer))", "URL_ENCODE": _URL,
        "LIGHT_TIME": f"({_D} / CAST(299792.458 AS double precision))",
        "LON_360": f"CASE WHEN {_D} >= 0 AND {_D} <= 360 THEN {_D} ELSE {_turned(_D)} END",
        "LON_180": f"CASE WHEN {_D} >= -180 AND {_D} <= 180 THEN {_D} ELSE {_turned(_D + ' + 180')} - 180 END",
        "EAST_LON": _turned("-" + _D),
    }  # fmt: skip

    def __init__(self, places: Places, *, letters: str = "C", settings: bool = False, partly: bool = False) -> None:
        super().__init__()
        self.places = places
        self.letters = letters
        self.settings = settings
        self.partly = partly

    def finished(self, text: str) -> str:
        """Return the SQL of a text."""
        return text

    def condition(self, writer: Writer, node: Expr) -> str:
        """Write the condition of a WHERE."""
        return " AND ".join(self._said(writer, node)) or "TRUE" if self.partly else super().condition(writer, node)

    def _said(self, writer: Writer, node: Expr) -> Iterator[str]:
        for part in conjuncts(node):
            before, numbers = list(writer.parameters), dict(writer._numbers)  # noqa: SLF001  (both must go back together)
            try:
                yield self.finished(writer.expr(part))
            except Elsewhere:
                writer.parameters, writer._numbers = before, numbers  # noqa: SLF001

    # --- values

    def placeholder(self, number: int, value: object) -> str:
        """Write a parameter; every one travels as text and says its type here."""
        if isinstance(value, str):
            return f'({self.argument(number)}::text COLLATE "C")'
        type_ = kinds.integral(value) if isinstance(value, int) and not isinstance(value, bool) else FLOAT64
        return f"{self.argument(number)}::{'boolean' if isinstance(value, bool) else storage(type_)}"

    def argument(self, number: int) -> str:
        """Write a parameter without a type."""
        return f"current_setting('hven.p{number}')" if self.settings else f"${number}"

    def string(self, value: str) -> str:
        """Write a string."""
        if "\0" in value:
            raise EvaluationError("a text with the character NUL is in no table of this service")
        return f'({super().string(value)}::text COLLATE "C")'

    def number(self, value: float) -> str:
        """Write a number; one with a point or exponent is a double here, which PostgreSQL has to be told."""
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return super().number(value)
        return f"CAST('{float(value)!r}' AS double precision)"

    def type_name(self, type_: Type) -> str:
        """Write a type."""
        return storage(type_)

    def output(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type."""
        if isinstance(node, Cast) and meta(node).type == type_:
            return writer.expr(node)
        return self.branch(writer, node, type_)

    def branch(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write one of several values as the type that they have together."""
        text = writer.expr(node)
        if type_.is_integer and kinds.kind_of(meta(node).type) == "number" and not meta(node).type.is_integer:
            return self.cast(f"CAST({text} AS double precision)", type_)
        return self.cast(text, type_)

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Compare; ``DISTANCE(..) < r`` has a condition beside it that an index serves."""
        plain = super().comparison(writer, node)
        beside = self.places.near(self, writer, node)
        return plain if not beside else f"({beside} AND {plain})"

    def among(self, writer: Writer, node: In) -> str:
        """Write IN; a long list as one array, which is hashed or looked up in an index: PostgreSQL would read each value by itself.

        It is a constant of the text, not a parameter: PostgreSQL hashes no array that it does not know when it plans.
        """
        if not isinstance(node.choices, LiteralList) or len(node.choices) < LONG:
            return super().among(writer, node)
        kind, text = array_of(node.choices.values)
        array = "'" + text.replace("'", "''") + f"'::{kind}[]"
        operand = writer.expr(node.operand)
        # 14 hashes no <> ALL
        return f"({operand} NOT IN (SELECT unnest({array})))" if node.negated else f"({operand} = ANY ({array}))"

    def subscript(self, array: str, place: str) -> str:
        """Write an element, from 1; NULL behind the last."""
        return f"({array})[CASE WHEN {place} BETWEEN 1 AND 2147483647 THEN CAST({place} AS integer) END]"

    def like(self, writer: Writer, node: Like) -> str:
        """Write LIKE, which has no escape character in ADQL, and ILIKE."""
        text, pattern, no = writer.expr(node.operand), writer.expr(node.pattern), "NOT " if node.negated else ""
        if node.ignore_case:
            return f"({self.all_letters(text)} {no}ILIKE {self.all_letters(pattern)} ESCAPE '')"
        return f"({text} {no}LIKE {pattern} ESCAPE '')"

    def table(self, writer: Writer, node: TableRef) -> str:
        """Write a stored table, narrowed to what an index gives if it can be."""
        return self.places.table(self, writer, node, super().table(writer, node))

    def reached(self, node: TableRef) -> bool:
        """Check whether the rows are a copy of those that the reader sees."""
        return self.places.reached(node)

    def permitted(self, table: str, condition: str) -> str:
        """Write a reader's rows so that nothing can be learnt of the others: OFFSET is a fence that no condition passes."""
        return super().permitted(table, condition) + (" OFFSET 0" if self.places.guarded else "")

    # --- pieces

    def modulo(self, left: str, right: str, *, whole: bool) -> str:
        """Write a remainder: PostgreSQL has it for whole numbers only."""
        if whole:
            return super().modulo(left, right, whole=whole)
        return f"hven_remainder(CAST({left} AS double precision), CAST({right} AS double precision))"

    def changed(self, text: str, have: str, type_: Type) -> str:
        """Convert: text to whole numbers as if it were any number, booleans as 1 and 0."""
        wanted = kinds.kind_of(type_)
        if have == "text" and type_.is_integer:
            return self.cast(f"CAST({text} AS numeric)", type_)
        if have == "boolean" and wanted == "number":
            return self.cast(f"CAST({text} AS integer)", type_)
        if have == "text" and type_.is_timestamp:  # the type without a zone drops an offset; sessions are in UTC
            return self.cast(f"CAST({text} AS timestamptz)", type_)
        return f"({text} <> 0)" if have == "number" and wanted == "boolean" else self.cast(text, type_)

    def shape_of(self, numbers: str, type_: Type) -> str:
        """Make a shape of an array of texts."""
        size = type_.size
        return self.cast(numbers if size is None else f"hven_sized({numbers}, {size})", type_)

    def float_text(self, text: str, type_: Type) -> str:
        """Write a floating-point number as text."""
        return f"hven_number(CAST({text} AS {storage(type_)}))"

    def joined(self, numbers: str, type_: Type) -> str:
        """Write an array as text."""
        if type_.datatype in {"double", "float"}:
            return (
                f"(SELECT string_agg(hven_number(x), ' ' ORDER BY n) FROM unnest({numbers}) WITH ORDINALITY AS u(x, n))"
            )
        return f"array_to_string({numbers}, ' ')"

    # --- text: how long it becomes is known before it is built, in the embedded engine's words

    def concatenation(self, parts: list[str]) -> str:
        """Join texts."""
        plain = super().concatenation(parts)
        bare = [_CONSTANT.sub("", part) for part in parts]
        if not self.most or not any(
            '"' in part for part in bare
        ):  # a descriptor's own words; what reads no column is as long as it was written
            return plain
        if max(map(len, bare)) > TWICE:
            return f"hven_joined({self.most}, CAST(ARRAY[{', '.join(parts)}] AS text[]))"
        size = " + ".join(
            f"{number}::bigint * octet_length({part})" for part, number in Counter(parts).items() if part != "NULL"
        )
        return f"CASE WHEN {size} > {self.most} THEN hven_longer({size}, {self.most}) ELSE {plain} END"

    def built(self, writer: Writer, node: Function) -> str:
        """REPLACE and REGEXP_REPLACE."""
        args = [writer.expr(arg) for arg in node.args]
        if not self.most:
            return FUNCTIONS[node.name].replace("{*}", ", ".join(args)).format(*args)
        return f"hven_{node.name.lower()}({', '.join(args)}, {self.most})"

    def together(self, writer: Writer, node: Function, order: str = "") -> str:
        """IVO_STRING_AGG: beside it goes a sum of lengths, which stops both."""
        return self.counted(", ".join(writer.expr(arg) for arg in node.args), super().together(writer, node, order))

    def counted(self, args: str, joined: str) -> str:
        """Put a sum of lengths beside joined texts."""
        return f"CASE WHEN hven_room({args}, {MOST}) IS NOT NULL THEN {joined} END"

    def unknown(self, name: str) -> str:  # noqa: ARG002  (one signature for all)
        """Leave to the embedded engine what is not known here."""
        return ".elsewhere"

    def elsewhere(self, writer: Writer, node: Expr) -> str:  # noqa: ARG002  (one signature for all)
        """Refuse what the embedded engine must compute."""
        raise Elsewhere(node.name if isinstance(node, Function) else "this")

    def all_letters(self, text: str) -> str:
        """Write text so that upper and lower case of all letters are known."""
        return f'({text}) COLLATE "{self.letters}"'

    def rounded(self, writer: Writer, node: Function) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        name = "hven_round" if node.name == "ROUND" else "hven_truncate"
        value = self.double(writer.expr(node.args[0]), node.args[0])
        return f"{name}({value}, {f'CAST({writer.expr(node.args[1])} AS integer)' if len(node.args) > 1 else '0'})"

    def mean(self, writer: Writer, node: Function, window: str = "") -> str:
        """AVG, in double."""
        text = self.double(writer.expr(node.args[0]), node.args[0])
        return f"avg({'DISTINCT ' if node.distinct else ''}{text}) {window}".rstrip()

    def extreme(self, writer: Writer, node: Function, window: str = "") -> str:
        """MIN and MAX; PostgreSQL has none of booleans."""
        text = writer.expr(node.args[0])
        if kinds.kind_of(meta(node.args[0]).type) == "boolean":
            return f"{'bool_and' if node.name == 'MIN' else 'bool_or'}({text}) {window}".rstrip()
        return f"{node.name.lower()}({text}) {window}".rstrip()

    def middle(self, writer: Writer, node: Function) -> str:
        """MEDIAN."""
        return f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {self.double(writer.expr(node.args[0]), node.args[0])})"

    def over(self, writer: Writer, node: Function, window: str) -> str:
        """Write a function over a window; PostgreSQL has neither MEDIAN nor DISTINCT there."""
        return (
            self.elsewhere(writer, node)
            if node.distinct or node.name == "MEDIAN"
            else super().over(writer, node, window)
        )

    def lettered(self, writer: Writer, node: Function) -> str:
        """LOWER and UPPER."""
        text = f"{node.name.lower()}({self.all_letters(writer.expr(node.args[0]))})"
        return f"(replace({text}, 'ß', 'ẞ') COLLATE \"C\")" if node.name == "UPPER" else f'({text} COLLATE "C")'

    def hash_list(self, writer: Writer, node: Function) -> str:
        """IVO_HASHLIST_HAS."""
        items, wanted = (f"lower({self.all_letters(writer.expr(arg))})" for arg in node.args)
        return f"CAST({wanted} = ANY(regexp_split_to_array({items}, '#')) AS INTEGER)"  # '' has one item, as everywhere

    def no_case_match(self, writer: Writer, node: Function) -> str:
        """IVO_NOCASEMATCH."""
        one, two = (self.all_letters(writer.expr(arg)) for arg in node.args)
        return f"CAST({one} ILIKE {two} ESCAPE '' AS INTEGER)"

    def has_word(self, writer: Writer, node: Function) -> str:
        """IVO_HASWORD: all words of the second are among those of the first."""
        text, wanted = (_WORDS.format(f"lower({self.all_letters(writer.expr(arg))})") for arg in node.args)
        return f"CAST({text} @> array_remove({wanted}, '') AS INTEGER)"

    def histogram(self, writer: Writer, node: Function) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.doubles(writer, node.args[:3])
        bins = f"CAST({writer.expr(node.args[3])} AS integer)"
        counted = (
            f"hven_histogram({'DISTINCT ' if node.distinct else ''}hven_bin({value}, {low}, {high}, {bins}), {bins})"
        )
        return f"coalesce({counted}, array_fill(0, ARRAY[{bins} + 2]))"


def array_of(values: Sequence[float] | Sequence[str]) -> tuple[str, str]:
    """Write constants of one type as an array in PostgreSQL's text; return the type of its elements, too."""
    first = values[0]
    if isinstance(first, str):
        quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\ufffe") for value in values)
        return "text", '{"' + '","'.join(quoted) + '"}'
    if isinstance(first, int) and min(values) >= -(2**63) and max(values) < 2**63:  # type: ignore[operator]
        return "bigint", "{" + ",".join(map(str, values)) + "}"
    return "double precision", "{" + ",".join([repr(float(value)) for value in values]) + "}"


class Elsewhere(Exception):
    """A function that PostgreSQL does not compute."""


__all__ = ["Elsewhere", "Postgres", "storage"]
