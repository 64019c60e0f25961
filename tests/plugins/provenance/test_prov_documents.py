"""Documents of provenance: the package `prov` reads all formats as the same document, and JSON keeps its schemas."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from asgi_client import Client
from lxml import etree

from hven.plugins.provenance.graph_drawing import MAX_SIMILAR_BOXES, draw_graph
from hven.plugins.provenance.prov_records import ACTIVITY, ENTITY, ProvGraph, ProvRecord, ProvRelation

REQUESTS = (
    {},
    {"MODEL": "W3C", "DESCRIPTIONS": 1},
    {"ID": "collection/stars", "DEPTH": "ALL"},
    {"ID": "table/stars.main", "DEPTH": 5, "DESCRIPTIONS": 2},
    {"ID": "table/stars.bright", "DEPTH": "ALL", "MODEL": "W3C"},
    {"ID": "row/stars.main/4", "DEPTH": "ALL"},
    {"ID": "table/stars.main", "DIRECTION": "FORTH", "DEPTH": "ALL"},
    {"ID": "release/stars/R1", "AGENTS": 0},
)


@pytest.mark.parametrize("parameters", REQUESTS)
def test_all_formats_are_one_document(client: Client, parameters: dict[str, object]) -> None:
    prov_model = pytest.importorskip("prov.model")
    documents = {}
    for name, reader in (("PROV-JSON", "json"), ("PROV-JSONLD", "jsonld"), ("PROV-XML", "xml")):
        answer = client.get("/prov", RESPONSEFORMAT=name, **parameters)
        assert answer.status == 200, answer.text
        documents[name] = prov_model.ProvDocument.deserialize(content=answer.text, format=reader)
        again = prov_model.ProvDocument.deserialize(content=documents[name].serialize(format=reader), format=reader)
        assert again == documents[name]
    document = documents["PROV-JSON"]
    assert len(document.unified().records) > 2
    assert documents["PROV-JSONLD"] == document
    assert documents["PROV-XML"] == document
    ids = {str(record.identifier) for record in document.get_records() if record.is_element()}
    for record in document.get_records():
        if record.is_relation():
            ends = [str(value) for name, value in record.formal_attributes if name.localpart != "time" and value]
            assert set(ends) <= ids, record
    written = client.get("/prov", RESPONSEFORMAT="PROV-N", **parameters)
    assert written.headers["content-type"] == "text/provenance-notation; charset=utf-8"
    theirs = [line.split("(")[0].strip() for line in document.get_provn().splitlines() if "(" in line]
    ours = [line.split("(")[0].strip() for line in written.text.splitlines() if "(" in line]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize(("name", "schema"), [("PROV-JSON", "prov-json"), ("PROV-JSONLD", "prov-jsonld")])
def test_schema(client: Client, name: str, schema: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    package = pytest.importorskip("prov.tests")
    text = (Path(package.__file__).parent / f"schemas/{schema}.schema.json").read_text()
    for parameters in REQUESTS:
        answer = client.get("/prov", RESPONSEFORMAT=name, **parameters)
        jsonschema.validate(json.loads(answer.text), json.loads(text))


def test_media_types(client: Client) -> None:
    for media_type in (
        "application/json",
        "application/ld+json",
        "text/provenance-notation",
        "application/provenance+xml",
        "image/svg+xml",
    ):
        answer = client.ask("GET", "/prov", headers={"accept": media_type})
        assert answer.headers["content-type"].partition(";")[0] == media_type
        assert answer.status == 200
        tag = answer.headers["etag"]
        again = client.ask("GET", "/prov", headers={"accept": media_type, "if-none-match": tag})
        assert again.status == 304
    assert client.ask("GET", "/prov", headers={"accept": "image/webp"}).headers["content-type"] == "application/json"


def test_drawing(client: Client) -> None:
    answer = client.get("/prov", RESPONSEFORMAT="PROV-SVG", ID="table/stars.bright", DEPTH="ALL")
    drawing = etree.fromstring(answer.body)
    boxes = drawing.findall("{*}a")
    assert len(boxes) > 4
    left = {}
    for box in boxes:
        shape = box.find("{*}rect")
        if shape is not None:
            left[box.findtext("{*}title")] = float(shape.get("x"))
    (bright,) = [x for title, x in left.items() if title.startswith("stars.bright, state of")]
    (main,) = [x for title, x in left.items() if title.startswith("stars.main, state of")][-1:]
    assert left["stars.bright"] > bright > left["Query: stars.bright"] > main
    addresses = [box.get("href") for box in boxes]
    assert all(re.search(r"/prov\?ID=\w+/", address) for address in addresses)


def test_a_source_of_many_files_is_drawn_with_a_few() -> None:
    files = [ProvRecord(id=f"file/{number}", kind=ENTITY, label=f"{number}.csv") for number in range(50)]
    source = ProvRecord(id="source/1", kind=ENTITY, label="50 source files")
    run = ProvRecord(id="run/1", kind=ACTIVITY, label="Ingest")
    relations = [ProvRelation(kind="used", origin=run.id, target=target) for target in (source.id, "file/49")]
    relations += [ProvRelation(kind="hadMember", origin=source.id, target=file.id) for file in files]
    records = {record.id: record for record in (run, source, *files)}
    graph = ProvGraph(namespace="urn:", records=records, relations=tuple(relations), left_out={})
    titles = re.findall(r"<title>(\d+)\.csv", draw_graph(graph))
    assert len(titles) == MAX_SIMILAR_BOXES + 1
    assert "49" in titles, "another relation leads to it"
    assert f"{50 - MAX_SIMILAR_BOXES - 1} records or relations are not drawn" in draw_graph(graph)


def test_lines_that_pass_records_take_little_height() -> None:
    runs = [ProvRecord(id=f"run/{number}", kind=ACTIVITY, label=f"Run {number}") for number in range(3)]
    relations = [
        ProvRelation(kind="wasInformedBy", origin=later.id, target=earlier.id)
        for earlier, later in itertools.pairwise(runs)
    ]
    relations += [
        ProvRelation(kind="used", origin="run/2", target="run/0", role=f"input {number}") for number in range(20)
    ]
    records = {record.id: record for record in runs}
    graph = ProvGraph(namespace="urn:", records=records, relations=tuple(relations), left_out={})
    drawing = etree.fromstring(draw_graph(graph).encode())
    assert len(drawing.findall(".//{*}path")) >= 22
    assert float(drawing.get("height")) < 300


def test_page(client: Client) -> None:
    headers = {"accept": "text/html,application/xhtml+xml"}
    answer = client.ask("GET", "/prov?ID=table/stars.main&DEPTH=ALL", headers=headers)
    assert answer.status == 200
    page = etree.HTML(answer.text)
    assert len(page.findall(".//svg/a")) > 4
    assert "Star list" in answer.text
    assert [link.text for link in page.findall(".//p/a")][-5:] == [
        "PROV-JSON",
        "PROV-JSONLD",
        "PROV-N",
        "PROV-XML",
        "PROV-SVG",
    ]
    whole = client.ask("GET", "/prov", headers=headers)
    assert "Stars &amp; &lt;planets&gt;" in whole.text
    collection = client.get("/collections/stars")
    assert 'rel="http://www.w3.org/ns/prov#has_provenance"' in collection.headers["link"]
    assert "/prov?ID=collection/stars" in collection.text
    assert "/prov?ID=table/stars.main" in client.get("/collections/stars/main").text
