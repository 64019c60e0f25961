"""What errors of Spark and of the way to it mean to the person who asked, and to the one who runs the cluster."""

from __future__ import annotations

import re
from typing import Any

from hven.engines.hats.servers import gone
from hven.engines.hats.spheres import Elsewhere
from hven.model.clock import late
from hven.model.errors import Cancelled, EvaluationError, HvenError, ServiceError, StorageError, TooLarge, Unavailable

_SAID = re.compile(r"\[(?P<kind>[A-Z][A-Z0-9_.]+)\]\s*(?P<text>.*?)\s*(?:SQLSTATE: (?P<state>\w{5})|$)", re.DOTALL)
_VALUES = (
    # class of error, what is said of it
    (re.compile(r"CAST_INVALID_INPUT"), re.compile(r"The value '(?P<v>.*)' of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL), "the text '{v}' cannot be read as {t}"),
    (re.compile(r"CAST_INVALID_INPUT"), re.compile(r"The value (?P<v>.*) of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL), "{v} is out of the range of {t}"),
    (re.compile(r"CAST_OVERFLOW"), re.compile(r"The value (?P<v>\S+) of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL), "{v} is out of the range of {t}"),
    (re.compile(r"(BINARY_)?ARITHMETIC_OVERFLOW"), re.compile(r"(?P<v>)(?P<t>(?:long|integer|short)(?= overflow)|^overflow(?=\. Use))|\d(?P<u>L)\b|$"), "a number is out of the range of {t}"),
    (re.compile(r"SCALAR_SUBQUERY_TOO_MANY_ROWS"), re.compile(r"(?P<v>)(?P<t>)"), "a subquery that stands for one value gave several rows"),
    (re.compile(r"INVALID_PARAMETER_VALUE\.(PATTERN|REGEX_GROUP_INDEX)|INVALID_REGEXP_REPLACE"), re.compile(r"(?P<v>.*)(?P<t>)", re.DOTALL), "the pattern cannot be read: {v}"),
)  # fmt: skip
_TYPES = {
    "long": "BIGINT",
    "L": "BIGINT",
    "LONG": "BIGINT",
    "integer": "INTEGER",
    "INT": "INTEGER",
    "short": "SMALLINT",
    "overflow": "BIGINT",  # of sums
    "STRING": "VARCHAR",
}
SHOWN = 120  # characters of why a query is not known
_WIDE = "compute in floating point: CAST(.. AS DOUBLE PRECISION)"
_LOST = {"INVALID_HANDLE.SESSION_CHANGED", "INVALID_HANDLE.SESSION_CLOSED", "INVALID_HANDLE.SESSION_NOT_FOUND"}
_FORGOTTEN = {
    "INVALID_HANDLE.OPERATION_ABANDONED",
    "INVALID_HANDLE.OPERATION_NOT_FOUND",
    "INVALID_CURSOR.POSITION_NOT_AVAILABLE",
}


def said(error: BaseException) -> tuple[str, str, str]:
    """Return the class of an error of Spark, its text, and its SQLSTATE; empty where there is none."""
    text = str(_told(error, "details") or error)
    found = _SAID.search(text)
    return ("", text, "") if found is None else (found["kind"], found["text"].strip(), found["state"] or "")


def status(error: BaseException) -> str:
    """Return the status of a call, empty if it is none."""
    code = _told(error, "code")
    return "" if code is None else str(code.name)


def _told(error: BaseException, what: str) -> Any:
    """Return what an error of gRPC tells of itself; None if it is another one."""
    call = getattr(error, what, None)
    return call() if callable(call) else None


def lost(error: BaseException) -> bool:
    """Return whether the session is gone, so that the query may be asked once more in another one: the server began anew, or closed it."""
    return said(error)[0] in _LOST


def forgotten(error: BaseException) -> bool:
    """Return whether the server has forgotten a query, but not the session: nothing of ours was heard of for longer than it waits."""
    return said(error)[0] in _FORGOTTEN


def away(error: BaseException) -> bool:
    """Return whether nobody answers at the address."""
    return status(error) == "UNAVAILABLE" or isinstance(error, ConnectionError)


def silent(where: str) -> Unavailable:
    """Make the error of a server that does not answer."""
    return Unavailable(
        f"the Spark cluster{_at(where)} does not answer",
        remedy="try again in some seconds; if it lasts, look at its Connect server (spark in [hats])",
    )


def translate(
    error: BaseException, *, where: str = "", stopped: str | None = None, seconds: float | None = None
) -> HvenError | Elsewhere:
    """Translate an error of the cluster into one of ours, or into `Elsewhere` if Spark knows no such query.

    Parameters
    ----------
    where
        The server, as it may be shown.
    stopped
        ``timeout`` or ``cancel`` if somebody stopped the query.
    """
    if isinstance(error, HvenError):
        return error
    kind, text, state = said(error)
    if stopped == "timeout":
        return late(seconds)
    if stopped == "cancel" or kind == "OPERATION_CANCELED" or status(error) == "CANCELLED":
        return Cancelled("the query was cancelled")
    if away(error) or status(error) == "DEADLINE_EXCEEDED":
        return silent(where)
    if lost(error) or forgotten(error):
        return Unavailable(
            f"the Spark cluster{_at(where)} has forgotten the query: its Connect server began anew, or this site was not heard of for a while",
            remedy="ask again; if it lasts, look at the server's log, and at spark.connect.execute.manager.detachedTimeout",
        )
    if status(error) in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return StorageError(
            f"the Spark cluster{_at(where)} refuses this site", remedy="look at the token of spark in [hats]"
        )
    return _of_workers(text, where) or _of_files(kind, text) or _of_size(kind, text) or _of_values(kind, text, state)


def _of_workers(text: str, where: str) -> HvenError | None:
    """Translate what is wrong with the functions of ours on the workers."""
    python = re.search(r"PYTHON_VERSION_MISMATCH|Python in worker has different version:? ?(?P<v>[^.]*\.\d+)", text)
    if "No module named 'hven'" in text:
        return StorageError(
            f"the workers of the Spark cluster{_at(where)} have no Hven, which computes shapes and matches there",
            remedy="install hven in the Python of the workers (spark.pyspark.python); plain SQL goes on without it",
        )
    other = re.search(r"hven (?P<there>\S+) is on the workers, and here is (?P<here>[^\s']+)", text)
    if other is not None:
        return StorageError(
            f"the workers of the Spark cluster{_at(where)} have Hven {other['there']}, and here is {other['here']}",
            remedy="install the same version in the Python of the workers",
        )
    missing = re.search(r"ModuleNotFoundError: (?P<what>No module named '[^']*')", text)
    if missing is not None or python is not None:
        why = "another Python than this one" if missing is None else f"an incomplete Python: {missing['what']}"
        return StorageError(
            f"the workers of the Spark cluster{_at(where)} have {why}",
            remedy="give them the same minor version of Python with hven (spark.pyspark.python); hven check shows both",
        )
    return None


def _of_files(kind: str, text: str) -> HvenError | None:
    if kind.startswith("FAILED_READ_FILE") or kind in {"PATH_NOT_FOUND", "CANNOT_READ_FILE_FOOTER"}:
        path = re.search(r"(?:file|hdfs|s3a?):/*(?P<p>/[^\s,]+?)\.?(?:\s|$)", text)
        name = "" if path is None else path["p"]
        if kind == "PATH_NOT_FOUND" or "NOT_EXIST" in kind or "FileNotFoundException" in text:
            return gone(name)
        return StorageError(
            f"the cluster cannot read a file of the table:{name and ' '}{name}",
            remedy="hven verify says which files are damaged; ingest or adopt the catalogue anew",
        )
    if "No space left on device" in text:
        return StorageError("the disk of a worker is full", remedy="give spark.local.dir more room")
    return None


def _of_size(kind: str, text: str) -> HvenError | None:
    if "maxResultSize" in text:
        return TooLarge(
            "the answer is larger than the cluster's driver takes",
            remedy="select fewer rows or columns, or raise spark.driver.maxResultSize",
        )
    if "OutOfMemoryError" in text or kind.startswith("UNABLE_TO_ACQUIRE_MEMORY") or "larger than max (" in text:
        return TooLarge(
            "the query needs more memory than the cluster's workers have",
            remedy="select fewer columns, group by fewer distinct values, or sort fewer rows",
        )
    return None


def _type(found: re.Match[str]) -> str:
    name = found["t"] or found.groupdict().get("u") or ""
    return _TYPES.get(name, name or "its type")


def _of_values(kind: str, text: str, state: str) -> HvenError | Elsewhere:
    for known, pattern, words in _VALUES:
        found = pattern.search(text) if known.match(kind) else None
        if found is not None:
            plain = words.format(v=found["v"] or "", t=_type(found))
            return EvaluationError(f"a value cannot be computed: {plain}", remedy=_WIDE if "range of" in plain else "")
    unread = re.search(r"PatternSyntaxException: (.*?)(?: near index|$)", text, re.MULTILINE)
    if unread is not None:
        return EvaluationError(f"a value cannot be computed: the pattern cannot be read: {unread[1]}")
    python = re.search(r"^\s*ValueError: (.*)", text, re.MULTILINE)
    if python is not None:
        return EvaluationError(f"a value cannot be computed: {python[1]}")
    line = text.split("\n", 1)[0]
    if kind in {"USER_RAISED_EXCEPTION", "USER_RAISED_EXCEPTION_PARAMETER_MISMATCH"} or state[:2] in {"22", "21"}:
        return EvaluationError(f"a value cannot be computed: {line}")
    if "Invalid PythonUDF" in text:  # of ours, in a condition that reads two tables
        return Elsewhere("a function of ours over two tables, where Spark knows none")
    if kind.startswith(("UNSUPPORTED_", "INVALID_NON_DETERMINISTIC", "PYTHON_UDF_IN_ON_CLAUSE", "RECURSIVE_CTE", "INVALID_RECURSIVE")) or state[:2] in {"0A", "42"}:  # fmt: skip
        return Elsewhere(f"a query that the cluster does not know ({kind.lower().replace('_', ' ')}: {line[:SHOWN]})")
    return unexpected(f"{f'[{kind}] ' if kind else ''}{line}")


def unexpected(why: str) -> ServiceError:
    """Make the error of what nobody knows better."""
    return ServiceError(
        f"the Spark cluster could not run the query: {why}",
        remedy="please report this: it is a fault of the program, not of the query",
    )


def _at(where: str) -> str:
    return f" at {where}" if where else ""
