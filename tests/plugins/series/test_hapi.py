"""HAPI: documents are as its own schemas have them, samples are those of the source in each format, and what is wrong has its code."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from jsonschema import Draft4Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4
from typer.testing import CliRunner

from hven import descriptor
from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import (
    ForbiddenError,
    OverloadedError,
    StorageUnavailableError,
    TimeLimitError,
    TooManyRequestsError,
    UnauthenticatedError,
    UpstreamTimeoutError,
)
from hven.model.table import Column
from hven.model.types import FLOAT64
from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.sample_parameters import SampleParameter
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, Principal
from hven.testing.site import open_site_with_uningested_files
from shared import shared

SECOND = 1_000_000
START = int(np.datetime64("2003-10-28T00:00:00.123", "us").astype(int))
MANY = 5000
SCHEMAS = "corpora/hapi/data-specification-schema--HAPI-data-access-schema-3.3.json"
DESCRIPTOR = """\
collection: goes
title: X rays
description: Fluxes
licence_url: https://licence.example
tables:
  xrs:
    access: {access}
    source: {{kind: parquet, files: ../goes.parquet}}
    follow: true
    columns:
      at: {{ucd: time.epoch}}
      mjd: {{ucd: time.epoch, unit: d}}
      short: {{unit: W/m**2, description: "0.05 to 0.4 nm"}}
      flux: {{type: "float32[6]", unit: W}}
      cube: {{type: "int16[3x2]"}}
    series:
      - cadence: 4 s
        stamp: begin
        vectors: {{short: {{system: GSE, components: x}}, flux: {{system: RTN, components: [x, y, z, r, rho, other]}}, cube: HGI}}
        bins:
          flux: {{name: frequency, unit: MHz, centers: [10, 11, 12, 13, 14, 15], ranges: [[9, 10], [10, 11], [11, 12], [12, 13], [13, 14], [14, 15]]}}
      - id: nancay_xrs
        title: Quiet
        time: mjd
        parameters: [short, flag]
        where: flag = 'b,ad'
"""


def samples() -> pa.Table:
    rng = np.random.default_rng(1)
    gone = np.zeros(MANY, bool)
    gone[7] = True
    flux, cube = rng.normal(size=(MANY, 6)).astype("f4"), rng.integers(0, 99, (MANY, 6)).astype("i2")
    flux[11, 2] = np.nan
    moments = START + np.arange(MANY) * 4 * SECOND
    short = rng.normal(size=MANY)
    short[5] = np.nan
    return pa.table(
        {
            "at": pa.array(moments).cast(pa.timestamp("us")),
            "mjd": moments / (86_400 * SECOND) + 40_587.0,
            "short": pa.array(short, mask=gone),
            "count": pa.array(np.arange(MANY, dtype="i4"), mask=gone),
            "long": np.arange(MANY) + 2**60,
            "flag": np.array(["ok", "b,ad", 'q"é'])[np.arange(MANY) % 3],
            "good": pa.array(np.arange(MANY) % 2 == 0, mask=gone),
            "flux": pa.array(list(flux), pa.list_(pa.float32())),
            "cube": pa.array(list(cube), pa.list_(pa.int16())),
            "ragged": pa.array([[1] * (at % 3) for at in range(MANY)], pa.list_(pa.int32())),
        }
    )


SHARED = """\
collection: probe
title: Probe
tables:
  main:
    source: {kind: parquet, files: a.parquet}
    columns: {taken: {ucd: time.epoch}, early: {unit: nT}, late: {type: "float32[2]", unit: K}}
    series:
      - {id: early, parameters: [early], cadence: 1 s}
      - {id: late, parameters: [late], cadence: 1 s}
      - {id: both, cadence: 1 s}
      - {id: few, parameters: [early], where: early > 5}
"""


def test_data_sets_of_one_table_have_spans_of_their_own(tmp_path: Path) -> None:
    """A data set begins and ends with its own samples, and has no others at its ends; a request beyond them is told so."""
    at = START // SECOND * SECOND + np.arange(20) * SECOND
    early = pa.array(np.arange(20.0), mask=np.arange(20) >= 10)
    late = pa.array([None if row < 12 else [float(row), 0.1] for row in range(20)], pa.list_(pa.float32()))
    with open_site_with_uningested_files(tmp_path, SHARED, {}) as site:
        made = {"taken": pa.array(at).cast(pa.timestamp("us")), "early": early, "late": late}
        pq.write_table(pa.table(made), tmp_path / "collections" / "probe" / "a.parquet")
        ingest_collection(site, "probe")
        client = Client(create_and_start_application(site))
        spans = {"early": (0, 10), "late": (12, 20), "both": (0, 20), "few": (6, 10)}
        for name, (first, last) in spans.items():
            said = json.loads(client.get("/hapi/info", dataset=name).body)
            moments = (np.datetime64(said[key][:-1], "us").astype(int) for key in ("startDate", "stopDate"))
            begin, end = moments
            assert begin == at[first], name
            assert abs(end - (at[last - 1] + SECOND)) <= SECOND, name
            answer = client.get("/hapi/data", dataset=name, start=said["startDate"], stop=said["stopDate"])
            assert len(answer.text.splitlines()) == last - first, name
        whole = json.loads(client.get("/hapi/info", dataset="both").body)
        answer = client.get("/hapi/data", dataset="late", start=whole["startDate"], stop=whole["stopDate"])
        assert json.loads(answer.body)["status"]["code"] == 1405


def test_single_precision_is_one_double_in_every_format(tmp_path: Path) -> None:
    at = START // SECOND * SECOND + np.arange(500) * SECOND
    rng = np.random.default_rng(2)
    values = np.hstack([rng.normal(size=(499, 2)), np.full((499, 1), 0.1)]).astype("f4")
    values = np.vstack([values, np.array([[1e-30, 16777216, -3.4e38]], "f4")])
    with open_site_with_uningested_files(tmp_path, SHARED, {}) as site:
        made = {
            "taken": pa.array(at).cast(pa.timestamp("us")),
            "early": pa.array(values[:, 2]),
            "late": pa.array(list(values[:, :2]), pa.list_(pa.float32())),
        }
        pq.write_table(pa.table(made), tmp_path / "collections" / "probe" / "a.parquet")
        ingest_collection(site, "probe")
        client = Client(create_and_start_application(site))
        said = json.loads(client.get("/hapi/info", dataset="both").body)
        given = {"dataset": "both", "start": said["startDate"], "stop": said["stopDate"]}
        binary = np.frombuffer(client.get("/hapi/data", format="binary", **given).body, [("t", "S27"), ("v", "<f8", 3)])
        lines = client.get("/hapi/data", **given).text.splitlines()
        rows = json.loads(client.get("/hapi/data", format="json", **given).body)["data"]
    wanted = np.hstack([values[:, 2:], values[:, :2]]).astype("f8")
    np.testing.assert_array_equal(binary["v"], wanted)
    np.testing.assert_array_equal([[float(cell) for cell in line.split(",")[1:]] for line in lines], wanted)
    np.testing.assert_array_equal([[row[1], *row[2]] for row in rows], wanted)


TEXTS = """\
collection: probe
title: Probe
tables:
  main:
    source: {kind: parquet, files: a.parquet}
    columns: {taken: {ucd: time.epoch}, marks: {type: "string[8x2]"}, grid: {type: "string[1x2x3]"}, ragged: {type: "string[8x*]"}}
    series: {id: probe}
"""


def test_arrays_of_texts_are_parameters_in_every_format(tmp_path: Path) -> None:
    """An element may have quotes, commas, letters of several bytes, or be missing; the first index of a text's type is its length."""
    rows = [(["a,b", '"'], ["x"] * 6), (["\u2603\u2603", None], [*"abcdef"]), (None, ["", "y", "\n", "z", "", "w"])]
    moments = np.datetime64("2020-01-01T00:00:00.000005", "us").astype(int) + np.arange(3) * SECOND
    table = pa.table({"taken": pa.array(moments).cast(pa.timestamp("us")), "marks": [one for one, _ in rows], "grid": [one for _, one in rows], "ragged": [["a"], [], ["b", "c"]]})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    with open_site_with_uningested_files(tmp_path, TEXTS.replace("a.parquet", f"{tmp_path}/a.parquet")) as site:
        ingest_collection(site, "probe")
        client = Client(create_and_start_application(site))
        said = json.loads(client.get("/hapi/info", dataset="probe").body)
        marks, grid = said["parameters"][1:]
        assert (marks["type"], marks["length"], marks["size"], marks["fill"]) == ("string", 6, [2], "")
        assert (grid["type"], grid["length"], grid["size"]) == ("string", 1, [3, 2])
        assert any(one.startswith("ragged is left out") for one in said["note"])
        # without a cadence the end is a whole millisecond, which clients in JavaScript can ask for
        assert said["stopDate"] == "2020-01-01T00:00:02.001000Z"
        given = {"dataset": "probe", "start": said["startDate"], "stop": said["stopDate"]}
        wanted = [(["" if one is None else one for one in first or ["", ""]], second) for first, second in rows]
        lines = list(csv.reader(io.StringIO(client.get("/hapi/data", **given).text)))
        assert [(line[1:3], line[3:]) for line in lines] == wanted
        told = json.loads(client.get("/hapi/data", **given, format="json").body)["data"]
        assert [(line[1], [*chain(*line[2])]) for line in told] == wanted
        kind = np.dtype([("taken", "S27"), ("marks", "S6", 2), ("grid", "S1", (3, 2))])
        found = np.frombuffer(client.get("/hapi/data", **given, format="binary").body, kind)
        assert [([one.decode() for one in row["marks"]], [one.decode() for one in row["grid"].ravel()]) for row in found] == wanted  # fmt: skip


def test_the_resource_is_the_page_of_the_table(client: Client) -> None:
    """Its anchor is there."""
    for one in json.loads(client.get("/hapi/catalog", depth="all").body)["catalog"]:
        address, _, anchor = one["info"]["resourceURL"].partition("#")
        path = "/" + address.partition("://")[2].partition("/")[2]
        answer = client.get(path)
        assert answer.status == 200, address
        assert f'id="{anchor}"' in answer.text


@pytest.fixture(scope="module")
def source() -> pa.Table:
    return samples()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, source: pa.Table) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("hapi")
    pq.write_table(source, directory / "goes.parquet")
    for name, access in (("goes", "public"), ("shut", "private")):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        text = DESCRIPTOR.format(access=access).replace("../goes.parquet", "../../goes.parquet")
        text = (
            text
            if name == "goes"
            else text.replace("collection: goes", "collection: shut").replace("nancay_xrs", "quiet")
        )
        (folder / f"{name}.yaml").write_text(text)
    (directory / "hven.toml").write_text(
        'public_url = "https://vo.example"\ncontact_email = "a@b.example"\n[portals.sunny]\npath = "/sunny"\ncollections = ["goes"]\n'
    )
    with Site(settings.load_settings(directory)) as made:
        for name in ("goes", "shut"):
            ingest_collection(made, name)
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def fetch_json(client: Client, path: str, **given: object) -> Any:
    answer = client.get(f"/hapi/{path}", **given)
    return json.loads(answer.body)


def problems(document: Any, kind: str) -> list[str]:
    """Judge a document by HAPI's own schema."""
    schemas = json.loads(shared(SCHEMAS).read_text())
    registry = Registry().with_resources((f"/{name}", DRAFT4.create_resource(one)) for name, one in schemas.items() if isinstance(one, dict))  # fmt: skip
    return [error.message for error in Draft4Validator(schemas[kind], registry=registry).iter_errors(document)]


def test_documents_are_valid_against_the_hapi_schemas(client: Client) -> None:
    for path, kind in (("about", "about"), ("capabilities", "capabilities"), ("catalog", "catalog")):
        assert problems(fetch_json(client, path), kind) == []
    every = fetch_json(client, "catalog", depth="all")
    assert problems(every, "catalog") == []
    assert [one["id"] for one in every["catalog"]] == ["goes_xrs", "nancay_xrs", "goes_xrs_availability"]
    for one in every["catalog"]:
        info = fetch_json(client, "info", dataset=one["id"])
        assert problems(info, "info") == []
        assert {key: value for key, value in info.items() if key not in {"HAPI", "status"}} == one["info"]
    assert problems(fetch_json(client, "info", dataset="nothing"), "error") == []
    assert problems({**info, "title": "x"}, "info") != []  # the judge sees


def test_dataset_information_describes_its_parameters(client: Client) -> None:
    info = fetch_json(client, "info", dataset="goes_xrs")
    said = {one["name"]: one for one in info["parameters"]}
    assert list(said) == ["at", "mjd", "short", "count", "long", "flag", "good", "flux", "cube"]
    assert said["at"] == {"name": "at", "type": "isotime", "length": 27, "units": "UTC", "fill": None}
    assert (said["short"]["units"], said["short"]["fill"]) == ("W/m**2", "NaN")
    assert (said["count"]["type"], said["count"]["fill"]) == ("integer", "-2147483648")
    assert (said["long"]["type"], said["long"]["length"]) == ("string", 20)
    assert said["flag"]["length"] >= 4
    assert (said["flux"]["size"], said["cube"]["size"]) == ([6], [2, 3])
    assert said["flux"]["bins"][0]["centers"] == [10, 11, 12, 13, 14, 15]
    assert said["flux"]["bins"][0]["ranges"][0] == [9, 10]
    assert (info["cadence"], info["timeStampLocation"], info["licenseURL"]) == (
        "PT4S",
        "begin",
        "https://licence.example",
    )
    assert (info["startDate"], info["stopDate"]) == ("2003-10-28T00:00:00.123000Z", "2003-10-28T05:33:20.123000Z")
    assert "ragged is left out" in info["note"][0]
    coordinates = {name: (one["coordinateSystemName"], one.get("vectorComponents")) for name, one in said.items() if "coordinateSystemName" in one}  # fmt: skip
    assert coordinates == {"short": ("GSE", "x"), "flux": ("RTN", ["x", "y", "z", "r", "rho", "other"]), "cube": ("HGI", None)}  # fmt: skip
    assert info["coordinateSystemSchema"] == "spase2.4.1"
    chosen = fetch_json(client, "info", dataset="goes_xrs", parameters="long,flag")
    assert [one["name"] for one in chosen["parameters"]] == ["at", "long", "flag"]
    assert {**info, "parameters": 0} == {**chosen, "parameters": 0}  # as HAPI's verifier wants it


def read(client: Client, kind: str, **given: object) -> dict[str, Any]:
    """Read samples with another reader: numpy, Arrow, json."""
    info = fetch_json(client, "info", dataset=given["dataset"], parameters=given.get("parameters", ""))
    answer = client.get("/hapi/data", format=kind, **given)
    assert answer.status == 200, answer.text
    made, names = {}, [one["name"] for one in info["parameters"]]
    if kind == "json":
        rows = json.loads(answer.body)["data"]
        return {name: [row[at] for row in rows] for at, name in enumerate(names)}
    if kind == "binary":
        kinds = {"double": "<f8", "integer": "<i4"}
        dtype = np.dtype([(one["name"], kinds.get(one["type"], f"S{one.get('length')}"), tuple(one.get("size", ()))) for one in info["parameters"]])  # fmt: skip
        found = np.frombuffer(answer.body, dtype)
        for one in info["parameters"]:
            value = found[one["name"]]
            made[one["name"]] = [text.decode() for text in value] if value.dtype.kind == "S" else value
        return made
    lines = pa.csv.read_csv(
        io.BytesIO(answer.body),
        read_options=pa.csv.ReadOptions(autogenerate_column_names=True),
        convert_options=pa.csv.ConvertOptions(
            null_values=[], strings_can_be_null=False, column_types={f"f{at}": pa.string() for at in range(40)}
        ),
    )
    columns = iter(lines.columns)
    for one in info["parameters"]:
        count = int(np.prod(one.get("size", [1])))
        cells = [next(columns).to_pylist() for _ in range(count)]
        if one["type"] in {"double", "integer"}:
            numbers = np.array(cells).T.astype("f8" if one["type"] == "double" else "i4")
            made[one["name"]] = numbers.reshape(-1, *one.get("size", ()))
        else:
            made[one["name"]] = cells[0]
    return made


@pytest.mark.parametrize("kind", ["csv", "binary", "json"])
def test_samples_equal_those_of_the_source(client: Client, source: pa.Table, kind: str) -> None:
    found = read(client, kind, dataset="goes_xrs", start="2003-10-28T00:00:20.123Z", stop="2003-10-28T00:01Z")
    expected = source.slice(5, 10)
    assert found["at"] == [f"{np.datetime64(value.as_py(), 'us')}"[:26] + "Z" if "." in str(value) else "" for value in expected["at"]]  # fmt: skip
    null = None if kind == "json" else np.nan
    for name in ("short", "mjd"):
        values = [null if value is None or value != value else value for value in expected[name].to_pylist()]  # noqa: PLR0124
        np.testing.assert_array_equal(np.array(list(found[name]), object if kind == "json" else "f8"), np.array(values, object if kind == "json" else "f8"))  # fmt: skip
    assert list(found["count"]) == [-(2**31) if value is None else value for value in expected["count"].to_pylist()]
    assert found["long"] == [str(value) for value in expected["long"].to_pylist()]
    assert found["flag"] == expected["flag"].to_pylist()
    assert list(found["good"]) == [-1 if value is None else int(value) for value in expected["good"].to_pylist()]
    flux = np.array([[np.nan if one is None else one for one in row] for row in np.array(found["flux"], object)], "f8")
    np.testing.assert_array_equal(flux.astype("f4"), np.array(expected["flux"].to_pylist(), "f4"))
    np.testing.assert_array_equal(np.array(found["cube"]).reshape(-1, 6), np.array(expected["cube"].to_pylist()))


def test_an_interval_between_two_samples_has_no_binary_rows(client: Client) -> None:
    """The parameter `flag` is a text, whose length no row shows."""
    answer = client.get(
        "/hapi/data",
        dataset="goes_xrs",
        start="2003-10-28T00:00:20.200Z",
        stop="2003-10-28T00:00:20.300Z",
        format="binary",
    )
    assert (answer.status, answer.body) == (200, b"")


def test_a_long_response_is_read_in_time_windows(
    client: Client, source: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {"dataset": "goes_xrs", "start": "2003-10-28T00:00:00.123Z", "stop": "2003-10-28T05:33:20.123Z"}  # fmt: skip
    whole = client.get("/hapi/data", **given)
    monkeypatch.setattr(sample_sets, "MAX_WINDOW_CELLS", 3000)
    assert client.get("/hapi/data", **given).body == whole.body
    assert len(whole.text.splitlines()) == MANY
    assert whole.text.splitlines()[-1].startswith(f"{np.datetime64(source['at'][-1].as_py(), 'us')}Z,")


def test_datasets_support_julian_dates_and_row_conditions(client: Client, source: pa.Table) -> None:
    info = fetch_json(client, "info", dataset="nancay_xrs")
    assert (info["startDate"], info["parameters"][0]["length"]) == ("2003-10-28T00:00:04.123Z", 24)
    found = read(client, "binary", dataset="nancay_xrs", start=info["startDate"], stop="2003-10-28T00:00:40.123Z")
    expected = source.filter(pa.array([flag == "b,ad" for flag in source["flag"].to_pylist()])).slice(0, 3)
    assert found["mjd"] == [f"{value.as_py().isoformat(timespec='milliseconds')}Z" for value in expected["at"]]
    assert set(found["flag"]) == {"b,ad"}
    last = read(client, "csv", dataset="nancay_xrs", start="2003-10-28T05:00Z", stop=info["stopDate"])
    assert last["mjd"][-1] == "2003-10-28T05:33:16.123Z" if MANY % 3 == 2 else last["mjd"]


def test_old_parameter_names_headers_and_head_requests_work(client: Client) -> None:
    given = {"id": "goes_xrs", "time.min": "2003-301T00:00:04Z", "time.max": "2003-10-28T00:00:08.123Z"}
    answer = client.get("/hapi/data", parameters="count", **given)
    assert answer.text == "2003-10-28T00:00:04.123000Z,1\n"
    headed = client.get("/hapi/data", parameters="count", include="header", **given).text.splitlines()
    header = json.loads("\n".join(line[1:] for line in headed if line.startswith("#")))
    assert (header["format"], header["status"]["code"], headed[-1]) == ("csv", 1200, answer.text.strip())
    none = client.get("/hapi/data", dataset="goes_xrs", start="2003-10-28T00:00:01Z", stop="2003-10-28T00:00:02Z")
    assert (none.status, none.body) == (200, b"")
    none = client.get("/hapi/data", dataset="goes_xrs", start="2003-10-28T00:00:01Z", stop="2003-10-28T00:00:02Z", include="header")  # fmt: skip
    assert '"code": 1201' in none.text
    assert client.ask("HEAD", "/hapi/data", b"dataset=goes_xrs&start=2003-301T01&stop=2003-301T02").body == b""
    assert client.ask("POST", "/hapi/catalog").status == 405
    tag = answer.headers["etag"]
    again = client.ask("GET", "/hapi/data", b"id=goes_xrs&time.min=2003-301T00:00:04Z&time.max=2003-10-28T00:00:08.123Z&parameters=count", headers={"if-none-match": tag})  # fmt: skip
    assert again.status == 304


DATA = {"dataset": "goes_xrs", "start": "2003-10-28T01Z", "stop": "2003-10-28T02Z"}


@pytest.mark.parametrize(
    ("path", "given", "status", "code"),
    [
        ("nothing", {}, 400, 1400),
        ("data", {}, 400, 1400),
        ("data", {**DATA, "wrong<b>": "1"}, 400, 1401),
        ("data", {**DATA, "start": "yesterday"}, 400, 1402),
        ("data", {**DATA, "stop": "2003-13"}, 400, 1403),
        ("data", {**DATA, "stop": DATA["start"]}, 400, 1404),
        ("data", {**DATA, "start": "2003-10-27"}, 400, 1405),
        ("data", {**DATA, "stop": "2003-10-29"}, 400, 1405),
        ("data", {**DATA, "dataset": "nothing"}, 404, 1406),
        ("data", {**DATA, "dataset": "shut_xrs"}, 404, 1406),
        ("info", {"dataset": "shut_xrs"}, 404, 1406),
        ("data", {**DATA, "parameters": "nothing"}, 404, 1407),
        ("data", {**DATA, "parameters": "ragged"}, 404, 1407),
        ("data", {**DATA, "format": "xml"}, 400, 1409),
        ("data", {**DATA, "include": "all"}, 400, 1410),
        ("data", {**DATA, "parameters": "count,short"}, 400, 1411),
        ("data", {**DATA, "parameters": "short,short"}, 400, 1411),
        ("info", {"dataset": "goes_xrs", "resolve_references": "no"}, 400, 1412),
        ("catalog", {"depth": "deep"}, 400, 1413),
    ],
)
def test_invalid_requests_have_their_hapi_error_codes(
    client: Client, path: str, given: dict[str, str], status: int, code: int
) -> None:
    answer = client.get(f"/hapi/{path}", **given)
    said = json.loads(answer.body)
    assert (answer.status, said["status"]["code"], said["HAPI"]) == (status, code, "3.3")
    assert f"HAPI error {code}" in said["status"]["message"]
    assert "wrong" not in answer.text
    assert "yesterday" not in answer.text
    if code != 1413:  # which the schema has forgotten
        assert problems(said, "error") == []


def test_messages_say_which_values_are_allowed(client: Client) -> None:
    said = [
        client.get("/hapi/data", **DATA, **given).body.decode() for given in ({"format": "xml"}, {"include": "all"})
    ]
    assert "unsupported output format; the formats are csv, binary, json" in said[0]
    assert "unsupported include value; write include=header, or leave it out" in said[1]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (OverloadedError("wait"), 503, 1500),
        (StorageUnavailableError("away"), 503, 1500),
        (ValueError("ours"), 500, 1500),
        (UpstreamTimeoutError("elsewhere"), 500, 1501),
        (TimeLimitError("long"), 400, 1408),
        (TooManyRequestsError("often"), 429, 2429),
        (ForbiddenError("not you"), 403, 2403),
        (UnauthenticatedError("who?"), 401, 2401),
    ],
)
def test_server_errors_have_their_hapi_error_codes(client: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, code: int) -> None:  # fmt: skip
    def failing(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(sample_sets, "read_samples", failing)
    answer = client.get("/hapi/data", **DATA)
    said = json.loads(answer.body)
    assert (answer.status, said["status"]["code"]) == (status, code)
    if code < 2000:  # the schema lists no codes of servers, which the standard allows
        assert problems(said, "error") == []
    assert "user input" not in answer.text
    assert ("retry-after" in answer.headers) == isinstance(
        fault, (OverloadedError, StorageUnavailableError, TooManyRequestsError)
    )


def test_a_repeated_request_parameter_is_an_error(client: Client) -> None:
    answer = client.ask("GET", "/hapi/info", b"dataset=goes_xrs&id=goes_xrs")
    assert json.loads(answer.body)["status"]["code"] == 1400


def test_the_hapi_page_lists_the_public_datasets(client: Client) -> None:
    answer = client.get("/hapi")
    assert answer.status == 200
    assert "goes_xrs" in answer.text
    assert "shut_xrs" not in answer.text
    assert "hapi(&#34;https://vo.example/hapi&#34;" in answer.text or 'hapi("https://vo.example/hapi"' in answer.text


def test_hapi_is_available_in_every_portal(client: Client) -> None:
    here, there = (
        json.loads(client.get(f"{path}/hapi/catalog", depth="all").body)["catalog"] for path in ("", "/sunny")
    )
    assert [one["id"] for one in here] == [one["id"] for one in there]
    assert client.get("/sunny/hapi/data", **DATA).body == client.get("/hapi/data", **DATA).body


def test_a_head_request_reads_no_samples(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = client.get("/hapi/data", **DATA)
    monkeypatch.setattr(sample_sets, "read_samples", None)
    head = client.ask("HEAD", "/hapi/data", b"dataset=goes_xrs&start=2003-10-28T01Z&stop=2003-10-28T02Z")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_lists_of_data_sets_are_kept_for_those_who_see_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    real = sample_sets.list_data_sets
    monkeypatch.setattr(
        sample_sets, "list_data_sets", lambda view, face: made.append(view.principal.name) or real(view, face)
    )
    vars(site.get_or_create(sample_sets.DataSetListCache)).update(vars(sample_sets.DataSetListCache()))  # forget
    who = [ANONYMOUS_PRINCIPAL]
    client = Client(create_and_start_application(site, identify_principal=lambda _: who[0]))
    everybody = {"goes_xrs", "goes_xrs_availability", "nancay_xrs"}
    owner = everybody | {"shut_xrs", "shut_xrs_availability", "quiet"}
    for reader, sets in (
        (ANONYMOUS_PRINCIPAL, everybody),
        (Principal(name="ada", groups=frozenset({"owner"})), owner),
    ) * 2:
        who[0] = reader
        assert {one["id"] for one in fetch_json(client, "catalog")["catalog"]} == sets
    assert made == [None, "ada"]


def test_requests_can_have_times_below_a_microsecond(client: Client) -> None:
    given = {"dataset": "goes_xrs", "start": "2003-10-28T00:00:04.123000001Z", "stop": "2003-10-28T00:00:04.123000002Z"}
    answer = client.get("/hapi/data", **given)
    assert (answer.status, answer.body) == (200, b"")
    same = client.get("/hapi/data", **{**given, "stop": given["start"]})
    assert json.loads(same.body)["status"]["code"] == 1404


@pytest.fixture
def coarse(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The site, which keeps reductions of little, too."""
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 1000)
    vars(site.get_or_create(sample_sets.DataSetListCache)).update(vars(sample_sets.DataSetListCache()))  # forget
    yield Client(create_and_start_application(site))
    monkeypatch.undo()
    vars(site.get_or_create(sample_sets.DataSetListCache)).update(vars(sample_sets.DataSetListCache()))


def test_coarser_datasets_are_linked_and_contain_means(coarse: Client, source: pa.Table) -> None:
    info = fetch_json(coarse, "info", dataset="goes_xrs")
    assert problems(info, "info") == []
    (link,) = info["x_relations"]
    assert (link["id"], link["cadence"], link["type"], link["method"]) == ("goes_xrs_PT1M", "PT1M", "resample", "mean")
    wide = fetch_json(coarse, "info", dataset=link["id"])
    assert problems(wide, "info") == []
    assert (wide["cadence"], wide["timeStampLocation"], wide.get("x_relations")) == ("PT1M", "center", None)
    assert (wide["startDate"], wide["stopDate"]) == ("2003-10-28T00:00:00.000000Z", "2003-10-28T05:34:00.000000Z")
    names = [one["name"] for one in wide["parameters"]]
    assert names == ["at", *(f"{name}{end}" for name in ("mjd", "short", "count", "good") for end in ("", "_min", "_max")), *(f"{name}{end}" for name in ("flux", "cube") for end in ("", "_max"))]  # fmt: skip
    given: dict[str, object] = {"dataset": link["id"], "start": wide["startDate"], "stop": wide["stopDate"]}
    for _ in range(2):  # of the samples, then of what is kept
        found = read(coarse, "binary", **given)
        moments = np.array([one.as_py() for one in source["at"]], "M8[us]").astype(np.int64) // (60 * SECOND)
        short = source["short"].to_numpy()
        bins = [short[moments == number] for number in np.unique(moments)]
        np.testing.assert_allclose(found["short"], [np.nanmean(one) for one in bins])
        np.testing.assert_array_equal(found["short_max"], [np.nanmax(one) for one in bins])
        np.testing.assert_array_equal(found["short_min"], [np.nanmin(one) for one in bins])
        assert found["at"][:2] == ["2003-10-28T00:00:30.000000Z", "2003-10-28T00:01:30.000000Z"]
        flux = np.array(source["flux"].to_pylist(), "f4")
        np.testing.assert_array_equal(found["flux_max"][3], np.nanmax(flux[moments == np.unique(moments)[3]], axis=0))
        part = read(coarse, "csv", dataset=link["id"], start="2003-10-28T00:01:30Z", stop="2003-10-28T00:03:30Z", parameters="count_max")  # fmt: skip
        assert part == {"at": found["at"][1:3], "count_max": pytest.approx(found["count_max"][1:3])}


def test_availability_lists_the_time_spans_of_samples(client: Client) -> None:
    info = fetch_json(client, "info", dataset="goes_xrs")
    assert info["x_availability"] == "goes_xrs_availability"
    spans = fetch_json(client, "info", dataset="goes_xrs_availability")
    assert problems(spans, "info") == []
    assert [one["name"] for one in spans["parameters"]] == ["at", "endTime", "code", "message"]
    text = client.get("/hapi/data", dataset="goes_xrs_availability", start=spans["startDate"], stop=spans["stopDate"]).text  # fmt: skip
    assert text == "2003-10-28T00:00:00.000000Z,2003-10-28T05:33:30.000000Z,200,samples\n"


EVENTS = """\
collection: events
title: Bursts
tables:
  bursts:
    source: {kind: parquet, files: events.parquet}
    follow: true
    columns:
      begin: {ucd: time.start, unit: d}
      end: {ucd: time.end, unit: d}
      kind: {label: Type}
    series: {colors: {kind: {III: green, ".*": "#FF0000"}}}
"""


ENDS = """\
collection: ends
title: Integers
tables:
  t:
    source: {kind: parquet, files: a.parquet}
    follow: true
    columns: {at: {ucd: time.epoch}, list: {type: "int32[2]"}}
    series: {id: ends}
"""


@pytest.mark.parametrize("kind", ["csv", "binary", "json"])
def test_a_fill_is_no_measured_value(tmp_path: Path, kind: str) -> None:
    """Integers at both ends of their type: no integer is left for what is missing, and doubles hold all of them."""
    low, high = -(2**31), 2**31 - 1
    values = {
        "both": [low, None, high],
        "lowest": [low, None, 5],
        "highest": [high, None, 5],
        "none": [3, None, 4],
        "empty": [None, None, None],
        "list": [[low, high], None, [1, 2]],
    }
    types = {name: pa.list_(pa.int32(), 2) if name == "list" else pa.int32() for name in values}
    folder = tmp_path / "collections/ends"
    folder.mkdir(parents=True)
    moments = pa.array(START + np.arange(3) * SECOND).cast(pa.timestamp("us"))
    columns = {name: pa.array(some, types[name]) for name, some in values.items()}
    pq.write_table(pa.table({"at": moments, **columns}), folder / "a.parquet")
    (folder / "ends.yaml").write_text(ENDS)
    (tmp_path / "hven.toml").touch()
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "ends")
        client = Client(create_and_start_application(made))
        info = fetch_json(client, "info", dataset="ends")
        assert problems(info, "info") == []
        fills = {one["name"]: (one["type"], one["fill"]) for one in info["parameters"][1:]}
        found = read(client, kind, dataset="ends", start=info["startDate"], stop=info["stopDate"])
    assert fills["both"] == fills["list"] == ("double", "NaN")
    assert fills["lowest"] == ("integer", str(high))
    assert fills["none"] == fills["highest"] == fills["empty"] == ("integer", str(low))
    for name, expected in values.items():
        fill = None if fills[name][1] == "NaN" else int(fills[name][1])
        cells = np.array(list(found[name]), object).reshape(3, -1)
        for mine, their in zip(cells, expected, strict=True):
            wanted = [their] * len(mine) if their is None else np.ravel(their).tolist()
            read_as = [None if cell is None or np.isnan(cell) or cell == fill else int(cell) for cell in mine]
            assert read_as == wanted, name


def test_events_have_a_duration(tmp_path: Path) -> None:
    folder = tmp_path / "collections/events"
    folder.mkdir(parents=True)
    days = np.arange(5) + 2_452_941.0
    table = pa.table(
        {"begin": days, "end": pa.array(days + 0.25, mask=np.arange(5) == 3), "kind": ["III", "II", "III", "IV", "V"]}
    )
    pq.write_table(table, folder / "events.parquet")
    (folder / "events.yaml").write_text(EVENTS)
    (tmp_path / "hven.toml").touch()
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "events")
        client = Client(create_and_start_application(made))
        info = fetch_json(client, "info", dataset="events_bursts")
        assert problems(info, "info") == []
        begin, end, kind = info["parameters"]
        assert (info["x_intervalBasedRecords"], info["timeStampLocation"]) == (True, "begin")
        assert (end["type"], end["length"], end["x_stopTime"], begin.get("x_stopTime")) == ("isotime", 24, True, None)
        assert (kind["x_label"], kind["x_colorLookup"]) == ("Type", {"III": "green", ".*": "#FF0000"})
        text = client.get("/hapi/data", dataset="events_bursts", start=info["startDate"], stop=info["stopDate"]).text
    lines = text.splitlines()
    assert lines[0] == "2003-10-28T12:00:00.000Z,2003-10-28T18:00:00.000Z,III"
    assert lines[3] == f"2003-10-31T12:00:00.000Z,{' ' * 24},IV"


BAD = """\
collection: x
title: Bursts
tables:
  t:
    source: {kind: parquet, files: ../../goes.parquet}
    follow: true
    columns:
      at: {ucd: time.epoch}
      mjd: {ucd: time.epoch, unit: d}
      flux: {type: "float32[6]"}
      cube: {type: "int16[3x2]"}
    series:
      id: goes_xrs
      bins:
        short: [{name: a, centers: [1, 2]}]
        flux: [{name: f, centers: [1, 2, 3]}]
        cube: [{name: f, centers: [1, 2, 3]}]
        ragged: [{name: f, centers: [1, 2, 3]}, {name: g, centers: [1, 2]}]
      vectors: {short: {system: GSE, components: [x, y]}, flux: GSM}
      scale_types: {short: log, flux: log, at: log}
"""


def test_invalid_bins_and_duplicate_names_are_reported(tmp_path: Path, source: pa.Table) -> None:
    pq.write_table(source, tmp_path / "goes.parquet")
    for name, text in (("x", BAD), ("goes", DESCRIPTOR.format(access="public").replace("../goes", "../../goes"))):
        (tmp_path / "collections" / name).mkdir(parents=True)
        (tmp_path / "collections" / name / f"{name}.yaml").write_text(text)
    (tmp_path / "hven.toml").touch()
    found = settings.load_settings(tmp_path)
    path = tmp_path / "collections/x/x.yaml"
    said = [fault.message for fault in descriptor.check_descriptor(path, found) if fault.severity == "error"]
    assert said == [
        "tables.t.series.bins.short: short must be an array, but its type is float64",
        "tables.t.series.bins.flux: f has 3 bins, but the type of flux is float32[6]",
        "tables.t.series.bins.cube: the number of dimensions is 1 in 'bins', but 2 in cube (int16[3x2])",
        "tables.t.series.bins.ragged: the number of dimensions is 2 in 'bins', but 1 in ragged (int32[*])",
        "tables.t.series.vectors.short: 2 components are listed, but the type of short is float64",
        "tables.t.series.scale_types.at: at must contain numbers, but its type is timestamp",
    ]
    path.write_text(BAD.partition("      bins:")[0])
    with Site(found) as made:
        ingest_collection(made, "goes")
        (warning,) = [one for one in ingest_collection(made, "x").warnings if "goes_xrs" in one]
    assert "goes.xrs already has a data set 'goes_xrs'" in warning
    assert "x.yaml:" in warning
    (one,) = descriptor.find_package_key_conflicts([descriptor.load_descriptor(tmp_path / f"collections/{name}/{name}.yaml", found) for name in ("goes", "x")])  # fmt: skip
    assert (one.place.file, one.message) == ("collections/x/x.yaml", "x.t: goes.xrs already has a data set 'goes_xrs'")
    # of rows that are spans, as rows of EPN-TAP may be
    text = "collection: x\ntitle: Days\ntables:\n  t:\n    source: {kind: parquet, files: ../../goes.parquet}\n    follow: true\n    links:\n      - series: goes_xr\n      - series: goes_xrs\n"
    path.write_text(text)
    goes, days = (
        descriptor.load_descriptor(tmp_path / f"collections/{name}/{name}.yaml", found) for name in ("goes", "x")
    )
    (one,) = descriptor.find_package_key_conflicts([days], [goes])
    assert one.message == "x.t.links: there is no data set 'goes_xr'"
    assert (one.place.file, one.place.line) == ("collections/x/x.yaml", 8)
    assert "goes_xrs" in one.remedy
    for arguments in (["check", "x"], ["check"]):
        said = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), *arguments])
        assert said.output.count("there is no data set") == 1, said.output


def test_many_parameters_take_linear_time(client: Client) -> None:
    """A hundred thousand take their number of steps, not its square."""
    begun = process_time()
    many = ",".join(f"x{at}" for at in range(100_000))
    for given, code in ((many, 1407), (f"{'short,' * 100_000}short", 1411)):
        answer = client.get("/hapi/data", **DATA, parameters=given)
        assert json.loads(answer.body)["status"]["code"] == code
        assert len(answer.body) < 2000
    columns = [Column(name=f"x{at}", type=FLOAT64) for at in range(100_000)]
    listed = tuple(SampleParameter(column=one, value_kind="double") for one in columns)
    wide: Any = SimpleNamespace(numeric_parameters=listed, sample_count=3)
    assert pyramids._count_numeric_values(wide) == 300_000
    assert process_time() - begun < 20  # of 2, and 1,000 or more


def test_a_disconnecting_client_ends_the_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(*_: Any, **__: Any) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield pa.record_batch([pa.array([START]), pa.array([1.0])], names=["hven_time", "short"])
        finally:
            ended.set()

    monkeypatch.setattr(sample_sets, "read_samples", endless)
    sent: list[bytes] = []

    async def leave_midway() -> None:
        gone = asyncio.Event()
        first = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if first:
                return first.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("body", b""))
            if len(sent) > 5:
                gone.set()

        query = urlencode(DATA | {"parameters": "short"}).encode()
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/hapi/data", "raw_path": b"/hapi/data", "root_path": "", "query_string": query, "headers": [(b"host", b"vo.example")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}  # fmt: skip
        await asyncio.wait_for(create_and_start_application(site)(scope, receive, send), 60)

    asyncio.run(leave_midway())
    gc.collect()
    assert ended.wait(10)
    assert all(line.count(b",") == 1 for body in sent for line in body.splitlines())  # no part of a line


def test_a_request_can_end_after_the_last_sample(tmp_path: Path) -> None:
    """As clients ask that follow: until now. What is not there yet is none; all that is there is sent."""
    folder = tmp_path / "collections/goes"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").touch()
    at = pa.array(START + np.arange(10) * 4 * SECOND).cast(pa.timestamp("us"))
    pq.write_table(pa.table({"at": at, "short": np.arange(10.0)}), folder / "a.parquet")
    (folder / "goes.yaml").write_text("collection: goes\ntitle: X rays\ndescription: Fluxes\ntables:\n  xrs:\n    source: {kind: parquet, files: a.parquet}\n    follow: true\n    columns: {at: {ucd: time.epoch}}\n    series: {cadence: 4 s, ahead: 1 h}\n")  # fmt: skip
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        ingest_collection(site, "goes")
        client = Client(create_and_start_application(site))
        said = fetch_json(client, "info", dataset="goes_xrs")
        assert said["stopDate"] == "2003-10-28T01:00:40.123000Z"
        given = {"dataset": "goes_xrs", "start": said["startDate"]}
        assert len(client.get("/hapi/data", **given, stop="2003-10-28T01:00:40.123Z").text.splitlines()) == 10
        none = client.get("/hapi/data", dataset="goes_xrs", start="2003-10-28T00:30Z", stop="2003-10-28T01:00Z", include="header")  # fmt: skip
        assert (none.status, '"code": 1201' in none.text) == (200, True)
        assert client.get("/hapi/data", **given, stop="2003-10-28T01:00:40.124Z").status == 400
