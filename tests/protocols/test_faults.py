"""Faults of our own over every face: a document with the request's id, the rest in the log; nothing of it to readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from lxml import etree
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.testing.site import open_tiny_site

SECRET = "password=tycho at /etc/site.conf"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A site whose engine has a bug."""

    def prepare(*_: object) -> object:
        raise ZeroDivisionError(SECRET)

    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(50))}) as site:
        monkeypatch.setattr(site.embedded_engine, "plan_query", prepare)
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize(
    "path", ["/tap/sync?LANG=ADQL&QUERY=SELECT+*+FROM+stars.main", "/cone/stars.main?RA=1&DEC=1&SR=1"]
)
def test_a_bug_is_500_with_the_id_and_its_text_is_in_the_log(
    broken: Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = broken.get(path)
    assert answer.status == 500
    etree.fromstring(answer.body)
    name = answer.headers["x-request-id"]
    assert name in answer.text
    assert "password" not in answer.text
    assert "Traceback" not in answer.text
    told = [record for record in caplog.records if record.name == "hven" and name in record.getMessage()]
    assert len(told) == 1, "once"
    assert told[0].exc_info is not None
    assert SECRET in told[0].getMessage()


def test_a_bug_of_the_engine_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(50))}) as site:
        monkeypatch.setattr(site.embedded_engine, "run_sql", lambda *_, **__: 1 / 0)
        answer = Client(create_and_start_application(site)).get(
            "/tap/sync", LANG="ADQL", QUERY="SELECT AVG(mag) AS m FROM stars.main GROUP BY note"
        )
    assert answer.status == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text


def test_a_page_that_cannot_be_made_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise KeyError(SECRET)

    client = Client(create_and_start_application(site))
    monkeypatch.setattr(
        type(site.get_published_state()), "resources", property(lambda _: {"stars": Broken()}), raising=False
    )
    answer = client.get("/")
    assert answer.status == 500
    assert "password" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert SECRET in caplog.text


def test_metadata_that_cannot_be_written_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hven.services._vosi.write_tableset", lambda *_, **__: 1 / 0)
    answer = Client(create_and_start_application(site)).get("/tap/tables")
    assert answer.status == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/tap/sync", "/", "/cone/stars.main"])
def test_other_methods_are_405_with_what_is_allowed(client: Client, method: str, path: str) -> None:
    answer = client.ask(method, path)
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]
    assert answer.headers["x-request-id"] in answer.text


@pytest.mark.parametrize(
    "path", ["/tap/sync?LANG=ADQL&QUERY=SELECT+AVG(mag)+AS+m+FROM+stars.main", "/cone/stars.main?RA=1&DEC=1&SR=1"]
)
def test_head_runs_nothing(client: Client, site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get = client.get(path)
    monkeypatch.setattr(
        "hven.query._query_result.QueryResult.begin_execution", lambda _: pytest.fail("HEAD ran the query")
    )
    head = client.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]
    assert "content-length" not in head.headers
