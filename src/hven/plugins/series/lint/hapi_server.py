"""A HAPI server that is validated: its capabilities, and requests to its endpoints."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import UserError
from hven.plugins.lint.client import LintHttpClient, LintRequestLimits, ServiceNotCheckableError
from hven.plugins.series.time_texts import parse_time_as_nanoseconds

if TYPE_CHECKING:
    from hven.plugins.lint.findings import CheckedRowCoverage
    from hven.sources.http_client import HttpAnswer

HAPI_2_NAMES = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of parameters in HAPI 1 and 2
SECOND_NANOSECONDS = 1_000_000_000
_DATE_PATTERN = re.compile(r"\d{4}(?:-(?:\d{3}|\d\d(?:-\d\d)?))?(?:T|Z?$)")  # HAPI has no dates without hyphens


class NotJsonError(UserError):
    """An answer is not a JSON object."""


def parse_hapi_time(text: str) -> int:
    """Parse a time into nanoseconds since 1970.

    Raises
    ------
    ValueError
        The text is not a time of HAPI.
    """
    if not _DATE_PATTERN.match(text):
        raise ValueError(text)
    return parse_time_as_nanoseconds(text)


def format_hapi_time(nanoseconds: int) -> str:
    """Format nanoseconds since 1970 for a request."""
    seconds, fraction = divmod(nanoseconds, SECOND_NANOSECONDS)
    return f"{np.datetime64(seconds, 's')}.{fraction:09d}Z"


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
        raise NotJsonError(f"the response has status {answer.status}, but is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise NotJsonError(f"the response has status {answer.status}, but is not a JSON object")
    return document


def find_hapi_status_code(answer: HttpAnswer) -> int | None:
    """Return HAPI's status code in a document; None if there is none."""
    try:
        code = parse_json_answer(answer)["status"]["code"]
    except (NotJsonError, KeyError, TypeError):
        return None
    if isinstance(code, int):
        return code
    return None


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
