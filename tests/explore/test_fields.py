"""Parts of a field and the condition that they are; one row for each step of time against numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_table import TABLE

from hven import query
from hven.adql import parse_query
from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT64, INT32, STRING, TIMESTAMP, parse_type
from hven.portal._explore import cadence, parse_search, search_fields
from hven.portal._explore.column_labels import ColumnLabels
from hven.portal._explore.search_fields import FormFieldParts
from hven.portal._views import search_form as drawn
from hven.site import Site
from hven.testing.site import open_tiny_site


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (FormFieldParts(), ""),
        (FormFieldParts(low="1", high="2"), "1..2"),
        (FormFieldParts(low="1", high="2", unit="m"), "1..2 m"),
        (FormFieldParts(low="1", unit="m"), "1 m.."),
        (FormFieldParts(high="2", unit="m"), "..2 m"),
        (FormFieldParts(low="3", high="3"), "3"),
        (FormFieldParts(low="19:02:17", high="19:10"), "19:02:17..19:10"),
        (FormFieldParts(low="2004-01-01T12:00", margin="30", unit="min"), "2004-01-01T12:00~30 min"),
    ],
)
def test_parts_and_their_condition(parts: FormFieldParts, text: str) -> None:
    assert search_fields.write_field_condition(parts) == text
    assert search_fields.split_field_condition([text] if text else [], is_time="~" in text) == parts


@pytest.mark.parametrize("text", ["..6", "1,2", "!null", "<6", "null", "=5", "bright", '"a, b"', "1..2,5..6"])
def test_a_whole_condition_in_the_first_part_is_taken_as_it_is(text: str) -> None:
    assert search_fields.write_field_condition(FormFieldParts(low=text, unit="km")) == text


@given(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "10 km..20",
                "1..2 km",
                "1 m..2 km",
                "..5 km",
                "5 km..",
                "2004..2005",
                "350..10",
                "<3",
                "1,2",
                "-1..-0.5",
                "1e3..2e3 m",
                "350/10",
                "1/2 km",
                "/5",
                "5/",
            ]
        ),
    )
)
def test_what_a_form_shows_is_sent_back_the_same(text: str) -> None:
    first = parse_search([("size", text)], TABLE)
    if first.faults or not first.conditions:
        return
    parts = search_fields.split_field_condition(first.conditions[0][1])
    again = parse_search([("size", search_fields.write_field_condition(parts))], TABLE)
    assert again.faults == ()
    assert again.build_condition() == first.build_condition()


@pytest.mark.parametrize(
    ("name", "sexagesimal", "degrees"),
    [
        ("ra", "19:30:00..19h40m", "292.5..295"),
        ("ra", "23:00..1:00", "345..15"),
        ("ra", "295d30m", "295.5"),
        ("dec", "-5:30..+10:15:36", "-5.5..10.26"),
        ("dec", "-0:30", "-0.5"),
        ("dec", ">=12d30'", ">=12.5"),
    ],
)
def test_sexagesimal_ends_are_degrees(name: str, sexagesimal: str, degrees: str) -> None:
    columns = [Column(name=key, type=FLOAT64, unit="deg", ucd=f"pos.eq.{key};meta.main") for key in ("ra", "dec")]
    table = Table(schema="a", name="b", columns=tuple(columns))
    search = parse_search([(name, sexagesimal)], table)
    assert search.faults == ()
    assert search.build_condition() == parse_search([(name, degrees)], table).build_condition()


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("19:61:00", "'19:61:00' is not an angle", "as in 19:02:17"),
        ("1:2:3:4", "'1:2:3:4' is not an angle", "as in 19:02:17"),
        ("5 parsecs", "cannot be converted", "use a unit"),
    ],
)
def test_what_is_no_angle_is_told_with_a_remedy(text: str, message: str, remedy: str) -> None:
    column = Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main")
    (fault,) = parse_search([("ra", text)], Table(schema="a", name="b", columns=(column,))).faults
    assert message in fault.message
    assert remedy in fault.remedy


def test_a_range_with_a_stroke_is_a_range() -> None:
    assert search_fields.split_field_condition(["350/10"]) == FormFieldParts(low="350", high="10")
    assert search_fields.split_field_condition(["1/2 km"]) == FormFieldParts(low="1", high="2", unit="km")
    assert search_fields.split_field_condition(["2004/2005-06"], is_time=True) == FormFieldParts(
        low="2004", high="2005-06"
    )
    assert search_fields.split_field_condition(["10 km/s"]) == FormFieldParts(low="10", high="10", unit="km/s")
    assert search_fields.write_field_condition(FormFieldParts(low="350/10")) == "350/10", "written into the first part"
    assert search_fields.write_field_condition(FormFieldParts(low="10 km/s")) == "10 km/s.."


@pytest.mark.parametrize("date", ["2012", "2012-09", "2012-09-03"])
def test_a_date_alone_is_all_of_it(date: str) -> None:
    for sent, condition in (
        (("2012-09-03T10:00", ""), "2012-09-03T10:00.."),
        ((date, ""), date),
        ((f"{date}..", ""), f"{date}.."),
    ):
        parts = [("seen", sent[0]), ("_to.seen", sent[1]), ("_pm.seen", ""), ("_as.seen", "min")]
        assert search_fields.join_form_field_parameters(parts) == ([("seen", condition)], True)
        assert (
            search_fields.write_field_condition(
                search_fields.split_field_condition([condition], is_time=True), is_time=True
            )
            == condition
        ), "shown and sent again"
    assert search_fields.split_field_condition([f"{date}.."], is_time=True) == FormFieldParts(low=f"{date}..")
    assert search_fields.join_form_field_parameters([("size", "2012"), ("_to.size", "")]) == (
        [("size", "2012..")],
        True,
    ), "a number is none"
    assert search_fields.join_form_field_parameters(
        [("seen", date), ("_to.seen", "2013"), ("_pm.seen", ""), ("_as.seen", "min")]
    ) == (
        [("seen", f"{date}..2013")],
        True,
    )
    assert search_fields.join_form_field_parameters(
        [("seen", date), ("_to.seen", ""), ("_pm.seen", "2"), ("_as.seen", "h")]
    ) == (
        [("seen", f"{date}~2 h")],
        True,
    )


def test_a_pair_is_one_field_in_whatever_order_its_columns_stand() -> None:
    columns = {name: Column(name=name, type=FLOAT64, unit="T") for name in ("field_max", "field_min", "other")}
    for order in (("field_max", "other", "field_min"), ("field_min", "field_max", "other")):
        table = TABLE.copy_with(columns=tuple(columns[name] for name in order), primary=(), position=None)
        assert [(one.name, one.column.name, one.is_pair) for one in search_fields.build_form_fields(table)] == [
            ("field", "field_min", True),
            ("other", "other", False),
        ]
    assert [one.name for one in search_fields.build_form_fields(table, ["field_max"])] == [
        "field",
        "field_max",
        "other",
    ]


def begun(*more: Column, form: tuple[str, ...] = ()) -> list[str]:
    """Return the fields that the form of a table of EPN-TAP begins with; `more` columns are its own."""
    known = [("granule_uid", STRING, "meta.id", "identity"), ("target_name", STRING, "meta.id;src", "target")]
    known += [(f"time_{end}", FLOAT64, "time", "time") for end in ("min", "max")]
    known += [(f"spectral_range_{end}", FLOAT64, f"em.freq;stat.{end}", "spectrum") for end in ("min", "max")]
    known += [("spectral_sampling_step_min", FLOAT64, "em.freq;spect.binSize;stat.min", "spectrum")]
    columns = [
        Column(name=name, type=kind, unit="Hz" if "em." in ucd else None, ucd=ucd, section=section, rank=15, std=True)
        for name, kind, ucd, section in known
    ]
    table = Table(schema="a", name="epn_core", columns=(*columns, *more), form=form)
    made = drawn.build_search_form(parse_search([], table), None, ColumnLabels(table=table))
    (first,) = [one for one in made.sections if one.name == "main"]
    assert first.open
    return [one.name for one in first.fields]


def test_a_form_of_many_columns_folds_most_of_them() -> None:
    columns = tuple(Column(name=f"own{number}", type=INT32, rank=1) for number in range(400))
    table = Table(schema="a", name="wide", columns=columns)

    def list_sections(table: Table, *pairs: tuple[str, str]) -> list[tuple[str, bool, list[str]]]:
        form = drawn.build_search_form(parse_search(pairs, table), None, ColumnLabels(table=table))
        return [(one.name, one.open, [field.name for field in one.fields]) for one in form.sections]

    names = [column.name for column in columns]
    shown = names[: drawn.MAX_MAIN_FIELDS]
    assert list_sections(table) == [("main", True, shown), ("more", False, names[len(shown) :])]
    # fields with values stay in sight, also invalid ones
    (main, more) = list_sections(table, ("own300", "1..2"), ("own200", "abc"))
    assert main == ("main", True, [*shown, "own200", "own300"])
    assert len(more[2]) == 400 - len(main[2])
    # a descriptor chooses by itself
    (main, _) = list_sections(table.copy_with(form=tuple(reversed(names[:30]))))
    assert main == ("main", True, names[29::-1])


def test_a_form_with_few_fields_begins_with_light_too() -> None:
    own = [Column(name=f"own{at}", type=INT32, rank=1) for at in range(3)]
    wave = Column(name="wavelength", type=FLOAT64, unit="nm", ucd="em.wl", rank=1)
    noisy = Column(name="noisy", type=parse_type("float64[*]"), unit="MHz", ucd="em.freq", rank=1)
    assert begun() == ["time", "target_name", "spectral_range"]
    assert begun(noisy) == ["time", "target_name", "spectral_range", "noisy"], (
        "a list of frequencies is asked as a text"
    )
    assert begun(wave) == ["time", "target_name", "wavelength"], "light stands there"
    assert begun(*own) == ["time", "target_name", "own0", "own1", "own2"], "there are enough"
    assert begun(form=("time",)) == ["time"], "what the descriptor says holds"


def test_a_place_without_a_radius_has_a_degree() -> None:
    def parse_place(text: str) -> tuple[float, float, float, str]:
        found = parse_search([("_near", text)], TABLE, locate=lambda name: (226.2, 18.6)).near
        assert found is not None, text
        return (found.longitude, found.latitude, found.radius_degrees, found.name)

    assert parse_place("Olympus Mons") == (226.2, 18.6, 1.0, "Olympus Mons")
    assert parse_place("Olympus Mons,0.5") == (226.2, 18.6, 0.5, "Olympus Mons")
    assert parse_place("83.63 22.01") == (83.63, 22.01, 1.0, "")
    assert parse_place("83.63,22.01,0.5") == (83.63, 22.01, 0.5, "")


def test_a_form_without_scripts_asks_for_the_same() -> None:
    sent = [
        ("size", "1000"),
        ("_to.size", "2000"),
        ("_as.size", "m"),
        ("_near", "05:31:00 +22:00:00"),
        ("_radius", "30"),
        ("_radius_unit", "arcmin"),
        ("target_name", ""),
        ("_every", ""),
    ]
    pairs, parted = search_fields.join_form_field_parameters(sent)
    assert parted
    assert pairs == [("size", "1000..2000 m"), ("_near", "05:31:00 +22:00:00,30 arcmin")]
    search = parse_search(pairs, TABLE)
    assert search.faults == ()
    assert search.near is not None
    assert (search.near.longitude, search.near.latitude, search.near.radius_degrees) == pytest.approx(
        (82.75, 22.0, 0.5)
    )
    assert search_fields.join_form_field_parameters([("size", "1..2")]) == ([("size", "1..2")], False)


def test_kinds_and_units() -> None:
    kinds = {column.name: search_fields.classify_form_field(column, TABLE) for column in TABLE.columns}
    assert kinds == {
        "id": "range",
        "target_name": "text",
        "ra": "range",
        "dec": "range",
        "size": "range",
        "solar_longitude": "range",
        "time_min": "time",
        "time_max": "time",
    }
    assert search_fields.list_query_units("km")[:2] == ("km", "m")
    assert {"um", "nm", "eV"} <= set(search_fields.list_query_units("Hz"))
    assert (
        search_fields.list_query_units(None)
        == search_fields.list_query_units("adu")
        == search_fields.list_query_units("no such unit")
        == ()
    )


BEGIN = datetime(2012, 6, 5, tzinfo=UTC)
WAVES = (94, 131, 171, 193, 211, 304, 335, 1600, 1700)
SDO = set_column_epochs(
    Table(
        schema="sdo",
        name="main",
        primary=("id",),
        columns=(
            Column(name="id", type=STRING, rank=1),
            Column(name="wavelength", type=INT32, unit="Angstrom"),
            Column(name="t", type=TIMESTAMP, ucd="time.start;obs"),
            Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"),
        ),
    )
)


def build_observations() -> list[dict[str, object]]:
    """Three days, nine wavelengths, each 12 min with some seconds of its own; twice the same moment at each hour."""
    rows = []
    for step in range(-120, 241):
        for at, wave in enumerate(WAVES):
            when = BEGIN + timedelta(minutes=12 * step, seconds=0 if step % 5 == 0 else (step * 7 + at * 11) % 40)
            jd = 2440587.5 + when.timestamp() / 86400
            rows.append(
                {"id": f"{wave}-{step:04d}", "wavelength": wave, "t": when.replace(tzinfo=None), "time_min": jd}
            )
            if step % 5 == 0:
                rows.append(
                    {
                        "id": f"{wave}-{step:04d}-again",
                        "wavelength": wave,
                        "t": when.replace(tzinfo=None),
                        "time_min": jd,
                    }
                )
    return rows


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("cadence"),
        {"sdo.main": (SDO, pa.Table.from_pylist(build_observations(), schema=SDO.arrow_schema))},
    ) as made:
        yield made


@pytest.mark.parametrize("column", ["t", "time_min"])
def test_a_day_nine_wavelengths_one_hour_are_216_rows(site: Site, column: str) -> None:
    table = SDO.copy_with(
        columns=tuple(one for one in SDO.columns if one.name not in {"t", "time_min"} or one.name == column)
    )
    search = parse_search([(column, "2012-06-05"), ("_every", "1 h,wavelength")], table)
    assert search.faults == ()
    with query.run_query(search.build_count_query(), site=site) as result:
        assert result.read_table().column(0)[0].as_py() == 216
    with query.run_query(parse_query(search.write_adql()), site=site) as result:
        found = set(result.read_table().column("id").to_pylist())
    assert found == {f"{wave}-{5 * hour:04d}" for wave in WAVES for hour in range(24)}


def nearest(rows: list[dict[str, object]], origin: float, begin: float, end: float, step: float) -> set[object]:
    """Choose by numpy: for each step of each series the nearest of its rows, in milliseconds, no more than half a step away."""
    found: set[object] = set()
    for wave in {row["wavelength"] for row in rows}:
        some = sorted((row["ms"], row["id"]) for row in rows if row["wavelength"] == wave and begin <= row["ms"] < end)  # type: ignore[operator]
        times = np.array([when for when, _ in some], np.float64)
        # the end belongs to nothing
        for at in range(int((begin - origin) // step), math.ceil((end - origin) / step)) if some else ():
            off = times - (origin + at * step)
            inside = np.flatnonzero((-step / 2 < off) & (off <= step / 2))
            if inside.size:
                found.add(some[int(inside[np.argmin(np.abs(off[inside]))])][1])  # the first of equal ones: the earlier
    return found


@pytest.mark.parametrize("column", ["t", "time_min", "t_min"])
@pytest.mark.parametrize(
    ("begins", "every"), [("", "1 h"), ("2012-06-05T00:07:30", "1 h"), ("2012-06-05T00:07:30", "10 min"), ("", "7 h")]
)
def test_rows_nearest_to_each_step_equal_those_of_numpy(tmp_path: Path, column: str, begins: str, every: str) -> None:
    """Times with jitter, with gaps, two at the same distance, one in the middle between two steps."""
    lots = np.random.default_rng(12)
    zero = int(BEGIN.timestamp() * 1000)
    rows: list[dict[str, object]] = []
    for wave in WAVES[:3]:
        times = zero + np.arange(-200, 400) * 720_000 + lots.integers(-300_000, 300_000, 600)
        times = times[(lots.random(600) > 0.3) & ~((times > zero + 20_000_000) & (times < zero + 50_000_000))]
        even = zero + 450_000 + np.arange(1, 6) * 3_600_000  # steps of both origins lie between these pairs
        times = np.concatenate(
            [times, even - 1_234, even + 1_234, even - 450_000 - 77, even - 450_000 + 77, even + 1_800_000]
        )
        for at, ms in enumerate(lots.permutation(times).tolist()):
            when = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
            jd = 2440587.5 + ms / 86_400_000
            rows.append(
                {"id": f"{wave}-{at}", "wavelength": wave, "t": when, "time_min": jd, "t_min": jd - 2400000.5, "ms": ms}
            )
    modified = Column(name="t_min", type=FLOAT64, unit="d", ucd="time.start")
    whole = set_column_epochs(SDO.copy_with(columns=(*SDO.columns, modified)))
    asked = whole.copy_with(columns=tuple(one for one in whole.columns if one.name in {"id", "wavelength", column}))
    unit = {"h": 3_600_000, "min": 60_000}[every.split()[1]] * float(every.split(maxsplit=1)[0])
    pairs = (
        [(column, f"{begins}..2012-06-06T12:00:00"), ("_every", f"{every},wavelength")]
        if begins
        else [("_every", f"{every},wavelength")]
    )
    search = parse_search(pairs, asked)
    assert search.faults == ()
    if begins:
        origin = begin = zero + 450_000.0
        end = zero + 36 * 3_600_000.0
    else:
        origin = datetime(1858, 11, 17, tzinfo=UTC).timestamp() * 1000
        begin, end = zero - 1e9, zero + 1e9
    wanted = nearest(rows, origin, begin, end, unit)
    with (
        open_tiny_site(tmp_path, {"sdo.main": (whole, pa.Table.from_pylist(rows, schema=whole.arrow_schema))}) as made,
        query.run_query(parse_query(search.write_adql()), site=made) as result,
    ):
        found = result.read_table().column("id").to_pylist()
    assert len(found) == len(set(found)) == len(wanted)
    assert set(found) == wanted


SPANS = set_column_epochs(
    Table(
        schema="sdo",
        name="spans",
        primary=("id",),
        columns=(
            Column(name="id", type=INT32),
            Column(name="t_min", type=TIMESTAMP, ucd="time.start"),
            Column(name="t_max", type=TIMESTAMP, ucd="time.end"),
        ),
    )
)
EXPOSURES = [
    (at * 347 + (at * at * 97) % 250, (at * 31) % 400) for at in range(-60, 400)
]  # seconds from BEGIN, how long


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rows = [
        {"id": at, "t_min": BEGIN + timedelta(seconds=when), "t_max": BEGIN + timedelta(seconds=when + long)}
        for at, (when, long) in enumerate(EXPOSURES)
    ]
    with open_tiny_site(
        tmp_path_factory.mktemp("spans"), {"sdo.spans": (SPANS, pa.Table.from_pylist(rows, schema=SPANS.arrow_schema))}
    ) as made:
        yield made


@pytest.mark.parametrize("name", ["t", "t_min"])
@pytest.mark.parametrize(
    ("asked", "first", "last", "closed"),
    [
        ("2012-06-05T00:07:30..2012-06-05T20:07:30", 450, 72_450, True),
        ("2012-06-05T00:07:31..2012-06-05T20:00:00", 451, 72_000, True),
        ("2012-06-05T12:00~90 min", 37_800, 48_600, True),
        ("2012-06-05", 0, 86_400, False),
        ("2012-06-05T06:00:10..", 21_610, None, False),
    ],
)
@pytest.mark.parametrize("step", [60, 600, 3600, 5400])
def test_steps_start_at_t0_and_match_a_search_in_whole_seconds(
    spans: Site, name: str, asked: str, first: int, last: int | None, closed: bool, step: int
) -> None:
    """Steps one by one in whole seconds, with nothing of ours: of each the nearest exposure among those that are asked for."""
    limit = 10**9 if last is None else last
    found = [
        (when, at)
        for at, (when, long) in enumerate(EXPOSURES)
        if (when + long if name == "t" else when) >= first and (when <= limit if closed else when < limit)
    ]
    wanted = set()
    for moment in range(first, min(limit + closed, max(when for when, _ in found) + step), step):
        near = [(abs(when - moment), when, at) for when, at in found if -step < 2 * (when - moment) <= step]
        wanted |= {min(near)[2]} if near else set()
    search = parse_search([(name, asked), ("_every", f"{step} s")], SPANS)
    assert search.faults == ()
    with query.run_query(parse_query(search.write_adql()), site=spans) as result:
        assert sorted(result.read_table().column("id").to_pylist()) == sorted(wanted)
    assert 0 < len(wanted) < len(found) or step == 60


def test_dates_of_modified_julian_dates_and_whole_days(site: Site) -> None:
    table = set_column_epochs(
        SDO.copy_with(
            columns=(
                SDO.columns[0],
                Column(name="t_min", type=FLOAT64, unit="d", ucd="time.start;obs.exposure"),
                Column(name="t_max", type=FLOAT64, unit="d", ucd="time.end;obs.exposure"),
            )
        )
    )
    assert "t_max >= 53018.0" in parse_search([("t", "2004-01-14..2004-01-15")], table).write_adql()
    assert "t_min < 53020.0" in parse_search([("t", "2004-01-14..2004-01-15")], table).write_adql()
    assert "BETWEEN 53000.0 AND 53001.0" in parse_search([("t_min", "53000..53001")], table).write_adql()
    assert "CEILING(t_min *" in parse_search([("_every", "1 d")], table).write_adql()
    days = parse_search(
        [("time_min", "2012-06-05..2012-06-06"), ("_every", "1 d")],
        SDO.copy_with(columns=tuple(one for one in SDO.columns if one.name != "t")),
    )
    with query.run_query(days.build_count_query(), site=site) as result:
        assert result.read_table().column(0)[0].as_py() == 2, (
            "days begin at midnight, though Julian dates change at noon"
        )


def test_a_cadence_in_the_address(site: Site) -> None:
    search = parse_search([("_every", "90 min")], SDO)
    assert search.list_parameters() == [("_every", "90 min")]
    assert cadence.find_time_column(SDO) is not None
    for wrong in ("1", "1 km", "0 h", "1 h,foo", "-1 h", "1e9 d", ""):
        told = parse_search([("_every", wrong)], SDO)
        assert (len(told.faults), told.wrong) == ((1, (("_every", wrong),)) if wrong else (0, ()))
    assert parse_search([("_every", "1 h")], TABLE.copy_with(primary=())).faults[0].field == "_every"
