"""Below a portal, the endpoint and the descriptions know the portal's collections, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from asgi_client import Client
from mcp_requests import call, send
from portal_site import build_site

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.site.auth import Principal

SUNNY = "/sunny/mcp"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with build_site(tmp_path_factory.mktemp("portals")) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def list_names(client: Client, path: str = "/mcp") -> list[str]:
    collections = call(client, "search_collections", path=path)["structuredContent"]["collections"]
    return sorted(table["table"] for collection in collections for table in collection["tables"])


def test_a_portal_lists_and_queries_its_own_collections(client: Client) -> None:
    assert list_names(client) == ["images.main", "stars.main"]
    assert list_names(client, SUNNY) == ["images.main"]
    assert call(client, "describe_table", path=SUNNY, table="main")["structuredContent"]["table"] == "images.main"
    counted = call(client, "query", path=SUNNY, adql="SELECT COUNT(*) AS n FROM images.main")["structuredContent"]
    assert counted["rows"] == [[400]]
    assert "/sunny/tap/sync?" in counted["download"]
    path = counted["download"].partition("//")[2].partition("/")[2]
    assert client.ask("GET", f"/{path}").text.split() == ["n", "400"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("describe_table", {"table": "stars.main"}),
        ("sample", {"table": "stars.main"}),
        ("cone", {"table": "stars.main", "ra": 10, "dec": 20, "radius": 1}),
        ("links", {"table": "stars.main", "id": "1"}),
        ("query", {"adql": "SELECT * FROM stars.main"}),
        ("cite", {"collection": "stars"}),
    ],
)
def test_a_portal_does_not_know_other_collections(client: Client, tool: str, arguments: dict[str, object]) -> None:
    result = call(client, tool, path=SUNNY, **arguments)
    assert result["isError"] is True
    assert "Stars that do not move" not in json.dumps(result)
    other = call(client, tool, path=SUNNY, **json.loads(json.dumps(arguments).replace("stars", "nothing")))
    text, other_text = (answer["content"][0]["text"] for answer in (result, other))
    assert text.split("[request")[0].replace("stars", "nothing") == other_text.split("[request")[0]


def test_accounts_have_their_rights_in_a_portal(site: Site) -> None:
    owner = Client(
        create_and_start_application(
            site, identify_principal=lambda _: Principal(name="o", groups=frozenset({"owner"}))
        )
    )
    assert list_names(owner, SUNNY) == ["images.letters", "images.main"]
    result = call(owner, "query", path=SUNNY, adql="SELECT word FROM images.letters")
    assert result["structuredContent"]["rows"] == [["secret"]]
    assert call(owner, "query", path=SUNNY, adql="SELECT * FROM stars.main")["isError"] is True


def test_descriptions_of_a_portal_are_its_own(client: Client) -> None:
    text = client.ask("GET", "/sunny/llms.txt").text
    assert text.startswith("# Sunny side\n")
    assert "/sunny/llms/images.md" in text
    assert "/sunny/mcp." in text
    assert "stars" not in text
    assert client.ask("GET", "/sunny/llms/stars.md").status == 404
    assert client.ask("GET", "/llms.txt").text.startswith("# Uraniborg\n")
    discovered = json.loads(send(client, "server/discover", path=SUNNY).body)["result"]
    assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["title"] == "Sunny side"


def test_a_portal_with_a_host_of_its_own(client: Client) -> None:
    answer = send(client, "tools/call", {"name": "search_collections", "arguments": {}}, host="stars.example")
    collections = json.loads(answer.body)["result"]["structuredContent"]["collections"]
    assert [collection["collection"] for collection in collections] == ["stars"]
    assert collections[0]["page"].startswith("http://stars.example/")


def test_text_of_descriptors_stays_text_in_markdown(client: Client) -> None:
    page = client.ask("GET", "/llms/images.md").text
    assert "<script>" not in page
    assert "* Creators: Tycho & Sophie Brahe" in page
    assert "* DOI: https://doi.org/10.1234/uraniborg" in page
    assert "* Rows: 400" in page
    assert "### Columns" in page
    assert "zweihaender" not in page
