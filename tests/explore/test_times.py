"""Days that are dates by what their columns say, wherever EPN-TAP's time_min is one: statistics, coverage, forms, rows, schema.org."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.portal._explore import plots, plots_json, search_fields
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search import parse_search
from hven.portal._explore.time_ranges import find_time_range
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

LOG = """\
collection: night
title: Log
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    frames: {t: {kind: timesys, timescale: UTC, timeorigin: MJD-origin}}
    columns:
      id: {type: string, description: Name}
      mjd_obs: {type: float64, unit: d, ucd: time.start, frame: t, description: Begin}
      exp_mjd_end: {type: float64, unit: d, ucd: time.end, description: End}
"""
FILES = "collection: kept\ntitle: Kept\nfiles: {files: data/*.txt}\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    for name, text, path, rows in (
        ("night", LOG, "rows.csv", "id,mjd_obs,exp_mjd_end\na,53005.25,53005.5\nb,53400.0,53401.5\nc,53460.5,\n"),
        ("kept", FILES, "data/a.txt", "x"),
    ):
        place: Path = root / "collections" / name
        (place / path).parent.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(text)
        (place / path).write_text(rows)
    with Site(Settings(directory=root), watch_for_changes=False) as found:
        report = ingest_collection(found, "night").tables["night.main"]
        assert [one.message.split(",")[0] for one in report.findings.values()] == [
            "exp_mjd_end is read as modified Julian dates (MJD)"
        ]
        ingest_collection(found, "kept")
        found.refresh_published_state()
        yield found


def test_days_are_dates_by_metadata(site: Site) -> None:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    table = site.get_published_state().tables_by_name["night.main"].table
    assert find_time_range(table, road) == ("2004-01-01", "2005-03-31"), "the last row has no end"
    assert {search_fields.classify_form_field(one, table) for one in table.columns[1:]} == {"time"}
    assert "mjd_obs >= 53005.0 AND mjd_obs < 53006.0" in parse_search([("mjd_obs", "2004-01-01")], table).write_adql()


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ("2004", "mjd_obs >= 53005.0 AND mjd_obs < 53371.0"), ("2004..2005-01", "mjd_obs >= 53005.0 AND mjd_obs < 53402.0"),
        ("2453005.5..2453006.5", "mjd_obs BETWEEN 53005.0 AND 53006.0"), ("53005mjd..53006 MJD", "mjd_obs BETWEEN 53005.0 AND 53006.0"),
        ("53005..53006", "mjd_obs BETWEEN 53005.0 AND 53006.0"), ("2005 d..2006 d", "mjd_obs BETWEEN 2005.0 AND 2006.0"),
    ],
)  # fmt: skip
def test_dates_are_converted_to_the_epoch_of_the_column(site: Site, given: str, condition: str) -> None:
    found = parse_search([("mjd_obs", given)], site.get_published_state().tables_by_name["night.main"].table)
    assert not found.faults
    assert found.write_adql().endswith(f"WHERE {condition}")


def test_a_word_is_no_date(site: Site) -> None:
    assert [
        one.message
        for one in parse_search(
            [("exp_mjd_end", "soon")], site.get_published_state().tables_by_name["night.main"].table
        ).faults
    ] == ["'soon' is not a date"]


def test_plots_draw_dates(site: Site) -> None:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    table = site.get_published_state().tables_by_name["night.main"].table
    search = parse_search([("mjd_obs", "2004-01")], table)
    begin, end = table.find_column("mjd_obs"), table.find_column("exp_mjd_end")
    drawn = plots_json.histogram_to_json(plots.build_histogram(search, begin, road), begin)
    assert (drawn["low"], sum(drawn["counts"]), drawn["time"]) == (2453005.75, 1, True)
    assert plots_json.points_to_json(plots.fetch_plot_points(search, [begin, end], road), 1)["values"] == [
        [2453005.75],
        [2453006.0],
    ]
    assert plots_json.density_to_json(plots.build_density_grid(search, begin, end, road), [begin, end], 1)["density"][
        "box"
    ] == (
        2453005.75,
        2453005.75,
        2453006.0,
        2453006.0,
    )


def test_when_a_file_was_changed_is_not_when_its_data_are_from(site: Site) -> None:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    tables = [
        item.table for name, item in site.get_published_state().tables_by_name.items() if name.startswith("kept.")
    ]
    assert tables
    assert [find_time_range(table, road) for table in tables] == [None] * len(tables)
