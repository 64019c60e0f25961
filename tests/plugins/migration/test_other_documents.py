"""hven new from settings of vollt, schemas of Felis, data sets of ERDDAP and SITools2, and mapfiles of MapServer."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
import yaml
from migration_sites import INPUTS, ConvertedSite, convert, convert_document, create_site

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, SourceError, UsageError
from hven.model.settings import Settings
from hven.plugins.drafts.document_drafts import find_document_module
from hven.plugins.migration.document_parts import convert_jdbc_address, find_type
from hven.plugins.migration.vollt_properties import read_properties
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from plugin_needs import require_plugins
from process_runner import run_hven

DOCUMENTS = INPUTS.parent / "documents"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    created = create_site(tmp_path)
    shutil.copytree(DOCUMENTS, created.directory / "documents")
    return created


def convert_text_file(settings: Settings, name: str, file_name: str, text: str) -> ConvertedSite:
    """Convert a document given as text."""
    path = settings.directory / "documents" / file_name
    path.write_text(text, encoding="utf-8")
    return convert(settings, name, path)


# --- addresses and types ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "user", "password", "expected"),
    [
        ("jdbc:postgresql://db:5433/survey", "reader", "s3:/@", "postgresql://reader:s3%3A%2F%40@db:5433/survey"),
        ("jdbc:postgresql:gmantele", "foo", "", "postgresql://foo@localhost/gmantele"),
        ("jdbc:mysql://db/hfc?user=a&password=b&useSSL=false", "", "", "mysql://a:b@db/hfc"),
        ("jdbc:mariadb://db/hfc", "", "", "mariadb://db/hfc"),
        ("jdbc:oracle:thin:@db:1521:x", "a", "b", ""),
        ("", "a", "b", ""),
    ],
)
def test_addresses_of_jdbc(address: str, user: str, password: str, expected: str) -> None:
    assert convert_jdbc_address(address, user, password) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("varchar(64)", "string"),
        ("BIGINT", "int64"),
        ("double precision", "float64"),
        ("timestamp without time zone", "timestamp"),
        ("numeric(8,2)", "float64"),
        ("int2", "int16"),
        ("ushort", "int32"),
        ("uint", "int64"),
        ("", "string"),
    ],
)
def test_types_of_other_programs(word: str, expected: str) -> None:
    assert find_type(word) == expected


def test_properties_of_java(tmp_path: Path) -> None:
    path = tmp_path / "a.properties"
    path.write_text("# no = 1\n! nor = 2\na = 1\\\n   2\nb: c\\:d = e\n\nc x y\n")
    values = read_properties(path)
    assert {name: (value, place.line) for name, (value, place) in values.items()} == {
        "a": ("12", 3),
        "b": ("c:d = e", 5),
        "c": ("x y", 7),
    }


# --- vollt -----------------------------------------------------------------------------------------------------------


def test_tables_of_vollt_stay_in_their_database(settings: Settings) -> None:
    addresses: dict[str, str] = {}

    def keep_address(collection: str, address: str) -> str:
        addresses[collection] = address
        return "$KEPT"

    site_files = convert_document(
        settings, "survey", settings.directory / "documents/vollt/tap.properties", store_address=keep_address
    )
    assert addresses == {"survey": "postgresql://reader:s3%3Asame@db.example.org:5433/survey"}
    assert site_files.list_errors("survey") == []
    descriptor = site_files.load_descriptor("survey")
    assert list(descriptor["tables"]) == ["stars", "plates"]
    stars = descriptor["tables"]["stars"]
    assert stars["source"] == {"kind": "live", "url": "$KEPT", "table": "survey.stars"}
    assert stars["description"] == "Stars of the survey"
    assert stars["columns"]["flux"] == {"type": "float32[5]"}
    assert stars["columns"]["ra"]["ucd"] == "pos.eq.ra;meta.main"
    assert stars["keys"]["key_1"]["target"] == "survey.plates"
    report = site_files.read_report("survey")
    assert "s3" not in report.replace("is3", "")
    assert "line 17: user-defined functions (brightness, degrees_of)" in report
    assert "line 20: colour is not known" in report
    assert "line 19: tap_factory: Java, which Hven does not run" in report
    assert report.endswith("[limits]\nmaxrec_default = 2000\nmaxrec_hard = 500000\nseconds = 60\nupload = 20000000\n")


def test_limits_of_vollt_change_their_units(settings: Settings) -> None:
    path = settings.directory / "documents/vollt/tap.properties"
    text = path.read_text().replace("max_retention_period = 0", "max_retention_period = 864000")
    limits = "default_execution_duration = 600000\nmax_execution_duration = 1500\ndefault_retention_period = 43200\n"
    path.write_text(f"{text}{limits}upload_max_request_size = 250MB\nhome_page =\nudfs = []\nlog_rotation = D 0 0\n")
    report = convert(settings, "survey", path).read_report("survey")
    assert "seconds = 60\nupload = 250000000\n" in report
    assert "[jobs]\nkeep_days_hard = 10\nseconds = 600\nseconds_hard = 2\nkeep_days = 0.5\n" in report
    assert "upload_max_file_size: upload_max_request_size is set, which vollt prefers" in report
    assert "home_page" not in report
    assert "user-defined" not in report
    assert "log_rotation: Hven has its own log" in report


def test_names_of_tap_schema_and_of_data_sources_of_vollt_are_decisions(settings: Settings) -> None:
    path = settings.directory / "documents/vollt/tap.properties"
    path.write_text(
        "database_access = jndi\ndatasource_jndi_name = java:/comp/env/jdbc/tapdb\nmetadata = db\n"
        "TAP_SCHEMA = TAP_SCHEMA2\nTAP_SCHEMA.columns.column_name = name\n"
    )
    report = convert(settings, "survey", path).read_report("survey")
    assert "datasource_jndi_name = java:/comp/env/jdbc/tapdb: its address is in META-INF/context.xml" in report
    assert "TAP_SCHEMA = TAP_SCHEMA2: the database calls it so" in report
    assert "TAP_SCHEMA.columns.column_name = name: the database calls it so" in report


def test_columns_of_vollt_that_adql_calls_otherwise_are_mapped(settings: Settings) -> None:
    path = settings.directory / "documents/vollt/tables.xml"
    columns = """<table><name>survey.seen</name><column><name>time</name><dataType arraysize="19"
        extendedType="timestamp">char</dataType></column><column><name>"2mass"</name><dataType>VARCHAR</dataType>
        </column><column><name>pos</name><dataType arraysize="2" extendedType="point">double</dataType></column>
        <foreignKey><targetTable>survey.plates</targetTable><fkColumn><fromColumn>"2mass"</fromColumn>
        <targetColumn>date</targetColumn></fkColumn></foreignKey></table></schema>"""
    path.write_text(columns.join(path.read_text().rsplit("</schema>", 1)))
    properties = path.with_name("tap.properties")
    properties.write_text(properties.read_text().replace("5433/survey", "5433/survey?ssl=true&user=x"))
    site_files = convert(settings, "survey", properties)
    seen = site_files.load_descriptor("survey")["tables"]["seen"]
    assert {name: column["type"] for name, column in seen["columns"].items()} == {
        "time_column": "timestamp",
        "c_2mass": "string",
        "pos": "point",
    }
    assert seen["map"] == {"time_column": '"time"', "c_2mass": '"2mass"'}
    assert "parameters of the address were left out (ssl): add" in site_files.read_report("survey")


def test_each_schema_of_vollt_can_become_a_collection(settings: Settings) -> None:
    path = settings.directory / "documents/vollt/tables.xml"
    schema = "<schema><name>more</name><table><name>t</name><column><name>a</name></column></table></schema>"
    path.write_text(path.read_text().replace("</vosi:tableset>", f"{schema}</vosi:tableset>"))
    site_files = convert(settings, "*", path.with_name("tap.properties"))
    assert [draft.name for draft in site_files.drafts] == ["survey", "more"]


def test_tables_of_two_schemas_of_vollt_can_have_one_name(settings: Settings) -> None:
    path = settings.directory / "documents/vollt/tables.xml"
    schema = "<schema><name>more</name><table><name>STARS</name><column><name>a</name></column></table></schema>"
    path.write_text(path.read_text().replace("</vosi:tableset>", f"{schema}</vosi:tableset>"))
    site_files = convert(settings, "archive", path.with_name("tap.properties"))
    tables = site_files.load_descriptor("archive")["tables"]
    assert {name: table["source"]["table"] for name, table in tables.items()} == {
        "stars": "survey.stars",
        "plates": "survey.plates",
        "STARS_2": "more.STARS",
    }
    assert "more.STARS is the table STARS_2, because STARS is there already" in site_files.read_report("archive")


@pytest.mark.parametrize(("collection", "expected"), [("*", ["buoy_1", "buoy_1_2"]), ("sea", ["sea"])])
def test_data_sets_whose_names_are_equal_in_adql_are_all_kept(
    settings: Settings, collection: str, expected: list[str]
) -> None:
    data_sets = "".join(
        f"<dataset type='EDDTableFromParquetFiles' datasetID='{name}'><fileDir>.</fileDir>"
        "<fileNameRegex>a.parquet</fileNameRegex><dataVariable><sourceName>a</sourceName><dataType>int</dataType>"
        "</dataVariable></dataset>"
        for name in ("buoy-1", "buoy 1")
    )
    text = f"<erddapDatasets>{data_sets}</erddapDatasets>"
    site_files = convert_text_file(settings, collection, "datasets.xml", text)
    assert [draft.name for draft in site_files.drafts] == expected
    if collection != "*":
        assert list(site_files.load_descriptor("sea")["tables"]) == ["buoy_1", "buoy_1_2"]
        assert "is the table buoy_1_2, because buoy_1 is there already" in site_files.read_report("sea")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("metadata = db", "line 1: the tables are described in TAP_SCHEMA of the database only"),
        ("metadata_file = none.xml", "metadata_file none.xml: none.xml cannot be read: No such file"),
        ("metadata_file = ../../../secrets.xml", "line 2: metadata_file ../../../secrets.xml is outside the folder"),
    ],
)
def test_vollt_without_its_tables(settings: Settings, line: str, message: str) -> None:
    text = f"jdbc_url = jdbc:oracle:thin:scott/tiger@db\n{line}\n".replace("metadata = db\n", "")
    site_files = convert_text_file(settings, "lost", "lost.properties", text)
    report = site_files.read_report("lost")
    assert message in report
    assert "put its address into the secret LOST_DB" in report
    assert "tiger" not in report
    assert "nothing can be published yet" in report


# --- Felis -----------------------------------------------------------------------------------------------------------


def test_schemas_of_felis(settings: Settings) -> None:
    site_files = convert(settings, "survey", settings.directory / "documents/felis/survey.yaml")
    assert site_files.list_errors("survey") == []
    star = site_files.load_descriptor("survey")["tables"]["Star"]
    assert star["primary"] == "starId"
    assert star["index"] == 3
    assert star["columns"]["starId"] == {
        "type": "int64",
        "ucd": "meta.id;meta.main",
        "rank": 5,
        "required": True,
    }
    assert star["columns"]["ra"]["indexed"] is True
    assert star["columns"]["colours"]["type"] == "float32[5]"
    assert star["keys"] == {"star_visit": {"columns": ["visit"], "target": "Visit", "target_columns": ["visitId"]}}
    report = site_files.read_report("survey")
    assert "line 43: a constraint Check (visit > 0): write it as `rules`" in report
    assert "line 35: the type 'binary' has no counterpart: string" in report
    assert "line 30: oracle:storage of columns has no counterpart" in report


def test_schemas_of_felis_take_columns_from_others(settings: Settings) -> None:
    folder = settings.directory / "documents/felis"
    text = """\
name: products
tables:
- name: Detection
  columnRefs: {base: {Star: {number: {ref_name: starId, overrides: {description: Number of the star}}, ra: }}}
resources: {base: {uri: survey.yaml}}
"""
    site_files = convert_text_file(settings, "products", "felis/products.yaml", text)
    assert folder.joinpath("survey.yaml").is_file()
    columns = site_files.load_descriptor("products")["tables"]["Detection"]["columns"]
    assert columns["number"]["description"] == "Number of the star"
    assert columns["ra"] == {
        "type": "float64",
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
        "description": "Right ascension",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables:\n- columns:\n  - datatype: int\n  - {", "not YAML"),
        ("tables: &a\n- datatype: int\nmore: *a\n", "aliases"),
        ("tables:\n  datatype: !!python/object/apply:os.system ['touch /tmp/ran']\n", "not YAML"),
        (f"tables:\n- datatype: {'[' * 3000}\n", "not YAML"),
        ("- name: a\n  datatype: int\n\ntables:\n", "not YAML"),
    ],
)
def test_bad_yaml(settings: Settings, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        convert_text_file(settings, "bad", "bad.yaml", text)


def test_descriptors_of_hven_are_no_schemas_of_felis(settings: Settings) -> None:
    path = settings.directory / "documents/own.yaml"
    path.write_text("collection: a\ntables:\n  main:\n    columns: {a: {datatype: int}}\n")
    assert find_document_module(path) is None


def test_columns_of_felis_that_adql_calls_otherwise_are_mapped(settings: Settings) -> None:
    path = settings.directory / "documents/felis/survey.yaml"
    path.write_text(path.read_text().replace("name: start", "name: time").replace("#Visit.start", "#Visit.time"))
    tables = convert(settings, "survey", path).load_descriptor("survey")["tables"]
    assert tables["Visit"]["map"] == {"time_column": '"time"'}
    assert "map" not in tables["Star"]


# --- ERDDAP ----------------------------------------------------------------------------------------------------------


def test_a_data_set_of_erddap_from_end_to_end(settings: Settings) -> None:
    site_files = convert(settings, "buoy", settings.directory / "documents/erddap/datasets.xml")
    assert site_files.list_errors("buoy") == []
    descriptor = site_files.load_descriptor("buoy")
    assert list(descriptor["tables"]) == ["buoy"]
    assert descriptor["subjects"] == ["sea", "temperature"]
    assert descriptor["reference_url"] == "https://buoy.example.org"
    assert "For teaching only" in descriptor["acknowledgement"]
    with Site(settings) as site:
        ingest_collection(site, "buoy")
        result = run_query("SELECT * FROM buoy.buoy ORDER BY time_column", site=site, principal=ANONYMOUS_PRINCIPAL)
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert [str(row["time_column"])[:19] for row in rows] == ["2004-01-01 00:00:00", "2004-01-01 01:00:00"]
    assert rows[0]["temperature"] == pytest.approx(280.65)
    assert rows[1]["temperature"] is None
    assert {row["latitude"] for row in rows} == {54.5}


def test_all_data_sets_of_erddap_in_one_collection(settings: Settings) -> None:
    site_files = convert(settings, "sea", settings.directory / "documents/erddap/datasets.xml")
    tables = site_files.load_descriptor("sea")["tables"]
    assert list(tables) == ["buoy", "ships"]
    assert tables["ships"]["access"] == "private"
    assert tables["ships"]["source"] == {"kind": "sql", "url": "$SEA_DB", "table": "public.ships"}
    report = site_files.read_report("sea")
    assert "sesame" not in report
    assert "line 31: ships is accessible to crew: it is private; grant access" in report
    assert "line 40: waves (EDDGridFromNcFiles): a grid is not a table" in report
    assert "hven new NAME --from https://sos.example.org" in report
    assert "requestBlacklist: a setting of the whole server" in report


def test_packed_values_of_erddap_are_unpacked(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    packing = '<att name="scale_factor" type="float">0.01</att><att name="add_offset">-5</att>'
    text = path.read_text().replace("<dataType>float", "<dataType>short")
    path.write_text(text.replace('<att name="long_name">', f'{packing}<att name="long_name">'))
    (path.parent / "buoy/buoy_2004.csv").write_text("t,temp\n1072915200,1234\n1072918800,-99\n")
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    assert "temp is multiplied by 0.01, and -5 is added" in site_files.read_report("buoy")
    with Site(settings) as site:
        ingest_collection(site, "buoy")
        result = run_query("SELECT temperature FROM buoy.buoy", site=site, principal=ANONYMOUS_PRINCIPAL)
        values = [row["temperature"] for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert sorted(values, key=lambda value: value is None) == [pytest.approx(12.34 - 5 + 273.15), None]


def test_packing_of_erddap_that_is_no_number_is_a_decision(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    packing = '<att name="scale_factor">x</att><att name="long_name">'
    path.write_text(path.read_text().replace('<att name="long_name">', packing))
    site_files = convert(settings, "buoy", path)
    assert "temp has scale_factor x and add_offset 0: write them as `map`" in site_files.read_report("buoy")


def _list_rows(settings: Settings, collection: str) -> list[dict[str, object]]:
    with Site(settings) as site:
        ingest_collection(site, collection)
        result = run_query(f"SELECT * FROM {collection}.{collection}", site=site, principal=ANONYMOUS_PRINCIPAL)
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    return rows


@pytest.mark.parametrize(
    ("units", "number", "expected"),
    [
        ("seconds since 1970-01-01T00:00:00Z", 60, "1970-01-01 00:01:00"),
        ("seconds since 1970-01-01T12:00:00Z", 60, "1970-01-01 12:01:00"),
        ("days since 1970-01-15", 1.5, "1970-01-16 12:00:00"),
        ("day since 1950-1-1 00:00", -0.5, "1949-12-31 12:00:00"),
        ("hours since 1899-12-31 01:00:00 +1:00", 24, "1900-01-01 00:00:00"),
        ("minutes since 2000-01-01 00:00:00.0 UTC", 1, "2000-01-01 00:01:00"),
        ("milliseconds since 2000-01-01", 1500, "2000-01-01 00:00:01.500000"),
    ],
)
def test_times_of_erddap_count_from_any_day(settings: Settings, units: str, number: float, expected: str) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    path.write_text(path.read_text().replace("seconds since 1970-01-01T00:00:00Z", units))
    (path.parent / "buoy/buoy_2004.csv").write_text(f"t,temp\n{number},1\n{number},2\n")
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    assert {str(row["time_column"])[: len(expected)] for row in _list_rows(settings, "buoy")} == {expected}


@pytest.mark.parametrize("units", ["months since 1970-01-01", "days since 0001-01-01", "days since 1970-13-01"])
def test_units_of_times_without_a_length_are_a_decision(settings: Settings, units: str) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    path.write_text(path.read_text().replace("seconds since 1970-01-01T00:00:00Z", units))
    site_files = convert(settings, "buoy", path)
    assert f"t has the unit '{units}': write its time as `map`" in site_files.read_report("buoy")


def test_a_record_of_units_in_a_text_file_of_erddap(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    text = path.read_text().replace("</columnNamesRow>", "</columnNamesRow><firstDataRow>3</firstDataRow>")
    text = text.replace("seconds since", "days since").replace(
        '<att name="missing_value" type="float">-99</att>',
        '<att name="missing_value" type="float">-99</att><att name="_FillValue" type="float">-98</att>',
    )
    path.write_text(text.replace("=54.5</sourceName><destinationName>latitude</destinationName><dataType>double", "=54</sourceName><destinationName>latitude</destinationName><dataType>int"))  # fmt: skip
    (path.parent / "buoy/buoy_2004.csv").write_text("t,temp\nd,C\n1,10\n2,-99\n3,-98\n")
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    rows = sorted(_list_rows(settings, "buoy"), key=lambda row: str(row["time_column"]))
    assert [str(row["time_column"])[:10] for row in rows] == ["1970-01-02", "1970-01-03", "1970-01-04"]
    assert [row["temperature"] for row in rows] == [pytest.approx(283.15), None, None]
    assert {row["latitude"] for row in rows} == {54}


def test_missing_values_of_a_database_of_erddap(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    fill_values = '<att name="missing_value">none</att><att name="_FillValue">-1</att>'
    variable = "<sourceName>name</sourceName><dataType>String</dataType>"
    path.write_text(path.read_text().replace(variable, f"{variable}<addAttributes>{fill_values}</addAttributes>"))
    tables = convert(settings, "sea", path).load_descriptor("sea")["tables"]
    assert tables["ships"]["map"] == {"name": """NULLIF(NULLIF("name", 'none'), '-1')"""}


def test_netcdf_files_of_erddap_are_tables_whose_times_are_mjd(settings: Settings) -> None:
    require_plugins("media", "netcdf")
    path = settings.directory / "documents/erddap/datasets.xml"
    path.write_text(path.read_text().replace("EDDTableFromAsciiFiles", "EDDTableFromNcFiles").replace("csv<", "nc<"))
    with h5netcdf.File(path.parent / "buoy/buoy_2004.nc", "w") as file:
        file.dimensions = {"row": 3}
        times = file.create_variable("t", ("row",), float, data=np.array([0.0, 0.5, 1.0]))
        times.attrs["units"] = "days since 2004-01-01"  # files of ERDDAP say their own units
        file.create_variable("temp", ("row",), np.float32, data=np.array([10.0, 20.0, -99.0], np.float32))
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    assert "t is an MJD if the files say its unit" in site_files.read_report("buoy")
    rows = sorted(_list_rows(settings, "buoy"), key=lambda row: str(row["time_column"]))
    assert [str(row["time_column"])[:13] for row in rows] == ["2004-01-01 00", "2004-01-01 12", "2004-01-02 00"]
    assert [row["temperature"] for row in rows] == [pytest.approx(283.15), pytest.approx(293.15), None]


def test_facts_of_files_and_inactive_data_sets_of_erddap_are_reported(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    text = path.read_text().replace("<sourceName>=54.5<", "<sourceName>***fileName,String,(.*),1<")
    path.write_text(text.replace('datasetID="ships"', 'datasetID="ships" active="false"'))
    site_files = convert(settings, "sea", path)
    assert list(site_files.load_descriptor("sea")["tables"]) == ["buoy"]
    assert list(site_files.load_descriptor("sea")["tables"]["buoy"]["columns"]) == ["time_column", "temperature"]
    report = site_files.read_report("sea")
    assert "latitude is ***fileName,String,(.*),1: write facts of files as `text`" in report
    assert "ships is not active" in report


def test_columns_of_erddap_have_ucds_of_their_standard_names_and_units_of_the_vo(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    wind = """<dataVariable><sourceName>wspd</sourceName><dataType>float</dataType><addAttributes>
        <att name="units">m s-1</att><att name="standard_name">wind_speed</att></addAttributes></dataVariable>"""
    path.write_text(path.read_text().replace("<dataVariable>", f"{wind}<dataVariable>", 1))
    (path.parent / "buoy/buoy_2004.csv").write_text("t,temp,wspd\n1,2,3\n")
    columns = convert(settings, "buoy", path).load_descriptor("buoy")["tables"]["buoy"]["columns"]
    assert (columns["wspd"]["unit"], columns["wspd"]["ucd"]) == ("m/s", "phys.veloc")
    assert (columns["latitude"]["unit"], columns["latitude"]["ucd"]) == ("deg", "pos.earth.lat")
    assert columns["time_column"]["ucd"] == "time.epoch"


TEXT_TIME = """<dataVariable><sourceName>when</sourceName><destinationName>seen</destinationName>
    <dataType>String</dataType><addAttributes><att name="units">{units}</att><att name="long_name">null</att>
    <att name="missing_value">null</att></addAttributes></dataVariable><dataVariable><sourceName>=NaN</sourceName>
    <destinationName>depth</destinationName><dataType>float</dataType></dataVariable>"""


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ("dd/MM/yyyy HH:mm", "05/04/2020 03:02"),
        ("M/d/yy h:mm a", "4/5/20 3:02 AM"),
        ("yyyyMMddHHmmss", "20200405030200"),
        ("yyyyDDD'T'HH:mm:ss.SSS", "2020096T03:02:00.000"),
        ("dd-MMM-yyyy HH:mm", "05-Apr-2020 03:02"),
        ("yyyy-MM-dd'T'HH:mm:ssZ", "2020-04-05T05:02:00+02:00"),
        ("1970-01-01T00:00:00Z", "2020-04-05T03:02:00Z"),
        ("%d.%m.%Y %H:%M", "05.04.2020 03:02"),
    ],
)
def test_texts_of_erddap_are_times_by_their_format(settings: Settings, units: str, text: str) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    variables = TEXT_TIME.format(units=units)
    path.write_text(path.read_text().replace("<dataVariable>", f"{variables}<dataVariable>", 1))
    (path.parent / "buoy/buoy_2004.csv").write_text(f"t,temp,when\n1,2,{text}\n2,3,\n")
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    columns = site_files.load_descriptor("buoy")["tables"]["buoy"]["columns"]
    assert columns["seen"] == {"type": "timestamp"}  # `null` removes an attribute
    rows = _list_rows(settings, "buoy")
    assert {str(row["seen"])[:19] for row in rows} == {"2020-04-05 03:02:00", "None"}
    assert {row["depth"] for row in rows} == {None}


def test_formats_and_zones_of_erddap_that_are_not_known_are_decisions(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    variables = TEXT_TIME.format(units="yyyy QQQ</att><att name='time_zone'>Europe/Paris")
    path.write_text(path.read_text().replace("<dataVariable>", f"{variables}<dataVariable>", 1))
    report = convert(settings, "buoy", path).read_report("buoy")
    assert "the format of times 'yyyy QQQ' is not known: write it as strptime's" in report
    assert "the times are those of the zone Europe/Paris: convert them to UTC in `map`" in report


def test_attributes_of_erddap_that_are_null_are_removed(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    null = '<att name="creator_name">null</att><att name="license">null</att>'
    path.write_text(path.read_text().replace('<att name="license">For teaching only</att>', null))
    descriptor = convert(settings, "buoy", path).load_descriptor("buoy")
    assert descriptor["creators"] == ["An institute"]
    assert "acknowledgement" not in descriptor


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        (r"met_[0-9]{4}\.csv", "met_*.csv"),
        (r"(?i).*_\d{4}-\d{2}\.(?:nc|cdf)", "*_*-*.*"),
        (r"\w{3,5}_.{8}\.dat(\.gz)?", "*_*.dat*"),
    ],
)
def test_regular_expressions_of_erddap_become_patterns(settings: Settings, expression: str, pattern: str) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    path.write_text(path.read_text().replace(r"buoy_\d{4}\.csv", expression))
    report = convert(settings, "buoy", path).read_report("buoy")
    assert f"fileNameRegex {expression} became the pattern {pattern}\n" in report


def test_columns_of_fixed_width_of_erddap_are_read_by_their_positions(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    text = path.read_text().replace("EDDTableFromAsciiFiles", "EDDTableFromColumnarAsciiFiles")
    positions = '<addAttributes><att name="startColumn" type="int">{}</att><att name="stopColumn">{}</att>'
    before, after = "<addAttributes>", '<att name="units">'
    text = text.replace(f"{before}{after}seconds", f"{positions.format(0, 12)}{after}seconds")
    path.write_text(text.replace(f"{before}\n      {after}degree_C", f"{positions.format(12, 18)}{after}degree_C"))
    (path.parent / "buoy/buoy_2004.csv").write_text(
        f"{'t':12}{'temp':>6}\n{1072915200:12}{7.25:6}\n{1072918800:12}{-99:6}\n"
    )
    site_files = convert(settings, "buoy", path)
    assert site_files.list_errors("buoy") == []
    source = site_files.load_descriptor("buoy")["tables"]["buoy"]["source"]
    assert (source["kind"], source["fields"], source["skip"]) == ("fixed", {"t": "1-12", "temp": "13-18"}, 1)
    rows = sorted(_list_rows(settings, "buoy"), key=lambda row: str(row["time_column"]))
    assert [str(row["time_column"])[:19] for row in rows] == ["2004-01-01 00:00:00", "2004-01-01 01:00:00"]
    assert [row["temperature"] for row in rows] == [pytest.approx(280.4), None]


def test_columns_of_fixed_width_of_erddap_without_positions_are_a_decision(settings: Settings) -> None:
    path = settings.directory / "documents/erddap/datasets.xml"
    path.write_text(path.read_text().replace("EDDTableFromAsciiFiles", "EDDTableFromColumnarAsciiFiles"))
    report = convert(settings, "buoy", path).read_report("buoy")
    assert "temp has no startColumn and stopColumn: write its `fields`" in report


@pytest.mark.parametrize(("word", "expected"), [("ushort", "int32"), ("uint", "int64"), ("ubyte", "int16")])
def test_unsigned_types_hold_all_their_numbers(word: str, expected: str) -> None:
    assert find_type(word) == expected


# --- SITools2 --------------------------------------------------------------------------------------------------------


def test_a_data_set_of_sitools2_from_end_to_end(settings: Settings) -> None:
    addresses: list[str] = []

    def keep_address(_collection: str, address: str) -> str:
        addresses.append(address)
        return "$KEPT"

    site_files = convert_document(
        settings, "spectra", settings.directory / "documents/sitools", store_address=keep_address
    )
    assert addresses == ["postgresql://root:se%2Fsame@db.example.org:5432/obs"]
    descriptor = site_files.load_descriptor("spectra")
    table = descriptor["tables"]["Spectra"]
    assert table["endpoints"] == {"sitools": {"path": "/spectra", "like": "sitools2", "title": "Spectra"}}
    assert "secret" not in table["source"]["query"]  # no client ever got this column
    assert table["columns"]["file"]["ucd"] == "meta.ref.url"
    report = site_files.read_report("spectra")
    assert "line 22: secret was never sent to clients (noClientAccess): left out" in report
    assert "line 24: made is computed by a converter in Java" in report
    with sqlite3.connect(settings.directory / "collections/spectra/obs.sqlite") as database:
        database.execute("CREATE TABLE spectra (number INTEGER, ra REAL, class INTEGER, file TEXT, secret TEXT)")
        database.execute("CREATE TABLE classes (number INTEGER, name TEXT)")
        database.executemany("INSERT INTO classes VALUES (?, ?)", [(1, "A0"), (2, "G2")])
        database.executemany(
            "INSERT INTO spectra VALUES (?, ?, ?, ?, 'x')", [(7, 30.0, 1, "https://a"), (8, 45.0, 2, "https://b")]
        )
    table["source"] = {**table["source"], "file": "obs.sqlite", "query": table["source"]["query"].replace("obs.", "")}
    del table["source"]["url"]
    settings.locate_descriptor("spectra").write_text(yaml.safe_dump(descriptor, sort_keys=False))
    assert site_files.list_errors("spectra") == []
    with Site(settings) as site:
        ingest_collection(site, "spectra")
        result = run_query("SELECT * FROM spectra.Spectra", site=site, principal=ANONYMOUS_PRINCIPAL)
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert rows == [{"number": 7, "hours": 2.0, "class_name": "A0", "file": "https://a"}]


def test_hidden_data_sets_of_sitools2_are_private(settings: Settings) -> None:
    path = settings.directory / "documents/sitools/datasets/int@0.xml"
    path.write_text(path.read_text().replace("<visible>true", "<visible>false"))
    site_files = convert(settings, "spectra", path)
    assert site_files.load_descriptor("spectra")["tables"]["Spectra"]["access"] == "private"
    assert "it is private" in site_files.read_report("spectra")


def test_conditions_of_sitools2_that_are_no_comparisons_are_left_out(settings: Settings) -> None:
    path = settings.directory / "documents/sitools/datasets/int@0.xml"
    path.write_text(path.read_text().replace("> like <", ">; DROP TABLE x; --<"))
    site_files = convert(settings, "spectra", path)
    query = site_files.load_descriptor("spectra")["tables"]["Spectra"]["source"]["query"]
    assert "DROP" not in query
    assert "1 = 0" in query
    assert "1 = 1" not in query
    assert "was left out: no rows meet it until you write it in the query" in site_files.read_report("spectra")


# --- MapServer -------------------------------------------------------------------------------------------------------


def test_layers_of_a_mapfile(settings: Settings) -> None:
    site_files = convert(settings, "mars", settings.directory / "documents/mapserver/mars.map")
    descriptor = site_files.load_descriptor("mars")
    assert descriptor["title"] == "Maps of Mars"
    assert descriptor["layers"] == {
        "albedo": {
            "file": "maps/albedo.tif",
            "title": "Albedo",
            "group": "Surface",
            "frame": "IAU2000:49900",
            "band": 1,
            "nodata": -1.0,
            "range": [0.0, 0.5],
            "colours": ["0 0 0 255", "0.2 0 0 0", "0.5 255 255 255"],
        }
    }
    report = site_files.read_report("mars")
    assert "sesame" not in report
    assert "line 13: the layer places (POSTGIS) is no raster file" in report
    assert "line albedo.layer:10: PROCESSING DITHER has no counterpart" in report
    assert 'path = "/cgi-bin/mapserv"\nto = "/wms/mars"' in report


def test_rasters_and_layers_with_one_name_stay_apart(settings: Settings) -> None:
    layers = "".join(
        f'LAYER NAME "{name}" TYPE RASTER DATA "{file}" END\n'
        for name, file in [("dust", "2001/map.tif"), ("dust", "2002/map.tif"), ("ice", "2001/map.tif")]
    )
    path = settings.directory / "documents/mapserver/years.map"
    path.write_text(f'MAP\nSHAPEPATH "rasters"\n{layers}END\n')
    site_files = convert(settings, "years", path)
    files = {name: layer["file"] for name, layer in site_files.load_descriptor("years")["layers"].items()}
    assert files == {"dust": "maps/map.tif", "dust_2": "maps/2/map.tif", "ice": "maps/map.tif"}
    report = site_files.read_report("years")
    assert "line 4: another layer is also called dust: this one is dust_2" in report
    assert f"{path.parent}/rasters/2002 (it is not there) to collections/years/maps/2" in report


def test_an_extent_without_numbers_is_a_decision(settings: Settings) -> None:
    text = 'MAP\n LAYER\n NAME a\n TYPE RASTER\n DATA "a.png"\n EXTENT %minx% 0 1 1\n END\nEND\n'
    site_files = convert_text_file(settings, "mars", "runtime.map", text)
    assert "EXTENT has no four numbers: write `bounds`" in site_files.read_report("mars")


WORLD_MAP = """MAP
  NAME world
  PROJECTION "init=iau2000:49900" END
  QUERYMAP STATUS ON STYLE HILITE COLOR 255 255 0 END
  SCALEBAR STYLE 0 UNITS kilometers LABEL COLOR 0 0 0 SIZE tiny END END
  OUTPUTFORMAT NAME kml DRIVER "OGR/KML" IMAGEMODE FEATURE END
  SYMBOL NAME circle TYPE ellipse POINTS 1 1 END END
  LAYER
    NAME grid
    TYPE LINE
    CLASS SYMBOL 0 STYLE COLOR 9 9 9 PATTERN 10 5 END SYMBOL circle END END
    GRID LABELFORMAT "DD" END
  END
  LAYER
    NAME points
    TYPE RASTER
    DATA "world.tif"
    OFFSITE 7 7 7
    PROJECTION "proj=longlat" "R=3396190" END
    CLASS EXPRESSION ([pixel] < 100 AND [pixel] >= 50) STYLE COLOR "#0a141eff" END END
    CLASS EXPRESSION (200 <= [pixel]) STYLE COLOR 1 2 3 END END
    CLASS EXPRESSION "300" STYLE COLOR 4 5 6 END END
    CLASS EXPRESSION ([pixel] < 5) STYLE COLOR 7 8 9 END END
    CLASS EXPRESSION ([pixel] eq 400) STYLE COLOR [colour] END END
  END
END
"""


def test_words_of_a_mapfile_that_are_blocks_or_values_by_their_place(settings: Settings) -> None:
    site_files = convert_text_file(settings, "world", "world.map", WORLD_MAP)
    layers = site_files.load_descriptor("world")["layers"]
    assert list(layers) == ["points"]
    assert layers["points"]["nodata"] == 7
    assert layers["points"]["colours"] == ["50 10 20 30", "200 1 2 3", "300 4 5 6"]
    assert "frame" not in layers["points"]  # its own projection is not that of the map
    report = site_files.read_report("world")
    assert "the layer grid (LINE) is no raster file" in report
    assert "the projection of points names no frame of the IAU: write `frame`" in report
    assert "OFFSITE: the value 7 is `nodata`" in report
    assert report.count("a class without a lower end and a colour: write `colours`") == 1
    assert "lines 23, 24: a class" in report


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('MAP\n INCLUDE "bad.map"\nEND', "INCLUDE bad.map includes itself"),
        ('MAP\n INCLUDE "none.map"\nEND', "INCLUDE none.map is not there"),
        ('MAP\n INCLUDE "/etc/passwd"\nEND', "outside the folder"),
        ("MAP\n LAYER\n NAME a\nEND\n", "MAP has no END"),
        ("MAP\n" + "STYLE\n" * 60, "nested too deeply"),
    ],
)
def test_bad_mapfiles(settings: Settings, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        convert_text_file(settings, "bad", "bad.map", text)


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_name", "text"),
    [
        ("datasets.xml", "<erddapDatasets><dataset type='EDD'></erddapDatasets>"),
        ("int@0.xml", "<dataset><columnModel></dataset>"),
        ("datasets.xml", "<!DOCTYPE erddapDatasets [<!ENTITY a 'b'>]><erddapDatasets>&a;</erddapDatasets>"),
    ],
)
def test_documents_that_are_not_well_formed(settings: Settings, file_name: str, text: str) -> None:
    with pytest.raises(SourceError, match=r"not well-formed|document type") as caught:
        convert_text_file(settings, "bad", file_name, text)
    assert caught.value.remedy


def test_empty_documents_are_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="describes no dataset"):
        convert_text_file(settings, "none", "datasets.xml", "<erddapDatasets/>")


def test_existing_files_are_kept(settings: Settings) -> None:
    folder = settings.collections_directory / "survey"
    folder.mkdir()
    (folder / "migration-report.txt").write_text("mine")
    for path in ("vollt/tap.properties", "felis/survey.yaml"):
        with pytest.raises(ConflictError):
            convert(settings, "survey", settings.directory / "documents" / path)
    assert (folder / "migration-report.txt").read_text() == "mine"


def test_the_command_keeps_passwords_in_the_secrets(settings: Settings) -> None:
    directory = settings.directory
    path = directory / "documents/vollt/tap.properties"
    printed = run_hven("new", "survey", "--from", path, "--site", directory).stdout
    assert re.search(
        r"entries understood: \d+, left out: \d+, needing your decision: \d+; read migration-report\.txt\n", printed
    )
    secrets = directory / "secrets.toml"
    assert secrets.read_text() == 'SURVEY_DB = "postgresql://reader:s3%3Asame@db.example.org:5433/survey"\n'
    assert secrets.stat().st_mode & 0o077 == 0
    texts = [file.read_text() for file in (directory / "collections/survey").iterdir()]
    assert not [text for text in texts if "same" in text]


def test_units_are_taken_out_alone(settings: Settings) -> None:
    path = settings.directory / "documents/felis/survey.yaml"
    path.write_text(path.read_text().replace("ivoa:unit: deg", "ivoa:unit: bananas"))
    site_files = convert(settings, "survey", path)
    column = site_files.load_descriptor("survey")["tables"]["Star"]["columns"]["ra"]
    assert column["description"] == "Right ascension"
    assert "unit" not in column
    assert "tables.Star.columns.ra.unit (bananas) was taken out" in site_files.read_report("survey")
