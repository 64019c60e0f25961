"""Footprints of FITS headers through a whole ingest: one line in the descriptor, on the sky, on the Sun and on maps of planets; bad ones by file."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.sky import Regions
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

SUN = """\
collection: sun
title: Images of the Sun
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [region]
    source: {kind: fits, files: "*.fits", mode: header, hdu: [0, 1]}
    set: {granule_gid: image, obs_id: x, dataproduct_type: im, processing_level: 3, target_name: Sun, target_class: star, instrument_host_name: SDO, instrument_name: AIA}
    text: {granule_uid: "{file.name}"}
    map: {s_region: wcs_footprint()}
"""
PLAIN = """\
collection: images
tables:
  main:
    source: {kind: fits, files: "*.fits", mode: header}
    columns: {name: string, s_region: polygon, cells: moc, quality: string, fault: string}
    map: {name: file.name, s_region: wcs_footprint(), cells: contour_moc(file.footprint), quality: contour_quality(file.footprint), fault: contour_fault(file.footprint)}
"""


def fetch_table(site, text):
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


@pytest.mark.filterwarnings("ignore:Invalid 'BLANK' keyword")
def test_images_of_the_sun_are_cut_at_the_limb_and_bad_ones_named(tmp_path):
    with open_site_with_uningested_files(tmp_path, SUN) as site:
        there = tmp_path / "collections" / "sun"
        for name in (
            "aia_171_level1",
            "iris_l2_20130801_074720_4040000014_SJI_1400_t000",
            "mdi_fd_M_96m_01d.5874.0005_s",
        ):
            shutil.copy(shared(f"data/helio/images/{name}.fits"), there)
        with fits.open(there / "aia_171_level1.fits") as file:
            whole = file[0].header.copy()
        whole.remove("BLANK", ignore_missing=True)  # the made images are of whole numbers
        for name, cards in {
            "singular": {"CDELT1": 0.0},
            "nan": {"CRVAL1": None, "HISTORY": "gone"},
            "strange": {"CTYPE1": "HPLN-XYZ", "CTYPE2": "HPLT-XYZ"},
            "away": {"CRVAL1": 5000.0},
        }.items():
            header = whole.copy()
            header.update(cards)
            fits.PrimaryHDU(np.zeros((8, 8), np.uint8), header).writeto(there / f"{name}.fits")
        report = ingest_collection(site, "sun")
        rows = {row["granule_uid"]: row for row in fetch_table(site, "SELECT * FROM sun.epn_core")}
    full = rows["aia_171_level1.fits"]
    assert full["region_quality"] == "clipped_at_limb"
    _lon, _lat = np.reshape(full["s_region"], (-1, 2)).T
    region = Regions.from_lists([[[np.reshape(full["s_region"], (-1, 2)).tolist()]]])
    assert region.compute_areas()[0] == pytest.approx(
        2 * np.pi * (1 - np.sin(np.radians(whole["RSUN_OBS"] / 3600))), rel=1e-3
    )
    assert region.contains([whole["CRLN_OBS"]], [whole["CRLT_OBS"]])[0]
    assert rows["iris_l2_20130801_074720_4040000014_SJI_1400_t000.fits"]["region_quality"] == "exact"
    text = report.format_text()
    for name, words in {
        "singular": "singular", "nan": "CRVALi", "strange": "projection that FITS does not define", "away": "beyond the limb",
    }.items():  # fmt: skip
        assert rows[f"{name}.fits"]["s_region"] is None
        assert words in text


def test_maps_and_the_sky(tmp_path):
    with open_site_with_uningested_files(tmp_path, PLAIN) as site:
        there = tmp_path / "collections" / "images"
        for name in ("planetary/maps/mercury_cutout", "images/allsky_rosat", "images/gc_2mass_k"):
            shutil.copy(shared(f"data/{name}.fits"), there)
        ingest_collection(site, "images")
        rows = {row["name"].partition(".")[0]: row for row in fetch_table(site, "SELECT * FROM images.main")}
    assert len(rows["gc_2mass_k"]["s_region"]) == 8
    assert rows["allsky_rosat"]["s_region"] is None
    assert rows["allsky_rosat"]["cells"] == "0/0-11"
    assert rows["allsky_rosat"]["quality"] == "multi_part"
    lon, lat = np.reshape(rows["mercury_cutout"]["s_region"], (-1, 2)).T
    assert [round(edge, 2) for edge in (lon.min(), lon.max(), lat.min(), lat.max())] == [204.04, 252.14, -53.93, -29.88]
    assert all(row["fault"] is None for row in rows.values())
