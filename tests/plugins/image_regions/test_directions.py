"""Contours of directions: their own polygons, split where they cross, cut at the limb; lines and points."""

import numpy as np
import pytest

from contour_shapes import encode_chain
from hven.model.sky import compute_angular_distance
from hven.plugins.image_regions import contours

SUN = contours.DiscImage(512.0, 512.0, 2.0, 2.0, 960.0, 200.0, 7.0)


def build_regions(*lists, disc=SUN, **options):
    offsets = np.cumsum([0, *(len(each) for each in lists)])
    places = np.concatenate([np.array(each, dtype=float).reshape(-1, 2) for each in lists])
    return contours.build_regions_from_arcsecond_outlines(offsets, *places.T, disc, **options)


def cap(radius, count=400):
    turn = np.arange(count) * 2 * np.pi / count
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def test_a_square_of_pixels_is_the_same_as_its_directions():
    box = contours.build_regions_from_pixel_boxes([400], [450], [410], [470], SUN)
    corners = (np.array([[399.5, 449.5], [410.5, 449.5], [410.5, 470.5], [399.5, 470.5]]) - 512) * 2
    for ring in (corners, corners[::-1], np.concatenate([corners, corners[:1]])):
        found = build_regions(ring)
        assert found.classify_quality().tolist() == ["exact"]
        assert found.regions.compute_areas() == pytest.approx(box.regions.compute_areas(), rel=3e-4)


def test_a_figure_of_eight_has_both_its_halves_and_twice_round_is_once():
    eight = build_regions([(0, 0), (100, 100), (100, 0), (0, 100)])
    assert eight.classify_quality().tolist() == ["multi_part"]
    assert (eight.regions.compute_ring_areas() > 0).all()
    one = np.array([(0, 0), (100, 0), (100, 100), (0, 100)])
    twice = build_regions(one, np.concatenate([one, one]))
    assert twice.regions.compute_areas()[1] == pytest.approx(twice.regions.compute_areas()[0], rel=1e-6)


def test_what_a_contour_winds_round_no_times_is_a_hole():
    # out round a large square, and back round a small one the other way
    ring = [(0, 0), (300, 0), (300, 300), (0, 300), (0, 0), (100, 100), (100, 200), (200, 200), (200, 100), (100, 100)]
    found = build_regions(ring)
    assert np.diff(found.regions.parts).tolist() == [2]
    assert found.regions.compute_areas() == pytest.approx(
        build_regions(ring[:4]).regions.compute_areas() * 8 / 9, rel=2e-3
    )


def test_the_limb():
    found = build_regions(
        cap(2000), cap(950), [(940, -50), (1100, -50), (1100, 50), (940, 50)], [(1000, 0), (1100, 0), (1100, 10)]
    )
    assert [(fault.row, fault.name) for fault in found.iterate_faults()] == [(3, "off_disc")]
    assert found.classify_quality().tolist() == ["clipped_at_limb", "exact", "clipped_at_limb", ""]
    hidden = 1 - np.sin(np.radians(960 / 3600))
    assert found.regions.compute_areas()[0] == pytest.approx(2 * np.pi * hidden, rel=5e-4)
    away = compute_angular_distance(found.regions.lon, found.regions.lat, 200.0, 7.0)
    first = found.regions.rings[1]
    assert np.abs(away[:first] - (90 - 960 / 3600)).max() < 1e-4
    assert away.max() < 90 - 960 / 3600 + 1e-4


def test_lines_and_points_are_small_polygons():
    found = build_regions(
        [(0, 0)],
        [(0, 0), (0, 0)],
        [(0, 0), (100, 50)],
        [(0, 0), (100, 50), (0, 0)],
        [(0, 0), (50, 25), (100, 50)],
        width_arcseconds=2.0,
    )
    assert found.classify_quality().tolist() == ["degenerate"] * 5
    assert found.regions.compute_areas()[:2] == pytest.approx((2 / 960) ** 2, rel=1e-2)
    assert found.regions.compute_areas()[2:] == pytest.approx(2 * (np.hypot(100, 50) + 2) / 960**2, rel=2e-2)


def test_bad_ones():
    found = build_regions([(0, 0), (np.nan, 1), (1, 1)], [], [(0, 0), (10, 0), (10, 10)])
    assert [(fault.row, fault.name) for fault in found.iterate_faults()] == [(0, "no_start"), (1, "no_contour")]
    assert (
        build_regions([(0, 0), (10, 0), (10, 10)], disc=contours.DiscImage(0, 0, 1, 1, np.nan, 0, 0))
        .iterate_faults()
        .__next__()
        .name
        == "no_radius"
    )
    assert encode_chain([(0, 0)]) == ""


def test_as_many_as_there_are():
    rng = np.random.default_rng(2)
    centres = rng.uniform(-900, 900, (3000, 2))
    found = build_regions(*(cap(rng.uniform(5, 60), 40) * [1, rng.uniform(0.2, 1)] + centre for centre in centres))
    assert {fault.name for fault in found.iterate_faults()} == {"off_disc"}
    assert (found.regions.compute_ring_areas() > 0).all()
