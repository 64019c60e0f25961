"""Check the reference values of the map page's measures (`geodesics.json`) by pyproj; the tests of scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("geodesics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_reference_measures_are_those_of_pyproj(case: dict[str, Any]) -> None:
    equatorial, polar = case["equatorial"], case["polar"]
    geod = pyproj.Geod(a=equatorial, b=polar)
    lon, centric = np.array(case["places"]).T
    graphic = np.degrees(np.arctan(np.tan(np.radians(centric)) * (equatorial / polar) ** 2))
    assert geod.line_length(lon, graphic) == pytest.approx(case["length"], rel=1e-9)
    area, _ = geod.polygon_area_perimeter(lon, graphic)
    assert abs(area) == pytest.approx(case["area"], rel=1e-9)
