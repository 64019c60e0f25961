"""Sail, another server of Spark Connect: all that it has otherwise than Spark: words of its SQL, how files and rows reach it, what its errors mean."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from hven.adql.kinds import meta
from hven.adql.tree import CommonTable, In, Not, Or, Subquery, conjuncts, walk
from hven.engines._bound.narrow import selects
from hven.engines.hats.dialect import Elsewhere, Spark
from hven.engines.hats.matches import MARK
from hven.engines.hats.servers import Server, gone, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.sql import Writer
    from hven.adql.tree import Binary, Bound, Expr, Function

    Session = Any  # of `connect`, which imports this
    Relation = Any  # a message of the protocol


_WHOLE = "DECIMAL(19, 0)"  # whole numbers of 64 bits; sums and products of two have up to 38 digits


class SailDialect(Spark):
    """Sail 0.7."""

    raising = "raise_error(concat('[USER_RAISED_EXCEPTION] ', {0}))"  # so that it is told from its own errors
    even = "bround({0})"  # its rint takes halves away from zero
    being = "get(transform(array({0}, NULL), {1} -> {2}), 0)"  # what cannot be null is of another type than what can

    def __init__(self, bound: Bound) -> None:
        super().__init__(bound)
        if any(isinstance(node, CommonTable) and node.recursive for node in walk(bound.query)):
            raise Elsewhere("WITH RECURSIVE")
        conditions = (part for select in selects(bound.query) for part in (select.where, select.having))
        self._plain = {number for condition in conditions for number in _plain(condition)}

    def among(self, writer: Writer, node: In) -> str:
        """Write IN; of a subquery it is FALSE where it should be NULL, but for a condition by itself."""
        if isinstance(node.choices, Subquery) and id(node) not in self._plain:
            raise Elsewhere("IN (SELECT ..) within another condition, where it may be NULL")
        return super().among(writer, node)

    def arithmetic(self, node: Binary, left: str, right: str) -> str:
        """Write an operation; whole numbers would wrap."""
        type_ = meta(node).type
        if not type_.is_integer or node.op not in "+-*":
            return super().arithmetic(node, left, right)
        return self.cast(f"(CAST({left} AS {_WHOLE}) {node.op} CAST({right} AS {_WHOLE}))", type_)

    def total(self, writer: Writer, node: Function, window: str = "") -> str:
        """SUM; whole numbers would wrap."""
        type_ = meta(node).type
        if not type_.is_integer:
            return super().total(writer, node, window)
        distinct = "DISTINCT " if node.distinct else ""
        return self.cast(f"sum({distinct}CAST({writer.expr(node.args[0])} AS {_WHOLE})) {window}".rstrip(), type_)

    def digits(self, s: str) -> str:
        """Write Rust's text of a number as C's: ``1e16``, ``0.00001``, ``1e-7``."""
        power = f"regexp_replace(regexp_replace({s}, 'e(\\\\d)', 'e+$1'), 'e-(\\\\d)$', 'e-0$1')"
        small = f"replace(regexp_replace({s}, '^(-?)0\\\\.0000(\\\\d)(\\\\d*)$', '$1$2.$3e-05'), '.e', 'e')"
        return f"CASE WHEN contains({s}, 'e') THEN {power} WHEN regexp_like({s}, '^-?0\\\\.0000\\\\d') THEN {small} ELSE replace({s}, 'NaN', 'nan') END"


def _plain(condition: Expr | None, *, alone: bool = True) -> Iterator[int]:
    """Yield the ids of those IN of a condition for which NULL is as good as FALSE; beside others no negated ones."""
    for part in conjuncts(condition):
        inner = part.operand if alone and isinstance(part, Not) else part
        if isinstance(inner, In) and (alone or not inner.negated):
            yield id(inner)
        elif isinstance(part, Or):
            for either in part.parts:
                yield from _plain(either, alone=False)


class Sail(Server):
    """Sail: no Java, one process or Kubernetes."""

    name = "Sail"
    major = "0"
    dialect = SailDialect
    large = float("inf")  # it takes none beside the query
    sweeps = impatient = False
    silent = True

    def files(self, session: Session, columns: Mapping[str, str], paths: Sequence[str]) -> Relation:
        """Make a relation of Parquet files: it looks into all footers, and reads the types that stand in them; so they are made ours afterwards.

        Told a schema it refuses what Arrow has several types of, as lists of fixed length. A file that is not there has no rows for it.
        """
        for path in paths:
            if not os.path.exists(path):  # noqa: PTH110  (of many files)
                raise gone(path)
        if not paths:
            empty = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
            return session.sql(f"SELECT {empty} WHERE false", {}, {})
        listed = ", ".join(f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
        return session.sql(f"SELECT {listed} FROM s{MARK}", {}, {f"s{MARK}": session.parquet(paths)})


_TYPES = {"Int8": "TINYINT", "Int16": "SMALLINT", "Int32": "INT", "Int64": "BIGINT", "Float32": "FLOAT", "Float64": "DOUBLE"}  # fmt: skip
_ERRORS = (
    # class that it says, what it says; class of Spark, what Spark says, SQLSTATE
    ("", r"Can't cast value (?P<v>\S+) to type (?P<t>\w+)", "CAST_OVERFLOW", 'The value {v} of the type "DOUBLE" cannot be cast to "{t}"', "22003"),
    ("", r"value of (?P<v>\S+) is out of range (?P<t>\w+)", "CAST_OVERFLOW", 'The value {v} of the type "DECIMAL" cannot be cast to "{t}"', "22003"),
    ("", r"Int64 overflow", "ARITHMETIC_OVERFLOW", "long overflow", "22003"),
    ("", r"Cannot cast string '(?P<v>.*)' to value of (?P<t>\w+) type", "CAST_INVALID_INPUT", "The value '{v}' of the type \"STRING\" cannot be cast to \"{t}\"", "22018"),
    ("Arithmetic", r"", "ARITHMETIC_OVERFLOW", "long overflow", "22003"),
    ("UnsupportedOperation", r"", "UNSUPPORTED_FEATURE", "{text}", "0A000"),
    ("IllegalArgument", r"invalid argument: found ", "PARSE_SYNTAX_ERROR", "{text}", "42601"),
    ("IllegalArgument", r"(configuration|operation) not found: ", "INVALID_HANDLE.SESSION_NOT_FOUND", "{text}", ""),
    ("", r"unsupported PySpark version: ", "UNSUPPORTED_CLIENT", "{text}", ""),
    ("", r"Object at location (?P<v>\S+) not found", "PATH_NOT_FOUND", "file:/{v} is not there", ""),
    ("", r"^Parquet error: |Invalid Parquet file|Corrupt footer", "CANNOT_READ_FILE_FOOTER", "{text}", ""),
    ("", r"Regular expression did not compile: .*?error: (?P<v>[^\n]+)", "INVALID_PARAMETER_VALUE.PATTERN", "{v}", "22023"),
    ("", r"Regular expression did not compile: (?P<v>.*)", "INVALID_PARAMETER_VALUE.PATTERN", "{v}", "22023"),
    ("", r"more than one row", "SCALAR_SUBQUERY_TOO_MANY_ROWS", "{text}", "21000"),
    ("", r"^Error during planning: |^No field named |^Physical plan does not support ", "UNSUPPORTED_FEATURE", "{text}", "42000"),
    ("Analysis", r"", "UNSUPPORTED_FEATURE", "{text}", "42000"),
)  # fmt: skip


def said(reason: str, text: str) -> tuple[str, str, str]:
    """Say an error in Spark's words: its class, its text, its SQLSTATE; empty where there are none.

    Parameters
    ----------
    reason
        The class of Java that goes with it.
    text
        What stands in it.
    """
    for known, pattern, kind, words, state in _ERRORS:
        found = re.search(pattern, text, re.DOTALL) if known in reason else None
        if found is not None:
            told = found.groupdict()
            told["t"] = _TYPES.get(told.get("t", ""), told.get("t", ""))
            return kind, words.format(text=text, **told), state
    return "", text, ""


__all__ = ["Sail", "SailDialect", "said"]
