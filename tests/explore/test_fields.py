"""Parts of a field and the condition that they are; one row in each stretch of time against a loop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searched import TABLE

from hven import query
from hven.adql import parse
from hven.explore import cadence, fields, read
from hven.explore.fields import Parts
from hven.holdings import Site
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING, TIMESTAMP
from hven.testing.site import tiny_site


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (Parts(), ""),
        (Parts(low="1", high="2"), "1..2"),
        (Parts(low="1", high="2", unit="m"), "1..2 m"),
        (Parts(low="1", unit="m"), "1 m.."),
        (Parts(high="2", unit="m"), "..2 m"),
        (Parts(low="3", high="3"), "3"),
        (Parts(low="2004-01-01T12:00", around="30", unit="min"), "2004-01-01T12:00~30 min"),
    ],
)
def test_parts_and_their_condition(parts: Parts, text: str) -> None:
    assert fields.written(parts) == text
    assert fields.taken([text] if text else [], time="~" in text) == parts


@pytest.mark.parametrize("text", ["..6", "1,2", "!null", "<6", "null", "=5", "bright", '"a, b"', "1..2,5..6"])
def test_a_whole_condition_in_the_first_part_is_taken_as_it_is(text: str) -> None:
    assert fields.written(Parts(low=text, unit="km")) == text


@given(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["10 km..20", "1..2 km", "1 m..2 km", "..5 km", "5 km..", "2004..2005", "350..10", "<3", "1,2", "-1..-0.5", "1e3..2e3 m"]
        ),
    )
)
def test_what_a_form_shows_is_sent_back_the_same(text: str) -> None:
    first = read([("size", text)], TABLE)
    if first.faults or not first.conditions:
        return
    parts = fields.taken(first.conditions[0][1])
    again = read([("size", fields.written(parts))], TABLE)
    assert again.faults == ()
    assert again.where() == first.where()


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
    pairs, parted = fields.joined(sent)
    assert parted
    assert pairs == [("size", "1000..2000 m"), ("_near", "05:31:00 +22:00:00,30 arcmin")]
    search = read(pairs, TABLE)
    assert search.faults == ()
    assert search.near is not None
    assert (search.near.lon, search.near.lat, search.near.radius) == pytest.approx((82.75, 22.0, 0.5))
    assert fields.joined([("size", "1..2")]) == ([("size", "1..2")], False)


def test_kinds_and_units() -> None:
    kinds = {column.name: fields.kind(column, TABLE) for column in TABLE.columns}
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
    assert fields.offered("km")[:2] == ("km", "m")
    assert {"um", "nm", "eV"} <= set(fields.offered("Hz"))
    assert fields.offered(None) == fields.offered("adu") == fields.offered("no such unit") == ()


BEGIN = datetime(2012, 6, 5, tzinfo=UTC)
WAVES = (94, 131, 171, 193, 211, 304, 335, 1600, 1700)
SDO = Table(
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


def observed() -> list[dict[str, object]]:
    """Three days, nine wavelengths, each 12 min with some seconds of its own; twice the same moment at each hour."""
    rows = []
    for step in range(-120, 241):
        for at, wave in enumerate(WAVES):
            when = BEGIN + timedelta(minutes=12 * step, seconds=0 if step % 5 == 0 else (step * 7 + at * 11) % 40)
            jd = 2440587.5 + when.timestamp() / 86400
            rows.append({"id": f"{wave}-{step:04d}", "wavelength": wave, "t": when.replace(tzinfo=None), "time_min": jd})
            if step % 5 == 0:
                rows.append({"id": f"{wave}-{step:04d}-again", "wavelength": wave, "t": when.replace(tzinfo=None), "time_min": jd})
    return rows


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with tiny_site(tmp_path_factory.mktemp("cadence"), {"sdo.main": (SDO, pa.Table.from_pylist(observed(), schema=SDO.arrow))}) as made:
        yield made


@pytest.mark.parametrize("column", ["t", "time_min"])
def test_a_day_nine_wavelengths_one_hour_are_216_rows(site: Site, column: str) -> None:
    table = SDO.having(columns=tuple(one for one in SDO.columns if one.name not in {"t", "time_min"} or one.name == column))
    search = read([(column, "2012-06-05"), ("_every", "1 h,wavelength")], table)
    assert search.faults == ()
    with query.run(search.count(), site=site) as result:
        assert result.table().column(0)[0].as_py() == 216
    with query.run(parse(search.adql()), site=site) as result:
        found = set(result.table().column("id").to_pylist())
    first: dict[tuple[object, int], dict[str, object]] = {}
    for row in sorted(observed(), key=lambda one: (one["t"], one["id"])):
        hours = (row["t"] - BEGIN.replace(tzinfo=None)) // timedelta(hours=1)  # type: ignore[operator]
        if 0 <= hours < 24:
            first.setdefault((row["wavelength"], hours), row)
    assert found == {row["id"] for row in first.values()}


def test_dates_of_modified_julian_dates_and_whole_days(site: Site) -> None:
    table = SDO.having(
        columns=(
            SDO.columns[0],
            Column(name="t_min", type=FLOAT64, unit="d", ucd="time.start;obs.exposure"),
            Column(name="t_max", type=FLOAT64, unit="d", ucd="time.end;obs.exposure"),
        )
    )
    assert "t_max >= 53018.0" in read([("t", "2004-01-14..2004-01-15")], table).adql()
    assert "t_min < 53020.0" in read([("t", "2004-01-14..2004-01-15")], table).adql()
    assert "BETWEEN 53000.0 AND 53001.0" in read([("t_min", "53000..53001")], table).adql()
    assert "FLOOR(t_min *" in read([("_every", "1 d")], table).adql()
    days = read(
        [("time_min", "2012-06-05..2012-06-06"), ("_every", "1 d")],
        SDO.having(columns=tuple(one for one in SDO.columns if one.name != "t")),
    )
    with query.run(days.count(), site=site) as result:
        assert result.table().column(0)[0].as_py() == 2, "days begin at midnight, though Julian dates change at noon"


def test_a_cadence_in_the_address(site: Site) -> None:
    search = read([("_every", "90 min")], SDO)
    assert search.pairs() == [("_every", "90 min")]
    assert cadence.timed(SDO) is not None
    for wrong in ("1", "1 km", "0 h", "1 h,foo", "-1 h", "1e9 d", ""):
        told = read([("_every", wrong)], SDO)
        assert (len(told.faults), told.wrong) == ((1, (("_every", wrong),)) if wrong else (0, ()))
    assert read([("_every", "1 h")], TABLE.having(primary=())).faults[0].field == "_every"
