"""Names of frames in all spellings and of both lists, kinds of latitudes and longitudes, and which names are refused."""

from __future__ import annotations

import re

import numpy as np
import pyproj
import pytest
from pyproj.database import query_crs_info
from pyproj.enums import PJType

from hven.model.errors import ParamError
from hven.plugins.maps.frames import _SUFFIXES_BY_OLDER_SUFFIX, find_body, find_frame, identify_frame, map_body_numbers
from hven.plugins.maps.map_drawing import find_request_frame

SPELLINGS = [
    "IAU_2015:{}", "IAU:{}", "IAU:2015:{}", "iau:2015:{}", "IAU2015:{}", "urn:ogc:def:crs:IAU:2015:{}",
    "urn:ogc:def:crs:IAU_2015::{}", "urn:x-ogc:def:crs:IAU:2015:{}", "http://www.opengis.net/def/crs/IAU/2015/{}",
    "https://www.opengis.net/def/crs/IAU/2015/{}",
]  # fmt: skip
WEST_POSITIVE = {
    "Mercury", "Mars", "Ganymede", "Callisto", "Jupiter", "Iapetus", "Saturn", "Neptune", "Naiad", "Thalassa", "Despina",
    "Galatea", "Larissa",
}  # fmt: skip
EAST_POSITIVE = {"Earth", "Uranus", "1P/Halley", "Ceres", "Eros"}
HALLEY = 1000036  # PROJ cannot invert polar projections of a body that is twice as wide as high
# the list of 2000, as USGS publishes it: suffix -> method of PROJ, longitude of the centre, latitude of the centre
OLDER_LIST = {
    0: ("longlat", None, None), 1: ("longlat", None, None), 10: ("eqc", 0, 0), 11: ("eqc", 0, 0), 12: ("eqc", 180, 0),
    13: ("eqc", 180, 0), 14: ("sinu", 0, None), 15: ("sinu", 0, None), 16: ("sinu", 180, None),
    17: ("sinu", 180, None), 18: ("stere", 0, 90), 19: ("stere", 0, 90), 20: ("stere", 0, -90), 21: ("stere", 0, -90),
    22: ("moll", 0, None), 23: ("moll", 0, None), 24: ("moll", 180, None), 25: ("moll", 180, None),
    26: ("robin", 0, None), 27: ("robin", 0, None), 28: ("robin", 180, None), 29: ("robin", 180, None),
}  # fmt: skip


@pytest.mark.parametrize("code", [49900, 49901, 49910, 49930, 30100, 200000100])
def test_all_spellings_name_the_same_frame(code: int) -> None:
    frames = {find_frame(spelling.format(code)).name for spelling in SPELLINGS}
    assert frames == {f"IAU_2015:{code}"}
    assert find_frame(f"IAU:{code}").crs == pyproj.CRS.from_authority("IAU_2015", code)


@pytest.mark.parametrize("suffix", OLDER_LIST)
@pytest.mark.parametrize("year", ["2000", "2009"])
def test_older_numbers_have_the_projections_of_their_own_list(year: str, suffix: int) -> None:
    method, lon, lat = OLDER_LIST[suffix]
    for spelling in (f"IAU{year}:{49900 + suffix}", f"IAU:{year}:{49900 + suffix}", f"IAU_{year}:{49900 + suffix}"):
        frame = find_frame(spelling)
        parameters = dict(part.partition("=")[::2] for part in frame.proj_text.split())
        assert parameters["+proj"] == method
        assert lon is None or float(parameters.get("+lon_0", 0)) == lon
        assert lat is None or float(parameters.get("+lat_0", 0)) == lat
        assert frame.has_ographic_latitudes == (suffix % 2 == 1)
    assert set(_SUFFIXES_BY_OLDER_SUFFIX) == set(OLDER_LIST)


def test_the_numbers_of_the_two_lists_differ() -> None:
    assert find_frame("IAU2000:49918").kind == find_frame("IAU_2015:49930").kind == "north_polar"
    assert find_frame("IAU2000:49920").kind == "south_polar"
    assert find_frame("IAU_2015:49920").kind == "projected"
    assert "sinu" in find_frame("IAU_2015:49920").proj_text


def test_older_frames_have_the_radii_of_their_report() -> None:
    """Charon has another radius since; the report of 2000 is used for coordinates in metres."""
    older, present = find_frame("IAU2000:90110"), find_frame("IAU_2015:90110")
    assert older.crs.ellipsoid is not None
    assert older.crs.ellipsoid.semi_major_metre == 593_000 != present.body.radius_m
    x, _ = older.convert_from_lon_lat(np.array([90.0]), np.array([0.0]))
    assert x[0] == pytest.approx(np.pi / 2 * 593_000)
    assert find_frame("IAU2000:90100").name == "IAU2000:90100"
    with pytest.raises(ParamError, match="radii"):
        find_frame("IAU2000:40110")


def test_longitudes_to_the_west_and_latitudes_are_told_apart() -> None:
    west, east = set(), set()
    for name in map_body_numbers():
        body = find_body(name)
        try:
            frame = body.get_frame(1)
        except ParamError:
            continue
        (west if frame.is_west_positive else east).add(name)
        assert frame.has_ographic_latitudes
        assert frame.is_vertical_first
        lon, lat = np.array([30.0, -100.0]), np.array([40.0, -60.0])
        x, y = frame.convert_from_lon_lat(lon, lat)
        geocentric = pyproj.Transformer.from_pipeline(
            f"+proj=geoc +a={body.equatorial_radius_m} +b={body.polar_radius_m}"
        )
        assert y == pytest.approx(geocentric.transform(lon, lat, direction="INVERSE", radians=False)[1], abs=1e-9)
        assert x == pytest.approx(-lon if frame.is_west_positive else lon)
        assert np.allclose(frame.convert_to_lon_lat(x, y), (lon, lat), atol=1e-9)
    assert west == WEST_POSITIVE
    assert {name for name in east if "Halley" not in name} == {name for name in EAST_POSITIVE if "Halley" not in name}
    ocentric = find_frame("IAU_2015:49902")
    assert (ocentric.is_west_positive, ocentric.has_ographic_latitudes) == (False, False)


def test_all_served_frames_of_all_bodies_lead_back_to_their_places() -> None:
    lon, lat = np.array([-170.0, -20.0, 10.0, 80.0]), np.array([-70.0, -10.0, 20.0, 85.0])
    polar_lat = np.array([60.0, 65.0, 80.0, 89.0])
    codes = [int(info.code) for info in query_crs_info("IAU_2015", pj_types=[PJType.PROJECTED_CRS])]
    checked = 0
    for code in codes:
        if code % 100 not in {10, 11, 12, 15, 16, 30, 31, 35, 36} or code // 100 == HALLEY:
            continue
        frame = find_frame(f"IAU_2015:{code}")
        frame_lat = {"north_polar": polar_lat, "south_polar": -polar_lat}.get(frame.kind, lat)
        back = frame.convert_to_lon_lat(*frame.convert_from_lon_lat(lon, frame_lat))
        assert np.abs((back[0] - lon + 180) % 360 - 180).max() < 1e-6, code
        assert np.abs(back[1] - frame_lat).max() < 1e-6, code
        checked += 1
    assert checked > 400


@pytest.mark.parametrize(
    "name",
    ["EPSG:4326", "CRS:84", "OGC:CRS84", "EPSG:104905", "ESRI:104905", "IAU_2015:1", "IAU_2015:49999", "IAU2000:49960",
     "IAU:1999:49900", "49900", "", "IAU_2015:99999999900", "AUTO:42001,1,2,3", "IAU_2015:49900 ; DROP", "x" * 5000],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ParamError) as caught:
        find_request_frame(name, {})
    assert caught.value.name == "CRS"
    assert caught.value.remedy
    assert len(caught.value.message) < 300


def test_an_alias_names_the_frame_that_the_collection_says() -> None:
    aliases = {"CRS:84": "IAU_2015:49900", "IAU2000:49901": "IAU_2015:49900", "EPSG:4326": "IAU_2015:49900"}
    assert find_request_frame("IAU2000:49901", {}).is_west_positive
    assert not find_request_frame("IAU2000:49901", aliases).is_west_positive
    assert find_request_frame("epsg:4326", aliases).is_vertical_first
    assert not find_request_frame("CRS:84", aliases).is_vertical_first


MARS_SPHERE = "+proj=longlat +R=3396190 +no_defs"


@pytest.mark.parametrize(
    ("crs", "body", "words"),
    [
        ("EPSG:4326", "", "does not name a body"),
        ("EPSG:4326", "Mars", "the radius of Mars is 3,396,190 m, but the file has 6,378,137 m"),
        ("EPSG:3857", "Mars", "6,378,137 m"),
        ("IAU_2015:30100", "Mars", "the file's frame is IAU_2015:30100"),
        (MARS_SPHERE, "", "does not name a body"),
        (MARS_SPHERE, "Phobos", "the radius of Phobos"),
        (
            "+proj=longlat +a=3396190 +b=3376200 +no_defs",
            "Mars",
            "does not say whether its latitudes are planetographic",
        ),
    ],
)
def test_a_wrong_or_ambiguous_frame_of_a_file_is_refused(crs: str, body: str, words: str) -> None:
    with pytest.raises(ParamError, match=re.escape(words)) as caught:
        identify_frame(pyproj.CRS(crs).to_wkt(), find_body(body) if body else None)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("definition", "name"),
    [
        (MARS_SPHERE, "IAU_2015:49900"),
        ("+proj=eqc +R=3396190 +no_defs", "IAU_2015:49910"),
        ("+proj=eqc +lon_0=180 +R=3396190 +no_defs", "IAU_2015:49915"),
        ("+proj=stere +lat_0=90 +R=3396190 +no_defs", "IAU_2015:49930"),
        ("+proj=stere +lat_0=-90 +lat_ts=-90 +R=3396190 +no_defs", "IAU_2015:49935"),
        ("+proj=eqc +lon_0=30 +R=3396190 +no_defs", ""),
    ],
)
def test_a_frame_without_a_number_is_found_by_what_it_is(definition: str, name: str) -> None:
    frame = identify_frame(pyproj.CRS(definition).to_wkt(), find_body("Mars"))
    assert frame.name == name
    assert frame.is_cylindrical == ("stere" not in definition)
