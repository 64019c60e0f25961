"""What vollt and Daiquiri say in their own way is understood: their documents are before the TAP service of another site."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from lxml import etree
from old_services import MAXREC, STAR_COUNT, add_settings, build_new_site, build_old_site, read_settings_lines

from faulty_proxy import Answer, FaultyProxy, run_proxy
from hven.plugins.service_migration.service_survey import build_migration_directory
from hven.plugins.service_migration.tap_survey import choose_longer_text, split_table_name
from hven.plugins.service_migration.vosi_documents import list_examples
from process_runner import Server, run_hven, serve_site

# as TAPMetadata.write and Examples of vollt 2 write them
VOLLT_TABLES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:vod="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.ivoa.net/xml/VODataService/v1.1
 http://www.ivoa.net/xml/VODataService/v1.1 http://www.ivoa.net/xml/VOSITables/v1.0
 http://vo.ari.uni-heidelberg.de/docs/schemata/VOSITables-v1.0.xsd">
\t<schema><name>survey</name>
\t\t<table type="table"><name>{table}</name><title>Stars of vollt</title>{columns}</table>
\t</schema>
</vosi:tableset>"""
VOLLT_EXAMPLES = """<html xmlns="http://www.w3.org/1999/xhtml"><body>
<div vocab="ivo://ivoa.net/std/DALI-examples"><div id="E1" resource="#E1" typeof="example">
 <h3 property="name">Bright stars</h3><p property="capability">ivo://ivoa.net/std/TAP/v1.0</p>
 <div property="generic-parameter" typeof="keyval"><span property="key">QUERY</span>
  <pre property="value">SELECT star -- the name
FROM {table} WHERE vmag &lt; 2</pre></div>
 <div property="generic-parameter" typeof="keyval"><span property="key">LANG</span><span property="value">ADQL</span></div>
</div></div></body></html>"""
COLUMN_NAMES = ("star", "ra", "dec", "vmag", "kind", "n", "access_url")
LONG_TEXT = "Magnitudes in the band V of Johnson, " + "measured again and again, " * 20 + "at last."
ORCID = "0000-0002-1825-0097"


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("old")
    build_old_site(directory)
    with serve_site(directory) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return build_new_site(tmp_path / "new")


@pytest.fixture
def proxy(old_server: Server) -> Iterator[FaultyProxy]:
    with run_proxy(old_server.port) as between:
        yield between


def write_votable(*rows: dict[str, str]) -> Answer:
    """Write rows of texts as a VOTable."""
    fields = "".join(f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in rows[0])
    cells = "".join("<TR>" + "".join(f"<TD>{text}</TD>" for text in row.values()) + "</TR>" for row in rows)
    text = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>'
        "</RESOURCE></VOTABLE>"
    )
    return Answer(200, {"Content-Type": "application/x-votable+xml"}, text.encode())


def answer_paths(proxy: FaultyProxy, documents: dict[str, Callable[[dict[str, str]], tuple[int, str]]]) -> None:
    """Let the service answer some paths with documents, whose functions get the parameters."""

    def change(answer: Answer) -> Answer:
        parts = urlsplit(proxy.requests[-1][1])
        write = documents.get(parts.path)
        if write is None:
            return answer
        status, text = write({key: values[0] for key, values in parse_qs(parts.query).items()})
        media = "application/json" if text.startswith(("[", "{")) else "application/xml"
        return Answer(status, {"Content-Type": media}, text.encode())

    proxy.default_change = change


def test_vollt_moves_with_its_examples(proxy: FaultyProxy, site: Path) -> None:
    columns = "".join(f"<column><name>{name}</name></column>" for name in COLUMN_NAMES)
    documents = {
        "/tap/tables": lambda _: (200, VOLLT_TABLES.format(table="stars", columns=columns)),
        "/tap/examples": lambda _: (200, VOLLT_EXAMPLES.format(table="survey.stars")),
        "/oai": lambda _: (404, "<none/>"),
        "/oai.xml": lambda _: (404, "<none/>"),
    }
    answer_paths(proxy, documents)
    run_hven("--site", site, "migrate", proxy.url)
    directory = build_migration_directory(site, proxy.url)
    report = " ".join((directory / "report.txt").read_text().split())
    assert "(vollt)" in report
    assert "but TAP_SCHEMA does not" not in report, "VOSI names the table without its schema"
    assert "different columns" not in report
    descriptor = yaml.safe_load((site / "collections/survey/survey.yaml").read_text())
    assert descriptor["tables"]["stars"]["title"] == "Stars of vollt"
    (example,) = descriptor["examples"]
    assert example["title"] == "Bright stars"
    assert example["query"].split("\n")[0] == "SELECT star -- the name", "a comment ends with its line"
    run_hven("--site", site, "ingest", "survey")
    with serve_site(site) as new_server:
        words = ["--prove", new_server.url, "--queries", 30, "--rate", 100]
        assert "0 with different answers" in run_hven("--site", site, "migrate", proxy.url, *words).stdout


def test_tables_without_a_schema_belong_to_that_of_vosi(proxy: FaultyProxy, site: Path) -> None:
    """vollt writes names into TAP_SCHEMA as its administrator did, perhaps without the schema."""
    columns = "".join(f"<column><name>{name}</name></column>" for name in COLUMN_NAMES)

    def change(answer: Answer) -> Answer:
        _, path, form = proxy.requests[-1]
        if path.startswith("/tap/tables"):
            text = VOLLT_TABLES.format(table="stars", columns=columns)
            return Answer(200, {"Content-Type": "application/xml"}, text.encode())
        query = form.get("QUERY", "")
        if "FROM TAP_SCHEMA.tables" in query:
            return write_votable({"table_name": "stars", "description": "", "utype": ""})
        if "FROM TAP_SCHEMA.columns" in query:
            texts = dict.fromkeys(("description", "unit", "ucd", "utype", "arraysize", "xtype"), "")
            flags = dict.fromkeys(("principal", "indexed", "std"), "1")
            return write_votable(
                *(
                    {"table_name": "stars", "column_name": name, "datatype": "char", **texts, **flags}
                    for name in COLUMN_NAMES
                )
            )
        return answer

    proxy.default_change = change
    run_hven("--site", site, "migrate", proxy.url)
    assert [path.name for path in (site / "collections").glob("*/*.yaml")] == ["survey.yaml"]
    survey = json.loads((build_migration_directory(site, proxy.url) / "survey.json").read_text())
    table = survey["tables"]["stars"]
    assert (table["schema"], table["local_name"], table["name"]) == ("survey", "stars", "stars")
    assert "queries may name the table without its schema: Hven needs survey.stars" in table["problems"]


def write_record(identifier: str, metadata: str) -> str:
    return (
        f"<oai:record><oai:header><oai:identifier>{identifier}</oai:identifier>"
        f"<oai:datestamp>2024-01-01T00:00:00Z</oai:datestamp></oai:header>"
        f"<oai:metadata>{metadata}</oai:metadata></oai:record>"
    )


def write_datacite(doi: str, title: str) -> str:
    return (
        '<oai_datacite xmlns="http://schema.datacite.org/oai/oai-1.0/"><payload>'
        f'<resource xmlns="http://datacite.org/schema/kernel-4"><identifier identifierType="DOI">{doi}</identifier>'
        '<creators><creator><creatorName>Brahe, Tycho</creatorName><nameIdentifier schemeURI="http://orcid.org/" '
        f'nameIdentifierScheme="ORCID">{ORCID}</nameIdentifier><affiliation>Uraniborg</affiliation></creator></creators>'
        f'<titles><title xml:lang="en">{title}</title></titles><publisher>Hven Press</publisher>'
        '<rightsList><rights rightsURI="https://creativecommons.org/licenses/by-sa/4.0/" '
        'rightsIdentifier="CC-BY-SA-4.0">CC BY-SA</rights></rightsList><descriptions><description '
        'descriptionType="Abstract">All stars.</description></descriptions></resource></payload></oai_datacite>'
    )


def write_cone_record(url: str) -> str:
    return (
        '<ri:Resource xmlns:ri="http://www.ivoa.net/xml/RegistryInterface/v1.0" xmlns:vs='
        '"http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:type="vs:CatalogService" status="active" created="2020-01-01T00:00:00Z"><title>Cone search</title>'
        "<identifier>ivo://old.example.org/conesearch</identifier>"
        '<capability standardID="ivo://ivoa.net/std/ConeSearch"><interface><accessURL use="base">'
        f"{url}/conesearch/api/survey.stars/</accessURL></interface></capability></ri:Resource>"
    )


def write_oai(url: str, params: dict[str, str]) -> tuple[int, str]:
    """Write what Daiquiri's repository answers; its errors have no namespace."""
    inner = "<error code='noRecordsMatch'>No items found</error>"
    if params["verb"] == "Identify":
        inner = (
            "<oai:Identify><oai:protocolVersion>2.0</oai:protocolVersion><oai:deletedRecord>transient"
            "</oai:deletedRecord><oai:granularity>YYYY-MM-DDThh:mm:ssZ</oai:granularity></oai:Identify>"
        )
    elif params.get("metadataPrefix") == "oai_datacite":
        records = write_record("oai:old.example.org:schemas/survey", write_datacite("10.5072/survey", "The survey"))
        records += write_record("oai:old.example.org:tables/survey.stars", write_datacite("tables/1", "Its stars"))
        inner = f"<oai:ListRecords>{records}</oai:ListRecords>"
    elif params.get("metadataPrefix") == "ivo_vor":
        record = write_record("ivo://old.example.org/conesearch", write_cone_record(url))
        inner = f"<oai:ListRecords>{record}</oai:ListRecords>"
    return 200, (
        '<oai:OAI-PMH xmlns:oai="http://www.openarchives.org/OAI/2.0/"><oai:responseDate>2026-01-01T00:00:00Z'
        f"</oai:responseDate>{inner}</oai:OAI-PMH>"
    )


def test_daiquiri_moves_with_titles_licences_and_pages(proxy: FaultyProxy, site: Path) -> None:
    base = f"http://127.0.0.1:{proxy.port}"
    columns = [{"name": "vmag", "description": LONG_TEXT}, {"name": "star", "description": ""}]
    schemas = [
        {
            "name": "survey",
            "query_strings": ["survey"],
            "tables": [{"name": "stars", "description": "Stars, whole.", "columns": columns}],
        }
    ]
    cut_text = LONG_TEXT[:255]
    documents = {
        "/metadata/api/schemas/user/": lambda _: (200, json.dumps(schemas)),
        "/oai/": lambda params: write_oai(base, params),
        "/oai": lambda params: write_oai(base, params),
        "/oai.xml": lambda _: (404, "<none/>"),
    }
    answer_paths(proxy, documents)
    inner_change = proxy.default_change

    def change(answer: Answer) -> Answer | None:
        assert inner_change is not None
        changed = inner_change(answer)
        assert changed is not None
        return Answer(changed.status, changed.headers, changed.body.replace(b"Magnitude<", f"{cut_text}<".encode()))

    proxy.default_change = change
    run_hven("--site", site, "migrate", proxy.url)
    directory = build_migration_directory(site, proxy.url)
    descriptor = yaml.safe_load((site / "collections/survey/survey.yaml").read_text())
    assert descriptor["title"] == "The survey"
    assert descriptor["licence"] == "CC-BY-SA-4.0"
    assert descriptor["doi"] == "10.5072/survey"
    assert descriptor["creators"] == [{"name": "Brahe, Tycho", "affiliation": "Uraniborg", "orcid": ORCID}]
    table = descriptor["tables"]["stars"]
    assert table["title"] == "Its stars"
    assert table["columns"]["vmag"]["description"] == LONG_TEXT
    report = " ".join((directory / "report.txt").read_text().split())
    assert "(Daiquiri)" in report
    assert "ivo://old.example.org/conesearch is the record of 1 cone searches" in report
    lines = read_settings_lines(directory / "report.txt")
    aliases = {item["path"]: item["to"] for item in tomllib.loads(lines)["alias"]}
    assert aliases["/metadata/survey"] == "/collections/survey"
    assert aliases["/metadata/survey/stars"] == "/collections/survey/stars"
    assert aliases["/conesearch/api/survey.stars/"] == "/cone/survey.stars"
    run_hven("--site", site, "ingest", "survey")
    add_settings(site, lines)
    with serve_site(site) as new_server:
        assert new_server.rows("SELECT COUNT(*) AS n FROM survey.stars") == [[STAR_COUNT]], f"more than {MAXREC} rows"
        for path in ("/metadata/survey/stars/", "/metadata/survey/", "/conesearch/api/survey.stars/?RA=1&DEC=1&SR=1"):
            assert new_server.get(path)[0] == 200, path


def test_a_service_with_other_json_is_no_daiquiri(proxy: FaultyProxy, site: Path) -> None:
    for text in ("[]", '{"x": 1}', '[{"name": "survey"}]', '[{"query_strings": 7}]', "[" * 3000):
        answer_paths(proxy, {"/metadata/api/schemas/user/": lambda _, text=text: (200, text)})
        run_hven("--site", site, "migrate", proxy.url)
        report = (build_migration_directory(site, proxy.url) / "report.txt").read_text()
        assert "(TAP)" in report


def test_a_repository_of_daiquiri_without_records(proxy: FaultyProxy, site: Path) -> None:
    schemas = [{"name": "survey", "query_strings": ["survey"], "tables": [7, {"name": "stars", "columns": [None]}]}]
    documents = {
        "/metadata/api/schemas/user/": lambda _: (200, json.dumps(schemas)),
        "/oai/": lambda params: write_oai("", {**params, "metadataPrefix": ""}),
    }
    answer_paths(proxy, documents)
    run_hven("--site", site, "migrate", proxy.url)
    report = (build_migration_directory(site, proxy.url) / "report.txt").read_text()
    assert "(Daiquiri)" in report
    assert "were not read" not in report


def test_cut_texts_are_replaced_and_others_stay() -> None:
    assert choose_longer_text(LONG_TEXT[:255], LONG_TEXT) == LONG_TEXT
    assert choose_longer_text("The stars.", "The stars of the north.") == "The stars of the north."
    assert choose_longer_text("", "Stars") == "Stars"
    assert choose_longer_text("Stars", "") == "Stars"
    assert choose_longer_text("Stars", "Planets, all of them") == "Stars"


def test_names_of_tables_are_split() -> None:
    assert split_table_name("survey.stars") == ["survey", "stars"]
    assert split_table_name('"II/246/out"') == ["II/246/out"]
    assert split_table_name('vizls."J/A+A/1.2/t"') == ["vizls", "J/A+A/1.2/t"]


def test_examples_in_the_form_of_daiquiri_and_dali() -> None:
    text = VOLLT_EXAMPLES.format(table="t").replace("-- the name", "")
    (example,) = list_examples(etree.fromstring(text))
    assert example == {"title": "Bright stars", "query": "SELECT star FROM t WHERE vmag < 2"}
