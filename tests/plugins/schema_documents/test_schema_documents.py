"""hven new from schemas of Felis: each draft passes the check, and its rows come."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import yaml

from hven import descriptor
from hven.descriptor.api.table_descriptions import TableDescriptionRequest
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import SourceError, UsageError
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.plugins.schema_documents import felis
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.sources import SourceContext
from plugin_needs import create_descriptor, require_plugins

FELIS = """\
# made by hand
name: survey
"@id": "#survey"
description: Objects and where they were seen.
tables:
- name: Seen
  "@id": "#Seen"
  tap:table_index: 2
  description: One row per detection
  primaryKey: "#Seen.id"
  constraints:
  - {name: seenObject, "@type": ForeignKey, "@id": "#FK_of", columns: ["#Seen.object"], referencedColumns: ["#Object.id"]}
  - {name: out, "@type": ForeignKey, "@id": "#FK_out", columns: ["#Seen.visit"], referencedColumns: ["#Visit.id"]}
  - {name: right, "@type": Check, "@id": "#C", expression: flux > 0}
  indexes:
  - {name: i1, "@id": "#i1", columns: ["#Seen.visit"]}
  - {name: i2, "@id": "#i2", columns: ["#Seen.object", "#Seen.mjd"]}
  columns:
  - {name: id, "@id": "#Seen.id", datatype: long, nullable: false, ivoa:ucd: meta.id;src;meta.main, mysql:datatype: BIGINT}
  - {name: object, "@id": "#Seen.object", datatype: long, description: The object}
  - {name: visit, "@id": "#Seen.visit", datatype: int}
  - {name: mjd, "@id": "#Seen.mjd", datatype: double, fits:tunit: d, tap:principal: 0, description: "Time of the\\n  middle"}
  - {name: psfFlux, "@id": "#Seen.psfFlux", datatype: float, ivoa:unit: nJy, ivoa:ucd: phot.flux}
  - {name: shape, "@id": "#Seen.shape", datatype: float, votable:arraysize: "3"}
  - {name: thumb, "@id": "#Seen.thumb", datatype: binary, length: 200}
- name: Object
  "@id": "#Object"
  tap:table_index: 1
  primaryKey: ["#Object.id"]
  columns:
  - {name: id, "@id": "#Object.id", datatype: long, description: Number of the object}
  - {name: ra, "@id": "#Object.ra", datatype: double, ivoa:unit: deg, ivoa:ucd: pos.eq.ra;meta.main}
  - {name: dec, "@id": "#Object.dec", datatype: double, ivoa:unit: deg, ivoa:ucd: pos.eq.dec;meta.main}
  - {name: name, "@id": "#Object.name", datatype: string, length: 20}
"""


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    create_site_directory(tmp_path / "site")
    return load_settings(tmp_path / "site")


def draft_descriptor(settings: Settings, source: Path, **more: object) -> dict:
    """Write a first descriptor, and check it."""
    path = create_descriptor(settings, "x", str(source), **more)
    faults = [str(fault) for fault in descriptor.check_descriptor(path, settings)]
    assert not faults, f"{faults}\n{path.read_text()}"
    return yaml.safe_load(path.read_text())


def rows(settings: Settings, query: str) -> list[dict]:
    with Site(settings) as opened:
        ingest_collection(opened, "x")
        with run_query(query, ANONYMOUS_PRINCIPAL, site=opened) as result:
            return result.read_table().to_pylist()


def test_felis(site, tmp_path):
    (tmp_path / "schema.yaml").write_text(FELIS)
    made = draft_descriptor(site, tmp_path / "schema.yaml")
    assert made["description"] == "Objects and where they were seen."
    assert list(made["tables"]) == ["object", "seen"]  # tap:table_index
    seen, thing = made["tables"]["seen"], made["tables"]["object"]
    assert seen["source"] == {"kind": "sql", "url": "$X_DB", "table": "survey.Seen"}
    assert seen["keys"] == {"seenobject": {"columns": ["object"], "target": "object", "target_columns": ["id"]}}
    assert (seen["primary"], seen["indexes"]) == (["id"], [["object", "mjd"]])
    assert thing["position"] == ["ra", "dec"]
    columns = seen["columns"]
    assert columns["id"] == {"type": "int64", "ucd": "meta.id;src;meta.main", "required": True}
    assert columns["mjd"]["unit"] == "d"
    assert (columns["mjd"]["description"], columns["mjd"]["rank"]) == ("Time of the middle", 15)
    assert columns["psfflux"] == {"type": "float32", "unit": "nJy", "ucd": "phot.flux"}
    assert columns["shape"]["type"] == "float32[3]"
    assert columns["visit"]["indexed"] is True
    assert "thumb" not in columns
    text = (site.collections_directory / "x/x.yaml").read_text()
    assert "visit refers to id of Visit, which is not described here" in text
    assert "thumb is left out, because it is binary" in text


def test_a_felis_schema_leads_to_its_database(site, tmp_path, monkeypatch):
    """The schema of SQLite is called main: the same words lead to its rows."""
    require_plugins("sources", "sql")
    (tmp_path / "schema.yaml").write_text(FELIS.replace("name: survey", "name: main"))
    draft_descriptor(site, tmp_path / "schema.yaml", table="object")
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute("CREATE TABLE Object (id INTEGER, ra REAL, dec REAL, name TEXT)")
        connection.execute("INSERT INTO Object VALUES (7, 279.2, 38.8, 'Vega')")
    connection.close()
    monkeypatch.setenv("X_DB", f"sqlite:///{tmp_path}/a.sqlite")
    found = rows(site, "SELECT id, name FROM x.object WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(279, 39, 1))")
    assert found == [{"id": 7, "name": "Vega"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("datatype: double,", "datatype: quadruple,", "Object.ra: Felis has no datatype 'quadruple'"),
        ("datatype: int}", "datatypes: int}", r"tables\.Seen\.columns\.visit\.datatype: Field required"),
        ("primaryKey: [", "primaryKey: &a [", None),
        ('["#Object.id"]\n  columns:', '&a ["#Object.id"]\n  again: *a\n  columns:', "aliases"),
        ("tap:table_index: 2", "tap:table_index: [2", "not YAML"),
    ],
)
def test_faults_of_felis_are_told(site, tmp_path, old, new, message):
    assert old in FELIS
    (tmp_path / "schema.yaml").write_text(FELIS.replace(old, new))
    if message is None:
        draft_descriptor(site, tmp_path / "schema.yaml")
        return
    with pytest.raises(SourceError, match=message):
        create_descriptor(site, "x", str(tmp_path / "schema.yaml"))
    assert not (site.collections_directory / "x").exists()


REFERENCES = """\
name: products
"@id": "#products"
resources:
  base: {uri: base.yaml}
tables:
- name: Found
  "@id": "#Found"
  primaryKey: "#Found.number"
  columnRefs:
    base:
      Seen:
        number: {ref_name: id, overrides: {description: Number of the detection, tap:principal: 0}}
        psfFlux:
"""


def test_columns_of_other_felis_schemas_are_taken_over(site, tmp_path):
    (tmp_path / "base.yaml").write_text(FELIS)
    (tmp_path / "products.yaml").write_text(REFERENCES)
    request = TableDescriptionRequest(name="x", path=tmp_path / "products.yaml", context=SourceContext())
    (table,) = felis.read_table_set_description(request).tables
    assert table.primary == ["number"]
    number, flux = table.columns
    assert (number.name, number.description, number.ucd) == (
        "number",
        "Number of the detection",
        "meta.id;src;meta.main",
    )
    assert (str(number.type), number.required, number.rank) == ("int64", True, 15)
    assert (flux.name, flux.unit) == ("psfFlux", "nJy")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base.yaml", "../base.yaml", "is not a file beside this schema"),
        ("base.yaml", "/etc/passwd", "is not a file beside this schema"),
        ("base.yaml", "https://example.org/base.yaml", "is not a file beside this schema"),
        ("base.yaml", "products.yaml", "refers back to this schema"),
        ("base: {", "other: {", "'' is not a file beside this schema"),
        ("ref_name: id", "ref_name: nothing", r"base has no column Seen\.nothing"),
        ("      Seen:", "      Nothing:", r"base has no column Nothing\.id"),
    ],
)
def test_felis_schemas_refer_only_to_files_beside_them(site, tmp_path, old, new, message):
    (tmp_path / "base.yaml").write_text(FELIS)
    assert old in REFERENCES
    (tmp_path / "products.yaml").write_text(REFERENCES.replace(old, new))
    with pytest.raises(SourceError, match=message):
        create_descriptor(site, "x", str(tmp_path / "products.yaml"))


def test_descriptions_of_tables_name_columns_by_the_same_rule(tmp_path):
    schema = "name: s\ntables:\n  - name: Order\n    '@id': t\n    columns:\n      - {name: Date, '@id': c, datatype: double}\n      - {name: e_dot, '@id': d, datatype: double}\n"
    settings = Settings(directory=tmp_path)
    (tmp_path / "schema.yaml").write_text(schema)
    text = create_descriptor(settings, "x", str(tmp_path / "schema.yaml")).read_text()
    tables = yaml.safe_load(text)["tables"]
    assert list(tables) == ["order_table"]
    assert tables["order_table"]["columns"]["date_value"]["label"] == "Date"


def test_one_table_of_a_description(site, tmp_path):
    (tmp_path / "schema.yaml").write_text(FELIS)
    with pytest.raises(UsageError, match="does not describe a table named Objekt") as caught:
        create_descriptor(site, "x", str(tmp_path / "schema.yaml"), table="Objekt")
    assert "Object" in caught.value.remedy
    assert list(draft_descriptor(site, tmp_path / "schema.yaml", table="OB*")["tables"]) == ["object"]
