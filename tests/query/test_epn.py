"""EPN-TAP parameters: the rows that they find against what the standard says of intervals, lists and longitudes; faults with their place."""

from __future__ import annotations

import datetime as dt
import re

import astropy.units as u
import pyarrow as pa
import pytest
from astropy.time import Time
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hven import query
from hven.adql import parse_query
from hven.adql.adql_writer import write_adql
from hven.model.errors import NotFoundError, ParseError
from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING, TIMESTAMP, ColumnType, parse_type
from hven.portal import conditions as epn_conditions
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from hven.testing.site import open_tiny_site

NUMBERS = {"time_min": "d", "time_max": "d", "c1min": "deg", "c1max": "deg", "c2min": "deg", "c2max": "deg", "spectral_range_min": "Hz", "spectral_range_max": "Hz", "incidence_min": "deg", "incidence_max": "deg"}  # fmt: skip
UCDS = {"c1min": "pos.bodyrc.lon;stat.min", "c1max": "pos.bodyrc.lon;stat.max"}
WORDS = ("granule_uid", "target_name", "dataproduct_type", "service_title", "instrument_name")


def table(schema, *, less=()):
    columns = [Column(name=name, type=STRING) for name in WORDS]
    columns += [Column(name=name, type=FLOAT64, unit=unit, ucd=UCDS.get(name)) for name, unit in NUMBERS.items()]
    columns += [Column(name="processing_level", type=INT32), Column(name="creation_date", type=TIMESTAMP)]
    return set_column_epochs(
        Table(
            schema=schema,
            name="epn_core",
            columns=tuple(column for column in columns if column.name not in less),
            utype="ivo://ivoa.net/std/epntap#table-2.0",
        )
    )


def build_arrow_rows(rows, table):
    filled = [{column.name: row.get(column.name) for column in table.columns} for row in rows]
    return pa.Table.from_pylist(
        filled, pa.schema([pa.field(column.name, column.type.arrow) for column in table.columns])
    )


def to_julian_date(text):
    return Time(text, scale="utc").jd


ROWS = [
    {"granule_uid": "a", "target_name": "Mars", "dataproduct_type": "im", "instrument_name": "OMEGA", "processing_level": 3, "time_min": to_julian_date("2004-01-14T00:00:00"), "time_max": to_julian_date("2004-01-14T01:00:00"), "c1min": 350.0, "c1max": 10.0, "spectral_range_min": 1e14, "spectral_range_max": 3e14, "incidence_min": 0.0, "incidence_max": 40.0, "creation_date": dt.datetime(2020, 1, 1)},
    {"granule_uid": "b", "target_name": "Mars#Phobos", "dataproduct_type": "sp#im", "instrument_name": "HRSC", "processing_level": 2, "time_min": to_julian_date("2005-06-01T00:00:00"), "time_max": to_julian_date("2005-06-02T00:00:00"), "c1min": 30.0, "c1max": 60.0, "spectral_range_min": 4e14, "spectral_range_max": 7e14, "creation_date": dt.datetime(2021, 6, 1)},
    {"granule_uid": "c", "target_name": "Venus", "dataproduct_type": "ds", "processing_level": 5, "creation_date": dt.datetime(2021, 12, 31, 23, 59, 59)},
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    one, two, hidden = table("omega"), table("venus", less=("incidence_min", "incidence_max")), table("secret")
    hidden = hidden.copy_with(access="private")
    with open_tiny_site(
        tmp_path_factory.mktemp("epn"),
        {
            "omega.epn_core": (one, build_arrow_rows(ROWS[:2], one)),
            "venus.epn_core": (two, build_arrow_rows(ROWS[2:], two)),
            "secret.epn_core": (hidden, build_arrow_rows([{**ROWS[0], "granule_uid": "x"}], hidden)),
        },
    ) as made_site:
        yield made_site


@pytest.fixture
def find(site):
    def run(text, who=ANONYMOUS_PRINCIPAL, **options):
        def ask(adql):
            with query.run_query(adql, who, site=site) as result:
                return [row for batch in result.iterate_batches() for row in batch.to_pylist()]

        asked = epn_conditions.translate_epn_tap_parameters(text, epn_conditions.fetch_epn_tap_tables(ask), **options)
        assert parse_query(write_adql(asked.query)) == asked.query  # the tree is the text that --show prints
        run.notes = asked.notes
        with query.run_query(asked.query, who, site=site) as result:
            return "".join(
                sorted(row["granule_uid"] for batch in result.iterate_batches() for row in batch.to_pylist())
            )

    return run


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "abc"), ("target_name=Mars", "ab"), ("target_name=mars", "ab"), ("target_name=Phobos", "b"), ("target_name=Pho*", "b"), ("target_name=P_o*", ""), ("granule_uid=_*", ""), ("target_name=%*", ""), ("target_name!=Mars", "c"), ("target_name=Venus,Phobos", "bc"),
        ("dataproduct_type=im,sp", "ab"), ("dataproduct_type=ds", "c"), ("service_title=x", ""), ("instrument_name=omega", "a"), ("granule_uid=a", "a"), ("granule_uid=A", ""),
        ("time=2004", "a"), ("time=2004-01-01/2005-01-01", "a"), ("time=2004-01-14T00:30:00/2005-06-01", "ab"), ("time=..2004-01", "a"), ("time>=2005", "b"), ("time>2004-01-13", "ab"), ("time>2004-01-14", "b"), ("time<2004-01-14", ""),
        ("time=2004-014", "a"), ("time=2004-013", ""), (f"time={to_julian_date('2004-01-14T00:10:00')}", "a"), ("time=53018mjd/53019mjd", "a"), ("time=2004-01-14T01:00:00", "a"), ("time=2004-01-14T01:00:01/2004-02", ""),
        ("c1=0/5", "a"), ("c1=-5/5", "a"), ("c1=5/40", "ab"), ("c1=350/35", "ab"), ("c1=11/29", ""), ("c1=0/360", "ab"), ("c1=200/355", "a"), ("c1=60/70", "b"), ("c1=0.6..0.7rad", "b"), ("c1=30/", "ab"),
        ("spectral_range=1..2um", "a"), ("spectral_range=..0.7um", "b"), ("spectral_range=2um/", "a"), ("spectral_range=500nm", "b"), ("spectral_range=2eV..", "b"), ("spectral_range=3e14/4e14", "ab"), ("spectral_range=3.1e14/3.9e14", ""),
        ("processing_level=3", "a"), ("processing_level=2,5", "bc"), ("processing_level>=3", "ac"), ("processing_level<3", "b"), ("processing_level=2/3", "ab"),
        ("creation_date=2021", "bc"), ("creation_date=2021-06-01", "b"), ("creation_date>2021-06", "c"), ("creation_date=2020-01-01T00:00:00", "a"), ("creation_date=2021-12-31", "c"),
        ("target_name=Mars & time=2004;c1='0/5'", "a"), ("time_min=2004", "a"), ("incidence=10/20", "a"),
    ],
)  # fmt: skip
def test_rows_that_are_found(find, text, found):
    assert find(text) == found


def test_what_is_left_out_is_said(find):
    assert find("incidence=10/20") == "a"
    assert find.notes == (
        "venus.epn_core is not queried, because it has no parameter 'incidence'",
        "rows without a known incidence are left out",
    )
    assert find("c1=200/340") == ""
    assert find("c1=200/340", include_unknown=True) == "c"
    assert not any("left out" in note for note in find.notes)


def test_a_private_table_is_no_part_of_an_answer_to_a_stranger(find):
    assert find("target_name=Mars", OWNER_PRINCIPAL) == "abx"
    assert "x" not in find("target_name=Mars")


@pytest.mark.parametrize(
    ("text", "column", "message", "remedy"),
    [
        ("target=Mars", 1, "no parameter 'target'", "target_name"), ("time=2004 targetname=x", 11, "no parameter 'targetname'", "target_name"), ("time=20", 6, "'20' is not a date", "2004"), ("time=2004-02-30", 6, "is not a date", "2004"),
        ("time=2004-400", 6, "is not a date", "2004"), ("c1=10km", 4, "km cannot be converted to deg", "can be converted to 'deg' (the unit of 'c1min')"), ("spectral_range=1..2parsnip", 20, "parsnip", ""), ("spectral_range=..0um", 18, "0 um is not a wavelength", "open"),
        ("target_name", 12, "has no value", "name=value"[-5:]), ("target_name='a", 13, "quote", "'"), ("time=2005/2004", 6, "ends before it begins", "smaller"), ("c2=20/10", 4, "ends before", "smaller"), ("target_name>3", 1, "is a string", "target_name="),
        ("c2=x", 4, "'x' is not a number", "unit"), ("=3", 1, "the name of a parameter", "name=value"), ("c2=", 4, "a value was expected", "name=value"), ("c2>1/2", 4, "not a range", "="), ("c2=/", 4, "the range has no ends", "10/"),
    ],
)  # fmt: skip
def test_faults_say_where_and_what_to_do(text, column, message, remedy):
    with pytest.raises(ParseError) as caught:
        epn_conditions.translate_epn_tap_parameters(text, [table("omega")])
    assert (caught.value.line, caught.value.column) == (1, column)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_service_without_tables_says_so():
    with pytest.raises(NotFoundError, match="no EPN-TAP table"):
        epn_conditions.fetch_epn_tap_tables(lambda _: [])


angle = st.integers(0, 24).map(lambda number: number * 15.0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(st.tuples(angle, angle), min_size=1, max_size=30), asked=st.tuples(angle, angle))
@example(rows=[(0.0, 0.0), (0.0, 15.0), (350.0, 360.0)], asked=(15.0, 360.0))
@example(rows=[(360.0, 360.0), (345.0, 360.0), (345.0, 0.0)], asked=(0.0, 15.0))
def test_longitudes_that_go_across_zero_by_sampling_the_circle(rows, asked, tmp_path):
    """Both intervals are sampled every half degree: they overlap if they share a sample."""

    def samples(low, high):
        return {number % 720 for number in range(int(2 * low), int(2 * (high if high >= low else high + 360)) + 1)}

    own = table("omega")
    condition = epn_conditions.translate_epn_tap_parameters(f"c1={asked[0]}/{asked[1]}", [own]).query.body.where
    wanted = [bool(samples(*row) & samples(*asked)) for row in rows]
    assert [_holds(condition, {"c1min": low, "c1max": high}) for low, high in rows] == wanted


def _holds(condition, row):
    """Evaluate a condition of comparisons by Python."""
    kind = type(condition).__name__
    if kind in {"Conjunction", "Disjunction"}:
        return (all if kind == "Conjunction" else any)(_holds(part, row) for part in condition.parts)
    if kind == "NullPredicate":
        return condition.negated
    left, right = (
        row[side.name.name] if type(side).__name__ == "ColumnRef" else side.value
        for side in (condition.left, condition.right)
    )
    return {">=": left >= right, "<=": left <= right, ">": left > right, "<": left < right, "=": left == right}[
        condition.op
    ]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1e4), st.floats(1.0, 10.0), st.sampled_from(["nm", "um", "mm", "cm**-1", "eV", "GHz"]))
def test_spectral_ranges_as_astropy(low, factor, unit):
    condition = epn_conditions.translate_epn_tap_parameters(
        f"spectral_range={low!r}..{low * factor!r}{unit}", [table("omega")]
    ).query.body.where
    got = sorted(part.right.value for part in condition.parts)
    wanted = sorted(
        (value * u.Unit(unit.replace("**", ""))).to_value(u.Hz, u.spectral()) for value in (low, low * factor)
    )
    assert got == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("2004-01-14T00:30~30 min", "2004-01-14T00:00:00", "2004-01-14T01:00:00"),
        ("2004-01-14T00:30 ~ 90s", "2004-01-14T00:28:30", "2004-01-14T00:31:30"),
        ("2004-01-14~1 d", "2004-01-13T00:00:00", "2004-01-16T00:00:00"),
        ("2453018.5~0.5 h", "2004-01-13T23:30:00", "2004-01-14T00:30:00"),
    ],
)
def test_a_moment_and_what_is_around_it(value, first, last):
    found = write_adql(epn_conditions.build_parameter_condition(table("omega"), "creation_date", "=", value))
    assert f">= '{first}'" in found or f"BETWEEN '{first}'" in found
    assert last in found
    low, high = (
        float(word)
        for word in re.findall(
            r"\d+\.\d+", write_adql(epn_conditions.build_parameter_condition(table("omega"), "time", "=", value))
        )
    )
    assert low == pytest.approx(to_julian_date(first), abs=1e-8)
    assert high == pytest.approx(to_julian_date(last), abs=1e-8)


def test_a_table_that_a_value_does_not_fit_is_left_out():
    plain = [Column(name=name, type=FLOAT64) for name in ("c1min", "c1max")]
    other = Table(schema="spectra", name="epn_core", columns=(Column(name="granule_uid", type=STRING), *plain))
    for order in ([table("omega"), other], [other, table("omega")]):
        found = epn_conditions.translate_epn_tap_parameters("c1=350/10", order)
        assert found.tables == ("omega.epn_core",)
        notes = [str(note) for note in found.notes]
        assert "spectra.epn_core is not queried: c1: the range '350/10' ends before it begins" in notes
    with pytest.raises(ParseError, match="c1: the range '350/10' ends before it begins"):
        epn_conditions.translate_epn_tap_parameters("c1=350/10", [other])
    with pytest.raises(ParseError, match="'x' is not a number"):
        epn_conditions.translate_epn_tap_parameters("c1=x", [table("omega"), other])


@pytest.mark.parametrize("text", ["9999-12-31", "9999-365", "9999-12", "9999"])
def test_the_last_times_are_found(text):
    begin, last = dt.datetime(9999, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
    if text != "9999":
        begin = dt.datetime(9999, 12, 1 if text == "9999-12" else 31)
    for value, (low, high) in {
        text: (begin, last),
        f"2004..{text}": (dt.datetime(2004, 1, 1), last),
        f"{text}..": (begin, None),
    }.items():
        found = write_adql(epn_conditions.build_parameter_condition(table("omega"), "creation_date", "=", value))
        if high is None:
            assert found == f"creation_date >= '{low.isoformat()}'"
        else:
            assert found == f"creation_date BETWEEN '{low.isoformat()}' AND '{high.isoformat()}'"
    after = write_adql(epn_conditions.build_parameter_condition(table("omega"), "creation_date", ">", text))
    assert after == f"creation_date > '{last.isoformat()}'"


@pytest.mark.parametrize(
    "value",
    [
        "2004-01-14~",
        "2004-01-14~3",
        "2004-01-14~-3 min",
        "2004-01-14~3 km",
        "2004-01-14~1e300 yr",
        "x~3 min",
        "9999-12-31~10 yr",
    ],
)
def test_lengths_of_time_that_are_none(value):
    with pytest.raises(ParseError) as caught:
        epn_conditions.build_parameter_condition(table("omega"), "time", "=", value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("9007199254740993", "source_id = 9007199254740993"),
        ("9007199254740993,-9007199254740995", "source_id = 9007199254740993 OR source_id = -9007199254740995"),
        ("9007199254740993..9223372036854775807", "source_id BETWEEN 9007199254740993 AND 9223372036854775807"),
        ("9007199254740993ms", "source_id = 9007199254740993"),
        ("5e3", "source_id = 5000"),
    ],
)
def test_whole_numbers_keep_their_digits(text, where):
    one = Table(
        schema="a", name="b", columns=(Column(name="source_id", type=INT64, unit="ms" if "ms" in text else None),)
    )
    assert write_adql(epn_conditions.build_parameter_condition(one, "source_id", "=", text)) == where


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("2020-01-01T00:00:00-05:00", "2020-01-01T05:00:00"),
        ("2016-12-31T23:59:60", "2017-01-01T00:00:00"),
        ("2020-01-01T24:00:00", "2020-01-02T00:00:00"),
    ],
)
@pytest.mark.parametrize("name", ["creation_date", "time"])
def test_times_with_an_offset_and_at_the_edges_of_a_day(name, text, plain):
    found, wanted = (
        write_adql(epn_conditions.translate_epn_tap_parameters(f"{name}>={value}", [table("omega")]).query)
        for value in (text, plain)
    )
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("-1.46", "vmag = -1.4600000381469727"),
        ("..6.46", "vmag <= 6.460000038146973"),
        ("0.1..2.5", "vmag BETWEEN 0.10000000149011612 AND 2.5"),
        ("0.0065kmag", "vmag = 6.5"),
        ("1e300", "vmag = 1E+300"),
        ("1e-300", "vmag = 1E-300"),
    ],
)
def test_numbers_are_compared_in_the_precision_of_the_column(text, where):
    one = Table(schema="a", name="b", columns=(Column(name="vmag", type=FLOAT32, unit="mag"),))
    assert write_adql(epn_conditions.build_parameter_condition(one, "vmag", "=", text)) == where


@pytest.mark.parametrize("type_text", ["float64[*]", "16x*", "polygon", "moc", "interval"])
def test_arrays_and_regions_are_not_compared(type_text):
    kind = ColumnType("char", type_text) if "x" in type_text else parse_type(type_text)
    one = Table(schema="a", name="b", columns=(Column(name="place", type=kind),))
    for value in ("1", "Circle*", "1..2"):
        with pytest.raises(ParseError, match="a condition cannot compare 'place', whose values are arrays or regions"):
            epn_conditions.build_parameter_condition(one, "place", "=", value)
    assert write_adql(epn_conditions.build_parameter_condition(one, "place", "!=", "null")) == "place IS NOT NULL"


def test_arrays_of_a_service_are_no_numbers():
    def ask(text):
        if "TAP_SCHEMA.tables" in text:
            return [{"table_name": "a.epn_core"}]
        kinds = {"s_region": ("double", "*"), "c1min": ("double", None), "c1max": ("double", "1"), "old": ("double", 3)}
        return [
            {"table_name": "a.epn_core", "column_name": name, "datatype": datatype, "arraysize": arraysize}
            for name, (datatype, arraysize) in kinds.items()
        ]

    tables = epn_conditions.fetch_epn_tap_tables(ask)
    assert "c1min" in write_adql(epn_conditions.translate_epn_tap_parameters("c1=1/2", tables).query)
    for name in ("s_region", "old"):
        with pytest.raises(ParseError, match=f"cannot compare '{name}', whose values are arrays"):
            epn_conditions.translate_epn_tap_parameters(f"{name}=x", tables)
