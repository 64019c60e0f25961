"""The page of comparisons: what it shows to whom, and that nobody sends it to addresses inside."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from schema_samples import VOSI, serve_documents, write_tap_schema

from hven.plugins.schema_life import compare_page
from hven.site import Site

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def token(site: Site) -> str:
    return f"Bearer {site.store.users.add_account('olga')}"


def ask(client: Client, path: str, headers: dict[str, str], **params: object) -> object:
    return client.ask("GET", path, urlencode(params, doseq=True).encode(), headers=headers)


def test_page_and_json(client: Client) -> None:
    page = ask(client, "/compare", HTML, model="stars", show="all")
    assert page.status == 200
    assert "diameter_of_limb_darkened_disc" in page.text
    content = json.loads(ask(client, "/compare.json", {}, model="stars.main", group="ucd").body)
    assert content["models"][0] | {"read": ""} == {"label": "stars.main", "columns": 9, "read": "", "fault": ""}
    assert {group["key"] for group in content["groups"]} >= {"meta.id", "pos.pm", ""}
    answer = ask(client, "/compare", HTML)
    assert answer.status == 200


def test_groupings_without_conflicts_say_so(client: Client) -> None:
    for group in ("unit", "type"):
        page = ask(client, "/compare", HTML, group=group)
        assert "cannot be in conflict" in page.text
        assert "There are no conflicts" not in page.text
        assert '<th scope="row">' in page.text
    assert "cannot be in conflict" not in ask(client, "/compare", HTML).text


def test_files(client: Client) -> None:
    rows = ask(client, "/compare/differences", {}, model="stars")
    assert rows.headers["content-type"].startswith("text/csv")
    assert rows.text.splitlines()[0] == "key,kind,value,model,table_name,column_name,conflict,note"
    assert b"<VOTABLE" in ask(client, "/compare/differences", {}, model="stars", RESPONSEFORMAT="votable").body
    assert ask(client, "/compare/differences", {}, model="stars", RESPONSEFORMAT="hologram").status == 400


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"model": "nothing"}, 404),
        ({"model": "shut"}, 404),
        ({"model": "shut.*"}, 404),
        ({"model": "../../etc/passwd"}, 404),
        ({"model": "stars", "group": "colour"}, 400),
        ({"model": [f"https://a.example/{number}" for number in range(7)]}, 400),
        ({"model": "https://a.example/" + "x" * 1000}, 400),
        ({"model": "https://a.example/tap"}, 401),
    ],
)
def test_bad_requests(client: Client, params: dict[str, object], status: int) -> None:
    for path in ("/compare.json", "/compare/differences"):
        assert ask(client, path, {}, **params).status == status


def test_private_collections_stay_private(client: Client) -> None:
    for path in ("/compare", "/compare.json", "/compare/differences"):
        for params in ({}, {"show": "all"}, {"model": "*.*", "show": "all"}):
            assert "zqsecret" not in ask(client, path, {}, **params).text


def test_addresses_inside_are_refused(client: Client, token: str) -> None:
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        answer = ask(client, "/compare.json", {"authorization": token}, model=["stars", f"{url}/tap"])
        assert answer.status == 403
        assert "other.main" not in answer.text


def test_addresses_outside(client: Client, site: Site, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        read = compare_page.ForeignSchemaCache.find_or_read_model
        monkeypatch.setattr(
            compare_page.ForeignSchemaCache,
            "find_or_read_model",
            lambda cache, address, allow_private: read(cache, address, allow_private=True),
        )
        header = {"authorization": token}
        content = json.loads(ask(client, "/compare.json", header, model=["stars", f"{url}/tap"]).body)
        groups = {group["key"]: group for group in content["groups"]}
        assert groups["ra"]["conflicts"] == []
        assert groups["flux"]["missing"] == ["stars"]
        page = ask(client, "/compare", HTML | header, model=f"stars\n{url}/tap", show="all")
        assert page.status == 200
        assert f"{url}/tap" in page.text


@pytest.fixture
def _with_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    read = compare_page.ForeignSchemaCache.find_or_read_model
    monkeypatch.setattr(
        compare_page.ForeignSchemaCache,
        "find_or_read_model",
        lambda cache, address, allow_private: read(cache, address, allow_private=True),
    )


@pytest.mark.usefixtures("_with_private_addresses")
def test_notes_and_single_conflicts_are_shown(client: Client, site: Site, token: str) -> None:
    header = {"authorization": token}
    with serve_documents({"/other.xml": VOSI}) as url:
        models = ["stars", f"{url}/other.xml"]
        content = json.loads(ask(client, "/compare.json", header, model=models).body)
        (conflict, _) = (
            conflict for group in content["groups"] for conflict in group["conflicts"] if group["key"] == "ra"
        )
        assert conflict["kind"] == "unit"
        path = site.settings.directory / "schema-notes.txt"
        path.write_text(f"{conflict['id']} agreed with the <team>\n")
        try:
            page = ask(client, "/compare", HTML | header, model=models, conflict=conflict["id"])
        finally:
            path.unlink()
        assert "agreed with the &lt;team&gt;" in page.text
        assert page.text.count('<th scope="row">') == 1
        page = ask(client, "/compare", HTML | header, model=models, conflict="0123456789ab")
        assert "There is no conflict 0123456789ab in this comparison." in page.text


@pytest.mark.usefixtures("_with_private_addresses")
def test_a_dead_service_leaves_the_others_on_the_page(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = {"authorization": token}
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        models = ["stars", f"{url}/tap#other.*", f"{url}/dead"]
        content = json.loads(ask(client, "/compare.json", header, model=models).body)
        assert [bool(model["fault"]) for model in content["models"]] == [False, False, True]
        groups = {group["key"]: group for group in content["groups"]}
        assert groups["flux"]["missing"] == ["stars"]
        page = ask(client, "/compare", HTML | header, model=models)
        assert "the schema could not be read: " in page.text
        assert ', <span class="soft">read 2' in page.text
    monkeypatch.setattr("hven.plugins.schema_life.model_addresses.COPY_LIFETIME", timedelta(0))
    content = json.loads(ask(client, "/compare.json", header, model=models).body)
    assert content["models"][1]["columns"] == 4
    assert content["models"][1]["fault"]


def test_faults_of_notes_do_not_hide_the_page(client: Client, site: Site) -> None:
    path = site.settings.directory / "schema-notes.txt"
    path.write_text("what is this\n")
    try:
        assert ask(client, "/compare.json", {}, model="stars").status == 200
    finally:
        path.unlink()


def test_curators_find_the_page(client: Client, site: Site) -> None:
    assert "/compare?model=stars" not in ask(client, "/collections/stars", HTML).text
