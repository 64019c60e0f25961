"""Turn columns of GeoJSON texts on a body into contours with valid regions, and report the faults of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._contour_faults import ContourRegions, FaultRecorder
from hven.model.sky._geojson import from_geojson

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAULT_PHRASES = (
    ("latitude", "a latitude is beyond 90"),
    ("no_area", "has no area"),
    ("no_start", "is no number"),
    ("no_start", "no pair of numbers"),
)


def build_regions_from_geojson(texts: Sequence[str | None], *, west_positive: bool = False) -> ContourRegions:
    """Make regions of geometries of GeoJSON: polygons, multipolygons and collections of them.

    Parameters
    ----------
    texts
        JSON, None for no geometry; shape (n,).
    west_positive
        Longitudes grow to the west there, which the ``crs`` of a geometry may say as well.

    Returns
    -------
    contours
        A region or a fault for each; rings may run either way, and what one winds round that crosses itself is inside.
    """
    import orjson  # noqa: PLC0415  (only documents need it)

    check = FaultRecorder(len(texts))
    features: list[dict[str, Any]] = []
    broken = np.zeros(len(texts), np.bool_)
    for row, text in enumerate(texts):
        try:
            if text:
                geometry = orjson.loads(text)
            else:
                geometry = None
        except orjson.JSONDecodeError:
            geometry, broken[row] = None, True
        if isinstance(geometry, dict) and "geometry" in geometry:
            features.append({"geometry": geometry["geometry"], "crs": geometry.get("crs")})
        else:
            features.append({"geometry": geometry})
    parsed = from_geojson(
        {"type": "FeatureCollection", "features": features}, make_valid=True, west_positive=west_positive
    )
    regions = parsed.regions
    check.mark_rows("no_contour", np.array([feature["geometry"] is None for feature in features], np.bool_) & ~broken)
    check.mark_rows("no_geometry", broken)
    for name, words in _FAULT_PHRASES:
        check.mark_rows(name, np.array([words in fault for fault in parsed.faults], np.bool_))
    check.mark_rows("no_geometry", np.array([bool(fault) for fault in parsed.faults], np.bool_))
    check.mark_rows("no_area", np.diff(regions.rows) == 0)
    zero_pixels = np.zeros(len(texts), np.int64)
    return ContourRegions(
        regions, zero_pixels, np.zeros(len(texts)), check.fault, check.number, zero_pixels > 0, parsed.is_self_crossing
    )
