"""Portal: server time and weight of pages, first paint, rows of a table of 1,153,779 from any place, choices, the tree over 21.7 M rows, ten visitors at once."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from bench import sights
from bench.measure import CACHE, HVEN, Journey, Server, against, measure_seconds, median, pairs, serve_site

if TYPE_CHECKING:
    import pyarrow as pa

    from hven.model.table import Table
    from hven.site import Site

SITE = CACHE / "site-portal"
ROWS = 1_153_779  # of the HFC
RECORDS = 21_700_000  # of MEDOC
STATE = "made-3"  # a site made otherwise is made again
REGIONS = """\
collection: regions
title: Active regions of the Sun
description: Made up, as many as the HFC has.
subjects: [solar active regions]
tables:
  main:
    title: Active regions
    primary: [id]
    position: [lon, lat]
    source: {kind: parquet, files: regions.parquet}
    columns:
      id: {type: int64, ucd: meta.id;meta.main, required: true, description: Number, rank: 1}
      seen: {type: timestamp, ucd: time.epoch, description: Time of the image, rank: 2, indexed: true}
      observatory: {type: string, ucd: meta.id;instr.obsty, description: Observatory, rank: 3}
      instrument: {type: string, ucd: meta.id;instr, description: Instrument, rank: 3}
      class: {type: string, ucd: meta.code.class, description: Class, rank: 4}
      noaa: {type: int32, ucd: meta.id, description: Number at NOAA, rank: 4}
      lon: {type: float64, unit: deg, ucd: pos.eq.ra, description: Longitude, rank: 2, display: .3f}
      lat: {type: float64, unit: deg, ucd: pos.eq.dec, description: Latitude, rank: 2, display: .3f}
      area: {type: float64, unit: deg**2, ucd: phys.angArea, description: Area, rank: 3, indexed: true, display: .2f}
      flux: {type: float64, unit: Wb, ucd: phys.magField, description: Flux, rank: 5}
      pixels: {type: int32, ucd: meta.number, description: Pixels, rank: 6}
      page: {type: string, ucd: meta.ref.url, description: Its page, rank: 8}
      file_name: {type: string, ucd: meta.id;meta.file, description: File, rank: 9}
      code: {type: string, ucd: meta.code, description: Chain code of the outline, rank: 20}
"""
ARCHIVE = """\
collection: archive
title: Images of the Sun
description: Made up, as many as MEDOC has.
subjects: [sun]
tables:
  records:
    title: Records
    primary: [id]
    source: {kind: parquet, files: records.parquet}
    columns:
      id: {type: int64, ucd: meta.id;meta.main, required: true, rank: 1}
      mission: {type: string, ucd: meta.id, description: Mission, rank: 2}
      instrument: {type: string, ucd: meta.id;instr, description: Instrument, rank: 2}
      data_set: {type: string, ucd: meta.id, description: Data set, rank: 2}
      size: {type: int32, unit: kbyte, ucd: phys.size;meta.file, description: Size, rank: 5}
"""
SETTINGS = '\n[tree]\nlevels = ["@collection", "mission", "instrument", "data_set"]\n'
HASH = "CREATE MACRO h(x, n) AS (hash(x) % n)::INTEGER"
RECORD_QUERY = f"""SELECT i::BIGINT AS id, 'mission ' || m AS mission, 'instrument ' || m || '.' || (i % (m + 2)) AS instrument,
'set ' || m || '.' || (i % (m + 2)) || '.' || (i // 1000 % 5) AS data_set, h(i, 30000) AS size
FROM (SELECT i, floor(7 * sqrt(h(i, 1000000) / 1e6))::INTEGER AS m FROM range({RECORDS}) t(i))"""
TABLE = "/collections/regions/main"
PAGES = {"home": "/", "collection": "/collections/regions", "table": TABLE, "table.21M": "/collections/archive/records"}
MS = {
    "home": 50, "collection": 50, "table": 300, "rows.first": 300, "rows.end": 300, "rows.sorted": 300, "rows.sorted.end": 300, "rows.search": 300,
    "facets": 200, "histogram": 300, "tree": 200, "facets.21M": 200,
}  # fmt: skip
# times /health/live, for what computes nothing
OF_HEALTH = {"home": 25, "collection": 25, "rows.first": 60, "rows.end": 60}
OF_DUCKDB = {
    "rows.sorted": 4.0,
    "rows.sorted.end": 4.0,
    "rows.search": 4.0,
    "facets": 1.5,
    "histogram": 4.0,
}  # processor time beside DuckDB's


NEEDS = dict.fromkeys(
    ("playwright", "chromium"),
    (*(f"portal.{kind}.{name}" for kind in ("weight", "paint") for name in PAGES),),
)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    make_site(SITE)
    if not only or only in "portal.tree.counting":
        yield measure_tree_count()
    with serve_site(SITE) as server:
        connection = server.connect()
        until_counted(connection)
        yield from alone(server, connection, only)
        yield from measure_pages_in_chromium(server, only)
        yield from measure_visitors(server, only)
    yield from sights.run(only=only)


def make_site(site: Path) -> None:
    """Make the site once: regions, and records of seven missions, which are as uneven as real ones."""
    if (site / STATE).exists():
        return
    shutil.rmtree(site, ignore_errors=True)
    subprocess.run([HVEN, "init", site], check=True, stdout=subprocess.DEVNULL)
    with (site / "hven.toml").open("a") as file:
        file.write(SETTINGS)
    for name, text in (("regions", REGIONS), ("archive", ARCHIVE)):
        (site / "collections" / name).mkdir(parents=True, exist_ok=True)
        (site / "collections" / name / f"{name}.yaml").write_text(text)
    regions, records = (
        site / "collections" / "regions" / "regions.parquet",
        site / "collections" / "archive" / "records.parquet",
    )
    with duckdb.connect() as connection:
        connection.execute(HASH)
        connection.execute(
            f"""COPY (SELECT i::BIGINT AS id, TIMESTAMP '1996-05-01' + to_minutes(96 * (i // 6)) AS seen, ['SOHO', 'SDO', 'Meudon', 'GONG'][1 + h(i, 4)] AS observatory,
            ['MDI', 'HMI', 'SPECTRO', 'EIT', 'AIA'][1 + h(i + 7, 5)] AS instrument, ['alpha', 'beta', 'gamma', 'delta', 'beta-gamma'][1 + h(i + 1, 5)] AS class,
            CASE WHEN i % 3 = 0 THEN NULL ELSE 10000 + i % 3000 END AS noaa, h(i + 2, 3600000) / 1e4 AS lon, h(i + 3, 700000) / 1e4 - 35 AS lat,
            h(i + 4, 1000000) / 1e4 AS area, h(i + 5, 1000000) * 1e15 AS flux, h(i + 6, 4000) AS pixels, 'https://example.org/' || i AS page,
            'fd_M_96m_01d.' || i // 6 || '.fits' AS file_name, md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS code FROM range({ROWS}) t(i)) TO '{regions}' (FORMAT parquet)"""
        )
        connection.execute(f"COPY ({RECORD_QUERY}) TO '{records}' (FORMAT parquet)")
    for name in ("regions", "archive"):
        subprocess.run([HVEN, "--site", site, "ingest", name], check=True, stdout=subprocess.DEVNULL)
    for path in (regions, records):
        path.unlink()  # the snapshots have the rows
    (site / STATE).write_text("")


def fetch_page(connection: http.client.HTTPConnection, path: str) -> Any:
    """Ask and check: an answer that is an error is no answer, however quick."""
    accepted = "application/json" if "/collections/regions/main/" in path or path == "/tree" else "text/html"
    status, body = _send_request(connection, path, {"accept-encoding": "gzip", "accept": accepted})
    if status != 200:
        raise RuntimeError(f"{path}: {status} {body[:300]!r}")
    return body


def _send_request(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Ask; the server closes connections that were idle for long, as this one was while DuckDB was asked."""
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionError):
        connection.close()
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
    return answer.status, answer.read()


def fetch_json(connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
    status, body = _send_request(connection, path, {"accept": "application/json"})
    found: dict[str, Any] = json.loads(body)
    if status != 200:
        raise RuntimeError(f"{path}: {status} {found}")
    return found


def until_counted(connection: http.client.HTTPConnection) -> None:
    """Wait until the server has counted its tree, which it does by itself when it starts; and see that the tree is whole."""
    for _ in range(4):  # both processes
        found = fetch_json(connection, "/tree")
        if found["rows"] != ROWS + RECORDS:
            raise RuntimeError(f"the tree has {found['rows']} rows")


# --- one reader ------------------------------------------------------------------------------------------------


def steps(seed: int) -> dict[str, Callable[[], str]]:
    """Give the addresses of what a visitor does; each call gives another search, so that nothing remembered answers it."""
    made_ = random.Random(seed)
    limit = (f"{made_.uniform(20, 95):.5f}" for _ in itertools.count())
    columns = itertools.cycle(["area", "flux", "lat", "pixels", "seen"])
    return {
        "home": lambda: "/",
        "collection": lambda: "/collections/regions",
        "table": lambda: TABLE,
        "rows.first": lambda: f"{TABLE}/rows?_from=0&_size=100",
        "rows.end": lambda: f"{TABLE}/rows?_from={ROWS - 100 - made_.randrange(500)}&_size=100",
        "rows.sorted": lambda: (
            f"{TABLE}/rows?_sort={made_.choice('-+')}{next(columns)}&_from={made_.randrange(300)}&_size=100".replace(
                "+", "%2B"
            )
        ),
        "rows.sorted.end": lambda: (
            f"{TABLE}/rows?_sort={next(columns)}&_from={ROWS - 100 - made_.randrange(500)}&_size=100"
        ),
        "rows.search": lambda: f"{TABLE}/rows?area=..{next(limit)}&observatory=SOHO&_size=100",
        "facets": lambda: f"{TABLE}/facets?area=..{next(limit)}",
        "histogram": lambda: f"{TABLE}/histogram?_x=area&lat=..{float(next(limit)) - 60:.5f}",
    }


def alone(server: Server, connection: http.client.HTTPConnection, only: str) -> Iterator[Journey]:
    """Measure one reader on one connection, warm: milliseconds, and a ratio to what is measured right beside it, which a busy machine spares."""
    raw = Raw()
    for name, path in steps(1).items():
        if only and only not in f"portal.{name}":
            continue
        _right(connection, name, path())
        begun = _cpu(server)
        found = median(lambda path=path: fetch_page(connection, path()), 17, 3) * 1e3
        cpu = (_cpu(server) - begun) / 20 * 1e3
        yield against(f"portal.{name}", found, MS[name], 1.0, unit="ms", note=f"{cpu:.0f} ms of processors")
        if name in OF_HEALTH:
            health = median(lambda: fetch_page(connection, "/health/live"), 30, 5) * 1e3
            yield against(
                f"portal.{name}.beside", found, health, OF_HEALTH[name], unit="ms", note="beside /health/live"
            )
        elif name in OF_DUCKDB:
            yield against(
                f"portal.{name}.beside",
                cpu,
                raw.cpu(name),
                OF_DUCKDB[name],
                unit="ms",
                note="of processors, beside DuckDB over a table of its own",
            )
    if not only or only in "portal.tree":
        found = median(lambda: fetch_page(connection, "/tree"), 15, 3) * 1e3
        yield against(
            "portal.tree",
            found,
            MS["tree"],
            1.0,
            unit="ms",
            note=f"over {ROWS + RECORDS:,} rows, as the server remembers it",
        )
    if not only or only in "portal.facets.21M":
        limits = itertools.count(20_000)
        begun = _cpu(server)
        found = (
            median(lambda: fetch_page(connection, f"/collections/archive/records/facets?size=..{next(limits)}"), 7, 3)
            * 1e3
        )
        cpu = (_cpu(server) - begun) / 10 * 1e3
        answer = fetch_json(connection, f"/collections/archive/records/facets?size=..{next(limits)}")["facets"]
        if len(answer) != 3 or any(one["exact"] for one in answer):
            raise RuntimeError(f"choices of 21.7 M rows: {[(one['column'], one['exact']) for one in answer]}")
        yield against(
            "portal.facets.21M",
            found,
            MS["facets.21M"],
            1.0,
            unit="ms",
            note=f"{cpu:.0f} ms of processors; two thirds of the rows; marked as estimates",
        )
        yield against(
            "portal.facets.21M.beside",
            cpu,
            measure_exact_count_ms(),
            0.8,
            unit="ms",
            note="of processors, beside DuckDB that counts the same choices in all rows of a table of its own",
        )
        rare = (f"size={next(limits) % 30_000}" for _ in itertools.count())
        found = median(lambda: fetch_page(connection, f"/collections/archive/records/facets?{next(rare)}"), 7, 3) * 1e3
        answer = fetch_json(connection, f"/collections/archive/records/facets?{next(rare)}")["facets"]
        if not all(one["exact"] for one in answer):
            raise RuntimeError("few rows were not counted exactly")
        yield against(
            "portal.facets.21M.few",
            found,
            MS["facets.21M"],
            1.0,
            unit="ms",
            note="some 700 of all rows, which are counted exactly",
        )


def measure_exact_count_ms(times: int = 5) -> float:
    """Measure the milliseconds of processors that DuckDB takes to count three columns of the records exactly."""
    with duckdb.connect() as connection:
        connection.execute(HASH)
        connection.execute(f"CREATE TABLE r AS {RECORD_QUERY}")
        begun = time.process_time()
        for limit in range(20_000, 20_000 + times):
            for column in ("mission", "instrument", "data_set"):
                connection.execute(f"SELECT {column}, count(*) FROM r WHERE size <= {limit} GROUP BY 1").fetchall()
        return (time.process_time() - begun) / times * 1e3


def _cpu(server: Server) -> float:
    """Give the seconds of processors that the server has used."""
    total = 0
    for pid in server.pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _right(connection: http.client.HTTPConnection, name: str, path: str) -> None:
    """Check an answer before it is timed."""
    if name.startswith("rows"):
        found = fetch_json(connection, path)
        if (
            len(found["rows"]) != 100
            or found["faults"]
            or (name != "rows.search" and found["total"] != ROWS)
            or not found["exact"]
        ):
            raise RuntimeError(f"{path}: {len(found['rows'])} rows of {found['total']}, {found['faults']}")
    elif name == "facets":
        found = fetch_json(connection, path)
        if len(found["facets"]) < 3:
            raise RuntimeError(f"{path}: {[one['column'] for one in found['facets']]}")
    elif name == "histogram" and sum(fetch_json(connection, path)["counts"]) < 1000:
        raise RuntimeError(f"{path}: no rows")


class Raw:
    """DuckDB itself, over a table of its own, asked for the same; other numbers each time, as readers have."""

    def __init__(self) -> None:
        self._connection = duckdb.connect()
        self._connection.execute(HASH)
        self._connection.execute(
            f"""CREATE TABLE r AS SELECT i::BIGINT AS id, ['SOHO', 'SDO', 'Meudon', 'GONG'][1 + h(i, 4)] AS observatory,
            ['MDI', 'HMI', 'SPECTRO', 'EIT', 'AIA'][1 + h(i + 7, 5)] AS instrument, ['alpha', 'beta', 'gamma', 'delta', 'beta-gamma'][1 + h(i + 1, 5)] AS class,
            h(i + 3, 700000) / 1e4 - 35 AS lat, h(i + 4, 1000000) / 1e4 AS area FROM range({ROWS}) t(i)"""
        )
        search = "FROM r WHERE area <= {0} AND observatory = 'SOHO'"
        self._texts = {
            "rows.sorted": ["SELECT * FROM r ORDER BY area, id LIMIT 101"],
            "rows.sorted.end": ["SELECT * FROM r ORDER BY area DESC, id DESC LIMIT 600"],
            "rows.search": [f"SELECT count(*) {search}", f"SELECT * {search} LIMIT 101"],
            "facets": [f"SELECT {one}, count(*) FROM r WHERE area <= {{0}} GROUP BY {one} ORDER BY 2 DESC LIMIT 13" for one in ("observatory", "instrument", "class")],
            "histogram": ["SELECT floor(area / 1.7), count(*) FROM r WHERE lat <= {0} - 60 GROUP BY 1"],
        }  # fmt: skip

    def cpu(self, name: str, times: int = 20) -> float:
        """Give the milliseconds of processors that one answer takes."""
        limits = random.Random(7)
        begun = time.process_time()
        for _ in range(times):
            limit = limits.uniform(20, 95)
            for text in self._texts[name]:
                self._connection.execute(text.format(limit)).fetchall()
        return (time.process_time() - begun) / times * 1e3


def measure_tree_count() -> Journey:
    """Count the tree in this process, from nothing."""
    from hven.model import settings
    from hven.portal._explore.count_trees import CountTreeCache
    from hven.portal._explore.page_queries import QueryAnswerCache, QueryRunner
    from hven.site import Site
    from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

    given = settings.load_settings(SITE)
    with Site(given) as site:
        holdings = site.get_published_state()
        road = QueryRunner(
            site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=holdings
        )
        tables = [
            table
            for table in holdings.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables()
            if table.schema in {"regions", "archive"}
        ]
        road.fetch_table(_first(tables))  # the engine is open

        def count() -> None:
            site.get_or_create(QueryAnswerCache)._entries.clear()  # nothing is remembered
            if (
                CountTreeCache().build_tree(road, tables, given.tree.levels, given.tree.branches, "public").row_count
                != ROWS + RECORDS
            ):
                raise RuntimeError("the tree is not whole")

        rows = _arrow(site, next(table for table in tables if table.schema == "archive"))
        with duckdb.connect() as connection:
            connection.register("records", rows)

            def raw() -> None:
                connection.execute(
                    "SELECT mission, instrument, data_set, count(*) FROM records GROUP BY ALL"
                ).fetchall()

            count(), raw()
            found, beside, ratio = pairs(lambda: measure_seconds(count) * 1e3, lambda: measure_seconds(raw) * 1e3, 3)
    return Journey(
        name="portal.tree.counting",
        value=found,
        unit="ms",
        reference=beside,
        ratio=ratio,
        target=1.5,
        note="from nothing, beside DuckDB over the same rows; a server does it when it starts and after each publication, nobody waits for it",
    )


def _arrow(site: Site, table: Table) -> pa.Table:
    import pyarrow as pa

    from hven.engines import Snapshot

    snapshot = site.get_published_state().find_relation(table)
    assert isinstance(snapshot, Snapshot)
    batches = site.engines.find_engine(snapshot).read_rows(snapshot, ["mission", "instrument", "data_set"])
    return pa.Table.from_batches(batches)


def _first(tables: list[Any]) -> Any:
    from hven.adql import syntax_tree

    source = syntax_tree.TableRef((syntax_tree.Ident(tables[0].schema), syntax_tree.Ident(tables[0].name)))
    return syntax_tree.Query(
        syntax_tree.Select(
            (syntax_tree.SelectItem(syntax_tree.FunctionCall("COUNT", star=True), syntax_tree.Ident("n")),), source
        )
    )


# --- a browser -------------------------------------------------------------------------------------------------


def measure_pages_in_chromium(server: Server, only: str) -> Iterator[Journey]:
    """Open pages in Chromium with nothing remembered: bytes over the wire, and first contentful paint."""
    if only and not any(only in name for name in NEEDS["chromium"]):
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, path in PAGES.items():
            looks = [_look(browser, f"http://127.0.0.1:{server.port}{path}") for _ in range(6)][1:]
            weight, paint = statistics.median(one[0] for one in looks), statistics.median(one[1] for one in looks)
            yield against(
                f"portal.weight.{name}",
                weight / 1e3,
                120,
                1.0,
                unit="kB",
                note=f"{looks[0][2]} requests, as compressed on the wire",
            )
            yield against(
                f"portal.paint.{name}", paint, 400, 1.0, unit="ms", note="first contentful paint, nothing remembered"
            )
        browser.close()


def _look(browser: Any, url: str) -> tuple[float, float, int]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    wire = context.new_cdp_session(page)
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    wire.send("Network.enable")
    page.goto(url, wait_until="networkidle")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Infinity")
    context.close()
    return sum(sizes), float(paint), len(sizes)


# --- ten visitors ------------------------------------------------------------------------------------------------

VISITORS = 10
PAUSE = (1.0, 3.0)  # seconds between two steps: people look at what they have got
ROUNDS = 4
LEAST = 20.0  # ms: a step that is quicker counts as this long, nobody sees less


def measure_visitors(server: Server, only: str) -> Iterator[Journey]:
    """Let ten visitors do what one does: medians of each step beside those of a visitor who is alone before and after; the worst counts."""
    if only and only not in "portal.visitors":
        return
    try:
        before, crowd, after = visits(server, 1, 100), visits(server, VISITORS, 200), visits(server, 1, 300)
    except RuntimeError as error:  # an answer that was no answer: the step took for ever
        yield against("portal.visitors", float("inf"), 1.0, 2.0, unit="ms", note=str(error)[:300])
        return
    single = {name: statistics.median([*before[name], *after[name]]) for name in before}
    many = {name: statistics.median(found) for name, found in crowd.items()}
    ratios = {name: max(many[name], LEAST) / max(single[name], LEAST) for name in single}
    worst = max(ratios, key=lambda name: ratios[name])
    note = ", ".join(f"{name} {single[name]:.0f} -> {many[name]:.0f} ms" for name in ratios)
    yield against(
        "portal.visitors",
        max(many[worst], LEAST),
        max(single[worst], LEAST),
        2.0,
        unit="ms",
        note=f"{VISITORS} visitors, {PAUSE[0]:g}-{PAUSE[1]:g} s between steps; worst: {worst}; {note}",
    )


def visits(server: Server, number: int, seed: int) -> dict[str, list[float]]:
    """Give the milliseconds of each step of all visitors; another `seed` is other searches, which nobody has asked before."""
    times: dict[str, list[float]] = {}
    failures: list[BaseException] = []

    def visit(seed: int) -> None:
        try:
            connection = server.connect()
            pause = random.Random(seed)
            time.sleep(pause.uniform(0, PAUSE[1]))
            doing = steps(seed)
            for turn in range(ROUNDS + 1):
                for name, path in doing.items():
                    begun = time.perf_counter()
                    fetch_page(connection, path())
                    if turn:  # the first round warms up
                        times.setdefault(name, []).append((time.perf_counter() - begun) * 1e3)
                    time.sleep(pause.uniform(*PAUSE) if number > 1 else 0.05)
        except BaseException as error:  # noqa: BLE001  (told by the main thread)
            failures.append(error)

    threads = [threading.Thread(target=visit, args=(seed + each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times
