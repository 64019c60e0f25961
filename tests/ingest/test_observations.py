"""The functions of observations in whole ingests: what is left empty is counted, images find their cards, products their size."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DescriptorError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_functions


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


DEM = """\
collection: dem
tables:
  maps:
    source: {kind: csv, files: maps.csv}
    columns:
      obs_id: string
      sun_distance: {type: float64, unit: au}
      target_time: timestamp
      t_light: {type: float64, unit: min}
      target_class: string
      names: string
      file_size: {type: int64, unit: byte}
      md5: string
    map:
      sun_distance: "in_unit(\\"dsun (km)\\" * 1, 'au')"
      target_time: target_time(t, dsun, 'km')
      t_light: light_time(dsun, 'km')
      target_class: target_class(target)
      names: "hashlist(target, epn_text(target), other)"
      file_size: product_size(file)
      md5: product_md5(file)
"""
MAPS = 'obs_id,t,dsun,target,other,file\na,2011-01-01T00:00:00,149597870.7,Sun,,one.fits\nb,2011-01-01T06:00:00,,MARS,x,two.fits\nc,,,nowhere,"x#Sun",\n'


def test_rows_without_a_distance_are_counted_and_said(tmp_path):
    text = DEM.replace(
        """      sun_distance: "in_unit(\\"dsun (km)\\" * 1, 'au')"\n""",
        "      sun_distance: light_time(dsun, 'km') / 499.0047838\n",
    ).replace(", unit: au}", "}")
    with open_site_with_uningested_files(tmp_path, text, {"maps.csv": MAPS, "one.fits": b"x" * 2880}) as site:
        report = ingest_collection(site, "dem")
        found = report.tables["dem.maps"].findings
        assert (found["sun_distance: without dsun"].count, found["sun_distance: without dsun"].severity) == (2, "info")
        assert (found["target_time: without dsun"].count, found["target_time: without t"].count) == (2, 1)
        assert "info: 2 rows without dsun: sun_distance left empty" in report.format_text()
        assert report.tables["dem.maps"].published == 3
        assert (found["target_class: empty"].count, found["file_size: empty"].count) == (1, 1)
        got = rows(site, "SELECT * FROM dem.maps ORDER BY obs_id")
        assert got[0]["t_light"] == pytest.approx(499.0047838 / 60)
        assert str(got[0]["target_time"]).startswith("2010-12-31")
        assert str(got[0]["target_time"])[11:19] == "23:51:40"
        assert [row["target_class"] for row in got] == ["star", "planet", None]
        assert [row["names"] for row in got] == ["Sun#sun", "MARS#mars#x", "nowhere#x#Sun"]
        assert [row["file_size"] for row in got] == [2880, None, None]
        assert got[0]["md5"] == hashlib.md5(b"x" * 2880, usedforsecurity=False).hexdigest()


def test_a_value_without_a_unit_is_refused_with_the_place(tmp_path):
    text = DEM.replace("light_time(dsun, 'km')", "light_time(dsun)")
    with (
        open_site_with_uningested_files(tmp_path, text, {"maps.csv": MAPS}) as site,
        pytest.raises(DescriptorError) as caught,
    ):
        ingest_collection(site, "dem")
    fault = next(fault for fault in caught.value.faults if "light_time" in fault.message)
    assert "without a unit" in fault.message
    assert "light_time(.., 'au')" in fault.remedy
    assert (fault.place.line, fault.place.column) == (17, 27)


IMAGES = """\
collection: images
tables:
  main:
    source: {kind: fits, files: "*.fits", mode: header}
    columns: {name: string, s_region: polygon}
    map: {name: file.name, s_region: wcs_footprint()}
"""


def image(how):
    cards = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 2, "NAXIS1": 100, "NAXIS2": 50, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 30.0, "CRVAL2": -45.0, "CRPIX1": 50.5, "CRPIX2": 25.5}  # fmt: skip
    cards |= {"cd": {"CD1_1": -0.01, "CD1_2": 0.002, "CD2_1": 0.002, "CD2_2": 0.01}, "pc": {"CDELT1": -0.01, "CDELT2": 0.02, "PC1_2": 0.25}, "rota": {"CDELT1": -0.01, "CDELT2": 0.01, "CROTA2": 20.0}}[how]  # fmt: skip
    header = fits.Header(cards)
    return fits.PrimaryHDU(np.zeros((50, 100), np.uint8), header)


@pytest.mark.parametrize("hows", [("cd",), ("pc",), ("rota",), ("cd", "rota")])
def test_footprints_from_headers_as_astropy(tmp_path, hows):
    require_functions("wcs_footprint")
    with open_site_with_uningested_files(tmp_path, IMAGES) as site:
        for how in hows:
            image(how).writeto(tmp_path / "collections" / "images" / f"{how}.fits")
        report = ingest_collection(site, "images")
        assert not any(finding.severity == "error" for finding in report.tables["images.main"].findings.values())
        for row in rows(site, "SELECT name, s_region FROM images.main"):
            header = image(row["name"].partition(".")[0]).header
            wanted = {tuple(np.round(pair, 9)) for pair in WCS(header).calc_footprint(center=False)}
            assert {tuple(np.round(pair, 9)) for pair in np.reshape(row["s_region"], (4, 2))} == wanted


def test_an_image_without_cards_is_refused_with_their_names(tmp_path):
    require_functions("wcs_footprint")
    with open_site_with_uningested_files(tmp_path, IMAGES) as site:
        fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "collections" / "images" / "a.fits")
        with pytest.raises(
            DescriptorError, match=r"lacks columns that wcs_footprint\(\) needs: CTYPE1, CTYPE2, CRVAL1"
        ):
            ingest_collection(site, "images")


WRONG = """\
collection: obs
title: Observations
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: id
    columns: {id: string, path: string, dec: {type: float64, unit: deg}}
    obscore:
      set: {dataproduct_type: image, calib_level: 2}
      text: {access_url: "{path}"}
"""


def test_what_is_wrong_in_obscore_is_shown_with_its_value(tmp_path) -> None:
    with open_site_with_uningested_files(
        tmp_path, WRONG, {"a.csv": "id,path,dec\na,https://x.example/a,1\nb,,2\nc,no address,3\n"}
    ) as site:
        report = ingest_collection(site, "obs")
    found = next(finding for finding in report.tables["obs.main"].findings.values() if "access_url" in finding.message)
    assert [(one.row, one.column, one.value) for one in found.offenders] == [(3, "access_url", "no address")]
