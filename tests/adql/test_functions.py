"""The function table against numpy, astropy and the words of the standard, on a real DuckDB."""

from __future__ import annotations

import datetime as dt
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_running import run, value
from hven.adql import bind, parse, parse_expression
from hven.adql.bind import bind_expression
from hven.adql.functions import MAPPING, QUERY, STANDARD, Extra, reference
from hven.adql.scope import Tables
from hven.engines.duckdb.dialect import DuckDB
from hven.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, INT64, STRING, TIMESTAMP
from shared import MORE, ROOT

ONE = Tables([Table(schema="s", name="one", columns=())])


# --- the table itself


def test_every_function_of_the_standard_is_there():
    mandatory = "ABS CEILING DEGREES EXP FLOOR LOG LOG10 MOD PI POWER RADIANS SQRT RAND ROUND TRUNCATE ACOS ASIN ATAN ATAN2 COS COT SIN TAN"
    others = "AVG MAX MIN SUM COUNT LOWER UPPER COALESCE IN_UNIT"
    geometry = "AREA BOX CENTROID CIRCLE CONTAINS COORD1 COORD2 COORDSYS DISTANCE INTERSECTS POINT POLYGON REGION"
    assert {entry.name for entry in STANDARD} == set(f"{mandatory} {others} {geometry}".split())


def test_every_function_has_an_sql():
    special = {"IN_UNIT", "COORDSYS", "CONTAINS", "INTERSECTS", "HEADER"}  # bound into something else, or a predicate
    missing = [entry.name for entry in MAPPING if entry.name not in DuckDB.functions and entry.name not in special]
    assert missing == []
    methods = [text[1:] for text in DuckDB.functions.values() if text.startswith(".")]
    assert all(callable(getattr(DuckDB, name)) for name in methods)


_TYPE = r"(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE PRECISION|VARCHAR|TIMESTAMP|POINT|CIRCLE|POLYGON|REGION)"


def test_declared_forms_follow_tapregext():
    form = re.compile(rf"[a-z][a-z0-9_]*\((\w+ {_TYPE}(, \w+ {_TYPE})*)?\) -> {_TYPE}")
    forms = [text for entry in QUERY.udfs for text in entry.declared]
    assert len(forms) > 25
    assert [text for text in forms if not form.fullmatch(text)] == []
    assert "ivo_healpix_index(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT" in forms
    assert "ivo_healpix_center(hpxOrder INTEGER, hpxIndex BIGINT) -> POINT" in forms
    assert "ivo_hashlist_has(hashlist VARCHAR, item VARCHAR) -> INTEGER" in forms


SAMPLES = {
    "INTEGER": "1", "BIGINT": "1", "REAL": "0.5", "NUMERIC": "0.5", "TEXT": "'a'", "TIMESTAMP": "'2020-01-01'", "POINT": "POINT(1, 2)", "GEOMETRY": "CIRCLE(1, 2, 3)",
    "ORDERED": "1", "ANY": "1", "BOOLEAN": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in QUERY])
def test_every_declared_form_can_be_called_and_computed(name):
    entry = QUERY.get(name)
    for signature in entry.signatures:
        words = [SAMPLES[arg.word] for arg in signature.args]
        if name == "IN_UNIT":
            continue  # its argument needs a unit
        if "coordsys" in signature.text:
            words[0] = "'ICRS'"
        if name == "POLYGON":
            words = [str(n) for n in (1, 1, 3, 1, 2, 3)] if "lon1" in signature.text else ["POINT(1, 1)", "POINT(3, 1)", "POINT(2, 3)"]
            words = ["'ICRS'", *words] if "coordsys" in signature.text else words
        if name == "ISO":
            words = ["2451545.5"]
        if name == "REGION":
            words = ["'CIRCLE 10 20 1'"]
        if name == "IVO_HEALPIX_INDEX":
            words = ["6", "10.5", "20.5"][: len(words)] if len(words) == 3 else ["6", "POINT(10.5, 20.5)"]
        value(f"{name}({', '.join(words)})")


def test_volatile_functions_are_known_to_the_plan():
    assert bind(parse("SELECT RAND() FROM s.one"), ONE).volatile
    assert not bind(parse("SELECT PI() FROM s.one"), ONE).volatile


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
    ("CAST('10 -20.5' AS POINT)", [10.0, -20.5]), ("CAST('1 2 3' AS CIRCLE)", [1.0, 2.0, 3.0]), ("CAST('1 2 3 4 5 6' AS POLYGON)", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ("POINT(1, NULL)", None), ("COORD1(POINT(10, 20))", 10.0), ("COORD2(CENTROID(CIRCLE(10, 20, 1)))", 20.0), ("COORDSYS(POINT('GALACTIC', 1, 2))", "GALACTIC"),
    ("AREA(POINT(1, 2))", 0.0), ("DISTANCE(1, 2, NULL, 4)", None), ("DISTANCE(POINT(1, 2), POINT(NULL, 4))", None), ("CONTAINS(POINT(1, NULL), CIRCLE(1, 2, 3))", None),
    ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, NULL))", None), ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, -1))", 0), ("CONTAINS(POINT(1, 2), CIRCLE(181, -2, 180))", 1), ("CONTAINS(POINT(1, 2), CIRCLE(1, 2, 0))", 1),
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
    assert value(expression) == expected


NUMPY = {
    "ABS": np.abs, "CEILING": np.ceil, "FLOOR": np.floor, "EXP": np.exp, "DEGREES": np.degrees, "RADIANS": np.radians, "SQRT": np.sqrt, "LOG": np.log, "LOG10": np.log10,
    "ACOS": np.arccos, "ASIN": np.arcsin, "ATAN": np.arctan, "COS": np.cos, "SIN": np.sin, "TAN": np.tan, "COT": lambda x: 1 / np.tan(x), "TRUNCATE": np.trunc,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NUMPY))
def test_mathematics_as_numpy(name):
    x = np.concatenate([np.linspace(-5, 5, 101), np.linspace(-1, 1, 41), [1e-9, 1e9, 123456.789]])
    table = Table(schema="s", name="t", columns=(Column(name="x", type=FLOAT64),))
    got = run(f"SELECT {name}(x) AS y FROM s.t", [(table, pa.table({"x": x}))])["y"].to_numpy(zero_copy_only=False).astype(float)
    with np.errstate(all="ignore"):
        expected = NUMPY[name](x)
    if name != "EXP":
        expected[~np.isfinite(expected)] = np.nan  # what is out of a function's domain is NULL
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


angles = st.tuples(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-90, 90))


@settings(max_examples=30 * MORE, deadline=None)
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
    table = Table(schema="s", name="t", columns=tuple(Column(name=name, type=FLOAT64) for name in ("a", "b", "c", "d", "r")))
    with np.errstate(all="ignore"):
        truth = angular_separation(lon1 * u.deg, lat1 * u.deg, lon2 * u.deg, lat2 * u.deg).to_value(u.deg)
    radius = np.where(np.arange(len(truth)) % 2, truth * (1 + 1e-9) + 1e-11, np.maximum(truth * (1 - 1e-9) - 1e-11, 0))
    data = pa.table({"a": lon1, "b": lat1, "c": lon2, "d": lat2, "r": radius})
    got = run(
        "SELECT DISTANCE(a, b, c, d) AS x, DISTANCE(POINT(a, b), POINT(c, d)) AS y, CONTAINS(POINT(a, b), CIRCLE(c, d, r)) AS z, INTERSECTS(CIRCLE(c, d, r), POINT(a, b)) AS w FROM s.t",
        [(table, data)],
    )
    np.testing.assert_allclose(got["x"].to_numpy(), truth, rtol=1e-10, atol=1e-12)
    assert got["x"].equals(got["y"])
    clear = np.abs(radius - truth) > 1e-11 + truth * 1e-10
    np.testing.assert_array_equal(got["z"].to_numpy()[clear], (truth <= radius).astype(int)[clear])
    assert got["z"].equals(got["w"])


@settings(max_examples=50 * MORE, deadline=None)
@given(st.lists(st.datetimes(min_value=dt.datetime(1850, 1, 1), max_value=dt.datetime(2150, 1, 1)), min_size=1, max_size=40))
def test_julian_dates_as_astropy_and_back(times):
    from astropy.time import Time

    times = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in times]
    table = Table(schema="s", name="t", columns=(Column(name="t", type=TIMESTAMP),))
    got = run(
        "SELECT jd(t) AS jd, mjd(t) AS mjd, iso(jd(t)) AS back FROM s.t", [(table, pa.table({"t": pa.array(times, pa.timestamp("us"))}))]
    )
    truth = Time(times, scale="tai")
    np.testing.assert_allclose(got["jd"].to_numpy(), truth.jd, rtol=0, atol=5e-10)
    np.testing.assert_allclose(got["mjd"].to_numpy(), truth.mjd, rtol=0, atol=2e-11)
    assert got["back"].to_pylist() == times  # a double of JD carries milliseconds: none may be lost


def test_a_julian_date_of_whole_seconds_stays_whole():
    from astropy.time import Time

    moment = Time("2004-02-03T03:55:33", scale="utc")
    assert value(f"iso({float(moment.jd)!r})") == dt.datetime(2004, 2, 3, 3, 55, 33)


# --- mapping functions

TIMES = {
    "2004-02-03T03:55:33": (2004, 2, 3, 3, 55, 33), "2004-02-03 03:55:33Z": (2004, 2, 3, 3, 55, 33), "2004-034T03:55:33.250": (2004, 2, 3, 3, 55, 33, 250000),
    "2016-12-31T23:59:60": (2017, 1, 1), "2004-02-03 03:55:60.250Z": (2004, 2, 3, 3, 56, 0, 250000), "2004-034T03:55:60": (2004, 2, 3, 3, 56),
    "2004-034": (2004, 2, 3), "20040203T035533": (2004, 2, 3, 3, 55, 33), "2004/02/03 03:55:33": (2004, 2, 3, 3, 55, 33), "20040203": (2004, 2, 3), "2004-02-03": (2004, 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_parse_time(text):
    assert value(f"parse_time('{text}')", functions=MAPPING) == dt.datetime(*TIMES[text])


def test_parse_time_by_format_and_nonsense():
    assert value("parse_time('03/02/2004 03:55', '%d/%m/%Y %H:%M')", functions=MAPPING) == dt.datetime(2004, 2, 3, 3, 55)
    assert value("parse_time('yesterday')", functions=MAPPING) is None
    assert value("sexagesimal('12:30:00', 'hour')", functions=MAPPING) == 187.5
    assert value("sexagesimal('-12:30:00')", functions=MAPPING) == -12.5


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("15 12 60", 15 + 13 / 60), ("-15:59:60.00", -16.0), ("15 60", 16.0), ("151260", 15 + 13 / 60), ("15 12 60.5", None), ("15 60 00", None), ("15 61", None), ("15 60.5", None)],
)  # fmt: skip
def test_sixty_at_the_end_carries_over(text, degrees):
    found = [value(f"sexagesimal('{text}')", functions=MAPPING), value(f"ivo_dms_to_degrees('{text}')")]
    hours = value(f"ivo_hms_to_degrees('{text}')")
    assert found == [degrees and pytest.approx(degrees, abs=1e-12)] * 2
    assert hours == (degrees and pytest.approx(15 * degrees, abs=1e-11))


def test_a_minute_of_sixty_is_no_time():
    assert value("parse_time('2016-12-31T23:60:00')", functions=MAPPING) is None
    assert value("parse_time('2016-12-31T23:59:61')", functions=MAPPING) is None


def test_mapping_functions_are_not_for_queries():
    with pytest.raises(BindError, match="no function"):
        bind(parse("SELECT parse_time('2020-01-01') FROM s.one"), ONE)


def test_header_finds_the_card():
    columns = [Column(name="DATE-OBS", type=STRING)]
    assert bind_expression(parse_expression("header('DATE-OBS')"), columns).column.name == "DATE-OBS"
    with pytest.raises(BindError, match="no column 'DATE_OBS'; did you mean 'DATE-OBS'"):
        bind_expression(parse_expression("header('DATE_OBS')"), columns)


def test_functions_beside_a_descriptor_join_the_table():
    more = MAPPING.extended([Extra(name="airmass", args=(FLOAT64, INT32), result=FLOAT64, unit="", doc="")])
    bound = bind_expression(parse_expression("airmass(z, 2) * 2"), [Column(name="z", type=FLOAT64)], functions=more)
    assert bound.meta.type == FLOAT64
    assert bound.meta.origins == {"z"}
    with pytest.raises(BindError, match="AIRMASS takes 2"):
        bind_expression(parse_expression("airmass(z)"), [Column(name="z", type=FLOAT64)], functions=more)
    with pytest.raises(ValueError, match="already"):
        MAPPING.extended([Extra(name="sqrt", args=(FLOAT64,), result=FLOAT64)])


def test_lenient_values_that_cannot_be_computed_are_null():
    table = Table(schema="s", name="t", columns=(Column(name="x", type=STRING), Column(name="n", type=INT64)))
    data = pa.table({"x": ["1", "two", None], "n": [1, 2**62, 3]})
    got = run("SELECT CAST(x AS INTEGER) AS a, n * 4 AS b, CAST(x AS TIMESTAMP) AS c FROM s.t", [(table, data)], lenient=True)
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
    bound = bind(parse("SELECT COUNT(*), MAX(mag), AVG(ra), SUM(n), MIN(name) FROM t"), Tables([table]))
    said = [(column.name, str(column.type), column.unit, column.ucd) for column in bound.columns]
    assert said == [
        ("count_all", "int64", None, "meta.number"),
        ("max_mag", "float64", "mag", "phot.mag;em.opt.V;stat.max"),
        ("avg_ra", "float64", "deg", "pos.eq.ra;stat.mean"),
        ("sum_n", "int64", None, None),
        ("min_name", "string", None, None),
    ]


def test_in_unit_says_why_not():
    for text, words in {
        "IN_UNIT(d, 'kg')": "IN_UNIT", "IN_UNIT(n, 'm')": "has no unit", "IN_UNIT(d, 'parsnip')": "IN_UNIT",
    }.items():  # fmt: skip
        with pytest.raises(BindError, match=words):
            bind_expression(parse_expression(text), SKY)


MISUSES = {
    "ROUND(1, 2, 3)": "ROUND takes 1 or 2 arguments, and 3 are given",
    "SQRT('a')": "argument 1 .x. must be a number",
    "SQRTT(1)": "no function .*did you mean 'SQRT'",
    "LOWER(1)": "must be a string",
    "AREA(1)": "must be a geometry",
    "POLYGON(1,2,3,4,5)": "POLYGON",
    "ivo_to_jd('not a time')": "no timestamp",
    "POINT('a')": "POINT",
    "ATAN2(1)": "ATAN2 takes 2 arguments, and 1 is given",
}


@pytest.mark.parametrize("expression", MISUSES)
def test_misuse_is_said_with_the_signature(expression):
    with pytest.raises((BindError, ParseError)) as caught:
        bind(parse(f"SELECT {expression} FROM s.one"), ONE)
    if isinstance(caught.value, BindError):
        assert re.search(MISUSES[expression], str(caught.value))
        assert caught.value.line == 1
        assert caught.value.column >= 8


def test_infinity_and_nan_are_numbers():
    assert math.isnan(value("POWER(-1, 0.5)"))
    assert value("CASE WHEN POWER(-1, 0.5) = POWER(-1, 0.5) AND POWER(-1, 0.5) > EXP(1000) THEN 1 ELSE 0 END") == 1
    assert value("EXP(1000)") == math.inf


def test_the_reference_lists_every_function_as_it_is():
    text = (ROOT / "docs" / "reference" / "adql.md").read_text(encoding="utf-8")
    assert text.partition("reference() -->\n\n")[2].rstrip() == reference().rstrip()
