"""EPN-TAP: a million rows of an SQL table, in SQLite and in PostgreSQL, become granules of 60 columns, with every check of the standard; ten collections in ivoa.obscore."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import peer
from bench.measure import CACHE, HVEN, Journey, against, anonymous_peak, free_port

SITE = CACHE / "site-epn"
SCRATCH = Path("/var/tmp/hven-bench-epn")  # where the account of PostgreSQL may write
DATABASE = "HVEN_BENCH_ROWS"  # the secret that has the address, for the port is another in each run
ROWS = 1_000_000
# a table as an instrument's archive has it: cubes of a mapping spectrometer, 20 columns
COLUMNS = (
    "cube_id TEXT, orbit INTEGER, cube_no INTEGER, ut_start TEXT, ut_stop TEXT, lon_w REAL, lon_e REAL, lat_s REAL, lat_n REAL, "
    "incidence_lo REAL, incidence_hi REAL, emission_lo REAL, emission_hi REAL, phase_lo REAL, phase_hi REAL, "
    "exposure REAL, solar_lon REAL, altitude REAL, file_size INTEGER, quality INTEGER"
)
DESCRIPTOR = """\
collection: cubes
title: Cubes of a mapping spectrometer
created: 2026-01-01
tables:
  plain:
    source: {kind: sql, file: rows.sqlite, table: cubes}
    follow: true
    columns: {}
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [access, thumbnail_url, file_name, solar_longitude, target_distance, bib_reference, publisher]
    source: {kind: sql, file: rows.sqlite, table: cubes}
    columns:
      orbit: {type: int32, description: Number of the orbit}
      cube_no: {type: int32, description: Number of the cube in its orbit}
      quality: {type: int32, description: Quality}
    set:
      dataproduct_type: sc
      measurement_type: phot.radiance;obs.image
      processing_level: 3
      target_name: Mars
      target_class: planet
      instrument_host_name: mex
      instrument_name: omega
      granule_gid: cube
      access_format: application/fits
      bib_reference: 2004ESASP1240...37B
      publisher: IDOC
      spectral_range_min: 5.7e+13
      spectral_range_max: 8.3e+14
      spectral_sampling_step_min: 1.0e+11
      spectral_sampling_step_max: 2.0e+12
      spectral_resolution_min: 100
      spectral_resolution_max: 200
    text:
      granule_uid: "{cube_id}_cube"
      obs_id: "{cube_id}"
      access_url: "https://data.example.org/cubes/{cube_id}.fits"
      thumbnail_url: "https://data.example.org/png/{cube_id}.png"
      file_name: "{cube_id}.fits"
    map:
      time_min: jd(parse_time(ut_start))
      time_max: jd(parse_time(ut_stop))
      time_exp_min: exposure / 1000
      c1min: lon_w
      c1max: lon_e
      c2min: lat_s
      c2max: lat_n
      incidence_min: incidence_lo
      incidence_max: incidence_hi
      emergence_min: emission_lo
      emergence_max: emission_hi
      phase_min: phase_lo
      phase_max: phase_hi
      solar_longitude_min: solar_lon
      target_distance_min: altitude
      access_estsize: file_size / 1024
      s_region: "'Polygon UNKNOWNFrame ' || CAST(lon_w AS VARCHAR) || ' ' || CAST(lat_s AS VARCHAR) || ' ' || CAST(lon_e AS VARCHAR) || ' ' || CAST(lat_s AS VARCHAR) || ' ' || CAST(lon_e AS VARCHAR) || ' ' || CAST(lat_n AS VARCHAR)"
"""


NEEDS = dict.fromkeys(("root", "PostgreSQL 15"), ("epn.postgres.granules", "epn.postgres.memory"))


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if not only or any(only in name for name in ("epn.granules", "epn.against_plain", "epn.checks", "epn.memory")):
        yield from granules()
    if not only or any(only in name for name in NEEDS["root"]):
        yield from measure_postgres()
    if not only or only in "epn.area":
        yield from areas()
    if not only or any(
        only in name for name in ("epn.obscore.cone", "epn.obscore.did", "epn.obscore.nothing", "epn.obscore.join")
    ):
        yield from observations()


def granules(rows: int = ROWS) -> Iterator[Journey]:
    """Ingest the rows as granules; beside it the same rows as they are, and the time that the checks alone take."""
    site = make_site(rows)
    peak, cpu = measure_ingest(site, "cubes")
    tables = newest(site)["tables"]
    spent = sum(tables["cubes.epn_core"]["seconds"].values())
    plain = sum(tables["cubes.plain"]["seconds"].values())
    checks = tables["cubes.epn_core"]["seconds"]["check"]
    yield against(
        "epn.granules",
        rate(tables["cubes.epn_core"]),
        100_000,
        1.0,
        unit="rows/s",
        higher=True,
        note=steps(tables["cubes.epn_core"]),
    )
    yield against(
        "epn.against_plain", spent, plain, 6.0, unit="s", note=f"as granules, and as they are; CPU of both {cpu:.1f} s"
    )
    yield against(
        "epn.checks", checks, spent, 0.5, unit="s", note=f"{len(tables['cubes.epn_core']['findings'])} findings"
    )
    yield against("epn.memory", peak, 1024, 1.0, unit="MiB", note="anonymous memory at its peak")


def measure_postgres(rows: int = ROWS) -> Iterator[Journey]:
    """The same rows from PostgreSQL, whose server works on the same machine."""
    site = make_site(rows)
    with serve_postgres(site, rows):
        peak, cpu = measure_ingest(site, "served")
    table = newest(site)["tables"]["served.epn_core"]
    note = f"{steps(table)}; CPU without the server's {cpu:.1f} s"
    yield against("epn.postgres.granules", rate(table), 100_000, 1.0, unit="rows/s", higher=True, note=note)
    yield against("epn.postgres.memory", peak, 1024, 1.0, unit="MiB", note="anonymous memory at its peak")


def measure_ingest(site: Path, name: str) -> tuple[float, float]:
    """Ingest a collection; gives its memory at its peak (MiB) and its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0.0
    process = subprocess.Popen([HVEN, "--site", site, "ingest", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None:
        peak = max(peak, anonymous_peak([process.pid]))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(process.stdout.read().decode() if process.stdout is not None else "")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return peak, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rate(table: dict[str, Any]) -> float:
    """Give granules per second, over all steps."""
    return float(table["published"] / sum(table["seconds"].values()))


def steps(table: dict[str, Any]) -> str:
    """Say how long each step took."""
    return ", ".join(f"{step} {value:.1f} s" for step, value in table["seconds"].items())


@contextlib.contextmanager
def serve_postgres(site: Path, rows: int) -> Iterator[None]:
    """Run a PostgreSQL that has the rows, with default settings, and make the collection that reads them."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam(peer.OWNER)
    os.chown(SCRATCH, account.pw_uid, account.pw_gid)
    place = site / "collections" / "served"
    place.mkdir(parents=True, exist_ok=True)
    plain, sep, core = DESCRIPTOR.partition("  epn_core:\n")
    core = core.replace("file: rows.sqlite", f"url: ${DATABASE}")
    (place / "served.yaml").write_text(
        f"{plain.partition('  plain:')[0].replace('collection: cubes', 'collection: served')}{sep}{core}"
    )
    port = free_port()
    with peer.cluster(SCRATCH, port):
        os.environ[DATABASE] = f"postgresql://{peer.OWNER}@127.0.0.1:{port}/postgres"
        fill_postgres(site, rows)
        yield


def fill_postgres(site: Path, rows: int) -> None:
    """Copy the rows from SQLite, unless they are there."""
    import psycopg

    with psycopg.connect(os.environ[DATABASE], autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('cubes') IS NOT NULL").fetchone() == (True,):
            if connection.execute("SELECT count(*) FROM cubes").fetchone() == (rows,):
                return
            connection.execute("DROP TABLE cubes")
        connection.execute(f"CREATE TABLE cubes ({COLUMNS.replace('REAL', 'double precision')})")
        with (
            sqlite3.connect(site / "collections" / "cubes" / "rows.sqlite") as there,
            connection.cursor().copy("COPY cubes FROM STDIN") as copy,
        ):
            for row in there.execute("SELECT * FROM cubes"):
                copy.write_row(row)
        connection.execute("VACUUM ANALYZE cubes")


def make_site(rows: int) -> Path:
    """Make the site with its SQLite file; the numbers are of a fixed seed."""
    place = SITE / "collections" / "cubes"
    if not (SITE / "hven.toml").exists():
        SITE.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([HVEN, "init", SITE], check=True, capture_output=True)
    shutil.rmtree(SITE / "var", ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    (place / "cubes.yaml").write_text(DESCRIPTOR)
    path = place / "rows.sqlite"
    if path.exists():
        with sqlite3.connect(path) as there:
            if there.execute("SELECT COUNT(*) FROM cubes").fetchone()[0] == rows:
                return SITE
        path.unlink()
    random = np.random.default_rng(5)
    number = np.arange(rows)
    lon, lat = random.uniform(0, 350, rows).round(3), random.uniform(-85, 80, rows).round(3)
    low = random.uniform(0, 40, (3, rows)).round(2)
    start = np.datetime64("2004-01-10") + (number * 97).astype("timedelta64[s]")
    columns = [
        np.char.add("ORB", np.char.add(np.char.zfill((number // 12).astype(str), 6), np.char.add("_", (number % 12).astype(str)))), number // 12, number % 12,
        np.datetime_as_string(start), np.datetime_as_string(start + np.timedelta64(60, "s")),
        lon, (lon + 8).round(3), lat, (lat + 4).round(3), low[0], low[0] + 10, low[1], low[1] + 10, abs(low[0] - low[1]), low[0] + low[1],
        random.choice([50.0, 100.0, 200.0], rows), random.uniform(0, 360, rows).round(3), random.uniform(300, 9000, rows).round(1),
        random.integers(10_000, 90_000_000, rows), random.integers(0, 4, rows),
    ]  # fmt: skip
    with sqlite3.connect(path) as there:
        there.execute(f"CREATE TABLE cubes ({COLUMNS})")
        there.executemany(
            f"INSERT INTO cubes VALUES ({', '.join('?' * len(columns))})",
            zip(*(column.tolist() for column in columns), strict=True),
        )
    return SITE


OBSERVED = CACHE / "site-obscore"
COLLECTIONS, EACH = 10, 20_000
IMAGES = """\
collection: c{n}
title: Images
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: ident
    columns:
      ident: {{type: string, description: Name}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}}
      wave: {{type: float64, unit: nm, ucd: em.wl, description: Wavelength}}
      start: {{type: timestamp, description: Begin}}
      n: {{type: int32, description: Number}}
    obscore:
      set: {{dataproduct_type: image, calib_level: 2, obs_collection: c{n}, facility_name: OHP, access_format: application/fits}}
      text: {{obs_title: "Image {{ident}} of {{n}}", access_url: "https://x.org/{{ident}}.fits"}}
      map:
        em_min: wave
        em_max: wave
        t_min: mjd(start)
        t_max: mjd(start)
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      optional: obs_title
"""


def observations() -> Iterator[Journey]:
    """Ask ivoa.obscore of ten collections for what one of them has: CPU time, beside DuckDB's over rows of as many columns."""
    import duckdb
    import pyarrow as pa

    from hven import query
    from hven.model import settings
    from hven.site import Site

    make_observation_site()
    with Site(settings.load_settings(OBSERVED), watch_for_changes=False) as site:

        def ask(text: str) -> pa.Table:
            with query.run_query(text, site=site) as result:
                return pa.Table.from_batches(
                    list(result.iterate_batches()), schema=pa.schema([(c.name, c.type.arrow) for c in result.columns])
                )

        def cone(i: int) -> str:
            return f"SELECT * FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE({18 + 36 * (i % 10)}, {10 + i % 7}, 0.5))"

        def did(i: int) -> str:
            return f"SELECT * FROM ivoa.obscore WHERE obs_publisher_did = 'ivo://example.org/c{i % 10}?c{i % 10}_{i * 37 % EACH}'"

        def nothing(i: int) -> str:
            return did(i).replace("?c", "?d")

        rows = ask(cone(0))
        with duckdb.connect() as connection:
            connection.register("rows", rows)
            plain = spent(lambda i: connection.execute(f"SELECT * FROM rows WHERE s_ra > {i}").fetch_arrow_table())
        for name, text, few, bound in (
            ("cone", cone, (1, 100), 3.3),
            ("did", did, (1, 1), 2.5),
            ("nothing", nothing, (0, 0), 1.0),
        ):
            if not few[0] <= ask(text(3)).num_rows <= few[1]:
                raise RuntimeError(f"epn.obscore.{name}: {ask(text(3)).num_rows} rows")
            value = spent(lambda i: ask(text(i)))  # noqa: B023
            yield against(
                f"epn.obscore.{name}",
                value,
                plain,
                bound,
                unit="ms",
                note="CPU; beside DuckDB over the same rows alone",
            )

        def join(i: int, other: str = "ivoa.obscore AS o ON DISTANCE(o.s_ra, o.s_dec") -> str:
            where = f"DISTANCE(j.ra, j.dec, {18 + 36 * (i % 10)}, {10 + i % 7}) < 3"
            return f"SELECT COUNT(*) AS n FROM c{i % 10}.main AS j JOIN {other}, j.ra, j.dec) < 0.05 WHERE {where}"

        def members(i: int) -> int:
            return sum(
                ask(join(i, f"c{n}.main AS o ON DISTANCE(o.ra, o.dec"))["n"][0].as_py() for n in range(COLLECTIONS)
            )

        if not ask(join(3))["n"][0].as_py() == members(3) > 10:
            raise RuntimeError("epn.obscore.join: the pairs are not those of the members")
        alone, value = spent(members, 60), spent(lambda i: ask(join(i)), 60)
        yield against(
            "epn.obscore.join",
            value,
            alone,
            1.5,
            unit="ms",
            note="CPU; beside the same joins with each of the ten members",
        )


def areas(rows: int = 1_000) -> Iterator[Journey]:
    """AREA of 1,000 outlines, polygons and unions of two: CPU time, beside the reading of the same column."""
    import pyarrow as pa

    from hven import query
    from hven.model import settings
    from hven.model.table import Column, Table
    from hven.model.types import REGION
    from hven.site import Site

    random = np.random.default_rng(9)
    corners = np.stack([random.uniform(0, 300, rows), random.uniform(-60, 60, rows)], 1).round(3).tolist()

    def square(x: float, y: float) -> str:
        return f"Polygon {x} {y} {x + 1} {y} {x + 1} {y + 1} {x} {y + 1}"

    kinds = {
        "polygons": [square(x, y) for x, y in corners],
        "unions": [f"Union ICRS ({square(x, y)} {square(x + 3, y)})" for x, y in corners],
    }
    (CACHE / "site-areas").mkdir(parents=True, exist_ok=True)
    with Site(settings.Settings(directory=CACHE / "site-areas"), watch_for_changes=False) as site:
        for kind, texts in kinds.items():
            upload = {
                "TAP_UPLOAD.o": (
                    Table(schema="TAP_UPLOAD", name="o", columns=(Column(name="o", type=REGION),)),
                    pa.table({"o": texts}),
                )
            }

            def ask(what: str) -> float:
                with query.run_query(f"SELECT {what} AS v FROM TAP_UPLOAD.o", site=site, uploads=upload) as result:  # noqa: B023
                    return float(sum(batch.num_rows for batch in result.iterate_batches()))

            plain, value = spent(lambda _: ask("o"), 60), spent(lambda _: ask("AREA(o)"), 60)
            yield against(
                f"epn.area.{kind}",
                value,
                plain,
                {"polygons": 50.0, "unions": 80.0}[kind],
                unit="ms",
                note=f"CPU for {rows:,}; beside the column as it is",
            )


def spent(call: Callable[[int], object], times: int = 150) -> float:
    """Give the CPU time of a call, ms: the median of fifteen runs of ten."""
    for number in range(40):
        call(number)
    found = []
    for begin in range(0, times, 10):
        begun = time.process_time()
        for number in range(begin, begin + 10):
            call(number)
        found.append((time.process_time() - begun) * 100)
    return statistics.median(found)


def make_observation_site() -> None:
    """Make the site with its collections; each has a strip of the sky of its own."""
    if (OBSERVED / "ready").exists():
        return
    shutil.rmtree(OBSERVED, ignore_errors=True)
    subprocess.run([HVEN, "init", OBSERVED], check=True, capture_output=True)
    for n in range(COLLECTIONS):
        place = OBSERVED / "collections" / f"c{n}"
        place.mkdir(parents=True)
        (place / f"c{n}.yaml").write_text(IMAGES.format(n=n))
        random = np.random.default_rng(n)
        ra, dec = random.uniform(36 * n, 36 * n + 36, EACH), np.degrees(np.arcsin(random.uniform(-1, 1, EACH)))
        lines = [
            f"c{n}_{i},{ra[i]:.6f},{dec[i]:.6f},{500 + i % 7},2004-01-{i % 28 + 1:02d}T00:00:00,{i}"
            for i in range(EACH)
        ]
        (place / "rows.csv").write_text("\n".join(["ident,ra,dec,wave,start,n", *lines]) + "\n")
        subprocess.run([HVEN, "--site", OBSERVED, "ingest", f"c{n}"], check=True, capture_output=True)
    (OBSERVED / "ready").touch()


def newest(site: Path) -> dict[str, Any]:
    """Read the report of the last ingest."""
    paths = sorted(site.glob("var/rejects/*/report.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, Any] = json.loads(paths[-1].read_text())
    return found
