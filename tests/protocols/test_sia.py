"""SIA 1.0: boxes of the sky against astropy, formats, the words VOX:*, faults under status 200; services of one collection and their descriptions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from asgi_client import Client
from astropy.io.votable import parse
from lxml import etree

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

V = "{http://www.ivoa.net/xml/VOTable/v1.3}"
MANY = 3000
RADIUS = 0.5
DESCRIPTOR = """\
collection: {name}
title: Images
services: [tap, obscore, datalink, cone{services}]
tables:
  main:
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {{type: string, ucd: "meta.id;meta.main"}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      kind: string
      format: string
      s_region: {{type: circle, indexed: true}}
    map: {{s_region: "CIRCLE(ra, dec, 0.5)"}}
    links: [{{semantics: preview, text: "https://x.example/{{target.id}}.png"}}]
    obscore:
      set: {{facility_name: F, instrument_name: Camera, calib_level: 2, s_xel1: 400, s_xel2: 300, em_xel: 7, t_min: 51000, t_max: 51001, em_min: 4e-7, em_max: 6e-7, access_estsize: 3000, s_fov: 1}}
      map: {{dataproduct_type: kind, access_url: "'https://x.example/' || id || '.fits'", access_format: format, s_region: s_region, s_ra: ra, s_dec: dec, target_name: id}}
"""


def rows(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "id": np.array([f"o{seed}_{number}" for number in range(MANY)]),
        "ra": rng.uniform(0, 360, MANY).round(5),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, MANY))).round(5),
        "kind": rng.choice(["image", "cube", "spectrum"], MANY),
        "format": rng.choice(["image/fits", "image/png", "image/jpeg", "application/fits"], MANY),
    }


ROWS = {"one": rows(1), "two": rows(2)}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("sia")
    for name, services in (("one", ", sia, sia2"), ("two", ", sia2")):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, services=services))
        with (folder / "rows.csv").open("w") as file:
            csv.writer(file).writerows(
                [ROWS[name], *zip(*(column.tolist() for column in ROWS[name].values()), strict=True)]
            )
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(settings.load_settings(directory)) as made:
        for name in ("one", "two"):
            ingest_collection(made, name)
        yield Client(create_and_start_application(made))


def fetch_images(client: Client, *pairs: str, path: str = "/sia/ivoa.obscore") -> bytes:
    answer = client.ask("GET", path, "&".join(quote(pair, safe="=") for pair in pairs).encode())
    assert answer.status == 200, answer.text
    return answer.body


def found(client: Client, *pairs: str, path: str = "/sia/ivoa.obscore") -> list[dict[str, str]]:
    text = fetch_images(client, *pairs, "RESPONSEFORMAT=csv", "MAXREC=100000", path=path).decode()
    return list(csv.DictReader(io.StringIO(text)))


def find_images_in_box(ra: float, dec: float, width: float, height: float, grow: float) -> set[str]:
    """Find the images whose centre is in a box that is larger by `grow` on each side, in right ascension and declination."""
    given = ROWS["one"]
    east = np.abs((given["ra"] - ra + 180) % 360 - 180)
    half = width / 2 / np.cos(np.radians(dec))
    near = (np.abs(given["dec"] - dec) <= height / 2 + grow) & (east <= half + grow / np.cos(np.radians(given["dec"])))
    return set(given["id"][near & np.isin(given["kind"], ["image", "cube"])])


@pytest.mark.parametrize(
    ("ra", "dec", "size"), [(10, 5, (20, 20)), (0.5, -10, (12, 30)), (200, 40, (30, 8)), (359.9, 60, (20,))]
)
def test_boxes(client: Client, ra: float, dec: float, size: tuple[float, ...]) -> None:
    box = (ra, dec, size[0], size[-1])
    said = [f"POS={ra},{dec}", f"SIZE={','.join(map(str, size))}"]
    ids = {how: {row["title"] for row in found(client, *said, f"INTERSECT={how}")} for how in ("OVERLAPS", "ENCLOSED")}
    assert ids["ENCLOSED"] <= ids["OVERLAPS"]
    # circles of half a degree near corners: those between a box that is a little smaller and one that is a little larger are either
    assert find_images_in_box(*box, grow=0.3) <= ids["OVERLAPS"] <= find_images_in_box(*box, grow=0.56)
    assert find_images_in_box(*box, grow=-0.56) <= ids["ENCLOSED"] <= find_images_in_box(*box, grow=-0.49)
    assert len(find_images_in_box(*box, grow=-0.56)) > 3


def test_images_that_hold_a_place(client: Client) -> None:
    one = next(number for number, kind in enumerate(ROWS["one"]["kind"]) if kind == "image")
    ra, dec = ROWS["one"]["ra"][one], ROWS["one"]["dec"][one]
    wanted = {row["title"] for row in found(client, f"POS={ra},{dec}", "SIZE=0")}
    assert ROWS["one"]["id"][one] in wanted
    assert wanted == {row["title"] for row in found(client, f"POS={ra},{dec}", "SIZE=20", "INTERSECT=CENTER")}
    assert wanted == {row["title"] for row in found(client, f"POS={ra},{dec}", "SIZE=0.001", "INTERSECT=COVERS")}
    assert found(client, f"POS={ra},{dec}", "SIZE=3", "INTERSECT=COVERS") == []
    for turned in (ra - 360, ra + 360):
        assert {row["title"] for row in found(client, f"POS={turned},{dec}", "SIZE=0")} == wanted


def test_poles(client: Client) -> None:
    given = ROWS["one"]
    north = set(given["id"][(given["dec"] >= 80 - RADIUS) & np.isin(given["kind"], ["image", "cube"])])
    assert {row["title"] for row in found(client, "POS=123,89", "SIZE=1,18")} == north


def test_requested_formats_are_returned(client: Client) -> None:
    def formats(said: str) -> set[str]:
        return {row["format"] for row in found(client, "POS=10,5", "SIZE=60", f"FORMAT={said}")}

    assert formats("ALL") == {"image/fits", "image/png", "image/jpeg", "application/fits"}
    # STILTS and TOPCAT ask for image/fits by default; rows usually say application/fits
    fits = {"image/fits", "application/fits"}
    assert formats("image/fits") == formats("application/fits") == formats("image/x-fits") == fits
    assert formats("image/fits,image/png") == {*fits, "image/png"}
    assert formats("GRAPHIC") == formats("graphic-all") == {"image/png", "image/jpeg"}
    assert formats("GRAPHIC-jpeg,gif") == {"image/jpeg"}
    assert formats("text/html") == set()


def test_a_row_has_the_terms_of_the_protocol(client: Client) -> None:
    body = fetch_images(client, "POS=10,5", "SIZE=20", "FORMAT=image/fits")
    votable = parse(io.BytesIO(body))
    table = votable.get_first_table()
    fields = {one.ucd: one for one in table.fields if one.ucd}
    row = dict(zip([one.ucd for one in table.fields], table.array[0], strict=True))
    assert fields["VOX:Image_Naxis"].datatype == "int"
    assert (fields["VOX:Image_Scale"].datatype, fields["VOX:Image_Scale"].arraysize) == ("double", "*")
    kinds = dict(zip(ROWS["one"]["id"], ROWS["one"]["kind"], strict=True))
    cube = kinds[row["VOX:Image_Title"]] == "cube"
    assert row["VOX:Image_Naxes"] == (3 if cube else 2)
    assert list(row["VOX:Image_Naxis"]) == [400, 300, 7][: 3 if cube else 2]
    assert np.allclose(row["VOX:Image_Scale"], [0.002, 0.002])
    formats = dict(zip(ROWS["one"]["id"], ROWS["one"]["format"], strict=True))
    assert row["VOX:Image_Format"] == formats[row["VOX:Image_Title"]]
    assert (row["VOX:STC_CoordRefFrame"], row["INST_ID"]) == ("ICRS", "Camera")
    # the file itself, though the row of ivoa.obscore leads to the list of links
    assert row["VOX:Image_AccessReference"] == f"https://x.example/{row['VOX:Image_Title']}.fits"
    assert (row["VOX:Image_MJDateObs"], row["VOX:Image_FileSize"]) == (51000.5, 3_000_000)
    for answer in (body, fetch_images(client, "MAXREC=1", path="/sia2/one.main")):
        service, *itself = etree.fromstring(answer).iterfind(f"{V}RESOURCE[@utype='adhoc:service']")
        assert [one.get("name") for one in itself] == ([] if answer is body else ["this"])
        (url,) = (one.get("value") for one in service.iterfind(f"{V}PARAM[@name='accessURL']"))
        assert url == "https://vo.example/datalink/ivoa.obscore"
        assert service.find(f".//{V}PARAM[@name='ID']").get("ref") == "obs_publisher_did"
    assert len(parse(io.BytesIO(fetch_images(client, "POS=10,5", "SIZE=1", "VERB=0"))).get_first_table().fields) == 9


def test_a_request_for_metadata_returns_only_columns(client: Client) -> None:
    answer = client.get("/sia/ivoa.obscore", FORMAT="METADATA")
    assert answer.headers["content-type"] == "text/xml;content=x-votable"
    root = etree.fromstring(answer.body)
    (result,) = root.iterfind(f"{V}RESOURCE[@type='results']")
    assert result.find(f"{V}INFO[@name='QUERY_STATUS']").get("value") == "OK"
    params = {one.get("name"): one for one in result.iter(f"{V}PARAM")}
    assert {
        "INPUT:POS",
        "INPUT:SIZE",
        "INPUT:FORMAT",
        "INPUT:INTERSECT",
        "INPUT:NAXIS",
        "INPUT:PROJ",
        "INPUT:VERB",
    } <= params.keys()
    options = [one.get("value") for one in params["INPUT:INTERSECT"].iter(f"{V}OPTION")]
    assert options == ["OVERLAPS", "COVERS", "ENCLOSED", "CENTER"]
    assert not list(root.iter(f"{V}TR"))
    assert b"OVERFLOW" not in answer.body


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "POS is missing"),
        (["POS=10,5"], "SIZE is missing"),
        (["POS=10", "SIZE=1"], "is not a position"),
        (["POS=10,95", "SIZE=1"], "is not a position"),
        (["POS=a,b", "SIZE=1"], "write right ascension and declination"),
        (["POS=10,5", "SIZE=-1"], "SIZE='-1' is not valid"),
        (["POS=10,5", "SIZE=nan"], "SIZE='nan' is not valid"),
        (["POS=10,5", "SIZE=1", "INTERSECT=TOUCHES"], "INTERSECT='TOUCHES' is not valid"),
        (["POS=10,5", "SIZE=1", "VERB=7"], "VERB=7 is out of range"),
    ],
)
def test_faults_are_told_under_status_200(client: Client, pairs: list[str], words: str) -> None:
    root = etree.fromstring(fetch_images(client, *pairs))
    (info,) = root.iter(f"{V}INFO")
    assert info.get("value") == "ERROR"
    assert words in info.text
    assert root.find(f".//{V}TABLE") is None


def test_services_of_one_collection(client: Client) -> None:
    """By `services`: `one` has SIA 1 and 2, `two` SIA 2 alone."""
    place = ["POS=10,5", "SIZE=30"]
    both = {row["title"] for row in found(client, *place)}
    assert {title[:2] for title in both} == {"o1"}
    assert {row["title"] for row in found(client, *place, path="/sia/one.main")} == both
    assert client.get("/sia/two.main", POS="10,5", SIZE=1).status == 404
    circle = ["POS=CIRCLE 10 5 9"]
    ids = {
        name: {row["obs_id"][:2] for row in found(client, *circle, path=f"/sia2/{name}")}
        for name in ("ivoa.obscore", "one.main", "two.main")
    }
    assert ids == {"ivoa.obscore": {"o1", "o2"}, "one.main": {"o1"}, "two.main": {"o2"}}
    assert client.get("/ssa/one.main").status == 404
    assert "hven_url" not in client.get("/tap/tables").text


@pytest.mark.parametrize(
    ("path", "standard", "kind"),
    [
        ("sia/ivoa.obscore", "SIA", "sia:SimpleImageAccess"),
        ("sia/one.main", "SIA", "sia:SimpleImageAccess"),
        ("sia2/one.main", "SIA#query-2.0", None),
        ("cone/one.main", "ConeSearch", "cs:ConeSearch"),
    ],
)
def test_capabilities_equal_those_of_the_registry(client: Client, path: str, standard: str, kind: str | None) -> None:
    root = etree.fromstring(client.get(f"/{path}/capabilities").body)
    (found,) = root.iterfind(f"capability[@standardID='ivo://ivoa.net/std/{standard}']")
    assert found.get("{http://www.w3.org/2001/XMLSchema-instance}type") == kind
    assert found.findtext("interface/accessURL") == f"https://vo.example/{path}{'?' if kind else ''}"
