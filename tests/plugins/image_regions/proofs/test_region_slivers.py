"""Slivers of 1 to 10,000 - push-broom strips, scans along a limb - and points beside the edges of regions: each decision is S2's, whose arithmetic is exact."""

from __future__ import annotations

import os
import time
from itertools import pairwise

import numpy as np
import pytest
import spherely

from contour_shapes import draw_shapes, encode_chain
from hven.model.sky import Regions
from hven.plugins.image_regions import contours

FULL = os.environ.get("HVEN_PROOF") == "full"
COUNT = 1000 if FULL else 60
POINTS = 510 if FULL else 100  # beside the edges of each
ROUNDING = 2e-12  # degrees: shapes are wider by 3e-13 (decision 017), and longitudes near 360 are 6e-14 apart
ASPECT = 10_000.0


def to_lon_lat(xyz):
    """Longitudes and latitudes of vectors."""
    return np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])) % 360, np.degrees(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))  # fmt: skip


def strip(rng, kind):
    """The outline of a strip, its left side forward and its right side back."""
    long = np.radians(10 ** rng.uniform(0, 2.1))  # 1 to 126 degrees
    wide, count = long / ASPECT, int(rng.integers(2, 300))
    along = np.linspace(0, long, count)
    if kind == "limb":  # seen from afar: a thin band round the point below the observer
        size = np.radians(rng.uniform(max(np.degrees(long) / 5, 5), 85))
        turn = along / np.sin(size)
        track = np.stack([np.sin(size) * np.cos(turn), np.sin(size) * np.sin(turn), np.full(count, np.cos(size))], 1)
        side = np.stack([-np.cos(size) * np.cos(turn), -np.cos(size) * np.sin(turn), np.full(count, np.sin(size))], 1)
    else:  # below an orbit, while the planet turns
        spin = rng.uniform(-0.08, 0.08) * along
        lon = along
        track = np.stack([np.cos(lon) * np.cos(spin), np.cos(lon) * np.sin(spin), np.sin(lon)], 1)
        ahead = np.gradient(track, axis=0)
        side = np.cross(track, ahead)
        side /= -np.linalg.norm(side, axis=1, keepdims=True)
    jitter = rng.uniform(-0.2, 0.2, (2, count, 1)) * wide if kind == "shaken" else np.zeros((2, count, 1))
    left, right = track + side * (wide / 2 + jitter[0]), track - side * (wide / 2 + jitter[1])
    ring = np.concatenate([right, left[::-1]])
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    middle = track[count // 2]
    if kind == "pole":  # its middle comes to lie on the pole
        q = build_rotation(middle, [0.0, 0.0, 1.0])
    elif kind == "zero":  # ... on longitude 0
        q = build_rotation(middle, [np.cos(0.3), 0.0, np.sin(0.3)])
    ring = ring @ q.T
    return ring / np.linalg.norm(ring, axis=1, keepdims=True)


def build_rotation(a, b):
    """A rotation that brings one direction to another."""
    a, b = np.asarray(a) / np.linalg.norm(a), np.asarray(b) / np.linalg.norm(b)
    mid = (a + b) / np.linalg.norm(a + b)
    return 2.0 * np.outer(mid, mid) - np.eye(3)


def to_s2_polygons(regions, row):
    """A region as S2 has it."""
    parts = []
    for part in range(regions.rows[row], regions.rows[row + 1]):
        bounds = regions.rings[regions.parts[part] : regions.parts[part + 1] + 1]
        shell, *holes = (np.stack([regions.lon[a:b], regions.lat[a:b]], 1).tolist() for a, b in pairwise(bounds))
        parts.append(spherely.create_polygon(shell, holes or None, oriented=True))
    return parts


KINDS = ("orbit", "limb", "shaken", "pole", "zero")


@pytest.fixture(scope="module")
def slivers():
    rng = np.random.default_rng(4)
    rings = [strip(rng, KINDS[one % len(KINDS)]) for one in range(COUNT)]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in rings])])
    lon, lat = to_lon_lat(np.concatenate(rings))
    one = np.arange(COUNT + 1)
    return Regions(lon, lat, starts, one, one).orient_to_smaller_side()


def test_slivers_are_valid_and_as_large_as_s2_says(slivers):
    begun = time.process_time()
    wrong = [(row, KINDS[row % len(KINDS)], fault) for row, fault in enumerate(slivers.find_faults()) if fault]
    spent = time.process_time() - begun
    area = slivers.compute_areas()
    theirs = np.array(
        [sum(spherely.area(part, radius=1.0) for part in to_s2_polygons(slivers, row)) for row in range(COUNT)]
    )
    off = np.abs(area / theirs - 1)
    print(f"{COUNT} slivers, {len(slivers.lon)} corners, {np.degrees(np.degrees(area.min())):.1e} to {np.degrees(np.degrees(area.max())):.1e} square degrees: {COUNT - len(wrong)} valid, in {spent:.1f} s; area within {off.max():.1e} of S2's")  # fmt: skip
    assert wrong == []
    assert off.max() < 1e-3
    # what is made of them is valid, too: each half, united with the other one
    some = np.arange(0, COUNT, COUNT // 30)
    few = slivers.take(some)
    lon, lat = few.compute_centroids()
    half = Regions.from_circles(lon, lat, np.degrees(np.sqrt(few.compute_areas() * ASPECT)) / 4)
    inner, outer = few.intersection(half), few.difference(half)
    for made in (inner, outer, inner.union(outer), few.compute_convex_hulls()):
        assert made.is_valid().all()
    assert (inner.compute_areas() + outer.compute_areas()) / few.compute_areas() == pytest.approx(
        np.ones(len(some)), rel=1e-3
    )


def test_cells_of_slivers_leave_nothing_out(slivers):
    rng = np.random.default_rng(6)
    few = slivers.take(np.arange(0, COUNT, COUNT // (10 if FULL else 5)))
    mocs, added = few.to_mocs()
    for row, moc in enumerate(mocs):
        one = few.take([row])
        xyz = one.prepared_rings.edge_begin_vectors
        pick = rng.integers(0, len(xyz), 400)
        inside = xyz[pick] * rng.uniform(0, 1, 400)[:, None] + xyz[(len(xyz) - pick) % len(xyz)]
        lon, lat = to_lon_lat(inside)
        held = one.contains(lon, lat)
        assert moc.contains(lon[held], lat[held]).all()
        assert moc.contains(one.lon, one.lat).all()
    print(f"cells of {len(mocs)} slivers: {100 * np.min(added):.1f} to {100 * np.max(added):.1f} % added")


def regions_of_all_kinds(slivers):
    """Slivers, contours on discs and maps, wide and narrow."""
    rng, count = np.random.default_rng(8), COUNT // 2
    paths = draw_shapes(count, 3, 150, (74.3, 75.1), 61.7)
    scale = np.full(count, 15.5)
    seen = rng.uniform(0, 360, count), rng.choice([0, 7.25, 60, -90, 90], count)
    disc = contours.DiscImage(74.3, 75.1, scale, scale, 61.7 * scale, *seen)
    start = np.array([path[0] for path in paths]).T
    drawn = contours.build_regions_from_chain_codes([encode_chain(path) for path in paths], *start, disc).regions
    chart = contours.CylindricalMap(0.0, 0.0, 2.4, 1.2, rng.uniform(0, 360, count), np.full(count, -89.4))
    flat = contours.build_regions_from_chain_codes([encode_chain(path) for path in paths], *start, chart).regions
    found = Regions.concat([slivers, drawn.take(np.diff(drawn.rows) > 0), flat.take(np.diff(flat.rows) > 0)])
    return found.take(np.flatnonzero(np.bincount(found.vertex_rows, minlength=len(found)) > 0))


def draw_points_near_edges(region, rng):
    """Points beside edges, at any distance of 2e-12 to 0.1 degrees, to both sides; the nearest edge is as far as said, or nearer."""
    edges = region.prepared_rings
    pick = rng.integers(0, len(edges.edge_begin_vectors), POINTS)
    share = rng.uniform(0, 1, POINTS)[:, None]
    foot = edges.edge_begin_vectors[pick] * (1 - share) + edges.edge_end_vectors[pick] * share
    foot /= np.linalg.norm(foot, axis=1, keepdims=True)
    far = np.radians(10 ** rng.uniform(np.log10(ROUNDING), -1, POINTS)) * rng.choice([-1, 1], POINTS)
    lon, lat = to_lon_lat(foot * np.cos(far)[:, None] + edges.edge_normals[pick] * np.sin(far)[:, None])
    return lon, lat


def test_every_point_beside_an_edge_is_decided_as_s2_decides(slivers):
    regions, rng = regions_of_all_kinds(slivers), np.random.default_rng(5)
    judged = wrong = near = 0
    ours = theirs = 0.0
    for row in range(len(regions)):
        one = regions.take([row])
        lon, lat = draw_points_near_edges(one, rng)
        begun = time.process_time()
        inside = one.contains(lon, lat)
        ours += time.process_time() - begun
        parts, held = to_s2_polygons(one, 0), np.zeros(len(lon), bool)
        points = spherely.points(lon, lat)
        begun = time.process_time()
        for part in parts:
            held |= spherely.contains(part, points)
        theirs += time.process_time() - begun
        odd = np.flatnonzero(inside != held)
        if len(odd):  # of points on the rounding of another edge, nobody can say
            gap = np.array([one.prepared_rings.compute_boundary_distances(*np.full((2, len(one.rings) - 1), [[lon[at]], [lat[at]]])).min() for at in odd])  # fmt: skip
            near += int((gap < ROUNDING / 2).sum())
            wrong += int((gap >= ROUNDING / 2).sum())
        judged += len(lon)
    print(f"{judged} points beside the edges of {len(regions)} regions: {wrong} decided otherwise; {near} within the rounding; {ours:.0f} s, S2 {theirs:.0f} s")  # fmt: skip
    assert wrong == 0
    assert near < judged * 1e-3
