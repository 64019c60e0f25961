"""Headers of files of named arrays as rows, judged by the libraries that read them whole."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hven.descriptor import check_descriptor
from hven.model import plugins
from hven.model.settings import Settings
from hven.sources import SourceContext
from plugin_needs import create_descriptor
from shared import shared


def open_source(directory, **options):
    module = plugins.load_plugin("sources", "product")
    return module.open(module.Options.model_validate(options), SourceContext(directory=directory))


def read(source, columns=None):
    batches = list(source.read_batches(columns))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


def test_attributes_of_cdf_equal_those_of_cdflib():
    import cdflib

    files = sorted(shared("data/helio/cdf").glob("*.cdf"))
    found = read(open_source(files[0].parent, files="*.cdf"), None)
    cards = read(open_source(files[0].parent, files="*.cdf", mode="cards"), ["file.name", "name", "keyword", "value"])  # fmt: skip
    variables = read(open_source(files[0].parent, files="*.cdf", mode="variables"), ["file.name", "name", "sizes"])  # fmt: skip
    assert len(found) == len(files) == 7
    for row, path in zip(found, files, strict=True):
        theirs = cdflib.CDF(path)
        for word, values in theirs.globalattsget().items():
            text = " ".join(map(str, values)).strip()
            assert (row[word] or "") == text[:2000], (path.name, word)
        said = theirs.cdf_info()
        mine = {one["name"]: one["sizes"] for one in variables if one["file.name"] == path.name}
        assert mine.keys() == {*said.zVariables, *said.rVariables}
        for name in mine:
            known = {card["keyword"]: card["value"] for card in cards if card["file.name"] == path.name and card["name"] == name}  # fmt: skip
            for word, value in theirs.varattsget(name).items():
                whole = " ".join(map(str, value if isinstance(value, list) else [value])).strip()
                assert known.get(word, "") == whole[:2000] or not whole, (name, word)


def test_attributes_of_netcdf_and_hdf5_equal_those_of_h5py():
    import h5py

    files = sorted(shared("data/helio/timeseries").glob("*.nc"))
    found = read(open_source(files[0].parent, files="*.nc"))
    variables = read(open_source(files[0].parent, files="*.nc", mode="variables"), ["file.name", "name", "sizes", "units", "long_name"])  # fmt: skip
    for row, path in zip(found, files, strict=True):
        with h5py.File(path) as theirs:
            for word, value in theirs.attrs.items():
                if word in row and isinstance(value, str | bytes):
                    text = value.decode() if isinstance(value, bytes) else value
                    assert (row[word] or "").strip() == text[:2000].strip(), word
            for one in (line for line in variables if line["file.name"] == path.name):
                theirs_one = theirs[one["name"]]
                assert (one["sizes"] or "") == "x".join(map(str, theirs_one.shape))
                unit = theirs_one.attrs.get("units")
                assert one["units"] == (unit.decode() if isinstance(unit, bytes) else unit)


def test_an_idl_save_file_lists_its_variables_without_their_values(tmp_path):
    import scipy
    from scipy.io import readsav

    folder = Path(scipy.__file__).parent / "io/tests/data"
    looked = 0
    for path in sorted(folder.glob("*.sav")):
        with warnings.catch_warnings(action="ignore"):
            theirs = readsav(path) if path.name != "invalid_pointer.sav" else {}
        (mine,) = read(open_source(tmp_path, files=str(path)))
        for word, value in theirs.items():
            shape = "x".join(map(str, reversed(np.shape(value)))) if np.ndim(value) else ""
            assert mine[word].partition(" ")[2] == shape, (path.name, word)
            looked += 1
    if not looked:
        pytest.skip("scipy's own tests are not installed")
    assert looked > 50


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("data/helio/cdf", "project"),
        ("data/helio/timeseries/sci_gxrs-l2-irrad_g15_d20131028_truncated.nc", "time_value"),
    ],
)
def test_new_writes_a_descriptor_that_is_right(tmp_path, source, column):
    settings = Settings(directory=tmp_path)
    text = (path := create_descriptor(settings, "mine", str(shared(source)))).read_text()
    assert "kind: product" in text
    assert f"      {column}:" in text
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
