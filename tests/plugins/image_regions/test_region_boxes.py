"""Boxes of regions that are made of contours."""

from __future__ import annotations

import numpy as np

from contour_shapes import draw_shapes, encode_chain
from hven.model.sky import Regions
from hven.plugins.image_regions import contours


def test_boxes_of_small_regions_are_those_of_any():
    paths, rng = draw_shapes(150, 4), np.random.default_rng(4)
    disc = contours.DiscImage(
        *(np.full(150, one) for one in (74.3, 75.1, 15.0, 15.0, 61.7 * 15)),
        rng.uniform(0, 360, 150),
        rng.uniform(-90, 90, 150),
    )
    found = contours.build_regions_from_chain_codes(
        [encode_chain(path) for path in paths], *np.array([path[0] for path in paths]).T, disc
    )
    regions = Regions.concat(
        [
            Regions.create_empty(2),
            found.regions,
            found.regions.take([3])._reverse_selected_rings(np.array([True])),
            Regions.create_empty(1),
        ]
    )
    small, _ = regions._compute_small_region_boxes()
    assert 100 < small.sum() < 140
    some = np.flatnonzero(np.diff(regions.rows) > 0)
    off = np.abs(
        np.stack(regions.compute_bounding_boxes())[:, some] - regions.take(some)._compute_general_region_boxes()
    )
    off[:2] = np.minimum(off[:2], 360 - off[:2])
    assert off.max() < 1e-11
