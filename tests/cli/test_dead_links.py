"""``hven check --links``: dead links are told with their place, row and remedy; servers elsewhere are asked a little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

DESCRIPTOR = """\
collection: maps
title: Maps
created: 2026-01-01
let: {{there: "{there}"}}
files: [data/*]
tables:
  main:
    source: maps.csv
    primary: [id]
    columns: {{id: {{type: string, ucd: "meta.id;meta.main"}}, fits: string, page: string}}
    links:
      - {{semantics: this, file: "{{target.fits}}"}}
      - semantics: preview
        from: previews
        where: previews.map = target.id
        text: "https://vo.example/collections/maps/files/{{previews.png}}"
      - {{semantics: documentation, text: "{{there}}/{{target.page}}"}}
      - {{semantics: auxiliary, text: "ftp://old.example/{{target.id}}"}}
  previews:
    source: previews.csv
    columns: {{map: string, png: string}}
"""


class Pages(BaseHTTPRequestHandler):
    """Knows ``good`` and, by GET alone, ``shy``; ``moved`` leads to ``good``, ``sick`` has its troubles."""

    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        name = self.path.strip("/")
        status = {"good": 200, "shy": 405 if self.command == "HEAD" else 206, "moved": 302, "sick": 500}.get(name, 404)
        self.send_response(status)
        if name == "moved":
            self.send_header("Location", "/good")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815  (the name that the library asks for)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_dead_links_are_reported(page_server: str, tmp_path: Path) -> None:
    folder = tmp_path / "collections/maps"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\nallow_private = true\n')
    (folder / "maps.yaml").write_text(DESCRIPTOR.format(there=page_server))
    (folder / "maps.csv").write_text(
        "id,fits,page\na,data/a.fits,good\nb,data/b.fits,shy\nc,data/none.fits,moved\nd,data/a.fits,lost\ne,data/a.fits,sick\nf,,lost\n"
    )
    (folder / "previews.csv").write_text("map,png\na,data/a.png\na,data/a.png\nb,data/a.png\n")
    for name in ("a.fits", "b.fits", "a.png"):
        (folder / "data" / name).write_text("1")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "maps")
    (folder / "data/b.fits").unlink()
    done = run_hven("check", "maps", "--links", "--site", str(tmp_path), expected_code=1)
    place = "collections/maps/maps.yaml"
    told = done.stdout.splitlines()
    assert told[:5] == [
        f"{place}:12:27: the collection does not have this file, or no longer has it (row c); restore the file, or correct the template",
        f"{place}:12:27: the file data/b.fits is published, but does not exist (row b); restore the file, or ingest the collection again",
        f"warning: {place}:16:9: two '#preview' links of the row point to https://vo.example/collections/maps/files/data/a.png (row a); select the linked rows more precisely, with `where` or `if`",
        f"{place}:17:36: {page_server}/lost: its server returned status 404 (row d); correct the template or the address",
        f"warning: {place}:17:36: {page_server}/sick: its server returned status 500 (row e); correct the template or the address",
    ]
    assert (
        "maps: 23 links, 5 of 5 addresses on other sites tried, 6 of other kinds (such as ftp) not tried" in done.stderr
    )
    assert sorted(Pages.asked) == sorted(
        ["HEAD /good", "HEAD /shy", "GET /shy", "HEAD /moved", "HEAD /good", "HEAD /lost", "HEAD /sick"]
    )
