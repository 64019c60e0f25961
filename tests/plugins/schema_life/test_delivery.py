"""What is delivered to CDS and AAS is read back by astropy with equal names, units and values."""

from __future__ import annotations

import io
import json
import math
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import Angle
from astropy.io import ascii as astropy_ascii
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hven.model.errors import DataError, SourceError
from hven.model.resource import CollectionSpec
from hven.model.table import Column, Table, build_columns_from_arrow
from hven.model.units._vounits import PREFIXABLE_SYMBOLS, SI_PREFIX_EXPONENTS, UNIT_SYMBOLS
from hven.plugins.schema_life.delivery.byte_descriptions import write_aas_table_header
from hven.plugins.schema_life.delivery.cds_units import write_cds_unit
from hven.plugins.schema_life.delivery.delivered_tables import DeliveredColumn, DeliveredTable, choose_labels
from hven.plugins.schema_life.delivery.fixed_width_columns import create_fixed_width_column
from hven.plugins.schema_life.delivery.sexagesimal_columns import PARTS_BY_UCD, SexagesimalColumn
from hven.sources import fixed
from process_runner import run_hven
from shared import EXAMPLES_FACTOR

COLLECTION = CollectionSpec(name="c", title="T", path=Path("c.yaml"))
NUMBERS = st.one_of(
    st.none(),
    st.floats(width=64),
    st.integers(-(2**60), 2**60).map(float),
    st.integers(-(10**9), 10**9).map(lambda number: number / 1000),
)
TEXTS = st.one_of(st.none(), st.text(max_size=8), st.text("ab -=\"'0", max_size=8))
TIMES = st.one_of(
    st.none(), st.datetimes(datetime(1000, 1, 1)), st.datetimes().map(lambda time: time.replace(microsecond=0))
)
SHORT_INTEGERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9))


def write_table(rows: pa.Table, columns: list[Column] | None = None, enums: dict | None = None) -> bytes:
    """Write rows as a machine-readable table, in two blocks for each pass."""
    table = Table(
        schema="c", name="t", columns=tuple(columns or build_columns_from_arrow(rows.schema)), enums=enums or {}
    )
    delivered_columns = []
    labels = choose_labels([column.name for column in table.columns])
    half = rows.num_rows // 2
    blocks = [block.combine_chunks() for block in (rows.slice(0, half), rows.slice(half))]
    for column, label in zip(table.columns, labels, strict=True):
        cells = create_fixed_width_column(column.name, column.type.arrow)
        for block in blocks:
            for chunk in block[column.name].chunks:
                cells.measure(chunk)
        unit = write_cds_unit(column.unit)
        delivered_columns.append(DeliveredColumn(column=column, label=label, cells=cells, unit=unit))
    delivered = DeliveredTable(table=table, columns=delivered_columns, row_count=rows.num_rows)
    out = io.BytesIO()
    out.write(write_aas_table_header(COLLECTION, delivered, "t.txt").encode("ascii"))
    for block in blocks:
        cells = [
            np.concatenate([column.cells.write_cells(chunk) for chunk in block[column.column.name].chunks])
            for column in delivered_columns
            if block.num_rows
        ]
        if not cells:
            continue
        blank = np.full((block.num_rows, 1), ord(" "), np.uint8)
        parts = [part for cell in cells for part in (cell, blank)]
        parts[-1] = np.full((block.num_rows, 1), ord("\n"), np.uint8)
        out.write(np.hstack(parts).tobytes())
    return out.getvalue()


def read_table(data: bytes) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return astropy_ascii.read(data.decode("ascii"), format="mrt")


def list_values(column: object) -> list[object]:
    return [None if value is np.ma.masked else value for value in column]


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(st.tuples(SHORT_INTEGERS, NUMBERS, NUMBERS, TIMES, TEXTS), min_size=1, max_size=12))
@example([(None, None, None, None, None)])
@example([(-(2**63), 0.1, 1e300, None, "-----------"), (0, 0.30000000000000004, -1e-300, datetime(1, 1, 1), "=====")])
@example([(1, -0.05, 16777217.0, None, "é"), (2, 123456789012.25, -0.0, None, " a ")])
def test_values_are_read_back(rows: list[tuple[object, ...]]) -> None:
    names = ("id", "number", "single", "seen", "text")
    types = (pa.int64(), pa.float64(), pa.float32(), pa.timestamp("us"), pa.string())
    with np.errstate(over="ignore"):
        arrays = [
            pa.array([None if v is None else np.float32(v) for v in values] if kind == pa.float32() else values, kind)
            for values, kind in zip(zip(*rows, strict=True), types, strict=True)
        ]
    fill = pa.array(range(len(rows)), pa.int32())  # astropy takes a line of dashes for a rule
    table = pa.table([fill, *arrays], names=["row", *names])
    result = read_table(write_table(table))
    assert result.colnames == ["row", *names]
    written = table.to_pydict()
    assert list_values(result["row"]) == written["row"]
    assert list_values(result["id"]) == written["id"]
    for name, kind in (("number", np.float64), ("single", np.float32)):
        for value, expected in zip(list_values(result[name]), written[name], strict=True):
            if expected is None or math.isnan(expected):
                assert value is None or math.isnan(value)
            else:
                assert kind(value) == kind(expected)
    for value, expected in zip(list_values(result["seen"]), written["seen"], strict=True):
        assert (None if value is None else datetime.fromisoformat(str(value))) == expected
    for value, expected in zip(list_values(result["text"]), written["text"], strict=True):
        if expected is None or not expected.strip():
            assert value is None
        elif expected.isascii() and expected.isprintable():
            assert value == expected.strip()


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(st.integers(0, 8), st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20))
def test_decimals_are_the_fewest(decimals: int, numbers: list[int]) -> None:
    cells = create_fixed_width_column("x", pa.float64())
    values = pa.array([number / 10**decimals for number in numbers])
    cells.measure(values)
    needed = max(len(f"{abs(number) / 10**decimals:.{decimals}f}".rstrip("0").partition(".")[2]) for number in numbers)
    assert cells.format_text == f"F{cells.width}.{max(needed, 1)}"
    texts = [bytes(row).decode().strip() for row in cells.write_cells(values)]
    assert texts == [f"{number / 10**decimals + 0.0:.{max(needed, 1)}f}" for number in numbers]


@pytest.mark.parametrize(
    "unit",
    ["deg", "mas/yr", "km/s", "km.s**-1", "mag", "Jy", "solMass", "mW/m**2", "s**-1", "m**2", "W.m**-2.Hz**-1", "d", "yr",
     "Angstrom", "nm", "arcsec", "K", "%", "pc", "count", "eV", "log(cm/s**2)", "h", "erg.s**-1.cm**-2.Angstrom**-1"],
)  # fmt: skip
def test_units_are_those_of_cds(unit: str) -> None:
    text = write_cds_unit(unit)
    assert text is not None
    expected = units.dex("cm/s2") if unit.startswith("log") else units.Unit(unit)
    assert units.Unit(text, format="cds") == expected


def test_every_symbol_means_the_same_at_cds_or_is_named_as_unknown() -> None:
    """At CDS, G is the constant of gravitation and R the gas constant; adu, beam and dB do not exist."""
    prefixed_symbols = [
        prefix + symbol for prefix in SI_PREFIX_EXPONENTS for symbol in PREFIXABLE_SYMBOLS
    ]  # some are also the symbol of another unit, which parse_unit decides
    written_count = 0
    assert write_cds_unit("%") == "%"
    for symbol in [*UNIT_SYMBOLS - {"%"}, *prefixed_symbols]:
        text = write_cds_unit(symbol)
        if text is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated symbols
            try:
                expected = units.Unit(symbol, format="vounit")
            except ValueError:  # astropy lacks a few symbols of the standard, such as dbyte
                continue
        written_count += 1
        assert units.Unit(text, format="cds") == expected, symbol
    assert written_count > 500
    assert [write_cds_unit(unit) for unit in ("G", "mG", "mG/s", "AU")] == ["gauss", "mgauss", "mgauss/s", "AU"]
    for unit in ("R", "mR", "Jy/beam", "adu", "bin", "chan", "voxel", "B", "kB", "Ba", "ta", "dB", "Kibyte", "dau"):
        assert write_cds_unit(unit) is None, unit


def test_units_that_cds_has_not() -> None:
    assert [write_cds_unit(unit) for unit in (None, "", "1")] == ["---"] * 3
    assert [write_cds_unit(unit) for unit in ("Hz**(1/2)", "'furlong'", "furlong?")] == [None] * 3


def test_labels() -> None:
    names = ["ra", "RA", "a" * 20, "a" * 20 + "b", "with blank", "é"]
    labels = choose_labels(names)
    assert labels[0] == "ra"
    assert len({label.lower() for label in labels}) == len(names)
    assert max(map(len, labels)) <= 16
    assert all(label.isascii() and " " not in label for label in labels)


def test_arrays_are_refused() -> None:
    with pytest.raises(SourceError, match="fixed-width files cannot contain"):
        create_fixed_width_column("x", pa.list_(pa.float64()))


def test_changes_are_counted() -> None:
    cells = create_fixed_width_column("x", pa.string())
    values = pa.array(["plain", "Ångström", " blank", None, "a\nb", "日"])
    cells.measure(values)
    assert cells.changed_count == 4
    assert [bytes(row).decode().rstrip() for row in cells.write_cells(values)] == [
        "plain",
        "Angstrom",
        "blank",
        "",
        "a b",
        "?",
    ]


def test_enumerations_and_long_descriptions() -> None:
    rows = pa.table({"origin_of_the_value": pa.array([1, 2], pa.int32()), "y": pa.array([1.5, None])})
    description = "? [1] 12 A5 m x " + "34 words " * 40
    columns = [
        Column(
            name="origin_of_the_value",
            type=build_columns_from_arrow(rows.schema)[0].type,
            enum="o",
            description=description,
        ),
        Column(name="y", unit="mag", description="12 A5 m x"),
    ]
    data = write_table(rows, columns, {"o": {"1": "measured", "2": "computed"}})
    result = read_table(data)
    assert result.colnames == ["origin_of_the_v2", "y"]
    assert result["y"].unit == units.mag
    assert "1 = measured" in data.decode()
    assert "is the column origin_of_the_value" in data.decode()


def test_cds_delivery(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "delivery"
    output = run_hven("--site", directory, "export", "stars", target, "--to", "cds")
    assert "stars.main: 3 rows" in output.stdout
    assert "1 text of name is changed" in output.stdout
    readme = (target / "ReadMe").read_text(encoding="ascii")
    assert max(map(len, readme.splitlines())) <= 80
    for words in (
        "(Muller+, 2026)",
        "    Muller A., Duvert G.\n",
        "<Muller & Duvert 2026, A&A 700, A1>",
        "=2026A&A...700A...1M",
        "Abstract:",
        "File Summary:",
        "(End)",
    ):
        assert words in readme
    lines = (target / "main.dat").read_bytes().splitlines()
    record_bytes = {len(line) for line in lines}
    assert len(record_bytes) == 1
    assert f"main.dat {min(record_bytes):6d}         3" in readme
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = astropy_ascii.read(str(target / "main.dat"), format="cds", readme=str(target / "ReadMe"))
    assert result.colnames[:3] == ["name", "hip", "ra"]
    assert list_values(result["name"]) == ["Sirius", "Vega", "Angstrom"]
    assert list_values(result["hip"]) == [32349, 91262, None]
    assert list_values(result["ra"]) == [101.28715533, 279.2347, 0.1]
    assert list_values(result["mass"]) == [2.063, 1e-30, 12345678901234567890.0]
    assert list_values(result["quality_flags"]) == [4, 0, 0]
    assert "4 = the star moves fast" in readme
    assert list_values(result["variable"]) == [0, 1, None]
    assert list_values(result["seen"]) == ["2004-01-02T03:04:05.000", "2020-12-31T23:59:59.500", None]
    assert [result[name].unit for name in ("ra", "pm", "mass")] == [units.deg, units.mas / units.yr, units.solMass]
    catalogue = fixed.read_catalogue_readme(target / "ReadMe")  # and so does the reader of this site
    assert list(catalogue.fields_by_table) == ["main.dat"]
    assert catalogue.bibcode == "2026A&A...700A...1M"


def test_sexagesimal_positions(directory: Path, tmp_path: Path) -> None:
    for target, file_format in (("cds", "cds"), ("mrt", "mrt")):
        place = tmp_path / target
        run_hven("--site", directory, "export", "stars", place, "--to", target, "--sexagesimal")
        readme = {"readme": str(place / "ReadMe")} if target == "cds" else {}
        path = next(place.glob("main.*"))
        result = astropy_ascii.read(str(path), format=file_format, **readme)
        assert result.colnames[:6] == ["name", "hip", "RAh", "RAm", "RAs", "pm"]
        assert (list(result["RAh"]), list(result["RAm"])) == ([6, 18, 0], [45, 36, 0])
        assert list(result["RAs"]) == [8.917279, 56.328, 24.0]
        assert result["RAm"].description == "Minute of Right ascension (ICRS)"
        assert [result[name].unit for name in ("RAh", "RAm", "RAs")] == [units.h, units.min, units.s]


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(st.tuples(st.floats(-720, 720), st.floats(-90, 90)), min_size=1, max_size=8))
@example([(359.9999999999, -0.0000000001), (0.0, -0.0), (15.0, 89.9999999999), (-0.0000000001, -59.9999999999 / 60)])
def test_sexagesimal_angles_are_those_of_astropy(pairs: list[tuple[float, float]]) -> None:
    texts = []
    for values, ucd in zip(zip(*pairs, strict=True), PARTS_BY_UCD, strict=True):
        array = pa.array([*values, None, math.nan])
        cells = [SexagesimalColumn("a", part).write_cells(array) for part in PARTS_BY_UCD[ucd]]
        lines = [" ".join(bytes(part[row]).decode() for part in cells) for row in range(len(array))]
        assert lines[-1].isspace()
        assert lines[-2].isspace()
        texts.append(lines[:-2])
    for (longitude, latitude), ra_text, dec_text in zip(pairs, *texts, strict=True):
        assert ra_text.split() < ["24"]
        assert all(float(number) < 60 for text in (ra_text, dec_text) for number in text.split()[-2:])
        right_ascension, declination = Angle(ra_text, units.hourangle), Angle(dec_text.replace(" ", "", 1), units.deg)
        assert abs(Angle(longitude - right_ascension.deg, units.deg).wrap_at("180d").arcsec) <= 0.9e-5
        assert abs(declination.deg - latitude) * 3600 <= 0.6e-5


def test_mrt_delivery_and_check(directory: Path, tmp_path: Path) -> None:
    run_hven(
        "--site", directory, "export", "stars.main", tmp_path / "tables", "--to", "mrt", "--omit", "seen", "--public"
    )
    result = read_table((tmp_path / "tables/main.txt").read_bytes())
    assert (len(result), "seen" in result.colnames) == (3, False)
    output = run_hven("--site", directory, "export", "shut", "--to", "cds", "--check", "--json", expected_code=1)
    messages = [fault["message"] for fault in json.loads(output.stdout)["faults"]]
    for words in ("no abstract", "the paper is not named", "no keywords", "no contact"):
        assert any(words in message for message in messages)


def test_a_check_for_a_destination_tells_what_is_missing(directory: Path) -> None:
    for destination, words in (("cds", ["no abstract", "no keywords"]), ("mrt", [])):
        output = run_hven("--site", directory, "check", "shut", "--for", destination, "--json")
        messages = [fault["message"] for fault in json.loads(output.stdout)]
        assert all(any(word in message for message in messages) for word in words), messages
        assert any("abstract" in message for message in messages) == bool(words)
    output = run_hven("--site", directory, "check", "stars", "--for", "cds")
    assert "diameter_of_limb_darkened_disc is called diameter_of_lim2" in output.stdout + output.stderr
    output = run_hven("--site", directory, "check", "stars", "--for", "hologram", expected_code=2)
    assert "use --for with cds or mrt" in output.stderr


@pytest.mark.parametrize(
    ("measured", "changed"),
    [
        (pa.array([1]), pa.array([1000])),
        (pa.array([1]), pa.array([-1])),
        (pa.array([1.5]), pa.array([1000.5])),
        (pa.array([1.5]), pa.array([-1.5])),
        (pa.array([1.5]), pa.array([1.25])),
        (pa.array(["a"]), pa.array(["abc"])),
    ],
)
def test_values_that_change_meanwhile_are_told(measured: pa.Array, changed: pa.Array) -> None:
    cells = create_fixed_width_column("x", measured.type)
    cells.measure(measured)
    with pytest.raises(DataError, match="changed during the export"):
        cells.write_cells(changed)


@pytest.mark.parametrize(("kind", "max_power"), [(pa.float64(), 307), (pa.float32(), 37)])
def test_exponents_fit(kind: pa.DataType, max_power: int) -> None:
    powers = range(-max_power, max_power + 1)
    numbers = [sign * 1.2345678901234567 * 10.0**power for power in powers for sign in (1, -1)]
    values = pa.array(np.array(numbers, kind.to_pandas_dtype()))
    cells = create_fixed_width_column("x", kind)
    cells.measure(values)
    texts = [bytes(row).decode() for row in cells.write_cells(values)]
    assert [kind.to_pandas_dtype()(text) for text in texts] == values.to_pylist()
    assert all("." in text for text in texts)


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(st.lists(NUMBERS, max_size=6), min_size=1, max_size=4), st.sampled_from([pa.float32(), pa.float64()]))
@example([[0.25], [1e-30, -1.5e30]], pa.float64())
@example([[123456789.125, -0.001], [1e300]], pa.float64())
@example([[float("inf"), None]], pa.float64())
def test_numbers_of_many_blocks_fit_into_their_column(blocks: list[list[float | None]], kind: pa.DataType) -> None:
    """The first blocks may be measured as decimals, before another one needs exponents."""
    with np.errstate(over="ignore"):
        arrays = [
            pa.array([None if value is None else kind.to_pandas_dtype()(value) for value in block], kind)
            for block in blocks
        ]
    cells = create_fixed_width_column("x", kind)
    for array in arrays:
        cells.measure(array)
    width, decimals = (int(text) for text in cells.format_text[1:].split("."))
    assert width == cells.width
    for array in arrays:
        for value, row in zip(array.to_pylist(), cells.write_cells(array), strict=True):
            text = bytes(row).decode()
            assert len(text) == width
            is_missing = value is None or math.isnan(value)
            assert (not text.strip()) if is_missing else kind.to_pandas_dtype()(text) == value
            mantissa = text.strip().partition("e")[0].partition(".")[2]
            assert len(mantissa) <= decimals


def test_exponents_take_no_more_bytes_than_they_need() -> None:
    cells = create_fixed_width_column("x", pa.float64())
    cells.measure(pa.array([1.25e-30, 2.5, None]))
    assert (cells.format_text, cells.width) == ("E8.2", 8)
