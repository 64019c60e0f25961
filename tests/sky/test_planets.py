"""Frames of planets: WKT as PROJ writes it, latitudes against PROJ, three axes, and texts that are none."""

import numpy as np
import pyproj
import pytest
from pyproj.database import get_codes

from hven.model.sky import bodies, planetary_frames

MARS = (3396190.0, 3396190.0, 3376200.0)


@pytest.mark.parametrize("code", [49900, 49901, 49902, 30100, 50300, 69901, 69902])
@pytest.mark.parametrize("version", ["WKT2_2019", "WKT2_2015", "WKT1_ESRI"])
def test_wkt_of_the_iau(code, version):
    crs = pyproj.CRS.from_authority("IAU_2015", code)
    try:
        text = crs.to_wkt(version, pretty=code % 2 == 0)
    except pyproj.exceptions.CRSError:
        pytest.skip("PROJ does not write it so")
    if text is None:
        pytest.skip("PROJ does not write it so")
    found = planetary_frames.parse_wkt_frame(text)
    ellipsoid = crs.ellipsoid
    assert found.axes == pytest.approx(
        (ellipsoid.semi_major_metre, ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre)
    )
    assert found.frame.body == {4: "Mars", 3: "Moon", 5: "Ganymede", 6: "Saturn"}[code // 10000]
    assert found.meridian == 0.0
    if version != "WKT1_ESRI":  # which knows no axes and no codes
        assert found.frame.code == f"IAU_2015:{code}"
        assert found.frame.graphic == (code % 10 == 1)
        assert found.frame.west == any(axis.direction == "west" for axis in crs.axis_info)


def test_a_projected_frame_and_older_ones_and_three_axes():
    assert planetary_frames.parse_wkt_frame(pyproj.CRS.from_authority("IAU_2015", 49910).to_wkt()).frame.body == "Mars"
    assert planetary_frames.parse_wkt_frame(pyproj.CRS.from_authority("ESRI", 104905).to_wkt()).axes == pytest.approx(
        MARS
    )
    phobos = 'GEODCRS["Phobos",DATUM["Phobos",TRIAXIAL["Phobos (2015)",13.0,11.4,9.1,LENGTHUNIT["kilometre",1000]]],CS[spherical,2]]'
    found = planetary_frames.parse_wkt_frame(phobos)
    assert (found.frame.body, found.axes) == ("Phobos", (13000.0, 11400.0, 9100.0))
    assert found.frame.graphic is False


def test_latitudes_are_projs():
    lat = np.linspace(-90, 90, 181)
    geoc = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=geoc +a=3396190 +b=3376200 +step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
    theirs = geoc.transform(np.full(181, 20.0), lat)
    lon, centric = planetary_frames.to_planetocentric(np.full(181, 20.0), lat, MARS)
    assert np.abs(centric - theirs[1]).max() < 1e-10
    assert np.abs(lon[1:-1] - 20).max() < 1e-10
    assert np.abs(planetary_frames.to_planetographic(lon, centric, MARS)[1] - lat).max() < 1e-10


def test_three_axes_stand_upright():
    rng = np.random.default_rng(1)
    lon, lat, axes = rng.uniform(0, 360, 10_000), rng.uniform(-90, 90, 10_000), (13.0, 11.4, 9.1)
    there = planetary_frames.to_planetographic(lon, lat, axes)
    back = planetary_frames.to_planetocentric(*there, axes)
    assert np.abs((back[0] - lon + 180) % 360 - 180).max() < 1e-7
    assert np.abs(back[1] - lat).max() < 1e-9
    # the gradient of x^2/a^2 + y^2/b^2 + z^2/c^2 is the vertical
    phi, lam = np.radians(lat), np.radians(lon)
    x, y, z = np.cos(phi) * np.cos(lam) / 13.0**2, np.cos(phi) * np.sin(lam) / 11.4**2, np.sin(phi) / 9.1**2
    assert np.abs(np.degrees(np.arctan2(z, np.hypot(x, y))) - there[1]).max() < 1e-9
    assert np.isnan(planetary_frames.to_planetographic([np.nan], [0.0], axes)[0]).all()


@pytest.mark.parametrize(
    "text",
    [
        "", "EPSG:4326", 'GEOGCRS["Mars"', 'GEOGCRS["Mars"]]', 'GEOGCRS["Mars",ELLIPSOID["x",0,0]]', "[" * 1000, 'GEOGCRS["Mars",DATUM["x",TRIAXIAL["x",1,2]]]',
        'GEOGCRS["Mars",ELLIPSOID["x",-3,0]]', "\x00",
    ],
)  # fmt: skip
def test_what_is_no_wkt_is_told(text):
    with pytest.raises(ValueError, match=r"WKT|axes"):
        planetary_frames.parse_wkt_frame(text)


def test_an_unknown_body_keeps_its_name():
    assert (
        planetary_frames.parse_wkt_frame('GEOGCRS["Vulcan (2015)",DATUM["v",ELLIPSOID["v",1000,0]]]').frame.body
        == "Vulcan"
    )


def test_codes_of_the_iau_are_projs():
    codes = {int(code) for kind in ("GEOGRAPHIC_2D_CRS", "GEODETIC_CRS") for code in get_codes("IAU_2015", kind)}
    for code in sorted(codes):
        crs = pyproj.CRS.from_authority("IAU_2015", code)
        if bodies.find_solar_system_body(f"NAIF {code // 100}") is None:
            with pytest.raises(ValueError, match="the body with the NAIF code"):
                planetary_frames.parse_iau_frame_code(f"IAU_2015:{code}")
            continue
        for text in (f"IAU_2015:{code}", f"urn:ogc:def:crs:IAU:2015::{code}"):
            found = planetary_frames.parse_iau_frame_code(text)
            assert found.frame.graphic == (code % 100 == 1)
            assert found.frame.west == any(axis.direction == "west" for axis in crs.axis_info), crs.name
        if np.isfinite(found.axes[0]):
            assert found.axes[0] == pytest.approx(crs.ellipsoid.semi_major_metre, rel=2e-3)


@pytest.mark.parametrize(("code", "why"), [("IAU_2015:49910", "projection"), ("IAU_2015:x", "nor an IAU frame code"), ("EPSG:4326", "nor an IAU frame code"), ("IAU_2015:99999900", "is not known")])  # fmt: skip
def test_what_is_no_code_is_told(code, why):
    with pytest.raises(ValueError, match=why):
        planetary_frames.parse_iau_frame_code(code)
