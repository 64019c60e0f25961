"""Areas of chain codes in dynamic spectra are features without faults in a catalogue of TFCat."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hven.plugins.tfcat import coordinate_systems, tfcat_features
from shared import EXAMPLES_FACTOR, ROOT

sys.path += [str(path.parent) for path in ROOT.glob("tests/plugins/*/test_chain_features.py")]
chain_features = pytest.importorskip("test_chain_features", reason="this needs the tests of chain codes")
close_walk, write_features = chain_features.close_walk, chain_features.write_features

CRS = {"type": "local", "properties": {"name": "Time-Frequency", "time_coords_id": "unix", "spectral_coords": {"type": "frequency", "unit": "MHz"}, "ref_position_id": "GEOCENTER"}}  # fmt: skip


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(
    some.lists(some.lists(some.integers(0, 7), max_size=24), min_size=1, max_size=4),
    some.sampled_from([(1.0, 2.0), (1.0, -2.0), (-60.0, 0.25), (-1.0, -1.0)]),
)
def test_areas_are_features_without_faults(walks: list[list[int]], steps: tuple[float, float]) -> None:
    dx, dy = steps
    system, faults = coordinate_systems.parse_tfcat_crs(CRS)
    assert not faults
    for one in write_features([close_walk(walk) for walk in walks], line=False, dx=dx, dy=dy):
        feature = tfcat_features.parse_tfcat_feature(
            json.dumps({"type": "Feature", "geometry": one, "properties": {}}), system, {}
        )
        tfcat_features.add_crossing_faults([feature])
        assert not feature.faults
