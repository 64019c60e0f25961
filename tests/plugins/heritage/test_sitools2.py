"""A table as a data set of SITools2: the requests of pySitools2 and IDLSitools2, as their sources write them."""

from __future__ import annotations

import asyncio
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from asgi_client import Client
from request_fuzzer import VALUES

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.model.types import parse_type
from hven.plugins.heritage.sitools_data_sets import _write_json_cells
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins

SDO = """
collection: sdo
title: Images of the Sun
description: Made up
files: ["data/*.fits"]
tables:
  images:
    source: {kind: csv, files: "rows.csv"}
    primary: recnum
    text: {get: "{site.url}/collections/sdo/files/data/{recnum}.fits"}
    columns:
      get: {type: string, ucd: meta.ref.url, description: Its file}
      recnum: {type: int64, ucd: meta.id;meta.main}
      sunum: int64
      series_name: string
      date__obs: timestamp
      wavelnth: {type: int32, unit: Angstrom}
      ias_location: string
      exptime: {type: float32, unit: s}
      t_rec_index: int64
    endpoints:
      sdo:
        like: sitools2
        path: /webs_IAS_SDO_dataset
        title: IAS SDO dataset
        description: For scripts
        cadence: {mask_cadence: "MOD(t_rec_index, param.seconds / 12) = 0"}
  dem:
    source: {kind: csv, files: "dem.csv"}
    primary: filename
    columns:
      filename: {type: string, ucd: meta.id;meta.main}
      date_obs: timestamp
      temp_fits_rice: {type: string, ucd: meta.ref.url;meta.fits}
      em_fits_rice: {type: string, ucd: meta.ref.url;meta.fits}
      thumbnail: {type: string, ucd: meta.ref.url;meta.preview}
    endpoints:
      dem: {like: sitools2, path: /ws_SDO_DEM, archives: {download_tar_DEM: tar}}
"""
OLD = "/sitools/datastorage/user/dem"
DEM = f"""filename,date_obs,temp_fits_rice,em_fits_rice,thumbnail
a,2012-08-10T00:00:00,{OLD}/1000.fits,{OLD}/1001.fits,{OLD}/1002.fits
b,2012-08-10T01:00:00,{OLD}/1003.fits,,
"""
BEGIN, WAVES = datetime(2012, 8, 10), (304, 335)
NAME = "/webs_IAS_SDO_dataset"
FILTERS = ("DATE_BETWEEN", "NUMERIC_BETWEEN", "LISTBOXMULTIPLE", "TEXTFIELD", "LISTBOX")
COLUMNS = "get, recnum, sunum, series_name, date__obs, wavelnth, ias_location, exptime, t_rec_index"


def line(number: int) -> str:
    """Write a row: each wave every 12 seconds, over an hour from midnight."""
    index, wave = divmod(number, 2)
    when = (BEGIN + timedelta(seconds=12 * index)).isoformat()
    time = "" if number % 7 == 0 else "2.9"
    return f"{1000 + number},{5000 + number // 10},aia.lev1,{when},{WAVES[wave]},SUMS,{time},{index}"


ROWS = "recnum,sunum,series_name,date__obs,wavelnth,ias_location,exptime,t_rec_index\n" + "\n".join(
    map(line, range(600))
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("sdo")
    (directory / "hven.toml").write_text(
        'name = "MEDOC"\npublic_url = "http://vo.example"\n'
        f'[[alias]]\npath = "{OLD}/*"\nto = "/collections/sdo/files/data/*"\n'
    )
    data = directory / "collections/sdo/data"
    data.mkdir(parents=True)
    for number in range(8):
        (data / f"{1000 + number}.fits").write_bytes(b"image %d" % number)
    with open_site_with_uningested_files(directory, SDO, {"rows.csv": ROWS, "dem.csv": DEM}):
        pass
    with Site(load_settings(directory, {})) as site:
        assert ingest_collection(site, "sdo").row_count == 610
        site.refresh_published_state()
        yield Client(create_and_start_application(site))


def fetch_answer(client: Client, path: str, **given: object) -> dict[str, Any]:
    answer = client.get(path, **given)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = json.loads(answer.body)
    assert found["success"] is True
    return found


def python(**more: object) -> dict[str, object]:
    """Give what pySitools2's media_search sends."""
    order = {"ordersList": [{"field": "date__obs", "direction": "ASC"}, {"field": "wavelnth", "direction": "ASC"}]}
    return {
        "media": "json", "limit": 300, "start": 0, "colModel": f'"{COLUMNS}"', "sort": json.dumps(order),
        "p[0]": "DATE_BETWEEN|date__obs|2012-08-10T00:00:00|2012-08-11T00:00:00",
        "p[1]": "CADENCE|mask_cadence|1 min",
        "p[2]": "LISTBOXMULTIPLE|wavelnth|335|304",
    } | more  # fmt: skip


def test_projects_and_data_sets_are_found(client: Client) -> None:
    (project,) = fetch_answer(client, "/sitools/portal/projects")["data"]
    own = fetch_answer(client, project["sitoolsAttachementForUsers"])["project"]
    assert {one["url"] for one in own["dataSets"]} == {NAME, "/ws_SDO_DEM"}
    assert (
        fetch_answer(client, f"{project['sitoolsAttachementForUsers']}/datasets", media="json")["data"]
        == own["dataSets"]
    )
    for key in ("name", "description", "status", "authorized", "htmlDescription", "maintenance", "maintenanceText"):
        assert key in own
    found = fetch_answer(client, NAME, media="json")["dataset"]
    assert (found["name"], found["description"], found["status"], found["url"]) == (
        "IAS SDO dataset", "For scripts", "ACTIVE", NAME,
    )  # fmt: skip
    columns = {one["columnAlias"]: one for one in found["columnModel"]}
    assert [*columns] == [*COLUMNS.split(", "), "mask_cadence"]
    kinds = {name: one["sqlColumnType"] for name, one in columns.items()}
    assert (kinds["recnum"], kinds["exptime"], kinds["date__obs"], kinds["get"]) == (
        "int8",
        "float4",
        "timestamp",
        "text",
    )
    assert [name for name, one in columns.items() if one["primaryKey"]] == ["recnum"]
    assert columns["mask_cadence"]["columnRenderer"]["behavior"] == "noClientAccess"
    assert all(columns[name]["sortable"] and columns[name]["filter"] for name in ("date__obs", "wavelnth"))


def test_requests_of_the_python_client_work(client: Client) -> None:
    """The ends of DATE_BETWEEN are left out, as SITools2 does: one minute of each wave less."""
    assert fetch_answer(client, f"{NAME}/count", **python())["total"] == 118
    page = fetch_answer(client, f"{NAME}/records", **python(limit=100))
    assert (page["total"], page["count"], page["offset"]) == (118, 100, 0)
    rest = fetch_answer(client, f"{NAME}/records", **python(limit=100, start=100, nocount="true"))
    assert "total" not in rest
    rows = [*page["data"], *rest["data"]]
    assert [(one["date__obs"], one["wavelnth"]) for one in rows] == [
        ((BEGIN + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.000"), wave)
        for number in range(1, 60)
        for wave in WAVES
    ]
    assert [*rows[0]] == COLUMNS.split(", ")
    assert all(one["date__obs"].count(".") == 1 and isinstance(one["recnum"], int) for one in rows)
    assert rows[0]["get"] == f"http://vo.example/collections/sdo/files/data/{rows[0]['recnum']}.fits"
    without = [one for one in rows if one["recnum"] % 7 == 1000 % 7]
    assert without
    assert all("exptime" not in one for one in without), "clients make numbers of all that there is"


def test_requests_of_the_idl_client_work(client: Client) -> None:
    """Signs as they are, the cadence with a plus, no order of its own for the parameters."""
    text = (
        'p[2]=CADENCE|mask_cadence|2+min&p[0]=DATE_BETWEEN|date__obs|2012-08-10T00:00:00.000|2012-08-10T00:30:00.000&limit=300&start=0'
        "&p[1]=LISTBOXMULTIPLE|wavelnth|304&p[3]=LISTBOXMULTIPLE|series_name|aia.lev1&media=json"
        '&sort={"ordersList":[{"field":"date__obs","direction":"DESC"}]}&colModel="recnum, date__obs"'
    )  # fmt: skip
    answer = client.ask("GET", f"{NAME}/records", text.encode())
    rows = json.loads(answer.body)["data"]
    assert [one["date__obs"] for one in rows][:2] == ["2012-08-10T00:28:00.000", "2012-08-10T00:26:00.000"]
    assert len(rows) == 14
    assert [*rows[0]] == ["recnum", "date__obs"]
    keywords = 'p[0]=LISTBOXMULTIPLE|recnum|1003|1001&limit=300&start=0&media=json&colModel="exptime"'
    assert len(json.loads(client.ask("GET", f"{NAME}/records", keywords.encode()).body)["data"]) == 2


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 600),
        ({"p[0]": "NUMERIC_BETWEEN|recnum|1010|1019"}, 10),
        ({"p[0]": "TEXTFIELD|series_name|aia*"}, 600),
        ({"p[0]": "TEXTFIELD|series_name|aia"}, 0),
        ({"p[0]": "TEXTFIELD|recnum|1005"}, 1),
        ({"p[0]": "CADENCE|mask_cadence|12 sec"}, 600),
        ({"p[0]": "CADENCE|mask_cadence|1 h"}, 2),
        ({"p[0]": "CADENCE|mask_cadence|1h"}, 2),
        ({"c[0]": "NUMERIC_BETWEEN|ivoa,meta.id;meta.main|1010|1011"}, 2),
        ({"filter[0][columnAlias]": "recnum", "filter[0][data][type]": "numeric", "filter[0][data][value]": "1010", "filter[0][data][comparison]": "LT"}, 10),
        ({"filter[0][columnAlias]": "wavelnth", "filter[0][data][value]": "304|94", "filter[0][data][comparison]": "NOTIN"}, 300),
        ({"filter[0][columnAlias]": "date__obs", "filter[0][data][type]": "date", "filter[0][data][value]": "2012-08-10T00:59:48", "filter[0][data][comparison]": "GTE"}, 2),
        ({"filter[0][columnAlias]": "series_name", "filter[0][data][value]": "x' OR 1=1", "filter[0][data][comparison]": "EQ"}, 0),
        ({"_dc": "1", "page": "3"}, 600),
    ],
)  # fmt: skip
def test_conditions_select_the_right_rows(client: Client, given: dict[str, str], count: int) -> None:
    assert fetch_answer(client, f"{NAME}/count", **given)["total"] == count


def test_selected_rows_are_downloaded_as_archives(client: Client) -> None:
    require_plugins("protocols", "archive")
    services = fetch_answer(client, f"{NAME}/services")["data"]
    (tar, packed) = [{one["name"]: one["value"] for one in service["parameters"]} for service in services]
    assert (tar["archiveType"], packed["archiveType"]) == ("tar", "zip")
    assert "fr.cnes.sitools.resources.order.DirectOrderResource" in tar.values()
    get = "|".join(f"http://vo.example/collections/sdo/files/data/{number}.fits" for number in (1001, 1002))
    answer = client.get(f"{NAME}{tar['url']}", **{"p[0]": f"LISTBOXMULTIPLE|get|{get}", "media": "json", "limit": 300})
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as opened:
        names = [one for one in opened.getnames() if one.endswith(".fits")]
        assert sorted(re.findall(r"\d{4}", " ".join(names))) == ["1001", "1002"]
        member = opened.extractfile(names[0])
        assert member is not None
        assert member.read().startswith(b"image ")
    answer = client.ask("GET", f"{NAME}{packed['url']}", b"p[0]=LISTBOXMULTIPLE|sunum|5000")
    names = zipfile.ZipFile(io.BytesIO(answer.body)).namelist()
    assert len([one for one in names if one.endswith(".fits")]) == 8
    assert client.get(f"{NAME}/plugin02").status == 400, "not everything by mistake"


def test_archives_of_rows_with_several_files_at_old_paths(client: Client) -> None:
    """As the scripts of GAIA-DEM take them: one by one, and together."""
    require_plugins("protocols", "archive")
    (row, other) = fetch_answer(
        client, "/ws_SDO_DEM/records", sort="{'ordersList': [{'field': 'date_obs', 'direction': 'ASC'}]}"
    )["data"]
    assert client.get(row["em_fits_rice"]).body == b"image 1"
    assert "em_fits_rice" not in other
    (service,) = fetch_answer(client, "/ws_SDO_DEM/services")["data"]
    given = {one["name"]: one["value"] for one in service["parameters"]}
    answer = client.get(f"/ws_SDO_DEM{given['url']}", **{"p[0]": "LISTBOXMULTIPLE|filename|a|b"})
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as opened:
        names = " ".join(one for one in opened.getnames() if one.endswith(".fits"))
    assert re.findall(r"\d{4}", names) == ["1000", "1001", "1003"], "no thumbnails"


def test_a_file_is_given_whether_packed_or_not(client: Client) -> None:
    plain = client.get("/collections/sdo/files/data/1003.fits")
    assert plain.body == b"image 3"
    assert client.get("/collections/sdo/files/data/1003.fits;compress=rice").body == plain.body


@pytest.mark.parametrize(
    ("path", "given", "status", "told"),
    [
        ("/count", {"p[0]": "DATE_BETWEEN|date_obs|2012-08-10|2012-08-11"}, 400, "date_obs"),
        ("/count", {"p[0]": "DATE_BETWEEN|date__obs|lately|2012-08-11"}, 400, "lately"),
        ("/count", {"p[0]": "DATE_BETWEEN|date__obs|2012-08-12|2012-08-11"}, 400, "before"),
        ("/count", {"p[0]": "DATE_BETWEEN|date__obs|2012-08-12"}, 400, "lacks a value"),
        ("/count", {"p[0]": "DATE_BETWEEN|recnum|2012-08-10|2012-08-11"}, 400, "does not contain times"),
        ("/count", {"p[0]": "NUMERIC_BETWEEN|recnum|a|b"}, 400, "is not a number"),
        ("/count", {"p[0]": "CONE_SEARCH|recnum|1"}, 400, "CONE_SEARCH"),
        ("/count", {"p[0]": "CADENCE|mask_cadence|often"}, 400, "often"),
        ("/count", {"p[0]": "CADENCE|mask|1 min"}, 400, "mask"),
        ("/records", {"sort": "date__obs"}, 400, "sort"),
        ("/records", {"colModel": '"recnum, none"'}, 400, "none"),
        ("/records", {"limit": "many"}, 400, "many"),
        ("/record", {}, 404, "records"),
        ("/plugin04", {}, 404, "plugin04"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_its_words(
    client: Client, path: str, given: dict[str, str], status: int, told: str
) -> None:
    answer = client.ask("GET", NAME + path, urlencode(given).encode())
    found = json.loads(answer.body)
    assert (answer.status, found["success"]) == (status, False)
    assert told in found["message"]
    assert client.get("/sitools/portal/projects/none").status == 404


def test_no_value_is_a_fault_of_ours(client: Client) -> None:
    """Whatever stands in a parameter, the data set says what is wrong with it, or answers."""
    words = [value.decode("utf-8", "replace")[:2000] for value in VALUES]
    columns = ("date__obs", "exptime", "recnum", "series_name", "exptime")
    forms = (
        *(("p[0]", f"{kind}|{column}|{{}}|{{}}") for kind, column in zip(FILTERS, columns, strict=True)),
        ("p[0]", "CADENCE|mask_cadence|{}"),
        *((name, "{}") for name in ("p[0]", "c[0]", "sort", "colModel", "start", "limit")),
    )

    async def list_faults() -> list[str]:
        wrong = []
        for name, form in forms:
            for word in words:
                query = urlencode({"limit": "1", name: form.format(word, word)}).encode()
                answer = await client.ask_async("GET", f"{NAME}/records", query)
                if answer.status >= 500 or json.loads(answer.body)["success"] is not (answer.status == 200):
                    wrong.append(f"{query[:300]!r}: {answer.status} {answer.text[:300]}")
        return wrong

    assert asyncio.run(list_faults()) == []


def test_arrays_with_missing_elements_are_written():
    cells = _write_json_cells(pa.array([[1, None, 3], None]), parse_type("int64[*]"))
    assert cells.to_pylist() == ['"1 null 3"', None]
