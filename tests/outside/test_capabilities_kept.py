"""What the capabilities promise of formats and limits, read from the document of a running service and tried in every format, both modes and each upload method."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from lxml import etree

from hven.testing.site import open_tiny_site
from process_runner import Server, run_hven, serve_site, wait_until
from storage_engines import EMBEDDED, SiteEngine, use_engines

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

ROWS = 60
QUERY = "SELECT id, word FROM s.t"
TOML = """\
name = "narrow"
allow_private = true
[limits]
maxrec_default = 10
maxrec_hard = 25
upload = 3000
[jobs]
seconds = 200
seconds_hard = 400
keep_days = 2
keep_days_hard = 3
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keeper: SiteEngine) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("promises") / "site"
    run_hven("init", directory)
    (directory / "hven.toml").write_text(TOML)
    keeper.write_settings(directory)
    with open_tiny_site(
        directory, {"s.t": pa.table({"id": list(range(ROWS)), "word": ["Ω"] * ROWS})}, **keeper.read_options(directory)
    ):
        pass
    with serve_site(directory, workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def tap_capability(server: Server) -> etree._Element:
    status, _, body = server.get("/tap/capabilities")
    assert status == 200
    (found,) = etree.fromstring(body).xpath("capability[@standardID='ivo://ivoa.net/std/TAP']")
    return found


def bounds(tap_capability: etree._Element, name: str) -> tuple[int, int]:
    return tuple(int(tap_capability.findtext(f"{name}/{which}")) for which in ("default", "hard"))  # type: ignore[return-value]


def ask_by_job(server: Server, **params: object) -> tuple[dict[str, str], bytes]:
    status, headers, _ = server.post("/tap/async", LANG="ADQL", QUERY=QUERY, PHASE="RUN", **params)
    assert status == 303
    job = headers["location"].removeprefix(server.url)
    wait_until(lambda: server.get(f"{job}/phase")[2] == b"COMPLETED")
    status, headers, body = server.get(f"{job}/results/result")
    assert status == 200
    return headers, body


def ask_sync(server: Server, **params: object) -> tuple[dict[str, str], bytes]:
    status, headers, body = server.post("/tap/sync", LANG="ADQL", QUERY=QUERY, **params)
    assert status == 200
    return headers, body


def read_votable(body: bytes) -> tuple[int, bool | None]:
    said = [item.get("value") for item in etree.fromstring(body).iterfind(".//{*}INFO[@name='QUERY_STATUS']")]
    return len(parse(io.BytesIO(body)).get_first_table().array), said == ["OK", "OVERFLOW"]


def read_fits(body: bytes) -> tuple[int, bool | None]:
    with fits.open(io.BytesIO(body)) as found:
        return len(found[1].data), "OVERFLOW" in str(found[1].header.get("COMMENT", ""))


def read_json(body: bytes, rows: str = "data") -> tuple[int, bool | None]:
    found = json.loads(body)
    return len(found[rows]), found["status"] == "OVERFLOW"


def read_text(body: bytes) -> tuple[int, bool | None]:
    return body.decode().count("Ω"), "OVERFLOW" in body.decode() or "more rows" in body.decode()


def read_delimited(body: bytes, delimiter: str) -> tuple[int, bool | None]:
    return len(list(csv.reader(io.StringIO(body.decode()), delimiter=delimiter))) - 1, None  # no place to say it


def read_parquet(body: bytes) -> tuple[int, bool | None]:
    file = pq.ParquetFile(io.BytesIO(body))
    return file.metadata.num_rows, b"OVERFLOW" in b"".join(file.metadata.metadata.values())


def read_tfcat(body: bytes) -> tuple[int, bool | None]:
    return len(json.loads(body)["features"]), None  # its schema knows no word for it


READERS: dict[str, Callable[[bytes], tuple[int, bool | None]]] = {
    "application/x-votable+xml": read_votable,
    "application/vnd.apache.arrow.stream": lambda body: (pa.ipc.open_stream(body).read_all().num_rows, None),
    "text/csv": functools.partial(read_delimited, delimiter=","),
    "text/tab-separated-values": functools.partial(read_delimited, delimiter="\t"),
    "application/fits": read_fits,
    "application/json": read_json,
    "application/geo+json": functools.partial(read_json, rows="features"),
    "application/x-tfcat+json": read_tfcat,
    "application/vnd.apache.parquet": read_parquet,
    "text/plain": read_text,
}


def formats(tap_capability: etree._Element) -> list[tuple[str, str]]:
    found = [
        (form.findtext("mime"), name.text)
        for form in tap_capability.iterfind("outputFormat")
        for name in (*form.iterfind("mime"), *form.iterfind("alias"))
    ]
    assert {mime.partition(";")[0] for mime, _ in found} == set(READERS)
    return found


def test_every_format_is_given_and_none_goes_beyond_the_limits(server: Server, tap_capability: etree._Element) -> None:
    check_every_format(server, tap_capability, ask_sync)


@use_engines(EMBEDDED)
def test_jobs_give_every_format_and_none_goes_beyond_the_limits(server: Server, tap_capability: etree._Element) -> None:
    check_every_format(server, tap_capability, ask_by_job)


def check_every_format(
    server: Server, tap_capability: etree._Element, mode: Callable[..., tuple[dict[str, str], bytes]]
) -> None:
    default, hard = bounds(tap_capability, "outputLimit")
    assert (default, hard) == (10, 25)
    for mime, name in formats(tap_capability):
        for maxrec, rows in ((None, default), (3, 3), (10**12, hard)):
            headers, body = mode(server, RESPONSEFORMAT=name, **({} if maxrec is None else {"MAXREC": maxrec}))
            # TFCat has no type of its own among the registered ones: answers are sent as what all programs know
            kinds = {mime.partition(";")[0], *(["application/json"] if name == "tfcat" else [])}
            assert headers["content-type"].partition(";")[0] in kinds
            found, overflow = READERS[mime.partition(";")[0]](body)
            assert (found, overflow) in {(rows, True), (rows, None)}, (name, maxrec)


@use_engines(EMBEDDED)
def test_jobs_are_kept_and_run_for_as_long_as_is_said(server: Server, tap_capability: etree._Element) -> None:
    for element, name, default_of in (
        ("executionDuration", "EXECUTIONDURATION", None),
        ("retentionPeriod", "DESTRUCTION", dt.timedelta),
    ):
        default, hard = bounds(tap_capability, element)
        _, headers, _ = server.post("/tap/async", LANG="ADQL", QUERY=QUERY)
        job = headers["location"].removeprefix(server.url)

        def seconds(job: str = job, name: str = name, is_time: bool = default_of is not None) -> float:
            text = server.get(f"{job}/{name.lower()}")[2].decode()
            return (
                (dt.datetime.fromisoformat(text) - dt.datetime.now(dt.UTC)).total_seconds() if is_time else float(text)
            )

        assert seconds() == pytest.approx(default, abs=30)
        beyond = (dt.datetime.now(dt.UTC) + dt.timedelta(days=400)).isoformat() if default_of else str(hard * 10)
        assert server.post(f"{job}/{name.lower()}", **{name: beyond})[0] == 303
        assert seconds() == pytest.approx(hard, abs=30)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"x\n" + b"1\n" * int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@use_engines(EMBEDDED)
@pytest.mark.parametrize("resource", ["/tap/sync", "/tap/async"])
def test_uploads_are_taken_up_to_the_limit_by_each_method(
    server: Server, tap_capability: etree._Element, resource: str
) -> None:
    methods = {item.get("ivo-id").partition("#upload-")[2] for item in tap_capability.iterfind("uploadMethod")}
    assert methods == {"inline", "http", "https"}  # of https: test_bad_input
    limit, hard = bounds(tap_capability, "uploadLimit")
    assert limit == hard == 3000
    far = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=far.serve_forever, args=(0.05,))
    thread.start()

    def outcome(method: str, rows: int) -> int:
        uri = "param:p" if method == "inline" else f"http://127.0.0.1:{far.server_port}/{rows}"
        given = {
            "LANG": "ADQL",
            "QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t",
            "RESPONSEFORMAT": "csv",
            "UPLOAD": f"t,{uri}",
            "PHASE": "RUN",
        }
        parts = [(f'name="{name}"', value.encode()) for name, value in given.items()]
        parts += [('name="p"; filename="p"', b"x\n" + b"1\n" * rows)] if method == "inline" else []
        body = (
            b"".join(
                f"--B\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode() + value + b"\r\n"
                for said, value in parts
            )
            + b"--B--\r\n"
        )
        status, headers, answer = server.send(
            "POST", resource, body, {"Content-Type": "multipart/form-data; boundary=B"}
        )
        if status != 303:
            return int(answer.split()[1]) if status == 200 else -status
        job = headers["location"].removeprefix(server.url)
        wait_until(lambda: server.get(f"{job}/phase")[2] in {b"COMPLETED", b"ERROR"})
        if server.get(f"{job}/phase")[2] == b"ERROR":
            assert b"3,000 bytes" in server.get(f"{job}/error")[2]
            return -413
        return int(server.get(f"{job}/results/result")[2].split()[1])

    try:
        for method in ("inline", "http"):
            assert outcome(method, (limit - 2) // 2) == (limit - 2) // 2
            assert outcome(method, (limit - 2) // 2 + 1) == -413
    finally:
        far.shutdown()
        far.server_close()
        thread.join()
