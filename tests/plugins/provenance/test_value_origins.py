"""Where the values of a row come from: page and JSON, with an address for each value."""

from __future__ import annotations

import json
import time
from typing import Any

from asgi_client import Client
from lxml import etree

from hven.plugins.provenance.ledger_index import find_source_file
from hven.site import Site

ADDRESS = "/collections/stars/main/provenance"


def read(client: Client, table: str = "main", row: str = "[4]", **parameters: str) -> dict[str, Any]:
    answer = client.get(f"/collections/stars/{table}/provenance.json", _row=row, **parameters)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def test_rules(client: Client) -> None:
    origin = read(client)
    assert origin["file"] == {"name": "a3.csv", "file_count": 3}
    assert origin["source_kinds"] == ["csv"]
    values = {value["column"]: value for value in origin["values"]}
    assert values["id"]["rule_kind"] == "copy"
    assert values["id"]["source_columns"] == ["id"]
    assert (values["angle"]["rule_kind"], values["angle"]["source_columns"]) == ("copy", ["turn"])
    assert (values["angle"]["source_unit"], values["angle"]["unit"]) == ("rad", "deg")
    assert values["mag"]["source_unit"] == ""
    assert values["double_mag"]["rules"] == ["half * 4"]
    assert values["double_mag"]["helpers"] == [["half", "mag / 2"]]
    assert values["double_mag"]["source_columns"] == ["mag"]
    assert (values["origin"]["rule_kind"], values["origin"]["rules"]) == ("constant", ["Hven"])
    assert values["name"]["rule_kind"] == "template"
    assert (values["quality"]["rule_kind"], values["quality"]["rules"]) == ("flags", ["faint: the star is faint"])
    assert read(client, row="[1]")["file"]["name"] == "a1.csv"
    bright = read(client, "bright", "[1]")
    assert bright["file"] is None
    assert bright["read_tables"] == ["stars.main"]
    assert "FROM stars.main" in bright["queries"][0]


def test_hidden_tables(client: Client) -> None:
    shadow = read(client, "shadow", "[77]")
    assert shadow["read_tables"] == []
    assert shadow["queries"] == []
    assert "secret" not in client.get("/collections/stars/shadow/provenance", _row="[77]").text
    assert client.get("/collections/stars/secret/provenance", _row="[77]").status == 404


def test_page(client: Client) -> None:
    answer = client.get(ADDRESS, _row="[4]")
    assert answer.status == 200
    assert 'rel="http://www.w3.org/ns/prov#has_provenance"' in answer.headers["link"]
    page = etree.HTML(answer.text)
    links = {link.text: link.get("href") for link in page.findall(".//th/a")}
    assert set(links) == {"id", "angle", "mag", "double_mag", "origin", "name", "quality"}
    one = client.get(links["double_mag"].partition("vo.example")[2])
    assert one.status == 200
    assert [link.text for link in etree.HTML(one.text).findall(".//th/a")] == ["double_mag"]
    assert "half * 4" in one.text
    # the page of the table leads to it without scripts
    table = client.get("/collections/stars/main", _row="[4]")
    assert "/collections/stars/main/provenance?_row=%5B4%5D" in table.text


def test_bad_requests(client: Client) -> None:
    for row in ("", "[9]", "nonsense", "[[1]]", '["4"]', "[1,2]", "[" * 20_000):
        assert client.get(ADDRESS, _row=row).status == 404, row
    assert client.get(ADDRESS, _row="[4]", _column="nothing").status == 404
    assert client.get("/collections/stars/nothing/provenance", _row="[4]").status == 404


def test_ledger(site: Site) -> None:
    snapshot = site.get_published_state().tables_by_name["stars.main"].relation
    begin = time.process_time()
    names = [find_source_file(site, "stars.main", snapshot.id, {"id": number}) for number in (1, 2, 3, 4, 5)]
    assert time.process_time() - begin < 1
    assert names == ["a1.csv", "a1.csv", "a2.csv", "a3.csv", None]
    assert find_source_file(site, "stars.main", "nothing", {"id": 1}) is None


def test_results_link_to_provenance(client: Client) -> None:
    answer = client.get(
        "/tap/sync", LANG="ADQL", QUERY="SELECT a.id FROM stars.main AS a JOIN stars.bright AS b ON a.id = b.id"
    )
    link = answer.headers["link"]
    assert link.endswith('>; rel="http://www.w3.org/ns/prov#has_provenance"')
    address = link.partition("vo.example")[2].partition(">")[0]
    assert client.get(address).status == 200
    assert "link" not in client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM TAP_SCHEMA.tables").headers
