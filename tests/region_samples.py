"""Random regions for tests: holes, several parts, poles, 0 and 180 degrees, more than a hemisphere."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hven.model.sky import Regions

LON = st.one_of(st.sampled_from([0.0, 180.0, 359.9, 90.0]), st.floats(0, 359.999))
LAT = st.one_of(st.sampled_from([90.0, -90.0, 0.0, 89.5]), st.floats(-90, 90))


def build_bulging_region(lon: float, lat: float, radius: float, corners: int, seed: int) -> Regions:
    """Build a region around a point with bulges and bays."""
    bends = np.random.default_rng(seed).uniform(0.3, 1.0, corners) * np.radians(radius)
    turn = 2 * np.pi * np.arange(corners) / corners
    x, y, z = np.sin(bends) * np.cos(turn), np.sin(bends) * np.sin(turn), np.cos(bends)
    tilt = np.radians(90.0 - lat)
    x, z = x * np.cos(tilt) + z * np.sin(tilt), z * np.cos(tilt) - x * np.sin(tilt)
    lons = (np.degrees(np.arctan2(y, x)) + lon) % 360.0
    return Regions.from_lists(
        [[[list(zip(lons.tolist(), np.degrees(np.arcsin(np.clip(z, -1, 1))).tolist(), strict=True))]]]
    )


STARS = st.builds(
    build_bulging_region,
    LON,
    LAT,
    st.sampled_from([0.01, 1.0, 20.0, 85.0]),
    st.integers(5, 12),
    st.integers(0, 1 << 30),
)
RANGES = st.builds(
    lambda lon, wide, south, high: Regions.from_ranges(lon, lon + wide, south, min(south + high, 90.0), tolerance_degrees=0.01),
    LON, st.one_of(st.just(360.0), st.floats(0.1, 359)), st.floats(-90, 80), st.floats(0.1, 180),
)  # fmt: skip


@st.composite
def regions(draw: st.DrawFn) -> Regions:
    """Draw one valid region: unions, differences and complements of others."""
    found = draw(st.one_of(STARS, RANGES))
    for _ in range(draw(st.integers(0, 2))):
        how = draw(st.sampled_from(["union", "difference", "beside", "outside"]))
        if how == "outside":
            found = Regions.from_lists([[[]]]).difference(found)
        elif how == "beside":
            found = found.union(draw(STARS))
        else:
            found = getattr(found, how)(draw(st.one_of(STARS, RANGES)))
    return found


def count_differing_points(one: Regions, other: Regions, seed: int = 0, off: float = 1e-3) -> int:
    """Count points, farther than `off` degrees from the boundary, that lie in only one of two regions.

    Some of the points are near the boundary.
    """
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(0, 360, 300), np.degrees(np.arcsin(rng.uniform(-1, 1, 300)))
    if len(one.lon):
        near = rng.integers(0, len(one.lon), 300)
        lon = np.concatenate([lon, one.lon[near] + rng.normal(0, 1, 300)])
        lat = np.concatenate([lat, np.clip(one.lat[near] + rng.normal(0, 0.3, 300), -90, 90)])
    differ = one.contains(lon, lat) != other.contains(lon, lat)
    if not differ.any() or not len(one.lon):
        return int(differ.sum())
    lon, lat = lon[differ], lat[differ]
    size = 1e-7
    points = Regions.from_lists(
        [
            [[[(x, y), (x + size, y), (x, min(y + size, 90.0) if y < 89 else y - size)]]]
            for x, y in zip(lon, lat, strict=True)
        ]
    )
    rim = one.take(np.zeros(len(lon), np.int64))
    far = np.maximum(
        points.compute_distances(rim),
        points.compute_distances(Regions.from_lists([[[]]]).difference(one).take(np.zeros(len(lon), np.int64))),
    )
    return int((far > off).sum())
