"""How values are shown: dates as they are meant, links that are safe, units that a reader chose."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from hven.model import units
from hven.model.table import Column, Table, set_column_epochs
from hven.model.types import FLOAT32, FLOAT64, INT32, STRING, TIMESTAMP, parse_type
from hven.portal._explore.cell_text import build_column_headings, format_cells
from hven.portal._explore.row_pages import RowPage
from hven.portal._explore.search_fields import DISPLAY_UNIT_GROUPS, list_display_units


def format_column(
    column: Column,
    values: list[Any],
    *,
    more: dict[str, tuple[Column, list[Any]]] | None = None,
    wanted: tuple[tuple[str, str], ...] = (),
    whole: bool = False,
    **table: Any,
) -> list[Any]:
    every = {column.name: (column, values), **(more or {})}
    described = set_column_epochs(Table(schema="a", name="b", columns=tuple(one for one, _ in every.values()), **table))
    rows = pa.table({name: pa.array(given, one.type.arrow) for name, (one, given) in every.items()})
    page = RowPage(columns=described.columns, rows=rows, keys=("",) * len(values), offset=0, has_more=False)
    assert len(build_column_headings(page, described, wanted)) == len(every)
    return [row[0] for row in format_cells(page, described, wanted, is_full=whole)]


def texts(*args: Any, **more: Any) -> list[str | None]:
    return [None if cell is None else cell.text for cell in format_column(*args, **more)]


@pytest.mark.parametrize(
    ("column", "values", "wanted"),
    [
        (Column(name="x", type=INT32), [1, None, -5], ["1", None, "-5"]),
        (Column(name="x", type=FLOAT32), [0.1, None], ["0.1", None]),
        (Column(name="x", type=FLOAT64, display=".3f"), [1.23456, None], ["1.235", None]),
        (Column(name="x", type=FLOAT64, display="E8.2"), [12345.6], ["1.23e+04"]),
        (Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"), [2451545.0, None, 2453005.6635763887], ["2000-01-01 12:00:00", None, "2004-01-01 03:55:33"]),
        (Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"), [12.5], ["12.5"]),
        (Column(name="t", type=FLOAT64, unit="d"), [2451545.0], ["2451545"]),
        (Column(name="d", type=FLOAT64), [0.1 + 0.2, 1 / 3, 100.25, -58912345678912.3, 1e-300], ["0.3", "0.333333333", "100.25", "-5.89123457e+13", "1e-300"]),
        (Column(name="t", type=STRING), ["", "é<b>", None], ["", "é<b>", None]),
        (Column(name="n", type=parse_type("int32[*]")), [[1, None, 3], [], None], ["1 null 3", "", None]),
    ],
)  # fmt: skip
def test_values_as_people_read_them(column: Column, values: list[Any], wanted: list[str | None]) -> None:
    assert texts(column, values) == wanted


def test_a_time_stamp_is_its_date() -> None:
    import datetime as dt

    (text,) = texts(Column(name="t", type=TIMESTAMP), [dt.datetime(2004, 1, 1, 3, 55, 33)])
    assert text == "2004-01-01 03:55:33", "as Julian dates are shown"


def test_codes_are_words() -> None:
    (cell, other) = format_column(
        Column(name="c", type=STRING, enum="level"), ["5", "9"], enums={"level": {"5": "derived"}}
    )
    assert (cell.text, cell.title, other.text) == ("derived", "5", "9")


def test_a_reader_chooses_the_unit_and_a_wrong_one_changes_nothing() -> None:
    column = Column(name="r", type=FLOAT64, unit="km")
    assert texts(column, [1.5], wanted=(("r", "m"),)) == ["1500"]
    assert texts(column, [1.5], wanted=(("r", "kg"),)) == ["1.5"]
    assert texts(column, [1.5], wanted=(("r", "nonsense"),)) == ["1.5"]


@pytest.mark.parametrize(("text", "href"), [("https://a.org/x.fits", "https://a.org/x.fits"), ("javascript:alert(1)", ""), ("data:text/html,x", ""), ("see https://a.org", ""), ('https://a.org/"onclick="x', "")])  # fmt: skip
def test_only_web_addresses_become_links(text: str, href: str) -> None:
    (cell,) = format_column(Column(name="u", type=STRING, ucd="meta.ref.url"), [text])
    assert cell.href == href


def test_thumbnails_are_pictures() -> None:
    (cell,) = format_column(Column(name="thumbnail_url", type=STRING), ["https://a.org/x.png"])
    assert cell.picture


def test_templates_quote_what_they_take_in() -> None:
    column = Column(name="id", type=STRING, link="https://a.org/{id}/{n}")
    more = {"n": (Column(name="n", type=INT32), [1, None])}
    first, second = format_column(column, ["a b/c?", "x"], more=more)
    assert first.href == "https://a.org/a%20b%2Fc%3F/1"
    assert second.href == "", "a hole without a value makes no link"
    (alone,) = format_column(column, ["x"])
    assert alone.href == ""
    (evil,) = format_column(Column(name="id", type=STRING, link="{id}"), ["javascript:alert(1)"])
    assert evil.href == ""


def test_a_huge_cell_is_cut_and_says_so() -> None:
    (cell,) = format_column(Column(name="t", type=STRING), ["x" * 10_000_000])
    assert len(cell.text) < 500
    assert cell.title == "10,000,000"


RA = Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", display=".5f")
DEC = Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main", display=".5f")


def test_positions_in_hours_minutes_and_seconds_as_astropy_writes_them() -> None:
    from astropy.coordinates import Angle

    values = [0.0, 83.63308, 359.99999999, 15.0, 299.868, 1e-9, None, 180.00001]
    found = texts(RA, values, wanted=(("ra", "h:m:s"),))
    wanted = [
        None
        if one is None
        else Angle(round(one, 9), "deg").wrap_at("360d").to_string(unit="hourangle", sep=":", precision=3, pad=True)
        for one in values
    ]
    assert found == [None if one is None else "00:00:00.000" if one.startswith("24") else one for one in wanted]
    values = [0.0, -0.0042, 22.0145, -89.99999, 90.0, -5.5, None]
    found = texts(DEC, values, wanted=(("dec", "d:m:s"),))
    assert found == [
        None if one is None else Angle(one, "deg").to_string(sep=":", precision=1, pad=True, alwayssign=True)
        for one in values
    ]


@pytest.mark.parametrize(
    ("column", "value", "unit", "text"),
    [
        (Column(name="x", type=INT32, unit="km"), 3, "m", "3000"),
        (Column(name="x", type=FLOAT32, unit="nm"), 0.1, "Angstrom", "1"),
        (Column(name="x", type=FLOAT64, unit="deg", display=".5f"), 0.12345, "arcsec", "444.4"),
        (Column(name="x", type=FLOAT64, unit="arcsec", display=".2f"), 3600.0, "deg", "1.000000"),
        (Column(name="x", type=FLOAT64, unit="km"), 1.5, "h:m:s", "1.5"),
        (Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"), 2451545.0, "s", "2000-01-01 12:00:00"),
    ],
)
def test_units_that_a_reader_chose(column: Column, value: float, unit: str, text: str) -> None:
    assert texts(column, [value, None], wanted=((column.name, unit),)) == [text, None]


def test_units_that_can_be_chosen() -> None:
    assert list_display_units(RA) == ("deg", "h:m:s", "arcmin", "arcsec", "mas", "rad")
    assert list_display_units(DEC)[1] == "d:m:s"
    assert list_display_units(Column(name="x", type=FLOAT64, unit="um"))[:3] == ("um", "m", "mm")
    for column in (
        Column(name="x", type=FLOAT64),
        Column(name="x", type=FLOAT64, unit="mag"),
        Column(name="x", type=STRING, unit="km"),
        Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start", epoch=0.0),
    ):
        assert list_display_units(column) == ()
    for family in DISPLAY_UNIT_GROUPS:
        for unit in family:
            assert units.are_units_convertible(family[0], unit), unit


def test_of_a_long_address_one_reads_the_file_or_whose_service_it_is() -> None:
    long = "a" * 60
    addresses = [
        f"https://example.org/{long}/name.fits",
        f"https://simbad.example.org/simbad/sim-id?Ident={long}",
        "https://example.org/a?b=c",
    ]
    found = format_column(Column(name="page", type=STRING, ucd="meta.ref.url"), addresses)
    assert [cell.text for cell in found] == ["name.fits", "simbad.example.org/…", addresses[2]]
    assert [cell.href for cell in found] == addresses
    assert [cell.title for cell in found] == [*addresses[:2], ""], "all of it is told when one points at it"


@pytest.mark.parametrize("whole", [False, True])
def test_links_to_well_known_services_show_their_names(whole: bool) -> None:
    addresses = [
        "https://simbad.cds.unistra.fr/simbad/sim-id?Ident=PSZ2%20G004.45-19.55",
        "https://ned.ipac.caltech.edu/byname?objname=M31",
        "https://simbad.cds.unistra.fr/a.pdf",
        "https://simbad.example.org/x?y",
    ]
    found = format_column(Column(name="page", type=STRING, ucd="meta.ref.url"), addresses, whole=whole)
    assert [cell.text for cell in found] == ["SIMBAD", "NED", *addresses[2:]]
    assert [cell.href for cell in found] == addresses
    assert [cell.title for cell in found] == [*addresses[:2], "", ""]
