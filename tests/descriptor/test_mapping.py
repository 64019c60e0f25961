"""Mappings against independent answers: Python's format(), astropy's units; what ingest is told besides the queries."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.descriptor import load_descriptor
from hven.descriptor import mapping as mappings
from hven.descriptor._mapping_compiler import MappingCompiler
from hven.engines.duckdb.engine import DuckEngine
from hven.model.errors import DescriptorError
from hven.model.settings import Settings
from hven.model.table import Column, build_columns_from_arrow
from hven.model.types import parse_type
from hven.sources import ROW_NUMBER_COLUMN

sys.path.insert(0, str(Path(__file__).parent))
from mapping_runner import run_mapping

from shared import EXAMPLES_FACTOR

HEAD = "collection: c\ntitle: t\nlet: {base: 'https://x.example'}\ntables:\n  main:\n    source: data.csv\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = DuckEngine(tmp_path_factory.mktemp("engine"), memory_bytes=256 * 1024**2)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("c")


def descriptor(directory, text):
    path = directory / "c.yaml"
    path.write_text(HEAD + text)
    return load_descriptor(path, Settings(directory=directory))


def map_batch(engine, resource, batch, columns=None):
    batch = batch.append_column(ROW_NUMBER_COLUMN, pa.array(range(1, batch.num_rows + 1), pa.int64()))
    known = columns or build_columns_from_arrow(batch.schema)
    mapping = mappings.compile_mapping(
        resource.tables[0], [column for column in known if column.name != ROW_NUMBER_COLUMN], resource
    )
    return mapping, *run_mapping(engine, mapping, batch)


specs = st.sampled_from(["02d", "05d", "012d", ".0f", ".1f", ".3f", "07.2f", "012.4f"])


@settings(max_examples=15 * EXAMPLES_FACTOR)
@given(spec=specs, values=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60))
def test_whole_numbers_are_written_as_python_writes_them(engine, directory, spec, values):
    resource = descriptor(directory, f"    columns: {{t: string}}\n    text: {{t: '{{n:{spec}}}'}}\n")
    _, _, (table,) = map_batch(engine, resource, pa.record_batch({"n": pa.array(values, pa.int64())}))
    assert table.column("t").to_pylist() == [format(value, spec) for value in values]


@settings(max_examples=15 * EXAMPLES_FACTOR)
@given(
    spec=st.sampled_from([".0f", ".1f", ".3f", "07.2f", "012.4f"]),
    values=st.lists(st.integers(-(10**7), 10**7).map(lambda n: n / 16), min_size=1, max_size=60),
)
def test_decimals_are_written_as_python_writes_them(engine, directory, spec, values):
    """Sixteenths are exact in binary, so only the tie rule differs: halves go away from zero, as ADQL's ROUND does."""
    resource = descriptor(directory, f"    columns: {{t: string}}\n    text: {{t: '{{n:{spec}}}'}}\n")
    _, _, (table,) = map_batch(engine, resource, pa.record_batch({"n": pa.array(values, pa.float64())}))
    digits = int(spec.partition(".")[2][:-1])
    for found, value in zip(table.column("t").to_pylist(), values, strict=True):
        if (abs(value) * 10**digits) % 1 != 0.5:
            wanted = format(value, spec)
            assert found == (
                wanted.replace("-", "0" if spec[0] == "0" else "", 1)
                if float(wanted) == 0 and wanted[0] == "-"
                else wanted
            )


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("deg", "arcsec"),
        ("hourangle", "deg"),
        ("d", "s"),
        ("km/s", "m.s-1"),
        ("Angstrom", "nm"),
        ("rad", "deg"),
        ("mJy", "Jy"),
    ],
)
def test_units_are_converted_as_astropy_does(engine, directory, here, there):
    resource = descriptor(directory, f"    columns: {{x: {{type: float64, unit: {there}}}}}\n")
    batch = pa.record_batch({"x": pa.array([1.0, -2.5, None])})
    columns = [Column(name="x", type=parse_type("float64"), unit=here)]
    mapping, _, (table,) = map_batch(engine, resource, batch, columns)
    factor = u.Unit(here).to(u.Unit(there.replace("m.s-1", "m s-1")))
    assert table.column("x").to_pylist() == [
        pytest.approx(factor, rel=1e-14),
        pytest.approx(-2.5 * factor, rel=1e-14),
        None,
    ]
    assert mapping.conversions == {"x": "x"}
    assert "x" not in mapping.copies
    assert mapping.read_types == {}


def test_a_unit_that_cannot_be_converted_is_a_fault(directory):
    resource = descriptor(directory, "    columns:\n      x: {type: float64, unit: kg}\n")
    with pytest.raises(
        DescriptorError, match=r"c\.yaml:8:7: tables\.main\.columns\.x: a value in deg cannot be converted to kg"
    ):
        mappings.compile_mapping(resource.tables[0], [Column(name="x", unit="deg")], resource)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("x / 3600.0", "/ 3600.0"),
        ("ABS(x / 3600)", "/ 3600"),
        ("(x + x) / 3600 * 2", "/ 3600"),
        ("x", ""),
        ("x / 360", ""),
        ("x * 3600", ""),
    ],
)
def test_a_conversion_by_hand_where_the_unit_is_known(directory, expression, told):
    """The value in arcsec becomes degrees by itself; dividing by 3600 as well is hardly ever meant."""
    resource = descriptor(
        directory, f"    columns:\n      y: {{type: float64, unit: deg}}\n    map: {{y: {expression!r}}}\n"
    )
    _, faults = MappingCompiler(resource.tables[0], [Column(name="x", unit="arcsec")], resource).compile_mapping()
    messages = [fault.message for fault in faults if "would convert it twice" in fault.message]
    assert messages == (
        [f"tables.main.map.y: Hven already converts the value from arcsec to deg; `{told}` would convert it twice"]
        if told
        else []
    )
    _, faults = MappingCompiler(resource.tables[0], [Column(name="x")], resource).compile_mapping()
    assert not [fault for fault in faults if "would convert it twice" in fault.message]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("LIGHT_TIME(x / 1000)", "light_time already converts m to km; `/ 1000` would convert the value twice"),
        (
            "1 + ROUND(LIGHT_TIME(x * 0.001))",
            "light_time already converts m to km; `* 0.001` would convert the value twice",
        ),
        ("LIGHT_TIME(early)", "light_time already converts m to km; `/ 1000` would convert the value twice"),
        ("LIGHT_TIME(x)", ""),
        ("LIGHT_TIME(x / 10)", ""),
        ("LIGHT_TIME(IN_UNIT(x, 'km'))", ""),
        (
            "LON_360(a * 57.29577951308232)",
            "lon_360 already converts rad to deg; `* 57.29577951308232` would convert the value twice",
        ),
        ("LON_360(bare * 57.29577951308232)", ""),
    ],
)
def test_a_conversion_by_hand_in_an_argument(directory, expression, told):
    text = f"    columns:\n      y: {{type: float64}}\n    let: {{early: x / 1000}}\n    map: {{y: {expression!r}}}\n"
    resource = descriptor(directory, text)
    columns = [Column(name="x", unit="m"), Column(name="a", unit="rad"), Column(name="bare")]
    _, faults = MappingCompiler(resource.tables[0], columns, resource).compile_mapping()
    assert [fault.severity for fault in faults] == (["warning"] if told else [])
    assert [fault.message for fault in faults] == ([f"tables.main.map.y: {told}"] if told else [])


def test_what_the_source_says_fills_what_the_descriptor_leaves_out(directory):
    resource = descriptor(
        directory, "    columns: {x: {description: Mine}, y: {unit: arcsec}, s: {}}\n    map: {s: x + y}\n"
    )
    said = [
        Column(name="X", type=parse_type("float32"), unit="mag", ucd="phot.mag", description="Theirs", label="X!"),
        Column(name="y", type=parse_type("float64"), unit="mag", ucd="pos.eq.ra"),
    ]
    with pytest.raises(DescriptorError, match="cannot be converted to arcsec"):
        mappings.compile_mapping(resource.tables[0], said, resource)
    table = mappings.compile_mapping(resource.tables[0], [said[0], said[1].copy_with(unit="arcsec")], resource).table
    x, y, s = table.columns
    assert (x.type, x.unit, x.ucd, x.description, x.label) == (parse_type("float32"), "mag", "phot.mag", "Mine", "X!")
    assert (y.unit, y.ucd) == ("arcsec", "pos.eq.ra")
    assert s.type == parse_type("float64")
    assert (x.origins, s.origins) == (("X",), ("X", "y"))


def test_what_the_reader_may_do_itself(directory):
    """`wanted` holds columns that are copied once and read by nothing else; `needed` everything that is read."""
    resource = descriptor(
        directory,
        "    columns: {a: string, b: float32, c: int16, d: timestamp, e: int64}\n"
        "    where: c > 0\n    map: {e: a2}\n    let: {unused: z + 1}\n",
    )
    columns = [
        Column(name=name, type=parse_type(kind))
        for name, kind in (
            ("a", "int64"),
            ("b", "float64"),
            ("c", "int64"),
            ("d", "string"),
            ("a2", "int64"),
            ("z", "int64"),
        )
    ]
    mapping = mappings.compile_mapping(resource.tables[0], columns, resource)
    assert mapping.read_types == {"a": pa.string(), "b": pa.float32(), "a2": pa.int64()}
    assert mapping.copies == {"a": "a", "b": "b", "c": "c", "e": "a2"}
    assert mapping.conversions == {"d": "d"}
    assert mapping.needed_columns == ("a", "b", "c", "d", "a2", ROW_NUMBER_COLUMN)


def test_skipped_rows_are_those_a_query_leaves_out(engine, directory):
    resource = descriptor(directory, "    columns: {x: int32}\n    where: x > 1 OR x < -1\n")
    mapping, batch, (table,) = map_batch(engine, resource, pa.record_batch({"x": pa.array([0, 5, None, -3, 1])}))
    assert table.column(ROW_NUMBER_COLUMN).to_pylist() == [2, 4]
    assert engine.evaluate_query(mapping.row_filter_query, {"source": batch}).column(ROW_NUMBER_COLUMN).to_pylist() == [
        2,
        4,
    ]


def test_rules_find_the_rows_that_break_them(engine, directory):
    resource = descriptor(
        directory,
        "    columns: {a: float64, b: float64}\n    rules:\n      order: {if: a <= b, message: a after b, severity: warning}\n      far: target.b < 100\n",
    )
    mapping, _, (table,) = map_batch(
        engine, resource, pa.record_batch({"a": pa.array([1.0, 3.0, None]), "b": pa.array([2.0, 2.0, 200.0])})
    )
    order, far = mapping.checks
    assert (order.name, order.message, order.severity, order.relation_name, order.columns) == (
        "order",
        "a after b",
        "warning",
        "target",
        ("a", "b"),
    )
    assert (far.message, far.severity) == ("not target.b < 100", "error")
    assert engine.evaluate_query(order.bound, {"target": table}).column(ROW_NUMBER_COLUMN).to_pylist() == [
        2
    ]  # a null passes
    assert engine.evaluate_query(far.bound, {"target": table}).column(ROW_NUMBER_COLUMN).to_pylist() == [3]


@pytest.mark.parametrize("entries", [3, 500])
def test_lookups_small_and_large(engine, directory, entries):
    """A few keys become a CASE, many a join: the same answers, each row once."""
    (directory / f"big{entries}.csv").write_text("k,v\n" + "".join(f"K{n},{n * 2}\n" for n in range(entries)))
    resource = descriptor(
        directory,
        f"    columns: {{v: int32, w: int32, s: string}}\n    where: n >= 0\n    lookup:\n      v: {{from: k, table: big{entries}.csv}}\n"
        f"      w: {{from: lower(k), table: big{entries}.csv, missing: 'null'}}\n      s: {{from: k, table: big{entries}.csv, value: k, missing: keep}}\n",
    )
    batch = pa.record_batch(
        {"k": pa.array(["K1", None, "K2", "nowhere", "K0", "K1", "skipped"]), "n": pa.array([1, 2, 3, 4, 5, 6, -1])}
    )
    mapping, batch, (table,) = map_batch(engine, resource, batch)
    assert bool(mapping.lookups) == (entries > 64)
    assert table.column("v").to_pylist() == [2, None, 4, None, 0, 2]
    assert table.column("w").to_pylist() == [None] * 6
    assert table.column("s").to_pylist() == ["K1", None, "K2", "nowhere", "K0", "K1"]
    (check,) = mapping.checks
    assert (check.name, check.relation_name) == ("lookup.v", "source")
    assert engine.evaluate_query(check.bound, {"source": batch, **mapping.lookups}).column(
        ROW_NUMBER_COLUMN
    ).to_pylist() == [4]
    assert resource.hashes.keys() == {"c.yaml", f"big{entries}.csv"}


@pytest.mark.parametrize("entries", [4, 300])
def test_lookups_by_ranges(engine, directory, entries):
    """Which target was observed when: from one time up to another, the end not included."""
    lines = [f"{10 * n},{10 * n + (10 if n % 2 else 7)},T{n}" for n in range(entries)]
    (directory / f"when{entries}.csv").write_text("begin,end,target\n" + "\n".join(lines[::-1]) + "\n")
    (directory / f"open{entries}.csv").write_text(
        "begin,target\n" + "\n".join(f"{10 * n},T{n}" for n in range(entries)) + "\n"
    )
    resource = descriptor(
        directory,
        f"    columns: {{a: string, b: string}}\n    lookup:\n"
        f"      a: {{from: t + 0.0, table: when{entries}.csv, low: begin, high: end, value: target, default: none}}\n"
        f"      b: {{from: t, table: open{entries}.csv, low: begin, value: target}}\n",
    )
    values = [0.0, 6.99, 7.0, 10.0, 19.5, 26.0, 28.0, 10.0 * entries + 3, -1.0, None]
    mapping, batch, (table,) = map_batch(engine, resource, pa.record_batch({"t": pa.array(values, pa.float64())}))
    assert bool(mapping.lookups) == (entries > 64)
    assert table.column("a").to_pylist() == ["T0", "T0", "none", "T1", "T1", "T2", "none", "none", "none", "none"]
    assert table.column("b").to_pylist() == ["T0", "T0", "T0", "T1", "T1", "T2", "T2", f"T{entries - 1}", None, None]
    (check,) = mapping.checks
    assert engine.evaluate_query(check.bound, {"source": batch, **mapping.lookups}).column(
        ROW_NUMBER_COLUMN
    ).to_pylist() == [9]


def test_lookups_by_ranges_of_time(engine, directory):
    (directory / "runs.csv").write_text("start,target\n2004-01-01T00:00:00,Mars\n2004-02-01T00:00:00,Phobos\n")
    resource = descriptor(
        directory,
        "    columns: {a: string}\n    lookup:\n      a: {from: parse_time(t), table: runs.csv, low: start, value: target, missing: 'null'}\n",
    )
    batch = pa.record_batch(
        {"t": pa.array(["2004-01-31T23:59:59", "2004-02-01T00:00:00", "2003-12-31T00:00:00", None])}
    )
    assert map_batch(engine, resource, batch)[2][0].column("a").to_pylist() == ["Mars", "Phobos", None, None]


@pytest.mark.parametrize("entries", [3, 200])
def test_lookups_by_several_keys(engine, directory, entries):
    (directory / f"pairs{entries}.csv").write_text(
        "orbit,channel,band\n" + "".join(f"{n},{c},{c}{n}\n" for n in range(entries) for c in "CL")
    )
    resource = descriptor(
        directory,
        f"    columns: {{band: string}}\n    lookup:\n"
        f"      band: {{from: [n, upper(c)], table: pairs{entries}.csv, key: [orbit, channel], value: band, default: '?'}}\n",
    )
    batch = pa.record_batch({"n": pa.array([1, 2, 2, None, 1, 9999]), "c": pa.array(["c", "L", "c", "c", None, "c"])})
    assert map_batch(engine, resource, batch)[2][0].column("band").to_pylist() == ["C1", "L2", "C2", "?", "?", "?"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{from: [a, b], table: x.csv, key: k}", "'from' has 2 expressions, so 'key' must have 2 columns, not 1"),
        ("{from: a, table: x.csv, key: [k, v]}", "'key' has 2 columns, but 'from' has only one expression"),
        ("{from: a, table: x.csv, high: v}", "'high' needs 'low'"),
        ("{from: a, table: x.csv, low: k, key: v}", "'low' replaces 'key'"),
        (
            "{from: a, table: x.csv, missing: keep, default: 3}",
            "'default' and 'missing' both say what to do if a key is not found",
        ),
        ("{from: a, values: {x: 1}, low: k}", "'low' can be used only with 'table'"),
        ("{from: n, table: x.csv, low: k, high: v, value: v}", "ranges that begin at 1 and 3 overlap"),
        ("{from: n, table: x.csv, low: v, high: k, value: v}", "before it begins"),
        ("{from: n, table: x.csv, default: none}", "'none' is not a number"),
        (
            "{from: [n, f], table: x.csv, key: [k, v], value: v}",
            "if there are several expressions, each must be text or a whole number",
        ),
    ],
)
def test_faults_of_lookups(directory, said, told):
    (directory / "x.csv").write_text("k,v\n1,5\n3,8\n")
    columns = [
        Column(name=name, type=parse_type(kind))
        for name, kind in (("a", "string"), ("b", "string"), ("n", "int64"), ("f", "float64"))
    ]

    def compile_lookup():
        resource = descriptor(directory, f"    columns: {{x: int32}}\n    lookup: {{x: {said}}}\n")
        mappings.compile_mapping(resource.tables[0], columns, resource)

    with pytest.raises(DescriptorError, match=re.escape(told)):
        compile_lookup()


def test_a_lookup_with_a_key_twice_is_refused(directory):
    (directory / "twice.csv").write_text("k,v\na,1\nb,2\na,3\n")
    resource = descriptor(directory, "    columns: {v: int32}\n    lookup: {v: {from: k, table: twice.csv}}\n")
    with pytest.raises(DescriptorError, match="the key 'a' occurs more than once"):
        mappings.compile_mapping(resource.tables[0], [Column(name="k", type=parse_type("string"))], resource)


def test_let_names_do_not_explode(directory):
    lets = "".join(f"      x{n}: x{n - 1} + x{n - 1}\n" for n in range(1, 30))
    resource = descriptor(directory, f"    columns: {{y: float64}}\n    let:\n      x0: v\n{lets}    map: {{y: x29}}\n")
    with pytest.raises(DescriptorError, match="more than 5,000 parts"):
        mappings.compile_mapping(resource.tables[0], [Column(name="v")], resource)


def test_sql_in_names_and_constants_stays_text(engine, directory):
    evil = "x'); DROP TABLE source; --"
    resource = descriptor(
        directory,
        f'    columns: {{a: string, b: string}}\n    set: {{a: "{evil}"}}\n    text: {{b: "{{{evil[:1]}}}\'; SELECT 1"}}\n',
    )
    _, _, (table,) = map_batch(engine, resource, pa.record_batch({"x": pa.array(["v"]), evil: pa.array([1])}))
    assert table.column("a").to_pylist() == [evil]
    assert table.column("b").to_pylist() == ["v'; SELECT 1"]


def test_a_function_that_cannot_be_imported_says_so(directory):
    (directory / "bad.py").write_text("import nowhere_at_all\n\ndef f(x) -> float:\n    return x\n")
    path = directory / "c.yaml"
    path.write_text(HEAD.replace("let:", "functions: bad.py\nlet:") + "    columns: {y: float64}\n    map: {y: f(v)}\n")
    resource = load_descriptor(path, Settings(directory=directory))  # reading a descriptor runs nothing
    mapping = mappings.compile_mapping(resource.tables[0], [Column(name="v")], resource)
    with pytest.raises(Exception, match=r"bad\.py cannot be imported: ModuleNotFoundError") as caught:
        mapping.calls[0].load_function()
    assert "c.yaml" in str(caught.value)


def test_a_unit_in_the_header_counts_where_it_can(engine, directory):
    """``sep (arcmin)`` says arc minutes; ``mag (V)`` says no volts."""
    resource = descriptor(
        directory,
        "    columns: {s: {type: float64, unit: arcsec}, m: {type: float64, unit: mag}, t: {type: float32, unit: s}}\n"
        "    map: {s: '\"sep (arcmin)\"', m: '\"mag (V)\"', t: '\"time [min]\"'}\n",
    )
    batch = pa.record_batch(
        {"sep (arcmin)": pa.array(["1.5", None]), "mag (V)": pa.array([2.0, 3.0]), "time [min]": pa.array([1, 2])}
    )
    mapping, _, (table,) = map_batch(engine, resource, batch)
    assert [table.column(name).to_pylist() for name in "smt"] == [[90.0, None], [2.0, 3.0], [60.0, 120.0]]
    assert mapping.conversions == {"s": "sep (arcmin)", "t": "time [min]"}
    assert mapping.copies == {"m": "mag (V)"}


def test_text_that_cannot_be_read_is_told(engine, directory):
    """An implicit conversion of text is no silent null: it refuses the row. What an expression makes of text is the expression's."""
    resource = descriptor(
        directory,
        "    columns: {a: timestamp, b: bool, c: timestamp}\n    where: n > 0\n    map: {c: parse_time(text)}\n",
    )
    batch = pa.record_batch(
        {
            "a": pa.array(["2026-01-01", "soon", None, "", "later"]),
            "b": pa.array(["yes", "no", "perhaps", None, "x"]),
            "text": pa.array(["2026-01-01T00:00:00", "31/12/2026", None, "2026", "never"]),
            "n": pa.array([1, 1, 1, 1, 0]),
        }
    )
    mapping, batch, (table,) = map_batch(engine, resource, batch)
    assert [str(value) for value in table.column("c").to_pylist()[:2]] == ["2026-01-01 00:00:00", "None"]
    found = {
        (check.name, check.severity, check.columns): engine.evaluate_query(check.bound, {"source": batch})
        .column(ROW_NUMBER_COLUMN)
        .to_pylist()
        for check in mapping.checks
    }
    assert found == {("read.a", "error", ("a",)): [2], ("read.b", "error", ("b",)): [3]}


def test_names_that_come_from_the_source_are_looked_at(directory):
    resource = descriptor(directory, "")
    assert [
        str(fault)
        for fault in mappings.compile_mapping(
            resource.tables[0], [Column(name="date"), Column(name="B-V"), Column(name="b")], resource
        ).warnings
    ] == [
        f"c.yaml:5:3: tables.main: queries must write \"{name}\" in double quotes; choose another name under 'columns' and 'map' so that queries need no quotes"
        for name in ("date", "B-V")
    ]
    with pytest.raises(DescriptorError, match="the source has columns 'B' and 'b', which differ only in case"):
        mappings.compile_mapping(resource.tables[0], [Column(name="B"), Column(name="b")], resource)


def test_usual_times_and_numbers_of_columns_are_read_as_those_of_expressions(engine, directory):
    """A column in the most frequent form takes a shorter way than an expression; both must give the same values."""
    hours = ["00:00:00", "23:59:59", "24:00:00", "23:59:60", "25:00:00", "12:60:00", "7:00:00", "12:00"]
    ends = ["", ".5", ".123456", ".1234567", "Z", "+01:00", " "]
    days = ["2004-01-10", "2004-02-30", "1999-12-31", "0999-01-01", "2004-1-1"]
    texts = [f"{day}{mark}{hour}{end}" for day in days for mark in "T " for hour in hours for end in ends]
    texts += ["2004-001", "2004/01/10", "20040110", "", "soon", None]
    numbers = [float("nan"), -float("nan"), -0.0, 1e300, -1e-300, 0.1, float("inf"), None]
    values = pa.array([numbers[at % len(numbers)] for at in range(len(texts))], pa.float64())
    batch = pa.record_batch({"text": pa.array(texts, pa.string()), "x": values, "y": values.cast(pa.float32())})
    resource = descriptor(
        directory,
        "    columns: {a: timestamp, b: timestamp, c: string, d: string, e: string, f: string}\n    map:\n"
        "      a: parse_time(text)\n      b: parse_time(text || '')\n      c: CAST(x AS VARCHAR)\n"
        "      d: CAST(x * 1 AS VARCHAR)\n      e: CAST(y AS VARCHAR)\n      f: CAST(-(-y) AS VARCHAR)\n",
    )
    _, _, (table,) = map_batch(engine, resource, batch)
    rows = table.to_pydict()
    assert rows["a"] == rows["b"]
    assert sum(value is not None for value in rows["a"]) > 100
    assert rows["c"] == rows["d"]
    assert rows["e"] == rows["f"]
    assert set(rows["c"]) >= {"1e+300", "inf", None}
