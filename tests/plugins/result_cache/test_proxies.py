"""nginx and Varnish, with the settings of the documentation, share public answers and no others."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import Server, reserve_port, serve_site, wait_until
from requirements import require_program

PAGE = Path(__file__).parents[3] / "src/hven/plugins/result_cache/docs/shared-caches.md"
DESCRIPTOR = """\
collection: team
title: Teams
tables:
  stars:
    title: Rows for everybody
    source: {kind: csv, files: stars.csv}
    columns: {n: {type: int64}}
  own:
    title: Rows of users
    access: reader = owner
    source: {kind: csv, files: own.csv}
    columns: {owner: {type: string}, n: {type: int64}}
"""
PUBLIC, OWN = "SELECT n FROM team.stars", "SELECT owner FROM team.own"
KEPT_SECONDS = 2.0  # 1 s in the settings of the documentation; nginx counts whole seconds, so that they can be two
pytestmark = pytest.mark.outside


@dataclass(frozen=True, kw_only=True)
class CachedSite:
    """A site behind a cache."""

    server: Server
    cache: Server
    tokens: dict[str, str]
    publish: Callable[[str, str], None]

    def ask(
        self, query: str, user: str | None = None, response_format: str = "csv", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a query through the cache."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["authorization"] = f"Bearer {self.tokens[user]}"
        params = {"LANG": "ADQL", "QUERY": query}
        if response_format:
            params["RESPONSEFORMAT"] = response_format
        return self.cache.send("GET", f"/tap/sync?{urlencode(params)}", headers=sent)

    def count_queries(self) -> dict[int, int]:
        """Count the queries that reached Hven, by status; Hven logs a request shortly after its answer."""
        marker = f"/health/live?marker={time.monotonic_ns()}"
        self.server.send("GET", marker)
        query = marker.partition("?")[2]
        wait_until(lambda: any(line["query"] == query for line in self.server.lines()))
        counts: dict[int, int] = {}
        for line in self.server.lines():
            if line["path"] == "/tap/sync":
                counts[line["status"]] = counts.get(line["status"], 0) + 1
        return counts


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    directory = tmp_path_factory.mktemp("proxied")
    collection = directory / "collections" / "team"
    collection.mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "Proxied"\n')
    (collection / "team.yaml").write_text(DESCRIPTOR)
    (collection / "stars.csv").write_text("n\n1\n")
    (collection / "own.csv").write_text("owner,n\nanna,1\nbert,2\n")
    with contextlib.closing(Site(load_settings(directory), watch_for_changes=False)) as site:
        ingest_collection(site, "team")
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "bert")}
    with serve_site(directory) as server:
        yield server, tokens


def publish(server: Server, table: str, text: str) -> None:
    """Publish other rows of a table, and wait until the server shows them."""
    (server.site / "collections" / "team" / f"{table}.csv").write_text(text)
    before = server.rows(f"SELECT COUNT(*) FROM team.{table}")
    with contextlib.closing(Site(load_settings(server.site), watch_for_changes=False)) as site:
        ingest_collection(site, "team")
    wait_until(lambda: server.rows(f"SELECT COUNT(*) FROM team.{table}") != before)


def read_block(language: str, beginning: str) -> str:
    """Read a block of settings from the documentation."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(next(block for block in blocks if block.startswith(beginning)))


def write_nginx_settings(directory: Path, server: Server, port: int) -> list[str]:
    outer = read_block("nginx", "proxy_cache_path").replace("/var/cache/nginx/hven", str(directory / "cache"))
    folders = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{folders}{outer}"
        f"server {{\nlisten 127.0.0.1:{port};\nlocation / {{\nproxy_pass {server.url};\nproxy_http_version 1.1;\n"
        "proxy_set_header Host $host;\nproxy_set_header X-Forwarded-For $remote_addr;\n"
        f"{read_block('nginx', 'proxy_cache hven')}}}\n}}\n}}\n"
    )
    program = require_program("nginx")
    return [program, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]


def write_varnish_settings(directory: Path, server: Server, port: int) -> list[str]:
    text = read_block("vcl", "vcl 4.1").replace('.port = "8080"', f'.port = "{server.port}"')
    (directory / "hven.vcl").write_text(text)
    work_directory = directory / "work"
    words = ["-F", "-j", "none", "-n", str(work_directory), "-a", f"127.0.0.1:{port}", "-s", "malloc,16m"]
    return [require_program("varnishd"), *words, "-f", str(directory / "hven.vcl")]


CACHES = {"nginx": write_nginx_settings, "varnish": write_varnish_settings}


@pytest.fixture(scope="module", params=list(CACHES))
def cached(
    request: pytest.FixtureRequest, served: tuple[Server, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CachedSite]:
    server, tokens = served
    if request.param == "varnish":
        require_varnish_compiler()
    directory = tmp_path_factory.mktemp(request.param)
    port = reserve_port()
    command = CACHES[request.param](directory, server, port)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        cache = replace(server, port=port)
        wait_until(lambda: process.poll() is not None or cache.get("/health/live")[0] == 200)
        assert process.poll() is None, (directory / "log").read_text()
        yield CachedSite(
            server=server, cache=cache, tokens=tokens, publish=lambda table, text: publish(server, table, text)
        )
    finally:
        process.terminate()
        process.wait(60)


def require_varnish_compiler() -> None:
    """Skip the tests without a C compiler, which Varnish needs for its settings."""
    require_program("varnishd")
    if shutil.which("gcc") is None:
        pytest.skip("needs varnishd: gcc, which Varnish needs for its settings")


def test_a_public_answer_is_repeated_and_then_confirmed(cached: CachedSite) -> None:
    query = f"{PUBLIC} WHERE n > {-time.monotonic_ns()}"
    before = cached.count_queries()
    first = cached.ask(query)
    answers = [first]

    def was_repeated_and_confirmed() -> bool:
        answers.extend(cached.ask(query) for _ in range(5))
        confirmed = cached.count_queries().get(304, 0) - before.get(304, 0)
        return 1 <= confirmed < len(answers) - 1

    wait_until(was_repeated_and_confirmed)
    assert {(status, body) for status, _, body in answers} == {(200, b"n\r\n1\r\n")}
    assert {headers["etag"] for _, headers, _ in answers} == {first[1]["etag"]}
    assert {headers["cache-control"] for _, headers, _ in answers} == {"public, no-cache"}
    assert cached.count_queries()[200] - before.get(200, 0) == 1, "Hven computes it once, and then only confirms it"
    status, headers, body = cached.ask(query, if_none_match=first[1]["etag"])
    assert (status, body, headers["etag"]) == (304, b"", first[1]["etag"])


def test_a_changed_table_is_seen_when_the_answer_is_confirmed(cached: CachedSite) -> None:
    old = [cached.ask(PUBLIC), cached.ask(PUBLIC)]
    assert old[0][2] == old[1][2]
    cached.publish("stars", "n\n1\n2\n")
    try:
        time.sleep(1.1 * KEPT_SECONDS)  # an answer that was kept before may be repeated so long
        status, headers, body = cached.ask(PUBLIC, if_none_match=old[0][1]["etag"])
        assert (status, body) == (200, b"n\r\n1\r\n2\r\n")
        assert headers["etag"] != old[0][1]["etag"]
    finally:
        cached.publish("stars", "n\n1\n")
    time.sleep(1.1 * KEPT_SECONDS)
    assert cached.ask(PUBLIC)[2] == b"n\r\n1\r\n"


def test_private_answers_are_never_shared(cached: CachedSite) -> None:
    """Two accounts and anonymous users request one address in many orders."""
    own_rows = {"anna": b"owner\r\nanna\r\n", "bert": b"owner\r\nbert\r\n", None: b"owner\r\n"}
    for query in (OWN, f"{OWN} WHERE 1 = 1", f"{OWN} WHERE 2 = 2"):
        users: list[str | None] = ["anna", "bert", None, "anna", None, "bert", "bert", None, "anna"]
        if query != OWN:
            users.reverse()
        for user in users:
            status, headers, body = cached.ask(query, user)
            assert (status, body) == (200, own_rows[user])
            assert headers["cache-control"].startswith("private"), "even none of the rows is an answer for one user"
    before = cached.count_queries()[200]
    for user in ("anna", "anna", None, None):
        cached.ask(OWN, user)
    assert cached.count_queries()[200] == before + 4, "each request reached Hven"
    tag = cached.ask(OWN, "anna")[1]["etag"]
    assert cached.ask(OWN, "bert", if_none_match=tag)[0] == 200, "the tag of one user is none of another's"
    assert cached.ask(OWN, "anna", if_none_match=tag)[0] == 304


def test_an_account_neither_stores_nor_gets_what_everybody_shares(cached: CachedSite) -> None:
    query = f"{PUBLIC} WHERE n > {-time.monotonic_ns()}"
    before = cached.count_queries()[200]
    headers_of_anna = cached.ask(query, "anna")[1]
    assert headers_of_anna["x-vo-authenticated"] == "anna"
    assert "x-vo-authenticated" not in cached.ask(query)[1]
    assert "x-vo-authenticated" not in cached.ask(query)[1]
    assert cached.ask(query, "bert")[1]["x-vo-authenticated"] == "bert"
    assert cached.count_queries()[200] == before + 3, "anna's, the first anonymous one, and bert's"
    for cookie in ("a=1", "b=2"):
        cached.ask(query, cookie=cookie)
    assert cached.count_queries()[200] == before + 5, "a cookie may be that of a session"


def test_formats_and_compressions_do_not_mix(cached: CachedSite) -> None:
    wide = "SELECT " + ", ".join(f"n AS a_long_name_of_column_{number}" for number in range(90)) + " FROM team.stars"
    for _ in range(2):
        types = {
            accept: cached.ask(wide, response_format="", accept=accept)[1]["content-type"].partition(";")[0]
            for accept in ("text/csv", "application/json", "application/x-votable+xml")
        }
        assert all(kind == accept for accept, kind in types.items()), types
        packed = cached.ask(wide, accept_encoding="gzip")
        assert packed[1]["content-encoding"] == "gzip"
        plain = cached.ask(wide, accept_encoding="identity")
        assert "content-encoding" not in plain[1]
        assert plain[2].startswith(b"a_long_name_of_column_0,")
        assert {name.strip() for name in plain[1]["vary"].lower().split(",")} >= {"accept", "authorization", "cookie"}


def test_errors_are_not_kept(cached: CachedSite) -> None:
    before = cached.count_queries().get(400, 0)
    for _ in range(3):
        assert cached.ask("SELECT nothing FROM team.stars")[0] == 400
    assert cached.count_queries()[400] == before + 3


def test_requests_at_once_reach_hven_as_one(cached: CachedSite) -> None:
    query = f"{PUBLIC} WHERE n > {-time.monotonic_ns()}"
    before = cached.count_queries()
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(cached.ask(query)[2])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"n\r\n1\r\n"] * 12
    assert cached.count_queries()[200] == before[200] + 1
