"""What errors of PostgreSQL and of its drivers mean to the person who asked, and to the one who runs the server."""

from __future__ import annotations

import re

import adbc_driver_manager
import psycopg
import pyarrow as pa

from hven.model.clock import late
from hven.model.errors import Cancelled, EvaluationError, HvenError, ServiceError, StorageError, TooLarge, Unavailable

_GONE = {"57P01", "57P02", "57P03", "08000", "08001", "08003", "08004", "08006"}
_NO_TIMESTAMP = re.compile(
    r'invalid input syntax for type (?:timestamp|date)\w*: "(?P<v>.*)"|date/time field value out of range: "(?P<w>.*)"'
)
_WORDS = (
    # `hven_longest`
    (re.compile(r'invalid input syntax for type integer: "(?P<v>a text of [^"]* would be built.*)"'), "{v}"),
    (
        re.compile(r'invalid input syntax for type (?P<t>[\w ]+): "(?P<v>.*)"', re.DOTALL),
        "the text '{v}' cannot be read as {t}",
    ),
    (_NO_TIMESTAMP, "'{v}{w}' is no timestamp"),
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
NUMBER = "a number"
_TIMESTAMP = re.compile(r"type timestamp|type date|date/time")


def kinds() -> tuple[type[Exception], ...]:
    """Return the classes of error that the drivers raise."""
    return (psycopg.Error, adbc_driver_manager.Error, pa.ArrowException, OSError)


def state(error: BaseException) -> str:
    """Return the SQLSTATE of an error, empty if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def lacking(error: BaseException) -> bool:
    """Return whether a function, type or operator of an extension is not there any more."""
    words = r"\b(q3c_\w+|spoint|scircle|spherical?)\b|could not access file|access method"
    return state(error) in {"42883", "42704", "58P01", "XX000"} and re.search(words, first_line(error)) is not None


def beyond(error: BaseException | None) -> bool:
    """Return whether floating-point arithmetic left its range: the number is too large, or too small to be told from 0."""
    return (
        error is not None
        and state(error) == "22003"
        and re.search(r"value out of range: (over|under)flow", str(error)) is not None
    )


def foreign(error: BaseException) -> str:
    """Return what another database said, on which foreign tables stand; empty if it was ours that spoke."""
    diag = error.diag if isinstance(error, psycopg.Error) else None
    parts = (
        [getattr(diag, name, None) for name in ("message_primary", "message_detail", "context")]
        if diag is not None
        else []
    )
    text = "\n".join(str(part) for part in parts if part) or str(error)
    if "remote SQL command" not in text and not re.search(
        r'could not connect to server "|user mapping not found|^password (?:is|or GSSAPI .*) required', text
    ):
        return ""
    detail = re.search(r"(?:DETAIL:\s*)?(connection to server .*|FATAL: .*|could not translate .*)", text)
    return (
        f"{first_line(error)}: {detail.group(1)}"
        if detail and detail.group(1) not in first_line(error)
        else first_line(error)
    )


def gone(error: BaseException) -> bool:
    """Return whether the connection is lost, so that another one may succeed."""
    if foreign(error):
        return False
    code, text = state(error), str(error)
    if code in _GONE or code.startswith("08"):
        return True
    words = ("server closed the connection", "connection to server", "terminating connection", "connection is closed", "the connection is lost",
             "no connection to the server", "consuming input failed", "SSL connection has been closed", "could not receive data", "server terminated")  # fmt: skip
    return not code and any(word in text for word in words)


def translate(
    error: Exception, *, where: str = "", stopped: str | None = None, seconds: float | None = None, number: str = NUMBER
) -> HvenError:
    """Translate an error of PostgreSQL or a driver into one of ours.

    Parameters
    ----------
    where
        The server, as it may be shown.
    stopped
        ``timeout`` or ``cancel`` if somebody stopped the query.
    number
        What the query makes of texts that are whole numbers: they are all ``numeric`` to PostgreSQL.
    """
    if isinstance(error, HvenError):
        return error
    code, line = state(error), first_line(error)
    if stopped == "timeout" or (code == "57014" and "statement timeout" in line):
        return late(seconds)
    if stopped == "cancel" or code == "57014":
        return Cancelled("the query was cancelled")
    elsewhere = foreign(error)
    if elsewhere:
        return _foreign(elsewhere, code)
    if code == "53100" or "No space left" in line:
        return StorageError(
            f"the disk of the database server{_at(where)} is full",
            remedy="free some space there, or let Hven keep fewer snapshots (keep_snapshots)",
        )
    if (
        code in {"53200", "54000", "54001"}
        or "invalid memory alloc request size" in line
        or "temp_file_limit" in line
        or code == "53400"
    ):
        return TooLarge(
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
            f"the database server{_at(where)} takes no more connections",
            remedy="raise max_connections there, or lower the engine's pool here",
        )
    if (
        code in {"28P01", "28000"}
        or "authentication failed" in line
        or "no password supplied" in line
        or re.search(r'role ".*" does not exist|no pg_hba.conf entry', line)
    ):
        return StorageError(
            f"the database server{_at(where)} refuses this user: {line}",
            remedy="look at user and password of the engine's url in hven.toml or its secret",
        )
    if (
        "could not translate host name" in line
        or "Name or service not known" in line
        or "failed to resolve host" in line
    ):
        return StorageError(
            f"there is no database server{_at(where)}: {line}", remedy="look at the host of the engine's url"
        )
    if code == "3D000" or ('database "' in line and "does not exist" in line):
        return StorageError(
            f"the database is not there{_at(where)}: {line}", remedy="create it, or look at the engine's url"
        )
    if code == "42501":
        return StorageError(
            f"the database role may not do this{_at(where)}: {line}", remedy="grant the role what is named"
        )
    if gone(error):
        return StorageError(
            f"the database server{_at(where)} went away or does not answer: {line}",
            remedy="try again in some seconds; if it lasts, look at the server",
        )
    if code == "42P01":
        return StorageError(
            f"a table is not in the database any more: {line}",
            remedy="ask again; if it lasts, ingest the collection anew",
        )
    if code == "58P01" or "could not access file" in line or lacking(error):
        return StorageError(
            f"an extension of the database is missing{_at(where)}: {line}",
            remedy="install pgSphere or q3c on the server again, or ingest with position = healpix",
        )
    if code[:2] in {"22", "21", "2B"} or line.startswith("cannot convert"):
        said = plain(line, number)
        wide = said.endswith(("BIGINT", "INTEGER")) and "number" in said
        return EvaluationError(said, remedy="compute in floating point: CAST(.. AS DOUBLE PRECISION)" if wide else "")
    return ServiceError(
        f"the database could not run the query: {line}",
        remedy="please report this: it is a fault of the program, not of the query",
    )


def _foreign(said: str, code: str) -> Unavailable:
    """Make the error of a database that foreign tables stand on."""
    if "password is required" in said or "password or GSSAPI" in said:
        why = "asks this user for no password, and PostgreSQL then lets only superusers in"
        remedy = (
            "give url in [[foreign]] a password that the other server asks for; or let a superuser say: "
            "ALTER USER MAPPING FOR .. SERVER .. OPTIONS (ADD password_required 'false')"
        )
    elif (
        "password" in said
        or "user mapping" in said
        or re.search(r'role ".*" does not exist|no pg_hba.conf entry', said)
    ):
        why, remedy = (
            "refuses this user",
            "look at the user mapping of the foreign server (ALTER USER MAPPING), then hven fdw --check",
        )
    elif code in {"42703", "42P01", "42804", "HV005", "HV00R"} or re.search(
        r'(column|relation) ".*" does not exist', said
    ):
        why, remedy = "has changed", "hven fdw --check says what differs, hven fdw --apply imports the table anew"
    elif code == "42501":
        why, remedy = (
            "refuses to show a table",
            "there: GRANT SELECT on the table to the mapped user; hven fdw --check names both",
        )
    elif code.startswith("08") or "could not connect" in said or "server closed the connection" in said:
        why, remedy = "cannot be reached", "look at that server and the way to it; hven fdw --check says more"
    else:
        why, remedy = "could not do its part", "hven fdw --check says more"
    return Unavailable(f"another database, on which this table stands, {why}: {said}", remedy=remedy)


def plain(line: str, number: str = NUMBER) -> str:
    """Phrase an evaluation error without PostgreSQL's vocabulary."""
    if _TIMESTAMP.search(line):
        found = _NO_TIMESTAMP.search(line)
        value = re.search(r'"(.*)"', line)
        return (
            f"a value cannot be computed: '{value.group(1) if value else ''}' is no timestamp"
            if found or value
            else line
        )
    for pattern, words in _WORDS:
        found = pattern.search(line)
        if found:
            parts = {"v": "", "w": "", "t": "", "u": ""} | {
                name: part or "" for name, part in found.groupdict().items()
            }
            parts |= {name: number if parts[name] == "numeric" else parts[name].upper() for name in ("t", "u")}
            return "a value cannot be computed: " + words.format(**parts)
    return f"a value cannot be computed: {line}"


def first_line(error: BaseException) -> str:
    """Return the message proper: without the driver's words, context, and place in a text that nobody wrote."""
    text = str((isinstance(error, psycopg.Error) and error.diag.message_primary) or error).strip()
    found = re.search(r"(?:ERROR|FATAL|PANIC):\s*(?:[0-9A-Z]{5}:\s*)?(.*)", text)
    line = (found.group(1) if found else text).split("\n", 1)[0]
    return re.sub(r"\s*SQLSTATE: \w+$|^[A-Z_]+: |\[libpq\] ", "", line).strip()


def _at(where: str) -> str:
    return f" {where}" if where else ""
