"""Referees: a private address shows one collection that is not public, until its date; anonymised where asked, with no name in pages, heads or logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from asgi_client import Client

from clocks import MovableClock
from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.site.store._grants import POLL_INTERVAL_SECONDS
from plugin_needs import list_word_pages
from process_runner import run_hven

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: {name}
title: Spectra of {name}
creators: [{{name: Author of {name}}}]
contact: {{name: Contact of {name}, email: {name}@example.org}}
publisher: Observatory of {name}
citation: Citation of {name}
{access}
files: [a.txt]
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: id
    columns:
      id: {{type: int32}}
"""
ACCESS = {
    "night": "access: private",
    "guarded": "access: \"'spica' in groups\"",
    "other": "access: private",
    "free": "",
}
PEOPLE = ("Author of night", "Contact of night", "night@example.org", "Observatory of night", "Citation of night")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("referees")
    (place / "hven.toml").write_text('name = "judged"\n')
    for name, access in ACCESS.items():
        folder = place / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
        (folder / "rows.csv").write_text("id\n1\n2\n")
        (folder / "a.txt").write_text(f"words of {name}\n")
    with Site(settings.load_settings(place)) as made:
        for name in ACCESS:
            ingest_collection(made, name)
    return place


@pytest.fixture
def referee_site(place: Path) -> Iterator[Site]:
    with Site(settings.load_settings(place)) as made:
        yield made


@pytest.fixture
def client(referee_site: Site) -> Client:
    return Client(create_and_start_application(referee_site))


def come(client: Client, referee_site: Site, name: str, **more: object) -> dict[str, str]:
    _, secret = referee_site.store.grants.add_grant("referee", object=name, actor="owner", with_secret=True, **more)  # type: ignore[arg-type]
    answer = client.ask("GET", f"/referee/{secret}")
    assert answer.status == 303
    assert answer.headers["location"] == f"http://vo.example/collections/{name}"
    assert answer.headers["cache-control"].startswith("no-store") or "no-store" in answer.headers["cache-control"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def rows(client: Client, table: str, headers: dict[str, str] | None = None, form: str = "csv") -> str:
    asked = f"/tap/sync?LANG=ADQL&RESPONSEFORMAT={form}&QUERY=SELECT+id+FROM+{table}+ORDER+BY+id"
    return client.ask("GET", asked, headers=headers).text


@pytest.mark.parametrize("name", ["night", "guarded"])
def test_one_collection_and_no_other(referee_site: Site, client: Client, name: str) -> None:
    before = [client.ask("GET", path).text for path in ("/", "/tap/tables", f"/collections/{name}/files/a.txt")]
    headers = come(client, referee_site, name)
    assert rows(client, f"{name}.main", headers).split() == ["id", "1", "2"]
    for path in (f"/collections/{name}", f"/collections/{name}/main", f"/collections/{name}/files"):
        answer = client.ask("GET", path, headers=headers)
        assert answer.status == 200, path
        assert "public" not in answer.headers["cache-control"]
    assert client.ask("GET", f"/collections/{name}/files/a.txt", headers=headers).text == f"words of {name}\n"
    assert f"{name}.main" in client.ask("GET", "/tap/tables", headers=headers).text
    assert f"Author of {name}" in client.ask("GET", f"/collections/{name}", headers=headers).text
    # the other collections are to them what they are to everybody
    assert client.ask("GET", "/collections/other", headers=headers).status == 404
    assert "other.main" not in client.ask("GET", "/tap/tables", headers=headers).text
    assert rows(client, "free.main", headers).split() == ["id", "1", "2"]
    # and nobody else sees anything of it, whatever is remembered now
    assert [client.ask("GET", path).text for path in ("/", "/tap/tables")] == before[:2]
    assert rows(client, f"{name}.main").split() != ["id", "1", "2"]
    assert client.ask("GET", f"/collections/{name}/files/a.txt").status in {401, 404}


def test_jobs_of_a_referee_are_listed_to_the_referee_alone(referee_site: Site, client: Client) -> None:
    """All clients have the same address here, as behind a proxy."""
    headers = come(client, referee_site, "night")
    query = b"LANG=ADQL&QUERY=SELECT+id+FROM+night.main"
    created = client.ask("POST", "/tap/async", query, headers=headers)
    assert created.status == 303
    job_id = created.headers["location"].rpartition("/")[2]
    assert job_id in client.ask("GET", "/tap/async", headers=headers).text
    for others in (None, come(client, referee_site, "guarded")):
        assert job_id not in client.ask("GET", "/tap/async", headers=others).text
        assert client.ask("GET", f"/tap/async/{job_id}", headers=others).status in {403, 404}


def test_it_ends_at_its_second_and_when_it_is_taken_back(
    referee_site: Site, client: Client, clock: MovableClock
) -> None:
    headers = come(client, referee_site, "night", expiry_time=clock.stop_time() + 1.5)
    clock.move(1.499)
    assert rows(client, "night.main", headers).split() == ["id", "1", "2"]
    clock.move(0.001)
    assert "night" in rows(client, "night.main", headers)
    assert "1" not in rows(client, "night.main", headers).split()
    headers = come(client, referee_site, "night")
    assert rows(client, "night.main", headers).split() == ["id", "1", "2"]
    referee_site.store.grants.revoke_grant(headers["cookie"].partition("=")[2].partition(".")[0], actor="owner")
    assert "1" not in rows(client, "night.main", headers).split()
    for secret in ("x", "abc.def", headers["cookie"].partition("=")[2]):
        answer = client.ask("GET", f"/referee/{secret}")
        assert answer.status == 404
        assert "unknown or has expired" in answer.text


def test_anonymised(
    referee_site: Site, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("hven.access"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("hven"), "propagate", True)
    caplog.set_level(logging.INFO, "hven.access")
    seen = come(client, referee_site, "night")
    headers = come(client, referee_site, "night", facts={"anonymous": True})
    secret = headers["cookie"].partition("=")[2]
    for path in (
        "/collections/night",
        "/collections/night.json",
        "/collections/night/main",
        "/help/night",
        "/",
        "/news",
        *list_word_pages("night"),
    ):
        for who in (seen, headers):  # what was remembered for one is not shown to the other
            answer = client.ask("GET", path, headers=who)
            named = [one for one in PEOPLE if one in answer.text]
            assert not named or who is seen, path
            assert named or who is headers or not path.startswith("/collections"), path
    assert rows(client, "night.main", seen, "votable").count("Author of night") > 0
    assert not [one for one in PEOPLE if one in rows(client, "night.main", headers, "votable")]
    assert rows(client, "night.main", headers).split() == ["id", "1", "2"]
    assert secret not in caplog.text
    lines = [json.loads(one.getMessage()) for one in caplog.records if one.name == "hven.access"]
    assert lines[0]["path"] == "/referee/"
    assert lines[0]["client"] is None
    assert lines[-1]["client"] is None
    assert lines[2]["client"] == "127.0.0.1"


def test_from_the_shell(place: Path, referee_site: Site, client: Client, clock: MovableClock) -> None:
    soon = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d")
    address = run_hven("referee", "add", "--site", place, "night", "--until", soon, "--anonymous").stdout.strip()
    path = address.removeprefix(referee_site.settings.site_url)
    assert path.startswith("/referee/")
    assert client.ask("GET", path).status == 303
    (listed,) = [
        one for one in json.loads(run_hven("referee", "list", "--site", place, "--json").stdout) if one["id"] in address
    ]
    assert listed["collection"] == "night"
    assert listed["anonymous"] == "yes"
    assert path.rpartition(".")[2] not in run_hven("referee", "list", "--site", place).stdout
    assert "is no longer valid" in run_hven("referee", "end", "--site", place, listed["id"]).stdout
    clock.move(POLL_INTERVAL_SECONDS)  # another process sees it then
    assert client.ask("GET", path).status == 404
    told = json.loads(run_hven("audit", "--site", place, "--object", "night", "--most", 2, "--json").stdout)
    assert [one["what"] for one in told] == ["referee ended", "referee given"]
    end_of_day = datetime.fromisoformat(soon).replace(tzinfo=UTC) + timedelta(days=1)
    assert datetime.fromisoformat(told[1]["facts"]["until"]) == end_of_day
    assert (
        "did you mean 'night'"
        in run_hven("referee", "add", "--site", place, "nigth", "--until", soon, expected_code=1).stderr
    )
    assert (
        "is in the past"
        in run_hven("referee", "add", "--site", place, "night", "--until", "2001-01-01", expected_code=2).stderr
    )
    assert (
        "not a date" in run_hven("referee", "add", "--site", place, "night", "--until", "soon", expected_code=2).stderr
    )
    assert "no referee" in run_hven("referee", "end", "--site", place, "xx", expected_code=1).stderr
