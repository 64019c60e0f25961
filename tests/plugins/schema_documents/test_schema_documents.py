"""hven new from schemas of Felis and of ERDDAP: each draft passes the check, and its rows come."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import h5netcdf
import numpy as np
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
ERDDAP = """\
<?xml version="1.0" encoding="UTF-8"?>
<erddapDatasets>
<requestBlacklist></requestBlacklist>
<dataset type="EDDTableFromAsciiFiles" datasetID="buoys" active="true">
  <fileDir>{data}</fileDir><fileNameRegex>buoy_\\d+\\.csv</fileNameRegex><recursive>false</recursive>
  <charset>ISO-8859-1</charset><columnSeparator>;</columnSeparator><columnNamesRow>1</columnNamesRow><firstDataRow>2</firstDataRow>
  <!-- a comment -->
  <addAttributes>
    <att name="title">Buoys</att><att name="summary">What buoys measure.</att><att name="license">CC-BY-4.0</att>
    <att name="institution">Tide Office</att><att name="creator_name">Laplace, P.-S.</att><att name="keywords">sea, tides</att>
  </addAttributes>
  <dataVariable><sourceName>when</sourceName><destinationName>time</destinationName><dataType>double</dataType>
    <addAttributes><att name="units">seconds since 1970-01-01T00:00:00Z</att><att name="standard_name">time</att></addAttributes></dataVariable>
  <dataVariable><sourceName>lat</sourceName><destinationName>latitude</destinationName><dataType>float</dataType>
    <addAttributes><att name="units">degrees_north</att></addAttributes></dataVariable>
  <dataVariable><sourceName>lon</sourceName><destinationName>longitude</destinationName><dataType>float</dataType>
    <addAttributes><att name="units">degrees_east</att></addAttributes></dataVariable>
  <dataVariable><sourceName>Wind Speed</sourceName><destinationName>wspd</destinationName><dataType>float</dataType>
    <addAttributes><att name="long_name">Wind speed</att><att name="units">m s-1</att><att name="standard_name">wind_speed</att></addAttributes></dataVariable>
  <dataVariable><sourceName>="Brest"</sourceName><destinationName>port</destinationName><dataType>String</dataType></dataVariable>
  <dataVariable><sourceName>***fileName,String,buoy_(.*)\\.csv,1</sourceName><destinationName>buoy</destinationName><dataType>String</dataType></dataVariable>
</dataset>
<dataset type="EDDTableFromDatabase" datasetID="ships" active="true">
  <sourceUrl>jdbc:postgresql://user:sesame@db.example.org:5432/sea?password=sesame</sourceUrl>
  <connectionProperty name="user">reader</connectionProperty><connectionProperty name="password">sesame</connectionProperty>
  <catalogName></catalogName><schemaName>public</schemaName><tableName>ships</tableName>
  <dataVariable><sourceName>id</sourceName><destinationName>ship_id</destinationName><dataType>int</dataType></dataVariable>
</dataset>
<dataset type="EDDGridFromNcFiles" datasetID="sst" active="true"><fileDir>/nowhere/</fileDir></dataset>
<dataset type="EDDTableFromAsciiFiles" datasetID="old" active="false"></dataset>
</erddapDatasets>
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


# --- Felis -----------------------------------------------------------------------------------------------------------


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


# --- ERDDAP ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def buoys(site: Settings) -> Path:
    data = site.collections_directory / "x/data"
    data.mkdir(parents=True)
    for number in (1, 2):
        text = f"when;lat;lon;Wind Speed;remark\n{86400 * number};48.5;-4.5;{number}.5;d\u00e9but\n"
        (data / f"buoy_{number}.csv").write_text(text, encoding="latin-1")
    (data / "notes.txt").write_text("nothing")
    path = site.directory / "datasets.xml"
    path.write_text(ERDDAP.replace("{data}", str(data)))
    return path


def test_erddap(site, buoys):
    made = draft_descriptor(site, buoys)
    text = (site.collections_directory / "x/x.yaml").read_text()
    assert list(made["tables"]) == ["buoys", "ships"]
    assert made["tables"]["ships"]["source"] == {"kind": "sql", "url": "$X_DB", "table": "public.ships"}
    assert "jdbc:postgresql:db.example.org:5432/sea" in text
    assert "sesame" not in text
    assert "sst is left out: Hven does not read data sets of type EDDGridFromNcFiles; a grid is not a table" in text
    assert "old" not in made["tables"]


def test_an_erddap_dataset_is_published(site, buoys):
    made = draft_descriptor(site, buoys, table="buoys")
    assert (made["title"], made["description"], made["licence"]) == ("Buoys", "What buoys measure.", "CC-BY-4.0")
    assert (made["creators"], made["subjects"]) == ([{"name": "Laplace, P.-S."}], ["sea", "tides"])
    table = made["tables"]["buoys"]
    assert table["source"]["files"] == "data/*.csv"
    assert table["columns"]["wspd"] == {"type": "float32", "unit": "m/s", "ucd": "phys.veloc", "description": "Wind speed"}  # fmt: skip
    assert (table["columns"]["latitude"]["unit"], table["columns"]["latitude"]["ucd"]) == ("deg", "pos.earth.lat")
    assert table["columns"]["time_value"]["unit"] == "s"
    assert "since 1970" in table["columns"]["time_value"]["description"]
    assert "buoy is ***fileName" in (site.collections_directory / "x/x.yaml").read_text()
    found = rows(site, "SELECT time_value, wspd, port FROM x.buoys ORDER BY wspd")
    assert [tuple(row.values()) for row in found] == [(86400, 1.5, "Brest"), (172800, 2.5, "Brest")]


def test_erddap_with_nothing_that_can_be_read(site, tmp_path):
    path = tmp_path / "datasets.xml"
    path.write_text(
        ERDDAP.replace("{data}", "/nowhere/at/all").replace("EDDTableFromDatabase", "EDDTableFromCassandra")
    )
    with pytest.raises(
        SourceError,
        match="on this machine, Hven cannot read any of the 3 data sets in the file \\(buoys is left out: its fileDir /nowhere",
    ):
        create_descriptor(site, "x", str(path))
    path.write_text("<erddapDatasets><dataset>")
    with pytest.raises(SourceError, match="not XML"):
        create_descriptor(site, "x", str(path))


def test_an_erddap_dataset_of_netcdf_files_is_published(site, tmp_path):
    """Values of variables over time, by their own fills; times come as MJD, and other kinds of data sets are told what to do."""
    require_plugins("media", "netcdf")
    data = site.collections_directory / "x/data"
    data.mkdir(parents=True)
    with h5netcdf.File(data / "buoy_1.nc", "w") as file:
        file.dimensions = {"row": 3}
        for name, values, said in (
            ("time", [0.0, 86400.0, 172800.0], {"units": "seconds since 1970-01-01T00:00:00Z"}),
            ("Wind Speed", [0.5, 1.5, -99.0], {"units": "m s-1", "_FillValue": -99.0}),
        ):
            file.create_variable(name, ("row",), float, data=np.array(values))
            for key, value in said.items():
                file.variables[name].attrs[key] = value
    text = ERDDAP.replace("{data}", str(data)).replace("AsciiFiles", "NcFiles").replace("csv</fileName", "nc</fileName")
    text = text.replace("<sourceName>when", "<sourceName>time")
    for name in ("lat", "lon"):
        text = re.sub(rf"<dataVariable><sourceName>{name}<.*?</dataVariable>", "", text, flags=re.DOTALL)
    path = tmp_path / "datasets.xml"
    path.write_text(text)
    made = draft_descriptor(site, path, table="buoys")
    assert made["tables"]["buoys"]["source"] == {"kind": "product", "files": "data/buoy_1.nc", "mode": "table"}
    found = rows(site, "SELECT time_value, wspd FROM x.buoys ORDER BY time_value")
    assert [tuple(row.values()) for row in found] == [(40587.0, 0.5), (40588.0, 1.5), (40589.0, None)]
    for kind, words in (
        ("EDDTableFromErddap", "it is on another ERDDAP server"),
        ("EDDGridFromDap", "not a table"),
        ("EDDTableFromSOS", "; run `hven new`"),
    ):
        path.write_text(text.replace("EDDTableFromNcFiles", kind))
        with pytest.raises(SourceError, match=f"buoys is left out: Hven does not read data sets of type {kind}.*{words}"):  # fmt: skip
            create_descriptor(site, "y", str(path), table="buoys")
