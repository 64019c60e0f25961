"""A HAPI server that is validated: its capabilities, and requests to its endpoints."""

from __future__ import annotations

import datetime as dt
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint.client import LintHttpClient, LintRequestLimits, ServiceNotCheckableError

if TYPE_CHECKING:
    from hven.plugins.lint.findings import CheckedRowCoverage
    from hven.sources.http_client import HttpAnswer

HAPI_2_NAMES = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of parameters in HAPI 1 and 2
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
    """An answer is not a JSON object."""


def parse_hapi_time(text: str) -> int:
    """Parse a time into nanoseconds since the year 1.

    Raises
    ------
    ValueError
        The text is not a time of HAPI.
    """
    match = _TIME_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    numbers = [int(part or 0) for part in match.groups()[:7]]
    year, day_of_year, month, day, hour, minute, second = numbers
    date = dt.date(year, month or 1, day or 1)
    if day_of_year:
        date += dt.timedelta(days=day_of_year - 1)
    if date.year != year or hour > 24 or minute > 59 or second > 60:
        raise ValueError(text)
    seconds = date.toordinal() * 86_400 + hour * 3600 + minute * 60 + second
    fraction_nanoseconds = int((match[8] or "").ljust(9, "0")[:9])
    return seconds * SECOND_NANOSECONDS + fraction_nanoseconds


def format_hapi_time(nanoseconds: int) -> str:
    """Format nanoseconds since the year 1 for a request."""
    seconds, fraction = divmod(nanoseconds, SECOND_NANOSECONDS)
    day = dt.datetime.fromordinal(seconds // 86_400) + dt.timedelta(seconds=seconds % 86_400)
    return f"{day.isoformat()}.{fraction:09d}Z"


def parse_iso_duration(duration: str) -> float | None:
    """Parse a duration of ISO 8601 into seconds; None if the text is not a duration.

    A month counts 30 days, and a year 365.
    """
    match = _DURATION_PATTERN.fullmatch(duration)
    if match is None:
        return None
    return sum(float(part) * length for part, length in zip(match.groups(), _UNIT_SECONDS, strict=True) if part)


def parse_json_answer(answer: HttpAnswer) -> dict[str, Any]:
    """Parse an answer that should be a JSON object.

    Raises
    ------
    NotJsonError
        It is not a JSON object.
    """
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        raise NotJsonError(f"status {answer.status}, but not JSON: {error}") from error
    if not isinstance(document, dict):
        raise NotJsonError(f"status {answer.status}, but not a JSON object")
    return document


def find_hapi_status_code(answer: HttpAnswer) -> int | None:
    """Return HAPI's status code in a document; None if there is none."""
    try:
        status = parse_json_answer(answer).get("status")
    except NotJsonError:
        return None
    if not isinstance(status, dict):
        return None
    code = status.get("code")
    return code if isinstance(code, int) else None


class ExaminedHapiServer:
    """What the checks use of a HAPI server.

    Raises
    ------
    ServiceNotCheckableError
        There is no HAPI server at the address.
    """

    protocol = "hapi"

    def __init__(self, url: str, limits: LintRequestLimits) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.client = LintHttpClient(url, limits)
        self.table_coverages: list[CheckedRowCoverage] = []
        self.version = ""
        try:
            self.capabilities_answer = self.request_endpoint("capabilities")
            document = parse_json_answer(self.capabilities_answer)
            self.version = str(document.get("HAPI", ""))
        except UserError as error:
            raise ServiceNotCheckableError(f"{self.url}/capabilities: {error.message}", remedy=error.remedy) from error
        if not re.fullmatch(r"\d+\.\d+", self.version):
            raise ServiceNotCheckableError(
                f"{self.url}/capabilities has no HAPI version", remedy="give the address that ends in /hapi"
            )

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version of HAPI as numbers, for comparisons."""
        return tuple(map(int, self.version.split(".")))

    def request_endpoint(self, endpoint: str, **params: str) -> HttpAnswer:
        """Request an endpoint, with the parameter names of the server's version."""
        names = {}
        if self.version[:2] in {"1.", "2."}:
            names = HAPI_2_NAMES
        renamed_params = [(names.get(name, name), text) for name, text in params.items()]
        return self.client.send_get(f"{self.url}/{endpoint}", renamed_params)

    @cached_property
    def output_formats(self) -> list[str]:
        """The output formats that the server declares."""
        declared_formats = parse_json_answer(self.capabilities_answer).get("outputFormats")
        if isinstance(declared_formats, list):
            return [str(format_name) for format_name in declared_formats]
        return []
