"""The far road on a real server: the query half of the engines' contract, queries against the embedded engine's rows, refusals and failures."""

from __future__ import annotations

import os
import platform
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spark_cluster import run_cluster
from test_hats_catalogues import write_nested_catalogue
from test_hats_descriptors import directories, rename_columns

from hven import __version__ as hven_version
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import Literal, TableRef, transform_tree
from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines._row_preparation import compute_position_keys
from hven.engines.duckdb.engine import DuckEngine
from hven.model.errors import EvaluationError, OperationCancelledError, StorageError, StorageUnavailableError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, parse_type
from hven.plugins.hats.engine import open as open_hats
from hven.plugins.spark.cluster import SparkCluster
from hven.plugins.spark.cluster_plan import HatsSparkCluster, SparkClusterPlan
from hven.testing.engine import STARS_TABLE, EngineContract, make_star_table
from process_runner import run_hven

pytestmark = [pytest.mark.outside, pytest.mark.slow]
OBJECTS = Table(
    schema="TAP_UPLOAD", name="objects",
    columns=(Column(name="n", type=INT64), Column(name="ra", type=FLOAT64, unit="deg"), Column(name="dec", type=FLOAT64, unit="deg"), Column(name="label", type=STRING), Column(name="err", type=FLOAT64, unit="deg")),
)  # fmt: skip


@pytest.fixture(scope="module")
def running():
    with run_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def spark_cluster(running):
    opened = SparkCluster(running.url)
    yield opened
    opened.close()


def write_cells(table, rows, directory, files=3):
    """Write rows as the engine stores them: by cells, which are the first column, in several files."""
    directory.mkdir(parents=True, exist_ok=True)
    if table.position is not None:
        keys = compute_position_keys(*(rows.column(name) for name in table.position))
        rows = rows.add_column(0, "_healpix_29", pa.array(keys)).sort_by("_healpix_29")
    step = -(-rows.num_rows // files) or 1
    paths = []
    for number in range(files):
        path = directory / f"Npix={number}.parquet"
        pq.write_table(rows.slice(number * step, step), path, row_group_size=1000)
        paths.append(str(path))
    return paths


class TestFar(EngineContract):
    """What the contract asks of queries and of engines with workers, of the engine itself: whatever is no plain row of a table is far."""

    for _name in [name for name in vars(EngineContract) if name.startswith("test_")]:
        if _name not in {
            "test_conditions_order_and_groups",
            "test_cones_find_what_astropy_finds",
            "test_batches_have_the_types_of_the_query",
            "test_an_execution_returns_one_row_more_than_the_limit",
            "test_timeouts_and_cancellation",
            "test_a_lost_worker_changes_no_answer",
        }:
            vars()[_name] = None  # of what is stored: tests/plugins/hats/test_hats.py

    @pytest.fixture(autouse=True)
    def _server(self, running):
        self._running = running

    def open(self, directory):
        roots = [str(directory.with_name("hats"))]
        open_cluster = partial(HatsSparkCluster, self._running.url)
        return open_hats(directory, memory=1 << 28, roots=roots, open_cluster=open_cluster, near_bytes=0)

    def kill_worker(self):
        self._running.kill_worker()


QUERIES = (
    "SELECT COUNT(*) AS n, COUNT(mag) AS m, MIN(ra) AS a, MAX(dec) AS b FROM sky.stars",
    "SELECT band, COUNT(*) AS n, AVG(mag) AS a, STDDEV(mag) AS s FROM sky.stars GROUP BY band",
    "SELECT band, name, SUM(band) AS s FROM sky.stars GROUP BY band, name HAVING COUNT(*) > 1",
    "SELECT TOP 7 id, mag FROM sky.stars WHERE mag IS NOT NULL ORDER BY mag DESC, id",
    "SELECT id, seen FROM sky.stars WHERE seen > '2000-03-01' AND seen < '2000-03-03'",
    "SELECT id, flux, flux[2] AS f FROM sky.stars WHERE id < 9",
    "SELECT IVO_HEALPIX_INDEX(4, ra, dec) AS cell, COUNT(*) AS n FROM sky.stars GROUP BY IVO_HEALPIX_INDEX(4, ra, dec)",
    "SELECT IVO_HEALPIX_INDEX(9, dec, ra) AS cell FROM sky.stars WHERE id < 60 AND ra < 80",
    "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), POLYGON(10, 10, 40, 10, 40, 40, 10, 40)) = 1",
    "SELECT id, DISTANCE(ra, dec, 10, 20) AS d FROM sky.stars WHERE DISTANCE(ra, dec, 10, 20) < 9",
    "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(0, 90, 120)) = 0 AND id < 500",
    "SELECT id FROM sky.stars WHERE INTERSECTS(CIRCLE(ra, dec, 3), BOX(100, 30, 5, 5)) = 1",
    "SELECT id, CENTROID(POLYGON(ra, dec, ra + 1, dec, ra + 1, dec + 1)) AS p FROM sky.stars WHERE id < 20 AND ABS(dec) < 60",
    "SELECT id, AREA(CIRCLE(ra, dec, 2)) AS a FROM sky.stars WHERE id < 20",
    "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON a.id = b.id + 1 WHERE a.band = 2",
    "SELECT a.id AS x, b.n AS y FROM sky.stars AS a LEFT JOIN TAP_UPLOAD.objects AS b ON a.id = b.n WHERE a.id < 300",
    "SELECT a.id AS x, b.n AS y FROM sky.stars AS a JOIN TAP_UPLOAD.objects AS b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 0.01))",
    "SELECT a.id AS x, b.n AS y, b.label FROM TAP_UPLOAD.objects AS b, sky.stars AS a WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 2",
    "SELECT a.id AS x, b.n AS y FROM sky.stars AS a JOIN TAP_UPLOAD.objects AS b ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= 12.5 AND a.band = 1",
    "SELECT b.n AS y, COUNT(a.id) AS n FROM TAP_UPLOAD.objects AS b LEFT JOIN sky.stars AS a ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.5 GROUP BY b.n",
    "SELECT a.id AS x, b.n AS y FROM sky.stars AS a JOIN TAP_UPLOAD.objects AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) <= b.err",
    "SELECT a.id AS x, b.n AS y FROM sky.stars AS a LEFT JOIN TAP_UPLOAD.objects AS b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, b.err)) WHERE a.id < 700",
    "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 4 AND a.id < b.id",
    "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 1e-5)) = 1",
    "SELECT id FROM sky.stars WHERE name LIKE 'star 4_ %' AND id < 3000",
    "SELECT id, UPPER(name) AS u, LENGTH(name) AS l FROM sky.stars WHERE id < 30",
    "SELECT id, name || '-' || name AS n FROM sky.stars WHERE id < 30",
    "SELECT id, CAST(mag AS VARCHAR) AS t, CAST(mag * 1e9 AS VARCHAR) AS big, CAST(mag / 1e6 AS VARCHAR) AS small, CAST(mag * 1e20 AS VARCHAR) AS huge FROM sky.stars WHERE id < 300",
    "SELECT id, CAST(mag AS INTEGER) AS n, ROUND(mag, 1) AS r, TRUNCATE(mag) AS t, FLOOR(mag) AS f, CEILING(mag) AS c FROM sky.stars WHERE id < 300",
    "SELECT id, mag / (band - 2) AS q, id % 7 AS m, MOD(id, band) AS z, id / 7 AS w FROM sky.stars WHERE id < 300",
    "SELECT id, SQRT(mag - 3) AS s, LOG(mag - 3) AS l, LOG10(mag) AS t, POWER(mag, 2.5) AS p, ATAN2(ra, dec) AS a FROM sky.stars WHERE id < 300",
    "SELECT id, CASE WHEN mag < 3 THEN 'bright' WHEN mag < 6 THEN 'middle' ELSE 'faint' END AS c FROM sky.stars WHERE id < 100",
    "SELECT id, COALESCE(mag, 99) AS m, GREATEST(ra, dec) AS g FROM sky.stars WHERE id < 300",
    "SELECT DISTINCT band FROM sky.stars",
    "SELECT COUNT(DISTINCT name) AS n, MEDIAN(mag) AS m FROM sky.stars",
    "SELECT id FROM sky.stars WHERE id IN (1, 2, 3, 99999) OR id BETWEEN 4000 AND 4003",
    "SELECT id FROM sky.stars WHERE NOT (mag > 1) AND band = 4",
    "SELECT id FROM sky.stars AS s WHERE EXISTS (SELECT 1 FROM TAP_UPLOAD.objects AS o WHERE o.n = s.id)",
    "SELECT id FROM sky.stars WHERE id IN (SELECT n FROM TAP_UPLOAD.objects WHERE label LIKE 'o%')",
    "SELECT id FROM sky.stars WHERE mag > (SELECT AVG(mag) + 4 FROM sky.stars)",
    "WITH q AS (SELECT band, AVG(mag) AS a FROM sky.stars GROUP BY band) SELECT s.id FROM sky.stars AS s JOIN q ON s.band = q.band WHERE s.mag > q.a + 4.5",
    "SELECT id FROM sky.stars WHERE id < 5 UNION SELECT n AS id FROM TAP_UPLOAD.objects WHERE n < 7",
    "SELECT id FROM sky.stars WHERE id < 200 EXCEPT SELECT n AS id FROM TAP_UPLOAD.objects",
    "SELECT id FROM sky.stars INTERSECT SELECT n AS id FROM TAP_UPLOAD.objects",
    "SELECT id, RANK() OVER (PARTITION BY band ORDER BY mag) AS r FROM sky.stars WHERE id < 50",
    "SELECT id, SUM(mag) OVER (PARTITION BY band) AS s FROM sky.stars WHERE id < 50",
    "SELECT id, IVO_TO_JD(seen) AS jd, IVO_TO_MJD(seen) AS mjd FROM sky.stars WHERE id < 40",
    "SELECT MIN(seen) AS a, MAX(seen) AS b FROM sky.stars",
    "SELECT n, IVO_HASHLIST_HAS('a#o 3#b', label) AS h, IVO_NOCASEMATCH(label, 'O %') AS c FROM TAP_UPLOAD.objects",
    "SELECT band, IVO_HISTOGRAM(mag, 0, 10, 4) AS h FROM sky.stars GROUP BY band",
    "SELECT COUNT(*) AS n FROM sky.stars WHERE ra + 0 > 1e300 OR dec IS NULL",
    "SELECT id, IVO_EPOCH_PROP_POS(ra, dec, 0, 100, -50, 0, 2000, 2016) AS p FROM sky.stars WHERE id < 25 AND ra IS NOT NULL",
    "SELECT id, arr_sum(flux) AS s, arr_avg(flux) AS a, arr_length(flux) AS l FROM sky.stars WHERE id < 25",
)  # fmt: skip


ERRORS = (0.01, 3.0, None, 0.0001, 0.5, float("nan"), 0.0)


def objects():
    """Make an upload: positions, of which each has its own error, beside some of the stars, at the poles, at the meridian, and none."""
    some = make_star_table().take(pa.array(range(0, 5000, 61)))
    ra = [None if value is None else value + 0.003 for value in some["ra"].to_pylist()] + [0.0, 359.9999, 10.0, None]
    dec = [*some["dec"].to_pylist(), 90.0, -89.9999, 20.0, 5.0]
    number = pa.array(range(len(ra)), pa.int64())
    return pa.table({"n": number, "ra": pa.array(ra, pa.float64()), "dec": pa.array(dec, pa.float64()), "label": [f"o {n}" for n in range(len(ra))], "err": [ERRORS[n % len(ERRORS)] for n in range(len(ra))]})  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {"sky.stars": write_cells(STARS_TABLE, make_star_table(), tmp_path_factory.mktemp("stars"), 4)}


@pytest.fixture(scope="module")
def embedded_engine(tmp_path_factory):
    engine = DuckEngine(tmp_path_factory.mktemp("embedded"), memory_bytes=256 * 1024**2, thread_count=1)
    yield engine
    engine.close()


def bind_text(text):
    return bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE, OBJECTS]))


def run_on_cluster(spark_cluster, text, files, limits=None):
    bound = bind_text(text)
    execution = SparkClusterPlan(spark_cluster, bound).execute(
        bound.literal_values, {"TAP_UPLOAD.objects": MemoryRelation(objects())}, limits or ExecutionLimits(), files
    )
    return pa.Table.from_batches(execution, schema=execution.schema)


def comparable(rows, ordered):
    """Round numbers to 12 digits, and sort rows that have no order."""

    def plain(value):
        if isinstance(value, float):
            return None if np.isnan(value) else float(f"{value:.11e}")
        return [plain(item) for item in value] if isinstance(value, list) else value

    found = [tuple(plain(value) for value in row.values()) for row in rows.to_pylist()]
    return found if ordered else sorted(found, key=repr)


@pytest.mark.parametrize("text", ["SELECT label || 'x' AS t FROM TAP_UPLOAD.objects", "SELECT id, label || name AS t FROM sky.stars AS s LEFT JOIN TAP_UPLOAD.objects AS o ON s.id = o.n WHERE id < 9"])  # fmt: skip
def test_a_branch_that_no_row_takes_fails_no_query(spark_cluster, files, text):
    bound = bind_text(text)
    nothing = {"TAP_UPLOAD.objects": MemoryRelation(objects().slice(0, 0))}
    execution = SparkClusterPlan(spark_cluster, bound).execute(bound.literal_values, nothing, ExecutionLimits(), files)
    assert sum(batch.num_rows for batch in execution) == (9 if "stars" in text else 0)


@pytest.mark.parametrize("text", QUERIES)
def test_rows_equal_those_of_the_embedded_engine(spark_cluster, embedded_engine, files, text):
    bound = bind_text(text)
    relations = {"sky.stars": MemoryRelation(make_star_table()), "TAP_UPLOAD.objects": MemoryRelation(objects())}
    execution = embedded_engine.plan_query(bound).execute(bound.literal_values, relations, ExecutionLimits())
    wanted = pa.Table.from_batches(execution, schema=execution.schema)
    found = run_on_cluster(spark_cluster, text, files)
    assert found.schema == wanted.schema
    ordered = "ORDER BY mag" in text and "OVER" not in text
    assert comparable(found, ordered) == comparable(wanted, ordered)
    assert found.num_rows


# --- values --------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT CAST(name AS INTEGER) AS n FROM sky.stars WHERE id = 3", "'star .* cannot be read"),
        ("SELECT id + 9223372036854775807 AS n FROM sky.stars WHERE id = 1", "out of the range"),
        ("SELECT id FROM sky.stars WHERE mag = (SELECT n FROM TAP_UPLOAD.objects)", "several rows"),
        ("SELECT name || name || name || name || name AS n FROM sky.stars AS s WHERE CAST(name AS CHAR(32768)) || name > 'a'", "bytes would be built"),
        ("SELECT IVO_EPOCH_PROP_POS(ra, dec, 0, 0, 0, 0, NULL + 2000, 2016) AS p FROM sky.stars WHERE id = 1", "ref_epoch is NULL"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_said(spark_cluster, files, text, said):
    with pytest.raises(EvaluationError, match=said):
        run_on_cluster(spark_cluster, text, files)


def test_many_rows_in_memory_are_sent_to_the_cluster_once(spark_cluster):
    """More than fit into one message are sent before the query, once."""
    count = 300_000
    rows = pa.table({"n": pa.array(range(count), pa.int64()), "ra": pa.array(np.arange(count) % 360.0), "dec": pa.array([0.0] * count), "label": [f"o {n}" for n in range(count)], "err": pa.nulls(count, pa.float64())})  # fmt: skip
    bound = bind_text("SELECT COUNT(*) AS c, SUM(n) AS s, COUNT(DISTINCT label) AS l FROM TAP_UPLOAD.objects")
    plan = SparkClusterPlan(spark_cluster, bound)
    for _ in range(2):
        found = pa.Table.from_batches(
            list(
                plan.execute(bound.literal_values, {"TAP_UPLOAD.objects": MemoryRelation(rows)}, ExecutionLimits(), {})
            )
        )
        assert found.to_pylist() == [{"c": count, "s": count * (count - 1) // 2, "l": count}]


def test_conditions_are_not_computed_for_hidden_rows(spark_cluster, files):
    """A condition that fails for a hidden row is not computed for it, wherever the cluster tests it."""
    filters = bind_query(
        parse_query("SELECT id FROM sky.stars AS s WHERE s.band <> 3 AND s.mag < 9"),
        StaticTableCatalogue([STARS_TABLE]),
    ).query.body.where

    def hide(node):
        return (
            replace(node, where=transform_tree(filters, own))
            if isinstance(node, TableRef) and node.table is STARS_TABLE
            else node
        )

    def own(node):
        if isinstance(node, Literal):
            return replace(node, slot=-1)  # of the filter, and not of the query
        return replace(node, source=0) if getattr(node, "source", None) == 1 else node

    bound = bind_text(
        "SELECT COUNT(*) AS n, MAX(band) AS b FROM sky.stars WHERE CAST(CASE WHEN band = 3 THEN 'x' ELSE '1' END AS INTEGER) = 1"
    )
    with pytest.raises(EvaluationError):
        run_on_cluster(
            spark_cluster,
            "SELECT COUNT(*) AS n FROM sky.stars WHERE CAST(CASE WHEN band = 3 THEN 'x' ELSE '1' END AS INTEGER) = 1",
            files,
        )
    hidden = replace(bound, query=transform_tree(bound.query, hide))
    plan = SparkClusterPlan(spark_cluster, hidden)
    (row,) = pa.Table.from_batches(list(plan.execute(hidden.literal_values, {}, ExecutionLimits(), files))).to_pylist()
    shown = [
        row for row in make_star_table().to_pylist() if row["band"] != 3 and row["mag"] is not None and row["mag"] < 9
    ]
    assert row == {"n": len(shown), "b": 4}


# --- the cluster ---


def test_a_check_describes_the_cluster(running, tmp_path):
    """``hven check`` asks it, whether somebody used it or not."""
    run_hven("init", site := tmp_path / "site")
    (site / "hats").mkdir()
    (site / "hven.toml").write_text(f'[hats]\nroots = ["hats", "/nowhere/at/all"]\nspark = "{running.url}"\n')
    told = run_hven("check", "--site", site).stdout
    here = f"Python {platform.python_version()} with Hven {hven_version} on 1 host"
    assert re.search(rf"the cluster at 127.0.0.1:\d+: {running.called}.*, {here}", told)
    assert re.search(
        rf"warning: .*the root /nowhere/at/all of .hats. is not visible to {running.blind}\S+ of the cluster; mount ",
        told,
    )
    assert "0 errors, 1 warning" in told


def test_a_file_that_is_cut_off_is_named(spark_cluster, tmp_path):
    paths = write_cells(STARS_TABLE, make_star_table(), tmp_path / "x")
    text = "SELECT SUM(mag) AS s FROM sky.stars"
    os.truncate(paths[1], Path(paths[1]).stat().st_size // 2)
    with pytest.raises(StorageError, match=r"cannot read a file of the table: .*Npix=1.parquet"):
        run_on_cluster(spark_cluster, text, {"sky.stars": paths})


def test_a_file_that_is_gone_is_named(spark_cluster, tmp_path):
    paths = write_cells(STARS_TABLE, make_star_table(), tmp_path / "x")
    Path(paths[1]).unlink()
    with pytest.raises(StorageError, match=r"cannot find a file of the table: .*Npix=1.parquet"):
        run_on_cluster(spark_cluster, "SELECT SUM(mag) AS s FROM sky.stars", {"sky.stars": paths})


def test_foreign_catalogues_are_read_unchanged(running, tmp_path):
    """Partitions that are directories, columns by other names and within structs: the cluster gives the rows of the near road."""
    where = directories(rename_columns(write_nested_catalogue(tmp_path / "far")[0]))
    said = (where / "hats.properties").read_text()
    (where / "hats.properties").write_text(said.replace("hats_col_ra=ra", "hats_col_ra=RA").replace("hats_col_dec=dec", "hats_col_dec=DEC"))  # fmt: skip
    kinds = {"objid": INT64, "ra": FLOAT64, "dec": FLOAT64, "size_": FLOAT64, "lc_t": parse_type("float64[*]"), "lc_flux": parse_type("float32[*]")}  # fmt: skip
    table = Table(schema="far", name="stars", columns=tuple(Column(name=name, type=kind) for name, kind in kinds.items()), position=("ra", "dec"))  # fmt: skip
    names = {"objid": "objID", "ra": "RA", "dec": "DEC", "size_": "Size", "lc_t": "lc_t", "lc_flux": "lc_flux"}
    texts = (
        "SELECT COUNT(*) AS n, SUM(objid) AS i, AVG(size_) AS s FROM far.stars",
        "SELECT objid, lc_t, lc_flux[1] AS f FROM far.stars WHERE size_ > 16 ORDER BY objid",
        "SELECT IVO_HEALPIX_INDEX(3, ra, dec) AS cell, COUNT(*) AS n FROM far.stars GROUP BY IVO_HEALPIX_INDEX(3, ra, dec)",
        "SELECT a.objid AS x, b.objid AS y FROM far.stars AS a JOIN far.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 1 AND a.objid < b.objid",
        "SELECT objid FROM far.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(40, 10, 12)) = 1",
    )
    answers, roads = [], []
    for name, options in (
        ("near", {}),
        ("far", {"open_cluster": partial(HatsSparkCluster, running.url), "near_bytes": 0}),
    ):
        engine = open_hats(tmp_path / name / "s", memory=1 << 28, roots=[str(tmp_path / name)], **options)
        snapshot = engine.stage_snapshot(table, "a").adopt_catalogue(str(where), names)
        for text in texts:
            bound = bind_query(parse_query(text), StaticTableCatalogue((table,)))
            plan = engine.plan_query(bound)
            roads.append(plan.describe_row_estimates(bound.literal_values, {"far.stars": snapshot})[0].split(": ")[1])
            rows = pa.Table.from_batches(
                plan.execute(bound.literal_values, {"far.stars": snapshot}, ExecutionLimits()), plan.schema
            )
            answers.append(sorted(map(repr, (tuple(round(value, 9) if isinstance(value, float) else value for value in row.values()) for row in rows.to_pylist()))))  # fmt: skip
        engine.close()
    assert roads == ["near"] * len(texts) + ["far"] * len(texts)
    for near, away in zip(answers[: len(texts)], answers[len(texts) :], strict=True):
        assert near == away != []


def test_concurrent_statements_are_limited(running, files):
    """Who waits for a turn can be stopped there."""
    narrow = SparkCluster(running.url, at_once=1)
    bound = bind_text("SELECT id FROM sky.stars")
    plan = SparkClusterPlan(narrow, bound)
    first, second = (plan.execute(bound.literal_values, {}, ExecutionLimits(batch_rows=100), files) for _ in range(2))
    rows = iter(first)
    next(rows)
    said = []

    def wait():
        try:
            list(second)
        except OperationCancelledError as error:
            said.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    second.cancel()
    thread.join(60)
    assert len(said) == 1
    first.close()
    rows.close()
    assert len(run_on_cluster(narrow, "SELECT id FROM sky.stars", files)) == 5000
    narrow.close()


def test_queries_at_once_read_their_own_rows(spark_cluster, tmp_path):
    """Spark names the rows of all queries of a session in one place: who asks at the same time must not find another's there."""
    whole = make_star_table()
    parts = [
        write_cells(STARS_TABLE, whole.slice(0, 400 * number), tmp_path / str(number), files=1)
        for number in range(1, 5)
    ]
    text = "SELECT COUNT(*) AS n, MAX(b.id) AS m FROM sky.stars AS a JOIN sky.stars AS b ON a.id = b.id"

    def ask(turn):
        (row,) = run_on_cluster(spark_cluster, text, {"sky.stars": parts[turn % 4]}).to_pylist()
        return row["n"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(20))) == [400, 800, 1200, 1600] * 5


@pytest.mark.needs("proof")
def test_a_server_that_is_gone_and_back(running, spark_cluster, files):
    """The last test of a server: sessions begin anew, with our settings and functions."""
    text = "SELECT COUNT(*) AS n FROM sky.stars WHERE CONTAINS(POINT(ra, dec), POLYGON(10, 10, 40, 10, 40, 40, 10, 40)) = 1"
    wanted = run_on_cluster(spark_cluster, text, files).to_pylist()
    running.kill_program("connect")
    with pytest.raises(StorageUnavailableError, match="does not respond"):
        run_on_cluster(spark_cluster, text, files)
    assert spark_cluster.find_outage()
    running.start_connect_server()
    assert run_on_cluster(spark_cluster, text, files).to_pylist() == wanted
    assert spark_cluster.find_outage() is None
    with pytest.raises(EvaluationError):  # ANSI is on again
        run_on_cluster(spark_cluster, "SELECT id + 9223372036854775807 AS n FROM sky.stars WHERE id = 1", files)
