"""What errors of PostgreSQL and of its drivers mean to the person who asked, and to the one who runs the server."""

from __future__ import annotations

import re

import adbc_driver_manager
import psycopg
import pyarrow as pa

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

_CONNECTION_LOST_STATES = {"57P01", "57P02", "57P03", "08000", "08001", "08003", "08004", "08006"}
_INVALID_TIMESTAMP_PATTERN = re.compile(
    r'invalid input syntax for type (?:timestamp|date)\w*: "(?P<v>.*)"|date/time field value out of range: "(?P<w>.*)"'
)
_MESSAGE_PATTERNS = (
    # `hven_longest`
    (re.compile(r'invalid input syntax for type integer: "(?P<v>a text of [^"]* would be built.*)"'), "{v}"),
    (
        re.compile(r'invalid input syntax for type (?P<t>[\w ]+): "(?P<v>.*)"', re.DOTALL),
        "the text '{v}' cannot be read as {t}",
    ),
    (_INVALID_TIMESTAMP_PATTERN, "'{v}{w}' is no timestamp"),
    (
        re.compile(
            r'value "(?P<v>.*)" is out of range for type (?P<t>[\w ]+)|"(?P<w>.*)" is out of range for type (?P<u>[\w ]+)'
        ),
        "{v}{w} is out of the range of {t}{u}",
    ),
    (re.compile(r"(?P<t>bigint|integer|smallint) out of range"), "a number is out of the range of {t}"),
    (
        re.compile(r"cannot convert (?P<v>infinity|NaN) to (?P<t>bigint|integer|smallint)"),
        "{v} is out of the range of {t}",
    ),
    (
        re.compile(r"value out of range: (?P<v>overflow|underflow)"),
        "a number is out of the range of DOUBLE PRECISION ({v})",
    ),
    (re.compile(r"more than one row returned by a subquery"), "a subquery that stands for one value gave several rows"),
    (
        re.compile(r"cannot take (?P<v>square root|logarithm) of (?P<w>a negative number|zero)"),
        "there is no {v} of {w}",
    ),
    (re.compile(r"invalid regular expression: (?P<v>.*)"), "the pattern cannot be read: {v}"),
)
NUMBER_WORDS = "a number"
_TIMESTAMP_TYPE_PATTERN = re.compile(r"type timestamp|type date|date/time")


def list_driver_errors() -> tuple[type[Exception], ...]:
    """Return the classes of error that the drivers raise."""
    return (psycopg.Error, adbc_driver_manager.Error, pa.ArrowException, OSError)


def get_sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of an error, empty if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def is_extension_missing(error: BaseException) -> bool:
    """Return whether a function, type or operator of an extension is not there any more."""
    words = r"\b(q3c_\w+|spoint|scircle|spherical?)\b|could not access file|access method"
    return (
        get_sqlstate(error) in {"42883", "42704", "58P01", "XX000"}
        and re.search(words, extract_message(error)) is not None
    )


def is_float_out_of_range(error: BaseException | None) -> bool:
    """Return whether floating-point arithmetic left its range.

    The number is too large, or too small to be told from 0.
    """
    return (
        error is not None
        and get_sqlstate(error) == "22003"
        and re.search(r"value out of range: (over|under)flow", str(error)) is not None
    )


def extract_foreign_message(error: BaseException) -> str:
    """Return what another database said, on which foreign tables stand; empty if it was ours that spoke."""
    if isinstance(error, psycopg.Error):
        diag = error.diag
    else:
        diag = None
    if diag is not None:
        parts = [getattr(diag, name, None) for name in ("message_primary", "message_detail", "context")]
    else:
        parts = []
    text = "\n".join(str(part) for part in parts if part) or str(error)
    if "remote SQL command" not in text and not re.search(
        r'could not connect to server "|user mapping not found|^password (?:is|or GSSAPI .*) required', text
    ):
        return ""
    detail = re.search(r"(?:DETAIL:\s*)?(connection to server .*|FATAL: .*|could not translate .*)", text)
    if detail and detail.group(1) not in extract_message(error):
        return f"{extract_message(error)}: {detail.group(1)}"
    return extract_message(error)


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the connection is lost, so that another one may succeed."""
    if extract_foreign_message(error):
        return False
    code = get_sqlstate(error)
    text = str(error)
    if code in _CONNECTION_LOST_STATES or code.startswith("08"):
        return True
    words = (
        "server closed the connection",
        "connection to server",
        "terminating connection",
        "connection is closed",
        "the connection is lost",
        "no connection to the server",
        "consuming input failed",
        "SSL connection has been closed",
        "could not receive data",
        "server terminated",
    )
    return not code and any(word in text for word in words)


def translate_error(
    error: Exception,
    *,
    server_name: str = "",
    stop_reason: str | None = None,
    timeout_seconds: float | None = None,
    number_words: str = NUMBER_WORDS,
) -> HvenError:
    """Translate an error of PostgreSQL or a driver into one of ours.

    Parameters
    ----------
    server_name
        The server, as it may be shown.
    stop_reason
        ``timeout`` or ``cancel`` if somebody stopped the query.
    number_words
        What the query makes of texts that are whole numbers: they are all ``numeric`` to PostgreSQL.
    """
    if isinstance(error, HvenError):
        return error
    code = get_sqlstate(error)
    line = extract_message(error)
    if stop_reason == "timeout" or (code == "57014" and "statement timeout" in line):
        return build_time_limit_error(timeout_seconds)
    if stop_reason == "cancel" or code == "57014":
        return OperationCancelledError("the query was cancelled")
    foreign_message = extract_foreign_message(error)
    if foreign_message:
        return _build_foreign_error(foreign_message, code)
    if code == "53100" or "No space left" in line:
        return StorageError(
            f"the disk of the database server{_format_server(server_name)} is full",
            remedy="free some space there, or let Hven keep fewer snapshots (keep_snapshots)",
        )
    if (
        code in {"53200", "54000", "54001"}
        or "invalid memory alloc request size" in line
        or "temp_file_limit" in line
        or code == "53400"
    ):
        return TooLargeError(
            "the query needs more memory or disk than one query may use",
            remedy="select fewer columns, group by fewer distinct values, or sort fewer rows",
        )
    if (
        code == "53300"
        or "too many clients" in line
        or "too many connections" in line
        or "remaining connection slots" in line
    ):
        return StorageError(
            f"the database server{_format_server(server_name)} takes no more connections",
            remedy="raise max_connections there, or lower the engine's pool here",
        )
    if (
        code in {"28P01", "28000"}
        or "authentication failed" in line
        or "no password supplied" in line
        or re.search(r'role ".*" does not exist|no pg_hba.conf entry', line)
    ):
        return StorageError(
            f"the database server{_format_server(server_name)} refuses this user: {line}",
            remedy="look at user and password of the engine's url in hven.toml or its secret",
        )
    if (
        "could not translate host name" in line
        or "Name or service not known" in line
        or "failed to resolve host" in line
    ):
        return StorageError(
            f"there is no database server{_format_server(server_name)}: {line}",
            remedy="look at the host of the engine's url",
        )
    if code == "3D000" or ('database "' in line and "does not exist" in line):
        return StorageError(
            f"the database is not there{_format_server(server_name)}: {line}",
            remedy="create it, or look at the engine's url",
        )
    if code == "42501":
        return StorageError(
            f"the database role may not do this{_format_server(server_name)}: {line}",
            remedy="grant the role what is named",
        )
    if is_connection_lost(error):
        return StorageError(
            f"the database server{_format_server(server_name)} went away or does not answer: {line}",
            remedy="try again in some seconds; if it lasts, look at the server",
        )
    if code == "42P01":
        return StorageError(
            f"a table is not in the database any more: {line}",
            remedy="ask again; if it lasts, ingest the collection anew",
        )
    if code == "58P01" or "could not access file" in line or is_extension_missing(error):
        return StorageError(
            f"an extension of the database is missing{_format_server(server_name)}: {line}",
            remedy="install pgSphere or q3c on the server again, or ingest with position = healpix",
        )
    if code[:2] in {"22", "21", "2B"} or line.startswith("cannot convert"):
        message = translate_evaluation_error(line, number_words)
        is_integer_overflow = message.endswith(("BIGINT", "INTEGER")) and "number" in message
        return EvaluationError(
            message, remedy="compute in floating point: CAST(.. AS DOUBLE PRECISION)" if is_integer_overflow else ""
        )
    return ServiceError(
        f"the database could not run the query: {line}",
        remedy="please report this: it is a fault of the program, not of the query",
    )


def _build_foreign_error(foreign_message: str, sqlstate: str) -> StorageUnavailableError:
    """Make the error of a database that foreign tables stand on."""
    if "password is required" in foreign_message or "password or GSSAPI" in foreign_message:
        reason = "asks this user for no password, and PostgreSQL then lets only superusers in"
        remedy = (
            "give url in [[foreign]] a password that the other server asks for; or let a superuser say: "
            "ALTER USER MAPPING FOR .. SERVER .. OPTIONS (ADD password_required 'false')"
        )
    elif (
        "password" in foreign_message
        or "user mapping" in foreign_message
        or re.search(r'role ".*" does not exist|no pg_hba.conf entry', foreign_message)
    ):
        reason = "refuses this user"
        remedy = "look at the user mapping of the foreign server (ALTER USER MAPPING), then hven fdw --check"
    elif sqlstate in {"42703", "42P01", "42804", "HV005", "HV00R"} or re.search(
        r'(column|relation) ".*" does not exist', foreign_message
    ):
        reason, remedy = "has changed", "hven fdw --check says what differs, hven fdw --apply imports the table anew"
    elif sqlstate == "42501":
        reason = "refuses to show a table"
        remedy = "there: GRANT SELECT on the table to the mapped user; hven fdw --check names both"
    elif (
        sqlstate.startswith("08")
        or "could not connect" in foreign_message
        or "server closed the connection" in foreign_message
    ):
        reason, remedy = "cannot be reached", "look at that server and the way to it; hven fdw --check says more"
    else:
        reason, remedy = "could not do its part", "hven fdw --check says more"
    return StorageUnavailableError(
        f"another database, on which this table stands, {reason}: {foreign_message}", remedy=remedy
    )


def translate_evaluation_error(line: str, number_words: str = NUMBER_WORDS) -> str:
    """Phrase an evaluation error without PostgreSQL's vocabulary."""
    if _TIMESTAMP_TYPE_PATTERN.search(line):
        match = _INVALID_TIMESTAMP_PATTERN.search(line)
        value = re.search(r'"(.*)"', line)
        if match or value:
            return f"a value cannot be computed: '{value.group(1) if value else ''}' is no timestamp"
        return line
    for pattern, words in _MESSAGE_PATTERNS:
        match = pattern.search(line)
        if match:
            parts = {"v": "", "w": "", "t": "", "u": ""} | {
                name: part or "" for name, part in match.groupdict().items()
            }
            parts |= {name: number_words if parts[name] == "numeric" else parts[name].upper() for name in ("t", "u")}
            return "a value cannot be computed: " + words.format(**parts)
    return f"a value cannot be computed: {line}"


def extract_message(error: BaseException) -> str:
    """Return the message proper: without the driver's words, context, and place in a text that nobody wrote."""
    text = str((isinstance(error, psycopg.Error) and error.diag.message_primary) or error).strip()
    match = re.search(r"(?:ERROR|FATAL|PANIC):\s*(?:[0-9A-Z]{5}:\s*)?(.*)", text)
    line = (match.group(1) if match else text).split("\n", 1)[0]
    return re.sub(r"\s*SQLSTATE: \w+$|^[A-Z_]+: |\[libpq\] ", "", line).strip()


def _format_server(server_name: str) -> str:
    return f" {server_name}" if server_name else ""
