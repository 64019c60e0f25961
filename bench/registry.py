"""The publishing registry of 1,000 collections: lists, what a change costs, memory; and how soon a site of 200 answers. Beside them, the same records read from the state and joined, and a state that nobody serves."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.measure import CACHE, Journey, Server, against, ask, median, pss, serve_site, spent
from hven import descriptor
from hven.model import settings
from hven.site import Site
from hven.testing.site import publish_rows

NAMES = (
    "registry.page",
    "registry.all",
    "registry.memory",
    "registry.change",
    "registry.nothing",
    "registry.start",
    "registry.first",
)
MANY, FEW, ROWS, LISTS = 1_000, 200, 50, 8
TOML = 'public_url = "https://vo.bench.example"\nauthority = "bench.example"\ncontact_email = "vo@bench.example"\n'
DESCRIPTOR = """\
collection: c{number}
title: Stars of field {number}
description: {description}
subjects: [stellar-astronomy]
creators: [{{name: "Brahe, T.", orcid: 0000-0002-1825-0097}}]
licence: CC-BY-4.0
created: 2020-01-01
tables:
  main:
    description: A row per star
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {{type: string, ucd: meta.id;meta.main, description: Name of the star}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}}
      t: {{type: timestamp, ucd: time.start;obs, description: When it was seen}}
      mag: {{type: float32, unit: mag, ucd: phot.mag;em.opt.V, description: Brightness}}
      pm: {{type: float32, unit: mas/yr, ucd: pos.pm, description: Proper motion}}
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys; the sites are made once."""
    del big
    if any(only in name for name in NAMES[:5]):
        place = site(MANY)
        with serve_site(place, workers=1) as server:
            yield from (journey for journey in _lists(place, server) if only in journey.name)
    if any(only in name for name in NAMES[5:]):
        yield from (journey for journey in _starts() if only in journey.name)


def _starts() -> Iterator[Journey]:
    place, empty = site(FEW), site(0)
    found: dict[Path, list[tuple[float, float]]] = {place: [], empty: []}
    for _ in range(4):  # the first of them compiles the modules
        for which, times in found.items():
            with serve_site(which, workers=1) as server:
                begun = time.perf_counter()
                _records(server, "/oai?verb=ListRecords&metadataPrefix=ivo_vor")
                times.append((server.seconds + time.perf_counter() - begun, spent(server.pids)))
    own, bare = (min(cpu for _, cpu in times) for times in found.values())
    seconds, soon = (min(clock for clock, _ in times) for times in found.values())
    yield against("registry.start", own, bare, 1.5, unit="s", note=f"processors' time from the start to the first list of {FEW} collections, beside a site without any")  # fmt: skip
    yield against("registry.first", seconds, 3.0, 1.0, unit="s", note=f"the same by the clock, on a machine that does nothing else; a site without any: {soon:.2f} s")  # fmt: skip


def _lists(place: Path, server: Server) -> Iterator[Journey]:
    page = "/oai?verb=ListRecords&metadataPrefix=ivo_vor"
    begun = time.perf_counter()
    whole = _records(server, page)  # whatever the state lacks is made now
    cold, before = time.perf_counter() - begun, pss(server.pids)
    state = place / "var" / "hven.sqlite"
    first = median(lambda: _records(server, page), 7)
    yield against("registry.page", first, median(lambda: _bare(state, 200), 7), 20, unit="s", note=f"{first * 1000:.0f} ms (at most 300) for 200 records, {len(whole) / 1e6:.1f} MB; beside the same read and joined; {cold:.2f} s at first")  # fmt: skip
    every = median(lambda: _walk(server), 3, 1)
    yield against("registry.all", every, median(lambda: _bare(state, 10**6), 3), 20, unit="s", note=f"{every * 1000:.0f} ms (at most 2,000) for all {_count(state)} records")  # fmt: skip
    for _ in range(LISTS):
        _walk(server)
    after = pss(server.pids)
    yield against("registry.memory", after, before, 1.1, unit="MiB", note=f"after {LISTS + 4} whole lists, beside after the first page")  # fmt: skip
    quiet = median(lambda: _records(server, f"{page}&from=2999-01-01"), 7)
    yield against("registry.nothing", quiet, median(lambda: ask(server.connect(), "/health/live"), 7), 10, unit="s", note=f"{quiet * 1000:.1f} ms where nothing changed; beside /health/live")  # fmt: skip
    found = sorted(_change(place, server, number) for number in range(5))
    yield against("registry.change", found[2], 0.050, 1.0, unit="s", note=f"what changed since, after one of {MANY} descriptors was written; the median of five; at most {found[-1] * 1000:.0f} ms")  # fmt: skip


def _records(server: Server, path: str) -> bytes:
    connection = server.connect()
    status, body = ask(connection, path)
    connection.close()
    if status != 200:
        raise AssertionError(body[:300])
    return body


def _walk(server: Server) -> int:
    """Harvest everything."""
    connection, count, path = server.connect(), 0, "/oai?verb=ListRecords&metadataPrefix=ivo_vor"
    while path:
        _, body = ask(connection, path)
        count += body.count(b"<record>")
        token = re.search(rb"<resumptionToken[^>]*>([^<]+)<", body)
        path = f"/oai?verb=ListRecords&resumptionToken={token[1].decode()}" if token else ""
    connection.close()
    if count < 2 * MANY:
        raise AssertionError(count)
    return count


def _bare(state: Path, most: int) -> str:
    """Read as many records from the state, and join them."""
    with sqlite3.connect(state) as connection:
        return "".join(body for (body,) in connection.execute("SELECT body FROM registered ORDER BY number LIMIT ?", (most,)))  # fmt: skip


def _count(state: Path) -> int:
    with sqlite3.connect(state) as connection:
        return int(connection.execute("SELECT count(*) FROM registered").fetchone()[0])


def _change(place: Path, server: Server, number: int) -> float:
    """Write a descriptor anew, wait until the server has seen it, and harvest what changed."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    words = f"Written {time.time_ns()}"
    _write_collection(place, number, words)
    until = time.monotonic() + 20
    while words.encode() not in _records(server, f"/tap/tables?detail=min&_={time.time_ns()}"):
        if time.monotonic() > until:
            raise AssertionError("the server did not see the descriptor")
        time.sleep(0.1)
    time.sleep(2)  # a harvester comes in the night; what it would wait for otherwise is `registry.made`
    begun = time.perf_counter()
    body = _records(server, f"/oai?verb=ListRecords&metadataPrefix=ivo_vor&from={since}")
    seconds = time.perf_counter() - begun
    if words.encode() not in body:
        raise AssertionError(body[:500])
    return seconds


# --- the sites -------------------------------------------------------------------------------------------------------


def site(number: int) -> Path:
    """Give a site of so many collections with positions, times and a cone search each; made once."""
    place = CACHE / f"registry-{number}"
    if (place / "whole").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "hven.toml").write_text(TOML)
    rng = np.random.default_rng(23)
    for one in range(number):
        _write_collection(place, one, f"Made-up stars, {one}")
    with Site(settings.load_settings(place)) as opened:
        for one in range(number):
            resource = descriptor.load_descriptor(place / "collections" / f"c{one}" / f"c{one}.yaml", opened.settings)
            publish_rows(opened, resource.tables[0].table, _rows(rng, one))
    (place / "whole").touch()
    return place


def _write_collection(place: Path, number: int, description: str) -> None:
    folder = place / "collections" / f"c{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").touch()
    (folder / f"c{number}.yaml").write_text(DESCRIPTOR.format(number=number, description=description))


def _rows(rng: np.random.Generator, number: int) -> pa.Table:
    return pa.table({
        "id": [f"s{number}_{one}" for one in range(ROWS)], "ra": rng.uniform(0, 360, ROWS), "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, ROWS))),
        "t": pa.array(np.datetime64("2020-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "D")),
        "mag": rng.uniform(3, 12, ROWS).astype("float32"), "pm": rng.uniform(-9, 9, ROWS).astype("float32"),
    })  # fmt: skip
