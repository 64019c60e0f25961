"""Read requests from logs of Hven, of web servers and DaCHS (common and combined format), and of vollt."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field, replace
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
CUT = "long queries, of which the log has only the beginning"
MAX_LOGGED_QUERY_BYTES = 2000  # older logs of Hven do not say that a query was cut there
MAX_WAITING_REQUESTS = 100_000  # of vollt, whose answers stand in later lines
PRIVATE_STATUSES = {401, 403}
SAFE_METHODS = {"GET", "HEAD"}
UNSAFE_PATH_PATTERN = re.compile(
    r"/(async|login|logout|jobs|basket|user_tables|load|sign|edit|entries|push)(/|$)", re.IGNORECASE
)
# secrets in addresses, such as those of feeds: they must not reach the other service
KEY_PATTERN = re.compile(r"(^|&)(key|token|signature|hven-signed)=", re.IGNORECASE)
# remote host, two names, time, request line, status and bytes; more may follow
_COMMON_FORMAT = re.compile(
    r'\S+ \S+ (?P<user>.*?)\s*\[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<target>\S+)(?: HTTP/[\d.]+)?" '
    r"(?P<status>\d{3}) (?:\d+|-)"
)
_VOLLT_PARAMETER_START = re.compile(r"&(?=[A-Za-z_][\w.]*=)")
_VOLLT_COLUMNS = 6  # time, level, context, event, id, message; one more may follow
_VOLLT_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "FATAL"}


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
    vollt_reader = _VolltLineReader()
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if line.strip():
                    yield from _read_line(line.rstrip("\r\n"), vollt_reader)
    except (OSError, EOFError, zlib.error) as error:  # the last two: a compressed log is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{path} cannot be read: {reason}"
        raise UserError(message, remedy="check the path of the log") from error
    yield from vollt_reader.list_waiting_requests()


def _read_line(line: str, vollt_reader: _VolltLineReader) -> Iterator[LoggedRequest | str]:
    columns = line.split("\t")
    if line.startswith("{"):
        yield _read_hven_line(line)
    elif len(columns) >= _VOLLT_COLUMNS and columns[1] in _VOLLT_LEVELS:
        yield from vollt_reader.read_line(columns)
    elif (match := _COMMON_FORMAT.match(line)) is None:
        yield UNREADABLE
    elif match["user"] not in {"", "-", '""'}:
        yield PRIVATE
    else:
        unix_time = _parse_time(match["time"], "%d/%b/%Y:%H:%M:%S %z")
        yield _build_request(match["method"], match["target"], int(match["status"]), unix_time)


def _read_hven_line(line: str) -> LoggedRequest | str:
    try:
        entry = json.loads(line)
        target = entry["path"]
        query = entry.get("query") or ""
        if query:
            target += f"?{query}"
        request = _build_request(entry["method"], target, int(entry["status"]), _parse_time(entry.get("time")))
        is_cut = "query_cut" in entry or len(query.encode()) == MAX_LOGGED_QUERY_BYTES
    except (ValueError, KeyError, TypeError):
        return UNREADABLE
    if is_cut and isinstance(request, LoggedRequest):
        return CUT
    return request


class _VolltLineReader:
    """Joins the lines of requests and answers in logs of vollt; other lines, such as those of jobs, are skipped."""

    def __init__(self) -> None:
        self._waiting_requests: dict[str, LoggedRequest] = {}  # those without an answer, by their ids

    def read_line(self, columns: list[str]) -> Iterator[LoggedRequest | str]:
        """Read a line; yield a request when its answer comes, or else the reason why it cannot be repeated."""
        event, request_id = columns[2:4], columns[4]
        if event == ["HTTP", "RESPONSE_SENT"]:
            request = self._waiting_requests.pop(request_id, None)
            if request is not None:
                yield _add_status(request, "\t".join(columns[5:]))
        elif event == ["HTTP", "REQUEST_RECEIVED"]:
            entry = _read_vollt_request(columns)
            if isinstance(entry, str):
                yield entry
                return
            if request_id in self._waiting_requests or len(self._waiting_requests) >= MAX_WAITING_REQUESTS:
                if request_id in self._waiting_requests:
                    oldest_id = request_id
                else:
                    oldest_id = next(iter(self._waiting_requests))
                yield self._waiting_requests.pop(oldest_id)
            self._waiting_requests[request_id] = entry

    def list_waiting_requests(self) -> list[LoggedRequest]:
        """List the requests whose answers the log does not have."""
        return list(self._waiting_requests.values())


def _add_status(request: LoggedRequest, message: str) -> LoggedRequest | str:
    match = re.search(r"HTTP-(\d{3})", message)
    status = None
    if match is not None:
        status = int(match[1])
    if status in PRIVATE_STATUSES:
        return PRIVATE
    return replace(request, status=status)


def _read_vollt_request(columns: list[str]) -> LoggedRequest | str:
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
    return _build_request("GET" if method == "POST" else method, target, None, _parse_time(columns[0]))


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
    if status in PRIVATE_STATUSES or KEY_PATTERN.search(parts.query):
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
