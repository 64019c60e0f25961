"""Contours: pixels and what they mean on the sphere, by catalogues' own numbers, by hard ones made with a fixed seed, and bad ones."""

import csv
import gzip

import numpy as np
import pyarrow as pa
import pytest
import shapely
from helioprojective import compute_direction, project_to_surface

from contour_shapes import (
    KINDS,
    compute_pixel_areas,
    draw_shapes,
    encode_chain,
    fill_path,
    project_region,
    trace_border,
)
from hven.model.sky import compute_angular_distance
from hven.plugins.image_regions import contours
from shared import shared

Chart, Disc, sun = contours.CylindricalMap, contours.DiscImage, contours.sun
SIZE, CENTRE, RADIUS = 150, (74.3, 75.1), 61.7


def table(name):
    with gzip.open(shared(f"data/helio/hfc/charm/{name}.csv.gz"), "rt") as file:
        return list(csv.DictReader(file, delimiter=";"))


def numbers(rows, name, kind=float):
    return np.array([[kind(value) for value in row[name].split(",")] for row in rows])


@pytest.fixture(scope="module")
def charm():
    """The coronal holes of CHARM, the observation of each, and the map that its pixels lie on.

    CHARM draws them on Lambert's cylindrical map of 160 by 160 degrees, whose size in pixels is in no column: the longitudes of the boxes tell it.
    """
    rows, images = table("ch_results"), {row["#ID"]: row for row in table("ch_observation")}
    image = [images[row["EIT_FILE"]] for row in rows]
    box, degrees = numbers(rows, "CH_BR_PIX"), numbers(rows, "CH_BR_DEG")
    wide, high = np.zeros(len(rows)), np.zeros(len(rows))
    names = np.array([row["EIT_FILE"] for row in rows])
    for name in np.unique(names):
        at = names == name
        lon, lat = degrees[at][:, [0, 2]], degrees[at][:, [1, 3]]

        def measure_longitude_error(count):
            return np.abs(-80 + box[at][:, [0, 2]] * 160 / count - lon).max()  # noqa: B023

        wide[at] = min(range(980, 1060), key=measure_longitude_error)
        sine = np.sin(np.radians(80))
        ideal = 2 * sine * wide[at][0] / np.radians(160)

        def count_latitude_errors(count):
            there = np.degrees(np.arcsin(np.clip(box[at][:, [1, 3]] * 2 * sine / count - sine, -1, 1)))  # noqa: B023
            return (np.abs(there - lat) > 0.501).sum(), abs(count - ideal)  # noqa: B023

        high[at] = min(range(int(ideal) - 2, int(ideal) + 3), key=count_latitude_errors)
    grid = Chart(0.0, 0.0, 160 / wide, 2 * np.sin(np.radians(80)) / high, -80.0, -80.0, equal=True)
    start = numbers(rows, "CC_PIX_XY", int)
    found = contours.build_regions_from_chain_codes(found_codes(rows), *start.T, grid)
    return rows, image, box, degrees, grid, found


def test_pixels_of_coronal_holes_are_the_catalogues(charm):
    rows, _, box, _, _, found = charm
    assert list(found.iterate_faults()) == []
    ratio = found.pixels / numbers(rows, "CH_NPIX")[:, 0]
    assert (ratio == 1.0).sum() == 1218  # a contour round one pixel too many is the catalogue's
    assert ratio.max() < 1.0002
    small = Chart(0, 0, 1e-3, 1e-3, 100, 0)  # a thousandth of a degree for each pixel
    boxes = contours.build_regions_from_chain_codes(
        found_codes(rows), *numbers(rows, "CC_PIX_XY", int).T, small
    ).regions.compute_bounding_boxes()
    corners = np.stack([boxes[0] - 100, boxes[2], boxes[1] - 100, boxes[3]], axis=1) * 1000 + [0.5, 0.5, -0.5, -0.5]
    assert np.abs(corners - box).max() < 0.03
    assert (np.rint(corners) == box).all(axis=1).sum() == 1219


def found_codes(rows):
    return [row["CHAIN_CODE"] for row in rows]


def test_places_of_coronal_holes_are_the_catalogues(charm):
    rows, image, box, degrees, grid, found = charm
    row = np.arange(len(rows))
    for side in (0, 2):
        lon, sine = grid.to_plane(row, box[:, side], box[:, side + 1])
        assert np.abs(np.degrees(lon) - degrees[:, side]).max() < 1e-4  # as written
        assert np.abs(np.degrees(np.arcsin(sine)) - degrees[:, side + 1]).max() < 0.502  # whole degrees
    west, east, south, north = found.regions.compute_bounding_boxes()
    half = 80.0 / (160 / grid.step_x)
    assert np.abs((west + half - degrees[:, 0] + 180) % 360 - 180).max() < 1e-4
    assert np.abs((east - half - degrees[:, 2] + 180) % 360 - 180).max() < 1e-4
    assert (south < degrees[:, 1] + 0.51).all()
    assert (north > degrees[:, 3] - 0.51).all()
    # the corners in arcseconds are those of the Earth's Sun (959.63 at 1 au), in parallel projection
    time = np.array([row["DATE_OBS"] for row in image], "datetime64[us]")
    there = sun.compute_solar_ephemeris(time)
    far = 1e-3
    radius = 959.63 / there.distance
    arcsec = numbers(rows, "CH_BR_ARC")
    for side, at in ((2, 0), (0, 2)):
        x, y, _ = compute_direction(degrees[:, side], degrees[:, side + 1], 0.0, there.b0, far)
        assert np.abs(x / far * radius - arcsec[:, at]).max() < 0.01
        assert np.abs(y / far * radius - arcsec[:, at + 1]).max() < 0.01
    turns = np.array([float(row["C_ROTATION"]) for row in image])
    assert not sun.is_carrington_rotation_mismatch(turns, time).any()
    assert sun.is_carrington_rotation_mismatch(turns + 1, time).all()


def test_centres_of_coronal_holes_are_the_catalogues(charm):
    """The mean of the pixels; but the catalogue unwinds its row not as it does the boxes' rows, and many a centre lies outside of its own box."""
    rows, _, _, degrees, grid, _ = charm
    small = Chart(0, 0, 1e-3, 1e-3, 100, 0)  # flat: a mean of places is one of pixels
    x, y = contours.build_regions_from_chain_codes(
        found_codes(rows), *numbers(rows, "CC_PIX_XY", int).T, small
    ).regions.compute_centroids()
    x, y = (x - 100) * 1000, y * 1000
    lon, sine = grid.to_plane(np.arange(len(rows)), x, y)
    high = 2 * np.sin(np.radians(80)) / grid.step_y
    lat = np.degrees(np.arcsin(2 * y / high - 1)) * 80 / 90  # not the arc sine of what the map's rows are the sine of
    given = numbers(rows, "CHC_DEG")
    for axis, ours, equal, most in ((0, np.degrees(lon), 1141, 1.6), (1, lat, 1185, 0.75)):
        assert abs((np.rint(ours) == given[:, axis]).sum() - equal) < 8
        assert np.abs(ours - given[:, axis]).max() < most
    right = np.degrees(np.arcsin(sine))
    assert np.abs(right - given[:, 1]).max() > 6
    outside = (given[:, 1] < degrees[:, 1] - 1) | (given[:, 1] > degrees[:, 3] + 1)  # by more than rounding
    assert outside.sum() == 164
    assert ((right > degrees[:, 1] - 1) & (right < degrees[:, 3] + 1)).all()


def test_areas_of_coronal_holes_are_their_pixels(charm):
    *_, grid, found = charm
    exact = found.pixels * np.radians(grid.step_x) * grid.step_y
    assert np.abs(found.regions.compute_areas() / exact - 1).max() < 0.001
    quality, counts = np.unique(found.classify_quality(), return_counts=True)
    assert dict(zip(quality.tolist(), counts.tolist(), strict=True)) == {
        "exact": 1032,
        "multi_part": 187,
    }  # 163 are one part with holes


def hard(count, seed):
    """Make hard contours on discs near and far, seen from everywhere."""
    paths, rng = draw_shapes(count, seed, SIZE, CENTRE, RADIUS), np.random.default_rng(seed)
    scale = rng.choice([0.01, 15.0, 160.0], count)
    lat, lon, roll = (
        rng.choice([0, 7.25, -7.25, 60, -90, 90], count),
        rng.uniform(0, 360, count),
        rng.uniform(0, 360, count),
    )
    disc = Disc(*CENTRE, scale, scale, RADIUS * scale, lon, lat, roll)
    return (
        paths,
        disc,
        contours.build_regions_from_chain_codes(
            [encode_chain(path) for path in paths], *np.array([path[0] for path in paths]).T, disc
        ),
    )


def test_hard_contours():
    paths, disc, found = hard(300, 18)
    sets = [fill_path(path, SIZE) for path in paths]
    assert found.pixels[found.fault == 0].tolist() == [there.sum() for there in np.array(sets)[found.fault == 0]]
    assert {fault.name for fault in found.iterate_faults()} == {"off_disc"}
    one = {
        scale: compute_pixel_areas(SIZE, CENTRE, RADIUS, scale, lambda *a: project_to_surface(*a[:2], 0, 0, a[2]))
        for scale in (0.01, 15.0, 160.0)
    }
    expected = np.array([one[scale][there].sum() for scale, there in zip(disc.scale_x, sets, strict=True)])
    area = found.regions.compute_areas()
    some = expected > 1e-4  # thinner ones at the limb are beyond what small squares tell
    assert np.abs(area[some] / expected[some] - 1).max() < 0.001
    assert (area[expected < 1e-9] == 0).all()
    for row in range(len(paths)):
        assert shapely.is_valid_reason(project_region(found.regions, row, disc)) == "Valid Geometry", (
            row,
            KINDS[row % len(KINDS)],
        )


def test_the_whole_disc_is_half_the_sphere_less_what_the_distance_hides():
    radius = 960.0
    found = contours.build_regions_from_pixel_boxes(
        [0], [0], [2100], [2100], Disc(1000.0, 1000.0, 1.0, 1.0, radius, 40.0, 7.25)
    )
    assert found.classify_quality().tolist() == ["clipped_at_limb"]
    assert found.clipped[0] == pytest.approx(1 - np.pi * radius**2 / 2101**2)
    hidden = 1 - np.sin(np.radians(radius / 3600))
    assert found.regions.compute_areas()[0] == pytest.approx(2 * np.pi * hidden, rel=0.0005)


def test_code_list_and_mask_of_one_region_are_one():
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.where((x - 60) ** 2 + (y - 80) ** 2 < 500, 7, 0) + np.where((x - 70) ** 2 + (y - 30) ** 2 < 90, 9, 0)
    disc = Disc(*CENTRE, 15.0, 15.0, RADIUS * 15.0, 350.0, -7.0)
    masks = contours.build_regions_from_labels(image, [9, 7, 3], disc)
    assert [fault.name for fault in masks.iterate_faults()] == ["no_contour"]
    paths = [trace_border(image == 9), trace_border(image == 7)]
    start = np.array([path[0] for path in paths])
    codes = contours.build_regions_from_chain_codes([encode_chain(path) for path in paths], *start.T, disc)
    offsets = np.cumsum([0, *(len(path) for path in paths)])
    lists = contours.build_regions_from_pixel_lists(offsets, *(np.concatenate(paths) + 1).T, disc, origin=1)
    for other in (lists, masks):
        assert other.pixels[:2].tolist() == codes.pixels.tolist() == [(image == 9).sum(), (image == 7).sum()]
        assert other.regions.take([0, 1]) == codes.regions
    # other tables, starts in arcseconds, a slice of an array
    freeman = pa.array(
        ["x", *("".join(str((int(digit) + 4) % 8) for digit in encode_chain(path)) for path in paths)]
    ).slice(1)
    arcsec = (start - CENTRE) * 15.0
    again = contours.build_regions_from_chain_codes(
        freeman, *arcsec.T, disc, step_table=contours.FREEMAN_STEPS, arcsec=True
    )
    assert again.regions == codes.regions


def test_spoca_regions_by_their_own_numbers():
    from astropy.io import fits

    for name in ("20111231_220001.ARMap", "20111231_220008.CHMap", "20111231_230008.CHMap"):
        with fits.open(shared(f"data/helio/spoca/{name}.fits")) as file:
            head, image, regions, lists, numbers_ = (
                file[1].header,
                file[1].data,
                file["Regions"].data,
                file["ChainCodes"].data,
                file[4].data,
            )
        scale = head["CDELT1"]
        disc = Disc(
            head["CRPIX1"] - 1,
            head["CRPIX2"] - 1,
            scale,
            scale,
            float(head["R_SUN"]) * scale,
            head["CRLN_OBS"],
            float(head["HGLT_OBS"]),
        )
        masks = contours.build_regions_from_labels(image, regions["COLOR"], disc)
        by_id = dict(zip(numbers_["ID"], numbers_["NUMBER_PIXELS"], strict=True))
        assert masks.pixels.tolist() == [by_id[number] for number in regions["ID"]]
        for k, colour in enumerate(regions["COLOR"]):
            y, x = np.nonzero(image == colour)
            # SPoCA counts from 1; its chain codes are polygons of few corners, which lie on the outline
            assert [regions[c][k] for c in ("XBOXMIN", "YBOXMIN", "XBOXMAX", "YBOXMAX")] == [
                x.min() + 1,
                y.min() + 1,
                x.max() + 1,
                y.max() + 1,
            ]
            piece = image[y.min() : y.max() + 1, x.min() : x.max() + 1] == colour
            path = trace_border(np.pad(piece, 1)[:, :])
            one = contours.build_regions_from_chain_codes(
                [encode_chain(path)], [path[0][0] + x.min() - 1], [path[0][1] + y.min() - 1], disc
            )
            filled = fill_path(path, max(piece.shape) + 3)[: piece.shape[0] + 2, : piece.shape[1] + 2]
            assert one.pixels[0] == filled.sum()
        listed = [np.stack([lists[f"{axis}{k:07d}"] for axis in "XY"]) for k in range(len(regions))]
        listed = [points[:, (points != 0).any(axis=0)] for points in listed]
        drawn = contours.build_regions_from_pixel_lists(
            np.cumsum([0, *(points.shape[1] for points in listed)]), *np.concatenate(listed, axis=1), disc, origin=1
        )
        assert list(drawn.iterate_faults()) == []


def test_maps_round_a_pole_and_over_their_seam():
    grid = Chart(0.0, 0.0, 1.0, 1.0, 0.5, -89.5)
    found = contours.build_regions_from_pixel_boxes([350, 0, 10], [170, 170, 0], [369, 359, 19], [179, 179, 179], grid)
    assert list(found.iterate_faults()) == []
    area = found.regions.compute_areas()
    assert area[1] == pytest.approx(2 * np.pi * (1 - np.sin(np.radians(80))), rel=4e-4)
    assert area[0] == pytest.approx(np.radians(20) * (1 - np.sin(np.radians(80))), rel=3e-4)
    assert area[2] == pytest.approx(np.radians(10) * 2, rel=3e-4)
    assert [
        fault.name for fault in contours.build_regions_from_pixel_boxes([0], [100], [5], [180], grid).iterate_faults()
    ] == ["latitude"]


BAD = {
    "no_contour": {"codes": [None]},
    "letter": {"codes": ["0246x"]},
    "open": {"codes": ["00000"]},
    "no_start": {"x": [np.nan]},
    "no_radius": {"radius": np.nan},
    "no_scale": {"scale_y": 0.0},
    "no_observer": {"lat": np.nan},
    "latitude": {"lat": 91.0},
    "off_disc": {"x": [4000.0]},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_contours_are_named(name):
    said = {"codes": ["6420"], "x": [500.0], "y": [500.0], "radius": 960.0, "scale_y": 2.0, "lat": 7.0, **BAD[name]}
    disc = Disc(512.0, 512.0, 2.0, said["scale_y"], said["radius"], 0.0, said["lat"])
    rows = [["6420", *said["codes"], "6420"], [500.0, *said["x"], 501.0], [500.0, *said["y"], 501.0]]
    disc = Disc(
        512.0, 512.0, 2.0, [2.0, said["scale_y"], 2.0], [960.0, said["radius"], 960.0], 0.0, [7.0, said["lat"], 7.0]
    )
    found = contours.build_regions_from_chain_codes(*rows, disc)
    (fault,) = found.iterate_faults()
    assert (fault.row, fault.name) == (1, name)
    assert fault.message
    assert np.diff(found.regions.rows).tolist() == [1, 0, 1]
    assert found.classify_quality().tolist() == ["exact", "", "exact"]


def test_a_million_steps_are_too_many_and_fewer_are_not():
    disc = Disc(300_000.0, 0.0, 0.001, 0.001, 960.0, 0.0, 0.0)
    there = "4" * 499_000
    found = contours.build_regions_from_chain_codes([there + "0" * 499_000, "40" * 500_000], [50_000, 0], [0, 0], disc)
    assert [fault.name for fault in found.iterate_faults()] == ["too_long"]
    assert found.pixels.tolist() == [499_001, 0]
    assert list(contours.build_regions_from_chain_codes([], [], [], disc).iterate_faults()) == []


@pytest.mark.parametrize(("across", "up"), [(-1, 1), (1, -1), (-1, -1)])
def test_mirrored_images(across, up):
    paths = draw_shapes(60, 5, SIZE, CENTRE, RADIUS)
    codes, start = [encode_chain(path) for path in paths], np.array([path[0] for path in paths])
    plain = contours.build_regions_from_chain_codes(codes, *start.T, Disc(*CENTRE, 15.0, 15.0, RADIUS * 15.0, 0.0, 0.0))
    found = contours.build_regions_from_chain_codes(
        codes, *start.T, Disc(*CENTRE, 15.0 * across, 15.0 * up, RADIUS * 15.0, 0.0, 0.0)
    )
    assert found.regions.compute_areas() == pytest.approx(
        plain.regions.compute_areas(), rel=1e-6
    )  # digits go at the limb
    assert found.regions.is_valid().all()
    assert np.diff(found.regions.rows).tolist() == np.diff(plain.regions.rows).tolist()
    maps = [
        contours.build_regions_from_chain_codes(codes, *start.T, Chart(75.0, 75.0, x, y, 0.0, 0.0))
        for x, y in ((1, 1), (across, up))
    ]
    assert maps[0].regions.compute_areas() == pytest.approx(maps[1].regions.compute_areas(), rel=1e-9)
    assert maps[1].regions.is_valid().all()


def test_what_touches_at_a_corner_is_two_parts_and_a_hole_that_does_is_a_hole():
    disc = Disc(0.0, 0.0, 1.0, 1.0, 960.0, 0.0, 0.0)
    image = np.zeros((9, 9), dtype=int)
    image[1, 1] = image[2, 2] = 1
    image[4:8, 4:8] = 2
    image[5, 5] = image[6, 6] = 0  # two holes that touch
    found = contours.build_regions_from_labels(image, [1, 2], disc)
    assert np.diff(found.regions.rows).tolist() == [2, 1]
    assert np.diff(found.regions.parts).tolist() == [1, 1, 3]
    assert found.classify_quality().tolist() == ["multi_part", "multi_part"]  # no polygon has holes
    lon, lat = found.regions.lon, found.regions.lat
    assert compute_angular_distance(lon, lat, 0, 0).max() < 1


def test_dates_that_lack_and_rotations_that_contradict_them():
    date = np.array(["2009-01-01T00:00:08", "NaT", "2009-01-01T00:00:08"], "datetime64[us]")
    there, check = sun.compute_solar_ephemeris(date), contours.ContourFaultRecorder(3)
    check.mark_faulty_rows("rotation", sun.is_carrington_rotation_mismatch([2078.53, 2078.53, 2085.2], date))
    disc = Disc(512.0, 512.0, 2.0, 2.0, 985.9, there.l0, there.b0)
    found = contours.build_regions_from_chain_codes(["6420"] * 3, [500] * 3, [500] * 3, disc, recorder=check)
    assert [(fault.row, fault.name) for fault in found.iterate_faults()] == [(1, "no_observer"), (2, "rotation")]
    lon, lat = project_to_surface(-23.0, -23.0, there.l0[0], there.b0[0], 985.9)  # between the four pixels
    west, east, south, north = (edge[0] for edge in found.regions.compute_bounding_boxes())
    assert west < lon < east
    assert south < lat < north
