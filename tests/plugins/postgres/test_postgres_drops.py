"""A database that ends while a query runs: a running server says so in each answer and each job, and answers again when the database does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import psycopg
import pytest
from lxml import etree
from server_process import ServerProcess, run_hven, serve_site

from postgres_cluster import PostgresCluster, run_cluster
from process_runner import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.outside]

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}
U = {"u": "http://www.ivoa.net/xml/UWS/v1.0"}
ROWS = 3000
MANY = "SELECT a.id AS x, b.filler AS y FROM stars.main AS a, stars.main AS b"  # 9 million rows: more than connections buffer
LONG = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c WHERE SIN(a.id + b.id + c.id) > 2"
SHORT = "SELECT COUNT(*) AS n FROM stars.main"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hven%' AND pid <> pg_backend_pid()"
RUNS = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name LIKE 'hven%%' AND state = 'active' AND query ILIKE %s"
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A server whose rows are in a database that the test may end."""

    server: ServerProcess
    database: PostgresCluster

    def end_sessions(self) -> None:
        """End all of Hven's sessions, as an administrator does."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(END)

    def restart(self) -> None:
        """Crash, and start again."""
        self.database.stop()
        self.database.start()

    def runs(self, text: str) -> bool:
        """Tell whether the database computes a query with this text in it."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            return bool(connection.execute(RUNS, [f"%{text}%"]).fetchone()[0])

    def recovers(self) -> None:
        """Ask a short query until it is answered: at once, or as soon as the database is."""
        wait_until(lambda: self.server.get(address(SHORT, "json"))[0] == 200)
        assert self.server.ask(SHORT) == [[ROWS]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("drops") / "site"
    with run_cluster() as database:
        run_hven("init", directory)
        (directory / "hven.toml").write_text(
            f'name = "drops"\nengine = "postgres"\n[limits]\nseconds = 600\n[postgres]\nurl = "{database.url}"\n'
        )
        folder = directory / "collections" / "stars"
        folder.mkdir(parents=True)
        (folder / "stars.yaml").write_text(
            "collection: stars\ntitle: Stars\ntables:\n  main:\n    primary: id\n    source: {kind: csv, files: stars.csv}\n    columns: {id: int32, filler: string}\n"
        )
        lines = (f"{number},a text that makes the rows longer than they would be {number}" for number in range(ROWS))
        (folder / "stars.csv").write_text("\n".join(["id,filler", *lines, ""]))
        run_hven("ingest", "stars", "--site", directory)
        with serve_site(directory, workers=1) as server:
            yield Site(server=server, database=database)


def address(query: str, form: str) -> str:
    return "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": form})


def read_in_two_parts(server: ServerProcess, path: str, between: Callable[[], object]) -> bytes:
    """Read the beginning of an answer, do something, and read on to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        first = answer.read(100_000)
        between()
        return first + answer.read()
    finally:
        connection.close()


END_WAYS = pytest.mark.parametrize("end", [Site.end_sessions, Site.restart], ids=["sessions", "server"])


@END_WAYS
@pytest.mark.parametrize("form", ["votable", "votable/td"])
def test_a_votable_that_is_being_sent_ends_with_an_error(site: Site, end: Callable[[Site], None], form: str) -> None:
    body = read_in_two_parts(site.server, address(MANY, form), lambda: end(site))
    last = etree.fromstring(body, etree.XMLParser(huge_tree=True)).findall(".//v:INFO[@name='QUERY_STATUS']", V)[-1]
    assert last.get("value") == "ERROR"
    assert "database" in last.text, last.text
    assert "psycopg" not in last.text
    site.recovers()


@END_WAYS
@pytest.mark.parametrize("form", ["csv", "json"])
def test_other_answers_that_are_being_sent_are_cut(site: Site, end: Callable[[Site], None], form: str) -> None:
    with pytest.raises(http.client.IncompleteRead):
        read_in_two_parts(site.server, address(MANY, form), lambda: end(site))
    site.recovers()


def test_a_query_that_has_no_row_yet_is_asked_again_once(site: Site) -> None:
    """Sessions that ended while nothing was given are replaced, so that a restart of the database goes unseen."""
    site.server.ask(SHORT)
    site.end_sessions()
    assert site.server.ask(SHORT) == [[ROWS]]


def test_a_query_that_never_gets_an_answer_is_a_503(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=300)
    try:
        connection.request("GET", address(LONG, "votable"))
        wait_until(lambda: site.runs("sin("))
        site.database.stop()
        try:
            answer = connection.getresponse()
            body = answer.read()
        finally:
            site.database.start()
    finally:
        connection.close()
    assert answer.status == 503, body
    assert int(answer.getheader("retry-after", "0")) > 0
    info = etree.fromstring(body).find(".//v:INFO[@name='QUERY_STATUS']", V)
    assert info.get("value") == "ERROR"
    assert "database" in info.text
    assert str(site.database.directory) not in info.text, "where the database is concerns the operator alone"
    site.recovers()


def test_while_the_database_is_away_queries_are_refused_in_words(site: Site) -> None:
    site.database.stop()
    try:
        status, headers, body = site.server.get(address(SHORT, "votable"))
        assert status == 503, body
        assert "retry-after" in headers
        assert b"database" in body
        wait_until(lambda: json.loads(site.server.get("/health", format="json")[2])["status"] == "down")
    finally:
        site.database.start()
    site.recovers()


@END_WAYS
def test_a_job_says_that_its_database_went_away(site: Site, end: Callable[[Site], None]) -> None:
    status, headers, body = site.server.post("/tap/async", LANG="ADQL", QUERY=LONG, PHASE="RUN")
    assert status == 303, body
    job = headers["location"].partition(site.server.url)[2] or headers["location"]
    wait_until(lambda: site.runs("sin("))
    end(site)
    phases: list[str] = []

    def is_over() -> bool:
        phases.append(site.server.get(f"{job}/phase")[2].decode())
        return phases[-1] in {"ERROR", "COMPLETED", "ABORTED"}

    for _ in range(3):  # one whose session alone ended, without a row, is asked again once
        wait_until(lambda: is_over() or site.runs("sin("))
        if phases[-1] == "EXECUTING" and end is Site.end_sessions:
            site.end_sessions()
    wait_until(is_over)
    assert phases[-1] == "ERROR"
    told = etree.fromstring(site.server.get(job)[2]).findtext(".//u:errorSummary/u:message", namespaces=U)
    assert "database" in told, told
    site.recovers()
