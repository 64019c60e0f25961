"""Sources: Python beside a descriptor, in its own process, against the same code called in the ingest itself; a small descriptor, checked; Elasticsearch, MariaDB, ODBC; heads of files; pushes; headers of rows."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

from bench import documents, headers, heads, pushes
from bench.measure import Journey, against, pairs
from hven.descriptor import check_descriptor
from hven.descriptor._merging import STANDARDS_DIRECTORY
from hven.descriptor.compiled_mapping import PythonFunctionCall
from hven.ingest.api.runs import ingest_collection
from hven.sources import SourceContext, sql
from hven.sources.sql import odbc
from hven.testing.site import open_site_with_descriptor

ROWS, ROUNDS = 1_000_000, 3
CHECKED = 1.0
TEXT = """\
collection: stars
title: Stars
functions: f.py
tables:
  main:
    source: {kind: KIND, files: d.KIND}
    columns: {id: int64, ra: float64, dec: float64, mag: float32, name: string, seen: timestamp, b: float64}
    map: {b: "latitude(ra, dec)"}
"""
CODE = """\
import numpy as np
import pyarrow as pa


def latitude(ra, dec) -> "float64":
    a, d = np.radians(ra.to_numpy() - 192.85948), np.radians(dec.to_numpy())
    return pa.array(np.degrees(np.arcsin(np.sin(d) * 0.455984 + np.cos(d) * 0.889988 * np.cos(a))))
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for kind in ("csv", "parquet"):
        if only in f"sources.function.{kind}":
            yield function(kind)
    if only in "sources.check":
        yield measure_check()
    if only in "sources.elastic":
        yield documents.journey()
    if only in "sources.heads" or only in "sources.granules":
        yield from heads.journeys(only)
    if only in "sources.enrich":
        yield headers.journey()
    if only in "sources.mariadb" or only in "sources.odbc":
        yield from databases(only)
    yield from pushes.run(only)


def function(kind: str) -> Journey:
    """Ingest 10^6 rows with a function, by turns in a process of its own and in the ingest."""
    chance = np.random.default_rng(1)
    with (
        tempfile.TemporaryDirectory() as place,
        open_site_with_descriptor(Path(place), TEXT.replace("KIND", kind), {"f.py": CODE}) as site,
    ):
        numbers = np.arange(ROWS)
        values = {
            "ra": chance.random(ROWS) * 360,
            "dec": chance.random(ROWS) * 180 - 90,
            "mag": chance.random(ROWS) * 20,
        }
        texts = {"name": [f"star {n}" for n in numbers], "seen": np.datetime64("2001-01-01T00:00:00") + numbers}
        write = pa.csv.write_csv if kind == "csv" else pa.parquet.write_table
        write(pa.table({"id": numbers, **values, **texts}), Path(place) / f"collections/stars/d.{kind}")
        ingest_collection(site, "stars")  # files are in memory now
        apart, within = [], []
        for _ in range(ROUNDS):
            apart.append(_measure_cpu_seconds(lambda: ingest_collection(site, "stars")))
            with mock.patch.object(PythonFunctionCall, "load_curator_function", _import_function):
                within.append(_measure_cpu_seconds(lambda: ingest_collection(site, "stars")))
    value, reference = statistics.median(apart), statistics.median(within)
    return against(
        f"sources.function.{kind}",
        value,
        reference,
        1.3,
        unit="s of CPU",
        note=f"{ROWS:,} rows; {reference:.2f} s with the function in the ingest itself",
    )


def databases(only: str) -> Iterator[Journey]:
    """Read 10^6 rows of 20 columns from MariaDB, by its protocol and by ODBC, beside the driver's own fetch of the same."""
    with maria() as (url, line):
        if only in "sources.mariadb":
            yield _against_driver("sources.mariadb", url, _pymysql(url), "PyMySQL's own unbuffered cursor")
        if only in "sources.odbc":
            yield _against_driver("sources.odbc", line, _arrow_odbc(line), "arrow-odbc's own batches")


@contextlib.contextmanager
def maria() -> Iterator[tuple[str, str]]:
    """Run MariaDB in a temporary directory; give a URL and a line of ODBC. Skip without its program."""
    import pymysql

    with tempfile.TemporaryDirectory(prefix="maria-") as place:
        user = []
        if os.geteuid() == 0:  # it does not run as root
            owner = pwd.getpwnam("mysql")
            os.chown(place, owner.pw_uid, owner.pw_gid)
            user = ["--user=mysql"]
        where = [*user, f"--datadir={place}/data"]
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *where, "--auth-root-authentication-method=normal", "--skip-test-db"], check=True, stdout=subprocess.DEVNULL
        )  # fmt: skip
        server = subprocess.Popen(
            ["/usr/sbin/mariadbd", "--no-defaults", *where, f"--socket={place}/s", "--skip-networking", "--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not Path(place, "s").exists():
                time.sleep(0.1)
            with (
                pymysql.connect(unix_socket=f"{place}/s", user="root", autocommit=True) as link,
                link.cursor() as cursor,
            ):
                cursor.execute("CREATE DATABASE bench")
                link.select_db("bench")
                doubles = ", ".join(f"seq / {n + 3}e0 AS d{n}" for n in range(8))
                texts = "CONCAT('object ', seq) AS s1, IF(seq % 3, 'Sun', 'Jupiter') AS s2, CONCAT('https://x.example/data/', seq, '.fits') AS s3, LPAD(seq % 97, 8, '0') AS s4"
                times = "'2000-01-01' + INTERVAL seq MINUTE AS t1, CAST('1990-01-01' + INTERVAL seq % 9000 DAY AS date) AS t2"
                cursor.execute(
                    f"CREATE TABLE big AS SELECT seq AS n, seq * 7 AS a, seq * 1000003 AS b, seq % 1000 AS c, {doubles}, seq / 13 AS p, {texts}, {times}, CAST(seq / 3 AS float) AS f"
                    f" FROM seq_1_to_{ROWS}"
                )
            yield (
                f"mysql://root@localhost/bench?unix_socket={place}/s",
                f"DRIVER={{MariaDB Unicode}};SOCKET={place}/s;DATABASE=bench;UID=root;CHARSET=utf8mb4",
            )
        finally:
            server.terminate()
            server.wait()


def _against_driver(name: str, address: str, fetch: Callable[[], int], what: str) -> Journey:
    def ours() -> int:
        source = sql.open(sql.Options(url="$DB", table="big"), SourceContext(resolve_secret=lambda _: address))
        return sum(batch.num_rows for batch in source.read_batches())

    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for which, one in (("ours", ours), ("theirs", fetch)):
            begun = time.monotonic()
            if one() != ROWS:
                raise AssertionError(which)
            taken[which].append(time.monotonic() - begun)
    value, reference = min(taken["ours"]), min(taken["theirs"])
    return against(name, value, reference, 1.5, unit="s", note=f"{ROWS:,} rows of 20 columns; reference: {what}")


def _pymysql(url: str) -> Callable[[], int]:
    import pymysql.cursors

    def fetch() -> int:
        place = url.partition("unix_socket=")[2]
        rows = 0
        with (
            pymysql.connect(
                unix_socket=place, user="root", database="bench", cursorclass=pymysql.cursors.SSCursor
            ) as link,
            link.cursor() as cursor,
        ):
            cursor.execute("SELECT * FROM big")
            while some := cursor.fetchmany(32_768):
                rows += len(some)
        return rows

    return fetch


def _arrow_odbc(line: str) -> Callable[[], int]:
    import arrow_odbc

    def fetch() -> int:
        link = arrow_odbc.connect(line)
        # a FLOAT of this driver needs a double
        batches = link.read_arrow_batches(
            "SELECT * FROM big",
            batch_size=32_768,
            max_bytes_per_batch=1 << 24,
            fetch_concurrently=False,
            map_schema=odbc._widen_requested_schema,
        )
        return sum(batch.num_rows for batch in batches)

    return fetch


def measure_check() -> Journey:
    """Check a small descriptor and the beginning of its file, as an editor or a generator of descriptors does again and again."""
    columns = "id: {type: int32, ucd: meta.id;meta.main}, ra: {type: float64, unit: deg}, dec: {type: float64, unit: deg}, mag: {type: float32, unit: mag}"
    text = f"collection: stars\ntitle: Stars\ntables:\n  main:\n    source: {{kind: csv, files: d.csv}}\n    position: [ra, dec]\n    columns: {{{columns}}}\n"
    standard = (STANDARDS_DIRECTORY / "obscore-1.1.yaml").read_text(encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as place,
        open_site_with_descriptor(Path(place), text, {"d.csv": "id,ra,dec,mag\n1,10,20,3.5\n2,11,21,4.5\n"}) as site,
    ):
        path = site.settings.collections_directory / "stars/stars.yaml"

        def check_changed_descriptor() -> float:
            path.write_text(text.replace("Stars", f"Stars {next(numbers)}"), encoding="utf-8")
            return _spent(lambda: check_descriptor(path, site.settings))

        numbers = itertools.count()
        faults = check_descriptor(path, site.settings)
        if faults:
            raise AssertionError(faults)
        value, reference, ratio = pairs(
            check_changed_descriptor, lambda: _spent(lambda: yaml.load(standard, yaml.CSafeLoader)), 60
        )
    return Journey(
        name="sources.check", value=value * 1000, unit="ms of CPU", reference=reference * 1000, ratio=ratio, target=CHECKED,
        note="the aim is 10 ms; the reference reads obscore-1.1.yaml with PyYAML's parser of C",
    )  # fmt: skip


def _spent(what: Callable[[], object]) -> float:
    """Count the seconds of this process, finer than the system's ticks."""
    begun = time.process_time()
    what()
    return time.process_time() - begun


def _import_function(call: PythonFunctionCall, _: object = None) -> Callable[..., Any]:
    """Import the file into this process, as a measure."""
    spec = importlib.util.spec_from_file_location("beside", str(call.path))
    if spec is None or spec.loader is None:
        raise AssertionError
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, call.name)  # type: ignore[no-any-return]


def _measure_cpu_seconds(what: Callable[[], object]) -> float:
    """Count the seconds of processors, those of processes that have ended too: others may be at work here."""
    begun = sum(os.times()[:4])
    what()
    return sum(os.times()[:4]) - begun
