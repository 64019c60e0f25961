"""Every carrier that can be written here: generated numbers come out exactly, or the reader says what becomes of them. The model is plain Python."""

from __future__ import annotations

import io
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.formats import load_format
from hven.model import ReadDeviation, plugins
from hven.model.errors import SourceError
from hven.sources import ROW_NUMBER_COLUMN, SourceContext
from hven.testing.exactness import is_read_exactly, list_unreported_changes
from number_writers import CARRIERS, name_type, write_arrow_stream, write_numbers
from plugin_needs import require_plugins

EDGES = [base + step for base in (0, 2**24, 2**31, 2**53, 2**62, 2**63 - 2) for step in (-1, 0, 1)]
INT64 = st.one_of(
    st.sampled_from([*EDGES, *(-edge for edge in EDGES), -(2**63), 2**63 - 1]), st.integers(-(2**63), 2**63 - 1)
)
UINT64 = st.one_of(st.sampled_from([2**63, 2**63 + 1, 2**64 - 1, 2**53 + 1, 7]), st.integers(0, 2**64 - 1))
LARGE = st.one_of(UINT64, st.sampled_from([2**64, -(2**63) - 1, 10**25 + 1]))
FLOAT = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan]
)


def has_number(values):
    """Tell whether a column has a value: without one a text is no number, and its column is text."""
    return any(value is not None and not (isinstance(value, float) and math.isnan(value)) for value in values)


COLUMNS = st.one_of(
    *(st.lists(st.none() | some, min_size=1, max_size=12).filter(has_number) for some in (INT64, UINT64, LARGE, FLOAT))
)


def read(kind, options, directory):
    told, rejects = [], []
    module = plugins.load_plugin("sources", kind)
    source = module.open(
        module.Options.model_validate(options),
        SourceContext(directory=directory, on_notice=told.append, on_reject=rejects.append),
    )
    served = {
        row[ROW_NUMBER_COLUMN]: row["v"]
        for batch in source.read_batches(["v", ROW_NUMBER_COLUMN])
        for row in batch.to_pylist()
    }
    return served, told, rejects


@pytest.mark.parametrize("name", CARRIERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=COLUMNS)
def test_numbers_are_exact_or_reported(name, values):
    require_plugins("sources", CARRIERS[name][0])
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        options = write_numbers(name, directory, values)
        if options is None:
            return
        try:
            served, told, rejects = read(CARRIERS[name][0], options, directory)
        except SourceError as error:  # an error is a word, too; but never for what int64 and float64 hold
            if name_type(values) in {"int64", "float64"}:
                raise AssertionError(error) from error
            return
        assert list_unreported_changes(values, served, told, rejects, "v") == []
        if name_type(values) in {"int64", "float64"} and not any(isinstance(one, ReadDeviation) for one in told):
            assert not rejects
            assert all(is_read_exactly(value, served[row]) for row, value in enumerate(values, 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=COLUMNS)
def test_numbers_of_arrow_streams(values):
    if name_type(values) == "object":
        return
    try:
        found = load_format("arrow").read(io.BytesIO(write_arrow_stream(values)))
        cells = [cell for batch in found.batches for cell in batch.column(0).to_pylist()]
    except SourceError:
        if name_type(values) != "uint64":
            raise
        return
    assert list_unreported_changes(values, dict(enumerate(cells, 1)), found.deviations, (), "v") == []
