"""STAC, group stac: the first page of 1,153,779 items, and searches by polygon; beside the queries for the same rows, in turns."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench.measure import CACHE, Journey, Server, measure_seconds, pairs, serve_site, spent

from hven import query
from hven.model.settings import Settings
from hven.site import Site
from hven.testing.site import open_tiny_site

sys.path.insert(0, str(Path(__file__).parent))

from granule_rows import build_granule_table

SITE = CACHE / "site-stac"
ROWS = 1_153_779
LIMIT = 10  # items in a page
NAMES = ("stac.first", "stac.polygon")
GOAL = 5.0  # ms for the first page
KNOWN = 0.6  # ms that its query takes at least, in turns with pages
BESIDE = 1.5  # of the query by polygon, with the items of its rows
FIRST = "SELECT * FROM mars.epn_core ORDER BY granule_uid"
WITHIN = "SELECT * FROM mars.epn_core WHERE 1 = INTERSECTS(s_region, POLYGON({})) ORDER BY granule_uid"


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Ask for pages over HTTP, and for the same rows without HTTP."""
    if not any(only in name for name in NAMES):
        return
    make_site()
    site = Site(Settings(directory=SITE), watch_for_changes=False)
    site.refresh_published_state()
    try:
        with serve_site(SITE) as server:
            if only in NAMES[0]:
                yield measure_first_page(site, server)
            if only in NAMES[1]:
                yield measure_polygons(site, server)
    finally:
        site.close()


def measure_first_page(site: Site, server: Server) -> Journey:
    """Compare the first page with the query for its rows."""
    ask = connect(server)
    page = "/stac/collections/mars.epn_core/items"
    if ask("GET", page, None) != read(site, FIRST):
        raise AssertionError("the first page has other items than the query")
    took, known, ratio = measure(lambda: ask("GET", page, None), lambda: read(site, FIRST), 100)
    used = measure_processor(server, lambda: ask("GET", page, None), 200)
    note = (
        f"{LIMIT} of {ROWS:,} items over HTTP (goal {GOAL:g} ms; {used:.2f} ms of processor); "
        f"the query without HTTP: {known:.2f} ms, in turns"
    )
    return Journey(name=NAMES[0], value=took, unit="ms", reference=known, ratio=ratio, target=GOAL / KNOWN, note=note)


def measure_polygons(site: Site, server: Server) -> Journey:
    """Compare searches by polygon with queries by the same polygons."""
    ask = connect(server)
    random = np.random.default_rng(5)
    polygons = [draw_polygon(random) for _ in range(40)]
    for polygon in polygons[:5]:
        if ask("POST", "/stac/search", write_search(polygon)) != read(site, write_query(polygon)):
            raise AssertionError(f"the search has other items than the query: {polygon[0]}")
    searched, queried = itertools.cycle(polygons), itertools.cycle(polygons)
    took, known, ratio = measure(
        lambda: ask("POST", "/stac/search", write_search(next(searched))),
        lambda: read(site, write_query(next(queried))),
        len(polygons),
    )
    others = iter([draw_polygon(random) for _ in range(40)])  # whose items are not cached
    used = measure_processor(server, lambda: ask("POST", "/stac/search", write_search(next(others))), 40)
    note = (
        f"{LIMIT} items in polygons of 20 degrees ({used:.2f} ms of processor); "
        f"the queries without HTTP: {known:.2f} ms, in turns"
    )
    return Journey(name=NAMES[1], value=took, unit="ms", reference=known, ratio=ratio, target=BESIDE, note=note)


def measure(first: Callable[[], object], second: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Return milliseconds of both, and their ratio."""
    for _ in range(3):
        first(), second()
    took, known, ratio = pairs(lambda: measure_seconds(first), lambda: measure_seconds(second), times)
    return took * 1000, known * 1000, ratio


def measure_processor(server: Server, call: Callable[[], object], times: int) -> float:
    """Return the milliseconds of processor that the server uses for a request."""
    before = spent(server.pids)
    for _ in range(times):
        call()
    return (spent(server.pids) - before) / times * 1000


def connect(server: Server) -> Callable[[str, str, bytes | None], list[str]]:
    """Return a function that sends a request over one connection, and returns the ids of the items."""
    connection = server.connect()

    def ask(method: str, path: str, body: bytes | None) -> list[str]:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {text[:200]!r}")
        return [item["id"] for item in json.loads(text)["features"]]

    return ask


def read(site: Site, text: str) -> list[str]:
    """Return the ids of the first rows of a query."""
    result = query.run_query(text, site=site, maxrec=LIMIT)
    try:
        return list(result.read_table().column("granule_uid").to_pylist())
    finally:
        result.close()


def draw_polygon(random: np.random.Generator) -> list[tuple[float, float]]:
    """Draw a polygon with a vertex at each degree, so that great circles are as its straight edges on the map."""
    west, south = random.uniform(-150, 120), random.uniform(-60, 40)
    corners = np.array([(0, 0), (20, 3), (25, 18), (5, 15), (0, 0)]) + np.array([west, south])
    pieces = [np.linspace(begin, end, 20, endpoint=False) for begin, end in itertools.pairwise(corners)]
    return [(float(lon), float(lat)) for lon, lat in np.concatenate(pieces)]


def write_search(polygon: list[tuple[float, float]]) -> bytes:
    """Write the search by a polygon."""
    geometry = {"type": "Polygon", "coordinates": [[*polygon, polygon[0]]]}
    return json.dumps({"collections": ["mars.epn_core"], "intersects": geometry}).encode()


def write_query(polygon: list[tuple[float, float]]) -> str:
    """Write the query by a polygon."""
    return WITHIN.format(", ".join(f"{lon % 360}, {lat}" for lon, lat in polygon))


def make_site() -> None:
    """Make the site once."""
    if (SITE / "hven.toml").exists():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    table = build_granule_table("mars")
    open_tiny_site(SITE, {"mars.epn_core": (table, draw_granules().select(table.arrow_schema.names))}).close()
    (SITE / "hven.toml").write_text('name = "stac"\n')


def draw_granules() -> pa.Table:
    """Draw footprints of 3 by 2 degrees, and a time for each."""
    random = np.random.default_rng(1)
    number = np.arange(ROWS)
    west, south = random.uniform(0, 355, ROWS).round(4), random.uniform(-85, 80, ROWS).round(4)
    west_texts, south_texts, east_texts, north_texts = (
        pa.array(values.round(4)).cast(pa.string()) for values in (west, south, west + 3, south + 2)
    )
    corners = (west_texts, south_texts, east_texts, south_texts, east_texts, north_texts, west_texts, north_texts)
    ids = pc.binary_join_element_wise("granule_", pc.utf8_lpad(pa.array(number).cast(pa.string()), 8, "0"), "")
    texts = {"granule_gid": "cal", "dataproduct_type": "im", "target_name": "Mars", "target_class": "planet", "instrument_host_name": "mex", "access_format": "application/fits", "spatial_frame_type": "body"}  # fmt: skip
    columns = {name: pa.repeat(text, ROWS) for name, text in texts.items()}
    columns |= {
        "granule_uid": ids,
        "obs_id": ids,
        "instrument_name": pa.array(["OMEGA", "HRSC", "CRISM"]).take(pa.array(number % 3)),
        "access_url": pc.binary_join_element_wise("https://example.org/", ids, ""),
        "thumbnail_url": pa.nulls(ROWS, pa.string()),
        "time_min": pa.array(2453000.5 + number * 1e-3),
        "time_max": pa.array(2453000.6 + number * 1e-3),
        "c1min": pa.array(west),
        "c1max": pa.array(west + 3),
        "c2min": pa.array(south),
        "c2max": pa.array(south + 2),
        "s_region": pc.binary_join_element_wise("POLYGON", *corners, " "),
        "processing_level": pa.array(number % 5).cast(pa.int32()),
        "access_estsize": pa.array(number),
        "incidence_min": pa.array(random.uniform(0, 90, ROWS)),
    }
    return pa.table(columns)
