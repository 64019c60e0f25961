"""Translation of the errors of Spark and of its connections, for the user who asked and for the operator."""

from __future__ import annotations

import re
from typing import Any

from hven.model.deadlines import build_time_limit_error
from hven.model.errors import (
    EvaluationError,
    HvenError,
    OperationCancelledError,
    ServiceError,
    StorageError,
    StorageUnavailableError,
    TooLargeError,
)
from hven.plugins.hats.clusters import UnsupportedByClusterError
from hven.plugins.spark.spark_server import build_missing_file_error

_SPARK_ERROR_PATTERN = re.compile(
    r"\[(?P<kind>[A-Z][A-Z0-9_.]+)\]\s*(?P<text>.*?)\s*(?:SQLSTATE: (?P<state>\w{5})|$)", re.DOTALL
)
_VALUE_ERROR_PATTERNS = (
    # class of the error, its text, and the message; groups: `v` is a value, `t` and `u` are types
    (
        re.compile(r"CAST_INVALID_INPUT"),
        re.compile(r"The value '(?P<v>.*)' of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL),
        "the text '{v}' cannot be read as {t}",
    ),
    (
        re.compile(r"CAST_INVALID_INPUT"),
        re.compile(r"The value (?P<v>.*) of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL),
        "{v} is out of the range of {t}",
    ),
    (
        re.compile(r"CAST_OVERFLOW"),
        re.compile(r"The value (?P<v>\S+) of the type .* cannot be cast to \"?(?P<t>\w+)", re.DOTALL),
        "{v} is out of the range of {t}",
    ),
    (
        re.compile(r"(BINARY_)?ARITHMETIC_OVERFLOW"),
        re.compile(r"(?P<v>)(?P<t>(?:long|integer|short)(?= overflow)|^overflow(?=\. Use))|\d(?P<u>L)\b|$"),
        "a number is out of the range of {t}",
    ),
    (
        re.compile(r"SCALAR_SUBQUERY_TOO_MANY_ROWS"),
        re.compile(r"(?P<v>)(?P<t>)"),
        "a subquery used as a value returned several rows",
    ),
    (
        re.compile(r"INVALID_PARAMETER_VALUE\.(PATTERN|REGEX_GROUP_INDEX)|INVALID_REGEXP_REPLACE"),
        re.compile(r"(?P<v>.*)(?P<t>)", re.DOTALL),
        "the pattern is not valid ({v})",
    ),
)
_ADQL_TYPE_NAMES = {
    "long": "BIGINT",
    "L": "BIGINT",
    "LONG": "BIGINT",
    "integer": "INTEGER",
    "INT": "INTEGER",
    "short": "SMALLINT",
    "overflow": "BIGINT",  # of sums
    "STRING": "VARCHAR",
}
MAX_REASON_CHARACTERS = 120  # of Spark's reason why it refuses a query
_OVERFLOW_REMEDY = "compute in floating point: CAST(.. AS DOUBLE PRECISION)"
_SESSION_LOST_CLASSES = {
    "INVALID_HANDLE.SESSION_CHANGED",
    "INVALID_HANDLE.SESSION_CLOSED",
    "INVALID_HANDLE.SESSION_NOT_FOUND",
}
_RAISED_CLASSES = {"USER_RAISED_EXCEPTION", "USER_RAISED_EXCEPTION_PARAMETER_MISMATCH"}
_REFUSED_CLASS_PREFIXES = (
    "UNSUPPORTED_",
    "INVALID_NON_DETERMINISTIC",
    "PYTHON_UDF_IN_ON_CLAUSE",
    "RECURSIVE_CTE",
    "INVALID_RECURSIVE",
)
_OPERATION_LOST_CLASSES = {
    "INVALID_HANDLE.OPERATION_ABANDONED",
    "INVALID_HANDLE.OPERATION_NOT_FOUND",
    "INVALID_CURSOR.POSITION_NOT_AVAILABLE",
}


def parse_spark_error(error: BaseException) -> tuple[str, str, str]:
    """Return the class of an error of Spark, its text and its SQLSTATE; empty where there is none."""
    text = str(_call_error_method(error, "details") or error)
    match = _SPARK_ERROR_PATTERN.search(text)
    if match is None:
        return ("", text, "")
    return (match["kind"], match["text"].strip(), match["state"] or "")


def get_grpc_status(error: BaseException) -> str:
    """Return the status of a call; empty if the error is not from a call."""
    code = _call_error_method(error, "code")
    if code is None:
        return ""
    return str(code.name)


def _call_error_method(error: BaseException, method_name: str) -> Any:
    """Return what a method of a gRPC error returns; None if the error has no such method."""
    method = getattr(error, method_name, None)
    if callable(method):
        return method()
    return None


def is_session_lost(error: BaseException) -> bool:
    """Return whether the server has closed the session or restarted; the query may be sent in a new session."""
    return parse_spark_error(error)[0] in _SESSION_LOST_CLASSES


def is_operation_lost(error: BaseException) -> bool:
    """Return whether the server has forgotten a query, but not the session.

    It forgets queries whose client was silent for too long.
    """
    return parse_spark_error(error)[0] in _OPERATION_LOST_CLASSES


def is_server_away(error: BaseException) -> bool:
    """Return whether no server answers at the address."""
    return get_grpc_status(error) == "UNAVAILABLE" or isinstance(error, ConnectionError)


def build_spark_no_answer_error(server_name: str) -> StorageUnavailableError:
    """Build the error of a server that does not respond."""
    return StorageUnavailableError(
        f"the Spark cluster{_format_server(server_name)} does not respond",
        remedy="try again in a few seconds; if the error persists, check the cluster's Connect server "
        "(`spark` under [hats])",
    )


def translate_spark_error(
    error: BaseException, *, server_name: str = "", stop_reason: str | None = None, timeout_seconds: float | None = None
) -> HvenError | UnsupportedByClusterError:
    """Translate an error of the cluster into an error of Hven.

    It is `UnsupportedByClusterError` if Spark refuses the query.

    Parameters
    ----------
    server_name
        The server, as messages show it.
    stop_reason
        ``timeout`` or ``cancel`` if the query was stopped.
    timeout_seconds
        Time limit of the query, for the message.
    """
    if isinstance(error, HvenError):
        return error
    error_class, text, state = parse_spark_error(error)
    if stop_reason == "timeout":
        return build_time_limit_error(timeout_seconds)
    if stop_reason == "cancel" or error_class == "OPERATION_CANCELED" or get_grpc_status(error) == "CANCELLED":
        return OperationCancelledError("the query was cancelled")
    return (
        _translate_connection_error(error, server_name)
        or _translate_worker_installation_error(text, server_name)
        or _translate_file_error(error_class, text)
        or _translate_size_error(error_class, text)
        or _translate_value_error(error_class, text)
        or _translate_query_error(error_class, text, state)
    )


def _translate_connection_error(error: BaseException, server_name: str) -> HvenError | None:
    status = get_grpc_status(error)
    if is_server_away(error) or status == "DEADLINE_EXCEEDED":
        return build_spark_no_answer_error(server_name)
    if is_session_lost(error) or is_operation_lost(error):
        return StorageUnavailableError(
            f"the Spark cluster{_format_server(server_name)} has lost the query: its Connect server has "
            f"restarted, or this site sent nothing for a while",
            remedy="run the query again; if the error persists, check the server's log and "
            "spark.connect.execute.manager.detachedTimeout",
        )
    if status in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return StorageError(
            f"the Spark cluster{_format_server(server_name)} rejects this site",
            remedy="check the token in `spark` under [hats] in hven.toml",
        )
    return None


def _translate_worker_installation_error(text: str, server_name: str) -> HvenError | None:
    """Translate an error of Hven's functions on the workers."""
    python = re.search(r"PYTHON_VERSION_MISMATCH|Python in worker has different version:? ?(?P<v>[^.]*\.\d+)", text)
    if "No module named 'hven'" in text:
        return StorageError(
            f"Hven is not installed on the workers of the Spark cluster{_format_server(server_name)}, so the cluster "
            "cannot compute shapes and matches",
            remedy="install Hven in the Python of the workers (spark.pyspark.python); plain SQL works without Hven",
        )
    version_match = re.search(r"the workers have hven (?P<there>[^\s,]+), but this server has (?P<here>[^\s']+)", text)
    if version_match is not None:
        return StorageError(
            f"the workers of the Spark cluster{_format_server(server_name)} have Hven "
            f"{version_match['there']}, but this server has {version_match['here']}",
            remedy="install the same version of Hven in the Python of the workers",
        )
    missing = re.search(r"ModuleNotFoundError: (?P<what>No module named '[^']*')", text)
    if missing is not None or python is not None:
        reason = "a different version of Python"
        if missing is not None:
            reason = f"an incomplete Python installation: {missing['what']}"
        return StorageError(
            f"the workers of the Spark cluster{_format_server(server_name)} have {reason}",
            remedy="on the workers, install the minor version of Python that this server uses, and install Hven in "
            "that Python (spark.pyspark.python); `hven check` shows both versions",
        )
    return None


def _translate_file_error(error_class: str, text: str) -> HvenError | None:
    if error_class.startswith("FAILED_READ_FILE") or error_class in {"PATH_NOT_FOUND", "CANNOT_READ_FILE_FOOTER"}:
        path = re.search(r"(?:file|hdfs|s3a?):/*(?P<p>/[^\s,]+?)\.?(?:\s|$)", text)
        name = ""
        if path is not None:
            name = path["p"]
        if error_class == "PATH_NOT_FOUND" or "NOT_EXIST" in error_class or "FileNotFoundException" in text:
            return build_missing_file_error(name)
        return StorageError(
            f"the cluster cannot read a file of the table{name and ': '}{name}",
            remedy="run `hven verify` to find the damaged files, then ingest or adopt the catalogue again",
        )
    if "No space left on device" in text:
        return StorageError("the disk of a worker is full", remedy="give spark.local.dir more space")
    return None


def _translate_size_error(error_class: str, text: str) -> HvenError | None:
    if "maxResultSize" in text:
        return TooLargeError(
            "the result is larger than the cluster's driver allows",
            remedy="select fewer rows or columns, or raise spark.driver.maxResultSize",
        )
    if "OutOfMemoryError" in text or error_class.startswith("UNABLE_TO_ACQUIRE_MEMORY") or "larger than max (" in text:
        return TooLargeError(
            "the query needs more memory than the cluster's workers have",
            remedy="select fewer columns, group by fewer distinct values, or sort fewer rows",
        )
    return None


def _find_type_name(match: re.Match[str]) -> str:
    name = match["t"] or match.groupdict().get("u") or ""
    return _ADQL_TYPE_NAMES.get(name, name or "its type")


def _translate_value_error(error_class: str, text: str) -> HvenError | None:
    """Translate an error of a value that cannot be computed."""
    for class_pattern, pattern, template in _VALUE_ERROR_PATTERNS:
        match = None
        if class_pattern.match(error_class):
            match = pattern.search(text)
        if match is not None:
            message = template.format(v=match["v"] or "", t=_find_type_name(match))
            remedy = _OVERFLOW_REMEDY if "range of" in message else ""
            return EvaluationError(f"a value cannot be computed: {message}", remedy=remedy)
    pattern_error = re.search(r"PatternSyntaxException: (.*?)(?: near index|$)", text, re.MULTILINE)
    if pattern_error is not None:
        return EvaluationError(f"a value cannot be computed: the pattern is not valid ({pattern_error[1]})")
    python_error = re.search(r"^\s*ValueError: (.*)", text, re.MULTILINE)
    if python_error is not None:
        return EvaluationError(f"a value cannot be computed: {python_error[1]}")
    return None


def _translate_query_error(error_class: str, text: str, sqlstate: str) -> HvenError | UnsupportedByClusterError:
    """Translate an error of a query that fails for a value without a known message, or that Spark refuses."""
    line = text.split("\n", 1)[0]
    if error_class in _RAISED_CLASSES or sqlstate[:2] in {"22", "21"}:
        return EvaluationError(f"a value cannot be computed: {line}")
    if "Invalid PythonUDF" in text:  # a function of Hven in a condition on two tables
        return UnsupportedByClusterError("a Hven function in a condition on two tables")
    if error_class.startswith(_REFUSED_CLASS_PREFIXES) or sqlstate[:2] in {"0A", "42"}:
        class_words = error_class.lower().replace("_", " ")
        reason = f"{class_words}: {line[:MAX_REASON_CHARACTERS]}"
        return UnsupportedByClusterError(f"this query ({reason})")
    prefix = f"[{error_class}] " if error_class else ""
    return build_unexpected_spark_error(f"{prefix}{line}")


def build_unexpected_spark_error(reason: str) -> ServiceError:
    """Build the error of a query that fails for an unknown reason."""
    return ServiceError(
        f"the Spark cluster could not run the query: {reason}",
        remedy="report this to the site's operators: the error is in Hven, not in the query",
    )


def _format_server(server_name: str) -> str:
    return f" at {server_name}" if server_name else ""
