"""Values that a row's columns are put together to, without DuckDB: constants, texts that are joined, addresses, shapes as text, CASE.

As DuckDB makes them, to the last letter: what might come out otherwise is left to it (`NotDirect`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.kinds import is_null, kind_of, meta
from hven.adql.tree import Binary, Case, Cast, ColumnRef, Function, Literal
from hven.engines._bound.constants import constant
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.tree import Expr
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]
    Column: TypeAlias = Callable[[Expr], tuple[int, Type] | None]
    Truth: TypeAlias = Callable[[Expr], Callable[[pa.RecordBatch, Values], Any]]

MOST = 5_000  # rows: of more, DuckDB's threads are faster
LONGEST = 1_000  # bytes of a text that is joined with others: of longer ones DuckDB sees to it that they do not become too long
_PLAIN = r"\A[A-Za-z0-9._~-]*\z"
_FLAT = frozenset({"point", "circle", "polygon", "range", "array", "interval"})
_FLOATS = (1e-4, 1e15)  # between these, as absolute values, everybody writes a double alike


class NotDirect(Exception):
    """Signals that this query, or this value, is for DuckDB."""


def composed(expr: Expr, column: Column, free: frozenset[int], truth: Truth) -> Evaluate:
    """Compile a value.

    Parameters
    ----------
    expr
        Bound.
    column
        Gives place and type of a column in the frame; None: it is something else.
    free
        Slots of literals that a plan is given when it runs.
    truth
        Compiles a condition to flags of each row, null as false.

    Returns
    -------
    evaluate
        An array of as many values as the frame has rows, of the Arrow type of the expression.

    Raises
    ------
    NotDirect
        It is for DuckDB.
    """
    kind = meta(expr).type.arrow

    def inner(one: Expr) -> Evaluate:
        return composed(one, column, free, truth)

    if is_null(expr) or (isinstance(expr, Cast) and is_null(expr.operand)):
        return lambda frame, _: pa.nulls(frame.num_rows, kind)
    if isinstance(expr, ColumnRef):
        place = column(expr)
        if place is None:
            raise NotDirect
        at = place[0]
        return lambda frame, _: frame.column(at)
    if isinstance(expr, Literal):
        return _constant(expr, free)
    if isinstance(expr, Cast) and kind_of(meta(expr).type) == "text" and expr.length is None:
        return _text(expr.operand, inner(expr.operand))
    if isinstance(expr, Cast) and isinstance(expr.operand, Literal) and meta(expr).type.is_numeric:
        number = _constant(expr.operand, free)
        return lambda frame, values: _numeric(number(frame, values), kind)
    if isinstance(expr, Binary) and expr.op == "||":
        return _joined(inner(expr.left), inner(expr.right))
    if isinstance(expr, Binary) and expr.op in _OPERATIONS and meta(expr).type == FLOAT64:
        return _arithmetic(expr, inner, free)
    if isinstance(expr, Function) and expr.name == "URL_ENCODE":
        text = inner(expr.args[0])
        return lambda frame, values: _encoded(text(frame, values))
    if isinstance(expr, Case) and expr.operand is None:
        whens = [(truth(when), inner(then)) for when, then in expr.whens]
        if any(meta(then).type != meta(expr).type for _, then in expr.whens if not isinstance(then, Literal)):
            raise NotDirect
        otherwise = None if expr.otherwise is None else inner(expr.otherwise)
        return lambda frame, values: _chosen(whens, otherwise, frame, values, kind)
    raise NotDirect


def base_of(expr: Expr, free: frozenset[int]) -> Expr:
    """Return what is null where a text is that is made of one value and fixed ones; else the expression.

    Parameters
    ----------
    expr
        Bound.
    free
        Slots of literals that a plan is given when it runs: these may be null.
    """
    while isinstance(expr, Binary) and expr.op == "||":
        fixed = [isinstance(one, Literal) and one.value is not None and one.slot not in free for one in (expr.left, expr.right)]  # fmt: skip
        if sum(fixed) != 1:
            break
        expr = expr.left if fixed[1] else expr.right
    if isinstance(expr, Cast) and isinstance(expr.operand, ColumnRef) and meta(expr).type.is_string:
        expr = expr.operand
    return expr


def _constant(expr: Literal, free: frozenset[int]) -> Evaluate:
    value, kind = constant(expr, free), meta(expr).type.arrow
    if value is None or isinstance(expr.value, bool):
        raise NotDirect

    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        found = value(values)
        if found is None or (isinstance(found, int | float) and abs(found) >= 2**63):
            raise NotDirect
        said = pa.string() if isinstance(found, str) else pa.float64() if isinstance(found, float) else pa.int64()
        return _numeric(pa.repeat(pa.scalar(found, said), frame.num_rows), kind)

    return evaluate


def _numeric(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert numbers; what does not fit is an error, which DuckDB tells."""
    if column.type == kind:
        return column
    if pa.types.is_string(column.type) or pa.types.is_string(kind):
        raise NotDirect
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        raise NotDirect from None


def _text(of: Expr, value: Evaluate) -> Evaluate:
    """Compile a cast to text: of texts, whole numbers, and the numbers of shapes."""
    type_ = meta(of).type
    kind = kind_of(type_)
    if kind in {"text", "region", "moc"}:
        return value
    if kind == "number" and type_.is_integer:
        return lambda frame, values: value(frame, values).cast(pa.string())
    if kind in _FLAT:
        return lambda frame, values: _numbers(value(frame, values))
    raise NotDirect


def _numbers(column: pa.Array) -> pa.Array:
    """Write the numbers of each row, with spaces between."""
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    flat = column.flatten()
    if flat.type != pa.float64() or flat.null_count:
        raise NotDirect
    values = flat.to_numpy()
    sizes = np.abs(values)
    if not bool(np.all((values == 0) | ((sizes >= _FLOATS[0]) & (sizes < _FLOATS[1])))):
        raise NotDirect
    words = pa.array(list(map(repr, values.tolist())), pa.string())
    ends = np.cumsum(np.append(0, np.nan_to_num(pc.list_value_length(column).to_numpy(zero_copy_only=False))))
    lists = pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), words, mask=column.is_null())
    return pc.binary_join(lists, " ")


def _joined(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        parts = [left(frame, values), right(frame, values)]
        if not all(pa.types.is_string(part.type) and _short(part) for part in parts):
            raise NotDirect
        return pc.binary_join_element_wise(*parts, "")

    return evaluate


def _short(texts: pa.Array) -> bool:
    return (pc.max(pc.binary_length(texts)).as_py() or 0) <= LONGEST


def _encoded(texts: pa.Array) -> pa.Array:
    """Write texts as parts of an address, those that must be changed one by one."""
    if not pa.types.is_string(texts.type) or not _short(texts):
        raise NotDirect
    if pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py():
        return texts
    return pa.array([None if text is None else quote(text, safe="") for text in texts.to_pylist()], pa.string())


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}


def _arithmetic(expr: Binary, inner: Callable[[Expr], Evaluate], free: frozenset[int]) -> Evaluate:
    """Compile an operation of doubles and a constant, which every processor computes alike."""
    call = _OPERATIONS[expr.op]
    number = constant(expr.right, free)
    first = expr.left if number is not None else expr.right
    if number is None and expr.op != "/":
        number = constant(expr.left, free)
    if number is None or not meta(first).type.is_numeric:
        raise NotDirect
    value, known, swapped = inner(first), number, first is expr.right

    def evaluate(frame: pa.RecordBatch, values: Values) -> pa.Array:
        by, column = known(values), value(frame, values).cast(pa.float64(), safe=False)
        if isinstance(by, str) or by is None or (not by and expr.op == "/"):
            raise NotDirect
        factor = pa.scalar(float(by), pa.float64())
        found = call(factor, column) if swapped else call(column, factor)
        if not pc.all(pc.or_(pc.is_finite(found), pc.invert(pc.is_finite(column))), min_count=0).as_py():
            raise NotDirect  # too great: what becomes of it is DuckDB's to say
        return found

    return evaluate


def _chosen(whens: Sequence[tuple[Evaluate, Evaluate]], otherwise: Evaluate | None, frame: pa.RecordBatch, values: Values, kind: pa.DataType) -> pa.Array:  # fmt: skip
    found = pa.nulls(frame.num_rows, kind) if otherwise is None else _numeric(otherwise(frame, values), kind)
    for when, then in reversed(whens):
        found = pc.if_else(pa.array(when(frame, values)), _numeric(then(frame, values), kind), found)
    return found


__all__ = ["MOST", "NotDirect", "base_of", "composed"]
