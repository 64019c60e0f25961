"""What becomes of far queries when machines fail: workers lost, hung, all gone, other Pythons, large answers, many files, a client that dies. Figures go to docs/spark-proof.md of the package."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
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
from spark_cluster import count_ticks, run_cluster

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.deadlines import Deadline
from hven.model.errors import (
    OperationCancelledError,
    StorageError,
    StorageUnavailableError,
    TimeLimitError,
    TooLargeError,
)
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine import open as open_hats
from hven.plugins.spark.cluster import SparkCluster
from hven.plugins.spark.cluster_plan import HatsSparkCluster, SparkClusterPlan
from hven.testing.engine import STARS_TABLE, make_star_table
from process_runner import wait_until
from requirements import report_missing
from shared import ROOT

FULL = pytest.mark.needs("proof")
pytestmark = [FULL, pytest.mark.outside]
POINTS = Table(
    schema="sky", name="points", position=("ra", "dec"),
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="mag", type=FLOAT64), Column(name="band", type=INT64)),
)  # fmt: skip
ROWS = 4_000_000
GROUPS = "SELECT band, COUNT(DISTINCT id) AS n, SUM(mag) AS m FROM sky.points GROUP BY band"
HUNG = {
    "spark.network.timeout": "20s",
    "spark.network.timeoutInterval": "5s",
    "spark.executor.heartbeatInterval": "4s",
    "spark.shuffle.io.connectionTimeout": "10s",  # what it has written for others is waited for so long, ..
    "spark.shuffle.io.maxRetries": "1",  # .. and once more
    "spark.shuffle.io.retryWait": "1s",
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
    bound = bind_query(parse_query(text), StaticTableCatalogue([POINTS]))
    return SparkClusterPlan(far, bound).execute(bound.literal_values, {}, limits or ExecutionLimits(), files)


def run_on_cluster(far, text, files, limits=None):
    running = execution(far, text, files, limits)
    return pa.Table.from_batches(running, schema=running.schema).to_pylist()


def groups(far, files, limits=None):
    return sorted((row["band"], row["n"], round(row["m"], 6)) for row in run_on_cluster(far, GROUPS, files, limits))


def measure_call(call):
    begin = time.monotonic()
    return call(), time.monotonic() - begin


def after(seconds, call):
    thread = threading.Timer(seconds, call)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def spark():
    with run_cluster(**HUNG) as running:
        far = SparkCluster(running.url)
        yield running, far
        far.close()


def print_uncaptured(capsys, text):
    with capsys.disabled():
        print(f"\n{text}")


@pytest.fixture(scope="module")
def reference_run(spark, files):
    """The answer, and the seconds that it takes once the machine is warm."""
    _, far = spark
    groups(far, files)
    return measure_call(lambda: groups(far, files))


@pytest.fixture(scope="module")
def long(spark, files):
    """Files for a query that takes about as long as it takes to count a worker as lost: each twelve times. Its answer, and the seconds that it takes."""
    _, far = spark
    often = {"sky.points": files["sky.points"] * 12}
    groups(far, often)
    return often, *measure_call(lambda: groups(far, often))


def test_an_executor_killed_half_way(spark, long, capsys):
    running, far = spark
    often, wanted, plain = long
    after(plain / 2, lambda: os.kill(running.wait_for_executor(), signal.SIGKILL))
    found, took = measure_call(lambda: groups(far, often))
    assert found == wanted
    print_uncaptured(
        capsys, f"executor killed half way: {took:.1f} s, undisturbed {plain:.1f} s: {took / plain:.2f} of it"
    )
    assert took < 2 * plain


def test_an_executor_killed_after_rows_were_given(spark, files, capsys):
    running, far = spark
    wait_until(lambda: len(running.executors()) == 2)
    whole = execution(far, "SELECT id, mag FROM sky.points WHERE mag >= 0", files)
    batches = iter(whole)
    rows = [next(batches)]
    os.kill(running.wait_for_executor(), signal.SIGKILL)
    rows.extend(batches)
    ids = pa.Table.from_batches(rows).column("id").to_numpy()
    assert len(ids) == ROWS
    assert len(np.unique(ids)) == ROWS
    print_uncaptured(
        capsys, f"executor killed after {rows[0].num_rows:,} rows were given: all {ROWS:,} came, once each"
    )


@pytest.mark.parametrize("whole", [False, True], ids=["executor", "machine"])
def test_one_that_hangs(spark, long, capsys, whole):
    """It is as good as dead after 20 s; its work is done by the other, and by the one that the master starts, if its worker can."""
    running, far = spark
    often, wanted, plain = long
    wait_until(lambda: len(running.executors()) == 2)
    victims = [running.wait_for_executor("two")] + [running.programs["worker-two"].pid] * whole
    after(plain / 2, lambda: [os.kill(victim, signal.SIGSTOP) for victim in victims])
    found, took = measure_call(lambda: groups(far, often))
    with contextlib.suppress(ProcessLookupError):  # its worker has ended it
        os.kill(victims[0], signal.SIGKILL)
    if whole:
        running.kill_program("worker-two")
        running.start_worker("two")
        wait_until(lambda: len(running.executors()) == 2)
    assert found == wanted
    print_uncaptured(capsys, f"{'machine' if whole else 'executor'} stopped (SIGSTOP), 20 s until it counts as lost: {took:.1f} s, undisturbed {plain:.1f} s: {took / plain:.2f} of it")  # fmt: skip
    assert took < 3 * plain


def test_a_worker_lost_for_good(spark, files, reference_run, capsys):
    running, far = spark
    wanted, plain = reference_run
    wait_until(lambda: len(running.executors()) == 2)
    after(plain / 2, lambda: running.kill_program("worker-one"))
    found, took = measure_call(lambda: groups(far, files))
    assert found == wanted
    print_uncaptured(
        capsys, f"worker and executor gone for good: {took:.1f} s with one that is left, undisturbed {plain:.1f} s"
    )
    running.start_worker("one")
    wait_until(lambda: len(running.executors()) == 2)


def test_both_workers_gone(spark, files, reference_run, capsys):
    """Who asks is told when the time is over; a new worker, and the next is answered."""
    running, far = spark
    wanted, _ = reference_run
    running.kill_program("worker-one")
    running.kill_program("worker-two")
    with pytest.raises(TimeLimitError):
        groups(far, files, ExecutionLimits(deadline=Deadline(10)))
    running.start_worker("three")
    running.start_worker("four")
    assert groups(far, files) == wanted
    print_uncaptured(
        capsys, "both workers gone: the time limit of 10 s ends the query; new workers, and the next is answered"
    )


@pytest.fixture(scope="module")
def engine(spark, tmp_path_factory):
    """Stars in the engine itself: what needs more than some row groups is far."""
    running, _ = spark
    directory = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hats_layout, "ROW_GROUP_ROWS", 128)
        opened = open_hats(directory / "snapshots", memory=1 << 28, roots=[str(directory / "hats")], open_cluster=lambda: HatsSparkCluster(running.url), near_bytes=20_000)  # fmt: skip
        yield opened
        opened.close()


def stage_rows(engine, rows, name):
    writing = engine.stage_snapshot(STARS_TABLE, name)
    for batch in rows.to_batches():
        writing.write(batch)
    found = writing.finish()
    engine.note_published_snapshot(found)
    return found


def running_of(engine, text, snapshot, limits=None):
    bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
    return engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, limits or ExecutionLimits())


def test_a_lost_server_is_reported_and_its_return_is_detected(spark, engine, capsys):
    """An error within 3 s; the near road goes on; health says it, and that it is back."""
    running, _ = spark
    far = "SELECT band, COUNT(*) AS n, SUM(mag) AS m, MAX(name) AS w, MIN(seen) AS t, MAX(ra) AS r FROM sky.stars GROUP BY band"
    near = "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 4)) = 1"
    snapshot = stage_rows(engine, make_star_table(), "gone")
    rows = pa.Table.from_batches(running_of(engine, far, snapshot)).sort_by("band").to_pylist()
    known = [row for batch in running_of(engine, near, snapshot) for row in batch.to_pylist()]
    assert len(rows) == 5
    assert known
    assert engine.find_degradation() is None
    running.kill_program("connect")
    begin = time.monotonic()
    with pytest.raises(StorageUnavailableError) as fault:
        list(running_of(engine, far, snapshot))
    took = time.monotonic() - begin
    assert took < 3
    assert "Connect server" in fault.value.remedy
    assert [row for batch in running_of(engine, near, snapshot) for row in batch.to_pylist()] == known
    assert "does not respond" in engine.find_degradation()
    assert engine.find_outage() is None
    running.start_connect_server()
    assert engine.find_degradation() is None
    assert pa.Table.from_batches(running_of(engine, far, snapshot)).sort_by("band").to_pylist() == rows
    print_uncaptured(
        capsys, f"Connect server killed: error after {took:.2f} s; cones go on; health says it, and that it is back"
    )


def test_a_catalogue_replaced_while_it_is_read(engine, capsys):
    """A new snapshot is published, and the old one dropped and swept, while the cluster reads it: it is whole for who began."""
    rows = make_star_table()
    old = stage_rows(engine, rows, "old")
    pairs = "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON a.band = b.band WHERE a.mag > 5"
    execution_ = running_of(engine, pairs, old)
    batches = iter(execution_)
    first = next(batches)
    new = stage_rows(engine, rows.slice(0, 10), "new")
    engine.remove_snapshot(old)
    assert old.path not in engine.remove_leftovers({new.path})
    found = first.num_rows + sum(batch.num_rows for batch in batches)
    wanted = sum(row["mag"] is not None and row["mag"] > 5 for row in rows.to_pylist()) * 1000
    assert found == wanted
    assert old.path in engine.remove_leftovers({new.path})
    print_uncaptured(
        capsys, f"a snapshot dropped after {first.num_rows:,} rows were given: all {found:,} came; then it was swept"
    )


ENDLESS = "SELECT COUNT(*) AS n FROM sky.points AS a, sky.points AS b WHERE a.mag * b.mag > 3"
JOIN = "SELECT SUM(SQRT(SIN(a.mag + b.mag) + 2)) AS n FROM sky.points AS a JOIN sky.points AS b ON a.band = b.band"
MATCH = "SELECT COUNT(*) AS n FROM sky.points AS a JOIN sky.points AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.5"


@pytest.fixture(scope="module")
def quick():
    """A cluster with the settings of the how-to about clusters, for what is stopped."""
    with run_cluster() as running:
        far = SparkCluster(running.url)
        yield running, far
        far.close()


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("text", [ENDLESS, JOIN, MATCH], ids=["all", "join", "match"])
def test_a_cancelled_query_frees_the_cluster(quick, files, text, seconds, capsys):
    """Whenever it is: while Spark plans, begins jobs, joins."""
    running, far = quick
    warm(far, files)
    slow = execution(far, text, files)
    faults = []

    def read():
        try:
            list(slow)
        except OperationCancelledError as error:
            faults.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    threading.Event().wait(seconds)
    begin = time.monotonic()
    slow.cancel()
    thread.join()
    answered = time.monotonic() - begin
    took = wait_until_idle(running, begin)
    print_uncaptured(capsys, f"cancelled after {seconds} s: told after {answered:.2f} s, the executors have nothing to do after {took:.2f} s")  # fmt: skip
    assert len(faults) == 1
    assert took < 1


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("text", [ENDLESS, JOIN, MATCH], ids=["all", "join", "match"])
def test_a_timeout_frees_the_cluster(quick, files, text, seconds, capsys):
    running, far = quick
    warm(far, files)
    begin = time.monotonic()
    with pytest.raises(TimeLimitError):
        run_on_cluster(far, text, files, ExecutionLimits(deadline=Deadline(seconds)))
    answered = time.monotonic() - begin - seconds
    took = wait_until_idle(running, begin + seconds)
    print_uncaptured(capsys, f"time limit of {seconds} s: told {answered:.2f} s later, the executors have nothing to do {took:.2f} s later")  # fmt: skip
    assert took < 1


def warm(far, files):
    assert run_on_cluster(far, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]


def wait_until_idle(running, begin, step=0.1):
    """Wait until executors had less than a twentieth of a core for two seconds; give the seconds from `begin` to then."""
    ticks = [running.read_ticks()]
    times = [time.monotonic()]
    wait_until(
        lambda: (ticks.append(running.read_ticks()), times.append(time.monotonic())) and _idle(ticks[-20:]), 60, step
    )
    return max(0.0, times[-20] - begin)


def _idle(ticks):
    return len(ticks) == 20 and count_ticks(ticks[0], ticks[-1]) <= 10


def test_a_client_that_is_killed(quick, files, capsys):
    running, far = quick
    warm(far, files)
    script = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "import test_spark_failures as t, json\n"
        "far = t.SparkCluster(sys.argv[2]); print('begun', flush=True)\n"
        f"t.run_on_cluster(far, {ENDLESS!r}, json.loads(sys.argv[3]))\n"
    )
    folders = [Path(__file__).parent, Path(__file__).parents[1], ROOT / "tests"]
    other = subprocess.Popen(
        [sys.executable, "-c", script, ":".join(map(str, folders)), running.url, json.dumps(files)],
        stdout=subprocess.PIPE,
    )
    other.stdout.readline()
    before = running.read_ticks()
    wait_until(lambda: count_ticks(before, running.read_ticks()) > 100, 300)
    other.kill()
    begin = time.monotonic()
    other.wait()
    other.stdout.close()
    took = wait_until_idle(running, begin)
    print_uncaptured(capsys, f"client killed: nothing runs in the cluster after {took:.1f} s")
    assert took < 10


def test_who_reads_slowly_gets_all(quick, files, capsys):
    """The server takes nobody for dead who has not come for the next rows for longer than it waits, in all phases of an answer."""
    _, far = quick
    text = "SELECT id, mag FROM sky.points WHERE mag >= 0"
    batches = iter(execution(far, text, files))
    rows = [next(batches)]
    threading.Event().wait(
        10
    )  # the server's part ends after 3 s, and what nobody asks for any more is forgotten 4 s later
    for number, batch in enumerate(batches):
        rows.append(batch)
        threading.Event().wait(10 if number == 25 else 1 if number < 12 else 0)
    ids = pa.Table.from_batches(rows).column("id").to_numpy()
    assert len(ids) == ROWS
    assert len(np.unique(ids)) == ROWS
    print_uncaptured(capsys, f"read with pauses of 1 and 10 s: all {ROWS:,} rows came, once each")


def test_files_that_vanish_or_are_cut_off_under_a_query(quick, files, tmp_path, capsys):
    """The file is named, and what to do."""
    running, far = quick
    warm(far, files)
    slow = f"SELECT SUM({'SIN(' * 40}mag{')' * 40}) AS m FROM sky.points"
    for name, spoil in (("gone", os.unlink), ("cut off", lambda path: os.truncate(path, 100_000))):
        directory = tmp_path / name
        directory.mkdir()
        paths = [shutil.copy(path, directory) for path in files["sky.points"]]
        faults = []

        def read(paths=paths, faults=faults):
            try:
                run_on_cluster(far, slow, {"sky.points": paths})
            except StorageError as fault:
                faults.append(fault)

        before = running.read_ticks()
        thread = threading.Thread(target=read)
        thread.start()
        wait_until(
            lambda before=before: count_ticks(before, running.read_ticks()) > 10, 300, 0.01
        )  # it reads the first ones
        for path in paths[3], paths[7]:
            spoil(path)
        thread.join()
        (error,) = faults
        assert re.search(r"a file of the table: .*Npix=[37].parquet", error.message)
        assert "adopt the catalogue again" in error.remedy
        print_uncaptured(capsys, f"{name} while the query ran: {error.message}")


def test_a_disk_that_is_full(files, tmp_path, capsys):
    """What the workers write while they group and join has no room: said so, and the cluster goes on."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "hven-test", place], check=False).returncode == 0  # fmt: skip
    if not mounted:
        report_missing("mount")
    try:
        with run_cluster(local=place) as running:
            far = SparkCluster(running.url)
            with pytest.raises(StorageError, match="disk of a worker is full") as error:
                groups(far, files)
            assert "spark.local.dir" in error.value.remedy
            warm(far, files)
            print_uncaptured(capsys, f"disk of 8 MB for shuffles: {error.value.message}")
            far.close()
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_answers_that_the_driver_does_not_take(files, capsys):
    with run_cluster(**{"spark.driver.maxResultSize": "1m"}) as running:
        far = SparkCluster(running.url)
        with pytest.raises(TooLargeError, match="driver"):
            run_on_cluster(far, "SELECT id, mag + 1 AS m FROM sky.points", files)
        assert run_on_cluster(far, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
        far.close()


def test_workers_without_hven_fail_with_a_remedy_and_run_plain_sql(files):
    """Functions fail with the remedy; plain SQL goes on. The system's Python has neither Hven nor Arrow."""
    with run_cluster(python="/usr/bin/python3") as running:
        far = SparkCluster(running.url)
        assert run_on_cluster(far, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
        with pytest.raises(StorageError, match="workers of the Spark cluster") as error:
            run_on_cluster(
                far,
                "SELECT COUNT(*) AS n FROM sky.points WHERE CONTAINS(POINT(ra, dec), POLYGON(1, 1, 2, 1, 2, 2)) = 1",
                files,
            )
        assert "spark.pyspark.python" in error.value.remedy
        assert far.inspect_cluster().fault
        far.close()


def test_a_wrong_token_is_refused(files):
    with run_cluster(**{"spark.connect.authenticate.token": "right"}) as running:
        wrong, right = SparkCluster(f"{running.url}/;token=wrong"), SparkCluster(f"{running.url}/;token=right")
        with pytest.raises(StorageError, match="refuses"):
            run_on_cluster(wrong, "SELECT COUNT(*) AS n FROM sky.points", files)
        assert run_on_cluster(right, "SELECT COUNT(*) AS n FROM sky.points", files) == [{"n": ROWS}]
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
    with run_cluster() as running:
        far = SparkCluster(running.url)
        run_on_cluster(far, "SELECT COUNT(*) AS n FROM sky.points", {"sky.points": files["sky.points"][:10]})
        for turn in ("first", "second"):
            found, took = measure_call(
                lambda: run_on_cluster(far, "SELECT COUNT(*) AS n, MAX(id) AS m FROM sky.points", files)
            )
            assert found == [{"n": 100_000, "m": 99_999}]
            print_uncaptured(capsys, f"10,000 files, {turn} query: {took:.1f} s")
        far.close()
