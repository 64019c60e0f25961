"""Cubes looked into over HTTP: slices, spectra, means and ratios are those that astropy reads; bad questions are refused with what helps."""

from __future__ import annotations

import io
import json
import re
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.wcs import WCS

from hven.app._server import create_and_start_application
from hven.formats.media import open_product
from hven.ingest.api.runs import ingest_collection
from hven.plugins.cutouts.cube_views import build_cube_view, list_viewable_arrays
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from product_files import write_istp_cdf
from requirements import is_available
from shared import shared

PAPER = """\
collection: maps
title: Cubes
description: Some cubes
files: ["*.fits"]
"""
DEPTH, HEIGHT, WIDTH = 30, 40, 50


def header(**more):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (
        ["RA---TAN", "DEC--TAN"],
        [83.6, 22.0],
        [25, 20],
        [-0.01, 0.01],
    )
    return fits.Header({**wcs.to_header(), "WCSAXES": 3, **more})


def write_cubes(folder):
    random = np.random.default_rng(1)
    data = random.normal(5, 1, (DEPTH, HEIGHT, WIDTH)).astype(">f4")
    data[3, 4, 5] = np.nan
    freq = header(CTYPE3="FREQ", CUNIT3="GHz", CRVAL3=115.2, CRPIX3=1, CDELT3=0.01, BUNIT="K")
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(data, freq, name="DATA"),
            fits.ImageHDU(np.abs(data) / 10, freq, name="ERROR"),
            fits.ImageHDU((data > 6).astype("i2"), freq, name="FLAGS"),
        ]
    ).writeto(folder / "parts.fits")
    whole = random.integers(-30_000, 30_000, (4, DEPTH, HEIGHT, WIDTH)).astype(">i2")
    stokes = header(
        CTYPE3="WAVE-LOG", CUNIT3="um", CRVAL3=10, CRPIX3=1, CDELT3=0.1, CTYPE4="STOKES", CRVAL4=1, CRPIX4=1, CDELT4=1
    )
    stokes["BSCALE"], stokes["BZERO"], stokes["BLANK"] = 0.5, 3.0, -30_000
    hdu = fits.PrimaryHDU(whole, stokes)
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 3.0, -30_000
    hdu.writeto(folder / "stokes.fits", output_verify="silentfix")
    return data


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cubes")
    folder = directory / "collections" / "maps"
    folder.mkdir(parents=True)
    write_cubes(folder)
    (folder / "broken.fits").write_bytes((folder / "parts.fits").read_bytes()[:9000])
    (folder / "table.fits").write_bytes(b"")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])]).writeto(
        folder / "table.fits", overwrite=True
    )
    for name in ("l1448_13co", "muse_Central_Datacube_bkg") if is_available("shared") else ():
        (folder / f"{name}.fits").write_bytes(shared(f"data/images/{name}.fits").read_bytes())
    with open_site_with_uningested_files(directory, PAPER, {}) as site:
        ingest_collection(site, "maps")
        found = Client(create_and_start_application(site))
        found.folder = folder
        yield found


def real(*values):
    return pytest.param(*values, marks=pytest.mark.needs("shared"))


def fetch_cube(client, name, **params):
    answer = client.get(f"/collections/maps/cube/{name}", **params)
    assert answer.status == 200, answer.text
    return (
        json.loads(answer.body)
        if answer.headers["content-type"] == "application/json"
        else np.load(io.BytesIO(answer.body))
    )


def check_same_values(found, wanted):
    found, wanted = np.asarray(found, np.float32), np.asarray(wanted).astype(np.float32)
    assert found.shape == wanted.shape
    assert (found.view("u4") == wanted.view("u4")).all() or np.array_equal(found, wanted, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "hdu"), [("parts.fits", 1), real("l1448_13co.fits", 0), real("muse_Central_Datacube_bkg.fits", 1)]
)
def test_slices_and_spectra_are_those_of_astropy(client, name, hdu):
    data = fits.getdata(client.folder / name, hdu)
    for at in (0, 3, len(data) - 1):
        found = fetch_cube(client, name, slice=at + 1)
        assert found.dtype == np.dtype("<f4")
        check_same_values(found, data[at])
    check_same_values(
        fetch_cube(client, name, slice=4, size=16), data[3, :: -(-data.shape[2] // 16), :: -(-data.shape[2] // 16)]
    )
    check_same_values(fetch_cube(client, name, slice=4, window="3 20 5 9"), data[3, 4:9, 2:20])
    for x, y in ((1, 1), (6, 5), (31, 17)):
        found = fetch_cube(client, name, spectrum=f"{x} {y}")
        check_same_values(
            [np.nan if value is None else value for value in found["parts"][0]["values"]], data[:, y - 1, x - 1]
        )
        lon, lat = WCS(fits.getheader(client.folder / name, hdu)).celestial.wcs_pix2world([[x, y]], 1)[0]
        assert found["place"] == pytest.approx([lon, lat], abs=1e-4 if "muse" in name else 1e-9)  # FK5 there
    with np.errstate(all="ignore"):
        check_same_values(fetch_cube(client, name, slice=1, over=2), data[0].astype("f8") / data[1].astype("f8"))


def test_means_of_regions(client):
    data = fits.getdata(client.folder / "parts.fits", 1).astype("f8")
    y, x = np.mgrid[1 : HEIGHT + 1, 1 : WIDTH + 1]
    every = {
        "box 3 10 4 9": (x >= 3) & (x <= 10) & (y >= 4) & (y <= 9),
        "circle 6.5 5 4": (x - 6.5) ** 2 + (y - 5) ** 2 <= 16,
        "polygon 1 1 11 1 1 11": x + y <= 12,
        "box -5 2 38 99": (x <= 2) & (y >= 38),
    }
    for region, inside in every.items():
        found = fetch_cube(client, "parts.fits", mean=region)
        assert found["pixels"] == inside.sum(), region
        first, *rest = found["parts"]
        np.testing.assert_allclose(first["values"], np.nanmean(data[:, inside], 1), rtol=1e-12)
        np.testing.assert_allclose(first["deviation"], np.nanstd(data[:, inside], 1), rtol=1e-9)
        assert first["counts"] == np.isfinite(data[:, inside]).sum(1).tolist()
        assert [one["role"] for one in rest] == ["error", "flag"]


@pytest.mark.needs("shared")
def test_axes_of_real_cubes_are_told_as_the_file_has_them(client):
    facts = fetch_cube(client, "l1448_13co.fits")
    axis = facts["parts"][0]["axes"][2]
    assert (facts["image"], facts["through"], facts["depth"], axis["unit"]) == ([1, 2], 3, 53, "m s-1")
    np.testing.assert_allclose(axis["values"], -9959.44378305 + 66.42361 * (np.arange(53) + 188), rtol=1e-12)
    facts = fetch_cube(client, "muse_Central_Datacube_bkg.fits")
    assert [part["role"] for part in facts["parts"]] == ["data", "error"]
    assert (facts["part"], facts["beside"], facts["parts"][0]["axes"][2]["unit"]) == (1, [1, 2], "Angstrom")
    np.testing.assert_allclose(facts["parts"][0]["axes"][2]["values"], 6050 + 1.25 * np.arange(10))


def test_axes_have_the_values_of_the_file(client):
    facts = fetch_cube(client, "parts.fits")
    np.testing.assert_allclose(facts["parts"][0]["axes"][2]["values"], 115.2 + 0.01 * np.arange(DEPTH))
    assert facts["places"]["kind"] == "sky"
    facts = fetch_cube(client, "stokes.fits")
    axes = facts["parts"][0]["axes"]
    np.testing.assert_allclose(axes[2]["values"], 10 * np.exp(0.1 * np.arange(DEPTH) / 10), rtol=1e-9)
    assert axes[3]["values"] == ["I", "Q", "U", "V"]


def test_other_axes_are_held_or_gone_through(client):
    with fits.open(client.folder / "stokes.fits") as hdus:
        data = hdus[0].data
    check_same_values(fetch_cube(client, "stokes.fits", slice=7), data[0, 6])
    check_same_values(fetch_cube(client, "stokes.fits", slice=7, at="4:3"), data[2, 6])
    check_same_values(fetch_cube(client, "stokes.fits", slice=2, through=4, at="3:9"), data[1, 8])
    found = fetch_cube(client, "stokes.fits", spectrum="4 5", at="4:2")
    check_same_values([np.nan if value is None else value for value in found["parts"][0]["values"]], data[1, :, 4, 3])


def test_a_cube_view_needs_half_of_the_bytes(client):
    data = fits.getdata(client.folder / "parts.fits", 1)[3]
    answer = client.get("/collections/maps/cube/parts.fits", slice=4, form="int16")
    found = np.load(io.BytesIO(answer.body))
    scale, zero = (float(answer.headers[name]) for name in ("x-scale", "x-zero"))
    assert found.dtype == np.dtype("<i2")
    assert (found == -32768).sum() == 1
    known = np.isfinite(data)
    np.testing.assert_allclose((found * scale + zero)[known], data[known], atol=scale)


@pytest.mark.parametrize(
    ("name", "params", "status", "words"),
    [
        ("parts.fits", {"slice": 31}, 400, "slice 31 does not exist; the slices are numbered from 1 to 30"),
        ("parts.fits", {"slice": 0}, 400, "slice 0 does not exist; the slices are numbered from 1 to 30"),
        ("parts.fits", {"slice": "x"}, 400, "SLICE"),
        ("parts.fits", {"slice": 1, "over": 99}, 400, "99"),
        ("parts.fits", {"slice": 1, "window": "1 2 3"}, 400, "WINDOW"),
        ("parts.fits", {"slice": 1, "window": "60 70 1 2"}, 400, "50 x 40"),
        ("parts.fits", {"slice": 1, "size": 100_000}, 400, "SIZE"),
        ("parts.fits", {"slice": 1, "form": "f8"}, 400, "FORM"),
        ("parts.fits", {"spectrum": "51 1"}, 400, "50 x 40"),
        ("parts.fits", {"spectrum": "nan 1"}, 400, "SPECTRUM"),
        ("parts.fits", {"mean": "polygon 1 1 2 2"}, 400, "or polygon x1 y1 x2 y2 x3 y3"),
        ("parts.fits", {"mean": "star 1 1 2 2"}, 400, "or polygon x1 y1 x2 y2 x3 y3"),
        ("parts.fits", {"mean": "circle 1.5 1.5 0.1"}, 400, "pixel"),
        ("parts.fits", {"part": "9"}, 400, "1 DATA"),
        ("parts.fits", {"through": 7}, 400, "axis 7 does not exist: the array has 3 axes"),
        ("parts.fits", {"at": "4:1"}, 400, "axis 4 does not exist: the array has 3 axes"),
        ("parts.fits", {"at": "1:99"}, 400, "pixel 99 does not exist: axis 1 has 50 pixels"),
        ("parts.fits", {"at": "3"}, 400, "AT"),
        ("table.fits", {}, 400, "neither an image nor a cube"),
        ("broken.fits", {"slice": 30}, 400, "damaged"),
        ("nothing.fits", {}, 404, "no file"),
        ("../maps.yaml", {}, 404, ""),
    ],
)
def test_bad_questions_are_refused(client, name, params, status, words):
    answer = client.get(f"/collections/maps/cube/{name}", **params)
    assert answer.status == status, answer.text
    assert words in answer.text
    assert str(client.folder) not in answer.text


def test_what_is_known_is_not_sent_again(client):
    first = client.get("/collections/maps/cube/parts.fits", slice=1)
    again = client.ask(
        "GET", "/collections/maps/cube/parts.fits", b"slice=1", headers={"if-none-match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")
    assert client.get("/collections/maps/cube/parts.fits", slice=2).headers["etag"] != first.headers["etag"]


def test_people_get_a_page(client):
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = client.ask("GET", "/collections/maps/cube/parts.fits", headers=browser)
    assert page.headers["content-type"].startswith("text/html")
    assert 'data-url="' in page.text
    assert "script-src" in page.headers["content-security-policy"]
    french = client.ask("GET", "/collections/maps/cube/parts.fits", b"lang=fr", headers=browser)
    assert "Prendre le fichier" in french.text
    for name, status in (("nothing.fits", 404), ("maps.yaml", 404)):
        answer = client.ask("GET", f"/collections/maps/cube/{name}", headers=browser)
        assert (answer.status, answer.headers["content-type"][:9]) == (status, "text/html")
    assert client.ask("GET", "/collections/maps/cube/parts.fits", b"slice=1", headers=browser).body[:6] == b"\x93NUMPY"


def test_dynamic_spectra_are_images_of_times_and_frequencies(tmp_path):
    """Gone through by polarizations, where there are some; of an image whose axes a table has, there is no second one without these."""
    waves, times = np.linspace(100, 200, 8), 1000 * np.arange(30)
    cells = [fits.Column(f"STOKES{word}", "8E", array=np.ones((30, 8))) for word in "IV"]
    rows = fits.BinTableHDU.from_columns([fits.Column("TIME", "J", "ms", array=times), *cells])
    rows.header["DATE-OBS"] = "2020-01-01"
    wave = fits.BinTableHDU.from_columns([fits.Column("FREQ", "8D", "MHz", array=waves[None])])
    fits.HDUList([fits.PrimaryHDU(), wave, rows]).writeto(tmp_path / "cells.fits")
    with open_product(tmp_path / "cells.fits") as product:
        one = build_cube_view(product, None, None, {})
        assert [one.array.axes[at].kind for at in (one.depth_axis, *one.image_axes)] == [
            "polarization",
            "time",
            "spectral",
        ]
    with open_product(shared("data/radio/ecallisto/BIR_20110607_062400_10.fit")) as product:
        assert [one.source_part_index for one in list_viewable_arrays(product)] == [0]
        one = build_cube_view(product, None, None, {})
        assert (one.depth_axis, [axis.kind for axis in one.array.axes]) == (None, ["spectral", "time"])


@pytest.mark.parametrize("support", ["support_data", "metadata"])
def test_a_cdf_shows_its_data_variables_first(tmp_path, support):
    channels = np.broadcast_to(np.arange(1.0, 9.0), (50, 8)).copy()
    over = {"DEPEND_0": "Epoch", "DEPEND_1": "channels"}
    times = 694_224_069_184_000_000 + np.arange(50) * 4_000_000_000
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {
            "rate_hk": (np.arange(50.0), support, {"DEPEND_0": "Epoch"}),
            "Epoch": (times, "support_data", {}),
            "channels": (channels, "support_data", {"DEPEND_0": "Epoch", "UNITS": "eV"}),
            "mode_rates": (channels + 1.0, support, over),
            "spectra": (channels**2, "data", over),
        },
    )
    with open_product(path) as product:
        assert build_cube_view(product, None, None, {}).array.name == "spectra"


def test_files_with_three_axes_lead_to_their_page_by_themselves(tmp_path):
    folder = tmp_path / "collections/maps"
    folder.mkdir(parents=True)
    write_cubes(folder)
    fits.PrimaryHDU(np.zeros((40, 50), "f4")).writeto(folder / "flat.fits")
    fits.PrimaryHDU(np.zeros((1, 40, 50), "f4")).writeto(folder / "one-plane.fits")
    (folder / "broken.fits").write_bytes(b"SIMPLE  = no")
    rows = "file\nparts.fits\nflat.fits\none-plane.fits\nbroken.fits\ngone.fits"
    own = """tables:
  main:
    source: a.csv
    primary: [file]
    columns: {file: {type: string, ucd: meta.id;meta.main}}
    links:
      - {semantics: this, file: "{target.file}"}
"""
    with open_site_with_uningested_files(
        tmp_path, PAPER + own, {"a.csv": rows}, public_url="http://vo.example"
    ) as site:
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))
        names = rows.split()[1:]
        led = {}
        for table in ("main", "~files~"):
            for name in names:
                asked = urlencode({"_row": json.dumps([name], separators=(",", ":"))})
                panel = client.ask("GET", f"/collections/maps/{table}/row?{asked}")
                assert panel.status == 200, panel.text
                links = json.loads(panel.body).get("links") or []
                led[table, name] = [one["href"] for one in links if one["text"] == f"Explore {name}"]
        assert {pair for pair, found in led.items() if found} == {("main", "parts.fits"), ("~files~", "parts.fits")}
        (url,) = led["main", "parts.fits"]
        assert url == "http://vo.example/collections/maps/cube/parts.fits"
        assert client.get("/collections/maps/cube/parts.fits").status == 200
        links = client.ask("GET", "/datalink/maps.main", b"ID=parts.fits&ID=flat.fits").text
        assert set(re.findall(r"http://vo.example/collections/maps/cube/[^<]+", links)) == {url}
        page = client.ask("GET", "/collections/maps", headers={"accept": "text/html"}).text
        assert f'Explore slices and spectra: <a href="{url}">parts.fits</a>' in page
        assert "cube/flat.fits" not in page


def test_without_scripts_the_page_shows_what_the_server_draws(tmp_path):
    require_plugins("protocols", "previews")
    folder = tmp_path / "collections/maps"
    folder.mkdir(parents=True)
    write_cubes(folder)
    with open_site_with_uningested_files(tmp_path, PAPER, {}, public_url="http://vo.example") as site:
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/maps/cube/parts.fits?RESPONSEFORMAT=html").text
        still = "".join(re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL))
        (source,) = re.findall(r'<img class="still" src="([^"]+)"', still)
        first, other = (client.ask("GET", source.removeprefix("http://vo.example") + more) for more in ("", "&plane=7"))
        assert (first.status, first.headers["content-type"]) == (200, "image/png")
        assert other.status == 200
        assert other.body != first.body
        assert 'name="plane"' in still
