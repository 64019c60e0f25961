"""What provenance tells: the chain of a row, the states of a table, what a reader must not know, and bad requests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client

from hven.plugins.provenance.prov_records import ProvRecord, ProvRelation
from hven.plugins.provenance.provenance_search import (
    MAX_MEMBERS,
    MAX_RECORDS,
    ProvenanceSearchOptions,
    ProvStep,
    StepList,
    search_provenance,
)
from hven.plugins.provenance.reader_site import strip_private_name_parts
from hven.site import Site
from hven.testing.face import FaceContract


class TestFace(FaceContract):
    name = "provenance"

    def test_ignored_parameters_are_named(self, tmp_path: Path) -> None:
        """A header names them: PROV has no place for warnings."""
        with self.open_request_sender(tmp_path) as request:
            assert "ELSEWHERE" in request("/prov", {"ID": "table/tiny.stars", "ELSEWHERE": "1"}).headers["hven-warning"]


def read(client: Client, **parameters: object) -> dict[str, Any]:
    answer = client.get("/prov", RESPONSEFORMAT="PROV-JSON", **parameters)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def label_all(document: dict[str, Any]) -> dict[str, str]:
    return {
        record_id: content["prov:label"]
        for kind in ("entity", "activity", "agent")
        for record_id, content in document.get(kind, {}).items()
    }


def list_relations(document: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    labels = label_all(document)
    ends = [list(content.values())[:2] for content in document.get(kind, {}).values()]
    return [(labels[first].partition(", state")[0], labels[second].partition(", state")[0]) for first, second in ends]


def test_row(client: Client) -> None:
    document = read(client, ID="row/stars.main/4", DEPTH="ALL")
    labels = set(label_all(document).values())
    assert {"Row 4 of stars.main", "a3.csv", "Synchronisation of stars", "Ingest of stars", "3 source files"} <= labels
    assert ("Row 4 of stars.main", "a3.csv") in list_relations(document, "wasDerivedFrom")
    assert ("stars.main", "Row 4 of stars.main") in list_relations(document, "hadMember")
    # the sync changed the state of the ingest
    assert ("stars.main", "stars.main") in list_relations(document, "wasDerivedFrom")
    assert any(
        content.get("prov:type", {}).get("$") == "prov:Revision" for content in document["wasDerivedFrom"].values()
    )


def test_depth(client: Client) -> None:
    counts = [len(label_all(read(client, ID="table/stars.bright", DEPTH=depth))) for depth in (0, 1, 2, 3, 10**9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] <= counts[3]
    assert counts[-1] == len(label_all(read(client, ID="table/stars.bright", DEPTH="all")))
    assert {"Query: stars.bright"} <= set(label_all(read(client, ID="table/stars.bright", DEPTH=1)).values())


def test_forward(client: Client) -> None:
    document = read(client, ID="table/stars.main", DIRECTION="FORTH", DEPTH="ALL")
    assert "stars.faint" in label_all(document).values()
    (source,) = [
        name for name in read(client, ID="table/stars.main", DEPTH=2)["entity"] if name.startswith("hv:source")
    ][:1]
    document = read(client, ID=source, DIRECTION="FORTH", DEPTH="ALL")
    assert {"Star list", "stars.bright", "Query: stars.bright"} <= set(label_all(document).values())


def test_whole_site(client: Client) -> None:
    document = read(client)
    labels = set(label_all(document).values())
    assert {
        "Stars & <planets>",
        "Star list",
        "stars.faint",
        "Release R1 of stars",
        "Tycho Brahe",
        "Uraniborg",
    } <= labels
    roles = {content.get("voprov:role") for content in document["wasAttributedTo"].values()}
    assert roles == {"creator", "publisher"}
    assert "'prov:role'" not in str(document["wasAttributedTo"])
    assert "agent" not in read(client, AGENTS=0)


@pytest.mark.parametrize("parameters", [{}, {"ID": "table/stars.shadow"}, {"ID": "collection/stars"}])
def test_private_tables_are_hidden(client: Client, parameters: dict[str, object]) -> None:
    for direction in ("BACK", "FORTH"):
        for name in ("PROV-JSON", "PROV-N", "PROV-SVG", "HTML"):
            answer = client.get(
                "/prov", RESPONSEFORMAT=name, DEPTH="ALL", DIRECTION=direction, DESCRIPTIONS=1, **parameters
            )
            assert answer.status == 200
            assert "secret" not in answer.text
            assert "b.csv" not in answer.text


def test_ids(client: Client, site: Site) -> None:
    snapshot = site.get_published_state().tables_by_name["stars.secret"].relation
    run = site.get_published_state().tables_by_name["stars.secret"].run_id
    hidden = [f"snapshot/{snapshot.id}", f"source/{snapshot.id}", f"file/{snapshot.id}/b.csv", "table/stars.secret"]
    unknown = ["table/stars.nothing", "row/stars.main/9", "row/stars.main/x", "row/stars.main/[1,2]", "job/x", "what/ever",
               "descriptor/stars/0", "software/rm", "person/nobody", "account/x/stars", "run/x", "ivo://a/b?c", "é" * 3000, "row/stars.secret/77"]  # fmt: skip
    for record_id in hidden + unknown:
        answer = client.get("/prov", ID=record_id)
        assert answer.status == 404, record_id
        assert answer.text.count("b.csv") == record_id.count("b.csv")
    assert client.get("/prov", ID="\x00").status == 400, "no text of a query, as in all services"
    assert "secret" not in client.get("/prov", ID=f"run/{run}", DEPTH="ALL").text
    authority = site.settings.find_collection_authority("stars")
    same = [
        label_all(read(client, ID=text))
        for text in ("row/stars.main/4", f"ivo://{authority}/stars?4", "hv:row/stars.main/4")
    ]
    assert same[0] == same[1] == same[2]
    named = [
        label_all(read(client, ID=text))
        for text in ("collection/stars", "stars", "https://x/collections/stars", f"ivo://{authority}/stars")
    ]
    assert all(labels == named[0] for labels in named)
    assert label_all(read(client, ID="stars.main")) == label_all(read(client, ID="https://x/collections/stars/main"))
    # the id of each record is an address
    for record_id in label_all(read(client, DESCRIPTIONS=1)):
        assert client.get(f"/prov?ID={record_id.removeprefix('hv:')}").status == 200, record_id


@pytest.mark.parametrize(
    "parameters",
    [
        {"DEPTH": "-1"},
        {"DEPTH": "deep"},
        {"DIRECTION": "UP"},
        {"MODEL": "EU"},
        {"AGENTS": "2"},
        {"RESPONSEFORMAT": "PROV-PNG"},
        {"RESPONSEFORMAT": "../etc"},
    ],
)
def test_bad_parameters(client: Client, parameters: dict[str, str]) -> None:
    answer = client.get("/prov", **parameters)
    assert answer.status == 400, answer.text
    assert next(iter(parameters)) in answer.text
    many = "&".join(f"ID=stars.{number}" for number in range(101))
    assert client.get(f"/prov?{many}").status == 400


class EndlessSource:
    """Records that are each derived from two others, without end."""

    def find_record(self, record_id: str) -> ProvRecord | None:
        return ProvRecord(id=record_id, kind="entity", label=record_id)

    def list_steps(self, record_id: str, *, is_forward: bool) -> StepList:
        number = int(record_id)
        steps = [
            ProvStep(ProvRelation(kind="wasDerivedFrom", origin=record_id, target=str(next_number)), str(next_number))
            for next_number in (2 * number, 2 * number + 1)
        ]
        return StepList(steps)


def test_endless_graph_is_bounded() -> None:
    graph = search_provenance(EndlessSource(), ["1"], ProvenanceSearchOptions(depth=10**9), "x:")
    assert len(graph.records) == MAX_RECORDS
    assert graph.left_out_count == MAX_RECORDS + 1
    assert len(search_provenance(EndlessSource(), ["1"], ProvenanceSearchOptions(depth=3), "x:").records) == 15


def test_a_million_files(client: Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    state = site.get_published_state()
    table = state.tables_by_name["stars.main"]
    pins = [{"name": f"f{number}.fits"} for number in range(1_000_000)]
    crowded = replace(table, provenance={**table.provenance, "pins": pins})
    crowded_state = replace(state, tables_by_name={**state.tables_by_name, "stars.main": crowded})
    monkeypatch.setattr(site, "get_published_state", lambda: crowded_state)
    answer = client.get("/prov", ID="table/stars.main", DEPTH=2, RESPONSEFORMAT="PROV-JSON")
    assert answer.status == 200
    assert len(answer.body) < 200_000
    assert "1,000,000 source files" in answer.text
    assert int(answer.headers["hven-left-out"]) == 1_000_000 - MAX_MEMBERS
    page = client.get("/prov", ID="table/stars.main", DEPTH=2, RESPONSEFORMAT="HTML")
    assert "999,900 further relations are left out" in page.text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("data/a.csv", "data/a.csv"),
        ("/data/tycho/secret/a.csv", "a.csv"),
        ("https://tycho:pw@x.org/a.csv?token=1", "https://x.org/a.csv"),
        ("postgresql://tycho:pw@db/stars", "a source of the kind postgresql"),
    ],
)
def test_public_names(name: str, shown: str) -> None:
    assert strip_private_name_parts(name) == shown
