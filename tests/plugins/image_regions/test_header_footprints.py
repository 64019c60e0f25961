"""Footprints of headers: edges against astropy's, whatever the projection and distortion; the Sun's against sunpy; what is no footprint."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hven.model.sky import compute_angular_distance, frames
from hven.plugins.image_regions import contours, header_footprints

BASE = {"NAXIS": 2, "NAXIS1": 200, "NAXIS2": 120, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 30.0, "CRVAL2": -45.0, "CRPIX1": 90.0, "CRPIX2": 70.0, "CDELT1": -0.01, "CDELT2": 0.01}  # fmt: skip
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 3, "A_2_0": 2e-4, "A_1_1": -1e-4, "A_0_3": 1e-6, "B_0_2": -2e-4, "B_2_1": 1e-6}  # fmt: skip
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", **{f"PV{axis}_{n}": {1: 1.0, 4: 0.01, 5: 0.02, 7: -0.01}.get(n, 0.0) for axis in (1, 2) for n in (*range(3), *range(4, 11))},
    "CD1_1": -0.01, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.01}  # fmt: skip


def ctypes(projection, lon="RA--", lat="DEC-"):
    return {"CTYPE1": f"{lon}-{projection}", "CTYPE2": f"{lat}-{projection}"}


WIDE = {"CDELT1": -0.4, "CDELT2": 0.4, "CRVAL2": 20.0}
IMAGES = {
    "TAN": {},
    "wide TAN": {"CDELT1": -0.3, "CDELT2": 0.3},
    "a pole": {"CRVAL2": 89.9},
    "over 0": {"CRVAL1": 0.1, "CRVAL2": 3.0},
    "mirrored": {"CDELT1": 0.01},
    "CROTA": {"CROTA2": 33.0},
    "PC": {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
    "CD": {"CD1_1": -0.008, "CD1_2": 0.001, "CD2_1": 0.002, "CD2_2": 0.01},
    "SIP": SIP,
    "SIP with CD": {**SIP, "CD1_1": -0.01, "CD1_2": 0.001, "CD2_1": 0.002, "CD2_2": 0.01},
    "TPV": TPV,
    "as SCAMP writes TPV": {**TPV, **ctypes("TAN")},
    "ZPN": {**ctypes("ZPN"), "PV2_1": 1.0, "PV2_3": 20.0},
    **{name: {**ctypes(name), **WIDE} for name in ("SIN", "ARC", "STG", "ZEA", "CAR", "CEA", "MER", "SFL", "GLS", "AIT", "MOL")},
    "COE": {**ctypes("COE"), "PV2_1": 40.0, "PV2_2": 10.0, "CRVAL2": 40.0},
    "galactic": ctypes("TAN", "GLON", "GLAT"),
    "B1950": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "a planet": {**ctypes("CAR", "MALN", "MALT"), "CDELT1": 0.2, "CDELT2": 0.2, "CRVAL1": 5.0, "CRVAL2": 0.0},
    "minutes of arc": {"CUNIT1": "arcmin", "CUNIT2": "arcmin", "CDELT1": -0.6, "CDELT2": 0.6, "CRVAL1": 1800.0, "CRVAL2": -2700.0},
}  # fmt: skip


def truth(cards):
    """Pixels -> places, by astropy."""
    given = {key: value for key, value in cards.items() if not key.startswith("NAXIS")}
    if given["CTYPE1"] == "RA---TAN" and "PV1_1" in given:
        given |= ctypes("TPV")
    wcs = WCS(fits.Header(given))
    frame = "GALACTIC" if "GLON" in given["CTYPE1"] else given.get("RADESYS", "ICRS")

    def places(x, y):
        lon, lat = wcs.all_pix2world(x, y, 1)
        return (lon, lat) if frame == "ICRS" else frames.rotate_positions(lon, lat, frame, "ICRS")

    return places


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IMAGES)
def test_edges_follow_the_image(name):
    cards = BASE | IMAGES[name]
    found = header_footprints.build_regions_from_headers([cards])
    assert list(found.iterate_faults()) == []
    assert found.classify_quality().tolist() == ["exact"]
    region, places = found.regions, truth(cards)
    assert region.find_faults() == [""]
    share = np.linspace(0, 1, 301)
    edge = np.concatenate([np.stack([0.5 + 200 * share, 0 * share + y], 1) for y in (0.5, 120.5)] + [np.stack([0 * share + x, 0.5 + 120 * share], 1) for x in (0.5, 200.5)])  # fmt: skip
    scale = abs(cards.get("CD1_1", cards["CDELT1"])) / (60 if name == "minutes of arc" else 1)
    gap = region.prepared_rings
    lon, lat = places(*edge.T)
    off = [
        gap.compute_boundary_distances(*np.full((2, 1), [[one], [two]]))[0] for one, two in zip(lon, lat, strict=True)
    ]
    assert max(off) < 0.15 * scale  # the error is measured at every fourth of a piece
    rng = np.random.default_rng(3)
    for inset, wanted in ((0.7, True), (-0.7, False)):
        x, y = rng.uniform(0.5 + inset, 200.5 - inset, 300), rng.uniform(0.5 + inset, 120.5 - inset, 300)
        if not wanted:
            side = rng.integers(0, 2, 300)
            x, y = np.where(side, x, rng.choice([0.5 - 0.7, 200.5 + 0.7], 300)), np.where(side, rng.choice([0.5 - 0.7, 120.5 + 0.7], 300), y)  # fmt: skip
        lon, lat = places(x, y)
        some = np.isfinite(lon)
        assert (region.contains(lon[some], lat[some]) == wanted).all()


@pytest.mark.filterwarnings("ignore")
def test_polynomials_are_of_degrees_however_the_scale_is_said():
    steps = {name: value for name, value in TPV.items() if name[:2] != "CD"}
    found = header_footprints.build_regions_from_headers(
        [BASE | TPV, BASE | steps, BASE | {**steps, "PC1_1": 1.0}]
    ).regions
    assert np.abs(found.lon.reshape(3, -1) - found.lon[: len(found.lon) // 3]).max() < 1e-12


def test_whole_bodies_belts_and_caps():
    planet = BASE | ctypes("CAR", "MALN", "MALT") | {"NAXIS1": 360, "NAXIS2": 180, "CDELT1": 1.0, "CDELT2": 1.0, "CRVAL1": 180.0, "CRVAL2": 0.0, "CRPIX1": 180.5, "CRPIX2": 90.5}  # fmt: skip
    belt = planet | {"NAXIS2": 60, "CRPIX2": 30.5}
    cap = planet | {"NAXIS2": 30, "CRPIX2": -59.5}
    found = header_footprints.build_regions_from_headers([planet, belt, cap, BASE | ctypes("AIT", "GLON", "GLAT") | {"NAXIS1": 480, "NAXIS2": 240, "CRPIX1": 240.5, "CRPIX2": 120.5, "CDELT1": -0.675, "CDELT2": 0.675, "CRVAL1": 0.0, "CRVAL2": 0.0}])  # fmt: skip
    assert list(found.iterate_faults()) == []
    assert found.regions.is_valid().all()
    half = 2 * np.pi
    assert found.regions.compute_areas() == pytest.approx(
        [2 * half, half, half * 0.5 * (2 - np.sqrt(3)), 2 * half], rel=2e-3
    )
    assert found.regions.contains(np.full(4, 77.0), [0.0, 29.9, 61.0, 3.0]).tolist() == [True] * 4
    assert not found.regions.take([1, 2]).contains([77.0, 77.0], [30.2, 59.5]).any()


def test_west_longitudes_graphic_latitudes_and_cubes():
    planet = BASE | ctypes("CAR", "MALN", "MALT") | {"CRVAL2": 0.0, "CRPIX2": -2000.0}
    plain, west = (
        header_footprints.build_regions_from_headers([planet], west_positive=west).regions for west in (False, True)
    )
    assert plain.compute_areas() == pytest.approx(west.compute_areas())
    assert (plain.compute_bounding_boxes()[0] + west.compute_bounding_boxes()[1]) % 360 == pytest.approx(0, abs=1e-9)
    assert west.find_faults() == [""]
    mars = planet | {"WCSNAME": "Planetographic", "A_RADIUS": 3396190.0, "C_RADIUS": 3376200.0}
    low = (
        plain.compute_bounding_boxes()[2]
        - header_footprints.build_regions_from_headers([mars]).regions.compute_bounding_boxes()[2]
    )
    assert low == pytest.approx(np.degrees(0.5 * (1 - (3376.2 / 3396.19) ** 2)) * np.sin(np.radians(40.0)), rel=0.01)
    cube = {key.replace("1", "2") if key[-1] == "1" else key.replace("2", "3") if key[-1] == "2" else key: value for key, value in BASE.items()}  # fmt: skip
    cube |= {"NAXIS": 3, "NAXIS1": 5, "CTYPE1": "WAVE", "CRVAL1": 5e-7, "CRPIX1": 1.0, "CDELT1": 0.0, "CUNIT1": "m"}
    assert (
        header_footprints.build_regions_from_headers([cube]).regions
        == header_footprints.build_regions_from_headers([BASE]).regions
    )


BAD = {
    "no_wcs": [{"CTYPE1": "LINEAR"}, {"CRVAL1": None}, {"CRPIX2": float("nan")}, {"NAXIS1": 0}, {"CTYPE2": None}, {"CRVAL1": "x"}],
    "projection": [ctypes("XYZ"), ctypes("TNX"), {"CTYPE1": "RA", "CTYPE2": "DEC"}],
    "singular": [{"CDELT1": 0.0}, {"CDELT2": None}, {"CD1_1": 0.1, "CD1_2": 0.1, "CD2_1": 0.1, "CD2_2": 0.1}, {"CDELT1": float("inf")}],
    "distortion": [SIP | {"A_ORDER": 10**10}, SIP | {"B_ORDER": "x"}, SIP | {"A_ORDER": 2.5}],
    "no_place": [{"CRPIX1": 1e10}, {"CDELT1": 1e300}, ctypes("AIT") | {"CDELT1": -2.0, "CDELT2": 1.0}, ctypes("SIN") | {"CDELT1": -1.0, "CDELT2": 1.0}],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BAD)
def test_bad_headers_are_named(name):
    found = header_footprints.build_regions_from_headers([BASE, *(BASE | cards for cards in BAD[name]), BASE])
    assert [fault.name for fault in found.iterate_faults()] == [name] * len(BAD[name])
    assert np.diff(found.regions.rows).tolist() == [1, *[0] * len(BAD[name]), 1]
    assert header_footprints.build_regions_from_headers([]).regions == header_footprints.build_regions_from_headers(
        [BASE]
    ).regions.take([])


WORDS = (None, "", 0, -1, 1, 1e300, -1e300, float("nan"), float("inf"), "x", "TAN", True, 1e-300, 90, -90, 360, 10**10, 2**62, -(2**62), "arcsec", "furlong", 1e-8, 3.7)  # fmt: skip
MORE = ("LONPOLE", "LATPOLE", "CROTA2", "PV2_1", "A_ORDER", "A_3_0", "PC1_2", "CD1_1", "RADESYS", "EQUINOX", "CUNIT1", "CTYPE3", "C_RADIUS", "WCSNAME", "RSUN_OBS", "RSUN_REF", "CRLN_OBS", "DATE-OBS", "ZNAXIS1")  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_changed_headers_are_regions_that_are_valid_or_faults():
    rng, headers = np.random.default_rng(9), []
    bases = [BASE | one for one in IMAGES.values()] + [AIA]
    for _ in range(2000 if os.environ.get("HVEN_PROOF") == "full" else 150):
        header = dict(bases[rng.integers(len(bases))])
        names = [*header, *MORE]
        for _ in range(rng.integers(1, 3)):
            header[names[rng.integers(len(names))]] = WORDS[rng.integers(len(WORDS))]
        headers.append(header)
    found = header_footprints.build_regions_from_headers(headers)
    assert not any(found.regions.find_faults())
    assert ((np.diff(found.regions.rows) > 0) == (found.fault == 0)).all()


AIA = BASE | {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 300.0, "CRVAL2": -200.0, "CDELT1": 3.0, "CDELT2": 3.0, "CROTA2": 12.0, "DATE-OBS": "2011-02-15T00:00:00", "DSUN_OBS": 147724815128.0, "RSUN_REF": 696000000.0, "CRLN_OBS": 22.814522, "CRLT_OBS": -6.820544, "HGLN_OBS": 0.5, "HGLT_OBS": -6.820544}  # fmt: skip


def test_images_of_the_sun_as_sunpy():
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.utils.iers import conf
    from sunpy.coordinates import HeliographicStonyhurst, Helioprojective

    found = header_footprints.build_regions_from_headers([AIA], stonyhurst=True).regions
    wcs = WCS(fits.Header({key: AIA[key] for key in AIA if key[:2] in {"CT", "CU", "CR", "CD"} and "OBS" not in key}))
    pixels = np.concatenate([np.linspace(a, b, 50)[:-1] for a, b in zip([(0.5, 0.5), (200.5, 0.5), (200.5, 120.5), (0.5, 120.5)], [(200.5, 0.5), (200.5, 120.5), (0.5, 120.5), (0.5, 0.5)], strict=True)])  # fmt: skip
    x, y = wcs.wcs_pix2world(pixels, 1).T
    with conf.set_temp("auto_max_age", None), conf.set_temp("auto_download", False):
        there = SkyCoord(0.5 * u.deg, -6.820544 * u.deg, 147724815128.0 * u.m, frame=HeliographicStonyhurst(obstime="2011-02-15"))  # fmt: skip
        seen = SkyCoord(x * u.deg, y * u.deg, frame=Helioprojective(observer=there, obstime="2011-02-15", rsun=696000 * u.km))  # fmt: skip
        place = seen.transform_to(HeliographicStonyhurst(obstime="2011-02-15"))
    lon, lat = place.lon.deg, place.lat.deg
    gaps = [
        found.prepared_rings.compute_boundary_distances(np.array([a]), np.array([b]))[0]
        for a, b in zip(lon, lat, strict=True)
    ]
    assert max(gaps) < np.degrees(0.3 * 3.0 / 960.0)  # less than a third of a pixel at the centre of the disc
    corner = compute_angular_distance(lon[0], lat[0], found.lon, found.lat)
    assert corner.min() < 1e-4
    turned = header_footprints.build_regions_from_headers([AIA]).regions
    assert np.abs((turned.lon - found.lon - (22.814522 - 0.5) + 180) % 360 - 180).max() < 1e-9


def test_who_looks_at_the_sun_is_asked_of_the_header_and_else_of_the_date():
    plain = {key: value for key, value in AIA.items() if "OBS" not in key or key == "DATE-OBS"} | {"CROTA2": 0.0}
    whole = plain | {"CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": 15.0, "CDELT2": 25.0, "CRPIX1": 100.5, "CRPIX2": 60.5}
    old = whole | {"CTYPE1": "solar-x", "CTYPE2": "SOLARY", "CUNIT1": None, "CUNIT2": None}
    found = header_footprints.build_regions_from_headers([whole, old])
    assert found.classify_quality().tolist() == ["clipped_at_limb"] * 2
    lon, lat = found.regions.compute_centroids()
    assert compute_angular_distance(lon, lat, 22.81, -6.82).max() < 0.1  # the Earth, and SDO near it
    bad = [{"DATE-OBS": None}, {"DATE-OBS": "soon"}, {"RSUN_OBS": -3.0}, {"CRLT_OBS": 95.0}, {"CRVAL1": 4000.0}]
    names = [
        fault.name
        for fault in header_footprints.build_regions_from_headers([whole | cards for cards in bad]).iterate_faults()
    ]
    assert names == ["no_observer", "no_observer", "no_radius", "latitude", "off_disc"]


TURN = np.cos(0.5), np.sin(0.5)
STEPS = {
    "plain": {"CDELT1": 5.0, "CDELT2": 5.0},
    "CROTA2": {"CDELT1": 5.0, "CDELT2": 5.0, "CROTA2": np.degrees(0.5)},
    "mirrored": {"CDELT1": -5.0, "CDELT2": 5.0, "CROTA2": np.degrees(0.5)},
    "PC": {"CDELT1": 5.0, "CDELT2": 5.0, "PC1_1": TURN[0], "PC1_2": -TURN[1], "PC2_1": TURN[1], "PC2_2": TURN[0]},
    "upside down": {"CDELT1": 5.0, "CDELT2": -5.0, "PC1_1": TURN[0], "PC1_2": TURN[1], "PC2_1": -TURN[1], "PC2_2": TURN[0]},
    "CD": {"CD1_1": 5.0 * TURN[0], "CD1_2": -5.0 * TURN[1], "CD2_1": 5.0 * TURN[1], "CD2_2": 5.0 * TURN[0]},
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("unit", ["arcsec", "deg"])
def test_discs_of_headers_lie_where_their_wcs_says(name, unit):
    """Maps that sunpy writes have PCi_j: masks of such were laid out as if they were not turned."""
    by = 3600.0 if unit == "deg" else 1.0
    steps = {key: value / (1.0 if key.startswith(("PC", "CROTA")) else by) for key, value in STEPS[name].items()}
    cards = {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": unit, "CUNIT2": unit, "CRPIX1": 210.5, "CRPIX2": 190.0, "CRVAL1": 40.0 / by, "CRVAL2": -60.0 / by, **steps, "RSUN_OBS": 960.0, "CRLN_OBS": 120.0, "HGLT_OBS": 5.0}  # fmt: skip
    disc = contours.build_solar_disc_image(cards)
    assert (disc.radius[0], disc.lon[0], disc.lat[0]) == (960.0, 120.0, 5.0)
    pixel = np.random.default_rng(1).uniform(0, 400, (50, 2))
    u, v = disc.to_plane(np.zeros(50, np.int64), *pixel.T)
    lon, lat = np.radians(WCS(fits.Header(cards)).wcs_pix2world(pixel, 0)).T
    there = np.stack([np.tan(lon), np.tan(lat) / np.cos(lon)]) * 180 / np.pi * 3600
    assert np.abs(np.stack([u, v]) * 960.0 - there).max() < 0.05


def test_the_observer_of_a_disc():
    cards = {"CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": 2.0, "CDELT2": 2.0, "DATE-OBS": "2010-01-01T00:00:00"}
    earth = contours.sun.compute_solar_ephemeris(np.datetime64("2010-01-01T00:00:00"))
    seen = contours.build_solar_disc_image(
        {**cards, "DSUN_OBS": 1.45e11, "HGLN_OBS": 30.0, "HGLT_OBS": 6.0, "RSUN": 980.0}
    )
    assert seen.radius[0] == pytest.approx(contours.sun.compute_apparent_radius(1.45e8), rel=1e-3)
    assert (seen.lon[0], seen.lat[0]) == pytest.approx((30.0 + float(earth.l0), 6.0))
    assert contours.build_solar_disc_image({**cards, "HGLN_OBS": 30.0}, stonyhurst=True).lon[0] == 30.0
    assert contours.build_solar_disc_image({**cards, "R_SUN": 480}).radius[0] == 960.0
    assert np.isnan(contours.build_solar_disc_image(cards).radius[0]), "a disc's radius is its observation's own"


def test_gls_is_sanson_flamsteed_about_the_reference():
    """AIPS's GLS: the latitude is that of the line, and a degree of longitude shrinks with its cosine (Calabretta & Greisen 2002, section 6.1.4)."""
    cards = BASE | ctypes("GLS") | {"CDELT1": -0.1, "CDELT2": 0.1, "CRVAL1": 120.0, "CRVAL2": 30.0}
    region = header_footprints.build_regions_from_headers([cards]).regions
    lon, lat = np.asarray(region.lon), np.asarray(region.lat)
    x, y = (np.array([0.5, 200.5]) - cards["CRPIX1"]) * -0.1, (np.array([0.5, 120.5]) - cards["CRPIX2"]) * 0.1
    assert (lat.min(), lat.max()) == (pytest.approx(30 + y[0], abs=1e-6), pytest.approx(30 + y[1], abs=1e-6))
    low = np.abs(lat - lat.min()) < 1e-6
    assert np.ptp(lon[low]) == pytest.approx(np.ptp(x) / np.cos(np.radians(lat.min())), abs=1e-6)
