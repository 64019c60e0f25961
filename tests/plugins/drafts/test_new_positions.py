"""Which columns ``hven new`` takes for a position on the sky: those alone that say so."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.plugins.drafts.drafting import create_descriptor
from hven.services.faces import cone
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL

RANDOM = np.random.default_rng(2010)
LON, LAT = RANDOM.uniform(0, 180, 40).round(4), RANDOM.uniform(-80, 80, 40).round(4)


def draft_pair(tmp_path, lon, lat):
    (tmp_path / "a.csv").write_text(
        f"id,{lon},{lat}\n" + "".join(f"{n},{x},{y}\n" for n, (x, y) in enumerate(zip(LON, LAT, strict=True)))
    )
    (tmp_path / "collections").mkdir()
    (tmp_path / "hven.toml").write_text("")
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "a.csv"))
    assert [str(fault) for fault in check_descriptor(path, settings)] == []
    return settings, path


def publish(settings):
    with Site(settings) as site:
        ingest_collection(site, "a")
        table = site.get_published_state().tables_by_name["a.main"].table
        with query.run_query("SELECT * FROM a.main", OWNER_PRINCIPAL, site=site) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        return table, rows


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ("reclong", "reclat"), ("lon", "lat"), ("long", "lat"), ("longitude", "latitude"), ("Longitude (deg)", "Latitude (deg)"),
        ("center_lon", "center_lat"), ("site_longitude", "site_latitude"), ("lon_deg", "lat_deg"), ("lon_east", "lat_north"),
    ],
)  # fmt: skip
def test_longitudes_and_latitudes_are_no_position_on_the_sky(tmp_path, lon, lat):
    settings, path = draft_pair(tmp_path, lon, lat)
    text = path.read_text()
    assert "position" not in yaml.safe_load(text)["tables"]["main"]
    assert "are they a longitude and a latitude on a body?" in text
    assert "frames: {body: {system: BODY, refposition: Mars}}" in text
    table, _ = publish(settings)
    assert table.position is None
    assert not cone.FACE.applies(table)


def test_what_the_draft_says_of_a_body_is_right_and_gives_no_cone_search(tmp_path):
    settings, path = draft_pair(tmp_path, "lon", "lat")
    text = path.read_text()
    frames = re.search(r"`(frames: .*?)`\.", text)[1]
    for name, word in (("lon", "pos.bodyrc.lon;meta.main"), ("lat", "pos.bodyrc.lat;meta.main")):
        text = re.sub(rf"(?m)^( +{name}: +{{type: float64).*}}", rf"\1, unit: deg, ucd: {word}, frame: body}}", text)
    path.write_text(text.replace("    source:", f"    {frames}\n    source:"))
    assert [str(fault) for fault in check_descriptor(path, settings)] == []
    table, _ = publish(settings)
    assert table.frames[0].refposition == "Mars"
    assert not cone.FACE.applies(table)


@pytest.mark.parametrize(
    ("lon", "lat", "frame"), [("GLON", "GLAT", "galactic"), ("elon", "elat", "barycentricmeanecliptic")]
)
def test_other_frames_of_the_sky_are_converted(tmp_path, lon, lat, frame):
    settings, path = draft_pair(tmp_path, lon, lat)
    assert yaml.safe_load(path.read_text())["tables"]["main"]["position"] == ["ra", "dec"]
    table, rows = publish(settings)
    assert cone.FACE.applies(table)
    sky = SkyCoord(LON, LAT, unit="deg", frame=frame).icrs
    rows.sort(key=lambda row: row["id"])
    near = SkyCoord([row["ra"] for row in rows], [row["dec"] for row in rows], unit="deg").separation(sky)
    assert near.arcsec.max() < 0.1


def test_right_ascension_in_hours_is_no_position_in_degrees(tmp_path):
    _, path = draft_pair(tmp_path, "ra [h]", "dec [deg]")
    assert "position" not in yaml.safe_load(path.read_text())["tables"]["main"]


def draft_text(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    path = create_descriptor(settings := Settings(directory=tmp_path), "a", str(tmp_path / "a.csv"))
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    return settings, path, yaml.safe_load(path.read_text())["tables"]["main"]


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("19h19m43.40s", "+40d05m51.8s"), ("19:19:43.40", "+40:05:51.8"), ("19 19 43.40", "+40 05 51.8"), ("19h 19m 43.4s", "40°05'51.8s"),
    ],
)  # fmt: skip
def test_sexagesimal_positions_are_known_by_their_values(tmp_path, ra, dec):
    settings, path, table = draft_text(tmp_path, f"id,system_rightascension,system_place\n1,{ra},{dec}\n2,{ra},{dec}\n")
    assert table["position"] == ["system_rightascension", "system_place"]
    assert {table["columns"][name]["unit"] for name in table["position"]} == {"deg"}
    assert re.search(r"system_rightascension: .*# guessed: ucd, degrees of sexagesimal hours", path.read_text())
    _, rows = publish(settings)
    expected = SkyCoord("19h19m43.4s +40d05m51.8s")
    assert [(row["system_rightascension"], row["system_place"]) for row in rows] == [
        (pytest.approx(expected.ra.deg), pytest.approx(expected.dec.deg))
    ] * 2


@pytest.mark.parametrize(
    "rows",
    [
        "obs_start,dec\n12:30:10,+40:05:51\n12:31:10,-41:05:51\n",  # a time of day before a declination that says so
        "a,b\n12:30:10,13:05:51\n12:31:10,13:05:52\n",  # two times of day
        "a,b\n12:30:10,+40 05 51\n12:31:10,-41 05 51\n",  # of two notations
        "a,b\n32:30:10,+40:05:51\n12:31:10,-41:05:51\n",  # more than 24 hours
        "a,b\n12:30:10,x\n12:31:10,y\n",
    ],
)
def test_times_are_no_right_ascensions(tmp_path, rows):
    _, _, table = draft_text(tmp_path, rows)
    assert "position" not in table
    first = next(iter(table["columns"].values()))
    assert first["type"] == "string"


@pytest.mark.parametrize(
    ("names", "position"), [("ra_mean,dec_mean", ["ra_mean", "dec_mean"]), ("ra_mean,s_dec", None)]
)
def test_columns_of_two_positions_are_none(tmp_path, names, position):
    """Both names suggest the UCDs of a position."""
    assert draft_text(tmp_path, f"{names}\n10.5,-20.25\n11.5,-21.25\n")[2].get("position") == position


def test_sexagesimal_text_beside_degrees_stays(tmp_path):
    _, path, table = draft_text(tmp_path, "rastr,ra,decstr,dec\n12h20m42.91s,185.1787793,+17d47m35.71s,17.7932516\n15h17m05.90s,229.274595,+71d49m26.19s,71.8239428\n")  # fmt: skip
    assert table["position"] == ["ra", "dec"]
    assert [table["columns"][name]["type"] for name in ("rastr", "decstr")] == ["string", "string"]
    assert "`rastr: sexagesimal(rastr, 'hour')` under `map`" in path.read_text()
