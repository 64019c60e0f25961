"""Hven over PostgreSQL: the TAP journeys beside psql on the same server, a join of three collections in three placements, loading, a restart."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb

from bench import data, foundation, peer, tap, tapclient, tapjourneys
from bench.measure import CACHE, HVEN, Journey, against, free_port, serve_site

SITE = CACHE / "site-postgres"
MIXED = CACHE / "site-mixed"
TOGETHER = CACHE / "site-embedded"
DATABASE = "HVEN_BENCH_DATABASE"  # the secret that has the address, for the port is another in each run
LOGS = """\
collection: logs
title: Observation logs
subjects: [logs]
{engine}tables:
  main:
    primary: [obs]
    source: {{kind: parquet, files: {file}}}
    columns:
      obs: {{type: int64, ucd: meta.id;meta.main, rank: 1}}
      tyc: {{type: string, ucd: meta.ref, indexed: true, rank: 1}}
      mjd: {{type: float64, unit: d, ucd: time.epoch, indexed: true, rank: 1}}
      instrument: {{type: string, ucd: meta.id;instr, rank: 1}}
"""
GRANULES = """\
collection: granules
title: OIFITS granules
subjects: [interferometry]
{engine}tables:
  main:
    primary: [granule]
    source: {{kind: parquet, files: {file}}}
    columns:
      granule: {{type: int64, ucd: meta.id;meta.main, rank: 1}}
      obs: {{type: int64, ucd: meta.ref, indexed: true, rank: 1}}
      wavelength: {{type: float64, unit: m, ucd: em.wl, rank: 1}}
      vis2: {{type: float32, ucd: instr.visibility, rank: 1}}
      access_url: {{type: string, ucd: meta.ref.url, rank: 1}}
"""
JOIN = (
    "SELECT s.tyc, s.vt, l.obs, l.mjd, g.granule, g.vis2 FROM tycho.main AS s JOIN logs.main AS l ON l.tyc = s.tyc "
    "JOIN granules.main AS g ON g.obs = l.obs WHERE 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE({}, {}, 1))"
)
# journey -> bound of Hven over HTTP / psql doing the same SQL by COPY in a session that is kept open, with `/health` where one row is asked
PSQL = (
    "trivial",
    "cone",
    "key",
    "group",
    "top10.indexed",
    "top10.unindexed",
    "upload.sync",
    "upload.async",
    "upload.many.sync",
    "upload.many.async",
)
TWICE = 2.0
CONES = 1200.0
JOINED = {"postgres": 100.0, "embedded": 100.0, "mixed": 1000.0}  # ms
BACK = 5.0  # seconds
STREAMS_MIB = 2 * 30.0  # of the library that streams need, which each of two processes loads with its first one
JOURNEYS = (
    "load.stars",
    "join.postgres",
    "join.embedded",
    "join.mixed",
    "restart",
    "regions.point",
    "regions.circle",
    "regions.union",
)  # beside those of bench.tap


# --- what is asked -------------------------------------------------------------------------------------------


def tables(scale: float = 1.0) -> tuple[Path, Path]:
    """Give 1,000,000 logs and 100,000 granules as Parquet: each log has a star of Tycho-2, each granule a log; made once, from a fixed seed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    logs, granules = CACHE / f"logs-{scale:g}.parquet", CACHE / f"granules-{scale:g}.parquet"
    if logs.exists() and granules.exists():
        return logs, granules
    many, few = int(1_000_000 * scale), int(100_000 * scale)
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE s AS SELECT row_number() OVER () - 1 AS n, tyc FROM read_csv('{data.tycho_csv()}', all_varchar=true)"
        )
        stars = connection.execute("SELECT count(*) FROM s").fetchall()[0][0]
        connection.execute(
            f"COPY (SELECT i AS obs, s.tyc, 50000 + (hash(i + 7) % 10000000) / 1000.0 AS mjd, "
            f"['GRAVITY', 'MATISSE', 'PIONIER', 'MIRC-X'][1 + (hash(i + 11) % 4)::INTEGER] AS instrument FROM range({many}) t(i) "
            f"JOIN s ON s.n = (hash(i + 3) % {stars})::BIGINT ORDER BY i) TO '{logs}.part' (FORMAT parquet)"
        )
        connection.execute(
            f"COPY (SELECT i AS granule, (hash(i + 5) % {many})::BIGINT AS obs, 1.5e-6 + (hash(i + 13) % 1000) * 1e-9 AS wavelength, "
            f"((hash(i + 17) % 1000) / 1000.0)::FLOAT AS vis2, 'https://example.org/oifits/' || i || '.fits' AS access_url "
            f"FROM range({few}) t(i)) TO '{granules}.part' (FORMAT parquet)"
        )
    for path in (logs, granules):
        Path(f"{path}.part").replace(path)
    return logs, granules


@contextlib.contextmanager
def database(scratch: Path = peer.SCRATCH) -> Iterator[int]:
    """Run the server that DaCHS has, too, with default settings; gives its port."""
    scratch.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam(peer.OWNER)
    os.chown(scratch, account.pw_uid, account.pw_gid)
    port = free_port()
    with peer.cluster(scratch, port):
        prepare(port)
        yield port


def prepare(port: int) -> None:
    """Make Hven's own database on a running server, with pgSphere and q3c, and tell the sites where it is."""
    place = ["-h", "127.0.0.1", "-p", port]
    there = peer.did(
        [peer.BINARIES / "psql", *place, "-d", "postgres", "-Atc", "SELECT datname FROM pg_database"], 60, owner=True
    ).split()
    if "hven" not in there:
        peer.did([peer.BINARIES / "createdb", *place, "-T", "template0", "-E", "UTF8", "hven"], 60, owner=True)
        peer.sphere(place, "hven")
        peer.did([peer.BINARIES / "psql", *place, "-q", "-d", "hven", "-c", "CREATE EXTENSION q3c"], 60, owner=True)
    os.environ[DATABASE] = f"postgresql://{peer.OWNER}@127.0.0.1:{port}/hven"


def publish_collections(site: Path, collections: dict[str, tuple[str, Path, str]], namespace: str) -> dict[str, float]:
    """Make a site and ingest what is not published yet: collection -> (descriptor, file, engine); gives seconds of each ingest."""
    for name, (text, file, engine) in collections.items():
        said = f"engine: {engine}\n"
        descriptor = (
            text.replace("{engine}", said) if "{engine}" in text else text.replace("subjects:", f"{said}subjects:", 1)
        )
        foundation.site_of(site, name, descriptor, file)
    toml = site / "hven.toml"
    if "\n[postgres]\n" not in toml.read_text():
        toml.write_text(f'{toml.read_text()}\n[postgres]\nurl = "${DATABASE}"\nnamespace = "{namespace}"\npool = 16\n')
    status = subprocess.run(
        [HVEN, "status", "--json", "--site", site], check=True, capture_output=True, text=True
    ).stdout
    return {name: foundation.measure_ingest(site, name) for name in collections if f'"{name}.main"' not in status}


def sites() -> dict[str, Path]:
    """Publish the three collections in three placements: all in PostgreSQL, all embedded, the logs in PostgreSQL and the others embedded."""
    logs, granules = tables()
    found = {}
    for name, site, engines in (
        ("postgres", SITE, ("postgres", "postgres", "postgres")), ("embedded", TOGETHER, ("duckdb", "duckdb", "duckdb")),
        ("mixed", MIXED, ("duckdb", "postgres", "duckdb")),
    ):  # fmt: skip
        files = zip(
            ("tycho", "logs", "granules"),
            (foundation.STARS, LOGS, GRANULES),
            (data.tycho_csv(), logs, granules),
            engines,
            strict=True,
        )
        publish_collections(site, {word: (text, file, engine) for word, text, file, engine in files}, f"bench_{name}")
        found[name] = site
    return found


# --- psql ----------------------------------------------------------------------------------------------------


class Psql:
    """A psql that is kept open; asks by COPY and reads all of the answer."""

    def __init__(self, port: int, namespace: str, column: str = "pflag") -> None:
        self._process = subprocess.Popen(
            [peer.BINARIES / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", peer.OWNER, "-d", "hven", "-qAtX", "-v", "ON_ERROR_STOP=1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.ask(f"SET search_path = {namespace}, public, pg_catalog")
        (self.table,) = self.ask(
            "COPY (SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid "
            f"WHERE n.nspname = '{namespace}' AND c.relkind = 'r' AND a.attname = '{column}' ORDER BY c.oid DESC LIMIT 1) TO STDOUT"
        ).splitlines()
        self.table = f'"{self.table}"'

    def ask(self, text: str) -> str:
        return self.raw(text).decode()

    def raw(self, text: str, sent: bytes = b"") -> bytes:
        """Send a statement, and rows for a COPY FROM STDIN; give what comes until the mark."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(text.encode() + b";\n" + sent + b"\\echo hven-mark\n")
        stdin.flush()
        parts = []
        while True:
            part = os.read(stdout.fileno(), 1 << 20)
            if not part:
                raise RuntimeError(f"psql ended at: {text[:200]}")
            parts.append(part)
            if part.endswith(b"hven-mark\n"):
                break
            if len(part) < 10 and b"".join(parts[-3:]).endswith(b"hven-mark\n"):
                break
        return b"".join(parts).removesuffix(b"hven-mark\n")

    def copy(self, query: str) -> bytes:
        return self.raw(f"COPY ({query}) TO STDOUT")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class PsqlReference:
    """The work of the journeys, done by psql.

    Attributes
    ----------
    small
        What is over in a moment: asked in turns with the service, so that what else the machine does falls on both.
    big
        Name -> work, how often, how often before that to warm up. Done when its reference is wanted, right after the service's.
    """

    def __init__(self, psql: Psql, service: tapclient.Service, plan: tapjourneys.Plan) -> None:
        self.small, self.big = works(psql, service, plan)
        self._known: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        """Seconds."""
        if name not in self._known:
            work, times, warm = self.big[name]
            self._known[name] = tapjourneys.median_of(work, times, warm)
        return self._known[name]


Work = Callable[[], object]
ROUNDS, EACH = 40, 10  # of what is asked in turns


def measure_in_turns(works: Sequence[Work]) -> list[float]:
    """Do each work some times, then the next; give the median ms of each."""
    for work in works:
        tapjourneys.median_of(work, 1, 20)
    rounds = [[tapjourneys.median_of(work, EACH, 1) * 1e3 for work in works] for _ in range(ROUNDS)]
    return [statistics.median(found) for found in zip(*rounds, strict=True)]


def works(
    psql: Psql, service: tapclient.Service, plan: tapjourneys.Plan
) -> tuple[dict[str, tuple[Work, Work]], dict[str, tuple[Work, int, int]]]:
    """Give what the service is asked in the small journeys with the same work of psql; and psql's work of the big ones."""
    client = tapclient.Client(service.url)
    places, keys, table = plan.places(), plan.keys(), psql.table

    def cone(radius: float = 0.1) -> str:
        ra, dec = next(places)
        here = f"spoint(radians({service.ra}), radians({service.dec}))"
        return f"SELECT {service.columns} FROM {table} WHERE {here} <@ scircle(spoint(radians({ra}), radians({dec})), radians({radius}))"

    def top(column: str) -> str:
        return f"SELECT {service.id}, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 10"

    def key(here: str) -> str:
        return f"SELECT {service.columns} FROM {here} WHERE {service.id} = '{next(keys)}'"

    indexed = service.indexed
    ten = f"SELECT TOP 10 {service.id}, {indexed} FROM {service.table} WHERE {indexed} IS NOT NULL ORDER BY {indexed}"

    def uploading(places: tapjourneys.Plan) -> Work:
        rows = (
            "".join(
                f"{at}\t{ra}\t{dec}\n" for at, (ra, dec) in enumerate(zip(places.ra, places.dec, strict=True))
            ).encode()
            + b"\\.\n"
        )
        return lambda: upload(rows)

    @functools.cache
    def hundred_thousand() -> Work:
        return uploading(tapjourneys.choose_stars(service, plan, tapjourneys.MANY))

    def query_many() -> None:
        hundred_thousand()()

    def upload(rows: bytes) -> None:
        psql.raw("CREATE TEMP TABLE up (nr int, lon double precision, lat double precision)")
        psql.raw("COPY up FROM STDIN", rows)
        psql.copy(
            f"SELECT u.nr, s.{service.id} FROM up AS u JOIN {table} AS s ON spoint(radians(s.{service.ra}), radians(s.{service.dec})) "
            f"<@ scircle(spoint(radians(u.lon), radians(u.lat)), radians({1 / 3600:.9f}))"
        )
        psql.raw("DROP TABLE up")

    small: dict[str, tuple[Work, Work]] = {
        "trivial": (
            lambda: client.sync(f"SELECT TOP 1 {service.id} FROM {service.table}"),
            lambda: psql.copy(f"SELECT {service.id} FROM {table} LIMIT 1"),
        ),
        "cone": (lambda: client.sync(service.cone(*next(places))), lambda: psql.copy(cone())),
        "key": (lambda: client.sync(key(service.table)), lambda: psql.copy(key(table))),
        "top10.indexed": (lambda: client.sync(ten), lambda: psql.copy(top(indexed))),
    }
    big: dict[str, tuple[Work, int, int]] = {
        "group": (lambda: psql.copy(f"SELECT {service.group}, count(*) FROM {table} GROUP BY {service.group}"), 9, 2),
        "top10.unindexed": (lambda: psql.copy(top(service.unindexed)), 9, 2),
        "upload": (uploading(plan), 5, 1),
        "upload.many": (query_many, 3, 1),
        "dump": (
            lambda: psql.copy(f"SELECT {service.columns} FROM {table} LIMIT {min(tapjourneys.DUMPED, plan.rows)}"),
            5,
            1,
        ),
    }
    return small, big


# --- journeys ------------------------------------------------------------------------------------------------


NEEDS = {
    "root": tuple(f"postgres.{name}" for name in (*tap.TARGETS, *JOURNEYS)),
    "wrk": tuple(name.replace("tap.", "postgres.") for name in tap.NEEDS["wrk"]),
}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run all that have `only` in their names."""
    from bench import outlines

    if only and not any(only in name for name in NEEDS["root"]):
        return
    word = only.removeprefix("postgres.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    if outlines.is_selected(only):
        with database() as port:
            yield from outlines.journeys(port, only)
    if only and not any(only in name for name in NEEDS["root"] if name not in outlines.NAMES):
        return
    peer.install()
    with database() as port:
        places = sites()
        if word in "load.stars":
            yield load(port)
        yield from journeys(places["postgres"], port, word)
        if word in "join.postgres join.embedded join.mixed":
            yield from joins(places)
        if word in "restart":
            yield restart(places["postgres"], port)


def journeys(site: Path, port: int, only: str) -> Iterator[Journey]:
    """Run the TAP journeys over PostgreSQL, each beside psql, or beside what `bench tap` has where psql does nothing alike."""
    with serve_site(site) as server, contextlib.ExitStack() as stack:
        service = tap.build_service(server)
        plan = tapjourneys.plan_journeys(service)
        psql = stack.enter_context(contextlib.closing(Psql(port, "bench_postgres")))
        beside = PsqlReference(psql, service, plan)
        there = tapclient.Client(f"http://127.0.0.1:{server.port}")
        found = {"bound": tap.BOUND_MIB, "slow.bound": tap.SLOW_MIB + STREAMS_MIB}
        references = tap.References(service, plan, site, data.tycho_csv(), found)
        for figure in tapjourneys.figures(service, plan, only=only):
            # its answer is known to be right: now in turns
            if figure.known is not None and figure.name in beside.small:
                ours, theirs, health = measure_in_turns([*beside.small[figure.name], lambda: there.get(service.health)])
                note = f"psql {theirs:.2f} ms + /health {health:.2f} ms, in turns"
                yield against(f"postgres.{figure.name}", ours, theirs + health, TWICE, unit="ms", note=note)
            elif figure.name in PSQL:
                # a job or not: psql does the same
                theirs = beside[figure.name.removesuffix(".sync").removesuffix(".async")] * 1e3
                note = f"psql {theirs:.2f} ms + /health {references['health']:.2f} ms; {figure.note}"
                yield against(
                    f"postgres.{figure.name}",
                    figure.value,
                    theirs + references["health"],
                    TWICE,
                    unit=figure.unit,
                    note=note,
                )
            elif figure.name.startswith("dump."):
                yield against(
                    f"postgres.{figure.name}",
                    figure.value,
                    beside["dump"],
                    TWICE,
                    unit="s",
                    note=f"psql COPY; {figure.note}",
                )
            elif figure.name == "cones.32":
                yield against(
                    "postgres.cones.32",
                    figure.value,
                    CONES,
                    1.0,
                    unit="/s",
                    higher=True,
                    note=f"beside {CONES:.0f}/s; {figure.note}",
                )
            else:
                journey = tap.judge_figure(figure, references, found)
                if journey is not None and not figure.name.startswith("cones."):
                    yield against(
                        f"postgres.{figure.name}", journey.value, journey.reference, journey.target, unit=journey.unit, higher=journey.higher, note=journey.note
                    )  # fmt: skip


def joins(places: dict[str, Path]) -> Iterator[Journey]:
    """Ask the join of three collections within a degree about other places in each call; the answers must be the same everywhere."""
    draw = random.Random(4)
    centres = [(round(draw.uniform(0, 360), 4), round(draw.uniform(-60, 60), 4)) for _ in range(40)]
    answers: dict[str, list[bytes]] = {}
    for name, site in places.items():
        with serve_site(site) as server:
            client = tapclient.Client(f"http://127.0.0.1:{server.port}/tap")
            answers[name] = [
                b"\n".join(sorted(client.sync(JOIN.format(*centre), "csv").split(b"\n"))) for centre in centres
            ]
            took = []
            for centre in centres * 2:
                begun = time.perf_counter()
                client.sync(JOIN.format(*centre))
                took.append((time.perf_counter() - begun) * 1e3)
        rows = sum(answer.count(b"\n") for answer in answers[name]) / len(centres)
        same = answers[name] == answers["postgres"]
        note = f"p95 {sorted(took)[int(0.95 * len(took))]:.1f} ms, {rows:.0f} rows; {'the same rows as all in PostgreSQL' if same else 'OTHER ROWS'}"
        value = statistics.median(took) if same and rows > 2 else float("nan")
        yield against(
            f"postgres.join.{name}", value, JOINED[name], 1.0, unit="ms", note=f"beside {JOINED[name]:.0f} ms; {note}"
        )


def load(port: int) -> Journey:
    """Ingest the stars anew, and let psql do the same: COPY of the same rows in the same order, the same indexes, VACUUM (FREEZE, ANALYZE)."""
    site = CACHE / "site-loading"
    place = ["-h", "127.0.0.1", "-p", str(port), "-U", peer.OWNER, "-d", "hven"]
    psql = [peer.BINARIES / "psql", *place, "-qX", "-v", "ON_ERROR_STOP=1"]
    shutil.rmtree(site, ignore_errors=True)
    peer.did([*psql, "-c", "DROP SCHEMA IF EXISTS bench_loading CASCADE"], 60)  # of a run that was stopped
    ours = publish_collections(site, {"tycho": (foundation.STARS, data.tycho_csv(), "postgres")}, "bench_loading")[
        "tycho"
    ]
    named = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'bench_loading' AND tablename LIKE 's\\_%'"
    table = peer.did([*psql, "-Atc", named], 60).strip()
    indexes = peer.did(
        [*psql, "-Atc", f"SELECT indexdef FROM pg_indexes WHERE format('%I.%I', schemaname, tablename) = '{table}'"], 60
    )
    copied = Path("/var/tmp/hven-bench-rows.copy")
    peer.did([*psql, "-c", f"\\copy {table} TO '{copied}' (FORMAT binary)"], 300)
    made = ["CREATE TABLE public.copied (LIKE " + table + ");", f"\\copy public.copied FROM '{copied}' (FORMAT binary)"]
    made += [
        f"{line.replace(table, 'public.copied').replace(table.replace(chr(34), ''), 'public.copied')};"
        for line in _nameless(indexes, table)
    ]
    script = "DROP TABLE IF EXISTS public.copied;\n" + "\n".join(made) + "\nVACUUM (FREEZE, ANALYZE) public.copied;\n"
    begun = time.perf_counter()
    peer.did([*psql, "-f", "-"], 600, text=script)
    theirs = time.perf_counter() - begun
    copied.unlink()
    peer.did([*psql, "-c", "DROP TABLE public.copied", "-c", "DROP SCHEMA bench_loading CASCADE"], 60)
    shutil.rmtree(site, ignore_errors=True)
    return against(
        "postgres.load.stars",
        ours,
        theirs,
        1.5,
        unit="s",
        note="whole ingest of a CSV / psql: COPY of the rows in order, the same indexes, VACUUM",
    )


def _nameless(indexes: str, table: str) -> list[str]:
    """Give the statements of indexes with other names, so that they may be made once more in the schema."""
    return [
        re.sub(r" INDEX \S+ ON (ONLY )?\S+ ", " INDEX ON public.copied ", line)
        for line in indexes.splitlines()
        if table
    ]


def restart(site: Path, port: int, seconds: float = 12.0) -> Journey:
    """Restart PostgreSQL while 8 clients ask; seconds from when it is up again until every client has its answers. An error must be a document."""
    with serve_site(site) as server:
        service = tap.build_service(server)
        plan = tapjourneys.plan_journeys(service, quick=True)
        over = threading.Event()
        said: list[tuple[float, int, bool]] = []

        def send_queries(number: int) -> None:
            client = tapclient.Client(service.url, seconds=30)
            at = number * 37
            while not over.is_set():
                at += 1
                answer = client.start(service.cone(plan.ra[at % 1000], plan.dec[at % 1000]), "votable")
                body = answer.read()
                clean = b"</VOTABLE>" in body and (
                    answer.status == 200 or (b"Traceback" not in body and b'value="ERROR"' in body)
                )
                said.append((time.perf_counter(), answer.status, clean))

        clients = [threading.Thread(target=send_queries, args=(number,), daemon=True) for number in range(8)]
        for client in clients:
            client.start()
        time.sleep(2)
        home = peer.SCRATCH / "cluster"
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={peer.SCRATCH}"
        peer.did(
            [
                peer.BINARIES / "pg_ctl",
                "-D",
                home,
                "-m",
                "fast",
                "-w",
                "-l",
                peer.SCRATCH / "postgresql.log",
                "-o",
                options,
                "restart",
            ],
            60,
            owner=True,
        )
        up = time.perf_counter()
        time.sleep(seconds)
        over.set()
        for client in clients:
            client.join(40)
        wrong = [when for when, status, _ in said if status != 200]
        unclean = sum(not clean for _, _, clean in said)
        back = max(0.0, max(wrong, default=up) - up)
        after = sum(when > up and status == 200 for when, status, _ in said)
    note = f"{len(wrong)} clean errors, {unclean} others, {after} answers afterwards"
    return against(
        "postgres.restart",
        float("nan") if unclean or not after else back,
        BACK,
        1.0,
        unit="s",
        note=f"beside {BACK:.0f} s; {note}",
    )


__all__ = ["database", "prepare", "publish_collections", "run", "sites"]
