"""Hven beside GAVO DaCHS: installs DaCHS (Debian), loads the same stars, runs the journeys of bench.tap on both, prints the ratios.

``python -m bench.peer [--rows N] [--only WORD] [--quick] [--json FILE]``. Needs root (apt-get, a PostgreSQL cluster of user postgres).
Everything of the peer lives in one scratch directory and listens on the loopback interface only; what was started is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench import data, tap, tapclient, tapjourneys
from bench.foundation import SITE, STARS, measure_ingest, ready, site_of
from bench.measure import CACHE, HVEN, descendants, free_port, serve_site
from bench.needs import list_needs, need

# python3-gavo has all of DaCHS; gavodachs2-server only adds an init script, and a postinst that needs a running system PostgreSQL
PACKAGES = ("python3-gavo", "postgresql-15-pgsphere", "postgresql-15-q3c")
BINARIES = Path("/usr/lib/postgresql/15/bin")
DACHS = Path("/usr/bin/dachs")
PYTHON = Path("/usr/bin/python3")
# `dachs init`, told that pgSphere is there (see `sphere`)
INIT = (
    "from gavo.user import initdachs as i; load = i._loadPgExtension; "
    "i._loadPgExtension = lambda conn, name: name == 'pg_sphere' or load(conn, name); i.main()"
)
OWNER = "postgres"  # PostgreSQL does not run as root; DaCHS needs nothing more than this account
SCRATCH = Path("/var/tmp/hven-bench-peer")
KINDS = {"string": "text", "float64": "double precision", "float32": "real", "int16": "smallint", "int32": "integer"}


class PeerError(Exception):
    """The peer cannot be had here; the text says which command failed, and what it said."""


def did(
    command: Sequence[object],
    seconds: float,
    *,
    owner: bool = False,
    env: dict[str, str] | None = None,
    text: str | None = None,
) -> str:
    """Run a command within a time; PeerError with its last words if it fails."""
    words = [str(word) for word in command]
    if owner:
        words = [
            "runuser",
            "-u",
            OWNER,
            "--",
            "env",
            *(f"{name}={value}" for name, value in (env or {}).items()),
            *words,
        ]
    shown = " ".join(words)
    try:
        found = subprocess.run(
            words,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd="/",
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"not done within {seconds:.0f} s: {shown}") from None
    except FileNotFoundError as error:
        raise PeerError(f"{error.filename} is missing: {shown}") from None
    if found.returncode:
        raise PeerError(
            f"exit status {found.returncode}: {shown}\n"
            + "\n".join((found.stdout + found.stderr).strip().splitlines()[-25:])
        )
    return found.stdout


def install() -> None:
    """Install the packages if they are missing."""
    if os.geteuid() != 0:
        raise PeerError(
            "installing DaCHS and making its PostgreSQL cluster needs root; run this as root in a container"
        )
    if (
        DACHS.exists()
        and (BINARIES / "postgres").exists()
        and Path("/usr/share/postgresql/15/extension/q3c.control").exists()
    ):
        return
    print("installing " + " ".join(PACKAGES), file=sys.stderr)
    # a cluster of the system's own would be in nobody's way, but nobody needs it
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    try:
        did(command, 600)
    except PeerError:
        did(["apt-get", "update"], 120)
        did(command, 600)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A running DaCHS and its PostgreSQL."""

    port: int
    pids: tuple[int, ...]  # of the postmaster and of DaCHS
    rows: int
    rate: float  # rows per second that DaCHS's own import took in
    database: int  # port of its PostgreSQL

    def everybody(self) -> list[int]:
        return [*self.pids, *(child for pid in self.pids for child in descendants(pid))]


@contextlib.contextmanager
def cluster(scratch: Path, port: int) -> Iterator[int]:
    """Run a PostgreSQL with default settings on the loopback interface; gives the postmaster's pid."""
    home = scratch / "cluster"
    if not (home / "PG_VERSION").exists():
        did(
            [BINARIES / "initdb", "-D", home, "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-U", OWNER],
            60,
            owner=True,
        )
    stale = home / "postmaster.pid"
    if stale.exists() and not _alive(int(stale.read_text().split()[0])):
        stale.unlink()
    did(
        [
            BINARIES / "pg_ctl", "-D", home, "-w", "-t", "60", "-l", scratch / "postgresql.log",
            "-o", f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={scratch}", "start",
        ],
        90, owner=True,
    )  # fmt: skip
    try:
        yield int(stale.read_text().split()[0])
    finally:
        did([BINARIES / "pg_ctl", "-D", home, "-m", "fast", "-w", "-t", "60", "stop"], 90, owner=True)


def sphere(place: list[object], base: str = "gavo") -> None:
    """Load pgSphere. Debian's 1.2.0 has two operators for old DaCHS versions that PostgreSQL 15.20 refuses (pgSphere issue 85): left out."""
    sql = [BINARIES / "psql", *place, "-v", "ON_ERROR_STOP=1", "-q", "-d", base]
    try:
        did([*sql, "-c", "CREATE EXTENSION pg_sphere"], 60, owner=True)
    except PeerError as error:
        if "is already the commutator of" not in str(error):
            raise
        script = Path("/usr/share/postgresql/15/extension/pg_sphere--1.2.0.sql").read_text()
        script = re.sub(r"CREATE OPERATOR @ \([^;]*\bsmoc\b[^;]*;", "", script).replace(
            "MODULE_PATHNAME", "$libdir/pg_sphere"
        )
        did([*sql, "-1", "-f", "-"], 120, owner=True, text=re.sub(r"(?m)^\\.*$", "", script))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def descriptor(service_rows: int) -> str:
    """Write DaCHS's descriptor of the same table: position index as its documentation recommends, primary key, index on vt."""
    import yaml

    columns = yaml.safe_load(STARS.format(file="x"))["tables"]["main"]["columns"]
    lines = []
    for name, column in columns.items():
        attributes = {"name": name, "type": KINDS[column["type"]]} | {
            key: column[key] for key in ("ucd", "unit", "description") if key in column
        }
        text = " ".join(f'{key}="{value}"' for key, value in attributes.items())
        null = '<values nullLiteral="-32768"/>' if column["type"] in {"int16", "int32"} else ""
        lines.append(f"<column {text}>{null}</column>")
    return f"""<resource schema="tycho">
<meta name="title">Tycho-2, {service_rows} stars</meta><meta name="description">Stars to measure with.</meta>
<meta name="creationDate">2025-01-01T00:00:00</meta><meta name="subject">stars</meta>
<table id="main" onDisk="True" adql="True" mixin="{MIXIN}" primary="tyc">
<index columns="vt"/>
{chr(10).join(lines)}
</table>
<data id="import"><sources>first.csv</sources><csvGrammar/><make table="main"><rowmaker idmaps="*"/></make></data>
</resource>
"""


MIXIN = "//scs#pgs-pos-index"


@contextlib.contextmanager
def dachs(scratch: Path, csv: Path, rows: int) -> Iterator[Peer]:
    """Run DaCHS with the first `rows` of the stars; what an earlier run has loaded is taken again."""
    account = pwd.getpwnam(OWNER)
    scratch.mkdir(parents=True, exist_ok=True)
    os.chown(scratch, account.pw_uid, account.pw_gid)
    database, port = free_port(), free_port()
    env = {"GAVOSETTINGS": str(scratch / "gavo.rc"), "HOME": str(scratch), "GAVOCUSTOM": "/nonexistent"}
    root = scratch / "gavo"
    (scratch / "gavo.rc").write_text(
        f"[general]\nrootDir: {root}\ngavoGroup: {OWNER}\ngroup: {OWNER}\n"
        f"[web]\nbindAddress: 127.0.0.1\nserverPort: {port}\nserverURL: http://127.0.0.1:{port}\nuser: {OWNER}\n"
    )
    marker = scratch / "loaded.json"
    with cluster(scratch, database) as postmaster:
        place = ["-h", "127.0.0.1", "-p", database]
        if (root / "etc" / "dsn").exists():  # the port of the cluster is another in each run
            (root / "etc" / "dsn").write_text(f"database = gavo\nhost = 127.0.0.1\nport = {database}\n")
        if not (scratch / "initialised").exists():
            did([BINARIES / "dropdb", *place, "--if-exists", "gavo"], 60, owner=True)
            shutil.rmtree(root, ignore_errors=True)
            did([BINARIES / "createdb", *place, "-T", "template0", "-E", "UTF8", "gavo"], 60, owner=True)
            sphere(place)
            did(
                [PYTHON, "-c", INIT, "-d", f"host=127.0.0.1 port={database} user={OWNER} dbname=gavo"],
                300,
                owner=True,
                env=env,
            )
            (scratch / "initialised").touch()
            marker.unlink(missing_ok=True)
        loaded = json.loads(marker.read_text()) if marker.exists() else {}
        if loaded.get("rows") != rows:
            marker.unlink(missing_ok=True)
            print(f"loading {rows:,} stars into DaCHS", file=sys.stderr)
            loaded = {"rows": rows, "rate": _load(scratch, root, csv, rows, place, env)}
            marker.write_text(json.dumps(loaded))
        with (scratch / "dachs.log").open("ab") as log:
            words = [*(f"{name}={value}" for name, value in env.items()), str(DACHS), "serve", "start", "--foreground"]
            process = subprocess.Popen(
                ["runuser", "-u", OWNER, "--", "env", *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        try:
            _await(process, port, scratch)
            yield Peer(port=port, pids=(postmaster, process.pid), rows=rows, rate=loaded["rate"], database=database)
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, sign)
                    process.wait(15)
                    break


def _load(scratch: Path, root: Path, csv: Path, rows: int, place: list[object], env: dict[str, str]) -> float:
    """Import 20,000 stars by DaCHS's own grammar (which makes the table and its indexes), the rest by COPY; give the grammar's rows per second."""
    folder = root / "inputs" / "tycho"
    folder.mkdir(parents=True, exist_ok=True)
    sample = min(rows, 20_000)
    with duckdb.connect() as connection:
        everything = f"read_csv('{csv}', all_varchar=true, nullstr='')"
        connection.execute(f"COPY (SELECT * FROM {everything} LIMIT {sample}) TO '{folder / 'first.csv'}' (HEADER)")
        connection.execute(
            f"COPY (SELECT * FROM {everything} LIMIT {rows - sample} OFFSET {sample}) TO '{scratch / 'rest.csv'}' (HEADER)"
        )
    (folder / "q.rd").write_text(descriptor(rows))
    account = pwd.getpwnam(OWNER)
    for path in (folder, *folder.iterdir(), scratch / "rest.csv"):
        os.chown(path, account.pw_uid, account.pw_gid)
    begun = time.perf_counter()
    did([DACHS, "imp", "tycho/q"], 300, owner=True, env=env)
    rate = sample / (time.perf_counter() - begun)
    # indexes made after the rows, as DaCHS does; CLUSTER is what its position index asks for
    script = f"""SET maintenance_work_mem = '512MB';
CREATE TEMP TABLE kept AS SELECT indexname, indexdef FROM pg_indexes
  WHERE schemaname = 'tycho' AND tablename = 'main' AND indexname NOT IN (SELECT conname FROM pg_constraint);
SELECT format('DROP INDEX tycho.%I', indexname) FROM kept \\gexec
\\copy tycho.main FROM '{scratch / "rest.csv"}' (FORMAT csv, HEADER, NULL '')
SELECT indexdef FROM kept \\gexec
SELECT format('CLUSTER tycho.main USING %I', indexname) FROM kept WHERE indexname LIKE 'spoint%' \\gexec
VACUUM ANALYZE tycho.main;
"""
    did([BINARIES / "psql", *place, "-v", "ON_ERROR_STOP=1", "-d", "gavo", "-f", "-"], 600, owner=True, text=script)
    (scratch / "rest.csv").unlink()
    return rate


def _await(process: subprocess.Popen[bytes], port: int, scratch: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, tapclient.TapError):
            tapclient.Client(f"http://127.0.0.1:{port}/tap").sync(
                "SELECT TOP 1 table_name FROM TAP_SCHEMA.tables", "csv"
            )
            return
        time.sleep(0.2)
    last = "\n".join((scratch / "dachs.log").read_text(errors="replace").splitlines()[-25:])
    raise PeerError(f"dachs serve did not answer within 90 s:\n{last}")


@contextlib.contextmanager
def ours(csv: Path, rows: int) -> Iterator[tapclient.Service]:
    """Run Hven with the same stars."""
    site = SITE
    if rows == data.TYCHO_ROWS:
        ready()
    else:
        part = CACHE / f"tycho2-{rows}.csv"
        if not part.exists():
            with duckdb.connect() as connection:
                connection.execute(
                    f"COPY (SELECT * FROM read_csv('{csv}', all_varchar=true) LIMIT {rows}) TO '{part}' (HEADER)"
                )
        site = CACHE / f"site-{rows}"
        site_of(site, "tycho", STARS, part)
        status = subprocess.run(
            [HVEN, "status", "--json", "--site", site], check=True, capture_output=True, text=True
        ).stdout
        if '"tycho.main"' not in status:
            measure_ingest(site, "tycho")
    with serve_site(site) as server:
        yield tap.build_service(server)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=data.TYCHO_ROWS, help="stars to load (default: all)")
    parser.add_argument("--only", default="", metavar="WORD", help="journeys whose name has this word")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="a third column: Hven with the same stars on DaCHS's own PostgreSQL server",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--scratch", type=Path, default=SCRATCH, help=f"the peer's files (default: {SCRATCH}); kept for the next run"
    )
    parser.add_argument("--fresh", action="store_true", help="remove the scratch directory first")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    need("peer", ["root", *list_needs(tap.NEEDS, options.only)])
    csv = data.tycho_csv()
    CACHE.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        shutil.rmtree(options.scratch, ignore_errors=True)
    try:
        install()
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(dachs(options.scratch, csv, options.rows))
            us = [stack.enter_context(ours(csv, options.rows))]
            if options.postgres:
                us.append(stack.enter_context(ours_there(csv, options.rows, peer.database, options.scratch)))
            found = compare_services(us, peer, options)
    except (PeerError, tapclient.TapError) as error:
        print(f"the peer cannot be measured here: {error}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    behind = [name for name, row in found.items() if row["ahead"] is False]
    print(
        f"\nHven is ahead in {sum(row['ahead'] is True for row in found.values())} of {sum(row['ahead'] is not None for row in found.values())} rows that both have"
        + (f"; behind: {', '.join(behind)}" if behind else "")
    )
    return 1 if behind else 0


@contextlib.contextmanager
def ours_there(csv: Path, rows: int, port: int, scratch: Path) -> Iterator[tapclient.Service]:
    """Run Hven with the same stars on the peer's PostgreSQL server, in a database of its own."""
    from bench import postgres

    postgres.prepare(port)
    site, file = postgres.SITE, csv
    if rows != data.TYCHO_ROWS:
        site, file = CACHE / f"site-postgres-{rows}", CACHE / f"tycho2-{rows}.csv"
    postgres.publish_collections(
        site, {"tycho": (STARS, file, "postgres")}, "bench_postgres" if rows == data.TYCHO_ROWS else f"bench_{rows}"
    )
    with serve_site(site) as server:
        here = tap.build_service(server)
        postmaster = int((scratch / "cluster" / "postmaster.pid").read_text().split()[0])
        yield dataclasses.replace(
            here, name="Hven on PostgreSQL", pids=lambda: [*server.pids, postmaster, *descendants(postmaster)]
        )


def compare_services(
    us: Sequence[tapclient.Service], peer: Peer, options: argparse.Namespace
) -> dict[str, dict[str, object]]:
    """Run each journey on all, one after the other, and print a row per figure."""
    them = tapclient.Service(url=f"http://127.0.0.1:{peer.port}/tap", name="DaCHS", pids=peer.everybody)
    print(
        f"{peer.rows:,} stars in all; DaCHS's own import took {peer.rate:,.0f} rows/s (20,000 rows, its start included)"
    )
    there = f" {'Hven on PG':>11}" if len(us) > 1 else ""
    print(
        f"{'journey':<18} {'Hven':>11}{there} {'DaCHS':>11}      {'Hven/DaCHS':>10}"
        + (f" {'on PG/DaCHS':>11}" if there else "")
    )
    rows: dict[str, dict[str, object]] = {}
    sides = (*us, them)
    plans = [tapjourneys.plan_journeys(side, quick=options.quick) for side in sides]
    if len({plan.rows for plan in plans}) > 1:
        raise PeerError(
            "; ".join(f"{side.name} has {plan.rows:,} stars" for side, plan in zip(sides, plans, strict=True))
        )
    memories = [tapjourneys.Memory(side.pids) for side in sides]
    for journey in tapjourneys.JOURNEYS:
        if not tapjourneys.is_wanted(journey, options.only):
            continue
        found = []
        for side, memory in zip(sides, memories, strict=True):
            # all look for the same stars
            found.append(
                {
                    figure.name: figure
                    for figure in tapjourneys.run_journey(journey, side, plans[0], memory)
                    if options.only in figure.name
                }
            )
        _rows(found, rows)
    if options.only in "memory.idle memory.most":
        _rows([{figure.name: figure for figure in memory.figures()} for memory in memories], rows)
    return rows


def _rows(sides: Sequence[dict[str, tapclient.Figure]], rows: dict[str, dict[str, object]]) -> None:
    """Print a row for each figure: Hven's sides, DaCHS last, the ratio of each of Hven's to DaCHS."""
    *mine, theirs = sides
    for name in {name: None for side in sides for name in side}:
        known = [side[name] for side in sides if name in side]
        unit, higher = known[0].unit or known[-1].unit, known[-1].higher
        ratios = [
            side[name].value / theirs[name].value
            if name in side and name in theirs and theirs[name].value
            else math.nan
            for side in mine
        ]
        ahead = None if any(math.isnan(ratio) for ratio in ratios) else all((ratio > 1) == higher for ratio in ratios)
        shown = " ".join(_format_figure(side, name) for side in sides)
        notes = "  |  ".join(dict.fromkeys(figure.note for figure in known if figure.note))
        print(f"{name:<18} {shown} {unit:<4} {' '.join(f'{ratio:>10.3g}' for ratio in ratios)}  {notes}", flush=True)
        rows[name] = {
            "hven": mine[0][name].known if name in mine[0] else None, "dachs": theirs[name].known if name in theirs else None, "unit": unit,
            "ratio": None if math.isnan(ratios[0]) else ratios[0], "ahead": ahead, "note": notes,
        }  # fmt: skip
        if len(mine) > 1:
            rows[name] |= {
                "postgres": mine[1][name].known if name in mine[1] else None,
                "postgres_ratio": None if math.isnan(ratios[1]) else ratios[1],
            }


def _format_figure(side: dict[str, tapclient.Figure], name: str) -> str:
    """Write a figure; what failed took the rest of its journey with it."""
    if name in side and side[name].known is not None:
        return f"{side[name].value:>11.4g}"
    failed = any(figure.known is None for figure in side.values())
    return f"{'failed' if failed else 'not offered':>11}"


if __name__ == "__main__":
    sys.exit(main())
