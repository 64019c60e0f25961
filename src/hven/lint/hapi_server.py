"""A HAPI server that is judged, as a stranger finds it: what it says of itself, its data sets, its answers."""

from __future__ import annotations

import datetime as dt
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.lint.client import Client, Limits, Unjudgeable
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.findings import Looked
    from hven.sources.remote import Answer

OLD = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of HAPI 2
SECOND = 1_000_000_000
_TIME = re.compile(r"(\d{4})(?:-(?:(\d{3})|(\d\d)(?:-(\d\d))?))?(?:T(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d*))?)?)?)?Z?")
_DURATION = re.compile(
    r"P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+(?:\.\d+)?)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_LENGTHS = (31_536_000, 2_592_000, 604_800, 86_400, 3_600, 60, 1)


class NotJson(UserError):
    """An answer is no JSON object."""


def moment(text: str) -> int:
    """Read a time: nanoseconds since the year 1.

    Raises
    ------
    ValueError
        It is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, of_year, month, day, hour, minute, second = (int(one) if one else None for one in found.groups()[:7])
    date = dt.date(year or 0, month or 1, day or 1) + dt.timedelta(days=(of_year or 1) - 1)
    if date.year != year or (hour or 0) > 24 or (minute or 0) > 59 or (second or 0) > 60:
        raise ValueError(text)
    clock = (hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)
    return (date.toordinal() * 86_400 + clock) * SECOND + int((found[8] or "").ljust(9, "0")[:9])


def written(at: int) -> str:
    """Write such a time for a request."""
    seconds, rest = divmod(at, SECOND)
    day = dt.datetime.fromordinal(seconds // 86_400) + dt.timedelta(seconds=seconds % 86_400)
    return f"{day.isoformat()}.{rest:09d}Z"


def seconds(duration: str) -> float | None:
    """Read a duration of ISO 8601, about; None: it is none."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        return None
    return sum(float(one) * length for one, length in zip(found.groups(), _LENGTHS, strict=True) if one)


def read(answer: Answer) -> dict[str, Any]:
    """Read a document.

    Raises
    ------
    NotJson
        It is no JSON object.
    """
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise NotJson(f"status {answer.status}, and no JSON: {error}") from error
    if not isinstance(found, dict):
        raise NotJson(f"status {answer.status}, and no JSON object")
    return found


def code_of(answer: Answer) -> int | None:
    """Find HAPI's own code in a document; None: there is none."""
    try:
        said = read(answer).get("status")
    except NotJson:
        return None
    code = said.get("code") if isinstance(said, dict) else None
    return code if isinstance(code, int) else None


class Server:
    """Everything that checks may ask about.

    Raises
    ------
    Unjudgeable
        There is no HAPI server.
    """

    protocol = "hapi"

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.client = Client(url, limits)
        self.looked: list[Looked] = []
        self.version = ""
        try:
            self.first = self.ask("capabilities")
            self.version = str(read(self.first).get("HAPI", ""))
        except UserError as error:
            raise Unjudgeable(f"{self.url}/capabilities: {error.message}", remedy=error.remedy) from error
        if not re.fullmatch(r"\d+\.\d+", self.version):
            raise Unjudgeable(f"{self.url}/capabilities does not say which HAPI it is", remedy="give the address that ends in /hapi")  # fmt: skip

    @property
    def at_least(self) -> tuple[int, ...]:
        """Its version, to compare."""
        return tuple(map(int, self.version.split(".")))

    def ask(self, endpoint: str, **given: str) -> Answer:
        """Ask an endpoint, with the names of the server's version."""
        names = OLD if self.version[:2] in {"1.", "2."} else {}
        return self.client.get(f"{self.url}/{endpoint}", [(names.get(name, name), one) for name, one in given.items()])

    @cached_property
    def formats(self) -> list[str]:
        """The formats of data that it declares."""
        found = read(self.first).get("outputFormats")
        return [str(one) for one in found] if isinstance(found, list) else []
