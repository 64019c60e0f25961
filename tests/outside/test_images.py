"""SIA 1, SIA 2, SSA, their links and services of rows as STILTS and pyvo ask for them: the engine of TOPCAT, and Python."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import pyvo
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from pyvo.dal.adhoc import DatalinkResults

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import Server, serve_site
from requirements import require_program
from shared import shared
from stilts import run_stilts

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

DESCRIPTOR = """\
collection: sky
title: Sky
services: [tap, obscore, datalink, sia, sia2, ssa]
tables:
  main:
    title: Images
    description: Images and spectra
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      kind: {type: string, description: Kind}
    links:
      - {semantics: preview, text: "https://x.example/{target.id}.png", type: image/png, description: "{target.id}, small"}
      - semantics: cutout
        description: "part of {target.id}"
        type: image/fits
        service:
          url: "{site.url}/cone/sky.main"
          params:
            SR: "0.001"
            RA: "{target.ra}"
            DEC: {value: "{target.dec}", unit: deg, ucd: pos.eq.dec}
            VERB: {values: ["1", "2"], example: "1"}
    obscore:
      set: {facility_name: F, instrument_name: Camera, calib_level: 2, s_xel1: 400, s_xel2: 300, t_min: 51000, t_max: 51001, em_min: 4e-7, em_max: 6e-7, s_fov: 1, access_format: image/fits, o_ucd: phot.flux}
      text: {access_url: "https://x.example/{id}.fits"}
      map: {dataproduct_type: kind, s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.5'", s_ra: ra, s_dec: dec, target_name: id}
"""
ROWS = "id,ra,dec,kind\na,10,5,image\nb,10.2,5.1,cube\nc,10,5,spectrum\nd,200,-5,image\ne,359.9,0,image\n"


@pytest.fixture(scope="module")
def image_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("images")
    (directory / "collections/sky").mkdir(parents=True)
    (directory / "collections/sky/sky.yaml").write_text(DESCRIPTOR.replace("datalink, sia", "datalink, cone, sia"))
    (directory / "collections/sky/rows.csv").write_text(ROWS)
    (directory / "hven.toml").touch()
    with Site(Settings(directory=directory)) as site:
        ingest_collection(site, "sky")
    with serve_site(directory) as server:
        yield server


@pytest.mark.parametrize("table", ["ivoa.obscore", "sky.main"])
def test_stilts_asks_for_images_and_spectra(image_server: Server, table: str) -> None:
    place = ["lon=10", "lat=5", "radius=1", "ofmt=csv"]

    def query_with_stilts(kind: str, name: str) -> list[dict[str, str]]:
        answer = run_stilts("cone", f"servicetype={kind}", f"serviceurl={image_server.url}/{name}/{table}", *place)
        return list(csv.DictReader(io.StringIO(answer.stdout)))

    assert sorted(row["title"] for row in query_with_stilts("sia1", "sia")) == ["a", "b"]
    assert sorted(row["obs_id"] for row in query_with_stilts("sia2", "sia2")) == ["a", "b"]
    assert [row["DataID_Title"] for row in query_with_stilts("ssa", "ssa")] == ["c"]


def test_pyvo_asks_for_images_of_old(image_server: Server) -> None:
    service = pyvo.dal.SIAService(f"{image_server.url}/sia/sky.main")
    found = service.search(pos=SkyCoord(10, 5, unit="deg"), size=1.0, format="image/fits")
    assert sorted(one.title for one in found) == ["a", "b"]
    one = next(one for one in found if one.title == "a")
    assert (one.getdataurl(), one.format, one.instr) == ("https://x.example/a.fits", "image/fits", "Camera")
    assert list(one.naxis.value if hasattr(one.naxis, "value") else one.naxis) == [400, 300]
    assert one.naxes == 2
    assert np.allclose(np.asarray(getattr(one.scale, "value", one.scale), float), 0.002)
    assert one.dateobs.mjd == 51000.5
    assert one.pos.separation(SkyCoord(10, 5, unit="deg")) < 1 * u.arcsec
    assert [link.semantics for link in one.getdatalink()] == ["#this"]
    assert len(service.search(pos=SkyCoord(0.1, 0, unit="deg"), size=(1.0, 1.0))) == 1
    assert len(service.search(pos=SkyCoord(100, 0, unit="deg"), size=1.0)) == 0
    with pytest.raises(pyvo.DALQueryError, match="SIZE"):
        service.search(pos=SkyCoord(10, 5, unit="deg"), size=-1.0)
    columns = pyvo.dal.SIAService(f"{image_server.url}/sia/sky.main").search(pos=(10, 5), size=1, format="METADATA")
    assert len(columns) == 0
    assert "url" in columns.fieldnames


@pytest.mark.filterwarnings(
    "ignore:.*Unknown element"
)  # params of interfaces (VODataService), which pyvo does not read
def test_pyvo_asks_for_images_and_spectra_of_today(image_server: Server) -> None:
    service = pyvo.dal.SIA2Service(f"{image_server.url}/sia2/ivoa.obscore")
    found = service.search(pos=(10, 5, 1), band=(4.5e-7, 5e-7), time=(Time(51000.2, format="mjd"), Time(51000.3, format="mjd")), instrument="Camera")  # fmt: skip
    assert sorted(one["target_name"] for one in found) == ["a", "b"]
    # the descriptor says that access_url is the file: without that, it leads to the list of all links
    assert [[link.semantics for link in links] for links in found.iter_datalinks()] == [["#this"]] * 2
    assert len(service.search(pos=(10, 5, 1), maxrec=1)) == 1
    assert len(service.search(pos=(10, 5, 1), band=(1e-6, 2e-6))) == 0
    assert "s_region" in service.search(pos=(10, 5, 1), maxrec=0).fieldnames
    spectra = pyvo.dal.SSAService(f"{image_server.url}/ssa/sky.main")
    found = spectra.search(pos=SkyCoord(10, 5, unit="deg"), diameter=1 * u.deg, band=(4.4e-7, 4.6e-7) * u.m)
    assert [(one.title, one.getdataurl(), one.format) for one in found] == [("c", "https://x.example/c.fits", "image/fits")]  # fmt: skip
    assert [link.semantics for link in found[0].getdatalink()] == ["#this"]
    links = DatalinkResults.from_result_url(f"{image_server.url}/datalink/sky.main?ID=c")
    assert [link.semantics for link in links] == ["#preview", "#cutout"]
    assert [one.description for one in links.iter_procs()] == ["part of c"]
    assert len(spectra.search(pos=SkyCoord(200, -5, unit="deg"), diameter=1 * u.deg)) == 0


@pytest.mark.parametrize(
    "path",
    [
        "datalink/sky.main?ID=a&ID=none",
        "ssa/sky.main?REQUEST=queryData&POS=10,5&SIZE=1",
        "sia2/sky.main?POS=CIRCLE+10+95+1",  # an error
        "cone/sky.main?RA=10&DEC=5&SR=1&VERB=3",
    ],
)
def test_votlint_has_nothing_to_say_of_what_products_answer(image_server: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "answer.vot").write_bytes(image_server.get(f"/{path}")[2])
    # it knows DALI as it was before shapes
    told = run_stilts("votlint", f"votable={tmp_path / 'answer.vot'}").stdout.splitlines()
    assert [line for line in told if 'Non-DALI xtype value "shape"' not in line] == []


def test_pyvo_asks_a_service_of_a_row(image_server: Server) -> None:
    # also without the list of links: the answer to a query describes it by its columns
    found = pyvo.dal.TAPService(f"{image_server.url}/tap").search("SELECT id, ra, dec FROM sky.main WHERE id = 'b'")
    (described,) = [one for one in found.iter_adhocservices() if "cone" in str(one.params)]
    taken = {one.name: one.ref for one in described.groups[0].entries if one.ref}
    assert taken == {"RA": "ra", "DEC": "dec"}
    links = DatalinkResults.from_result_url(f"{image_server.url}/datalink/sky.main?ID=b")
    link = next(links.bysemantics("#cutout", include_narrower=False))
    assert link.description == "part of b"
    answer = link.process(VERB="1")
    content = answer.read()
    assert b"<TD>b</TD>" in content
    assert b"<TD>a</TD>" not in content
    # as the row says
    (named,) = [one for one in links.votable.resources if link.service_def == one.ID]
    values = {param.name: param.value for param in named.groups[0].entries}
    assert (values["RA"], values["DEC"], values["SR"]) == ("10.2", "5.1", "0.001")


def test_stilts_finds_no_fault_in_links_with_services(image_server: Server) -> None:
    told = run_stilts("datalinklint", f"votable={image_server.url}/datalink/sky.main?ID=a&ID=none").stdout
    assert [line for line in told.splitlines() if line[:2] in {"E-", "W-", "F-"}] == []
    for path in (
        "sia/sky.main?POS=10,5&SIZE=1",
        "sia/sky.main?FORMAT=METADATA",
        "ssa/sky.main?FORMAT=METADATA&REQUEST=queryData",
        "sia2/sky.main",
    ):
        told = run_stilts("votlint", f"votable={image_server.url}/{path}").stdout.splitlines()
        assert [line for line in told if 'Non-DALI xtype value "shape"' not in line] == []  # it is one of DALI 1.2


@pytest.mark.parametrize(
    "path", ["sia/sky.main", "sia2/sky.main", "ssa/ivoa.obscore", "cone/sky.main", "datalink/sky.main"]
)
def test_capabilities_keep_their_schemas(image_server: Server, path: str, tmp_path: Path) -> None:
    schemas, file = shared("xsd/all.xsd"), tmp_path / "document.xml"
    file.write_bytes(image_server.get(f"/{path}/capabilities")[2])
    done = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, file], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:2000]


CUT = """\
collection: pics
title: Pictures
services: [tap, obscore, datalink, sia, soda, files]
files: "*.fits"
tables:
  main:
    source: rows.csv
    primary: id
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      file: {type: string, description: Its path}
      owner: {type: string, description: Whose}
    access: {take: "owner = 'all' or reader in (owner)", path: file}
    links: [{semantics: this, file: "{target.file}"}]
    obscore:
      set: {facility_name: F, instrument_name: Camera, calib_level: 2, s_fov: 1, access_format: image/fits, o_ucd: phot.flux, dataproduct_type: image}
      text: {access_url: "{site.url}/collections/pics/files/{id}.fits"}
      map: {s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.2'", s_ra: ra, s_dec: dec, target_name: id}
"""


def image(ra: float, dec: float, frame: str, turn: float) -> fits.PrimaryHDU:
    """An image of 300 x 200 pixels of 3.6 arcsec around a place, rotated."""
    kind = {"ICRS": ("RA---TAN", "DEC--TAN"), "galactic": ("GLON-SIN", "GLAT-SIN")}[frame]
    place = SkyCoord(ra, dec, unit="deg").transform_to(frame.lower()).spherical
    c, s = np.cos(np.radians(turn)) * 1e-3, np.sin(np.radians(turn)) * 1e-3
    cards = {"CTYPE1": kind[0], "CTYPE2": kind[1], "CRPIX1": 151.0, "CRPIX2": 99.5, "CRVAL1": place.lon.deg, "CRVAL2": place.lat.deg, "CD1_1": -c, "CD1_2": s, "CD2_1": s, "CD2_2": c}  # fmt: skip
    return fits.PrimaryHDU(np.arange(60_000.0, dtype="f4").reshape(200, 300), header=fits.Header(cards))


PICTURES = [("plain", 10.0, 5.0, "ICRS", 0.0, "all"), ("turned", 10.05, 5.02, "galactic", 33.0, "all"), ("locked", 10.0, 5.0, "ICRS", 0.0, "anna"), ("far", 11.0, 5.0, "ICRS", 0.0, "all"), ("gone", 10.0, 5.0, "ICRS", 0.0, "all")]  # fmt: skip


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_plugins("protocols", "soda")
    directory = tmp_path_factory.mktemp("virtual")
    folder = directory / "collections/pics"
    folder.mkdir(parents=True)
    (folder / "pics.yaml").write_text(CUT)
    (folder / "rows.csv").write_text("id,ra,dec,file,owner\n" + "".join(f"{one[0]},{one[1]},{one[2]},{one[0]}.fits,{one[5]}\n" for one in PICTURES))  # fmt: skip
    for name, *how, _ in PICTURES:
        if name != "gone":
            image(*how).writeto(folder / f"{name}.fits")
    (directory / "hven.toml").touch()
    with Site(Settings(directory=directory)) as site:
        ingest_collection(site, "pics")
    with serve_site(directory) as server:
        yield server


def test_virtual_images_equal_the_cuts_at_their_addresses(cut: Server) -> None:
    service = f"{cut.url}/sia/pics.main/cutouts"
    place = ["lon=10.02", "lat=5.01", "radius=0.02", "ofmt=csv"]
    told = run_stilts("cone", "servicetype=sia1", f"serviceurl={service}", *place)
    assert {row["title"] for row in csv.DictReader(io.StringIO(told.stdout))} == {"plain", "turned"}
    found = pyvo.dal.SIAService(service).search(pos=SkyCoord(10.02, 5.01, unit="deg"), size=(0.04, 0.02), format="image/fits")  # fmt: skip
    assert sorted(one.title for one in found) == ["plain", "turned"]
    for row in found:
        body = urlopen(row.getdataurl()).read()
        opened = fits.open(io.BytesIO(body))
        data, wcs = opened[0].data, WCS(opened[0].header)
        assert [*map(int, row.getbyucd("VOX:Image_Naxis"))] == [data.shape[1], data.shape[0]]
        assert row["bytes"] == len(body)
        crpix, crval, cd = (np.asarray(row[name], float) for name in ("crpix", "crval", "cd"))
        assert np.allclose(crpix, wcs.wcs.crpix, atol=1e-9)
        assert np.allclose(crval, wcs.wcs.crval, atol=1e-12)
        assert np.allclose(cd, wcs.pixel_scale_matrix.ravel(), rtol=1e-12)
        assert row["projection"] == wcs.wcs.ctype[0][5:8]
        middle = wcs.pixel_to_world(*(np.array(data.shape[::-1]) - 1) / 2).icrs
        assert row.pos.separation(middle) < 1e-6 * u.arcsec
        assert np.allclose(np.asarray(row["scale"], float), 1e-3)
        # all of the box is in it, and little more
        corners = SkyCoord([10.0, 10.04, 10.0, 10.04], [5.0, 5.0, 5.02, 5.02], unit="deg")
        for at, size in zip(wcs.world_to_pixel(corners), reversed(data.shape), strict=True):
            assert ((at > -0.51) & (at < size - 0.49)).all()
        assert data.size < 60_000 / 20
        # the same pixels as the original's
        whole = fits.open(io.BytesIO(cut.get(f"/collections/pics/files/{row.title}.fits")[2]))[0]
        at = WCS(whole.header).world_to_pixel(wcs.pixel_to_world(0, 0))
        assert whole.data[round(float(at[1])), round(float(at[0]))] == data[0, 0]
    whole = pyvo.dal.SIAService(service).search(pos=SkyCoord(10, 5, unit="deg"), size=0.0)
    assert {tuple(map(int, one.getbyucd("VOX:Image_Naxis"))) for one in whole} == {(300, 200)}
    for words in ({"format": "image/png"}, {"format": "METADATA"}):
        assert len(pyvo.dal.SIAService(service).search(pos=(10, 5), size=0.1, **words)) == 0
    with pytest.raises(pyvo.DALQueryError, match="SIZE"):
        pyvo.dal.SIAService(service).search(pos=SkyCoord(10, 5, unit="deg"), size=-1.0)
    for path in ("sia/pics.main/cutouts?POS=10,5&SIZE=0.1", "sia/pics.main/cutouts?FORMAT=METADATA", "collections/pics/headers/plain.fits?RESPONSEFORMAT=votable"):  # fmt: skip
        assert run_stilts("votlint", f"votable={cut.url}/{path}").stdout == ""
    assert b"Cutout" in cut.get("/sia/pics.main/cutouts/capabilities")[2]
    status, _, body = cut.get("/sia/ivoa.obscore/cutouts?POS=1,1&SIZE=1")
    assert (status, b"ivoa.obscore has no files from which parts can be cut out" in body) == (404, True)
