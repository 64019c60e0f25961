"""Pushes: a line of a night log, from its POST until every worker's TAP has it, and 10^5 rows at once, into a table that has as many."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from bench.measure import Journey, Server, against, serve_site
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

ROWS, LINES = 100_000, 15
WORKERS = 2
SOON, MANY = 1.0, 3.0  # seconds
TEXT = """\
collection: night
title: A night log
tables:
  lines:
    source:
      kind: push
      columns: {id: int64, written: timestamp, observer: string, object: string, ra: float64, dec: float64, seeing: float32, note: string}
      ids: id
      writers: [anna]
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      written: {type: timestamp, required: true, indexed: true}
      observer: string
      object: string
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      seeing: {type: float32, unit: arcsec, minimum: 0, maximum: 20}
      note: string
"""


def run(only: str) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if "push" not in plugins.list_plugins("sources") or not any(
        only in f"sources.push.{name}" for name in ("line", "rows")
    ):
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with open_site_with_uningested_files(place, TEXT) as site:
            token = _prepare_site(site)
        (place / "hven.toml").write_text('name = "Night"\n')
        with serve_site(place) as server:
            writer = _Writer(server, token)
            first, second = (writer.measure_post(_rows(number), "text/csv") for number in range(2))
            if only in "sources.push.rows":
                note = f"{ROWS:,} rows of 8 columns as CSV into a table of as many; into an empty one {first:.2f} s"
                yield against("sources.push.rows", second, MANY, 1.0, unit="s", note=note)
            if only in "sources.push.line":
                taken = [writer.line(number) for number in range(LINES)]
                note = f"median of {LINES}, until {WORKERS} workers have it; a table of {2 * ROWS:,} rows; the longest {max(taken):.2f} s"
                yield against("sources.push.line", statistics.median(taken), SOON, 1.0, unit="s", note=note)


def _prepare_site(site: Site) -> str:
    ingest_collection(site, "night")
    return site.store.users.add_account("anna")


def _rows(number: int) -> bytes:
    lines = (
        f"2026-11-{1 + n % 28:02}T{n % 24:02}:{n % 60:02}:{number:02},observer {n % 9},star {n},{n % 360}.5,{n % 90}.5,{n % 20}.25,a note {n}"
        for n in range(ROWS)
    )
    return "\n".join(itertools.chain(["written,observer,object,ra,dec,seeing,note"], lines)).encode()


class _Writer:
    """Who sends rows, and looks where they are."""

    def __init__(self, server: Server, token: str) -> None:
        self._port = server.port
        self._headers = {"authorization": f"Bearer {token}"}

    def measure_post(self, body: bytes, media: str) -> float:
        """Count the seconds of a POST."""
        begun = time.perf_counter()
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        link.request(
            "POST", "/push/night.lines", body, {**self._headers, "content-type": media, "prefer": "return=minimal"}
        )
        answer = link.getresponse()
        if answer.status != 201:
            raise AssertionError(answer.read()[:500])
        link.close()
        return time.perf_counter() - begun

    def line(self, number: int) -> float:
        """Count the seconds from a POST until TAP has the row, however often it is asked: by whatever worker."""
        name = f"object {number}"
        begun = time.perf_counter()
        self.measure_post(
            json.dumps({"written": "2026-11-23T20:00:00", "object": name, "seeing": 1.5}).encode(), "application/json"
        )
        query = urlencode(
            {
                "LANG": "ADQL",
                "RESPONSEFORMAT": "csv",
                "QUERY": f"SELECT COUNT(*) FROM night.lines WHERE object = '{name}'",
            }
        )
        row = times = 0
        last = begun
        while times < 8 * WORKERS:  # a connection each: the kernel gives them to either
            link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
            link.request("GET", f"/tap/sync?{query}")
            there = link.getresponse().read().split()[1:] == [b"1"]
            link.close()
            if there and not times:
                last = time.perf_counter()
            times = times + 1 if there else 0
            row += 1
            if row > 10_000:
                raise AssertionError("it never came")
        return last - begun
