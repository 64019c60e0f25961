"""What rights cost: cones, counts and choices under a policy beside the same without one; tokens, many members, changes; whether times tell of hidden rows.

Cones, counts and times in PostgreSQL, too: ``--only postgres``.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import duckdb

from bench import postgres
from bench.measure import CACHE, HVEN, Journey, Server, against, median, pairs, serve_site

SITE, MANY, THERE = CACHE / "site-rights", CACHE / "site-rights-many", CACHE / "site-rights-postgres"
SCRATCH = Path("/var/tmp/hven-bench-rights")  # where the account of PostgreSQL may write
SPACE = "bench_rights"  # its schema
STARS, ROWS = 2_539_913, 1_000_000
HIDDEN = ROWS // 10  # of those, in one place, with one brightness and one word
PROJECTS, MEMBERS = 1_000, 10_000
POLICY = "release <= now or reader in (pi, coi) or project in groups or category = 'CALIB'"
TABLE = """\
  {name}:
    source: {{kind: parquet, file: {file}}}
    primary: id
    position: [ra, dec]
{access}    columns:
      id: {{type: int64, ucd: meta.id;meta.main, rank: 1}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, rank: 1}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, rank: 1}}
      mag: {{type: float32, unit: mag, ucd: phot.mag, rank: 1, indexed: true}}
      depth: {{type: float32, rank: 2}}
      tag: {{type: string, rank: 2}}
      release: {{type: timestamp, rank: 2}}
      pi: {{type: string, rank: 2}}
      coi: {{type: string, rank: 2}}
      project: {{type: string, rank: 2}}
      category: {{type: string, rank: 2}}
"""
ROUNDS = 40


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for journeys, names in (
        (compare_with_plain_tables, ("cone", "count", "facets", "tap")),
        (timing, ("timing",)),
        (tokens, ("token",)),
        (measure_many_projects, ("many",)),
        (changes, ("change",)),
        (measure_postgres, ("postgres",)),
    ):
        if any(only in f"rights.{name}" or f"rights.{name}" in only for name in names):
            if journeys is not measure_postgres:
                make_sites()
            yield from (one for one in journeys(only) if only in one.name)


NEEDS = dict.fromkeys(("root", "PostgreSQL 15"), ("rights.postgres",))


# --- sites ------------------------------------------------------------------------------------------------------


def parquet(name: str, rows: int) -> Path:
    """Write rows without chance: numbers are hashes of row numbers. Every tenth is hidden from who has no rights, until 2999."""
    target = CACHE / f"rights-{name}.parquet"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            for place in (1, 2, 3, 4):
                connection.execute(f"CREATE MACRO u{place}(i) AS (hash(i * 8 + {place}) % 1000003) / 1000003.0")
            connection.execute(
                f"""COPY (SELECT i AS id, CASE WHEN h THEN 10 + u1(i) * 0.1 ELSE u1(i) * 360 END AS ra,
                CASE WHEN h THEN 10 + u2(i) * 0.1 ELSE degrees(asin(2 * u2(i) - 1)) END AS dec,
                (CASE WHEN h THEN 50 ELSE 8 + 12 * u3(i) END)::FLOAT AS mag, (CASE WHEN h THEN 50 ELSE 8 + 12 * u4(i) END)::FLOAT AS depth,
                CASE WHEN h THEN 'secret' ELSE 'tag ' || i % 7 END AS tag,
                CASE WHEN h THEN TIMESTAMP '2999-01-01' ELSE TIMESTAMP '2001-01-01' + to_days((i % 5000)::INTEGER) END AS release,
                'Person ' || i % 997 || CASE WHEN i % 3 = 0 THEN ' / Person ' || i % 499 ELSE '' END AS pi, 'Person ' || i % 101 AS coi,
                'p' || i % {PROJECTS} AS project, CASE WHEN i % 10 = 1 THEN 'CALIB' ELSE 'SCIENCE' END AS category
                FROM (SELECT i, i % 10 = 0 AS h FROM range({rows}) t(i))) TO '{target}.part' (FORMAT parquet)"""
            )
        Path(f"{target}.part").replace(target)
    return target


def descriptor(*tables: tuple[str, Path, bool], policy: str = POLICY) -> str:
    """Write a collection of tables: name, file, whether under the policy."""
    texts = [TABLE.format(name=name, file=file, access=f"    access: {policy}\n" if guarded else "") for name, file, guarded in tables]  # fmt: skip
    return "collection: sky\ntitle: Rights\nsubjects: [stars]\ntables:\n" + "".join(texts)


def settings(directory: Path, *, projects: int, members: int) -> None:
    """Say who is in which project: each person in ten of them, as far as there are; anna in the first five."""
    groups: dict[str, list[str]] = {f"p{number}": [] for number in range(projects)}
    for number in range(members):
        for step in range(10):
            groups[f"p{(number * 7 + step * 131) % projects}"].append(f"person{number}")
    for number in range(5):
        groups[f"p{number}"].append("anna")
    text = "".join(f"{name} = {json.dumps(names)}\n" for name, names in groups.items())
    (directory / "hven.toml").write_text(f'name = "rights"\n[people.groups]\n{text}')


def make_sites() -> None:
    """Make both sites once: one of few people with both sizes of table, one of many people with the smaller."""
    few = {"projects": 10, "members": 100}
    publish_site(SITE, {"stars": STARS, "rows": ROWS}, few)
    publish_site(MANY, {"rows": ROWS}, {"projects": PROJECTS, "members": MEMBERS})


def publish_site(
    directory: Path, sizes: dict[str, int], people: dict[str, int], engine: str = "", more: str = ""
) -> None:
    """Make a site and ingest its tables, each under the policy and without, unless they are there."""
    folder = directory / "collections" / "sky"
    folder.mkdir(parents=True, exist_ok=True)
    settings(directory, **people)
    with (directory / "hven.toml").open("a") as toml:
        toml.write(more)
    tables = [(f"{name}_{kind}", parquet(name, size), kind == "guarded") for name, size in sizes.items() for kind in ("open", "guarded")]  # fmt: skip
    (folder / "sky.yaml").write_text(descriptor(*tables).replace("tables:", f"{engine}tables:", 1))
    if not (directory / "var").exists():
        try:
            subprocess.run([HVEN, "ingest", "sky", "--site", directory], check=True, capture_output=True)
        except BaseException:
            shutil.rmtree(directory / "var", ignore_errors=True)
            raise


def token(directory: Path, name: str = "anna") -> str:
    """Give an account a new token."""
    from hven.model import settings as site_settings
    from hven.site import Site

    with Site(site_settings.load_settings(directory)) as site:
        return (
            site.store.users.renew_token_and_end_sessions(name)
            if name in dict(site.store.users.list_accounts())
            else site.store.users.add_account(name)
        )


# --- asking -----------------------------------------------------------------------------------------------------


class ReaderConnection:
    """One connection of one reader."""

    def __init__(self, server: Server, given: str = "") -> None:
        self.server, self.headers = server, {"accept": "application/json", **({"authorization": f"Bearer {given}"} if given else {})}  # fmt: skip
        self.connection = server.connect()

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            self.connection.request("GET", path, headers=self.headers)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # it was idle for long
            self.connection = self.server.connect()
            self.connection.request("GET", path, headers=self.headers)
            answer = self.connection.getresponse()
        return answer.status, answer.read()

    def seconds(self, path: str) -> float:
        begun = time.perf_counter()
        status, body = self.get(path)
        taken = time.perf_counter() - begun
        if status != 200:
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return taken


def tap(query: str) -> str:
    return f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY={quote(query)}"


def steps(stars: str = "stars") -> dict[str, tuple[float, Callable[[str], str]]]:
    """Give what is asked of a pair of tables, each call something that was not asked before; and how dear a policy may be."""
    number = itertools.count(1)

    def place() -> tuple[float, float]:
        at = next(number)
        return 20 + at * 137.508 % 330, -55 + at * 61.803 % 110

    def cone(kind: str) -> str:
        ra, dec = place()
        return f"/cone/sky.{stars}_{kind}?RA={ra:.4f}&DEC={dec:.4f}&SR=0.3&RESPONSEFORMAT=csv"

    def build_tap_path(kind: str) -> str:
        ra, dec = place()
        return tap(f"SELECT id, ra, dec, mag FROM sky.{stars}_{kind} WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra:.4f}, {dec:.4f}, 0.3))")  # fmt: skip

    here = "/collections/sky/rows_"
    return {
        "cone": (1.3, cone),
        "cone.tap": (1.3, build_tap_path),
        "count": (2.0, lambda kind: f"{here}{kind}/count?depth=..{15 + next(number) / 1e4}"),
        "count.tap": (2.0, lambda kind: tap(f"SELECT COUNT(*) AS n FROM sky.rows_{kind} WHERE depth < {15 + next(number) / 1e4}")),
        "facets": (2.0, lambda kind: f"{here}{kind}/facets?_of=tag&depth=..{15 + next(number) / 1e4}"),
        "facets.some": (2.0, lambda kind: f"{here}{kind}/facets?depth=..{15 + next(number) / 1e4}"),
    }  # fmt: skip


def compare_with_plain_tables(
    only: str,
    site: Path = SITE,
    stars: str = "stars",
    called: str = "rights",
    copied: Callable[[], None] = lambda: None,
) -> Iterator[Journey]:
    """Ask the table under the policy and the same without, in turn."""
    given = token(site)
    with serve_site(site) as server:
        for who, asked in (("", ReaderConnection(server)), (".member", ReaderConnection(server, given))):
            for name, (target, path) in steps(stars).items():
                if only not in f"{called}.{name}{who}":
                    continue
                asked.seconds(path("guarded"))
                copied()
                rounds = ROUNDS if "cone" in name else ROUNDS // 3
                for kind in ("guarded", "open") * 4:  # plans are made, and what is remembered is
                    asked.seconds(path(kind))
                value, reference, ratio = pairs(
                    lambda: asked.seconds(path("guarded")) * 1e3, lambda: asked.seconds(path("open")) * 1e3, rounds  # noqa: B023
                )  # fmt: skip
                yield Journey(
                    name=f"{called}.{name}{who}", value=value, unit="ms", reference=reference, ratio=ratio, target=target, note="reference: the same rows without a policy"
                )  # fmt: skip


def timing(
    only: str, site: Path = SITE, called: str = "rights", copied: Callable[[], None] = lambda: None
) -> Iterator[Journey]:
    """Ask for what nobody has and for what 10^5 hidden rows have, in turn: medians differ by at most a tenth or 2 ms."""
    number = itertools.count(1)
    here = "/collections/sky/rows_guarded"

    def small() -> float:
        return next(number) / 1e5

    shapes: dict[str, Callable[[bool], str]] = {
        "text": lambda there: tap(f"SELECT COUNT(*) AS n FROM sky.rows_guarded WHERE tag = '{'secret' if there else 'nobody'}'"),
        "number": lambda there: tap(f"SELECT COUNT(*) AS n FROM sky.rows_guarded WHERE depth > {(40 if there else 60) + small()}"),
        "indexed": lambda there: tap(f"SELECT COUNT(*) AS n FROM sky.rows_guarded WHERE mag > {(40 if there else 60) + small()}"),
        "rows": lambda there: tap(f"SELECT TOP 10 * FROM sky.rows_guarded WHERE mag > {(40 if there else 60) + small()} ORDER BY mag DESC"),
        "place": lambda there: f"/cone/sky.rows_guarded?RA=10.05&DEC={(10.05 if there else -10.05) + small() / 100}&SR=0.15&RESPONSEFORMAT=csv",
        "count": lambda there: f"{here}/count?depth={(40 if there else 60) + small()}..",
        "facets": lambda there: f"{here}/facets?_of=tag&mag={(40 if there else 60) + small()}..",
        "page": lambda there: f"{here}/rows?mag={(40 if there else 60) + small()}..",
    }  # fmt: skip
    with serve_site(site) as server:
        asked = ReaderConnection(server)
        for name, path in shapes.items():
            if only not in f"{called}.timing.{name}":
                continue
            asked.seconds(path(True))
            copied()
            for there in (True, False) * 4:
                asked.seconds(path(there))
            found: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(ROUNDS):
                for there in (True, False):
                    found[there].append(asked.seconds(path(there)) * 1e3)
            value, reference = (statistics.median(found[there]) for there in (True, False))
            apart = abs(value - reference)
            yield Journey(
                name=f"{called}.timing.{name}", value=value, unit="ms", reference=reference, target=1.1,
                ratio=max(value, reference) / min(value, reference) if apart > 2 else 1.0,
                note=f"{HIDDEN:,} hidden rows meet the condition; reference: none; {value - reference:+.2f} ms",
            )  # fmt: skip


def measure_postgres(only: str) -> Iterator[Journey]:
    """Ask the same of rows that PostgreSQL keeps, once what each reader sees is copied there."""
    with postgres.database(SCRATCH):
        url = os.environ[postgres.DATABASE]
        said = f'[postgres]\nurl = "${postgres.DATABASE}"\nnamespace = "{SPACE}"\n'
        publish_site(THERE, {"rows": ROWS}, {"projects": 10, "members": 100}, "engine: postgres\n", said)
        copied = functools.partial(until_copied, url)
        yield from compare_with_plain_tables(only, THERE, "rows", "rights.postgres", copied)
        yield from timing(only, THERE, "rights.postgres", copied)


def until_copied(url: str) -> None:
    """Wait until PostgreSQL copies nothing for readers any more, and both workers know it."""
    import psycopg

    busy = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(url, autocommit=True) as connection:
        time.sleep(2)
        while connection.execute(busy).fetchall()[0][0]:
            time.sleep(0.2)
    time.sleep(1)


def tokens(only: str) -> Iterator[Journey]:
    """Check a token, as a request does."""
    from hven.model import settings as site_settings
    from hven.site import Site
    from hven.site.auth import local

    given = token(SITE)
    with Site(site_settings.load_settings(SITE)) as site:
        provider = local.open_provider(site.store, site.settings)
        headers = {"authorization": f"Bearer {given}"}
        warm = median(lambda: provider.identify(headers), 2000, 10) * 1e3
        yield against("rights.token", warm, 0.1, 1.0, unit="ms", note="one that was seen before")
        cold = median(lambda: site.store.users.find_account_by_token(given), 500, 10) * 1e3
        yield against("rights.token.first", cold, 0.1, 1.0, unit="ms", note="asked of the store")


def measure_many_projects(only: str) -> Iterator[Journey]:
    """Ask a site of 1,000 projects with 10,000 members and one of few people, in turn, as a member."""
    accounts = {directory: token(directory) for directory in (SITE, MANY)}
    with serve_site(SITE) as few, serve_site(MANY) as lots:
        small, large = ReaderConnection(few, accounts[SITE]), ReaderConnection(lots, accounts[MANY])
        number = itertools.count(1)
        here = "/collections/sky/rows_guarded"
        for name, path in {
            "cone": lambda: f"/cone/sky.rows_guarded?RA={20 + next(number) * 137.508 % 330:.4f}&DEC=20&SR=0.3&RESPONSEFORMAT=csv",
            "login": lambda: "/login",
            "page": lambda: here,
            "rows": lambda: f"{here}/rows",
            "count": lambda: f"{here}/count?depth=..{15 + next(number) / 1e4}",
            "tap": lambda: tap(f"SELECT id FROM sky.rows_guarded WHERE id = {next(number)}"),
            "tables": lambda: "/tap/tables",
        }.items():  # fmt: skip
            if only not in f"rights.many.{name}":
                continue
            for _ in range(4):
                large.seconds(path()), small.seconds(path())
            value, reference, ratio = pairs(lambda: large.seconds(path()) * 1e3, lambda: small.seconds(path()) * 1e3, ROUNDS)  # noqa: B023  # fmt: skip
            yield Journey(
                name=f"rights.many.{name}", value=value, unit="ms", reference=reference, ratio=ratio, target=1.2,
                note=f"{PROJECTS:,} projects, {MEMBERS:,} members; reference: 10 and 100",
            )  # fmt: skip


def changes(only: str) -> Iterator[Journey]:
    """Change rights, and ask on 16 connections, which both workers answer, until none is answered as before."""
    folder = SITE / "collections" / "sky" / "sky.yaml"
    text, toml = folder.read_text(), (SITE / "hven.toml").read_text()
    given = token(SITE)
    query = tap("SELECT COUNT(*) AS n FROM sky.rows_guarded WHERE id < 1000")

    def replace_file(path: Path, words: str) -> None:
        """Replace a file at once, as editors do: half of one is other settings."""
        path.with_suffix(".part").write_text(words)
        path.with_suffix(".part").replace(path)

    def policy(turn: int) -> None:
        replace_file(folder, text if turn % 2 else text.replace(POLICY, f"{POLICY} or tag = 'secret'"))

    def people(turn: int) -> None:
        replace_file(SITE / "hven.toml", toml if turn % 2 else toml.replace('"anna"', '"bert"'))

    def renew_token(turn: int) -> None:
        nonlocal given
        given = token(SITE)

    try:
        for name, change, who in (("policy", policy, False), ("people", people, True), ("token", renew_token, True)):
            if only not in f"rights.change.{name}":
                continue
            with serve_site(SITE) as server:
                found = [until_new(server, given if who else "", query, lambda turn=turn: change(turn)) for turn in range(4)]  # noqa: B023  # fmt: skip
            yield against(f"rights.change.{name}", max(found), 1.0, 1.0, unit="s", note=f"the latest of {len(found)}: {', '.join(f'{one:.2f}' for one in found)}")  # fmt: skip
    finally:
        folder.write_text(text)
        (SITE / "hven.toml").write_text(toml)


def until_new(server: Server, given: str, path: str, change: Callable[[], None], *, most: float = 8.0) -> float:
    """Give how many seconds after a change the last answer of before was begun; all connections must be answered otherwise in the end."""
    asking = [ReaderConnection(server, given) for _ in range(16)]
    before = {one.get(path) for one in asking * 3}
    if len(before) != 1:
        raise RuntimeError(f"before the change: {before}")
    last, seen, lock = [0.0], set[tuple[int, bytes]](), threading.Lock()
    change()
    begun = time.perf_counter()

    def ask(one: ReaderConnection) -> None:
        old = True
        while (at := time.perf_counter() - begun) < most and (old or at < most / 2):
            answer = one.get(path)
            old = answer in before
            with lock:
                if old:
                    last[0] = max(last[0], at)
                else:
                    seen.add(answer if answer[0] == 200 else (401, b""))  # or 429: refused
            time.sleep(0.02)

    threads = [threading.Thread(target=ask, args=(one,)) for one in asking]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seen) != 1:
        raise RuntimeError(f"after the change: {before}, {seen}")
    return last[0]
