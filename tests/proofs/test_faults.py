"""Two at once beside a server and a reader: whoever meets whom, both end in words, and what is served is whole at every moment.

One process has imported everything and forks two children for each pair, which begin at the same moment. `scripts/proof faults` runs
all pairs, the tests some of them: others each day.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest

from hven import query
from hven.model.errors import HvenError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import VERB_NAMES, require_plugins
from postgres_cluster import run_server as postgres

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))
from server_process import ServerProcess, serve_site

FULL = os.environ.get("HVEN_PROOF") == "full"  # scripts/proof runs the full one
ROWS = 500

DESCRIPTOR = """\
collection: cat
title: t
tables:
  stars:
    primary: id
    columns:
      id: {type: int32, indexed: true}
      v: {type: int32}
    source: {kind: csv, files: stars.csv}
  few:
    source: {kind: query, adql: "SELECT id, v FROM cat.stars WHERE id < 10"}
"""

VERBS = {
    "ingest": ["ingest", "cat"],
    "sync": ["sync", "cat"],
    "rollback": ["rollback", "cat"],
    "remove": ["remove", "cat"],
    "purge": ["remove", "cat", "--purge"],
    "backup": ["backup", "{out}/{number}.hven"],
    "restore": ["restore", "{out}/archive.hven", "{out}/site-{number}"],
    "move": ["move", "cat", "--to", "duckdb"],
    "away": ["move", "cat", "--to", "postgres"],
    "verify": ["verify", "cat"],
    "gc": ["gc"],
    "diff": ["diff", "cat", "{snapshot}"],
    "check": ["check", "cat", "--tests"],
    "query": ["query", "SELECT COUNT(*) AS n FROM cat.stars"],
}
if "backup" not in VERB_NAMES:
    del VERBS["backup"], VERBS["restore"]
HERE = [verb for verb in VERBS if verb != "away"]
# where the rows are before, and two verbs; those of two engines are a move from each to the other against every verb, and moves against each other
ALL = [("duckdb", *pair) for pair in itertools.combinations_with_replacement(HERE, 2)]
MOVES = [("duckdb", "away", verb) for verb in VERBS] + [("postgres", "move", verb) for verb in VERBS]
CI = os.environ.get("CI") == "true"  # there the same code has the same tests
DAY = (date(2026, 11, 21) if CI else datetime.now(UTC).date()).toordinal()
SOME = [("duckdb", "ingest", "purge"), ALL[DAY % len(ALL)]]
PAIRS = [("one engine", *pair) for pair in (ALL if FULL else sorted(set(SOME)))]
PAIRS += [("two engines", *pair) for pair in (MOVES if FULL else [MOVES[DAY % len(MOVES)]])]

ZYGOTE = """
import contextlib, importlib, io, json, os, sys
from pathlib import Path
import hven.app._cli, hven.app._cli.publish, hven.app._cli.sync, hven.app._cli.query_commands, hven.engines.duckdb.engine, hven.sources.csv, hven.sources.query
import hven.descriptor.mapping, hven.app._cli.verify
from hven.ingest import _disk_space as disk_space
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import plugins
from hven.model.errors import UserError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.user_tables import delete_expired_user_tables

with contextlib.suppress(ImportError, UserError):  # without the engine postgres, or its drivers
    importlib.import_module(f"{plugins.load_plugin('engines', 'postgres').__name__}.storage_engine")

def gc(place):  # what a server does from time to time, and an ingest at its end
    with Site(load_settings(Path(place), {})) as site:
        delete_expired_user_tables(site)
        disk_space.delete_ingest_leftovers(site)
    return 0

def work(words, gate, answer):
    os.read(gate, 1)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = gc(words[1]) if words[2:] == ["gc"] else hven.app._cli.main(words)
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        code, said = "bug", io.StringIO(repr(error))
    os.write(answer, json.dumps([code, said.getvalue()[-4000:]]).encode())

for line in sys.stdin:
    ways = []
    gate, opener = os.pipe()
    for words in json.loads(line):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            work(words, gate, writer)
            os._exit(0)
        os.close(writer)
        ways.append((pid, reader))
    os.write(opener, b"xx")
    told = []
    for pid, reader in ways:
        with open(reader, "rb") as file:
            told.append(json.loads(file.read() or b'["died", ""]'))
        os.waitpid(pid, 0)
    os.close(gate); os.close(opener)
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def run_together() -> Iterator[Callable[..., list[tuple[object, str]]]]:
    """Run command lines at the same moment: gives exit code and words of each."""
    process = subprocess.Popen([sys.executable, "-c", ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def run(*lines: list[str]) -> list[tuple[object, str]]:
        process.stdin.write(f"{json.dumps(lines)}\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return [(code, said) for code, said in json.loads(process.stdout.readline())]  # type: ignore[union-attr]

    with process:  # the end closes its pipes
        yield run
    assert process.returncode == 0


def read_served_versions(place: Path) -> tuple[int, ...] | None:
    """Give how many rows are served and of which versions; None: nothing is published. Both tables must be of one state."""
    with Site(load_settings(place, {})) as site:
        if "cat.stars" not in site.get_published_state().tables_by_name:
            return None
        found, few = (
            _row(site, f"SELECT COUNT(*) AS n, MIN(v) AS lo, MAX(v) AS hi FROM cat.{table}")
            for table in ("stars", "few")
        )
    assert few == (10, *found[1:])
    return found


def _row(site: Site, adql: str) -> tuple[int, ...]:
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return next(tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist())


@pytest.fixture(scope="module")
def prepared_site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    run_together: Callable[..., list[tuple[object, str]]],
) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("pairs") / "site"
    open_site_with_uningested_files(place, DESCRIPTOR, {"stars.csv": csv(0)}).close()
    (out := place.parent / "out").mkdir()
    with contextlib.ExitStack() as stack:
        told = 'name = "pairs"\nkeep_snapshots = 3\n'
        if request.param == "two engines":
            require_plugins("engines", "postgres")
            told += f'[postgres]\nurl = "postgresql://{stack.enter_context(postgres())}"\n'
        (place / "hven.toml").write_text(told)
        assert run_together(["--site", str(place), "ingest", "cat"])[0][0] == 0
        if "backup" in VERBS:
            assert run_together(["--site", str(place), "backup", str(out / "archive.hven")])[0][0] == 0
        yield place


@pytest.fixture(scope="module")
def server(prepared_site: Path) -> Iterator[ServerProcess]:
    with serve_site(prepared_site, workers=1) as running:
        yield running


class Reading(threading.Thread):
    """Ask both tables in one query again and again: how often which answer came, and what came that may not."""

    BOTH = "SELECT COUNT(*) AS n, MIN(a.v) AS lo, MAX(a.v) AS hi, MIN(b.v) AS few_lo, MAX(b.v) AS few_hi FROM cat.stars AS a JOIN cat.few AS b ON a.id = b.id"

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._over = threading.Event()
        self.whole = self.between = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        while not self._over.wait(0.05):
            status, _, body = self._server.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=self.BOTH)
            row = json.loads(body)["data"][0] if status == 200 else None
            if row is not None and row[0] == 10 and len(set(row[1:])) == 1:
                self.whole += 1
            elif (
                status == 503 and b"were replaced or removed while this query was waiting; run the query again" in body
            ):
                self.between += 1
            elif status != 400 or b"no table" not in body:  # removed
                self.wrong.append((status, body[:1000]))

    def end(self) -> int:
        self._over.set()
        self.join(120)
        assert not self.wrong
        return self.whole


def csv(version: int) -> str:
    return "id,v\n" + "".join(f"{number},{version}\n" for number in range(ROWS))


@pytest.mark.slow
@pytest.mark.parametrize(("prepared_site", "home", "one", "two"), PAIRS, indirect=["prepared_site"], scope="module")
def test_two_at_once_end_in_words_and_what_is_served_is_whole(
    prepared_site: Path,
    server: ServerProcess,
    run_together: Callable[..., list[tuple[object, str]]],
    home: str,
    one: str,
    two: str,
) -> None:
    version = test_two_at_once_end_in_words_and_what_is_served_is_whole.__dict__.setdefault(
        "rounds", itertools.count(1)
    )
    before, now = next(version), next(version)
    out = prepared_site.parent / "out"

    def line(verb: str, number: int) -> list[str]:
        return [
            "--site",
            str(prepared_site),
            *(word.format(out=out, number=f"{now}-{number}", snapshot=snapshot) for word in VERBS[verb]),
        ]

    snapshot = ""
    stars = prepared_site / "collections" / "cat" / "stars.csv"
    stars.write_text(csv(before))
    assert run_together(line("ingest", 0))[0][0] == 0, "after whatever the pair before has left"
    if home != "duckdb":
        assert run_together(["--site", str(prepared_site), "move", "cat", "--to", home])[0][0] == 0
    stars.write_text(csv(now))
    with Site(load_settings(prepared_site, {})) as site:
        snapshot = site.store.read_published_snapshot_ids()[1]["cat.stars"]
    reading = Reading(server)
    reading.start()
    try:
        told = run_together(line(one, 1), line(two, 2))
    finally:
        whole = reading.end()
    for code, said in told:
        assert code in {0, 1, 3}, (code, said)
        assert "Traceback" not in said
        assert "bug" not in said
        assert code == 0 or "hven: " in said, said
    found = read_served_versions(prepared_site)
    removing = {"remove", "purge"} & {one, two}
    assert "purge" in removing or not reading.between
    assert removing or (found is not None and whole)
    if found is not None:
        assert found[0] == ROWS
        assert found[1] == found[2]
    for archive in out.glob(f"{now}-*.hven"):
        assert run_together(["restore", str(archive), "--check"])[0][0] == 0
    assert run_together(line("ingest", 0))[0][0] == 0
    assert read_served_versions(prepared_site) == (ROWS, now, now)
    with Site(load_settings(prepared_site, {})) as site:  # nothing is left behind, and nothing that is known is gone
        known = site.store.map_kept_snapshot_paths()
        there = {
            str(path.relative_to(site.embedded_engine.directory))
            for path in site.embedded_engine.directory.glob("*.*/*")
            if path.is_dir()
        }
        assert there >= {path.removeprefix("snapshots/") for path in known["duckdb"]}
        if known.get("postgres"):
            with psycopg.connect(site.settings.brought["postgres"].url) as connection:
                rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 's\\_cat%'").fetchall()

            assert {row[0] for row in rows} >= known["postgres"]


@pytest.mark.parametrize("prepared_site", ["one engine"], indirect=True)
def test_a_verb_that_nobody_wrote_is_an_error(
    run_together: Callable[..., list[tuple[object, str]]], prepared_site: Path
) -> None:
    """The pairs can fail: what is no verb does not pass for words."""
    (code, said) = run_together(["--site", str(prepared_site), "ingest", "nowhere"])[0]
    assert code == 1
    assert "hven: " in said
    with pytest.raises(HvenError), Site(load_settings(prepared_site, {})) as site:
        site.store.get_record("nowhere")
