"""Values of the examples 09 to 14, against the source's own rows and an independent computation (sqlite3, astropy)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client
from astropy import units as u
from astropy.constants import c
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from typer.testing import CliRunner

from example_sites import prepare_example
from hven import query
from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from plugin_needs import create_descriptor
from stilts import validate_tfcat


@pytest.fixture(scope="module")
def ingest_example(tmp_path_factory):
    """Ingest an example and keep it for the module's other tests."""
    kept = {}

    def make(case):
        if case not in kept:
            directory = tmp_path_factory.mktemp("example") / case
            shutil.copytree(prepare_example(case), directory)
            site = Site(load_settings(directory, {}), watch_for_changes=False)
            reports = {
                path.stem: ingest_collection(site, path.stem)
                for path in sorted(site.settings.collections_directory.glob("*/*.yaml"))
            }
            site.refresh_published_state()
            kept[case] = site, directory / "collections", reports
        return kept[case]

    yield make
    for site, *_ in kept.values():
        site.close()


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def jd(text):
    return Time(text, scale="utc").jd


def test_hfc(ingest_example):
    site, home, reports = ingest_example("09-hfc-features")
    base = sqlite3.connect(home / "hfc.sqlite")
    base.row_factory = sqlite3.Row
    counts = {name: base.execute(f"SELECT COUNT(*) FROM pragma_table_info('{name}')").fetchone()[0] for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}  # fmt: skip
    assert counts == COLUMNS
    regions = {
        f"ar_{row['ID_AR']}": row
        for row in base.execute(
            "SELECT * FROM ACTIVEREGIONS a JOIN OBSERVATIONS o ON OBSERVATIONS_ID = ID_OBSERVATIONS"
        )
    }
    numbers: dict[str, list[str]] = {}  # one has two, and so two rows of the view
    for row in base.execute("SELECT * FROM VIEW_AR_HQI WHERE NOAA_NUMBER IS NOT NULL"):
        numbers.setdefault(f"ar_{row['ID_AR']}", []).append(f"NOAA {row['NOAA_NUMBER']}")
    assert sorted({len(some) for some in numbers.values()}) == [1, 2]
    found = rows(site, "SELECT * FROM hfc1ar.epn_core")
    assert len(found) == len(regions) == 60
    for row in found:
        source = regions[row["granule_uid"]]
        assert abs(row["time_min"] - jd(source["DATE_OBS"])) * 86400 < 1e-4
        assert row["time_max"] - row["time_min"] == pytest.approx(30 / 86400, abs=1e-9)
        # what the catalogue says of the middle of a contour lies in the region that is made of it
        middle = source["FEAT_CARR_LONG_DEG"], source["FEAT_CARR_LAT_DEG"]
        assert (middle[0] - row["c1min"]) % 360 < (row["c1max"] - row["c1min"]) % 360 < 40
        assert row["c2min"] < middle[1] < row["c2max"]
        assert row["spectral_range_min"] == pytest.approx((676.8 * u.nm).to(u.Hz, u.spectral()).value)
        assert row["magnetic_flux"] == pytest.approx(source["FEAT_RVAL"] * 1e-8)
        assert sorted((row["feature_name"] or "").split("#")) == sorted(numbers.get(row["granule_uid"], [""]))
        asked = f"SELECT granule_uid FROM hfc1ar.epn_core WHERE 1 = CONTAINS(POINT({middle[0]}, {middle[1]}), s_region)"
        assert {"granule_uid": row["granule_uid"]} in rows(site, asked)
    spots = {
        f"sp_{row['ID_SUNSPOT']}": row
        for row in base.execute("SELECT * FROM SUNSPOTS JOIN OBSERVATIONS ON OBSERVATIONS_ID_IC = ID_OBSERVATIONS")
    }
    for row in rows(site, "SELECT * FROM hfc1sp.epn_core"):
        source = spots.pop(row["granule_uid"])
        centre = Angle(source["FEAT_CARR_LONG_DEG"] * u.deg).wrap_at(360 * u.deg).value
        assert (centre - row["c1min"]) % 360 <= (row["c1max"] - row["c1min"]) % 360 < 10
        assert row["c2min"] < source["FEAT_CARR_LAT_DEG"] < row["c2max"]
        assert abs(row["time_min"] - jd(source["DATE_OBS"])) * 86400 < 1e-4
    assert not spots
    bursts = {f"t3_{row['ID_TYPE_III']}": row for row in base.execute("SELECT * FROM TYPE_III")}
    for row in rows(site, "SELECT * FROM hfc1t3.epn_core"):
        source = bursts.pop(row["granule_uid"])
        low, high = ((source[name] * u.MHz).to(u.Hz) for name in ("BR_Y0_MHZ", "BR_Y1_MHZ"))
        length = (Time(source["TIME_END"]) - Time(source["TIME_START"])).to(u.s)
        assert (row["spectral_range_min"], row["spectral_range_max"]) == pytest.approx((low.value, high.value))
        assert row["drift_rate"] == pytest.approx(((low - high) / length).to_value(u.Hz / u.s), rel=1e-5)
    assert not bursts
    for name in ("epn_core", "skeletons"):
        asked = ["query", f"SELECT * FROM hfc1t3.{name}", "--format", "tfcat", "-o", str(home / f"{name}.tfcat")]
        assert CliRunner().invoke(build_typer_app(), ["--site", str(home.parent), *asked]).exit_code == 0
        text = (home / f"{name}.tfcat").read_text()
        done = validate_tfcat(home / f"{name}.tfcat")
        assert done.returncode == 0, done.stdout
        kinds = [one["geometry"]["type"] for one in json.loads(text)["features"]]
        assert kinds.count("LineString" if name == "skeletons" else "Polygon") >= 39
    features(site, base, reports)
    base.close()


# how many columns each table and view has in HFC's own script
COLUMNS = {
    "ACTIVEREGIONS": 74, "CORONALHOLES": 79, "CHGROUPS": 54, "SUNSPOTS": 85, "FILAMENTS": 72, "PROMINENCES": 57, "RADIOSOURCES": 62, "TYPE_II": 40, "TYPE_III": 46,
    "OBSERVATIONS": 26, "OBSERVATORY": 12, "PP_OUTPUT": 34, "PP_INFO": 7, "FRC_INFO": 9, "ANNOTATIONS": 6, "NOAA": 7, "NOAA_AR": 2, "NOAA_SP": 2,
    "ACTIVEREGIONS_TRACKING": 9, "CORONALHOLES_TRACKING": 9, "FILAMENTS_TRACKING": 9, "VIEW_OBS_HQI": 32, "VIEW_PP_HQI": 32, "VIEW_AR_GUI": 52, "VIEW_AR_HQI": 103,
    "VIEW_CH_GUI": 54, "VIEW_CH_HQI": 102, "VIEW_SP_GUI": 102, "VIEW_SP_HQI": 118, "VIEW_FIL_GUI": 88, "VIEW_FIL_HQI": 109, "VIEW_PRO_GUI": 73, "VIEW_PRO_HQI": 89,
    "VIEW_RS_GUI": 79, "VIEW_RS_HQI": 95, "VIEW_T2_GUI": 26, "VIEW_T2_HQI": 69, "VIEW_T3_GUI": 30, "VIEW_T3_HQI": 75,
}  # fmt: skip


def features(site, base, reports):
    """Coronal holes and filaments: where the tables say that they are, one hole at one place on all its days, and images with whom they were taken by."""
    holes = {
        f"ch_{row['ID_CORONALHOLES']}": row
        for row in base.execute(
            "SELECT * FROM CORONALHOLES JOIN OBSERVATIONS ON OBSERVATIONS_ID_EIT = ID_OBSERVATIONS LEFT JOIN CORONALHOLES_TRACKING ON CH_ID = ID_CORONALHOLES"
        )
    }
    found = {row["granule_uid"]: row for row in rows(site, "SELECT * FROM hfc1ch.epn_core")}
    assert found.keys() == holes.keys()
    for name, row in found.items():
        source = holes[name]
        same = {other for other, one in holes.items() if one["TRACK_ID"] == source["TRACK_ID"]} - {name}
        assert set(row["internal_reference"].split("#")) == same
        if row["region_quality"] != "exact":
            continue
        assert (source["FEAT_CARR_LONG_DEG"] - row["c1min"]) % 360 < (row["c1max"] - row["c1min"]) % 360 < 40
        assert row["c2min"] < source["FEAT_CARR_LAT_DEG"] < row["c2max"]
        assert row["coverage"] is None
    across = [row for row in found.values() if row["track"] == 7 and row["region_quality"] == "exact"]
    assert len(across) > 5
    assert all(row["c1min"] > row["c1max"] for row in across)
    text = reports["hfc1ch"].format_text()
    assert f"{sum(row['region_quality'] == 'exact' for row in found.values())} rows with an exact region" in text
    assert "row 26: contour = character 41 of the chain code is not a digit from 0 to 7" in text
    said = r"the contour does not close: it ends \.\. pixels from its start; correct .*: 1 row"
    assert re.search(said, reports["hfc1fi"].format_text())
    for row in rows(site, "SELECT * FROM hfc1fi.epn_core WHERE s_region IS NOT NULL"):
        source = base.execute("SELECT * FROM FILAMENTS WHERE ID_FIL = ?", [row["granule_uid"][3:]]).fetchone()
        assert (source["FEAT_CARR_LONG_DEG"] - row["c1min"]) % 360 < (row["c1max"] - row["c1min"]) % 360 < 60
        assert row["c2min"] < source["FEAT_CARR_LAT_DEG"] < row["c2max"]
    images = {row["obs_id"]: row for row in rows(site, "SELECT * FROM hfc1im.epn_core")}
    assert {row["obs_id"] for row in found.values()} < images.keys()
    assert all(row["c1min"] is row["s_region"] is None for row in images.values())
    assert "3 rows whose region is cut off at the limb" in reports["hfc1rs"].format_text()
    assert {row["fault"] for row in rows(site, "SELECT * FROM hfc1pr.blobs")} == {
        "the contour is entirely beyond the limb"
    }
    for row in found.values():
        seen = images[row["obs_id"]]
        from_there = (
            holes[row["granule_uid"]]["FEAT_CARR_LONG_DEG"] - seen["subobserver_longitude_min"] + 180
        ) % 360 - 180
        assert abs(from_there) < 85


def test_hven_new_finds_the_same_regions_in_the_databases_view(ingest_example):
    """As it was proposed, nothing corrected: the descriptor of VIEW_CH_HQI gives the regions of the example's own."""
    site, home, _ = ingest_example("09-hfc-features")
    site.refresh_published_state()
    wanted = {row["granule_uid"]: row for row in rows(site, "SELECT * FROM hfc1ch.epn_core")}
    create_descriptor(site.settings, "proposed", str(home / "hfc.sqlite"), table="VIEW_CH_HQI", standard="epn-tap")
    ingest_collection(site, "proposed")
    site.refresh_published_state()
    found = rows(site, "SELECT * FROM proposed.epn_core")
    assert len(found) == len(wanted) == 96
    for row in found:
        other = wanted[f"ch_{row['granule_uid']}"]
        assert row["region_quality"] == other["region_quality"]
        if row["s_region"] is not None:
            assert row["s_region"] == pytest.approx(other["s_region"], abs=1e-4)


def test_a_hole_leads_to_itself_on_other_days(ingest_example):
    """As who has found one with TOPCAT: its list by ``datalink_url``, from there the lists of the other days, which lead back."""
    site, _, _ = ingest_example("09-hfc-features")
    client = Client(create_and_start_application(site))

    def fetch_links(address):
        there = urlsplit(address)
        answer = client.ask("GET", f"{there.path}?{there.query}&RESPONSEFORMAT=csv")
        assert answer.status == 200
        links = [one for one in csv.DictReader(io.StringIO(answer.text)) if one["semantics"] == "#counterpart"]
        assert {one["content_type"] for one in links} <= {"application/x-votable+xml;content=datalink"}
        return {parse_qs(urlsplit(one["access_url"]).query)["ID"][0]: one for one in links}

    days = rows(site, "SELECT * FROM hfc1ch.epn_core WHERE track = 7 ORDER BY time_min")
    assert len(days) > 5
    names = [day["granule_uid"] for day in days]
    found = fetch_links(days[3]["datalink_url"])
    assert [*found] == [name for name in days[3]["internal_reference"].split("#") if name in found]
    assert [*found] == [name for name in names if name != names[3]]
    for day in days:
        if (link := found.get(day["granule_uid"])) is not None:
            assert f"JD {day['time_min']:.4f}" in link["description"]
            assert names[3] in fetch_links(link["access_url"])


def test_aia(ingest_example):
    site, home, reports = ingest_example("10-sdo-aia-images")
    found = {row["file_name"]: row for row in rows(site, "SELECT * FROM aia.epn_core")}
    paths = sorted((home / "aia/data").rglob("*.fits"))
    assert (len(paths), len(found)) == (16, 15)
    for path in paths:
        cards = fits.getheader(path, 1)
        if cards["QUALITY"]:
            assert path.name not in found
            continue
        row = found[path.name]
        start = Time(cards["DATE-OBS"], scale="utc")
        assert abs(row["time_min"] - start.jd) * 86400 < 1e-4
        assert (row["time_max"] - row["time_min"]) * 86400 == pytest.approx(cards["EXPTIME"], abs=1e-4)
        assert row["spectral_range_min"] == pytest.approx((cards["WAVELNTH"] * u.AA).to_value(u.Hz, u.spectral()))
        assert row["wavelength"] == pytest.approx(cards["WAVELNTH"] / 10)
        assert row["access_url"] == f"https://sdo.example.org/{path.relative_to(home / 'aia')}"
        # the lower left corner of the first pixel
        west, south = WCS(cards, fix=False).wcs_pix2world([[0.5, 0.5]], 1)[0]
        assert row["c1min"] == pytest.approx(west % 360, abs=1e-4)
        assert row["c2min"] == pytest.approx(south, abs=1e-4)
        if "DSUN_OBS" in cards:
            distance = cards["DSUN_OBS"] * u.m
            assert row["sun_distance_min"] == pytest.approx(distance.to_value(u.au))
            left = Time(row["target_time_min"].isoformat(), scale="utc")
            assert (start - left).to_value(u.s) == pytest.approx((distance / c).to_value(u.s), abs=2e-6)
        else:
            assert row["target_time_min"] is row["sun_distance_min"] is None
    assert "1 row without DSUN_OBS: sun_distance_min left empty" in reports["aia"].format_text()
    frames = rows(site, "SELECT DISTINCT spatial_frame_type, spatial_coordinate_description FROM aia.epn_core")
    assert frames == [{"spatial_frame_type": "celestial", "spatial_coordinate_description": "HPC"}]


def test_sz(ingest_example):
    site, home, _ = ingest_example("11-sz-clusters")
    catalogue = fits.getdata(home / "sz/data/union.fits")
    found = {row["name"]: row for row in rows(site, "SELECT * FROM sz.clusters")}
    assert len(found) == len(catalogue) == 60
    for source in catalogue:
        row = found[source["NAME"]]
        assert row["pos_err"] == pytest.approx(source["POS_ERR"] / 60, rel=1e-6)
        assert row["redshift"] == (source["REDSHIFT"] if source["REDSHIFT"] > 0 else None)
        assert (row["mass"] is None) == (row["redshift"] is None)
        sky = SkyCoord(row["glon"], row["glat"], unit="deg", frame="galactic").icrs
        assert sky.separation(SkyCoord(row["ra"], row["dec"], unit="deg")).arcsec < 1e-3
    for row in rows(site, "SELECT * FROM ivoa.obscore"):
        cards = fits.getheader(home / "sz/data" / row["access_url"].rpartition("/")[2])
        assert row["em_min"] == pytest.approx((cards["FREQ"] * 1.15 * u.GHz).to_value(u.m, u.spectral()))
        assert row["s_fov"] == pytest.approx(100 * 1.5 / 60 * math.sqrt(2))
        assert row["s_resolution"] == pytest.approx((cards["BEAM"] * u.arcmin).to_value(u.arcsec))
        assert row["t_min"] == Time("2009-08-12").mjd
        footprint(row["s_region"], cards)
        assert row["obs_id"] == row["target_name"] == cards["OBJECT"]


def footprint(text, cards):
    """Compare a region with the corners by astropy's WCS."""
    kind, frame, *numbers = text.split()
    assert (kind.upper(), frame) == ("POLYGON", "ICRS")
    corners = SkyCoord(np.array(numbers, dtype=float).reshape(-1, 2) * u.deg)
    expected = SkyCoord(WCS(cards, fix=False).calc_footprint(center=False) * u.deg)
    assert len(corners) == 4
    assert all(corner.separation(expected).min().arcsec < 0.01 for corner in corners)


def test_corot(ingest_example):
    site, home, _ = ingest_example("12-corot-stars")
    lines = (home / "corot/data/exodat.txt").read_text().splitlines()
    names = lines[0].split("|")
    found = {row["corot_id"]: row for row in rows(site, "SELECT * FROM corot.stars")}
    for line in lines[1:]:
        source = dict(zip(names, line.split("|"), strict=True))
        row = found.pop(source["COROTID"])
        sky = SkyCoord(source["ALPHA_J2000"], source["DELTA_J2000"], unit=("hourangle", "deg"))
        assert (row["ra"], row["dec"]) == pytest.approx((sky.ra.deg, sky.dec.deg), abs=1e-9)
        assert row["mag_b"] == (
            None if source["MAG_B"] == "-99.000" else pytest.approx(float(source["MAG_B"]), rel=1e-6)
        )
    assert not found
    curves = {path.name: path for path in (home / "corot_lc/data").rglob("*.fits")}
    observations = rows(site, "SELECT * FROM ivoa.obscore")
    assert len(curves) == len(observations) == 30
    for row in observations:
        cards = fits.getheader(curves[row["access_url"].rpartition("/")[2]])
        assert abs(row["t_min"] - Time(cards["STARTDAT"]).mjd) * 86400 < 1e-4
        assert abs(row["t_max"] - Time(cards["END_DATE"]).mjd) * 86400 < 1e-4
        assert (row["s_ra"], row["s_dec"]) == pytest.approx((cards["ALPHA"], cards["DELTA"]))
        assert (row["em_min"], row["em_max"]) == pytest.approx((370e-9, 950e-9))
        assert (row["t_resolution"], row["t_xel"], row["dataproduct_type"]) == (cards["EXPTIME"], 40, "timeseries")
    near = rows(site, "SELECT corot_id FROM corot.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(291, 0.5, 1))")
    centre = SkyCoord(291, 0.5, unit="deg")
    all_stars = rows(site, "SELECT corot_id, ra, dec FROM corot.stars")
    assert {row["corot_id"] for row in near} == {
        row["corot_id"] for row in all_stars if centre.separation(SkyCoord(row["ra"], row["dec"], unit="deg")).deg <= 1
    }


def test_oifits(ingest_example):
    site, home, _ = ingest_example("13-oifits-archive")
    found = {row["ident"]: row for row in rows(site, "SELECT * FROM oidb.main")}
    assert len(found) == 23
    observations = {
        row["obs_publisher_did"].rpartition("?")[2]: row
        for row in rows(site, "SELECT * FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio")
    }
    assert set(observations) == set(found)
    for path in (home / "oidb/data").glob("*.oifits"):
        with fits.open(path) as file:
            bands, array, vis2 = file["OI_WAVELENGTH"].data, file["OI_ARRAY"].data, file["OI_VIS2"].data
            for target in file["OI_TARGET"].data:
                row = found.pop(f"{path.stem}_{target['TARGET_ID']}")
                one = vis2[vis2["TARGET_ID"] == target["TARGET_ID"]]
                assert (row["target"], row["ra"], row["dec"]) == (target["TARGET"], target["RAEP0"], target["DECEP0"])
                assert row["t_min"] == pytest.approx((one["MJD"] - one["INT_TIME"] / 86400 / 2).min(), abs=1e-9)
                assert row["exposure"] == 60 * len(set(one["MJD"])) == 180
                assert row["b_max"] == pytest.approx(np.hypot(one["UCOORD"], one["VCOORD"]).max())
                assert row["em_max"] == pytest.approx((bands["EFF_WAVE"] + bands["EFF_BAND"] / 2).max(), rel=1e-6)
                assert (row["channels"], row["telescopes"], row["nb_vis2"]) == (len(bands), 4, len(one))
                assert row["stations"] == " ".join(sorted(array["STA_NAME"]))
                seen = observations[row["ident"]]
                assert (seen["uv_distance_max"], seen["em_xel"], seen["nb_vis2"]) == (
                    row["b_max"],
                    row["channels"],
                    row["nb_vis2"],
                )
                assert seen["s_resolution"] == pytest.approx((row["em_min"] / row["b_max"] * u.rad).to_value(u.arcsec))
    assert not found


def test_herschel(ingest_example):
    site, home, _ = ingest_example("14-herschel-maps")
    observations = rows(site, "SELECT * FROM ivoa.obscore")
    assert len(observations) == 24
    files = {path.stem: path for path in (home / "herschel/data").glob("*_map.fits")}
    for row in observations:
        path = files.pop(row["obs_publisher_did"].partition("?")[2])
        assert row["access_url"].endswith(f"/datalink/herschel.maps?ID={path.stem}")
        cards, first = fits.getheader(path, "image"), fits.getheader(path)
        footprint(row["s_region"], cards)
        assert abs(row["t_min"] - Time(first["DATE-OBS"]).mjd) * 86400 < 1e-4
        assert (row["em_min"] + row["em_max"]) / 2 == pytest.approx((cards["WAVELNTH"] * u.um).to_value(u.m))
        assert (row["s_xel1"], row["s_xel2"], row["s_resolution"]) == (cards["NAXIS1"], cards["NAXIS2"], cards["BEAM"])
        assert u.Unit(row["o_unit"]) in (u.Jy / u.pix, u.MJy / u.sr)
        inside = rows(
            site, f"SELECT ident FROM herschel.maps WHERE 1 = CONTAINS(POINT({row['s_ra']}, {row['s_dec']}), footprint)"
        )
        assert {"ident": path.stem} in inside
    assert rows(site, "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE s_region IS NULL") == [{"n": 0}]
