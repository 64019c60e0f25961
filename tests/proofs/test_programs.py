"""Proof: what products become is opened by TOPCAT, Aladin and DS9 of Debian, each started on a screen that nobody sees and told by SAMP; pixels are where astropy has them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.wcs import WCS
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))  # Aladin is told there what to do

from aladin_desktop import run_aladin

from plugin_needs import require_medium, require_plugins
from process_runner import Server, run_hven, serve_site, wait_until
from requirements import require_program
from shared import shared

FULL = os.environ.get("HVEN_PROOF") == "full"
pytestmark = [
    pytest.mark.outside,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # headers of missions
    pytest.mark.needs("proof"),
]

REAL = (
    "planetary/cubes/*.qub", "planetary/cubes/*.IMG", "planetary/cubes/*.cub", "planetary/pds4/colors.*", "planetary/maps/*.fits",
    "helio/cdf/*.cdf", "helio/timeseries/*.nc", "interferometry/oifits/*", "images/gc_2mass_k.fits", "images/HorseHead.fits", "images/l1448_13co.fits",
    "helio/sharp/*magnetogram.fits", "helio/images/aia_171_level1.fits",
)  # fmt: skip
HORSEHEAD = "HorseHead.fits"  # has a plate solution besides its WCS, which DS9 and Aladin take
SAVED = ("array_float32_2d.sav", "array_float32_3d.sav", "struct_arrays.sav")  # of scipy's own tests
MAP = """PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 160
FILE_RECORDS = 80
^IMAGE = ("mars.img", 1)
TARGET_NAME = MARS
OBJECT = IMAGE
  LINES = 80
  LINE_SAMPLES = 160
  SAMPLE_TYPE = UNSIGNED_INTEGER
  SAMPLE_BITS = 8
END_OBJECT = IMAGE
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "SIMPLE CYLINDRICAL"
  A_AXIS_RADIUS = 3396.19 <KM>
  C_AXIS_RADIUS = 3376.20 <KM>
  MAP_RESOLUTION = 2.0 <PIX/DEG>
  CENTER_LATITUDE = 0.0
  CENTER_LONGITUDE = 180.0
  LINE_PROJECTION_OFFSET = 40.0
  SAMPLE_PROJECTION_OFFSET = 80.0
  MAXIMUM_LATITUDE = 20.0
  POSITIVE_LONGITUDE_DIRECTION = EAST
  COORDINATE_SYSTEM_NAME = "PLANETOCENTRIC"
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""


CUTS = {
    "gc_2mass_k.fits": "POS=RANGE 266.38 266.42 -29.02 -28.98",
    "l1448_13co.fits": "CIRCLE=51.25 30.8 0.1",
    "PIONIER_intro.fits": "BAND=1.5e-6 1.7e-6",
}
DESCRIPTOR = """\
collection: products
title: Products
description: Of all kinds
files: data/*
tables:
  main:
    source: rows.csv
    primary: file
    columns: {file: {type: string, ucd: "meta.id;meta.main"}}
    links: [{semantics: this, file: "data/{target.file}"}]
"""


class FitsProduct(NamedTuple):
    """A product, or a cut of one, as FITS: its address, and what astropy finds in it."""

    name: str
    url: str
    images: list[int]  # HDUs
    tables: list[int]
    body: bytes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_plugins("protocols", "conversions", "soda")
    require_plugins("media", "cdf", "netcdf", "sav")
    require_medium(next(shared("data/planetary/cubes").glob("*.qub")))
    site = tmp_path_factory.mktemp("programs") / "site"
    run_hven("init", site)
    folder = site / "collections" / "products"
    (folder / "data").mkdir(parents=True)
    for pattern in REAL:
        where, _, name = pattern.rpartition("/")
        for path in shared(f"data/{where}").glob(name):
            if "bad_V1" not in path.name:
                shutil.copy(path, folder / "data")
    saved = Path(pytest.importorskip("scipy.io").__file__).parent / "tests" / "data"
    for name in SAVED:
        if (saved / name).exists():
            shutil.copy(saved / name, folder / "data")
    (folder / "data" / "mars.lbl").write_text(MAP.replace("\n", "\r\n"))
    (folder / "data" / "mars.img").write_bytes(
        (np.add.outer(np.arange(80), np.arange(160)) % 251).astype("u1").tobytes()
    )
    (folder / "products.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("file\n" + "".join(f"{name}\n" for name in CUTS))
    run_hven("ingest", "products", "--site", site)
    with serve_site(site) as made:
        yield made


@pytest.fixture(scope="module")
def products(server: Server) -> list[FitsProduct]:
    """Take each product as FITS, and what has tables as VOTable as well."""
    made = []
    paths = sorted((server.site / "collections/products/data").iterdir())
    kinds = {path.name: f"/collections/products/as/fits/data/{quote(path.name)}" for path in paths if path.name not in {"colors.tab", "mars.img"}}  # fmt: skip
    kinds |= {f"cut of {name}": f"/soda/sync?TABLE=products.main&ID={name}&{quote(wanted, safe='=')}" for name, wanted in CUTS.items()}  # fmt: skip
    for name, address in kinds.items():
        body = urllib.request.urlopen(f"{server.url}{address}").read()
        with fits.open(io.BytesIO(body)) as opened:
            images = [at for at, one in enumerate(opened) if one.is_image and one.header["NAXIS"] > 1 and one.size]
            tables = [at for at, one in enumerate(opened) if isinstance(one, fits.BinTableHDU) and not isinstance(one, fits.CompImageHDU) and one.name != "WCS-TAB"]  # fmt: skip
        made.append(FitsProduct(name, f"{server.url}{address}", images, tables, body))
    assert len(made) > 35, [one.name for one in made]
    return made


class Screen:
    """A program on a screen of its own, that speaks to a hub of ours."""

    def __init__(self, name: str, line: list[object], hub: SAMPHubServer, home: Path) -> None:
        known = {"SAMP_HUB": f"std-lockurl:file://{home}/.samp", "HOME": str(home)}
        words = [require_program("xvfb-run"), "-a", "-s", "-screen 0 1200x900x24", *map(str, line)]
        self.process = subprocess.Popen(words, env={**os.environ, **known}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        self.client = SAMPIntegratedClient(name="test", addr="127.0.0.1")
        self.client.connect(hub=hub)
        self.ident = ""

        def is_registered() -> bool:
            for ident in self.client.get_registered_clients():
                if name in str(self.client.get_metadata(ident).get("samp.name", "")).lower():
                    self.ident = ident
            return bool(self.ident)

        wait_until(is_registered, 120, 0.5)
        wait_until(lambda: self.client.get_subscriptions(self.ident), 60, 0.5)

    def call(self, mtype: str, **params: str) -> dict[str, Any]:
        message = {"samp.mtype": mtype, "samp.params": params}
        return dict(self.client.call_and_wait(self.ident, message, "120"))

    def close(self) -> None:
        self.client.disconnect()
        subprocess.run(["kill", "--", f"-{self.process.pid}"], check=False)
        self.process.wait(30)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SAMPHubServer]:
    made = SAMPHubServer(
        web_profile=False, mode="multiple", lockfile=str(tmp_path / ".samp"), addr="127.0.0.1", label="test"
    )
    made.start()
    yield made
    made.stop()


def test_topcat_opens_every_table(
    products: list[FitsProduct], server: Server, hub: SAMPHubServer, tmp_path: Path
) -> None:
    topcat = Screen("topcat", [require_program("topcat")], hub, tmp_path)
    refused, loaded = [], 0
    try:
        for one in products:
            for at in one.tables[:2]:
                for form, mtype in (("fits", "table.load.fits"), ("votable", "table.load.votable")):
                    if form == "votable" and at != one.tables[0]:
                        continue
                    name = fits.open(io.BytesIO(one.body))[at].name
                    if form == "votable" and "/soda/" in one.url:
                        continue
                    part = f"?PART={quote(name)}" if name and "/soda/" not in one.url else ""
                    url = one.url.replace("/as/fits/", f"/as/{form}/") + part
                    said = topcat.call(mtype, url=url, name=f"{one.name} {at}")
                    loaded += 1
                    if said.get("samp.status") != "samp.ok":
                        refused.append((one.name, name, form, said.get("samp.error")))
        lost = topcat.call("table.load.fits", url=f"{server.url}/collections/products/as/fits/data/none.fits")
        links = topcat.call("table.load.votable", url=f"{server.url}/datalink/products.main?ID=gc_2mass_k.fits")
    finally:
        topcat.close()
    print(f"TOPCAT: {loaded} tables")
    assert refused == []
    assert loaded > 50
    assert lost["samp.status"] != "samp.ok", "it tells of what it cannot load"
    assert links["samp.status"] == "samp.ok", "a list of links"


def locate_pixel(opened: Any, hdu: Any, x: float, y: float) -> tuple[float, float] | None:
    """Give the place of a pixel, as astropy has it: of the sky ICRS, else longitude and latitude as they are; None: it has none."""
    wcs = WCS(hdu.header, opened)
    # of the Sun's disc programs take minutes of arc for degrees
    if not wcs.has_celestial or {wcs.wcs.lng, wcs.wcs.lat} != {0, 1} or wcs.wcs.ctype[0].startswith("HP"):
        return None
    flat = wcs.celestial
    if flat.wcs.ctype[0].startswith(("RA", "GLON", "DEC", "GLAT")):
        place = flat.pixel_to_world(x - 1, y - 1).icrs
        return float(place.ra.deg), float(place.dec.deg)
    lon, lat = flat.wcs_pix2world([[x, y]], 1)[0]
    return float(lon), float(lat)


def measure_distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(abs((one[0] - other[0] + 180) % 360 - 180), abs(one[1] - other[1]))


def test_ds9_shows_every_image_with_its_pixels_where_they_are(
    products: list[FitsProduct], hub: SAMPHubServer, tmp_path: Path
) -> None:
    ds9 = Screen("ds9", [require_program("ds9"), "-samp", "yes"], hub, tmp_path)
    refused, shown, places = [], 0, 0

    def ask_ds9(command: str) -> list[str]:
        return str(ds9.call("ds9.get", cmd=command)["samp.result"]["value"]).split()

    try:
        for one in products:
            for at in one.images[:2]:
                with fits.open(io.BytesIO(one.body)) as opened:
                    hdu = opened[at]
                    (tmp_path / "shown.fits").write_bytes(one.body)
                    said = ds9.call("ds9.set", cmd=f"fits {tmp_path}/shown.fits[{at}]")
                    shown += 1
                    if said["samp.status"] != "samp.ok" or [int(size) for size in ask_ds9("fits size")] != [
                        *hdu.shape[:-3:-1]
                    ]:
                        refused.append((one.name, at, said))
                        continue
                    wanted = locate_pixel(opened, hdu, 3.0, 4.0)
                    if wanted is None or not np.isfinite(wanted).all() or one.name == HORSEHEAD:
                        continue
                    ds9.call("ds9.set", cmd="crosshair 3 4 image")
                    there = [float(word) for word in ask_ds9("crosshair wcs icrs degrees")]
                    places += 1
                    if measure_distance((there[0], there[1]), wanted) > 2e-6:
                        refused.append((one.name, at, there, wanted))
        said = ds9.call("image.load.fits", url=next(one.url for one in products if one.name == "mars.lbl"))
        size = ask_ds9("fits size")
        lost = ds9.call("ds9.set", cmd=f"fits {tmp_path}/none.fits")
    finally:
        ds9.close()
    print(f"DS9: {shown} images, {places} with places")
    assert refused == []
    assert (said["samp.status"], size) == ("samp.ok", ["160", "80"]), "by its address, too"
    assert shown > 12
    assert places > 4
    assert lost["samp.status"] != "samp.ok", "it tells of what it cannot load"


def test_aladin_opens_every_image_and_every_table(products: list[FitsProduct], server: Server, tmp_path: Path) -> None:
    """Tables without positions are opened, and are not drawn; of images whose places it knows, pixels are where astropy has them."""
    lines = []
    for number, one in enumerate(products):
        (tmp_path / f"p{number}.fits").write_bytes(one.body)
        lines += [f"say BEGIN {number}", f"load {tmp_path}/p{number}.fits", "where 3 4", "clear", "pause 0.1"]
    with urllib.request.urlopen(f"{server.url}/datalink/products.main?ID=gc_2mass_k.fits") as answer:
        (tmp_path / "links.vot").write_bytes(answer.read())
    lines += ["say BEGIN links", f"load {tmp_path}/links.vot", "where 3 4", "clear", "pause 0.1"]
    refused, images, tables, places = [], 0, 0, 0
    blocks = [part.partition("\n") for part in "\n".join(run_aladin([*lines, "say BEGIN end"], tmp_path)).split("BEGIN ")[1:-1]]  # fmt: skip
    assert len(blocks) == len(products) + 1
    rows_of_links = len(parse_single_table(tmp_path / "links.vot").array)
    assert f"objects={rows_of_links}" in blocks.pop()[2], "a list of links"
    for number, _, text in blocks:
        one = products[int(number)]
        planes = [line.split() for line in text.replace("PLANE ", "\nPLANE ").splitlines() if line.startswith("PLANE ")]
        shown = [words for words in planes if words[1].startswith("PlanImage")]
        with fits.open(io.BytesIO(one.body)) as opened:
            rows = Counter(len(opened[at].data) for at in one.tables)
            found = Counter(int(word[8:]) for words in planes for word in words if word.startswith("objects="))
            tables += 0 if shown else rows.total()
            images += bool(shown)
            # of a file with images after a table it shows the table
            if not (one.images and shown) and (rows - found or not rows):
                refused.append((one.name, found, rows))
            wanted = locate_pixel(opened, opened[one.images[0]], 3.0, 4.0) if one.images and shown else None
            if wanted is None or one.name == HORSEHEAD or "at" not in shown[0]:
                continue
            at = shown[0].index("at")
            places += 1
            # it takes FK5 for ICRS: a fiftieth of a second of arc
            if measure_distance((float(shown[0][at + 1]), float(shown[0][at + 2])), wanted) > 1e-5:
                refused.append((one.name, shown[0][at:], wanted))
    print(f"Aladin: {images} images, {places} with places; {tables} tables")
    assert [one for one in refused if not one[0].startswith("MATISSE")] == [], (
        "whose first HDU, without data, it takes for an image: of the original as well"
    )
    assert images > 12
    assert places > 1
    assert tables > 100
