"""Rows of MariaDB (group databases): by its protocol and by ODBC, beside the drivers themselves."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Journey, against

from hven.plugins.databases import odbc, source
from hven.sources import SourceContext

ROWS, ROUNDS = 1_000_000, 3


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Read 10^6 rows of 20 columns from MariaDB, by its protocol and by ODBC, beside the driver's own fetch of the same."""
    if only not in "sources.mariadb" and only not in "sources.odbc":
        return
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
        table = source.open(source.Options(url="$DB", table="big"), SourceContext(resolve_secret=lambda _: address))
        return sum(batch.num_rows for batch in table.read_batches())

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
