"""Six portals of one installation, as IDOC has them: each with its own name, look, tree, news, help, TAP, ids and administrators."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.model.settings._site_file import find_missing_portal_item_faults
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import Principal
from plugin_needs import list_word_pages

PRIVATE = {"medoc": "eit_raw", "psup": "omega_raw"}
COLLECTIONS = ("omega", "crism", "eit", "aia", "gaia_dem", "clusters", "spire")
PORTALS = {
    "psup": ("psup.idoc.example", ("omega", "crism")),
    "medoc": ("/medoc", ("eit", "aia", "gaia_dem")),
    "sdo": ("/medoc/sdo", ("aia",)),
    "dem": ("dem.idoc.example:8080", ("gaia_dem",)),
    "szdb": ("szdb.example", ("clusters",)),
    "herschel": ("/herschel", ("spire",)),
}


def write_collections(directory: Path) -> None:
    lines = ['title = "IDOC"', 'authority = "idoc.example"', 'public_url = "https://idoc.example"']
    lines += ["[login]", 'domain = "idoc.example"']
    for name, (place, collections) in PORTALS.items():
        lines += [
            f"[portals.{name}]",
            f'{"path" if place.startswith("/") else "host"} = "{place}"',
            f'title = "The portal {name}"',
            f"collections = {json.dumps([*collections, *filter(None, [PRIVATE.get(name)])])}",
            f'contact_email = "{name}@idoc.example"',
            f'help = "help-{name}"',
            f'news = "news-{name}"',
            f'administrators = ["{name}_admin"]',
            f'language = "{"fr" if name == "psup" else "en"}"',
        ]
        for folder, text in (("help", f"# Help of {name}\n\nwords"), ("news", f"# News of {name}\n\nwords")):
            (directory / f"{folder}-{name}").mkdir()
            (directory / f"{folder}-{name}" / "2026-01-01-one.md").write_text(text, encoding="utf-8")
    lines.insert(lines.index("[portals.szdb]") + 1, 'authority = "sz.example"')
    (directory / "hven.toml").write_text("\n".join(lines), encoding="utf-8")
    for count, name in enumerate([*COLLECTIONS, *PRIVATE.values()], 1):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("id\n" + "\n".join(f"{name}{one}" for one in range(count)), encoding="utf-8")
        (folder / f"{name}.yaml").write_text(
            f"collection: {name}\ntitle: Rows of {name}\naccess: {'private' if name in PRIVATE.values() else 'public'}\ntables:\n  main:\n"
            "    primary: [id]\n    source: {kind: csv, files: a.csv}\n"
            "    columns:\n      id: {type: string, ucd: meta.id;meta.main, description: what it is called}\n"
            "      did: {type: string, description: for everybody}\n"
            "    map: {did: \"'ivo://' || site.authority || '/' || id\"}\n",
            encoding="utf-8",
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("six")
    write_collections(directory)
    with Site(load_settings(directory)) as opened:
        for name in (*COLLECTIONS, *PRIVATE.values()):
            ingest_collection(opened, name)
        yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def fetch_page(client: Client, portal: str, path: str, **headers: str) -> str:
    place = PORTALS[portal][0]
    head = dict(headers) if place.startswith("/") else {"host": place, **headers}
    answer = client.ask("GET", f"{place}{path}" if place.startswith("/") else path, headers=head)
    assert answer.status == 200, answer.text
    return answer.text


def tables(document: str) -> set[str]:
    return {*re.findall(r"<name>([a-z_]+\.main)</name>", document)}


@pytest.mark.parametrize("portal", PORTALS)
def test_a_portal_shows_only_its_own_collections(client: Client, portal: str) -> None:
    own = PORTALS[portal][1]
    home = fetch_page(client, portal, "/")
    assert f"The portal {portal}" in home
    assert f'<html lang="{"fr" if portal == "psup" else "en"}"' in home
    assert {name for name in COLLECTIONS if f"Rows of {name}" in home} == {*own}
    assert tables(fetch_page(client, portal, "/tap/tables")) == {f"{name}.main" for name in own}
    assert f"Help of {portal}" in fetch_page(client, portal, "/help")
    assert f"News of {portal}" in fetch_page(client, portal, "/news.atom")
    assert [
        name for name in PORTALS if name != portal and f"News of {name}" in fetch_page(client, portal, "/news")
    ] == []
    for name in COLLECTIONS:  # search stays inside
        for address in list_word_pages(name):
            found = {*re.findall(r"/collections/(\w+)", fetch_page(client, portal, address.replace("?", ".json?")))}
            assert found <= {*own}
            assert (name in found) is (name in own)


def test_the_site_has_all(client: Client) -> None:
    assert tables(client.get("/tap/tables").text) == {f"{name}.main" for name in COLLECTIONS}
    home = client.get("/").text
    assert {name for name in COLLECTIONS if f"Rows of {name}" in home} == {*COLLECTIONS}


def test_services_say_where_they_are_asked(client: Client) -> None:
    """A registry that follows capabilities stays in the portal."""
    assert "https://idoc.example/medoc/tap<" in fetch_page(client, "medoc", "/tap/capabilities")
    assert "https://psup.idoc.example/tap<" in fetch_page(client, "psup", "/tap/capabilities")
    assert "https://dem.idoc.example:8080/tap<" in fetch_page(client, "dem", "/tap/capabilities")
    assert "https://idoc.example/tap<" in client.get("/tap/capabilities").text


def test_a_collection_of_two_portals_gives_equal_responses(client: Client) -> None:
    question = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+id,did+FROM+aia.main+ORDER+BY+id"
    answers = {fetch_page(client, portal, question) for portal in ("medoc", "sdo")} | {client.ask("GET", question).text}
    assert len(answers) == 1
    assert answers.pop().split()[1] == "aia0,ivo://idoc.example/aia0"


def test_ids_have_the_authority_of_their_portal(client: Client) -> None:
    question = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+TOP+1+did+FROM+clusters.main+ORDER+BY+id"
    assert client.ask("GET", question).text.split() == ["did", "ivo://sz.example/clusters0"]
    assert "ivo://sz.example/clusters" in client.get("/collections/clusters").text
    assert "ivo://idoc.example/aia" in client.get("/collections/aia").text


def test_rows_of_another_portal_cannot_be_queried(client: Client) -> None:
    refused = client.ask("GET", "/medoc/tap/sync?LANG=ADQL&QUERY=SELECT+*+FROM+omega.main")
    assert refused.status == 400
    assert "omega" in refused.text
    assert client.ask("GET", "/medoc/collections/omega").status == 404
    found = client.ask(
        "GET", "/medoc/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+schema_name+FROM+TAP_SCHEMA.schemas"
    )
    assert not {"omega", "crism", "clusters", "spire"} & {*found.text.split()}


def test_an_unknown_host_serves_the_whole_site(client: Client) -> None:
    answer = client.ask("GET", "/tap/tables", headers={"host": "elsewhere.example"})
    assert tables(answer.text) == {f"{name}.main" for name in COLLECTIONS}


def test_one_login_works_for_all_hosts_of_a_domain(site: Site, client: Client) -> None:
    body = json.dumps({"name": "bea", "token": site.store.users.add_account("bea")}).encode()

    def begun(host: str) -> str:
        headers = {"host": host, "content-type": "application/json"}
        return client.ask("POST", "/login", body=body, headers=headers).headers["set-cookie"]

    kept = begun("psup.idoc.example")
    assert "; Domain=idoc.example;" in kept
    for host in ("psup.idoc.example", "dem.idoc.example:8080", "idoc.example"):
        page = client.ask("GET", "/login", headers={"host": host, "cookie": kept.partition(";")[0]})
        assert "bea" in page.text, host
    over = client.ask("POST", "/logout", headers={"host": "dem.idoc.example:8080", "cookie": kept.partition(";")[0]})
    assert "; Domain=idoc.example; Max-Age=0" in over.headers["set-cookie"], "and so is the end"
    assert "Domain" not in begun("szdb.example")
    assert "Domain" not in begun("evilidoc.example")


def test_administrators_see_only_their_own_portal(site: Site, client: Client) -> None:
    def list_seen_collections(**headers: str) -> set[str]:
        told = json.loads(client.ask("GET", "/health.json", headers=headers).text)
        assert "words" not in told, "those are the site's operators'"
        return {one["collection"] for one in told["collections"]}

    assert list_seen_collections() == {*COLLECTIONS}
    for name, private in PRIVATE.items():
        token = site.store.users.add_account(f"{name}_admin")
        assert list_seen_collections(authorization=f"Bearer {token}") == {*COLLECTIONS, private}


def test_administrators_prepare_files_of_their_own_portal_alone(site: Site) -> None:
    around = ServiceContext.create_for_principal(site, Principal(name="medoc_admin"))
    operated = {name for name in COLLECTIONS if around.is_operator(around.identify_principal(None), name)}  # type: ignore[arg-type]
    assert operated == {*PORTALS["medoc"][1]}
    assert not around.is_operator(Principal(name="medoc_admin"))


def test_one_check_covers_all_portals(site: Site) -> None:
    assert [str(one) for one in find_missing_portal_item_faults(site.settings)] == []
    text = (site.settings.directory / "hven.toml").read_text(encoding="utf-8")
    (site.settings.directory / "hven.toml").write_text(text.replace("help-dem", "helf-dem"), encoding="utf-8")
    assert "helf-dem" in str(find_missing_portal_item_faults(load_settings(site.settings.directory))[0])
