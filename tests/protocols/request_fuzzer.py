"""Send invalid values to all routes of an application, in the parameters that each route reads."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, quote_from_bytes, unquote

from asgi_client import find_router
from starlette.datastructures import FormData, QueryParams
from starlette.routing import Route

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.params import Param, RequestParams
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import load_core_fixtures

DESCRIPTOR = """\
collection: odd
title: A table with a column of each type
tables:
  main:
    primary: [id]
    position: [ra, dec]
    source: {kind: csv, files: a.csv}
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      seen: {type: timestamp, ucd: time.start}
      mjd: {type: float64, unit: d, ucd: time.start}
      name: {type: string, ucd: meta.id}
      small: {type: int16}
      single: {type: float32, unit: mag}
      flag: {type: bool}
    obscore:
      set: {dataproduct_type: image, calib_level: 2}
      map: {target_name: name, t_min: mjd, t_max: mjd + 1}
"""
ROWS = "id,ra,dec,seen,mjd,name,small,single,flag\n" + "".join(
    f"{n},{n * 3.5 % 360},{n % 90 - 45},20{n % 30:02}-03-04T05:06:07,{50_000 + n},star {n % 7},{n % 100},{n / 7},{n % 2}\n"
    for n in range(200)
)
PATH_VALUES = {
    "name": ["odd", "TAP_SCHEMA", "ivoa"],
    "table": ["main", "obscore", "nothing"],
    "kind": ["obscore", "epn"],
}
TABLE_NAMES = ["odd.main", "ivoa.obscore", "nothing"]  # tables, where the address has no collection
QUERY = b"LANG=ADQL&QUERY=SELECT+TOP+9+*+FROM+odd.main"
VALID_QUERIES = {  # what an address needs to answer with more than a fault
    "/tap/sync": QUERY, "/tap/async": QUERY, "/cone/{table}": b"RA=10&DEC=10&SR=1", "/collections/{name}/{table}/histogram": b"_x=single",
    "/collections/{name}/{table}/points": b"_x=single&_y=mjd", "/collections/{name}/{table}/facets": b"_of=name", "/login": b"name=a&token=b&next=c",
    "/collections/{name}/{table}/header": b"id=1", "/collections/{name}/{table}/row": b"id=1", "/collections/{name}/{table}/place": b"id=1",
    **load_core_fixtures("VALID_QUERIES"),
}  # fmt: skip
# the edges of what a value may be: dates, numbers, texts, bytes that are no text
DATES = [
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "0000-01-01",
    "-0001-01-01",
    "-4713-11-24",
    "-99999-01-01",
    "2016-12-31T23:59:60",
    "9999-12-31T23:59:60.999999999Z",
    "0001-01-01T00:00:00+14:00",
    "2015-02-29",
    "2020-13-45T25:61:61",
    "0001-01-01/9999-12-31",
    "/0001-01-01",
    "9999-12-31/",
    "2020-01-01/2019-01-01",
    "262143-01-01",
    "..",
    "/",
    "~",
    "now",
]
NUMBERS = [
    "NaN", "inf", "-inf", "1e400", "-1e400", "1e-400", "-0", "9" * 400, "-" + "9" * 5000, "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "18446744073709551616", "2147483648", "0x10", "1_000", "\uff11\uff12", "1..2", "..1", "+", "1e", "1e308/1e309", "-1", "0", "NaN NaN", "inf/inf", "10/350", "360.0000001",
    "1 h", "1e400 h", "0 s", "NaN,id", "1e-320 h,id",
]  # fmt: skip
TEXTS = [
    "", " ", "'", '"', "\\", "%", "*", "?", "[", "{", "(", "\r\nX-Odd: y", "\u2028", "\u202e\U0001f4a5", "x" * 100_000, "(" * 20_000, "," * 20_000, "/" * 2_000, "é" * 50_000,
    "<script>", "CIRCLE 1 2 1e400", "CIRCLE NaN NaN NaN", "POLYGON 0 0", "POLYGON" + " 0 0" * 30_000, "RANGE 350 10 -90 90", "BOX", "true", "null", "odd.main", "../../etc/passwd", "id", "-id", "id,id",
    "SELECT * FROM odd.main", "votable", "text/html;q=nan", "application/x-votable+xml;serialization=odd",
]  # fmt: skip
BYTES = [b"\0", b"a\0b", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xff\xfe", b"\xf0\x9f"]
VALUES = [*(text.encode() for text in (*DATES, *NUMBERS, *TEXTS)), *BYTES]
COLUMN_PARAMETERS = (
    "id",
    "ra",
    "dec",
    "seen",
    "mjd",
    "name",
    "small",
    "single",
    "flag",
    "_xyz",
    "name[]",
    "ID",
    "t_min",
    "target_name",
)
ACCEPT = ("*/*", "text/html", "application/json")
TIMEOUT_SECONDS = 30.0  # seconds; only what hangs takes as long


def build_site(directory: Path) -> Site:
    """Publish a table with a column of each type."""
    site = open_site_with_uningested_files(directory, DESCRIPTOR, {"a.csv": ROWS})
    ingest_collection(site, "odd")
    site.refresh_published_state()
    return site


@dataclass
class RequestFuzzer:
    """Send requests to the application of a site, on an event loop of its own.

    Attributes
    ----------
    names
        The parameters that each route reads, by its path.
    slowest
        Seconds and request.
    """

    site: Site
    names: dict[str, set[str]] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    count: int = 0
    _words: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = create_and_start_application(self.site)
        self.loop = asyncio.new_event_loop()
        paths = [route for route in find_router(self.app).routes if isinstance(route, Route)]
        self.routes = [route for route in paths if not route.path.endswith("/") or route.path == "/"]
        self._learn_parameters()

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def _learn_parameters(self) -> None:
        """Send valid requests to find the parameters that each route reads."""
        _, headers, _ = self._send("POST", "/tap/async", QUERY)
        self._words = {**PATH_VALUES, "job": [headers[b"location"].decode().rpartition("/")[2], "nothing"]}
        for route in self.routes:
            asked = self.names.setdefault(
                route.path,
                {pair.partition("=")[0] for pair in VALID_QUERIES.get(route.path, b"").decode().split("&") if pair},
            )
            with _record_parameter_names(asked.add):
                for method in sorted((route.methods or {"GET"}) - {"DELETE"}):
                    self._send(method, self._fill_path(route.path), VALID_QUERIES.get(route.path, b""))

    def _fill_path(self, path: str, chance: random.Random | None = None) -> str:
        """Fill the parameters of a path with valid values, and sometimes with random ones."""

        def part(found: re.Match[str]) -> str:
            words = (
                TABLE_NAMES
                if found[1] == "table" and "{name}" not in path
                else self._words.get(found[1], ["index", "1"])
            )
            if chance is None or chance.random() < 0.8:
                return words[0] if chance is None or chance.random() < 0.7 else chance.choice(words)
            value = chance.choice(VALUES)[: chance.choice([20, 300])]
            return quote(value.decode("utf-8", "replace"), safe="/" if chance.random() < 0.1 else "")

        return re.sub(r"\{(\w+)(?::\w+)?\}", part, path)

    def run_rounds(self, numbers: Iterable[int]) -> list[str]:
        """Send one random request to each route in each round; return the faults."""
        found = []
        for number in numbers:
            for route in self.routes:
                chance = random.Random(f"{number} {route.path}")
                words = self.list_parameters(route.path)
                given = [_draw_pair(words, chance) for _ in range(chance.choice([1, 1, 2, 4]))]
                method = chance.choice(sorted(route.methods or {"GET"}))
                query = _replace_pairs(VALID_QUERIES.get(route.path, b"") if chance.random() < 0.7 else b"", given)
                wrong = self.ask(method, self._fill_path(route.path, chance), query, chance.choice(ACCEPT))
                found += [f"round {number}: {wrong}"] if wrong else []
        return found

    def try_edge_values(self, routes: Iterable[Route]) -> list[str]:
        """Send each extreme value in each parameter of the routes and in the columns of a table; return the faults."""
        found = []
        for route in routes:
            for word in self.list_parameters(route.path):
                for value in VALUES:
                    query = _replace_pairs(
                        VALID_QUERIES.get(route.path, b""),
                        [quote(word).encode() + b"=" + quote_from_bytes(value).encode()],
                    )
                    found.append(self.ask(min(route.methods or {"GET"}), self._fill_path(route.path), query))
        return [wrong for wrong in found if wrong]

    def list_parameters(self, path: str) -> list[str]:
        """List the parameters that may mean something to a route."""
        return sorted(
            {*self.names.get(path, ()), *(COLUMN_PARAMETERS if "{table}" in path or "{kind}" in path else ("_xyz",))}
        )

    def ask(self, method: str, path: str, query: bytes, accept: str = "*/*") -> str:
        """Send a request; return what is wrong with the answer, or an empty text."""
        self.count += 1
        begun = time.perf_counter()
        request = f"{method} {path}?{query.decode()[:400]} ({accept})"
        try:
            status, _, text = self._send(method, path, query, accept)
        except Exception as error:  # noqa: BLE001  (whatever it is: none may come out)
            return f"{request}: {type(error).__name__}: {error}"
        self.slowest = max(self.slowest, (time.perf_counter() - begun, request[:200]))
        # OWS Common 2.0 (8.6) asks for 501 where an operation is unknown
        is_unknown_operation = status == 501 and b"OperationNotSupported" in text
        if (status >= 500 and not is_unknown_operation) or b"Traceback" in text or b"lease report" in text:
            return f"{request}: {status}: {text[:300]!r}"
        return ""

    def _send(self, method: str, path: str, query: bytes, accept: str = "*/*") -> tuple[int, dict[bytes, bytes], bytes]:
        body = query if method in {"POST", "PUT"} else b""
        return self.loop.run_until_complete(
            asyncio.wait_for(self._send_async(method, path, b"" if body else query, body, accept), TIMEOUT_SECONDS)
        )

    async def _send_async(
        self, method: str, path: str, query: bytes, body: bytes, accept: str
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[dict[str, Any]] = []
        over = asyncio.Event()
        given = [body]

        async def receive() -> dict[str, Any]:
            if given:
                return {"type": "http.request", "body": given.pop(), "more_body": False}
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [
            (b"host", b"vo.example"),
            (b"accept", accept.encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": unquote(path), "raw_path": path.encode(), "root_path": "",
            "query_string": query, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "extensions": {},
        }  # fmt: skip
        await self.app(scope, receive, send)  # type: ignore[arg-type]
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def _replace_pairs(good: bytes, given: list[bytes]) -> bytes:
    """Replace pairs of the same names."""
    names = {pair.partition(b"=")[0] for pair in given}
    return b"&".join([*(pair for pair in good.split(b"&") if pair and pair.partition(b"=")[0] not in names), *given])


def _draw_pair(words: list[str], chance: random.Random) -> bytes:
    name = quote(chance.choice(words)).encode()
    if chance.random() < 0.03:
        return name
    value = chance.choice(VALUES)
    if chance.random() < 0.2:
        value = value[:40] + chance.choice([b"", b"/", b",", b" ", b";"]) + chance.choice(VALUES)[:40]
    return name + b"=" + quote_from_bytes(value).encode()


@contextmanager
def _record_parameter_names(hear: Callable[[str], object]) -> Iterator[None]:
    """Record the name of each parameter that is read."""

    def heard(kind: type, way: str) -> Any:
        plain = getattr(kind, way)

        def call_and_record(self: Any, name: str, *args: Any, **options: Any) -> Any:
            hear(name)
            return plain(self, name, *args, **options)

        return mock.patch.object(kind, way, call_and_record)

    def check_and_record(self: RequestParams, known: Iterable[Param]) -> None:
        params = list(known)
        for param in params:
            hear(param.name)
        check(self, params)

    check = RequestParams.check_values
    ways = [
        mock.patch.object(RequestParams, "check_values", check_and_record),
        *(heard(RequestParams, way) for way in ("read_one", "read_all", "read_number", "read_integer")),
    ]
    ways += [
        heard(kind, way)
        for kind in (QueryParams, FormData)
        for way in ("get", "getlist", "__getitem__", "__contains__")
        if way in dir(kind)
    ]
    for way in ways:
        way.start()
    try:
        yield
    finally:
        for way in ways:
            way.stop()
