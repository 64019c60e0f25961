"""Computed lines: their values are those of numpy, whatever the batches and the span; wrong ones are told."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import HvenError
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type
from hven.plugins.series.sample_parameters import SampleParameter
from hven.plugins.stacked_plots import computed_sets
from hven.plugins.stacked_plots.computed_sets import SampleSelection, read_selected_samples
from hven.plugins.stacked_plots.sample_expressions import SampleBlock, parse_computed_line

PARAMETERS = {
    "bx": SampleParameter(column=Column(name="bx", type=FLOAT64, unit="nT"), value_kind="double"),
    "by": SampleParameter(column=Column(name="by", type=FLOAT64, unit="nT"), value_kind="double"),
    "n": SampleParameter(column=Column(name="n", type=FLOAT64, unit="cm**-3"), value_kind="double"),
    "b": SampleParameter(column=Column(name="b", type=parse_type("float64[3]"), unit="nT"), value_kind="double", dimensions=(3,)),
}  # fmt: skip
RNG = np.random.default_rng(1)
COUNT = 200
INSTANTS = np.cumsum(RNG.integers(1, 4, COUNT)) * 1_000_000
VALUES = {"bx": RNG.normal(size=(COUNT, 1)), "by": RNG.normal(size=(COUNT, 1)), "n": RNG.random((COUNT, 1)), "b": RNG.normal(size=(COUNT, 3))}  # fmt: skip
VALUES["n"][7] = np.nan
BLOCK = SampleBlock(instants=INSTANTS, values=VALUES, max_gap_microseconds=10_000_000)
X, Y, B = VALUES["bx"], VALUES["by"], VALUES["b"]


def evaluate(expression: str) -> Any:
    return parse_computed_line("x", expression, PARAMETERS, 1e6).evaluate(BLOCK)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("SQRT(bx*bx + by*by)", np.hypot(X, Y)),
        ("VECTOR_LENGTH(b)", np.linalg.norm(B, axis=1, keepdims=True)),
        ("VECTOR_LENGTH(bx, by)", np.hypot(X, Y)),
        ("bx / by", X / Y),
        ("-BX + 2 * by - 1", -X + 2 * Y - 1),
        ("b[2] * 3", B[:, 1:2] * 3),
        ("b - bx", B - X),
        ("POWER(bx, 2)", X**2),
        ("LOG10(ABS(bx))", np.log10(np.abs(X))),
        ("DIFFERENCE(bx)", np.diff(X, axis=0, prepend=np.nan)),
    ],
)
def test_expressions_equal_those_of_numpy(expression: str, expected: Any) -> None:
    assert np.allclose(evaluate(expression), expected, equal_nan=True)


def test_divisions_by_zero_and_roots_of_negative_numbers_are_no_values() -> None:
    assert np.isnan(evaluate("bx / (bx - bx)")).all()
    assert np.array_equal(np.isnan(evaluate("SQRT(bx)")), X < 0)


def test_a_running_mean_is_that_of_the_samples_in_the_window() -> None:
    smooth = evaluate("RUNNING_MEAN(n, 9)")
    for number in (0, 5, 8, 100, COUNT - 1):
        is_near = np.abs(INSTANTS - INSTANTS[number]) <= 4_500_000
        assert smooth[number, 0] == pytest.approx(np.nanmean(VALUES["n"][is_near]))


def test_a_background_is_the_median_of_its_window() -> None:
    cleaned = evaluate("BACKGROUND_REMOVED(b, 60)")
    windows = INSTANTS // 60_000_000
    for window in np.unique(windows):
        part = B[windows == window]
        assert np.allclose(cleaned[windows == window], part - np.median(part, axis=0))


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("SQRT(bx*bx + by*by)", "nT"),
        ("VECTOR_LENGTH(b)", "nT"),
        ("bx + by", "nT"),
        ("bx + n", ""),
        ("bx / by", ""),
        ("RUNNING_MEAN(n, 9)", "cm**-3"),
        ("-b[1]", "nT"),
    ],
)
def test_units_are_kept_where_they_are_known(expression: str, unit: str) -> None:
    assert parse_computed_line("x", expression, PARAMETERS, 1e6).unit == unit


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 + 2",
        "bz",
        "bx +",
        "bx || by",
        "COUNT(*)",
        "SUM(bx)",
        "(SELECT bx FROM wind.field)",
        "CASE WHEN bx > 1 THEN 1 END",
        "wind.field.bx",
        "'text'",
        "RUNNING_MEAN(bx)",
        "RUNNING_MEAN(bx, 0)",
        "RUNNING_MEAN(bx, by)",
        "RUNNING_MEAN(bx, 1e9)",
        "ABS(bx, by)",
        "b[4]",
        "b[0]",
        "+".join(["bx"] * 200),
        "(" * 400 + "bx" + ")" * 400,
        "bx; DROP TABLE x",
    ],
)
def test_wrong_expressions_are_refused(expression: str) -> None:
    with pytest.raises(HvenError) as raised:
        parse_computed_line("x", expression, PARAMETERS, 1e6)
    assert str(raised.value)


@given(st.lists(st.integers(1, COUNT - 1), max_size=6), st.integers(0, COUNT // 2), st.integers(COUNT // 2 + 1, COUNT))
def test_values_do_not_depend_on_batches_and_spans(cuts: list[int], first: int, last: int) -> None:
    expressions = {"m": "RUNNING_MEAN(n, 9)", "d": "DIFFERENCE(bx)", "c": "BACKGROUND_REMOVED(by, 30)"}
    lines = {name: parse_computed_line(name, text, PARAMETERS, 1e6) for name, text in expressions.items()}
    parameters = tuple(computed_sets._build_computed_parameter(line, PARAMETERS) for line in lines.values())
    whole = {name: line.evaluate(BLOCK) for name, line in lines.items()}
    start, stop = int(INSTANTS[first]), int(INSTANTS[last - 1]) + 1

    def read_samples(_view: Any, _set: Any, names: list[str], *, start: int, stop: int) -> Any:
        edges = [0, *sorted(set(cuts)), COUNT]
        for low, high in itertools.pairwise(edges):
            is_inside = (INSTANTS[low:high] >= start) & (INSTANTS[low:high] < stop)
            arrays = [pa.array(VALUES[name][low:high, 0][is_inside]) for name in names]
            yield pa.record_batch([pa.array(INSTANTS[low:high][is_inside]), *arrays], names=["hven_time", *names])

    class DataSet:
        def estimate_cadence(self, _extent: object) -> float:
            return 1e6

    selection = SampleSelection(data_set=DataSet(), parameters=parameters, lines=lines)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computed_sets.sample_sets, "read_samples", read_samples)
        patch.setattr(computed_sets.sample_sets, "find_time_extent", lambda *_: None)
        patch.setattr(computed_sets, "MIN_BLOCK_SAMPLES", 5)
        batches = list(read_selected_samples(None, selection, start, stop))  # type: ignore[arg-type]
    joined = pa.Table.from_batches(batches)
    assert joined.column(0).to_pylist() == INSTANTS[(start <= INSTANTS) & (stop > INSTANTS)].tolist()
    for name, matrix in whole.items():
        found = joined.column(name).to_numpy()
        assert np.allclose(found, matrix[first:last, 0], equal_nan=True, rtol=1e-9, atol=1e-12)
