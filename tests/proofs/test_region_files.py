"""Proof: any region comes back from GeoJSON, DALI's shapes and STC-S as it was, and any MOC from its three forms."""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hven.model.sky import Moc, Regions, region_files
from region_samples import count_differing_points, regions

FULL = os.environ.get("HVEN_PROOF") == "full"
SEEN: Counter[str] = Counter()
LIMITS = settings(
    max_examples=300 if FULL else 5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)


def count_region_kinds(form: str, region: Regions) -> None:
    SEEN[form] += 1
    SEEN[f"{form}, with holes or all round"] += int((np.diff(region.parts) > 1).any())
    SEEN[f"{form}, of several parts"] += int(np.diff(region.rows)[0] > 1)
    SEEN[f"{form}, of more than half the sphere"] += int(region.compute_areas()[0] > 2 * np.pi)
    SEEN[f"{form}, with a pole"] += int(region.contains([0, 0], [90, -90]).any())
    SEEN[f"{form}, over 180 degrees"] += int(region.contains(np.full(19, 180.0), np.arange(-90, 91, 10.0)).any())


def check_same_region(region: Regions, back: region_files.ParsedRegions | region_files.GeoJsonFeatures) -> None:
    assert back.faults == [""]
    assert back.regions.compute_areas() == pytest.approx(region.compute_areas(), rel=1e-4, abs=1e-7)
    assert count_differing_points(region, back.regions) == 0


@LIMITS
@given(regions())
def test_geojson(region: Regions):
    count_region_kinds("GeoJSON", region)
    text = region_files.write_geojson_features(region)
    geometry = json.loads(text)["features"][0]["geometry"]
    shape = shapely.from_geojson(json.dumps(geometry)) if geometry else shapely.Polygon()
    assert shapely.is_valid(shape)
    for part in shapely.get_parts(shape):
        assert not geometry or part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)
    check_same_region(region, region_files.parse_geojson(text))


@LIMITS
@given(regions(), st.sampled_from(["multishape", "stcs"]), st.booleans())
def test_texts(region: Regions, kind: str, outside: bool):
    count_region_kinds(kind, region)
    said = region_files.write_region_texts(region, kind, frame="ICRS", from_outside=outside)
    check_same_region(region, region_files.parse_region_texts(said.to_pylist()))


@LIMITS
@given(st.integers(0, 1 << 30), st.integers(0, 29), st.integers(0, 300))
def test_mocs(seed: int, order: int, many: int):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 12 << 2 * order, many)
    moc = Moc.from_cells(np.concatenate([first + step for step in range(4)]) % (12 << 2 * order) if many else [], order)
    SEEN["MOC"] += 1
    for form in ("ascii", "json", "fits"):
        assert region_files.read_moc(region_files.write_moc(moc, form)) == moc


def test_what_was_tried():
    print("\n".join(f"{name}: {count:,}" for name, count in sorted(SEEN.items())))
    assert SEEN["GeoJSON"] >= 5
