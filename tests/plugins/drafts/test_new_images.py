"""What ``hven new`` proposes of folders of FITS images: footprints, their centres, times of the observation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest._rejects_file import format_value_for_message
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.plugins.drafts.drafting import create_descriptor
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from plugin_needs import require_functions

SKY = (
    ("RA---TAN", "DEC--TAN", 83.6, 22.0), ("RA---SIN", "DEC--SIN", 359.99, -40.0), ("GLON-CAR", "GLAT-CAR", 10.0, 0.0),
)  # fmt: skip


def write_images(directory, axes=SKY, **cards):
    directory.mkdir(exist_ok=True)
    headers = []
    for number, (lon, lat, *values) in enumerate(axes, 1):
        header = fits.Header({"CTYPE1": lon, "CTYPE2": lat, "RADESYS": "ICRS"})
        header["CRVAL1"] = values[0], "[deg] Right ascension of the reference"
        header["CRVAL2"] = values[1], "[deg] Declination of the reference"
        header["CLIPRA"] = 1.0, "Right ascension of the clipping circle (deg)"
        header["CLIPRAD"] = 0.1, "Radius of the clipping circle (deg)"
        header.update(
            {"CRPIX1": 30.5, "CRPIX2": 20.5, "CDELT1": -0.01, "CDELT2": 0.01, "CUNIT1": "deg", "CUNIT2": "deg"}
        )
        header.update(
            {"MJDREF": 51910.0, "JDREF": 2451910.5, "DATE_RF0": "2019-01-01T00:00:00", "DATE": "2021-01-01T00:00:00"}
        )
        header.update({"DATE-OBS": f"2020-01-0{number}T06:00:00", "EXPTIME": 3.0, **cards})
        fits.PrimaryHDU(np.zeros((40, 60), np.uint8), header).writeto(directory / f"i{number}.fits")
        headers.append(fits.getheader(directory / f"i{number}.fits"))
    return headers


def publish(tmp_path, standard=None):
    (tmp_path / "collections").mkdir(exist_ok=True)
    (tmp_path / "hven.toml").write_text("")
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "images"), standard=standard)
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    text = path.read_text()
    (table,) = yaml.safe_load(text)["tables"].values()
    with Site(settings) as site:
        report = ingest_collection(site, "a")
        (name,) = (found.table for found in report.tables.values())
        with query.run_query(f"SELECT * FROM {name}", OWNER_PRINCIPAL, site=site) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    return text, table, rows


def to_icrs(header, x, y):
    wcs = WCS({key: value for key, value in header.items() if "DATE" not in key and key != "MJDREF"})
    frame = "galactic" if header["CTYPE1"].startswith("G") else "icrs"
    return SkyCoord(*wcs.wcs_pix2world(x, y, 1), unit="deg", frame=frame).icrs


@pytest.mark.parametrize("standard", [None, "obscore", "epn-tap"])
def test_images_of_the_sky_have_footprints_and_their_centres(tmp_path, standard):
    require_functions("wcs_footprint")
    headers = write_images(tmp_path / "images")
    _text, table, rows = publish(tmp_path, standard)
    assert table["map"]["s_region"] == "wcs_footprint()"
    if standard is None:
        assert table["position"] == ["ra", "dec"]
        assert {name: table["columns"][name].get("ucd") for name in ("crval1", "crval2")} == {
            "crval1": None,
            "crval2": None,
        }
    rows.sort(key=lambda row: str(row.get("date_obs") or row.get("t_min") or row.get("time_min")))
    for header, row in zip(headers, rows, strict=True):
        centre = to_icrs(header, 30.5, 20.5)
        if standard == "epn-tap":
            west, east = row["c1min"], row["c1max"]
            assert (centre.ra.deg - west) % 360 < (east - west) % 360 < 1.2
            assert row["c2min"] < centre.dec.deg < row["c2max"]
        else:
            names = ("s_ra", "s_dec") if standard else ("ra", "dec")
            assert centre.separation(SkyCoord(*(row[name] for name in names), unit="deg")).deg < 0.005
    assert "crval" not in str(table.get("position"))


@pytest.mark.parametrize(("standard", "column", "scale"), [("obscore", "t_min", "mjd"), ("epn-tap", "time_min", "jd")])
@pytest.mark.parametrize("cards", [{}, {"DATE-OBS": "", "MJD-OBS": 58849.25}])
def test_times_are_those_of_the_observation(tmp_path, standard, column, scale, cards):
    write_images(tmp_path / "images", SKY[:1], **cards)
    text, _, rows = publish(tmp_path, standard)
    assert rows[0][column] == pytest.approx(getattr(Time("2020-01-01T06:00:00"), scale), abs=1e-9)
    assert f"{column}:" in text


def test_a_zero_point_is_no_time(tmp_path):
    write_images(tmp_path / "images", SKY[:1], **{"DATE-OBS": "", "DATE_RF0": "", "DATE": ""})
    _text, table, _ = publish(tmp_path, "obscore")
    assert "t_min" not in table["map"]


def test_reference_values_are_positions_where_the_axes_say_so(tmp_path):
    """Of images that show different things no position is proposed, least of all of two families of cards."""
    write_images(tmp_path / "images", (SKY[0], ("HPLN-TAN", "HPLT-TAN", 0.0, 0.0)))
    _, table, _ = publish(tmp_path)
    assert "position" not in table
    assert not any("pos.eq.dec" in column.get("ucd", "") for column in table["columns"].values())


def test_a_structure_is_no_value_of_a_message(tmp_path):
    """What the reader keeps of an image without a footprint is told in words, wherever a row is shown."""
    require_functions("wcs_footprint")
    write_images(tmp_path / "images", (SKY[0], ("RA---XYZ", "DEC--XYZ", 10.0, 5.0)))
    (tmp_path / "collections").mkdir()
    (tmp_path / "hven.toml").write_text("")
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "images", str(tmp_path / "images"))
    path.write_text(re.sub(r"(s_region: +{type: polygon)", r"\1, required: true", path.read_text()))
    with Site(settings) as site:
        report = ingest_collection(site, "images")
    kept = Path(report.tables["images.main"].rejects).read_text()
    assert "the header names a projection that FITS does not define" in kept
    assert "fault" not in kept
    assert format_value_for_message({"fault": 0, "number": 0, "pixels": 12, "region": []}) == "a region of 12 pixels"
    assert format_value_for_message([{"a": 1}]) == '[{"a":1}]'
    assert format_value_for_message("plain") == "plain"


def test_images_with_a_small_table_beside_them(tmp_path):
    """A draft of the table names the image, and --table 0 makes a row for each image."""
    (tmp_path / "collections").mkdir()
    (tmp_path / "hven.toml").write_text("")
    write_images(tmp_path / "images", SKY[:1])
    path = tmp_path / "images" / "i1.fits"
    with fits.open(path, mode="append") as file:
        file.append(fits.BinTableHDU.from_columns([fits.Column("xi", "D", array=[1.0, 2.0])], name="er.mask"))
    settings = Settings(directory=tmp_path)
    text = create_descriptor(settings, "a", str(path)).read_text()
    assert "# the file has an image, too: --table 0 makes a row for each image, from its header" in text
    text = create_descriptor(settings, "b", str(path), table="0").read_text()
    table = yaml.safe_load(text)["tables"]["main"]
    assert (table["source"]["mode"], table["source"]["hdu"], table["map"]["s_region"]) == (
        "header",
        0,
        "wcs_footprint()",
    )
    with pytest.raises(SourceError, match="no table in HDU 9") as info:
        create_descriptor(settings, "c", str(path), table="9")
    assert "1 ER.MASK" in info.value.remedy
