"""Changes by people and registered DOIs as activities: accepted entries of a row, who proposed them, and who may know it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from asgi_client import Client
from prov.model import ProvDocument

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.resource import DoiRecord
from hven.site import Site
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_package_objects

LIST = """\
collection: calibrators
title: Calibrators
tables:
  main:
    source: {kind: push, columns: {id: int64, name: string, mag: float64}, ids: id, writers: [mia]}
    entries: {submitters: [anna]}
    primary: id
    columns: {id: int64, name: string, mag: {type: float64, unit: mag}}
"""
NAME = "calibrators.main"


class ListClient:
    """The client of a person."""

    def __init__(self, client: Client, site: Site, account: str) -> None:
        self.client = client
        self.headers = {}
        if account:
            token = create_personal_token(site.store, account, "all", 1, created_by=account)[1]
            self.headers = {"authorization": f"Bearer {token}"}

    def send(self, path: str, **document: Any) -> dict[str, Any]:
        headers = {**self.headers, "content-type": "application/json", "accept": "application/json"}
        answer = self.client.ask("POST", path, body=json.dumps(document).encode(), headers=headers)
        assert answer.status in {200, 201}, answer.text
        return dict(json.loads(answer.body))

    def read_provenance(self, record_id: str, **parameters: str) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        address = f"/prov?ID={record_id}&RESPONSEFORMAT=PROV-JSON&DEPTH=ALL&{query}"
        answer = self.client.ask("GET", address, headers=self.headers)
        assert answer.status == 200, answer.text
        ProvDocument.deserialize(content=answer.text, format="json")
        return dict(json.loads(answer.text))

    def read_values(self, key: int, column: str = "") -> dict[str, Any]:
        address = f"/collections/calibrators/main/provenance.json?_row=[{key}]" + (
            f"&_column={column}" if column else ""
        )
        answer = self.client.ask("GET", address, headers=self.headers)
        assert answer.status == 200, answer.text
        return {value["column"]: value["change"] for value in json.loads(answer.text)["values"]}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, ListClient]]:
    require_package_objects("row_changes")
    with open_site_with_uningested_files(tmp_path_factory.mktemp("changes"), LIST) as site:
        ingest_collection(site, "calibrators")
        client = Client(create_and_start_application(site))
        for account in ("anna", "mia", "eve"):
            site.store.users.add_account(account)
        yield {account: ListClient(client, site, account) for account in ("", "anna", "mia", "eve")}


def publish(people: Mapping[str, ListClient], path: str, **document: Any) -> tuple[dict[str, Any], int]:
    """Submit and accept an entry, and return it with the key of its row."""
    entry = people["anna"].send(path, action="submit", **document)
    accepted = people["mia"].send(f"/entries/{NAME}/{entry['number']}", action="accept", etag=entry["etag"])
    return accepted, json.loads(accepted["row"])[0]


@pytest.fixture(scope="module")
def corrected(people: Mapping[str, ListClient]) -> tuple[int, int, int]:
    """A row that was entered and corrected: the numbers of both entries, and its key."""
    first, key = publish(people, f"/entries/{NAME}", values={"name": "Vega", "mag": 0.3})
    second, same_key = publish(people, f"/entries/{NAME}", row=[key], values={"mag": 0.03})
    assert key == same_key
    publish(people, f"/entries/{NAME}", values={"name": "Deneb", "mag": 1.25})
    return first["number"], second["number"], key


def test_a_row_was_generated_by_its_latest_change(
    people: Mapping[str, ListClient], corrected: tuple[int, int, int]
) -> None:
    first, second, key = corrected
    document = people[""].read_provenance(f"row/{NAME}/{key}")
    row, old, new = (f"hv:{name}" for name in (
        f"row/{NAME}/{key}", f"change/entry-{first}/{NAME}/{key}", f"change/entry-{second}/{NAME}/{key}"
    ))  # fmt: skip
    generations = [item for item in document["wasGeneratedBy"].values() if item["prov:entity"] == row]
    assert [item["prov:activity"] for item in generations] == [new]
    informed = [(item["prov:informed"], item["prov:informant"]) for item in document["wasInformedBy"].values()]
    assert (new, old) in informed
    assert document["activity"][new]["voprov:comment"] == f"entry {second}: mag"
    assert document["activity"][old]["voprov:comment"].endswith("new row")
    assert document["activity"][old]["prov:endTime"] <= document["activity"][new]["prov:endTime"]


@pytest.mark.parametrize(("reader", "is_told"), [("", False), ("eve", False), ("anna", True), ("mia", False)])
def test_who_proposed_it_is_told_to_few(
    people: Mapping[str, ListClient], corrected: tuple[int, int, int], reader: str, is_told: bool
) -> None:
    _, second, key = corrected
    client = people[reader]
    document = client.read_provenance(f"row/{NAME}/{key}")
    assert ("hv:account/anna/calibrators" in document.get("agent", {})) == is_told
    assert ("anna" in json.dumps(document)) == is_told
    change = client.read_values(key)["mag"]
    assert (change["account"], change["path"]) == (("anna", f"/entries/{NAME}/{second}") if is_told else ("", ""))


def test_a_value_names_the_change_that_made_it(
    people: Mapping[str, ListClient], corrected: tuple[int, int, int]
) -> None:
    first, second, key = corrected
    changes = people[""].read_values(key)
    assert changes["mag"]["id"] == f"entry-{second}"
    assert changes["name"]["id"] == f"entry-{first}"
    assert people[""].read_values(key, "mag").keys() == {"mag"}
    page = people[""].client.get(f"/collections/calibrators/main/provenance?_row=[{key}]", _column="mag").text
    assert f"entry {second}" in page
    assert f"/entries/{NAME}/{second}" not in page


def test_a_withdrawn_correction_is_no_change(people: Mapping[str, ListClient]) -> None:
    _, key = publish(people, f"/entries/{NAME}", values={"name": "Altair", "mag": 0.7})
    second, _ = publish(people, f"/entries/{NAME}", row=[key], values={"mag": 0.76})
    assert people[""].read_values(key)["mag"]["id"] == f"entry-{second['number']}"
    people["mia"].send(f"/entries/{NAME}/{second['number']}", action="withdraw", etag=second["etag"], reason="no")
    assert people[""].read_values(key)["mag"]["id"] != f"entry-{second['number']}"


@pytest.mark.parametrize("record_id", ["change/entry-1", "change/entry-999/{row}", "change/x/{row}", "change//{row}"])
def test_unknown_changes(people: Mapping[str, ListClient], corrected: tuple[int, int, int], record_id: str) -> None:
    name = record_id.format(row=f"{NAME}/{corrected[2]}")
    assert people[""].client.get("/prov", ID=name).status == 404


class RegisteredDois:
    """DOIs of a collection, a release, a draft, and a collection that nobody sees."""

    RECORDS = (
        DoiRecord(collection="stars", doi="10.5072/a", state="findable", changed="2026-11-01T10:00:00Z"),
        DoiRecord(collection="stars", label="R1", doi="10.5072/b", state="findable", changed="2026-11-02T10:00:00Z"),
        DoiRecord(collection="hidden", doi="10.5072/c", state="findable", changed="2026-11-03T10:00:00Z"),
    )

    def find_doi_record(self, collection: str, label: str = "") -> DoiRecord | None:
        records = (item for item in self.RECORDS if (item.collection, item.label) == (collection, label))
        return next(records, None)

    def map_dois(self) -> dict[tuple[str, str], str]:
        return {(item.collection, item.label): item.doi or "" for item in self.RECORDS}


def test_the_registration_of_a_doi_is_an_activity(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "identifiers", property(lambda _: RegisteredDois()))
    document = json.loads(client.get("/prov", RESPONSEFORMAT="PROV-JSON").text)
    registrations = {name: content for name, content in document["activity"].items() if "registration/" in name}
    assert registrations.keys() == {"hv:registration/collection/stars", "hv:registration/release/stars/R1"}
    content = registrations["hv:registration/release/stars/R1"]
    assert content["prov:label"] == "Registration of DOI 10.5072/b"
    assert content["prov:endTime"].startswith("2026-11-02T10:00:00")
    used = {(item["prov:activity"], item["prov:entity"]) for item in document["used"].values()}
    assert ("hv:registration/collection/stars", "hv:collection/stars") in used
    assert ("hv:registration/release/stars/R1", "hv:release/stars/R1") in used
    forward = json.loads(client.get("/prov", ID="collection/stars", DIRECTION="FORTH", RESPONSEFORMAT="PROV-JSON").text)
    assert "hv:registration/collection/stars" in forward["activity"]
    assert "10.5072/c" not in client.get("/prov", DEPTH="ALL").text
    assert client.get("/prov", ID="registration/collection/hidden").status == 404
    answer = client.get("/prov", ID="registration/release/stars/R1", RESPONSEFORMAT="PROV-N")
    assert "activity(hv:registration/release/stars/R1" in answer.text
