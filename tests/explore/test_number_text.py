"""Numbers as people read them: the unit of their size, a few digits, points below each other, powers as powers; pairs once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT64, STRING, ColumnType
from hven.portal._explore.cell_text import TextCell, build_column_headings, format_cells
from hven.portal._explore.column_labels import ColumnLabels
from hven.portal._explore.column_pairs import find_range_column_pairs, join_range_cells, order_columns
from hven.portal._explore.number_formatting import choose_usual_unit_scale, format_number, format_numbers, format_unit
from hven.portal._explore.row_pages import RowPage


def column(unit: str, ucd: str = "", **more: Any) -> Column:
    return Column(name="x", type=FLOAT64, unit=unit, ucd=ucd, **more)


@pytest.mark.parametrize(
    ("one", "low", "high", "unit"),
    [
        (column("Hz", "em.freq;stat.min"), 5.9e13, 8.2e14, "um"),
        (column("Hz", "em.freq"), 9e14, 3e15, "nm"),
        (column("Hz", "em.freq"), 1e18, 2e18, "keV"),
        (column("Hz", "em.freq"), 1.5e8, 4.5e8, "MHz"),
        (column("Hz", "em.freq;spect.binSize"), 1e11, 1e12, "GHz"),
        (column("m", "em.wl;stat.max"), 3e-7, 9e-7, "nm"),
        (column("m", "em.wl"), 0.21, 0.21, "mm"),
        (column("um", "em.wl"), 0.0094, 0.0335, "nm"),
        (column("Angstrom", "em.wl"), 94.0, 4500.0, "Angstrom"),
        (column("Angstrom", "em.wl"), 2e4, 2.4e4, "um"),
        (column("kbyte", "phys.size"), 9_000, 60_000, "Mbyte"),
        (column("s"), 0.002, 0.1, "ms"),
        (column("m"), -5000.0, 8000.0, "km"),
        (column("m"), 0.0, 0.0, "m"),
        (column("Hz", "em.freq", display=".3e"), 1e14, 1e15, "Hz"),
        (column("deg"), 0.0, 360.0, "deg"),
        (column("furlong"), 1.0, 1e9, "furlong"),
        (column("Hz"), math.nan, math.inf, "Hz"),
        (column(""), 1.0, 2.0, ""),
    ],
)
def test_the_unit_fits_the_size_of_the_numbers(one: Column, low: float, high: float, unit: str) -> None:
    assert choose_usual_unit_scale(one, {"minimum": low, "maximum": high}).unit == unit
    assert choose_usual_unit_scale(one, {}).unit == (one.unit or ""), "of nothing known"


def test_light_by_its_wavelength_is_what_astropy_says() -> None:
    from astropy import units as u

    for one, values in ((column("Hz", "em.freq"), [6e13, 8e14]), (column("Hz", "em.freq"), [1e18, 3e18]), (column("m", "em.wl"), [3e-7, 5e-7])):  # fmt: skip
        scale = choose_usual_unit_scale(one, {"minimum": values[0], "maximum": values[1]})
        right = (values * u.Unit(one.unit)).to_value(u.Unit(scale.unit), u.spectral())
        assert [scale.convert(value) for value in values] == pytest.approx(list(right), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([278.2911, 5.05, None, -12.5], ["278.291", "5.050", None, "-12.500"]),
        ([1.0, 2.0], ["1", "2"]),
        ([0.5, 0.25], ["0.50", "0.25"]),
        ([2451545.25, 2451546.0], ["2451545", "2451546"]),
        ([1000.5, 0.001234], ["1000.5", "0.001234"]),
        ([3.2e14, 5.5], ["3.2\u00d710¹⁴", "5.5"]),
        ([-1e-7, 0.0], ["-1\u00d710⁻⁷", "0"]),
        ([-0.000001, 123456.0], ["-1\u00d710⁻⁶", "123456"]),
        ([math.nan, math.inf, -math.inf], ["NaN", "∞", "-∞"]),
        ([], []),
        ([None], [None]),
        ([7.0], ["7"]),
    ],
)
def test_decimal_points_are_aligned(values: list[float | None], texts: list[str | None]) -> None:
    assert format_numbers(values) == texts


@settings(max_examples=200, deadline=None)
@given(some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_numbers_keep_at_least_three_digits(values: list[float]) -> None:
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, text in zip(values, format_numbers(values), strict=True):
        assert text is not None
        mantissa, _, power = text.partition("\u00d710")
        read = float(f"{mantissa}e{power.translate(raised) or 0}")
        assert read == pytest.approx(value, rel=0.006, abs=0)
        assert read != 0 or value == 0


@pytest.mark.parametrize(
    ("unit", "text"),
    [("10**14.solMass", "10¹⁴ M☉"), ("1e14solMass", "10¹⁴ M☉"), ("km.s-1", "km s⁻¹"), ("W.m**-2.Hz**-1", "W m⁻² Hz⁻¹"), ("um", "µm"), ("deg", "°"), ("Mbyte", "MB"), ("km/s", "km/s"), ("", ""), ("mag", "mag"), ("<b>", "<b>"), ("degree", "degree"), ("Tbyte", "TB")],
)  # fmt: skip
def test_units_are_typeset(unit: str, text: str) -> None:
    assert format_unit(unit) == text


def test_one_number_is_written_short() -> None:
    assert [format_number(one) for one in (1 / 3, 123456.7, 1234567.8, 1e9, -58912345678912.3)] == ["0.333333", "123457", "1234568", "1\u00d710⁹", "-5.89123\u00d710¹³"]  # fmt: skip


def page(*described: tuple[Column, list[Any]], **labels: Any) -> tuple[RowPage, ColumnLabels]:
    table = set_column_epochs(Table(schema="a", name="epn_core", columns=tuple(one for one, _ in described)))
    rows = pa.table({one.name: pa.array(given, one.type.arrow) for one, given in described})
    statistics = {
        one.name: {"minimum": min(given), "maximum": max(given)} for one, given in described if one.type.is_numeric
    }
    return RowPage(
        columns=table.columns, rows=rows, keys=("",) * rows.num_rows, offset=0, has_more=False
    ), ColumnLabels(table=table, statistics=statistics, **labels)


LOW = Column(name="spectral_range_min", type=FLOAT64, unit="Hz", ucd="em.freq;stat.min")
HIGH = LOW.copy_with(name="spectral_range_max", ucd="em.freq;stat.max")
OTHER = Column(name="granule_uid", type=STRING)


def test_frequencies_are_told_as_wavelengths_under_their_name() -> None:
    found, labels = page((OTHER, ["a"]), (LOW, [5.889e13]), (HIGH, [8.226e14]))
    heads = build_column_headings(found, labels.table, labels=labels)
    assert [(one.label, one.unit) for one in heads[1:]] == [("Longest wavelength", "um"), ("Shortest wavelength", "um")]
    (row,) = format_cells(found, labels.table, labels=labels)
    assert [row[1].text, row[1].title] == ["5.09072", "58890000000000.0 Hz"]  # type: ignore[union-attr]
    (pair,) = find_range_column_pairs(heads, labels)
    assert (pair.label, pair.low_number, pair.high_number) == ("Wavelength", 2, 1), "from the shortest to the longest"
    assert order_columns(heads, [pair]) == [0, pair]
    wanted = (("spectral_range_min", "GHz"),)
    heads = build_column_headings(found, labels.table, wanted, labels=labels)
    assert [heads[1].label, heads[1].unit] == ["Lowest frequency", "GHz"]
    assert find_range_column_pairs(heads, labels) == [], "in two units they are two columns"
    assert [one.unit for one in build_column_headings(found, labels.table)] == ["", "Hz", "Hz"], (
        "answers of queries stay as they are"
    )


def test_names_as_queries_write_them_keep_units_digits_and_pairs_apart() -> None:
    found, labels = page((LOW, [5.889123456e13]), (HIGH, [8.226e14]), is_raw=True)
    heads = build_column_headings(found, labels.table, labels=labels)
    assert [(one.label, one.unit) for one in heads] == [("spectral_range_min", "Hz"), ("spectral_range_max", "Hz")]
    assert find_range_column_pairs(heads, labels) == []
    assert format_cells(found, labels.table, labels=labels)[0][0].title == "5.889123456e+13"  # type: ignore[union-attr]


def test_two_cells_of_a_range_become_one() -> None:
    day = TextCell(text="2004-01-01 03:55:33"), TextCell(text="2004-01-01 04:00:00", title="JD 2")
    assert [one and (one.text, one.title) for one in (join_range_cells(*day), join_range_cells(TextCell(text="1"), TextCell(text="1")), join_range_cells(None, TextCell(text="1")), join_range_cells(TextCell(text="1"), None), join_range_cells(None, None))] == [
        ("2004-01-01 03:55:33 \u2013 04:00:00", "2004-01-01 03:55:33 \u2013 JD 2"), ("1", ""), ("… \u2013 1", ""), ("1 \u2013 …", ""), None
    ]  # fmt: skip


def test_three_hundred_columns_take_no_time() -> None:
    described = [
        (Column(name=f"c{number}_{end}", type=FLOAT64, unit="m"), [1.0, 2.0])
        for number in range(150)
        for end in ("min", "max")
    ]
    found, labels = page(*described)
    heads = build_column_headings(found, labels.table, labels=labels)
    assert len(order_columns(heads, find_range_column_pairs(heads, labels))) == 150
    assert len(labels._scales) == 300


def test_single_precision_shows_what_it_has() -> None:
    found, labels = page((Column(name="x", type=ColumnType("float")), [float(np.float32(0.1)), 0.25]))
    assert [row[0].text for row in format_cells(found, labels.table, labels=labels)] == ["0.10", "0.25"]  # type: ignore[union-attr]
