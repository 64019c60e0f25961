"""What becomes of far queries when machines fail: workers lost, hung, all gone, other Pythons, large answers, many files, a client that dies. Figures go to docs/proofs/hats.md."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.engines import Limits
from hven.engines.hats.cluster import Cluster
from hven.engines.hats.far import FarPlan
from hven.model.clock import Clock
from hven.model.errors import Cancelled, StorageError, Timeout, TooLarge, Unavailable
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from running import until
from spark import cluster

FULL = pytest.mark.skipif(os.environ.get("HVEN_PROOF") != "full", reason="scripts/proof runs it")
pytestmark = [FULL, pytest.mark.outside]
POINTS = Table(
    schema="sky", name="points", position=("ra", "dec"),
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="mag", type=FLOAT64), Column(name="band", type=INT64)),
)  # fmt: skip
ROWS = 4_000_000
GROUPS = "SELECT band, COUNT(DISTINCT id) AS n, SUM(mag) AS m FROM sky.points GROUP BY band"
HUNG = {
    "spark.network.timeout": "20s",
    "spark.network.timeoutInterval": "10s",
    "spark.executor.heartbeatInterval": "4s",
    "spark.speculation": "true",
    "spark.speculation.minTaskRuntime": "2s",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("points")
    generator = np.random.default_rng(1)
    paths = []
    for number in range(8):
        some = ROWS // 8
        ids = np.arange(number * some, (number + 1) * some)
        path = directory / f"Npix={number}.parquet"
        pq.write_table(
            pa.table({"_healpix_29": ids, "id": ids, "ra": generator.uniform(0, 360, some), "dec": generator.uniform(-90, 90, some), "mag": ids % 97 / 4, "band": ids % 500}),
            path,
            row_group_size=100_000,
        )  # fmt: skip
        paths.append(str(path))
    return {"sky.points": paths}


def execution(far, text, files, limits=None):
    bound = bind(parse(text), Tables([POINTS]))
    return FarPlan(far, bound).execute(bound.slots, {}, limits or Limits(), files)


def asked(far, text, files, limits=None):
    running = execution(far, text, files, limits)
    return pa.Table.from_batches(running, schema=running.schema).to_pylist()


def groups(far, files, limits=None):
    return sorted((row["band"], row["n"], round(row["m"], 6)) for row in asked(far, GROUPS, files, limits))


def timed(call):
    begin = time.monotonic()
    return call(), time.monotonic() - begin


def after(seconds, call):
    thread = threading.Timer(seconds, call)
    thread.start()
    return thread


@pytest.fixture
def spark():
    with cluster(**HUNG) as running:
        far = Cluster(running.url)
        yield running, far
        far.close()


def told(capsys, text):
    with capsys.disabled():
        print(f"\n{text}")


def test_executor_worker_and_machine(spark, files, capsys):
    """Killed before and after rows are given, lost for good, stopped: the answer is the same."""
    running, far = spark
    groups(far, files)
    wanted, plain = timed(lambda: groups(far, files))
    after(plain / 2, lambda: os.kill(running.executor(), signal.SIGKILL))
    found, took = timed(lambda: groups(far, files))
    assert found == wanted
    told(capsys, f"executor killed: {took:.1f} s, undisturbed {plain:.1f} s")

    whole = execution(far, "SELECT id, mag FROM sky.points WHERE mag >= 0", files)
    batches = iter(whole)
    rows = [next(batches)]
    os.kill(running.executor(), signal.SIGKILL)
    rows.extend(batches)
    ids = pa.Table.from_batches(rows).column("id").to_numpy()
    assert len(ids) == ROWS
    assert len(np.unique(ids)) == ROWS
    told(capsys, f"executor killed after {rows[0].num_rows:,} rows were given: all {ROWS:,} came, once each")

    until(lambda: len(running.executors()) == 2)
    victim = running.executor("two")
    after(plain / 2, lambda: os.kill(victim, signal.SIGSTOP))
    found, took = timed(lambda: groups(far, files))
    assert found == wanted
    told(capsys, f"executor stopped (SIGSTOP), 20 s until it counts as lost: {took:.1f} s")
    os.kill(victim, signal.SIGKILL)

    after(plain / 2, lambda: running.kill("worker-one"))
    found, took = timed(lambda: groups(far, files))
    assert found == wanted
    told(capsys, f"worker and executor gone for good: {took:.1f} s")

    running.kill("worker-two")
    with pytest.raises(Timeout):
        groups(far, files, Limits(clock=Clock(10)))
    running.work("three")
    assert groups(far, files) == wanted
    told(capsys, "both workers gone: the time limit ends the query; a new worker, and the next is answered")

    running.kill("connect")
    begin = time.monotonic()
    with pytest.raises(Unavailable):
        groups(far, files)
    took = time.monotonic() - begin
    assert took < 3
    told(capsys, f"Connect server killed: error after {took:.2f} s")
    running.serve()
    assert groups(far, files) == wanted


def test_stopping_frees_the_cluster(spark, files, capsys):
    """Cancelled, timed out, or its process killed."""
    running, far = spark
    endless = "SELECT COUNT(*) AS n FROM sky.points AS a, sky.points AS b WHERE a.mag * b.mag > 3"
    asked(far, "SELECT COUNT(*) AS n FROM sky.points", files)

    slow = execution(
        far,
        "SELECT SUM(SQRT(SIN(a.mag + b.mag) + 2)) AS n FROM sky.points AS a JOIN sky.points AS b ON a.band = b.band",
        files,
    )
    faults = []

    def read():
        try:
            list(slow)
        except Cancelled as error:
            faults.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: working(running))
    _, took = timed(lambda: (slow.cancel(), until(lambda: not working(running))))
    thread.join()
    assert len(faults) == 1
    told(capsys, f"cancelled: the executors have nothing to do after {took:.2f} s (looked at each half second)")

    begin = time.monotonic()
    with pytest.raises(Timeout):
        asked(far, endless, files, Limits(clock=Clock(3)))
    told(capsys, f"a time limit of 3 s ends a join of all with all after {time.monotonic() - begin:.2f} s")
    _, took = timed(lambda: asked(far, "SELECT COUNT(*) AS n FROM sky.points", files))
    told(capsys, f"after which a count takes {took:.1f} s (the reaper ends what does not listen after 2 s)")

    script = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "import test_spark_failures as t, json\n"
        "far = t.Cluster(sys.argv[2]); print('begun', flush=True)\n"
        f"t.asked(far, {endless!r}, json.loads(sys.argv[3]))\n"
    )
    here = Path(__file__).parent
    other = subprocess.Popen(
        [sys.executable, "-c", script, f"{here}:{here.parent}", running.url, json.dumps(files)], stdout=subprocess.PIPE
    )
    other.stdout.readline()
    until(lambda: working(running))
    other.kill()
    other.wait()
    other.stdout.close()
    _, took = timed(lambda: until(lambda: not working(running)))
    assert took < 12
    told(capsys, f"client killed: nothing runs in the cluster after {took:.1f} s")


def working(running):
    """Check whether an executor computes: a tenth of a second of processor time in a quarter of one."""

    def ticks():
        found = 0
        for process in running.executors():
            try:
                words = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            except OSError:
                continue
            found += int(words[11]) + int(words[12])
        return found

    before = ticks()
    threading.Event().wait(0.5)
    return ticks() - before > 15


def test_answers_that_the_driver_does_not_take(files, capsys):
    with cluster(**{"spark.driver.maxResultSize": "1m"}) as running:
        far = Cluster(running.url)
        with pytest.raises(TooLarge, match="driver"):
            asked(far, "SELECT id, mag + 1 AS m FROM sky.points", files)
        assert asked(far, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
        far.close()


def test_workers_without_our_python(files):
    """Functions fail with the remedy; plain SQL goes on. The system's Python has neither Hven nor Arrow."""
    with cluster(python="/usr/bin/python3") as running:
        far = Cluster(running.url)
        assert asked(far, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
        with pytest.raises(StorageError, match="workers of the Spark cluster") as error:
            asked(
                far,
                "SELECT COUNT(*) AS n FROM sky.points WHERE CONTAINS(POINT(ra, dec), POLYGON(1, 1, 2, 1, 2, 2)) = 1",
                files,
            )
        assert "spark.pyspark.python" in error.value.remedy
        assert far.look().fault
        far.close()


def test_a_wrong_token(files):
    with cluster(**{"spark.connect.authenticate.token": "right"}) as running:
        wrong, right = Cluster(f"{running.url}/;token=wrong"), Cluster(f"{running.url}/;token=right")
        with pytest.raises(StorageError, match="refuses"):
            asked(wrong, "SELECT COUNT(*) AS n FROM sky.points", files)
        assert asked(right, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
        wrong.close()
        right.close()


def test_ten_thousand_files(tmp_path, capsys):
    for number in range(10_000):
        ids = np.arange(number * 10, number * 10 + 10)
        pq.write_table(
            pa.table(
                {"_healpix_29": ids, "id": ids, "ra": ids / 1.0, "dec": ids / 1e5, "mag": ids / 7, "band": ids % 5}
            ),
            tmp_path / f"Npix={number}.parquet",
        )
    files = {"sky.points": [str(tmp_path / f"Npix={number}.parquet") for number in range(10_000)]}
    with cluster() as running:
        far = Cluster(running.url)
        asked(far, "SELECT COUNT(*) AS n FROM sky.points", {"sky.points": files["sky.points"][:10]})
        for turn in ("first", "second"):
            found, took = timed(lambda: asked(far, "SELECT COUNT(*) AS n, MAX(id) AS m FROM sky.points", files))
            assert found == [{"n": 100_000, "m": 99_999}]
            told(capsys, f"10,000 files, {turn} query: {took:.1f} s")
        far.close()
