"""Read requests from logs of Hven, of web servers and DaCHS (common and combined format), and of vollt."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 1_000_000
UNREADABLE = "lines that are damaged, or aren't requests"
WITHOUT_BODY = "POST requests, whose parameters the log does not contain"
CHANGING = "requests that change something, such as those of jobs and user tables"
PRIVATE = "requests that needed a login"
UPLOADING = "queries with uploaded tables"
SAFE_METHODS = {"GET", "HEAD"}
UNSAFE_PATH_PATTERN = re.compile(
    r"/(async|login|logout|jobs|basket|user_tables|load|sign|edit|entries|push)(/|$)", re.IGNORECASE
)
# remote host, two names, time, request line, status and bytes; more may follow
_COMMON_FORMAT = re.compile(
    r'\S+ \S+ .*?\[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<target>\S+)(?: HTTP/[\d.]+)?" (?P<status>\d{3}) (?:\d+|-)'
)
_VOLLT_PARAMETER_START = re.compile(r"&(?=[A-Za-z_][\w.]*=)")
_VOLLT_COLUMNS = 6  # time, level, context, event, id, message; one more may follow


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """A request in a log that can be sent again.

    Attributes
    ----------
    target
        Path with its query.
    status
        Status that the log states; None: it states none.
    unix_time
        When the request came, in seconds since 1970; None: the log does not say it.
    """

    target: str
    status: int | None = None
    unix_time: float | None = field(default=None, compare=False)


def read_log(path: Path) -> Iterator[LoggedRequest | str]:
    """Yield the requests of a log, and for other lines the reason why they cannot be repeated.

    Parameters
    ----------
    path
        The log, perhaps compressed by gzip. The format of each line is recognised.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    vollt_statuses: dict[str, int] = {}
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            if _is_vollt_log(file.readline()):
                file.seek(0)
                vollt_statuses = _collect_vollt_statuses(file)
            file.seek(0)
            while line := file.readline(MAX_LINE_BYTES):
                if line.strip():
                    yield _read_line(line.rstrip("\r\n"), vollt_statuses)
    except (OSError, EOFError, zlib.error) as error:  # the last two: a compressed log is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{path} cannot be read: {reason}"
        raise UserError(message, remedy="check the path of the log") from error


def _is_vollt_log(line: str) -> bool:
    return len(line.split("\t")) >= _VOLLT_COLUMNS


def _collect_vollt_statuses(lines: Iterator[str]) -> dict[str, int]:
    """Collect the statuses of answers, by the ids of their requests."""
    statuses = {}
    for line in lines:
        columns = line.rstrip().split("\t")
        if len(columns) >= _VOLLT_COLUMNS and columns[3] == "RESPONSE_SENT":
            match = re.search(r"HTTP-(\d{3})", line)
            if match:
                statuses[columns[4]] = int(match[1])
    return statuses


def _read_line(line: str, vollt_statuses: dict[str, int]) -> LoggedRequest | str:
    if line.startswith("{"):
        return _read_hven_line(line)
    if _is_vollt_log(line):
        return _read_vollt_line(line.split("\t"), vollt_statuses)
    match = _COMMON_FORMAT.match(line)
    if match is None:
        return UNREADABLE
    return _build_request(
        match["method"], match["target"], int(match["status"]), _parse_time(match["time"], "%d/%b/%Y:%H:%M:%S %z")
    )


def _read_hven_line(line: str) -> LoggedRequest | str:
    try:
        entry = json.loads(line)
        target = entry["path"]
        if entry.get("query"):
            target += f"?{entry['query']}"
        return _build_request(entry["method"], target, int(entry["status"]), _parse_time(entry.get("time")))
    except (ValueError, KeyError, TypeError):
        return UNREADABLE


def _read_vollt_line(columns: list[str], statuses: dict[str, int]) -> LoggedRequest | str:
    if columns[2:4] != ["HTTP", "REQUEST_RECEIVED"]:
        return UNREADABLE
    text = next((column for column in columns[5:] if " with parameters (" in column), "")
    before, _, params = text.partition(" with parameters (")
    method, _, _ = before.partition(" as ")
    url = before.partition(" at ")[2].partition(" ")[0]
    if not url.startswith(("http://", "https://")) or not params.endswith(")"):
        return UNREADABLE
    target = urlsplit(url).path
    if params != ")":
        pairs = (part.partition("=") for part in _VOLLT_PARAMETER_START.split(params[:-1]))
        target += "?" + urlencode([(name, value) for name, _, value in pairs])
    # this log has the parameters of POST requests, which may be sent with GET
    return _build_request(
        "GET" if method == "POST" else method, target, statuses.get(columns[4]), _parse_time(columns[0])
    )


def _parse_time(text: object, time_format: str = "") -> float | None:
    """Parse a time in ISO format, or in another one; None: it is no time."""
    if not isinstance(text, str):
        return None
    try:
        parsed = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text)  # noqa: DTZ007
        return parsed.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _build_request(method: str, target: str, status: int | None, unix_time: float | None = None) -> LoggedRequest | str:
    """Return a request, or the reason why it cannot be repeated."""
    parts = urlsplit(target)
    path = parts.path or "/"
    if not path.startswith("/") or not target.isprintable():
        return UNREADABLE
    if status in {401, 403}:
        return PRIVATE
    if UNSAFE_PATH_PATTERN.search(path):
        return CHANGING
    if method not in SAFE_METHODS:
        return WITHOUT_BODY if method == "POST" else CHANGING
    query = quote(parts.query, safe="%/:?&=+,;@!$'()*~-._")
    if re.search(r"(^|&)upload=", query, re.IGNORECASE):
        return UPLOADING
    clean_path = quote(path, safe="%/:@!$&'()*+,;=~-._")
    clean_target = f"{clean_path}?{query}" if query else clean_path
    return LoggedRequest(target=clean_target, status=status, unix_time=unix_time)
