"""SODA 1.0: cuts of rows' files by sky, wavelength, polarization and pixels; descriptors with the file's bounds; errors by the standard's words."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Answer, Client
from astropy.io import fits
from astropy.wcs import WCS
from lxml import etree

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.model.table import ServiceParameter
from hven.plugins.cutouts import cutouts
from hven.site import Site

V = "{http://www.ivoa.net/xml/VOTable/v1.3}"
DESCRIPTOR = """\
collection: cubes
title: Cubes
files: [data/*]
tables:
  main:
    source: rows.csv
    primary: obs_id
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, file: string, owner: string}
    access: {take: "owner = 'open' or reader in (owner)", path: file}
    links:
      - {semantics: this, file: "{target.file}", description: "cube {target.obs_id}"}
    obscore: {set: {dataproduct_type: cube, calib_level: 2}}
  hidden:
    source: rows.csv
    primary: obs_id
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, file: string, owner: string}
    access: {rows: "owner = 'open' or reader in (owner)", path: file}
    links:
      - {semantics: this, file: "{target.file}"}
  plain:
    source: rows.csv
    primary: obs_id
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, file: string}
"""
FILES = {
    "cube": "cube.fits",
    "text": "notes.txt",
    "gone": "gone.fits",
    "broken": "broken.fits",
    "empty": "empty.fits",
    "table": "table.fits",
}


def cube() -> fits.HDUList:
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CRVAL1": 10.0,
            "CRPIX1": 51,
            "CDELT1": -1e-3,
            "CTYPE2": "DEC--TAN",
            "CRVAL2": 20.0,
            "CRPIX2": 41,
            "CDELT2": 1e-3,
        }
    )
    for name, value in {
        "CTYPE3": "WAVE",
        "CUNIT3": "nm",
        "CRVAL3": 500.0,
        "CRPIX3": 1,
        "CDELT3": 1.0,
        "CTYPE4": "STOKES",
        "CRVAL4": 1,
        "CRPIX4": 1,
        "CDELT4": 1,
        "BUNIT": "Jy",
    }.items():
        header[name] = value
    data = np.arange(2 * 20 * 80 * 100, dtype="f4").reshape(2, 20, 80, 100)
    error = fits.ImageHDU((data / 10).astype("f4"), header, name="ERROR")
    return fits.HDUList([fits.PrimaryHDU(data, header), error])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("soda")
    folder = directory / "collections" / "cubes"
    (folder / "data").mkdir(parents=True)
    (folder / "cubes.yaml").write_text(DESCRIPTOR)
    lines = [f"{name},data/{file},open" for name, file in FILES.items()] + [
        "locked,data/locked.fits,anna",
        "lost,data/never.fits,open",
        "blank,,open",
        "odd/ü?x,data/cube.fits,open",
    ]
    (folder / "rows.csv").write_text("obs_id,file,owner\n" + "\n".join(lines) + "\n")
    cube().writeto(folder / "data" / "cube.fits")
    shutil.copy(folder / "data" / "cube.fits", folder / "data" / "locked.fits")
    shutil.copy(folder / "data" / "cube.fits", folder / "data" / "gone.fits")
    (folder / "data" / "notes.txt").write_text("no image")
    (folder / "data" / "empty.fits").touch()
    (folder / "data" / "broken.fits").write_bytes((folder / "data" / "cube.fits").read_bytes()[:20_000])
    fits.BinTableHDU.from_columns([fits.Column("WAVE", "D", "nm", array=np.arange(5.0))]).writeto(
        folder / "data" / "table.fits"
    )
    (directory / "hven.toml").touch()
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "cubes")
        (folder / "data" / "gone.fits").unlink()
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def cut(client: Client, **params: object) -> Answer:
    return client.get("/soda/sync", TABLE="cubes.main", **{"ID": "cube", **params})


def read(answer: Answer) -> fits.HDUList:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    assert int(answer.headers["content-length"]) == len(answer.body)
    return fits.open(io.BytesIO(answer.body))


def test_a_circle_and_wavelengths_are_cut_together_with_errors(client: Client) -> None:
    found = read(cut(client, CIRCLE="10 20 0.01", BAND="5.05e-7 5.08e-7", POL="Q"))
    whole = cube()
    assert [one.shape for one in found] == [(1, 4, 21, 21)] * 2
    assert np.array_equal(found[0].data, whole[0].data[1:2, 5:9, 30:51, 40:61])
    assert np.array_equal(found["ERROR"].data, whole[1].data[1:2, 5:9, 30:51, 40:61])
    wcs = WCS(found[0].header)
    assert wcs.celestial.all_pix2world([[10, 10]], 0)[0] == pytest.approx([10, 20], abs=1e-9)
    assert wcs.spectral.all_pix2world([0], 0)[0][0] == pytest.approx(5.05e-7)
    assert found[0].header["CRPIX4"] == 0.0
    assert "cube of http://testserver" in str(found[0].header["HISTORY"]) or "cube of " in str(
        found[0].header["HISTORY"]
    )


def test_all_position_parameters_agree(client: Client) -> None:
    bodies = {
        cut(client, **{name: text}).body
        for name, text in (("POS", "CIRCLE 10 20 0.01"), ("CIRCLE", "10 20 0.01"), ("POS", "circle 10 20 0.01"))
    }
    assert len(bodies) == 1
    ring = "9.99 19.99 10.01 19.99 10.01 20.01 9.99 20.01"
    assert cut(client, POLYGON=ring).body[:2880] == cut(client, POS=f"POLYGON {ring}").body[:2880]
    assert read(cut(client, POS="RANGE 9.99 10.01 -Inf +Inf"))[0].data.shape == (2, 20, 80, 19)
    assert read(cut(client, POS="CIRCLE 190 20 180"))[0].data.shape == (2, 20, 80, 100)


def test_a_point_is_the_pixel_that_holds_it(client: Client) -> None:
    (whole,) = read(cut(client, CIRCLE="10 20 0.0003", BAND="5e-7", POL="I", PART="0"))
    (point,) = read(cut(client, CIRCLE="10 20 0", BAND="5e-7", POL="I", PART="0"))
    assert np.array_equal(point.data, whole.data)
    assert point.data.shape == (1, 1, 1, 1)


def test_pixels_and_file_parts_can_be_selected(client: Client) -> None:
    found = read(cut(client, PIXELS_1="2 4", PIXELS_3="-Inf 2", PART="error"))
    assert [one.shape for one in found if one.data is not None] == [(2, 2, 80, 3)]
    assert np.array_equal(found[1].data, cube()[1].data[:, :2, :, 1:4])
    assert read(cut(client))[0].data.shape == (2, 20, 80, 100)


@pytest.mark.parametrize(
    "params",
    [
        {"CIRCLE": "50 50 0.1"},
        {"BAND": "6e-7 7e-7"},
        {"BAND": "1e-10 2e-10"},
        {"BAND": "0.01 0.02"},
        {"CIRCLE": "10.2 20 0"},
        {"POL": "RR"},
        {"PIXELS_1": "101 200"},
        {"POS": "RANGE 11 12 20 21"},
    ],
    ids=str,
)
def test_an_empty_cut_returns_no_content(client: Client, params: dict[str, str]) -> None:
    answer = cut(client, **params)
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"BAND": "505 508"}, 400, "UsageError: BAND must be in metres; the file covers 5e-07 to 5.19e-07 m"),
        ({"BAND": "NaN 1"}, 400, "UsageError: BAND='NaN 1' has an end that is not a number"),
        ({"BAND": "2 1"}, 400, "UsageError"),
        ({"CIRCLE": "10 20"}, 400, "UsageError: CIRCLE='10 20'"),
        ({"POLYGON": "1 2 3 4"}, 400, "UsageError: POLYGON"),
        ({"POS": "BOX 1 2 3 4"}, 400, "UsageError: POS"),
        ({"TIME": "50000 50001"}, 400, "UsageError: TIME cannot cut the array"),
        ({"PIXELS_4": "a"}, 400, "UsageError"),
        ({"PART": "7"}, 400, "UsageError: the file has no part '7'"),
        ({"ID": ""}, 400, "UsageError: ID is missing"),
        ({"ID": "none"}, 404, "UsageError: no row"),
        ({"ID": "../../etc/passwd"}, 404, "UsageError: no row"),
        ({"ID": "lost"}, 404, "UsageError"),
        ({"ID": "blank"}, 404, "UsageError: the row blank has no file from which parts can be cut out"),
        ({"ID": "gone"}, 503, "ServiceUnavailable: the file data/gone.fits is missing at the moment"),
        ({"ID": "text"}, 400, "UsageError: Hven cannot read the format of notes.txt"),
        ({"ID": "empty"}, 400, "UsageError: empty.fits is empty"),
        ({"ID": "broken"}, 400, "UsageError"),
        ({"ID": "locked"}, 401, "AuthenticationError: the file data/locked.fits is locked"),
        ({"TABLE": "cubes.plain"}, 404, "UsageError: the rows of cubes.plain have no files"),
        ({"TABLE": "no.such"}, 404, "UsageError"),
    ],
    ids=str,
)  # fmt: skip
def test_faults_have_the_terms_of_the_standard(client: Client, params: dict[str, str], status: int, words: str) -> None:
    answer = client.get("/soda/sync", **{"TABLE": "cubes.main", "ID": "cube", **params})
    assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert answer.text.startswith(words)
    assert "/collections/cubes/data" not in answer.text
    assert "tmp" not in answer.text


def test_a_hidden_row_is_none(client: Client) -> None:
    hidden, none = (client.get("/soda/sync", TABLE="cubes.hidden", ID=name) for name in ("locked", "nobody"))
    assert hidden.status == none.status == 404
    assert hidden.text.partition("[request")[0] == none.text.partition("[request")[0]


def test_what_is_not_understood_is_named(client: Client) -> None:
    assert "ignored unknown parameters: ELSEWHERE" in str(
        read(cut(client, PIXELS_1="1 2", ELSEWHERE=1))[0].header["HISTORY"]
    )


def test_several_values_are_for_jobs(client: Client) -> None:
    answer = client.ask("GET", "/soda/sync", b"TABLE=cubes.main&ID=cube&CIRCLE=10+20+1&CIRCLE=11+20+1")
    assert answer.status == 400
    assert answer.text.startswith("MultiValuedParamNotSupported: POS is given several times")
    many = (
        "&".join(f"CIRCLE={number}+0+1" for number in range(200))
        + "&"
        + "&".join(f"BAND={number}" for number in range(200))
    )
    assert (
        client.ask(
            "POST",
            "/soda/sync",
            body=f"TABLE=cubes.main&ID=cube&{many}".encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        ).status
        == 400
    )
    answer = client.ask(
        "POST",
        "/soda/async",
        body=f"TABLE=cubes.main&ID=cube&PHASE=RUN&{many}".encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status in {303, 413}


def test_a_job_makes_a_result_for_each_cut(client: Client, site: Site) -> None:
    body = b"TABLE=cubes.main&ID=cube&ID=locked&CIRCLE=10+20+0.01&CIRCLE=60+20+0.01&PACKAGE=zip&PHASE=RUN"
    made = client.ask("POST", "/soda/async", body=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert made.status == 303
    path = made.headers["location"].partition("/soda")[2]
    assert run_next_job(site)
    job = client.get(f"/soda{path}").text
    assert "COMPLETED" in job
    results = [client.get(f"/soda{path}/results/cut{number}") for number in range(1, 5)]
    assert fits.open(io.BytesIO(results[0].body))[0].data.shape == (2, 20, 21, 21)
    assert results[1].text == "Error: cube: the file contains no part of the requested region\n"
    assert results[2].text.startswith("AuthenticationError: locked: the file data/locked.fits is locked")
    package = client.get(f"/soda{path}/results/package")
    assert package.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(package.body)) as opened:
        assert opened.testzip() is None
        names = ["cuts/cut1_cube.fits", "cuts/cut2.txt", "cuts/cut3.txt", "cuts/cut4.txt"]
        assert [opened.read(name) for name in names] == [one.body for one in results]
        assert sorted(opened.namelist()) == names
    refused = client.post("/soda/async", TABLE="cubes.main", ID="cube", PACKAGE="rar", PHASE="RUN")
    assert (refused.status, "PACKAGE" in refused.text) == (400, True)


def test_rows_lead_to_cuts_inside_their_file(client: Client) -> None:
    root = etree.fromstring(client.get("/datalink/cubes.main", ID="cube").body)
    ids = {row[5].text: row[2].text for row in root.iter(f"{V}TR")}
    assert {"#this", "#cutout"} <= ids.keys()
    services = [one for one in root.iter(f"{V}RESOURCE") if one.get("utype") == "adhoc:service"]
    said = [{param.get("name"): param.get("value") for param in one.iterfind(f"{V}PARAM")} for one in services]
    assert [one["standardID"] for one in said] == [
        "ivo://ivoa.net/std/SODA#sync-1.0",
        "ivo://ivoa.net/std/SODA#async-1.0",
    ]
    inputs = {param.get("name"): param for param in services[0].iterfind(f"{V}GROUP/{V}PARAM")}
    assert (inputs["ID"].get("value"), inputs["TABLE"].get("value")) == ("cube", "cubes.main")
    assert float(inputs["BAND"].find(f"{V}VALUES/{V}MIN").get("value")) == pytest.approx(5e-7)
    lon, lat, radius = map(float, inputs["CIRCLE"].find(f"{V}VALUES/{V}MAX").get("value").split())
    assert (lon, lat, radius) == pytest.approx((10.0, 20.0, 0.064), abs=1e-3)
    assert [one.get("value") for one in inputs["POL"].iterfind(f"{V}VALUES/{V}OPTION")] == ["I", "Q"]
    assert [one.get("value") for one in inputs["PART"].iterfind(f"{V}VALUES/{V}OPTION")] == ["PRIMARY", "ERROR"]
    assert "TIME" not in inputs
    assert (inputs["CIRCLE"].get("ucd"), inputs["CIRCLE"].get("unit"), inputs["CIRCLE"].get("xtype")) == (
        "pos.outline;obs",
        "deg",
        "circle",
    )
    # a text has nothing to cut, a locked file nothing to be told of
    for name in ("text", "locked"):
        assert "#cutout" not in client.get("/datalink/cubes.main", ID=name, RESPONSEFORMAT="csv").text


def test_tables_are_cut_by_the_metadata_of_their_columns(client: Client) -> None:
    root = etree.fromstring(client.get("/datalink/cubes.main", ID="table").body)
    service = next(one for one in root.iter(f"{V}RESOURCE") if one.get("utype") == "adhoc:service")
    inputs = {one.get("name"): one for one in service.iterfind(f"{V}GROUP/{V}PARAM")}
    assert [*inputs] == ["ID", "TABLE", "BAND", "PART"]
    bounds = [float(inputs["BAND"].find(f"{V}VALUES/{V}{end}").get("value")) for end in ("MIN", "MAX")]
    assert bounds == pytest.approx([0.0, 4e-9])
    (_, rows) = read(cut(client, ID="table", BAND="1.5e-9 3e-9"))
    assert list(rows.data["WAVE"]) == [2.0, 3.0]


def test_observations_are_cut_through_their_service_descriptors(client: Client) -> None:
    """Rows of ivoa.obscore lead to the links of their rows, and are cut, by their publisher's identifiers: nobody is sent from list to list."""
    asked = "SELECT * FROM ivoa.obscore WHERE obs_id = 'cube'"
    named = client.get("/tap/sync", LANG="ADQL", QUERY=asked.replace("*", "obs_publisher_did"), RESPONSEFORMAT="csv")
    did = named.text.split()[1]
    answers = (
        client.get("/tap/sync", LANG="ADQL", QUERY=asked),
        client.get("/sia2/ivoa.obscore", ID=did),
        client.get("/sia/ivoa.obscore", POS="10,20", SIZE="1"),
        client.get("/ssa/ivoa.obscore", REQUEST="queryData", MAXREC="0"),
    )
    for answer in answers:
        root = etree.fromstring(answer.body)
        found = [one for one in root.iter(f"{V}RESOURCE") if one.get("name") in {"links", "cuts"}]
        said = [{one.get("name"): one.get("value") for one in each.iterfind(f"{V}PARAM")} for each in found]
        assert [one["standardID"].partition("#")[2] for one in said] == ["links-1.1", "sync-1.0"]
        inputs = {one.get("name"): one for one in found[1].iterfind(f"{V}GROUP/{V}PARAM")}
        assert inputs["ID"].get("ref") in {one.get("ID") for one in root.iter(f"{V}FIELD")}
        assert inputs["TABLE"].get("value") == "ivoa.obscore"
    whole = client.get("/soda/sync", TABLE="cubes.main", ID="cube", PIXELS_1="1 2").body
    piece = client.get("/soda/sync", TABLE="ivoa.obscore", ID=did, PIXELS_1="1 2").body
    assert np.array_equal(fits.getdata(io.BytesIO(piece)), fits.getdata(io.BytesIO(whole)))
    told = client.get("/datalink/ivoa.obscore", ID=did, RESPONSEFORMAT="csv").text
    assert told == client.get("/datalink/cubes.main", ID="cube", RESPONSEFORMAT="csv").text.replace(
        "\ncube,", f"\n{did},"
    )
    for name, status, words in (
        ("locked", 401, "AuthenticationError"),
        ("none", 404, "UsageError: no row"),
        ("text", 400, "UsageError"),
    ):
        answer = client.get("/soda/sync", TABLE="ivoa.obscore", ID=did.replace("?cube", f"?{name}"), PIXELS_1="1 2")
        assert (answer.status, words in answer.text) == (status, True), answer.text


def test_an_odd_identifier(client: Client) -> None:
    assert read(cut(client, ID="odd/ü?x", PIXELS_1="1 2"))[0].data.shape[-1] == 2


def test_a_cut_is_not_sent_twice(client: Client) -> None:
    tag = cut(client, PIXELS_1="1 2").headers["etag"]
    again = client.ask("GET", "/soda/sync", b"TABLE=cubes.main&ID=cube&PIXELS_1=1+2", headers={"if-none-match": tag})
    assert (again.status, again.body) == (304, b"")
    assert cut(client, PIXELS_1="1 3").headers["etag"] != tag


def test_capabilities_tell_both(client: Client) -> None:
    root = etree.fromstring(client.get("/soda/capabilities").body)
    assert {one.get("standardID") for one in root.iter("capability")} >= {
        "ivo://ivoa.net/std/SODA#sync-1.0",
        "ivo://ivoa.net/std/SODA#async-1.0",
    }


def test_what_is_known_of_a_file_is_that_of_its_state(tmp_path: Path) -> None:
    path, known = tmp_path / "one.fits", cutouts.CutoutParameterCache()
    inputs = [ServiceParameter(param=param) for param in cutouts.CUTOUT_PARAMS]
    cube().writeto(path)
    found = cutouts.fit_cutout_params_to_file(inputs, path, known)
    assert (found["PIXELS_1"].high, found["PIXELS_2"].high, "BAND" in found) == (("100",), ("80",), True)
    assert cutouts.fit_cutout_params_to_file(inputs, path, known) is found
    fits.PrimaryHDU(np.zeros((7, 9), "f4")).writeto(path, overwrite=True)
    assert cutouts.fit_cutout_params_to_file(inputs, path, known)["PIXELS_1"].high == ("9",)
    path.write_text("no image")
    assert cutouts.fit_cutout_params_to_file(inputs, path, known) == {}
