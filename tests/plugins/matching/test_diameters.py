"""The diameters of example 26: those that JMMC's GetStar gives for Sirius, to its last digit."""

import runpy

import pyarrow as pa
import pytest

from shared import ROOT

DIAMETERS = runpy.run_path(str(ROOT / "examples/26-jsdc/collections/jsdc/diameters.py"))
# GetStar's answer for Sirius: V, J, H, K with their errors, and color_table_index
MAGNITUDES = (-1.121, 0.002, -1.391, 0.109, -1.391, 0.184, -1.39, 0.214)
INDEX = 84.0


def compute(name, *columns):
    """Call a function with one row."""
    return DIAMETERS[name](*(pa.array([value], pa.float64()) for value in columns))[0].as_py()


def test_diameters_of_sirius_are_those_of_getstar():
    vmag, _, jmag, _, hmag, _, kmag, _ = MAGNITUDES
    assert compute("diam_vj", vmag, jmag, INDEX) == pytest.approx(6.653165, abs=5e-7)
    assert compute("diam_vh", vmag, hmag, INDEX) == pytest.approx(6.420267, abs=5e-7)
    assert compute("diam_vk", vmag, kmag, INDEX) == pytest.approx(6.17148, abs=5e-7)
    assert compute("limb_darkened_diameter", *MAGNITUDES, INDEX) == pytest.approx(6.380782, abs=5e-7)
    assert compute("diameter_error", *MAGNITUDES, INDEX) == pytest.approx(0.4759618, abs=5e-6)
    assert compute("diameter_chi2", *MAGNITUDES, INDEX) == pytest.approx(0.0882, abs=5e-5)


def test_spectral_types_have_indexes():
    types = ["A1V+DA", "A0V", "G2V", "M1.5III", "B9", "DA", "", "K", None]
    indexes = DIAMETERS["spectral_index"](pa.array(types, pa.string())).to_pylist()
    assert indexes == [84.0, 80.0, 168.0, 246.0, 76.0, None, None, None, None]


def test_unknown_values_have_no_diameter():
    """A magnitude is missing, the type is unknown, or the relations don't reach it; missing errors have defaults."""
    names = ("limb_darkened_diameter", "diameter_error", "diameter_chi2")
    for change in ((2, None), (0, None), (8, None), (8, 41.0), (8, 273.0)):
        values = [*MAGNITUDES, INDEX]
        values[change[0]] = change[1]
        assert [compute(name, *values) for name in names] == [None] * 3
    values = [*MAGNITUDES, INDEX]
    values[1] = values[3] = None
    assert compute("limb_darkened_diameter", *values) == pytest.approx(6.38, abs=0.05)
