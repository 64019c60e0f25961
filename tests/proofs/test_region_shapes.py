"""Contours that cut themselves in every way, by the thousand: all are valid to S2, and hold the points that they wind around."""

from __future__ import annotations

import os
import time

import numpy as np
import spherely

from hven.model.sky import Regions

COUNT = 10_000 if os.environ.get("HVEN_PROOF") == "full" else 500
POINTS = 30  # around each
GRID = 1e-11  # radians (2 micro-arcseconds): crossings are rounded, so that the edges at them move as much


def outline(kind, rng):
    """A ring on a plane, about one long to each side."""
    if kind == "random":
        return rng.uniform(-1, 1, (rng.integers(3, 20), 2))
    if kind == "spiral":
        turn = np.linspace(0, rng.uniform(2, 6) * np.pi, 40)
        return np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1) / 20
    if kind == "eight":
        turn = np.linspace(0, 2 * np.pi, 41)[:-1]
        return np.stack([np.sin(turn), np.sin(2 * turn + rng.uniform(0, 0.5))], 1)
    if kind == "comb":  # some teeth are as long as the comb is high, and touch its back
        teeth = rng.integers(3, 15)
        x = np.repeat(np.linspace(-1, 1, 2 * teeth), 2)[1:-1]
        y = np.tile([1, 0, 0, 1], teeth)[: len(x)] * rng.uniform(0.2, 1)
        back = -0.1 if rng.random() < 0.5 else 0.0
        return np.concatenate([np.stack([x, y], 1), [[1, back], [-1, back]]])
    steps = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[rng.integers(0, 4, rng.integers(10, 120))]
    return np.cumsum(steps, 0) / 30.0  # as chain codes are


def project_to_sphere(xy, frames):
    """From planes that touch the sphere at many places: straight lines there are great circles."""
    centre, east, north = frames
    v = centre + xy[:, :1] * east + xy[:, 1:] * north
    return np.degrees(np.arctan2(v[:, 1], v[:, 0])), np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))


def test_stress_contours():
    rng = np.random.default_rng(18)
    z, lon = rng.uniform(-1, 1, COUNT), rng.uniform(0, 2 * np.pi, COUNT)
    z[: COUNT // 10], z[COUNT // 10 : COUNT // 5], lon[COUNT // 5 : COUNT // 3] = 1, -1, 0  # poles, and longitude 0
    flat = np.sqrt(1 - z * z)
    centre = np.stack([flat * np.cos(lon), flat * np.sin(lon), z], 1)
    east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], 1)
    frames = centre, east, np.cross(centre, east)
    kinds = ["random", "spiral", "eight", "comb", "walk"]
    outlines = [outline(kinds[one % 5], rng) * 10 ** rng.uniform(-5, -0.3) for one in range(COUNT)]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in outlines])])
    row = np.repeat(np.arange(COUNT), np.diff(starts))
    lons, lats = project_to_sphere(np.concatenate(outlines), [axis[row] for axis in frames])
    rings = Regions(lons, lats, starts, np.arange(COUNT + 1), np.arange(COUNT + 1))
    begin = time.process_time()
    crossing = np.array(["self-intersection" in fault for fault in rings.find_faults()])
    looked, begin = time.process_time() - begin, time.process_time()
    mended = rings.make_valid()
    took = time.process_time() - begin
    for text in mended.to_wkb():
        spherely.from_wkb(text, oriented=True)  # S2 refuses what is not valid, with exact arithmetic
    judged = wrong = 0
    for one in np.flatnonzero(crossing):
        p = outlines[one]
        q = np.roll(p, -1, 0)
        points = rng.uniform(p.min(0), p.max(0), (POINTS, 2))
        (x, y), (px, py) = p.T, points.T[:, :, None]
        left = (q[:, 0] - x) * (py - y) - (px - x) * (q[:, 1] - y)
        up, down = (y <= py) & (q[:, 1] > py), (y > py) & (q[:, 1] <= py)
        winds = (up & (left > 0)).sum(1) - (down & (left < 0)).sum(1)
        inside = mended.take([one]).contains(*project_to_sphere(points, [axis[[one]] for axis in frames]))
        far = (np.abs(left) / np.maximum(np.hypot(q[:, 0] - x, q[:, 1] - y), 1e-300)).min(1) > GRID
        judged, wrong = judged + int(far.sum()), wrong + int(((inside != (winds != 0)) & far).sum())
    print(
        f"{COUNT} contours, {crossing.sum()} cross themselves, {len(mended.parts) - 1} parts; told in {looked:.1f} s, mended in {took:.1f} s; "
        f"{judged} points, {wrong} decided otherwise"
    )
    assert mended.is_valid().all()
    assert crossing.sum() > COUNT / 2
    assert wrong == 0
