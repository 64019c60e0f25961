"""Old addresses that a descriptor says: what the clients of ObsPortal ask and read, on its own stored answers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import pytest
from asgi_client import Answer, Client
from astropy.io.votable import parse
from request_fuzzer import VALUES

from hven.app._server import create_and_start_application
from hven.descriptor import check_and_read_descriptor, find_package_key_conflicts
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from shared import shared

SPICA = "data/interferometry/obsportal/obsportal-dev-spica.votable.xml"
ASPRO = (
    "exp_id",
    "obs_type",
    "obs_id",
    "obs_program",
    "interferometer_name",
    "interferometer_stations",
    "instrument_name",
    "instrument_mode",
    "target_name",
    "target_ra",
    "target_dec",
    "exp_mjd_start",
    "exp_mjd_end",
    "exp_projected_baselines",
)
OIDB = (
    "exp_id",
    "exp_header_id",
    "exp_date_release",
    "exp_date_updated",
    "exp_mjd_start",
    "exp_mjd_end",
    "target_name",
    "target_ra",
    "target_dec",
    "interferometer_name",
    "interferometer_stations",
    "instrument_name",
    "instrument_mode",
    "instrument_submode",
    "instrument_em_min",
    "instrument_em_max",
    "instrument_em_res_power",
    "obs_program",
    "obs_program_pi_coi",
    "obs_type",
)
NAMESPACE = "{http://www.ivoa.net/xml/VOTable/v1.4}"
LOGS = f"""
collection: obsportal
title: Logs
tables:
  exposures:
    source: {{kind: votable, files: "spica.xml"}}
    follow: true
    primary: exp_id
    position: [target_ra, target_dec]
    columns:
      exp_id: {{type: string, ucd: meta.id;meta.main}}
      obs_id: {{type: string}}
      exp_date_updated: {{type: timestamp}}
    links: [{{semantics: preview, text: "https://x.example/{{target.exp_id}}.png"}}]
    endpoints:
      search:
        path: [/search.votable, /observation/search.votable]
        title: The search of ObsPortal
        description: ASPRO and OiDB ask it
        params:
          ra:
            type: float64
            unit: deg
            minimum: 0
            maximum: 360
            description: right ascension
            where: 1 = CONTAINS(POINT(target_ra, target_dec), CIRCLE(param.ra, param.dec, param.radius))
          dec: {{type: float64, unit: deg, minimum: -90, maximum: 90}}
          radius: {{type: float64, unit: arcsec, in: deg, default: 30}}
          interferometer: {{where: interferometer_name = param.interferometer}}
          instrument: {{where: LOWER(instrument_name) = LOWER(param.instrument)}}
          date_updated_from: {{type: timestamp, where: exp_date_updated >= param.date_updated_from}}
          date_updated_to: {{type: timestamp, where: exp_date_updated < param.date_updated_to}}
          all_fields: {{type: boolean, default: "true", columns: {{"false": [{", ".join(ASPRO)}, exp_seeing]}}}}
        order: [exp_date_updated, exp_id DESC]
        votable: {{namespace: "1.4", serialization: TABLEDATA, type: text/xml, params: {{status: OK, seeing: "{{param.all_fields}} {{param.radius}}", last_mod_date: "{{updated}}", source_date: "{{source_updated}}"}}}}
      table: {{path: /old/table.csv, format: csv, columns: [exp_id AS id, 2 * target_ra AS twice], where: target_dec > 30, rows: 1}}
      page: {{path: "/detail/exposure/{{exp_id}}", like: page}}
"""

NUMBERS = {"target_ra", "target_dec", "exp_mjd_start", "exp_mjd_end", "exp_seeing"}
OTHERS = sorted({*ASPRO, *OIDB, "exp_seeing"} - {"exp_id", "obs_id", "exp_date_updated"})
COLUMNS = "".join(f"\n      {name}: {{type: {'float64' if name in NUMBERS else 'string'}}}" for name in OTHERS)
# the same with all its columns said, so that what names them is looked at
CLOSED = LOGS.replace("    follow: true\n", "").replace("    links:", f"{COLUMNS[1:]}\n    links:")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("logs")
    with open_site_with_uningested_files(directory, LOGS, {"spica.xml": shared(SPICA).read_text()}) as made:
        os.utime(directory / "collections/obsportal/spica.xml", (1_588_334_400, 1_588_334_400))
        assert ingest_collection(made, "obsportal").row_count == 3
    (directory / "hven.toml").write_text('name = "JMMC"\n')
    with Site(load_settings(directory, {})) as site:
        yield Client(create_and_start_application(site))


def oidb(answer: Answer) -> list[dict[str, str]]:
    """Read an answer as OiDB does: fields and cells of its namespace, in step, wherever they stand."""
    root = ET.fromstring(answer.body)
    names = [one.get("name") or "" for one in root.iter(f"{NAMESPACE}FIELD")]
    rows = [row for data in root.iter(f"{NAMESPACE}TABLEDATA") for row in data.findall(f"{NAMESPACE}TR")]
    return [
        dict(zip(names, ("".join(cell.itertext()) for cell in row.findall(f"{NAMESPACE}TD")), strict=True))
        for row in rows
    ]


def test_aspro_posts_a_position_and_reads_columns_by_name(client: Client) -> None:
    asked = {"ra": "1.393996E2", "dec": "27.42218", "radius": "30.0", "all_fields": "false"}
    answer = client.post("/search.votable", **asked)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "text/xml"
    assert answer.comparable_body == client.get("/search.votable", **asked).comparable_body
    root = ET.fromstring(answer.body)
    assert [one.tag for one in root] == [f"{NAMESPACE}RESOURCE"], "its style sheet makes a document of each RESOURCE"
    (row,) = oidb(answer)
    assert [*row] == [*ASPRO, "exp_seeing"]
    assert (row["exp_id"], row["target_name"], row["obs_type"]) == (
        "SPICA.SCIDET:20220114:104042_target_1",
        "hd79929",
        "science",
    )
    assert (float(row["target_ra"]), row["exp_projected_baselines"], row["exp_seeing"]) == (139.3996, "", "")
    constants = {one.get("name"): one.get("value") or "" for one in root.iter(f"{NAMESPACE}PARAM")}
    assert (constants["status"], constants["seeing"]) == ("OK", "False 30.0")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", constants["last_mod_date"])
    assert constants["source_date"] == "2020-05-01 12:00:00+00:00", "when spica.xml was written"


@pytest.mark.parametrize(("radius", "found"), [("0.5", 0), ("4", 1), ("", 1)])
def test_the_radius_has_the_unit_that_is_said(client: Client, radius: str, found: int) -> None:
    assert len(oidb(client.post("/search.votable", ra=139.3996, dec=27.42118, radius=radius))) == found


@pytest.mark.parametrize("zone", ["", "%2B00:00", "+00:00", "Z"])
def test_oidb_queries_by_date_of_update(client: Client, zone: str) -> None:
    span = f"date_updated_from=2021-09-24T17:25:50{zone}&date_updated_to=2022-02-01T00:00:00{zone}"
    rows = oidb(client.ask("GET", "/search.votable", f"interferometer=CHARA&{span}".encode()))
    assert set(OIDB) <= set(rows[0])
    updated = [one["exp_date_updated"] for one in rows]
    assert updated == ["2021-09-24T17:25:54", "2022-01-14T10:40:32"], "the largest is asked from next"
    assert len(oidb(client.ask("GET", "/search.votable", b"instrument=spica"))) == 3
    assert oidb(client.ask("GET", "/search.votable", b"interferometer=VLTI")) == []
    east = b"date_updated_from=2022-01-14T11:40:00%2B01:00"
    assert len(oidb(client.ask("GET", "/search.votable", east))) == 1
    assert len(oidb(client.get("/search.votable", date_updated_from="2022-01-14 10:39"))) == 1
    assert len(oidb(client.get("/search.votable", date_updated_from="2022-01-14"))) == 1


def test_an_old_row_address_redirects_to_its_page(client: Client) -> None:
    name = "SPICA.SCIDET:20220114:104042_target_1"
    answer = client.get(f"/detail/exposure/{name}")
    assert answer.status == 303, answer.text
    assert answer.headers["location"].startswith("http://vo.example/collections/obsportal/exposures?exp_id=")
    assert quote(name, safe="") in answer.headers["location"]
    page = answer.headers["location"].removeprefix("http://vo.example")
    assert "hd79929" in client.ask("GET", page, headers={"accept": "text/html,application/xhtml+xml"}).text
    assert client.get("/detail/exposure/none").status == 404
    assert client.get("/detail/exposure/").status == 404


def test_the_response_format_follows_the_descriptor_or_the_request(client: Client) -> None:
    answer = client.get("/old/table.csv")
    assert answer.text.splitlines() == ["id,twice", "SPICA.2021-09-24T17:25:45.325079_1,118.9269228"]
    assert answer.headers["content-type"].startswith("text/csv")
    assert client.get("/old/table.csv", MAXREC=5).text.count("\n") == 3
    whole = parse(io.BytesIO(client.get("/search.votable", RESPONSEFORMAT="votable").body))
    assert len(whole.get_first_table().array) == 3, "a client that says what it wants gets the standard's namespace"
    assert b"BINARY2" in client.get("/search.votable", RESPONSEFORMAT="votable").body
    own = client.get("/endpoints/obsportal.exposures/search", interferometer="CHARA")
    assert own.comparable_body == client.get("/search.votable", interferometer="CHARA").comparable_body
    assert own.comparable_body == client.get("/observation/search.votable", interferometer="CHARA").comparable_body


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"ra": "10"}, "dec is missing"),
        ({"dec": "10"}, "ra is missing"),
        ({"ra": "400", "dec": "1"}, "400"),
        ({"ra": "x", "dec": "1"}, "RA"),
        ({"date_updated_from": "lately"}, "lately"),
        ({"all_fields": "perhaps"}, "perhaps"),
    ],
)
def test_invalid_requests_are_reported(client: Client, asked: dict[str, str], told: str) -> None:
    answer = client.post("/search.votable", **asked)
    assert answer.status == 400
    assert told in answer.text
    assert "QUERY_STATUS" in answer.text
    assert ET.fromstring(answer.body).tag == "{http://www.ivoa.net/xml/VOTable/v1.4}VOTABLE", "as answers have it"
    assert answer.headers["content-type"].partition(";")[0] == "text/xml"
    standard = client.post("/search.votable", RESPONSEFORMAT="votable", **asked)
    assert ET.fromstring(standard.body).tag == "{http://www.ivoa.net/xml/VOTable/v1.3}VOTABLE"


def test_values_are_values_whatever_stands_in_them(client: Client) -> None:
    assert oidb(client.post("/search.votable", interferometer="' OR 1=1 --")) == []
    assert "not used: NOWHERE" in client.get("/search.votable", nowhere=1, interferometer="x").text.upper().replace(
        "NOT USED", "not used"
    )
    assert client.get("/search.votable/more").status == 404
    assert client.get("/endpoints/obsportal.exposures/none").status == 404
    assert client.ask("DELETE", "/search.votable").status == 405


def test_the_table_page_lists_its_endpoints(client: Client) -> None:
    text = client.ask("GET", "/collections/obsportal", headers={"accept": "text/html,application/xhtml+xml"}).text
    assert "The search of ObsPortal" in text
    assert "radius (float64, arcsec, default 30)" in text
    assert "http://vo.example/search.votable?ra=RA&amp;dec=DEC&amp;radius=30" in text


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("path: [/search.votable,", "path: [search.votable,", "is not a path"),
        ("param.radius", "param.radus", "the endpoint has no parameter 'radus'"),
        ("{param.radius}", "{param.radus}", "votable.params.seeing: the endpoint has no parameter 'radus'"),
        ("exp_date_updated >= param", "exp_date_update >= param", "exp_date_update"),
        ("in: deg", "in: m", "radius.in"),
        ("default: 30", "default: thirty", "'thirty' is not of type float64"),
        ("interferometer_name = param", "target_ra = param", "endpoints.search.params.interferometer.where: "),
        ("2 * target_ra AS", "2 * target_name AS", "endpoints.table.columns: "),
        ("format: csv", "format: cvs", "there is no format 'cvs'"),
        ("{exp_id}", "{expid}", "no column 'expid'"),
        ('"/detail/exposure/{exp_id}"', '["/a/{exp_id}", "/b/{obs_id}"]', "must all end with the same column"),
        ("like: page", "like: page, rows: 3", "only endpoints with like: query"),
        ('namespace: "1.4"', 'namespace: "1.9"', "1.9"),
        ("2 * target_ra AS", "2 * AS", "columns"),
        ("order: [exp_date_updated,", "order: [exp_date_updatd,", "exp_date_updatd"),
        ("path: /old/table.csv", "path: /search.votable", "is also an address of obsportal.exposures (search)"),
    ],
)
def test_faults_of_descriptors_are_told(tmp_path: Path, was: str, becomes: str, told: str) -> None:
    assert was in CLOSED
    with open_site_with_uningested_files(
        tmp_path, CLOSED.replace(was, becomes), {"spica.xml": shared(SPICA).read_text()}
    ) as site:
        resource, faults = check_and_read_descriptor(
            site.settings.collections_directory / "obsportal/obsportal.yaml", site.settings
        )
        faults += find_package_key_conflicts([resource] if resource is not None else [])
    assert told in " ".join(fault.message for fault in faults), faults
    assert all(fault.place.line for fault in faults)


def test_openapi_lists_the_parameters_of_the_endpoints(client: Client) -> None:
    told = json.loads(client.get("/openapi.json").body)
    path = told["paths"]["/search.votable"]
    assert path["get"]["parameters"] == told["paths"]["/endpoints/obsportal.exposures/search"]["get"]["parameters"]
    given = {one["name"]: one for one in path["get"]["parameters"] if "name" in one}
    radius = given["radius"]["schema"]
    assert (radius["type"], radius["x-unit"]) == ("number", "arcsec")
    assert {"ra", "dec", "date_updated_from", "all_fields"} <= {*given}
    assert {"$ref": "#/components/parameters/MAXREC"} in path["get"]["parameters"]
    fields = path["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["properties"]
    assert {*given} <= {*fields}
    names = [one[verb]["operationId"] for one in told["paths"].values() for verb in ("get", "post") if "operationId" in one.get(verb, {})]  # fmt: skip
    assert len(names) == len({*names})


def test_nobody_is_told_of_addresses_of_tables_that_they_may_not_know_of(tmp_path: Path) -> None:
    """The answer is that of a path that nobody has named; so it is where the collection's services leave them out."""
    (tmp_path / "hven.toml").write_text('name = "JMMC"\n')
    for more, status in (("", 200), ("    access: private\n", 404), ("services", 404)):
        text = LOGS.replace("    primary: exp_id\n", f"    primary: exp_id\n{more if more != 'services' else ''}")
        text = text.replace("title: Logs\n", "title: Logs\nservices: [tap]\n") if more == "services" else text
        with open_site_with_uningested_files(tmp_path, text, {"spica.xml": shared(SPICA).read_text()}) as site:
            assert ingest_collection(site, "obsportal").row_count == 3
            site.refresh_published_state()
            client = Client(create_and_start_application(site))
            told = json.loads(client.get("/openapi.json").body)["paths"]
            assert ("/search.votable" in told, "obsportal" in json.dumps(told)) == (status == 200, status == 200)
            found, other = client.get("/search.votable"), client.get("/search.votablf")
            assert found.status == status
            if status == 404:
                assert found.text.replace(found.headers["x-request-id"], "") == other.text.replace(
                    other.headers["x-request-id"], ""
                ).replace("votablf", "votable")
                assert client.get("/endpoints/obsportal.exposures/search").status == 404


def test_no_value_is_a_fault_of_ours(client: Client) -> None:
    names = ("ra", "dec", "radius", "interferometer", "date_updated_from", "all_fields", "MAXREC", "RESPONSEFORMAT")
    words = [value.decode("utf-8", "replace")[:2000] for value in VALUES]

    async def list_server_faults() -> list[str]:
        asked = [
            ("/search.votable", urlencode({"ra": 1, "dec": 2, name: word})) for name in names for word in words
        ] + [(f"/detail/exposure/{word}", "") for word in words]
        return [
            f"{path} {query[:300]}: {answer.status} {answer.text[:300]}"
            for path, query in asked
            if (answer := await client.ask_async("GET", path, query.encode())).status >= 500
        ]

    assert asyncio.run(list_server_faults()) == []
