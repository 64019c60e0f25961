"""Documents are valid by the schemas of the extensions that they name: ssys, projection, scientific, file, datacube.

HVEN_STAC_SCHEMAS names a directory with copies of these schemas. An extension whose copy is missing is a failure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from asgi_client import Client
from granule_rows import build_granule_table, build_granules, build_observation_table, build_observations

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.model.table import Column
from hven.model.types import FLOAT64, STRING, parse_type
from hven.site import Site
from hven.testing.site import publish_rows
from process_runner import run_hven

pytestmark = [pytest.mark.outside, pytest.mark.needs("HVEN_STAC_SCHEMAS")]
jsonschema = pytest.importorskip("jsonschema")
referencing = pytest.importorskip("referencing")
pystac = pytest.importorskip("pystac")
pyproj = pytest.importorskip("pyproj")
EXTENSIONS = {"ssys/v1.1.1", "projection/v2.0.0", "scientific/v1.0.0", "file/v2.1.0", "datacube/v2.3.0"}
DESCRIPTOR = """\
collection: cited
title: Sites of Mars
doi: 10.5072/sites
citation: A. Nonymous (2026), Sites of Mars
licence: CC-BY-4.0
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [access]
    source: {kind: csv, files: sites.csv, types: {lon: float64}}
    set: {granule_gid: g, dataproduct_type: sp, processing_level: 3, target_name: Mars, target_class: planet, access_format: text/csv, access_estsize: 5, c2min: 1.0, c2max: 2.0, spectral_range_min: 1e14, spectral_range_max: 3e14}
    text: {granule_uid: "{id}", obs_id: "{id}", access_url: "https://elsewhere.example/{id}.csv"}
    map: {c1min: lon, c1max: lon}
"""  # fmt: skip
GRID_COLUMNS = {"proj_code": STRING, "proj_shape": parse_type("int64[2]"), "proj_transform": parse_type("float64[6]"), "proj_bbox": parse_type("float64[4]"), "bib_reference": STRING, "spectral_range_min": FLOAT64}  # fmt: skip
GRID = {"proj_code": "IAU_2015:49910", "proj_shape": [20, 30], "proj_transform": [100.0, 0.0, 5.0, 0.0, -100.0, 7.5], "proj_bbox": [0.0, -10.0, 30.0, 10.0], "bib_reference": "2026arXiv..1"}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site whose tables have all that items and collections write for extensions."""
    directory = tmp_path_factory.mktemp("extensions")
    folder = directory / "collections/cited"
    folder.mkdir(parents=True)
    (folder / "cited.yaml").write_text(DESCRIPTOR)
    (folder / "sites.csv").write_text("id,lon\na,10\nb,200\n")
    (directory / "hven.toml").write_text('name = "x"\npublic_url = "https://vo.example"\n')
    mars, sky = build_granule_table("mars"), build_observation_table("sky")
    columns = tuple(Column(name=name, type=column_type) for name, column_type in GRID_COLUMNS.items())
    table = mars.copy_with(columns=(*mars.columns, *columns))
    rows = build_granules(mars).to_pylist()
    for number, row in enumerate(rows[:3]):
        row |= {name: value for name, value in GRID.items() if number or name != "proj_bbox"}
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in table.columns])
    filled_rows = [{name: row.get(name) for name in schema.names} for row in rows]
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "cited")
        publish_rows(site, table, pa.Table.from_pylist(filled_rows, schema))
        publish_rows(site, sky, build_observations(sky))
    return directory


@pytest.fixture(scope="module")
def documents(directory: Path) -> list[dict[str, Any]]:
    """Read the documents of the service, and those of an export."""
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        found = [json.loads(client.get("/stac").body)]
        found += json.loads(client.get("/stac/collections").body)["collections"]
        found += json.loads(client.get("/stac/search", limit=1000).body)["features"]
    catalogue = directory.with_name(f"{directory.name}-catalogue")
    run_hven("--site", directory, "stac", "export", catalogue)
    found += [json.loads(path.read_text()) for path in sorted(catalogue.rglob("*.json"))]
    return found


def read_copy(url: str) -> dict[str, Any]:
    """Read the copy of a schema; those of GeoJSON are in the wheel of pystac, and that of PROJJSON in pyproj's."""
    parts = urlsplit(url)
    names = parts.path.strip("/").split("/")
    if parts.hostname == "geojson.org":
        path = Path(pystac.__file__).parent / "validation/jsonschemas/geojson" / names[-1]
    elif parts.hostname == "proj.org":
        path = Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json"
    else:
        path = Path(os.environ["HVEN_STAC_SCHEMAS"]).joinpath(*names)
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def retrieve(url: str) -> Any:
    return referencing.Resource.from_contents(read_copy(url), referencing.jsonschema.DRAFT7)


def test_documents_are_valid_by_the_schemas_of_their_extensions(documents: list[dict[str, Any]]) -> None:
    registry = referencing.Registry(retrieve=retrieve)
    urls = {url for document in documents for url in document.get("stac_extensions", ())}
    assert {urlsplit(url).path.strip("/").removesuffix("/schema.json") for url in urls} == EXTENSIONS
    validators = {url: jsonschema.Draft7Validator(read_copy(url), registry=registry) for url in urls}
    faults = [
        f"{document['id']} {url}: {error.json_path} {error.message[:300]}"
        for document in documents
        for url in document.get("stac_extensions", ())
        for error in validators[url].iter_errors(document)
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ssys:targets", []), ("ssys:target_class", "world"), ("proj:shape", [1]), ("proj:transform", [1, 2]), ("sci:citation", 3),
    ],
)  # fmt: skip
def test_the_schemas_find_faults(documents: list[dict[str, Any]], name: str, wrong: object) -> None:
    item = next(item for item in documents if item["type"] == "Feature" and name in item["properties"])
    prefix = {"sci": "scientific", "proj": "projection", "ssys": "ssys"}[name.partition(":")[0]]
    url = next(url for url in item["stac_extensions"] if f"/{prefix}/" in url)
    validator = jsonschema.Draft7Validator(read_copy(url), registry=referencing.Registry(retrieve=retrieve))
    assert validator.is_valid(item)
    assert not validator.is_valid({**item, "properties": {**item["properties"], name: wrong}})
