"""Translation of the errors of PostgreSQL and its drivers for the user who asked and for the operator of the server."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
# Groups of the patterns: `v` and `w` are values or words, `t` and `u` are types.
_MESSAGE_PATTERNS = (
    # the error that the function `hven_longest` raises
    (re.compile(r'invalid input syntax for type integer: "(?P<v>a text of [^"]* would be built.*)"'), "{v}"),
    (
        re.compile(r'invalid input syntax for type (?P<t>[\w ]+): "(?P<v>.*)"', re.DOTALL),
        "the text '{v}' cannot be read as {t}",
    ),
    (_INVALID_TIMESTAMP_PATTERN, "'{v}{w}' is not a timestamp"),
    (
        re.compile(
            r'value "(?P<v>.*)" is out of range for type (?P<t>[\w ]+)|'
            r'"(?P<w>.*)" is out of range for type (?P<u>[\w ]+)'
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
    (re.compile(r"more than one row returned by a subquery"), "a subquery used as a value returned several rows"),
    (
        re.compile(r"cannot take (?P<v>square root|logarithm) of (?P<w>a negative number|zero)"),
        "there is no {v} of {w}",
    ),
    (re.compile(r"invalid regular expression: (?P<v>.*)"), "the pattern is not valid ({v})"),
)
NUMBER_WORDS = "a number"
_TIMESTAMP_TYPE_PATTERN = re.compile(r"type timestamp|type date|date/time")
_MISSING_EXTENSION_PATTERN = re.compile(r"\b(q3c_\w+|spoint|scircle|spherical?)\b|could not access file|access method")
_MISSING_EXTENSION_STATES = {"42883", "42704", "58P01", "XX000"}
_FOREIGN_ERROR_PATTERN = re.compile(
    r'remote SQL command|could not connect to server "|user mapping not found|^password (?:is|or GSSAPI .*) required'
)
_FOREIGN_DETAIL_PATTERN = re.compile(r"(?:DETAIL:\s*)?(connection to server .*|FATAL: .*|could not translate .*)")
_REFUSED_LOGIN_PATTERN = re.compile(r'role ".*" does not exist|no pg_hba.conf entry')
_CONNECTION_LOST_TEXTS = (
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


@dataclass(frozen=True, slots=True)
class _PostgresErrorTranslation:
    """An error of the server, and the error that Hven raises instead.

    Attributes
    ----------
    sqlstates, pattern
        The rule is for errors that have one of these SQLSTATEs, or whose message the pattern finds.
    message
        Template with ``{server}``, the server's name, and ``{line}``, the message of PostgreSQL.
    """

    sqlstates: frozenset[str]
    pattern: re.Pattern[str] | None
    error_class: type[HvenError]
    message: str
    remedy: str

    def is_for_error(self, sqlstate: str, line: str) -> bool:
        """Return whether the rule is for an error."""
        if sqlstate in self.sqlstates:
            return True
        return self.pattern is not None and self.pattern.search(line) is not None

    def build_error(self, server_name: str, line: str) -> HvenError:
        """Build the error of Hven."""
        message = self.message.format(server=_format_server(server_name), line=line)
        return self.error_class(message, remedy=self.remedy)


_SERVER_RULES = (
    _PostgresErrorTranslation(
        frozenset({"53100"}),
        re.compile("No space left"),
        StorageError,
        "the disk of the database server{server} is full",
        "free some space there, or let Hven keep fewer snapshots (keep_snapshots)",
    ),
    _PostgresErrorTranslation(
        frozenset({"53200", "53400", "54000", "54001"}),
        re.compile("invalid memory alloc request size|temp_file_limit"),
        TooLargeError,
        "the query needs more memory or disk than one query may use",
        "select fewer columns, group by fewer distinct values, or sort fewer rows",
    ),
    _PostgresErrorTranslation(
        frozenset({"53300"}),
        re.compile("too many clients|too many connections|remaining connection slots"),
        StorageError,
        "the database server{server} does not accept more connections",
        "raise max_connections there, or lower the engine's pool here",
    ),
    _PostgresErrorTranslation(
        frozenset({"28P01", "28000"}),
        re.compile(f"authentication failed|no password supplied|{_REFUSED_LOGIN_PATTERN.pattern}"),
        StorageError,
        "the database server{server} rejects this user: {line}",
        "check the user and the password in the engine's url in hven.toml, or in its secret",
    ),
    _PostgresErrorTranslation(
        frozenset(),
        re.compile("could not translate host name|Name or service not known|failed to resolve host"),
        StorageError,
        "there is no database server{server}: {line}",
        "check the host of the engine's url",
    ),
    _PostgresErrorTranslation(
        frozenset({"3D000"}),
        re.compile('(?=.*database ").*does not exist'),
        StorageError,
        "the database does not exist{server}: {line}",
        "create it, or check the engine's url",
    ),
    _PostgresErrorTranslation(
        frozenset({"42501"}),
        None,
        StorageError,
        "the database role{server} is not allowed to do this: {line}",
        "grant the role this permission",
    ),
)


def list_driver_error_classes() -> tuple[type[Exception], ...]:
    """Return the exception classes of the drivers."""
    return (psycopg.Error, adbc_driver_manager.Error, pa.ArrowException, OSError)


def get_sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of an error; empty if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def is_extension_missing(error: BaseException) -> bool:
    """Return whether a function, type or operator of an extension no longer exists."""
    if get_sqlstate(error) not in _MISSING_EXTENSION_STATES:
        return False
    return _MISSING_EXTENSION_PATTERN.search(extract_error_message(error)) is not None


def is_float_out_of_range(error: BaseException | None) -> bool:
    """Return whether the result of floating-point arithmetic is too large, or too small to differ from 0."""
    if error is None or get_sqlstate(error) != "22003":
        return False
    return re.search(r"value out of range: (over|under)flow", str(error)) is not None


def extract_foreign_message(error: BaseException) -> str:
    """Return the message of another database on which foreign tables stand; empty if the error is not from there."""
    parts = []
    if isinstance(error, psycopg.Error):
        fields = (error.diag.message_primary, error.diag.message_detail, error.diag.context)
        parts = [field for field in fields if field]
    text = "\n".join(parts) or str(error)
    if not _FOREIGN_ERROR_PATTERN.search(text):
        return ""
    message = extract_error_message(error)
    detail = _FOREIGN_DETAIL_PATTERN.search(text)
    if detail and detail.group(1) not in message:
        return f"{message}: {detail.group(1)}"
    return message


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the connection is lost, so that another connection may succeed."""
    if extract_foreign_message(error):
        return False
    sqlstate = get_sqlstate(error)
    if sqlstate:
        return sqlstate in _CONNECTION_LOST_STATES or sqlstate.startswith("08")
    return any(text in str(error) for text in _CONNECTION_LOST_TEXTS)


def translate_postgres_error(
    error: Exception,
    *,
    server_name: str = "",
    stop_reason: str | None = None,
    timeout_seconds: float | None = None,
    number_words: str = NUMBER_WORDS,
) -> HvenError:
    """Translate an error of PostgreSQL or a driver into an error of Hven.

    Parameters
    ----------
    server_name
        The server, as messages show it.
    stop_reason
        ``timeout`` or ``cancel`` if the query was stopped.
    timeout_seconds
        Time limit of the query, for the message.
    number_words
        Name of the type to which the query casts texts as whole numbers. To PostgreSQL all of them are ``numeric``.
    """
    if isinstance(error, HvenError):
        return error
    sqlstate = get_sqlstate(error)
    line = extract_error_message(error)
    if stop_reason == "timeout" or (sqlstate == "57014" and "statement timeout" in line):
        return build_time_limit_error(timeout_seconds)
    if stop_reason == "cancel" or sqlstate == "57014":
        return OperationCancelledError("the query was cancelled")
    foreign_message = extract_foreign_message(error)
    if foreign_message:
        return _build_foreign_error(foreign_message, sqlstate)
    server_error = _build_server_error(error, line, server_name)
    if server_error is not None:
        return server_error
    return _build_query_error(sqlstate, line, number_words)


def _build_server_error(error: Exception, line: str, server_name: str) -> HvenError | None:
    """Build the error of a server that cannot answer; None if the query itself is the cause."""
    sqlstate = get_sqlstate(error)
    for rule in _SERVER_RULES:
        if rule.is_for_error(sqlstate, line):
            return rule.build_error(server_name, line)
    if is_connection_lost(error):
        return StorageError(
            f"the database server{_format_server(server_name)} cannot be reached or does not respond: {line}",
            remedy="try again in a few seconds; if the error persists, check the server",
        )
    if sqlstate == "42P01":
        return StorageError(
            f"a table is no longer in the database: {line}",
            remedy="run the query again; if the error persists, ingest the collection again",
        )
    if sqlstate == "58P01" or "could not access file" in line or is_extension_missing(error):
        return StorageError(
            f"an extension of the database is missing{_format_server(server_name)}: {line}",
            remedy="reinstall pgSphere or q3c on the server, or set position = healpix and ingest the collection again",
        )
    return None


def _build_query_error(sqlstate: str, line: str, number_words: str) -> HvenError:
    """Build the error of a query that cannot be computed."""
    is_evaluation_error = sqlstate[:2] in {"22", "21", "2B"} or line.startswith("cannot convert")
    if not is_evaluation_error:
        return ServiceError(
            f"the database could not run the query: {line}",
            remedy="report this to the site's operators: the error is in Hven, not in the query",
        )
    message = write_evaluation_error_message(line, number_words)
    remedy = ""
    if message.endswith(("BIGINT", "INTEGER")) and "number" in message:
        remedy = "compute in floating point: CAST(.. AS DOUBLE PRECISION)"
    return EvaluationError(message, remedy=remedy)


def _build_foreign_error(foreign_message: str, sqlstate: str) -> StorageUnavailableError:
    """Build the error of a database on which foreign tables stand."""
    needs_password = "password is required" in foreign_message or "password or GSSAPI" in foreign_message
    is_login_refused = "password" in foreign_message or "user mapping" in foreign_message
    is_login_refused = is_login_refused or _REFUSED_LOGIN_PATTERN.search(foreign_message) is not None
    is_changed = sqlstate in {"42703", "42P01", "42804", "HV005", "HV00R"}
    is_changed = is_changed or re.search(r'(column|relation) ".*" does not exist', foreign_message) is not None
    is_unreachable = sqlstate.startswith("08") or "could not connect" in foreign_message
    is_unreachable = is_unreachable or "server closed the connection" in foreign_message
    if needs_password:
        reason = "only superusers may read without a password"
        remedy = (
            "under [[foreign]], write a url with a password, and configure the other server to require it; or let a "
            "superuser run: `ALTER USER MAPPING FOR .. SERVER .. OPTIONS (ADD password_required 'false')`"
        )
    elif is_login_refused:
        reason = "rejects this user"
        remedy = "check the user mapping of the foreign server (ALTER USER MAPPING), then run `hven fdw --check`"
    elif is_changed:
        reason = "has changed"
        remedy = "run `hven fdw --check` to see the differences, and `hven fdw --apply` to import the table again"
    elif sqlstate == "42501":
        reason = "does not let this user read the table"
        remedy = "in that database, GRANT SELECT on the table to the mapped user; `hven fdw --check` names both"
    elif is_unreachable:
        reason = "cannot be reached"
        remedy = "check the other database server and the network; run `hven fdw --check` for details"
    else:
        reason = "reported an error"
        remedy = "run `hven fdw --check` for details"
    message = f"a table is in another database, which {reason}: {foreign_message}"
    return StorageUnavailableError(message, remedy=remedy)


def write_evaluation_error_message(line: str, number_words: str = NUMBER_WORDS) -> str:
    """Phrase an evaluation error without the vocabulary of PostgreSQL."""
    if _TIMESTAMP_TYPE_PATTERN.search(line):
        quoted_value = re.search(r'"(.*)"', line)
        if quoted_value:
            return f"a value cannot be computed: '{quoted_value.group(1)}' is not a timestamp"
        return line
    for pattern, template in _MESSAGE_PATTERNS:
        match = pattern.search(line)
        if match:
            values = _collect_template_values(match, number_words)
            return "a value cannot be computed: " + template.format(**values)
    return f"a value cannot be computed: {line}"


def _collect_template_values(match: re.Match[str], number_words: str) -> dict[str, str]:
    """Return the values of a template of `_MESSAGE_PATTERNS`; types are in upper case, as in ADQL."""
    values = {"v": "", "w": "", "t": "", "u": ""}
    for name, text in match.groupdict().items():
        values[name] = text or ""
    for name in ("t", "u"):
        values[name] = number_words if values[name] == "numeric" else values[name].upper()
    return values


def extract_error_message(error: BaseException) -> str:
    """Return the message itself, without the driver's words, the context, and the place in generated SQL."""
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        text = error.diag.message_primary
    text = text.strip()
    match = re.search(r"(?:ERROR|FATAL|PANIC):\s*(?:[0-9A-Z]{5}:\s*)?(.*)", text)
    if match:
        text = match.group(1)
    line = text.split("\n", 1)[0]
    return re.sub(r"\s*SQLSTATE: \w+$|^[A-Z_]+: |\[libpq\] ", "", line).strip()


def _format_server(server_name: str) -> str:
    return f" {server_name}" if server_name else ""
