"""What kind of value a type is, and how numbers promote; what is known of bound values.

Their meta, and how units and UCDs come out of several.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import (
    Case,
    Expr,
    FunctionCall,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    ValueMetadata,
    split_chain,
)
from hven.model import units
from hven.model.errors import format_message
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, Type

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
def classify_type(type_: Type) -> str:
    """Classify a type.

    The kinds are number, text, time, boolean, point, circle, polygon, range, region, moc, contour, interval and array.

    Parameters
    ----------
    type_
        Of a column or value.

    Returns
    -------
    kind
        One of these words.
    """
    if type_.is_timestamp:
        return "time"
    special = type_.stored_xtype
    if special is not None and special.adql in _XTYPE_KINDS:
        return special.adql.lower()
    if type_.is_numeric:
        return "number"
    if type_.is_boolean:
        return "boolean"
    return "text" if type_.is_string else "array"


_XTYPE_KINDS = {"POINT", "CIRCLE", "POLYGON", "RANGE", "REGION", "MOC", "INTERVAL", "CONTOUR"}


def find_common_type(types: Sequence[Type]) -> Type:
    """Return the type that holds every number of these types; a long beside a float needs a double.

    Strings become ``char *`` (unicode if one of them is), arrays of numbers are as long as all are, or of any length;
    other types are as the first one.

    Parameters
    ----------
    types
        At least one.
    """
    first = types[0]
    if all(candidate == first for candidate in types):
        return first
    if all(item.is_numeric for item in types):
        return _find_common_number_type(types)
    if all(item.is_string for item in types):
        has_unicode = any(item.datatype == "unicodeChar" for item in types)
        return Type("unicodeChar", "*") if has_unicode else STRING
    if all(classify_type(item) == "array" and Type(item.datatype).is_numeric for item in types):
        common_type = find_common_type([Type(item.datatype) for item in types])
        arraysizes = {item.arraysize for item in types}
        return Type(common_type.datatype, first.arraysize if len(arraysizes) == 1 else "*")
    if first.xtype in {"polygon", "multiinterval"}:
        return Type(first.datatype, "*", first.xtype)
    return first


def _find_common_number_type(types: Sequence[Type]) -> Type:
    ranks = [item.scalar.rank for item in types]
    top = max(ranks)
    if top == 5 and any(rank in {3, 4} for rank in ranks):  # float32 cannot hold 32 bits of an int
        return FLOAT64
    return next(Type(item.datatype) for item in types if item.scalar.rank == top)


def derive_arithmetic_type(operator: str, left_type: Type, right_type: Type) -> Type:
    """Return the type of ``left op right`` for numbers: whole numbers are computed in 64 bits, floats stay floats.

    Parameters
    ----------
    operator
        ``+ - * / %``.
    left_type, right_type
        Numeric types.
    """
    kind = find_common_type((left_type, right_type))
    if operator == "/" and kind.is_integer:
        if kind.scalar.rank == 4:
            return INT64
        return INT32
    return INT64 if kind.is_integer else kind


def choose_integer_type(value: int) -> Type:
    """Return the type of a whole-number literal: int, long, or (beyond 64 bits) double.

    Parameters
    ----------
    value
        Of the literal.
    """
    if -(2**31) <= value < 2**31:
        return INT32
    if -(2**63) <= value < 2**63:
        return INT64
    return FLOAT64


NO_ORIGINS: frozenset[str] = frozenset()
CONDITION_META = ValueMetadata(BOOLEAN)
UNICODE_STRING = Type("unicodeChar", "*")


def require_meta(node: Expr) -> ValueMetadata:
    """Return the meta of a bound expression.

    Parameters
    ----------
    node
        Bound.

    Raises
    ------
    TypeError
        It is not bound.
    """
    value_meta = node.meta
    if value_meta is None:
        raise TypeError(f"{type(node).__name__} is not bound")
    return value_meta


def classify_value(node: Expr) -> str:
    """Classify a bound expression, as `classify_type`; ``null`` for NULL and what can be nothing else.

    Parameters
    ----------
    node
        Bound.

    Returns
    -------
    kind
        A word.
    """
    if is_null(node):
        return "null"
    return classify_type(require_meta(node).type)


def is_null(node: Expr) -> bool:
    """Return whether an expression is NULL whatever the row: it then fits every type.

    Parameters
    ----------
    node
        Bound.
    """
    if isinstance(node, Literal):
        return node.value is None
    if isinstance(node, Case):  # one that looks at groups makes a group of all rows
        return (
            not require_meta(node).aggregate
            and all(is_null(then) for _, then in node.whens)
            and (node.otherwise is None or is_null(node.otherwise))
        )
    return (
        isinstance(node, FunctionCall)
        and node.name in {"COALESCE", "GREATEST", "LEAST"}
        and all(is_null(arg) for arg in node.args)
    )


def infer_literal_type(value: object) -> Type:
    """Return the type of a literal.

    Parameters
    ----------
    value
        A number, a text, a truth value, or None.
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
    """Return what is known of a literal; literals of one type share it.

    Parameters
    ----------
    value
        As for `infer_literal_type`.
    """
    type_ = infer_literal_type(value)
    key = id(type_), value is None  # the types of literals are constants: their ids are theirs for good
    literal_meta = _literal_metas.get(key)
    if literal_meta is None:
        literal_meta = _literal_metas[key] = ValueMetadata(type_, nullable=value is None, constant=True)
    return literal_meta


def derive_meta(
    operand_metas: Sequence[ValueMetadata], type_: Type, unit: str | None, ucd: str | None
) -> ValueMetadata:
    """Combine what is known of values into the meta of one that is computed from them.

    Parameters
    ----------
    operand_metas
        Metas of the operands.
    type_, unit, ucd
        Of the result.

    Returns
    -------
    meta
        Nullable, constant and aggregate as the parts are.
    """
    origins = NO_ORIGINS
    nullable = aggregate = False
    constant = True
    for part in operand_metas:
        if origins and part.origins:
            origins = origins | part.origins
        else:
            origins = origins or part.origins
        nullable = nullable or part.nullable
        aggregate = aggregate or part.aggregate
        constant = constant and part.constant
    return ValueMetadata(type_, unit, ucd, None, None, None, nullable, constant, aggregate, origins)


def derive_condition_meta(*operands: Expr) -> ValueMetadata:
    """Return the meta of a condition.

    Parameters
    ----------
    operands
        Its operands, bound.
    """
    if not any(part.meta is not None and (part.meta.aggregate or part.meta.origins) for part in operands):
        return CONDITION_META
    return derive_meta([part.meta for part in operands if part.meta is not None], BOOLEAN, None, None)


def derive_sum_units(left_meta: ValueMetadata, right_meta: ValueMetadata) -> tuple[str | None, str | None]:
    """Derive unit and UCD of a sum: a bare constant takes the other's; unlike units leave none.

    Parameters
    ----------
    left_meta, right_meta
        Of the operands.

    Returns
    -------
    unit, ucd
        None where there is none.
    """
    if right_meta.constant and right_meta.unit is None:
        return left_meta.unit, left_meta.ucd
    if left_meta.constant and left_meta.unit is None:
        return right_meta.unit, right_meta.ucd
    if left_meta.unit is None or right_meta.unit is None or not units.is_same_unit(left_meta.unit, right_meta.unit):
        return None, None
    return left_meta.unit, None


def find_common_ucd(value_metas: Sequence[ValueMetadata]) -> str | None:
    """Return the UCD that all values share which are not constants; None if they do not.

    Parameters
    ----------
    value_metas
        Metas of the values.
    """
    ucds = {part.ucd for part in value_metas if not part.constant}
    if len(ucds) == 1:
        return ucds.pop()
    return None


def derive_result_ucd(rule: str, first_meta: ValueMetadata | None) -> str | None:
    """Apply the UCD rule of a function.

    Parameters
    ----------
    rule
        ``same``, ``+word`` (appended), a whole UCD, or empty.
    first_meta
        Of the first argument; None if there is none.

    Returns
    -------
    ucd
        None if there is none.
    """
    if rule == "same":
        return first_meta.ucd if first_meta is not None else None
    if rule.startswith("+"):
        if first_meta is None or first_meta.ucd is None:
            return None
        # the first of some names in the alphabet is no statistic of them
        if first_meta.type.is_string or first_meta.type.is_boolean:
            return first_meta.ucd
        words = [word for word in first_meta.ucd.split(";") if word.lower() != "meta.main"]
        if rule[1:] not in words:
            return ";".join([*words, rule[1:]])
        return ";".join(words)
    return rule or None


def find_output_types(node: Select | SetOperation | Query) -> list[Type]:
    """Return the output types of a body: those that hold both sides of a set operation, where NULL has no say.

    Parameters
    ----------
    node
        Bound.
    """
    side_types: list[list[tuple[Type, bool]]] = []
    first, links = split_chain(node, SetOperation)
    for side in (first, *(link.right for link in links)):
        if isinstance(side, Select):
            side_types.append(
                [
                    (item.column.type, is_null(item.expr))
                    for item in side.items
                    if isinstance(item, SelectItem) and item.column is not None
                ]
            )
        else:
            side_types.append(
                [(type_, False) for type_ in find_output_types(side.body if isinstance(side, Query) else side)]
            )
    if len(side_types) == 1:
        return [type_ for type_, _ in side_types[0]]
    return [
        find_common_type([type_ for type_, null in column if not null] or [column[0][0]])
        for column in zip(*side_types, strict=True)
    ]
