"""OiDB's embargo, as the example has it: every row, reader and date against the decision table in plain Python, on both engines."""

from __future__ import annotations

import csv
import shutil
from calendar import monthrange
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from example_sites import prepare_example
from hven import query
from hven.adql import RowDelegation
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal
from plugin_needs import require_plugins
from postgres_cluster import run_cluster
from process_runner import run_hven

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONTHS = {"suv": 24, "chara": 18, "eso": 12, "pionier": 12}
OWN = {"survey": datetime(2026, 6, 30, 23, 59, 59)}  # collections with a release date
PI = {"60.A-9237": "Carl Mell", "098.B-0001": "Anna Berg"}
WHO = {
    "nobody": {"nobody"},
    "mella": {"mella", "mella guillaume", "mella@example.org"},
    "bourges": {"bourges", "l. bourgès"},
    "anna": {"anna", "anna berg", "anna.berg@example.org"},
    "carl": {"carl", "carl mell"},
    "eve": {"eve"},
}
HANDED = {  # to eve: whose rows, where, until when
    RowDelegation("anna berg", "progid", "098.B-0001"),
    RowDelegation(
        "mella guillaume",
        "obs_collection",
        "SUV",
        (datetime(2026, 1, 1) - datetime(1970, 1, 1)) / timedelta(microseconds=1),
    ),
    RowDelegation("carl mell", "proposal_subid", "A"),
    RowDelegation("l. bourgès"),
    RowDelegation("anna berg", "no_such_column", "1"),
}
UNDATED = """\
901,data/06.oifits,SUV,2,x,SCIENCE,,,,mella,,mella,,
902,data/07.oifits,survey,2,x,CALIB,,,,anna berg,,mella,,
903,data/08.oifits,ESO,0,x,SCIENCE,61041.5,,public,,,mella,60.A-9237,
904,data/09.oifits,survey,0,x,SCIENCE,61041.5,,,,,mella,,
905,data/10.oifits,ESO,2,x,SCIENCE,59000,soon,,,,mella,098.B-0001,
906,data/11.oifits,simulation,2,x,SCIENCE,,,public,mella,,mella,,
"""


def later(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def mjd(days: str) -> datetime:
    return datetime(1858, 11, 17) + timedelta(microseconds=round(float(days) * 864_000_000) * 100)


def own(row: dict[str, str]) -> datetime | None:
    return None if row["obs_release_date"] == "soon" else datetime.fromisoformat(row["obs_release_date"])


def release(row: dict[str, str]) -> datetime | None:
    """Decide as OiDB means it."""
    collection = row["obs_collection"].lower()
    if row["calib_level"] == "0":
        return own(row) if row["obs_release_date"] else None
    science = row["dataproduct_category"].upper() in {"", "SCIENCE"}
    if row["obs_release_date"]:
        date = own(row)
    elif row["t_max"]:
        date = later(mjd(row["t_max"]), MONTHS.get(collection, 0) if science else 0)
    else:
        date = None
    return date and max(date, OWN.get(collection, date))


def people(text: str) -> set[str]:
    return {" ".join(part.lower().split()) for part in text.split("/")} - {""}


def compute_data_rights(row: dict[str, str], names: set[str], now: datetime) -> str:
    """Tell what data_rights says to a reader of these names."""
    given = PI.get(row["progid"], "") if row["obs_collection"].upper() == "ESO" else ""
    whose = people(row["datapi"] or given or row["submitter"]) | people(row["obs_creator_name"])
    date = release(row)
    if (row["calib_level"] != "0" and row["data_rights"].lower() == "public") or (date is not None and date <= now):
        return "public"
    moment = (now - datetime(1970, 1, 1)) / timedelta(microseconds=1)
    handed = {
        one.name
        for one in (HANDED if "eve" in names else ())
        if moment < one.until and (not one.column or row.get(one.column) == one.value)
    }
    return "secure" if (names | handed) & whose else "proprietary"


@pytest.fixture(scope="module", params=["embedded", "postgres"])
def embargo_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("embargo") / "site"
    shutil.copytree(prepare_example("16-embargo"), place)
    folder = place / "collections" / "oidb"
    with (folder / "data" / "granules.csv").open("a") as file:
        file.write(UNDATED)
    text = (folder / "oidb.yaml").read_text().partition("tests:")[0]
    if request.param == "embedded":
        (folder / "oidb.yaml").write_text(text)
        with Site(settings.load_settings(place)) as made:
            yield made
        return
    require_plugins("engines", "postgres")
    with run_cluster() as found, (place / "hven.toml").open("a") as file:
        file.write(f'[postgres]\nurl = "{found.url}"\n')
        file.flush()
        (folder / "oidb.yaml").write_text(text.replace("collection:", "engine: postgres\ncollection:", 1))
        with Site(settings.load_settings(place)) as made:
            yield made


@pytest.fixture(scope="module")
def report(embargo_site: Site) -> str:
    return ingest_collection(embargo_site, "oidb").format_text()


@pytest.fixture(scope="module")
def rows(embargo_site: Site, report: str) -> list[dict[str, str]]:
    with (embargo_site.settings.collections_directory / "oidb" / "data" / "granules.csv").open() as file:
        return list(csv.DictReader(file))


def answer(embargo_site: Site, text: str, who: Principal = OWNER_PRINCIPAL) -> list[tuple[Any, ...]]:
    with query.run_query(text, who, site=embargo_site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


def test_rows_without_date_are_counted(report: str) -> None:
    assert "embargo without a date: neither `obs_release_date` nor `t_max` gives a date" in report
    assert "stays closed: 6 rows" in report


def test_every_row_has_its_release_date(embargo_site: Site, rows: list[dict[str, str]]) -> None:
    dates = dict(answer(embargo_site, "SELECT id, obs_release_date FROM oidb.granules"))
    assert dates == {int(row["id"]): release(row) for row in rows}
    assert len({date for date in dates.values() if date}) > 15


@contextmanager
def set_clock(now: datetime) -> Iterator[None]:
    moment = (now - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    with (
        mock.patch("hven.adql._row_policy.get_current_instant", return_value=moment),
        mock.patch("hven.site._published_state.get_current_instant", return_value=moment),
    ):
        yield


def identify_reader(name: str) -> tuple[Principal, set[str]]:
    if not name:
        return ANONYMOUS_PRINCIPAL, set()
    handed = frozenset(HANDED if name == "eve" else ())
    return Principal(name=name, aliases=frozenset(WHO[name]), delegations=handed), WHO[name]


def test_every_reader_takes_what_the_decision_table_says(embargo_site: Site, rows: list[dict[str, str]]) -> None:
    dates = sorted({date for row in rows if (date := release(row))})
    for now in (date - timedelta(microseconds=step) for date in dates for step in (1, 0)):
        with set_clock(now):
            # what is released is so for all: before its moment, nobody's eyes will do
            for name in ["", *(WHO if now in dates else ())]:
                who, names = identify_reader(name)
                found = answer(embargo_site, "SELECT id, data_rights FROM oidb.granules ORDER BY id", who)
                assert found == [(int(row["id"]), compute_data_rights(row, names, now)) for row in rows], (name, now)


@pytest.mark.parametrize("name", ["", "anna", "bourges", "eve"])
def test_a_file_of_an_open_and_a_locked_row_is_locked(
    embargo_site: Site, rows: list[dict[str, str]], name: str
) -> None:
    who, names = identify_reader(name)
    files = sorted({row["file_name"] for row in rows})
    now = datetime(2026, 6, 30, 23, 59, 59)
    shut = {row["file_name"] for row in rows if compute_data_rights(row, names, now) == "proprietary"}
    both = shut & {row["file_name"] for row in rows if compute_data_rights(row, names, now) != "proprietary"}
    assert both
    with set_clock(now):
        rights = embargo_site.get_published_state().tables_by_name["oidb.granules"].table.rights
        assert rights is not None
        why = {one: rights.find_file_embargo(who, {"file_name": one}) for one in files}
    assert {one for one in files if why[one] is not None} == shut
    assert why["data/03.oifits"] == (
        None if name in {"anna", "bourges"} else ("2027-07-01T12:00:00", "oidb@example.org")
    )


def test_months_are_those_of_the_calendar(embargo_site: Site, rows: list[dict[str, str]]) -> None:
    asked = """SELECT t_max, id, ADD_MONTHS(t_max, id - 30), ADD_MONTHS(obs_release_date, 7 * id - 99), obs_release_date
        FROM oidb.granules WHERE t_max IS NOT NULL AND obs_release_date IS NOT NULL"""
    found = answer(embargo_site, asked)
    assert len(found) > 40
    for end, number, one, two, date in found:
        assert one == later(mjd(end), number - 30)
        assert two == later(date, 7 * number - 99)


def test_check_says_it_in_words(embargo_site: Site) -> None:
    said = run_hven("--site", embargo_site.settings.directory, "check", "oidb").stdout
    assert (
        "oidb.granules: a row is released 24 (suv), 18 (chara), 12 (eso, pionier), else 0 months by obs_collection after t_max, "
        "or at its own obs_release_date; without months where upper(trim(dataproduct_category)) NOT IN ('', 'SCIENCE'); "
        "not before 2026-06-30T23:59:59 (survey) by obs_collection; only at its own date where calib_level = 0" in said
    )
    assert "embargo without a date" in said


DESCRIPTOR = """\
collection: c
title: c
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    {embargo}
    access: obs_release_date <= now
"""
ROWS = "id,t_end,obs_release_date,kind\n1,2024-01-31T10:00:00,,a\n2,2024-01-31T10:00:00,2030-01-01T00:00:00,b\n3,,,a\n"


def place(parent: Path, embargo: str) -> Path:
    folder = parent / "collections" / "c"
    folder.mkdir(parents=True)
    (parent / "hven.toml").write_text('name = "c"\n')
    (folder / "c.yaml").write_text(DESCRIPTOR.format(embargo=embargo))
    (folder / "rows.csv").write_text(ROWS)
    return folder / "c.yaml"


@pytest.mark.parametrize(
    ("embargo", "dates"),
    [
        ("embargo: {from: t_end, months: 1}", [datetime(2024, 2, 29, 10), datetime(2030, 1, 1), None]),
        (
            "embargo: {from: t_end, months: 1, not_before: 2024-06-01}",
            [datetime(2024, 6, 1, 23, 59, 59), datetime(2030, 1, 1), None],
        ),
        (
            "embargo: {from: t_end, months: {from: kind, values: {A: 12}}}",
            [datetime(2025, 1, 31, 10), datetime(2030, 1, 1), None],
        ),
        ("embargo: {from: t_end, months: {from: kind, values: {b: 12}}}", [None, datetime(2030, 1, 1), None]),
        (
            "embargo: {from: t_end, months: 2}\n    map: {obs_release_date: \"CASE WHEN kind = 'b' THEN t_end END\"}",
            [datetime(2024, 3, 31, 10), datetime(2024, 1, 31, 10), None],
        ),
        (
            "embargo: {from: target.t_end, months: 1, exempt: kind = 'a', column: free}",
            [datetime(2024, 1, 31, 10), datetime(2024, 2, 29, 10), None],
        ),
    ],
)
def test_what_an_embargo_may_say(tmp_path: Path, embargo: str, dates: list[datetime | None]) -> None:
    path = place(tmp_path, embargo)
    with Site(settings.load_settings(tmp_path)) as here:
        assert all(
            fault.severity == "warning" and "embargo without a date" in str(fault)
            for fault in check_descriptor(path, here.settings)
        )
        ingest_collection(here, "c")
        column = "free" if "free" in embargo else "obs_release_date"
        assert [one for (one,) in answer(here, f"SELECT {column} FROM c.main ORDER BY id")] == dates


@pytest.mark.parametrize(
    ("embargo", "said"),
    [
        ("embargo: {from: t_and, months: 1}", "6:21: tables.main.embargo.from: the source has no column 't_and'"),
        ("embargo: {from: t_end, months: 1.5}", "tables.main.embargo.months: '1.5' is not a whole number of months"),
        ("embargo: {from: t_end, months: -1}", "'-1' is not a whole number of months"),
        ("embargo: {from: t_end, months: 1, not_before: soon}", "'soon' is not a date"),
        ("embargo: {from: t_end, months: 1, not_before: 2026-02-30}", "'2026-02-30' is not a date"),
        ("embargo: {from: t_end, months: {values: {a: 1}}}", "'from' and 'values' must be given together"),
        ("embargo: {from: t_end, months: {}}", "tables.main.embargo.months is empty"),
        ("embargo: {from: t_end}", "tables.main.embargo lacks the key 'months'"),
        ("embargo: {from: t_end, months: 1, exempt: kind = }", "tables.main.embargo.exempt"),
        ("embargo: {from: t_end, months: 1, exempt: sort = 'a'}", "the source has no column 'sort'"),
        (
            "embargo: {from: t_end, months: 1}\n    columns: {obs_release_date: {type: string}}",
            "must be a time, not string",
        ),
        ("embargo: {from: t_end > t_end, months: 1}", "tables.main.embargo.from"),
    ],
)
def test_what_an_embargo_may_not_say(tmp_path: Path, embargo: str, said: str) -> None:
    faults = [
        str(fault)
        for fault in check_descriptor(place(tmp_path, embargo), settings.load_settings(tmp_path))
        if fault.severity == "error"
    ]
    assert any(said in fault for fault in faults), faults
