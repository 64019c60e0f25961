"""``hven region``: contours of tables and images, and files of regions, in every form; each fault by its row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from hven.model.sky import region_files
from hven.plugins.region_files.verb import MAX_SHOWN_FAULTS
from process_runner import run_hven

HFC = """ID,CC,CC_X_PIX,CC_Y_PIX,R_SUN,CENTER_X,CENTER_Y,CDELT1,CDELT2,DATE_OBS
a,222444666000,520,520,374.87,512,512,2.63,2.63,2009-06-15T12:00:00
b,2x2,520,520,374.87,512,512,2.63,2.63,2009-06-15T12:00:00
c,0044,520,520,,512,512,2.63,2.63,2009-06-15T12:00:00
d,22244466600066,520,520,374.87,512,512,2.63,2.63,
e,222444666000,1500,520,374.87,512,512,2.63,2.63,2009-06-15T12:00:00
"""


@pytest.fixture
def hfc(tmp_path: Path) -> Path:
    (tmp_path / "hfc.csv").write_text(HFC)
    return tmp_path / "hfc.csv"


def test_chain_codes_of_hfc_and_their_faults(hfc: Path):
    done = run_hven("region", hfc, "--to", "polygon", expected_code=1)
    lines = done.stdout.splitlines()
    assert [bool(line) for line in lines] == [True, False, False, False, False]
    corners = np.array(lines[0].split(), float).reshape(-1, 2)
    turn = np.roll(corners, -1, axis=0)
    assert np.sum(corners[:, 0] * turn[:, 1] - turn[:, 0] * corners[:, 1]) > 0, "anticlockwise on a map of the Sun"
    told = done.stderr.splitlines()
    assert told[0].startswith(
        f"hven: {hfc}: row 2: character 2 of the chain code is not a digit from 0 to 7; correct the code"
    )
    assert [line.partition(": row ")[2][:26] for line in told[1:4]] == [
        "3: the radius of the disc ",
        "4: the point below the obs",
        "5: the contour is entirely",
    ]
    assert told[-1].endswith("4 of 5 rows have no region")


def test_an_empty_code_with_a_first_pixel_is_that_pixel(tmp_path: Path):
    head, row, *_ = HFC.splitlines()
    name, _, *rest = row.split(",")
    without = [name, "", "", *rest[1:]]
    path = tmp_path / "pixel.csv"
    path.write_text("\n".join([head, ",".join([name, "", *rest]), ",".join(without)]) + "\n")
    done = run_hven("region", path, "--to", "polygon", expected_code=1)
    pixel, nothing = done.stdout.split("\n")[:2]
    assert len(pixel.split()) == 8, "the square of the pixel"
    assert nothing == ""
    assert "row 2: there is no contour" in done.stderr


def test_rotations_that_contradict_their_dates(hfc: Path, tmp_path: Path):
    head, row = HFC.splitlines()[:2]  # 2009-06-15 is in rotation 2084
    hfc.write_text(
        "\n".join([f"{head},C_ROTATION", *(f"{row},{number}" for number in ("2084", "2085", "", "2084.59"))])
    )
    for words in ([], ["--longitudes", "stonyhurst"]):
        done = run_hven("region", hfc, "--to", "polygon", *words, expected_code=1)
        assert [bool(line) for line in done.stdout.splitlines()] == [True, False, True, True]
        assert done.stderr.startswith(
            f"hven: {hfc}: row 2: the rotation number does not match the date; correct the number"
        )
    assert len(run_hven("region", hfc, "--to", "polygon", "--rotation", "2084").stdout.splitlines()) == 4
    assert len(run_hven("region", hfc, "--to", "polygon", "--observer", "10,1").stdout.splitlines()) == 4
    cards = fits.Header({"CRPIX1": 50.5, "CRPIX2": 50.5, "CDELT1": 26.3, "CDELT2": 26.3, "RSUN_OBS": 944.0, "DATE-OBS": "2009-06-15T12:00:00", "CAR_ROT": 2070})  # fmt: skip
    image = np.zeros((100, 100), np.int16)
    image[40:60, 40:60] = 3
    fits.PrimaryHDU(image, cards).writeto(tmp_path / "labels.fits")
    assert (
        "row 1: the rotation number does not match"
        in run_hven("region", tmp_path / "labels.fits", "--to", "stc", expected_code=1).stderr
    )
    assert run_hven("region", tmp_path / "labels.fits", "--to", "stc", "--rotation", "2084").stdout.startswith(
        "Polygon"
    )


def test_all_forms_say_the_same(hfc: Path, tmp_path: Path):
    hfc.write_text("\n".join(HFC.splitlines()[:2]))
    areas = {}
    for form in ("polygon", "moc", "geojson", "stc", "dali"):
        out = tmp_path / f"out.{form}"
        run_hven("region", hfc, "--to", form, "-o", out)
        areas[form] = (
            float(region_files.parse_region_file(out.read_bytes()).regions.compute_areas()[0])
            if form != "polygon"
            else float(region_files.parse_region_texts([out.read_text()]).regions.compute_areas()[0])
        )
    assert areas["moc"] == pytest.approx(areas["polygon"], rel=0.011)
    for form in ("geojson", "stc", "dali"):
        assert areas[form] == pytest.approx(areas["polygon"], rel=1e-4)
    assert json.loads((tmp_path / "out.geojson").read_text())["features"][0]["id"] == "a"
    run_hven("region", hfc, "--to", "moc", "-o", tmp_path / "all.fits")
    assert region_files.parse_region_file((tmp_path / "all.fits").read_bytes()).regions.compute_areas()[
        0
    ] == pytest.approx(areas["polygon"], rel=0.011)


@pytest.mark.parametrize("name", ["t.vot", "t.fits", "t.csv"])
def test_lists_of_pixels_with_names_of_ones_own(tmp_path: Path, name: str):
    table = Table(
        {
            "lx": ["500 510 510 500"] if name == "t.csv" else [[500.0, 510, 510, 500]],
            "ly": ["[500,500,510,510]"] if name == "t.csv" else [[500.0, 500, 510, 510]],
        }
    )
    kind = {"t.vot": "votable", "t.fits": "fits", "t.csv": "ascii.csv"}[name]
    table.write(tmp_path / name, format=kind)
    words = [
        "--x",
        "lx",
        "--y",
        "ly",
        "--radius",
        "985.9arcsec",
        "--centre",
        "512,512",
        "--scale",
        "2.63",
        "--observer",
        "0,0",
    ]
    found = run_hven("region", tmp_path / name, "--to", "stc", "--frame", "UNKNOWNFrame", *words).stdout
    assert found.startswith("Polygon UNKNOWNFrame ")
    side = 2.63 * 11 / 985.9
    assert region_files.parse_region_texts([found]).regions.compute_areas()[0] == pytest.approx(side**2, rel=1e-2)


def test_labels_of_an_image(tmp_path: Path):
    image = np.zeros((1024, 1024), np.int16)
    image[500:520, 500:540], image[600:640, 300:320] = 1, 7
    image[608:612, 308:312] = 0
    card = fits.PrimaryHDU(image)
    card.header.update(
        {
            "CRPIX1": 512.5,
            "CRPIX2": 512.5,
            "CDELT1": 2.63,
            "CDELT2": 2.63,
            "RSUN_OBS": 944.0,
            "DATE-OBS": "2009-06-15T12:00:00",
        }
    )
    card.writeto(tmp_path / "labels.fits")
    done = run_hven("region", tmp_path / "labels.fits", "--to", "geojson", "--longitudes", "stonyhurst")
    features = json.loads(done.stdout)["features"]
    assert [one["id"] for one in features] == ["1", "7"]
    assert len(features[1]["geometry"]["coordinates"]) == 2, "with its hole"
    plain = run_hven("region", tmp_path / "labels.fits", "--to", "polygon", expected_code=1)
    assert "row 2: this format can contain only single polygons that have no holes" in plain.stderr


def test_columns_of_regions(tmp_path: Path):
    (tmp_path / "s.csv").write_text("id,s_region\nx,Circle ICRS 1 2 0.1\ny,polygon 1 2 3\nz,\n")
    done = run_hven("region", tmp_path / "s.csv", "--to", "dali", expected_code=1)
    assert [line[:8] for line in done.stdout.splitlines()] == ["polygon ", "", ""]
    assert "row 2: a polygon needs three pairs of numbers or more" in done.stderr
    assert "row 3: there is no region" in done.stderr


def test_what_is_mended_is_told_and_no_fault(tmp_path: Path):
    """Figures of eight, clockwise rings and unknown bodies are no reason to fail; what has no area, and the scale of nothing, is."""
    (tmp_path / "s.csv").write_text("id,s_region\nx,polygon 0 0 10 10 10 0 0 10\ny,polygon 0 0 10 0 10 10\n")
    done = run_hven("region", tmp_path / "s.csv", "--to", "dali")
    assert "row 1: it crosses or touches itself; Hven uses the area that it encloses" in done.stderr
    assert done.stdout.splitlines()[0].count("polygon") == 2
    shapes = {"eight": [[0, 0], [10, 10], [10, 0], [0, 10]], "clock": [[0, 0], [0, 10], [10, 10], [10, 0]]}
    features = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}} for ring in (*shapes.values(), [[0, 0], [9, 0], [4, 0]])]  # fmt: skip
    features.append({"type": "Feature", "geometry": None})
    named = {"type": "FeatureCollection", "crs": "urn:ogc:def:crs:IAU:2015:88800", "features": features}
    (tmp_path / "b.json").write_text(json.dumps(named))
    done = run_hven("region", tmp_path / "b.json", "--to", "dali", expected_code=1)
    told = [line.partition("b.json: ")[2] for line in done.stderr.splitlines()]
    assert told == [
        "the body with the NAIF code 888 is not known; Hven assumes that longitudes increase to the east",
        "row 1: it crosses or touches itself; Hven uses the area that it encloses",
        "row 2: its outline is clockwise, so it was reversed (RFC 7946)",
        "row 3: it has no area",
        "row 4: there is no region",
        "2 of 4 rows have no region",
    ]
    (tmp_path / "hfc.csv").write_text(HFC.splitlines()[0] + "\n" + HFC.splitlines()[1].replace("2.63,2.63", "0,0"))
    assert "row 1: the scale or the centre of the image is missing, or is 0" in run_hven("region", tmp_path / "hfc.csv", "--to", "stc", expected_code=1).stderr  # fmt: skip


@pytest.mark.parametrize("count", [MAX_SHOWN_FAULTS, MAX_SHOWN_FAULTS + 1])
def test_how_many_changed_rows_are_not_shown_is_told_only_if_some_are_not(tmp_path: Path, count: int):
    path = tmp_path / "s.csv"
    eights = [f"{number},polygon 0 0 10 10 10 0 0 10" for number in range(count)]
    path.write_text("\n".join(["id,s_region", *eights]) + "\n")
    told = run_hven("region", path, "--to", "dali").stderr.splitlines()
    assert sum("it crosses or touches itself" in line for line in told) == MAX_SHOWN_FAULTS
    hidden = (
        []
        if count == MAX_SHOWN_FAULTS
        else [f"hven: {path}: {count} rows were changed; only the first {MAX_SHOWN_FAULTS} are shown"]
    )
    assert told[MAX_SHOWN_FAULTS:] == hidden


@pytest.mark.parametrize(
    ("name", "content", "words", "code", "said"),
    [
        ("e", "", [], 1, "the file is empty; use one of these formats: GeoJSON, DS9"),
        ("a.txt", "hello", [], 1, "the file format is unknown|neither a region file"),
        ("x.json", '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0,0],[1,0],[1,91],[0,0]]]}}', [], 1, "row 1: a latitude is beyond 90 degrees: 91"),
        ("m.moc", "0/0 29/0-5 3458764513820540900", [], 1, "the outline of a MOC of order 29 would have"),
        ("all.moc", "29/0-3458764513820540927", [], 0, ""),
        ("hfc.csv", HFC, ["--chain", "C"], 2, "--chain: .* has no column 'C'; did you mean 'CC'"),
        ("hfc.csv", HFC, ["--radius", "abc"], 2, "--radius: 'abc' is neither a column of .* nor a number"),
        ("hfc.csv", HFC, ["--date", "yesterday"], 2, "--date: 'yesterday' is neither a column nor a date"),
        ("n.csv", "a,b\n1,2\n", [], 2, "no column named CC_X_PIX"),
        ("t.txt", "polygon 0 0 1 0 nan 1\n", [], 1, "row 1: "),
    ],
)  # fmt: skip
def test_what_is_told(tmp_path: Path, name: str, content: str, words: list[str], code: int, said: str):
    import re

    (tmp_path / name).write_text(content)
    done = run_hven("region", tmp_path / name, "--to", "dali", *words, expected_code=code)
    assert re.search(said, done.stderr), done.stderr


def test_a_file_of_ds9_needs_a_frame_of_the_sky(hfc: Path):
    assert (
        "ds9 files are in ICRS, but these regions are in an unknown frame"
        in run_hven("region", hfc, "--to", "ds9", expected_code=1).stderr
    )


def test_geojson_of_a_body_keeps_its_frame(tmp_path: Path):
    ring = [[30, 0], [40, 0], [40, 10], [30, 10], [30, 0]]
    west = {"type": "Polygon", "coordinates": [ring], "crs": "urn:ogc:def:crs:IAU:2015:50101"}
    (tmp_path / "io.json").write_text(json.dumps(west))
    told = json.loads(run_hven("region", tmp_path / "io.json", "--to", "geojson").stdout)
    assert told["crs"]["properties"]["name"] == "urn:ogc:def:crs:IAU:2015:50100"
    lon = np.array(told["features"][0]["geometry"]["coordinates"][0])[:, 0]
    assert (lon.min(), lon.max()) == (-40, -30)
    assert run_hven("region", tmp_path / "io.json", "--to", "stc").stdout.startswith("Polygon 3")
    corners = np.array(run_hven("region", tmp_path / "io.json", "--to", "polygon").stdout.split(), float).reshape(-1, 2)
    turn = np.roll(corners, -1, axis=0)
    assert np.sum(corners[:, 0] * turn[:, 1] - turn[:, 0] * corners[:, 1]) > 0, "anticlockwise on a map of the body"
    refused = run_hven("region", tmp_path / "io.json", "--to", "geojson", "--frame", "IAU_2015:50101", expected_code=1)
    assert (
        "GeoJSON needs east longitudes and planetocentric latitudes, but those of IAU_2015:50101 are different"
        in refused.stderr
    )


def test_an_image_without_labels_is_what_it_covers(tmp_path: Path):
    cards = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.6, "CRVAL2": 22.0, "CRPIX1": 50.5, "CRPIX2": 50.5, "CDELT1": -0.01, "CDELT2": 0.01})  # fmt: skip
    image = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    fits.PrimaryHDU(image, cards).writeto(tmp_path / "sky.fits")
    text = run_hven("region", tmp_path / "sky.fits", "--to", "stc").stdout
    assert text.startswith("Polygon ICRS ")
    assert np.degrees(np.degrees(region_files.parse_region_texts([text]).regions.compute_areas()[0])) == pytest.approx(
        1.0, rel=1e-3
    )
    fits.PrimaryHDU(image).writeto(tmp_path / "plain.fits")
    assert (
        "neither labels (its values"
        in run_hven("region", tmp_path / "plain.fits", "--to", "stc", expected_code=1).stderr
    )
    for size in (2000, 4000):
        (tmp_path / "cut.fits").write_bytes((tmp_path / "sky.fits").read_bytes()[:size])
        assert (
            "the FITS file is damaged or truncated"
            in run_hven("region", tmp_path / "cut.fits", "--to", "stc", expected_code=1).stderr
        )


def test_labels_lie_where_the_matrix_of_the_header_turns_them(tmp_path: Path):
    image = np.zeros((200, 200), np.int16)
    image[60:80, 120:140] = 1
    cards = {"CRPIX1": 100.5, "CRPIX2": 100.5, "CDELT1": 10.0, "CDELT2": 10.0, "DSUN_OBS": 1.496e11, "HGLN_OBS": 10.0, "HGLT_OBS": 3.0, "DATE-OBS": "2010-01-01T00:00:00"}  # fmt: skip
    turn = np.cos(0.5), np.sin(0.5)
    told = []
    for name, more in (("rota", {"CROTA2": np.degrees(0.5)}), ("pc", {"PC1_1": turn[0], "PC1_2": -turn[1], "PC2_1": turn[1], "PC2_2": turn[0]})):  # fmt: skip
        fits.PrimaryHDU(image, fits.Header(cards | more)).writeto(tmp_path / f"{name}.fits")
        told.append(run_hven("region", tmp_path / f"{name}.fits", "--to", "polygon").stdout)
    assert np.array(told[0].split(), float) == pytest.approx(np.array(told[1].split(), float))
