"""Kinds of values, promotion of numeric types, and the metadata of computed values.

The functions here derive the type, unit and UCD of an expression from those of its operands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import (
    CaseExpression,
    Expr,
    FunctionCall,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    ValueMetadata,
    split_left_deep_chain,
)
from hven.model import units
from hven.model.errors import format_message
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, ColumnType

if TYPE_CHECKING:
    from collections.abc import Sequence

GEOMETRY_KINDS = frozenset({"point", "circle", "polygon", "range", "region", "moc"})
KIND_PHRASES = {
    kind: format_message(word)
    for kind, word in {
        "number": "a number",
        "integer": "a whole number",
        "text": "a string",
        "time": "a timestamp",
        "boolean": "a boolean",
        "point": "a point",
        "circle": "a circle",
        "polygon": "a polygon",
        "range": "a range",
        "region": "a region",
        "moc": "a MOC",
        "contour": "a contour",
        "interval": "an interval",
        "array": "an array",
        "numbers": "an array of numbers",
        "geometry": "a geometry",
        "any": "a value",
        "null": "NULL",
        "condition": "a condition",
    }.items()
}


@lru_cache(maxsize=1024)
def classify_type(type_: ColumnType) -> str:
    """Classify a type.

    The kinds are number, text, time, boolean, point, circle, polygon, range, region, moc, contour, interval and array.

    Parameters
    ----------
    type_
        The type of a column or value.

    Returns
    -------
    kind
        One of these words.
    """
    if type_.is_timestamp:
        return "time"
    xtype = type_.stored_xtype
    if xtype is not None and xtype.adql in _XTYPE_KINDS:
        return xtype.adql.lower()
    if type_.is_numeric:
        return "number"
    if type_.is_boolean:
        return "boolean"
    if type_.is_string:
        return "text"
    return "array"


_XTYPE_KINDS = {"POINT", "CIRCLE", "POLYGON", "RANGE", "REGION", "MOC", "INTERVAL", "CONTOUR"}


def find_common_type(types: Sequence[ColumnType]) -> ColumnType:
    """Return the type that holds the values of all these types.

    Numbers get the type that holds every one of them; a long beside a float needs a double. Strings become ``char *``,
    or ``unicodeChar *`` if one of them is unicode. Arrays of numbers keep a common arraysize and otherwise get ``*``.
    For other types the first one is returned.

    Parameters
    ----------
    types
        At least one type.
    """
    first = types[0]
    if all(candidate == first for candidate in types):
        return first
    if all(candidate.is_numeric for candidate in types):
        return _find_common_number_type(types)
    if all(candidate.is_string for candidate in types):
        has_unicode = any(candidate.datatype == "unicodeChar" for candidate in types)
        return ColumnType("unicodeChar", "*") if has_unicode else STRING
    if all(classify_type(candidate) == "array" and ColumnType(candidate.datatype).is_numeric for candidate in types):
        return _find_common_array_type(types)
    if first.xtype in {"polygon", "multiinterval"}:
        return ColumnType(first.datatype, "*", first.xtype)
    return first


def _find_common_array_type(types: Sequence[ColumnType]) -> ColumnType:
    element_type = find_common_type([ColumnType(candidate.datatype) for candidate in types])
    arraysizes = {candidate.arraysize for candidate in types}
    common_arraysize = types[0].arraysize if len(arraysizes) == 1 else "*"
    return ColumnType(element_type.datatype, common_arraysize)


def _find_common_number_type(types: Sequence[ColumnType]) -> ColumnType:
    ranks = [candidate.scalar_type.rank for candidate in types]
    highest_rank = max(ranks)
    if highest_rank == 5 and any(rank in {3, 4} for rank in ranks):  # float32 cannot hold an integer of 32 bits
        return FLOAT64
    highest_type = types[ranks.index(highest_rank)]
    return ColumnType(highest_type.datatype)


def derive_arithmetic_type(operator: str, left_type: ColumnType, right_type: ColumnType) -> ColumnType:
    """Return the type of ``left op right`` for numbers: integers are computed in 64 bits, floats stay floats.

    Parameters
    ----------
    operator
        ``+ - * / %``.
    left_type, right_type
        Numeric types.
    """
    common_type = find_common_type((left_type, right_type))
    if not common_type.is_integer:
        return common_type
    if operator == "/" and common_type.scalar_type.rank != 4:
        return INT32
    return INT64


def choose_integer_type(value: int) -> ColumnType:
    """Return the type of an integer literal: int, long, or (beyond 64 bits) double.

    Parameters
    ----------
    value
        The value of the literal.
    """
    if -(2**31) <= value < 2**31:
        return INT32
    if -(2**63) <= value < 2**63:
        return INT64
    return FLOAT64


NO_ORIGINS: frozenset[str] = frozenset()
CONDITION_META = ValueMetadata(BOOLEAN)
UNICODE_STRING = ColumnType("unicodeChar", "*")


def require_meta(node: Expr) -> ValueMetadata:
    """Return the metadata of a bound expression.

    Parameters
    ----------
    node
        A bound expression.

    Raises
    ------
    TypeError
        The expression is not bound.
    """
    value_meta = node.meta
    if value_meta is None:
        raise TypeError(f"{type(node).__name__} is not bound")
    return value_meta


def classify_value(node: Expr) -> str:
    """Classify a bound expression as `classify_type` does, with one kind more: ``null`` for what is always NULL.

    Parameters
    ----------
    node
        A bound expression.

    Returns
    -------
    kind
        One word.
    """
    if is_null_in_every_row(node):
        return "null"
    return classify_type(require_meta(node).type)


def is_null_in_every_row(node: Expr) -> bool:
    """Return whether an expression is NULL in every row: such an expression fits every type.

    Parameters
    ----------
    node
        A bound expression.
    """
    if isinstance(node, Literal):
        return node.value is None
    if isinstance(node, CaseExpression):
        if require_meta(node).aggregate:  # an aggregate changes the query: it makes one group of all rows
            return False
        if not all(is_null_in_every_row(result) for _, result in node.whens):
            return False
        return node.otherwise is None or is_null_in_every_row(node.otherwise)
    if isinstance(node, FunctionCall) and node.name in {"COALESCE", "GREATEST", "LEAST"}:
        return all(is_null_in_every_row(arg) for arg in node.args)
    return False


def infer_literal_type(value: object) -> ColumnType:
    """Return the type of a literal.

    Parameters
    ----------
    value
        A number, a string, a boolean, or None.
    """
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return choose_integer_type(value)
    if isinstance(value, float):
        return FLOAT64
    if isinstance(value, str) and not value.isascii():
        return UNICODE_STRING
    return STRING


_literal_metas: dict[tuple[int, bool], ValueMetadata] = {}


def build_literal_meta(value: object) -> ValueMetadata:
    """Return the metadata of a literal; literals of one type share one object.

    Parameters
    ----------
    value
        The value of the literal, as for `infer_literal_type`.
    """
    type_ = infer_literal_type(value)
    is_missing = value is None
    key = (id(type_), is_missing)  # the types of literals are module constants, so their ids never change
    literal_meta = _literal_metas.get(key)
    if literal_meta is None:
        literal_meta = ValueMetadata(type_, nullable=is_missing, constant=True)
        _literal_metas[key] = literal_meta
    return literal_meta


def derive_meta(
    operand_metas: Sequence[ValueMetadata], type_: ColumnType, unit: str | None, ucd: str | None
) -> ValueMetadata:
    """Derive the metadata of a computed value from those of its operands.

    Parameters
    ----------
    operand_metas
        The metadata of the operands.
    type_, unit, ucd
        The type, unit and UCD of the result.

    Returns
    -------
    meta
        The metadata of the result. It is nullable or aggregate if an operand is, and constant if all operands are.
    """
    origins = NO_ORIGINS
    nullable = aggregate = False
    constant = True
    for operand_meta in operand_metas:
        if origins and operand_meta.origins:
            origins = origins | operand_meta.origins
        else:
            origins = origins or operand_meta.origins
        nullable = nullable or operand_meta.nullable
        aggregate = aggregate or operand_meta.aggregate
        constant = constant and operand_meta.constant
    return ValueMetadata(type_, unit, ucd, None, None, None, nullable, constant, aggregate, origins)


def derive_condition_meta(*operands: Expr) -> ValueMetadata:
    """Return the metadata of a condition.

    Parameters
    ----------
    operands
        The bound operands of the condition.
    """
    operand_metas: list[ValueMetadata] = []
    reads_columns = False
    for operand in operands:
        if operand.meta is not None:
            operand_metas.append(operand.meta)
            reads_columns = reads_columns or operand.meta.aggregate or bool(operand.meta.origins)
    if not reads_columns:
        return CONDITION_META
    return derive_meta(operand_metas, BOOLEAN, None, None)


def derive_sum_unit_and_ucd(left_meta: ValueMetadata, right_meta: ValueMetadata) -> tuple[str | None, str | None]:
    """Derive the unit and UCD of a sum.

    A constant without a unit takes those of the other operand. Operands with different units give no unit.

    Parameters
    ----------
    left_meta, right_meta
        The metadata of the operands.

    Returns
    -------
    unit, ucd
        The unit and the UCD; each is None if there is none.
    """
    if right_meta.constant and right_meta.unit is None:
        return left_meta.unit, left_meta.ucd
    if left_meta.constant and left_meta.unit is None:
        return right_meta.unit, right_meta.ucd
    if left_meta.unit is None or right_meta.unit is None:
        return None, None
    if not units.is_same_unit(left_meta.unit, right_meta.unit):
        return None, None
    return left_meta.unit, None


def find_common_ucd(value_metas: Sequence[ValueMetadata]) -> str | None:
    """Return the UCD that all values except constants share; None if they have different ones.

    Parameters
    ----------
    value_metas
        The metadata of the values.
    """
    ucds = {meta.ucd for meta in value_metas if not meta.constant}
    if len(ucds) == 1:
        return ucds.pop()
    return None


def derive_result_ucd(rule: str, first_meta: ValueMetadata | None) -> str | None:
    """Apply the UCD rule of a function.

    Parameters
    ----------
    rule
        ``same``, ``+word`` (the word is appended), a whole UCD, or empty.
    first_meta
        The metadata of the first argument; None if the call has none.

    Returns
    -------
    ucd
        The UCD of the result; None if there is none.
    """
    if rule == "same":
        if first_meta is not None:
            return first_meta.ucd
        return None
    if rule.startswith("+"):
        if first_meta is None or first_meta.ucd is None:
            return None
        # the MIN of names is the first one in alphabetical order, which is not a statistic (stat.min)
        if first_meta.type.is_string or first_meta.type.is_boolean:
            return first_meta.ucd
        appended_word = rule[1:]
        words = [word for word in first_meta.ucd.split(";") if word.lower() != "meta.main"]
        if appended_word not in words:
            words.append(appended_word)
        return ";".join(words)
    return rule or None


def find_output_types(node: Select | SetOperation | Query) -> list[ColumnType]:
    """Return the output types of a query body.

    A column of a set operation gets the type that holds the values of all its operands; NULL fits every type.

    Parameters
    ----------
    node
        A bound query body.
    """
    first, links = split_left_deep_chain(node, SetOperation)
    operands = (first, *(link.right for link in links))
    operand_columns = [_list_operand_types(operand) for operand in operands]
    if len(operand_columns) == 1:
        return [type_ for type_, _ in operand_columns[0]]
    common_types: list[ColumnType] = []
    for columns in zip(*operand_columns, strict=True):
        value_types = [type_ for type_, is_always_null in columns if not is_always_null]
        first_type, _ = columns[0]
        common_types.append(find_common_type(value_types or [first_type]))
    return common_types


def _list_operand_types(operand: Select | SetOperation | Query) -> list[tuple[ColumnType, bool]]:
    """Return the type of each output column of an operand, and whether it is NULL in every row."""
    if not isinstance(operand, Select):
        body = operand.body if isinstance(operand, Query) else operand
        return [(type_, False) for type_ in find_output_types(body)]
    bound_items = [item for item in operand.items if isinstance(item, SelectItem)]
    return [(item.column.type, is_null_in_every_row(item.expr)) for item in bound_items if item.column is not None]
