"""Turn columns of GeoJSON texts on a body into contours with valid regions, and report the faults of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import region_files
from hven.plugins.image_regions.contour_regions import ContourFaultRecorder, ContourRegions

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAULT_PHRASES = (
    ("latitude", "a latitude is beyond 90"),
    ("no_area", "has no area"),
    ("no_start", "is not a number"),
    ("no_start", "not a pair of numbers"),
)


def build_regions_from_geojson(texts: Sequence[str | None], *, west_positive: bool = False) -> ContourRegions:
    """Make regions of geometries of GeoJSON: polygons, multipolygons and collections of them.

    Parameters
    ----------
    texts
        JSON, None for no geometry; shape (n,).
    west_positive
        Whether longitudes increase westward; the ``crs`` of a geometry may say so, too.

    Returns
    -------
    contours
        A region or a fault for each text. Rings may run in either direction; inside a ring that crosses itself is what
        it winds round.
    """
    import orjson  # noqa: PLC0415  (only documents need it)

    check = ContourFaultRecorder(len(texts))
    features: list[dict[str, Any]] = []
    broken = np.zeros(len(texts), np.bool_)
    for row, text in enumerate(texts):
        geometry = None
        try:
            if text:
                geometry = orjson.loads(text)
        except orjson.JSONDecodeError:
            broken[row] = True
        if isinstance(geometry, dict) and "geometry" in geometry:
            features.append({"geometry": geometry["geometry"], "crs": geometry.get("crs")})
        else:
            features.append({"geometry": geometry})
    collection = {"type": "FeatureCollection", "features": features}
    parsed = region_files.parse_geojson(collection, make_valid=True, west_positive=west_positive)
    regions = parsed.regions
    has_no_geometry = np.array([feature["geometry"] is None for feature in features], np.bool_)
    check.mark_faulty_rows("no_contour", has_no_geometry & ~broken)
    check.mark_faulty_rows("no_geometry", broken)
    for name, words in _FAULT_PHRASES:
        has_phrase = np.array([words in fault for fault in parsed.faults], np.bool_)
        check.mark_faulty_rows(name, has_phrase)
    has_fault = np.array([bool(fault) for fault in parsed.faults], np.bool_)
    check.mark_faulty_rows("no_geometry", has_fault)
    check.mark_faulty_rows("no_area", np.diff(regions.rows) == 0)
    zero_pixels = np.zeros(len(texts), np.int64)
    return ContourRegions(
        regions=regions,
        pixels=zero_pixels,
        clipped=np.zeros(len(texts)),
        fault=check.fault,
        number=check.number,
        minimal=zero_pixels > 0,
        mended=parsed.is_self_crossing,
    )
