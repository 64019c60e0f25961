"""Cut-outs of real images by pyvo and stilts, judged by astropy and fitsverify: every pixel where it was, every cut a FITS file to the letter."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.wcs import WCS

from process_runner import Server, run_hven, serve_site
from requirements import require_program
from shared import shared
from stilts import run_stilts

pytestmark = [pytest.mark.outside, pytest.mark.slow]

# file -> what is cut of it; SODA's own words where it shows the sky
CUTS = {
    "images/HorseHead.fits": {"CIRCLE": "85.25 -2.46 0.03"},
    "images/allsky_rosat.fits": {"POLYGON": "80 -10 100 -10 100 20 80 20"},
    "images/gc_2mass_k.fits": {"POS": "RANGE 266.38 266.42 -29.02 -28.98"},
    "images/muse_Central_Datacube_bkg.fits": {"CIRCLE": "20 -30 0.001", "BAND": "6.0505e-7 6.058e-7"},
    "images/muse_IMAGE-HDFS-1.34.fits": {"CIRCLE": "338.225 -60.56 0.003"},
    "images/l1448_13co.fits": {"CIRCLE": "51.25 30.8 0.1", "PIXELS_3": "10 20"},
    "images/spectrum_Vega.fits": {"BAND": "4e-7 7e-7"},
    "images/spectrum_g9-124.fits": {"BAND": "5e-7 6e-7"},
    "helio/images/aia_171_level1.fits": {"LONGITUDE": "-0.1 0.1", "LATITUDE": "-0.1 0.1"},
    "helio/images/HinodeXRT.fits": {"PIXELS_1": "100 199", "PIXELS_2": "200 209"},
    "helio/images/iris_l2_20130801_074720_4040000014_SJI_1400_t000.fits": {"PIXELS_1": "20 99", "PIXELS_3": "1 1"},
    "helio/images/swap_lv1_20140606_000113.fits": {"PIXELS_2": "5 9"},
    "helio/sharp/hmi.sharp_cea_720s.377.20110215_020000_TAI.magnetogram.fits": {"LONGITUDE": "40 45", "LATITUDE": "-22 -18"},
    "helio/spoca/20111231_220008.CHMap.fits": {"PIXELS_1": "2000 2099", "PIXELS_2": "1000 1099"},
    "planetary/maps/mercury_cutout.fits": {"LONGITUDE": "230 235", "LATITUDE": "-30 -25"},
}  # fmt: skip
DESCRIPTOR = """\
collection: products
title: Products
files: [data/*]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: "meta.id;meta.main"}, file: string}
    links: [{semantics: this, file: "data/{target.file}"}, {semantics: documentation, text: "https://x.example/{target.id}"}]
    obscore:
      set: {dataproduct_type: image, calib_level: 2}
      map: {obs_id: id}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("cutouts")
    folder = site / "collections" / "products"
    (folder / "data").mkdir(parents=True)
    for name in CUTS:
        shutil.copy(shared(f"data/{name}"), folder / "data")
    (folder / "rows.csv").write_text("id,file\n" + "".join(f"{Path(name).stem},{Path(name).name}\n" for name in CUTS))
    (folder / "products.yaml").write_text(DESCRIPTOR)
    (site / "hven.toml").touch()
    run_hven("ingest", "products", "--site", site)
    with serve_site(site) as made:
        yield made


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_equals_the_original(server: Server, tmp_path: Path, name: str) -> None:
    given = {"TABLE": "products.main", "ID": Path(name).stem, **CUTS[name]}
    status, _, body = server.get(f"/soda/sync?{urlencode(given)}")
    assert status == 200, body
    place = tmp_path / "cut.fits"
    place.write_bytes(body)
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(body)) as found, fits.open(shared(f"data/{name}")) as whole:
            (text,) = [line for line in found[-1].header["HISTORY"] if line.startswith("cut: pixels")]
            index = int(text.rpartition(" ")[2])
            window = tuple(
                slice(int(a) - 1, int(b))
                for a, b in (one.split(":") for one in reversed(text.split("[")[1].split("]")[0].split(",")))
            )
            piece = found[-1]
            assert np.array_equal(piece.data, whole[index].data[window], equal_nan=True)
            assert piece.data.size < whole[index].data.size
            size = np.array(piece.data.shape[::-1])
            axes = len(size) if piece.header.get("CDELT3") != 0 else 2  # IRIS' times have no step, which no WCS has
            before, after = (
                WCS(one.header, fobj=all_, naxis=axes if axes != 2 or len(piece.data.shape) > 2 else None)
                for one, all_ in ((whole[index], whole), (piece, found))
            )
            size = size[:axes]
            pixels = rng.uniform(0, size - 1, (100, len(size)))
            # a hundred random places: the same place in the original is the same pixel there
            back = pixels + [one.start for one in reversed(window)][:axes]
            one, other = after.wcs_pix2world(pixels, 0), before.wcs_pix2world(back, 0)
            known = np.isfinite(other).all(1)
            assert known.sum() > 50
            there = before.wcs_world2pix(one[known], 0) - back[known]
            assert np.abs(there).max() < 1e-6
            worse = _complaints(shared(f"data/{name}"))
    assert _complaints(place) <= worse, subprocess.run(
        [require_program("fitsverify"), place], capture_output=True, text=True, check=False
    ).stdout


def _complaints(path: Path) -> int:
    """Count errors; a bad keyword of the original stays as it is."""
    told = subprocess.run(
        [require_program("fitsverify"), "-q", path], capture_output=True, text=True, check=False
    ).stdout
    return 0 if "OK" in told else int(told.split(" errors")[0].split()[-1]) if " errors" in told else 1


def test_pyvo_cuts_by_the_service_descriptor(server: Server) -> None:
    rows = pyvo.dal.TAPService(f"{server.url}/tap").search("SELECT * FROM products.main WHERE id LIKE 'muse_Central%'")
    whole = fits.getdata(shared("data/images/muse_Central_Datacube_bkg.fits"), 1)
    with fits.open(io.BytesIO(rows[0].processed(circle=(20, -30, 0.001), band=(6.0505e-7, 6.058e-7)).read())) as found:
        data = found["DATA"].data
        assert data.shape[0] == 7
        assert np.isin(data, whole).all()
    links = rows[0].getdatalink()
    with fits.open(io.BytesIO(links.get_first_proc().process(circle=(20, -30, 0.001)).read())) as found:
        assert found["STAT"].data.shape == (10, *data.shape[1:])


def test_pyvo_cuts_rows_of_obscore_by_the_list_that_they_lead_to(server: Server) -> None:
    """At the address at which the server stands, wherever the site was when it was ingested."""
    (row,) = pyvo.dal.TAPService(f"{server.url}/tap").search("SELECT * FROM ivoa.obscore WHERE obs_id = 'HorseHead'")
    assert row["access_url"].startswith(f"{server.url}/datalink/")
    (this,) = [one for one in row.getdatalink() if one.semantics == "#this"]  # the file, not another list
    assert this.access_url.endswith("/files/data/HorseHead.fits")
    found = fits.open(io.BytesIO(row.processed(circle=(85.25, -2.46, 0.03)).read()))
    assert "CRPIX1" in found[0].header
    assert found[0].data.size > 1000


def test_stilts_finds_nothing_wrong_with_the_lists(server: Server) -> None:
    told = run_stilts("datalinklint", f"votable={server.url}/datalink/products.main?ID=gc_2mass_k&ID=none").stdout
    # the core vocabulary has these by now; stilts' own copy does not, and it cannot fetch another here
    newer = ("Unknown predicate 'thumbnail' from core", "Unknown predicate 'documentation' from core")
    known = [line for line in told.splitlines() if not any(one in line for one in newer)]
    assert not [line for line in known if line.startswith(("E-", "W-"))], told
    told = run_stilts(
        "datalinklint",
        f"votable={server.url}/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': 'SELECT * FROM products.main'})}",
    ).stdout
    # as a list of links it is none, but the services that it tells of are in order
    assert "Service descriptor <unnamed>, 15 input params" in told
    assert not [line for line in told.splitlines() if line.startswith(("E-SD", "W-SD"))], told
