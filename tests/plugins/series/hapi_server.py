"""A HAPI server to inject faults into, on the standard library; it shares no code with Hven."""

from __future__ import annotations

import datetime as dt
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

OLD_PARAMETER_NAMES = {"id": "dataset", "time.min": "start", "time.max": "stop"}
PARAMETERS_BY_ENDPOINT = {
    "about": set[str](), "capabilities": set[str](), "catalog": {"depth", "resolve_references"},
    "info": {"dataset", "parameters", "resolve_references"}, "data": {"dataset", "parameters", "start", "stop", "include", "format"},
}  # fmt: skip
FIRST_INSTANT = dt.datetime(2003, 10, 28, tzinfo=dt.UTC)
CORS = {"Access-Control-Allow-Origin": "*"}


@dataclass
class HapiAnswer:
    """An answer, which a fault may change before it is sent."""

    status: int = 200
    kind: str = "application/json"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: dict(CORS))

    def edit(self, change: Callable[[Any], object]) -> None:
        """Change a JSON document."""
        document = json.loads(self.body)
        change(document)
        self.body = json.dumps(document).encode()


class HapiError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class HapiServer:
    """Samples every 4 s: a number, a spectrum, a text and a counter.

    `alter_answer` changes an answer before it is sent.
    """

    version: str = "3.3"
    rows: int = 100
    samples: list[list[Any]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    alter_answer: Callable[[str, dict[str, str], HapiAnswer], object] = lambda _endpoint, _given, _answer: None

    def __post_init__(self) -> None:
        if not self.samples:
            self.samples = [
                [self.format_time(at), at / 4 if at % 7 else None, [at, at + 0.5, -at], f"a,{at % 3}", at]
                for at in range(self.rows)
            ]
        self.info = self.info or {
            "startDate": self.format_time(0), "stopDate": self.format_time(self.rows), "cadence": "PT4S", "description": "rays",
            "parameters": [
                {"name": "Time", "type": "isotime", "length": 24, "units": "UTC", "fill": None},
                {"name": "flux", "type": "double", "units": "W", "fill": "-1e31"},
                {"name": "spectrum", "type": "double", "units": None, "fill": "NaN", "size": [3], "bins": [{"name": "f", "units": "MHz", "centers": [1, 2, 3]}]},
                {"name": "flag", "type": "string", "length": 4, "units": None, "fill": ""},
                {"name": "count", "type": "integer", "units": None, "fill": "-1"},
            ],
        }  # fmt: skip

    @staticmethod
    def format_time(at: int) -> str:
        return (FIRST_INSTANT + dt.timedelta(seconds=4 * at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def build_header(self, code: int = 1200) -> dict[str, Any]:
        return {"HAPI": self.version, "status": {"code": code, "message": "OK" if code < 1400 else "error"}}

    def answer(self, method: str, endpoint: str, pairs: list[tuple[str, str]]) -> HapiAnswer:
        """Answer as the standard requires, then alter the answer."""
        given: dict[str, str] = {}
        answer = HapiAnswer()
        try:
            for name, value in pairs:
                given[OLD_PARAMETER_NAMES.get(name, name)] = value
            self.requests.append((endpoint, given))
            self._answer(endpoint if method == "GET" else method, given, answer)
        except HapiError as error:
            answer.status = 404 if error.code in {1406, 1407} else 400
            answer.kind, answer.body = "application/json", json.dumps(self.build_header(error.code)).encode()
        self.alter_answer(endpoint, given, answer)
        return answer

    def _answer(self, endpoint: str, given: dict[str, str], answer: HapiAnswer) -> None:
        if endpoint not in PARAMETERS_BY_ENDPOINT:
            raise HapiError(1400)
        if not given.keys() <= PARAMETERS_BY_ENDPOINT[endpoint]:
            raise HapiError(1401)
        if given.get("resolve_references", "true") not in {"true", "false"}:
            raise HapiError(1412)
        if given.get("depth", "all") not in {"all", "dataset"}:
            raise HapiError(1413)
        more: dict[str, Any] = {}
        if endpoint == "about":
            more = {"id": "test", "title": "Test", "contact": "a@b.example"}
        elif endpoint == "capabilities":
            more = {"outputFormats": ["csv", "binary", "json"], "catalogDepthOptions": ["dataset", "all"]}
        elif endpoint == "catalog":
            more = {"catalog": [{"id": "rays", **({"info": self.info} if given.get("depth") == "all" else {})}]}
        else:
            places = self._select_parameters(given)
            more = {**self.info, "parameters": [self.info["parameters"][at] for at in places]}
            if endpoint == "data":
                self._fill_data(given, answer, places, more)
                return
        answer.body = json.dumps({**self.build_header(), **more}).encode()

    def _select_parameters(self, given: dict[str, str]) -> list[int]:
        if "dataset" not in given:
            raise HapiError(1400)
        if given["dataset"] != "rays":
            raise HapiError(1406)
        names = [one["name"] for one in self.info["parameters"]]
        if not given.get("parameters"):
            return list(range(len(names)))
        wanted = given["parameters"].split(",")
        if not set(wanted) <= set(names):
            raise HapiError(1407)
        places = [names.index(name) for name in wanted]
        if sorted(set(places)) != places:
            raise HapiError(1411)
        return [0, *(at for at in places if at)]

    def _fill_data(self, given: dict[str, str], answer: HapiAnswer, places: list[int], info: dict[str, Any]) -> None:
        moments = []
        for name, code in (("start", 1402), ("stop", 1403)):
            try:
                moments.append(dt.datetime.fromisoformat(given[name][:26].rstrip("Z")).replace(tzinfo=dt.UTC))
            except (KeyError, ValueError):
                raise HapiError(code) from None
        if given["start"] >= given["stop"]:
            raise HapiError(1404)
        if moments[0] < FIRST_INSTANT or moments[1] > FIRST_INSTANT + dt.timedelta(seconds=4 * self.rows):
            raise HapiError(1405)
        kind = given.get("format", "csv")
        if kind not in {"csv", "binary", "json"}:
            raise HapiError(1409)
        if given.get("include", "header") != "header":
            raise HapiError(1410)
        low, high = (one.isoformat(timespec="milliseconds").replace("+00:00", "Z") for one in moments)
        later = given["start"].rstrip("0Z").rstrip(".") > low.rstrip("0Z").rstrip(".")
        rows = [
            [row[at] for at in places]
            for row in self.samples
            if (low < row[0] if later else low <= row[0]) and row[0] < high
        ]
        head = {**self.build_header(1200 if rows else 1201), **info, "format": kind}
        answer.kind = {"csv": "text/csv", "binary": "application/octet-stream", "json": "application/json"}[kind]
        lines = (
            "".join(f"#{line}\n" for line in json.dumps(head, indent=1).splitlines()) if given.get("include") else ""
        )
        if kind == "json":
            data = [
                [
                    float(one["fill"]) if cell is None else cell
                    for cell, one in zip(row, info["parameters"], strict=True)
                ]
                for row in rows
            ]
            answer.body = json.dumps({**head, "data": data}).encode()
        elif kind == "csv":
            answer.body = (lines + "".join(",".join(self._format_cell(cell, one) for cell, one in zip(row, info["parameters"], strict=True)) + "\n" for row in rows)).encode()  # fmt: skip
        else:
            answer.body = lines.encode() + b"".join(self._pack_record(row, info["parameters"]) for row in rows)

    def _format_cell(self, cell: Any, one: dict[str, Any]) -> str:
        if isinstance(cell, list):
            return ",".join(self._format_cell(each, one) for each in cell)
        if cell is None:
            return str(one["fill"])
        return f'"{cell}"' if "," in str(cell) else str(cell)

    def _pack_record(self, row: list[Any], listed: list[dict[str, Any]]) -> bytes:
        found = b""
        for cell, one in zip(row, listed, strict=True):
            for each in cell if isinstance(cell, list) else [cell]:
                value = one["fill"] if each is None else each
                if one["type"] in {"double", "integer"}:
                    found += struct.pack(
                        "<d" if one["type"] == "double" else "<i",
                        float(value) if one["type"] == "double" else int(value),
                    )
                else:
                    found += str(value).encode().ljust(one["length"], b"\0")
        return found


@contextmanager
def serve(world: HapiServer) -> Iterator[str]:
    """Serve on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            endpoint = parts.path.removeprefix("/hapi").strip("/")
            answer = world.answer(self.command, endpoint, parse_qsl(parts.query, keep_blank_values=True))
            self.send_response(answer.status)
            for name, value in {
                **answer.headers,
                "Content-Type": answer.kind,
                "Content-Length": str(len(answer.body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hapi"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


__all__ = ["HapiAnswer", "HapiServer", "serve"]
