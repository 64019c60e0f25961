"""Portal at first sight, part of the group portal: what else there is at the time and place of a row, over 50 collections; the pictures of a gallery."""

from __future__ import annotations

import http.client
import json
import random
import shutil
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import duckdb
import numpy as np
from astropy.io import fits

from bench.measure import CACHE, Journey, against, median, serve_site

SITE = CACHE / "site-sights"
STATE = "made-2"  # a site made otherwise is made again
COLLECTIONS, ROWS = 50, 20_000  # rows of each
OBSERVATIONS = """\
collection: c{number}
title: Observations of instrument {number}
subjects: [sky]
tables:
  main:
    title: Observations
    primary: [id]
    position: [ra, dec]
    source: {{kind: parquet, files: rows.parquet}}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main, required: true}}
      begins: {{type: timestamp, ucd: time.start;obs.exposure}}
      ends: {{type: timestamp, ucd: time.end;obs.exposure}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
"""
PICTURES = """\
collection: shots
title: Images
tables:
  main:
    title: Images
    primary: [file]
    source: {kind: csv, files: shots.csv}
    columns:
      file: {type: string, ucd: meta.id;meta.file}
      shot: {type: string, ucd: meta.preview}
    text: {shot: "{site.url}/collections/shots/preview/{file}?size=200"}
files: ["*.fits"]
"""
SHOTS = 100
MS = {"else": 200, "gallery": 500}


def run(*, only: str = "") -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only and not any(only in f"portal.{name}" for name in MS):
        return
    make_site()
    with serve_site(SITE) as server:
        connection = server.connect()
        yield gallery(connection)
        chosen = random.Random(22)

        def path() -> str:
            key = quote(f"[{chosen.randrange(ROWS)}]")
            return f"/collections/c{chosen.randrange(COLLECTIONS)}/main/else?_row={key}"

        asked = path()
        connection.request("GET", f"{asked}&_wait=1", headers={"accept": "application/json"})
        told = json.loads(connection.getresponse().read())
        if told["asked"] != COLLECTIONS or not told["place"]:
            raise RuntimeError(f"what else there is: {told['asked']} tables were asked")
        late = []

        def look() -> None:
            connection.request("GET", path(), headers={"accept": "application/json"})
            late.append(sum(one["late"] for one in json.loads(connection.getresponse().read())["lines"]))

        found = median(look, 17, 3) * 1e3
        note = f"{COLLECTIONS} collections of {ROWS:,} rows, rows by lot; {sum(late)} of {len(late) * COLLECTIONS} counts were late"
        yield against("portal.else", found, MS["else"], 1.0, unit="ms", note=note)


def gallery(connection: http.client.HTTPConnection) -> Journey:
    """Measure what a gallery of 100 pictures asks of the server, one after the other: the rows, and each picture from the shelf."""

    def fetch_body(path: str) -> bytes:
        connection.request("GET", path, headers={"accept": "application/json, image/png"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return body

    def look() -> None:
        told = json.loads(fetch_body(f"/collections/shots/main/rows?_size={SHOTS}"))
        shots = [row[1]["href"] for row in told["rows"]]
        if len(shots) != SHOTS:
            raise RuntimeError(f"{len(shots)} pictures")
        for shot in shots:
            parts = urlsplit(shot)
            if not fetch_body(f"{parts.path}?{parts.query}").startswith(b"\x89PNG"):
                raise RuntimeError(f"{shot} is not a picture")

    found = median(look, 5, 2) * 1e3
    return against(
        "portal.gallery",
        found,
        MS["gallery"],
        1.0,
        unit="ms",
        note=f"{SHOTS} pictures of 200 pixels over one connection, warm",
    )


def make_site() -> None:
    """Make the site once."""
    if (SITE / STATE).exists():
        return
    from hven.ingest.api.runs import ingest_collection
    from hven.model.settings import load_settings
    from hven.site import Site

    shutil.rmtree(SITE, ignore_errors=True)
    (SITE / "collections").mkdir(parents=True)
    (SITE / "hven.toml").write_text('title = "Sights"\n')
    with duckdb.connect() as connection:
        for number in range(COLLECTIONS):
            place = SITE / "collections" / f"c{number}"
            place.mkdir()
            (place / f"c{number}.yaml").write_text(OBSERVATIONS.format(number=number))
            connection.execute(
                f"""COPY (SELECT i AS id, TIMESTAMP '2010-01-01' + to_seconds((h + (i * 7919) % {ROWS}) * 600) AS begins,
                begins + to_seconds(900) AS ends, (hash(i + {number}) % 3600000)::DOUBLE / 1e4 AS ra,
                degrees(asin((hash(i + 77 + {number}) % 2000000)::DOUBLE / 1e6 - 1)) AS dec
                FROM (SELECT i, {number} / 50 AS h FROM range({ROWS}) t(i))) TO '{place}/rows.parquet' (FORMAT parquet)"""
            )
    place = SITE / "collections" / "shots"
    place.mkdir()
    (place / "shots.yaml").write_text(PICTURES)
    random = np.random.default_rng(22)
    for at in range(SHOTS):
        fits.PrimaryHDU(random.normal(at, 1, (256, 256)).astype("f4")).writeto(place / f"{at}.fits")
    (place / "shots.csv").write_text("\n".join(["file", *(f"{at}.fits" for at in range(SHOTS))]))
    with Site(load_settings(SITE, {})) as site:
        ingest_collection(site, "shots")
        for number in range(COLLECTIONS):
            ingest_collection(site, f"c{number}")
    (SITE / STATE).write_text("")
