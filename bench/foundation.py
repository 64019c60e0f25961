"""The journeys of *Foundation*: ingest, cones, dumps, small queries, start and memory."""

from __future__ import annotations

import http.client
import io
import random
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv

from bench import data
from bench.measure import (
    CACHE,
    HVEN,
    Journey,
    Server,
    against,
    anonymous_peak,
    ask,
    measure_seconds,
    median,
    pairs,
    pss,
    serve_site,
    tap,
)

SITE = CACHE / "site"
BIG_SITE = CACHE / "site-big"
EIGHT = "tyc, ra, dec, pm_ra, pm_dec, bt, vt, num"
STARS = """\
collection: tycho
title: Tycho-2
subjects: [stars]
tables:
  main:
    description: The Tycho-2 catalogue
    position: [ra, dec]
    primary: [tyc]
    source: {{kind: csv, files: {file}}}
    columns:
      tyc: {{type: string, ucd: meta.id;meta.main, description: identifier, rank: 1}}
      pflag: {{type: string, description: flag of the mean position, rank: 20}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: mean right ascension at J2000, rank: 1}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: mean declination at J2000, rank: 1}}
      pm_ra: {{type: float32, unit: mas/yr, ucd: pos.pm;pos.eq.ra, rank: 5}}
      pm_dec: {{type: float32, unit: mas/yr, ucd: pos.pm;pos.eq.dec, rank: 5}}
      e_ra: {{type: int16, unit: mas, rank: 20}}
      e_dec: {{type: int16, unit: mas, rank: 20}}
      e_pm_ra: {{type: float32, unit: mas/yr, rank: 20}}
      e_pm_dec: {{type: float32, unit: mas/yr, rank: 20}}
      ep_ra: {{type: float32, unit: yr, rank: 20}}
      ep_dec: {{type: float32, unit: yr, rank: 20}}
      num: {{type: int16, description: number of positions used, rank: 20}}
      q_ra: {{type: float32, rank: 20}}
      q_dec: {{type: float32, rank: 20}}
      q_pm_ra: {{type: float32, rank: 20}}
      q_pm_dec: {{type: float32, rank: 20}}
      bt: {{type: float32, unit: mag, ucd: phot.mag;em.opt.B, rank: 5}}
      e_bt: {{type: float32, unit: mag, rank: 20}}
      vt: {{type: float32, unit: mag, ucd: phot.mag;em.opt.V, rank: 5, indexed: true}}
      e_vt: {{type: float32, unit: mag, rank: 20}}
      prox: {{type: int16, rank: 20}}
      tyc1: {{type: string, rank: 20}}
      hip: {{type: int32, ucd: meta.id.cross, rank: 20}}
"""
BIG = """\
collection: big
title: Fifty million generated stars
subjects: [stars]
tables:
  main:
    position: [ra, dec]
    source: {{kind: parquet, files: {file}}}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main, rank: 1}}
      ra: {{unit: deg, ucd: pos.eq.ra;meta.main, rank: 1}}
      dec: {{unit: deg, ucd: pos.eq.dec;meta.main, rank: 1}}
"""


NEEDS = {
    "wrk": (
        "foundation.cone.tap",
        "foundation.cone.scs",
        "foundation.cones32",
        "foundation.trivial",
        "foundation.dump",
        "foundation.memory",
    )
}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    groups = [
        (ingest, ("foundation.ingest",)),
        (words, ("foundation.words.new", "foundation.words.seen")),
        (measure_http, NEEDS["wrk"]),
        (start, ("foundation.start", "foundation.idle")),
    ]
    if big:
        groups.append((fifty_million, ("foundation.big",)))
    for group, names in groups:
        if not only or any(only in name for name in names):
            yield from group()


# --- ingest --------------------------------------------------------------------------------------------------


def site_of(directory: Path, name: str, descriptor: str, file: Path) -> None:
    """Make a site with one collection, not ingested."""
    if not (directory / "hven.toml").exists():
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run([HVEN, "init", directory], check=True, capture_output=True)
    folder = directory / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(descriptor.format(file=file))


def measure_ingest(directory: Path, name: str) -> float:
    """Ingest a collection; give seconds of the whole process."""
    begun = time.perf_counter()
    subprocess.run([HVEN, "ingest", name, "--site", directory], check=True, capture_output=True)
    return time.perf_counter() - begun


def ingest() -> Iterator[Journey]:
    csv = data.tycho_csv()
    csv.read_bytes()  # into the page cache, for both
    site_of(SITE, "tycho", STARS, csv)

    def ours() -> float:
        shutil.rmtree(SITE / "var", ignore_errors=True)
        return measure_ingest(SITE, "tycho")

    def theirs() -> float:
        target = CACHE / "reference.duckdb"
        target.unlink(missing_ok=True)
        with duckdb.connect(str(target)) as connection:
            return measure_seconds(lambda: connection.execute(f"CREATE TABLE stars AS SELECT * FROM read_csv('{csv}')"))

    value, reference, ratio = pairs(ours, theirs, 3)
    yield Journey(
        name="foundation.ingest",
        value=value,
        unit="s",
        reference=reference,
        ratio=ratio,
        target=3.0,
        note="whole process / CREATE TABLE AS read_csv",
    )


def ready() -> None:
    """Make sure that Tycho-2 is published."""
    site_of(SITE, "tycho", STARS, data.tycho_csv())
    status = subprocess.run(
        [HVEN, "status", "--json", "--site", SITE], check=True, capture_output=True, text=True
    ).stdout
    if '"tycho.main"' not in status:
        measure_ingest(SITE, "tycho")


# --- words ---------------------------------------------------------------------------------------------------


def words() -> Iterator[Journey]:
    """Parse + bind + write of a typical query, new and of a known shape; DuckDB's own planning of the like is the reference."""
    from hven.model import settings
    from hven.query import _planning
    from hven.site import Site
    from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

    ready()
    with Site(settings.load_settings(SITE)) as site:
        text = "SELECT tyc, ra, dec, vt FROM tycho.main WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({}, 22.0, 0.1)) AND vt < 12.5 ORDER BY vt"
        holdings = site.get_published_state()

        def prepare(sentence: str) -> None:
            _planning.plan_query(
                _planning.create_query_request(sentence, ANONYMOUS_PRINCIPAL, site, DEFAULT_POLICIES, holdings)
            )

        numbers = iter(range(10_000_000))
        # another output name makes another shape: nothing is remembered
        fresh = median(lambda: prepare(text.format("83.5").replace("vt FROM", f"vt AS v{next(numbers)} FROM")), 200)
        seen = median(lambda: prepare(text.format(f"83.{next(numbers)}")), 500)
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE main (tyc VARCHAR, ra DOUBLE, dec DOUBLE, vt FLOAT)")
            plain = "SELECT tyc, ra, dec, vt FROM main WHERE abs(ra - 83.{}) < 0.1 AND abs(dec - 22) < 0.1 AND vt < 12.5 ORDER BY vt"
            reference = median(lambda: connection.execute("EXPLAIN " + plain.format(next(numbers))).fetchall(), 100)
    yield against(
        "foundation.words.new",
        fresh * 1e3,
        reference * 1e3,
        max(1.0, 1.0 / (reference * 1e3)),
        unit="ms",
        note="goal < 1 ms; reference: DuckDB's EXPLAIN of the like",
    )
    yield against(
        "foundation.words.seen",
        seen * 1e3,
        reference * 1e3,
        max(0.2, 0.2 / (reference * 1e3)),
        unit="ms",
        note="goal < 0.2 ms",
    )


# --- HTTP ----------------------------------------------------------------------------------------------------


def cones(number: int) -> list[tuple[float, float]]:
    found = random.Random(1)
    return [(round(found.uniform(0, 360), 4), round(found.uniform(-60, 60), 4)) for _ in range(number)]


def engine_cone() -> float:
    """Median seconds of the engine call of a cone alone, in this process."""
    from hven import query
    from hven.model import settings
    from hven.site import Site

    text = f"SELECT {EIGHT} FROM tycho.main WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({{}}, {{}}, 0.1))"
    with Site(settings.load_settings(SITE)) as site:
        places = iter(cones(500) * 2)

        def query_cone() -> None:
            ra, dec = next(places)
            with query.run_query(text.format(ra, dec), site=site) as result:
                list(result.iterate_batches())

        return median(query_cone, 400, warm=50)


def measure_http() -> Iterator[Journey]:
    ready()
    alone = engine_cone() * 1e3
    with serve_site(SITE) as server:
        connection = server.connect()
        for name, address in (
            (
                "foundation.cone.tap",
                lambda ra, dec: tap(
                    f"SELECT {EIGHT} FROM tycho.main WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, 0.1))"
                ),
            ),
            ("foundation.cone.scs", lambda ra, dec: f"/cone/tycho.main?RA={ra}&DEC={dec}&SR=0.1"),
        ):
            places = iter(cones(700))
            value = median(lambda: _good(ask(connection, address(*next(places)))), 500, warm=100) * 1e3  # noqa: B023
            yield Journey(
                name=name,
                value=value,
                unit="ms",
                reference=alone,
                ratio=value - alone,
                target=1.5,
                note="ratio: ms more than the engine call",
            )
        yield _measure_crowd(server)
        trivial = median(lambda: _good(ask(connection, tap("SELECT TOP 1 tyc FROM tycho.main"))), 300, warm=50) * 1e3
        health = median(lambda: _good(ask(connection, "/health/live")), 300, warm=50) * 1e3
        yield against(
            "foundation.trivial",
            trivial,
            health,
            max(5.0, 2.0 / health),
            unit="ms",
            note="goal about 2 ms; reference: /health of the same server",
        )
        yield from _dumps(server, connection)


def _good(answer: tuple[int, bytes]) -> None:
    if answer[0] != 200:
        raise RuntimeError(f"HTTP {answer[0]}: {answer[1][:500]!r}")


def _measure_crowd(server: Server) -> Journey:
    """32 clients of mixed cones: wrk with a table of places."""
    script = CACHE / "cones.lua"
    lines = ",\n".join(f'"/cone/tycho.main?RA={ra}&DEC={dec}&SR=0.1"' for ra, dec in cones(5000))
    script.write_text(
        f"local paths = {{{lines}}}\nlocal at = 0\nrequest = function()\n at = at % #paths + 1\n return wrk.format('GET', paths[at])\nend\n"
    )
    command = ["wrk", "-t2", "-c32", "-d8s", "--latency", "-s", str(script), f"http://127.0.0.1:{server.port}"]
    subprocess.run([*command[:3], "-d2s", *command[4:]], check=True, capture_output=True)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))  # type: ignore[union-attr]
    failed = re.search(r"Non-2xx.*|Socket errors.*", text)
    p99 = re.search(r"99%\s+(\S+)", text)
    note = f"p99 {p99.group(1) if p99 else '?'}" + (f"; {failed.group(0)}" if failed else "")
    return against(
        "foundation.cones32", rate, 1200.0, 1.0 if not failed else 1e9, unit="cones/s", higher=True, note=note
    )


def _dumps(server: Server, connection: http.client.HTTPConnection) -> Iterator[Journey]:
    """1,000,000 rows x 8 columns in each format, against pyarrow writing the same rows as CSV to memory."""
    query = f"SELECT TOP 1000000 {EIGHT} FROM tycho.main"
    connection.request("GET", tap(query, "arrow"))
    table = pa.ipc.open_stream(connection.getresponse().read()).read_all()
    if table.num_rows != 1_000_000:
        raise RuntimeError(f"the dump has {table.num_rows} rows")
    pids = server.pids
    before = anonymous_peak(pids)
    peak = before
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, anonymous_peak(pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    firsts: dict[str, list[float]] = {}

    def ours(form: str) -> float:
        begun = time.perf_counter()
        connection.request("GET", tap(query, form))
        answer = connection.getresponse()
        answer.read(1)
        firsts.setdefault(form, []).append(time.perf_counter() - begun)
        while answer.read(1 << 20):
            pass
        return time.perf_counter() - begun

    def theirs() -> float:
        return measure_seconds(lambda: pacsv.write_csv(table, io.BytesIO()))

    goals = (("votable", 0.5), ("csv", 0.5), ("votable/td", 0.25), ("fits", 0.25), ("parquet", 0.25), ("arrow", 0.5))
    for form, goal in goals:
        ours(form)
        value, reference, ratio = pairs(lambda: ours(form), theirs, 5)  # noqa: B023
        yield Journey(
            name=f"foundation.dump.{form.replace('/', '-')}", value=1.0 / value, unit="Mrows/s", reference=1.0 / reference, ratio=1 / ratio, target=goal,
            higher=True, note=f"{value:.2f} s",
        )  # fmt: skip
    over.set()
    watcher.join()
    for form, _ in goals:
        first = statistics.median(firsts[form]) * 1e3
        yield against(
            f"foundation.first.{form.replace('/', '-')}", first, 20.0, 1.0, unit="ms", note="first byte, of 20 ms"
        )
    yield against(
        "foundation.memory",
        peak - before,
        300.0,
        1.0,
        unit="MiB",
        note="growth of anonymous memory in the dumps, of 300 MiB",
    )


# --- start and idle ------------------------------------------------------------------------------------------


def start() -> Iterator[Journey]:
    """Serve 20 collections from cold; then look at what two idle workers hold."""
    directory = CACHE / "site-20"
    small = CACHE / "small.csv"
    small.write_text("id,ra,dec,mag\n" + "".join(f"s{n},{n % 360},{n % 180 - 89.5},{n % 20}\n" for n in range(10_000)))
    for number in range(20):
        name = f"c{number:02d}"
        text = (
            f"collection: {name}\ntitle: Collection {number}\nsubjects: [stars]\ntables:\n  main:\n    position: [ra, dec]\n    primary: [id]\n"
            "    source: {{kind: csv, files: {file}}}\n    columns:\n      id: {{type: string, ucd: meta.id;meta.main}}\n      ra: {{unit: deg, ucd: pos.eq.ra;meta.main}}\n"
            "      dec: {{unit: deg, ucd: pos.eq.dec;meta.main}}\n      mag: {{type: float32, unit: mag, ucd: phot.mag}}\n"
        )
        site_of(directory, name, text, small)
        if not (directory / "var" / f".done-{name}").exists():
            measure_ingest(directory, name)
            (directory / "var" / f".done-{name}").touch()
    seconds = []
    idle = 0.0
    for number in range(3):
        with serve_site(directory) as server:
            seconds.append(server.seconds)
            if number == 2:
                connection = server.connect()
                for _ in range(20):
                    _good(ask(connection, tap("SELECT TOP 5 * FROM c05.main")))
                time.sleep(3)
                idle = pss(server.pids)
    yield against(
        "foundation.start",
        statistics.median(seconds),
        2.0,
        1.0,
        unit="s",
        note="first answer with 20 collections, of 2 s",
    )
    yield against(
        "foundation.idle", idle, 250.0, 1.0, unit="MiB", note="summed PSS, two workers, mapped data aside, of 250 MiB"
    )


# --- 5 x 10^7 rows -------------------------------------------------------------------------------------------


def fifty_million() -> Iterator[Journey]:
    """Ingest generated stars with flat memory; cones over them beside cones over 2.5 million."""
    from hven import query
    from hven.model import settings
    from hven.site import Site

    parquet = data.big_parquet()
    site_of(BIG_SITE, "big", BIG, parquet)
    shutil.rmtree(BIG_SITE / "var", ignore_errors=True)
    process = subprocess.Popen([HVEN, "ingest", "big", "--site", BIG_SITE], stdout=subprocess.DEVNULL)
    begun = time.perf_counter()
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous_peak([process.pid]))
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError("the ingest of 5 x 10^7 rows failed")
    yield against(
        "foundation.big.memory",
        peak,
        2048.0,
        1.0,
        unit="MiB",
        note=f"anonymous memory of the ingest, of 2 GiB; {seconds:.0f} s",
    )
    ready()
    # equal work: the radius makes equal counts
    radius = 0.1 * (data.TYCHO_ROWS / 50_000_000) ** 0.5
    with Site(settings.load_settings(SITE)) as small, Site(settings.load_settings(BIG_SITE)) as large:

        def measure_cone(
            site: Site, table: str, columns: str, sr: float, places: Iterator[tuple[float, float]]
        ) -> float:
            ra, dec = next(places)

            def call() -> None:
                with query.run_query(
                    f"SELECT {columns} FROM {table} WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, {sr}))",
                    site=site,
                ) as result:
                    list(result.iterate_batches())

            return measure_seconds(call)

        a, b = iter(cones(1200)), iter(cones(1200))
        for _ in range(100):
            measure_cone(large, "big.main", "*", radius, a)
            measure_cone(small, "tycho.main", EIGHT, 0.1, b)
        value, reference, ratio = pairs(
            lambda: measure_cone(large, "big.main", "*", radius, a),
            lambda: measure_cone(small, "tycho.main", EIGHT, 0.1, b),
            1000,
        )
    yield Journey(
        name="foundation.big.cone",
        value=value * 1e3,
        unit="ms",
        reference=reference * 1e3,
        ratio=ratio,
        target=1.5,
        note="beside 2.5 M rows, equal counts",
    )
