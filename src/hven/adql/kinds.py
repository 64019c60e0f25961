"""What kind of value a type is, and how numbers promote; what is known of bound values: their meta, and how units and UCDs come out of several."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven.adql.tree import Case, Expr, Function, Literal, Meta, Query, Select, SelectItem, SetOperation, chain
from hven.model import units
from hven.model.errors import say
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, Type

if TYPE_CHECKING:
    from collections.abc import Sequence

GEOMETRY = frozenset({"point", "circle", "polygon", "range", "region", "moc"})
WORDS = {kind: say(word) for kind, word in {
    "number": "a number", "integer": "a whole number", "text": "a string", "time": "a timestamp", "boolean": "a boolean", "point": "a point",
    "circle": "a circle", "polygon": "a polygon", "range": "a range", "region": "a region", "moc": "a MOC", "contour": "a contour", "interval": "an interval",
    "array": "an array", "numbers": "an array of numbers", "geometry": "a geometry", "any": "a value", "null": "NULL", "condition": "a condition",
}.items()}  # fmt: skip


@lru_cache(maxsize=1024)
def kind_of(type_: Type) -> str:
    """Classify a type: number, text, time, boolean, point, circle, polygon, range, region, moc, contour, interval or array.

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
    special = type_.special
    if special is not None and special.adql in {
        "POINT",
        "CIRCLE",
        "POLYGON",
        "RANGE",
        "REGION",
        "MOC",
        "INTERVAL",
        "CONTOUR",
    }:
        return special.adql.lower()
    if type_.is_numeric:
        return "number"
    if type_.is_boolean:
        return "boolean"
    return "text" if type_.is_string else "array"


def wider(types: Sequence[Type]) -> Type:
    """Return the type that holds every number of these types; a long beside a float needs a double.

    Strings become ``char *`` (unicode if one of them is), arrays of numbers are as long as all are, or of any length; other types are as the first one.

    Parameters
    ----------
    types
        At least one.
    """
    first = types[0]
    if all(other == first for other in types):
        return first
    if all(item.is_numeric for item in types):
        ranks = [item.scalar.rank for item in types]
        top = max(ranks)
        if top == 5 and any(rank in {3, 4} for rank in ranks):  # float32 cannot hold 32 bits of an int
            return FLOAT64
        return next(Type(item.datatype) for item in types if item.scalar.rank == top)
    if all(item.is_string for item in types):
        return Type("unicodeChar", "*") if any(item.datatype == "unicodeChar" for item in types) else STRING
    if all(kind_of(item) == "array" and Type(item.datatype).is_numeric for item in types):
        return Type(
            wider([Type(item.datatype) for item in types]).datatype,
            first.arraysize if len({item.arraysize for item in types}) == 1 else "*",
        )
    return Type(first.datatype, "*", first.xtype) if first.xtype in {"polygon", "multiinterval"} else first


def sum_type(op: str, left: Type, right: Type) -> Type:
    """Return the type of ``left op right`` for numbers: whole numbers are computed in 64 bits, floats stay floats.

    Parameters
    ----------
    op
        ``+ - * / %``.
    left, right
        Numeric types.
    """
    kind = wider((left, right))
    if op == "/" and kind.is_integer:
        return INT64 if kind.scalar.rank == 4 else INT32
    return INT64 if kind.is_integer else kind


def integral(value: int) -> Type:
    """Return the type of a whole-number literal: int, long, or (beyond 64 bits) double.

    Parameters
    ----------
    value
        Of the literal.
    """
    if -(2**31) <= value < 2**31:
        return INT32
    return INT64 if -(2**63) <= value < 2**63 else FLOAT64


NONE: frozenset[str] = frozenset()
CONDITION = Meta(BOOLEAN)
UNICODE = Type("unicodeChar", "*")


def meta(node: Expr) -> Meta:
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
    found = node.meta
    if found is None:
        raise TypeError(f"{type(node).__name__} is not bound")
    return found


def kind(node: Expr) -> str:
    """Classify a bound expression, as `kind_of`; ``null`` for NULL and what can be nothing else.

    Parameters
    ----------
    node
        Bound.

    Returns
    -------
    kind
        A word.
    """
    return "null" if is_null(node) else kind_of(meta(node).type)


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
            not meta(node).aggregate
            and all(is_null(then) for _, then in node.whens)
            and (node.otherwise is None or is_null(node.otherwise))
        )
    return (
        isinstance(node, Function)
        and node.name in {"COALESCE", "GREATEST", "LEAST"}
        and all(is_null(arg) for arg in node.args)
    )


def literal_type(value: object) -> Type:
    """Return the type of a literal.

    Parameters
    ----------
    value
        A number, a text, a truth value, or None.
    """
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return integral(value)
    if isinstance(value, float):
        return FLOAT64
    return UNICODE if isinstance(value, str) and not value.isascii() else STRING


_metas: dict[tuple[int, bool], Meta] = {}


def literal_meta(value: object) -> Meta:
    """Return what is known of a literal; literals of one type share it.

    Parameters
    ----------
    value
        As for `literal_type`.
    """
    type_ = literal_type(value)
    key = id(type_), value is None  # the types of literals are constants: their ids are theirs for good
    found = _metas.get(key)
    if found is None:
        found = _metas[key] = Meta(type_, nullable=value is None, constant=True)
    return found


def derived(parts: Sequence[Meta], type_: Type, unit: str | None, ucd: str | None) -> Meta:
    """Combine what is known of values into the meta of one that is computed from them.

    Parameters
    ----------
    parts
        Metas of the operands.
    type_, unit, ucd
        Of the result.

    Returns
    -------
    meta
        Nullable, constant and aggregate as the parts are.
    """
    origins = NONE
    nullable = aggregate = False
    constant = True
    for part in parts:
        origins = origins | part.origins if origins and part.origins else origins or part.origins
        nullable = nullable or part.nullable
        aggregate = aggregate or part.aggregate
        constant = constant and part.constant
    return Meta(type_, unit, ucd, None, None, None, nullable, constant, aggregate, origins)


def truth(*parts: Expr) -> Meta:
    """Return the meta of a condition.

    Parameters
    ----------
    parts
        Its operands, bound.
    """
    if not any(part.meta is not None and (part.meta.aggregate or part.meta.origins) for part in parts):
        return CONDITION
    return derived([part.meta for part in parts if part.meta is not None], BOOLEAN, None, None)


def added(one: Meta, two: Meta) -> tuple[str | None, str | None]:
    """Derive unit and UCD of a sum: a bare constant takes the other's; unlike units leave none.

    Parameters
    ----------
    one, two
        Of the operands.

    Returns
    -------
    unit, ucd
        None where there is none.
    """
    if two.constant and two.unit is None:
        return one.unit, one.ucd
    if one.constant and one.unit is None:
        return two.unit, two.ucd
    if one.unit is None or two.unit is None or not units.same(one.unit, two.unit):
        return None, None
    return one.unit, None


def common_ucd(parts: Sequence[Meta]) -> str | None:
    """Return the UCD that all values share which are not constants; None if they do not.

    Parameters
    ----------
    parts
        Metas of the values.
    """
    ucds = {part.ucd for part in parts if not part.constant}
    return ucds.pop() if len(ucds) == 1 else None


def result_ucd(rule: str, first: Meta | None) -> str | None:
    """Apply the UCD rule of a function.

    Parameters
    ----------
    rule
        ``same``, ``+word`` (appended), a whole UCD, or empty.
    first
        Of the first argument; None if there is none.

    Returns
    -------
    ucd
        None if there is none.
    """
    if rule == "same":
        return first.ucd if first is not None else None
    if rule.startswith("+"):
        if first is None or first.ucd is None:
            return None
        # the first of some names in the alphabet is no statistic of them
        if first.type.is_string or first.type.is_boolean:
            return first.ucd
        words = [word for word in first.ucd.split(";") if word.lower() != "meta.main"]
        return ";".join([*words, rule[1:]]) if rule[1:] not in words else ";".join(words)
    return rule or None


def types_of(node: Select | SetOperation | Query) -> list[Type]:
    """Return the output types of a body: those that hold both sides of a set operation, where NULL has no say.

    Parameters
    ----------
    node
        Bound.
    """
    found: list[list[tuple[Type, bool]]] = []
    first, links = chain(node, SetOperation)
    for side in (first, *(link.right for link in links)):
        if isinstance(side, Select):
            found.append(
                [
                    (item.column.type, is_null(item.expr))
                    for item in side.items
                    if isinstance(item, SelectItem) and item.column is not None
                ]
            )
        else:
            found.append([(type_, False) for type_ in types_of(side.body if isinstance(side, Query) else side)])
    if len(found) == 1:
        return [type_ for type_, _ in found[0]]
    return [
        wider([type_ for type_, null in column if not null] or [column[0][0]]) for column in zip(*found, strict=True)
    ]
