"""Translate errors of DuckDB and Arrow into messages for the user who sent the query."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from hven.model.deadlines import build_time_limit_error
from hven.model.errors import (
    EvaluationError,
    HvenError,
    OperationCancelledError,
    ServiceError,
    StorageError,
    TooLargeError,
)

_EVALUATION_ERROR_WORDS = (
    "Conversion Error",
    "Out of Range Error",
    "Invalid Input Error",
    "Constraint Error",
    "Decimal Error",
    "Mismatch Type Error",
)
_ENGINE_ERRORS = (duckdb.Error, pa.ArrowException, OSError, RuntimeError)
ENGINE_ERRORS: tuple[type[Exception], ...] = _ENGINE_ERRORS
"""The classes of error that DuckDB and Arrow raise while a query runs."""

_MESSAGE_PATTERNS = (
    (
        re.compile(r"Could not convert string '(?P<v>.*?)' to (?P<t>\w+)", re.DOTALL),
        "the text '{v}' cannot be read as {t}",
    ),
    (
        re.compile(
            r"Type (?P<f>\w+) with value (?P<v>\S+) can't be cast .* out of range for the destination type (?P<t>\w+)"
        ),
        "{v} is out of the range of {t}",
    ),
    (re.compile(r"Overflow in (?P<o>\w+) of (?P<t>\w+) \((?P<e>[^)]*)\)"), "{e} is out of the range of {t}"),
    (
        re.compile(r"[cC]annot take (?P<w>square root|logarithm) of (?P<n>a negative number|zero)"),
        "there is no {w} of {n}",
    ),
    (re.compile(r"executing the UDF: ValueError: (?P<v>[^\n]*)"), "{v}"),
    (
        re.compile(r"Cannot cast list with length (?P<v>\d+) to array with length (?P<n>\d+)"),
        "the text has {v} numbers, but such a shape has {n}",
    ),
    (re.compile(r"More than one row returned by a subquery"), "a subquery used as a value returned several rows"),
    (
        re.compile(r"invalid timestamp field format: \"(?P<v>[^\"]*)\"|[tT]imestamp .*\"(?P<w>[^\"]*)\""),
        "'{v}{w}' is not a timestamp",
    ),
)
_ADQL_TYPE_NAMES = {
    "INT8": "BYTE",
    "UINT8": "BYTE",
    "INT16": "SMALLINT",
    "INT32": "INTEGER",
    "INT64": "BIGINT",
    "FLOAT": "REAL",
    "DOUBLE": "DOUBLE PRECISION",
}


# (text of the engine's error, class, message and remedy of ours)
_KNOWN_LIMITATIONS: tuple[tuple[str, type[HvenError], str, str], ...] = (
    (
        "No space left",
        StorageError,
        "the disk is full, so there is no room for the query's temporary data",
        "free some space in the site's var directory",
    ),
    (
        "non-inner join on subquery",
        EvaluationError,
        (
            "the engine cannot compute a subquery that is in the condition of an outer join and reads columns of the "
            "joined tables"
        ),
        "move the subquery to FROM, or the condition to WHERE",
    ),
    (
        "flattening correlated subquery",
        EvaluationError,
        "the engine cannot compute the FULL JOIN in a subquery for each row of the outer query",
        "remove the columns of the outer query from the subquery, or join the subquery in FROM",
    ),
    (
        "Max expression depth",
        TooLargeError,
        "the query has a longer chain of operations than the engine allows",
        "put parentheses around groups of a hundred operations",
    ),
)


def translate_duckdb_error(
    error: Exception, *, stop_reason: str | None = None, timeout_seconds: float | None = None, memory_limit: str = ""
) -> HvenError:
    """Translate an error of DuckDB or Arrow into an error of Hven.

    Parameters
    ----------
    error
        The error that the engine raised.
    stop_reason
        ``timeout`` or ``cancel`` if the query was interrupted.
    timeout_seconds, memory_limit
        The limits that were in force.
    """
    if isinstance(error, HvenError):
        return error
    text = str(error)
    if "INTERRUPT" in text or isinstance(error, duckdb.InterruptException):
        return _build_interrupt_error(stop_reason, timeout_seconds)
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in text:
        limit = f" (limit: {memory_limit})" if memory_limit else ""
        remedy = "select fewer columns, group by fewer distinct values, or sort fewer rows"
        return TooLargeError(f"the query needs more memory than one query may use{limit}", remedy=remedy)
    for limitation_text, error_class, message, remedy in _KNOWN_LIMITATIONS:
        if limitation_text in text:
            return error_class(message, remedy=remedy)
    if isinstance(error, duckdb.DataError) or any(word in text for word in _EVALUATION_ERROR_WORDS):
        message = write_evaluation_error_message(text)
        remedy = ""
        if message.endswith("out of the range of BIGINT"):
            remedy = "compute in floating point: CAST(.. AS DOUBLE PRECISION)"
        return EvaluationError(message, remedy=remedy)
    return ServiceError(
        f"the engine could not run the query: {extract_error_line(text)}",
        remedy="report this to the site's operators: the error is in Hven, not in the query",
    )


def _build_interrupt_error(stop_reason: str | None, timeout_seconds: float | None) -> HvenError:
    if stop_reason == "timeout":
        return build_time_limit_error(timeout_seconds)
    return OperationCancelledError("the query was cancelled")


def write_evaluation_error_message(error_text: str) -> str:
    """Return the message of an evaluation error, without the vocabulary of DuckDB."""
    line = extract_error_line(error_text)
    for pattern, words in _MESSAGE_PATTERNS:
        match = pattern.search(error_text)
        if match:
            values = {name: value or "" for name, value in match.groupdict().items()}
            if "t" in values:
                values["t"] = _ADQL_TYPE_NAMES.get(values["t"], values["t"])
            return "a value cannot be computed: " + words.format_map(_EmptyDefaultDict(values))
    return "a value cannot be computed: " + line


class _EmptyDefaultDict(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def extract_error_line(error_text: str) -> str:
    """Return the first line of an error, without the name of its class and without hints for authors of SQL."""
    line = error_text.strip().split("\n", 1)[0]
    return re.sub(r"^(?:[A-Z]\w*(?: [A-Z]\w*)* Error|INTERRUPT Error): ", "", line)
