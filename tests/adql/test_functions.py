"""The function table against numpy, astropy and the words of the standard, on a real DuckDB."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import math
import re

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adql_runner import evaluate_expression, get_connection, run_query, write_expression
from function_reference import write_function_reference
from hven.adql import bind_query, parse_expression, parse_query
from hven.adql.binder import bind_expression
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS, STANDARD_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.model.errors import BindError, EvaluationError, ParseError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, INT64, MOC, STRING, TIMESTAMP, ColumnType
from plugin_needs import list_absent_packages
from shared import EXAMPLES_FACTOR, ROOT

ONE = StaticTableCatalogue([Table(schema="s", name="one", columns=())])


# --- the table itself


def test_every_function_of_the_standard_is_there():
    mandatory = "ABS CEILING DEGREES EXP FLOOR LOG LOG10 MOD PI POWER RADIANS SQRT RAND ROUND TRUNCATE ACOS ASIN ATAN ATAN2 COS COT SIN TAN"
    others = "AVG MAX MIN SUM COUNT LOWER UPPER COALESCE IN_UNIT"
    geometry = "AREA BOX CENTROID CIRCLE CONTAINS COORD1 COORD2 COORDSYS DISTANCE INTERSECTS POINT POLYGON REGION"
    assert {entry.name for entry in STANDARD_FUNCTIONS} == set(f"{mandatory} {others} {geometry}".split())


def test_every_function_has_an_sql():
    special = {
        "IN_UNIT",
        "GAVO_SPECCONV",
        "COORDSYS",
        "CONTAINS",
        "INTERSECTS",
        "HEADER",
        "GAVO_VOCMATCH",
        "SPECTRAL_MIN",
        "SPECTRAL_MAX",
        "SPECTRAL_STEP",
        "RESOLVING_POWER",
        "WITHOUT_UNIT",
    }  # bound into something else, or a predicate
    missing = [
        entry.name
        for entry in MAPPING_FUNCTIONS
        if entry.name not in {*DuckDBDialect.functions, *special} and "duckdb" not in entry.sql
    ]
    assert missing == []
    methods = [text[1:] for text in DuckDBDialect.functions.values() if text.startswith(".")]
    assert all(callable(getattr(DuckDBDialect, name)) for name in methods)


_TYPE = r"(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE PRECISION|VARCHAR|TIMESTAMP|POINT|CIRCLE|POLYGON|REGION|MOC|INTEGER\[\]|DOUBLE PRECISION\[\])"


def test_declared_forms_follow_tapregext():
    form = re.compile(rf"[a-z][a-z0-9_]*\((\w+ {_TYPE}(, \w+ {_TYPE})*)?\) -> {_TYPE}")
    forms = [text for entry in QUERY_FUNCTIONS.udfs for text in entry.declared_forms]
    assert len(forms) > 25
    assert [text for text in forms if not form.fullmatch(text)] == []
    assert "ivo_healpix_index(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT" in forms
    assert "ivo_healpix_center(hpxOrder INTEGER, hpxIndex BIGINT) -> POINT" in forms
    assert "ivo_hashlist_has(hashlist VARCHAR, item VARCHAR) -> INTEGER" in forms


SAMPLES = {
    "INTEGER": "1", "BIGINT": "1", "REAL": "0.5", "NUMERIC": "0.5", "TEXT": "'a'", "TIMESTAMP": "'2020-01-01'", "POINT": "POINT(1, 2)", "GEOMETRY": "CIRCLE(1, 2, 3)",
    "ORDERED": "1", "ANY": "1", "BOOLEAN": "1", "MOC": "MOC('6/1 2-4')", "CIRCLE": "CIRCLE(1, 2, 3)", "POLYGON": "POLYGON(1, 1, 3, 1, 2, 3)", "ARRAY": "IVO_HISTOGRAM(1, 0, 2, 2)",
}  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in QUERY_FUNCTIONS])
def test_every_declared_form_can_be_called_and_computed(name):
    entry = QUERY_FUNCTIONS.find_function(name)
    for signature in entry.signatures:
        words = [SAMPLES[arg.type_word] for arg in signature.parameters]
        if name == "IN_UNIT":
            continue  # its argument needs a unit
        if "coordsys" in signature.text:
            words[0] = "'ICRS'"
        if name == "POLYGON":
            words = (
                [str(n) for n in (1, 1, 3, 1, 2, 3)]
                if "lon1" in signature.text
                else ["POINT(1, 1)", "POINT(3, 1)", "POINT(2, 3)"]
            )
            words = ["'ICRS'", *words] if "coordsys" in signature.text else words
        if name == "ISO":
            words = ["2451545.5"]
        if name.endswith("_TRANSFORM"):
            words[:2] = ["'ICRS'", "'GALACTIC'"]
        if name == "GAVO_SPECCONV":
            words[0] = "IN_UNIT(GAVO_SPECCONV(1, 'm', 'nm'), 'nm')"
            words[1:] = ["'nm'", "'Hz'"][-len(words) + 1 :]
        if name == "GAVO_VOCMATCH":
            words = ["'product-type'", "'image'", "'cube'"]
        if name == "MOC":
            words = ["'6/1 2-4'"] if len(words) == 1 else words
        if name == "REGION":
            words = ["'CIRCLE 10 20 1'"]
        if name == "IVO_HEALPIX_INDEX":
            words = ["6", "10.5", "20.5"][: len(words)] if len(words) == 3 else ["6", "POINT(10.5, 20.5)"]
        evaluate_expression(f"{name}({', '.join(words)})")


def test_volatile_functions_are_known_to_the_plan():
    assert bind_query(parse_query("SELECT RAND() FROM s.one"), ONE).volatile
    assert not bind_query(parse_query("SELECT PI() FROM s.one"), ONE).volatile


DATA = pa.table({"x": [1.0, 1.0, 2.0, 3.0], "name": ["a", "b", "c", "d"], "angle": [0.5] * 4})
THINGS = Table(
    schema="s",
    name="things",
    columns=(Column(name="x"), Column(name="name", type=STRING), Column(name="angle", unit="deg")),
)


@pytest.fixture(scope="module", autouse=True)
def things_table():
    get_connection().register("things", DATA)


@pytest.mark.parametrize("name", MAPPING_FUNCTIONS.names)
def test_every_example_is_true(name):
    """Over four rows: x is 1, 1, 2, 3; name a, b, c, d; angle 0.5 deg."""
    call, _, said = MAPPING_FUNCTIONS.find_function(name).example.partition(" is ")
    assert name in call
    if MAPPING_FUNCTIONS.find_function(name).mapping:  # a mapping expression, not a query
        bound = bind_expression(parse_expression(call), list(THINGS.columns))
        got = (
            get_connection()
            .execute(f"SELECT {write_expression(bound, DuckDBDialect())} FROM things AS t0", [])
            .fetchone()[0]
        )
    else:
        got = evaluate_expression(call, [(THINGS, DATA)])
    if not said:
        assert isinstance(got, float)
        return
    wanted = None if said == "NULL" else ast.literal_eval(said.lstrip("~"))
    assert got == (pytest.approx(wanted, rel=2e-9) if said[0] == "~" else wanted)
    assert type(got) is type(wanted)


# --- values, against the words of the standards

KNOWN = [
    ("7 / 2", 3), ("-7 / 2", -3), ("7 / -2", -3), ("7.0 / 2", 3.5), ("1 / 0", None), ("1.5 / 0", None),
    ("MOD(7, 3)", 1), ("MOD(-7, 3)", -1), ("MOD(7, -3)", 1), ("MOD(-7.5, 2)", -1.5), ("MOD(1, 0)", None),
    ("2147483647 + 1", 2147483648), ("30000 * 30000 * 3", 2700000000),
    ("LOG(0)", None), ("LOG(-1)", None), ("LOG10(1000)", 3.0), ("SQRT(-1)", None), ("ACOS(1.5)", None), ("ASIN(-2)", None), ("COT(0)", None),
    ("ROUND(2.5)", 3.0), ("ROUND(-2.5)", -3.0), ("ROUND(1250.7, -2)", 1300.0), ("ROUND(3.14159, 3)", 3.142),
    ("TRUNCATE(2.79)", 2.0), ("TRUNCATE(-2.79, 1)", -2.7), ("TRUNCATE(1299.9, -2)", 1200.0),
    ("'a' || 'b' || 'c'", "abc"), ("'a' || NULL", None), ("NULL || 'a'", None), ("LOWER('aBÇ')", "abç"), ("UPPER('aßé')", "AẞÉ"),
    ("COALESCE(NULL, NULL, 3)", 3), ("COALESCE(NULL, 2.5)", 2.5),
    ("CAST('abc' AS CHAR(5))", "abc  "), ("CAST('abcdef' AS CHAR(3))", "abc"), ("CAST('abcdef' AS VARCHAR(2))", "ab"), ("CAST(17 AS VARCHAR)", "17"),
    ("CAST('12' AS INTEGER)", 12), ("CAST(2.6 AS BIGINT)", 3), ("CAST('1e3' AS DOUBLE PRECISION)", 1000.0),
    ("CAST('2020-02-03T04:05:06.5Z' AS TIMESTAMP)", dt.datetime(2020, 2, 3, 4, 5, 6, 500000)),
    ("CAST(CAST('2020-02-03 04:05:06' AS TIMESTAMP) AS VARCHAR)", "2020-02-03T04:05:06"),
    ("CAST(POINT(10, -20.5) AS VARCHAR)", "10.0 -20.5"), ("CAST(CIRCLE(1, 2, 3) AS CHAR(5))", "1.0 2"), ("CAST(POLYGON(1, 2, 3, 4, 5, 7) AS VARCHAR)", "1.0 2.0 3.0 4.0 5.0 7.0"),
    ("CAST(CAST('1.5 2.5 3' AS CIRCLE) AS VARCHAR)", "1.5 2.5 3.0"), ("CAST(MOC('6/1 2') AS VARCHAR)", "6/1 2"), ("CAST(TRUE AS VARCHAR)", "true"), ("CAST(POINT(1, NULL) AS VARCHAR)", None),
    ("CAST('10 -20.5' AS POINT)", [10.0, -20.5]), ("CAST('1 2 3' AS CIRCLE)", [1.0, 2.0, 3.0]), ("CAST('1 2 3 4 5 6' AS POLYGON)", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ("POINT(1, NULL)", None), ("COORD1(POINT(10, 20))", 10.0), ("COORD2(CENTROID(CIRCLE(10, 20, 1)))", 20.0), ("COORDSYS(POINT('GALACTIC', 1, 2))", "GALACTIC"),
    ("AREA(POINT(1, 2))", 0.0), ("DISTANCE(1, 2, NULL, 4)", None), ("DISTANCE(POINT(1, 2), POINT(NULL, 4))", None), ("CONTAINS(POINT(1, NULL), CIRCLE(1, 2, 3))", None),
    ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, NULL))", None), ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, 0 - 1))", 0), ("CONTAINS(POINT(1, 2), CIRCLE(181, -2, 180))", 1), ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, 0))", 1),
    ("CONTAINS(POINT(NULL, 50), CIRCLE(1, 2, 3))", None), ("CONTAINS(POINT(NULL, 50), CIRCLE(1, 2, 180))", None), ("CONTAINS(POINT(5, NULL), CIRCLE(1, 2, 100))", None), ("CONTAINS(POINT(5, 1), CIRCLE(NULL, 50, 3))", None), ("CASE WHEN NOT DISTANCE(NULL, 50, 1, 2) < 3 THEN 1 ELSE 0 END", 0), ("CASE WHEN 3 > DISTANCE(1, 2, 1, 4) THEN 1 ELSE 0 END", 1),
    ("CASE WHEN DISTANCE(1, 2, 1, 4) <= 2.0000001 THEN 1 ELSE 0 END", 1), ("CASE WHEN NOT 3 >= DISTANCE(1, 2, 1, 6) THEN 1 ELSE 0 END", 1),
    ("CONTAINS(POINT(NULL, 1), POLYGON(0, 0, 2, 0, 2, 2, 0, 2))", None),
    ("ivo_hashlist_has('sci#Cal#3', 'CAL')", 1), ("ivo_hashlist_has('a#b', 'a#b')", 0), ("ivo_hashlist_has('ab#c', 'a')", 0), ("ivo_hashlist_has(NULL, 'a')", None),
    ("ivo_nocasematch('Sirius A', 'sirius%')", 1), ("ivo_nocasematch('Sirius', 's_')", 0),
    ("ivo_hasword('Proper motions of bright stars', 'STARS motions')", 1), ("ivo_hasword('bright stars', 'star')", 0),
    ("ivo_interval_overlaps(1, 2, 2, 3)", 1), ("ivo_interval_overlaps(1, 2, 2.5, 3)", 0), ("ivo_interval_overlaps(2, 1, 1, 3)", 0), ("ivo_interval_overlaps(1, 3, 3, 1)", 0),
    ("ivo_healpix_index(0, 1, 1)", 4), ("ivo_healpix_index(17, 1, 1)", 81609757711), ("ivo_healpix_index(17, POINT(359, -1))", 73009064944),
    ("ivo_healpix_center(0, 6)", [180.0, 0.0]),
    ("ivo_to_jd('2000-01-02T12:00:00')", 2451546.0), ("ivo_to_mjd('2000-01-02T12:00:00')", 51545.5), ("ivo_to_jd(NULL)", None),
    ("ivo_hms_to_degrees('3:34:45.4')", pytest.approx(53.6891667)), ("ivo_dms_to_degrees('-00:15:00')", -0.25), ("ivo_hms_to_degrees('12h00m00s')", 180.0),
    ("ivo_dms_to_degrees('+12 30 00')", 12.5), ("ivo_dms_to_degrees('-123000')", -12.5), ("ivo_hms_to_degrees('no')", None), ("ivo_dms_to_degrees('1:99:00')", None),
    ("gavo_match('^a.c$', 'abc')", 1), ("gavo_match('x', 'abc')", 0), ("regexp_extract('M 31', '[0-9]+')", "31"), ("regexp_extract('NGC', '[0-9]+')", None),
    ("regexp_extract('f_12.fits', '_([0-9]+)', 1)", "12"), ("regexp_replace('a-b-c', '-', '')", "abc"), ("split_part('a/b/c', '/', 3)", "c"),
    ("greatest(1, 2.5, 2)", 2.5), ("least('b', 'a')", "a"), ("length('été')", 3),
    ("5 & 3", 1), ("5 | 3", 7), ("5 ^ 3", 6), ("~5", -6), ("7 % 4", 3), ("7 % 0", None),
    ("CASE WHEN 1 > 2 THEN 'a' WHEN 2 > 1 THEN 'b' END", "b"), ("CASE 3 WHEN 1 THEN 'a' ELSE 'z' END", "z"), ("CAST(NULL AS INTEGER)", None),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), KNOWN, ids=[text for text, _ in KNOWN])
def test_value(expression, expected):
    assert evaluate_expression(expression) == expected


NUMPY = {
    "ABS": np.abs, "CEILING": np.ceil, "FLOOR": np.floor, "EXP": np.exp, "DEGREES": np.degrees, "RADIANS": np.radians, "SQRT": np.sqrt, "LOG": np.log, "LOG10": np.log10,
    "ACOS": np.arccos, "ASIN": np.arcsin, "ATAN": np.arctan, "COS": np.cos, "SIN": np.sin, "TAN": np.tan, "COT": lambda x: 1 / np.tan(x), "TRUNCATE": np.trunc,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NUMPY))
def test_mathematics_as_numpy(name):
    x = np.concatenate([np.linspace(-5, 5, 101), np.linspace(-1, 1, 41), [1e-9, 1e9, 123456.789]])
    table = Table(schema="s", name="t", columns=(Column(name="x", type=FLOAT64),))
    got = (
        run_query(f"SELECT {name}(x) AS y FROM s.t", [(table, pa.table({"x": x}))])["y"]
        .to_numpy(zero_copy_only=False)
        .astype(float)
    )
    with np.errstate(all="ignore"):
        expected = NUMPY[name](x)
    if name != "EXP":
        expected[~np.isfinite(expected)] = np.nan  # what is out of a function's domain is NULL
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


angles = st.tuples(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-90, 90))


@settings(max_examples=30 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(angles, min_size=1, max_size=50), st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
def test_distance_and_cones_as_astropy(rows, scale):
    """Also for points very near each other and near the antipode, where a careless formula loses all digits."""
    from astropy import units as u
    from astropy.coordinates import angular_separation

    lon1, lat1, lon2, lat2 = np.array(rows).T
    if scale:
        lon2, lat2 = lon1 + scale * lon2 / 360, np.clip(lat1 + scale * lat2 / 90, -90, 90)
    else:
        lon2, lat2 = lon1 + 180 + 1e-6 * lon2, np.clip(-lat1 + 1e-8 * lat2, -90, 90)
    table = Table(
        schema="s", name="t", columns=tuple(Column(name=name, type=FLOAT64) for name in ("a", "b", "c", "d", "r"))
    )
    with np.errstate(all="ignore"):
        truth = angular_separation(lon1 * u.deg, lat1 * u.deg, lon2 * u.deg, lat2 * u.deg).to_value(u.deg)
    radius = np.where(np.arange(len(truth)) % 2, truth * (1 + 1e-9) + 1e-11, np.maximum(truth * (1 - 1e-9) - 1e-11, 0))
    data = pa.table({"a": lon1, "b": lat1, "c": lon2, "d": lat2, "r": radius})
    got = run_query(
        "SELECT DISTANCE(a, b, c, d) AS x, DISTANCE(POINT(a, b), POINT(c, d)) AS y, CONTAINS(POINT(a, b), CIRCLE(c, d, r)) AS z, INTERSECTS(CIRCLE(c, d, r), POINT(a, b)) AS w FROM s.t",
        [(table, data)],
    )
    np.testing.assert_allclose(got["x"].to_numpy(), truth, rtol=1e-10, atol=1e-12)
    assert got["x"].equals(got["y"])
    clear = np.abs(radius - truth) > 1e-11 + truth * 1e-10
    np.testing.assert_array_equal(got["z"].to_numpy()[clear], (truth <= radius).astype(int)[clear])
    assert got["z"].equals(got["w"])


@settings(max_examples=50 * EXAMPLES_FACTOR, deadline=None)
@given(
    st.lists(
        st.datetimes(min_value=dt.datetime(1850, 1, 1), max_value=dt.datetime(2150, 1, 1)), min_size=1, max_size=40
    )
)
def test_julian_dates_as_astropy_and_back(times):
    from astropy.time import Time

    times = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in times]
    table = Table(schema="s", name="t", columns=(Column(name="t", type=TIMESTAMP),))
    got = run_query(
        "SELECT jd(t) AS jd, mjd(t) AS mjd, iso(jd(t)) AS back FROM s.t",
        [(table, pa.table({"t": pa.array(times, pa.timestamp("us"))}))],
    )
    truth = Time(times, scale="tai")
    np.testing.assert_allclose(got["jd"].to_numpy(), truth.jd, rtol=0, atol=5e-10)
    np.testing.assert_allclose(got["mjd"].to_numpy(), truth.mjd, rtol=0, atol=2e-11)
    assert got["back"].to_pylist() == times  # a double of JD carries milliseconds: none may be lost


def test_a_julian_date_of_whole_seconds_stays_whole():
    from astropy.time import Time

    moment = Time("2004-02-03T03:55:33", scale="utc")
    assert evaluate_expression(f"iso({float(moment.jd)!r})") == dt.datetime(2004, 2, 3, 3, 55, 33)


# --- mapping functions

TIMES = {
    "2004-02-03T03:55:33": (2004, 2, 3, 3, 55, 33), "2004-02-03 03:55:33Z": (2004, 2, 3, 3, 55, 33), "2004-034T03:55:33.250": (2004, 2, 3, 3, 55, 33, 250000),
    "2016-12-31T23:59:60": (2017, 1, 1), "2004-02-03 03:55:60.250Z": (2004, 2, 3, 3, 56, 0, 250000), "2004-034T03:55:60": (2004, 2, 3, 3, 56),
    "2004-034": (2004, 2, 3), "20040203T035533": (2004, 2, 3, 3, 55, 33), "2004/02/03 03:55:33": (2004, 2, 3, 3, 55, 33), "20040203": (2004, 2, 3), "2004-02-03": (2004, 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_parse_time(text):
    assert evaluate_expression(f"parse_time('{text}')", functions=MAPPING_FUNCTIONS) == dt.datetime(*TIMES[text])


def test_parse_time_by_format_and_nonsense():
    assert evaluate_expression(
        "parse_time('03/02/2004 03:55', '%d/%m/%Y %H:%M')", functions=MAPPING_FUNCTIONS
    ) == dt.datetime(2004, 2, 3, 3, 55)
    assert evaluate_expression("parse_time('yesterday')", functions=MAPPING_FUNCTIONS) is None
    assert evaluate_expression("sexagesimal('12:30:00', 'hour')", functions=MAPPING_FUNCTIONS) == 187.5
    assert evaluate_expression("sexagesimal('-12:30:00')", functions=MAPPING_FUNCTIONS) == -12.5


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("15 12 60", 15 + 13 / 60), ("-15:59:60.00", -16.0), ("15 60", 16.0), ("151260", 15 + 13 / 60), ("15 12 60.5", None), ("15 60 00", None), ("15 61", None), ("15 60.5", None)],
)  # fmt: skip
def test_sixty_at_the_end_carries_over(text, degrees):
    found = [
        evaluate_expression(f"sexagesimal('{text}')", functions=MAPPING_FUNCTIONS),
        evaluate_expression(f"ivo_dms_to_degrees('{text}')"),
    ]
    hours = evaluate_expression(f"ivo_hms_to_degrees('{text}')")
    assert found == [degrees and pytest.approx(degrees, abs=1e-12)] * 2
    assert hours == (degrees and pytest.approx(15 * degrees, abs=1e-11))


def test_a_minute_of_sixty_is_no_time():
    assert evaluate_expression("parse_time('2016-12-31T23:60:00')", functions=MAPPING_FUNCTIONS) is None
    assert evaluate_expression("parse_time('2016-12-31T23:59:61')", functions=MAPPING_FUNCTIONS) is None


@pytest.mark.parametrize("text", ["2020-03", "2020-3", "2020-03T10:00", "2020077", "17/03/20", "20-077", "2019-366"])
def test_dates_with_too_few_digits_or_too_many_days_are_no_times(text):
    assert evaluate_expression(f"parse_time('{text}')", functions=MAPPING_FUNCTIONS) is None


def test_day_366_of_a_leap_year_is_its_last_day():
    expected = dt.datetime(2020, 12, 31, 10)
    assert evaluate_expression("parse_time('2020-366T10:00')", functions=MAPPING_FUNCTIONS) == expected
    assert evaluate_expression("parse_time('2020/3/7 1:2:3')", functions=MAPPING_FUNCTIONS) == dt.datetime(
        2020, 3, 7, 1, 2, 3
    )


def test_mapping_functions_are_not_for_queries():
    with pytest.raises(BindError, match="no function"):
        bind_query(parse_query("SELECT parse_time('2020-01-01') FROM s.one"), ONE)


def test_header_finds_the_card():
    columns = [Column(name="DATE-OBS", type=STRING)]
    assert bind_expression(parse_expression("header('DATE-OBS')"), columns).column.name == "DATE-OBS"
    with pytest.raises(BindError, match="no column 'DATE_OBS'; did you mean 'DATE-OBS'"):
        bind_expression(parse_expression("header('DATE_OBS')"), columns)


def test_lenient_values_that_cannot_be_computed_are_null():
    table = Table(schema="s", name="t", columns=(Column(name="x", type=STRING), Column(name="n", type=INT64)))
    data = pa.table({"x": ["1", "two", None], "n": [1, 2**62, 3]})
    got = run_query(
        "SELECT CAST(x AS INTEGER) AS a, n * 4 AS b, CAST(x AS TIMESTAMP) AS c FROM s.t", [(table, data)], lenient=True
    )
    assert got.to_pydict() == {"a": [1, None, None], "b": [4, None, 12], "c": [None, None, None]}


# --- metadata of what comes out

SKY = [
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main"), Column(name="mag", unit="mag", ucd="phot.mag;em.opt.V"), Column(name="d", unit="km"), Column(name="t", unit="s"),
    Column(name="n", type=INT32), Column(name="name", type=STRING),
]  # fmt: skip

METAS = [
    ("ra", "float64", "deg", "pos.eq.ra;meta.main"), ("mag - 0.03", "float64", "mag", "phot.mag;em.opt.V"), ("d / t", "float64", "km/s", None), ("d * 2", "float64", "km", None),
    ("d + d", "float64", "km", None), ("d + t", "float64", None, None), ("d / d", "float64", None, None), ("n + 1", "int64", None, None), ("n / 2", "int32", None, None),
    ("IN_UNIT(d, 'm')", "float64", "m", None), ("RADIANS(ra)", "float64", "rad", None), ("COALESCE(mag, 99)", "float64", "mag", "phot.mag;em.opt.V"),
    ("DISTANCE(ra, 0, 1, 2)", "float64", "deg", "pos.angDistance"), ("CAST(n AS VARCHAR)", "string", None, None), ("LOWER(name) || 'x'", "string", None, None),
    ("-n", "int32", None, None), ("ABS(mag)", "float64", "mag", "phot.mag;em.opt.V"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "type_", "unit", "ucd"), METAS, ids=[row[0] for row in METAS])
def test_metadata(expression, type_, unit, ucd):
    meta = bind_expression(parse_expression(expression), SKY).meta
    assert (str(meta.type), meta.unit, meta.ucd) == (type_, unit, ucd)
    assert meta.origins == set(re.findall(r"\b(?:ra|mag|d|t|n|name)\b", expression))


def test_aggregates_say_what_they_are_in_the_ucd():
    table = Table(schema="s", name="t", columns=tuple(SKY))
    bound = bind_query(
        parse_query("SELECT COUNT(*), MAX(mag), AVG(ra), SUM(n), MIN(name) FROM t"), StaticTableCatalogue([table])
    )
    said = [(column.name, str(column.type), column.unit, column.ucd) for column in bound.columns]
    assert said == [
        ("count_all", "int64", None, "meta.number"),
        ("max_mag", "float64", "mag", "phot.mag;em.opt.V;stat.max"),
        ("avg_ra", "float64", "deg", "pos.eq.ra;stat.mean"),
        ("sum_n", "int64", None, None),
        ("min_name", "string", None, None),
    ]


def test_the_first_text_of_the_alphabet_is_no_statistic():
    table = Table(schema="s", name="t", columns=(Column(name="id", type=STRING, ucd="meta.id;src"),))
    (column,) = bind_query(parse_query("SELECT MIN(id) AS least FROM t"), StaticTableCatalogue([table])).columns
    assert column.ucd == "meta.id;src"


def test_in_unit_says_why_not():
    for text, words in {
        "IN_UNIT(d, 'kg')": "IN_UNIT", "IN_UNIT(n, 'm')": "without a unit", "IN_UNIT(d, 'parsnip')": "IN_UNIT",
    }.items():  # fmt: skip
        with pytest.raises(BindError, match=words):
            bind_expression(parse_expression(text), SKY)


MISUSES = {
    "ROUND(1, 2, 3)": "ROUND takes 1 or 2 arguments, but 3 are given",
    "SQRT('a')": "argument 1 .x. must be a number",
    "SQRTT(1)": "no function .*did you mean 'SQRT'",
    "LOWER(1)": "must be a string",
    "AREA(1)": "must be a geometry",
    "POLYGON(1,2,3,4,5)": "POLYGON",
    "ivo_to_jd('not a time')": "not a timestamp",
    "POINT('a')": "POINT",
    "ATAN2(1)": "ATAN2 takes 2 arguments, but 1 is given",
}


@pytest.mark.parametrize("expression", MISUSES)
def test_misuse_is_said_with_the_signature(expression):
    with pytest.raises((BindError, ParseError)) as caught:
        bind_query(parse_query(f"SELECT {expression} FROM s.one"), ONE)
    if isinstance(caught.value, BindError):
        assert re.search(MISUSES[expression], str(caught.value))
        assert caught.value.line == 1
        assert caught.value.column >= 8


def test_infinity_and_nan_are_numbers():
    assert math.isnan(evaluate_expression("POWER(-1, 0.5)"))
    assert (
        evaluate_expression(
            "CASE WHEN POWER(-1, 0.5) = POWER(-1, 0.5) AND POWER(-1, 0.5) > EXP(1000) THEN 1 ELSE 0 END"
        )
        == 1
    )
    assert evaluate_expression("EXP(1000)") == math.inf


def test_the_reference_lists_every_function_as_it_is():
    text = (ROOT / "docs" / "reference" / "adql.md").read_text(encoding="utf-8")
    lines = text.partition("reference() -->\n\n")[2].rstrip().splitlines()
    if list_absent_packages():  # the page has their functions, too
        names = [re.match(r"\| `(\w+)\(", line) for line in lines]
        is_known = [match is None or MAPPING_FUNCTIONS.find_function(match[1]) is not None for match in names]
        lines = list(itertools.compress(lines, is_known))
    assert lines == write_function_reference().rstrip().splitlines()


# --- positions, spectra, MOCs: against astropy and mocpy


def test_motion_is_a_straight_line_through_space():
    """Positions and velocities as vectors of astropy, added; and its own space motion, which also knows of light's travel time."""
    from astropy import units as u
    from astropy.coordinates import CartesianRepresentation, Distance, SkyCoord
    from astropy.time import Time

    rng = np.random.default_rng(1)
    rows = 200
    ra, dec, parallax = (
        rng.uniform(0, 360, rows),
        np.degrees(np.arcsin(rng.uniform(-1, 1, rows))),
        rng.uniform(0.1, 700, rows),
    )
    pm_ra, pm_dec, speed, years = (rng.uniform(-limit, limit, rows) for limit in (5000, 5000, 300, 1000))
    data = pa.table({"ra": ra, "d": dec, "p": parallax, "a": pm_ra, "b": pm_dec, "v": speed, "t": 2000 + years})
    table = Table(schema="s", name="t", columns=tuple(Column(name=name) for name in data.column_names))
    got = np.array(
        run_query("SELECT ivo_epoch_prop_pos(ra, d, p, a, b, v, 2000, t) AS m FROM s.t", [(table, data)])[
            "m"
        ].to_pylist()
    )
    stars = SkyCoord(
        ra * u.deg, dec * u.deg, Distance(parallax=parallax * u.mas),
        pm_ra_cosdec=pm_ra * u.mas / u.yr, pm_dec=pm_dec * u.mas / u.yr, radial_velocity=speed * u.km / u.s, obstime=Time(2000.0, format="jyear", scale="tdb"),
    )  # fmt: skip
    moved = CartesianRepresentation(stars.cartesian.xyz + stars.velocity.d_xyz * years * u.yr)
    there = SkyCoord(moved, frame="icrs")
    assert SkyCoord(*got.T * u.deg).separation(there).to_value(u.mas).max() < 1e-5
    slow = np.flatnonzero(np.abs(years) < 50)
    theirs = stars[slow].apply_space_motion(dt=years[slow] * u.yr)
    assert (
        SkyCoord(*got[slow].T * u.deg).separation(SkyCoord(theirs.ra, theirs.dec)).to_value(u.mas).max()
        < 1000 * 5 * 0.3
    )


def test_motion_of_what_is_not_known():
    still = "269.452, 4.693"
    assert evaluate_expression(f"ivo_epoch_prop_pos({still}, NULL, NULL, NULL, NULL, 2000, 2100)") == pytest.approx(
        [269.452, 4.693], abs=1e-12
    )
    far, near = (
        evaluate_expression(f"ivo_epoch_prop_pos({still}, {p}, -801.55, 10362.39, -110.5, 2000, 3000)")
        for p in ("NULL", "546.98")
    )
    assert far != near
    assert far == evaluate_expression(f"ivo_epoch_prop_pos({still}, -3, -801.55, 10362.39, -110.5, 2000, 3000)")
    assert evaluate_expression(f"gavo_apply_pm({still}, -801.55 / 3.6e6, 10362.39 / 3.6e6, 1000)") == pytest.approx(
        far, abs=1e-12
    )
    assert evaluate_expression("gavo_apply_pm(1, 2, NULL, 4, 5)") is None
    for place in range(4):
        words = ["1", "2", "2000", "2010"]
        words[place] = "NULL"
        with pytest.raises((duckdb.Error, EvaluationError), match=("ra", "dec", "ref_epoch", "out_epoch")[place]):
            evaluate_expression(f"ivo_epoch_prop_pos({words[0]}, {words[1]}, 1, 1, 1, 1, {words[2]}, {words[3]})")


def test_frames_as_astropy():
    from astropy import units as u
    from astropy.coordinates import FK5, BarycentricMeanEcliptic, FK4NoETerms, Galactic, SkyCoord

    frames = {
        "GALACTIC": Galactic(), "FK5": FK5(equinox="J2000"), "FK4": FK4NoETerms(equinox="B1950", obstime="B1950"), "ECLIPTIC": BarycentricMeanEcliptic(equinox="J2000"),
    }  # fmt: skip
    assert evaluate_expression("ivo_geom_transform('ICRS', 'GALACTIC', POINT(120, -23))") == pytest.approx(
        [241.121831182, 3.62785788087], abs=5e-9
    )
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(0, 360, 100), np.degrees(np.arcsin(rng.uniform(-1, 1, 100)))
    lat[:2], lon[2:4] = (90, -90), (0, 360)
    data = pa.table({"a": lon, "b": lat})
    table = Table(schema="s", name="t", columns=(Column(name="a"), Column(name="b")))
    names = ["ICRS", *frames]
    for one in names:
        for two in names:
            call = f"ivo_geom_transform('{one}', '{two}', POINT(a, b))"
            back = f"gavo_transform('{two}', '{one}', CIRCLE({call}, 3))"
            got = run_query(f"SELECT {call} AS p, {back} AS c FROM s.t", [(table, data)])
            start = SkyCoord(lon * u.deg, lat * u.deg, frame=frames.get(one, "icrs"))
            truth = SkyCoord(
                start.transform_to(frames.get(two, "icrs")).spherical.without_differentials(), frame="icrs"
            )
            there = SkyCoord(*np.array(got["p"].to_pylist()).T * u.deg)
            assert there.separation(truth).to_value(u.uas).max() < 1
            circles = np.array(got["c"].to_pylist())
            assert (circles[:, 2] == 3).all()
            assert (
                SkyCoord(*circles[:, :2].T * u.deg).separation(SkyCoord(lon * u.deg, lat * u.deg)).to_value(u.uas).max()
                < 1
            )


def test_frames_of_polygons_and_of_nothing():
    corners = [[10.0, 10.0], [12.0, 10.0], [11.0, 12.0]]
    polygon = evaluate_expression("ivo_geom_transform('ICRS', 'FK4', POLYGON(10, 10, 12, 10, 11, 12))")
    points = [evaluate_expression(f"ivo_geom_transform('ICRS', 'FK4', POINT({a}, {b}))") for a, b in corners]
    assert polygon == pytest.approx([number for point in points for number in point], abs=1e-12)
    assert evaluate_expression("ivo_geom_transform('ICRS', 'FK4', NULL)") is None
    with pytest.raises(BindError, match=r".Galactic. is not a known frame.*GALACTIC"):
        evaluate_expression("ivo_geom_transform('ICRS', 'Galactic', POINT(1, 2))")


@settings(max_examples=20 * EXAMPLES_FACTOR, deadline=None)
@example([5e-324], 0, 2, 1)  # half of the smallest double is none
@given(
    st.lists(st.none() | st.floats(allow_infinity=True), max_size=60),
    st.integers(-3, 3),
    st.integers(1, 9),
    st.integers(1, 12),
)
def test_histograms_as_numpy(values, lower, width, bins):
    data = pa.table({"x": pa.array(values, pa.float64())})
    got = run_query(f"SELECT ivo_histogram(x, {lower}, {lower + width}, {bins}) AS h FROM s.t", [(Table(schema="s", name="t", columns=(Column(name="x"),)), data)])["h"][0].as_py()  # fmt: skip
    known = np.array([v for v in values if v is not None and not math.isnan(v)])
    inside = known[(known >= lower) & (known < lower + width)]
    place = np.minimum(np.floor((inside - lower) / width * bins), bins - 1).astype(int)
    assert len(got) == bins + 2
    assert sum(got) == len(values)
    assert got[1:-1] == np.bincount(place, minlength=bins).tolist()
    assert got[-1] == int((known >= lower + width).sum())


def test_histograms_say_what_they_need():
    for text, words in {"ivo_histogram(ra, 0, ra, 3)": "same in every row", "ivo_histogram(ra, 0, 1, 0)": "0 bins", "ivo_histogram(ra, 0, 1, 10000000)": "bins"}.items():  # fmt: skip
        with pytest.raises(BindError, match=words):
            bind_query(
                parse_query(f"SELECT {text} FROM t"),
                StaticTableCatalogue([Table(schema="s", name="t", columns=tuple(SKY))]),
            )


def test_random_numbers_of_the_normal_distribution():
    data = pa.table({"x": np.arange(20_000.0)})
    got = run_query(
        "SELECT ivo_normal_random(5, 2) AS r FROM s.t",
        [(Table(schema="s", name="t", columns=(Column(name="x"),)), data)],
    )["r"].to_numpy()
    assert abs(got.mean() - 5) < 0.1
    assert abs(got.std() - 2) < 0.1
    assert abs((np.abs(got - 5) < 2).mean() - 0.6827) < 0.03
    assert bind_query(parse_query("SELECT ivo_normal_random(5, 2) FROM s.one"), ONE).volatile


@pytest.mark.parametrize("one", ["nm", "Angstrom", "GHz", "keV", "J", "cm**-1", "um"])
@pytest.mark.parametrize("two", ["m", "Hz", "eV", "m**-1", "pm"])
def test_spectra_as_astropy(one, two):
    from astropy import units as u

    old, new = (u.Unit(unit.replace("**", "^")) for unit in (one, two))
    truth = (3.7 * old).to_value(new, equivalencies=u.spectral())
    assert evaluate_expression(f"gavo_specconv(3.7, '{one}', '{two}')") == pytest.approx(truth, rel=1e-12)
    assert evaluate_expression(
        f"gavo_specconv(IN_UNIT(gavo_specconv(3.7, '{one}', '{two}'), '{two}'), '{one}')"
    ) == pytest.approx(3.7, rel=1e-12)


def test_spectra_say_what_they_need():
    assert evaluate_expression("gavo_specconv(0, 'nm', 'Hz')") is None
    for text, words in {"gavo_specconv(3, 'Hz')": "a number without a unit", "gavo_specconv(3, 'kg', 'Hz')": "'kg' is not a unit", "gavo_specconv(ra, 'Hz')": "'deg' is not a unit"}.items():  # fmt: skip
        with pytest.raises(BindError, match=words):
            bind_query(
                parse_query(f"SELECT {text} FROM t"),
                StaticTableCatalogue([Table(schema="s", name="t", columns=tuple(SKY))]),
            )


def test_mocs_as_mocpy():
    import mocpy
    from astropy import units as u

    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    texts = ["3/1-50 200 4/900-1000", "0/0 2/80-100", "6/"]
    data = pa.table({"a": lon, "b": lat, "m": [texts[n % 3] for n in range(3000)]})
    table = Table(schema="s", name="t", columns=(Column(name="a"), Column(name="b"), Column(name="m", type=MOC)))
    calls = [*(f"MOC('{text}')" for text in texts), f"GAVO_MOCUNION(MOC('{texts[0]}'), MOC('{texts[1]}'))", f"GAVO_MOCINTERSECT(MOC('{texts[0]}'), MOC('{texts[1]}'))"]  # fmt: skip
    theirs = [mocpy.MOC.from_string(text) for text in texts]
    theirs += [theirs[0].union(theirs[1]), theirs[0].intersection(theirs[1])]
    for call, moc in zip(calls, theirs, strict=True):
        got = run_query(
            f"SELECT CONTAINS(POINT(a, b), {call}) AS x, INTERSECTS({call}, POINT(a, b)) AS y FROM s.t", [(table, data)]
        )
        np.testing.assert_array_equal(got["x"].to_numpy(), moc.contains_lonlat(lon * u.deg, lat * u.deg).astype(int))
        assert got["x"].equals(got["y"])
    got = run_query("SELECT CONTAINS(POINT(a, b), m) AS x FROM s.t", [(table, data)])["x"].to_numpy()
    inside = np.stack([moc.contains_lonlat(lon * u.deg, lat * u.deg) for moc in theirs[:3]])
    np.testing.assert_array_equal(got, inside[np.arange(3000) % 3, np.arange(3000)].astype(int))


def test_the_moc_of_a_shape_holds_the_shape():
    import mocpy

    text = evaluate_expression("MOC(8, CIRCLE(40, 30, 2))")
    assert evaluate_expression(f"CONTAINS(CIRCLE(40, 30, 1.99), MOC('{text}'))") == 1
    moc = mocpy.MOC.from_string(text)
    assert moc.max_order == 8
    assert moc.sky_fraction * 41252.96 == pytest.approx(math.pi * 4, rel=0.2)
    assert evaluate_expression("MOC(2, MOC('4/0-15'))") == "2/0"
    assert evaluate_expression("MOC(5, POINT(10, 20))") == f"5/{evaluate_expression('ivo_healpix_index(5, 10, 20)')}"
    assert evaluate_expression("MOC(5, NULL)") is None
    assert evaluate_expression("MOC('5/7')") == "5/7"
    with pytest.raises((duckdb.Error, EvaluationError), match="too small for this shape"):
        evaluate_expression("MOC(20, CIRCLE(40, 30, 20))")
    for bad, words in {
        "MOC('5/99999999')": "no cell 99999999",
        "MOC('hello')": "hello",
        "MOC(30, POINT(1, 2))": "30 is not a valid order",
        "MOC(-1, POINT(1, 2))": "literal",
    }.items():
        with pytest.raises(BindError, match=words):
            evaluate_expression(bad)


def test_authorities():
    assert evaluate_expression("gavo_getauthority('ivo://Org.Gavo.DC/tap?x#y')") == "Org.Gavo.DC"
    assert evaluate_expression("gavo_getauthority('IVO://a.b')") == "a.b"
    assert evaluate_expression("gavo_getauthority('http://a.b/c')") is None
    assert evaluate_expression("gavo_getauthority(NULL)") is None


# --- queries of constants, arrays


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT 1", [(1,)]),
        ("SELECT 1 AS a, UPPER('x') AS b", [(1, "X")]),
        ("SELECT 2 UNION ALL SELECT 1 ORDER BY 1", [(1,), (2,)]),
        ("SELECT COUNT(*)", [(1,)]),
        ("SELECT (SELECT MAX(x) FROM s.things) AS m", [(3.0,)]),
        ("SELECT x FROM s.things WHERE x IN (SELECT 1 UNION SELECT 2) ORDER BY x", [(1.0,), (1.0,), (2.0,)]),
        ("WITH q AS (SELECT 5 AS v) SELECT v + a FROM q, (SELECT 2 AS a) AS w", [(7,)]),
    ],
)
def test_what_needs_no_from(query, rows):
    assert [tuple(row.values()) for row in run_query(query, [(THINGS, DATA)]).to_pylist()] == rows


def test_a_column_needs_a_from():
    with pytest.raises(BindError, match="no column 'ra'; add FROM and a table"):
        bind_query(parse_query("SELECT ra"), ONE)
    with pytest.raises(ParseError, match="FROM"):
        parse_query("SELECT 1", "2.0")


def test_arrays_are_values():
    table = Table(
        schema="s",
        name="t",
        columns=(Column(name="a", type=ColumnType("double", "3")), Column(name="v", type=ColumnType("int", "*"))),
    )
    data = pa.table(
        {
            "a": pa.array([[1.0, 2.0, 3.0], None], pa.list_(pa.float64(), 3)),
            "v": pa.array([[], [1, 2]], pa.list_(pa.int32())),
        }
    )
    got = run_query(
        "SELECT a, v, CAST(a AS VARCHAR) AS a_text, CAST(v AS VARCHAR) AS v_text FROM s.t WHERE v IS NOT NULL",
        [(table, data)],
    ).to_pylist()
    assert got == [
        {"a": [1.0, 2.0, 3.0], "v": [], "a_text": "1.0 2.0 3.0", "v_text": ""},
        {"a": None, "v": [1, 2], "a_text": None, "v_text": "1 2"},
    ]
    assert run_query("SELECT COUNT(*) AS n FROM s.t WHERE a IS NULL", [(table, data)])["n"].to_pylist() == [1]


def test_sums_of_bigints_are_bigints_or_an_error():
    table = Table(schema="s", name="t", columns=(Column(name="n", type=INT64),))
    data = pa.table({"n": [2**62, 2**62 - 1]})
    assert run_query("SELECT SUM(n) AS s FROM s.t", [(table, data)])["s"].to_pylist() == [2**63 - 1]
    assert run_query("SELECT SUM(CAST(n AS DOUBLE PRECISION)) AS s FROM s.t", [(table, data)])["s"].to_pylist() == [
        2.0**63
    ]
    with pytest.raises((duckdb.Error, EvaluationError), match=r"INT64|BIGINT"):
        run_query("SELECT SUM(n) AS s FROM s.t", [(table, pa.table({"n": [2**62, 2**62]}))])
