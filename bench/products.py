"""Products: links of rows by DataLink, images of ivoa.obscore by SIA 2, over a million rows; each beside the same rows asked by TAP."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from urllib.parse import quote

import duckdb

from bench import archives, cadence, cubes, cuts, farcuts, linkedfiles, previews, wholefiles
from bench.measure import CACHE, HVEN, Journey, Server, against, ask, median, serve_site, tap

SITE = CACHE / "site-products"
ROWS = 1_000_000
DESCRIPTOR = """\
collection: images
title: Images
let: {{base: "https://archive.example/images"}}
tables:
  main:
    source: {{kind: parquet, file: {file}}}
    primary: id
    position: [ra, dec]
    columns:
      id: {{type: string, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      t: {{type: float64, unit: d, indexed: true}}
      instrument: {{type: string, indexed: true}}
      s_region: {{type: circle, indexed: true}}
    map: {{s_region: "CIRCLE(ra, dec, 0.1)"}}
    links:
      - {{semantics: this, text: "{{base}}/{{target.id}}.fits", type: image/fits, size: "4194304", description: "Image {{target.id}}"}}
      - {{semantics: preview, text: "{{base}}/{{target.id}}.png", type: image/png}}
      - {{semantics: progenitor, from: raw, where: raw.image = target.id, text: "{{base}}/raw/{{raw.file}}", type: image/fits}}
    obscore:
      set: {{dataproduct_type: image, calib_level: 2, facility_name: Uraniborg, access_format: image/fits}}
      map: {{t_min: t, t_max: t, s_ra: ra, s_dec: dec, s_region: s_region, instrument_name: instrument, access_url: id, target_name: id}}
  raw:
    source: {{kind: parquet, file: {raw}}}
    columns: {{image: {{type: string, indexed: true}}, file: string}}
"""


def make_site() -> None:
    """Make the site once: a million images, each with two raw files."""
    if (SITE / "done").exists():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    folder = SITE / "collections/images"
    folder.mkdir(parents=True)
    files = [CACHE / f"products-{name}.parquet" for name in ("main", "raw")]
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'i' || i AS id, hash(i) % 3600000 / 10000.0 AS ra, degrees(asin(2 * (hash(i + 7) % 1000003) / 1000003.0 - 1)) AS dec,
            50000 + i * 0.01 AS t, 'camera ' || hash(i + 9) % 50000 AS instrument FROM range({ROWS}) t(i)) TO '{files[0]}' (FORMAT parquet)"""
        )
        connection.execute(
            f"COPY (SELECT 'i' || i // 2 AS image, 'r' || i || '.fits' AS file FROM range({2 * ROWS}) t(i)) TO '{files[1]}' (FORMAT parquet)"
        )
    (folder / "images.yaml").write_text(DESCRIPTOR.format(file=files[0], raw=files[1]))
    (SITE / "hven.toml").write_text('name = "products"\n')
    subprocess.run([HVEN, "ingest", "images", "--site", SITE], check=True, stdout=subprocess.DEVNULL)
    (SITE / "done").touch()


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    yield from archives.run(only=only)
    yield from cuts.run(only=only, big=big)
    yield from farcuts.run(only=only, big=big)
    yield from cadence.run(only=only)
    yield from previews.run(only=only, big=big)
    yield from cubes.run(only=only, big=big)
    yield from wholefiles.run(only=only)
    yield from linkedfiles.run(only=only)
    make_site()
    with serve_site(SITE) as server:
        for name, path, reference, target, rows in journeys():
            if only in name:
                yield measure_request(server, name, path, reference, target, rows)


def journeys() -> Iterator[tuple[str, Callable[[int], str], Callable[[int], str], float, int]]:
    """List name, address, the address that it is compared with, the ratio that binds, and the fewest lines of an answer."""

    def key(n: int) -> str:
        return f"i{n * 7919 % ROWS}"

    def links(n: int) -> str:
        return f"/datalink/images.main?RESPONSEFORMAT=csv&ID={key(n)}"

    def build_many_path(n: int) -> str:
        return "/datalink/images.main?RESPONSEFORMAT=csv&" + "&".join(f"ID={key(n * 1000 + at)}" for at in range(1000))

    def row(n: int) -> str:
        return tap(f"SELECT * FROM images.main WHERE id = '{key(n)}'", "csv")

    def rows(n: int) -> str:
        listed = ", ".join(f"'{key(n * 1000 + at)}'" for at in range(1000))
        return tap(
            f"SELECT m.*, r.* FROM images.main AS m JOIN images.raw AS r ON r.image = m.id WHERE m.id IN ({listed})",
            "csv",
        )

    def place(n: int) -> str:
        return f"CIRCLE {n * 37 % 360} {n * 11 % 120 - 60} 0.3"

    def images(n: int) -> str:
        return f"/sia2/ivoa.obscore?RESPONSEFORMAT=csv&POS={quote(place(n))}"

    def circle(n: int) -> str:
        _, lon, lat, radius = place(n).split()
        return tap(f"SELECT * FROM ivoa.obscore WHERE 1 = INTERSECTS(s_region, CIRCLE({lon}, {lat}, {radius}))", "csv")

    def hour(n: int) -> str:
        return f"/sia2/ivoa.obscore?RESPONSEFORMAT=csv&TIME={50000 + n * 97 % 9990}%20{50000 + n * 97 % 9990 + 0.5}"

    def times(n: int) -> str:
        begin = 50000 + n * 97 % 9990
        return tap(f"SELECT * FROM ivoa.obscore WHERE t_min <= {begin + 0.5} AND t_max >= {begin}", "csv")

    def camera(n: int) -> str:
        return f"/sia2/ivoa.obscore?RESPONSEFORMAT=csv&INSTRUMENT=camera%20{n * 31 % 50000}"

    def instrument(n: int) -> str:
        return tap(f"SELECT * FROM ivoa.obscore WHERE instrument_name = 'camera {n * 31 % 50000}'", "csv")

    yield "products.links.one", links, row, 3.0, 5  # two queries: the row, and those of the other table
    yield "products.links.thousand", build_many_path, rows, 3.0, 4000
    yield "products.sia2.position", images, circle, 2.0, 2
    yield "products.sia2.time", hour, times, 1.5, 50
    yield "products.sia2.instrument", camera, instrument, 1.5, 2


def measure_request(
    server: Server, name: str, path: Callable[[int], str], reference: Callable[[int], str], target: float, lines: int
) -> Journey:
    """Ask another one in each call; a wrong answer ends the run."""
    connection = server.connect()
    count = [0]

    def build_request(make: Callable[[int], str]) -> Callable[[], object]:
        def call() -> None:
            count[0] += 1
            status, body = ask(connection, make(count[0]))
            found = body.count(b"\n")
            if status != 200 or found < (lines if make is path else 2):
                raise RuntimeError(f"{name}: {status}, {found} lines: {body[:200]!r}")

        return call

    times = 10 if "thousand" in name else 60
    value, beside = median(build_request(path), times, warm=5), median(build_request(reference), times, warm=5)
    return against(name, value * 1000, beside * 1000, target, unit="ms", note="beside the same rows by TAP")
