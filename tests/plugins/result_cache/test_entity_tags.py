"""Clients that already have an answer learn that before anything is planned, in any process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from star_tables import PRIVATE_STARS, STARS, TABLES, build_rows

from hven import query
from hven.app._server import create_and_start_application
from hven.plugins.result_cache import result_cache
from hven.plugins.result_cache.settings import CACHE_SECTION, ResultCacheSettings
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.site import open_tiny_site, publish_rows

QUERY = "LANG=ADQL&QUERY=SELECT+TOP+3+id+FROM+stars.main"
CONE = "RA=1&DEC=1&SR=9"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a site with default settings, which keeps no answers in memory."""
    with open_tiny_site(tmp_path_factory.mktemp("tags"), TABLES) as made:
        yield made


@pytest.fixture
def site_with_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    brought = {CACHE_SECTION.key: ResultCacheSettings(bytes=1 << 20)}
    monkeypatch.setattr(site, "settings", replace(site.settings, brought=brought))
    return site


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture
def forbid_plans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function after which nothing can be parsed, looked up among the plans, or run."""

    def forbid() -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise AssertionError("a query was planned")

        monkeypatch.setattr(query, "run_query", fail)
        monkeypatch.setattr(query, "find_cached_query_plan", fail)

    return forbid


@pytest.fixture
def planned_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the text of each query whose plan is made or looked up."""
    texts: list[str] = []

    def record(function: Callable[..., Any]) -> Callable[..., Any]:
        def call_and_record(text: Any, *arguments: Any, **keywords: Any) -> Any:
            texts.append(str(text))
            return function(text, *arguments, **keywords)

        return call_and_record

    for name in ("run_query", "find_cached_query_plan"):
        monkeypatch.setattr(query, name, record(getattr(query, name)))
    return texts


def fetch_tag(client: Client, path: str = "/tap/sync", query_string: str = QUERY, **headers: str) -> str:
    answer = client.ask("GET", path, query_string.encode(), headers=headers)
    assert answer.status == 200, answer.text
    return answer.headers["etag"]


def fetch_status(client: Client, tag: str, path: str = "/tap/sync", query_string: str = QUERY, **headers: str) -> int:
    sent_headers = {"if-none-match": tag, **headers}
    return client.ask("GET", path, query_string.encode(), headers=sent_headers).status


@pytest.mark.parametrize(("path", "query_string"), [("/tap/sync", QUERY), ("/cone/stars.main", CONE)])
def test_nothing_is_planned_not_even_after_a_restart(
    site: Site, client: Client, forbid_plans: Any, path: str, query_string: str
) -> None:
    tag = fetch_tag(client, path, query_string)
    forbid_plans()
    restarted = Client(create_and_start_application(site))
    answer = restarted.ask("GET", path, query_string.encode(), headers={"if-none-match": f'"other", {tag}'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["cache-control"] == "public, no-cache"
    assert "authorization" in answer.headers["vary"]
    assert answer.headers["cache-status"] == "hven; hit"
    head = restarted.ask("HEAD", path, query_string.encode(), headers={"if-none-match": tag.removeprefix("W/")})
    assert (head.status, head.headers["etag"]) == (304, tag)


def test_by_default_a_client_that_has_the_answer_costs_no_plan(tmp_path: Path, planned_texts: list[str]) -> None:
    with open_tiny_site(tmp_path, TABLES) as fresh_site:
        assert not fresh_site.settings.brought
        client = Client(create_and_start_application(fresh_site))
        for path, query_string in (("/tap/sync", QUERY), ("/cone/stars.main", CONE)):
            tag = fetch_tag(client, path, query_string)
            plan_count = len(planned_texts)
            assert plan_count > 0
            for _ in range(3):
                assert fetch_status(client, tag, path, query_string) == 304
            assert len(planned_texts) == plan_count
            assert fetch_status(client, '"other"', path, query_string) == 200
            assert len(planned_texts) > plan_count


def test_head_has_the_tag_of_get(client: Client) -> None:
    assert client.ask("HEAD", "/tap/sync", QUERY.encode()).headers["etag"] == fetch_tag(client)


def test_the_tag_is_of_one_request_and_one_format(client: Client) -> None:
    tag = fetch_tag(client)
    assert fetch_status(client, tag, query_string=f"{QUERY}&MAXREC=2") == 200
    assert fetch_status(client, tag, accept="text/csv") == 200
    assert fetch_status(client, tag, host="other.example") == 200


def test_answers_that_differ_each_time_are_sent_again(client: Client) -> None:
    random_query = "LANG=ADQL&QUERY=SELECT+TOP+3+id,+RAND()+AS+r+FROM+stars.main"
    assert fetch_status(client, fetch_tag(client, query_string=random_query), query_string=random_query) == 200


def test_a_changed_tag_is_worth_nothing(client: Client) -> None:
    tag = fetch_tag(client)
    digest, notes = tag[3:-1].split("-")
    assert notes[0] == "p"
    for changed_notes in ("p", f"r{notes[1:]}", f"{notes}{notes[1:]}", ""):
        assert fetch_status(client, f'W/"{digest}-{changed_notes}"') == 200


def test_other_rows_and_other_rights_need_another_answer(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, TABLES) as site:
        client = Client(create_and_start_application(site))
        tag = fetch_tag(client)
        publish_rows(site, STARS, build_rows(7))
        site.refresh_published_state()
        assert fetch_status(client, tag) == 200
        tag = fetch_tag(client)
        assert fetch_status(client, tag) == 304
        publish_rows(site, STARS.copy_with(access="private"), build_rows(7))
        site.refresh_published_state()
        assert fetch_status(client, tag) == 400


def test_nobody_learns_from_the_tag_of_another_user(site: Site) -> None:
    everybody = {"anna": Principal(name="anna", groups=frozenset({"owner"})), "bert": Principal(name="bert")}
    client = Client(
        create_and_start_application(site, identify_principal=lambda request: everybody[request.headers["x-user"]])
    )
    private = QUERY.replace("stars.main", "secret.main")
    answer = client.ask("GET", "/tap/sync", private.encode(), headers={"x-user": "anna"})
    tag = answer.headers["etag"]
    again = client.ask("GET", "/tap/sync", private.encode(), headers={"x-user": "anna", "if-none-match": tag})
    assert (again.status, again.headers["cache-control"]) == (304, "private, no-cache")
    answer = client.ask("GET", "/tap/sync", private.encode(), headers={"x-user": "bert", "if-none-match": tag})
    assert answer.status == 400
    assert PRIVATE_STARS.name not in answer.headers.get("etag", "")


@pytest.mark.parametrize("setting", ["limits", "title", "contact_email", "authority"])
def test_other_settings_need_another_answer(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    tag = fetch_tag(client)
    value: Any = "other@example.org"
    if setting == "limits":
        value = replace(site.settings.limits, maxrec_default=2)
    monkeypatch.setattr(site, "settings", replace(site.settings, **{setting: value}))
    assert fetch_status(client, tag) == 200


def test_usage_counts_confirmed_answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = fetch_tag(client)
    recorded = []
    monkeypatch.setattr(result_cache, "record_sent_data", lambda *, answer: recorded.append(answer))
    assert fetch_status(client, tag) == 304
    (answer,) = recorded
    assert [table.qualified_name for table in answer.tables] == ["stars.main"]
    assert answer.row_count == 0


def test_escapes_names_and_order_of_parameters_do_not_matter(client: Client) -> None:
    tag = fetch_tag(client)
    assert fetch_status(client, tag, query_string="query=SELECT%20TOP%203+id+FROM+stars.main&LANG=ADQL") == 304


def test_a_repeated_answer_has_the_tag_of_get(site_with_cache: Site, forbid_plans: Any) -> None:
    client = Client(create_and_start_application(site_with_cache))
    posted = client.post("/tap/sync", LANG="ADQL", QUERY="SELECT TOP 3 id FROM stars.main")
    assert posted.headers["cache-status"].endswith("stored")
    forbid_plans()
    tag = fetch_tag(client)
    restarted = Client(create_and_start_application(site_with_cache))
    assert fetch_status(restarted, tag) == 304
