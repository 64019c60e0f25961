"""A HAPI server that is judged, as a stranger finds it: what it says of itself, its data sets, its answers."""

from __future__ import annotations

import datetime as dt
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.lint.client import LintClient, LintLimits, NotJudgeableError
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.findings import TableCoverage
    from hven.sources.http_client import HttpAnswer

HAPI_2_NAMES = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of HAPI 2
SECOND_NANOSECONDS = 1_000_000_000
_TIME_PATTERN = re.compile(
    r"(\d{4})(?:-(?:(\d{3})|(\d\d)(?:-(\d\d))?))?(?:T(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d*))?)?)?)?Z?"
)
_DURATION_PATTERN = re.compile(
    r"P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_UNIT_SECONDS = (31_536_000, 2_592_000, 604_800, 86_400, 3_600, 60, 1)


class NotJsonError(UserError):
    """An answer is no JSON object."""


def parse_time(text: str) -> int:
    """Read a time: nanoseconds since the year 1.

    Raises
    ------
    ValueError
        It is none.
    """
    match = _TIME_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, day_of_year, month, day, hour, minute, second = (int(part) if part else None for part in match.groups()[:7])
    date = dt.date(year or 0, month or 1, day or 1) + dt.timedelta(days=(day_of_year or 1) - 1)
    if date.year != year or (hour or 0) > 24 or (minute or 0) > 59 or (second or 0) > 60:
        raise ValueError(text)
    seconds_of_day = (hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)
    return (date.toordinal() * 86_400 + seconds_of_day) * SECOND_NANOSECONDS + int((match[8] or "").ljust(9, "0")[:9])


def format_time(nanoseconds: int) -> str:
    """Write such a time for a request."""
    seconds, fraction = divmod(nanoseconds, SECOND_NANOSECONDS)
    day = dt.datetime.fromordinal(seconds // 86_400) + dt.timedelta(seconds=seconds % 86_400)
    return f"{day.isoformat()}.{fraction:09d}Z"


def parse_duration(duration: str) -> float | None:
    """Read a duration of ISO 8601, about; None: it is none."""
    match = _DURATION_PATTERN.fullmatch(duration)
    if match is None:
        return None
    return sum(float(part) * length for part, length in zip(match.groups(), _UNIT_SECONDS, strict=True) if part)


def parse_document(answer: HttpAnswer) -> dict[str, Any]:
    """Read a document.

    Raises
    ------
    NotJsonError
        It is no JSON object.
    """
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        raise NotJsonError(f"status {answer.status}, and no JSON: {error}") from error
    if not isinstance(document, dict):
        raise NotJsonError(f"status {answer.status}, and no JSON object")
    return document


def find_hapi_code(answer: HttpAnswer) -> int | None:
    """Find HAPI's own code in a document; None: there is none."""
    try:
        status = parse_document(answer).get("status")
    except NotJsonError:
        return None
    if isinstance(status, dict):
        code = status.get("code")
    else:
        code = None
    return code if isinstance(code, int) else None


class ExaminedHapiServer:
    """Everything that checks may ask about.

    Raises
    ------
    NotJudgeableError
        There is no HAPI server.
    """

    protocol = "hapi"

    def __init__(self, url: str, limits: LintLimits) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.client = LintClient(url, limits)
        self.table_coverages: list[TableCoverage] = []
        self.version = ""
        try:
            self.capabilities_answer = self.request_endpoint("capabilities")
            document = parse_document(self.capabilities_answer)
            self.version = str(document.get("HAPI", ""))
        except UserError as error:
            raise NotJudgeableError(f"{self.url}/capabilities: {error.message}", remedy=error.remedy) from error
        if not re.fullmatch(r"\d+\.\d+", self.version):
            raise NotJudgeableError(
                f"{self.url}/capabilities does not say which HAPI it is", remedy="give the address that ends in /hapi"
            )

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """Its version, to compare."""
        return tuple(map(int, self.version.split(".")))

    def request_endpoint(self, endpoint: str, **params: str) -> HttpAnswer:
        """Ask an endpoint, with the names of the server's version."""
        if self.version[:2] in {"1.", "2."}:
            names = HAPI_2_NAMES
        else:
            names = {}
        return self.client.send_get(
            f"{self.url}/{endpoint}", [(names.get(name, name), param_value) for name, param_value in params.items()]
        )

    @cached_property
    def output_formats(self) -> list[str]:
        """The formats of data that it declares."""
        declared_formats = parse_document(self.capabilities_answer).get("outputFormats")
        if isinstance(declared_formats, list):
            return [str(format_name) for format_name in declared_formats]
        return []
