"""Maps that go all round: regions over their edges, round poles and over them, pixel by pixel."""

import os
from itertools import pairwise

import numpy as np
import pytest
import spherely

from contour_shapes import encode_chain, trace_border
from hven.plugins.image_regions import contours

Chart = contours.CylindricalMap
COUNT = 400 if os.environ.get("HVEN_PROOF") == "full" else 16


def list_s2_faults(regions):
    """What S2 finds wrong with parts, each with the inside to the left."""
    found = []
    for row in range(len(regions)):
        for part in range(regions.rows[row], regions.rows[row + 1]):
            bounds = regions.rings[regions.parts[part] : regions.parts[part + 1] + 1]
            rings = [np.stack([regions.lon[a:b], regions.lat[a:b]], axis=1).tolist() for a, b in pairwise(bounds)]
            try:
                if rings:
                    spherely.create_polygon(rings[0], rings[1:] or None, oriented=True)
            except (RuntimeError, ValueError) as error:
                found.append((row, str(error)))
    return found


def pieces(mask):
    """Count what hangs together by sides, over the edge, too."""
    left, count = {*zip(*np.nonzero(mask), strict=True)}, 0
    while left:
        heap, count = [left.pop()], count + 1
        while heap:
            y, x = heap.pop()
            for at in ((y - 1, x), (y + 1, x), (y, (x - 1) % mask.shape[1]), (y, (x + 1) % mask.shape[1])):
                if at in left:
                    left.remove(at)
                    heap.append(at)
    return count


def masks(rng, count, height, width):
    """Labels' masks that mostly go all round: noise of any density, bands, caps, threads, spirals over the edge."""
    made = []
    for number in range(count):
        mask = rng.random((height, width)) < rng.choice([0.3, 0.5, 0.6, 0.7, 0.85, 0.97])
        if number % 4 == 1:  # a band with bites
            mask[:] = False
            mask[3:6] = rng.random((3, width)) < 0.9
        if number % 4 == 2:  # a spiral
            mask[:] = False
            for x in range(3 * width):
                mask[(x * height // (3 * width)), x % width] = True
        if number % 8 == 3:
            mask[-2:] = rng.random((2, width)) < 0.8
        mask[:, [0, -1]] |= rng.random((height, 2)) < 0.5
        mask[0, 0] = mask[0, -1] = True  # from edge to edge
        made.append(mask)
    return made


@pytest.mark.parametrize(
    ("step_x", "step_y", "height", "equal", "seed"),
    [(10.0, 15.0, 12, False, 1), (10.0, 10.0, 9, False, 2), (-10.0, 15.0, 12, False, 3), (15.0, -10.0, 12, False, 4), (10.0, 0.2, 10, True, 5)],
)  # fmt: skip
def test_every_pixel_of_a_map_that_goes_all_round(step_x, step_y, height, equal, seed):
    rng, width = np.random.default_rng(seed), round(360 / abs(step_x))
    first = -90.0 + abs(step_y) / 2 if height * abs(step_y) == 180 else -40.0
    first = -first if step_y < 0 else first
    if equal:
        first = np.degrees(np.arcsin(-0.9))
    chart = Chart(0.0, 0.0, step_x, step_y, 77.7, first, equal)
    y, x = np.mgrid[:height, :width]
    lon, lat = 77.7 + x * step_x, first + y * step_y
    sine = np.sin(np.radians([lat - abs(step_y) / 2, lat + abs(step_y) / 2]).clip(-np.pi / 2, np.pi / 2))
    if equal:
        lat = np.degrees(np.arcsin(-0.9 + y * step_y))
        sine = np.array([0 * y, 0 * y + abs(step_y)])
    cell = np.radians(abs(step_x)) * (sine[1] - sine[0])
    for number, mask in enumerate(masks(rng, COUNT, height, width)):
        found = contours.build_regions_from_labels(mask.astype(int), [1], chart)
        assert list(found.iterate_faults()) == []
        regions = found.regions
        assert list_s2_faults(regions) == []
        assert number % 8 or regions.is_valid().all()
        assert found.pixels[0] == mask.sum()
        assert regions.compute_areas()[0] == pytest.approx(cell[mask].sum(), rel=4e-4)
        inside = regions.contains(lon.ravel(), lat.ravel()).reshape(mask.shape)
        assert (inside == mask).all()
        assert len(regions.parts) - 1 == pieces(mask)


def test_contours_round_a_pole_are_closed_by_way_of_it():
    chart = Chart(0.0, 0.0, 2.0, 2.0, 1.0, -89.0)
    for south in (False, True):
        rng = np.random.default_rng(7)
        for _ in range(10):
            high = 70 + np.cumsum(rng.integers(-1, 2, 90)).clip(-8, 8)
            high = np.concatenate([high, high[::-1]])
            high = 89 - high if south else high
            path = list(zip(range(170, 350), np.roll(high, -170).tolist(), strict=True))
            mask = np.zeros((90, 180), int)
            for x, y in path:
                mask[(slice(0, y + 1) if south else slice(y, None)), x % 180] = 1
            assert np.abs(np.diff(high, append=high[0])).max() <= 1
            steps = "".join(str({(1, 0): 4, (1, 1): 5, (1, -1): 3}[1, b[1] - a[1]]) for a, b in pairwise(path))
            found = contours.build_regions_from_chain_codes([steps], [170], [path[0][1]], chart)
            assert list(found.iterate_faults()) == []
            assert found.pixels[0] == mask.sum()
            assert found.regions == contours.build_regions_from_labels(mask, [1], chart).regions
            # the same as a list of pixels, whose numbers begin again at the edge
            x, y = np.array(path).T
            listed = contours.build_regions_from_pixel_lists([0, 180], x % 180, y, chart)
            assert listed.regions == found.regions


def test_contours_over_the_edge_are_those_in_the_middle():
    chart, blob = Chart(0.0, 0.0, 1.0, 1.0, 0.5, -89.5), np.zeros((40, 40), bool)
    y, x = np.mgrid[:40, :40]
    blob[(x - 20) ** 2 + (y - 18) ** 2 < 150] = True
    path = np.array(trace_border(blob))
    middle = contours.build_regions_from_chain_codes(
        [encode_chain(path.tolist())], [path[0][0] + 100], [path[0][1] + 60], chart
    )
    for listed in (False, True):
        x, y = path[:, 0] + 345, path[:, 1] + 60
        found = (
            contours.build_regions_from_pixel_lists([0, len(path)], x % 360, y, chart)
            if listed
            else contours.build_regions_from_chain_codes([encode_chain(path.tolist())], [x[0]], [y[0]], chart)
        )
        assert found.pixels[0] == middle.pixels[0] == blob.sum()
        assert found.regions.compute_areas()[0] == pytest.approx(middle.regions.compute_areas()[0], rel=1e-12)
        assert np.abs((found.regions.lon - middle.regions.lon - 245 + 180) % 360 - 180).max() < 1e-9
    image = np.zeros((180, 360), int)
    image[(path[:, 1] + 60), (path[:, 0] + 345) % 360] = 1
    image[60:100] = np.roll(np.pad(blob, ((0, 0), (0, 320))), 345, 1)
    seen = contours.build_regions_from_labels(image, [1], chart)
    assert seen.pixels[0] == blob.sum()
    assert seen.regions.compute_areas()[0] == pytest.approx(middle.regions.compute_areas()[0], rel=1e-12)
    assert seen.classify_quality().tolist() == ["exact"]


def test_what_does_not_fit_a_turn_is_named():
    chart = Chart(0.0, 0.0, 0.7, 0.7, 0.0, 0.0)
    found = contours.build_regions_from_pixel_boxes([0, 0], [0, 0], [600, 20], [5, 5], chart)
    assert [(fault.row, fault.name) for fault in found.iterate_faults()] == [(0, "round")]
    # open ones are still open
    assert [
        one.name
        for one in contours.build_regions_from_chain_codes(
            ["4" * 100], [0], [90], Chart(0, 0, 1, 1, 0, -90)
        ).iterate_faults()
    ] == ["open"]


def test_the_whole_body_and_all_but_a_pixel():
    chart, image = Chart(0.0, 0.0, 10.0, 10.0, 5.0, -85.0), np.ones((18, 36), int)
    whole = contours.build_regions_from_labels(image, [1], chart).regions
    assert whole.compute_areas()[0] == pytest.approx(4 * np.pi)
    for hole in ((5, 5), (17, 3), (0, 35)):
        image[:] = 1
        image[hole] = 0
        found = contours.build_regions_from_labels(image, [1], chart).regions
        assert list_s2_faults(found) == []
        assert not found.contains([5 + 10 * hole[1]], [-85 + 10 * hole[0]])[0]
        assert found.contains([200.0], [33.0])[0]
