"""LSDB, in an environment of its own, opens what ``/hats/`` gives and what the engine keeps: strict validation, cones, a match, keys; LSDB, DuckDB and TAP find the same rows of 1,000 cones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec import filesystem

from hven import query
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins, settings
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT64
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine import open as open_hats
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import SourceContext
from plugin_needs import create_descriptor
from process_runner import Server, serve_site
from shared import EXAMPLES_FACTOR

PYTHON = os.environ.get("HVEN_LSDB", "")  # of an environment with lsdb and aiohttp
ROWS, CONES = (2_500_000, 1_000) if EXAMPLES_FACTOR > 1 else (150_000, 12)
STARS = """
collection: stars
title: Stars
description: Made up
licence_url: https://licence.example
creators: [{name: Hypatia}]
tables:
  main:
    primary: id
    source: {kind: parquet, files: stars.parquet}
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      g: {type: float32, unit: mag}
      name: string
"""
LSDB = """
import json, logging, sys, warnings
import dask, lsdb
from hats.io.validation import is_valid_catalog
warnings.simplefilter("ignore")
dask.config.set(scheduler="threads", num_workers=2)
url, cones = sys.argv[1], json.loads(sys.stdin.read())
said = {"valid": bool(is_valid_catalog(url, strict=True)), "cones": []}
for ra, dec, radius in cones:
    try:
        found = lsdb.open_catalog(url, search_filter=lsdb.ConeSearch(ra, dec, radius_arcsec=radius * 3600), columns=["id"]).compute()
        said["cones"].append(sorted(int(one) for one in found["id"]))
    except ValueError as error:
        assert "no coverage" in str(error), error
        said["cones"].append([])
whole = lsdb.open_catalog(url)
said["rows"] = len(whole)
said["key"] = [int(one) for one in whole.id_search(values={"id": [7, 4711]}).compute()["id"]]
cone = lsdb.ConeSearch(cones[0][0], cones[0][1], radius_arcsec=cones[0][2] * 3600)
one, two = (lsdb.open_catalog(url, search_filter=cone, columns=["id", "ra", "dec"]) for _ in range(2))
pairs = one.crossmatch(two, radius_arcsec=1, n_neighbors=1, suffixes=("_a", "_b")).compute()
said["pairs"] = sorted(int(a) for a, b in zip(pairs["id_a"], pairs["id_b"]) if a == b)
print(json.dumps(said))
"""


def places(rows: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Positions: all over the sky, and a dense field over a corner of four partitions, 0 h and the equator."""
    some = np.random.default_rng(8)
    lon, lat = some.uniform(0, 360, rows), np.degrees(np.arcsin(some.uniform(-1, 1, rows)))
    dense = rows // 3
    lon[:dense], lat[:dense] = some.normal(0, 2, dense) % 360, some.normal(0, 2, dense)
    return lon, lat


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("site")
    folder = directory / "collections" / "stars"
    folder.mkdir(parents=True)
    (directory / "hven.toml").write_text("")
    (folder / "stars.yaml").write_text(STARS)
    lon, lat = places(ROWS)
    magnitudes = np.random.default_rng(9).normal(15, 2, ROWS).astype("f4")
    pq.write_table(pa.table({"id": np.arange(ROWS), "ra": lon, "dec": lat, "g": magnitudes, "name": [f"S{at}" for at in range(ROWS)]}), folder / "stars.parquet")  # fmt: skip
    with Site(settings.load_settings(directory)) as site:
        ingest_collection(site, "stars")
    with serve_site(directory) as found:
        yield found


def cones() -> list[tuple[float, float, float]]:
    some = np.random.default_rng(10)
    found = []
    for at in range(CONES):
        if at % 2:
            place = some.normal(0, 2) % 360, some.normal(0, 2)
        else:
            place = some.uniform(0, 360), np.degrees(np.arcsin(some.uniform(-1, 1)))
        found.append((float(place[0]), float(place[1]), float(10 ** some.uniform(-2, 0.3))))
    return found


def files(server: Server) -> list[str]:
    base = f"{server.url}/hats/stars.main"
    said = urllib.request.urlopen(f"{base}/collection.properties", timeout=120).read().decode()
    state = next(line.split("=")[1] for line in said.splitlines() if line.startswith("hats_primary_table_url"))
    parts = pd.read_csv(f"{base}/{state}/partition_info.csv")
    return [f"{base}/{state}/dataset/Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}.parquet" for order, pixel in zip(parts["Norder"], parts["Npix"], strict=True)]  # fmt: skip


def test_lsdb_duckdb_and_tap_find_the_same_rows(server: Server, tmp_path: Path) -> None:
    wanted = cones()
    if PYTHON:
        done = subprocess.run([PYTHON, "-c", LSDB, f"{server.url}/hats/stars.main"], input=json.dumps(wanted), capture_output=True, text=True, check=False, timeout=7200)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        said = json.loads(done.stdout.splitlines()[-1])
        assert (said["valid"], said["rows"], sorted(said["key"])) == (True, ROWS, [7, 4711])
    names = []
    for at, url in enumerate(files(server)):
        place = tmp_path / f"{at}.parquet"
        place.write_bytes(urllib.request.urlopen(url, timeout=120).read())
        names.append(str(place))
    engine = duckdb.connect()
    engine.execute(
        "CREATE TABLE stars AS SELECT id, radians(ra) AS a, radians(dec) AS d FROM read_parquet($1)", [names]
    )
    rows = 0
    for at, (ra, dec, radius) in enumerate(wanted):
        query = f"SELECT id FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra!r}, {dec!r}, {radius!r}))"
        asked = urlencode({"QUERY": query, "LANG": "ADQL", "MAXREC": ROWS, "RESPONSEFORMAT": "csv"})
        answer = urllib.request.urlopen(f"{server.url}/tap/sync?{asked}", timeout=120).read()
        told = sorted(pd.read_csv(io.BytesIO(answer))["id"])
        found = engine.execute(
            "SELECT id FROM stars WHERE 2 * asin(sqrt(sin((d - radians($2)) / 2) ** 2 + cos(d) * cos(radians($2)) * sin((a - radians($1)) / 2) ** 2)) <= radians($3)",
            [ra, dec, radius],
        ).fetchall()  # fmt: skip
        assert told == sorted(one for (one,) in found), (ra, dec, radius)
        if PYTHON:
            assert said["cones"][at] == told, (ra, dec, radius)
            assert at or said["pairs"] == told
        rows += len(told)
    print(f"{CONES:,} cones of {ROWS:,} stars: {rows:,} rows, the same by DuckDB, TAP{' and LSDB' * bool(PYTHON)}")
    assert rows > CONES


def test_pyarrow_and_pandas_read_the_catalogue_over_http(server: Server) -> None:
    urls = files(server)
    data = ds.dataset(urls, filesystem=filesystem("http", block_size=65536), format="parquet")
    assert data.count_rows() == ROWS
    low, high = 2**57, 2**57 + 2**53
    some = data.to_table(filter=(ds.field("_healpix_29") >= low) & (ds.field("_healpix_29") < high))
    first = pd.read_parquet(urls[0])
    assert first["_healpix_29"].is_monotonic_increasing
    assert 0 < len(some) < ROWS / 10
    assert some["_healpix_29"].to_numpy().min() >= low


def test_what_is_published_is_taken_in_again(server: Server, tmp_path: Path) -> None:
    """`hven new` of the address of a table, of a collection, of a state."""
    (tmp_path / "collections").mkdir()
    (tmp_path / "hven.toml").write_text('allow_private = true\n[hats]\nroots = ["hats"]\n')
    state = files(server)[0].partition("/dataset/")[0]
    for name, address in (
        ("one", f"{server.url}/hats/stars.main"),
        ("two", f"{server.url}/hats/stars/"),
        ("three", state),
    ):
        text = create_descriptor(settings.load_settings(tmp_path), name, address).read_text()
        for line in (
            "title: Stars",
            "creators: [{name: Hypatia}]",
            'licence_url: "https://licence.example"',
            "engine: hats",
            "position: [ra, dec]",
            "{type: float32, unit: mag, ucd: phot.mag",
        ):
            assert line in text, (name, line)
        assert ("primary: [id]" in text) == (name != "three")  # a state by itself has no index
        with Site(settings.load_settings(tmp_path)) as site:
            assert ingest_collection(site, name).tables[f"{name}.main"].published == ROWS
            site.refresh_published_state()
            with query.run_query(
                f"SELECT COUNT(*) AS n, SUM(id) AS s FROM {name}.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 1.5))",
                OWNER_PRINCIPAL,
                site=site,
            ) as result:
                (here,) = result.read_table().to_pylist()
        asked = urlencode(
            {
                "QUERY": "SELECT COUNT(*) AS n, SUM(id) AS s FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 1.5))",
                "LANG": "ADQL",
                "RESPONSEFORMAT": "csv",
            }
        )
        there = pd.read_csv(io.BytesIO(urllib.request.urlopen(f"{server.url}/tap/sync?{asked}", timeout=120).read()))
        assert here == {"n": there["n"][0], "s": there["s"][0]}
        assert here["n"] > 1000
    assert not list((tmp_path / "hats").rglob("*.parquet"))


# --- from disk -----------------------------------------------------------------------------------------------------

DISK = """
import json, sys, warnings
import dask, lsdb
from hats.io.validation import is_valid_catalog
warnings.simplefilter("ignore")
dask.config.set(scheduler="threads", num_workers=2)
path, cones = sys.argv[1], json.loads(sys.stdin.read())
whole = lsdb.open_catalog(path)
said = {"valid": bool(is_valid_catalog(path, strict=True)), "index": bool(is_valid_catalog(path + "/index")), "rows": len(whole), "partitions": whole.npartitions}
said["cones"] = [sorted(int(one) for one in whole.cone_search(ra, dec, radius_arcsec=radius * 3600).compute()["id"]) for ra, dec, radius in cones]
said["key"] = [int(one) for one in whole.id_search(values={"id": [7, 4711]}, index_catalogs={"id": path + "/index"}).compute()["id"]]
ra, dec, radius = cones[0]
one, two = (lsdb.open_catalog(path, search_filter=lsdb.ConeSearch(ra, dec, radius_arcsec=radius * 3600), columns=["id", "ra", "dec"]) for _ in range(2))
pairs = one.crossmatch(two, radius_arcsec=0.01, n_neighbors=1, suffixes=("_a", "_b")).compute()
said["pairs"] = sorted(int(a) for a, b in zip(pairs["id_a"], pairs["id_b"]) if a == b)
print(json.dumps(said))
"""
CURVES = """
import sys, warnings
import dask, lsdb, numpy as np, pandas as pd
warnings.simplefilter("ignore")
dask.config.set(scheduler="synchronous")
some = np.random.default_rng(4)
stars = pd.DataFrame({"id": np.arange(400), "ra": some.uniform(0, 360, 400), "dec": np.degrees(np.arcsin(some.uniform(-1, 1, 400)))})
whose = np.repeat(np.arange(400), np.arange(400) % 7)
samples = pd.DataFrame({"star": whose, "ra": stars["ra"].to_numpy()[whose], "dec": stars["dec"].to_numpy()[whose], "mjd": some.uniform(5e4, 6e4, len(whose)), "mag": some.normal(15, 1, len(whose)).astype("f4"), "band": some.integers(0, 3, len(whose))})
objects, sources = (lsdb.from_dataframe(one, ra_column="ra", dec_column="dec", catalog_name=name, lowest_order=1, highest_order=1, margin_threshold=None) for one, name in ((stars, "stars"), (samples, "samples")))
nested = objects.join_nested(sources, left_on="id", right_on="star", nested_column_name="lc", how="left")
nested.write_catalog(sys.argv[1], catalog_name="curves")
samples.rename(columns={"star": "id"})[["id", "mjd", "mag", "band"]].astype({"mag": "f8"}).to_csv(sys.argv[2], index=False)
"""
TABLE = Table(
    schema="sky",
    name="stars",
    columns=(Column(name="id", type=INT64, ucd="meta.id;meta.main"), Column(name="ra", type=FLOAT64, unit="deg"), Column(name="dec", type=FLOAT64, unit="deg"), Column(name="g", type=FLOAT32, unit="mag", description="Magnitude")),
    primary=("id",),
    position=("ra", "dec"),
)  # fmt: skip


def run_on_snapshot(engine: Any, snapshot: Any, text: str, table: Table) -> pa.Table:
    bound = bind_query(parse_query(text), StaticTableCatalogue((table,)))
    execution = engine.plan_query(bound).execute(
        bound.literal_values, {table.qualified_name: snapshot}, ExecutionLimits()
    )
    return pa.Table.from_batches(execution, execution.schema)


def program(text: str, *words: str, said: str = "") -> str:
    done = subprocess.run([PYTHON, "-c", text, *words], input=said, capture_output=True, text=True, check=False, timeout=7200)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.needs("HVEN_LSDB")
def test_lsdb_reads_snapshots_of_the_engine_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hats_layout, "MAX_PARTITION_ROWS", ROWS // 20)
    monkeypatch.setattr(hats_layout, "ROW_GROUP_ROWS", 2048)
    engine: Any = open_hats(tmp_path / "snapshots", memory=1 << 30, roots=[str(tmp_path / "root")])
    lon, lat = places(ROWS)
    rows = pa.table([np.arange(ROWS), lon, lat, np.random.default_rng(9).normal(15, 2, ROWS).astype("f4")], schema=TABLE.arrow_schema)  # fmt: skip
    staging = engine.stage_snapshot(TABLE, "a")
    for batch in rows.to_batches(max_chunksize=50_000):
        staging.write(batch)
    snapshot = staging.finish()
    engine.note_published_snapshot(snapshot)
    wanted = cones()[:50]
    said = json.loads(
        program(DISK, str(engine.find_snapshot_directory(snapshot.path)), said=json.dumps(wanted)).splitlines()[-1]
    )
    assert (said["valid"], said["index"], said["rows"], sorted(said["key"])) == (True, True, ROWS, [7, 4711])
    assert said["partitions"] > 10
    for at, (ra, dec, radius) in enumerate(wanted):
        text = f"SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra!r}, {dec!r}, {radius!r}))"
        assert said["cones"][at] == sorted(run_on_snapshot(engine, snapshot, text, TABLE)["id"].to_pylist()), (
            ra,
            dec,
            radius,
        )
    assert said["pairs"] == said["cones"][0] != []
    # what the columns mean is read back from the catalogue
    kind: Any = plugins.load_plugin("sources", "hats")
    told = {
        one.name: one
        for one in kind.open(
            kind.Options(path=str(engine.find_snapshot_directory(snapshot.path))), SourceContext()
        ).columns()
    }
    assert [told[one.name].unit for one in TABLE.columns] == [one.unit for one in TABLE.columns]
    assert (told["id"].ucd, told["g"].description) == ("meta.id;meta.main", "Magnitude")
    engine.close()


@pytest.mark.needs("HVEN_LSDB")
@pytest.mark.parametrize("way", ["in place", "copied"])
def test_nested_light_curves_that_lsdb_wrote_are_served_as_arrays(tmp_path: Path, way: str) -> None:
    where, flat = tmp_path / "curves", tmp_path / "flat.csv"
    program(CURVES, str(where), str(flat))
    kind: Any = plugins.load_plugin("sources", "hats")
    source = kind.open(kind.Options(path=str(where)), SourceContext())
    columns = tuple(source.list_columns())
    assert {"lc_mjd", "lc_mag", "lc_band"} <= {column.name for column in columns}
    table = Table(schema="far", name="curves", columns=columns, position=("ra", "dec"))
    engine: Any = open_hats(tmp_path / "snapshots", memory=1 << 30, roots=[str(tmp_path / "root")])
    staging = engine.stage_snapshot(table, "a")
    if way == "copied":
        for batch in source.read_batches():
            staging.write(batch)
        snapshot = staging.finish()
    else:
        snapshot = staging.adopt(str(where))
    served = run_on_snapshot(engine, snapshot, "SELECT id, lc_mjd, lc_mag, lc_band FROM far.curves", table).to_pandas()
    assert len(served) == snapshot.rows == 400
    arrays = served.set_index("id")[["lc_mjd", "lc_mag", "lc_band"]].map(lambda one: [] if one is None else list(one))
    ours = arrays.explode(list(arrays.columns)).dropna().reset_index()
    theirs = pd.read_csv(flat)[["id", "mjd", "mag", "band"]]
    ours, theirs = (one.sort_values(list(one.columns)[:2]).to_numpy(float) for one in (ours, theirs))
    assert len(ours) == len(theirs) == sum(at % 7 for at in range(400))
    assert np.array_equal(ours, theirs)
    if way == "copied":  # and LSDB reads what was made of it
        opened = program("import sys, lsdb; print(len(lsdb.open_catalog(sys.argv[1]).compute()['lc_mag'].dropna()))", str(engine.find_snapshot_directory(snapshot.path)))  # fmt: skip
        assert int(opened.split()[-1]) in {400, 400 - len([at for at in range(400) if at % 7 == 0])}
    engine.close()
